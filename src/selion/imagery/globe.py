"""Polygons on a globe that is written down flat: the antimeridian, repairs, kilometres."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

from selion.errors import BadInput

if TYPE_CHECKING:
    from pyproj import Transformer
    from shapely import MultiPolygon, Polygon

Box = tuple[float, float, float, float]
"""West, south, east, north in degrees, west < east."""
ROUNDING = 1e-6
"""Degrees that an edge of a map of the world falls short of 360 by, once it was projected."""
LIMIT = 540.0
"""Degrees of longitude beyond which a number is no longitude, however often it went around."""


def polygons_of(geometries: np.ndarray) -> np.ndarray:
    """Return all polygons in an array of geometries, also those inside of collections."""
    import shapely

    # collections of multipolygons of polygons
    parts = shapely.get_parts(shapely.get_parts(shapely.get_parts(geometries)))
    return parts[(shapely.get_type_id(parts) == 3) & ~shapely.is_empty(parts)]


def unwrap(polygon: Polygon) -> tuple[Polygon, bool]:
    """Write a ring that jumps from +180 to -180 so that its longitudes go on.

    A step of more than 180 degrees is taken to go the other, shorter way around; one of 360, but
    for rounding, is an edge of a map of the world and stays.

    Returns
    -------
    (Polygon, bool)
        And whether there was a jump.

    Raises
    ------
    BadInput
        If the ring goes once around the globe, that is, around a pole.
    """
    import shapely

    rings = [np.array(ring.coords)[:, :2] for ring in (polygon.exterior, *polygon.interiors)]
    jumped = False
    for ring in rings:
        steps = np.diff(ring[:, 0])
        odd = (np.abs(steps) > 180) & (np.abs(steps) < 360 - ROUNDING)
        jumps = np.where(odd, -360 * np.sign(steps), 0.0)
        if not jumps.any():
            continue
        jumped = True
        ring[1:, 0] += np.cumsum(jumps)
        if abs(ring[-1, 0] - ring[0, 0]) > 180:
            raise BadInput(
                "The area goes around a pole, where there are no fields: cut it into parts that do "
                "not."
            )
    if not jumped:
        return polygon, False
    middle = (rings[0][:, 0].min() + rings[0][:, 0].max()) / 2
    for ring in rings[1:]:  # a hole must lie beside its shell, not once around
        ring[:, 0] += 360 * np.round((middle - (ring[:, 0].min() + ring[:, 0].max()) / 2) / 360)
    return shapely.Polygon(rings[0], rings[1:]), True


def shifted(polygons: np.ndarray, eastwards: float) -> np.ndarray:
    """Move (n,) polygons along the parallels, by degrees or whatever x is."""
    import shapely

    return np.asarray(shapely.transform(polygons, lambda xy: xy + np.array([eastwards, 0.0])))


def cut(polygons: np.ndarray) -> np.ndarray:
    """Cut (n,) polygons with running longitudes at the antimeridian.

    All parts are moved to -180 to 180.
    """
    import shapely

    west, _, east, _ = shapely.bounds(polygons).T
    if not len(polygons) or (west.min() >= -180 and east.max() <= 180):
        return polygons
    out = []
    for turn in range(
        int(np.floor((west.min() + 180) / 360)), int(np.ceil((east.max() + 180) / 360))
    ):
        part = shapely.intersection(
            polygons, shapely.box(360 * turn - 180, -90, 360 * turn + 180, 90)
        )
        out.append(shifted(polygons_of(part), -360.0 * turn))
    return np.concatenate(out)


def boxes_of(polygons: np.ndarray) -> tuple[Box, ...]:
    """Return the smallest box around (n,) polygons.

    Two, the western one first, where that crosses the antimeridian.

    The widest empty stretch of the parallel is outside, so that islands on both sides of the
    antimeridian make no box around the globe.
    """
    import shapely

    bounds = shapely.bounds(polygons)
    south, north = float(bounds[:, 1].min()), float(bounds[:, 3].max())
    spans = bounds[np.argsort(bounds[:, 0], kind="stable")]
    reach = np.maximum.accumulate(spans[:, 2])
    gaps = np.append(spans[1:, 0] - reach[:-1], spans[0, 0] + 360 - reach[-1])
    widest = int(np.argmax(gaps)) if gaps.max() > gaps[-1] + 1e-9 else len(gaps) - 1
    west, east = float(spans[(widest + 1) % len(spans), 0]), float(reach[widest])
    if widest == len(gaps) - 1:
        return ((west, south, east, north),)
    pieces = ((west, south, 180.0, north), (-180.0, south, east, north))
    return tuple(piece for piece in pieces if piece[0] < piece[2])


def repaired(polygons: np.ndarray) -> tuple[np.ndarray, int]:
    """Make (n,) polygons valid; the second value says how many were not."""
    import shapely

    broken = ~shapely.is_valid(polygons)
    if not broken.any():
        return polygons, 0
    fixed = shapely.make_valid(polygons[broken], method="structure", keep_collapsed=False)
    return np.concatenate([polygons[~broken], polygons_of(fixed)]), int(broken.sum())


def square_kilometres(geometry: MultiPolygon) -> float:
    """Return the area on the ellipsoid.

    Edges are straight in longitude and latitude, as in GeoJSON.

    Measured in an equal-area projection in which parallels and meridians stay straight: an edge
    along a parallel is no geodesic, and a map of the whole world has no inside for geodesics.
    """
    import shapely

    fine = shapely.segmentize(geometry, 0.1)  # degrees
    return float(shapely.transform(fine, _equal_area().transform, interleaved=False).area) / 1e6


@functools.cache
def _equal_area() -> Transformer:
    """Return what moves to the projection, made once: that takes longer than most areas do."""
    from pyproj import Transformer

    return Transformer.from_crs("OGC:CRS84", "EPSG:6933", always_xy=True)


def normalised(geometry: object) -> np.ndarray:
    """Return the (n,) valid polygons of any GeoJSON-like footprint, cut at the antimeridian.

    Empty if there are none.

    Raises
    ------
    BadInput
        If its coordinates are no longitudes and latitudes.
    """
    import shapely
    from shapely.geometry import shape

    polygons = polygons_of(np.array([shapely.force_2d(shape(geometry))]))
    if not len(polygons):
        return polygons
    furthest = np.abs(shapely.get_coordinates(polygons)).max(axis=0)
    if not (furthest <= (LIMIT, 90 + 1e-6)).all():
        raise BadInput(
            f"Coordinates reach {furthest[0]:.6g} and {furthest[1]:.6g}; wanted are longitudes and "
            "latitudes in degrees."
        )
    unwrapped = np.array([unwrap(polygon)[0] for polygon in polygons])
    return cut(repaired(unwrapped)[0])
