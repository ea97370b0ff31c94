"""What is said of every pixel of an orthomosaic: by one model, by two, or by greenness.

Who answers is decided once, on tiles from all over the orthomosaic, as
:func:`selion.closerange.gate.answer_of` decides for a photograph; what they say is then put
together pixel by pixel, so that nothing is a seam and nothing larger than a block is held.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from odc.geo.geobox import GeoBox

from selion import prediction
from selion.closerange.calibration import Calibration
from selion.closerange.gate import AS_SAID, Ruling, alike, join, judge, said_of
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
class PlotAnswers:
    """Probabilities of an orthomosaic in the end, read region by region."""

    ground: Orthomosaic
    first: JournalSource
    second: JournalSource | None = None
    """Of another model, on the same grid; None: it was not asked."""
    together: bool = True
    """Whether the mean of both counts, and not the second alone."""
    ruling: Ruling = AS_SAID

    @property
    def plan(self) -> PredictionPlan:
        """The first model's."""
        return self.first.plan

    @property
    def grid(self) -> GeoBox:
        """The working grid."""
        return self.first.grid

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
    first = _asked(asking, segmenter, "blocks")
    scores, said = PlotAnswers(ground, first), ""
    if opened.ruled:
        scores, said = _judged(asking, first, opened.other, seen)
    notes = tuple(text for text in (note, instead, *ground.notes, *first.plan.notes, said) if text)
    for text in notes:
        on_note(text)
    why = "; ".join(filter(None, (doubt, strange)))
    spent = time.perf_counter() - began
    return Answered(scores, opened.name, opened.about, known, notes, why, spent, work)


def _asked(asking: _Asking, segmenter: Segmenter, folder: str) -> JournalSource:
    """Ask a model about the whole orthomosaic."""
    ground = asking.ground
    decided = prediction.plan(ground, segmenter, asking.options, ground.fingerprint)
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


def _judged(
    asking: _Asking, first: JournalSource, other: PhotoModel | None, seen: Raster
) -> tuple[PlotAnswers, str]:
    """Say what is made of a model's answer, and ask another where no colour confirms it."""
    ground = asking.ground
    rois = spread(first.grid)
    image = np.concatenate([_row(colours_on(ground, first.grid, roi)) for roi in rois], 2)
    said, valid = _sampled(first, rois)
    ruling = judge(image, said, valid, alone=other is None)
    if ruling is not None or other is None:
        ruling = ruling or AS_SAID
        return PlotAnswers(ground, first, ruling=ruling), ruling.note
    second = _asked(asking, other.fit(seen), "second")
    theirs, _ = _sampled(second, rois)
    together = alike(said, theirs, valid)
    ruling = judge(image, join(said, theirs, together=together), valid)
    note = said_of(ruling, together=together)
    return PlotAnswers(ground, first, second, together, ruling), note


def _sampled(scores: JournalSource, rois: list[Roi]) -> tuple[np.ndarray, np.ndarray]:
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
