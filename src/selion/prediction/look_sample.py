"""Places of an image that are looked at, and the numbers in them that stand for nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from selion.errors import UnreadableFile
from selion.raster import Source

PLACES, EDGE = 4, 64
"""Along each axis so many places, of so many pixels, are looked at."""
FILLERS = (-9999.0, -32768.0, -32767.0, -99999.0, 65535.0, float(np.finfo(np.float32).min))
"""Numbers that stand for nothing though the file does not say so, where all bands have them."""
EDGES: tuple[float, ...] = (0.0, 255.0)
AT_EDGES = 0.05
"""Numbers, the second one of bytes, that stand for nothing where at least such a share of all
pixels has them in all bands of a date: the rest of a mosaic, or the border of a scene.  So does the
least number of all where it is below 0."""


SMALL = 2**21
"""Pixels of an image up to which all of it is read, to see how far its numbers reach."""


@dataclass(frozen=True)
class SeenPixels:
    """What was seen at some places of an image."""

    places: list[np.ndarray]
    """(band, y, x) each, without a hole."""
    values: np.ndarray
    """(band, n) float64 valid numbers."""
    fillers: tuple[float, ...]
    """Numbers that stand for nothing though the file does not say so."""
    missing: float
    """Share of pixels that the file itself says are not valid."""
    torn: float
    """Share of the valid pixels beside which there is a gap: missing ones between valid ones."""


def sample_of(source: Source) -> SeenPixels:
    """Look at places spread over an image.

    A place that cannot be read is left out, as its block will be: only where none can be read is
    that said here.
    """
    height, width = source.grid.shape
    parts, broken = list[tuple[np.ndarray, np.ndarray]](), None
    for y in np.unique(np.linspace(0, max(height - EDGE, 0), PLACES).astype(int)).tolist():
        for x in np.unique(np.linspace(0, max(width - EDGE, 0), PLACES).astype(int)).tolist():
            roi = (slice(y, min(y + EDGE, height)), slice(x, min(x + EDGE, width)))
            try:
                part = source.read(roi)
            except UnreadableFile as error:
                broken = error
                continue
            values = part.values.astype(np.float64)
            known = np.asarray(np.isfinite(values).all(0))
            if part.valid is not None:
                known &= part.valid
            parts.append((values, known))
    if broken is not None and not parts:
        raise broken
    sample = np.concatenate([values[:, known] for values, known in parts], axis=1)
    missing = 1 - sample.shape[1] / max(sum(known.size for _, known in parts), 1)
    fillers = _fillers(source, sample)
    for value in fillers:
        sample = sample[:, ~(sample == value).all(0)]
        parts = [(values, known & ~(values == value).all(0)) for values, known in parts]
    places = [values for values, known in parts if known.all()]
    return SeenPixels(places, sample, fillers, missing, _torn([known for _, known in parts]))


def _fillers(source: Source, sample: np.ndarray) -> tuple[float, ...]:
    """Return the numbers of (band, n) values that stand for nothing."""
    if len(sample) < 2 or not sample.size:
        return ()
    fillers = tuple(v for v in FILLERS if (sample == v).all(0).any())
    if source.grid.crs is None:  # a photograph may be black or white
        return fillers
    least = float(sample.min())
    edges = EDGES if source.dtype == np.uint8 else EDGES[:1]
    if least < 0 and least not in fillers:
        edges = (*edges, least)
    often = tuple(v for v in edges if float(np.mean((sample == v).all(0))) >= AT_EDGES)
    return fillers + often


def _torn(parts: list[np.ndarray]) -> float:
    """Return the share of the valid pixels of (y, x) masks beside which there is a gap."""
    beside = 0
    for known in parts:
        gap = ~known & (_is_between(known) | _is_between(known.T).T)
        gaps = np.zeros_like(known)
        gaps[1:] |= gap[:-1]
        gaps[:-1] |= gap[1:]
        gaps[:, 1:] |= gap[:, :-1]
        gaps[:, :-1] |= gap[:, 1:]
        beside += int((known & gaps).sum())
    return beside / max(sum(int(known.sum()) for known in parts), 1)


def _is_between(known: np.ndarray) -> np.ndarray:
    """Return where a (y, x) mask is true above and below: what was cut along a farm ends once."""
    above = np.logical_or.accumulate(known, axis=0)
    return np.asarray(above & np.logical_or.accumulate(known[::-1], axis=0)[::-1])


def without_edges(
    sample: np.ndarray, fillers: tuple[float, ...], of_date: tuple[int, ...]
) -> tuple[np.ndarray, tuple[float, ...]]:
    """Return a sample without pixels that are nothing in one date, and all that stands for it."""
    if len(set(of_date)) < 2 or not sample.size:
        return sample, fillers
    for value in dict.fromkeys((0.0, min(0.0, float(sample.min())), *FILLERS)):
        empty = all_are(sample, value, of_date)
        if float(empty.mean() if empty.size else 0) >= AT_EDGES:
            sample, fillers = sample[:, ~empty], tuple(dict.fromkeys((*fillers, value)))
    return sample, fillers


def each_to_one(source: Source, sample: np.ndarray) -> bool:
    """Whether each band reaches from exactly 0 to exactly 1, as what was stretched band by band.

    Parameters
    ----------
    source : Source
        Of which all is read where it is small; of a large one it is not known.
    sample : (band, n) ndarray
        Of its valid numbers.
    """
    height, width = source.grid.shape
    if source.dtype.kind != "f" or height * width > SMALL or not sample.size:
        return False
    if sample.min() < 0 or sample.max() > 1 or len(sample) < 2:
        return False
    try:
        part = source.read((slice(0, height), slice(0, width)))
    except UnreadableFile:
        return False
    known = np.isfinite(part.values).all(0)
    known &= True if part.valid is None else part.valid
    known &= (part.values != 0).any(0)  # nothing, where reflectances were clipped
    values = part.values[:, known]
    return bool(values.size and (values.min(1) == 0).all() and (values.max(1) == 1).all())


def all_are(values: np.ndarray, filler: float, of_date: tuple[int, ...]) -> np.ndarray:
    """Return where all (band, ...) values of any date are a number."""
    is_filler = values == filler
    found: np.ndarray = is_filler.all(0)
    for date in set(of_date):
        own = [k for k, one in enumerate(of_date) if one == date]
        if 1 < len(own) < len(of_date):
            found |= is_filler[own].all(0)
    return found
