"""The grid of a mosaic.

Which CRS serves an area, and a lattice of pixels that neighbouring areas share.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from affine import Affine
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox

from selion.errors import BadInput, GridMismatch
from selion.grid import LONLAT

if TYPE_CHECKING:
    from selion.imagery.area import Area

AROUND_ZONE = 1.5
"""Degrees of longitude by which an area may leave its UTM zone; at the equator a pixel is then 0.2
% too large at the edge."""
UTM_LATITUDES = (-80.0, 84.0)
SEGMENT = 0.01
"""Degrees; straight edges of an area in longitude and latitude are curves elsewhere, 1 cm beside
the chord at this length."""
LARGEST = 2**31 - 1
"""Pixels along an edge of a grid: more cannot be addressed by GDAL."""
DEGREE = 6378137.0 * math.pi / 180
"""Metres of a degree on the equator (WGS 84), as in the 8.983e-5 degrees that published maps take
for 10 m."""
CYLINDRICAL = (
    "Popular Visualisation Pseudo Mercator",
    "Mercator (variant A)",
    "Mercator (variant B)",
    "Lambert Cylindrical Equal Area",
    "Equidistant Cylindrical",
)
"""EPSG's names of projections in which x goes around the globe at a constant rate."""
MERCATOR_ENDS = 85.06
"""Degrees of latitude; further on, Mercator's pixels shrink without end."""
ODD_ZONES = (
    (56.0, 64.0, 3.0, 12.0, 32),
    (72.0, 85.0, 0.0, 9.0, 31),
    (72.0, 85.0, 9.0, 21.0, 33),
    (72.0, 85.0, 21.0, 33.0, 35),
    (72.0, 85.0, 33.0, 42.0, 37),
)
"""South, north, west and east of the zones of Norway and Svalbard that are wider than 6 degrees,
and their numbers."""


def target_grid(
    area: Area,
    crs: str = "auto",
    gsd: float = 10.0,
    align: float | None = None,
    *,
    ground: bool = False,
) -> GeoBox:
    """Return the grid on which an area's mosaic lies.

    Parameters
    ----------
    area : Area
    crs : str
        ``"auto"``: the UTM zone of the area's middle if the area leaves it by 1.5 degrees at most,
        else ``"equal-area"``;
        ``"utm"``: that zone however far the area reaches;
        ``"equal-area"``: Lambert's azimuthal projection around the area's middle (rounded to whole
        degrees, so that neighbours may share it); or anything that PROJ knows, such as
        ``"EPSG:3857"``.
    gsd : float
        Edge of a pixel.  In UTM and equal-area that is metres on the ground (to 0.1 % and 0.3 %
        within 1000 km).  In any other CRS it is the CRS's own unit turned into metres, as in the
        papers: 10 m in EPSG:3857 are ``10 cos(latitude)`` metres on the ground, and in degrees 10 m
        are those of the equator, 8.983e-5.
    align : float, optional
        The corners lie on multiples of this many units of the CRS, itself a multiple of the pixel;
        by default a pixel.  Grids of the same CRS and pixel so share their lattice, and with 2048
        pixels their shards too.
    ground : bool
        Whether ``gsd`` is metres on the ground in the middle of the area in every CRS.

    Returns
    -------
    GeoBox
        North up.  Over the antimeridian x goes on beyond 180 degrees where the CRS goes around the
        globe.

    Raises
    ------
    BadInput
        If the CRS is not known, or ``gsd`` or ``align`` are no sizes.
    GridMismatch
        If the area cannot be drawn in the CRS, or the grid has more pixels along an edge than can
        be addressed.
    """
    if not 0 < gsd < 1e6:
        raise BadInput(f"Pixels of {gsd} m were asked for; wanted is a positive size such as 10.")
    chosen = _crs_for(area, crs)
    pixel = _pixel(chosen, gsd, area.centre if ground else None)
    step = pixel if align is None else float(align)
    if not step > 0 or abs(step / pixel - round(step / pixel)) > 1e-6 or step < 0.5 * pixel:
        raise BadInput(
            f"Corners on multiples of {align} were asked for; wanted is a multiple of the pixel, "
            f"which is {pixel:g}."
        )
    return _snapped(area, chosen, pixel, round(step / pixel))


def utm_crs(longitude: float, latitude: float) -> str:
    """Return the UTM zone of a point, with the exceptions of Norway and Svalbard.

    It is as the MGRS tiles of Sentinel-2 have them.

    Examples
    --------
    >>> utm_crs(12.1, 47.9), utm_crs(4.0, 60.0), utm_crs(180.0, -1.0)
    ('EPSG:32633', 'EPSG:32632', 'EPSG:32701')
    """
    zone, _, _ = _zone(longitude, latitude)
    return f"EPSG:{(32600 if latitude >= 0 else 32700) + zone}"


def zone_numbers(longitudes: np.ndarray, latitudes: np.ndarray) -> np.ndarray:
    """Return the numbers of the UTM zones of (n,) points, as :func:`utm_crs` has them.

    Examples
    --------
    >>> zone_numbers(np.array([12.1, 4.0, 4.0, 10.0, 180.0]), np.array([47.9, 55.9, 60, 78, 0]))
    array([33, 31, 32, 33,  1])
    """
    longitudes = (np.asarray(longitudes, float) + 180) % 360 - 180
    numbers = ((longitudes + 180) // 6).astype(np.int64) + 1
    for south, north, west, east, number in ODD_ZONES:
        inside = (south <= latitudes) & (latitudes < north)
        numbers[inside & (west <= longitudes) & (longitudes < east)] = number
    return numbers


def _zone(longitude: float, latitude: float) -> tuple[int, float, float]:
    """Return number, western and eastern edge of the UTM zone of a point."""
    longitude = (longitude + 180) % 360 - 180
    for south, north, west, east, number in ODD_ZONES:
        if south <= latitude < north and west <= longitude < east:
            return number, west, east
    number = int((longitude + 180) // 6) + 1
    return number, 6.0 * number - 186, 6.0 * number - 180


def equal_area_crs(longitude: float, latitude: float) -> str:
    """Return Lambert's azimuthal equal-area projection around a point, rounded to whole degrees."""
    return (
        f"+proj=laea +lat_0={round(latitude)} +lon_0={round(longitude)} +x_0=0 +y_0=0 +datum=WGS84 "
        "+units=m +no_defs +type=crs"
    )


def period(crs: CRS) -> float | None:
    """Return after how many units x is at the same place again.

    That is in a CRS that goes around the globe; else None.
    """
    return _period(crs.to_wkt())


@lru_cache(maxsize=64)
def _period(wkt: str) -> float | None:
    from pyproj import Transformer

    crs = CRS(wkt).proj
    if crs.is_geographic:
        return 360.0 / math.degrees(crs.axis_info[0].unit_conversion_factor or math.radians(1))
    operation = crs.coordinate_operation
    if operation is None or operation.method_name not in CYLINDRICAL:
        return None
    x, _ = Transformer.from_crs(LONLAT, crs, always_xy=True).transform(
        [0.0, 1.0, 2.0], [0.0, 0.0, 0.0]
    )
    # one of the two steps may be the jump at the edge of the map
    return 360 * min(abs(x[1] - x[0]), abs(x[2] - x[1]))


def _crs_for(area: Area, wanted: str) -> CRS:
    longitude, latitude = area.centre
    if wanted == "auto":
        wanted = "utm" if _in_zone(area) else "equal-area"
    if wanted == "utm":
        if not UTM_LATITUDES[0] <= latitude <= UTM_LATITUDES[1]:
            raise GridMismatch(
                f"The area {area.name} lies at latitude {latitude:.1f}, where UTM has no zones: "
                "take --crs equal-area."
            )
        return CRS(utm_crs(longitude, latitude))
    return CRS(equal_area_crs(longitude, latitude)) if wanted == "equal-area" else _known(wanted)


def _known(name: str) -> CRS:
    from pyproj.exceptions import ProjError

    try:
        crs = CRS(name)
    except (ProjError, ValueError, TypeError) as error:
        raise BadInput(
            f"The CRS {name!r} is not known to PROJ: give auto, utm, equal-area, or a code such as "
            "EPSG:3857."
        ) from error
    if not (crs.geographic or crs.projected):
        raise BadInput(
            f"The CRS {name!r} is neither projected nor longitude and latitude: give auto, utm, "
            "equal-area, or a code such as EPSG:3857."
        )
    return crs


def _in_zone(area: Area) -> bool:
    """Say whether an area leaves the UTM zone of its middle by little."""
    _, left, right = _zone(*area.centre)
    west, east = _running(area)
    turn = 360 * round(((left + right) / 2 - (west + east) / 2) / 360)
    south, north = (f(box[k] for box in area.boxes) for f, k in ((min, 1), (max, 3)))
    within = UTM_LATITUDES[0] <= south and north <= UTM_LATITUDES[1]
    return within and left - AROUND_ZONE <= west + turn and east + turn <= right + AROUND_ZONE


def _running(area: Area) -> tuple[float, float]:
    """Return the westernmost and the easternmost longitude.

    The second is beyond 180 for an area over the antimeridian.
    """
    boxes = area.boxes
    return (boxes[0][0], boxes[-1][2] + 360) if len(boxes) == 2 else (boxes[0][0], boxes[0][2])


def _pixel(crs: CRS, gsd: float, centre: tuple[float, float] | None) -> float:
    """Return the edge of a pixel in units of the CRS."""
    from selion.grid import ground_sampling_distance

    unit = (
        DEGREE * period_degrees(crs)
        if crs.geographic
        else float(crs.proj.axis_info[0].unit_conversion_factor or 1.0)
    )
    pixel = gsd / unit
    if centre is None:
        return pixel
    x, y = _moved(np.array([centre], float), crs, "the area's middle")[0]
    around = GeoBox((16, 16), Affine(pixel, 0, x - 8 * pixel, 0, -pixel, y + 8 * pixel), crs)
    return pixel * gsd / (ground_sampling_distance(around) or gsd)


def period_degrees(crs: CRS) -> float:
    """Return how many degrees the unit of a geographic CRS is."""
    return 360.0 / (period(crs) or 360.0)


def _moved(points: np.ndarray, crs: CRS, name: str) -> np.ndarray:
    """Bring (n, 2) longitudes and latitudes into a CRS and back.

    It shows whether they can be drawn there.

    Raises
    ------
    GridMismatch
        If they cannot: UTM far from its zone, Mercator at a pole.
    """
    from pyproj import Transformer

    transformer = Transformer.from_crs(LONLAT, crs.to_wkt(), always_xy=True)
    x, y = transformer.transform(points[:, 0], points[:, 1])
    longitude, latitude = transformer.transform(x, y, direction="INVERSE")
    if not (np.isfinite(x).all() and np.isfinite(y).all() and np.isfinite(longitude).all()):
        raise _unreachable(name, crs)
    off = np.hypot(
        ((longitude - points[:, 0] + 180) % 360 - 180) * np.cos(np.radians(points[:, 1])),
        latitude - points[:, 1],
    )
    too_far = _is_mercator(crs) and np.abs(points[:, 1]).max() > MERCATOR_ENDS
    if too_far or off.max() > 1e-6:
        raise _unreachable(name, crs)
    return np.stack([x, y], axis=1)


def _unreachable(name: str, crs: CRS) -> GridMismatch:
    return GridMismatch(
        f"{name} cannot be drawn in {_title(crs)}, which does not reach there: take --crs auto or "
        "equal-area."
    )


def _is_mercator(crs: CRS) -> bool:
    operation = crs.proj.coordinate_operation
    return (
        operation is not None
        and "Mercator" in operation.method_name
        and operation.method_name in CYLINDRICAL
    )


def _outline(area: Area, crs: CRS) -> np.ndarray:
    """Return (n, 2) points of the area's outline in a CRS, x running on over the antimeridian."""
    import shapely

    parts = np.asarray(shapely.get_parts(area.geometry))
    points = shapely.get_coordinates(shapely.segmentize(parts, SEGMENT))
    moved = _moved(points, crs, f"The area {area.name}")
    around = period(crs)
    if around is None:
        return moved
    west, _ = _running(area)
    from_west = (points[:, 0] - west) + 360 * (points[:, 0] < west - 1e-9)
    x_west = _moved(np.array([[west, area.centre[1]]]), crs, area.name)[0, 0]
    moved[:, 0] += around * np.round((x_west + from_west * around / 360 - moved[:, 0]) / around)
    return moved


def _snapped(area: Area, crs: CRS, pixel: float, multiple: int) -> GeoBox:
    """Return the smallest grid around an area on a lattice of ``multiple`` pixels.

    Its corners lie on multiples of them.
    """
    points = _outline(area, crs) / (pixel * multiple)
    left, bottom = (int(v) * multiple for v in np.floor(points.min(0) + 1e-6))
    right, top = (int(v) * multiple for v in np.ceil(points.max(0) - 1e-6))
    height, width = max(top - bottom, multiple), max(right - left, multiple)
    if max(height, width) > LARGEST:
        raise GridMismatch(
            f"The area {area.name} would be {height} x {width} pixels of {pixel:g} in "
            f"{_title(crs)}: take --crs equal-area, or larger pixels."
        )
    return GeoBox(
        (height, width), Affine(pixel, 0, left * pixel, 0, -pixel, (bottom + height) * pixel), crs
    )


def _title(crs: CRS) -> str:
    return (
        f"EPSG:{crs.epsg}"
        if crs.epsg
        else str(crs.proj.name if crs.proj.name != "unknown" else crs.proj.to_proj4() or "the CRS")
    )
