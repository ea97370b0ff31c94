"""How far a prediction is, in numbers; who shows them is not our business."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from selion.grid import ground_sampling_distance
from selion.prediction.planning import PredictionPlan


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run is."""

    done: int
    """Windows done, those of resumed blocks included."""
    total: int
    """Windows in all."""
    km2: float | None
    """Square kilometres done; None for an image without CRS."""
    km2_per_second: float | None
    """Since the start of this run, resumed blocks not counted; None without CRS or before the first
    window."""
    seconds: float
    """Since the start of this run."""
    seconds_left: float | None
    """At the present rate; None before the first window."""


OnProgress = Callable[[Progress], None]
"""Is called after each batch of windows; what OnStep is told is made from it."""


def unwatched(_state: Progress) -> None:
    """Tell nobody where a run is."""


@dataclass
class Clock:
    """Counts windows and tells a listener."""

    plan: PredictionPlan
    to_do: int
    """Windows that this run computes."""
    listener: OnProgress = unwatched
    now: Callable[[], float] = time.monotonic
    computed: int = 0
    started: float = field(init=False)
    window_km2: float | None = field(init=False)

    def __post_init__(self) -> None:
        self.started = self.now()
        gsd = ground_sampling_distance(self.plan.grid)
        height, width = self.plan.lattice.shape
        self.window_km2 = (
            None if gsd is None else height * width * gsd**2 / 1e6 / len(self.plan.lattice)
        )

    def __call__(self, windows: int) -> None:
        """Count windows that were just done, and tell."""
        self.computed += windows
        self.listener(self.state())

    def state(self) -> Progress:
        """Return the numbers as they are now."""
        seconds = self.now() - self.started
        total = len(self.plan.lattice)
        done = min(total, total - self.to_do + self.computed)
        rate = self.computed / seconds if self.computed and seconds > 0 else None
        area = self.window_km2
        return Progress(
            done=done,
            total=total,
            km2=None if area is None else done * area,
            km2_per_second=None if area is None or rate is None else rate * area,
            seconds=seconds,
            seconds_left=None if rate is None else max(self.to_do - self.computed, 0) / rate,
        )
