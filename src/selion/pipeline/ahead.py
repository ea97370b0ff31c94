"""Objects begun beside the network: blocks are cut into basins while later scores are computed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock

import numpy as np

from selion.fields.instancemap import BlockCutter
from selion.grid import Roi
from selion.prediction import PredictionPlan, Stages


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
