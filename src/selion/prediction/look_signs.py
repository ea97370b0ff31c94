"""Signs in the pixels of an image that it is not what it seems.

Enlarged, in false colours, in grey, a drawn map, or of dates that lie apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

DRAWN = 32
"""Different colours in all places that were looked at, up to which an image is a drawn map."""
FALSE, OVER = 0.05, 1.3
"""Share of pixels that are so many times brighter in red than in green, and bluer than green:
plants in false colours.  In 180 true-colour images at most 0.001, in false colours from 0.2 on."""
MAGENTA = 0.12
"""Share of pixels whose green is darker than red and blue: in 186 true-colour images at most 0.026,
in 28 aerial ones inverted from 0.19 on."""
DIM = 48.0
"""99th percentile of bytes in colour below which an image is too dark: real ones reach 64."""
BRIGHTEST, BLUER = 80, 0.1
"""Percentile from which ground is bright, and the share of it that is redder than blue below which
red and blue are exchanged: in 28 aerial images 0.88 to 1, in 150 of satellites from 0.18 on."""
TIMES = (1, 2, 3, 4, 6, 8, 10)
"""Times that an image is made smaller, to see from which on it has detail."""
ROUGH, ROUGHER = 0.9, 1.2
"""Squared second differences over squared first ones, of an image with detail at its own pixels,
and of one that was made smaller.  Of 180 real ones 1.06 or more, of the same enlarged three times
and more 0.03 to 0.8 (linear and cubic), made half as large 1.45 or more."""
ENLARGED = 3.0
"""Times from which an image is told to be enlarged: real ones reach 1."""

REACH, ALIKE = 10, 0.25
"""Pixels up to which dates are sought to lie apart, and the correlation of their edges from which
it is believed: 0.42 to 0.69 between real dates of a season or of six years."""
BETTER = 1.5
"""Times that it has to be larger than where the dates lie as they are: 2 for dates that were
shifted by 2 pixels, 18 by 5."""
APART = 2
"""Pixels from which it is told: real dates reach 1."""


def doubted_colours(colours: Mapping[str, np.ndarray]) -> list[str]:
    """Return warnings on the colours of an image.

    Parameters
    ----------
    colours : mapping
        ``"red"``, ``"green"`` and ``"blue"`` -> (n,) numbers of the same pixels, as the image says.

    Examples
    --------
    >>> grey = np.arange(100.0)
    >>> doubted_colours({"red": grey, "green": grey, "blue": grey})[0][:44]
    'Red, green and blue are the same numbers: th'
    """
    if not {"red", "green", "blue"} <= colours.keys() or colours["red"].size == 0:
        return []
    red, green, blue = (colours[name].astype(np.float64) for name in ("red", "green", "blue"))
    if np.array_equal(red, green) and np.array_equal(red, blue):
        return [
            (
                "Red, green and blue are the same numbers: the image is grey, and the model has "
                "learnt from colours."
            )
        ]
    seen = np.stack([red, green, blue])
    if len(np.unique(seen, axis=1).T) <= DRAWN:
        return [
            (
                f"The image has no more than {DRAWN} colours, as a drawn map has, or classes: give"
                " the image that it was made from."
            )
        ]
    plants = (red > OVER * np.maximum(green, blue)) & (blue >= green)
    if float(np.mean(plants)) > FALSE:
        return [
            (
                "What is called red, green and blue looks like near infrared, red and green "
                "(false colours, CIR), of which no packaged model has learnt: give an image in "
                "true colours, or the near infrared as a fourth band."
            )
        ]
    return _unnatural(red, green, blue)


def _unnatural(red: np.ndarray, green: np.ndarray, blue: np.ndarray) -> list[str]:
    """Return warnings on colours (n,) in another order, or of a negative."""
    seen = np.stack([red, green, blue])
    if float(np.mean(green < 0.99 * np.minimum(red, blue))) > MAGENTA:
        return [
            (
                "Green is the darkest of the three colours in a part of the image as large as on no"
                " land: it is a negative, or red, green and blue are not what they are called; give"
                " an image in true colours."
            )
        ]
    bright = seen.sum(0) >= np.percentile(seen.sum(0), BRIGHTEST)
    if float(np.mean(red[bright] > blue[bright])) < BLUER and not np.array_equal(red, blue):
        return [
            (
                "Bright ground is bluer than red, as soil is not: red and blue seem to be "
                "exchanged; give the right order with --bands, for example --bands 3,2,1."
            )
        ]
    return []


def dim(colours: np.ndarray) -> list[str]:
    """Return a warning where (band, n) bytes in colour are so dark that little is seen."""
    top = float(np.ceil(np.percentile(colours, 99))) if colours.size else DIM
    if not 0 < top < DIM:
        return []
    return [
        (
            f"The image is very dark: 99 % of its colours are at most {top:.0f} of 255, and the "
            "model has learnt from brighter ones; brighten it first, for example with "
            f"gdal_translate -scale 0 {top:.0f} 0 255 IMAGE BRIGHTER.tif."
        )
    ]


def enlargement(places: Sequence[np.ndarray]) -> float:
    """Say how many times an image was enlarged; 1: it has detail at its own pixels.

    Parameters
    ----------
    places : sequence of (band, y, x) ndarray
        Cut out of the image.

    Returns
    -------
    float
        Of repeated pixels about exact; of interpolated ones roughly, 10 at most.  1 where it
        cannot be told.
    """
    grey = [place.mean(0) for place in places if min(place.shape[1:]) > 3 * TIMES[-1]]
    grey = [one for one in grey if one.max() > one.min()]
    if not grey:
        return 1.0
    repeated = float(np.median([_repeated(one) for one in grey]))
    for times in TIMES:
        with np.errstate(over="ignore", invalid="ignore"):
            found = [_roughness(_smaller(one, times)) for one in grey]
        found = [one for one in found if np.isfinite(one)]
        if found and float(np.median(found)) >= (ROUGH if times == 1 else ROUGHER):
            return max(repeated, float(times))
    return max(repeated, float(TIMES[-1]))


def _repeated(grey: np.ndarray) -> float:
    """Return how many columns there are for each that differs from the one before it."""
    changes = np.diff(grey, axis=1).any(0)
    return changes.size / max(int(changes.sum()), 1)


def _smaller(grey: np.ndarray, times: int) -> np.ndarray:
    height, width = (edge // times * times for edge in grey.shape)
    cells = grey[:height, :width].reshape(height // times, times, width // times, times)
    smaller: np.ndarray = cells.mean((1, 3))
    return smaller


def _roughness(grey: np.ndarray) -> float:
    first, second = (
        sum(float(np.mean(np.diff(grey, order, axis=axis) ** 2)) for axis in (0, 1))
        for order in (1, 2)
    )
    return second / first if first else float("nan")


def offset(places: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[int, int]:
    """Say how many rows and columns the second date lies below and right of the first.

    Parameters
    ----------
    places : sequence of ((band, y, x) ndarray, (band, y, x) ndarray)
        The same places of both dates.

    Returns
    -------
    (rows, columns)
        Where the strengths of edges correlate most, summed over all places, up to :data:`REACH`
        pixels; (0, 0) where nothing correlates.

    Notes
    -----
    Outlines stay where they are while what lies in them changes; so edges are compared, not
    colours.  Strong edges (roofs, clouds) are cut at their 95th percentile.
    """
    total, count = np.zeros((2 * REACH + 1, 2 * REACH + 1)), 0
    for first, last in places:
        if min(first.shape[1:]) <= 2 * REACH:
            continue
        with np.errstate(over="ignore", invalid="ignore"):
            one, other = _edges(first.mean(0)), _edges(last.mean(0))
            norm = float(np.sqrt((one**2).sum() * (other**2).sum()))
        if norm == 0 or not np.isfinite(norm):
            continue
        found = np.fft.ifft2(np.fft.fft2(other) * np.conj(np.fft.fft2(one))).real / norm
        total += np.roll(found, (REACH, REACH), (0, 1))[: len(total), : len(total)]
        count += 1
    if count == 0 or total.max() < max(ALIKE * count, BETTER * float(total[REACH, REACH])):
        return 0, 0
    row, column = np.unravel_index(int(total.argmax()), total.shape)
    return int(row) - REACH, int(column) - REACH


def _edges(grey: np.ndarray) -> np.ndarray:
    """Return (y, x) strengths of edges about their mean."""
    down, right = np.gradient(grey)
    strength = np.hypot(right, down)
    strength = np.minimum(strength, np.percentile(strength, 95))
    found: np.ndarray = strength - strength.mean()
    return found
