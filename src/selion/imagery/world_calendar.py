"""The coarse crop calendar of the world that comes with selion: belts, and the days of each."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from selion.imagery.region_calendar import Span, dates_of, span_of

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    from selion.imagery.area import Area

MAIN = "main"
"""The crop of a belt that covers more land."""
LEAST = 1e-9
"""Share of an area by which a belt must hold more of it than an earlier one: rounding decides
nothing."""


@dataclass(frozen=True, eq=False)
class Belt:
    """Where the usual days of sowing and of harvest are about the same."""

    name: str
    shape: Any
    """Of boxes in longitude and latitude, less what belongs to belts before it."""
    main: str
    days: Mapping[str, tuple[Span, Span]]
    """"summer", "winter" or both -> planting and harvest, first and last day each."""
    source: str
    """What the days were taken from."""
    page: str | None
    """Where we read them, without the scheme; None: they are those that the source's calendars say
    in general."""


@dataclass(frozen=True, slots=True)
class Found:
    """What the calendar says of an area."""

    belt: Belt
    share: float
    """Of the area that the belt holds."""
    crop: str
    """"summer" or "winter"."""
    days: Sequence[tuple[date, date]] | None
    """Planting and harvest; None: the belt has no such crop."""


def calendar_file() -> Traversable:
    """Return the file of the calendar; its head says its licence, and how coarse it is."""
    return files("selion.imagery") / "world_calendar.toml"


@cache
def belts() -> tuple[Belt, ...]:
    """Return all belts: of ground that two of them name, the one that stands first has it."""
    import shapely

    told = tomllib.loads(calendar_file().read_text("utf-8"))
    found, taken = [], shapely.Polygon()
    for one in told["belt"]:
        belt = _belt(one, told["sources"])
        found.append(replace(belt, shape=shapely.difference(belt.shape, taken)))
        taken = shapely.union(taken, belt.shape)
    return tuple(found)


def find_belt(area: Area, year: int, crop: str = MAIN) -> Found | None:
    """Find the belt that holds most of an area, and the days of a crop there.

    Parameters
    ----------
    area : Area
    year : int
        Of the harvest: it begins in it. Planting is in the year before where its days are later in
        the year than those of the harvest.
    crop : str
        "summer", "winter", or "main": whichever of the two covers more of the belt's land.

    Returns
    -------
    Found or None
        None where no belt lies.
    """
    import shapely

    whole = float(shapely.area(area.geometry))
    best, most = None, 0.0
    for belt in belts():
        share = float(shapely.area(shapely.intersection(belt.shape, area.geometry))) / whole
        if share > most + LEAST:
            best, most = belt, share
    if best is None:
        return None
    taken = best.main if crop == MAIN else crop
    spans = best.days.get(taken)
    return Found(best, most, taken, spans and dates_of(*spans, year))


def _belt(told: Mapping[str, Any], sources: Mapping[str, str]) -> Belt:
    import shapely

    days = {
        crop: (span_of(told[crop][0], "planting", told["name"]),
               span_of(told[crop][1], "harvest", told["name"]))
        for crop in ("summer", "winter")
        if crop in told
    }  # fmt: skip
    shape = shapely.union_all([shapely.box(*box) for box in told["boxes"]])
    source, page = sources[told["source"]], told.get("page")
    return Belt(told["name"], shape, told["main"], days, source, page)
