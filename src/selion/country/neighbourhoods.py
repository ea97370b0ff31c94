"""The fields of two maps in one cell, with all that must be known to tell what became of them.

An outcome hangs on the whole group of fields that are related, and groups do not end where cells
do: what is read around a cell grows until no group that touches it goes on outside.  So the answer
for a field is the same whatever the cells, files and partitions are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from selion import fields
from selion.change.outcomes import Judged, OutcomeOptions, Side, judge, parts_of_graph
from selion.country.cells import FINE, degrees, hilbert, places_of, steps
from selion.country.job_tables import conformed, measured
from selion.country.lookup import Box, scan
from selion.country.partitions import Maps
from selion.country.seams import polygons_only, repaired
from selion.country.sorted_runs import boxes_of, place
from selion.fields.crossing import check_crossing
from selion.fields.projecting import centres
from selion.grid import LONLAT, metres_per_unit
from selion.metrics.overlap import OverlapTable
from selion.store.table_room import check_held

if TYPE_CHECKING:
    import pyarrow as pa
    from shapely.geometry.base import BaseGeometry

    Known = Callable[[Box], BaseGeometry | None]
    """Where both maps looked within a box of longitude and latitude; None: everywhere."""

MARGIN = 3e-6
"""Degrees around a field in which everything that may have its id lies: ids name a place to 1e-6
degrees."""
RIM = 0.003
"""Degrees that are read around a cell at first: few groups reach farther."""
NAME, SINCE = "followed:id", "followed:since"
"""Columns that are added to a map's own."""
COLLECTION = 7
"""Type of a geometry collection."""
BUSY = 200_000
"""Pairs of shapes that are cut at once."""


@dataclass(frozen=True, eq=False)
class MapSide:
    """One of the two maps."""

    maps: Maps
    label: str
    """Of the year."""
    schema: pa.Schema
    """Columns that are read: those of fiboa, its own, ``bbox`` and ``geometry``."""
    follows: bool = False
    """Whether it is the result of the step before: its fields go by ids that follow them, and those
    that are gone are left out."""
    used: Callable[[np.ndarray], set[str]] | None = None
    """Ids -> all ids that were ever given to fields at their places; None: those of this map."""


@dataclass(frozen=True, eq=False)
class LoadedFields:
    """Fields of one map around a cell, by id."""

    table: pa.Table
    """``id`` names a place inside the field; ``map_id`` is what the map calls it."""
    shapes: np.ndarray
    """(n,) valid shapely geometries in longitude and latitude."""
    boxes: np.ndarray
    """(n, 4) float64."""
    ids: np.ndarray
    """(n,) object: each is there once."""
    area: np.ndarray
    """(n,) float64 m2."""
    perimeter: np.ndarray
    """(n,) float64 m."""
    known: np.ndarray
    """(n,) float64 m2 where both maps looked."""
    names: np.ndarray
    """(n,) object: what they are called, ``ids`` or the ids that follow them."""
    since: np.ndarray
    """(n,) object: the year in which each name was first seen."""

    @property
    def side(self) -> Side:
        """What outcomes are told from, in m2 and m."""
        return Side(self.area, self.perimeter, self.known)

    @property
    def points(self) -> np.ndarray:
        """(n, 2) float64: longitude and latitude of a point inside each field."""
        x, y, _ = places_of(self.ids)
        return np.stack(degrees(x, y), axis=1)


@dataclass(frozen=True, eq=False)
class Neighbourhood:
    """What became of the fields around a cell; right for those of the cell itself."""

    before: LoadedFields
    after: LoadedFields
    judged: Judged
    mine: tuple[np.ndarray, np.ndarray]
    """(n,) and (m,) bool: the fields of the cell."""
    names: np.ndarray
    """(m,) object: ids that later fields get if they are new, unlike all earlier ones."""
    shift: np.ndarray
    """(k,) float64 m between the centroids of each related pair."""


def cell_of(boxes: np.ndarray) -> np.ndarray:
    """Return the cell in which the middle of each box lies, (n,) int64.

    Cells are geohashes of four characters, by their place on the curve.
    """
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    return hilbert(*steps(middle[:, 0], middle[:, 1]), order=FINE)


def judge_cell(
    sides: tuple[MapSide, MapSide],
    cell: int,
    around: Box,
    options: OutcomeOptions,
    pixel: float,
    known: Known | None = None,
) -> Neighbourhood:
    """Tell what became of the fields of a cell.

    Parameters
    ----------
    sides : pair of MapSide
        Earlier and later.
    cell : int
        See :func:`cell_of`.
    around : (west, south, east, north)
        Around all fields of the cell.
    options : OutcomeOptions
    pixel : float
        Metres of a pixel of the images that the maps were made from.
    known : callable, optional
        Box -> where both maps looked in it, None for everywhere; without it everywhere.
    """
    wanted = _wider(around, RIM)
    while True:
        before, after = (_load(side, wanted) for side in sides)
        seen = None
        if known is not None:
            seen = known(_around(np.concatenate([before.boxes, after.boxes]), wanted))
        if seen is not None:
            before, after = (_seen_alone(one, seen) for one in (before, after))
        _refuse_over_and_over(sides, before, after)
        judged, parts = _judged(before, after, options, pixel, seen)
        mine = cell_of(before.boxes) == cell, cell_of(after.boxes) == cell
        needed = np.isin(parts, np.unique(parts[np.concatenate(mine)]))
        boxes = np.concatenate([before.boxes, after.boxes])[needed]
        reach = _wider(_around(boxes, around), MARGIN)
        if _within(reach, wanted):
            used = set() if sides[0].used is None else sides[0].used(after.ids)
            names = _unlike(after.ids, set(before.names.tolist()) | used)
            return Neighbourhood(before, after, judged, mine, names, _shift(before, after, judged))
        wanted = _wider(_around(np.array([reach]), wanted), RIM)


def check_piles(sides: tuple[MapSide, MapSide], around: Box) -> None:
    """Refuse (BadInput) maps that hold the same outlines over and over, by a cell of theirs."""
    before, after = (_load(side, _wider(around, RIM)) for side in sides)
    _refuse_over_and_over(sides, before, after)


def _refuse_over_and_over(
    sides: tuple[MapSide, MapSide], before: LoadedFields, after: LoadedFields
) -> None:
    where = f"{sides[0].maps.folder} and {sides[1].maps.folder}"
    check_crossing(before.shapes, after.shapes, where)


def _wider(box: Box, by: float) -> Box:
    return box[0] - by, box[1] - by, box[2] + by, box[3] + by


def _within(box: Box, other: Box) -> bool:
    return box[0] >= other[0] and box[1] >= other[1] and box[2] <= other[2] and box[3] <= other[3]


def _around(boxes: np.ndarray, least: Box) -> Box:
    every = np.concatenate([boxes, [least]])
    low, high = every[:, :2].min(axis=0), every[:, 2:].max(axis=0)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def _seen_alone(loaded: LoadedFields, known: BaseGeometry) -> LoadedFields:
    """Return fields with what of them lies where both maps looked."""
    return replace(loaded, known=fields.measure(_inside(loaded.shapes, known), LONLAT)[0])


def _load(side: MapSide, box: Box) -> LoadedFields:
    """Read the fields whose boxes touch a box, in an order that only they decide."""
    import pyarrow as pa
    import shapely

    read = _followed if side.follows else _called
    tables = [read(_named(_own(table, side), side.schema), table) for table in _rows(side, box)]
    empty = side.schema.empty_table()
    table = pa.concat_tables(tables or [_called(_named(empty, side.schema), empty)])
    shapes = shapely.from_wkb(table["geometry"].to_numpy())
    boxes = boxes_of(table) if len(table) else np.zeros((0, 4))
    ids = np.array(table["id"].to_pylist(), object)
    shapes = repaired(shapes)
    area, perimeter = fields.measure(shapes, LONLAT)
    order = np.lexsort((perimeter, area, *boxes.T[::-1], ids.astype(str)))
    shapes, boxes, area, perimeter = shapes[order], boxes[order], area[order], perimeter[order]
    table, ids = table.take(pa.array(order)), _unlike(ids[order], set())
    said = [np.array(table[name].to_pylist(), object) for name in (NAME, SINCE)]
    return LoadedFields(
        table,
        shapes,
        boxes,
        ids,
        area,
        perimeter,
        area,
        said[0] if side.follows else ids,
        said[1] if side.follows else np.full(len(ids), side.label, object),
    )


def _rows(side: MapSide, box: Box) -> Iterator[pa.Table]:
    """Read the rows of a box; of the step before those that are there still."""
    import pyarrow.compute as pc

    for table in scan(side.maps, [box]):
        check_held(table, str(side.maps.folder))
        there = pc.not_equal(table["change:outcome"], "gone") if side.follows else None
        yield table if there is None else table.filter(there)


def _own(table: pa.Table, side: MapSide) -> pa.Table:
    """Give fields the ids of their own map back, which name a place inside them."""
    if not side.follows:
        return table
    number = table.column_names.index("id")
    return table.set_column(number, table.schema.field(number), table["change:map_id"])


def _followed(named: pa.Table, table: pa.Table) -> pa.Table:
    """Add what fields were called in the step before, and since when."""
    return _with_names(named, table["id"], table["change:since"])


def _called(named: pa.Table, _: pa.Table) -> pa.Table:
    """Add the same columns to a map of its own."""
    return _with_names(named, named["id"], named["id"])


def _with_names(table: pa.Table, names: Any, since: Any) -> pa.Table:
    import pyarrow as pa

    table = table.append_column(pa.field(NAME, pa.string()), names.cast(pa.string()))
    return table.append_column(pa.field(SINCE, pa.string()), since.cast(pa.string()))


def _named(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Give fields ids that name a place inside them; ``map_id`` keeps the map's own."""
    import pyarrow as pa

    table = measured(conformed(table, schema))
    found = place(table) if len(table) else table
    return found.select(schema.names).append_column(pa.field("map_id", pa.string()), table["id"])


def _unlike(ids: np.ndarray, used: set[str]) -> np.ndarray:
    """Give ids that are there twice, or are another's, a number.

    Fields with one stem lie at one place, so that what is read around each of them is enough.
    """
    taken, given, out = set(ids.tolist()) | used, set(used), ids.copy()
    first: dict[str, int] = {}
    for k, name in enumerate(ids):
        if name in given:
            stem = name.partition("-")[0]
            number = first.get(stem, 2)  # what was taken stays so: no number is tried twice
            while (name := f"{stem}-{number}") in taken:
                number += 1
            first[stem] = number + 1
            taken.add(name)
        given.add(name)
        out[k] = name
    return out


def _inside(shapes: np.ndarray, known: BaseGeometry) -> np.ndarray:
    """Cut (n,) shapes at the edge of what is known."""
    import shapely

    shapely.prepare(known)
    across = ~shapely.covers(known, shapes)
    cut = shapes.copy()
    cut[across] = polygons_only(shapely.intersection(shapes[across], known))
    return cut


def _judged(
    before: LoadedFields,
    after: LoadedFields,
    options: OutcomeOptions,
    pixel: float,
    known: BaseGeometry | None,
) -> tuple[Judged, np.ndarray]:
    """Return outcomes, and the group that each field is in, earlier ones first."""
    one, other, shared = shared_areas(before.shapes, after.shapes, known)
    count, more = len(before.ids), len(after.ids)
    table = OverlapTable(
        np.arange(1, count + 1),
        before.known,
        np.arange(1, more + 1),
        after.known,
        np.zeros(more),
        one,
        other,
        shared,
    )
    judged = judge(table, before.side, after.side, options, pixel=pixel)
    return judged, parts_of_graph(judged.pairs.one, judged.pairs.other, count, more)


def shared_areas(
    one: np.ndarray, other: np.ndarray, known: BaseGeometry | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Measure what the fields of two maps share.

    Parameters
    ----------
    one, other : (n,) and (m,) object ndarray
        Valid polygons in longitude and latitude.
    known : geometry, optional
        Only what lies inside counts.

    Returns
    -------
    first, second : (k,) int64 ndarray
        Rows of the two, sorted; only pairs that share an area.
    shared : (k,) float64 ndarray
        m2 on the ellipsoid.
    """
    import shapely

    second, first = shapely.STRtree(one).query(other, predicate="intersects")
    order = np.lexsort((second, first))
    first, second = first[order].astype(np.int64), second[order].astype(np.int64)
    found = [np.zeros(0)]
    for start in range(0, len(first), BUSY):
        a, b = one[first[start : start + BUSY]], other[second[start : start + BUSY]]
        common = shapely.intersection(a, b)
        # most neighbours share a line or a point only; few share both an area and a line
        mixed = shapely.get_type_id(common) == COLLECTION
        common[mixed] = polygons_only(common[mixed])
        common = common if known is None else _inside(common, known)
        areas, there = np.zeros(len(common)), shapely.area(common) > 0
        areas[there] = fields.measure(common[there], LONLAT)[0]
        found.append(areas)
    shared = np.concatenate(found)
    return first[shared > 0], second[shared > 0], shared[shared > 0]


def _shift(before: LoadedFields, after: LoadedFields, judged: Judged) -> np.ndarray:
    one, other = before.shapes[judged.pairs.one - 1], after.shapes[judged.pairs.other - 1]
    if not len(one):
        return np.zeros(0)
    middle = [centres(shapes) for shapes in (one, other)]
    metric = metres_per_unit(LONLAT, middle[0][:, 0], middle[0][:, 1])
    away = middle[1] - middle[0]
    away[:, 0] -= 360 * np.round(away[:, 0] / 360)  # the short way around
    return np.linalg.norm(np.einsum("nij,nj->ni", metric, away), axis=1)


def joined_ids(names: Sequence[str], owner: np.ndarray, count: int) -> list[str]:
    """Join the names of each owner by spaces; names come sorted by owner."""
    ends = np.searchsorted(owner, np.arange(count + 1))
    return [" ".join(names[ends[k] : ends[k + 1]]) for k in range(count)]
