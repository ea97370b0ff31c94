"""Consistency of a map: the passes done by a runner, a raster of them, and a column per field."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from selion import prediction, store
from selion.grid import tiles
from selion.pipeline.probabilities import RunReport, journal_in, score_blocks
from selion.progress import OnStep
from selion.runners import Runner

if TYPE_CHECKING:
    from geopandas import GeoDataFrame, GeoSeries

    from selion.raster import Source
    from selion.segmenter import LoadedModel

COLUMN = prediction.CONSISTENCY
"""The column of fields, and the band of the raster."""
BLOCK = 2048
"""Edge in pixels of the parts in which fields are laid over the raster."""


def score_passes(
    work: prediction.StripWork,
    folder: Path,
    far: str | None,
    runner: Runner,
    report: RunReport,
    on_step: OnStep,
) -> prediction.ConsistencySource:
    """Do the passes that :func:`selion.prediction.consistency_passes` names, one after the other.

    Finished blocks of each are kept like those of the map, whose own are taken up where they are
    one of the passes.

    Parameters
    ----------
    work : StripWork
        That of the map.
    folder : Path
        Where finished parts are kept.
    far : str, optional
        A prefix on an object store, instead of the folder.
    runner : Runner
    report : RunReport
        A block that fails in any pass is listed once; it has no consistency.
    on_step : callable
    """
    plans = prediction.consistency_passes(work.plan, work.loaded())
    done, found = 0, []
    total = sum(len(plan.lattice) for plan in plans)
    for number, plan in enumerate(plans):
        own = plan.key == work.plan.key
        journal = journal_in(folder, far, "scores" if own else f"consistency-{number}", plan)
        pass_work = prediction.StripWork(work.source, plan, journal, work.load, work.model)
        told = _listener(on_step, done, total)
        found.append(score_blocks(pass_work, runner, report, told))
        done += len(plan.lattice)
    listed = {tuple(one["rows"] + one["columns"]): one for one in reversed(report.failed)}
    report.failed[:] = reversed(listed.values())
    return prediction.ConsistencySource(tuple(found))


def _listener(on_step: OnStep, before: int, total: int) -> prediction.OnProgress:
    def listen(state: prediction.Progress) -> None:
        pace = f"{state.km2_per_second:.2f} km2/s" if state.km2_per_second else ""
        on_step("consistency", before + state.done, total, pace)

    return listen


def write_consistency(
    consistency: prediction.ConsistencySource, path: Path, report: RunReport, *, force: bool
) -> None:
    """Write the consistency of each pixel as a COG.

    uint8, value / 254 from 0 to 1, 255 where there is no data; its tag ``consistency`` says what
    was compared.  Raises OutputExists, OutputFailed.
    """
    with (
        report.stages.during("write"),
        store.create_cog(
            path,
            consistency.grid,
            consistency.bands,
            np.uint8,
            nodata=prediction.NODATA,
            tags=consistency.tags,
            overviews="average",
            force=force,
        ) as sink,
    ):
        for roi in consistency.passes[0].plan.blocks:
            sink.write(roi, consistency.stored(roi))


def with_consistency(
    frame: GeoDataFrame, consistency: prediction.ConsistencySource
) -> GeoDataFrame:
    """Give each field the mean consistency of its pixels, as the column ``consistency``.

    Parameters
    ----------
    frame : GeoDataFrame
        In the CRS of the raster.
    consistency : ConsistencySource

    Returns
    -------
    GeoDataFrame
        With the column as float32, 0 to 1; NaN where no pixel of a field has data.  A field that
        holds no pixel's centre has the pixel under a point of it.
    """
    geometry = frame.geometry
    sums = np.zeros((2, len(frame)), np.int64)
    for roi in tiles((*consistency.grid.shape,), BLOCK):
        near = np.sort(geometry.sindex.query(consistency.grid[roi].extent.geom))
        if len(near):
            shapes = geometry.to_numpy()[near]
            ids = store.burn(shapes, range(1, len(near) + 1), consistency.grid[roi])
            sums[:, near] += _sums(ids, consistency.stored(roi)[0], len(near))
    for k in np.flatnonzero(sums[0] == 0):
        sums[:, k] = _at_point(geometry, int(k), consistency)
    means = np.where(sums[0] > 0, sums[1] / np.maximum(sums[0], 1) / prediction.STEPS, np.nan)
    return frame.assign(**{COLUMN: means.astype(np.float32)})


def _sums(ids: np.ndarray, stored: np.ndarray, count: int) -> np.ndarray:
    """Return (2, count) int64: pixels with data of each id, and the sum of their bytes."""
    known = stored != prediction.NODATA
    seen = np.bincount(ids[known], minlength=count + 1)
    total = np.bincount(ids[known], stored[known].astype(np.float64), count + 1)
    return np.stack([seen, total.astype(np.int64)])[:, 1:]


def _at_point(
    geometry: GeoSeries, k: int, consistency: prediction.ConsistencySource
) -> tuple[int, int]:
    """Return one pixel with data and its byte, or none, under a point of a field."""
    point = geometry.iloc[k].representative_point()
    column, row = (int(np.floor(v)) for v in ~consistency.grid.transform * (point.x, point.y))
    height, width = consistency.grid.shape
    if not (0 <= row < height and 0 <= column < width):
        return 0, 0
    value = int(consistency.stored((slice(row, row + 1), slice(column, column + 1)))[0, 0, 0])
    return (0, 0) if value == prediction.NODATA else (1, value)


def added_cost(
    source: Source, model: LoadedModel[Any], plan: prediction.PredictionPlan
) -> prediction.Estimate:
    """Estimate what the passes cost beside the map itself.

    A pass that is the map costs nothing.  Raises BadInput where the model has none.
    """
    more = [one for one in prediction.consistency_passes(plan, model) if one.key != plan.key]
    one = prediction.estimate(source, model, more[-1])
    return replace(
        one,
        windows=sum(len(each.lattice) for each in more),
        gigabytes_read=one.gigabytes_read * len(more),
        seconds=one.seconds * len(more),
    )
