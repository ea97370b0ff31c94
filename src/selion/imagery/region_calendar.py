"""A crop calendar of one's own: regions with the days of their two seasons, in one small file."""

from __future__ import annotations

import calendar
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selion.errors import BadInput, UnreadableFile
from selion.imagery.area import Area, read_area

if TYPE_CHECKING:
    from collections.abc import Sequence

DAYS = re.compile(r"(\d\d)-(\d\d)\s*(?:/|\.\.)\s*(\d\d)-(\d\d)")
LEAP = 2024
"""A year that has all days."""
MonthDay = tuple[int, int]
Span = tuple[MonthDay, MonthDay]


@dataclass(frozen=True, eq=False)
class Region:
    """Where two seasons hold."""

    name: str
    area: Area
    planting: Span
    harvest: Span
    """First and last day, both included; the last one may lie in the next year."""
    crop: str | None
    """"summer" or "winter"; None: whatever is grown."""


def seasons_in(
    area: Area, year: int, crop: str, path: Path
) -> tuple[Region, float, Sequence[tuple[date, date]]] | None:
    """Find the region of a calendar that holds most of an area.

    Parameters
    ----------
    area : Area
    year : int
        Of the harvest: it begins in it. Planting is in the year before where its days are later in
        the year than those of the harvest.
    crop : str
        Regions of another crop are passed over.
    path : path
        GeoJSON of polygons with the properties ``planting`` and ``harvest``
        (``03-15/05-31``, ``11-01/01-15``), and if one likes ``name`` and ``crop``.

    Returns
    -------
    (Region, float, (planting, harvest)) or None
        The region, its share of the area, and first and last day of each season; None where no
        region lies.

    Raises
    ------
    UnreadableFile, BadInput
        If the file is none, or says something else.
    """
    import shapely

    regions = read_regions(path.expanduser(), path.expanduser().stat().st_mtime_ns)
    if crop != "summer" and all(region.crop is None for region in regions):
        raise BadInput(
            f"--crop {crop} was given, and no region of {path} says its crop, so it has no effect: "
            "give the regions a property 'crop' (summer, winter), or leave it out."
        )
    best, most = None, 0.0
    for region in regions:
        if region.crop not in (None, crop):
            continue
        shared = shapely.area(shapely.intersection(region.area.geometry, area.geometry))
        if shared > most:
            best, most = region, float(shared)
    if best is None:
        return None
    first = year - 1 if best.planting[0] > best.harvest[0] else year
    days = (_dates(best.planting, first), _dates(best.harvest, year))
    return best, most / float(shapely.area(area.geometry)), days


def _dates(span: Span, year: int) -> tuple[date, date]:
    first, last = span
    return _date(year, first), _date(year + (last < first), last)


def _date(year: int, day: MonthDay) -> date:
    """Return a day; the 29th of February is the 28th where there is none."""
    month, number = day
    return date(year, month, min(number, calendar.monthrange(year, month)[1]))


@lru_cache(maxsize=4)
def read_regions(path: Path, _changed: int) -> tuple[Region, ...]:
    """Read the regions of a calendar; see :func:`seasons_in`."""
    try:
        told = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UnreadableFile(
            f"The crop calendar {path} cannot be read ({error}): wanted is a GeoJSON of regions, "
            "or a folder of rasters."
        ) from error
    features = told.get("features") if isinstance(told, Mapping) else None
    if not isinstance(features, list) or not features:
        raise BadInput(
            f"The crop calendar {path} holds no regions: wanted is a GeoJSON FeatureCollection of "
            "polygons with the properties planting and harvest."
        )
    crs = told.get("crs")
    return tuple(_region(one, number, crs, path) for number, one in enumerate(features, 1))


def _region(feature: Any, number: int, crs: Any, path: Path) -> Region:
    given = feature.get("properties") if isinstance(feature, Mapping) else None
    said = dict(given) if isinstance(given, Mapping) else {}
    name = str(said.get("name") or f"region {number}")
    where = f"{name} of the crop calendar {path}"
    crop = said.get("crop")
    if crop not in (None, "summer", "winter"):
        raise BadInput(f"The crop {crop!r} was given for {where}; wanted is summer or winter.")
    shape = {"type": "FeatureCollection", "features": [feature], **({"crs": crs} if crs else {})}
    return Region(
        name,
        read_area(shape, name=where),
        _span(said.get("planting"), "planting", where),
        _span(said.get("harvest"), "harvest", where),
        crop,
    )


def _span(text: object, what: str, where: str) -> Span:
    found = DAYS.fullmatch(str(text).strip())
    numbers = [int(one) for one in found.groups()] if found else []
    try:
        for month, day in zip(numbers[::2], numbers[1::2], strict=True):
            date(LEAP, month, day)
    except ValueError:
        numbers = []
    if not numbers:
        raise BadInput(
            f"The {what} {text!r} was given for {where}; wanted are two days of the year, such as "
            "03-15/05-31 or 11-01/01-15."
        )
    return (numbers[0], numbers[1]), (numbers[2], numbers[3])
