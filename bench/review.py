"""The review page.

Time of the queue for many fields, of one action on the disk, and what a scripted person does a
minute.

    python bench/review.py [--fields 100000] [--actions 200] [--json rows.json]

The map is simulated: squares of 20 x 20 pixels that share their edges, with probabilities on the
same grid.  The person presses a key as soon as a field is on the screen: what is measured is the
page, not the looking.
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
from pathlib import Path

import numpy as np
import pandas as pd
from affine import Affine
from odc.geo.geobox import GeoBox

from command import find_chromium
from selion import fields, store
from selion.classes import FTW3
from selion.grid import tiles, whole
from selion.labels import Instances, class_labels
from table import Row, save

COMMAND = "import sys; from selion.cli.main import main; main(sys.argv[1:])"
NAME = "Review"
CELL = 20


def simulate(folder: Path, count: int) -> Path:
    """Write a map of ``count`` fields with its image and probabilities."""
    random = np.random.default_rng(0)
    across = int(np.ceil(np.sqrt(count)))
    edge = across * CELL
    grid = GeoBox((edge, edge), Affine(10.0, 0, 300_000.0, 0, -10.0, 5_400_000.0), "EPSG:32633")
    numbers = np.minimum(np.arange(1, across * across + 1), count).reshape(across, across)
    ids = numbers.repeat(CELL, 0).repeat(CELL, 1).astype(np.int32)
    table = pd.DataFrame(
        {"id": np.arange(1, count + 1), "class": "field", "score": random.uniform(0.4, 1, count)}
    )
    objects = Instances(ids, grid, table)
    fields.write_fields(
        fields.to_fields(objects, fields.FieldOptions(simplify=0)),
        folder / "fields.parquet",
        fields.Origin("bench"),
    )
    likely = class_labels(objects).ids
    with store.create_cog(
        folder / "fields.scores.tif",
        grid,
        FTW3.names,
        np.uint8,
        nodata=255,
        tags={"classes": json.dumps(FTW3.to_dict())},
    ) as sink:
        for roi in tiles(grid.shape, 2048):
            noise = random.integers(0, 60, (3, *likely[roi].shape), np.uint8)
            sink.write(
                roi, np.stack([likely[roi] == k for k in range(3)]).astype(np.uint8) * 180 + noise
            )
    small = (random.random((3, across, across)) * 200 + 30).astype(np.uint8)
    with store.create_cog(folder / "image.tif", grid, ("red", "green", "blue"), np.uint8) as sink:
        sink.write(whole(grid), small.repeat(CELL, 1).repeat(CELL, 2))
    return folder


def queue_seconds(folder: Path) -> list[Row]:
    """Time reading and ordering in this process."""
    from selion import review
    from selion.prediction import ScoreSource, score_classes

    files = review.find_map(folder)
    begun = time.perf_counter()
    frame = files.read()
    read = time.perf_counter() - begun
    begun = time.perf_counter()
    review.rank(frame)
    plain = time.perf_counter() - begun
    scores = store.open_raster(files.scores)
    begun = time.perf_counter()
    review.rank(frame, ScoreSource(scores), score_classes(scores, "scores"))
    full = time.perf_counter() - begun
    begun = time.perf_counter()
    review.rank(frame, against=frame)
    against = time.perf_counter() - begun
    many, pixels = f"{len(frame):,} fields", f"{np.prod(scores.grid.shape) / 1e6:.0f} Mpx"
    return [
        Row(NAME, f"table of {many} read", read, "s"),
        Row(NAME, f"queue of {many}, confidence and shape", plain, "s"),
        Row(NAME, f"queue of {many}, with probabilities of {pixels}", full, "s"),
        Row(NAME, f"queue of {many}, against another map", against, "s"),
    ]


def start(folder: Path) -> tuple[subprocess.Popen, str, float]:
    begun = time.perf_counter()
    child = subprocess.Popen(
        [
            sys.executable,
            "-c",
            COMMAND,
            "review",
            str(folder),
            "--no-browser",
            "--no-map",
            "--person",
            "Ada",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    for line in child.stdout:
        if found := re.search(r"Open (http\S+)", line):
            return child, found[1], time.perf_counter() - begun
    raise SystemExit("the server did not start")


def over_http(url: str, actions: int) -> list[Row]:
    """Ask and act as the page does, without a page."""
    at = urllib.parse.urlparse(url)
    line = http.client.HTTPConnection(at.hostname, at.port, timeout=60)

    def ask(path: str, body: object = None) -> bytes:
        line.request(
            "POST" if body else "GET",
            at.path + path,
            json.dumps(body) if body else None,
            {"content-type": "application/json", "x-selion": "1"} if body else {},
        )
        answer = line.getresponse()
        found = answer.read()
        if answer.status != 200:
            raise SystemExit(f"{path}: {answer.status} {found[:200]!r}")
        return found

    asked, acted, chips, after, number = [], [], [], 0, 0
    while number < actions:
        begun = time.perf_counter()
        answer = json.loads(ask(f"api/queue?person=Bench&size=6&after={after}"))
        asked.append(time.perf_counter() - begun)
        after = answer["after"]
        for item in answer["items"]:
            begun = time.perf_counter()
            ask(f"chip/colour1/{'_'.join(map(str, item['box']))}.png")
            chips.append(time.perf_counter() - begun)
            begun = time.perf_counter()
            ask(
                "api/act",
                {
                    "id": f"bench-{number:06}",
                    "kind": "accept",
                    "person": "Bench",
                    "on": {item["id"]: item["version"]},
                    "points": [],
                    "seconds": 1,
                },
            )
            acted.append(time.perf_counter() - begun)
            number += 1
    return [
        Row(NAME, "next six fields, median", 1000 * statistics.median(asked), "ms"),
        Row(NAME, "piece of the image, median", 1000 * statistics.median(chips), "ms"),
        Row(
            NAME,
            "one action on the disk, median",
            1000 * statistics.median(acted),
            "ms",
            100.0,
            at_most=True,
        ),
    ]


def in_chromium(url: str, actions: int) -> list[Row]:
    chromium = find_chromium()
    if chromium is None:
        return []
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        opened = time.perf_counter()
        page.goto(url)
        ready = 'body[data-ready]:not([data-ready=""])'
        page.wait_for_selector(ready)
        first = time.perf_counter() - opened
        shown, begun = page.get_attribute("body", "data-ready"), time.perf_counter()
        for number in range(actions):
            if number % 10 == 9:  # one in ten is parted
                box = page.locator("#own path").last.bounding_box()
                page.keyboard.press("s")
                page.mouse.move(box["x"] - 10, box["y"] + box["height"] / 2)
                page.mouse.down()
                page.mouse.move(
                    box["x"] + box["width"] + 10, box["y"] + box["height"] / 2 + 5, steps=2
                )
                page.mouse.up()
                page.wait_for_selector(f'{ready}:not([data-ready="{shown}"])')
                shown = page.get_attribute("body", "data-ready")
                page.keyboard.press("j")
            else:
                page.keyboard.press("r" if number % 7 == 0 else "a")
            page.wait_for_selector(f'{ready}:not([data-ready="{shown}"])')
            shown = page.get_attribute("body", "data-ready")
        page.wait_for_selector("#saved:text-is('saved')")
        speed = 60 * actions / (time.perf_counter() - begun)
        browser.close()
    return [
        Row(NAME, "page opened to the first field, in Chromium", first, "s"),
        Row(
            NAME,
            "the scripted person, one split in ten, in Chromium",
            speed,
            "/min",
            60.0,
            note="one field a second is more than people look at",
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--fields", type=int, default=100_000)
    parser.add_argument("--actions", type=int, default=200)
    parser.add_argument("--json", type=Path, default=None)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="selion-review-") as name:
        os.environ["SELION_CACHE"] = str(Path(name) / "cache")
        folder = simulate(Path(name), given.fields)
        rows = queue_seconds(folder)
        child, url, started = start(folder)
        rows += [
            Row(NAME, "start to the address, whole command", started, "s"),
            *over_http(url, given.actions),
            *in_chromium(url, given.actions),
        ]
        child.kill()
        child.wait()
    print(f"{given.fields:,} fields, load {os.getloadavg()[0]:.1f}")
    for row in rows:
        print(f"  {row.what:66} {row.value:9.2f} {row.unit}")
    if given.json:
        save(rows, given.json)


if __name__ == "__main__":
    main()
