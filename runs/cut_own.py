"""What the learnt score of fields gains from own chips, if its leaves learn them too.

    python runs/cut_own.py work --networks fields-rgb-vhr --chips CHIPS \\
        --kinds "aerial 1 m" "aerial 2.5 m" "aerial 4 m"

The score is learnt without the chips that no release has seen (seven of 28); one or three of these
are own, and the others say what came of it, seven draws.  The trees stay as they are and their
leaves move: least squares on the nodes of the own chips, and a price for every leaf that moves away
from its value, so that an infinite price is the score as it was.  Once fields are those of the
survey, which the score knows already, and once only those of ``--habit`` hectares and more are
outlined and all else is not wanted: a habit that it cannot know.  Beside it stands what a smallest
field gives (``selion map --min-area``), which needs no learning.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, cg

import cut_samples
from cut_places import Place, choose, overlap, read_places, tally
from cut_score import learn, soft
from selion.fields import NodeScore
from selion.fields.cutting import candidates
from selion.fields.node_score import CutSettings
from selion.metrics import paired_bootstrap
from selion.metrics.statistics import f1_from_counts

PRICES = (10.0, 100.0, 300.0, 1000.0, 3000.0)
"""Of a leaf that moves by one, in squared errors of nodes."""
SMALLEST = (0.05, 0.5, 1.0, 1.5, 2.0)
"""Hectares."""


def leaves_of(score: NodeScore, values: np.ndarray) -> np.ndarray:
    """(n, tree) which leaf each row reaches."""
    out = np.empty((len(values), len(score.roots)), np.int64)
    rows = np.arange(len(values))
    for tree, root in enumerate(score.roots):
        at = np.full(len(values), root)
        while (inner := score.feature[at] >= 0).any():
            x = values[rows, np.maximum(score.feature[at], 0)]
            low = np.where(np.isnan(x), score.missing_left[at] == 1, x <= score.threshold[at])
            at = np.where(inner, np.where(low, score.left[at], score.right[at]), at)
        out[:, tree] = at
    return out


def moved(score: NodeScore, own: Sequence[Place], price: float) -> NodeScore:
    """Move the leaves to what is true of the nodes of own chips."""
    keep = [candidates(place.tree, score.settings) for place in own]
    values = np.concatenate([place.values[k] for place, k in zip(own, keep, strict=True)])
    truth = np.concatenate([soft(place.iou[k]) for place, k in zip(own, keep, strict=True)])
    at = leaves_of(score, values)
    count, trees = at.shape
    used, column = np.unique(at, return_inverse=True)
    ends = np.arange(0, count * trees + 1, trees)
    reach = sparse.csr_matrix((np.ones(at.size), column.ravel(), ends), (count, len(used)))
    left = truth - (reach @ score.value[used] + score.base)
    square = LinearOperator(
        (len(used), len(used)), matvec=lambda step: reach.T @ (reach @ step) + price * step
    )
    step, _ = cg(square, reach.T @ left, rtol=1e-6, maxiter=500)
    value = score.value.copy()
    value[used] += step
    return replace(score, value=value)


def outlined(place: Place, hectares: float) -> Place:
    """Return a place where only fields of some size are outlined."""
    size = np.bincount(place.truth.ravel()) * place.pixel / 1e4
    wanted = size >= hectares
    wanted[0] = False
    truth = np.where(wanted[place.truth], place.truth, 0)
    iou, field = overlap(place.leaves, place.tree, truth.astype(np.int64))
    return replace(place, truth=truth, iou=iou, field=field)


def counts(place: Place, score: NodeScore, smallest: float = SMALLEST[0]) -> list[int]:
    """Fields found, false and missed, of those objects that have so many hectares."""
    chosen = choose(place, score.predict(place.values), score.settings)
    chosen = np.where((chosen >= 0) & (place.area[chosen] >= smallest * 1e4), chosen, -1)
    found = tally(place.truth, (chosen + 1)[place.leaves], place.pixel)
    return [found["found"], *(found[of] - found["found"] for of in ("objects", "fields"))]


def compare(places: Sequence[Place], score: NodeScore, what: str) -> None:
    """Print the rows of some places: the score as it is, a smallest field, moved leaves."""
    start = np.array([counts(place, score) for place in places])
    for smallest in SMALLEST:
        rows = np.array([counts(place, score, smallest) for place in places])
        print(f"| {what} | 0 | smallest field {smallest:g} ha | {said(rows, start)} |", flush=True)
    for number, price in itertools.product((1, 3), PRICES):
        rows, beside = [], []
        for first in range(len(places)):
            own = {(first + 2 * k) % len(places) for k in range(number)}
            mine = moved(score, [places[k] for k in own], price)
            others = [k for k in range(len(places)) if k not in own]
            rows += [counts(places[k], mine) for k in others]
            beside += [start[k] for k in others]
        text = said(np.array(rows), np.array(beside))
        print(f"| {what} | {number} | leaves, price {price:g} | {text} |", flush=True)


def said(rows: np.ndarray, start: np.ndarray) -> str:
    """F1, and the gain with its interval."""
    found = paired_bootstrap(rows, start, f1_from_counts)
    f1 = f1_from_counts(rows.sum(0)[None].astype(float))[0]
    return f"{f1:.3f} | {found.difference:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"


def main() -> None:
    """Learn without the seven; print what they give each other."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path)
    cut_samples.add_options(parser)
    parser.add_argument("--trees", type=int, default=160)
    parser.add_argument("--scored", default="aerial 1 m", help="Kind of view that is scored.")
    parser.add_argument("--habit", type=float, default=2.0, help="Hectares.")
    args = parser.parse_args()
    settings = CutSettings()
    places = read_places(cut_samples.make(args, args.work / "samples"), settings, args.processes)
    score = learn([place for place in places if not place.unseen], settings, args.trees)
    fresh = [place for place in places if place.unseen and place.kind == args.scored]
    print("| outlined | own chips | | F1 | beside the score as it is |")
    print("|---|---:|---|---:|---|")
    compare(fresh, score, "every field")
    habit = [outlined(place, args.habit) for place in fresh]
    compare(habit, score, f"{args.habit:g} ha and more")


if __name__ == "__main__":
    main()
