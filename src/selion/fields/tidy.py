"""Measures and simplification of outlines.

Areas in m2 and lengths in metres on the ellipsoid whatever the CRS, and shared edges that stay
shared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from selion.errors import BadInput
from selion.grid import metres_per_unit

if TYPE_CHECKING:
    import geopandas
    from shapely.geometry.base import BaseGeometry

WIDE = 0.003
"""Radians: what is wider (about 20 km) is measured along geodesics."""


def measure(geometries: np.ndarray, crs: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Return area and perimeter of polygons on the ground.

    Parameters
    ----------
    geometries : (n,) object ndarray
        shapely polygons or multipolygons in ``crs``; empty ones measure 0.
    crs : str or None
        None: a photograph; pixels are the unit.

    Returns
    -------
    area : (n,) float64 ndarray
        m2 (or px2).
    perimeter : (n,) float64 ndarray
        Metres (or px), holes included.

    Notes
    -----
    The CRS's own area is multiplied by the determinant of the metric at the polygon's centroid,
    which is right to second order: within 1e-6 for fields.  What is wider than 20 km is measured
    edge by edge along geodesics (Karney 2013).
    """
    import shapely

    parts, owner = shapely.get_parts(np.asarray(geometries, dtype=object), return_index=True)
    there = ~shapely.is_empty(parts)  # an empty one has no place on the globe
    parts, owner = parts[there], owner[there]
    if not len(parts):
        return np.zeros(len(geometries)), np.zeros(len(geometries))
    _, coordinates, (offsets, exteriors) = shapely.to_ragged_array(parts)
    area, perimeter = measure_rings(coordinates, offsets, exteriors, crs)
    return np.bincount(owner, area, len(geometries)), np.bincount(owner, perimeter, len(geometries))


def remeasured(frame: geopandas.GeoDataFrame) -> geopandas.GeoDataFrame:
    """Return fields with area and perimeter of their outlines as they are drawn now.

    Who redraws a field in QGIS leaves its columns as they are, and of a new one they are empty.
    """
    crs = None if frame.crs is None else frame.crs.to_wkt()
    area, perimeter = measure(frame.geometry.to_numpy(), crs)
    return frame.assign(
        **{
            "metrics:area": area.astype(np.float32),
            "metrics:perimeter": perimeter.astype(np.float32),
        }
    )


def measure_rings(
    coordinates: np.ndarray, offsets: np.ndarray, exteriors: np.ndarray, crs: str | None
) -> tuple[np.ndarray, np.ndarray]:
    """Do the work of :func:`measure` on the closed rings of polygons.

    Parameters
    ----------
    coordinates : (n, 2) float64 ndarray
        Rings one after the other.
    offsets : (m + 1,) integer ndarray
        Where each ring starts.
    exteriors : (p + 1,) integer ndarray
        The ring that is each polygon's exterior.
    crs : str or None

    Returns
    -------
    area, perimeter : (p,) float64 ndarray
    """
    from selion.fields import cracks

    found = cracks.moments(coordinates, offsets, exteriors)
    metric = (
        np.broadcast_to(np.eye(2), (len(found), 2, 2))
        if crs is None
        else metres_per_unit(crs, found[:, 1], found[:, 2])
    )
    metric = np.ascontiguousarray(metric)
    area = found[:, 0] * np.abs(np.linalg.det(metric))
    perimeter = cracks.lengths(coordinates, offsets, exteriors, metric)
    size = np.linalg.norm(np.einsum("nij,nj->ni", metric, found[:, 5:] - found[:, 3:5]), axis=1)
    for k in np.flatnonzero(size > WIDE * 6371008.8) if crs is not None else ():
        rings = [
            coordinates[offsets[ring] : offsets[ring + 1]]
            for ring in range(exteriors[k], exteriors[k + 1])
        ]
        area[k], perimeter[k] = _geodesic(rings, str(crs))
    return area, perimeter


def _geodesic(rings: list[np.ndarray], crs: str) -> tuple[float, float]:
    """Area and perimeter of one polygon along geodesics.

    Its edges are cut so that they stay straight in ``crs``.
    """
    from pyproj import Geod, Transformer

    to_lonlat = Transformer.from_crs(crs, "OGC:CRS84", always_xy=True)
    geod = Geod(ellps="WGS84")
    found = [geod.polygon_area_perimeter(*to_lonlat.transform(*_cut(ring).T)) for ring in rings]
    areas = [abs(area) for area, _ in found]
    return areas[0] - sum(areas[1:]), sum(perimeter for _, perimeter in found)


def _cut(ring: np.ndarray, pieces: int = 16) -> np.ndarray:
    """Put points on the edges of an (n, 2) closed ring."""
    steps = np.linspace(0, 1, pieces, endpoint=False)
    return (ring[:-1, None] + steps[None, :, None] * np.diff(ring, axis=0)[:, None]).reshape(-1, 2)


def polygonal(shape: BaseGeometry) -> BaseGeometry:
    """Return the polygons of a collection of shapes; anything else as it is."""
    import shapely

    if shape.geom_type != "GeometryCollection":
        return shape
    parts = shapely.get_parts(shapely.get_parts(shape))
    polygons = parts[shapely.get_type_id(parts) == shapely.GeometryType.POLYGON]
    found: BaseGeometry = shapely.multipolygons(polygons)
    return found


def simplify_coverage(frame: geopandas.GeoDataFrame, tolerance: float) -> geopandas.GeoDataFrame:
    """Simplify polygons of any origin so that neighbours keep one shared edge.

    Parameters
    ----------
    frame : GeoDataFrame
        Polygons that do not overlap, whose shared edges have the same points on both sides.
    tolerance : float
        Metres, in any CRS (units of the coordinates if there is no CRS): the corners whose triangle
        is smaller than ``tolerance`` squared go.

    Returns
    -------
    GeoDataFrame

    Raises
    ------
    BadInput
        If the tolerance is negative.

    Notes
    -----
    Visvalingam and Whyatt (1993) over the coverage's shared edges, as GEOS does it.  The measure is
    the area of a triangle, which a linear change of coordinates only multiplies: hence no rescaling
    of degrees, only of the tolerance.  Fields that come from ids are simplified on the pixel
    lattice already (:func:`selion.fields.to_fields`), ten times as fast.
    """
    import shapely

    if not tolerance >= 0:
        raise BadInput(f"A tolerance of {tolerance} m was given; wanted is a number from 0 up.")
    if tolerance == 0 or frame.empty:
        return frame
    scale = 1.0
    if frame.crs is not None:
        x0, y0, x1, y1 = frame.total_bounds
        scale = float(
            np.sqrt(
                np.abs(
                    np.linalg.det(
                        metres_per_unit(
                            frame.crs.to_wkt(), np.array([(x0 + x1) / 2]), np.array([(y0 + y1) / 2])
                        )[0]
                    )
                )
            )
        )
    return frame.set_geometry(
        shapely.coverage_simplify(frame.geometry.to_numpy(), tolerance / scale), crs=frame.crs
    )
