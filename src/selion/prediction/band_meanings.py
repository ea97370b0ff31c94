"""What the bands of an image are, by their names, the parts of these, and their wavelengths.

One reading for all: of maps (:mod:`selion.prediction.look`) and of pictures
(:mod:`selion.web.view.colours`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from selion.prediction.band_names import BandName, read_names, with_dates

RGB = ("red", "green", "blue")
MIDDLES = {"blue": 490.0, "green": 560.0, "red": 660.0, "nir": 840.0}
"""Colour -> nanometres in its middle."""
REACH = {"blue": 45.0, "green": 40.0, "red": 40.0, "nir": 80.0}
"""Nanometres from the middle up to which a band has the colour."""
WAVELENGTH = re.compile(r"(\d{3,4}(?:\.\d+)?)\s*(?:nm|nanomet)|(\d\.\d+)\s*(?:um|µm|μm|micro)")
SEPARATORS = re.compile(r"[\s_.:/|]+|-(?!\d)|(?<!\d)-")
AGAIN = re.compile(r"(.+?)(?:[_.]|\s?\()([1-9])\)?")
"""A name that comes again: ``B2_1``, ``B2.1``, ``B2 (1)``."""
TAG = "wavelengths"
"""Tag of a source: nanometres in the middle of each band, with commas; empty where not known."""


@dataclass(frozen=True)
class DateColours:
    """The bands of one date."""

    date: str
    """What the names call it; "" where there is one date only."""
    bands: Mapping[str, int]
    """Colour -> GDAL's number, from 1."""
    note: str = ""
    """How it is known, where the names do not say."""


def wavelengths_of(names: Sequence[str], tag: str = "") -> np.ndarray:
    """Return (n,) float64 nanometres: as the tag says, else as a name holds them; NaN: not known.

    Examples
    --------
    >>> wavelengths_of(["red", "842 nm", "0.49 micrometers"], "665,,")
    array([665., 842., 490.])
    """
    told = tag.split(",") if tag else []
    told = told if len(told) == len(names) else [""] * len(names)
    lengths = []
    for name, text in zip(names, told, strict=True):
        found = WAVELENGTH.search(name.casefold())
        if text.strip():
            lengths.append(float(text))
        elif found is None:
            lengths.append(np.nan)
        else:
            lengths.append(float(found[1]) if found[1] else 1000 * float(found[2]))
    return np.array(lengths, np.float64)


def readings(names: Sequence[str], tag: str = "") -> Iterator[tuple[BandName, ...]]:
    """Yield what bands are: by their names, by parts of these, by their wavelengths.

    Wavelengths come first where names contradict them: the fourth band of old Landsat is no red.

    Parameters
    ----------
    names : sequence of str
    tag : str
        The source's tag :data:`TAG`, if it has one.
    """
    if again := read_again(names):
        yield again
    said, lengths = read_names(names), wavelengths_of(names, tag)
    measured = read_wavelengths(lengths)
    wrong = [
        abs(length - MIDDLES[str(name.colour)]) > 2 * REACH[str(name.colour)]
        for name, length in zip(said, lengths.tolist(), strict=True)
        if name.is_known and np.isfinite(length)
    ]
    if any(wrong):
        yield measured
    yield said
    yield read_parts(names)
    yield measured


def by_date(meant: Sequence[BandName]) -> tuple[DateColours, ...]:
    """Gather the bands of each date that has red, green and blue."""
    dates: dict[str, dict[str, int]] = {}
    for k, name in enumerate(meant, 1):
        if name.colour in MIDDLES:
            dates.setdefault(name.date, {}).setdefault(str(name.colour), k)
    complete = {date: bands for date, bands in dates.items() if all(c in bands for c in RGB)}
    return tuple(DateColours(date, bands) for date, bands in complete.items())


def named_by_meaning(names: Sequence[str], tag: str = "") -> tuple[str, ...]:
    """Return colours, with their dates, where the names themselves are not understood.

    The names as they are, where they are understood or nothing else says what they are.

    Examples
    --------
    >>> named_by_meaning(["R_tci8", "G_tci8", "B_tci8", "NIR_dn"])
    ('red', 'green', 'blue', 'nir')
    >>> named_by_meaning(["band1", "band2"], "665,842")
    ('red', 'nir')
    """
    said = read_names(names)
    # "nir_1" and "green_1" have a meaning of their own, "red_1" beside them has not
    parts = bool(not by_date(said) and by_date(read_parts(names)))
    for meant in readings(names, tag):
        if meant == said and any(name.colour is not None for name in said) and not parts:
            return tuple(names)
        known = [(name.date, name.colour) for name in meant if name.is_known]
        sure = len(set(known)) == len(known) and (
            bool(by_date(meant)) or meant == read_wavelengths(wavelengths_of(names, tag))
        )
        if known and sure:
            return tuple(
                (name.colour and f"{name.date}:" * bool(name.date) + name.colour) or own
                for name, own in zip(meant, names, strict=True)
            )
    return tuple(names)


def read_again(names: Sequence[str]) -> tuple[BandName, ...]:
    """Read names that come again with a number behind them, as the next date's.

    ``B2, B3, B4, B8, B2_1, B3_1, B4_1, B8_1``, as Earth Engine's ``addBands`` and QGIS call them.
    Empty where no known name comes again.
    """
    own = {name.casefold() for name in names}
    cut = [
        (found[1], int(found[2]))
        if (found := AGAIN.fullmatch(name)) and found[1].casefold() in own
        else (name, 0)
        for name in names
    ]
    bases = read_names([base for base, _ in cut])
    again = {number for (_, number), base in zip(cut, bases, strict=True) if base.is_known}
    if len(again) < 2:
        return ()
    return tuple(
        BandName(base.colour, str(number + 1)) if base.colour else BandName(None)
        for (_, number), base in zip(cut, bases, strict=True)
    )


def read_parts(names: Sequence[str]) -> tuple[BandName, ...]:
    """Read names of which one part is a colour: what is left is the date.

    ``2024-05-01_B04``, ``B4_20240501``, ``t1_red``, ``S2A.spring.nir``, ``R_tci8``.
    """
    cut = [[part for part in SEPARATORS.split(name) if part] for name in names]
    letters = {"r", "g", "b"} <= {part.casefold() for parts in cut for part in parts}
    found = []
    for parts in cut:
        means = [_colour(part, letters=letters) for part in parts]
        at = [k for k, colour in enumerate(means) if colour is not None]
        edge = any("edge" in part.casefold() for part in parts)
        if len(at) == 1 and not edge:
            rest = " ".join(part for k, part in enumerate(parts) if k != at[0])
            found.append(BandName(means[at[0]], rest))
        else:
            found.append(BandName(None))
    said = [set(name.date.split()) for name in found if name.colour]
    shared = set.intersection(*said) if said else set()
    # "S2A red", "S2A green": what stands in every name is no date
    dated = tuple(
        BandName(name.colour, " ".join(w for w in name.date.split() if w not in shared))
        for name in found
    )
    alone = [name.colour for name in dated if name.colour]
    if len(set(alone)) == len(alone):  # each colour once: what is left is no date either
        return tuple(BandName(name.colour) for name in dated)
    return dated


def _colour(part: str, *, letters: bool) -> str | None:
    """Return what a part of a name says; a letter only where red, green and blue are letters."""
    if len(part) > 1:
        name = read_names([part])[0]
        return name.colour if name.is_known else None
    return (
        {"r": "red", "g": "green", "b": "blue", "n": "nir"}.get(part.casefold())
        if letters
        else None
    )


def read_wavelengths(lengths: np.ndarray) -> tuple[BandName, ...]:
    """Read (n,) nanometres, NaN: not known: of many bands of one colour the nearest its middle."""
    colours: list[BandName] = [BandName(None)] * len(lengths)
    for colour, middle in MIDDLES.items():
        apart = np.abs(lengths - middle)
        if np.isfinite(apart).any() and np.nanmin(apart) <= REACH[colour]:
            # the same wavelength again is the next date's
            for k in np.flatnonzero(apart == np.nanmin(apart)).tolist():
                colours[k] = BandName(colour)
    return with_dates(colours)
