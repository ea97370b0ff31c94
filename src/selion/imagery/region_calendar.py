"""A crop calendar of one's own: regions with the days of their two seasons, in one small file."""

from __future__ import annotations

import calendar
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
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
LEAP_DAYS = 366
MARGIN = 14
"""Days before and after a zone's day, as for the calendars that are rasters."""
WORLD_ZONES = {
    "summer": (("tc-maize-main_sos", "tc-maize-main_eos"), ("m1sos_avg", "m1eos_avg")),
    "winter": (("tc-wintercereals_sos", "tc-wintercereals_eos"), ("wwsos_avg", "wweos_avg")),
}
"""Start and end of the season, days of the year, of the agro-ecological zones of ESA WorldCereal:
as published (CC BY 4.0, doi:10.5281/zenodo.7875105), and in the project's own repository (MIT)."""
ZONES = ("aez_id", "zoneID")
"""What these zones are called by."""
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
    middles: tuple[int, int] | None = None
    """Of a zone of WorldCereal: the days of the year around which it is sown and harvested; they
    decide then, and the spans are not looked at."""


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
        (``03-15/05-31``, ``11-01/01-15``), and if one likes ``name`` and ``crop``; or the
        agro-ecological zones of ESA WorldCereal as they are published, which cover the cropland of
        the Earth: 14 days around the start and the end of the main season of maize (summer) or of
        winter cereals, the year being that of the harvest's own day.

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
    share = most / float(shapely.area(area.geometry))
    if best.middles is not None:
        return best, share, _around(best.middles, year)
    return best, share, dates_of(best.planting, best.harvest, year)


def dates_of(planting: Span, harvest: Span, year: int) -> tuple[tuple[date, date], ...]:
    """Return first and last day of planting and of a harvest that begins in a year.

    Examples
    --------
    >>> [str(day) for day in dates_of(((11, 1), (12, 31)), ((4, 1), (6, 15)), 2024)[0]]
    ['2023-11-01', '2023-12-31']
    """
    first = year - 1 if planting[0] > harvest[0] else year
    return _dates(planting, first), _dates(harvest, year)


def _around(middles: tuple[int, int], year: int) -> tuple[tuple[date, date], tuple[date, date]]:
    """Return the days around those of planting and of harvest, of which the later is in a year."""
    sown, reaped = middles
    planting, harvest = (
        date(of, 1, 1) + timedelta(days=day - 1)
        for of, day in ((year - (sown > reaped), sown), (year, reaped))
    )
    margin = timedelta(days=MARGIN)
    return (planting - margin, planting + margin), (harvest - margin, harvest + margin)


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
    return tuple(
        region
        for number, one in enumerate(features, 1)
        for region in _regions(one, number, crs, path)
    )


def _regions(feature: Any, number: int, crs: Any, path: Path) -> list[Region]:
    """Return the region of a feature; a zone of WorldCereal is one for each crop that it has."""
    given = feature.get("properties") if isinstance(feature, Mapping) else None
    said = dict(given) if isinstance(given, Mapping) else {}
    zone = next((said[name] for name in ZONES if name in said), None)
    if zone is None or {"planting", "harvest"} & said.keys():
        return [_region(feature, number, crs, path)]
    where = f"zone {zone:g}" if isinstance(zone, float) else f"zone {zone}"
    shape = {"type": "FeatureCollection", "features": [feature], **({"crs": crs} if crs else {})}
    area = read_area(shape, name=f"{where} of the crop calendar {path}")
    days = {crop: _days_of(said, crop, f"{where} of {path}") for crop in WORLD_ZONES}
    anything = ((1, 1), (12, 31))
    return [
        Region(f"{where}, {crop} crops", area, anything, anything, crop, middles)
        for crop, middles in days.items()
        if middles is not None
    ]


def _days_of(said: Mapping[str, Any], crop: str, where: str) -> tuple[int, int] | None:
    """Return when a zone is sown and harvested; None where the crop is not grown."""
    for names in WORLD_ZONES[crop]:
        found: list[Any] = [said.get(name) for name in names]
        if None in found or 0 in found:
            continue
        if not all(type(day) in (int, float) and 1 <= day <= LEAP_DAYS for day in found):
            raise BadInput(
                f"{where} of the crop calendar has the days {found[0]!r} and {found[1]!r}; wanted "
                f"are days of the year, 1 to {LEAP_DAYS}."
            )
        return round(found[0]), round(found[1])
    return None


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
        span_of(said.get("planting"), "planting", where),
        span_of(said.get("harvest"), "harvest", where),
        crop,
    )


def span_of(text: object, what: str, where: str) -> Span:
    """Read two days of the year, such as ``03-15/05-31``.

    Raises
    ------
    BadInput
        If they are none.
    """
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
