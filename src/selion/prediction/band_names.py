"""What the name of a band says: its colour and its date, whoever wrote it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

COLOURS = {
    "red": "red r b4 b04 redband",
    "green": "green g b3 b03",
    "blue": "blue b b2 b02",
    "nir": "nir ir n b8 b08 nir08 nearinfrared infrared nir1 b8nir",
}
"""Colour -> how it is called: in words, by its letter, and as Sentinel-2 numbers it."""
OTHERS = {
    "numbers": "b1 b01 b5 b05 b6 b06 b7 b07 b8a b9 b09 b10 b11 b12",
    "words": "coastal rededge rededge1 rededge2 rededge3 swir swir1 swir2 swir16 swir22 thermal",
    "layers": "scl aot wvp nir09 yellow green1 greeni coastalblue",
}
"""Names of other bands: they are none of the four colours, and say so."""
DATES = {
    "window_a": "windowa planting a",
    "window_b": "windowb harvest b",
}
"""Date -> how it is called: window a of Fields of The World is the planting season, b the
harvest."""
DAY = re.compile(r"(?<!\d)(20\d\d)[-_. ]?([01]\d)[-_. ]?([0-3]\d)(?!\d{3})")
"""A day in the name of a band or a file."""
SOON, LATE = 21, 400
"""Days from which two dates are of two seasons, and up to which they are of one year."""
LANDSAT = re.compile(r"sr_?b(\d)", re.IGNORECASE)
NEW_LANDSAT = {2: "blue", 3: "green", 4: "red", 5: "nir"}
OLD_LANDSAT = {1: "blue", 2: "green", 3: "red", 4: "nir"}
"""Number -> colour of Landsat 8 and 9, and of Landsat 4, 5 and 7."""
_COLOUR_OF = {word: colour for colour, words in COLOURS.items() for word in words.split()}
_OTHERS = frozenset(word for words in OTHERS.values() for word in words.split())
_DATE_OF = {word: date for date, words in DATES.items() for word in words.split()}


@dataclass(frozen=True, slots=True)
class BandName:
    """What a name says."""

    colour: str | None
    """``"red"``, ``"green"``, ``"blue"``, ``"nir"``, or another band's own name; None: it says
    nothing."""
    date: str = ""
    """``"window_a"`` (planting), ``"window_b"`` (harvest), whatever else stands in a date's place,
    or nothing."""

    @property
    def is_known(self) -> bool:
        """Whether it is one of the four colours."""
        return self.colour in COLOURS


def read_names(names: Sequence[str]) -> tuple[BandName, ...]:
    """Read the names of an image's, or of a model's, bands together.

    Parameters
    ----------
    names : sequence of str
        For example ``window_a:red``, ``planting_B04``, ``B08_harvest``, ``SR_B5``,
        ``B02 (490 nm)``, ``2024-05-01:nir``.

    Returns
    -------
    tuple of BandName
        One each.  Landsat's numbers mean other colours since Landsat 8: those of an image with a
        fifth band are read as the new ones.
    """
    letters = {name.casefold() for name in names if len(name.strip()) == 1}
    if not {"r", "g", "b"} <= letters:  # a, b, c are no colours
        names = ["" if len(name.strip()) == 1 else name for name in names]
    numbers = {int(found[1]) for name in names if (found := LANDSAT.search(name))}
    landsat = OLD_LANDSAT if 1 in numbers and 5 not in numbers else NEW_LANDSAT
    return tuple(_read(name, landsat) for name in names)


def _read(name: str, landsat: dict[int, str]) -> BandName:
    text = re.sub(r"\(.*?\)|\d+(\.\d+)?\s*nm", "", name).strip().casefold()
    head, colon, tail = text.rpartition(":")
    if found := LANDSAT.search(tail):
        rest = tail.replace(found[0], "").strip(" _-.:/")
        return BandName(landsat.get(int(found[1]), found[0]), _date(head or rest))
    if colour := _colour(tail):
        return BandName(colour, _date(head))
    if not colon:
        for one, other in _halves(text):
            if (colour := _colour(one)) and (date := _DATE_OF.get(_bare(other))):
                return BandName(colour, date)
            if (colour := _colour(other)) and (date := _DATE_OF.get(_bare(one))):
                return BandName(colour, date)
    return BandName(None)


def _halves(text: str) -> list[tuple[str, str]]:
    """Cut a name at each of its separators."""
    return [
        (text[: found.start()], text[found.end() :]) for found in re.finditer(r"[ _.\-/]+", text)
    ]


def _colour(text: str) -> str | None:
    bare = _bare(text)
    return _COLOUR_OF.get(bare) or (bare if bare in _OTHERS else None)


def _date(text: str) -> str:
    return _DATE_OF.get(_bare(text), text.strip())


def _bare(text: str) -> str:
    return re.sub(r"[ _.\-/:]+", "", text)


def with_dates(names: Sequence[BandName]) -> tuple[BandName, ...]:
    """Give bands their dates where only their repetition tells them.

    Without any date the n-th band of a colour is of the n-th date, so that dates may follow each
    other or be interleaved; they are called ``"1"``, ``"2"`` ...
    """
    most = max(Counter(name.colour for name in names).values(), default=0)
    if most < 2 or any(name.date for name in names):
        return tuple(names)
    seen: Counter[str | None] = Counter()
    dated = []
    for name in names:
        seen[name.colour] += 1
        dated.append(BandName(name.colour, str(seen[name.colour])))
    return tuple(dated)


def days_of(dates: Sequence[str]) -> tuple[date, ...]:
    """Return the day of each of several dates; nothing where one does not say, or two are one.

    Examples
    --------
    >>> days_of(["20230803T100601 T33UVP", "20230420T100559 T33UVP"])
    (datetime.date(2023, 8, 3), datetime.date(2023, 4, 20))
    >>> days_of(["window_a", "window_b"])
    ()
    """
    found = []
    for one in dates:
        said = DAY.search(one)
        try:
            found.append(date(*(int(part) for part in said.groups())) if said else None)
        except ValueError:
            found.append(None)
    known = tuple(day for day in found if day is not None)
    return known if len(set(known)) == len(dates) > 1 else ()


def doubted_days(days: Sequence[date]) -> list[str]:
    """Return a warning on days that are not two seasons of one year."""
    apart = (max(days) - min(days)).days if days else SOON
    if SOON <= apart <= LATE:
        return []
    why = (
        "fields are told by what changes between planting and harvest"
        if apart < SOON
        else "fields may have been changed between them"
    )
    return [
        (
            f"The dates {min(days)} and {max(days)} are {apart} days apart: {why}. Give two dates "
            "of the season, some months apart."
        )
    ]
