"""A scripted person in a real Chromium: 200 fields with everything that can be done, the server
killed in the middle; two persons on one field; axe.
"""

from __future__ import annotations

import random
import shutil
import threading
from contextlib import contextmanager

import numpy as np
import pytest

from review_scenes import ReviewProcess, serving, write_map
from selion import review, survey
from selion.imagery import read_area
from selion.review.actions import Action, parse_line
from web.test_browser import CHROMIUM, READY, Tab, contrast

playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed: pip install playwright"
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROMIUM is None, reason="no Chromium or Chrome on the PATH: apt-get install chromium"
    ),
]


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


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return write_map(tmp_path_factory.mktemp("toy"), 15, 15)


@pytest.fixture
def folder(toy, tmp_path):
    return shutil.copytree(toy, tmp_path / "map")


@contextmanager
def process(*arguments):
    served = ReviewProcess(*arguments)
    try:
        yield served
    finally:
        served.kill()


def actions(folder):
    read = [parse_line(line) for line in review.find_map(folder).log.read_bytes().splitlines()]
    assert None not in read
    return [action for action in read if isinstance(action, Action)]


class Person:
    """Does with keys and mouse what it means to, and remembers it."""

    def __init__(self, tab, seed=3):
        self.tab, self.page, self.chance, self.meant = tab, tab.page, random.Random(seed), []

    @property
    def item(self):
        """The field on the screen, as the page has drawn it: id, ring in pixels of the screen,
        neighbours that touch.
        """
        return self.page.evaluate(
            """() => {
              const svg = document.getElementById("view"), matrix = svg.getScreenCTM();
              const outline = document.querySelector("#own path").getAttribute("d");
              const d = outline.split("Z")[0].slice(1).split("L").map(
                (p) => p.split(" ").map(Number));
              const ring = d.map(([x, y]) => {
                const p = new DOMPoint(x, y).matrixTransform(matrix);
                return [p.x, p.y];
              });
              const there = ["undecided", "accepted", "corrected"];
              const near = [...document.querySelectorAll("#near .joins")]
                .filter((p) => there.includes(p.dataset.status)).map((p) => p.dataset.id);
              return { id: document.body.dataset.ready.split("@")[0], ring, near };
            }"""
        )

    def wait(self, other_than):
        try:
            # starting again takes a while on a busy machine
            self.page.wait_for_selector(f'{READY}:not([data-ready="{other_than}"])', timeout=90_000)
        except playwright.TimeoutError as late:
            message = (
                f"after {self.meant[-1:]} the page says {self.page.inner_text('#said')!r}, "
                f"{self.page.inner_text('#saved')!r}, console {self.tab.said}"
            )
            raise AssertionError(message) from late
        return self.page.get_attribute("body", "data-ready")

    def word(self, key):
        shown = self.page.get_attribute("body", "data-ready")
        self.meant.append(({"a": "accept", "r": "reject", "q": "unsure"}[key], shown.split("@")[0]))
        self.page.keyboard.press(key)
        return self.wait(shown)

    def press(self, key):
        shown = self.page.get_attribute("body", "data-ready")
        self.page.keyboard.press(key)
        return self.wait(shown)

    def went(self, kind, shown):
        """The field itself is there with a new version."""
        self.meant.append((kind, shown.split("@")[0]))
        self.wait(shown)

    def split(self, shown):
        ring = np.array(self.item["ring"])
        low, high = ring.min(0), ring.max(0)
        self.page.keyboard.press("s")
        if self.chance.random() < 0.5:  # drag
            self.page.mouse.move(low[0] - 15, (low[1] + high[1]) / 2)
            self.page.mouse.down()
            self.page.mouse.move(high[0] + 15, (low[1] + high[1]) / 2 + 9, steps=3)
            self.page.mouse.up()
        else:  # click by click
            for x, y in (
                (low[0] - 12, low[1] + 30),
                ((low[0] + high[0]) / 2, (low[1] + high[1]) / 2),
                (high[0] + 12, low[1] + 40),
            ):
                self.page.mouse.click(x, y)
            self.page.keyboard.press("Enter")
        self.went("split", shown)

    def move(self, shown):
        ring = np.array(self.item["ring"])
        corner, middle = ring[0], (ring.min(0) + ring.max(0)) / 2
        self.page.keyboard.press("e")
        self.page.mouse.move(*corner)
        self.page.mouse.down()
        self.page.mouse.move(*(corner + 0.3 * (middle - corner)), steps=3)
        self.page.mouse.up()
        self.went("move", shown)
        self.page.keyboard.press("Escape")

    def bend(self, shown):
        self.page.keyboard.press("e")
        self.page.keyboard.press("]")
        self.page.keyboard.press("i")
        self.went("insert", shown)
        self.page.keyboard.press("Escape")

    def unite(self, shown):
        self.page.keyboard.press("m")
        self.page.keyboard.press("1")
        self.meant.append(("merge", shown.split("@")[0]))
        self.wait(shown)

    def redraw(self, shown):
        ring = np.array(self.item["ring"])
        low, high = ring.min(0), ring.max(0)
        self.page.keyboard.press("o")
        for x, y in ((0.1, 0.1), (0.9, 0.12), (0.88, 0.9), (0.1, 0.85)):
            self.page.mouse.click(*(low + (x, y) * (high - low)))
        self.page.keyboard.press("Enter")
        self.went("reshape", shown)

    def undo(self, shown):
        self.page.keyboard.press("u")
        self.meant.append(("undo", shown.split("@")[0]))
        self.wait(shown)


def test_an_outline_waits_for_the_word_about_its_neighbour(browser, folder):
    """A corner that two fields share rests on the versions of both, and a word about one may still
    be on its way.
    """
    with process(folder, "--person", "Ada", "--no-map") as served, Tab(browser, served.url) as tab:
        person = Person(tab)
        shown = tab.ready()
        for _ in range(40):
            before = person.item["id"]
            shown = person.word("a")
            tab.saved()
            if before in person.item["near"]:
                break
        else:
            raise AssertionError("no field beside the one before it")
        slow = (
            "fetch = ((real) => async (...a) => { if (a[1]?.method) await new Promise((go) => "
            "setTimeout(go, 700)); return real(...a); })(fetch)"
        )
        tab.page.keyboard.press("k")  # back to the neighbour
        tab.ready(shown)
        tab.page.evaluate(slow)
        shown = person.word("a")
        person.move(shown)
        tab.saved()
        assert tab.page.inner_text("#said") == "Vertex moved."
    assert [action.kind for action in actions(folder)][-2:] == ["accept", "move"]


@pytest.mark.parametrize(
    ("fields", "killed"), [(90, (25, 60)), pytest.param(200, (60, 130), marks=pytest.mark.long)]
)
def test_many_fields_and_a_killed_server(browser, folder, fields, killed):
    with process(folder, "--person", "Ada", "--no-map") as served, Tab(browser, served.url) as tab:
        person = Person(tab)
        shown, first = tab.ready(), served.url
        seen = 0
        while seen < fields and shown != "finished":
            way = person.chance.random()
            # killed with words on the way, and the person goes on with the fields that are here
            if seen in killed:
                stopped = [person.word("a")]
                served.child.kill()
                starting = threading.Thread(target=served.again, kwargs={"pause": 0.2})
                starting.start()
                stopped.append(person.word("r"))
                stopped.append(person.word("a"))
                starting.join()
                tab.saved()
                shown, seen = stopped[-1], seen + 3
                if seen > killed[1]:
                    tab.page.reload()  # and loads the page anew
                    shown = tab.ready()
                continue
            done = {
                0.05: person.split,
                0.1: person.move,
                0.14: person.bend,
                0.18: person.redraw,
                0.22: person.unite,
            }
            act = next((act for bound, act in done.items() if way < bound), None)
            if act is not None and (act != person.unite or person.item["near"]):
                act(shown)
                shown = tab.page.get_attribute("body", "data-ready")
                if way < 0.03:
                    person.undo(shown)
                    shown = tab.page.get_attribute("body", "data-ready")
                tab.page.keyboard.press("j")
                shown = tab.ready(shown)
            else:
                shown = person.word("r" if way > 0.9 else "q" if way > 0.87 else "a")
            seen += 1
        tab.saved()
        assert served.url == first
        # what Chromium says while there is no server
        ours = [line for line in tab.said if "Failed to load resource: net::ERR_" not in line]
        assert ours == []
    written = [action for action in actions(folder) if action.kind != "drop"]
    kinds = [action.kind for action in written]
    # exactly what was meant, in order, nothing twice
    assert kinds == [kind for kind, _ in person.meant]
    for action, (kind, field) in zip(written, person.meant, strict=True):
        if kind not in ("undo", "merge"):
            assert action.field == field
    assert {
        "accept",
        "reject",
        "unsure",
        "split",
        "move",
        "insert",
        "reshape",
        "merge",
        "undo",
    } <= set(kinds)
    files = review.find_map(folder)
    state = review.replay(files.read(), files.log)
    assert state.skipped == 0
    assert state.count == len(written) >= fields - 10


def test_two_people_on_one_field(browser, folder):
    with process(folder, "--no-map") as served:
        tabs = [Tab(browser, served.url) for _ in range(2)]
        for tab, name in zip(tabs, ("Ada", "Ben"), strict=True):
            tab.page.wait_for_selector("#who[open]")
            tab.page.fill("#who-name", name)
            tab.page.keyboard.press("Enter")
            tab.ready()
        ada, ben = tabs
        assert ada.page.get_attribute("body", "data-ready") != ben.page.get_attribute(
            "body", "data-ready"
        )
        for tab in tabs:  # both go through all of them, and look at the same field
            tab.page.select_option("#show", "all")
            tab.page.wait_for_function("document.querySelectorAll('#own path').length > 0")
        shown = ada.ready()
        ben.page.wait_for_selector(f'body[data-ready="{shown}"]')
        ada.page.locator("#view").focus()
        ada.page.keyboard.press("a")
        ada.ready(shown)
        ada.saved()
        ben.page.locator("#view").focus()
        ben.page.keyboard.press("r")
        ben.page.wait_for_selector("#said:has-text('Ada changed this field meanwhile')")
        # shown again, as it is now
        ben.page.wait_for_selector("#state:has-text('accepted by Ada')")
        assert [action.kind for action in actions(folder)] == ["accept"]
        shown = ben.ready()
        ben.page.keyboard.press("r")  # and now with open eyes
        ben.ready(shown)
        ben.saved()
        assert [(action.kind, action.person) for action in actions(folder)] == [
            ("accept", "Ada"),
            ("reject", "Ben"),
        ]
        for tab in tabs:
            assert tab.said == []
            tab.context.close()


def test_keys_only(browser, folder):
    """Split, merge and add without a mouse."""
    with process(folder, "--person", "Ada", "--no-map") as served, Tab(browser, served.url) as tab:
        shown = tab.ready()
        tab.page.keyboard.press("s")
        for key, times in (("ArrowLeft", 14), (" ", 1), ("ArrowRight", 28), (" ", 1), ("Enter", 1)):
            for _ in range(times):
                tab.page.keyboard.press(key)
        shown = tab.ready(shown)
        tab.page.keyboard.press("m")
        tab.page.keyboard.press("1")
        shown = tab.ready(shown)
        tab.page.keyboard.press("r")
        shown = tab.ready(shown)
        tab.page.keyboard.press("k")
        back = tab.ready(shown)
        tab.saved()
        tab.page.keyboard.press("n")
        for key, times in (
            ("ArrowLeft", 2),
            (" ", 1),
            ("ArrowUp", 3),
            (" ", 1),
            ("ArrowRight", 4),
            (" ", 1),
            ("Enter", 1),
        ):
            for _ in range(times):
                tab.page.keyboard.press(key)
        tab.ready(back)
        assert [action.kind for action in actions(folder)] == ["split", "merge", "reject", "add"]
        tab.page.keyboard.press("u")
        tab.page.wait_for_selector("#said:has-text('Taken back')")
        tab.saved()
        assert tab.said == []


def test_readable_clean_and_quiet(browser, folder):
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright",
        reason="axe is not installed: pip install axe-playwright-python",
    ).Axe()
    with process(folder, "--person", "Ada") as served:
        for scheme, width in (("light", 1440), ("dark", 390)):
            with Tab(
                browser, served.url, color_scheme=scheme, has_touch=width < 500, bypass_csp=True
            ) as tab:
                tab.page.set_viewport_size({"width": width, "height": 844})
                tab.ready()
                assert tab.page.evaluate("document.documentElement.scrollWidth") <= width
                ink, paper = tab.page.locator("body").evaluate(
                    "e => [getComputedStyle(e).color, getComputedStyle(e).backgroundColor]"
                )
                assert contrast(ink, paper) > 7
                for key in ("e", "Escape", "m", "?"):
                    tab.page.keyboard.press(key)
                    if key != "Escape":
                        found = axe.run(tab.page)
                        assert found.violations_count == 0, found.generate_report()
                tab.page.keyboard.press("Escape")
                tab.page.keyboard.press("Escape")
                if width < 500:
                    shown = tab.ready()
                    tab.page.locator("[data-do=accept]").tap()
                    tab.ready(shown)
                    tab.saved()
                else:
                    assert tab.page.locator("nav a").get_attribute("href") == "../view/"
                assert tab.said == []


def test_many_at_once_and_the_brush(browser, folder):
    """Overview by keys and mouse, one line for all, one undo; a stroke of the brush; both clean."""
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright",
        reason="axe is not installed: pip install axe-playwright-python",
    ).Axe()
    with process(folder, "--person", "Ada", "--no-map") as served:
        for scheme, width in (("light", 1280), ("dark", 390)):
            with Tab(browser, served.url, color_scheme=scheme, bypass_csp=True) as tab:
                tab.page.set_viewport_size({"width": width, "height": 844})
                tab.ready()
                tab.page.keyboard.press("g")
                tab.page.wait_for_selector('body[data-ready="overview"]')
                tab.page.keyboard.press(" ")  # the first has the focus
                tab.page.keyboard.press("ArrowRight")
                tab.page.keyboard.press("ArrowRight")
                tab.page.keyboard.press(" ")
                names = tab.page.locator("#tiles [aria-pressed=true]").evaluate_all(
                    "all => all.map(one => one.dataset.id)"
                )
                assert len(names) == 2
                assert tab.page.evaluate("document.documentElement.scrollWidth") <= width
                found = axe.run(tab.page)
                assert found.violations_count == 0, found.generate_report()
                tab.page.keyboard.press("a")
                tab.page.wait_for_selector("#said:has-text('2 accepted')")
                tab.saved()
                assert set(actions(folder)[-1].on) == set(names)
                tab.page.locator("#tiles .tile").first.focus()
                tab.page.keyboard.press("u")
                tab.page.wait_for_selector("#said:has-text('Taken back')")
                # the tiles come anew behind the answer: the place among them stays
                tab.page.wait_for_selector("#tiles:not([aria-busy])")
                tab.page.wait_for_function("document.activeElement.dataset.k === '0'")
                tab.page.keyboard.press("Enter")
                tab.page.wait_for_selector("#overview", state="hidden")
                shown = tab.ready()
                person = Person(tab)
                ring = np.array(person.item["ring"])
                tab.page.keyboard.press("x")
                found = axe.run(tab.page)
                assert found.violations_count == 0, found.generate_report()
                middle = (ring.min(0) + ring.max(0)) / 2
                tab.page.mouse.move(*middle)
                tab.page.mouse.down()
                tab.page.mouse.move(middle[0] + 3, middle[1], steps=3)
                tab.page.mouse.up()
                tab.ready(shown)
                tab.saved()
                assert actions(folder)[-1].kind == "erase"
                tab.page.keyboard.press("Escape")
                tab.page.keyboard.press("u")
                tab.page.wait_for_selector("#said:has-text('Taken back')")
                tab.saved()
                assert tab.said == []


def test_a_sample_of_objects_is_asked_all_five(browser, toy, tmp_path):
    """Ten of 225 fields: 4, 2, 2, 1 and 1 answers, of which two were given otherwise first."""
    out = tmp_path / "s"
    options = survey.SampleOptions(size=10, least=2, breaks=(), seed=1)
    survey.draw_objects(toy / "fields.parquet", read_area([11.5, 48, 13, 49]), out, options)
    with serving(out) as page, Tab(browser, page.address.url("review")) as tab:
        person = Person(tab)
        tab.page.fill("#who-name", "Ada")
        tab.page.click("#who .main")
        tab.ready()
        offered = tab.page.locator("#single .words button").all_inner_texts()
        assert offered == [
            "Right a", "Merged m", "Split s", "Shifted d", "False r", "Unsure q", "Undo u",
            "Back k", "Next j",
        ]  # fmt: skip
        for key in "aaaammss":
            person.press(key)
        person.press("r")
        person.press("u")  # not false, after all:
        person.press("d")
        person.press("q")  # the tenth: one cannot tell
        tab.saved()
        tab.page.select_option("#show", "unsure")
        tab.page.wait_for_selector(f"{READY}:not([data-ready=finished])")
        tab.page.click("[data-do=reject]")
        tab.page.wait_for_selector("body[data-ready=finished]")
        tab.saved()
        wanted = "10 of 10 decided: 4 right, 2 merged, 2 split, 1 shifted, 1 false"
        tab.page.wait_for_function(
            "wanted => document.getElementById('counts').textContent === wanted", arg=wanted
        )
        assert tab.said == []
    found = survey.estimate_objects(out).by_number["all"]
    shares = {"right": 0.4, "merged": 0.2, "split": 0.2, "shifted": 0.1, "false": 0.1}
    assert {name: found[name].value for name in shares} == pytest.approx(shares)
    for name, p in shares.items():  # Cochran: (1 - n/N) p (1 - p) / (n - 1)
        error = ((1 - 10 / 225) * p * (1 - p) / 9) ** 0.5
        assert found[name].standard_error == pytest.approx(error)
