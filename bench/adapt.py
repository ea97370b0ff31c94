"""``selion crops adapt`` on a stranger's photographs that have masks: the gain, whatever it is.

    python bench/adapt.py --ews FOLDER [--kind night noise sparse] [--minutes 5] [--json rows.json]
    python bench/adapt.py --ews FOLDER --start MODEL --trial 28 31          a trial it has not seen

FOLDER is the wheat data set EWS (``images`` and ``masks``).  The stranger has the photographs of
plots that crops-rgb was not trained on (split val), and the truth stands
in for the person who draws:

* ``night``: 0.15 of the light and noise of 3 of 255, as underexposed photographs are
* ``noise``: noise of 40 of 255
* ``sparse``: as they are, those with a cover below a tenth

With ``--start`` and ``--trial`` the stranger has a whole trial (a season) of which that model saw
nothing (``runs/crops_rgb.py --by date`` makes one that knows trial 22 alone), as it is; about 20
photographs are learnt from, whole plots, and all others of the trial are compared on.

Of the kinds whole plots are kept aside (40 %); before and after are compared on them alone.
Training takes the minutes that were asked for, on as many threads as torch is given.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from selion.closerange import AdaptOptions, adapt_model, prepare_given
from selion.data import load_dataset
from selion.grid import whole
from table import Row, markdown, save

NAME = "Close range: selion crops adapt"
PATTERN = "{plot}_RGB1_{date}_*"
SPARSE = 0.10
LEARNT = 20
"""Photographs of a trial that are learnt from, roughly, as whole plots are parted."""
KINDS = {"night": (0.15, 3.0), "noise": (1.0, 40.0), "sparse": (1.0, 0.0)}
"""Kind -> share of the light, noise of 255."""


def stranger(ews: Path, kind: str, folder: Path) -> tuple[Path, Path]:
    """Write photographs and masks of unseen plots; return their folders."""
    light, noise = KINDS[kind]
    photos, masks = folder / "photos", folder / "masks"
    photos.mkdir(parents=True)
    masks.mkdir()
    for k, sample in enumerate(load_dataset("ews", ews).select("val")):
        ids = sample.labels.ids
        if kind == "sparse" and (ids == 1).mean() >= SPARSE:
            continue
        image = sample.image.read(whole(sample.image.grid)).values.astype(np.float64)
        seen = light * image + np.random.default_rng(k).normal(0, noise, image.shape)
        name = re.sub(r"[^\w.-]", "_", sample.key.rsplit("/", 1)[-1])
        shown = np.clip(np.rint(seen), 0, 255).astype(np.uint8).transpose(1, 2, 0)
        Image.fromarray(shown).save(photos / f"{name}.png")
        Image.fromarray(ids.astype(np.uint8)).save(masks / f"{name}.png")
    return photos, masks


def of_trial(ews: Path, trial: str, folder: Path) -> tuple[Path, Path]:
    """Write photographs and masks of a trial; return their folders."""
    photos, masks = folder / "photos", folder / "masks"
    photos.mkdir(parents=True)
    masks.mkdir()
    for sample in load_dataset("ews", ews):
        name = sample.key.rsplit("/", 1)[-1]
        if not name.startswith(f"FPWW0{trial}"):
            continue
        image = sample.image.read(whole(sample.image.grid)).values.transpose(1, 2, 0)
        Image.fromarray(np.ascontiguousarray(image)).save(photos / f"{name}.png")
        Image.fromarray(sample.labels.ids.astype(np.uint8)).save(masks / f"{name}.png")
    return photos, masks


def measure(ews: Path, kind: str, minutes: float, start: str = "") -> list[Row]:
    """Adapt to one kind of photographs, or from ``start`` to the trial of that number."""
    with tempfile.TemporaryDirectory(prefix="selion-bench-") as work:
        options = AdaptOptions(minutes=minutes, kept=0.4, pattern=PATTERN)
        if start:
            photos, masks = of_trial(ews, kind, Path(work))
            kept = 1 - LEARNT / len(list(masks.iterdir()))
            options = replace(options, model=start, kept=max(kept, 0.4))
            kind = f"trial {kind}"
        else:
            photos, masks = stranger(ews, kind, Path(work))
        begin = time.perf_counter()
        begun = prepare_given(photos, Path(work) / "model", masks, options)
        found = adapt_model(begun).contest
        spent = time.perf_counter() - begin
    scene = f"{len(set(found.photos))} photographs kept aside of {len(begun.windows)}"
    rows = [
        Row(NAME, f"{kind}, {one.title}", one.miou, "mIoU",
            note=f"crop IoU {one.iou['crop']:.3f}, cover off by {one.cover_error:.3f}; {scene}")
        for one in found.contenders
    ]  # fmt: skip
    print(found.sentence, flush=True)
    return [*rows, Row(NAME, f"{kind}, whole run", spent / 60, "min", note=found.sentence)]


def main() -> None:
    """Measure, print and save the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ews", type=Path, required=True)
    parser.add_argument("--kind", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--start", help="Folder of a model that has not seen the trials.")
    parser.add_argument("--trial", nargs="+", default=["28", "31"])
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    asked = given.trial if given.start else given.kind
    start = given.start or ""
    rows = [row for kind in asked for row in measure(given.ews, kind, given.minutes, start)]
    if given.json:
        save(rows, given.json)
    print(markdown(rows))


if __name__ == "__main__":
    main()
