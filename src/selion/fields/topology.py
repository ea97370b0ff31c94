"""How the outlines of a table lie to each other, and whether each is sound."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from selion.errors import GridMismatch
from selion.grid import metres_per_unit

if TYPE_CHECKING:
    import geopandas
    import pandas as pd

CHUNK = 50_000
"""Outlines whose neighbours are looked for at once."""
TOLERANCE = 1.0
"""m2 (px2 of a photograph) that two fields may share: coordinates are rounded where a table is
projected, and neighbours share their edges."""
NEARLY = 0.01
"""Share by which m2 of a CRS may differ from those on the ground; in UTM's zones it is 0.2 %."""
SHOWN = 3
"""Fields that a sentence names."""


@dataclass(frozen=True, slots=True)
class Topology:
    """What was found."""

    outlines: int
    empty: tuple[str, ...]
    """Names of fields without geometry, or of an empty one."""
    invalid: tuple[str, ...]
    """Those whose rings cross or touch themselves, with a reason."""
    overlaps: tuple[str, ...]
    """Pairs that share more than the tolerance, the largest first."""
    largest: float
    """The largest area that two fields share, in m2 or px2."""

    def faults(self, tolerance: float = TOLERANCE) -> Iterator[str]:
        """Yield a sentence for each kind of fault."""
        for what, found in (
            ("have no geometry", self.empty),
            ("are not valid", self.invalid),
            (f"pairs overlap by more than {tolerance:g} m2 (px2 of a photograph)", self.overlaps),
        ):
            if found:
                more = ", ..." if len(found) > SHOWN else ""
                yield f"{len(found):,} {what}: {', '.join(found[:SHOWN])}{more}."


def examine_topology(
    frame: geopandas.GeoDataFrame,
    tolerance: float = TOLERANCE,
    parts: np.ndarray | None = None,
) -> Topology:
    """Look for empty and broken outlines, and for fields that lie on one another.

    Parameters
    ----------
    frame : GeoDataFrame
        With ``id``, else its index names the fields.
    tolerance : float
        m2 that two fields may share; px2 without a CRS.
    parts : (row,) ndarray, optional
        Only fields of different parts are held against each other.

    Returns
    -------
    Topology
    """
    import shapely

    names = (frame["id"] if "id" in frame else frame.index.to_series()).astype(str).to_numpy()
    shapes = frame.geometry.to_numpy()
    bare = shapely.is_missing(shapes) | shapely.is_empty(shapes)
    sound = shapely.is_valid(shapes)
    why = shapely.is_valid_reason(shapes[~bare & ~sound])
    broken = [f"{name} ({text})" for name, text in zip(names[~bare & ~sound], why, strict=True)]
    left, right, areas = _overlaps(shapes, bare | ~sound, frame.crs, tolerance, parts)
    order = np.argsort(-areas, kind="stable")
    pairs = [f"{names[left[k]]} and {names[right[k]]} ({areas[k]:,.1f})" for k in order]
    return Topology(
        len(frame),
        tuple(names[bare]),
        tuple(broken),
        tuple(pairs),
        float(areas.max(initial=0.0)),
    )


def lonlat_outlines(table: pd.DataFrame) -> geopandas.GeoDataFrame:
    """Return a table whose column ``geometry`` has shapes in longitude and latitude as outlines."""
    import geopandas

    return geopandas.GeoDataFrame(table, geometry="geometry", crs="OGC:CRS84")


def _overlaps(
    shapes: np.ndarray,
    left_out: np.ndarray,
    crs: Any,
    tolerance: float,
    parts: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return pairs of rows that share more than the tolerance, and how much."""
    import shapely

    kept = np.flatnonzero(~left_out)
    tree = shapely.STRtree(shapes[kept])
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for start in range(0, len(kept), CHUNK):
        rows = kept[start : start + CHUNK]
        one, other = tree.query(shapes[rows], predicate="intersects")
        one, other = rows[one], kept[other]
        first = one < other
        if parts is not None:
            first &= parts[one] != parts[other]
        one, other = one[first], other[first]
        # most neighbours share edges only, which is seen without cutting
        inner = ~shapely.touches(shapes[one], shapes[other])
        one, other = one[inner], other[inner]
        area = shapely.area(shapely.intersection(shapes[one], shapes[other]))
        area *= _square_metres(crs, shapes[one])
        large = area > tolerance
        found.append((one[large], other[large], area[large]))
    if not found:
        return np.empty(0, int), np.empty(0, int), np.empty(0)
    one, other, areas = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return one, other, areas


def _square_metres(crs: Any, shapes: np.ndarray) -> np.ndarray:
    """Return how many m2 on the ground a unit of area is where each field lies; 1 in a photograph.

    Metres of a CRS need not be metres on the ground: Web Mercator's are half metres at 60 degrees.
    Where they nearly are (:data:`NEARLY`), and in a CRS of no place on the globe, they are taken at
    their word.
    """
    import shapely

    if crs is None or not len(shapes):
        return np.ones(len(shapes))
    per_unit = float(crs.axis_info[0].unit_conversion_factor)
    west, south, east, north = shapely.bounds(shapes).T
    scale: np.ndarray
    if crs.is_geographic:
        scale = (6_371_008.8 * per_unit) ** 2 * np.cos(np.deg2rad((south + north) / 2))
        return scale
    word = np.full(len(shapes), per_unit**2)
    try:
        metric = metres_per_unit(crs.to_wkt(), (west + east) / 2, (south + north) / 2)
    except GridMismatch:
        return word
    scale = np.abs(np.linalg.det(metric))
    return np.where(np.abs(scale / word - 1) > NEARLY, scale, word)
