"""Probabilities of several years in one: where an outline did not move, the years are repeats.

Fields that stay where they are were looked at anew in each year; the mean of these looks is quieter
than any of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import selion
from selion import prediction, store
from selion.change.outcomes import GONE, UNKNOWN
from selion.change.record import Records
from selion.change.sequence import NOT_SEEN, OUTCOMES_OF_YEARS, JoinedYears, SequenceYear
from selion.change.sides import BLOCK
from selion.change.step import COLOURS
from selion.classes import IGNORE, ClassScheme
from selion.errors import BadInput
from selion.grid import Roi, tiles
from selion.progress import OnStep, silent

YEARS = ClassScheme(OUTCOMES_OF_YEARS, (), None, (*COLOURS, "#bdbdbd", "#cfe3c8"))
"""Classes of the maps of outcomes; 255 is not known."""
LEAST = 1 / 508
"""Half a step of stored probabilities."""


@dataclass(frozen=True, eq=False)
class JoinedGround:
    """What is known of each pixel: whose it was in each year."""

    joined: JoinedYears
    records: Records
    rows: tuple[np.ndarray, ...]
    """For each year (fields and hidden ones + 1,) int32: rows of the records by number in its file
    of ids; -1 for none, and for hidden ones."""

    def read(self, year: int, roi: Roi) -> np.ndarray:
        """Return (y, x) int32 rows of the records, -1 where the year has no field."""
        ids = self.joined.years[year].mapped.read_ids(roi)
        return np.asarray(self.rows[year][np.minimum(ids, len(self.rows[year]) - 1)])

    def read_last(self, roi: Roi) -> np.ndarray:
        """Return (y, x) int32 rows of the fields that are there in the end, -1 for none.

        Those that the last year did not see are where an earlier one saw them.
        """
        years = len(self.joined.years)
        # row -1 is no field
        last = np.append(np.where(self.records.alive, self.records.last, -1), -1)
        found = self.read(years - 1, roi)
        for year in reversed(range(years - 1)):
            before = self.read(year, roi)
            found = np.where((found < 0) & (last[before] == year), before, found)
        return found


def make_ground(joined: JoinedYears, records: Records) -> JoinedGround:
    """Give each year's fields their rows in the records."""
    number = {name: row for row, name in enumerate(records.ids)}
    return JoinedGround(joined, records, tuple(_rows_of(year, number) for year in joined.years))


def _rows_of(year: SequenceYear, number: dict[str, int]) -> np.ndarray:
    """Return the rows of a year's own fields by their number; the last, -1, is for hidden ones."""
    return np.array([-1, *(number[name] for name in year.names), -1], np.int32)


def rois_of(joined: JoinedYears) -> list[Roi]:
    """Return the blocks that everything is done in."""
    return tiles((int(joined.grid.shape[0]), int(joined.grid.shape[1])), BLOCK)


def write_outcomes(
    ground: JoinedGround, year: int, path: Path, *, force: bool, on_step: OnStep = silent
) -> None:
    """Write what became of the fields in a year as a COG of :data:`YEARS`.

    A pixel says how the field came that it lies in; where the year has no field, what became of the
    one that was there the year before, if it left or was not seen.
    """
    joined, records = ground.joined, ground.records
    here = joined.years[year]
    codes = np.append(records.codes[:, year], 0).astype(np.uint8)
    left = np.where(np.isin(codes, (GONE, NOT_SEEN, UNKNOWN)), codes, 0)
    tags = {
        "year": here.mapped.year.label,
        "classes": json.dumps(YEARS.to_dict()),
        "selion": selion.__version__,
    }
    rois = rois_of(joined)
    with store.create_cog(
        path,
        joined.grid,
        ["outcome"],
        np.uint8,
        nodata=IGNORE,
        tags=tags,
        colours=YEARS.colours,
        overviews="mode",
        force=force,
    ) as sink:
        for number, roi in enumerate(rois, 1):
            own = ground.read(year, roi)
            out = np.where(own >= 0, codes[own], 0)
            for other in _around(year, len(joined.years)):
                out = np.where((own < 0) & (out == 0), left[ground.read(other, roi)], out)
            valid = here.mapped.scores.read(roi).valid
            if valid is not None:
                out = np.where(valid, out, IGNORE)
            sink.write(roi, out.astype(np.uint8)[None])
            on_step(f"map {here.mapped.year.label}", number, len(rois), "")


def _around(year: int, years: int) -> Iterator[int]:
    """Return years that may have fields which a year lacks: those before, then those after."""
    yield from reversed(range(year))
    yield from range(year + 1, years)


def pool(parts: list[np.ndarray], weights: list[np.ndarray], method: str) -> np.ndarray:
    """Join probabilities of several years.

    Parameters
    ----------
    parts : list of (class, y, x) float32 ndarray
    weights : list of (y, x) bool ndarray
        Which years count, by pixel; where none does the result is 0.
    method : str
        "logits": the normalised geometric mean, which is the mean of the classes' logits;
        "mean": the mean of the probabilities.

    Returns
    -------
    (class, y, x) float32 ndarray

    Notes
    -----
    Genest and Zidek, "Combining probability distributions", Statistical Science 1, 1986: the
    logarithmic and the linear pool with equal weights.
    """
    if method not in ("logits", "mean"):
        raise BadInput(f"Fusion {method!r} was asked for; wanted is logits or mean.")
    total = np.zeros(parts[0].shape, np.float64)
    number = np.zeros(parts[0].shape[1:], np.int64)
    for values, weight in zip(parts, weights, strict=True):
        part = values.astype(np.float64)
        part = np.log(np.clip(part, LEAST, 1)) if method == "logits" else part
        total += np.where(weight, part, 0)
        number += weight
    total /= np.maximum(number, 1)
    if method == "logits":
        total = np.exp(total)
        total /= total.sum(axis=0)
    return np.where(number > 0, total, 0).astype(np.float32)


def fuse(ground: JoinedGround, roi: Roi, method: str) -> tuple[np.ndarray, np.ndarray]:
    """Join the probabilities of a region over the years in which its outlines did not move.

    Returns
    -------
    (class, y, x) float32 ndarray
    (y, x) uint8 ndarray
        How many years each pixel is made of; 0: nobody saw it.
    """
    joined = ground.joined
    stable = np.vstack([ground.records.stable, np.zeros((1, len(joined.years)), bool)])
    last = ground.read_last(roi)
    unmoved = np.ones(last.shape, bool)
    parts, weights, valid = [], [], []
    for year in reversed(range(len(joined.years))):
        part = joined.years[year].scores.read(roi)
        parts.append(part.values)
        valid.append(np.ones(last.shape, bool) if part.valid is None else part.valid)
        own = ground.read(year, roi)
        # ground between fields: back to the year in which a field was there that is so no more
        unmoved &= (own < 0) | stable[own, year]
        weights.append(valid[-1] & np.where(last >= 0, stable[last, year], unmoved))
    count = np.sum(weights, axis=0).astype(np.uint8)
    for at, seen in enumerate(valid):  # where none of these was seen, the last year that was
        weights[at] = weights[at] | ((count == 0) & seen)
        count = np.maximum(count, weights[at])
    return pool(parts, weights, method), count


def write_fused(
    ground: JoinedGround, path: Path, method: str, *, force: bool, on_step: OnStep = silent
) -> np.ndarray:
    """Write probabilities joined over the years as a COG, as ``selion predict`` writes them.

    Returns
    -------
    (year + 1,) int64 ndarray
        Pixels by the number of years that they are made of.

    Raises
    ------
    BadInput
        If the years' probabilities are of different classes.
    """
    joined = ground.joined
    classes = joined.years[-1].mapped.classes
    for year in joined.years:
        if year.mapped.classes.names != classes.names:
            raise BadInput(
                f"The probabilities of {year.mapped.year.label} are of "
                f"{', '.join(year.mapped.classes.names)}, those of "
                f"{joined.years[-1].mapped.year.label} of {', '.join(classes.names)}: years can "
                "only be fused if their classes are the same; make them with one model."
            )
    said = [dict(year.scores.tags) for year in joined.years]
    tags = {
        name: value
        for name, value in said[-1].items()
        if name in ("classes", "model", "image_gsd") and all(one.get(name) == value for one in said)
    }
    tags |= {
        "classes": json.dumps(classes.to_dict()),
        "selion": selion.__version__,
        "fused": json.dumps(
            {"years": [year.mapped.year.label for year in joined.years], "method": method}
        ),
    }
    counts, rois = np.zeros(len(joined.years) + 1, np.int64), rois_of(joined)
    with store.create_cog(
        path,
        joined.grid,
        classes.names,
        np.uint8,
        nodata=prediction.NODATA,
        tags=tags,
        overviews="average",
        force=force,
    ) as sink:
        for number, roi in enumerate(rois, 1):
            values, count = fuse(ground, roi, method)
            counts += np.bincount(count.ravel(), minlength=len(counts))
            sink.write(roi, prediction.quantise(values, count > 0))
            on_step("fuse", number, len(rois), "")
    return counts
