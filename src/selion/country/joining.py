"""From pieces to fields.

Pieces that belong together become one outline, with the record of the largest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from selion import fields
from selion.country.job_tables import with_column, with_shapes
from selion.country.noding import SNAP, kept_points, settled
from selion.country.seams import NONE, Seam, match, polygons_only, read_seam
from selion.country.territory import Territories
from selion.grid import LONLAT
from selion.progress import OnStep

if TYPE_CHECKING:
    import pyarrow as pa

HELD = 12
"""Borders of job tables that are kept in memory: a job table and its neighbours."""


@dataclass
class Tally:
    """What became of the rows along borders."""

    joined: int = 0
    """Fields made of two pieces or more."""
    cut: int = 0
    """Fields of which a part was taken away, because the neighbour sees something else there."""
    scraps: int = 0
    """Remnants that were dropped as too small."""
    scrap_area: float = 0.0
    """m2 of them."""


@dataclass(frozen=True, eq=False)
class Groups:
    """Which rows along the borders of all job tables are one field."""

    offsets: np.ndarray
    """(job tables + 1,) int64: number of each job table's first row."""
    group: np.ndarray
    """(rows,) int64."""
    home: np.ndarray
    """(groups,) int64: the first job table that has a row of the group."""
    cut: np.ndarray
    """(m, 2) int64 rows of which the second gives way to the first, by the second."""

    def members(self, job_table: int) -> np.ndarray:
        """Return the rows of all groups that are at home in a job table, ascending."""
        order, starts = self._sorted
        return order[starts[job_table] : starts[job_table + 1]]

    @property
    def _sorted(self) -> tuple[np.ndarray, np.ndarray]:
        return _by_home(self)


@lru_cache(maxsize=1)
def _by_home(groups: Groups) -> tuple[np.ndarray, np.ndarray]:
    home = groups.home[groups.group]
    order = np.argsort(home, kind="stable")
    return order, np.searchsorted(home[order], np.arange(len(groups.offsets)))


def group_rows(
    territories: Territories,
    sizes: list[int],
    load: Callable[[int], Seam],
    on_step: OnStep,
) -> Groups:
    """Match each job table with its neighbours, and bring together what is one field.

    A field is brought together over as many job tables as it reaches.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    offsets = np.cumsum([0, *sizes])
    same, cut = [NONE], [NONE]
    for first in range(len(sizes)):
        for second in territories.beside(first):
            if second > first:
                found = match(territories, first, second, load(first), load(second))
                start = offsets[[first, second]]
                same.append(found.same + start)
                cut.append(found.cut + start)
        on_step("seams", first + 1, 2 * len(sizes), "")
    pairs, count = np.concatenate(same), int(offsets[-1])
    graph = coo_array(
        (np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(count, count)
    )
    number, group = (
        connected_components(graph, directed=False) if count else (0, np.empty(0, np.int64))
    )
    home = np.full(number, len(sizes), np.int64)
    np.minimum.at(home, group, np.repeat(np.arange(len(sizes)), sizes))
    cuts = np.concatenate(cut)
    return Groups(offsets, group.astype(np.int64), home, cuts[np.lexsort((cuts[:, 0], cuts[:, 1]))])


@dataclass(frozen=True, eq=False)
class Borders:
    """The rows along the borders of all job tables, on disk."""

    paths: list[Path]

    def load(self, job_table: int) -> Seam:
        """Read those of one job table, or find them in memory."""
        return _held(self.paths[job_table])


@lru_cache(maxsize=HELD)
def _held(path: Path) -> Seam:
    return read_seam(path)


def forget() -> None:
    """Let go of what is held in memory."""
    _held.cache_clear()
    _by_home.cache_clear()


def join_rows(
    groups: Groups, sizes: list[int], load: Callable[[int], Seam], least: float, tally: Tally
) -> Iterator[pa.Table]:
    """Return the fields that are at home in each job table, one table each.

    New and changed outlines have an empty id.

    Parameters
    ----------
    groups : Groups
    sizes : list of int
        Rows along the border of each job table.
    load : callable
    least : float
        m2: remnants that are smaller are dropped.
    tally : Tally
        Is counted up.
    """
    for job_table in range(len(sizes)):
        rows = groups.members(job_table)
        if len(rows):
            yield _joined(_gathered(groups, load, rows), least, tally)


@dataclass(frozen=True, eq=False)
class GatheredPieces:
    """Rows of several job tables, those of which something is left."""

    table: pa.Table
    """Their records."""
    pieces: np.ndarray
    """(n,) what is left of their outlines."""
    clipped: np.ndarray
    """(n,) bool: whether that is less than the outline."""
    group: np.ndarray
    """(n,) int64."""
    kept: list[np.ndarray]
    """Of each piece the (k, 2) points that were in its outline, or in one that it gave way to."""


def _gathered(groups: Groups, load: Callable[[int], Seam], rows: np.ndarray) -> GatheredPieces:
    """Return what is left of rows of several job tables."""
    import pyarrow as pa
    import shapely

    owner = np.searchsorted(groups.offsets, rows, side="right") - 1
    tables, pieces, clipped, kept = [], [], [], []
    for one in np.unique(owner):
        seam, here = load(int(one)), rows[owner == one] - groups.offsets[one]
        tables.append(seam.table.take(pa.array(here)))
        left, less, rivals = _given_way(groups, load, seam, int(one), here)
        pieces.append(left)
        clipped.append(less)
        kept += [
            kept_points(piece, [outline, *beside])
            for piece, outline, beside in zip(left, seam.shapes[here], rivals, strict=True)
        ]
    left, less = np.concatenate(pieces), np.concatenate(clipped)
    some = ~shapely.is_empty(left)
    return GatheredPieces(
        pa.concat_tables(tables).filter(pa.array(some)),
        left[some],
        less[some],
        groups.group[rows][some],
        [points for points, there in zip(kept, some, strict=True) if there],
    )


def _given_way(
    groups: Groups, load: Callable[[int], Seam], seam: Seam, job_table: int, here: np.ndarray
) -> tuple[np.ndarray, np.ndarray, list[list[object]]]:
    """Return pieces without what earlier tables have.

    Also whether they are less than the outline, and the outlines of those that they gave way to.
    """
    import shapely

    pieces, clipped = seam.pieces[here].copy(), seam.clipped[here].copy()
    beside: list[list[object]] = [[] for _ in here]
    start = int(groups.offsets[job_table])
    low, high = np.searchsorted(groups.cut[:, 1], [start, start + len(seam.shapes)])
    cuts = groups.cut[low:high]
    for k in np.flatnonzero(np.isin(here + start, cuts[:, 1])):
        rivals = cuts[cuts[:, 1] == here[k] + start, 0]
        owners = np.searchsorted(groups.offsets, rivals, side="right") - 1
        found = [(load(int(s)), r - groups.offsets[s]) for s, r in zip(owners, rivals, strict=True)]
        shapes = [seam.pieces[row] for seam, row in found]
        beside[k] = [seam.shapes[row] for seam, row in found]
        pieces[k] = polygons_only(
            np.array([shapely.difference(pieces[k], shapely.union_all(shapes))], object)
        )[0]
        clipped[k] = True
    return pieces, clipped, beside


def _joined(found: GatheredPieces, least: float, tally: Tally) -> pa.Table:
    """Unite the pieces of each group."""
    import pyarrow as pa

    table, pieces = found.table, found.pieces
    _, group, count = np.unique(found.group, return_inverse=True, return_counts=True)
    whole = (count[group] == 1) & ~found.clipped
    rest = np.flatnonzero(~whole)
    if not len(rest):
        return table
    # within a group the largest first
    rest = rest[np.lexsort((-fields.measure(pieces[rest], LONLAT)[0], group[rest]))]
    starts = np.flatnonzero(np.diff(group[rest], prepend=-1))
    shapes, dropped = _united(pieces[rest], [found.kept[k] for k in rest], starts, least)
    area, perimeter = fields.measure(shapes, LONLAT)
    single = np.diff([*starts, len(rest)]) == 1
    dropped |= (area <= 0) | (single & (area < least))
    tally.joined += int((~single).sum())
    tally.cut += int(single[~dropped].sum())
    tally.scraps += int(dropped.sum())
    tally.scrap_area += float(area[dropped].sum())
    records = _records(table.take(pa.array(rest)), starts)
    for name, values in {
        "id": [""] * len(starts),
        "metrics:area": area,
        "metrics:perimeter": perimeter,
    }.items():
        records = with_column(records, name, values)
    records = with_shapes(records, shapes).select(table.column_names).filter(pa.array(~dropped))
    return pa.concat_tables([table.filter(pa.array(whole)), records.cast(table.schema)])


def _united(
    pieces: np.ndarray, kept: list[np.ndarray], starts: np.ndarray, least: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return outlines, and which are empty; parts that are too small to keep are gone."""
    import shapely

    stops = [*starts[1:].tolist(), len(pieces)]
    unions = [
        shapely.union_all(pieces[a:b], grid_size=SNAP) if b - a > 1 else pieces[a]
        for a, b in zip(starts.tolist(), stops, strict=True)
    ]
    shapes = polygons_only(np.array([*unions, None], object)[:-1])
    known = [np.concatenate(kept[a:b]) for a, b in zip(starts.tolist(), stops, strict=True)]
    shapes = settled(shapes, known)
    parts, owner = shapely.get_parts(shapes, return_index=True)
    size = fields.measure(parts, LONLAT)[0]
    largest = np.zeros(len(shapes))
    np.maximum.at(largest, owner, size)
    keep = (size >= least) | (size == largest[owner])
    for k in np.unique(owner[~keep]):
        shapes[k] = polygons_only(
            np.array([shapely.multipolygons(parts[(owner == k) & keep])], object)
        )[0]
    return shapely.orient_polygons(shapes), shapely.is_empty(shapes)


def _records(table: pa.Table, starts: np.ndarray) -> pa.Table:
    """Return one row per group: that of its first, largest piece.

    Confidence is the mean by area, the time that of the last image.
    """
    import pyarrow as pa

    out = table.take(pa.array(starts))
    if "confidence" in table.column_names:
        sure, weight = (
            table[name].to_numpy(zero_copy_only=False).astype(np.float64)
            for name in ("confidence", "metrics:area")
        )
        known = np.isfinite(sure) & np.isfinite(weight)
        total = np.add.reduceat(np.where(known, weight, 0), starts)
        mean = np.add.reduceat(np.where(known, weight * sure, 0), starts) / np.where(
            total > 0, total, np.nan
        )
        out = with_column(out, "confidence", np.minimum(mean, 1))
    if (name := "determination:datetime") in table.column_names:
        moments = table[name].to_numpy(zero_copy_only=False).astype("datetime64[ms]")
        out = with_column(out, name, np.fmax.reduceat(moments, starts))
    return out
