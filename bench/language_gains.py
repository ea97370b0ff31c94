"""What a trained model's own odds of its labels are worth as scores, beside votes.

    selion train magseg-tiny -o tiny
    python bench/language_gains.py tiny/model

Simulated scenes that the model has not seen are mapped once with what it wrote taken as sure (votes
of one answer), once with the odds of its labels, once with votes of eight drawn answers, and once
with the odds of eight.  Brier is the mean squared error of the shares, summed over classes; AP
is the mean over classes of the average precision of one class against the rest.  Each row's gain
over the first is the mean over scenes with a t interval.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from scipy.stats import t as student

from selion import prediction
from selion.metrics.report import markdown_table
from selion.models import load_model
from selion.training.conversations import simulated
from selion.training.language_recipe import Simulated

WAYS = (("votes", 1), ("labels", 1), ("votes", 8), ("labels", 8))
SEED = 900


def average_precision(right: np.ndarray, score: np.ndarray) -> float:
    """Return the area under precision over recall; pixels of one score come together."""
    order = np.argsort(-score, kind="stable")
    hits = np.cumsum(right[order])
    last = np.flatnonzero(np.diff(score[order], append=-np.inf))
    precision, recall = hits[last] / (last + 1), hits[last] / max(hits[-1], 1)
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def measures(shares: np.ndarray, truth: np.ndarray) -> list[float]:
    """Return Brier, AP, pixels right and Dice of (class, y, x) shares."""
    flat, ids = shares.reshape(len(shares), -1).astype(np.float64), truth.ravel()
    flat = flat[:, ids < len(shares)]
    ids = ids[ids < len(shares)]
    one = np.eye(len(shares))[ids].T
    said = flat.argmax(0)
    there = [k for k in range(len(shares)) if one[k].any()]
    dice = [2 * (one[k] * (said == k)).sum() / (one[k].sum() + (said == k).sum()) for k in there]
    ap = [average_precision(one[k], flat[k]) for k in there]
    brier = ((flat - one) ** 2).sum(0).mean()
    return [float(brier), float(np.mean(ap)), float((said == ids).mean()), float(np.mean(dice))]


def interval(values: np.ndarray) -> str:
    """Return mean and 95 % interval."""
    half = student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    return f"{values.mean():+.3f} ({values.mean() - half:+.3f} to {values.mean() + half:+.3f})"


def scores(folder: Path, count: int, edge: int) -> None:
    """Print the table of scores."""
    world = Simulated(scenes=0, validation=count, edge=edge, gsd=4.0, seed=SEED)
    scenes = simulated(world)[1]
    found, rows = {}, []
    for way, samples in WAYS:
        said = {"scores": way, "samples": samples}
        model = load_model(folder, "torch", threads=1, speaking=said)
        began = time.process_time()
        found[way, samples] = np.array(
            [measures(prediction.predict(s.image, model).values, s.labels.ids) for s in scenes]
        )
        took = time.process_time() - began
        gains = found[way, samples] - found[WAYS[0]]
        mean = found[way, samples].mean(0)
        rows.append(
            [
                f"{way}, {samples} answer{'s' if samples > 1 else ''}",
                *(f"{value:.3f}" for value in mean),
                *((interval(gains[:, k]) if (way, samples) != WAYS[0] else "") for k in (0, 1)),
                f"{took:.0f}",
            ]
        )
    heads = ["scores", "Brier", "AP", "pixels right", "Dice"]
    heads += ["Brier against votes of one", "AP against votes of one", "CPU s"]
    print(f"{len(scenes)} scenes of {edge} px")
    print(markdown_table(heads, rows))


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="a folder with a card")
    parser.add_argument("--scenes", type=int, default=8)
    parser.add_argument("--edge", type=int, default=256, help="of a scene, in pixels of 4 m")
    args = parser.parse_args()
    torch.set_num_threads(1)
    scores(args.model, args.scenes, args.edge)


if __name__ == "__main__":
    main()
