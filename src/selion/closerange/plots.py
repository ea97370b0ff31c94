"""Cover and counts of every plot of a trial, from one orthomosaic of any size.

The model sees the orthomosaic as a whole, block by block, so neither the edge of a block nor that
of a plot is a seam; a plot is then what lies inside its polygon.  Nothing larger than a block, a
row of blocks or one plot is ever held in memory.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox
from scipy import ndimage

from selion import store
from selion.classes import IGNORE, ClassScheme
from selion.closerange import overlay
from selion.closerange.components import EIGHT, counted_classes
from selion.closerange.cover import Cover, measure_cover
from selion.closerange.indices import ENOUGH, colour_indices
from selion.closerange.orthomosaic import Orthomosaic, colours_on, open_orthomosaic
from selion.closerange.plot_answers import Answered, PlotAnswers, answer_plots
from selion.closerange.plot_tables import (
    MASK,
    PICTURES,
    PLOTS,
    PlotOptions,
    PlotRun,
    with_own_names,
    write_all,
    write_table,
)
from selion.closerange.work import ComputeOptions
from selion.data.plots import Plot, read_plots
from selion.grid import Roi, ground_sampling_distance, pad_roi, roi_shape, whole
from selion.progress import OnNote, OnStep, silent, unsaid
from selion.store.calls import sealed

STRIP = 4_000_000
"""Pixels of a plot that are looked at together."""
COUNTED = 64_000_000
"""Pixels of the largest plot whose plants are counted: its mask is held as a whole."""
MARGIN = 256
"""Pixels around a plot that are looked at, so that a plant on the edge is seen whole."""
EMPTY, WIDE = 0.05, 0.3
"""More of a plot without pixels, or a wider interval of cover, is a reason not to trust it."""


@sealed("selion.closerange.measure_plots")
def measure_plots(
    image: Path | str,
    plots: Path | str,
    out: Path,
    model: str | None = None,
    options: PlotOptions | None = None,
    compute: ComputeOptions | None = None,
    *,
    force: bool = False,
    on_step: OnStep = silent,
    on_note: OnNote = unsaid,
    use: Callable[[PlotRun, Path], object] | None = None,
) -> PlotRun:
    """Measure the plots of a trial in an orthomosaic.

    Parameters
    ----------
    image : path or URL
        Orthomosaic of bytes with red, green, blue and a CRS.
    plots : path
        Polygons in any CRS: GeoPackage, GeoJSON, shapefile, GeoParquet ...
    out : path
        Folder of the results, or a ``.csv`` for the table alone.
    model : str, optional
        See :func:`selion.closerange.open_model`.
    options : PlotOptions, optional
    compute : ComputeOptions, optional
        Engine, ``fast`` and threads; the orthomosaic is one job, so workers play no part.
    force : bool
        Whether an existing result is replaced.
    on_step, on_note : callable, optional
    use : callable, optional
        Called with the run and the folder before that gets its name;
        :func:`selion.reports.plots.write_page` draws a page.

    Returns
    -------
    PlotRun

    Raises
    ------
    BadInput, GridMismatch, UnreadableFile
        If image, plots or options cannot be used together.
    OutputExists, OutputFailed
        If ``out`` cannot be written.

    Notes
    -----
    A plant belongs to the plot that holds its centre, whole or cut by the edge, so no plant is
    counted twice where plots touch; of one that reaches farther than :data:`MARGIN` beyond a plot
    only what lies within is seen, so that a closed canopy may count in several.  Cover is of the
    pixels inside.  An interrupted run goes on from its finished blocks.
    """
    began = time.perf_counter()
    options, compute = options or PlotOptions(), compute or ComputeOptions()
    out = out.expanduser()
    store.check_output(out, force, None if _is_table(out) else PLOTS)
    ground = open_orthomosaic(image)
    found = read_plots(plots, ground.grid, options.name, options.buffer)
    work = out.with_name(f".{out.name}.selion")
    try:
        said = answer_plots(ground, model, options, compute, work, on_step, on_note)
        named = with_own_names(found, said.scores.plan.classes)
        return _run(_Job(ground, named, options, out, force, on_step, on_note), said, use, began)
    except BaseException:
        if not any(work.glob("*/*")):
            shutil.rmtree(work, ignore_errors=True)
        raise


@dataclass(frozen=True, eq=False, slots=True)
class _Job:
    ground: Orthomosaic
    plots: list[Plot]
    options: PlotOptions
    out: Path
    force: bool
    on_step: OnStep
    on_note: OnNote


def _run(
    job: _Job,
    said: Answered,
    use: Callable[[PlotRun, Path], object] | None,
    began: float,
) -> PlotRun:
    """Measure each plot, write everything, and take the finished blocks away."""
    with ExitStack() as stack:
        folder = None
        if not _is_table(job.out):
            folder = stack.enter_context(store.atomic_folder(job.out, job.force, PLOTS))
        rows = []
        for number, plot in enumerate(job.plots):
            job.on_step("plots", number, len(job.plots), plot.name)
            place = folder if job.options.pictures else None
            rows.append(_measure(plot, number, job, said, place))
        job.on_step("plots", len(rows), len(rows), "")
        run = _concluded(job, said, rows, began)
        if folder is None:
            with store.atomic_write(job.out, job.force) as temporary:
                write_table(run, temporary)
        else:
            write_all(run, folder)
            _write_mask(said.scores, folder / MASK, job.on_step)
            if use is not None:
                use(run, folder)
    shutil.rmtree(said.work, ignore_errors=True)
    return run


def _is_table(out: Path) -> bool:
    return out.suffix.lower() == ".csv"


def _concluded(job: _Job, said: Answered, rows: list[dict[str, Any]], began: float) -> PlotRun:
    return PlotRun(
        rows,
        job.plots,
        said.scores.plan.classes,
        said.name,
        said.about,
        job.ground.name,
        str(job.ground.grid.crs),
        ground_sampling_distance(job.ground.grid) or 0.0,
        job.options,
        said.notes,
        {"predict": said.seconds, "wall": time.perf_counter() - began},
    )


def _write_mask(scores: PlotAnswers, path: Path, on_step: OnStep) -> None:
    """Write the most probable class of every pixel, 255 where there is none."""
    classes, blocks = scores.plan.classes, scores.plan.blocks
    colours = classes.colours or ("",) * len(classes)
    with store.create_cog(
        path,
        scores.grid,
        ("class",),
        np.uint8,
        nodata=IGNORE,
        colours=[colour or "#808080" for colour in colours],
        overviews="mode",
    ) as sink:
        for number, roi in enumerate(blocks, 1):
            sink.write(roi, _ids(scores, roi)[0][None])
            on_step("mask", number, len(blocks), "")


def _ids(scores: PlotAnswers, roi: Roi) -> tuple[np.ndarray, np.ndarray]:
    """Return the (y, x) uint8 classes of a region, 255 for none, and its (class, y, x) scores."""
    read = scores.read(roi)
    ids = read.values.argmax(0).astype(np.uint8)
    if read.valid is not None:
        ids[~read.valid] = IGNORE
    return ids, read.values


def _measure(
    plot: Plot, number: int, job: _Job, said: Answered, out: Path | None
) -> dict[str, Any]:
    """Return the row of one plot, and draw its picture."""
    scores = said.scores
    roi = _window(plot, scores.grid)
    area = plot.kept.area / abs(scores.grid.transform.determinant)
    row = {"plot": plot.name} | plot.attributes | {"pixels": round(area)}
    if roi is None:
        return row | {"nodata": 1.0, "trust": "no", "reasons": "outside the orthomosaic"}
    strips = list(_strips(plot, roi, job.ground, scores))
    known = sum(strip.known for strip in strips)
    row["nodata"] = float(np.clip(1 - known / max(area, 1), 0, 1))
    if not known:
        return row | {"trust": "no", "reasons": "no pixel of the orthomosaic"}
    cover = _joined(strips)
    if said.known is not None:
        cover = said.known.interval(cover)
    row |= _cover_row(cover, strips, scores.plan.classes)
    size = (ground_sampling_distance(scores.grid) or 0.0) ** 2
    row |= {"ground_m2": known * size, "vegetation_m2": cover.cover * known * size}
    counted = _count(plot, roi, scores, job.options.min_area)
    row |= {} if counted is None else _count_row(counted, size)
    plants = np.concatenate([strip.plants for strip in strips], axis=1)
    row |= colour_indices(plants[:, None], np.ones((1, plants.shape[1]), bool))
    reasons = [
        f"{row['nodata']:.0%} without pixels" if row["nodata"] > EMPTY else "",
        "model unsure" if cover.width > WIDE else "",
        "" if counted is not None else "too large to count plants",
        said.doubt,
    ]
    why = "; ".join(filter(None, reasons))
    if out is not None:
        row["picture"] = f"{PICTURES}/{number + 1:04d}.jpg"
        _draw(plot, roi, job.ground, scores, out / row["picture"])
    return row | {"trust": "no" if why else "yes", "reasons": why}


def _window(plot: Plot, grid: GeoBox) -> Roi | None:
    """Return the pixels that a plot's bounds touch, or None outside the image."""
    west, south, east, north = plot.kept.bounds
    ends = [~grid.transform * corner for corner in ((west, north), (east, south))]
    columns, rows = (sorted(pair) for pair in zip(*ends, strict=True))
    spans = [
        slice(max(math.floor(start), 0), min(math.ceil(stop), size))
        for (start, stop), size in zip((rows, columns), grid.shape, strict=True)
    ]
    if any(span.start >= span.stop for span in spans):
        return None
    return spans[0], spans[1]


@dataclass(frozen=True, eq=False, slots=True)
class _Strip:
    """Some rows of a plot."""

    known: int
    """Pixels that lie in the plot and in the image."""
    cover: Cover
    counts: np.ndarray
    """Pixels of each class."""
    plants: np.ndarray
    """(3, n) uint8: the colours of the vegetation, thinned where the plot is large."""


def _strips(plot: Plot, roi: Roi, ground: Orthomosaic, scores: PlotAnswers) -> Iterator[_Strip]:
    """Look at a plot a few rows at a time."""
    height, width = roi_shape(roi)
    step = max(1, STRIP // max(width, 1))
    thin = max(1, height * width // (4 * ENOUGH))
    names = len(scores.plan.classes.names)
    for start in range(roi[0].start, roi[0].stop, step):
        part = (slice(start, min(start + step, roi[0].stop)), roi[1])
        ids, values = _ids(scores, part)
        known = _inside(plot, scores.grid[part]) & (ids != IGNORE)
        plants = known & (ids > 0)
        colours = colours_on(ground, scores.grid, part)[:, plants][:, ::thin]
        yield _Strip(
            int(known.sum()),
            measure_cover(1 - values[0], plants, known),
            np.bincount(ids[known], minlength=names),
            colours,
        )


def _inside(plot: Plot, grid: GeoBox) -> np.ndarray:
    return store.burn([plot.kept], [1], grid) > 0


def _joined(strips: Sequence[_Strip]) -> Cover:
    """Weigh the shares of all rows by their pixels."""
    used = [strip for strip in strips if strip.known]
    weights = np.array([strip.known for strip in used], np.float64)
    shares = np.array(
        [
            (one.cover.cover, one.cover.expected, one.cover.low, one.cover.high, one.cover.unsure)
            for one in used
        ]
    )
    return Cover(*(weights @ shares / weights.sum()).tolist())


def _cover_row(cover: Cover, strips: Sequence[_Strip], classes: ClassScheme) -> dict[str, Any]:
    row = {
        "cover": cover.cover,
        "cover_low": cover.low,
        "cover_high": cover.high,
        "cover_expected": cover.expected,
        "unsure": cover.unsure,
    }
    if len(classes.names) > 2:
        counts = np.sum([strip.counts for strip in strips], 0)
        shares = counts / counts.sum()
        row |= {
            f"cover_{name}": float(share)
            for name, share in zip(classes.names[1:], shares[1:], strict=True)
        }
    return row


def _count_row(counted: Mapping[str, np.ndarray], size: float) -> dict[str, Any]:
    """Return how many there are, of each class too where there are several, and how large."""
    areas = np.concatenate([np.zeros(0), *counted.values()])
    row: dict[str, Any] = {"components": len(areas)}
    if len(counted) > 1:
        row |= {f"components_{name}": len(own) for name, own in counted.items()}
    if len(areas):
        row["component_area_median_cm2"] = float(np.median(areas)) * size * 1e4
    return row


def _count(plot: Plot, roi: Roi, scores: PlotAnswers, least: int) -> dict[str, np.ndarray] | None:
    """Return the areas, in pixels, of the plants whose centre lies in a plot; None: too large.

    Of each class by itself: a crop that touches a weed is two.
    """
    wider = pad_roi(roi, MARGIN, roi_shape(whole(scores.grid)))
    height, width = roi_shape(wider)
    if height * width > COUNTED:
        return None
    seen = np.empty((height, width), np.uint8)
    step = max(1, STRIP // width)
    for start in range(0, height, step):
        rows = slice(wider[0].start + start, min(wider[0].start + start + step, wider[0].stop))
        seen[start : start + step] = _ids(scores, (rows, wider[1]))[0]
    inside = _inside(plot, scores.grid[wider])
    scheme = scores.plan.classes
    return {scheme.names[k]: _areas(seen == k, inside, least) for k in counted_classes(scheme)}


def _areas(mask: np.ndarray, inside: np.ndarray, least: int) -> np.ndarray:
    """Return the pixels of each component of a (y, x) bool mask whose centre lies inside."""
    labels, count = ndimage.label(mask, EIGHT)
    if not count:
        return np.zeros(0)
    areas = np.bincount(labels.ravel())[1:]
    middles = np.array(ndimage.center_of_mass(mask, labels, np.arange(1, count + 1)))
    last = np.array(mask.shape) - 1
    held = inside[tuple(np.floor(middles + 0.5).astype(int).clip(0, last).T)]
    found: np.ndarray = areas[held & (areas >= least)]
    return found


def _draw(plot: Plot, roi: Roi, ground: Orthomosaic, scores: PlotAnswers, path: Path) -> None:
    """Draw a plot with what was taken for plants, and without; what lies outside is gray."""
    height, width = roi_shape(roi)
    step = max(1, -(-max(height, width) // (2 * overlay.LONGEST)))
    rows = range(roi[0].start, roi[0].stop, step * max(1, STRIP // (width * step)))
    colours, labels = [], []
    for start in rows:
        stop = min(start + rows.step, roi[0].stop)
        part = (slice(start, stop), roi[1])
        ids = _ids(scores, part)[0]
        ids[~_inside(plot, scores.grid[part])] = IGNORE
        colours.append(colours_on(ground, scores.grid, part)[:, ::step, ::step])
        labels.append(ids[::step, ::step])
    image, ids = np.concatenate(colours, 1), np.concatenate(labels)
    bare = np.where(ids == IGNORE, ids, np.uint8(0))
    path.parent.mkdir(exist_ok=True)
    for place, seen in ((path, ids), (path.with_name(overlay.bare_of(path.name)), bare)):
        drawn = overlay.draw_overlay(image, seen)
        overlay.write_picture(drawn, place, overlay.LONGEST // 2)
