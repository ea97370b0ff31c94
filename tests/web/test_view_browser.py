"""The viewer in a real Chromium: what a person does with hands and keys, and what a screen reader
would complain about.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.warp import transform_bounds

from selion.country import write_tiles
from selion.fields import write_fields
from selion.web.view.area import AreaMapper
from selion.web.view.paint import encode
from view_scenes import frame_of, serving, write_crops, write_map

playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed: pip install playwright"
)
CHROMIUM = next(
    (
        path
        for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
        if (path := shutil.which(name))
    ),
    None,
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROMIUM is None, reason="no Chromium or Chrome on the PATH: apt-get install chromium"
    ),
]
FLAGS = [
    "--no-sandbox",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
]
GOLDEN = Path(__file__).parents[1] / "golden"
TILE = encode(np.full((256, 256, 3), 120, np.uint8), "RGB", "PNG")
"""Of a background from elsewhere."""
STILL = """async () => {
    const { state } = await import('./view.js');
    await Promise.all(state.maps.map(m => m.loaded() && !m.isMoving() ? 0 : m.once('idle')));
}"""


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SELION_CACHE", str(folder / "cache"))
        crops, photos = write_crops(folder / "crops", folder / "photos")
        with serving(write_map(folder / "map"), crops, photos) as page:
            page.folder = folder / "map"
            yield page


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield running
        running.close()


class Tab:
    """A tab with what its console said and what it asked for."""

    def __init__(self, browser, url, width=1100, height=700, **context):
        self.context = browser.new_context(
            viewport={"width": width, "height": height}, reduced_motion="reduce", **context
        )
        self.context.set_default_timeout(120_000)
        self.context.route(
            "http://tiles.invalid/**",
            lambda route: route.fulfill(
                body=TILE, content_type="image/png", headers={"access-control-allow-origin": "*"}
            ),
        )
        self.page = self.context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on(
            "console",
            lambda message: (
                self.said.append(f"{message.type}: {message.text}")
                if message.type in ("error", "warning")
                else None
            ),
        )
        self.page.on("pageerror", lambda problem: self.said.append(f"pageerror: {problem}"))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(url)
        self.page.wait_for_selector('body[data-ready="1"]')

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.context.close()

    def still(self):
        self.page.evaluate(STILL)

    def of_map(self, code):
        return self.page.evaluate(
            "async () => { const { state } = await import('./view.js'); const map = "
            f"state.maps[0]; return {code}; }}"
        )

    def picture(self):
        self.still()
        return np.asarray(
            Image.open(io.BytesIO(self.page.locator("#left").screenshot())).convert("RGB")
        ).astype(int)

    def complaints(self):
        from axe_playwright_python.sync_playwright import Axe

        # MapLibre's own canvas is a region that is moved by keys: its name and role are ours.
        found = Axe().run(
            self.page,
            options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]},
        )
        return [
            (each["id"], [node["target"] for node in each["nodes"]])
            for each in found.response["violations"]
        ]


def test_looking_clicking_searching(browser, served):
    with Tab(browser, served.url) as tab:
        page = tab.page
        before = tab.picture()
        assert np.unique(before.reshape(-1, 3), axis=0).shape[0] > 50, (
            "imagery and outlines are drawn"
        )
        box = page.locator("#left").bounding_box()
        middle = (box["x"] + box["width"] / 2 + 30, box["y"] + box["height"] / 2 + 30)
        page.mouse.move(*middle)
        page.mouse.down()
        page.mouse.move(middle[0] + 120, middle[1] + 60, steps=4)
        page.mouse.up()
        assert np.abs(tab.picture() - before).mean() > 2, "the map was moved"
        page.keyboard.press("f")
        tab.still()
        for k in range(12):  # a lane lies between fields
            page.mouse.click(middle[0] + 3 * k, middle[1] + 2 * k)
            page.wait_for_timeout(150)
            if page.locator("#record").is_visible():
                break
        page.wait_for_selector("#record:not([hidden])")
        assert page.inner_text("#record-title").startswith("Field field-")
        assert "ha (" in page.inner_text("#columns")
        page.keyboard.press("Escape")
        assert page.locator("#record").is_hidden()
        page.keyboard.press("/")
        page.keyboard.type("field-123")
        page.keyboard.press("Enter")
        page.wait_for_selector("#record:not([hidden])")
        assert page.inner_text("#record-title") == "Field field-123"
        tab.still()
        assert tab.of_map("map.getZoom()") > 14, "flown there"
        page.fill("#wanted", "nobody")
        page.keyboard.press("Enter")
        page.wait_for_selector("#state:has-text('no field with the id nobody')")
        assert tab.complaints() == []
        assert all(url.startswith((served.address.url(), "data:", "blob:")) for url in tab.asked)
        assert not tab.said


def check_golden(shown, name):
    """Compare with a golden image, with a tolerance; SELION_GOLDEN=1 writes it anew."""
    path = GOLDEN / f"view_{name}.png"
    if os.environ.get("SELION_GOLDEN"):
        GOLDEN.mkdir(exist_ok=True)
        Image.fromarray(shown.astype(np.uint8)).quantize(256).save(path, optimize=True)
    golden = np.asarray(Image.open(path).convert("RGB")).astype(int)
    assert shown.shape == golden.shape
    apart = np.abs(shown - golden).max(-1)
    assert (apart > 60).mean() < 0.02
    assert apart.mean() < 8


def test_layers_and_colours(browser, served):
    with Tab(browser, served.url, 760, 520) as tab:
        page = tab.page
        # letters differ from machine to machine
        page.evaluate(
            "() => document.querySelectorAll('.maplibregl-control-container').forEach(e => "
            "e.remove())"
        )
        assert page.input_value("#by-f0") == "confidence", "it opens in the colours of doubt"
        page.select_option("#by-f0", "")
        before = tab.picture()
        page.select_option("#by-f0", "confidence")
        page.wait_for_selector("#legend svg.bins")
        by_confidence = tab.picture()
        assert np.abs(by_confidence - before).mean() > 5
        sure = frame_of(20)["confidence"]
        ends = (sure.min(), (sure.min() + sure.max()) / 2, sure.max())
        said = [float(text) for text in page.locator("#legend .ends span").all_inner_texts()]
        assert said == [pytest.approx(end, abs=0.006) for end in ends], "the ramp fits the data"
        check_golden(by_confidence, "confidence")
        page.select_option("#by-f0", "class")
        page.wait_for_selector("#legend li:has-text('pond')")
        by_class = tab.picture()
        assert np.abs(by_class - by_confidence).mean() > 5
        check_golden(by_class, "class")
        page.check("#on-r2-class2")
        assert page.locator("#opacity-r2-class2").is_visible()
        page.keyboard.press("1")
        assert not page.is_checked("#on-f0")
        assert not tab.of_map("Boolean(map.getLayer('f0-fill'))")
        assert not tab.said


def test_swipe(browser, served):
    with Tab(browser, served.url) as tab:
        page = tab.page
        page.keyboard.press("c")
        page.wait_for_selector("#right canvas")
        page.wait_for_function(
            "async () => (await import('./view.js')).state.maps[1]?.getLayer('r0-truewindowb')"
        )
        tab.still()
        assert page.is_checked("#on-r0-truewindowb"), "the right map shows the other season"
        handle = page.locator("#handle")
        box = handle.bounding_box()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 60)
        page.mouse.down()
        page.mouse.move(box["x"] - 200, box["y"] + 60, steps=3)
        page.mouse.up()
        assert int(handle.get_attribute("aria-valuenow")) < 30
        handle.focus()
        page.keyboard.press("End")
        assert handle.get_attribute("aria-valuenow") == "100"
        page.keyboard.press("[")
        assert handle.get_attribute("aria-valuenow") == "95"
        tab.of_map("map.jumpTo({ zoom: 13 })")
        assert abs(tab.of_map("state.maps[1].getZoom()") - 13) < 1e-6, "both maps move"
        assert tab.complaints() == []
        by = "state.list.on.map((side) => side.get('f0')?.by)"
        assert tab.of_map(by) == ["", ""], "dates are seen through the fields"
        for _ in range(2):  # closed, and opened again
            page.keyboard.press("c")
            assert page.locator("#right").is_hidden()
            assert tab.of_map(by)[0] == "confidence", "as it was before"
            assert page.input_value("#by-f0") == "confidence"
            page.keyboard.press("c")
            page.wait_for_selector("#right canvas")
            page.wait_for_function(
                "async () => (await import('./view.js')).state.list.on[0].get('f0').by === ''"
            )
        page.keyboard.press("c")
        page.click("#on-f0")
        page.click("#on-f0")
        assert tab.of_map(by)[0] == "confidence", "off and on again is as it was opened"
        page.keyboard.press("c")
        page.wait_for_selector("#right canvas")
        tab.still()
        page.reload()
        page.wait_for_selector("#right canvas")
        tab.still()
        assert tab.of_map(by) == ["", ""], "a link holds what was seen"
        page.keyboard.press("c")
        assert tab.of_map(by)[0] == "confidence"
        assert not tab.said


def test_a_filter_is_drawn_counted_and_linked(browser, served):
    with Tab(browser, served.url) as tab:
        page = tab.page
        page.click(".filter summary")
        page.fill("#sure-f0", "0.8")
        kept = int((frame_of(20)["confidence"] >= 0.7995).sum())
        page.wait_for_selector(f"#count-f0:has-text('{kept} of 400 fields')")
        tab.still()
        drawn = "new Set(map.queryRenderedFeatures({ layers: ['f0-fill'] }).map((f) => f.id)).size"
        assert tab.of_map(drawn) == kept
        assert tab.complaints() == []
        with page.expect_download() as saved:
            page.click("#save-picture")
        shown = np.asarray(Image.open(saved.value.path()).convert("RGB"))
        assert np.unique(shown.reshape(-1, 3), axis=0).shape[0] > 50, "the picture holds the map"
        page.wait_for_function("() => location.hash.includes('filter=f0')")
        link = page.url
        assert not tab.said
    with Tab(browser, link) as tab:
        tab.still()
        assert tab.of_map(drawn) == kept, "a link opens the same view"
        assert not tab.said
    with Tab(
        browser, served.url + "#map=x/1/2&show=<b>*9e9*x|r0-false&filter=f9*a*1*&field=f0/-2"
    ) as tab:
        assert not tab.said, "a link that says nonsense opens the page"


def test_a_filter_holds_for_cells_from_afar(browser, tmp_path):
    frame = frame_of(90)  # more than are drawn at every scale
    write_fields(frame, tmp_path / "fields.parquet")
    kept = int((frame["confidence"] >= 0.7995).sum())
    cells = (
        "map.querySourceFeatures('f0', { sourceLayer: 'cells' })"
        ".reduce((all, f) => all + f.properties.n, 0)"
    )
    with serving(tmp_path) as served, Tab(browser, served.url) as tab:
        tab.of_map("map.jumpTo({ zoom: 7 })")
        tab.still()
        assert tab.of_map(cells) == len(frame)
        tab.page.click(".filter summary")
        tab.page.fill("#sure-f0", "0.8")
        tab.page.wait_for_selector(f"#count-f0:has-text('{kept:,} of {len(frame):,} fields')")
        tab.still()
        assert tab.of_map(cells) == kept
        assert not tab.said
        tab.page.wait_for_function("() => location.hash.includes('filter=f0')")
        with Tab(browser, tab.page.url) as other:
            other.page.wait_for_selector(f"#count-f0:has-text('{kept:,} of')", state="attached")
            other.still()
            assert other.of_map(cells) == kept, "a link holds it"
            assert not other.said
        tab.page.click("button:has-text('Show all')")
        tab.page.wait_for_function("() => !document.querySelector('#count-f0').textContent")
        tab.page.wait_for_timeout(400)
        tab.still()
        assert tab.of_map(cells) == len(frame)


def test_words_of_an_archive_get_their_colours_where_they_come_into_view(browser, tmp_path):
    """From afar its tiles hold squares alone: who chose the class there saw gray from near."""
    frame = frame_of(90)
    frame["class"] = np.where(np.arange(len(frame)) % 2, "pond", "field")
    write_fields(frame, tmp_path / "fields.parquet")
    (tmp_path / "map").mkdir()
    write_tiles(tmp_path / "fields.parquet", tmp_path / "map" / "fields.pmtiles", finest=12)
    with serving(tmp_path / "map") as served, Tab(browser, served.url) as tab:
        layer = tab.of_map("state.all.fields[0].id")
        words = f"JSON.stringify(map.getPaintProperty('{layer}-fill', 'fill-color'))"
        tab.of_map("map.jumpTo({ zoom: 4 })")
        tab.still()
        tab.page.select_option(f"#by-{layer}", "class")
        tab.still()
        assert "pond" not in tab.of_map(words)
        tab.of_map("map.jumpTo({ zoom: 12 })")
        tab.page.wait_for_selector("#legend :text('pond')")
        told = tab.of_map(words)
        assert "pond" in told
        assert "field" in told
        assert not tab.said


def test_places_dates_and_a_background(browser, served, tmp_path):
    names = tmp_path / "names.csv"
    names.write_text("name,lat,lon\n<img src=x onerror=a()>,48.7,12.3\n<i>imst</i>,48.7,12.4\n")
    tiles = "http://tiles.invalid/{z}/{x}/{y}.png"
    with (
        serving(served.folder, names=names, basemap=tiles) as page_served,
        Tab(browser, page_served.url) as tab,
    ):
        page = tab.page
        page.fill("#wanted", "im")
        page.keyboard.press("Enter")
        page.wait_for_selector("#found li")
        assert page.locator("#found img, #found i").count() == 0, "names are text"
        assert tab.complaints() == []
        page.locator("#found button").nth(1).click()
        assert page.locator("#found").is_hidden()
        assert abs(tab.of_map("map.getCenter().lat") - 48.7) < 1e-4
        elsewhere = {url.split("/")[2] for url in tab.asked if url.startswith("http")}
        assert elsewhere == {f"127.0.0.1:{page_served.address.port}", "tiles.invalid"}
        page.fill("#wanted", "field-123")
        page.keyboard.press("Enter")
        page.wait_for_selector("#record:not([hidden]) figure:nth-child(2) img")
        page.wait_for_function(
            "() => [...document.querySelectorAll('#dates img')].every((i) => i.naturalWidth == 224)"
        )
        assert tab.complaints() == []
        layers = tab.of_map("map.getStyle().layers.map((layer) => layer.id)")
        assert layers[:2] == ["ground", "background"], "it lies under the imagery"
        page.click("#on-background")
        shown = "map.getLayoutProperty('background', 'visibility')"
        assert tab.of_map(shown) == "none"


def test_in_the_dark(browser, served):
    with Tab(browser, served.url, color_scheme="dark") as tab:
        assert tab.complaints() == []
        tab.page.keyboard.press("?")
        assert tab.complaints() == []
        tab.page.keyboard.press("Escape")
        assert tab.of_map("map.getPaintProperty('ground', 'background-color')") == "#0d110e"
        assert not tab.said


def test_by_keys_alone(browser, served):
    with Tab(browser, served.url) as tab:
        page = tab.page
        page.keyboard.press("m")
        assert page.evaluate("document.activeElement.tagName") == "CANVAS"
        start = tab.of_map("map.getCenter().lng")
        page.keyboard.press("ArrowRight")
        page.wait_for_function(
            f"async () => (await import('./view.js')).state.maps[0].getCenter().lng > {start}"
        )
        tab.still()
        for _ in range(14):
            page.keyboard.press("Enter")
            page.wait_for_timeout(200)
            if page.locator("#record").is_visible():
                break
            page.keyboard.press("ArrowDown")
            tab.still()
        assert page.locator("#record").is_visible(), "what lies under the cross is chosen"
        assert (
            float(page.evaluate("getComputedStyle(document.getElementById('cross')).opacity")) == 1
        )
        page.keyboard.press("Escape")
        page.keyboard.press("l")
        page.keyboard.press("l")
        assert page.evaluate("document.getElementById('side').contains(document.activeElement)")
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        assert not tab.said


def test_on_a_phone(browser, served):
    with Tab(
        browser, served.url, 390, 780, has_touch=True, is_mobile=True, device_scale_factor=2
    ) as tab:
        page = tab.page
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.locator("#side").is_hidden()
        page.tap("#show-layers")
        assert page.locator("#side").bounding_box()["height"] <= 0.5 * 780
        assert tab.complaints() == []
        assert not tab.said


def test_photographs(browser, served):
    with Tab(browser, served.url) as tab:
        page = tab.page
        page.keyboard.press("p")
        page.locator(".shot").nth(1).click()
        page.wait_for_selector("#record:not([hidden])")
        assert page.inner_text("#record-title") == "leaf1.jpg"
        assert "cover" in page.inner_text("#columns")
        shown = tab.picture()
        page.evaluate(
            "() => { const r = document.getElementById('photo-opacity-outline'); r.value = 0; "
            "r.dispatchEvent(new Event('input')); }"
        )
        assert np.abs(tab.picture() - shown).mean() > 0.5, "the outline of the mask is gone"
        assert tab.complaints() == []
        page.keyboard.press("Escape")
        assert not tab.of_map("Boolean(map.getLayer('photo-photo'))")
        assert not tab.said


SAID = """
import json, pathlib, shutil, sys, time
for done in (1, 2):
    said = {"event": "progress", "stage": "predict", "done": done, "total": 4}
    print(json.dumps(said), flush=True)
while not pathlib.Path(%r).exists():
    time.sleep(0.02)
shutil.copy(%r, "fields.parquet")
"""
"""In place of ``selion map``: goes on when a file is there."""


def test_a_box_is_dragged_and_mapped(browser, tmp_path, monkeypatch):
    """What is cut out lies where the hand has drawn, by rasterio; the result becomes a layer; what
    is stopped leaves nothing.
    """
    map_folder, go = write_map(tmp_path / "map"), tmp_path / "go"
    program = SAID % (str(go), str(map_folder / "fields.parquet"))
    fake = partial(AreaMapper, command=(sys.executable, "-c", program))
    monkeypatch.setattr("selion.web.view.page.AreaMapper", fake)
    with (
        serving(map_folder, into=tmp_path / "maps") as served,
        Tab(browser, served.url) as tab,
    ):
        page = tab.page
        tab.still()
        before = len(served.table("api/layers")["fields"])
        page.click("#map-area")
        page.wait_for_selector("#area-go")
        assert page.is_disabled("#area-go")
        frame = page.locator("#left canvas").first.bounding_box()
        middle = frame["x"] + frame["width"] / 2, frame["y"] + frame["height"] / 2
        page.mouse.move(middle[0] - 60, middle[1] - 50)
        page.mouse.down()
        page.mouse.move(middle[0], middle[1], steps=3)
        page.mouse.move(middle[0] + 70, middle[1] + 40, steps=3)
        page.mouse.up()
        drawn = [
            tab.of_map(f"map.unproject([{x - frame['x']}, {y - frame['y']}]).toArray()")
            for x, y in (
                (middle[0] - 60, middle[1] - 50),
                (middle[0] + 70, middle[1] + 40),
            )
        ]
        assert tab.complaints() == []
        page.click("#area-go")
        page.wait_for_selector("#area progress")
        page.click("#area-stop")
        page.get_by_text("nothing is left of it").wait_for()
        assert list((tmp_path / "maps").iterdir()) == []
        go.touch()
        page.click("#area-go")
        page.get_by_text("fields, in").wait_for()
        assert len(served.table("api/layers")["fields"]) == before + 1
        tab.still()
        assert not tab.said
    with rasterio.open(tmp_path / "maps" / "area-001" / "image.tif") as piece:
        found = transform_bounds(piece.crs, "EPSG:4326", *piece.bounds)
        pixel = piece.res[0] / 111_320
    (west, north), (east, south) = drawn
    slant = 6 * pixel  # the grid is turned against north
    assert np.allclose(found, (west, south, east, north), atol=slant)
    assert (found[2] - found[0]) > 20 * pixel


def test_a_grid_of_photographs_in_every_order_and_two_runs_side_by_side(browser, tmp_path):
    """Orders are those of the table, sorted here; pairs are those of two tables of one folder."""
    crops, photos = write_crops(tmp_path / "crops", tmp_path / "photos", 4)
    other = shutil.copytree(crops, tmp_path / "other")
    lines = (other / "crops.csv").read_text().splitlines()
    covers = [float(line.split(",")[4]) for line in lines[1:]]
    told = [0.5, 0.1, 0.9, 0.3]
    trust = ["yes", "no", "yes", "yes"]
    for folder, values in ((crops, covers), (other, told)):
        rows = [line.split(",") for line in lines]
        for row, value, sure in zip(rows[1:], values, trust, strict=True):
            row[3], row[4] = sure, f"{value:.3f}"
        (folder / "crops.csv").write_text("\n".join(map(",".join, rows)) + "\n")
    with serving(crops, other, photos) as served, Tab(browser, served.url, 390, 760) as tab:
        page = tab.page  # photographs alone: the grid is open
        page.locator(".shot").first.wait_for()

        def shown(place, *wanted, count=4):
            """Wait for so many names, these first and in this order."""
            end, seen = time.monotonic() + 600, []
            while seen[: len(wanted)] != list(wanted) or len(seen) != count:
                assert time.monotonic() < end, seen
                texts = page.locator(place).all_inner_texts()
                seen = [text.split()[0].removesuffix(".jpg") for text in texts]
                page.wait_for_timeout(50)
            return seen

        both = shown(".shot", "leaf1", count=8)
        assert both[4] == "leaf1", "the doubtful one is first in both runs"
        page.select_option("#photo-run-0", label="other")
        page.select_option("#photo-order", "cover")
        shown(".shot", "leaf2", "leaf0", "leaf3", "leaf1")
        page.select_option("#photo-order", "name")
        shown(".shot", "leaf0", "leaf1", "leaf2", "leaf3")
        page.select_option("#photo-run-1", label="crops")
        apart = sorted(range(4), key=lambda k: -abs(covers[k] - told[k]))
        shown(".couple", *(f"leaf{k}" for k in apart))
        words = page.locator(".couple").first.inner_text()
        assert f"{100 * abs(covers[apart[0]] - told[apart[0]]):.1f} points" in words
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        assert tab.complaints() == []
        assert not tab.said
