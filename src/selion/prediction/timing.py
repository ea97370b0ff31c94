"""Where each second goes: a stopwatch per stage of the pipeline.

It is always on: a few hundred looks at the clock cost nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from selion.grid import Roi
from selion.raster import DerivedSource, Raster, Source, nodatas_of

READ, RESAMPLE, WAIT, NETWORK, BLEND, WRITE = (
    "read",
    "resample",
    "wait for pixels",
    "network",
    "blend",
    "write",
)


@dataclass
class Stages:
    """Seconds of work by stage, counted in every thread and process that works.

    Where stages overlap their sum is more than the time that passed.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    ended: dict[str, float] = field(default_factory=dict)
    """When a stage was last left in this process, by the clock of :func:`time.perf_counter`."""
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _busy: dict[str, tuple[int, float]] = field(default_factory=dict, repr=False)
    """How many threads are in a stage, and since when somebody is."""

    @contextmanager
    def during(self, stage: str) -> Iterator[None]:
        """Count what the block takes."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.add(stage, time.perf_counter() - begin)

    @contextmanager
    def while_any(self, stage: str) -> Iterator[None]:
        """Count the time during which any thread is in this block.

        Calls that wait for one another are not counted twice.
        """
        with self._lock:
            count, since = self._busy.get(stage, (0, 0.0))
            self._busy[stage] = (count + 1, since if count else time.perf_counter())
        try:
            yield
        finally:
            with self._lock:
                count, since = self._busy[stage]
                self._busy[stage] = (count - 1, since)
                passed = 0.0 if count > 1 else time.perf_counter() - since
            self.add(stage, passed)

    def add(self, stage: str, seconds: float) -> None:
        """Count seconds of a stage."""
        with self._lock:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds
            self.ended[stage] = time.perf_counter()

    def merge(self, others: Mapping[str, float]) -> None:
        """Count what somebody else measured."""
        for stage, seconds in others.items():
            self.add(stage, seconds)

    def __getstate__(self) -> dict[str, dict[str, float]]:
        return {"seconds": dict(self.seconds)}

    def __setstate__(self, state: dict[str, dict[str, float]]) -> None:
        self.seconds, self._lock, self._busy = state["seconds"], threading.Lock(), {}
        self.ended = {}


@dataclass(frozen=True, eq=False)
class Timed(DerivedSource):
    """A source that counts how long it is read."""

    stages: Stages

    @property
    def nodatas(self) -> tuple[float | None, ...]:
        """The source's."""
        return nodatas_of(self.source)

    def read(self, roi: Roi) -> Raster:
        """Read a region."""
        with self.stages.during(READ):
            return self.source.read(roi)


_: type[Source] = Timed
