"""Screening at contact-sheet speed.

Time to the first sheet and per sheet, and what a scripted person passes per second.

    python bench/screening.py [--images 20000] [--sheets 30] [--size 40] [--json rows.json]

The images are small and simulated (a photograph of 320 px and its mask each, every one another
file); nothing is drawn ahead when the server starts.  A sheet counts when all its pictures are
here: over HTTP as the page asks for them, six at a time, and in a real Chromium where there is one.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from command import find_chromium
from table import Row, save

COMMAND = (
    "import sys; from selion.cli.screen import screen_command; screen_command.main(sys.argv[1:])"
)
NAME = "Screening"
KINDS = 64
"""Different pictures; what makes each file another one stands behind its end."""


def simulate(folder: Path, count: int) -> tuple[Path, Path]:
    random = np.random.default_rng(0)
    photos, pseudo = folder / "photos", folder / "pseudo"
    (pseudo / "masks").mkdir(parents=True)
    photos.mkdir()
    pairs = []
    for _ in range(KINDS):
        ids = (random.random((40, 40)) < random.random()).astype(np.uint8).repeat(8, 0).repeat(8, 1)
        colours = np.where(ids[..., None] == 1, (60, 140, 50), (130, 100, 70)) + random.integers(
            -30, 30, (320, 320, 3)
        )
        Image.fromarray(colours.clip(0, 255).astype(np.uint8)).save(folder / "one.jpg", quality=85)
        mask = Image.frombytes("P", (320, 320), ids.tobytes())
        mask.putpalette([138, 102, 66, 60, 180, 75] + [128] * 762)
        mask.save(folder / "one.png")
        pairs.append(((folder / "one.jpg").read_bytes(), (folder / "one.png").read_bytes()))
    with (pseudo / "quality.csv").open("w") as table:
        table.write("key,image,quality\n")
        for k in range(count):
            photo, mask = pairs[k % KINDS]
            (photos / f"{k:06}.jpg").write_bytes(photo + str(k).encode())
            (pseudo / "masks" / f"{k:06}.png").write_bytes(mask + str(k).encode())
            table.write(f"{k:06},../photos/{k:06}.jpg,{random.random():.4f}\n")
    return photos, pseudo


class Person:
    """Asks as the page does, and decides at once."""

    def __init__(self, url: str, size: int) -> None:
        self.at, self.size = urllib.parse.urlparse(url), size
        self.pool = ThreadPoolExecutor(6)

    def ask(self, path: str, body: object = None) -> bytes:
        line = http.client.HTTPConnection(self.at.hostname, self.at.port, timeout=60)
        data = None if body is None else json.dumps(body)
        line.request(
            "POST" if data else "GET",
            self.at.path + path,
            data,
            {"content-type": "application/json", "x-selion": "1"} if data else {},
        )
        answer = line.getresponse()
        found = answer.read()
        line.close()
        if answer.status != 200:
            raise SystemExit(f"{path}: {answer.status} {found[:200]!r}")
        return found

    def sheet(self, after: int) -> tuple[list[dict], int]:
        """Return a sheet once all its pictures are here."""
        answer = json.loads(
            self.ask(f"api/sheet?person=Ada&size={self.size}&order=best&after={after}")
        )
        list(
            self.pool.map(
                lambda item: self.ask(f"image/{item['id']}/overlay?v={item['version']}"),
                answer["items"],
            )
        )
        return answer["items"], answer["after"]

    def decide(self, number: int, items: list[dict]) -> None:
        words = [
            {
                "id": item["id"],
                "version": item["version"],
                "decision": "keep" if k % 20 == 0 else "reject",
            }
            for k, item in enumerate(items)
        ]
        self.ask(
            "api/commit",
            {
                "batch": f"bench-{number:06}",
                "person": "Ada",
                "pass": "coarse",
                "seconds": 1,
                "items": words,
            },
        )


def start(photos: Path, pseudo: Path) -> tuple[subprocess.Popen, str, float]:
    begun = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(photos), str(pseudo), "--no-browser"],
        stdout=subprocess.PIPE,
        text=True,
    )
    for line in child.stdout:
        if found := re.search(r"http\S+", line):
            return child, found[0], begun
    raise SystemExit("the server did not start")


def over_http(photos: Path, pseudo: Path, size: int, sheets: int) -> list[Row]:
    child, url, begun = start(photos, pseudo)
    person = Person(url, size)
    opened = time.perf_counter() - begun
    items, after = person.sheet(0)
    first = time.perf_counter() - begun
    cold, commits = [], []
    walked = time.perf_counter()
    for number in range(sheets):
        t = time.perf_counter()
        person.decide(number, items)
        commits.append(time.perf_counter() - t)
        t = time.perf_counter()
        items, after = person.sheet(after)
        cold.append(time.perf_counter() - t)
    speed = sheets * size / (time.perf_counter() - walked)
    child.terminate()
    child.wait()
    child, url, begun = start(photos, pseudo)  # again, with what was decided and drawn
    Person(url, size).sheet(0)
    again = time.perf_counter() - begun
    child.terminate()
    child.wait()
    return [
        Row(NAME, "start to the address, over HTTP", opened, "s"),
        Row(NAME, "start to the whole first sheet, over HTTP", first, "s", 2.0, at_most=True),
        Row(
            NAME,
            "each next sheet, drawn while it is asked for, median",
            statistics.median(cold),
            "s",
            1.0,
            at_most=True,
        ),
        Row(NAME, "page of decisions on the disk, median", 1000 * statistics.median(commits), "ms"),
        Row(NAME, "a person who does not look, over HTTP", speed, "/s", 6.0),
        Row(NAME, "start again to the whole first sheet", again, "s"),
    ]


def in_chromium(photos: Path, pseudo: Path, size: int, sheets: int) -> list[Row]:
    chromium = find_chromium()
    if chromium is None:
        return []
    from playwright.sync_api import sync_playwright

    child, url, _ = start(photos, pseudo)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        opened = time.perf_counter()
        page.goto(url)
        page.fill("#name", "Ada")
        page.keyboard.press("Enter")
        page.wait_for_selector('body[data-ready]:not([data-ready=""])')
        first = time.perf_counter() - opened
        shown, times = page.get_attribute("body", "data-ready"), []
        walked = time.perf_counter()
        for _ in range(sheets):
            t = time.perf_counter()
            page.locator(".tile").nth(3).click()
            page.keyboard.press("Enter")
            page.wait_for_selector(
                f'body[data-ready]:not([data-ready=""]):not([data-ready="{shown}"])'
            )
            shown = page.get_attribute("body", "data-ready")
            times.append(time.perf_counter() - t)
        speed = sheets * size / (time.perf_counter() - walked)
        browser.close()
    child.terminate()
    child.wait()
    return [
        Row(NAME, "page opened to the whole first sheet, in Chromium", first, "s"),
        Row(
            NAME,
            "one click, next page, its pictures whole, in Chromium, median",
            statistics.median(times),
            "s",
            1.0,
            at_most=True,
        ),
        Row(
            NAME,
            "the scripted person, in Chromium",
            speed,
            "/s",
            6.0,
            note="the paper's people: 6 per second",
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--sheets", type=int, default=30)
    parser.add_argument("--size", type=int, default=40, choices=(24, 40, 60))
    parser.add_argument("--json", type=Path, default=None)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="selion-screening-") as name:
        os.environ["SELION_CACHE"] = str(Path(name) / "cache")
        photos, pseudo = simulate(Path(name), given.images)
        rows = [
            *over_http(photos, pseudo, given.size, given.sheets),
            *in_chromium(photos, pseudo, given.size, given.sheets),
        ]
    print(f"{given.images:,} images, sheets of {given.size}, load {os.getloadavg()[0]:.1f}")
    for row in rows:
        print(f"  {row.what:66} {row.value:9.2f} {row.unit}")
    if given.json:
        save(rows, given.json)


if __name__ == "__main__":
    main()
