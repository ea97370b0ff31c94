"""A scripted person in a real Chromium: hundreds of images, and the server killed in the middle.

How many images a second are done is `bench/screening.py`'s to say.
"""

from __future__ import annotations

import json
import os
import platform
import random
import shutil
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest

from screening_scenes import Process, write_scene
from selion.data.values import read_mask
from selion.labelling.decisions import read_decisions, read_history
from selion.labelling.queue import item_id
from selion.web import server
from selion.web.masks import MaskSession, masks_page
from selion.web.standing import NAME as WATCH
from selion.web.standing import watch_page
from web.test_masks import SHAPE, opened

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
READY = 'body[data-ready]:not([data-ready=""])'


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield running
        running.close()


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SELION_CACHE", str(tmp_path / "cache"))


@contextmanager
def process(*arguments):
    served = Process(*arguments)
    try:
        yield served
    finally:
        served.kill()


class Tab:
    """A tab with what its console said."""

    def __init__(self, browser, url, **context):
        self.context = browser.new_context(viewport={"width": 1440, "height": 900}, **context)
        self.context.set_default_timeout(120_000)
        self.page = self.context.new_page()
        self.said: list[str] = []
        self.page.on(
            "console",
            lambda message: (
                self.said.append(f"{message.type}: {message.text}")
                if message.type in ("error", "warning")
                else None
            ),
        )
        self.page.on("pageerror", lambda problem: self.said.append(f"pageerror: {problem}"))
        self.page.goto(url)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.context.close()

    def ready(self, other_than=""):
        self.page.wait_for_selector(f'{READY}:not([data-ready="{other_than}"])')
        return self.page.get_attribute("body", "data-ready")

    def of_the_page(self):
        """What was said but that a server is away: refused, reset or cut off, as it happens."""
        return [line for line in self.said if "Failed to load resource: net::ERR_" not in line]

    def tiles(self):
        found = self.page.locator(".tile").evaluate_all(
            "all => all.map(t => [t.dataset.id, t.dataset.word, "
            "...['x','y','width','height'].map(k => t.getBoundingClientRect()[k])])"
        )
        return [(each[0], each[1], each[2] + each[4] / 2, each[3] + each[5] / 2) for each in found]

    def saved(self):
        self.page.wait_for_selector("#saved:text-is('saved')")


def last_words(pseudo):
    return {key: decision.decision for key, decision in read_decisions(pseudo).items()}


def mark(tab, chance):
    """Click one, drag over some, keep one by keys; return what the person meant by id."""
    tiles = tab.tiles()
    meant = {each[0]: "reject" for each in tiles}
    way = chance.random()
    if way < 0.15:
        tab.page.keyboard.press("a")
        meant = dict.fromkeys(meant, "keep")
        if way < 0.05:
            tab.page.keyboard.press("x")
            meant = dict.fromkeys(meant, "reject")
    else:
        one = chance.choice(tiles)
        tab.page.mouse.click(one[2], one[3])
        meant[one[0]] = "keep"
        start = chance.randrange(len(tiles) - 1)
        row = [each for each in tiles[start : start + 4] if each[3] == tiles[start][3]]
        if all(meant[each[0]] == "reject" for each in row):
            tab.page.mouse.move(row[0][2], row[0][3])
            tab.page.mouse.down()
            tab.page.mouse.move(row[-1][2], row[-1][3], steps=8)
            tab.page.mouse.up()
            meant |= {each[0]: "keep" for each in row}
        full = chance.randrange(len(tiles))
        tab.page.locator(".tile").nth(full).focus()
        tab.page.keyboard.press("f")
        meant[tiles[full][0]] = "full"
    return meant


@pytest.mark.parametrize(
    ("images", "killed"), [(300, (1, 3)), pytest.param(1000, (7, 15), marks=pytest.mark.long)]
)
def test_hundreds_of_images_and_a_killed_server(browser, tmp_path, images, killed):
    photos, pseudo = write_scene(tmp_path, images)
    chance, meant = random.Random(3), {}
    with (
        process(photos, pseudo, "--person", "Ada", "--repeats", "0") as served,
        Tab(browser, served.url) as tab,
    ):
        first = served.url
        shown, page = tab.ready(), 0
        while shown != "finished":
            meant |= mark(tab, chance)
            if page in killed:  # killed while this page is on its way, and the person goes on
                tab.page.keyboard.press("Enter")
                served.child.kill()
                starting = threading.Thread(target=served.again, kwargs={"pause": 0.3})
                starting.start()
                shown = tab.ready(shown)
                meant |= mark(tab, chance)
                starting.join()
            tab.page.keyboard.press("Enter")
            shown = tab.ready(shown)
            page += 1
        tab.saved()
        assert served.url == first  # the same port and token, so that an open page goes on
        # what Chromium says while there is no server
        ours = tab.of_the_page()
        assert ours == []
        assert 0 < len(tab.said) - len(ours) < 250
        assert page > max(killed)
    history = read_history(pseudo / "decisions.jsonl")
    assert len(meant) == images
    assert {item_id(key): word for key, word in last_words(pseudo).items()} == meant
    assert sum(map(len, history.batches.values())) == images  # what was sent twice is written once


def test_reload_undo_and_drafts(browser, tmp_path):
    photos, pseudo = write_scene(tmp_path, 130)
    with (
        process(photos, pseudo, "--person", "Ada", "--repeats", "0") as served,
        Tab(browser, served.url) as tab,
    ):
        shown = tab.ready()
        firsts = []
        for k in range(3):
            ids = [each[0] for each in tab.tiles()]
            firsts.append(ids)
            tab.page.locator(".tile").nth(k).click()
            tab.page.keyboard.press("Enter")
            shown = tab.ready(shown)
        tab.page.locator(".tile").nth(5).click()  # not written yet
        tab.saved()
        tab.page.reload()
        tab.ready()
        tiles = tab.tiles()
        assert [each[1] for each in tiles].index("keep") == 5
        assert not {each[0] for each in tiles} & {name for ids in firsts for name in ids}
        for k in (2, 1):  # twice back
            tab.page.keyboard.press("z")
            tab.page.wait_for_selector(f'body[data-ready="{firsts[k][0]}"]')
            back = tab.tiles()
            assert [each[0] for each in back] == firsts[k]
            assert [each[1] for each in back].index("keep") == k
        assert len(read_decisions(pseudo)) == 40
        tab.page.keyboard.press("x")
        tab.page.keyboard.press("Enter")
        tab.page.wait_for_selector(f'body[data-ready="{firsts[2][0]}"]')
        tab.page.keyboard.press("Enter")
        tab.ready(firsts[2][0])
        # the page in hand kept its marks
        assert [each[1] for each in tab.tiles()].index("keep") == 5
        tab.saved()
        assert len(read_decisions(pseudo)) == 120
        assert sum(word == "keep" for word in last_words(pseudo).values()) == 2
        assert tab.said == []


def test_fine_pass(browser, tmp_path):
    photos, pseudo = write_scene(tmp_path, 30)
    with (
        process(photos, pseudo, "--person", "Ada", "--repeats", "0") as served,
        Tab(browser, served.url) as tab,
    ):
        shown = tab.ready()
        tab.page.keyboard.press("a")
        tab.page.keyboard.press("Enter")
        assert tab.ready(shown) == "finished"
        tab.page.keyboard.press("2")
        shown = tab.ready("finished")
        meant = []
        for key, word in (
            ("k", "keep"),
            ("r", "reject"),
            ("f", "full"),
            ("u", "unsure"),
            ("r", "reject"),
        ):
            tab.page.keyboard.press(key)
            meant.append((shown, word))
            shown = tab.ready(shown)
        tab.page.keyboard.press("z")
        tab.page.wait_for_selector(f'body[data-ready="{meant[-1][0]}"]')
        assert "rejected" in tab.page.inner_text("#said")
        tab.page.keyboard.press("z")
        tab.page.wait_for_selector(f'body[data-ready="{meant[-2][0]}"]')
        assert tab.page.is_visible("#edge")
        tab.page.keyboard.press("o")
        assert not tab.page.is_visible("#edge")
        before = float(tab.page.locator("#shade").evaluate("e => getComputedStyle(e).opacity"))
        tab.page.keyboard.press("]")
        assert float(
            tab.page.locator("#shade").evaluate("e => getComputedStyle(e).opacity")
        ) == pytest.approx(before + 0.1)
        tab.page.keyboard.press("+")
        assert "scale(1.5)" in tab.page.get_attribute("#layers", "style")
        tab.saved()
        said = [entry for entry in read_decisions(pseudo).values() if entry.stage == "fine"]
        assert sorted(entry.decision for entry in said) == ["full", "keep", "reject"]
        assert tab.said == []


def test_two_people_on_one_folder(browser, tmp_path):
    photos, pseudo = write_scene(tmp_path, 250)
    with process(photos, pseudo, "--repeats", "0") as served:
        tabs = [Tab(browser, served.url) for _ in range(2)]
        for tab, name in zip(tabs, ("Ada", "Ben"), strict=True):
            tab.page.wait_for_selector("#who[open]")
            tab.page.fill("#name", name)
            tab.page.keyboard.press("Enter")
            tab.ready()
        seen = [{each[0] for each in tab.tiles()} for tab in tabs]
        assert not seen[0] & seen[1]  # nobody does another's work
        for tab in tabs:
            tab.page.keyboard.press("a")
            tab.page.keyboard.press("Enter")
            tab.saved()
            assert tab.said == []
            tab.context.close()
    assert {decision.person for decision in read_decisions(pseudo).values()} == {"Ada", "Ben"}


def test_readable_on_a_phone_and_in_the_dark(browser, tmp_path):
    photos, pseudo = write_scene(tmp_path, 30)
    with process(photos, pseudo, "--person", "Ada") as served:
        for scheme, width in (("light", 390), ("dark", 390), ("dark", 1440)):
            with Tab(browser, served.url, color_scheme=scheme, has_touch=width < 500) as tab:
                tab.page.set_viewport_size({"width": width, "height": 844})
                tab.ready()
                assert tab.page.evaluate("document.documentElement.scrollWidth") <= width
                ink, paper = tab.page.locator("body").evaluate(
                    "e => [getComputedStyle(e).color, getComputedStyle(e).backgroundColor]"
                )
                assert contrast(ink, paper) > 7
                assert (
                    tab.page.locator("button:visible, select:visible").evaluate_all(
                        "all => all.filter(b => !(b.innerText || b.ariaLabel).trim()).length"
                    )
                    == 0
                )
                if width < 500:
                    tile = tab.page.locator(".tile").first
                    tile.tap()
                    assert tile.get_attribute("data-word") == "keep"
                    tile.tap()
                    assert tile.get_attribute("data-word") == "reject"
                    assert tile.bounding_box()["width"] > 100
                assert tab.said == []


def contrast(first, second):
    """WCAG contrast of two rgb() colours."""

    def light(colour):
        parts = [int(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
        linear = [
            part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
        ]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((light(first), light(second)))
    return (high + 0.05) / (low + 0.05)


def test_masks_are_drawn_and_a_server_that_died_is_waited_for(browser, tmp_path):
    """A stroke, an outline, one taken back; what is drawn while nobody answers is not lost."""
    folder = tmp_path / "drawn"
    folder.mkdir()
    first = MasksServer(folder)
    with Tab(browser, first.url) as tab:
        one = tab.ready()
        box = tab.page.locator("#photo").bounding_box()
        each = box["width"] / SHAPE[1]  # screen pixels of a pixel

        def place(x, y):
            return box["x"] + x * each, box["y"] + y * each

        tab.page.locator("#size").fill("4")
        tab.page.mouse.move(*place(10, 20))
        tab.page.mouse.down()
        tab.page.mouse.move(*place(30, 20), steps=5)
        tab.page.mouse.up()
        tab.saved()
        # by hand: a box of 20 x 8 and two halves of a disc of 4
        assert first.editor.mask(one).sum() == pytest.approx(20 * 8 + 50.3, abs=4)
        first.stop()
        tab.page.keyboard.press("p")
        for corner in ((40, 5), (55, 5), (55, 15), (40, 15)):
            tab.page.mouse.click(*place(*corner))
        tab.page.keyboard.press("Enter")
        tab.page.wait_for_selector("#saved.lost")
        again = MasksServer(folder)
        assert again.url == first.url
        tab.saved()
        assert again.editor.mask(one)[5:15, 40:55].sum() == pytest.approx(150, abs=16)
        tab.page.keyboard.press("z")
        tab.saved()
        assert again.editor.mask(one)[5:15, 40:55].sum() == 0
        tab.page.keyboard.press("Enter")
        other = tab.ready(other_than=one)
        assert other != one
        assert again.editor.counts()["done"] == 1
        tab.page.keyboard.press("k")
        tab.page.wait_for_selector("body[data-finished]")
        assert tab.of_the_page() == []
        again.stop()


HASTE = """() => { for (let k = 0; k < 3; k += 1) {
    window.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter" })); } }"""


def test_haste_neither_skips_a_photograph_nor_ends_one_that_nobody_has_seen(browser, tmp_path):
    """Enter three times at once, on a machine that is busy, was one photograph done and the next
    two passed over; and Enter before the photograph was there made it done.
    """
    served = MasksServer(tmp_path, names=("a", "b", "c", "d"))
    with Tab(browser, served.url) as tab:
        one = tab.ready()
        tab.page.evaluate(HASTE)
        other = tab.ready(other_than=one)
        tab.saved()
        assert tab.page.locator("#about").inner_text().startswith("2 of 4")
        assert served.editor.counts()["done"] == 1
        held = []

        def late(route):
            held.append(route)

        tab.page.route("**/mask/*", late, times=1)  # the mask of the third does not come yet
        tab.page.keyboard.press("Enter")
        tab.page.wait_for_selector("#about:has-text('3 of 4')")
        tab.page.evaluate(HASTE)
        tab.saved()
        assert served.editor.counts()["done"] == 2
        while not held:
            tab.page.wait_for_timeout(50)
        for route in held:
            route.continue_()
        tab.ready(other_than=other)
        assert tab.page.locator("#about").inner_text().startswith("3 of 4")
        for _ in (3, 4):
            shown = tab.page.get_attribute("body", "data-ready")
            tab.page.keyboard.press("Enter")
            if _ == 3:
                tab.ready(other_than=shown)
        tab.page.wait_for_selector("body[data-finished=yes]")
        assert served.editor.counts() == {"total": 4, "done": 4, "skip": 0}
        tab.page.click("#finish")
        tab.page.wait_for_selector("body[data-finished=ended]")
        # the server goes now: nothing is left that could be pressed
        assert tab.page.locator("main button:enabled, #finish:enabled").count() == 0
        tab.page.keyboard.press("Enter")
        assert "Thank you" in tab.page.locator("#said").inner_text()
        assert tab.said == []
        served.stop()


class MasksServer:
    """A page of masks in a thread, which can be stopped in the middle."""

    def __init__(self, folder, **more):
        self.editor, self.done = opened(folder, **more), threading.Event()
        session = MaskSession(self.editor, "here", "Ada", "Train")
        self.socket, address, _ = server.listen(folder)
        self.url = address.url("masks")
        app = server.make_app([masks_page(session)], address)
        self.thread = threading.Thread(
            target=server.serve_until, args=(app, self.socket, self.done), daemon=True
        )
        self.thread.start()

    def stop(self):
        self.done.set()
        self.thread.join(20)
        self.socket.close()


class Fingers:
    """Fingers on the screen of a phone, by Chromium's own touch events."""

    def __init__(self, tab):
        self.session = tab.context.new_cdp_session(tab.page)
        self.tab = tab

    def touch(self, kind, *places):
        points = [{"x": x, "y": y, "id": k} for k, (x, y) in enumerate(places)]
        self.session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    def pinch(self, begins, ends, steps=6):
        """Put one finger down, then the other, move both, and lift them."""
        self.touch("touchStart", begins[0])
        self.touch("touchMove", (begins[0][0] + 3, begins[0][1]))  # it has begun to draw
        begins = [(begins[0][0] + 3, begins[0][1]), begins[1]]
        self.touch("touchStart", *begins)
        for k in range(1, steps + 1):
            part = k / steps
            self.touch(
                "touchMove",
                *(
                    (a[0] + part * (b[0] - a[0]), a[1] + part * (b[1] - a[1]))
                    for a, b in zip(begins, ends, strict=True)
                ),
            )
        self.touch("touchEnd", ends[1])
        self.touch("touchMove", (ends[1][0] + 20, ends[1][1]))  # the last one lifted draws nothing
        self.touch("touchEnd")

    def photo(self):
        box = self.tab.page.locator("#photo").bounding_box()
        return box["x"], box["y"], box["width"] / SHAPE[1]


def test_two_fingers_move_and_enlarge_a_mask_and_one_draws(browser, tmp_path):
    """On a screen of 390 px: what lay under the fingers lies under them, and nothing was drawn."""
    served = MasksServer(tmp_path)
    phone = {"has_touch": True, "is_mobile": True, "device_scale_factor": 2}
    with Tab(browser, served.url, **phone) as tab:
        tab.page.set_viewport_size({"width": 390, "height": 780})
        one = tab.ready()
        fingers = Fingers(tab)
        tab.page.locator("#size").fill("2")
        view = tab.page.locator("#view").bounding_box()
        middle = (view["x"] + view["width"] / 2, view["y"] + view["height"] / 2)

        def beside(by, dx=0, dy=0):
            return [(middle[0] + sign * by + dx, middle[1] + dy) for sign in (-1, 1)]

        left, top, each = fingers.photo()
        held = [((x - left) / each, (y - top) / each) for x, y in beside(30)]
        held[0] = (held[0][0] + 3 / each, held[0][1])  # where the first was as the second came
        fingers.pinch(beside(30), beside(84))
        left, top, larger = fingers.photo()
        assert larger / each == pytest.approx(168 / 57, rel=0.02)
        for (x, y), seen in zip(held, beside(84), strict=True):
            assert left + larger * x == pytest.approx(seen[0], abs=4)
            assert top + larger * y == pytest.approx(seen[1], abs=4)
        before = fingers.photo()
        fingers.pinch(beside(50), [(x + 60, y + 40) for x, y in beside(50)])
        left, top, same = fingers.photo()
        assert same == pytest.approx(larger * 100 / 97, rel=0.02)
        assert left - before[0] > 40
        assert top - before[1] > 25
        tab.saved()
        assert served.editor.mask(one).sum() == 0
        assert tab.page.locator("#undo").is_disabled()
        # one finger draws where it is, on the enlarged photograph
        left, top, each = fingers.photo()
        fingers.touch("touchStart", middle)
        fingers.touch("touchMove", (middle[0] + 10 * each, middle[1]))
        fingers.touch("touchEnd")
        tab.saved()
        x, y = (middle[0] - left) / each, (middle[1] - top) / each
        drawn = np.argwhere(served.editor.mask(one))
        assert drawn.mean(0) == pytest.approx([y - 0.5, x + 4.5], abs=0.6)
        assert len(drawn) == pytest.approx(10 * 4 + 12.6, abs=6)
        # a fill that becomes a pinch fills nothing, a tap does; corners survive a pinch
        tab.page.locator("[data-tool=fill]").tap()
        fingers.pinch(beside(30), beside(25))
        tab.saved()
        assert len(np.argwhere(served.editor.mask(one))) == len(drawn)
        tab.page.locator("[data-tool=polygon]").tap()
        left, top, each = fingers.photo()
        corners = [(left + each * a, top + each * b) for a, b in ((24, 16), (34, 16), (34, 22))]
        for corner in corners[:2]:
            fingers.touch("touchStart", corner)
            fingers.touch("touchEnd")
        fingers.pinch(beside(30), beside(33))
        left, top, each = fingers.photo()
        for _ in range(2):  # a double tap closes the outline
            fingers.touch("touchStart", (left + each * 34, top + each * 22))
            fingers.touch("touchEnd")
        tab.page.wait_for_selector("#undo:enabled")
        tab.saved()
        more = served.editor.mask(one)
        assert more[17, 27:33].all()
        tab.page.screenshot(path=tmp_path / "phone.png")
        assert tab.said == []
        served.stop()


def test_a_mask_is_corrected_and_the_screening_goes_on(browser, tmp_path):
    """From the sheet and one by one, the server killed in between; the original stays."""
    photos, pseudo = write_scene(tmp_path, 26)
    with (
        process(photos, pseudo, "--person", "Ada", "--repeats", "0") as served,
        Tab(browser, served.url) as tab,
    ):
        tab.ready()
        tile = tab.page.locator(".tile").nth(3)
        tab.page.locator(".tile").nth(1).click()  # a mark, which outlives the way there
        tile.focus()
        tab.page.keyboard.press("c")
        tab.page.wait_for_url("**/masks/**")
        tab.ready()
        key = tab.page.locator("#about").inner_text().split(" · ")[0]
        mask = pseudo / "masks" / f"{key}.png"
        was = mask.read_bytes()
        box = tab.page.locator("#photo").bounding_box()
        tab.page.keyboard.press("u")
        tab.page.locator("#size").fill("3")
        tab.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        tab.page.mouse.down()
        tab.page.mouse.up()
        tab.saved()
        served.again()
        assert mask.read_bytes() == was
        tab.page.keyboard.press("Enter")
        tab.page.wait_for_url("**/screen/**")
        tab.ready()
        disc = read_mask(mask)[0] == 255
        assert 21 <= disc.sum() <= 37  # of a reach of 3: 28.3 pixels
        assert disc[18:22, 18:22].all()
        assert (pseudo / "corrections" / "originals" / f"{key}.png").read_bytes() == was
        said = read_decisions(pseudo)[key]
        assert (said.decision, said.person) == ("keep", "Ada")
        assert [each[1] for each in tab.tiles()].count("keep") == 1
        assert key not in [
            label.split(",")[0]
            for label in tab.page.locator(".tile").evaluate_all(
                "all => all.map(t => t.getAttribute('aria-label'))"
            )
        ]
        tab.page.keyboard.press("2")
        tab.page.locator("#scope").select_option("all")
        tab.page.wait_for_selector("#correct:enabled")
        tab.page.click("#correct")
        tab.page.wait_for_url("**/masks/**")
        tab.ready()
        tab.page.click("#skip")
        tab.page.wait_for_url("**/screen/**")
        tab.ready()
        assert len(read_decisions(pseudo)) == 1
        assert tab.of_the_page() == []


def write_plan(folder):
    """Four jobs: one finished, one failed, one that runs in this process, one that waits."""
    begun, here = int(time.time()) - 4000, platform.node()
    jobs = {
        "done": f"begin {begun} {here} 9 \nend {begun + 2000} {here} 9 0\n",
        "bad": f"begin {begun} {here} 9 \nend {begun + 100} {here} 9 2\n",
        "runs": f"begin {begun + 3500} {here} {os.getpid()} \n",
        "next": "",
    }
    for k, (name, times) in enumerate(jobs.items()):
        place = folder / "jobs" / name
        place.mkdir(parents=True)
        east, north = 11 + k % 2, 48 + k // 2
        ring = [[east, north], [east + 1, north], [east + 1, north + 1], [east, north + 1]]
        core = {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}
        (place / "area.geojson").write_text(json.dumps({"properties": {"core": core}}))
        if times:
            (place / "job.times").write_text(times)
            (place / "job.log").write_text("Error: no scene\n" if name == "bad" else "50%\n")
    (folder / "jobs/done/fields.parquet").touch()
    told = [{"name": n, "km2": 100.0, "seconds": 1000.0, "gigabytes": 2.0} for n in jobs]
    (folder / "jobs.json").write_text(json.dumps(told))
    about = {"area": "Valley", "year": 2024, "costs": {"dollars": 20.0}, "prices": {}}
    (folder / "plan.json").write_text(json.dumps(about))
    return folder


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_of_a_plan_draws_each_state(browser, tmp_path, width):
    opened, address, _ = server.listen(write_plan(tmp_path / "plan"))
    running = server.make_server(server.make_app([watch_page(tmp_path / "plan")], address))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [opened]}, daemon=True)
    thread.start()
    try:
        context = browser.new_context(viewport={"width": width, "height": 800})
        page = context.new_page()
        said = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda problem: said.append(str(problem)))
        page.goto(address.url(WATCH))
        page.wait_for_selector("#map path.finished")
        for state in ("finished", "failed", "running", "waiting"):
            assert page.locator(f"#map path.{state}").count() == 1
        assert "Error: no scene" in page.inner_text("article.failed")
        colours = {
            page.locator(f"#map path.{state}").evaluate("one => getComputedStyle(one).fill")
            for state in ("finished", "failed", "running", "waiting")
        }
        assert len(colours) == 4, "each state has its own colour"
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.locator("#map path.failed").click()
        assert page.inner_text("#picked").startswith("bad: failed")
        from axe_playwright_python.sync_playwright import Axe

        assert Axe().run(page).response["violations"] == []
        if shots := os.environ.get("SELION_SHOTS"):
            page.screenshot(path=f"{shots}/watch_{width}.png", full_page=True)
        assert said == []
        context.close()
    finally:
        running.should_exit = True
        thread.join(10)
        opened.close()
