"""Probabilities of several years in one: where nothing has changed, the years are repeats.

Ground that stays as it is was looked at anew in each year; the mean of these looks is quieter than
any of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import selion
from selion import prediction, store
from selion.change.outcomes import GONE, UNKNOWN
from selion.change.record import Records
from selion.change.sequence import NOT_SEEN, OUTCOMES_OF_YEARS, JoinedYears, SequenceYear
from selion.change.step import COLOURS
from selion.classes import IGNORE, ClassScheme
from selion.errors import BadInput
from selion.grid import Roi, inside, pad_roi, tiles
from selion.progress import OnStep, silent

YEARS = ClassScheme(OUTCOMES_OF_YEARS, (), None, (*COLOURS, "#bdbdbd", "#cfe3c8", "#fdd49e"))
"""Classes of the maps of outcomes; 255 is not known."""
LEAST = 1 / 508
"""Half a step of stored probabilities."""
SURE = 3.5
"""Standard deviations between the means before and after a change."""
LEAST_CHANGE = 2.0
"""Log-odds between them, at least: less does no harm to a mean."""
BLOCK = 512
"""Edge in pixels of the blocks in which years are fused: all of them lie in memory at once."""
SAMPLE, SAMPLES = 256, 64
"""Edge in pixels, and number at most, of the squares on which noise is measured."""
BIN, BINS = 1 / 64, 1024
"""Log-odds of a bin, and bins, in which differences are counted."""


@dataclass(frozen=True, eq=False)
class JoinedGround:
    """What is known of each pixel: whose it was in each year."""

    joined: JoinedYears
    records: Records
    poor: np.ndarray
    """(n, year) bool: the year found too little where the field is."""
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


def make_ground(joined: JoinedYears, records: Records, poor: np.ndarray) -> JoinedGround:
    """Give each year's fields their rows in the records."""
    number = {name: row for row, name in enumerate(records.ids)}
    rows = tuple(_rows_of(year, number) for year in joined.years)
    return JoinedGround(joined, records, poor, rows)


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
    around = _around(records, year, np.flatnonzero((left[:-1] > 0) & ~records.seen[:, year]))
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
            for other in around:
                out = np.where((own < 0) & (out == 0), left[ground.read(other, roi)], out)
            valid = here.mapped.scores.read(roi).valid
            if valid is not None:
                out = np.where(valid, out, IGNORE)
            sink.write(roi, out.astype(np.uint8)[None])
            on_step(f"map {here.mapped.year.label}", number, len(rois), "")


def _around(records: Records, year: int, rows: np.ndarray) -> list[int]:
    """Return in which years fields were seen last before a year, or first after it.

    The nearest years first, those before it before those after.
    """
    seen = records.seen[rows]
    before, after = seen[:, :year], seen[:, year + 1 :]
    had = before.any(axis=1)
    last = year - 1 - before[had, ::-1].argmax(axis=1) if year else np.zeros(0, np.int64)
    first = year + 1 + after[~had].argmax(axis=1) if after.shape[1] else np.zeros(0, np.int64)
    return [*np.unique(last)[::-1].tolist(), *np.unique(first).tolist()]


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


def evidence(values: np.ndarray, classes: ClassScheme) -> np.ndarray:
    """Return (2, y, x) float64 log-odds: to lie inside a field, and to be nothing else."""
    inner = values[[classes.index(name) for name in classes.things]].sum(axis=0)
    share = np.clip(np.stack([inner, values[0]]).astype(np.float64), LEAST, 1 - LEAST)
    return np.log(share / (1 - share))


@dataclass(frozen=True, eq=False)
class _Looks:
    """What all years say about a region."""

    values: list[np.ndarray]
    """(class, y, x) float32 of each year."""
    counts: np.ndarray
    """(year, y, x) bool: the year saw the pixel, and did not miss the field that is there."""
    evidence: tuple[np.ndarray, ...]
    """(year, y, x) float64: :func:`evidence` of each pixel, and its mean over 3 x 3 pixels, which
    is quieter, but blind to a line."""


def _look(ground: JoinedGround, roi: Roi) -> _Looks:
    joined = ground.joined
    wide = pad_roi(roi, 1, (int(joined.grid.shape[0]), int(joined.grid.shape[1])))
    cut = inside(roi, wide)
    values, counts = [], []
    found: list[list[np.ndarray]] = [[], [], [], []]
    for at, year in enumerate(joined.years):
        part = year.scores.read(wide)
        seen = np.ones(part.values.shape[1:], bool) if part.valid is None else part.valid
        seen = seen & ~_missed(ground, at, wide)
        odds = np.where(seen, evidence(part.values, year.mapped.classes), 0)
        number = _around_sum(seen.astype(np.float64))[cut]
        for kind, plane in enumerate(odds):
            found[2 * kind].append(plane[cut])
            found[2 * kind + 1].append(_around_sum(plane)[cut] / np.maximum(number, 1))
        values.append(part.values[:, *cut])
        counts.append(seen[cut])
    return _Looks(values, np.array(counts), tuple(np.array(one) for one in found))


def _around_sum(values: np.ndarray) -> np.ndarray:
    """Return the sum of 3 x 3 pixels, added in an order that no block changes."""
    rows, columns = values.shape
    wide = np.pad(values, 1)
    total = np.zeros(values.shape)
    for y in range(3):
        for x in range(3):
            total += wide[y : y + rows, x : x + columns]
    return total


def _missed(ground: JoinedGround, year: int, roi: Roi) -> np.ndarray:
    """Return (y, x) bool: fields that the year before or after has, and a poor year has not."""
    here = (ground.records.codes[:, year] == NOT_SEEN) & ground.poor[:, year]
    out = np.zeros((roi[0].stop - roi[0].start, roi[1].stop - roi[1].start), bool)
    if here.any():
        here = np.append(here, False)  # row -1 is no field
        for other in {max(year - 1, 0), min(year + 1, len(ground.rows) - 1)} - {year}:
            out |= here[ground.read(other, roi)]
    return out


def measure_noise(ground: JoinedGround, on_step: OnStep = silent) -> tuple[float, ...]:
    """Return by how much log-odds differ between looks at the same ground.

    The median absolute difference of consecutive years, as the standard deviation of one year:
    changes are rare, so they hardly count.  On squares that lie evenly over the whole.

    Returns
    -------
    tuple of 4 floats
        One for each entry of the looks' evidence: inside a field, of a pixel and of 3 x 3; and
        nothing else, of both.
    """
    counts, shape = np.zeros((4, BINS + 1), np.int64), ground.joined.grid.shape
    rois = tiles((int(shape[0]), int(shape[1])), SAMPLE)
    rois = rois[:: -(-len(rois) // SAMPLES)]
    for number, roi in enumerate(rois, 1):
        looks = _look(ground, roi)
        both = looks.counts[1:] & looks.counts[:-1]
        for kind, found in enumerate(looks.evidence):
            apart = np.minimum(np.abs(np.diff(found, axis=0))[both] / BIN, BINS).astype(np.int64)
            counts[kind] += np.bincount(apart, minlength=BINS + 1)
        on_step("noise", number, len(rois), "")
    middle = [int(np.searchsorted(np.cumsum(row), row.sum() / 2)) for row in counts]
    return tuple((row + 0.5) * BIN / (0.6745 * np.sqrt(2)) if row else 0.0 for row in middle)


def odd_years(found: np.ndarray, counts: np.ndarray, noise: float) -> np.ndarray:
    """Return (year, y, x) bool: years that say otherwise than both years around, which agree.

    The parameters are those of :func:`last_change`.
    """
    odd = np.zeros(found.shape, bool)
    before, after = found[1:-1] - found[:-2], found[1:-1] - found[2:]
    limit = max(LEAST_CHANGE, SURE * noise * np.sqrt(2))
    odd[1:-1] = (
        (np.minimum(np.abs(before), np.abs(after)) > limit)
        & (before * after > 0)
        & (np.abs(found[2:] - found[:-2]) < LEAST_CHANGE)
        & counts[1:-1]
        & counts[:-2]
        & counts[2:]
    )
    return odd


def last_change(found: np.ndarray, counts: np.ndarray, noise: float) -> np.ndarray:
    """Return since when each pixel is as it is.

    Parameters
    ----------
    found : (year, y, x) float64 ndarray
        Log-odds.
    counts : (year, y, x) bool ndarray
        Which of them count.
    noise : float
        Standard deviation of one.

    Returns
    -------
    (y, x) int64 ndarray
        The first year after the last change; 0 where nothing has changed.

    Notes
    -----
    Binary segmentation (Scott and Knott, Biometrics 30, 1974; Vostrikova 1981): the years are
    parted where the means before and after differ most for their number, if by more than
    :data:`SURE` standard deviations and by :data:`LEAST_CHANGE`; then the later part again.
    """
    # what differs by less cannot have changed
    low = np.where(counts, found, np.inf).min(axis=0)
    high = np.where(counts, found, -np.inf).max(axis=0)
    moving = high - low >= LEAST_CHANGE
    since = np.zeros(found.shape[1:], np.int64)
    since[moving] = _last_cut(found[:, moving], counts[:, moving], noise)
    return since


def _last_cut(found: np.ndarray, counts: np.ndarray, noise: float) -> np.ndarray:
    """Do what :func:`last_change` does for (year, n) pixels."""
    nothing = np.zeros((1, found.shape[1]))
    # number and sum of what counts before each year
    number = np.concatenate([nothing, np.cumsum(counts, axis=0)])
    total = np.concatenate([nothing, np.cumsum(np.where(counts, found, 0), axis=0)])
    since = np.zeros(found.shape[1], np.int64)
    for _ in range(len(found) - 1):
        start_number = np.take_along_axis(number, since[None], axis=0)[0]
        start_total = np.take_along_axis(total, since[None], axis=0)[0]
        best, cut = np.zeros(len(since)), since
        for year in range(1, len(found)):
            before, after = number[year] - start_number, number[-1] - number[year]
            usable = (year > since) & (before > 0) & (after > 0)
            before, after = np.maximum(before, 1), np.maximum(after, 1)
            means = (total[year] - start_total) / before, (total[-1] - total[year]) / after
            apart = np.abs(means[1] - means[0])
            size = apart / np.sqrt(1 / before + 1 / after)
            better = usable & (apart >= LEAST_CHANGE) & (size > SURE * noise) & (size > best)
            best, cut = np.where(better, size, best), np.where(better, year, cut)
        if (cut == since).all():
            break
        since = cut
    return since


def fuse(
    ground: JoinedGround, roi: Roi, method: str, noise: tuple[float, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Join the probabilities of a region over the years since its last change.

    Returns
    -------
    (class, y, x) float32 ndarray
    (y, x) uint8 ndarray
        How many years each pixel is made of; 0: nobody saw it.
    """
    looks = _look(ground, roi)
    counts, since = looks.counts, np.zeros(looks.counts.shape[1:], np.int64)
    for found, loud in zip(looks.evidence, noise, strict=True):
        usual = looks.counts & ~odd_years(found, looks.counts, loud)
        since = np.maximum(since, last_change(found, usual, loud))
        counts = counts & usual
    years = np.arange(len(looks.values))[:, None, None]
    weights = counts & (years >= since[None])
    # nothing may be left that counts: then the last look
    last = looks.counts & (np.cumsum(looks.counts[::-1], axis=0)[::-1] == 1)
    weights = np.where(weights.any(axis=0), weights, last)
    return pool(looks.values, list(weights), method), weights.sum(axis=0).astype(np.uint8)


def _common_provenance(tags: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """Return what all years say of how their probabilities were made, where it decides objects.

    Fused probabilities of published ones become fields by the rules of published ones.
    """
    said = []
    for one in tags:
        try:
            said.append(dict(json.loads(one.get("provenance", "{}"))))
        except (ValueError, TypeError, RecursionError):  # somebody else's tag of that name
            return {}
    return {
        name: said[0][name]
        for name in ("product", "upsampling")
        if name in said[0] and all(one.get(name) == said[0][name] for one in said)
    }


def write_fused(
    ground: JoinedGround, path: Path, method: str, *, force: bool, on_step: OnStep = silent
) -> tuple[np.ndarray, float]:
    """Write probabilities joined over the years as a COG, as ``selion predict`` writes them.

    Returns
    -------
    (year + 1,) int64 ndarray
        Pixels by the number of years that they are made of.
    float
        Noise of a year's log-odds in a pixel, :func:`measure_noise`.

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
    made = _common_provenance(said)
    if made:
        tags["provenance"] = json.dumps(made, sort_keys=True)
    counts, rois = np.zeros(len(joined.years) + 1, np.int64), rois_of(joined)
    noise = measure_noise(ground, on_step)
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
            values, count = fuse(ground, roi, method, noise)
            counts += np.bincount(count.ravel(), minlength=len(counts))
            sink.write(roi, prediction.quantise(values, count > 0))
            on_step("fuse", number, len(rois), "")
    return counts, float(noise[0])
