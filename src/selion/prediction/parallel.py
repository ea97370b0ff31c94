"""A plan, done by a runner.

Its blocks in strips, each finished block in the journal, blocks that cannot be done listed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from selion.errors import BadInput, EmptyImage, SelionError
from selion.grid import Roi, roi_shape
from selion.prediction.block import tasks
from selion.prediction.journal import BlockJournal
from selion.prediction.planning import PredictionPlan
from selion.prediction.progress import Clock, OnProgress, Progress, unwatched
from selion.prediction.resample import read_frame
from selion.prediction.run import NOWHERE, PredictionRun
from selion.prediction.scores import NODATA
from selion.prediction.timing import Stages
from selion.prediction.value_range import check_numbers
from selion.progress import OnNote
from selion.raster import Sink, Source
from selion.runners import Done, Runner
from selion.segmenter import LoadedModel, Segmenter, as_model

SHARES = 4
"""Strips for each worker: more even out what differs, fewer compute fewer windows twice."""
LONGEST = 16
"""Blocks of a strip at most: so much is done again when a worker dies in the middle, save what the
journal has."""


@dataclass(frozen=True, slots=True)
class FailedBlock:
    """A block that could not be done."""

    roi: Roi
    """Where, in the working grid."""
    why: str
    tries: int


@dataclass(frozen=True, eq=False)
class Told:
    """What a strip has to say."""

    something: bool
    """Whether any pixel of it was valid."""
    seconds: dict[str, float]
    """By stage."""
    same: bool
    """Whether the model computes here as it does where the plan was made."""


@dataclass(eq=False)
class StripWork:
    """Predict some blocks of a plan into a journal; what a worker is given.

    It is picklable if ``source`` and ``load`` are; the model stays where it is, and is loaded once
    by each worker.
    """

    source: Source
    plan: PredictionPlan
    journal: BlockJournal
    load: Callable[[], Segmenter]
    model: Segmenter | None = None
    listener: OnProgress = unwatched
    judge: bool = False
    """Whether the image's numbers are compared with the model's scaling."""
    sink: Sink = NOWHERE
    """Gets each block when the journal has it; only in this process."""

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"model": None, "listener": unwatched, "sink": NOWHERE}

    def loaded(self) -> LoadedModel[np.ndarray]:
        """Return the model, loaded now if it is not yet."""
        if self.model is None:
            self.model = self.load()
        return as_model(self.model)

    def __call__(self, numbers: Sequence[int]) -> Told:
        """Predict the blocks of these numbers, save those that the journal has by now."""
        model = self.loaded()
        done = self.journal.finished(
            lambda roi: shape_of(self.plan, roi), [self.plan.blocks[k] for k in numbers]
        )
        rois = [self.plan.blocks[k] for k, there in zip(numbers, done, strict=True) if not there]
        stages = Stages()
        run = PredictionRun(
            self.source,
            model,
            self.plan,
            self.sink,
            self.journal,
            self.listener,
            rois=rois,
            stages=stages,
            judged=not self.judge,
        )
        something = run.all_blocks()
        return Told(something, stages.seconds, model.identity == self.plan.decided["model"])


def shape_of(plan: PredictionPlan, roi: Roi) -> tuple[int, int, int]:
    """Return the shape of a block's scores."""
    return (len(plan.classes), *roi_shape(roi))


def run_blocks(
    work: StripWork,
    runner: Runner,
    *,
    progress: OnProgress = unwatched,
    stages: Stages | None = None,
    on_note: OnNote | None = None,
) -> tuple[FailedBlock, ...]:
    """Do all blocks of a plan that the journal does not have.

    Parameters
    ----------
    work : StripWork
        Its model is used where the runner works in this process.
    runner : Runner
    progress : callable, optional
    stages : Stages, optional
        Gets the seconds of all workers.
    on_note : callable, optional
        Told what the user should know, once.

    Returns
    -------
    tuple of FailedBlock
        Blocks that could not be done, each tried three times on its own; they are not in the
        journal, so the next run tries them again.

    Raises
    ------
    EmptyImage
        If no pixel is valid.
    SelionError
        What concerns all blocks; and the error of the last block if none could be done.
    """
    plan, journal = work.plan, work.journal
    there = journal.finished(lambda roi: shape_of(plan, roi), plan.blocks)
    pending = [k for k, done in enumerate(there) if not done]
    here = runner.place == "here"
    work.listener, work.judge = (progress if here else unwatched), here
    if not here and pending:
        _judge(work, pending)
    course = _Course(
        plan,
        unwatched if here and pending else progress,
        len(plan.blocks) - len(pending),
        stages or Stages(),
        on_note,
    )
    failed = list(
        course.follow(runner(work, cut_strips(pending, 0 if here else runner.workers), tries=1))
    )
    again = _unfinished(work, [k for done in failed for k in done.block])
    failed_blocks = tuple(
        _failed_block(plan, done) for done in course.follow(runner(work, [(k,) for k in again]))
    )
    if failed_blocks and len(failed_blocks) == len(plan.blocks):
        raise (
            course.last
            if isinstance(course.last, SelionError)
            else BadInput(f"No block of the image could be done; the last one says: {course.last}")
        )
    if not course.something and not _anything(work):
        raise EmptyImage("The image holds nothing but nodata: there is nothing to predict.")
    return failed_blocks


def cut_strips(pending: Sequence[int], workers: int) -> list[tuple[int, ...]]:
    """Cut block numbers into runs of neighbours.

    Windows between two blocks of a strip are computed once.  No workers: one strip.

    Examples
    --------
    >>> cut_strips(range(9), 1)
    [(0, 1, 2), (3, 4, 5), (6, 7, 8)]
    """
    if not workers:
        return [tuple(pending)] if pending else []
    length = min(max(-(-len(pending) // (SHARES * workers)), 1), LONGEST)
    return [tuple(pending[k : k + length]) for k in range(0, len(pending), length)]


def _unfinished(work: StripWork, numbers: list[int]) -> list[int]:
    done = work.journal.finished(
        lambda roi: shape_of(work.plan, roi), [work.plan.blocks[k] for k in numbers]
    )
    return [k for k, there in zip(numbers, done, strict=True) if not there]


def _failed_block(plan: PredictionPlan, done: Done) -> FailedBlock:
    said = str(done.error).strip() or type(done.error).__name__
    return FailedBlock(plan.blocks[done.block[0]], said.splitlines()[0], done.tries)


def _judge(work: StripWork, pending: Sequence[int]) -> None:
    """Compare the image's numbers with the model's scaling here.

    It is done by the same block as one process would take: a strip alone may lie in the dark.
    """
    scaling = work.loaded().inputs.scaling_of(len(work.plan.bands))
    working = work.plan.working(work.source)
    for task in tasks(work.plan, [work.plan.blocks[k] for k in pending]):
        try:
            part = read_frame(working, task.frame) if task.frame else None
        except (BadInput, OSError):
            return  # whoever gets this block will tell
        if part is not None and check_numbers(part, work.plan.bands, scaling):
            return


def _anything(work: StripWork) -> bool:
    """Say whether any block of the journal holds a valid pixel."""
    parts = (work.journal.load(roi, shape_of(work.plan, roi)) for roi in work.plan.blocks)
    return any(part is not None and bool((part != NODATA).any()) for part in parts)


@dataclass
class _Course:
    """Listens to what comes back."""

    plan: PredictionPlan
    progress: OnProgress
    there: int
    """Blocks that were done before."""
    stages: Stages
    on_note: OnNote | None
    something: bool = False
    noted: bool = False
    finished: int = 0
    last: BaseException | None = None
    clock: Clock = field(init=False)

    def __post_init__(self) -> None:
        self.clock = Clock(self.plan, 0)
        self._tell()

    def follow(self, dones: Iterator[Done]) -> Iterator[Done]:
        """Pass on what failed."""
        for done in dones:
            if done.error is not None:
                self.last = done.error
                yield done
                continue
            self.finished += len(done.block)
            self.something = self.something or done.result.something
            self.stages.merge(done.result.seconds)
            if not done.result.same and self.on_note and not self.noted:
                self.noted = True
                self.on_note(
                    "Some workers have another processor or engine than this machine: their "
                    "numbers may differ in the last bit."
                )
            self._tell()

    def _tell(self) -> None:
        total, blocks = len(self.plan.lattice), len(self.plan.blocks)
        done = (self.there + self.finished) * total // blocks
        seconds = self.clock.now() - self.clock.started
        rate = self.finished * total / blocks / seconds if self.finished and seconds > 0 else None
        area = self.clock.window_km2
        self.progress(
            Progress(
                done=done,
                total=total,
                km2=None if area is None else done * area,
                km2_per_second=None if area is None or rate is None else rate * area,
                seconds=seconds,
                seconds_left=None if rate is None else (total - done) / rate,
            )
        )
