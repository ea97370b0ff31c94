"""Outlines brought to another CRS, cut where its map of the globe ends."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import geopandas
    from odc.geo.geobox import GeoBox
    from pyproj import CRS

MERCATOR = 40075016.685578488
"""Metres around the globe in EPSG:3857."""
SLIVER = 1e-9
"""Share of an outline, and of the way around the globe, that rounding alone can make."""


def projected(geometry: geopandas.GeoSeries, crs: Any) -> geopandas.GeoSeries:
    """Bring outlines to a CRS.

    An outline over the antimeridian comes as parts on both sides of it, as RFC 7946 asks for:
    projected corner by corner it would go once around the globe.  One in degrees that lies between
    -180 and 180 is taken at its word, however wide it is.

    Parameters
    ----------
    geometry : GeoSeries
        Polygons or multipolygons with a CRS.
    crs : anything that pyproj understands

    Returns
    -------
    GeoSeries
        Rings run as the projection leaves them.
    """
    import geopandas

    moved = geometry.to_crs(crs)
    odd = None
    if geometry.crs.is_geographic:
        bounds = geometry.bounds
        odd = ((bounds["minx"] < -180) | (bounds["maxx"] > 180)).to_numpy()
    cut = on_map(moved.to_numpy(), moved.crs, odd)
    return geopandas.GeoSeries(cut, moved.index, crs=moved.crs)


def onto(geometry: geopandas.GeoSeries, grid: GeoBox) -> geopandas.GeoSeries:
    """Bring outlines to the CRS of a grid, to be burnt into it.

    As :func:`projected`; but where the grid itself goes on beyond 180 degrees, as one of 170 to 190
    does, its numbers are those of outlines that were not cut.
    """
    crs = None if grid.crs is None else grid.crs.to_wkt()
    box = grid.extent.boundingbox
    if grid.crs is not None and grid.crs.geographic and (box.left < -180 or box.right > 180):
        return geometry.to_crs(crs)
    return projected(geometry, crs)


def on_map(shapes: np.ndarray, crs: CRS, may_jump: np.ndarray | None = None) -> np.ndarray:
    """Cut outlines that were projected corner by corner where the map of their CRS ends.

    Parameters
    ----------
    shapes : (n,) object ndarray
        Polygons or multipolygons in ``crs``.
    crs : CRS
    may_jump : (n,) bool ndarray, optional
        Which of them may jump from one end of the map to the other, if not any: those that are
        wider than half the map are believed to have.

    Returns
    -------
    (n,) object ndarray
    """
    import shapely

    around = _around(crs)
    if around is None:
        return shapes
    west, _, east, _ = shapely.bounds(shapes).reshape(-1, 4).T
    ends = around / 2
    with np.errstate(invalid="ignore"):  # what is empty has no bounds, some corners no place
        odd = (east > ends) | (west < -ends)
        odd |= (east - west > ends) & (True if may_jump is None else may_jump)
    odd &= np.isfinite(west) & np.isfinite(east)
    shapes = np.array(shapes, object)
    for k in np.flatnonzero(odd):
        shapes[k] = _cut(shapes[k], around)
    return shapes


def centres(shapes: np.ndarray) -> np.ndarray:
    """Return the (n, 2) longitudes and latitudes of the centroids of outlines in degrees.

    That of an outline with parts on both sides of the antimeridian lies there, too, and not on the
    other side of the globe; that of an empty one is NaN.
    """
    import shapely

    middle = shapely.centroid(shapes)
    found = np.stack([shapely.get_x(middle), shapely.get_y(middle)], axis=1)
    west, _, east, _ = shapely.bounds(shapes).reshape(-1, 4).T
    with np.errstate(invalid="ignore"):
        apart = east - west > 180
    for k in np.flatnonzero(apart):
        parts = shapely.get_parts(shapes[k])
        whole = shapely.multipolygons(
            [
                shapely.transform(part, lambda xy: xy + np.array([360.0, 0.0]))
                if part.bounds[2] <= 0
                else part
                for part in parts
            ]
        )
        found[k] = (whole.centroid.x + 180) % 360 - 180, whole.centroid.y
    return found


def _around(crs: CRS) -> float | None:
    """Return after how many units x is at the same place again; None: never, or nobody says."""
    if crs.is_geographic:
        return 360.0 / math.degrees(crs.axis_info[0].unit_conversion_factor or math.radians(1))
    return MERCATOR if crs.to_epsg() == 3857 else None


def _cut(shape: Any, around: float) -> Any:
    """Cut an outline where the map ends, and bring all parts onto the map."""
    import shapely

    parts = shapely.get_parts(shape)
    running = shapely.multipolygons([_running(part, around) for part in parts])
    west, south, east, north = running.bounds
    pieces = []
    for turn in range(math.floor(west / around + 0.5), math.ceil(east / around + 0.5)):
        start = around * (turn - 0.5)
        piece = shapely.intersection(
            running, shapely.box(start, south - 1, start + around, north + 1)
        )
        pieces += [
            shapely.transform(part, lambda xy, turn=turn: xy - np.array([around * turn, 0.0]))
            for part in shapely.get_parts(piece)
            if part.geom_type == "Polygon" and part.area > SLIVER * running.area
        ]
    return pieces[0] if len(pieces) == 1 else shapely.multipolygons(pieces)


def _running(polygon: Any, around: float) -> Any:
    """Write a ring that jumps from one end of the map to the other so that it goes on.

    A step of the whole map, but for rounding, is no jump: it is an edge of the map.
    """
    import shapely

    steps = np.abs(np.diff(shapely.get_coordinates(polygon.exterior)[:, 0]))
    if not ((steps > around / 2) & (steps < around * (1 - SLIVER))).any():
        return polygon
    return shapely.transform(
        polygon, lambda xy: np.stack([xy[:, 0] + around * (xy[:, 0] < 0), xy[:, 1]], axis=1)
    )
