"""Photographs of 20 megapixels: what each option of `selion crops` costs and what it does to the
mask.

    python bench/speed.py EWS [--json rows.json]

The photograph is wheat of plots that nothing was trained on, side by side and turned over by lot,
so that its true mask is known; it is read from a JPEG of quality 95 and all is written that
``selion crops`` writes.  CPU seconds are those of one process with one thread, so on two cores
there go 120 / seconds photographs a minute.  *Same* is the IoU of the plants with those of no
option.  The first runs twice, and the second time counts.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

import sources
from large import miou
from selion.closerange import CropOptions, measure_photo, open_model
from selion.closerange.measure import MASKS, OVERLAYS, THUMBS
from selion.data.photos import find_photos
from table import Row, markdown, save

NAME = "Close range: options at 20 megapixels"
ACROSS, DOWN = 16, 10
WAYS: Mapping[str, tuple[str, CropOptions]] = {
    "no option": ("auto", CropOptions()),
    "--overlap 0.125": ("auto", CropOptions(overlap=0.125)),
    "--model crops-rgb": ("crops-rgb", CropOptions()),
    "--model crops-rgb --overlap 0.125": ("crops-rgb", CropOptions(overlap=0.125)),
    "--model crops-wide --scale 0.5": ("crops-wide", CropOptions(scale=0.5)),
    "--model crops-wide --scale 0.5 --overlap 0.125": (
        "crops-wide",
        CropOptions(scale=0.5, overlap=0.125),
    ),
    "--model colour": ("colour", CropOptions()),
}
"""Command line -> model and options."""


@dataclass(frozen=True)
class Answer:
    """A mask, and what it cost."""

    plants: np.ndarray
    """(y, x) bool."""
    seconds: float
    stages: Mapping[str, float]
    """By the clock."""


def wheat(ews: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the (y, x, 3) uint8 photograph and its (y, x) bool plants."""
    photos = list(sources.data_set(ews, "ews", 10_000))
    rng = np.random.default_rng(1)
    order = rng.permutation(np.resize(np.arange(len(photos)), ACROSS * DOWN))
    rows = []
    for row in order.reshape(DOWN, ACROSS):
        turned = []
        for k in row:
            step = tuple(slice(None, None, int(rng.choice((-1, 1)))) for _ in range(2))
            turned.append((photos[k][0][:, *step], photos[k][1][step]))
        rows.append(tuple(np.concatenate(part, -1) for part in zip(*turned, strict=True)))
    image, plants = (np.concatenate(part, -2) for part in zip(*rows, strict=True))
    return np.ascontiguousarray(image.transpose(1, 2, 0)), plants


def answered(folder: Path, model: str, options: CropOptions) -> Answer:
    """Measure the photograph of a folder, and write all of it."""
    opened = open_model(model, threads=1)
    with tempfile.TemporaryDirectory() as out:
        for name in (MASKS, OVERLAYS, THUMBS):
            Path(out, name).mkdir()
        begun = time.process_time()
        found = measure_photo(find_photos(folder)[0], opened, options, Path(out))
        spent = time.process_time() - begun
        mask = np.asarray(Image.open(Path(out, str(found.row["mask"])))) == 1
    return Answer(mask, spent, found.seconds)


def main() -> None:
    """Measure, print and save the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("ews", type=Path)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as work:
        image, truth = wheat(given.ews)
        Image.fromarray(image).save(Path(work, "wheat.jpg"), quality=95)
        plain = answered(Path(work), *WAYS["no option"])
        for name, (model, options) in WAYS.items():
            found = answered(Path(work), model, options)
            same = (found.plants & plain.plants).sum() / (found.plants | plain.plants).sum()
            note = (
                f"{120 / found.seconds:.1f} a minute on two cores; mIoU "
                f"{miou(found.plants, truth):.3f}; same {same:.3f}"
            )
            rows.append(Row(NAME, name, found.seconds, "CPU s", note=note))
            print(f"{name}: {found.seconds:.1f} CPU s, {note}", flush=True)
    if given.json:
        save(rows, given.json)
    print(markdown(rows))


if __name__ == "__main__":
    main()
