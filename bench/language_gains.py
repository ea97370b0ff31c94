"""What two things are worth to a trained model: its own odds as scores, and a boundary class.

    selion train magseg-tiny -o tiny
    python bench/language_gains.py scores tiny/model
    python bench/language_gains.py boundary --steps 900 -o WORK     # trains two models beside it

``scores`` maps simulated scenes that the model has not seen, once with what it wrote taken as sure
(votes of one answer), once with the odds of its labels, once with votes of eight drawn answers, and
once with the odds of eight.  Brier is the mean squared error of a pixel's shares, summed over
classes; AP is the mean over classes of the average precision of one class against the rest; passes
are answers written.  Each row's gain over the first is the mean over scenes with a t interval.

``boundary`` teaches two tiny models on the same scenes, patches and steps, one of two classes
(background, field), one with the boundary of fields as a third; maps scenes of other seeds and
counts objects as ``selion map`` finds them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import t as student

from selion import metrics, prediction
from selion.evaluation.answers import EvaluateOptions, answer, truth_ids
from selion.metrics.report import markdown_table
from selion.models import load_model
from selion.sample import Sample
from selion.simulation.landscape import simulate
from selion.training import read_recipe
from selion.training.conversations import simulated
from selion.training.language_recipe import LanguageRecipe, Simulated
from selion.training.language_run import plan_talks, train_language

WAYS = (("votes", 1), ("labels", 1), ("votes", 8), ("labels", 8))
SEED, EDGE, GSD = 900, 384, 2.5
STYLES = ("smallholder", "europe", "bocage")


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
    model: Any = load_model(folder, "torch", threads=1)
    world = Simulated(scenes=0, validation=count, edge=edge, gsd=4.0, seed=SEED)
    scenes = simulated(world)[1]
    own, found, rows = model.generator.options, {}, []
    for way, samples in WAYS:
        options = replace(own, scores=way, samples=samples, temperature=1.0)
        model.generator.options = options
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


def countryside(seeds: Sequence[int]) -> list[Sample]:
    """Return scenes with fields that touch."""
    made = []
    for seed in seeds:
        style = STYLES[seed % len(STYLES)]
        land = simulate(seed, (EDGE, EDGE), GSD, style, bands="rgb")
        made.append(Sample(f"{style}-{seed}", land.image, land.labels, land.instances, style))
    return made


def recipe(classes: str, steps: int) -> LanguageRecipe:
    """Return how both models are taught: 16 x 16 cells of 4 px, one of 16 tokens for 16 cells."""
    made = read_recipe(
        "magseg-tiny",
        [
            f"name=gains-{classes}",
            f"classes={classes}",
            "data.truth=instances",
            "simulate.scenes=0",
            "language.context=384",
            "language.size.image=64",
            "language.size.patch=16",
            "language.prompt.patch=64",
            "language.prompt.grid=16",
            "language.prompt.codec=rrle-places",
            "draws.least_classes=2",
            "draws.most_share=0.95",
            f"sft.steps={steps}",
            "sft.lr=0.003",
            f"sft.save_every={max(steps // 3, 1)}",
            "inspect.patches=32",
        ],
    )
    assert isinstance(made, LanguageRecipe)
    return made


def boundary(work: Path, steps: int, count: int) -> None:
    """Print the table of objects."""
    learnt, held = countryside(range(40_000, 40_024)), countryside(range(7_000, 7_000 + count))
    rows, each = [], {}
    for classes in ("fields-2", "fields-3"):
        plan, place = plan_talks(recipe(classes, steps), learnt, held[:2]), work / classes
        began = time.process_time()
        if not (place / "model" / "card.toml").is_file():
            result = train_language(plan, place, force=True)
            print(classes, f"{time.process_time() - began:.0f} CPU s", *result.notes, sep="\n  ")
        model = load_model(place / "model", "torch", threads=1)
        tables, cells = [], []
        for sample in held:
            said = answer(model, sample, EvaluateOptions())[0].ids
            true = truth_ids(sample)
            tables.append(metrics.score_ids(sample.key, true, said).table)
            both = ((said > 0) & (true > 0)).sum() / max(((said > 0) | (true > 0)).sum(), 1)
            cells.append(float(both))
        joined = metrics.join_tables(tables)
        f1 = [metrics.object_scores(table).f1 for table in tables]
        each[classes] = np.array(f1)
        pooled = metrics.object_scores(joined)
        numbers = (pooled.f1, float(np.mean(f1)), pooled.panoptic_quality, float(np.mean(cells)))
        rows.append([classes, str(len(joined.prediction_ids)), *(f"{x:.3f}" for x in numbers)])
    true = sum(len(np.unique(truth_ids(sample))) - 1 for sample in held)
    print(f"{len(held)} scenes of {EDGE} px, {true} fields")
    heads = ["classes", "objects", "F1, pooled", "F1, mean of scenes", "PQ", "IoU of pixels"]
    print(markdown_table(heads, rows))
    print("F1 with a boundary less F1 without:", interval(each["fields-3"] - each["fields-2"]))


def main() -> None:
    """Measure one of the two."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["scores", "boundary"])
    parser.add_argument("model", type=Path, nargs="?", help="a folder, for scores")
    parser.add_argument("--scenes", type=int, default=8)
    parser.add_argument("--edge", type=int, default=256)
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("-o", "--out", type=Path, default=Path("language-gains"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.what == "scores":
        if args.model is None:
            parser.error("give the folder of a model")
        scores(args.model, args.scenes, args.edge)
    else:
        boundary(args.out, args.steps, args.scenes)


if __name__ == "__main__":
    main()
