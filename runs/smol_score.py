"""Score models on the seven NAIP chips that ``smol_fit.py`` never trains on.

    python runs/smol_score.py ../shared/data/satellite/vhr_naip_usa landscape-smol fields-rgb-vhr

Each model answers as in ``selion map``.  Scored are pixels of fields (all that is not background):
IoU of all chips together and the mean over chips, the mean Dice over the two classes, and the share
of pixels that are right; F1 of objects at an IoU of 0.5.  Beside them stand answers that know
nothing: field everywhere, what is green (excess green, Otsu), and each model's own answers about
the chip after.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

from selion import metrics
from selion.classes import FTW2
from selion.data import load_dataset
from selion.evaluation.answers import EvaluateOptions, answer, truth_ids, with_method
from selion.grid import whole
from selion.metrics.report import markdown_table, number
from selion.models import load_model
from smol_data import held_out

HEADERS = ["system", "IoU", "mean of chips", "Dice", "right", "objects F1", "s"]


def pixels(truths: list[np.ndarray], said: list[np.ndarray]) -> dict[str, float]:
    """Score pixels of fields.

    Parameters
    ----------
    truths, said : list of (y, x) bool ndarray
    """
    each = [(t & s).sum() / max((t | s).sum(), 1) for t, s in zip(truths, said, strict=True)]
    true, spoken = (
        np.concatenate([t.ravel() for t in truths]),
        np.concatenate([s.ravel() for s in said]),
    )
    dice = [
        metrics.mean_dice(t.astype(np.uint8), s.astype(np.uint8), FTW2)
        for t, s in zip(truths, said, strict=True)
    ]
    return {
        "iou": float((true & spoken).sum() / (true | spoken).sum()),
        "mean_iou": float(np.mean(each)),
        "dice": float(np.mean(dice)),
        "right": float((true == spoken).mean()),
    }


def objects_f1(truths: list[np.ndarray], said: list[np.ndarray]) -> float:
    """Return F1 of ids at an IoU of more than 0.5, of all chips together."""
    right = objects = 0
    for truth, ids in zip(truths, said, strict=True):
        found = metrics.match_objects(metrics.overlap_table(truth, ids), 0.5, strict=True)
        right += len(found.iou)
        objects += sum(len(np.unique(one[one > 0])) for one in (truth, ids))
    return 2 * right / max(objects, 1)


def main(given: list[str] | None = None) -> None:
    """Score."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--out", type=Path, help="JSON of the scores, for the card")
    parser.add_argument("--chips", type=int, default=7, help="fewer for a look")
    args = parser.parse_args(given)
    samples = sorted(load_dataset(args.data), key=lambda sample: sample.key)
    samples = [one for k, one in enumerate(samples) if held_out(k)][: args.chips]
    ids = [truth_ids(sample) for sample in samples]
    truths = [one > 0 for one in ids]
    scores: dict[str, dict[str, float]] = {}
    for name in args.models:
        model = load_model(Path(name) if Path(name).is_dir() else name)
        options = with_method(EvaluateOptions(), model)
        began = time.perf_counter()
        found = [answer(model, sample, options) for sample in samples]
        took = time.perf_counter() - began
        said = [(one.classes > 0) & (one.classes < 255) for one in found]
        scores[name] = pixels(truths, said)
        scores[name] |= {"f1": objects_f1(ids, [one.ids for one in found]), "seconds": took}
        scores[f"{name}, the chip after"] = pixels(truths, said[1:] + said[:1])
    images = [sample.image.read(whole(sample.image.grid)).values for sample in samples]
    green = [metrics.excess_green(image.astype(np.float32)) > 0 for image in images]
    scores["green (excess green, Otsu)"] = pixels(truths, green)
    scores["field everywhere"] = pixels(truths, [np.ones_like(one) for one in truths])
    rows = [
        [name, *(number(one.get(key, float("nan"))) for key in found_keys())]
        for name, one in scores.items()
    ]
    print(markdown_table(HEADERS, rows))
    if args.out:
        args.out.write_text(json.dumps(scores, indent=1) + "\n")


def found_keys() -> tuple[str, ...]:
    """Return the measures in the order of :data:`HEADERS`."""
    return ("iou", "mean_iou", "dice", "right", "f1", "seconds")


if __name__ == "__main__":
    main()
