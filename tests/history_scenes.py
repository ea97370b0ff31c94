"""Nine years of fields that are drawn, with what became of each known by the drawing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from dataclasses import field as default
from pathlib import Path

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from change_scenes import write_year
from selion import fields

YEARS = tuple(range(2017, 2026))
CELL, SIDE = 24, 10
"""Pixels of a cell, and cells of an edge."""
GRID = GeoBox((CELL * SIDE, CELL * SIDE), Affine(10, 0, 600_000, 0, -10, 5_300_000), "EPSG:32633")
POOR = 2024
"""The year that finds only part of what there is."""

Cell = tuple[int, int]


@dataclass
class Planted:
    """What was drawn."""

    ids: dict[int, np.ndarray] = default(default_factory=dict)
    """(y, x) int32 by year: what the year's map has."""
    true: dict[int, np.ndarray] = default(default_factory=dict)
    """The same without what a year did not find."""
    events: Counter = default(default_factory=Counter)
    """(outcome, year, cell): fields."""
    hidden: set = default(default_factory=set)
    """(year, cell) of fields that a year did not find."""
    still: set = default(default_factory=set)
    """Cells in which nothing ever happens."""


def plant(seed: int = 1, *, poor: float = 0.4) -> Planted:
    """Draw nine years; each cell has one event at most."""
    draw = np.random.default_rng(seed)
    planted = Planted()
    pairs = [(r, c) for r in range(SIDE) for c in range(0, SIDE, 2)]
    chosen = [pairs[k] for k in draw.permutation(len(pairs))]
    happens: dict[Cell, tuple[str, int]] = {}
    # events of two cells side by side, then of single ones; none in the year that finds too little
    years = [year for year in YEARS[1:] if year != POOR]
    for k, (r, c) in enumerate(chosen[:6]):
        happens[(r, c)] = "merged", years[k % len(years)]
    for k, (r, c) in enumerate(chosen[6:30]):
        kind = ("split", "appeared", "gone")[k % 3]
        happens[(r, c + k % 2)] = kind, years[(k * 5) % len(years)]
    partners = {(r, c + 1) for (r, c), (kind, _) in happens.items() if kind == "merged"}
    cells = [(r, c) for r in range(SIDE) for c in range(SIDE)]
    planted.still = set(cells) - set(happens) - partners
    lone = sorted(planted.still)
    missed = {lone[int(k)] for k in draw.permutation(len(lone))[: int(poor * SIDE * SIDE)]}
    single = min(set(lone) - missed)
    planted.hidden = {(POOR, cell) for cell in missed} | {(2020, single)}
    for year in YEARS:
        _draw_year(planted, year, cells, happens, partners)
    return planted


def _draw_year(planted, year, cells, happens, partners) -> None:
    ids = np.zeros((CELL * SIDE, CELL * SIDE), np.int32)
    found = ids.copy()
    number = 0
    for cell in cells:
        if cell in partners and happens[(cell[0], cell[1] - 1)][1] <= year:
            continue
        kind, since = happens.get(cell, ("", 9999))
        for shape in _shapes(cell, kind, now=year >= since):
            number += 1
            ids[shape] = number
            if (year, cell) not in planted.hidden:
                found[shape] = number
            if kind and year == since and kind != "gone":
                planted.events[kind, year, cell] += 1
        if kind == "gone" and year == since:
            planted.events[kind, year, cell] += 1
    planted.true[year] = ids
    planted.ids[year] = np.unique(found, return_inverse=True)[1].reshape(ids.shape).astype(np.int32)


def _shapes(cell: Cell, kind: str, *, now: bool) -> list[tuple[slice, slice]]:
    top, left = cell[0] * CELL + 1, cell[1] * CELL + 1
    size = CELL - 2
    rows, columns = slice(top, top + size), slice(left, left + size)
    if kind == "merged" and now:
        return [(rows, slice(left, left + size + CELL))]
    if kind == "split" and now:
        half = size // 2
        return [
            (rows, slice(left, left + half)),
            (rows, slice(left + half + 1, left + size)),
        ]
    if (kind == "appeared" and not now) or (kind == "gone" and now):
        return []
    return [(rows, columns)]


def write_years(planted: Planted, folder: Path) -> list[Path]:
    """Write each year as ``selion map --scores`` would."""
    draw, given = np.random.default_rng(0), []
    for year in YEARS:
        given.append(write_year(folder / str(year), planted.ids[year], GRID, year=year))
        table = given[-1] / "fields.parquet"
        frame = fields.read_fields(table)
        frame["confidence"] = draw.uniform(0.5, 1, len(frame)).astype(np.float32)
        fields.write_fields(frame, table, fields.read_origin(table), force=True)
    return given


def cell_of(x: float, y: float) -> Cell:
    """Return the cell that a point in the grid's CRS lies in; of merged fields the left one."""
    column, row = ~GRID.transform * (x, y)
    return int(row // CELL), int((column - 1) // CELL)
