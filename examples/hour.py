"""What the four first hours share: real commands, and a picture of what comes of each.

scientist.py, agronomist.py, phenotyper.py and gis.py use it; by itself it does nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, Self

from PIL import Image, ImageDraw, ImageFont

from selion.cli.main import main as command

WIDE, LINE, ROW = 960, 118, 17
"""Pixels and letters of a line of a picture, and pixels between two lines."""
PAPER, INK, PROMPT = "#14201a", "#e6ece6", "#8fd19e"
FLAGS = ("--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
SERVE = "import sys; from selion.cli.main import main; main(sys.argv[1:])"
STILL = """async () => {
    const { state } = await import('./view.js');
    await Promise.all(state.maps.map(m => m.loaded() && !m.isMoving() ? 0 : m.once('idle')));
}"""
"""Waits for the map of ``selion view``."""


def arguments(what: str, folder: str) -> argparse.ArgumentParser:
    """Return a parser with what all four take."""
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument("-o", "--out", type=Path, default=Path(folder))
    parser.add_argument(
        "--pages",
        action=argparse.BooleanOptionalAction,
        default=find_chromium() is not None and find_spec("playwright") is not None,
        help="Photograph pages in Chromium [default: where it and playwright are installed].",
    )
    return parser


def find_chromium() -> str | None:
    """Return the path of a browser that playwright can drive."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if (path := shutil.which(name))), None)


class Hour:
    """An hour of somebody: a numbered picture of every step lies in the folder."""

    def __init__(self, out: Path, *, pages: bool) -> None:
        self.out, self.pages, self.steps = out.resolve(), pages, 0
        self.out.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        """Go to the folder, so that commands are as short as a person types them."""
        self._before = Path.cwd()
        os.chdir(self.out)
        return self

    def __exit__(self, *_: object) -> None:
        """Go back."""
        os.chdir(self._before)

    def run(self, *words: object, shows: Sequence[Path | str] = (), code: int = 0) -> str:
        """Run a command; return what it said.

        Parameters
        ----------
        words : objects
            Of the command, without ``selion``.
        shows : sequence of path
            Pictures and pages that it wrote, which a person would open next.
        code : int
            The exit code that is expected: 2 is a refusal.
        """
        given = [str(word) for word in words]
        typed = f"selion {shlex.join(given)}"
        print(f"\n$ {typed}")
        heard = io.StringIO()
        ended = 0
        with (
            contextlib.redirect_stdout(_Both(sys.stdout, heard)),
            contextlib.redirect_stderr(_Both(sys.stderr, heard)),
        ):
            try:
                command(given)
            except SystemExit as stop:
                ended = int(stop.code or 0)
        if ended != code:
            raise SystemExit(f"{typed} ended with {ended}, expected was {code}.")
        said = heard.getvalue()
        self._draw(typed, said, [Path(path) for path in shows])
        return said

    def page(self, *words: object) -> None:
        """Open a page that a verb serves, and photograph it, where that can be done."""
        given = [str(word) for word in words]
        print(f"\n$ selion {shlex.join(given)}")
        if not self.pages:
            print("(left out: --no-pages)")
            return
        with served(given) as address:
            shown = photograph(address)
        self._draw(f"selion {shlex.join(given)}", "", [], shown)

    def _draw(
        self, typed: str, said: str, paths: Sequence[Path], shown: Image.Image | None = None
    ) -> None:
        lines = [
            part
            for line in said.splitlines()
            for part in textwrap.wrap(line, LINE, subsequent_indent="  ") or [""]
        ]
        lines = lines if len(lines) <= 40 else [*lines[:28], "...", *lines[-11:]]
        pictures = [] if shown is None else [shown]
        for path in paths:
            if path.suffix != ".html":
                pictures.append(Image.open(path).convert("RGB"))
            elif self.pages:
                pictures.append(photograph(path.resolve().as_uri()))
        for one in pictures:
            one.thumbnail((WIDE - 20, 640))
        typed_lines = textwrap.wrap(f"$ {typed}", LINE, subsequent_indent="    ")
        text = ROW * (len(typed_lines) + len(lines)) + 24
        image = Image.new("RGB", (WIDE, text + sum(one.height + 10 for one in pictures)), PAPER)
        pen, font, y = ImageDraw.Draw(image), ImageFont.load_default(14), 10
        for number, line in enumerate([*typed_lines, *lines]):
            pen.text((12, y), line, PROMPT if number < len(typed_lines) else INK, font)
            y += ROW
        y += 10
        for one in pictures:
            image.paste(one, (10, y))
            y += one.height + 10
        self.steps += 1
        image.save(self.out / f"{self.steps:02}-{typed.split()[1]}.png")


class _Both(io.TextIOBase):
    """Writes to two places; is no terminal, so that progress comes in lines."""

    def __init__(self, one: IO[str], other: IO[str]) -> None:
        self.places = one, other

    def write(self, text: str) -> int:
        """Write to both."""
        for place in self.places:
            place.write(text)
        return len(text)


@contextlib.contextmanager
def served(words: Sequence[str]) -> Iterator[str]:
    """Run a verb that serves a page; yield its address."""
    child = subprocess.Popen(  # noqa: S603  # the words are those of this file
        [sys.executable, "-c", SERVE, *words, "--no-browser"], stdout=subprocess.PIPE, text=True
    )
    try:
        for line in child.stdout or ():
            if found := re.search(r"Open (http\S+)", line):
                yield found[1]
                return
        raise SystemExit(f"selion {' '.join(words)} did not start.")
    finally:
        child.terminate()
        child.wait()


def photograph(address: str, size: tuple[int, int] = (1200, 760)) -> Image.Image:
    """Open an address in Chromium; return what is seen there."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=find_chromium(), args=list(FLAGS))
        page: Any = browser.new_page(viewport={"width": size[0], "height": size[1]})
        page.set_default_timeout(180_000)
        page.goto(address)
        page.wait_for_load_state("networkidle")
        if page.locator("body[data-ready]").count():
            page.wait_for_selector('body[data-ready]:not([data-ready=""])')
        if "/view/" in address:
            page.evaluate(STILL)
        page.wait_for_timeout(1500)
        shown = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        browser.close()
    return shown
