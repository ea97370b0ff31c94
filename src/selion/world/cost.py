"""What would be read for an area, told from heads alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from selion.grid import Roi, overlap, tiles
from selion.imagery.placement import Placement
from selion.store.geotiff import GeoTiffSource
from selion.world.gathering import BLOCK
from selion.world.probabilities import PublishedScores, open_tile

MARGIN = 3
"""Pixels around what is read of a tile that resampling looks at."""


@dataclass(frozen=True, slots=True)
class ReadingCost:
    """What a map of published probabilities would read, and nothing of it was."""

    tiles: tuple[tuple[str, int], ...]
    """Key of each tile, and bytes to be read of it."""
    pixels: tuple[int, int]
    """Rows and columns of the grid."""
    gsd: float
    """Metres of a pixel."""

    @property
    def bytes(self) -> int:
        """Bytes to be read in all."""
        return sum(size for _, size in self.tiles)

    def facts(self) -> dict[str, Any]:
        """Return what the command line prints."""
        return {
            "pixels": f"{self.pixels[0]} x {self.pixels[1]}",
            "gsd_m": self.gsd,
            "tiles": len(self.tiles),
            "megabytes_read": round(self.bytes / 1e6, 3),
        }


def reading_cost(scores: PublishedScores) -> ReadingCost:
    """Say how many bytes a map would read, tile by tile.

    Parameters
    ----------
    scores : PublishedScores

    Returns
    -------
    ReadingCost
        The compressed blocks of the tiles that the area's grid needs, as their heads tell.  What is
        really read is a little more: heads, and what lies between blocks that are read together.

    Raises
    ------
    UnreadableFile
        If a tile cannot be read.
    """
    mosaic, sizes = scores.mosaic, []
    rois = tiles((scores.grid.shape[0], scores.grid.shape[1]), BLOCK)
    for tile, layer, at in zip(scores.tiles, mosaic.layers, mosaic.placements, strict=True):
        source = open_tile(layer.path, scores.gsd).source
        frames = list(_frames(at, rois))
        size = source.stored_bytes(frames) if isinstance(source, GeoTiffSource) else 0
        sizes.append((tile.key, size))
    height, width = scores.grid.shape
    return ReadingCost(tuple(sizes), (height, width), scores.gsd)


def _frames(at: Placement, rois: Iterable[Roi]) -> Iterable[Roi]:
    """Return the regions of a tile that blocks of the grid need."""
    for roi in rois:
        if at.bounds is None or overlap(at.bounds, roi) is None:
            continue
        frame = at.needed(at.nodes(roi), MARGIN * at.reach)
        if frame is not None:
            yield frame
