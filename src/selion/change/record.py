"""The record of each field over all years, and years that found too little to be believed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from selion.change.lineage import outcome_names
from selion.change.outcomes import APPEARED, GONE, KEPT, UNKNOWN
from selion.change.sequence import FIRST, NOT_SEEN, NOTHING, OUTCOMES_OF_YEARS, PASSING, JoinedYears
from selion.errors import BadInput

USUAL = 3.0
"""In the first and the last year, where fields that are missing cannot be told from fields that
came or went, a year has found too little if this many times the usual share is missing."""


@dataclass(frozen=True, slots=True)
class DetectionOptions:
    """When a year has found too little."""

    missed: float = 0.2
    """Share of the fields that the years around have, and this one has not, from which on it has
    found too little."""
    neighbourhood: float = 5000.0
    """Edge in metres (pixels of a photograph) of the squares in which that is looked at, beside the
    whole."""
    least: int = 10
    """Fields of which a share is taken at least."""

    def __post_init__(self) -> None:
        if not 0 < self.missed <= 1 or not self.neighbourhood > 0 or self.least < 1:
            raise BadInput(
                f"missed {self.missed}, neighbourhood {self.neighbourhood} and least {self.least} "
                "were given; wanted are a share above 0 and up to 1, metres above 0 and a number "
                "of fields from 1 up."
            )


@dataclass(frozen=True, eq=False)
class Records:
    """A row a field, a column a year."""

    ids: np.ndarray
    """(n,) object, in the order in which they were first seen."""
    rows: np.ndarray
    """(n, year) int32: row of the field in the year's table; -1 where it is not in it."""
    codes: np.ndarray
    """(n, year) uint8 by :data:`selion.change.sequence.OUTCOMES_OF_YEARS`; in the year after the
    last that has the field, what became of it; 254 before it came and long after it went."""
    iou: np.ndarray
    """(n, year) float32 with the outline it had before."""
    centre: np.ndarray
    """(n, 2) float64 (y, x) of its last outline in pixels of the common grid."""

    @property
    def seen(self) -> np.ndarray:
        """(n, year) bool: the year's map has the field."""
        return self.rows >= 0

    @property
    def first(self) -> np.ndarray:
        """(n,) int64: number of the first year that has it."""
        return self.seen.argmax(axis=1)

    @property
    def last(self) -> np.ndarray:
        """(n,) int64: number of the last year that has it."""
        return self.seen.shape[1] - 1 - self.seen[:, ::-1].argmax(axis=1)

    @property
    def stable(self) -> np.ndarray:
        """(n, year) bool: years of the last run over which the outline did not move.

        It begins with the year in which the outline came to be as it is; years that have not seen
        the field, or only in passing otherwise, are left out and do not end it.
        """
        seen, stable = self.seen, np.zeros(self.seen.shape, bool)
        running = np.ones(len(seen), bool)
        for year in reversed(range(seen.shape[1])):
            here = seen[:, year] & running & (self.codes[:, year] != PASSING)
            stable[:, year] = here
            running &= ~here | (self.codes[:, year] == KEPT)
        return stable

    @property
    def alive(self) -> np.ndarray:
        """(n,) bool: nothing says that the field has gone by the last year."""
        years = np.arange(self.seen.shape[1])
        after = years[None] > self.last[:, None]
        quiet: np.ndarray = ~after | np.isin(self.codes, (NOT_SEEN, UNKNOWN))
        return np.asarray(quiet.all(axis=1))

    def names(self) -> np.ndarray:
        """(n, year) object: outcomes in words, None for nothing."""
        words = outcome_names(self.codes, OUTCOMES_OF_YEARS)
        words[self.codes == NOTHING] = None
        return words


def make_records(joined: JoinedYears) -> Records:
    """Turn years that were joined into a row a field."""
    number: dict[str, int] = {}
    for year in joined.years:
        for name in year.names:
            number.setdefault(name, len(number))
    shape = len(number), len(joined.years)
    rows, codes = np.full(shape, -1, np.int32), np.full(shape, NOTHING, np.uint8)
    iou, centre = np.full(shape, np.nan, np.float32), np.zeros((len(number), 2))
    for at, year in enumerate(joined.years):
        own = np.array([number[name] for name in year.names], np.int64)
        rows[own, at] = np.arange(len(own))
        codes[own, at], iou[own, at], centre[own] = year.came, year.iou, year.mapped.centroid
        known = np.array([number[name] for name in year.known], np.int64)
        left = rows[known, at] < 0
        codes[known[left], at] = year.fate[left]
        for name, code in year.late:
            if rows[number[name], at] < 0:
                codes[number[name], at] = code
    records = Records(np.array(list(number), object), rows, codes, iou, centre)
    return replace(records, codes=_between(records))


def _between(records: Records) -> np.ndarray:
    """Return the codes, with "not seen" wherever a field is missing between two years with it."""
    years, codes = np.arange(records.codes.shape[1])[None], records.codes.copy()
    inner = (years > records.first[:, None]) & (years < records.last[:, None]) & ~records.seen
    codes[inner & (codes != UNKNOWN)] = NOT_SEEN
    return codes


@dataclass(frozen=True, eq=False)
class YearDetection:
    """How much each year found of what there was."""

    missed: np.ndarray
    """(year,) float64: share of the fields of the years around it that the year has not; in the
    first and the last year of those of the only neighbour, so that fields that came or went are
    among them."""
    whole: np.ndarray
    """(year,) bool: the year found too little as a whole."""
    part: np.ndarray
    """(year,) float64: share of the fields that lie where the year found too little."""
    here: np.ndarray
    """(n, year) bool: the year found too little where the field is."""


def judge_detection(records: Records, options: DetectionOptions, pixel: float) -> YearDetection:
    """Tell years, and neighbourhoods in years, that found too little.

    Parameters
    ----------
    records : Records
    options : DetectionOptions
    pixel : float
        Edge of a pixel of the common grid in metres.
    """
    cells = np.floor(records.centre * pixel / options.neighbourhood).astype(np.int64)
    _, cell = np.unique(cells, axis=0, return_inverse=True)
    cell = cell.ravel()
    count, years = records.rows.shape
    missed, whole = np.full(years, np.nan), np.zeros(years, bool)
    here = np.zeros((count, years), bool)
    order = [*range(1, years - 1), *([0, years - 1] if years > 2 else [])]
    for year in order:
        lacking, there = _missing(records, year)
        limit = options.missed
        if year in (0, years - 1):
            limit = max(limit, USUAL * _usual(records, year, whole))
        missed[year] = lacking.sum() / max(there.sum(), 1) if there.any() else np.nan
        whole[year] = there.sum() >= options.least and missed[year] >= limit
        sums = [np.bincount(cell, part, cell.max(initial=-1) + 1) for part in (lacking, there)]
        little = (sums[1] >= options.least) & (sums[0] >= limit * sums[1])
        here[:, year] = whole[year] | little[cell]
    return YearDetection(missed, whole, here.mean(axis=0) if count else np.zeros(years), here)


def _missing(records: Records, year: int) -> tuple[np.ndarray, np.ndarray]:
    """Return which fields a year lacks, and which it might have, (n,) bool each."""
    seen, codes, last = records.seen, records.codes, records.codes.shape[1] - 1
    if year == 0:
        there = seen[:, 1] & (codes[:, 1] != UNKNOWN)
        return there & (codes[:, 1] == APPEARED), there
    if year == last:
        there = seen[:, year - 1] & (codes[:, year] != UNKNOWN)
        return there & (codes[:, year] == GONE), there
    there = seen[:, year - 1] & seen[:, year + 1] & (codes[:, year] != UNKNOWN)
    return there & (codes[:, year] == NOT_SEEN), there


def _usual(records: Records, year: int, little: np.ndarray) -> float:
    """Return the share of fields that come (for the first year) or go (for the last) in a year.

    The median over the years between; those that found too little themselves are left out.
    """
    seen, codes, years = records.seen, records.codes, records.codes.shape[1]
    shares = []
    for at in range(2 if year == 0 else 1, years if year == 0 else years - 1):
        if little[at] or little[at - 1]:
            continue
        base, code = (seen[:, at], APPEARED) if year == 0 else (seen[:, at - 1], GONE)
        if base.any():
            shares.append(float((base & (codes[:, at] == code)).sum() / base.sum()))
    return float(np.median(shares)) if shares else 0.0


def believe(records: Records, detection: YearDetection) -> Records:
    """Take back what only years say that found too little.

    What is missing from such a year is "not seen" in it, not gone: if the next year has not got it
    either, it has gone then.  What is new in the second year where the first found too little is
    "first", not appeared.
    """
    codes, years = records.codes.copy(), records.codes.shape[1]
    for year in range(1, years):
        lost = detection.here[:, year] & (codes[:, year] == GONE)
        codes[lost, year] = NOT_SEEN
        if year + 1 < years:
            codes[lost & (codes[:, year + 1] == NOTHING), year + 1] = GONE
    if years > 2:
        new = detection.here[:, 0] & (codes[:, 1] == APPEARED)
        codes[new, 0], codes[new, 1] = NOT_SEEN, FIRST
    return replace(records, codes=codes)
