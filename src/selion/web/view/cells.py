"""Many fields from afar.

A grid of cells with their number and means, gathered in the background and kept for the next time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from selion import store
from selion.errors import SelionError
from selion.fields.mvt import EXTENT, TileLayer, squares
from selion.store.npy import HEADS
from selion.store.vectors import touching
from selion.web.view.chunks import Fields, RowGroupPlace
from selion.web.view.place import EARTH, WebTile

FINER = 5
"""A tile has 2^5 cells along its edge."""
MOST = 5000
"""Fields of a tile; where there are more, the largest are shown and the tile says so."""
FINEST = 16
"""Level of the finest cells that are gathered: 600 m at the equator."""
MOST_CELLS = 600_000
"""Cells of one file, about: 30 MB."""
LONG = 200_000
"""Cells gathered before they are summed up."""
BATCH = 120_000
"""Rows that are read at once."""
Keep = Callable[[np.ndarray, Mapping[str, np.ndarray]], np.ndarray]
"""(row, 4) boxes and column -> (row,) values -> (row,) bool: which rows are wanted."""


@dataclass(frozen=True, eq=False)
class Cells:
    """Sums over the fields whose middle lies in a cell.

    Cell (x, y) of a level is that tile of web mercator.
    """

    level: int
    keys: np.ndarray
    """(cell,) int64, y * 2^32 + x, rising."""
    count: np.ndarray
    """(cell,) float64."""
    sums: Mapping[str, tuple[np.ndarray, np.ndarray]]
    """Column -> (cell,) sums and numbers of known values."""

    def summed(self, level: int, keys: np.ndarray) -> Cells:
        """Sum up to other, fewer, keys; they need not rise."""
        order = np.argsort(keys, kind="stable")
        rising = keys[order]
        begins = (
            np.flatnonzero(np.append(True, rising[1:] != rising[:-1]))
            if len(rising)
            else np.zeros(0, np.int64)
        )

        def added(values: np.ndarray) -> np.ndarray:
            return np.add.reduceat(values[order], begins) if len(begins) else values[:0]

        return Cells(
            level,
            rising[begins],
            added(self.count),
            {name: (added(s), added(n)) for name, (s, n) in self.sums.items()},
        )

    def coarser(self, level: int) -> Cells:
        """Sum up to a coarser level."""
        down = self.level - level
        y, x = self.keys >> 32, self.keys & 0xFFFFFFFF
        return self.summed(level, (y >> down) << 32 | x >> down)


def join(parts: Sequence[Cells]) -> Cells:
    """Put cells of one level together."""
    names = parts[0].sums
    sums = {
        name: tuple(np.concatenate([part.sums[name][k] for part in parts]) for k in (0, 1))
        for name in names
    }
    loose = Cells(
        parts[0].level,
        np.concatenate([p.keys for p in parts]),
        np.concatenate([p.count for p in parts]),
        sums,  # type: ignore[arg-type]
    )
    return loose.summed(loose.level, loose.keys)


def gather(boxes: np.ndarray, table: Mapping[str, np.ndarray], level: int) -> Cells:
    """Sum up the fields of a chunk; those without a place on the map are left out."""
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    with np.errstate(invalid="ignore"):
        # on both sides of the antimeridian: not half around the world from it
        wide = boxes[:, 2] - boxes[:, 0]
        middle[(wide > EARTH) & (wide < 2.1 * EARTH), 0] = EARTH * (1 - 1e-9)
        cell = np.stack([middle[:, 0] + EARTH, EARTH - middle[:, 1]]) * ((1 << level) / (2 * EARTH))
        sound = ((cell >= 0) & (cell < 1 << level)).all(0)
    x, y = cell[:, sound].astype(np.int64)
    sums = {}
    for name, column in table.items():
        known = np.isfinite(column[sound])
        sums[name] = (np.where(known, column[sound], 0.0), known.astype(float))
    return Cells(level, y << 32 | x, np.ones(len(x)), sums).summed(level, y << 32 | x)


def detail_zoom(fields: Fields, most: int = MOST) -> int:
    """Return the zoom from which on tiles hold fields and no cells.

    From it on all but the densest tenth hold no more than ``most``.
    """
    rows = np.array([place.rows for place in fields.places], float)
    if rows.sum() <= most:
        return 0
    west, south, east, north = fields.boxes.T
    per_area = rows / np.maximum((east - west) * (north - south), 1.0)
    edge = np.sqrt(most / max(float(np.quantile(per_area, 0.9)), 1e-12))
    return int(np.clip(np.ceil(np.log2(2 * EARTH / edge)), 0, FINEST - FINER + 1))


def finest_level(fields: Fields, zoom: int) -> int:
    """Return the level of the finest cells.

    As fine as tiles show them, but no more than :data:`MOST_CELLS` of them.
    """
    west, south, east, north = fields.boxes.T
    covered = min(float(((east - west) * (north - south)).sum()), (2 * EARTH) ** 2)
    affordable = np.log2(2 * EARTH / np.sqrt(max(covered, 1.0) / MOST_CELLS))
    return int(max(min(max(zoom - 1, 0) + FINER, affordable), 1))


def batches(places: Sequence[RowGroupPlace]) -> Iterator[tuple[int, int]]:
    """Cut chunks into runs of one file that are worth reading at once."""
    begin, rows = 0, 0
    for k, place in enumerate(places):
        if k > begin and (place.file != places[begin].file or rows + place.rows > BATCH):
            yield begin, k
            begin, rows = k, 0
        rows += place.rows
    if places:
        yield begin, len(places)


class Overview:
    """The cells of some fields: gathered by a thread of its own, shown as far as they are.

    With ``keep``, of those rows only; these are not kept on disk, as a person asks for many.
    """

    def __init__(self, fields: Fields, zoom: int, key: str, keep: Keep | None = None) -> None:
        self.fields, self.level, self.keep = fields, finest_level(fields, zoom), keep
        self.done, self.failed = 0, ""
        self._place = store.cache_folder() / "cells" / f"{key}-{self.level}.npz"
        self._levels: dict[int, Cells] = {}
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="overview", daemon=True)

    def start(self, most: float = np.inf) -> None:
        """Begin to gather, or take what an earlier page of the same file has gathered.

        Of more than ``most`` rows nothing is gathered, and the page says so.
        """
        kept = None if self.keep else load_cells(self._place, self.level)
        if kept is not None:
            self._show(kept, len(self.fields.places))
        elif (rows := sum(place.rows for place in self.fields.places)) > most:
            self.failed = (
                f"{rows:,} fields on a server are not gathered for the view from afar (at most "
                f"{most:,.0f} are): boxes of their row groups are shown there; come nearer."
            )
        else:
            self._thread.start()

    def stop(self) -> None:
        """Stop gathering soon."""
        self._stop.set()

    @property
    def ready(self) -> bool:
        """Whether all is gathered."""
        return self.done >= len(self.fields.places)

    def _run(self) -> None:
        parts: list[Cells] = []
        try:
            for begin, end in batches(self.fields.places):
                if self._stop.is_set():
                    return
                parts.append(self._gathered(begin, end))
                if (
                    end == len(self.fields.places)
                    or len(parts) == 1
                    or sum(len(part.keys) for part in parts[1:]) > LONG
                ):
                    parts = [join(parts)]
                    self._show(parts[0], end)
            if self.keep is None:
                save_cells(self._place, parts[0])
        except SelionError as error:
            # what was gathered stays to be seen; the page says why there is no more
            self.failed = str(error)

    def _gathered(self, begin: int, end: int) -> Cells:
        boxes, table = self.fields.light(begin, end)
        if self.keep is not None:
            rows = self.keep(boxes, table)
            boxes, table = boxes[rows], {name: column[rows] for name, column in table.items()}
        return gather(boxes, table, self.level)

    def _show(self, cells: Cells, done: int) -> None:
        with self._lock:
            self._levels, self.done = {cells.level: cells}, done

    def total(self, column: str) -> tuple[int, float | None]:
        """Return how many fields were gathered, and the sum of a column; None without it."""
        cells, _ = self.at(self.level)
        if cells is None:
            return 0, None
        sums = cells.sums.get(column)
        return int(cells.count.sum()), None if sums is None else float(sums[0].sum())

    def at(self, level: int) -> tuple[Cells | None, int]:
        """Return the cells of a level, and how many chunks they hold."""
        with self._lock:
            if level not in self._levels and self._levels:
                self._levels[level] = self._levels[self.level].coarser(level)
            return self._levels.get(level), self.done

    def cut(self, tile: WebTile) -> TileLayer:
        """Return the cells of a tile; chunks that are not gathered yet are shown as their boxes."""
        cells, done = self.at(min(tile.z + FINER, self.level))
        parts = [] if cells is None else [cell_squares(cells, tile)]
        return join_squares([*parts, chunk_squares(self.fields, done, tile)])


def save_cells(place: Path, cells: Cells) -> None:
    """Keep cells in the person's cache folder.

    Where that cannot be done they are gathered again next time.
    """
    names = list(cells.sums)
    arrays = {
        f"{kind}{k}": cells.sums[name][j]
        for k, name in enumerate(names)
        for j, kind in enumerate(("sum", "known"))
    }
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with store.atomic_write(place, force=True) as temporary, temporary.open("wb") as out:
            np.savez(
                out,
                keys=cells.keys,
                count=cells.count,
                names=np.array(names, dtype=np.str_),
                **arrays,  # type: ignore[arg-type]
            )
    except (OSError, SelionError):
        return


def load_cells(place: Path, level: int) -> Cells | None:
    """Return cells that were kept, or None."""
    try:
        with HEADS, np.load(place, allow_pickle=False) as kept:
            names = kept["names"].tolist()
            sums = {name: (kept[f"sum{k}"], kept[f"known{k}"]) for k, name in enumerate(names)}
            return Cells(level, kept["keys"], kept["count"], sums)
    except (OSError, ValueError, KeyError, EOFError):
        return None


Squares = tuple[np.ndarray, Mapping[str, np.ndarray]]
"""(n, 4) left, top, right, bottom in units of a tile, and property -> (n,) float64."""


def cell_squares(cells: Cells, tile: WebTile) -> Squares:
    """Return the cells that lie in a tile."""
    down = cells.level - tile.z
    if down < 0:  # nearer than cells were gathered: one of them fills the tile
        at = np.flatnonzero(cells.keys == ((tile.y >> -down) << 32 | tile.x >> -down))
        return np.tile([0, 0, EXTENT, EXTENT], (len(at), 1)), cell_properties(cells, at)
    first, last = tile.x << down, (tile.x + 1) << down
    rows = np.arange(tile.y << down, (tile.y + 1) << down, dtype=np.int64)
    begins, ends = (
        np.searchsorted(cells.keys, rows << 32 | first),
        np.searchsorted(cells.keys, rows << 32 | last),
    )
    at = (
        np.concatenate([np.arange(b, e) for b, e in zip(begins, ends, strict=True)])
        if len(rows)
        else np.zeros(0, np.int64)
    )
    side = EXTENT >> down
    x, y = ((cells.keys[at] & 0xFFFFFFFF) - first) * side, ((cells.keys[at] >> 32) - rows[0]) * side
    return np.column_stack([x, y, x + side, y + side]), cell_properties(cells, at)


def cell_properties(cells: Cells, at: np.ndarray) -> dict[str, np.ndarray]:
    """Return number and means of some cells."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "n": cells.count[at],
            **{name: np.round(s[at] / n[at], 3) for name, (s, n) in cells.sums.items()},
        }


def chunk_squares(fields: Fields, done: int, tile: WebTile) -> Squares:
    """Return the boxes of chunks that are not gathered yet."""
    west, _, _, north = tile.box
    boxes = fields.boxes[done:]
    at = np.flatnonzero(touching(boxes, tile.box))[:MOST]
    units = (
        (boxes[at] - np.array([west, north, west, north]))
        * np.array([1, -1, 1, -1])
        * (EXTENT / tile.edge)
    )
    rows = np.array([fields.places[done + k].rows for k in at], float)
    return np.clip(units[:, [0, 3, 2, 1]], -256, EXTENT + 256), {
        "n": rows,
        "rough": np.ones(len(at)),
    }


def join_squares(parts: Sequence[Squares]) -> TileLayer:
    """Put squares together as a layer; properties that one part lacks are not known there."""
    names = dict.fromkeys(name for _, table in parts for name in table)
    table = {
        name: np.concatenate(
            [table.get(name, np.full(len(boxes), np.nan)) for boxes, table in parts]
        )
        for name in names
    }
    boxes = np.concatenate([boxes for boxes, _ in parts])
    return TileLayer(squares(boxes), table, numbers=np.arange(len(boxes)))
