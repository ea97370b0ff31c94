"""What a run will cost, from its plan and a short probe."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from selion.grid import Roi, roi_shape
from selion.prediction.blend import LatticeWeights
from selion.prediction.block import (
    Computation,
    Group,
    group_frame,
    group_of,
    score_groups,
    tasks,
)
from selion.prediction.objects import segment_group
from selion.prediction.planning import PredictionPlan
from selion.prediction.resample import read_frame
from selion.prediction.windows import Position
from selion.raster import Raster, Source
from selion.segmenter import InstanceSegmenter, LoadedModel, Segmenter, as_model

PROBES = 3
"""Groups of windows that are timed; more for a model that takes more at once."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """The cost of a run."""

    windows: int
    """Windows of the lattice."""
    blocks: int
    """Blocks."""
    gigabytes_read: float
    """Uncompressed gigabytes of the source's pixels that are read, overlaps between blocks
    included."""
    seconds: float
    """Expected time of the run: the longer of reading and computing, because they go on at the same
    time."""
    share_seen: float
    """Share of the probed windows that hold more than nodata; the others cost reading only."""

    def with_more(self, other: Estimate) -> Estimate:
        """Return the cost of this run and, after it, another over the same blocks."""
        return replace(
            self,
            windows=self.windows + other.windows,
            gigabytes_read=self.gigabytes_read + other.gigabytes_read,
            seconds=self.seconds + other.seconds,
        )


def estimate(
    source: Source, model: Segmenter | InstanceSegmenter | LoadedModel[Any], plan: PredictionPlan
) -> Estimate:
    """Time a few groups of windows spread over the raster; nothing is written.

    The model's first call, in which engines compile, is not part of the rate.
    """
    working = plan.working(source)
    loaded = as_model(model)
    calls = loaded.at_once
    # with one less than it takes, each of its threads has one window
    groups = _spread(plan, max(PROBES, calls - 1))
    with ThreadPoolExecutor(max(calls, 1)) as network:
        # who answers with objects is never asked to be blended
        computation = Computation(
            loaded, plan, working, LatticeWeights(plan.lattice, plan.blend), network=network
        )
        _time(computation, [groups[len(groups) // 2]])
        reading, computing, seen = _time(computation, groups)
    windows = sum(len(group.positions) for group in groups)
    frames = [roi_shape(task.frame) for task in tasks(plan, plan.blocks) if task.frame]
    pixels = sum(height * width for height, width in frames)
    probed = sum(
        height * width
        for height, width in (roi_shape(group_frame(plan, [group])) for group in groups)
    )
    seconds = max(computing / windows * len(plan.lattice), reading / probed * pixels)
    return Estimate(
        len(plan.lattice),
        len(plan.blocks),
        _gigabytes(source, plan, pixels),
        float(seconds),
        float(seen / windows),
    )


def _spread(plan: PredictionPlan, count: int) -> list[Group]:
    """Return up to so many different groups, evenly spread over the lattice."""
    columns = len(plan.lattice.starts[1])
    places = np.linspace(0, len(plan.lattice) - 1, count + 2).round().astype(int)[1:-1]
    return list(
        dict.fromkeys(
            group_of(plan, (place // columns, place % columns)) for place in places.tolist()
        )
    )


def _time(computation: Computation, groups: Sequence[Group]) -> tuple[float, float, int]:
    """Return seconds of reading, seconds of computing and the number of windows.

    Windows that hold nothing but nodata do not count.
    """
    frames = [group_frame(computation.plan, [group]) for group in groups]
    begin = time.perf_counter()
    parts = [read_frame(computation.working, frame) for frame in frames]
    middle = time.perf_counter()
    scored = _answers(computation, list(zip(groups, parts, frames, strict=True)))
    return (
        middle - begin,
        time.perf_counter() - middle,
        sum(window is not None for found in scored for window in found.values()),
    )


def _answers(
    run: Computation, cuts: Sequence[tuple[Group, Raster, Roi]]
) -> Sequence[Mapping[Position, object | None]]:
    """Ask the model for groups of windows, whatever it answers with."""
    if run.model.gives == "objects":
        return [
            segment_group(run.working, cast("InstanceSegmenter", run.model), run.plan, group, part)
            for group, part, _ in cuts
        ]
    return list(score_groups(run, cuts))


def _gigabytes(source: Source, plan: PredictionPlan, pixels: int) -> float:
    """Convert working pixels to gigabytes of the source's own pixels and number type."""
    scale = plan.scale or (1.0, 1.0)
    return pixels / (scale[0] * scale[1]) * len(source.bands) * source.dtype.itemsize / 1e9
