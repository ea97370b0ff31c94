"""Photograph the real pages in Chromium, wide and narrow: pictures/page-*.webp for gallery.md.

python runs/gallery.py ../shared/data                              # all of them
python runs/gallery.py ../shared/data view review --work FOLDER    # some; FOLDER keeps the maps

Each page shows what the commands beside it in RESULTS made of real imagery: NAIP (USDA, public
domain), Sentinel-2 (contains modified Copernicus Sentinel data), wheat photographs (Zenkl and
others 2022, CC BY-SA 4.0: so are their pictures).  The trial of plots is simulated.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "docs" / "pictures"
SIZES = {"": (1200, 760, 900), "-phone": (390, 760, 390)}
"""Width and height of the window, and the width of the picture in pixels."""
FLAGS = (
    "--no-sandbox",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
)
STILL = """async () => {
    const { state } = await import('./view.js');
    await Promise.all(state.maps.map(m => m.loaded() && !m.isMoving() ? 0 : m.once('idle')));
}"""
COMMAND = "import sys; from selion.cli.main import main; main(sys.argv[1:])"
NAIP = "{data}/satellite/vhr_naip_usa/images/naip_39.6679_-95.4288.tif"
"""A chip that the training of ``fields-rgb-vhr`` did not see."""
PAIR = "{data}/satellite/s2_unlabelled/ftw_inn_pair/s2_pair_8band.tif"
YEARS = "{data}/satellite/vhr_naip_timeseries_nd"
WHEAT = "{data}/closerange/ews_wheat/images"
PLOTS = ("FPWW0220032", "FPWW0220078", "FPWW0280001", "FPWW0280008")
"""Plots of wheat that were photographed on ten dates and more."""

RESULTS: dict[str, tuple[str, ...]] = {
    "naip": (
        *("map", NAIP, "--model", "fields-rgb-vhr"),
        *("-o", "naip/fields.parquet", "--scores", "naip/fields.scores.tif"),
    ),
    "inn": (
        "map",
        PAIR,
        *("-o", "inn/fields.parquet", "--scores", "inn/fields.scores.tif", "--page"),
    ),
    "2014": (
        *("map", f"{YEARS}/naip_2014-07-20.tif", "-o", "2014/fields.parquet"),
        *("--scores", "2014/fields.scores.tif"),
    ),
    "2020": (
        *("map", f"{YEARS}/naip_2020-08-31.tif", "-o", "2020/fields.parquet"),
        *("--scores", "2020/fields.scores.tif"),
    ),
    "change": ("change", "2014", "2020", "-o", "change"),
    "wheat": ("crops", "photos", "-o", "wheat"),
    "trial": ("crops", "trial", "wheat", "-o", "trial", "--pattern", "{{plot}}_RGB1_{{date}}_*"),
    "plots": ("crops", "plots", "field/orthomosaic.tif", "field/plots.gpkg", "-o", "plots"),
    "evaluation": (
        *("evaluate", "--pred", "naip/fields.parquet", "-o", "evaluation", "--truth"),
        "{data}/satellite/vhr_naip_usa/instances/naip_39.6679_-95.4288.tif",
    ),
}
"""What makes each folder; run in the order in which they are wanted."""


@dataclass(frozen=True)
class Page:
    """A page: what it needs, what shows it, and what a hand does before the picture is taken."""

    needs: tuple[str, ...]
    shown: str | tuple[str, ...]
    """A file, or the words of the verb that serves it."""
    ready: str = "body"
    keys: tuple[str, ...] = ()
    top: str = ""
    """What is scrolled to the top of the window."""
    quality: int = 58
    """Of the picture: all of them share 1.5 MB."""


MINE = "{data}/satellite/vhr_naip_usa/images/naip_40.2497_-91.9641.tif"
"""Another chip that no training saw."""
RESULTS["mine"] = (
    *("train", "own-polygons", "-o", "mine", "--set", f"data.image={MINE}"),
    *("--set", "data.polygons={data}/satellite/vhr_naip_usa/fields.parquet"),
    *("--set", "schedule.epochs=3", "--set", "hardware.workers=0"),
)
RESULTS["quick"] = ("reproduce", "prue", "--table", "1", "--quick", "-o", "quick")
PAGES = {
    "view": Page(("inn",), ("view", "inn", PAIR), 'body[data-ready="1"]'),
    "review": Page(("naip",), ("review", "naip", "--person", "Ada"), "body"),
    "map": Page(("inn",), "inn/fields.report.html"),
    "evaluation": Page(("naip", "evaluation"), "evaluation/report.html", quality=40),
    "change": Page(("2014", "2020", "change"), "change/report.html", quality=35),
    "crops": Page(("wheat",), "wheat/index.html", quality=22),
    "trial": Page(("wheat", "trial"), "trial/index.html"),
    "plots": Page(("plots",), "plots/index.html", top="section svg"),
    "training": Page(("mine",), "mine/report.html"),
    "notebook": Page((), "notebook.html"),
    "reproduce": Page(("quick",), "quick/report.html"),
    "screening": Page(
        ("wheat",), ("label", "screen", "photos", "wheat/masks", "--person", "Ada"), "body"
    ),
    "masks": Page(
        ("wheat",),
        ("crops", "adapt", "photos", "-o", "adapted", "--count", "6", "--person", "Ada"),
        'body[data-ready]:not([data-ready=""])',
        ("ArrowRight",),
    ),
}


def write_notebook(data: Path) -> None:
    """Write what two cells of a notebook show."""
    import selion
    from selion.reports import notebook

    shutil.copyfile(MINE.format(data=data), "naip.tif")
    cells = (
        ('selion.open_raster("naip.tif")', selion.open_raster("naip.tif")),
        ('selion.load_model("fields-rgb-vhr")', selion.load_model("fields-rgb-vhr")),
    )
    shown = "".join(
        f"<pre>{escape(code)}</pre><div>{notebook.html(each)}</div>" for code, each in cells
    )
    style = "body{font:15px sans-serif;margin:1.2rem}pre{background:#eee;padding:.6rem}"
    Path("notebook.html").write_text(f"<style>{style}</style>{shown}", "utf-8")


def make(name: str, data: Path) -> None:
    """Run the command of a folder in the working directory, unless the folder is there."""
    if name == "wheat" and not Path("photos").exists():
        Path("photos").mkdir()
        for path in sorted(Path(WHEAT.format(data=data)).glob("*.jpg")):
            if path.name.startswith(PLOTS):
                shutil.copy(path, "photos")
    if name == "plots" and not Path("field").exists():
        sys.path.insert(0, str(ROOT / "examples"))
        import phenotyper

        phenotyper.write_trial(Path("field"), across=6, down=3, edge=320)
    if not Path(name).exists():
        words = [word.format(data=data) for word in RESULTS[name]]
        print("$ selion", *words, flush=True)
        subprocess.run([sys.executable, "-c", COMMAND, *words, "-q"], check=True)


@contextlib.contextmanager
def served(words: tuple[str, ...]) -> Iterator[str]:
    """Run a verb that serves a page; yield its address."""
    child = subprocess.Popen(
        [sys.executable, "-c", COMMAND, *words, "--no-browser"], stdout=subprocess.PIPE, text=True
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


def photograph(browser: Any, name: str, address: str) -> None:
    """Take the pictures of a page."""
    page_ = PAGES[name]
    for suffix, (width, height, wide) in SIZES.items():
        context = browser.new_context(
            viewport={"width": width, "height": height}, reduced_motion="reduce"
        )
        context.set_default_timeout(180_000)
        page = context.new_page()
        page.goto(address)
        page.wait_for_selector(page_.ready)
        page.wait_for_load_state("networkidle")
        for key in page_.keys:
            page.keyboard.press(key)
        if page_.top:
            page.evaluate("at => document.querySelector(at).scrollIntoView()", page_.top)
        if page_.shown[0] == "view":
            page.evaluate(STILL)
        page.wait_for_timeout(1500)
        save(page.screenshot(), f"page-{name}{suffix}", wide, page_.quality)
        context.close()


def save(png: bytes, name: str, wide: int, quality: int) -> None:
    """Write a picture as WebP."""
    TARGET.mkdir(exist_ok=True)
    shown = Image.open(io.BytesIO(png)).convert("RGB")
    shown = shown.resize((wide, round(wide * shown.height / shown.width)), Image.Resampling.LANCZOS)
    path = TARGET / f"{name}.webp"
    shown.save(path, quality=quality, method=6)
    print(f"{path.name} {shown.size} {path.stat().st_size // 1024} KiB", flush=True)


def main() -> None:
    """Photograph what is asked for."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("names", nargs="*", metavar="PAGE", help=f"Of {', '.join(PAGES)}.")
    parser.add_argument("--work", type=Path, help="Keep what the commands make.")
    given = parser.parse_args()
    data = given.data.resolve()
    with contextlib.ExitStack() as stack:
        work = given.work or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        work.mkdir(parents=True, exist_ok=True)
        os.chdir(work)
        driver = stack.enter_context(sync_playwright())
        chromium = shutil.which("chromium") or shutil.which("google-chrome")
        browser = driver.chromium.launch(executable_path=chromium, args=list(FLAGS))
        for name in given.names or PAGES:
            if name == "notebook":
                write_notebook(data)
            for need in PAGES[name].needs:
                make(need, data)
            shown = PAGES[name].shown
            if isinstance(shown, str):
                photograph(browser, name, Path(shown).resolve().as_uri())
                continue
            with served(tuple(word.format(data=data) for word in shown)) as address:
                photograph(browser, name, address)
        browser.close()


if __name__ == "__main__":
    main()
