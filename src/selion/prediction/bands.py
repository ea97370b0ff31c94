"""Which band of the image goes into which channel of the network."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from selion.errors import BandMismatch
from selion.prediction.band_names import DATES, BandName, days_of, read_names, with_dates
from selion.prediction.bands_of_dates import choose_dates, counts_as_dates
from selion.raster import Source
from selion.segmenter import InputSpec

STATEMENT = "input_bands"
"""The tag by which a stack of quarterly mosaics says what its bands are, quarter by quarter:
``Q1,Q2,Q3,Q4 x B04,B03,B02,B08``."""
_QUARTERLY = re.compile(r"Q[1-4]_B\w+", re.IGNORECASE)


def stated_bands(source: Source, wanted: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of a source's bands: its own, or where these say nothing, its tag's.

    Raises
    ------
    BandMismatch
        If the tag names another number of bands, or others than the bands' own names do.
    """
    text = source.tags.get(STATEMENT, "")
    if not text or not all(_QUARTERLY.fullmatch(name) for name in wanted):
        return source.bands
    quarters, _, kinds = text.partition(" x ")
    stated = tuple(
        f"{quarter.strip()}_{kind.strip()}"
        for quarter in quarters.split(",")
        for kind in kinds.split(",")
    )
    if len(stated) != len(source.bands):
        raise BandMismatch(
            f"The image's tag {STATEMENT} ({text}) names {len(stated)} bands, but the image has "
            f"{len(source.bands)}: correct the tag."
        )
    spoken = [name for name in source.bands if _QUARTERLY.fullmatch(name)]
    if spoken and source.bands != stated:
        raise BandMismatch(
            f"The image's bands are called {_listed(source.bands)}, but its tag {STATEMENT} says "
            f"{text}: correct the one that is wrong."
        )
    return stated


def choose_bands(
    given: tuple[str, ...],
    wanted: tuple[str, ...],
    asked: tuple[int | str, ...] | None = None,
    *,
    any_order: bool = False,
    named: bool = False,
) -> tuple[tuple[int, ...], str]:
    """Choose bands: as asked, else by name, by what the names mean, or by position.

    Parameters
    ----------
    given : tuple of str
        Band names of the image.
    wanted : tuple of str
        Band names of the model, in the order of its channels.
    asked : tuple of int or str, optional
        The user's own choice in the model's order: band numbers from 1, as GDAL counts, or names.
    any_order : bool
        Whether the model does not mind which of its dates comes first
        (:attr:`selion.segmenter.InputSpec.any_order`).
    named : bool
        Never choose by position: the model's bands look alike, and a wrong order is not seen.

    Returns
    -------
    indexes : tuple of int
        One index (from 0) into ``given`` per wanted band.
    note : str
        A sentence if the choice needs one, else "".

    Raises
    ------
    BandMismatch
        If none of the ways works; if the names say that a band is not there; or if it cannot be
        known which of the image's two dates is which, and the model minds.

    Notes
    -----
    Position is trusted last: only where the names mean nothing and the numbers agree.  Names that
    mean something and do not fit are refused, because blue in the place of near infrared makes a
    map that looks like one.
    """
    if asked is not None:
        return _asked(given, wanted, asked), ""
    known = {name.casefold(): k for k, name in reversed(list(enumerate(given)))}
    unique = len({name.casefold() for name in given}) == len(given)
    if unique and all(name.casefold() in known for name in wanted):
        return tuple(known[name.casefold()] for name in wanted), ""
    if named:
        raise BandMismatch(
            f"The image does not say which of its {len(given)} bands ({_listed(given)}) are the "
            f"model's ({_listed(wanted)}): describe the bands by these names, or give the tag "
            f"{STATEMENT}='Q1,Q2,Q3,Q4 x B04,B03,B02,B08' where they lie in this order."
        )
    said, meant = read_names(given), read_names(wanted)
    if all(name.is_known for name in meant) and any(name.is_known for name in said):
        return _by_meaning(given, wanted, with_dates(said), meant, any_order=any_order)
    if len(given) == len(wanted):
        indexes = tuple(range(len(given)))
        if len(_dates(meant)) > 1 and not any_order:
            raise BandMismatch(_which_is_which(given, wanted, _planting_first(meant)))
        note = (
            f"The bands of the image ({_listed(given)}) do not have the model's names "
            f"({_listed(wanted)}): they are taken in the order of the file."
        )
        return indexes, note
    raise BandMismatch(
        f"The image has {len(given)} bands ({_listed(given)}), the model wants {len(wanted)} "
        f"({_listed(wanted)}) and the names do not tell which: name them in this order, for "
        f"example --bands {','.join(str(k + 1) for k in range(len(wanted)))}, or choose another "
        "model."
    )


def has_bands(given: tuple[str, ...], inputs: InputSpec) -> bool:
    """Say whether an image's bands have the names that a model wants, or their meaning.

    Parameters
    ----------
    given : tuple of str
        Band names of the image.
    inputs : InputSpec
        Of the model.
    """
    if inputs.dates:
        return any(name.is_known for name in read_names(given)) and _has_dates(given, inputs)
    if {name.casefold() for name in inputs.bands} <= {name.casefold() for name in given}:
        return True
    if not any(name.is_known for name in read_names(given)):
        return False
    try:
        choose_bands(given, inputs.bands, any_order=inputs.any_order, named=inputs.named)
    except BandMismatch:
        return False
    return True


def _has_dates(given: tuple[str, ...], inputs: InputSpec) -> bool:
    try:
        choose_dates(given, inputs)
    except BandMismatch:
        return False
    return True


def has_number(count: int, inputs: InputSpec) -> bool:
    """Say whether a model could take so many bands by their position alone."""
    return counts_as_dates(count, inputs) if inputs.dates else count == len(inputs.bands)


def _by_meaning(
    given: tuple[str, ...],
    wanted: tuple[str, ...],
    said: tuple[BandName, ...],
    meant: tuple[BandName, ...],
    *,
    any_order: bool,
) -> tuple[tuple[int, ...], str]:
    """Choose bands by colour and date."""
    places = {(name.date, name.colour): k for k, name in reversed(list(enumerate(said)))}
    here, dates = _dates(name for name in said if name.is_known), _dates(meant)
    named = set(dates) <= set(here)
    days = dict(zip(here, days_of(here), strict=False))
    if len(dates) == 1 and not named and "" in (dates[0], here[0]):
        # a model of one date: the image's only one, or its first
        translated, note = {dates[0]: here[0]}, _first_of(here, given)
    elif named:
        translated, note = {date: date for date in dates}, ""
    elif len(here) == len(dates) and days:
        order = sorted(here, key=lambda one: days[one])
        translated = dict(zip(sorted(dates), order, strict=True))
        note = f"The dates are taken in the order of their days, {days[order[0]]} first."
    elif len(here) == len(dates) and not set(here) & set(DATES):
        translated = dict(zip(sorted(dates), here, strict=True))
        note = (
            f"The file does not say which of its {len(here)} dates is which; the model takes them "
            "in any order."
        )
    else:
        raise _lacking(given, wanted, next(k for k, n in enumerate(meant) if n.date not in here))
    indexes = []
    for k, name in enumerate(meant):
        place = places.get((translated[name.date], name.colour))
        if place is None:
            raise _lacking(given, wanted, k)
        indexes.append(place)
    if not named and len(dates) > 1 and not any_order:
        raise BandMismatch(_which_is_which(given, wanted, tuple(indexes)))
    return tuple(indexes), " ".join(filter(None, [note, _twice(given, said, indexes)]))


def _twice(given: tuple[str, ...], said: tuple[BandName, ...], indexes: Sequence[int]) -> str:
    """Say that more bands than the chosen ones mean what these mean."""
    meant = [(said[k].date, said[k].colour) for k in indexes]
    more = [
        k
        for k, name in enumerate(said)
        if k not in indexes and name.is_known and (name.date, name.colour) in meant
    ]
    if not more:
        return ""
    numbers = ",".join(str(k + 1) for k in more)
    return (
        f"{len(more)} bands more ({_listed(tuple(given[k] for k in more))}; numbers {numbers}) are "
        "called as those that are used: the first of each is taken, --bands names others."
    )


def _dates(names: Iterable[BandName]) -> list[str]:
    """Return the dates of bands, in the order of their first appearance."""
    return list(dict.fromkeys(name.date for name in names))


def _planting_first(meant: tuple[BandName, ...]) -> tuple[int, ...]:
    """Return where a model's bands lie in a file that begins with the planting season."""
    dates = sorted(_dates(meant))
    each = len(meant) // len(dates)
    seen = dict.fromkeys(dates, 0)
    places = []
    for name in meant:
        places.append(dates.index(name.date) * each + seen[name.date])
        seen[name.date] += 1
    return tuple(places)


def _first_of(dates: list[str], given: tuple[str, ...]) -> str:
    if len(dates) == 1:
        return ""
    return (
        f"The image has {len(dates)} dates ({_listed(given)}), the model looks at one: the first "
        "is taken; --bands names others."
    )


def _lacking(given: tuple[str, ...], wanted: tuple[str, ...], which: int) -> BandMismatch:
    return BandMismatch(
        f"The image has {len(given)} bands ({_listed(given)}) and lacks what the model calls "
        f"{wanted[which]}; the model wants {_listed(wanted)}. If the names are wrong, give the "
        "numbers of the bands in the model's order with --bands, or choose another model."
    )


def _which_is_which(
    given: tuple[str, ...], wanted: tuple[str, ...], indexes: tuple[int, ...]
) -> str:
    numbers = ",".join(str(k + 1) for k in indexes)
    return (
        f"The image ({_listed(given)}) does not say which of its two dates is the planting and "
        f"which the harvest season, and the model ({_listed(wanted)}) answers otherwise if they "
        f"are exchanged: say it with --bands {numbers} if the first is the planting season, or "
        "name the bands planting:red ... harvest:nir."
    )


def _asked(
    given: tuple[str, ...], wanted: tuple[str, ...], asked: tuple[int | str, ...]
) -> tuple[int, ...]:
    if len(asked) != len(wanted):
        raise BandMismatch(
            f"{len(asked)} bands were named ({_listed(asked)}); the model wants {len(wanted)}, in "
            f"this order: {_listed(wanted)}."
        )
    indexes = tuple(given.index(band) if band in given else _number(band) for band in asked)
    for band, index in zip(asked, indexes, strict=True):
        if not 0 <= index < len(given):
            raise BandMismatch(
                f"There is no band {band!r} in the image: it has 1 to {len(given)} "
                f"({_listed(given)})."
            )
    return indexes


def _number(band: int | str) -> int:
    """Index of a band number that counts from 1; -1 if it is none."""
    return int(band) - 1 if isinstance(band, int) or band.isdecimal() else -1


def _listed(names: tuple[int | str, ...] | tuple[str, ...]) -> str:
    shown = ", ".join(str(name) for name in names[:12])
    return shown if len(names) <= 12 else f"{shown}, ..."
