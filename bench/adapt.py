"""``selion crops adapt`` on a stranger's photographs that have masks: the gain, whatever it is.

    python bench/adapt.py --ews FOLDER [--kind night noise sparse] [--minutes 5] [--json rows.json]

FOLDER is the wheat data set EWS (``images`` and ``masks``).  The stranger has the photographs of
plots that crops-rgb was not trained on (split val), and the truth stands
in for the person who draws:

* ``night``: 0.15 of the light and noise of 3 of 255, as underexposed photographs are
* ``noise``: noise of 40 of 255
* ``sparse``: as they are, those with a cover below a tenth

Whole plots are kept aside (40 %); before and after are compared on them alone.  Training takes the
minutes that were asked for, on as many threads as torch is given.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
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


def measure(ews: Path, kind: str, minutes: float) -> list[Row]:
    """Adapt to one kind of photographs."""
    with tempfile.TemporaryDirectory(prefix="selion-bench-") as work:
        photos, masks = stranger(ews, kind, Path(work))
        options = AdaptOptions(minutes=minutes, kept=0.4, pattern=PATTERN)
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
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows = [row for kind in given.kind for row in measure(given.ews, kind, given.minutes)]
    if given.json:
        save(rows, given.json)
    print(markdown(rows))


if __name__ == "__main__":
    main()
