"""Chips whose numbers are others than those of the rest, such as one of another offset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from selion.prediction.band_names import read_names
from selion.prediction.look import Look, look_at
from selion.prediction.number_kinds import DARK, STEP, NumberKind
from selion.raster import Raster

SHOWN = 3
"""Chips that a sentence names."""
DARKER = 0.7
"""Steps that the darkest numbers of a chip may lie above what is usual before it is said."""
ENOUGH = 50
"""Valid pixels below which the darkest numbers of a chip say nothing."""


@dataclass(frozen=True)
class ChipNumbers:
    """What the numbers of one chip are, by itself."""

    name: str
    kinds: tuple[NumberKind, ...]
    """Of each date."""
    darkest: tuple[float, ...]
    """Of each date the 1st percentile of its darkest band, as it is in the file; NaN: too few
    pixels."""


def chip_numbers(name: str, image: Raster) -> ChipNumbers:
    """Look at one chip; its bands have known names, or all are of one date.

    Parameters
    ----------
    name : str
    image : Raster
        (band, y, x), the pixels that are looked at.
    """
    look = look_at(image)
    valid = np.isfinite(image.values).all(0)
    valid &= True if image.valid is None else image.valid
    darkest = []
    for date in range(len(look.kinds)):
        bands = [
            k
            for k, (of, band) in enumerate(zip(look.of_date, read_names(look.bands), strict=True))
            if of == date and (band.is_known or not look.dates[date])
        ]
        seen = image.values[bands][:, valid]
        few = seen.size < ENOUGH * max(len(bands), 1)
        darkest.append(float("nan") if few else float(np.percentile(seen, 1, axis=1).min()))
    return ChipNumbers(name, look.kinds, tuple(darkest))


def told_apart(
    look: Look, chips: Sequence[ChipNumbers]
) -> tuple[Look, dict[str, Look], tuple[str, ...]]:
    """Find chips that are sure to hold other numbers than most.

    Parameters
    ----------
    look : Look
        At all of them together.
    chips : sequence of ChipNumbers

    Returns
    -------
    Look
        At what most of them are: the same one where none is apart.
    dict of str to Look
        Names of those that are apart, and a look at each.
    tuple of str
        Sentences that name them, and those that may be apart though nothing shows it.
    """
    own: dict[str, Look] = {}
    told: list[str] = []
    chips = [one for one in chips if len(one.kinds) == len(look.kinds)]
    usual = tuple(_usual(kind, k, chips) for k, kind in enumerate(look.kinds))
    apart: dict[str, list[NumberKind]] = {}
    for k, date in enumerate(look.dates[: len(usual)]):
        odd = [one for one in chips if one.kinds[k].sure and not _same(one.kinds[k], usual[k])]
        for one in odd:
            apart.setdefault(one.name, list(usual))[k] = one.kinds[k]
        where = f" of {date}" if date and len(look.dates) > 1 else ""
        if odd:
            told.append(_said(odd, len(chips), k, usual[k], where))
        high, low = _unlike([one for one in chips if not one.kinds[k].sure], k, usual[k], chips)
        told += [_doubted(high, where)] if high else []
        told += [_too_low(low, usual[k], where)] if low else []
    look = replace(look, kinds=(*usual, *look.kinds[len(usual) :]))
    own = {name: replace(look, kinds=tuple(kinds)) for name, kinds in apart.items()}
    return look, own, tuple(told)


def _usual(kind: NumberKind, date: int, chips: Sequence[ChipNumbers]) -> NumberKind:
    """Return what most of the chips are that are sure; what all show together if none is.

    An offset that would make most of those negative that are not sure is not the usual one.
    """
    agreed = (kind.name, kind.gain, kind.shift)
    sure = [one.kinds[date] for one in chips if one.kinds[date].sure]
    counts = Counter((one.name, one.gain, one.shift) for one in sure)
    if set(counts) <= {agreed}:
        return kind
    others = _darkest([one for one in chips if not one.kinds[date].sure], date)
    dark = float(np.median(others)) if others.size else float("inf")
    counts = Counter({way: n for way, n in counts.items() if not _is_below(dark, way[1], way[2])})
    most = max(counts.values(), default=0)
    if counts.get(agreed) == most:
        return replace(kind, doubt="")
    found = (one for one in sure if counts[one.name, one.gain, one.shift] == most > 0)
    return next(found, kind)


def _darkest(chips: Sequence[ChipNumbers], date: int) -> np.ndarray:
    """Return the darkest numbers of some chips, those that have some."""
    return np.array([one.darkest[date] for one in chips if np.isfinite(one.darkest[date])])


def _is_below(dark: float, gain: float, shift: float) -> bool:
    """Whether darkest numbers are below any reflectance once an offset is taken out."""
    return shift < 0 < dark and dark * gain + shift < DARK[0]


def _same(one: NumberKind, other: NumberKind) -> bool:
    return (one.name, one.gain, one.shift) == (other.name, other.gain, other.shift)


def _unlike(
    unsure: Sequence[ChipNumbers], date: int, usual: NumberKind, chips: Sequence[ChipNumbers]
) -> tuple[list[ChipNumbers], list[ChipNumbers]]:
    """Return chips without vegetation whose darkest numbers do not fit: a step high, or too low.

    They are taken as the others, so that what is usual says what their numbers are.
    """
    like = [one for one in chips if not one.kinds[date].sure or _same(one.kinds[date], usual)]
    seen = _darkest(like, date) * usual.gain
    if seen.size < 2 or usual.name in ("bytes", "stretched", "unknown"):
        return [], []
    most = float(np.median(seen)) + DARKER * STEP
    high = [one for one in unsure if one.darkest[date] * usual.gain > most]
    low = [one for one in unsure if _is_below(one.darkest[date], usual.gain, usual.shift)]
    return high, low


def _said(odd: Sequence[ChipNumbers], count: int, date: int, usual: NumberKind, where: str) -> str:
    ways = Counter(_way(one.kinds[date]) for one in odd)
    return (
        f"{len(odd):,} of {count:,} chips ({_few(odd)}) hold other numbers{where} than the rest, "
        f"as dense vegetation shows: {' or '.join(ways)}, the rest {_way(usual)}. Each was brought "
        "to digital numbers by itself."
    )


def _doubted(maybe: Sequence[ChipNumbers], where: str) -> str:
    return (
        f"The darkest numbers{where} of {_few(maybe)} lie about {STEP:.0f} above those of the "
        "other chips, and no vegetation tells why: bright ground, haze, or an offset that the "
        "others have not; they are taken as the others. Look at them, and leave them out if it is "
        "an offset."
    )


def _too_low(low: Sequence[ChipNumbers], usual: NumberKind, where: str) -> str:
    return (
        f"The darkest numbers{where} of {_few(low)} are negative once the {abs(usual.shift):.0f} "
        "that the other chips have is taken out, and no vegetation tells why: they seem to be "
        "without it. They are taken as the others; leave them out, or add it to them."
    )


def _few(chips: Sequence[ChipNumbers]) -> str:
    names = ", ".join(one.name for one in chips[:SHOWN])
    return names if len(chips) <= SHOWN else f"{names} and {len(chips) - SHOWN:,} more"


def _way(kind: NumberKind) -> str:
    names = {"reflectance": "reflectances from 0 to 1", "percent": "reflectances in percent"}
    if kind.name == "landsat":
        return "Landsat's numbers"
    base = names.get(kind.name, "digital numbers")
    if not kind.shift:
        return base
    return f"{base} with {abs(kind.shift):.0f} {'added' if kind.shift < 0 else 'taken away'}"
