"""One block of the map, from the windows of the global lattice that touch it.

Equal to the same pixels of the whole, bit for bit.

Three things make it so.  Windows lie on a lattice that knows nothing of blocks.  The scores of a
pixel are summed in the lattice's row-major order.  And the model is always called with the same
company: the windows of a lattice row are put into groups of ``batch`` that are fixed by the
lattice, so that an engine whose rounding depends on the size of the batch still answers the same.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field

import numpy as np

from selion.grid import Roi, inside, overlap, roi_shape
from selion.prediction.blend import LatticeWeights
from selion.prediction.planning import PredictionPlan
from selion.prediction.resample import read_frame
from selion.prediction.timing import BLEND, NETWORK, Stages
from selion.prediction.windows import Position, Window, add_context, cut_window, segment
from selion.raster import Raster, Source
from selion.segmenter import LoadedModel, Segmenter, as_model


@dataclass(frozen=True, slots=True)
class Group:
    """Neighbouring windows of one lattice row that are given to the model together."""

    row: int
    first: int
    stop: int

    @property
    def positions(self) -> list[Position]:
        """Lattice positions of its windows."""
        return [(self.row, column) for column in range(self.first, self.stop)]


@dataclass(frozen=True, slots=True)
class Task:
    """What has to be computed for a block, given the windows that are known already."""

    roi: Roi
    groups: tuple[Group, ...]
    frame: Roi | None
    """What has to be read for it; None: nothing."""

    @property
    def windows(self) -> int:
        """How many windows it computes."""
        return sum(group.stop - group.first for group in self.groups)


@dataclass(frozen=True, eq=False, slots=True)
class Scored:
    """A window that is done."""

    weighted: np.ndarray
    """(class, y, x) float32 scores times the window's weights, cut to the grid."""
    valid: np.ndarray
    """(y, x) bool."""


@dataclass
class WindowCache:
    """Windows that later blocks need too, so that none is computed twice.

    It belongs to one run through ``plan.blocks`` in their order and holds at most the windows that
    cross the lower edge of the present row of blocks, or the right edge of the present block, plus
    what is left of a group.
    """

    plan: PredictionPlan
    done: dict[Position, Scored | None] = field(default_factory=dict)
    """None: the window holds nothing but nodata."""

    def sweep(self, roi: Roi) -> None:
        """Forget what no block after the one at ``roi`` needs."""
        for position in [p for p in self.done if not needed_later(self.plan, p, roi)]:
            del self.done[position]


def needed_later(plan: PredictionPlan, position: Position, roi: Roi) -> bool:
    """Say whether a window touches a block that comes, row-major, after the block at ``roi``."""
    rows, columns = plan.lattice_roi(*position)
    below, right = rows.stop > roi[0].stop, columns.stop > roi[1].stop
    return bool(below or (rows.stop > roi[0].start and right))


def block_task(plan: PredictionPlan, roi: Roi, known: Collection[Position] = ()) -> Task:
    """Work out which groups of windows a region still needs, and what has to be read for them."""
    groups = tuple(
        dict.fromkeys(
            group_of(plan, position)
            for position in plan.lattice.touching(roi)
            if position not in known
        )
    )
    return Task(roi, groups, group_frame(plan, groups) if groups else None)


def group_of(plan: PredictionPlan, position: Position) -> Group:
    """Return the group that a window belongs to, whatever the block."""
    row, column = position
    first = column // plan.batch * plan.batch
    return Group(row, first, min(first + plan.batch, len(plan.lattice.starts[1])))


def tasks(plan: PredictionPlan, rois: Iterable[Roi]) -> list[Task]:
    """Work out the tasks of blocks that are computed in this order with one :class:`WindowCache`.

    Each window is in exactly one task.
    """
    known: set[Position] = set()
    found = []
    for roi in rois:
        task = block_task(plan, roi, known)
        known.update(position for group in task.groups for position in group.positions)
        known = {position for position in known if needed_later(plan, position, roi)}
        found.append(task)
    return found


def group_frame(plan: PredictionPlan, groups: Sequence[Group]) -> Roi:
    """Return the smallest region that holds all windows of some groups."""
    corners = [
        plan.lattice_roi(group.row, column)
        for group in groups
        for column in (group.first, group.stop - 1)
    ]
    rows, columns = (
        slice(min(c[k].start for c in corners), max(c[k].stop for c in corners)) for k in (0, 1)
    )
    return rows, columns


def predict_block(
    source: Source,
    model: Segmenter,
    plan: PredictionPlan,
    roi: Roi,
    cache: WindowCache | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Predict a region of the working grid.

    Parameters
    ----------
    source : Source
        The image, on its own grid.
    model : Segmenter
        The model that the plan was made for.
    plan : PredictionPlan
        The plan; its lattice decides which windows there are.
    roi : Roi
        Any region of ``plan.grid``; with a cache, the blocks of ``plan.blocks`` in their order.
    cache : WindowCache, optional
        Windows that earlier blocks left for this one.

    Returns
    -------
    scores : (class, y, x) float32 ndarray
        Probabilities; 0 where not valid.
    valid : (y, x) bool ndarray
        Where the image is valid.

    Notes
    -----
    Equal, bit for bit, to the same region of the whole, with and without a cache.
    """
    working = plan.working(source)
    task = block_task(plan, roi, cache.done if cache else ())
    part = read_frame(working, task.frame) if task.frame else None
    return compute(
        Computation(as_model(model), plan, working, LatticeWeights(plan.lattice, plan.blend)),
        task,
        part,
        cache or WindowCache(plan),
    )


@dataclass(frozen=True, eq=False)
class Computation:
    """What stays the same from block to block."""

    model: LoadedModel[np.ndarray]
    plan: PredictionPlan
    working: Source
    """The source on the working grid; only models that look at a wider image read from it here."""
    weights: LatticeWeights
    on_windows: Callable[[int], None] = lambda _: None
    """Called with the number of windows just done."""
    contexts: dict[Position, Raster] = field(default_factory=dict)
    """Wider images that were read, see :func:`add_context`."""
    stages: Stages = field(default_factory=Stages)
    """Where the seconds go."""
    network: Executor | None = None
    """Threads that ask the model, while groups before are blended; None: one thing after the
    other."""

    @property
    def ahead(self) -> int:
        """How many more groups the model is asked about before the answer for one is waited for.

        0: this thread asks it.
        """
        return 0 if self.network is None else self.model.at_once


def compute(
    run: Computation, task: Task, part: Raster | None, cache: WindowCache
) -> tuple[np.ndarray, np.ndarray]:
    """Compute a task's groups from what was read, and blend its region.

    It is blended from all windows that touch it, in lattice order.
    """
    plan, roi = run.plan, task.roi
    scores = np.zeros((len(plan.classes), *roi_shape(roi)), np.float32)
    valid = np.zeros(roi_shape(roi), bool)
    groups = score_groups(
        run,
        (
            (group, part, task.frame)
            for group in task.groups
            if part is not None and task.frame is not None
        ),
    )
    for position in plan.lattice.touching(roi):
        if position not in cache.done:
            cache.done |= next(groups)
        with run.stages.during(BLEND):
            scored = cache.done[position]
            if scored is not None:
                _add(scores, valid, scored, plan.lattice_roi(*position), roi)
        if not needed_later(plan, position, roi):
            del cache.done[position]
    cache.sweep(roi)
    if not valid.all():
        scores[:, ~valid] = 0
    return scores, valid


def score_groups(
    run: Computation, cuts: Iterable[tuple[Group, Raster, Roi]]
) -> Iterator[dict[Position, Scored | None]]:
    """Score groups in their order, each from what was read and where that lies.

    Windows without a valid pixel are not shown to the model.

    The model is asked about the next ones while the caller has the one before.
    """
    asked: list[_Asked] = []
    for group, part, frame in cuts:
        asked.append(_ask(run, group, part, frame))
        if len(asked) > run.ahead:
            yield _answered(run, asked.pop(0))
    while asked:
        yield _answered(run, asked.pop(0))


@dataclass(frozen=True, eq=False, slots=True)
class _Asked:
    """A group of which the model has been asked."""

    group: Group
    windows: list[Window]
    answers: Future[np.ndarray]


def _ask(run: Computation, group: Group, part: Raster, frame: Roi) -> _Asked:
    """Cut the windows of a group out of what was read and ask the model about them.

    It is asked about those that have a valid pixel.
    """
    with run.stages.during(BLEND):
        found = [cut_window(part, frame, position, run.plan) for position in group.positions]
        windows = [
            add_context(window, run.working, run.plan, run.contexts)
            for window in found
            if window is not None
        ]
    answers: Future[np.ndarray] = Future()
    if run.network is not None and run.ahead:
        answers = run.network.submit(_segment, run, windows)
    else:
        answers.set_result(_segment(run, windows))
    return _Asked(group, windows, answers)


def _segment(run: Computation, windows: list[Window]) -> np.ndarray:
    with run.stages.while_any(NETWORK):
        return segment(run.model, windows, run.plan) if windows else np.empty(0, np.float32)


def _answered(run: Computation, asked: _Asked) -> dict[Position, Scored | None]:
    found: dict[Position, Scored | None] = dict.fromkeys(asked.group.positions)
    answers = asked.answers.result()
    with run.stages.during(BLEND):
        for window, scores in zip(asked.windows, answers, strict=True):
            found[window.position] = _weighted(window, scores, run.weights)
    run.on_windows(len(found))
    return found


def _weighted(window: Window, scores: np.ndarray, weights: LatticeWeights) -> Scored:
    height, width = window.valid.shape
    return Scored(
        (scores[:, :height, :width] * weights.of(*window.position)).astype(np.float32, copy=False),
        window.valid,
    )


def _add(scores: np.ndarray, valid: np.ndarray, scored: Scored, window: Roi, roi: Roi) -> None:
    shared = overlap(window, roi)
    if shared is None:
        return
    here, there = inside(shared, roi), inside(shared, window)
    scores[:, *here] += scored.weighted[:, *there]
    valid[here] |= scored.valid[there]
