"""Which bands of an image are red, green, blue and near infrared, date by date.

Names say it best (:mod:`selion.prediction.band_names` reads ours, Sentinel-2's, Landsat's and
many others'), wavelengths next.  Where neither says anything, the order is taken that files of so
many bands mostly have, and the values decide what they can: near infrared is the brightest band
over land, and red varies more than blue.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from selion.prediction.band_names import BandName, read_names, with_dates

RGB = ("red", "green", "blue")
MIDDLES = {"blue": 490.0, "green": 560.0, "red": 660.0, "nir": 840.0}
"""Colour -> nanometres in its middle."""
REACH = {"blue": 45.0, "green": 40.0, "red": 40.0, "nir": 80.0}
"""Nanometres from the middle up to which a band has the colour."""
ORDERS = {
    5: (1, 2, 3, 5),
    6: (1, 2, 3, 4),
    7: (2, 3, 4, 5),
    10: (1, 2, 3, 7),
    11: (2, 3, 4, 8),
    12: (2, 3, 4, 8),
    13: (2, 3, 4, 8),
}
"""Number of bands -> blue, green, red and near infrared, from 1: of cameras with a red edge, of six
bands and of seven of Landsat, and of Sentinel-2's bands of 10 and 20 m and its whole sets."""
FOUR = 4
WAVELENGTH = re.compile(r"(\d{3,4}(?:\.\d+)?)\s*(?:nm|nanomet)|(\d\.\d+)\s*(?:um|µm|μm|micro)")
SEPARATORS = re.compile(r"[\s_.:/|]+|-(?!\d)|(?<!\d)-")
GUESSED = "from the order and the values of the bands, as their names do not say"
ORDERED = "from bands 1, 2 and 3, as their names do not say which are red, green and blue"


@dataclass(frozen=True)
class DateColours:
    """The bands of one date."""

    date: str
    """What the names call it; "" where there is one date only."""
    bands: Mapping[str, int]
    """Colour -> GDAL's number, from 1."""
    note: str = ""
    """How it is known, where the names do not say."""


Glimpse = Callable[[], np.ndarray]
"""Read some pixels of all bands: (band, pixel) float."""


def find_colours(names: Sequence[str], glimpse: Glimpse | None = None) -> tuple[DateColours, ...]:
    """Find the bands of each date.

    Parameters
    ----------
    names : sequence of str
        Of the bands.
    glimpse : callable, optional
        Called only where names and wavelengths say nothing; without it the usual order counts.

    Returns
    -------
    tuple of DateColours
        Those with red, green and blue at least; none where there are fewer than three bands.
    """
    for read in (read_names, read_parts, read_wavelengths):
        found = by_date(with_dates(read(names)))
        if found:
            return found
    return by_order(len(names), glimpse) if len(names) >= len(RGB) else ()


def by_date(meant: Sequence[BandName]) -> tuple[DateColours, ...]:
    """Gather the bands of each date that has red, green and blue."""
    dates: dict[str, dict[str, int]] = {}
    for k, name in enumerate(meant, 1):
        if name.colour in MIDDLES:
            dates.setdefault(name.date, {}).setdefault(str(name.colour), k)
    whole = {date: bands for date, bands in dates.items() if all(c in bands for c in RGB)}
    return tuple(DateColours(date, bands) for date, bands in whole.items())


def read_parts(names: Sequence[str]) -> tuple[BandName, ...]:
    """Read names of which one part is a colour: what is left is the date.

    ``2024-05-01_B04``, ``B4_20240501``, ``t1_red``, ``S2A.spring.nir``.
    """
    found = []
    for name in names:
        parts = [part for part in SEPARATORS.split(name) if part]
        means = [read_names([part])[0] for part in parts]
        at = [k for k, mean in enumerate(means) if mean.is_known and len(parts[k]) > 1]
        edge = any("edge" in part.casefold() for part in parts)
        if len(at) == 1 and not edge:
            rest = " ".join(part for k, part in enumerate(parts) if k != at[0])
            found.append(BandName(means[at[0]].colour, rest))
        else:
            found.append(BandName(None))
    said = [set(name.date.split()) for name in found if name.colour]
    shared = set.intersection(*said) if said else set()
    # "S2A red", "S2A green": what stands in every name is no date
    return tuple(
        BandName(name.colour, " ".join(w for w in name.date.split() if w not in shared))
        for name in found
    )


def read_wavelengths(names: Sequence[str]) -> tuple[BandName, ...]:
    """Read names that hold a wavelength: of many bands of one colour the nearest to its middle."""
    lengths = []
    for name in names:
        found = WAVELENGTH.search(name.casefold())
        if found is None:
            lengths.append(np.nan)
        else:
            lengths.append(float(found[1]) if found[1] else 1000 * float(found[2]))
    colours: list[BandName] = [BandName(None)] * len(names)
    away = np.array(lengths)
    for colour, middle in MIDDLES.items():
        apart = np.abs(away - middle)
        if np.isfinite(apart).any() and np.nanmin(apart) <= REACH[colour]:
            # the same wavelength again is the next date's
            for k in np.flatnonzero(apart == np.nanmin(apart)).tolist():
                colours[k] = BandName(colour)
    return tuple(colours)


def by_order(count: int, glimpse: Glimpse | None) -> tuple[DateColours, ...]:
    """Take the order that files of so many bands mostly have, and let the values correct it."""
    if count == len(RGB):
        return (DateColours("", dict(zip(RGB, (1, 2, 3), strict=True)), ORDERED),)
    seen = glimpse() if glimpse is not None else np.zeros((count, 0))
    if count in ORDERS:
        order = dict(zip(("blue", "green", "red", "nir"), ORDERS[count], strict=True))
        return (DateColours("", order, GUESSED),)
    if count % FOUR:
        return (DateColours("", dict(zip(RGB, (1, 2, 3), strict=True)), ORDERED),)
    groups = four_by_four(count, seen)
    dates = ("",) if len(groups) == 1 else tuple(str(k) for k in range(1, len(groups) + 1))
    return tuple(
        DateColours(date, coloured(group, seen), GUESSED)
        for date, group in zip(dates, groups, strict=True)
    )


def four_by_four(count: int, seen: np.ndarray) -> list[list[int]]:
    """Return the bands of each date, from 1: date after date, or interleaved.

    Interleaved are those whose brightest bands, one a date, lie beside each other.
    """
    dates = count // FOUR
    if dates > 1 and seen.size:
        bright = np.sort(np.argsort(np.median(seen, axis=1))[-dates:])
        if (np.diff(bright) == 1).all() and bright[0] % dates == 0:
            return [list(range(k, count + 1, dates)) for k in range(1, dates + 1)]
    return [list(range(first, first + FOUR)) for first in range(1, count + 1, FOUR)]


def coloured(bands: Sequence[int], seen: np.ndarray) -> dict[str, int]:
    """Name the four bands of a date: red, green, blue and near infrared unless values differ.

    Over land near infrared is the brightest band, at one end or the other of the four; of the two
    that are left at the ends of the visible ones, red varies more than blue.
    """
    if not seen.size:
        return dict(zip((*RGB, "nir"), bands, strict=True))
    values = seen[[k - 1 for k in bands]]
    infrared = 0 if np.argmax(np.median(values, axis=1)) == 0 else FOUR - 1
    visible = [k for k in range(FOUR) if k != infrared]
    low, high = np.percentile(values, [2, 98], axis=1)
    spread = high - low
    if spread[visible[2]] > spread[visible[0]]:
        visible.reverse()
    named = {colour: bands[k] for colour, k in zip(RGB, visible, strict=True)}
    return named | {"nir": bands[infrared]}
