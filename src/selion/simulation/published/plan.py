"""The planted fields: a mesh of parcels whose cells are farmed, parted, joined and given up."""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from pyproj import Transformer

from selion.simulation.published.nouns import UNDER_DETECTED, CopyOptions

LONLAT = "EPSG:4326"
FARMED, FALSE = 0.84, 0.05
"""Shares of the cells that are fields, and that only look like fields; the others are rough."""
MISSED = 0.45
"""Share of the fields that the maps of the under-detected year leave out."""
ASPECT = 0.78
JITTER = 0.16
"""Of a cell's edge."""
Half = tuple[int, int, int]
"""Column and row of a cell of the mesh, and 0 for its western half, 1 for its eastern one."""


@dataclass(frozen=True, slots=True)
class WideField:
    """A field over many cells."""

    seam: str
    """What it lies across."""
    columns: tuple[int, int]
    """Of cells; the last is not included."""
    rows: tuple[int, int]

    def holds(self, column: int, row: int) -> bool:
        """Say whether a cell belongs to it."""
        return self.columns[0] <= column < self.columns[1] and self.rows[0] <= row < self.rows[1]


@dataclass(frozen=True, slots=True)
class Parcel:
    """A piece of land in a year."""

    number: int
    """Of a planted field; negative for what only looks like a field."""
    halves: frozenset[Half]
    outline: Any
    """shapely polygon in metres of the plane."""
    likely: float
    """Probability of field inside."""
    seam: str = ""
    missed: bool = False


@dataclass(eq=False)
class Mesh:
    """Corners of the cells in the plane: shaken, so that fields are no rectangles."""

    columns: tuple[int, int]
    rows: tuple[int, int]
    x: np.ndarray = field(repr=False)
    """(row + 1, column + 1) metres."""
    y: np.ndarray = field(repr=False)

    def corner(self, column: float, row: int) -> tuple[float, float]:
        """Return a corner, or the middle between two of a row."""
        at, k = row - self.rows[0], column - self.columns[0]
        low, high = math.floor(k), math.ceil(k)
        return (
            float(self.x[at, low] + self.x[at, high]) / 2,
            float(self.y[at, low] + self.y[at, high]) / 2,
        )

    def half(self, one: Half) -> Any:
        """Return the outline of half a cell."""
        column, row, side = one
        west, east = column + side / 2, column + (side + 1) / 2
        ring = [(west, row), (east, row), (east, row + 1), (west, row + 1)]
        return shapely.Polygon([self.corner(*at) for at in ring])

    def outline(self, halves: frozenset[Half]) -> Any:
        """Return the outline of several halves."""
        return shapely.union_all([self.half(one) for one in sorted(halves)]).normalize()


@dataclass(frozen=True, slots=True)
class Planting:
    """All parcels of all years, in one plane."""

    crs: str
    """Equal-area round the centre."""
    parcels: dict[int, tuple[Parcel, ...]]
    """Year -> fields, and what only looks like fields."""

    def fields(self, year: int) -> tuple[Parcel, ...]:
        """Return the true fields of a year."""
        return tuple(one for one in self.parcels[year] if one.number > 0)

    def seen(self, year: int) -> tuple[Parcel, ...]:
        """Return what the maps of a year show."""
        return tuple(one for one in self.parcels[year] if not one.missed)


def plane(centre: tuple[float, float]) -> str:
    """Return the projection of the plane round a longitude and latitude."""
    return (
        f"+proj=laea +lat_0={centre[1]:.6f} +lon_0={centre[0]:.6f} +datum=WGS84 +units=m +no_defs"
    )


@cache
def transformer(source: str, target: str) -> Transformer:
    """Return a transformation with x before y; to find one takes longer than to use it."""
    return Transformer.from_crs(source, target, always_xy=True)


def moved(shapes: Sequence[Any], source: str, target: str) -> list[Any]:
    """Return geometries in another CRS, x before y."""
    to = transformer(source, target).transform
    return list(shapely.transform(np.array(shapes, object), to, interleaved=False))


def cell_edge(options: CopyOptions) -> float:
    """Return the width of a cell in metres."""
    return min(180.0, options.step / 7)


def wide_fields(options: CopyOptions) -> tuple[WideField, ...]:
    """Return the wide fields of a scene; seams cross at the origin of the plane."""
    dx = cell_edge(options)
    dy = dx * ASPECT
    wide, high = math.ceil(options.reach / dx), math.ceil(options.reach / dy)
    level = int(0.45 * options.step / dy)
    across = WideField(options.scene, (-wide, wide), (level, level + 2))
    upright = WideField(options.scene, (-2, 0), (-high, high))
    if options.scene == "plain":
        return ()
    if options.scene == "seam":
        beside = WideField("seam", (wide, wide + 1), (-high, high))
        corner = WideField("corner", (-2, 2), (-2, 2))
        return across, beside, corner
    if options.scene in ("zones", "norway"):
        return (
            WideField(options.scene, (-wide, wide), (1, 3)),
            WideField(options.scene, (-wide, wide), (-3, -1)),
        )
    return upright, WideField(options.scene, (1, 2), (-high, high))


def make_plan(
    options: CopyOptions, centre: tuple[float, float], box: tuple[float, float, float, float]
) -> Planting:
    """Plant fields in a box of the plane (west, south, east, north, metres)."""
    mesh = _mesh(options, box)
    lives = _lives(options, mesh)
    numbers: dict[frozenset[Half], int] = {}
    likely: dict[frozenset[Half], float] = {}
    outlines: dict[frozenset[Half], Any] = {}
    rng = np.random.default_rng([options.seed, 3])
    false = 0
    for halves, real, *_ in lives:
        if halves in numbers:
            continue
        outlines[halves] = mesh.outline(halves)
        draw = float(rng.beta(2.0, 2.0))
        if real:
            numbers[halves] = 1 + max((n for n in numbers.values() if n > 0), default=0)
            likely[halves] = 0.66 + 0.32 * draw
        else:
            false -= 1
            numbers[halves], likely[halves] = false, 0.55 + 0.25 * draw
    rng = np.random.default_rng([options.seed, 4])
    dull = {halves for halves, *_ in lives if rng.random() < MISSED}
    parcels = {}
    for year in options.years:
        parcels[year] = tuple(
            Parcel(
                numbers[halves],
                halves,
                outlines[halves],
                likely[halves],
                seam,
                missed=year == UNDER_DETECTED and real and not seam and halves in dull,
            )
            for halves, real, seam, first, last in lives
            if first <= year <= last
        )
    return Planting(plane(centre), parcels)


def _mesh(options: CopyOptions, box: tuple[float, float, float, float]) -> Mesh:
    dx = cell_edge(options)
    dy = dx * ASPECT
    columns = math.floor(box[0] / dx), math.ceil(box[2] / dx)
    rows = math.floor(box[1] / dy), math.ceil(box[3] / dy)
    at = np.meshgrid(
        np.arange(columns[0], columns[1] + 1) * dx, np.arange(rows[0], rows[1] + 1) * dy
    )
    rng = np.random.default_rng([options.seed, 1])
    shaken = [
        axis + rng.uniform(-JITTER, JITTER, axis.shape) * edge
        for axis, edge in zip(at, (dx, dy), strict=True)
    ]
    return Mesh(columns, rows, shaken[0], shaken[1])


Life = tuple[frozenset[Half], bool, str, int, int]
"""Where, whether it is a field, what it lies across, first and last year."""


def _lives(options: CopyOptions, mesh: Mesh) -> list[Life]:
    """Decide what each piece of land is, and when."""
    years = options.years
    wide = wide_fields(options)
    lives: list[Life] = [
        (
            frozenset(
                (column, row, side)
                for column in range(*one.columns)
                for row in range(*one.rows)
                for side in (0, 1)
            ),
            True,
            one.seam,
            years[0],
            years[-1],
        )
        for one in wide
    ]
    rng = np.random.default_rng([options.seed, 2])
    taken = set()
    for row in range(*mesh.rows):
        for column in range(*mesh.columns):
            kind, fate, when = rng.random(), rng.random(), int(rng.integers(0, 2**31))
            if (column, row) in taken or any(one.holds(column, row) for one in wide):
                continue
            beside = (column + 1, row)
            free = column + 1 < mesh.columns[1] and not any(one.holds(*beside) for one in wide)
            west, east = frozenset([(column, row, 0)]), frozenset([(column, row, 1)])
            cell = west | east
            if kind > FARMED + FALSE:
                continue
            if kind > FARMED:
                lives.append((cell, False, "", years[0], years[-1]))
                continue
            if fate < 0.08 and free:
                taken.add(beside)
                other = frozenset([(*beside, 0), (*beside, 1)])
                lives += _turned([cell, other], [cell | other], years, when)
            elif fate < 0.16:
                lives += _turned([cell], [west, east], years, when)
            elif fate < 0.21:
                lives += _turned([], [cell], years, when)
            elif fate < 0.26:
                lives += _turned([cell], [], years, when)
            else:
                lives.append((cell, True, "", years[0], years[-1]))
    return lives


def _turned(
    before: Sequence[frozenset[Half]],
    after: Sequence[frozenset[Half]],
    years: Sequence[int],
    when: int,
) -> list[Life]:
    """Return lives of which the former end and the latter begin in a year drawn by ``when``.

    Nothing happens into or out of the under-detected year, in which nobody could see it: a year
    later at the earliest.
    """
    turns = [
        k
        for k in range(1, len(years))
        if UNDER_DETECTED not in (years[k - 1], years[k]) or len(years) < 3
    ]
    if not turns:
        return [(halves, True, "", years[0], years[-1]) for halves in before or after]
    at = turns[when % len(turns)]
    return [(halves, True, "", years[0], years[at - 1]) for halves in before] + [
        (halves, True, "", years[at], years[-1]) for halves in after
    ]


def write_lineage(path: Path, plan: Planting) -> None:
    """Write what became of each planted field from year to year."""
    years = sorted(plan.parcels)
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(("year_from", "year_to", "from", "to", "outcome"))
        for one, two in itertools.pairwise(years):
            for row in _compared(plan.fields(one), plan.fields(two)):
                out.writerow((one, two, *row))


def _compared(
    before: Sequence[Parcel], after: Sequence[Parcel]
) -> list[tuple[int | str, int | str, str]]:
    owner = {half: one.number for one in after for half in one.halves}
    heirs = {one.number: sorted({owner[h] for h in one.halves if h in owner}) for one in before}
    parents: dict[int, set[int]] = {}
    for old, new in heirs.items():
        for number in new:
            parents.setdefault(number, set()).add(old)
    rows: list[tuple[int | str, int | str, str]] = []
    for old, new in heirs.items():
        if not new:
            rows.append((old, "", "gone"))
        for number in new:
            merged = len(parents[number]) > 1
            rows.append((old, number, "merged" if merged else "split" if len(new) > 1 else "kept"))
    rows += [("", one.number, "appeared") for one in after if one.number not in parents]
    return rows
