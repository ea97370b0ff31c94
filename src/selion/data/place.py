"""Splits by place: neighbours look alike, so land is drawn by lot, not chips.

The globe is cut into rows of equal height and each row into blocks of about the same width on the
ground; a hash of a block's number says which split it is in.  The blocks depend on nothing but
their size: images of other dates, in other projections, of other runs, fall into the same ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from odc.geo.geobox import GeoBox

from selion.data.splits import hashed_split
from selion.errors import BadInput, GridMismatch

if TYPE_CHECKING:
    from pyproj import Transformer

KM_PER_DEGREE = 111.195
"""Of latitude, on a sphere of 6371 km."""
POLE = 89.0
"""Latitude from which on blocks would be slices of a cake; nobody farms there."""


@dataclass(frozen=True, slots=True)
class Land:
    """How the land is cut and drawn."""

    block_km: float = 5.0
    """Edge of a block in kilometres on the ground."""
    val: float = 0.1
    """Share of the blocks for validation."""
    test: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0.01 <= self.block_km <= 2000:
            raise BadInput(
                f"Blocks of {self.block_km} km were asked for; wanted is 0.01 to 2000 km."
            )
        hashed_split("", self.val, self.test)  # says what is wrong with the shares

    def split(self, row: int, column: int) -> str:
        """Return the split of a block."""
        return hashed_split(f"{self.block_km:g}:{row}:{column}", self.val, self.test, self.seed)

    def blocks(self, west: float, south: float, east: float, north: float) -> list[tuple[int, int]]:
        """Return the (row, column) of all blocks that a box in degrees touches."""
        high = self.block_km / KM_PER_DEGREE
        found = []
        for row in range(
            math.floor(max(south, -POLE) / high), math.floor(min(north, POLE) / high) + 1
        ):
            wide = high / math.cos(math.radians(min(abs(row + 0.5) * high, POLE)))
            found += [
                (row, column)
                for column in range(math.floor(west / wide), math.floor(east / wide) + 1)
            ]
        return found

    def split_of(self, grid: GeoBox) -> str | None:
        """Return the split that a piece of land lies in, with a pixel around it.

        None if it lies in several.

        Two pieces in different splits therefore neither overlap nor touch.

        Raises
        ------
        GridMismatch
            If the grid has no CRS.
        """
        found = {self.split(*block) for block in self.blocks(*footprint(grid))}
        return found.pop() if len(found) == 1 else None


@cache
def _to_degrees(crs: str) -> Transformer:
    """Return the way from a CRS to longitude and latitude.

    Finding it takes longer than a thousand points on it.
    """
    from pyproj import Transformer

    return Transformer.from_crs(crs, "OGC:CRS84", always_xy=True)


def footprint(grid: GeoBox, margin: int = 1) -> tuple[float, float, float, float]:
    """Return west, south, east, north in degrees of a grid with ``margin`` pixels around it.

    Raises
    ------
    GridMismatch
        If the grid has no CRS, or cannot be placed on the globe.
    """
    if grid.crs is None:
        raise GridMismatch(
            "A split by place was asked for, but the image has no CRS: photographs are split by "
            "their names."
        )
    height, width = grid.shape
    along_x, along_y = (
        np.linspace(-margin, width + margin, 9),
        np.linspace(-margin, height + margin, 9),
    )
    columns = np.concatenate([along_x, along_x, np.full(9, -margin), np.full(9, width + margin)])
    rows = np.concatenate([np.full(9, -margin), np.full(9, height + margin), along_y, along_y])
    transform = grid.transform
    x, y = (
        transform.a * columns + transform.b * rows + transform.c,
        transform.d * columns + transform.e * rows + transform.f,
    )
    lon, lat = _to_degrees(str(grid.crs)).transform(x, y)
    if not (np.isfinite(lon).all() and np.isfinite(lat).all()):
        raise GridMismatch(
            f"The image cannot be placed on the globe (CRS {grid.crs}): check its CRS."
        )
    return float(np.min(lon)), float(np.min(lat)), float(np.max(lon)), float(np.max(lat))


def overlapping(grids: Sequence[GeoBox], chosen: Sequence[int], edge: float) -> np.ndarray:
    """Say which of (n,) grids show land of some that are chosen, more than a share of their sides.

    The chosen ones are among these.  Outlines are compared: boxes in degrees of grids that lie side
    by side in a zone overlap, as they are turned there.
    """
    import shapely

    lands = _outlines(grids)
    judging = lands[list(chosen)]
    near, other = shapely.STRtree(judging).query(lands, predicate="intersects")
    shared = shapely.intersection(lands[near], judging[other])
    side = np.minimum(_side(lands)[near], _side(judging)[other])
    wide = ~shapely.is_empty(shapely.buffer(shared, -edge / 2 * side, join_style="mitre"))
    return np.isin(np.arange(len(lands)), near[wide])


def _outlines(grids: Sequence[GeoBox]) -> np.ndarray:
    """Return the (n,) outlines of grids in one CRS; empty without a place on Earth."""
    import shapely

    several = len({str(grid.crs) for grid in grids if grid.crs is not None}) > 1
    found = np.full(len(grids), shapely.Polygon(), object)
    for k, grid in enumerate(grids):
        if grid.crs is not None:
            found[k] = grid.extent.geom
            if several:
                move = _to_degrees(str(grid.crs)).transform
                found[k] = shapely.transform(found[k], move, interleaved=False)
    return found


def _side(outlines: np.ndarray) -> np.ndarray:
    """Return the (n,) shorter sides of what is around outlines."""
    import shapely

    bounds = shapely.bounds(outlines).reshape(-1, 4)
    return np.asarray((bounds[:, 2:] - bounds[:, :2]).min(axis=1))
