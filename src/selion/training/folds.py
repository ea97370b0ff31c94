"""Fine-tuning judged by all own chips, each answered by a network that was trained on the others.

A fifth of a few own chips, held out, cannot tell a gain of 0.05 in F1 from luck.  In folds all of
them judge, with several times as many fields, and what is written is trained on all of them.  The
shares of the start's weights are compared as ever (:mod:`selion.training.beside`); how long a run
is follows from the recipe alone, so that no chip judges what it has itself ended.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from selion.data.dataset import Dataset
from selion.data.place import footprint, overlapping
from selion.errors import BadInput, counted
from selion.progress import OnStep, silent
from selion.sample import Sample
from selion.training.beside import (
    Settled,
    Start,
    best_kept,
    candidates,
    open_start,
    score_of_start,
    settle,
    tuned_by,
    written,
)
from selion.training.checkpoint import STATE
from selion.training.datasets import fingerprint, joined, taken
from selion.training.loader import Feed
from selion.training.scoring import Scores
from selion.training.start_beside import KeptShare

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from selion.training.loop import Trained
    from selion.training.plan import Plan
    from selion.training.recipe import Recipe
    from selion.training.tuned_cut import TunedCut

Make = Callable[["Recipe"], tuple[Any, str]]
FOLDER = "folds"
"""In a run's folder, while it runs: the checkpoint of each fold."""
NEAR = 1.5
"""Chips whose centres are within so many of their sides lie in one place: what is outlined there
looks alike."""
SAME = 0.25
"""Chips whose centres are closer than so much of their sides show one piece of land, on two dates:
no fold may learn it that is judged by it."""


EDGE = 0.01
"""Share of their sides up to which chips side by side may overlap, by rounding."""


@dataclass(frozen=True, eq=False)
class FoldScores:
    """What all own chips say of a start and of what comes of it."""

    tried: tuple[KeptShare, ...]
    """The start first; scores of all chips that show something, fold after fold."""
    start: Start
    tuned: TunedCut | None
    trained: Trained
    """The run of the last fold."""


def all_judge(
    recipe: Recipe, samples: Sequence[Sample], validation: Sequence[Sample]
) -> tuple[Recipe, Sequence[Sample]]:
    """Return the recipe of a run in folds, its length fixed, and all samples it is judged by.

    Raises
    ------
    BadInput
        If there are fewer samples than folds.
    """
    folds = recipe.validate.folds
    pooled = joined(samples, validation)
    if len(pooled) < folds:
        raise BadInput(
            f"validate.folds = {folds} was given, and there are {counted(len(pooled), 'chip')}: "
            "give more polygons, or fewer folds."
        )
    of_epoch = -(-Feed(pooled, recipe).batches // recipe.schedule.accumulate)
    epochs = min(max(round(recipe.validate.fold_steps / of_epoch), 1), recipe.schedule.epochs)
    schedule = replace(recipe.schedule, epochs=epochs, patience=0, keep="last")
    return replace(recipe, schedule=schedule, validate=replace(recipe.validate, every=0)), pooled


def in_folds(samples: Sequence[Sample], folds: int, by: str = "place") -> list[list[int]]:
    """Part samples into folds, so that what lies side by side judges together.

    Parameters
    ----------
    samples : sequence of Sample
        At least as many as ``folds``.
    folds : int
    by : str
        "place": each place is in one fold whole, the largest first into the emptiest, and where
        there are fewer places than folds, all land is parted along its longer side.  "strip": each
        place is parted so.

    Returns
    -------
    list of list of int
        Which samples each fold holds.
    """
    boxes = _boxes([_grid(samples, k) for k in range(len(samples))])
    places = _groups(boxes, NEAR)
    found: list[list[int]] = [[] for _ in range(folds)]
    if by == "place" and len(places) < folds:
        places, by = [list(range(len(boxes)))], "strip"
    for number, place in enumerate(sorted(places, key=len, reverse=True)):
        if by == "place":
            min(found, key=len).extend(place)
            continue
        for k, part in enumerate(_strips([boxes[k] for k in place], folds), number):
            found[k % folds] += [place[one] for one in part]
    if folds > 1 and len(found) - found.count([]) < 2:
        raise BadInput(
            f"All {counted(len(boxes), 'chip')} show one piece of land, which cannot both be "
            "learnt and judge: give polygons of another place, or no validate.folds."
        )
    return [sorted(one) for one in found if one]


def learners(samples: Sequence[Sample], held: Sequence[int]) -> list[int]:
    """Return the samples that are learnt while some judge: those that show other land.

    Two images whose chips are not cut side by side show the land along the edge of a fold twice.

    Raises
    ------
    BadInput
        If none is left.
    """
    twice = overlapping([_grid(samples, k) for k in range(len(samples))], held, EDGE)
    found: list[int] = np.setdiff1d(np.flatnonzero(~twice), held).tolist()
    if not found:
        raise BadInput(
            f"No chip of {counted(len(samples), 'chip')} shows other land than those that judge "
            "it: give polygons of another place, or fewer validate.folds."
        )
    return found


def _grid(samples: Sequence[Sample], k: int) -> GeoBox:
    return (
        samples.entries[k].image().grid if isinstance(samples, Dataset) else samples[k].image.grid
    )


def _boxes(grids: Sequence[GeoBox]) -> list[np.ndarray | None]:
    """Return (2, 2) lower and upper corner of each grid, in one CRS; None without a place on Earth.

    Degrees where they lie in several: images of two zones may show one place.
    """
    placed = {str(grid.crs) for grid in grids if grid.crs is not None}
    return [
        None
        if grid.crs is None
        else np.reshape(grid.boundingbox.bbox if len(placed) == 1 else footprint(grid, 0), (2, 2))
        for grid in grids
    ]


def _groups(boxes: Sequence[np.ndarray | None], share: float) -> list[list[int]]:
    """Group boxes whose centres lie within a share of their sides; one without is by itself."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    near = [
        (j, k)
        for k, one in enumerate(boxes)
        for j, other in enumerate(boxes[:k])
        if one is not None and other is not None and _beside(one, other, share)
    ]
    rows = np.array(near, int).reshape(-1, 2)
    links = coo_array((np.ones(len(rows)), (rows[:, 0], rows[:, 1])), shape=2 * (len(boxes),))
    count, labels = connected_components(links, directed=False)
    return [np.flatnonzero(labels == place).tolist() for place in range(count)]


def _beside(a: np.ndarray, b: np.ndarray, share: float) -> bool:
    side = np.maximum(np.ptp(a, axis=0), np.ptp(b, axis=0))
    return bool((np.abs(a.mean(0) - b.mean(0)) <= share * side).all())


def _strips(boxes: Sequence[np.ndarray | None], folds: int) -> list[list[int]]:
    """Part boxes along the longer side of what they cover; one piece of land is not parted."""
    lands = _groups(boxes, SAME)
    order = _along([boxes[land[0]] for land in lands])
    return [[k for land in part for k in lands[int(land)]] for part in np.array_split(order, folds)]


def _along(boxes: Sequence[np.ndarray | None]) -> np.ndarray:
    """Order boxes along the longer side of what they cover; without places as they come."""
    placed = [box for box in boxes if box is not None]
    if len(placed) < len(boxes):
        return np.arange(len(boxes))
    centres = np.array([box.mean(0) for box in placed])
    axis = int(np.argmax(np.ptp(centres, axis=0)))
    return np.lexsort((centres[:, 1 - axis], centres[:, axis]))


def train_in_folds(
    plan: Plan[Recipe],
    make: Make,
    folder: Path,
    on_step: OnStep = silent,
    uncut: Sequence[Sample] = (),
    *,
    resume: bool = False,
) -> tuple[Settled, Trained, Any]:
    """Judge what training makes of a start by all chips, and train on all where that is better.

    Parameters
    ----------
    plan : Plan
        Its samples are all chips, see :func:`all_judge`; it holds nothing out.
    make : callable
        Makes a network with the start's weights, :func:`selion.training.run.make_network`.
    folder : path
        Of the run; checkpoints of the folds lie in it until they have judged.
    on_step : callable, optional
    uncut : sequence of Sample
        See :func:`selion.training.beside.settle`.
    resume : bool
        Go on from the checkpoints in the folder.

    Returns
    -------
    Settled, Trained, torch.nn.Module
        What is exported, with the scores that the folds gave it; the run on all chips, or, where
        the start is kept and none was needed, that of the last fold; a network for its weights.

    Raises
    ------
    BadInput, OutputFailed
        See :func:`selion.training.loop.fit`.
    """
    judged = judge(plan, make, folder, on_step, uncut, resume=resume)
    if judged.tried and best_kept(judged.tried).share == 1:
        network, trained = make(plan.recipe)[0], judged.trained
    else:
        network, trained = _run(plan, make, folder, on_step, resume=resume)
    if judged.tried:
        settled = written(plan, trained, judged.start, judged.tuned, judged.tried)
    else:  # nothing could be compared with the start: as where nothing is held out
        settled = settle(plan, network, trained, on_step)
    shutil.rmtree(folder / FOLDER, ignore_errors=True)
    return settled, trained, network


def judge(
    plan: Plan[Recipe],
    make: Make,
    folder: Path,
    on_step: OnStep = silent,
    uncut: Sequence[Sample] = (),
    *,
    resume: bool = False,
) -> FoldScores:
    """Train on all folds but one, in turn, and score start and averages on the one left out.

    Parameters
    ----------
    plan, make, folder, on_step, uncut, resume
        As for :func:`train_in_folds`.

    Returns
    -------
    FoldScores
        Nothing was tried where the start cannot be shown the chips.
    """
    spec = plan.recipe.validate
    folds = in_folds(plan.samples, spec.folds, spec.fold_by)
    tried: list[tuple[KeptShare, ...]] = []
    starts: list[KeptShare] = []
    tuned: TunedCut | None = None
    for number, held in enumerate(folds):
        others = learners(plan.samples, held)
        learnt, asked = (taken(plan.samples, some) for some in (others, held))
        apart = replace(plan, samples=learnt, validation=asked)
        told = partial(_tell, on_step, number, len(folds))
        network, trained = _run(apart, make, folder / FOLDER / str(number), told, resume=resume)
        start = open_start(apart, trained, told)
        if start.candidate is None or not start.weights:
            return FoldScores((), start, None, trained)
        if number == 0:
            tuned = tuned_by(apart, start, uncut, on_step)
        starts.append(start.candidate)
        tried.append(candidates(apart, network, trained, start, tuned, told))
    found = _pooled(tried)
    # where own chips set nothing, the start as it is comes first of what was tried
    as_it_is = tuned is None and tried[0][0] is starts[0]
    candidate = found[0] if as_it_is else _pooled([(one,) for one in starts])[0]
    return FoldScores(found, replace(start, candidate=candidate), tuned, trained)


def _pooled(tried: Sequence[Sequence[KeptShare]]) -> tuple[KeptShare, ...]:
    """Put the scores of all folds together, for each of what every fold tried."""
    named = [{(one.share, one.card.inputs.gsd): one for one in part} for part in tried]
    common = [name for name in named[0] if all(name in part for part in named)]
    return tuple(
        replace(named[0][name], scores=_of_all([part[name].scores for part in named]))
        for name in common
    )


def _of_all(parts: Sequence[Scores]) -> Scores:
    confusions = [one for part in parts for one in part.confusions]
    keys = tuple(key for part in parts for key in part.keys)
    return Scores(
        keys,
        tuple(group for part in parts for group in part.groups),
        np.concatenate([part.counts for part in parts]),
        tuple(confusions) if len(confusions) == len(keys) else (),
        parts[0].metric,
    )


def _run(
    plan: Plan[Recipe], make: Make, folder: Path, on_step: OnStep, *, resume: bool
) -> tuple[Any, Trained]:
    """Train a network on the samples of a plan: those of all folds but one, or all."""
    from selion.training.loop import fit

    network, _ = make(plan.recipe)
    trained = fit(
        network,
        plan.samples,
        plan.recipe,
        plan.card,
        folder,
        validation=plan.validation,
        score=score_of_start(plan) if len(plan.validation) else None,
        resume=resume and (folder / STATE).exists(),
        data=fingerprint(plan.samples),
        on_step=on_step,
    )
    return network, trained


def _tell(
    on_step: OnStep, number: int, folds: int, stage: str, done: int, total: int, detail: str
) -> None:
    on_step(stage, done, total, f"fold {number + 1} of {folds}, {detail}".rstrip(", "))
