"""One pass over one tile, written: five COGs, and the numbers from which its item is made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

import numpy as np
from odc.geo.geobox import GeoBox

from selion import store
from selion.raster import Sink
from selion.simulation.archive.footprint import seen_outline
from selion.simulation.archive.layouts import NUMBERS
from selion.simulation.archive.nouns import BANDS
from selion.simulation.archive.paint import Sky, clear_sky, count_clear, paint
from selion.simulation.archive.passes import Pass
from selion.simulation.archive.tiling import Tile
from selion.simulation.archive.world import CELL, World
from selion.simulation.landscape.noise import Textures

STRIP = 16 * CELL
"""Rows that are in memory at once."""
LEAST = 0.005
"""Share of a tile that a swath must cover for a product to be made."""
SMALLEST_BLOCK = 128
"""Edge of the smallest COG tile that GDAL knows; small images have small ones, so that they have
overviews as large ones do."""


@dataclass(frozen=True, eq=False)
class Studio:
    """What all scenes are painted from."""

    world: World
    textures: Textures
    lattices: Mapping[str, np.ndarray]
    """Tile -> where its pixels lie in the world."""
    block: int
    """Largest COG tile."""


@dataclass(eq=False)
class PassTally:
    """How often each cell of a tile was clear in a season; several passes add to it at a time."""

    counts: np.ndarray
    """(y, x) uint8 on the grid of the scene classification."""
    _lock: Lock = field(default_factory=Lock)

    def add(self, rows: slice, scl: np.ndarray) -> None:
        """Count a strip of a classification."""
        with self._lock:
            count_clear(scl, self.counts[rows])


def coarse(grid: GeoBox) -> GeoBox:
    """Return the grid of the scene classification: pixels of twice the size."""
    return grid.zoom_out(2)


def block_of(size: int, largest: int) -> int:
    """Return the COG tile for an image of ``size`` px.

    A power of two that leaves room for two overviews.
    """
    return int(min(largest, max(SMALLEST_BLOCK, 2 ** int(np.log2(max(size / 4, 1))))))


def strips(
    studio: Studio, tile: Tile, season: int, sky: Sky
) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Paint a tile from top to bottom: rows, (4, y, x) digital numbers, (y / 2, x / 2) classes."""
    height, width = tile.grid.shape
    lattice = studio.lattices[tile.name]
    for first in range(0, height, STRIP):
        last = min(first + STRIP, height)
        part = np.ascontiguousarray(
            lattice[:, first // CELL : first // CELL + (last - first + CELL - 1) // CELL + 1]
        )
        yield (
            slice(first, last),
            *paint(
                studio.world.seasons[season],
                part,
                first,
                (last - first, width),
                sky,
                studio.textures,
            ),
        )


def write_truth(studio: Studio, tile: Tile, season: int, path: Path) -> Path:
    """Write a tile without clouds: red, green, blue, nir in one COG."""
    block = block_of(max(tile.grid.shape), studio.block)
    with store.create_cog(
        path, tile.grid, BANDS, "uint16", nodata=0, overviews="average", block=block
    ) as sink:
        for rows, values, _ in strips(studio, tile, season, clear_sky()):
            sink.write((rows, slice(0, tile.grid.shape[1])), values)
    return path


def write_clear(path: Path, grid: GeoBox, tally: PassTally, block: int) -> Path:
    """Write how often each cell was clear."""
    with store.create_cog(
        path, grid, ("clear",), "uint8", block=block_of(max(grid.shape), block)
    ) as sink:
        sink.write((slice(0, grid.shape[0]), slice(0, grid.shape[1])), tally.counts[None])
    return path


def sees(studio: Studio, tile: Tile, taken: Pass) -> bool:
    """Say whether a pass sees enough of a tile for a product to be made of it."""
    return bool(
        seen_outline(studio.world, tile.grid, taken.swath).area
        >= LEAST * tile.grid.shape[0] * tile.grid.shape[1]
    )


def write_scene(
    studio: Studio,
    tile: Tile,
    season: int,
    sky: Sky,
    folder: Path,
    tally: PassTally | None = None,
    placed: Callable[[GeoBox], GeoBox] = lambda grid: grid,
) -> np.ndarray:
    """Write the bands and the scene classification of a pass over a tile.

    Parameters
    ----------
    folder : path
        Gets ``B04.tif``, ``B03.tif``, ``B02.tif``, ``B08.tif`` and ``SCL.tif``.
    tally : PassTally, optional
        Counts the clear cells.
    placed : callable, optional
        The grid that the files claim to lie on.

    Returns
    -------
    (12,) int64 ndarray
        Cells of each class.
    """
    cells = np.zeros(12, np.int64)
    with ExitStack() as stack:
        sinks = open_sinks(stack, placed(tile.grid), folder, studio.block)
        for rows, values, scl in strips(studio, tile, season, sky):
            half = slice(rows.start // 2, rows.stop // 2)
            for band, layer in zip(BANDS, values, strict=True):
                sinks[band].write((rows, slice(0, values.shape[2])), layer[None])
            sinks["scl"].write((half, slice(0, scl.shape[1])), scl[None])
            cells += np.bincount(scl.ravel(), minlength=12)
            if tally is not None:
                tally.add(half, scl)
    return cells


def open_sinks(stack: ExitStack, grid: GeoBox, folder: Path, largest: int) -> dict[str, Sink]:
    """Open the five files of a scene."""
    sinks: dict[str, Sink] = {}
    for band in BANDS:
        block = block_of(max(grid.shape), largest)
        sinks[band] = stack.enter_context(
            store.create_cog(
                folder / f"{NUMBERS[band]}.tif",
                grid,
                (band,),
                "uint16",
                nodata=0,
                overviews="average",
                block=block,
            )
        )
    half = coarse(grid)
    block = block_of(max(half.shape), largest)
    sinks["scl"] = stack.enter_context(
        store.create_cog(
            folder / "SCL.tif", half, ("scl",), "uint8", nodata=0, overviews="nearest", block=block
        )
    )
    return sinks


def percent(cells: np.ndarray) -> np.ndarray:
    """Return (12,) percent.

    Of the first class of all cells, of the others of those that were seen.
    """
    seen = max(int(cells[1:].sum()), 1)
    return np.concatenate([[100 * cells[0] / max(int(cells.sum()), 1)], 100 * cells[1:] / seen])
