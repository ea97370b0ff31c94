"""The law of close range, by the command: `selion crops` beside both colour rules on every source
of photographs with masks, each photograph a file and each answer read from what was written.

    python bench/law.py [--data NAME=FOLDER ...] [--large] [--count 10] [--seed 6100000]
                        [--skip NAME ...] [--work FOLDER] [--json rows.json]

Sources are those of ``sources.py``, with seeds of their own.  Each is asked with ``auto`` (no model
named), ``colour`` (Canopeo's rule) and ``colour-otsu`` (excess green + Otsu): three runs of
``selion crops``.  mIoU counts all pixels of a source together.  Wanted is that ``auto`` is nowhere
more than 0.02 below the better rule; and that the interval of cover in ``crops.csv`` holds the
truth in 85 to 95 %.  ``--large``: photographs of seven megapixels, which ``auto`` answers in
another order (``large.py``).  Those of the simulators are drawn so large; of the others each is one
photograph side by side with its mirror images, so that it has one light, as photographs have.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

import large
import plant_scenes
import sources
from table import Row, markdown, save

NAME = "Close range: the law, by the command"
SEED = 6_100_000
"""Of the first simulated photograph: nothing was chosen on any from here on."""
MODELS = ("auto", "colour", "colour-otsu")
FEW = 2
"""Photographs of seven megapixels of each source."""


@dataclass(frozen=True)
class Answers:
    """What one model said of a source."""

    miou: float
    crop: float
    """IoU of plants."""
    held: float
    """Share of photographs whose cover lies in the interval."""
    width: float
    """Its mean width."""


def written(photos: Sequence[sources.Photo], folder: Path) -> None:
    """Write photographs without loss, as files that a person has."""
    folder.mkdir(parents=True)
    for number, (image, _, _) in enumerate(photos):
        pixels = np.ascontiguousarray(image.transpose(1, 2, 0))
        Image.fromarray(pixels).save(folder / f"{number:03d}.png")


def asked(folder: Path, out: Path, model: str) -> None:
    """Run `selion crops`."""
    named = [] if model == "auto" else ["--model", model]
    command = [sys.executable, "-m", "selion", "crops", str(folder), "-o", str(out), *named]
    ended = subprocess.run([*command, "--no-overlays"], check=False, capture_output=True, text=True)
    if ended.returncode:
        raise RuntimeError(ended.stderr)


def read(photos: Sequence[sources.Photo], out: Path) -> Answers:
    """Compare what a run wrote with the truth."""
    with (out / "crops.csv").open(newline="") as table:
        rows = {Path(row["file"]).stem: row for row in csv.DictReader(table)}
    if len(rows) != len(photos):
        raise RuntimeError(f"{out}: {len(rows)} rows of {len(photos)} photographs")
    counts, inside, widths = np.zeros(4), [], []
    for number, (_, truth, counted) in enumerate(photos):
        row = rows[f"{number:03d}"]
        mask = np.asarray(Image.open(out / row["mask"])) == 1
        counts += [
            np.count_nonzero((mask == a) & (truth == b) & counted) for a in (0, 1) for b in (0, 1)
        ]
        low, high, cover = (
            float(row["cover_low"]),
            float(row["cover_high"]),
            truth[counted].mean(),
        )
        inside.append(low <= cover <= high)
        widths.append(high - low)
    neither, missed, false, both = counts
    crop = both / max(both + missed + false, 1)
    soil = neither / max(neither + missed + false, 1)
    return Answers((crop + soil) / 2, crop, float(np.mean(inside)), float(np.mean(widths)))


def row_of(source: str, found: Mapping[str, Answers], count: int) -> Row:
    """Return the row of a source: ``auto`` against the better rule."""
    auto, rules = found["auto"], {name: found[name] for name in MODELS[1:]}
    better = max(rules, key=lambda name: rules[name].miou)
    said = ", ".join(f"{name} {one.miou:.3f} / {one.crop:.3f}" for name, one in found.items())
    note = f"mIoU / IoU of crop: {said}; {count} photographs; interval holds {auto.held:.2f}"
    return Row(
        NAME,
        f"{source}, auto - {better}",
        auto.miou - rules[better].miou,
        "mIoU",
        -0.02,
        note=f"{note}, {auto.width:.3f} wide",
    )


def examined(source: str, photos: Sequence[sources.Photo], work: Path) -> Row:
    """Ask every model about a source."""
    place = work / source.replace(" ", "_")
    written(photos, place / "photos")
    found = {}
    for model in MODELS:
        asked(place / "photos", place / model, model)
        found[model] = read(photos, place / model)
    return row_of(source, found, len(photos))


def enlarged(source: str, photos: Iterator[sources.Photo], seed: int) -> Iterator[sources.Photo]:
    """Yield a source's photographs of seven megapixels."""
    kind, _, name = source.partition(" ")
    shape = large.EDGE, large.EDGE
    for k in range(FEW):
        if source == "simulate_photo":
            image, plants = large.simulated(seed + k)
        elif kind == "camera":
            step = len(plant_scenes.KINDS)
            scene = plant_scenes.draw_scene(seed + plant_scenes.KINDS.index(name) + k * step, shape)
            image, plants = scene.image, scene.crop
        else:
            image, plants = large.side_by_side([next(photos)])
        yield image, plants, np.ones(plants.shape, bool)


def main() -> None:
    """Measure, print and save the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[sources.source_options(10, SEED)],
    )
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--work", type=Path, help="A new folder, kept; else one that is removed.")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as scratch:
        work = given.work or Path(scratch)
        for source, found in sources.sources(given).items():
            photos = list(enlarged(source, found, given.seed) if given.large else found)
            rows.append(examined(source, photos, work))
            print(f"{rows[-1].what}: {rows[-1].value:+.3f} ({rows[-1].note})", flush=True)
    least = min(rows, key=lambda row: row.value or 0.0)
    rows.append(Row(NAME, "the worst", least.value, "mIoU", -0.02, note=least.what))
    if given.json:
        save(rows, given.json)
    print(markdown(rows))


if __name__ == "__main__":
    main()
