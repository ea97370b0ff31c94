"""Objects begun beside the network: blocks are cut into basins while later scores are computed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from threading import Event, Lock

import numpy as np

from selion import fields, prediction
from selion.cores import usable_cores
from selion.fields import BlockCutter, InstanceOptions
from selion.grid import Roi
from selion.pipeline.probabilities import RunReport, write_scores
from selion.prediction import PredictionPlan, Stages
from selion.progress import OnStep
from selion.runners import Runner
from selion.segmenter import on_gpu

OBJECT_BLOCK = 1024
"""Edge in pixels of the blocks in which objects are found: several threads have some at once."""


class CutAhead:
    """A sink that keeps nothing: with each block that is finished it has those cut that are whole.

    One thread cuts, so that the network keeps the cores; what it has not begun when the scores are
    all there is left to those who find the objects.

    Parameters
    ----------
    cutter : BlockCutter
    plan : PredictionPlan
        Of the scores.
    known : iterable of int
        Numbers of the blocks of scores that are finished already.
    stages : Stages
        Gets the seconds, as those of "instances".
    """

    def __init__(
        self, cutter: BlockCutter, plan: PredictionPlan, known: Iterable[int], stages: Stages
    ) -> None:
        self._cutter, self._plan, self._stages = cutter, plan, stages
        self._known = set(known)
        self._waiting = {
            number: (roi, frozenset(plan.blocks_of(cutter.frame(roi))))
            for number, roi in enumerate(cutter.regions)
        }
        self._lock = Lock()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="selion-ahead")

    def write(self, roi: Roi, values: np.ndarray) -> None:  # noqa: ARG002
        """Take note of a finished block of scores; it is in the journal."""
        with self._lock:
            self._known.update(self._plan.blocks_of(roi))
            ready = [k for k, (_, wanted) in self._waiting.items() if wanted <= self._known]
            for number in ready:
                self._worker.submit(self._cut, self._waiting.pop(number)[0])

    def _cut(self, roi: Roi) -> None:
        with self._stages.during("instances"):
            self._cutter.ahead(roi)

    @contextmanager
    def working(self) -> Iterator[CutAhead]:
        """Cut until the block ends.

        What went wrong is not told here: that block is cut again later, and tells it then.
        """
        try:
            yield self
        finally:
            self._worker.shutdown(wait=True, cancel_futures=True)


@dataclass(frozen=True)
class BegunObjects:
    """How the objects of a map are found."""

    workspace: Path
    method: str
    options: InstanceOptions
    block: int


@dataclass(frozen=True, eq=False)
class ScoreFile:
    """Where probabilities are written."""

    path: Path | None
    """None: they are not wanted."""
    tags: Mapping[str, str]
    force: bool


@contextmanager
def cut_beside(
    work: prediction.StripWork,
    wanted: BegunObjects,
    threads: int | None,
    runner: Runner,
    report: RunReport,
) -> Iterator[BlockCutter | None]:
    """Have objects begun beside the network, if it leaves a core idle.

    Where it fills all of them nothing would be sooner, and memory is spared.  Other processes tell
    of their blocks only in strips, and blocks on an object store would be read twice.
    """
    plan = work.plan
    idle = on_gpu(work.loaded().engine) or (threads or usable_cores()) < usable_cores()
    if runner.place != "here" or not idle or not work.journal.local:
        yield None
        return
    probabilities = prediction.JournalSource(work.journal, plan, most=4)  # what a corner touches
    cutter = fields.begin_instances(
        probabilities,
        plan.classes,
        wanted.workspace,
        wanted.method,
        wanted.options,
        block=wanted.block,
    )
    if cutter is None:
        yield None
        return
    there = work.journal.finished(lambda roi: prediction.shape_of(plan, roi), plan.blocks)
    known = [number for number, done in enumerate(there) if done]
    with CutAhead(cutter, plan, known, report.stages).working() as ahead:
        work.sink = ahead
        yield cutter


@contextmanager
def scores_beside(
    probabilities: prediction.JournalSource,
    wanted: ScoreFile,
    threads: int | None,
    report: RunReport,
    on_step: OnStep,
) -> Iterator[None]:
    """Write probabilities that are wanted while objects are found, if there are cores for both.

    They are whole when the block ends, and what went wrong with them is raised then.
    """
    if wanted.path is None:
        yield
        return
    alone = replace(probabilities, most=1)  # block by block; what others read stays theirs
    write = partial(write_scores, alone, wanted.path, wanted.tags, report, force=wanted.force)
    if (threads or usable_cores()) < 2:
        write(on_step=on_step)
        yield
        return
    given_up = Event()
    with ThreadPoolExecutor(1, thread_name_prefix="selion-scores") as worker:
        written = worker.submit(write, on_step=partial(_unless, given_up))
        try:
            yield
        except BaseException:
            given_up.set()  # its next block ends it, and no file is left
            raise
        written.result()
    on_step("scores", 1, 1, "")


def _unless(given_up: Event, *_: object) -> None:
    """End what writes beside something that has failed."""
    if given_up.is_set():
        raise CancelledError
