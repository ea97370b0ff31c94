"""A sequence of years: each compared with the one before it, and with the one before that.

A field that one year did not find, although the years around it have it, keeps its id.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
from odc.geo.geobox import GeoBox

from selion.change.lineage import Names, next_names, related_rows, returned
from selion.change.outcomes import (
    APPEARED,
    GONE,
    KEPT,
    MERGED,
    MOVED,
    OUTCOMES,
    REDRAWN,
    SPLIT,
    UNKNOWN,
    OutcomeOptions,
)
from selion.change.pixels import find_rule
from selion.change.sides import BLOCK, YearOnGrid, place
from selion.change.step import ChangeState, Step, compare, first_state, next_state
from selion.change.years import Year
from selion.grid import Roi, roi_shape, tiles
from selion.progress import OnNote, OnStep
from selion.raster import DerivedSource, Raster, Source
from selion.store.npy import open_npy

NOT_SEEN, FIRST, PASSING = range(len(OUTCOMES), len(OUTCOMES) + 3)
NOTHING = 254
OUTCOMES_OF_YEARS = (*OUTCOMES, "not seen", "first", "passing")
"""By number, those of two years and three more; 255 is "unknown", 254 nothing at all.

not seen  the year's map has no such field, but the years before and after it have; or so many
          fields are missing at once in the first or the last year that it is not believed
first     the field is in the first year of all, or in the first that saw its ground well
passing   for this year only the ground is divided or drawn otherwise: the year after has the
          fields of the year before
"""


DIVIDED = (SPLIT, MERGED, REDRAWN)
"""Outcomes that divide the ground otherwise."""


@dataclass(frozen=True, eq=False)
class SeenMask(DerivedSource):
    """Where a year saw anything, kept beside its ids, so that probabilities are unpacked once."""

    mask: Path

    def read(self, roi: Roi) -> Raster:
        """Read which pixels are valid; the values are zero."""
        shape = roi_shape(roi)
        values = np.broadcast_to(np.float32(0), (len(self.bands), *shape))
        valid = np.array(open_npy(self.mask)[roi])
        return Raster(values, self.grid[roi], self.bands, valid)


def keep_mask(scores: Source, path: Path) -> SeenMask:
    """Write which pixels of a Source are valid as (y, x) bool ``.npy``, block by block."""
    height, width = (int(size) for size in scores.grid.shape)
    file = np.lib.format.open_memmap(path, "w+", np.bool_, (height, width))
    for roi in tiles((height, width), BLOCK):
        valid = scores.read(roi).valid
        file[roi] = True if valid is None else valid
    file.flush()
    return SeenMask(scores, path)


@dataclass(frozen=True, eq=False)
class SequenceYear:
    """One year of a sequence."""

    mapped: YearOnGrid
    """Its file of ids holds, after its own fields, those that a cloud hid."""
    scores: Source
    """Probabilities, on the common grid."""
    names: np.ndarray
    """(n,) object: ids that follow its own fields through the years."""
    iou: np.ndarray
    """(n,) float32 with the outline that the same field had before; NaN where there was none."""
    came: np.ndarray
    """(n,) uint8: how each field came, by :data:`OUTCOMES_OF_YEARS`."""
    known: np.ndarray
    """(n,) ids of all that was known before the year, its predecessor's fields and hidden ones."""
    fate: np.ndarray
    """(n,) uint8 of each of those: what became of it in the year."""
    late: list[tuple[str, int]] = field(default_factory=list)
    """(id, outcome) of fields that left only now, as the year before had not seen them."""


@dataclass(frozen=True, eq=False)
class JoinedYears:
    """All years, joined."""

    grid: GeoBox
    pixel: float
    """Of the image, in pixels of the grid."""
    years: tuple[SequenceYear, ...]
    steps: tuple[Step, ...]
    """From each year to the next."""
    across: tuple[pd.DataFrame, ...]
    """For each step rows of the lineage that pass over the year before it."""


def follow_years(
    years: Sequence[Year],
    grid: GeoBox,
    pixel: float,
    options: OutcomeOptions,
    work: Path,
    on_step: OnStep,
    on_note: OnNote,
) -> JoinedYears:
    """Join years, the earliest first.

    Parameters
    ----------
    years : sequence of Year
    grid : GeoBox
        The common grid: that of the first year's probabilities.
    pixel : float
        Of the image, in pixels of the grid.
    options : OutcomeOptions
    work : Path
        Gets ids and masks: 5 bytes per pixel and year.
    on_step, on_note : callable

    Returns
    -------
    JoinedYears

    Raises
    ------
    GridMismatch
        If a year cannot be laid over the grid.
    """
    states: list[ChangeState] = []
    steps: list[Step] = []
    found: list[SequenceYear] = []
    across: list[pd.DataFrame] = []
    for number, year in enumerate(years):
        on_step("fields", number, len(years), year.label)
        mapped, notes = place(year, grid, years[0], work)
        for note in notes:
            on_note(note)
        scores = mapped.scores
        mapped = replace(mapped, scores=keep_mask(scores, work / f"{year.label}.seen.npy"))
        if not number:
            state = first_state(mapped)
            states.append(state)
            found.append(_first_year(mapped, scores, state))
            continue
        listen = _listener(on_step, f"compare {years[number - 1].label} {year.label}")
        rule = find_rule("fixed")
        step = compare(states[-1], mapped, grid, rule, options, pixel, listen)
        over = None
        if number > 1:
            listen = _listener(on_step, f"compare {years[number - 2].label} {year.label}")
            over = compare(states[-2], mapped, grid, rule, options, pixel, listen)
        step, joined, rows = _with_hindsight(step, over, found[-1], scores)
        steps.append(step)
        found.append(joined)
        across.append(rows)
        states.append(next_state(step))
    on_step("fields", len(years), len(years), "")
    return JoinedYears(grid, pixel, tuple(found), tuple(steps), tuple(across))


def _listener(on_step: OnStep, stage: str) -> Callable[[float, float], None]:
    return lambda done, total: on_step(stage, done, total, "")


def _first_year(mapped: YearOnGrid, scores: Source, state: ChangeState) -> SequenceYear:
    count = len(mapped.names)
    return SequenceYear(
        mapped,
        scores,
        state.names.ids,
        np.full(count, np.nan, np.float32),
        np.full(count, FIRST, np.uint8),
        np.zeros(0, object),
        np.zeros(0, np.uint8),
    )


def _with_hindsight(
    step: Step, over: Step | None, between: SequenceYear, scores: Source
) -> tuple[Step, SequenceYear, pd.DataFrame]:
    """Tell a step again, knowing also what became of the fields of the year before the last.

    ``between`` is the year before: its ``fate`` of fields that are back now becomes "not seen".
    """
    after = step.judged.after.copy()
    label = step.after.year.label
    iou = np.full(len(after), np.nan, np.float32)
    former = None if over is None else (over.before.names, over.judged)
    names = next_names(step.before.names, step.after.names, step.judged, label, former)
    rows: pd.DataFrame = pd.DataFrame()
    late: list[tuple[str, int]] = []
    if over is not None:
        back = returned(step.before.names, step.judged, former)
        rows, late = _pass_over(step, over, between, after, iou, back, names)
    pairs = step.judged.pairs
    iou[pairs.other[pairs.same] - 1] = pairs.iou[pairs.same]
    fate = step.judged.before.copy()
    if over is not None:
        _pass_by(step, over, between, after, fate, names)
    step = replace(step, names=names, judged=replace(step.judged, after=after))
    joined = SequenceYear(
        step.after,
        scores,
        names.ids,
        iou,
        after,
        step.before.names.ids,
        fate,
        late,
    )
    return step, joined, rows


def _pass_over(
    step: Step,
    over: Step,
    between: SequenceYear,
    after: np.ndarray,
    iou: np.ndarray,
    back: tuple[np.ndarray, np.ndarray],
    names: Names,
) -> tuple[pd.DataFrame, list[tuple[str, int]]]:
    """Join fields over the year between; ``after``, ``iou`` and the fate of that year change."""
    pairs = over.judged.pairs
    one, other = pairs.one - 1, pairs.other - 1
    missing = between.fate[one] == GONE
    is_back = np.zeros(len(after), bool)
    is_back[back[1]] = True
    told = (pairs.outcome != UNKNOWN) & (
        missing | (step.judged.after[other] == APPEARED) | (is_back[other] & pairs.same)
    )
    after[other[told]] = over.judged.after[other[told]]
    between.fate[np.unique(one[told & missing])] = NOT_SEEN
    same = told & pairs.same & is_back[other]
    iou[other[same]] = pairs.iou[same]
    gone_on = set(names.ids[back[1]])
    late = [
        (str(over.before.names.ids[k]), int(over.judged.before[k]))
        for k in np.unique(one[told & missing])
        if over.before.names.ids[k] not in gone_on
    ]
    rows = related_rows(
        (over.before.seen_in, step.after.year.label),
        over.before.names,
        names,
        over.judged,
        over.measures,
    )
    return rows[told], late


def _pass_by(
    step: Step,
    over: Step,
    between: SequenceYear,
    after: np.ndarray,
    fate: np.ndarray,
    names: Names,
) -> None:
    """Take back a division of the ground that only the year between has.

    Fields that are the same in the years around it are so in this year, too; what the year between
    has instead is "passing".  ``after``, ``fate`` and how its fields came change.
    """
    pairs = over.judged.pairs
    one, other = pairs.one - 1, pairs.other - 1
    same = pairs.same & np.isin(pairs.outcome, (KEPT, MOVED))
    same &= names.ids[other] == over.before.names.ids[one]
    again = same & np.isin(after[other], (*DIVIDED, MOVED))
    after[other[again]] = pairs.outcome[again]
    own, later = step.judged.pairs.one - 1, step.judged.pairs.other - 1
    count, came = len(step.judged.before), between.came
    passing = np.zeros(count, bool)
    # an outline that moved twice has moved; one that moved and is back has not
    for steady, outcomes in ((same, DIVIDED), (same & (pairs.outcome == KEPT), (MOVED,))):
        calm = np.zeros(len(after), bool)
        calm[other[steady]] = True
        kin = np.bincount(own, minlength=count)
        every = (kin > 0) & (np.bincount(own, calm[later], count) == kin)
        passing[: len(came)] |= every[: len(came)] & np.isin(came, outcomes)
    came[passing[: len(came)]] = PASSING
    fate[passing] = PASSING
