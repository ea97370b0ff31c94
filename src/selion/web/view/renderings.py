"""What there is to see in a raster.

True and false colours of each season, each class's probability, objects, classes, or plain numbers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

CLASS_WORDS = ("class", "label", "cover", "mask", "scl")
ID_WORDS = ("instance", "object", "field_id", "ids")
PALETTE = (
    "#9aa3a8", "#5ac85a", "#ffd500", "#3f7fd0", "#c2693c", "#8d5fd3", "#d84b8a", "#2fa7a0",
    "#b8b84a", "#7a5230", "#f08a24", "#4b6f44",
)  # fmt: skip
"""Colours of classes that bring none: apart in lightness as well as in hue."""


@dataclass(frozen=True, slots=True)
class Rendering:
    """One way to see a raster."""

    name: str
    """Short, of letters that an address can hold."""
    label: str
    kind: str
    """"colour" (three bands), "share" (a probability), "ids" (objects), "classes" or "number"."""
    bands: tuple[int, ...]
    """GDAL's numbers, from 1."""
    colours: tuple[str, ...] = ()
    """"share": one; "classes": one for each class."""
    words: tuple[str, ...] = ()
    """Names of the classes."""
    top: float = 1.0
    """"share": the number that stands for 1."""


@dataclass(frozen=True)
class Head:
    """What a raster's head says that decides how it can be seen."""

    bands: tuple[str, ...]
    dtype: str
    tags: Mapping[str, str]
    colours: Mapping[int, tuple[int, ...]]
    """The file's own colour table, if any."""


def looks_of(head: Head) -> tuple[Rendering, ...]:
    """Return the ways to see a raster, the most telling first."""
    names, colours = classes_of(head.tags)
    if names and head.bands == names:
        return scores(names, colours, 254.0 if head.dtype == "uint8" else 1.0)
    if len(head.bands) == 1:
        return (single(head, names, colours),)
    found = [look for season in seasons(head.bands) for look in colour_looks(head.bands, season)]
    if not found:
        found = (
            [Rendering("colour", "Colours", "colour", (1, 2, 3))]
            if len(head.bands) in (3, 4)
            else []
        )
    used = {band for look in found for band in look.bands}
    rest = [k for k in range(1, len(head.bands) + 1) if k not in used][:24]
    return (
        *found,
        *(Rendering(f"band{k}", head.bands[k - 1].replace("_", " "), "number", (k,)) for k in rest),
    )


def classes_of(tags: Mapping[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return names and colours of the classes that a raster of ours tells of."""
    try:
        table: Any = json.loads(tags.get("classes", "{}"))
        names, colours = table.get("names", []), table.get("colours", [])
        return tuple(str(n)[:60] for n in names[:64]), tuple(
            c for c in colours[:64] if is_colour(c)
        )
    except (ValueError, AttributeError, TypeError, RecursionError):
        return (), ()


def is_colour(given: object) -> bool:
    """Say whether something is a colour as #rrggbb."""
    return (
        isinstance(given, str)
        and len(given) == 7
        and given[0] == "#"
        and all(c in "0123456789abcdefABCDEF" for c in given[1:])
    )


def scores(names: Sequence[str], colours: Sequence[str], top: float) -> tuple[Rendering, ...]:
    """Return a look for each class.

    The background, which is what the others are not, comes last.
    """
    drawn = [
        colours[k] if k < len(colours) and colours[k] != "#000000" else PALETTE[k % len(PALETTE)]
        for k in range(len(names))
    ]
    found = [
        Rendering(
            f"class{k + 1}",
            f"{name.replace('_', ' ')} (probability)",
            "share",
            (k + 1,),
            (drawn[k],),
            top=top,
        )
        for k, name in enumerate(names)
    ]
    return (*found[1:], *found[:1])


def single(head: Head, names: Sequence[str], colours: Sequence[str]) -> Rendering:
    """Return the look of a raster of one band."""
    word = head.bands[0].lower()
    whole = head.dtype in ("int16", "uint16", "int32", "uint32", "int64", "uint64")
    if whole and any(w in word for w in ID_WORDS):
        return Rendering("ids", "Objects", "ids", (1,))
    if head.dtype == "uint8" and (names or head.colours or any(w in word for w in CLASS_WORDS)):
        drawn = tuple(colours) or tuple(
            f"#{r:02x}{g:02x}{b:02x}"
            for r, g, b in (
                tuple(head.colours.get(k, (0, 0, 0)))[:3] for k in range(len(head.colours) and 24)
            )
        )
        return Rendering("classes", "Classes", "classes", (1,), drawn or PALETTE, tuple(names))
    return Rendering("band1", head.bands[0].replace("_", " "), "number", (1,))


def seasons(bands: Sequence[str]) -> tuple[str, ...]:
    """Return what stands before the colons of band names, in order; "" where nothing does."""
    return tuple(dict.fromkeys(band.rpartition(":")[0] for band in bands))


def colour_looks(bands: Sequence[str], season: str) -> list[Rendering]:
    """Return true and false colours of a season, where it has the bands."""
    at = {
        band.rpartition(":")[2].lower(): k
        for k, band in enumerate(bands, 1)
        if band.rpartition(":")[0] == season
    }
    at = {
        "red": at.get("r", 0),
        "green": at.get("g", 0),
        "blue": at.get("b", 0),
        "nir": at.get("n", 0),
    } | at
    said = f" · {season.replace('_', ' ')}" if season else ""
    slug = "".join(c for c in season if c.isascii() and c.isalnum())[:24]
    wanted = (
        ("true", "True colour", ("red", "green", "blue")),
        ("false", "False colour (near infrared)", ("nir", "red", "green")),
    )
    return [
        Rendering(f"{name}{slug}", f"{label}{said}", "colour", tuple(at[b] for b in of))
        for name, label, of in wanted
        if all(at.get(b) for b in of)
    ]
