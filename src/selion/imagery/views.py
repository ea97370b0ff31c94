"""One chosen scene as a composite looks at it.

Where it is clear, and its bands as reflectance, on the grid of the tile's part.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numba import njit
from odc.geo.geobox import GeoBox

from selion.errors import GridMismatch
from selion.grid import Roi, inside, pad_roi, roi_shape
from selion.imagery.clouds import SCL, clear, delivered
from selion.imagery.scene import Scene
from selion.imagery.sensors import Mask
from selion.raster import Source

if TYPE_CHECKING:
    from selion.imagery.reflectance import Radiometry

CELLS = 2
"""Cells of the scene classification that a view remembers: the one in work and the one read
ahead."""
NUMBERS = np.arange(65536, dtype=np.uint16)
"""Every digital number."""


class Band(Source, Protocol):
    """A file of a scene."""

    def close(self) -> None:
        """Give back what an open file holds; the next read opens it again."""
        ...


OpenBand = Callable[[Scene, str], Band]
"""How a band of a scene is opened."""


@dataclass(frozen=True, slots=True)
class ClearRule:
    """When a pixel counts as seen."""

    excluded: frozenset[int]
    """Classes of the mask that do not."""
    margin: float = 0.0
    """Metres around cloud and shadow that do not either."""
    mask: Mask = SCL
    """What the classes mean."""


@dataclass(frozen=True, slots=True)
class ViewAxis:
    """Where the pixels of our grid lie on another one along one axis.

    The centre ``k + 0.5`` of ours is ``(k + 0.5) * step + offset`` of theirs.
    """

    step: float
    offset: float
    size: int
    """Pixels of theirs."""

    @property
    def whole(self) -> bool:
        """Whether each of our pixels is one of theirs."""
        return abs(self.step - 1) < 1e-6 and abs(self.offset - round(self.offset)) < 0.01

    def nearest(self, part: slice) -> np.ndarray:
        """Return for each of our pixels theirs that holds its centre; it may lie outside of 0 ...

        Size - 1.
        """
        return np.floor(
            (np.arange(part.start, part.stop) + 0.5) * self.step + self.offset + 1e-6
        ).astype(np.int64)


@dataclass(frozen=True, slots=True)
class ViewPlacement:
    """Where our grid lies on another one; pixels are found by nearest neighbour."""

    axes: tuple[ViewAxis, ViewAxis]
    """Along y and along x."""

    @classmethod
    def of(cls, ours: GeoBox, theirs: GeoBox, name: str) -> ViewPlacement:
        """Say where our grid lies on theirs.

        Raises
        ------
        GridMismatch
            If they have different CRS.
        """
        if ours.crs != theirs.crs:
            raise GridMismatch(
                f"{name} lies in {theirs.crs}, the tile in {ours.crs}: the item is broken, or of "
                "another tile."
            )
        a, b = ours.transform, theirs.transform
        return cls(
            (
                ViewAxis(a.e / b.e, (a.f - b.f) / b.e, theirs.shape[0]),
                ViewAxis(a.a / b.a, (a.c - b.c) / b.a, theirs.shape[1]),
            )
        )

    def frame(self, roi: Roi) -> Roi | None:
        """Return the region of theirs that a region of ours touches; None if it lies beyond."""
        rows, columns = (
            _extent(axis.nearest(part), axis.size)
            for axis, part in zip(self.axes, roi, strict=True)
        )
        return (rows, columns) if rows and columns else None

    def indexes(self, roi: Roi, frame: Roi) -> tuple[np.ndarray, np.ndarray]:
        """Return for the rows and columns of a region of ours those of ``frame`` that they see.

        -1 beyond it.
        """
        rows, columns = (
            _within(axis.nearest(part), known)
            for axis, part, known in zip(self.axes, roi, frame, strict=True)
        )
        return rows, columns


@dataclass(frozen=True, eq=False, slots=True)
class ViewCell:
    """Where a scene is clear in a part of the tile, as it lies in the file."""

    placement: ViewPlacement
    frame: Roi
    """Of the file."""
    seen: np.ndarray
    """(y, x / 8) uint8: the frame's pixels as bits, for there is one of these per scene."""

    def indexes(self, roi: Roi) -> tuple[np.ndarray, np.ndarray]:
        """Return for the rows and columns of a region of our grid those of ``seen``.

        -1 beyond it.
        """
        return self.placement.indexes(roi, self.frame)

    def count(self, roi: Roi) -> int:
        """Return the number of clear pixels of a region of our grid."""
        size = roi_shape(self.frame)
        down, across = (
            np.bincount(index[index >= 0], minlength=length)
            for index, length in zip(self.indexes(roi), size, strict=True)
        )
        return int(down @ (np.unpackbits(self.seen, axis=1, count=size[1]) @ across))


@dataclass(eq=False)
class SceneView:
    """A scene on the grid of a tile's part.

    Not thread-safe: a composite gives each view to one thread.  Where the scene is clear is read by
    cells of several blocks and kept at the resolution of the classification, so that each tile of
    that file is decoded once.  One band at most is open at a time: an open file holds the tile that
    was read last and some of GDAL's cache, and a composite would have a hundred of them.
    """

    scene: Scene
    radiometry: Radiometry
    grid: GeoBox
    rule: ClearRule
    open_band: OpenBand
    keep_open: bool = True
    """Whether a file stays open until another band is read: opening a local one again takes a
    millisecond, a remote one a request."""
    _open: tuple[str, Band, ViewPlacement] | None = None
    _closed: dict[str, tuple[Band, ViewPlacement]] = field(default_factory=dict)
    """Where files do not stay open: those whose heads are known, closed."""
    _cells: dict[tuple[int, int], ViewCell] = field(default_factory=dict)
    _table: np.ndarray | None = None

    def clear_pixels(self, rois: Sequence[Roi], cell: Roi) -> list[int]:
        """Return how many pixels of each of some regions of ``cell`` show the ground.

        Raises
        ------
        UnreadableFile, FetchFailed, GridMismatch
            If the scene classification cannot be read, or lies elsewhere.
        """
        while len(self._cells) >= CELLS:
            del self._cells[next(iter(self._cells))]
        known = self._cells[cell[0].start, cell[1].start] = self._read_cell(cell)
        return [known.count(roi) for roi in rois]

    def read(self, band: str, roi: Roi, cell: Roi, out: np.ndarray) -> None:
        """Put (y, x) reflectance x 10000 of a region into ``out``.

        It is uint16, 0 = not clear or no data; ``cell`` is one of the last asked for.

        Raises
        ------
        UnreadableFile, FetchFailed, GridMismatch
            If the band cannot be read, or lies elsewhere.
        """
        source, placement = self._band(band)
        frame = placement.frame(roi)
        if frame is None:
            out[:] = 0
            return
        known = self._cells[cell[0].start, cell[1].start]
        numbers = self._numbers(source, frame)
        if numbers.dtype == np.uint16:
            _lay(
                numbers,
                self._reflectance(),
                *placement.indexes(roi, frame),
                known.seen,
                *known.indexes(roi),
                out,
            )
        else:
            _lay(
                self.radiometry(numbers),
                NUMBERS,
                *placement.indexes(roi, frame),
                known.seen,
                *known.indexes(roi),
                out,
            )

    def _reflectance(self) -> np.ndarray:
        """Return the reflectance of every digital number.

        Looking it up takes less time and memory than computing it.
        """
        if self._table is None:
            self._table = self.radiometry(NUMBERS)
        return self._table

    def _read_cell(self, cell: Roi) -> ViewCell:
        source, placement = self._opened(self.rule.mask.band)
        frame = placement.frame(cell)
        if frame is None:
            return ViewCell(placement, (slice(0, 0), slice(0, 0)), np.zeros((0, 0), np.uint8))
        gsd = abs(source.grid.transform.a)
        wide = pad_roi(
            frame,
            math.ceil(self.rule.margin / gsd),
            (placement.axes[0].size, placement.axes[1].size),
        )
        rule = self.rule
        values = self._numbers(source, wide)
        seen = clear(values, rule.excluded, rule.margin, gsd, rule.mask)
        seen &= delivered(values, rule.mask)
        return ViewCell(placement, frame, np.packbits(seen[inside(frame, wide)], axis=1))

    def _band(self, band: str) -> tuple[Band, ViewPlacement]:
        if self._open is None or self._open[0] != band:
            self._open = None  # closed before the next one is opened
            source, placement = self._opened(band)
            if not all(axis.whole for axis in placement.axes):
                raise GridMismatch(
                    f"{band} of {self.scene.id} does not lie on the "
                    f"{self.grid.transform.a:g} m pixels of tile "
                    f"{self.scene.tile}: the item is broken, or of another resolution."
                )
            self._open = band, source, placement
        return self._open[1:]

    def _opened(self, band: str) -> tuple[Band, ViewPlacement]:
        if band in self._closed:
            return self._closed[band]
        source = self.open_band(self.scene, band)
        opened = source, ViewPlacement.of(self.grid, source.grid, f"{band} of {self.scene.id}")
        if not self.keep_open:
            self._closed[band] = opened
        return opened

    def _numbers(self, source: Band, frame: Roi) -> np.ndarray:
        numbers = source.read(frame).values[0]
        if not self.keep_open:
            source.close()
        return numbers


def _extent(index: np.ndarray, size: int) -> slice | None:
    """Return what an increasing index covers of 0 ... size - 1."""
    first, last = max(int(index[0]), 0), min(int(index[-1]), size - 1)
    return slice(first, last + 1) if first <= last else None


def _within(index: np.ndarray, known: slice) -> np.ndarray:
    return np.where((index >= known.start) & (index < known.stop), index - known.start, -1)


# Compiled: two lookups, a bit and a store per pixel; fancy indexes would make three temporaries of
# the block for each scene.  Pixels do not depend on each other.
@njit(cache=True, nogil=True)
def _lay(values, table, rows, columns, seen, seen_rows, seen_columns, out):  # type: ignore[no-untyped-def]  # numba types it  # noqa: ANN001, ANN202
    """Lay the table's entries of ``values`` on ``out`` where the bits of ``seen`` are set.

    Both are found by their rows and columns, of which -1 means none.
    """
    height, width = out.shape
    for y in range(height):
        if rows[y] < 0 or seen_rows[y] < 0:
            out[y] = 0
            continue
        for x in range(width):
            at = seen_columns[x]
            shown = (
                columns[x] >= 0 and at >= 0 and (seen[seen_rows[y], at >> 3] >> (7 - (at & 7))) & 1
            )
            out[y, x] = table[values[rows[y], columns[x]]] if shown else 0
