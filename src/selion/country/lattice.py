"""Jobs of a country.

Squares of one size in each UTM zone, cut at its meridians, so that they meet without gap or overlap
on one lattice of pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from selion.errors import BadInput
from selion.grid import LONLAT
from selion.imagery.globe import cut, polygons_of, square_kilometres

if TYPE_CHECKING:
    from shapely import MultiPolygon, Polygon

    from selion.imagery import Area

EDGE = 51_200.0
"""Metres: 5120 pixels of 10 m, about a quarter of a Sentinel-2 tile."""
HALO = 1_000.0
"""Metres that a job looks beyond its square: most fields are smaller."""
LEAST = 100.0
"""Metres of a halo: with less nobody would see what goes on beyond a border."""
ROUGH = 50
"""The area is simplified to a fiftieth of the halo before it grows by it: jobs need no rocks along
a coast."""
STEPS = 8
"""Points per edge of a square; neighbours compute the same ones, so any number closes without a
gap."""
SMALLEST = 0.01
"""km2 of the area that a job must have."""


@dataclass(frozen=True, eq=False)
class Cell:
    """One job: what it answers for, and where it looks."""

    name: str
    """Zone, hemisphere, column and row: ``33N_e06_n105``."""
    crs: str
    core: MultiPolygon
    """Longitude and latitude."""
    area: MultiPolygon
    """The area in the core and twice the halo around it: fields that do not touch it are none of
    its."""
    seen: MultiPolygon
    """The core and the halo around it, as far as they lie within the halo of the area: fields at
    the area's edge are seen whole."""
    km2: float
    """The area in the core alone, on the ellipsoid."""
    bounds: tuple[float, float, float, float]
    """Metres in ``crs`` around ``seen``."""


def cut_area(area: Area, edge: float = EDGE, halo: float = HALO) -> list[Cell]:
    """Cut an area into jobs.

    Parameters
    ----------
    area : Area
        Longitude and latitude.
    edge : float
        Metres along a square.
    halo : float
        Metres that each job looks further, beyond its square and beyond the area; a field that is
        longer may be cut.

    Returns
    -------
    list of Cell
        From zone to zone, column by column.  The cores are parts of the globe, not of the area:
        they tile it.

    Raises
    ------
    BadInput
        If the sizes make no sense.
    """
    if not (1000 <= edge <= 500_000 and LEAST <= halo <= edge / 4):
        raise BadInput(
            f"Squares of {edge:g} m with a halo of {halo:g} m were asked for; wanted are 1000 to "
            f"500000 m, and a halo of {LEAST:g} m to a quarter of that."
        )
    import shapely

    cells: list[Cell] = []
    for zone, south in _strips(area):
        strip = shapely.box(
            6.0 * zone - 186, -80.0 if south else 0.0, 6.0 * zone - 180, 0.0 if south else 84.0
        )
        part = shapely.intersection(area.geometry, strip)
        if not shapely.is_empty(part):
            cells += _in_zone(area, part, strip, (zone, south), edge, halo)
    if not cells and area.km2 < SMALLEST:
        raise BadInput(
            f"The area {area.name} has {1e6 * area.km2:,.0f} m2; a plan is for areas from "
            f"{1e6 * SMALLEST:,.0f} m2 up: give it to 'selion map'."
        )
    if not cells:
        raise BadInput(
            f"The area {area.name} lies where there are no UTM zones (beyond 80 degrees south or "
            "84 north): there are no fields to map."
        )
    return cells


def _strips(area: Area) -> Iterator[tuple[int, bool]]:
    """Return (zone, whether south of the equator) of the strips that an area may touch."""
    for west, south, east, north in area.boxes:
        for zone in range(int((west + 180) // 6) + 1, min(math.ceil((east + 180) / 6), 60) + 1):
            if south < 0:
                yield zone, True
            if north > 0:
                yield zone, False


def _in_zone(
    area: Area, part: MultiPolygon, strip: Polygon, zone: tuple[int, bool], edge: float, halo: float
) -> Iterator[Cell]:
    import shapely
    from pyproj import Transformer

    crs = f"EPSG:{(32700 if zone[1] else 32600) + zone[0]}"
    there, back = (
        Transformer.from_crs(LONLAT, crs, always_xy=True),
        Transformer.from_crs(crs, LONLAT, always_xy=True),
    )
    flat = _moved(shapely.segmentize(part, 0.05), there)
    x0, y0, x1, y1 = (np.floor(np.array(shapely.bounds(flat)) / edge)).astype(int).tolist()
    shapely.prepare(part)
    for column in range(x0 - 1, x1 + 2):
        for row in range(y0 - 1, y1 + 2):
            square = _square(column, row, edge)
            core = shapely.intersection(_running(_moved(square, back), zone[0]), strip)
            mine = (
                shapely.intersection(part, core)
                if shapely.intersects(part, core)
                else shapely.Polygon()
            )
            if shapely.is_empty(mine) or square_kilometres(many(mine)) < SMALLEST:
                continue
            flat_core = _moved(core, there)
            reach, wide = (
                shapely.buffer(flat_core, times * halo, join_style="mitre") for times in (1, 2)
            )
            near = shapely.intersection(area.geometry, _on_globe(wide, back, zone[0]))
            seen = _on_globe(
                shapely.intersection(reach, _grown(_running(near, zone[0]), there, halo)),
                back,
                zone[0],
            )
            bounds = shapely.bounds(_moved(shapely.segmentize(seen, 0.02), there)).tolist()
            name = f"{zone[0]:02}{'S' if zone[1] else 'N'}_e{column:02}_n{row:03}"
            yield Cell(
                name,
                crs,
                many(core),
                many(near),
                seen,
                square_kilometres(many(mine)),
                tuple(bounds),
            )


def _grown(shape: Any, there: Any, halo: float) -> Any:
    """Return an area grown by the halo, in metres."""
    import shapely

    slack = halo / ROUGH
    return shapely.buffer(
        shapely.simplify(_moved(shapely.segmentize(shape, 0.05), there), slack),
        halo + slack,
        quad_segs=4,
    )


def _on_globe(flat: Any, back: Any, zone: int) -> MultiPolygon:
    """Return what lies in metres in longitude and latitude, cut at the antimeridian."""
    import shapely

    return many(
        shapely.union_all(cut(polygons_of(np.array([_running(_moved(flat, back), zone)], object))))
    )


def _square(column: int, row: int, edge: float) -> Polygon:
    """Return a square with points along its edges that its neighbours have too."""
    import shapely

    x, y = (
        np.append(start * edge + np.arange(STEPS) / STEPS * edge, (start + 1) * edge)
        for start in (column, row)
    )
    west, east, south, north = x[0], x[-1], y[0], y[-1]
    ring = [
        *((a, south) for a in x),
        *((east, b) for b in y[1:]),
        *((a, north) for a in x[::-1][1:]),
        *((west, b) for b in y[::-1][1:]),
    ]
    return shapely.Polygon(ring)


def _running(shape: Any, zone: int) -> Any:
    """Write longitudes so that they go on beyond the antimeridian, near a zone."""
    import shapely

    middle = 6.0 * zone - 183
    return shapely.transform(
        shape,
        lambda xy: np.stack([(xy[:, 0] - middle + 180) % 360 - 180 + middle, xy[:, 1]], axis=1),
    )


def _moved(shape: Any, mover: Any) -> Any:
    import shapely

    return shapely.transform(shape, mover.transform, interleaved=False)


def many(shape: object) -> MultiPolygon:
    """Return a geometry's polygons as one multipolygon."""
    import shapely

    return shapely.multipolygons(polygons_of(np.array([shape], object)))


def to_feature(cell: Cell) -> dict[str, Any]:
    """Return a job as a GeoJSON feature.

    Its geometry is where to look, its properties ``core`` what it answers for and ``area`` what its
    fields touch.
    """
    from shapely.geometry import mapping

    facts = {
        "name": cell.name,
        "crs": cell.crs,
        "km2": round(cell.km2, 4),
        "core": mapping(cell.core),
        "area": mapping(cell.area),
    }
    return {"type": "Feature", "properties": facts, "geometry": mapping(cell.seen)}
