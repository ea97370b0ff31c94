"""Renderings of a raster.

True and false colours of each season, each class's probability, objects, classes, or plain numbers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from selion.web.view.colours import DateColours, Glimpse, find_colours

CLASS_WORDS = ("class", "label", "cover", "mask", "scl")
ID_WORDS = ("instance", "object", "field_id", "ids")
PALETTE = (
    "#9aa3a8", "#5ac85a", "#ffd500", "#3f7fd0", "#c2693c", "#8d5fd3", "#d84b8a", "#2fa7a0",
    "#b8b84a", "#7a5230", "#f08a24", "#4b6f44",
)  # fmt: skip
"""Colours of classes that bring none: apart in lightness as well as in hue."""


@dataclass(frozen=True, slots=True)
class Rendering:
    """One rendering of a raster."""

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
    note: str = ""
    """How its bands were found, where their names do not say."""


@dataclass(frozen=True)
class RasterHeader:
    """What a raster's header says that decides how it is rendered."""

    bands: tuple[str, ...]
    dtype: str
    tags: Mapping[str, str]
    colours: Mapping[int, tuple[int, ...]]
    """The file's own colour table, if any."""


def renderings_of(header: RasterHeader, glimpse: Glimpse | None = None) -> tuple[Rendering, ...]:
    """Return the renderings of a raster, the most telling first.

    ``glimpse`` reads some pixels; it is called only where the bands' names do not say their
    colours.
    """
    names, colours = classes_of(header.tags)
    if names and header.bands == names:
        return scores(names, colours, 254.0 if header.dtype == "uint8" else 1.0)
    if len(header.bands) == 1:
        return (single(header, names, colours),)
    found = [
        rendering
        for colours in find_colours(header.bands, glimpse)
        for rendering in colour_renderings(colours)
    ]
    used = {band for rendering in found for band in rendering.bands}
    rest = [k for k in range(1, len(header.bands) + 1) if k not in used][:24]
    return (
        *found,
        *(
            Rendering(f"band{k}", header.bands[k - 1].replace("_", " "), "number", (k,))
            for k in rest
        ),
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


def is_colour(value: object) -> bool:
    """Say whether something is a colour as #rrggbb."""
    return (
        isinstance(value, str)
        and len(value) == 7
        and value[0] == "#"
        and all(c in "0123456789abcdefABCDEF" for c in value[1:])
    )


def scores(names: Sequence[str], colours: Sequence[str], top: float) -> tuple[Rendering, ...]:
    """Return a rendering for each class.

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


def single(header: RasterHeader, names: Sequence[str], colours: Sequence[str]) -> Rendering:
    """Return the rendering of a raster of one band."""
    word = header.bands[0].lower()
    whole = header.dtype in ("int16", "uint16", "int32", "uint32", "int64", "uint64")
    if whole and any(w in word for w in ID_WORDS):
        return Rendering("ids", "Objects", "ids", (1,))
    if header.dtype == "uint8" and (names or header.colours or any(w in word for w in CLASS_WORDS)):
        drawn = tuple(colours) or tuple(
            f"#{r:02x}{g:02x}{b:02x}"
            for r, g, b in (
                tuple(header.colours.get(k, (0, 0, 0)))[:3]
                for k in range(256 if header.colours else 0)
            )
        )
        return Rendering("classes", "Classes", "classes", (1,), drawn or PALETTE, tuple(names))
    return Rendering("band1", header.bands[0].replace("_", " "), "number", (1,))


def colour_renderings(colours: DateColours) -> list[Rendering]:
    """Return true and false colours of a date, where it has the bands."""
    at = colours.bands
    date = (
        f"date {colours.date}"
        if colours.date.isdigit() and len(colours.date) < len("2024")
        else colours.date.replace("_", " ")
    )
    suffix = f" · {date}" if date else ""
    slug = "".join(c for c in colours.date if c.isascii() and c.isalnum())[:24]
    wanted = (
        ("true", "True colour", ("red", "green", "blue")),
        ("false", "False colour (near infrared)", ("nir", "red", "green")),
    )
    return [
        Rendering(
            f"{name}{slug}",
            f"{label}{suffix}",
            "colour",
            tuple(at[b] for b in of),
            note=f"Colours taken {colours.note}." if colours.note else "",
        )
        for name, label, of in wanted
        if all(b in at for b in of)
    ]
