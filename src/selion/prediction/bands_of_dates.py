"""Which bands of an image are which dates of it, for a model that takes any number of dates."""

from __future__ import annotations

from dataclasses import dataclass

from selion.errors import BandMismatch
from selion.prediction.band_names import read_names, with_dates
from selion.segmenter import InputSpec

MISSING = -1
"""In the place of an index: a date does not have this band."""
PAIR = 2
"""Dates that bands without names may be: an image of twice the model's bands is a pair of dates."""


@dataclass(frozen=True, slots=True)
class DateBands:
    """Where the dates of an image lie."""

    dates: tuple[tuple[int, ...], ...]
    """For each date one index into the image's bands for each of the model's, or
    :data:`MISSING`."""
    note: str = ""
    """A sentence if the choice needs one."""


def choose_dates(
    given: tuple[str, ...], inputs: InputSpec, asked: tuple[int | str, ...] | None = None
) -> DateBands:
    """Choose the bands of each date: as asked, else by what names mean, or by position.

    Parameters
    ----------
    given : tuple of str
        Band names of the image: ``red``; ``window_a:red``, ``2024-05-01:B04``; or colours that come
        again, date after date or interleaved.
    inputs : InputSpec
        Of a model whose ``dates`` says any.
    asked : tuple of int or str, optional
        The user's own choice, date after date in the model's order, with or without the bands that
        may be missing.

    Raises
    ------
    BandMismatch
        If a date lacks a band that it must have, or has one twice; or if nothing tells the dates.

    Notes
    -----
    Bands without names are taken by position where they are one date or twice the model's bands.
    Other numbers are refused: six bands may be two dates in colour, or one date of six.
    """
    if asked is not None:
        return _asked(given, inputs, asked)
    said = with_dates(read_names(given))
    meant = {name.colour: k for k, name in enumerate(read_names(inputs.bands)) if name.is_known}
    found: dict[str, list[int]] = {}
    for k, name in enumerate(said):
        band = meant.get(name.colour) if name.is_known else None
        if band is None:
            continue
        places = found.setdefault(name.date, [MISSING] * len(inputs.bands))
        if places[band] != MISSING:
            raise BandMismatch(
                f"The image has the band {inputs.bands[band]}{_of(name.date)} twice "
                f"({given[places[band]]}, {given[k]}): name one with --bands, or correct the "
                "names of the bands."
            )
        places[band] = k
    if not found:
        return _by_position(given, inputs)
    for date, indexes in found.items():
        _check(date, indexes, given, inputs)
    dates = tuple(tuple(indexes) for indexes in found.values())
    silent = [k for k, name in enumerate(said) if not name.is_known]
    return DateBands(dates, " ".join(filter(None, (_note(dates, inputs), _left_out(silent)))))


def _left_out(silent: list[int]) -> str:
    """Say which bands are not looked at: they say nothing, beside others that do."""
    if not silent:
        return ""
    if len(silent) == 1:
        return (
            f"Band {silent[0] + 1} of the image does not say what it is and is left out: if it "
            "belongs to a date, give all bands with --bands, date after date."
        )
    numbers = ", ".join(str(k + 1) for k in silent)
    return (
        f"Bands {numbers} of the image do not say what they are and are left out: if they belong "
        "to a date, give all bands with --bands, date after date."
    )


def counts_as_dates(count: int, inputs: InputSpec) -> bool:
    """Say whether so many bands without names can be taken by position."""
    most = len(inputs.bands)
    return count in (most, PAIR * most) or (count == _least(inputs) and _optional_last(inputs))


def _by_position(given: tuple[str, ...], inputs: InputSpec) -> DateBands:
    most = len(inputs.bands)
    if not counts_as_dates(len(given), inputs):
        dated = ", ".join(f"2024-05-01:{name}" for name in inputs.bands[:2])
        raise BandMismatch(
            f"The image has {len(given)} bands ({_listed(given)}), which do not say what they are; "
            f"the model wants {_wanted(inputs)}: name the bands by colour and date ({dated} ...), "
            "or give them date after date with --bands."
        )
    dates = _cut(tuple(range(len(given))), min(len(given), most), most)
    shown = f"{len(dates)} dates of {', '.join(inputs.bands)}" if len(dates) > 1 else ""
    taken = shown or ", ".join(inputs.bands[: len(given)])
    return DateBands(
        dates,
        f"The bands of the image ({_listed(given)}) do not say what they are: they are taken in "
        f"the order of the file, as {taken}.",
    )


def _asked(given: tuple[str, ...], inputs: InputSpec, asked: tuple[int | str, ...]) -> DateBands:
    most, least = len(inputs.bands), _least(inputs)
    each = next((n for n in (most, least) if asked and len(asked) % n == 0), 0)
    if not each or (each == least < most and not _optional_last(inputs)):
        raise BandMismatch(
            f"{len(asked)} bands were named ({_listed(asked)}); the model wants "
            f"{_wanted(inputs)}: name the same bands of each date, date after date."
        )
    indexes = tuple(_index(band, given) for band in asked)
    dates = _cut(indexes, each, most)
    return DateBands(dates, _note(dates, inputs))


def _cut(indexes: tuple[int, ...], each: int, most: int) -> tuple[tuple[int, ...], ...]:
    """Cut indexes into dates of ``each``, filled up with what is missing."""
    lacking = (MISSING,) * (most - each)
    return tuple(indexes[k : k + each] + lacking for k in range(0, len(indexes), each))


def _index(band: int | str, given: tuple[str, ...]) -> int:
    if band in given:
        return given.index(str(band))
    number = int(band) if isinstance(band, int) or band.isdecimal() else 0
    if not 1 <= number <= len(given):
        raise BandMismatch(
            f"There is no band {band!r} in the image: it has 1 to {len(given)} ({_listed(given)})."
        )
    return number - 1


def _check(date: str, indexes: list[int], given: tuple[str, ...], inputs: InputSpec) -> None:
    lacking = [
        name
        for name, index in zip(inputs.bands, indexes, strict=True)
        if index == MISSING and name not in inputs.optional
    ]
    if lacking:
        raise BandMismatch(
            f"The image has {len(given)} bands ({_listed(given)}) and lacks "
            f"{', '.join(lacking)}{_of(date)}; the model wants {_wanted(inputs)}. If the names are "
            "wrong, give the numbers of the bands with --bands, date after date, or choose another "
            "model."
        )


def _note(dates: tuple[tuple[int, ...], ...], inputs: InputSpec) -> str:
    """Say how many dates are looked at, and what they lack."""
    without = {
        name: sum(date[k] == MISSING for date in dates)
        for k, name in enumerate(inputs.bands)
        if any(date[k] == MISSING for date in dates)
    }
    if len(dates) == 1:
        lacking = " and ".join(without)
        kept = ", ".join(name for name in inputs.bands if name not in without)
        return f"The image has no {lacking}: the model goes by {kept}." if without else ""
    rest = "".join(
        f", {'all' if count == len(dates) else count} of them without {name}"
        for name, count in without.items()
    )
    return f"The model looks at the {len(dates)} dates of the image together{rest}."


def _wanted(inputs: InputSpec) -> str:
    missing = f" ({', '.join(inputs.optional)} may be missing)" if inputs.optional else ""
    return f"{', '.join(inputs.bands)}{missing} of each date"


def _least(inputs: InputSpec) -> int:
    return len(inputs.bands) - len(inputs.optional)


def _optional_last(inputs: InputSpec) -> bool:
    return set(inputs.bands[_least(inputs) :]) == set(inputs.optional)


def _of(date: str) -> str:
    return f" of the date {date}" if date else ""


def _listed(names: tuple[int | str, ...] | tuple[str, ...]) -> str:
    shown = ", ".join(str(name) for name in names[:12])
    return shown if len(names) <= 12 else f"{shown}, ..."
