"""What would be read for an area, told from heads alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from selion.grid import Roi, overlap, tiles
from selion.imagery.placement import Placement
from selion.raster import DerivedSource, Source
from selion.store.geotiff import GeoTiffSource
from selion.store.stack import StackSource
from selion.world.first import FirstScores
from selion.world.gathering import BLOCK, near_area
from selion.world.probabilities import PublishedScores

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
        Of a Zarr it is the chunks before compression: at most so much.

    Raises
    ------
    UnreadableFile
        If a tile cannot be read.
    """
    mosaic, sizes = scores.mosaic, []
    rois = near_area(scores, tiles((scores.grid.shape[0], scores.grid.shape[1]), BLOCK))
    for layer, at in zip(mosaic.layers, mosaic.placements, strict=True):
        source = layer.opener(layer.path)
        frames = list(_frames(at, rois))
        sizes.append((layer.tile, _bytes(source, frames)))
    height, width = scores.grid.shape
    return ReadingCost(tuple(sizes), (height, width), scores.gsd)


def _bytes(source: Source, frames: Sequence[Roi]) -> int:
    """Return the bytes behind some regions, as the file's head tells; of a Zarr uncompressed."""
    if isinstance(source, FirstScores) and isinstance(source.source, StackSource):
        stack, (rows, columns) = source.source, source.frame
        height, width = stack.chunk
        chunks = {
            (row, column)
            for roi in frames
            for row in range(
                (rows.start + roi[0].start) // height, -(-(rows.start + roi[0].stop) // height)
            )
            for column in range(
                (columns.start + roi[1].start) // width, -(-(columns.start + roi[1].stop) // width)
            )
        }
        return len(chunks) * stack.chunk_bytes
    if isinstance(source, DerivedSource) and isinstance(source.source, GeoTiffSource):
        return source.source.stored_bytes(frames)
    return 0


def _frames(at: Placement, rois: Iterable[Roi]) -> Iterable[Roi]:
    """Return the regions of a tile that blocks of the grid need."""
    for roi in rois:
        if at.bounds is None or overlap(at.bounds, roi) is None:
            continue
        frame = at.shifted(roi)
        if at.shift is None:
            frame = at.needed(at.nodes(roi), MARGIN * at.reach)
        if frame is not None:
            yield frame
