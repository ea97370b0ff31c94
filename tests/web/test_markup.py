"""Markup in every name that a page shows is text there: read in a real Chromium, which says what it
ran, asked for and opened; and what each report says itself that a browser may do.
"""

from __future__ import annotations

import re
import shutil
import threading
from base64 import b64encode
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from html.parser import HTMLParser
from urllib.parse import quote

import geopandas
import numpy as np
import pytest

import review_scenes
import screening_scenes
import view_scenes
from counting_host import counting_host
from hostile_figures import FIGURES, HOST, plan
from hostile_pages import FILE, MARK, NAMED, REPORTS, write_photo
from selion import fields
from selion.classes import ClassScheme
from selion.labelling.mask_editor import MaskEditor, MaskItem
from selion.store.address import RemotePath
from selion.web import server
from selion.web.masks import MaskSession, masks_page
from selion.web.standing import watch_page
from selion.web.view.page import view_page

CHROMIUM = next(
    (
        path
        for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
        if (path := shutil.which(name))
    ),
    None,
)
EVERY = REPORTS | FIGURES
STRANGE = "[onerror],[onclick],[onload],[style*=url],script:not([src]),img[src='x']"
"""What none of our pages has, and each mark would bring."""
LOADED = "async all => { for (const i of all) { i.loading = 'eager'; await i.decode(); } }"


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reports")
    made = {}
    for name, make in EVERY.items():
        (folder / name).mkdir()
        made[name] = make(folder / name)
    return made


class Strict(HTMLParser):
    """What a page is made of."""

    def __init__(self, text):
        super().__init__()
        self.policy, self.styles, self.wrong, self.inside = "", [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if given.get("http-equiv") == "content-security-policy":
            self.policy = given["content"]
        self.inside = tag
        self.wrong += [tag] * (tag in ("script", "iframe", "object", "embed", "base", "link", "b"))
        self.wrong += [f"{tag} {name}" for name in given if name.startswith("on")]
        self.wrong += [f"{tag} style"] * ("style" in given)
        for name in ("src", "href"):
            address = given.get(name, "")
            if re.match(r"(?!data:image/)\w+:|//", address):
                self.wrong.append(address)

    def handle_data(self, data):
        if self.inside == "style":
            self.styles.append(data)

    def handle_endtag(self, tag):
        self.inside = ""


@pytest.mark.parametrize("name", EVERY)
def test_a_report_forbids_what_it_does_not_hold(reports, name):
    text = reports[name].read_text("utf-8")
    found = Strict(text)
    assert found.wrong == []
    (style,) = found.styles
    known = b64encode(sha256(style.encode()).digest()).decode()  # by the specification
    said = dict(part.strip().split(" ", 1) for part in found.policy.split(";"))
    assert said["default-src"] == "'none'"
    assert said["style-src"] == f"'sha256-{known}'"
    assert said["img-src"] == "'self' file: data:"
    assert said["base-uri"] == said["form-action"] == "'none'"
    assert text.index("http-equiv") < text.index("<style>") < text.index("<body>")
    assert "onerror" in text, "the names are on the page"


class Watched:
    """A tab, and all that it did besides showing."""

    def __init__(self, browser, home):
        self.home, self.did = home, []
        self.page = browser.new_page(viewport={"width": 1000, "height": 700})
        self.page.on("dialog", self.dialog)
        self.page.on("console", lambda told: self.did.append(f"{told.type}: {told.text}"))
        self.page.on("pageerror", lambda problem: self.did.append(f"error: {problem}"))
        self.page.on("request", self.asked)

    def dialog(self, dialog):
        self.did.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def asked(self, request):
        if not request.url.startswith((self.home, "data:", "blob:")):
            self.did.append(f"asked: {request.url}")

    def checked(self, *words):
        """Say what is strange on the page as it stands, and which words it does not show."""
        text = self.page.inner_text("body")
        strange = self.page.locator(STRANGE).evaluate_all("all => all.map(e => e.outerHTML)")
        lacking = [word for word in words if word not in text]
        did, self.did = self.did, []
        return strange, lacking, did


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium or Chrome on the PATH: apt-get install chromium")
    flags = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
             "--ignore-gpu-blocklist"]  # fmt: skip
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield running
        running.close()


@contextmanager
def serving_pages(folder, page):
    """Serve a page from a thread of this process."""
    opened, address, _ = server.listen(folder)
    running = server.make_server(server.make_app([page], address))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [opened]}, daemon=True)
    thread.start()
    try:
        yield address
    finally:
        running.should_exit = True
        thread.join(10)
        opened.close()


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SELION_CACHE", str(tmp_path / "cache"))


def marked(folder):
    """A map whose ids, words and columns are markup."""
    path = review_scenes.write_map(folder, 2, 3) / "fields.parquet"
    frame = geopandas.read_parquet(path)
    frame["id"] = [f"{MARK}{k}" for k in range(len(frame))]
    frame[FILE] = [MARK, "other"] * 3
    fields.write_fields(frame, path, force=True)
    return folder


def test_reports_do_nothing(browser, reports):
    tab = Watched(browser, "file://")
    for name, path in reports.items():
        tab.page.goto(path.as_uri())
        assert tab.page.locator("main").evaluate("e => getComputedStyle(e).maxWidth") != "none"
        tab.page.locator("img").evaluate_all(LOADED)  # its own pictures it may load
        assert tab.checked("onerror") == ([], [], []), name
    tab.page.close()


@pytest.mark.usefixtures("own_cache")
def test_the_viewer_shows_markup_as_text(browser, tmp_path):
    shown = marked(tmp_path / FILE)
    (shown / f"{FILE}.tif").write_bytes(b"no image")
    photos, traits = tmp_path / "photos", tmp_path / "crops"
    view_scenes.write_crops(traits, photos, 1)
    (photos / "leaf0.jpg").rename(photos / f"{FILE}.jpg")
    table = (traits / "crops.csv").read_text()
    rows = table.replace("leaf0.jpg,", f"{FILE}.jpg,", 1).replace(",yes,", ",no,").splitlines()
    rows = [f"{rows[0]},reasons,time,{FILE}", f"{rows[1]},{FILE},{FILE},{FILE}"]
    (traits / "crops.csv").write_text("\n".join(rows))
    places = tmp_path / "places.geojson"
    name = MARK.replace('"', "'")
    places.write_text(
        f'{{"type":"FeatureCollection","features":[{{"type":"Feature","properties":{{"name":"{name}'
        '"},"geometry":{"type":"Point","coordinates":[12,48]}},{"type":"Feature","properties":'
        f'{{"name":"{name} 2"}},"geometry":{{"type":"Point","coordinates":[12,47]}}}}]}}'
    )
    with view_scenes.serving(shown, traits, photos, names=places) as served:
        tab = Watched(browser, served.address.url())
        page = tab.page
        page.goto(served.url)
        page.wait_for_selector('body[data-ready="1"]')
        page.fill("#wanted", "onerror")
        page.press("#wanted", "Enter")
        page.wait_for_selector("#found li")
        page.select_option("#by-f0", FILE)
        page.wait_for_selector("#legend li:has-text('onerror')")
        page.fill("#wanted", f"{MARK}3")
        page.press("#wanted", "Enter")
        page.wait_for_selector("#record:not([hidden])")
        assert NAMED.replace("3", "1") in page.inner_text("#record")
        page.click("#show-photos")  # the record that is open does not lie over them
        page.wait_for_selector(".shot")
        assert NAMED in page.inner_text(".shot")
        page.locator(".shot").first.click()
        page.wait_for_selector("#record-title:has-text('onerror')")
        assert tab.checked(NAMED) == ([], [], [])


@pytest.mark.usefixtures("own_cache")
def test_the_review_shows_markup_as_text(browser, tmp_path):
    with review_scenes.serving(marked(tmp_path / FILE), person=FILE) as served:
        tab = Watched(browser, served.address.url())
        tab.page.goto(served.address.url("review"))
        tab.page.wait_for_selector('body[data-ready]:not([data-ready=""])')
        assert tab.checked("onerror") == ([], [], [])


@pytest.mark.usefixtures("own_cache")
def test_the_screening_shows_markup_as_text(browser, tmp_path):
    photos, pseudo = screening_scenes.write_scene(tmp_path, 3)
    for folder, ending in ((photos, "jpg"), (pseudo / "masks", "png")):
        for path in sorted(folder.rglob(f"*.{ending}")):
            path.rename(path.with_name(f"{FILE}{path.name}"))
    quality = pseudo / "quality.csv"
    quality.write_text(quality.read_text().replace("/img_", f"/{FILE}img_"))
    with screening_scenes.serving(photos, pseudo, repeats=0, person=FILE) as served:
        tab = Watched(browser, served.address.url())
        tab.page.goto(served.address.url("screen"))
        tab.page.wait_for_selector('body[data-ready]:not([data-ready=""])')
        tab.page.keyboard.press("a")
        tab.page.keyboard.press("Enter")
        tab.page.wait_for_selector('body[data-ready="finished"]')
        tab.page.keyboard.press("2")
        tab.page.wait_for_selector('body:not([data-ready="finished"])')
        assert tab.checked("onerror") == ([], [], [])


@pytest.mark.usefixtures("own_cache")
def test_the_mask_page_and_a_remote_table_show_markup_as_text(browser, tmp_path):
    """In one test, as a tab costs more than what is shown in it."""
    photo, starts = tmp_path / f"{FILE}.jpg", {FILE: partial(np.zeros, (240, 360), np.uint8)}
    write_photo(photo)
    items = [
        MaskItem(f"i{k}", f"{MARK}{k}", photo, (240, 360), starts, tmp_path / f"{k}.png")
        for k in range(2)
    ]
    editor = MaskEditor(items, tmp_path / "edits.jsonl", ClassScheme((MARK, "crop")))
    with serving_pages(tmp_path, masks_page(MaskSession(editor, MARK, FILE, MARK))) as address:
        tab = Watched(browser, address.url())
        tab.page.goto(address.url("masks"))
        tab.page.wait_for_selector('body[data-ready]:not([data-ready=""])')
        assert tab.checked("onerror") == ([], [], [])
    far = tmp_path / "far"
    (far / quote(FILE)).mkdir(parents=True)
    (marked(tmp_path / "near") / "fields.parquet").rename(far / quote(FILE) / "fields.parquet")
    with counting_host(far) as host:
        there = RemotePath(f"{host.url}/{quote(FILE)}/fields.parquet?sig=SECRET")
        page, found = view_page([there])
        with serving_pages(tmp_path, page) as address:
            tab.home = address.url()
            tab.page.goto(address.url("view"))
            tab.page.wait_for_selector('body[data-ready="1"]')
            tab.page.select_option("#by-f0", FILE)
            tab.page.wait_for_selector("#legend li:has-text('onerror')")
            assert tab.checked(NAMED) == ([], [], [])
            assert "SECRET" not in tab.page.content()
        found.close()
    tab.page.close()


def test_the_page_of_a_plan_shows_markup_as_text(browser, tmp_path):
    """Its area, jobs, machines and the last lines of logs."""
    with serving_pages(tmp_path, watch_page(plan(tmp_path / FILE))) as address:
        tab = Watched(browser, address.url())
        tab.page.goto(address.url("watch"))
        tab.page.wait_for_selector("article.failed")
        tab.page.locator("#map path.failed").click()
        assert "onerror=alert(1)" in tab.page.inner_text("article.failed pre")
        assert HOST in tab.page.inner_text("article.failed p")
        assert tab.checked(NAMED, MARK) == ([], [], [])
    tab.page.close()


@pytest.mark.usefixtures("own_cache")
def test_a_planted_mark_would_be_seen(browser, tmp_path):
    page = tmp_path / "page.html"
    page.write_text(f"<body>{MARK}<script src='http://elsewhere.invalid/x.js'></script>")
    tab = Watched(browser, "file://")
    tab.page.goto(page.as_uri())
    strange, _, did = tab.checked()
    assert len(strange) >= 3
    assert {one.split(":")[0] for one in did} >= {"dialog", "asked"}
