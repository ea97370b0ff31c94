"""When to look.

The days of planting and of harvest, by PRUE's latitude rule, by a crop calendar, or as given.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from selion.errors import BadInput, GridMismatch, UnknownName
from selion.imagery.scene import Season
from selion.imagery.sensors import Sensor, find_sensor

if TYPE_CHECKING:
    from selion.imagery.area import Area
    from selion.raster import Source

Days = tuple[int, int]
"""First and last day of the year, from 1, both included."""
PLANTING, HARVEST = "window_a", "window_b"
RULES = ("latitude", "calendar")
CROPS = ("main", "summer", "winter")
RASTERS: Mapping[str, str] = {"summer": "sc", "winter": "wc"}
"""Kind of crop -> how the files of a calendar of rasters begin."""
MARGIN = 14
"""Days before and after the calendar's day, as in ftw-tools."""
YEAR = 365
FINE = 10
"""Parts into which a cell's edge is cut to weigh how much of it lies in the area."""


@dataclass(frozen=True, slots=True)
class LatitudeBand:
    """Latitudes between the next band's and this one, and their seasons."""

    above: float
    """Degrees: the band holds absolute latitudes greater than this."""
    name: str
    planting: tuple[Days, Days]
    """North, south."""
    harvest: tuple[Days, Days]


BANDS = (
    LatitudeBand(45, "high latitudes", ((91, 151), (274, 334)), ((244, 304), (60, 151))),
    LatitudeBand(20, "mid-latitudes", ((60, 120), (244, 334)), ((213, 304), (32, 120))),
    LatitudeBand(5, "subtropics", ((121, 212), (305, 365)), ((274, 365), (91, 181))),
    LatitudeBand(-1, "the equator", ((60, 121), (60, 121)), ((182, 243), (182, 243))),
)
"""PRUE, appendix D, Algorithms 1 and 2."""


def band_of(latitude: float) -> LatitudeBand:
    """Return the band of a latitude.

    45, 20 and 5 themselves belong to the band nearer to the equator.
    """
    return next(band for band in BANDS if abs(latitude) > band.above)


def days_of(latitude: float) -> tuple[Days, Days]:
    """Return the days of planting and of harvest.

    Parameters
    ----------
    latitude : float
        Degrees; the northern half is ``latitude > 0``.

    References
    ----------
    .. [1] PRUE (arXiv 2603.27101), appendix D, Algorithms 1 and 2.

    Examples
    --------
    >>> days_of(48.0), days_of(-34.0)
    (((91, 151), (244, 304)), ((244, 334), (32, 120)))
    """
    band, side = band_of(latitude), 0 if latitude > 0 else 1
    return band.planting[side], band.harvest[side]


def find_seasons(
    area: Area,
    year: int,
    rule: str = "latitude",
    crop: str = "main",
    calendar: str | os.PathLike[str] | None = None,
    sensor: Sensor | None = None,
) -> tuple[Season, Season]:
    """Find the seasons of planting and harvest of an area.

    Parameters
    ----------
    area : Area
    year : int
        The year of the harvest.
    rule : str
        ``latitude``: PRUE's Algorithms 1 and 2 at the middle of the area.  ``calendar``: the days
        of a crop calendar.
    crop : str
        For ``calendar`` only: ``summer`` or ``winter`` crops, or ``main``, the one that covers more
        land by selion's own calendar; of a given one, ``main`` are the summer crops.
    calendar : path, optional
        By default selion's own coarse one (:mod:`selion.imagery.world_calendar`; where it is
        silent, the latitude decides).  A file of regions with the days of their seasons
        (:func:`selion.imagery.region_calendar.seasons_in`; where none lies, the latitude decides),
        or a folder with the calendar's rasters ``sc_sos*.tif``, ``sc_eos*``, ``wc_sos*``,
        ``wc_eos*`` (``-`` is as good as ``_``): day of the year of the start and the end of the
        season of summer and winter cereals in longitude and latitude, 0 where there is none; 14
        days before and after are taken.
    sensor : Sensor, optional
        Whose first year is the first that can be asked for; by default Sentinel-2's.

    Returns
    -------
    (Season, Season)
        ``window_a`` (planting) and ``window_b`` (harvest).

    Raises
    ------
    BadInput
        If the year is before the satellites, or the given calendar is missing.
    UnknownName
        If the rule or the crop is not known.

    Notes
    -----
    *Which year.* The paper gives days without a year. Fields are seen from planting to harvest of
    one crop, so planting must come before harvest: in the south, and for winter cereals, where the
    days of planting are later in the year than those of harvest, planting is in ``year - 1``.
    ``year`` is that of the harvest, because the map is finished then, and it is the one that
    statistics use.

    *Where in the calendar.* ftw-tools reads the first row of the window that it cuts out. Here all
    cells that the area touches count, by the share of the area in them, and the day is their median
    on the circle of the year: days around New Year have no usable mean.
    """
    if rule not in RULES:
        raise UnknownName.among("season rule", rule, RULES)
    if crop not in CROPS:
        raise UnknownName.among("crop", crop, CROPS)
    _check_year(year, sensor)
    if rule == "latitude":
        return latitude_seasons(area, year)
    if calendar is None:
        return _belt_seasons(area, year, crop)
    path, crop = Path(calendar).expanduser(), given_crop(crop)
    if path.is_file():
        return _region_seasons(area, year, crop, path)
    return _calendar_seasons(area, year, crop, path)


def _check_year(year: int, sensor: Sensor | None) -> None:
    sensor = sensor or find_sensor()
    if not sensor.first_year <= year <= 2200:
        raise BadInput(
            f"The year {year} was given; wanted is one from {sensor.first_year} on, when "
            f"{sensor.title} began."
        )


def latitude_seasons(area: Area, year: int, note: str = "") -> tuple[Season, Season]:
    """Return the seasons by PRUE's rule at the middle of the area."""
    latitude = area.centre[1]
    planting, harvest = days_of(latitude)
    why = (
        f"latitude rule at {abs(latitude):.1f} {'N' if latitude > 0 else 'S'} "
        f"({band_of(latitude).name})"
    )
    south, north = area.boxes[0][1], area.boxes[0][3]
    if days_of(south) != days_of(north):
        why += (
            f"; the area reaches from {south:.1f} to {north:.1f}, where the rule changes: its "
            "middle decides"
        )
    return _seasons(planting, harvest, year, f"{note}{why}")


def _seasons(planting: Days, harvest: Days, year: int, why: str) -> tuple[Season, Season]:
    first = year - 1 if planting[0] > harvest[0] else year
    return (
        Season(PLANTING, day_of(first, planting[0]), day_of(first, planting[1]), why),
        Season(HARVEST, day_of(year, harvest[0]), day_of(year, harvest[1]), why),
    )


def day_of(year: int, number: int) -> date:
    """Return the day of a year by its number, counted on over New Year.

    60 is 29 February in a leap year.

    Examples
    --------
    >>> day_of(2023, 60), day_of(2024, 60), day_of(2024, 0)
    (datetime.date(2023, 3, 1), datetime.date(2024, 2, 29), datetime.date(2023, 12, 31))
    """
    return date(year, 1, 1) + timedelta(days=number - 1)


# the crop calendar


def given_crop(crop: str) -> str:
    """Return the crop that a given calendar is asked for."""
    return "summer" if crop == "main" else crop


def _belt_seasons(area: Area, year: int, crop: str) -> tuple[Season, Season]:
    """Return the seasons by the calendar that comes with selion."""
    from selion.imagery.world_calendar import find_belt

    found = find_belt(area, year, crop)
    if found is None:
        return latitude_seasons(area, year, "selion's crop calendar is silent here: ")
    belt = found.belt
    if found.days is None:
        return latitude_seasons(area, year, f"crop calendar: {belt.name} has no {crop} crop: ")
    why = f"crop calendar: {belt.name}, {found.crop} crop"
    if found.share < 0.995:
        why += f"; the belt holds {found.share:.0%} of what is around"
    planting, harvest = found.days
    return Season(PLANTING, *planting, why), Season(HARVEST, *harvest, why)


def _region_seasons(area: Area, year: int, crop: str, path: Path) -> tuple[Season, Season]:
    """Return the seasons of the region that holds most of an area."""
    from selion.imagery.region_calendar import seasons_in

    found = seasons_in(area, year, crop, path)
    if found is None:
        return latitude_seasons(area, year, f"{path.name} has no region here: ")
    region, share, (planting, harvest) = found
    why = f"{path.name}: {region.name}"
    if share < 0.995:
        why += f", which holds {share:.0%} of what is around"
    return Season(PLANTING, *planting, why), Season(HARVEST, *harvest, why)


def _calendar_seasons(area: Area, year: int, crop: str, folder: Path) -> tuple[Season, Season]:
    days = {}
    shares = []
    for what in ("sos", "eos"):
        values, weights = _cells(area, _calendar_file(folder, RASTERS[crop], what))
        seen = (values >= 1) & (values <= 366)
        shares.append(float(weights[seen].sum() / max(weights.sum(), 1e-12)))
        if not seen.any():
            return latitude_seasons(area, year, f"the calendar of {crop} crops has no data here: ")
        days[what] = circular_median(values[seen], weights[seen])
    planting, harvest = ((days[what] - MARGIN, days[what] + MARGIN) for what in ("sos", "eos"))
    why = (
        f"calendar of {crop} crops: sown about day {days['sos']}, harvested about day "
        f"{days['eos']}, {MARGIN} days around"
    )
    if min(shares) < 0.995:
        why += f"; it covers {min(shares):.0%} of the area"
    return _seasons(planting, harvest, year, why)


def _calendar_file(folder: Path, crop: str, what: str) -> Path:
    found = sorted(
        path
        for sign in "_-"
        for ending in ("tif", "tiff")
        for path in folder.glob(f"{crop}{sign}{what}*.{ending}")
    )
    if not found:
        problem = "does not exist" if not folder.is_dir() else f"holds no {crop}_{what}*.tif"
        raise BadInput(
            f"The crop calendar {folder} {problem}: wanted is a folder with sc_sos, sc_eos, wc_sos "
            "and wc_eos rasters, or --season-rule latitude."
        )
    return found[0]


def _cells(area: Area, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the values (n,) of all cells that the area touches.

    With them comes the size of the area in each.
    """
    from selion import store

    source = store.open_raster(path)
    if source.grid.crs is None or not source.grid.crs.geographic:
        raise GridMismatch(
            f"{path} is not in longitude and latitude ({source.grid.crs}): a crop calendar has to "
            "be; warp it, for example with gdalwarp."
        )
    # some count from 0 to 360
    parts = [
        _cells_in(area, source, (box[0] + turn, box[1], box[2] + turn, box[3]))
        for box in area.boxes
        for turn in (0, 360)
    ]
    return np.concatenate([values for values, _ in parts]), np.concatenate(
        [weights for _, weights in parts]
    )


def _cells_in(
    area: Area, source: Source, box: tuple[float, float, float, float]
) -> tuple[np.ndarray, np.ndarray]:
    from affine import Affine
    from odc.geo.geobox import GeoBox

    west, south, east, north = box
    to_pixel, (height, width) = ~source.grid.transform, source.grid.shape
    left, top = to_pixel * (west, north)
    right, bottom = to_pixel * (east, south)
    rows = slice(max(int(np.floor(top)), 0), min(int(np.ceil(bottom)), height))
    columns = slice(max(int(np.floor(left)), 0), min(int(np.ceil(right)), width))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return np.zeros(0, int), np.zeros(0)
    read = source.read((rows, columns))
    y, x = read.values.shape[1:]
    fine = GeoBox((y * FINE, x * FINE), read.grid.transform * Affine.scale(1 / FINE), read.grid.crs)
    # (y, x) fine cells in each cell
    touched = area.mask(fine).reshape(y, FINE, x, FINE).sum(axis=(1, 3))
    latitudes = read.grid.transform.f + read.grid.transform.e * (np.arange(y) + 0.5)
    weights = touched * np.cos(np.radians(latitudes))[:, None]
    values = read.values[0].astype(float)
    values[~np.isfinite(values) | (False if read.valid is None else ~read.valid)] = 0
    return np.rint(values[touched > 0]).astype(int), weights[touched > 0]


def circular_median(days: np.ndarray, weights: np.ndarray) -> int:
    """Return the day from which all others are nearest, on the circle of the year.

    Parameters
    ----------
    days : (n,) int ndarray
        1 to 366.
    weights : (n,) float ndarray

    Returns
    -------
    int
        One of the days: the one with the least sum of weighted distances; of several such, the
        heaviest, then the first.

    Examples
    --------
    >>> circular_median(np.array([360, 362, 3]), np.ones(3))
    362
    """
    candidates, places = np.unique(days, return_inverse=True)
    mass = np.bincount(places.ravel(), weights)
    apart = np.abs(candidates[:, None] - candidates[None, :])  # (day, day)
    cost = np.minimum(apart, YEAR - apart).clip(0) @ mass
    return int(min(zip(np.round(cost, 9), -mass, candidates, strict=True))[2])


# given


def given_seasons(
    planting: str, harvest: str, sensor: Sensor | None = None
) -> tuple[Season, Season]:
    """Return seasons of given dates.

    Parameters
    ----------
    planting, harvest : str
        ``2024-03-01/2024-05-31``, both days included.
    sensor : Sensor, optional
        See :func:`find_seasons`.

    Raises
    ------
    BadInput
        If a date cannot be read, or planting does not begin before harvest.
    """
    seasons = (
        parse_season(planting, PLANTING, sensor),
        parse_season(harvest, HARVEST, sensor),
    )
    if seasons[0].start >= seasons[1].start:
        raise BadInput(
            f"Planting {planting} does not begin before harvest {harvest}: the model was trained "
            "on the earlier window first; give them in order."
        )
    return seasons


def parse_season(text: str, name: str, sensor: Sensor | None = None) -> Season:
    """Read ``2024-03-01/2024-05-31`` (or with ``..`` or a comma between).

    Raises
    ------
    BadInput
        If it is not two dates in order, no more than a year apart, since the sensor's
        (by default Sentinel-2's) first year.
    """
    wanted = (
        f"The dates {text!r} of {name} were given; wanted are two days like 2024-03-01/2024-05-31"
    )
    first, _, last = text.replace("..", "/").replace(",", "/").partition("/")
    try:
        start, end = date.fromisoformat(first.strip()), date.fromisoformat(last.strip())
    except ValueError as error:
        raise BadInput(f"{wanted} ({error}).") from error
    if end < start:
        raise BadInput(f"{wanted}, the earlier one first.")
    if (end - start).days > YEAR:
        raise BadInput(f"{wanted}, no more than a year apart: a season of fields is shorter.")
    _check_year(start.year, sensor)
    return Season(name, start, end, "given")
