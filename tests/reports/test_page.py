"""The look of every report page: words and numbers escaped and aligned, no script, nothing from
elsewhere; in Chromium clean for axe-core in light and dark.
"""

from __future__ import annotations

import re
import shutil
from html.parser import HTMLParser

import geopandas
import numpy as np
import pytest
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Geod, Transformer

from report_pages import LEARNT, PAGES
from selion.reports import page, picture
from selion.reports.place import place_facts, scale_bar

VOID = {"meta", "img", "br", "rect", "path", "line", "circle", "polyline", "input"}


class Balanced(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.headings = [], []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag == "img":
            assert given.get("alt")
        if tag == "svg":
            assert given["role"] == "img"
            assert given["aria-label"]
        if tag in ("h1", "h2", "h3"):
            self.headings.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag


def test_tables_escape_and_set_numbers_right():
    html = page.table(
        ["name", "<n>", "share", "text"],
        [["<a>", 12345, "50.0%", "x"], ["b", 0.5, "-", ""]],
        "A & B",
    )
    assert (
        '<th scope="row">&lt;a&gt;</th><td class="n">12,345</td><td class="n">50.0%</td><td>x</td>'
        in html
    )
    assert '<th scope="col" class=n>&lt;n&gt;</th>' in html
    assert '<th scope="col">text</th>' in html
    assert "<caption>A &amp; B</caption>" in html
    assert 'tabindex="0"' in html


def test_facts_have_no_empty_header():
    assert "<thead>" not in page.table(["", ""], [["name", "value"]])
    assert page.table(["", "n"], [["a", 1]]).count("<th ") == 2
    assert page.table(["a", "b"], []).count("<th ") == 2


def test_colours_are_never_alone():
    assert page.legend({"kept <5>": "#00ff00"}) == (
        '<span class="key"><svg viewBox="0 0 1 1" role="img" aria-label="colour of kept &lt;5&gt;">'
        '<rect width="1" height="1" fill="#00ff00"/></svg>kept &lt;5&gt;</span> '
    )


def test_place_is_that_of_geodesy():
    grid = GeoBox((400, 600), Affine(10, 0, 360_000, 0, -10, 5_350_000), "EPSG:32633")
    facts = dict(place_facts(grid))
    # by the geodesic polygon of the corners, which none of our code computes
    turn = Transformer.from_crs("EPSG:32633", "OGC:CRS84", always_xy=True)
    lon, lat = turn.transform([360e3, 366e3, 366e3, 360e3], [535e4, 535e4, 534.6e4, 534.6e4])
    area = abs(Geod(ellps="WGS84").polygon_area_perimeter(lon, lat)[0]) / 1e6
    assert float(facts["area shown"].split()[0]) == pytest.approx(area, abs=0.06)
    west, south, east, north = map(float, facts["west, south, east, north"].split(", "))
    assert (west, north) == pytest.approx((min(lon), max(lat)), abs=1e-5)
    assert (east, south) == pytest.approx((max(lon), min(lat)), abs=1e-5)
    assert facts["extent"].startswith("6 km west to east, 4 km")
    assert facts["coordinate system"].endswith("(EPSG:32633)")
    words, share = scale_bar(grid)
    assert words == "1 km"
    assert share == pytest.approx(1 / 6, rel=2e-3)


def test_photograph_has_no_place():
    grid = GeoBox((40, 60), Affine.identity(), None)
    assert place_facts(grid) == [["pixels", "60 x 40"]]
    assert scale_bar(grid) is None


def test_fields_are_filled_where_they_lie():
    grid = GeoBox((4, 4), Affine(10, 0, 0, 0, -10, 40), "EPSG:32633")
    frame = geopandas.GeoDataFrame(geometry=[shapely.box(0, 0, 30, 30)], crs="EPSG:32633")
    image = picture.fill_fields(np.zeros((4, 4, 3), np.uint8), frame, grid, ["#ff0000"], opacity=1)
    assert image[2, 1].tolist() == [255, 0, 0]
    assert image[0].max() == 0
    assert image[3, 3].tolist() == [24, 24, 24]  # its outline runs along this pixel


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    found = {}

    def make(name):
        if name in LEARNT:
            pytest.importorskip("torch")
        if name not in found:
            found[name] = PAGES[name](tmp_path_factory.mktemp(name))
        return found[name]

    return make


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_pages_stand_alone_in_one_look(made, name):
    text = made(name).read_text("utf-8")
    parser = Balanced()
    parser.feed(text)
    assert not parser.open
    assert parser.headings[0] == "h1"
    assert parser.headings.count("h1") == 1
    assert text.count("<style>") == 1
    assert page.STYLE in text
    assert "<script" not in text
    linked = re.findall(r'(?:src|href)="((?!data:)[^"]+)"', text)
    assert not linked or name == "crops", linked
    assert not [
        address
        for address in linked
        if "//" in address or not (made(name).parent / address).exists()
    ]


@pytest.mark.slow
def test_pages_are_clean_for_axe_in_light_dark_and_on_a_phone(made):
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed"
    )
    chromium = next(
        (
            path
            for name in ("chromium", "chromium-browser", "google-chrome")
            if (path := shutil.which(name))
        ),
        None,
    )
    if chromium is None:
        pytest.skip("no Chromium or Chrome on the PATH: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        tab = browser.new_page()
        said = []
        tab.on("console", lambda message: said.append(message.text))
        for name in PAGES:
            tab.set_viewport_size({"width": 1200, "height": 900})
            tab.goto(made(name).as_uri())
            for scheme in ("light", "dark"):
                tab.emulate_media(color_scheme=scheme)
                found = axe.Axe().run(tab)
                assert found.violations_count == 0, f"{name}, {scheme}: {found.generate_report()}"
            if tab.locator(".slide").count():  # its line follows the arrow keys
                frame = tab.locator(".slide").first
                before = frame.evaluate("e => e.scrollLeft")
                frame.focus()
                tab.keyboard.press("ArrowRight")
                tab.wait_for_function(
                    "b => document.querySelector('.slide').scrollLeft > b", arg=before
                )
            tab.set_viewport_size({"width": 360, "height": 700})
            assert tab.evaluate("document.documentElement.scrollWidth") <= 360, name
            tab.emulate_media(media="print", color_scheme="dark")
            assert (
                tab.evaluate("getComputedStyle(document.body).backgroundColor")
                == "rgb(255, 255, 255)"
            ), name
            tab.emulate_media(media="screen")
        days = "2023-04-01 to 2023-05-31 and 2023-09-01 to 2023-10-31, which are long words"
        keys = page.legend({days: "#123456", f"{days} too": "#654321"})
        tab.set_content(page.page("A page", "Words.", page.section("Days", keys)))
        tab.set_viewport_size({"width": 360, "height": 700})
        assert tab.evaluate("document.documentElement.scrollWidth") <= 360, "long keys"
        browser.close()
    assert not said
