"""Fields that a border between two job tables cuts or that both have seen.

Which are one, and what becomes of them.

Each job table is clipped to what it answers for, so nothing is there twice and no area is lost or
gained; then the pieces of one field are joined again.  Two outlines are one field if they agree
where both job tables looked: intersection over union above one half, so each has at most one
partner per neighbour and no chain of fields can form along a border.  Beyond all cores, and
everywhere for job tables that nobody planned, the earlier keeps what two fields both have.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from selion import store
from selion.country.territory import Territories
from selion.fields.crossing import check_crossing

if TYPE_CHECKING:
    import pyarrow as pa
    from shapely.geometry.base import BaseGeometry

AGREE = 0.5
"""Least intersection over union of two outlines of one field, where both job tables looked."""
PIECE, CLIPPED = "piece", "clipped"


@dataclass(frozen=True, eq=False)
class Seam:
    """The fields of one job table along its border."""

    table: pa.Table
    """Rows as in the job table."""
    shapes: np.ndarray
    """(n,) shapely outlines as the job table saw them."""
    pieces: np.ndarray
    """(n,) and what of them lies where the job table answers."""
    clipped: np.ndarray
    """(n,) bool: whether these differ."""
    kind: np.ndarray
    """(n,) str class."""


def find_pieces(table: pa.Table, other: BaseGeometry | None) -> tuple[pa.Table, int]:
    """Clip rows along a job table's border.

    Parameters
    ----------
    table : Table
        Rows of a job table.
    other : geometry, optional
        What others answer for.

    Returns
    -------
    Table
        With two more columns, the piece and whether it is one; rows of which nothing is left are
        gone.
    int
        How many those were: another job table has them.
    """
    import pyarrow as pa
    import shapely

    shapes = repaired(shapely.from_wkb(table["geometry"].to_numpy()))
    if other is None:
        clipped = np.zeros(len(shapes), bool)
        pieces = shapes
    else:
        shapely.prepare(other)
        clipped = shapely.intersects(other, shapes) & ~shapely.touches(other, shapes)
        pieces = shapes.copy()
        pieces[clipped] = polygons_only(shapely.difference(shapes[clipped], other))
    left = ~shapely.is_empty(pieces)
    table = table.append_column(PIECE, pa.array(shapely.to_wkb(pieces), pa.binary())).append_column(
        CLIPPED, pa.array(clipped)
    )
    return table.filter(pa.array(left)), int((~left).sum())


def repaired(shapes: np.ndarray) -> np.ndarray:
    """Make (n,) shapes valid, those that are not."""
    import shapely

    broken = ~shapely.is_valid(shapes)
    if broken.any():
        shapes = shapes.copy()
        shapes[broken] = polygons_only(
            shapely.make_valid(shapes[broken], method="structure", keep_collapsed=False)
        )
    return shapes


def polygons_only(shapes: np.ndarray) -> np.ndarray:
    """Drop lines and points from (n,) geometries; a single polygon is no multipolygon."""
    import shapely

    out = np.array(shapes, object)
    for k in np.flatnonzero(shapely.get_type_id(shapes) != POLYGON):
        shape = shapes[k]
        parts = shapely.get_parts(shape)
        parts = [part for part in parts if part.geom_type == "Polygon" and not part.is_empty]
        out[k] = parts[0] if len(parts) == 1 else shapely.multipolygons(np.array(parts, object))
    return out


def write_seam(path: Path, tables: list[pa.Table]) -> None:
    """Keep the rows along a job table's border."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with store.atomic_write(path, force=True) as temporary:
        pq.write_table(pa.concat_tables(tables), temporary, compression="lz4")


def read_seam(path: Path) -> Seam:
    """Read what :func:`write_seam` wrote."""
    import pyarrow.parquet as pq
    import shapely

    table = pq.read_table(path)
    shapes, pieces = (shapely.from_wkb(table[name].to_numpy()) for name in ("geometry", PIECE))
    clipped = table[CLIPPED].to_numpy()
    kind = np.array(
        ["" if name is None else name for name in table["class"].to_pylist()]
        if "class" in table.column_names
        else [""] * len(table),
        object,
    )
    return Seam(table.drop_columns([PIECE, CLIPPED]), shapes, pieces, clipped, kind)


@dataclass(frozen=True, eq=False)
class SeamPairs:
    """What two job tables have in common."""

    same: np.ndarray
    """(n, 2) int64 rows of the one and the other that are one field."""
    cut: np.ndarray
    """(m, 2) int64 rows that are two fields of which the second gives way to the first."""


POLYGON = 3
"""GEOS's number of the type."""
NONE = np.empty((0, 2), np.int64)
SPECK = 1e-12
"""Square degrees, a square decimetre: what two pieces share by rounding along a border is less."""


def match(territories: Territories, first: int, second: int, one: Seam, other: Seam) -> SeamPairs:
    """Find which fields of two neighbours are one.

    Parameters
    ----------
    territories : Territories
    first, second : int
        Numbers of two job tables.
    one, other : Seam
        Their rows along the border.
    """
    import shapely

    if not (len(one.shapes) and len(other.shapes)):
        return SeamPairs(NONE, NONE)
    a, b = (territories.job_tables[number].job for number in (first, second))
    if a is None or b is None:
        return _by_order(one, other)
    return _by_overlap(one, other, shapely.intersection(a.seen, b.seen))


def _crossing(one: Seam, other: Seam) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs (i, j) of outlines that share something, in their order."""
    import shapely

    check_crossing(one.shapes, other.shapes, "two tables, where both have fields,")
    i, j = shapely.STRtree(other.shapes).query(one.shapes, predicate="intersects")
    order = np.lexsort((j, i))
    return i[order], j[order]


def _by_overlap(one: Seam, other: Seam, zone: BaseGeometry) -> SeamPairs:
    """Pairs that overlap enough where both jobs had pixels.

    Of two others the later gives way, where neither's core is.
    """
    import shapely

    shapely.prepare(zone)
    i, j = _crossing(one, other)
    a, b = _within(one.shapes, zone)[i], _within(other.shapes, zone)[j]
    shared = shapely.area(shapely.intersection(a, b))
    union = shapely.area(a) + shapely.area(b) - shared
    same = (shared > AGREE * union) & (one.kind[i] == other.kind[j])
    both = np.zeros(len(i), bool)
    both[~same] = (
        shapely.area(shapely.intersection(one.pieces[i[~same]], other.pieces[j[~same]])) > SPECK
    )
    pairs = np.column_stack([i, j]).astype(np.int64)
    return SeamPairs(pairs[same], pairs[both])


def _within(shapes: np.ndarray, zone: BaseGeometry) -> np.ndarray:
    import shapely

    out = shapes.copy()
    across = ~shapely.covers(zone, shapes)
    out[across] = shapely.intersection(shapes[across], zone)
    return out


def _by_order(one: Seam, other: Seam) -> SeamPairs:
    """Pairs of two tables that nobody planned.

    One field where the smaller lies in the larger by more than half, else the later gives way.
    """
    import shapely

    i, j = _crossing(one, other)
    shared = shapely.area(shapely.intersection(one.shapes[i], other.shapes[j]))
    smaller = np.minimum(shapely.area(one.shapes)[i], shapely.area(other.shapes)[j])
    same = (shared > AGREE * smaller) & (one.kind[i] == other.kind[j])
    pairs = np.column_stack([i, j]).astype(np.int64)
    return SeamPairs(pairs[same], pairs[~same & (shared > 0)])
