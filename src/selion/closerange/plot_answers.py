"""What is said of every pixel of an orthomosaic: by one model, by two, or by greenness.

Who answers is decided once, on tiles from all over the orthomosaic, as
:func:`selion.closerange.gate.answer_of` decides for a photograph; what they say is then put
together pixel by pixel, so that nothing is a seam and nothing larger than a block is held.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from odc.geo.geobox import GeoBox

from selion import prediction
from selion.closerange.calibration import Calibration
from selion.closerange.gate import AS_SAID, LARGE, Ruling, alike, join, judge, said_of
from selion.closerange.measure import CropOptions, working_scale
from selion.closerange.model import PhotoModel, given_name, open_model
from selion.closerange.orthomosaic import Orthomosaic, colours_on, sample, spread
from selion.closerange.plot_tables import PlotOptions
from selion.closerange.quality import appearance
from selion.closerange.work import ComputeOptions
from selion.grid import Roi, ground_sampling_distance
from selion.prediction import BlockJournal, JournalSource, PredictionPlan, PredictOptions
from selion.prediction.run import NOWHERE
from selion.progress import OnNote, OnStep
from selion.raster import Raster

if TYPE_CHECKING:
    from selion.segmenter import Segmenter


@dataclass(frozen=True, eq=False, slots=True)
class Enlarged:
    """Probabilities of coarser pixels, read on a finer grid of the same ground, bilinearly."""

    coarse: JournalSource
    ground: Orthomosaic
    grid: GeoBox

    def read(self, roi: Roi) -> Raster:
        """Read (class, y, x) float32 probabilities of a region."""
        rows, columns = (
            _between(span, fine, coarse)
            for span, fine, coarse in zip(roi, self.grid.shape, self.coarse.grid.shape, strict=True)
        )
        read = self.coarse.read((_span(rows), _span(columns)))
        known = np.ones(read.values.shape[1:]) if read.valid is None else read.valid
        known = known.astype(np.float32)
        # what is not known has no part in the mean
        weight = _across(known[None], rows, columns)[0]
        values = _across(read.values * known, rows, columns)
        valid = weight > 0
        values /= np.where(valid, weight, 1)
        if self.grid == self.ground.grid and (there := self.ground.read(roi).valid) is not None:
            valid &= there
        return Raster(values, self.grid[roi], read.bands, valid, read.tags)


Places = tuple[np.ndarray, np.ndarray, np.ndarray]
"""(n,) int of the two coarse pixels that a fine one lies between; float32 share of the second."""


def _between(span: slice, fine: int, coarse: int) -> Places:
    middles = (np.arange(span.start, span.stop) + 0.5) * (coarse / fine) - 0.5
    low = np.floor(middles).astype(int)
    share = (middles - low).astype(np.float32)
    return low.clip(0, coarse - 1), (low + 1).clip(0, coarse - 1), share


def _span(places: Places) -> slice:
    return slice(int(places[0][0]), int(places[1][-1]) + 1)


def _across(values: np.ndarray, rows: Places, columns: Places) -> np.ndarray:
    """Read (class, y, x) float32 values, that begin at the first of the places, between pixels."""
    (top, bottom, down), (left, right, along) = (
        (low - low[0], high - low[0], share) for low, high, share in (rows, columns)
    )
    strips = values[:, top] * (1 - down)[:, None] + values[:, bottom] * down[:, None]
    found: np.ndarray = strips[..., left] * (1 - along) + strips[..., right] * along
    return found


@dataclass(frozen=True, eq=False, slots=True)
class PlotAnswers:
    """Probabilities of an orthomosaic in the end, read region by region."""

    ground: Orthomosaic
    plan: PredictionPlan
    """Classes, blocks and the working grid."""
    first: JournalSource | Enlarged
    second: JournalSource | Enlarged | None = None
    """Of another model, on the same grid; None: it was not asked."""
    together: bool = True
    """Whether the mean of both counts, and not the second alone."""
    ruling: Ruling = AS_SAID

    @property
    def grid(self) -> GeoBox:
        """The working grid."""
        return self.plan.grid

    def read(self, roi: Roi) -> Raster:
        """Read (class, y, x) float32 probabilities of a region."""
        read = self.first.read(roi)
        scores = read.values
        if self.second is not None:
            scores = join(scores, self.second.read(roi).values, together=self.together)
        if self.ruling != AS_SAID:
            scores = self.ruling.answer(colours_on(self.ground, self.grid, roi), scores)
        return replace(read, values=scores)


@dataclass(frozen=True, eq=False, slots=True)
class Answered:
    """What is said of an orthomosaic, by whom, and what is known of it."""

    scores: PlotAnswers
    name: str
    about: str
    known: Calibration | None
    notes: tuple[str, ...]
    doubt: str
    """Why no plot is to be trusted; empty: nothing speaks against it."""
    seconds: float
    work: Path
    """Folder of the finished blocks."""


@dataclass(frozen=True, eq=False, slots=True)
class _Asking:
    ground: Orthomosaic
    options: PredictOptions
    work: Path
    on_step: OnStep


def answer_plots(
    ground: Orthomosaic,
    model: str | None,
    options: PlotOptions,
    compute: ComputeOptions,
    work: Path,
    on_step: OnStep,
    on_note: OnNote,
) -> Answered:
    """Ask who is to be asked about an orthomosaic.

    Parameters
    ----------
    ground : Orthomosaic
    model : str or None
        See :func:`selion.closerange.open_model`.
    options : PlotOptions
    compute : ComputeOptions
    work : path
        Folder of the finished blocks: an interrupted run goes on from them.
    on_step, on_note : callable
    """
    began = time.perf_counter()
    name, note = given_name(model)
    opened = open_model(name, compute.engine, fast=compute.fast, threads=compute.threads)
    seen, gsd = sample(ground), 1000 * (ground_sampling_distance(ground.grid) or 0.0)
    opened, instead = opened.answering(seen, gsd or None)
    segmenter: Segmenter = opened.fit(seen)
    known = opened.known
    factor, doubt = working_scale(
        segmenter,
        CropOptions(scale=options.scale),
        gsd,
        # of a model whose range is that of no calibration nothing is made here (bench/plots.py)
        known.gsd if known is not None and known.photographs else None,
    )
    strange = "" if known is None else known.unlike(appearance(seen.values, seen.valid))
    chosen = PredictOptions(
        window=options.window, overlap=options.overlap, scale=factor, flips=options.flips
    )
    asking = _Asking(ground, chosen, work, on_step)
    scores, said = _answered(asking, segmenter, opened, seen)
    notes = tuple(text for text in (note, instead, *ground.notes, *scores.plan.notes, said) if text)
    for text in notes:
        on_note(text)
    why = "; ".join(filter(None, (doubt, strange)))
    spent = time.perf_counter() - began
    return Answered(scores, opened.name, opened.about, known, notes, why, spent, work)


def _answered(
    asking: _Asking, segmenter: Segmenter, opened: PhotoModel, seen: Raster
) -> tuple[PlotAnswers, str]:
    """Ask a model, and another one where no colour confirms it; with a note on what was done.

    Of a large orthomosaic the other one is asked first, at half the size, as it is of a large
    photograph: ``bench/plots_first.py`` has it better, its interval too, at half the cost.
    """
    ground, other = asking.ground, opened.other
    plan = prediction.plan(ground, segmenter, asking.options, ground.fingerprint)
    if not opened.ruled:
        return PlotAnswers(ground, plan, _asked(asking, segmenter, "blocks")), ""
    rois = spread(plan.grid)
    image = np.concatenate([_row(colours_on(ground, plan.grid, roi)) for roi in rois], 2)
    if other is not None and math.prod(ground.grid.shape) > LARGE:
        half = _asked(asking, other.fit(seen), "half", 0.5)
        first: JournalSource | Enlarged = Enlarged(half, ground, plan.grid)
    else:
        first = _asked(asking, segmenter, "blocks")
    said, valid = _sampled(first, rois)
    ruling = judge(image, said, valid, alone=other is None)
    if ruling is not None or other is None:
        ruling = ruling or AS_SAID
        return PlotAnswers(ground, plan, first, ruling=ruling), ruling.note
    ours: JournalSource | Enlarged
    theirs: JournalSource | Enlarged
    if isinstance(first, Enlarged):
        ours, theirs = _asked(asking, segmenter, "blocks"), first
    else:
        ours, theirs = first, _asked(asking, other.fit(seen), "second")
    one, two = _sampled(ours, rois)[0], _sampled(theirs, rois)[0]
    together = alike(one, two, valid)
    ruling = judge(image, join(one, two, together=together), valid)
    note = said_of(ruling, together=together)
    return PlotAnswers(ground, plan, ours, theirs, together, ruling), note


def _asked(asking: _Asking, segmenter: Segmenter, folder: str, times: float = 1.0) -> JournalSource:
    """Ask a model about the whole orthomosaic, shown at so many times its size."""
    ground, options = asking.ground, asking.options
    if times != 1:
        options = replace(options, scale=(options.scale or 1.0) * times)
    decided = prediction.plan(ground, segmenter, options, ground.fingerprint)
    journal = BlockJournal(asking.work / folder, decided.key)
    prediction.run_plan(
        ground,
        segmenter,
        decided,
        sink=NOWHERE,
        journal=journal,
        progress=lambda state: asking.on_step("predict", state.done, state.total, ""),
    )
    return JournalSource(journal, decided)


def _sampled(scores: JournalSource | Enlarged, rois: list[Roi]) -> tuple[np.ndarray, np.ndarray]:
    """Return (class, 1, pixel) scores of some regions, and which (1, pixel) are known."""
    read = [scores.read(roi) for roi in rois]
    valid = [
        np.ones(one.values.shape[1:], bool) if one.valid is None else one.valid for one in read
    ]
    return (
        np.concatenate([_row(one.values) for one in read], 2),
        np.concatenate([one.reshape(1, -1) for one in valid], 1),
    )


def _row(values: np.ndarray) -> np.ndarray:
    """Lay the pixels of (band, y, x) values out as (band, 1, pixel)."""
    return values.reshape(len(values), 1, -1)
