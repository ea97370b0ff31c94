"""What an archive has for an area, and the two seasons of each of its tiles."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import numpy as np

from selion import imagery
from selion.errors import NoScenes
from selion.pipeline.area_options import AreaOptions, sensor_of
from selion.progress import OnStep

if TYPE_CHECKING:
    from selion.imagery import Area, Scene, Season

STEP = 0.5
"""Degrees between the places at which seasons are asked for, and around a place of a calendar."""
POINT = 5e-4
"""Degrees around a place whose latitude alone decides."""
DEGREE = 111.0
"""Kilometres of a degree of latitude."""
Pair = tuple["Season", "Season"]


@dataclass(frozen=True, eq=False)
class ArchiveAnswer:
    """What an archive has in the seasons of an area's tiles."""

    scenes: Mapping[str, Scene]
    """By id."""
    refused: tuple[tuple[str, str], ...]
    """(id, why) of the items that cannot be used."""
    notes: tuple[str, ...]
    """One sentence for a season that has nothing."""


class BeyondSearch(Exception):
    """A tile has seasons that were not searched, as all places that were looked at have others.

    A region of a calendar that holds most of what is around a tile may hold most of it nowhere
    else.
    """

    def __init__(self, seasons: Pair) -> None:
        super().__init__("the seasons of a tile were not searched")
        self.seasons = seasons


def check_searched(seasons: Pair, spans: Sequence[Pair]) -> None:
    """Raise BeyondSearch where a search of some seasons does not hold those of a tile."""
    for own, hull in zip(seasons, _hull(spans), strict=True):
        if own.start < hull.start or own.end > hull.end:
            raise BeyondSearch(seasons)


def today() -> date:
    """Return the day that it is, UTC: seasons that end on it or later are not over."""
    return datetime.now(UTC).date()


def search_archive(
    area: Area, spans: Sequence[Pair], options: AreaOptions, on_step: OnStep
) -> ArchiveAnswer:
    """Search both seasons; one that has nothing is told.

    Parameters
    ----------
    area : Area
    spans : sequence of pairs of Season
        The seasons of all places of the area: what is searched holds all of them.
    options : AreaOptions
    on_step : callable

    Raises
    ------
    NoScenes
        If neither season has a scene.
    SearchFailed
        If the archive does not answer.
    """
    provider = imagery.find_provider(options.provider)
    results, empty = [], []
    for number, season in enumerate(_hull(spans)):
        on_step("search", number, 2, season.name)
        try:
            results.append(
                imagery.find_scenes(area, season, provider, options.cloud, retry=options.retry)
            )
        except NoScenes as error:
            empty.append(str(error))
    if not results:
        raise NoScenes(" ".join(empty))
    on_step("search", 2, 2, f"{sum(len(result) for result in results)} scenes")
    return ArchiveAnswer(
        {scene.id: scene for result in results for scene in result},
        tuple(dict.fromkeys((one.id, one.why) for result in results for one in result.refused)),
        tuple(empty),
    )


def spans_of(area: Area, year: int, options: AreaOptions) -> list[Pair]:
    """Return the seasons of all tiles that an area may touch; dates that are given are one pair."""
    if options.seasons:
        return [options.seasons]
    return [
        seasons_at(place, year, options)
        for place in places(
            area, sensor_of(options).tile_edge / 2, across=options.rule == "calendar"
        )
    ]


def places(area: Area, around: float, *, across: bool) -> list[tuple[float, float]]:
    """Return points, at most half a degree apart, at which seasons are asked for.

    Parameters
    ----------
    area : Area
    around : float
        Kilometres by which the middle of a tile may lie outside the area.
    across : bool
        Whether seasons change from west to east too, as a calendar's do and a rule's do not.
    """
    found = [area.centre]
    pad = around / DEGREE
    for west, south, east, north in area.boxes:
        low, high = max(south - pad, -89.0), min(north + pad, 89.0)
        wide = pad / max(math.cos(math.radians(max(abs(low), abs(high)))), 0.1)
        left, right = west - wide, east + wide
        rows, columns = (max(int(size / STEP) + 2, 2) for size in (high - low, right - left))
        for longitude in np.linspace(left, right, columns) if across else [(west + east) / 2]:
            found += [
                ((float(longitude) + 180) % 360 - 180, float(latitude))
                for latitude in np.linspace(low, high, rows)
            ]
    return found


def seasons_at(place: tuple[float, float], year: int, options: AreaOptions) -> Pair:
    """Return the two seasons of a tile by the longitude and latitude of its middle.

    At its latitude by the rule, within half a degree by the calendar: they are the tile's, whatever
    part of it an area needs, so that areas which share a tile share its seasons.
    """
    if options.seasons:
        return options.seasons
    reach = STEP if options.rule == "calendar" else POINT
    longitude, latitude = place
    box = (
        max(longitude - reach, -180.0),
        max(latitude - reach, -90.0),
        min(longitude + reach, 180.0),
        min(latitude + reach, 90.0),
    )
    near = imagery.read_area(box, name="the tile")
    return imagery.find_seasons(
        near, year, options.rule, options.crop, options.calendar, sensor_of(options)
    )


def _hull(spans: Sequence[Pair]) -> Pair:
    """Return the shortest seasons that hold all of some seasons."""
    first, second = (
        replace(ones[0], start=min(one.start for one in ones), end=max(one.end for one in ones))
        for ones in zip(*spans, strict=True)
    )
    return first, second
