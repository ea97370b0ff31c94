"""Places of an image that are looked at, and the numbers in them that stand for nothing."""

from __future__ import annotations

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
pixels has them in all bands of a date: the rest of a mosaic, or the border of a scene."""


def sample_of(
    source: Source,
) -> tuple[list[np.ndarray], np.ndarray, tuple[float, ...], float]:
    """Return places, their (band, n) float64 valid numbers, and those that stand for nothing.

    Places are (band, y, x) without a hole.  The last is the share of pixels that are not valid.

    A place that cannot be read is left out, as its block will be: only where none can be read is
    that said here.
    """
    height, width = source.grid.shape
    places, parts, broken, pixels = list[np.ndarray](), list[np.ndarray](), None, 0
    for y in np.unique(np.linspace(0, max(height - EDGE, 0), PLACES).astype(int)).tolist():
        for x in np.unique(np.linspace(0, max(width - EDGE, 0), PLACES).astype(int)).tolist():
            roi = (slice(y, min(y + EDGE, height)), slice(x, min(x + EDGE, width)))
            try:
                part = source.read(roi)
            except UnreadableFile as error:
                broken = error
                continue
            values = part.values.astype(np.float64)
            pixels += values[0].size
            known = np.isfinite(values).all(0)
            known &= True if part.valid is None else part.valid
            parts.append(values[:, known])
            if known.all():
                places.append(values)
    if broken is not None and not parts:
        raise broken
    sample = np.concatenate(parts, axis=1)
    missing = 1 - sample.shape[1] / max(pixels, 1)
    fillers = tuple(v for v in FILLERS if len(sample) > 1 and (sample == v).all(0).any())
    edges = EDGES if source.dtype == np.uint8 else EDGES[:1]
    if source.grid.crs is None:  # a photograph may be black or white
        edges = ()
    fillers += tuple(
        v
        for v in edges
        if len(sample) > 1 and sample.size and float(np.mean((sample == v).all(0))) >= AT_EDGES
    )
    for value in fillers:
        sample = sample[:, ~(sample == value).all(0)]
        places = [place for place in places if not (place == value).all(0).any()]
    return places, sample, fillers, missing


def without_edges(
    sample: np.ndarray, fillers: tuple[float, ...], of_date: tuple[int, ...]
) -> tuple[np.ndarray, tuple[float, ...]]:
    """Return a sample without pixels that are 0 in one date, and all that stands for nothing."""
    empty = all_are(sample, 0.0, of_date)
    if len(set(of_date)) > 1 and float(empty.mean() if empty.size else 0) >= AT_EDGES:
        return sample[:, ~empty], tuple(dict.fromkeys((*fillers, 0.0)))
    return sample, fillers


def all_are(values: np.ndarray, filler: float, of_date: tuple[int, ...]) -> np.ndarray:
    """Return where all (band, ...) values of any date are a number."""
    is_filler = values == filler
    found: np.ndarray = is_filler.all(0)
    for date in set(of_date):
        own = [k for k, one in enumerate(of_date) if one == date]
        if 1 < len(own) < len(of_date):
            found |= is_filler[own].all(0)
    return found
