"""Where the archive was searched for a mosaic that stays, and the tiles that it has there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from selion.pipeline.tile_records import grid_from_plain, read_plain

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox
    from shapely import STRtree
    from shapely.geometry.base import BaseGeometry

    from selion.pipeline.mosaic_shelf import MosaicShelf

SEARCHED = "searched"
"""Folder of an edition: a file for each area that the archive was asked for."""
SLIVER = 1e-9
"""Share of an area that may lie beyond what was searched: a union of outlines has rounded corners,
so that it misses its own parts by 1e-14 of them."""


@dataclass(frozen=True, eq=False)
class SearchedGround:
    """All areas that were searched, in longitude and latitude."""

    regions: STRtree
    grids: dict[str, GeoBox]
    """By tile."""

    @classmethod
    def of(cls, shelf: MosaicShelf) -> SearchedGround:
        """Read what an edition of a mosaic says."""
        import shapely

        told = [read_plain(shelf, name) for name in shelf.names(SEARCHED)]
        there = [one for one in told if one is not None]
        return cls(
            shapely.STRtree([shapely.from_wkb(one["region"]) for one in there]),
            {tile: grid_from_plain(grid) for one in there for tile, grid in one["tiles"].items()},
        )

    def covers(self, geometry: BaseGeometry) -> bool:
        """Say whether all of a place was searched."""
        import shapely

        near = self.regions.geometries[self.regions.query(geometry, "intersects")]
        if shapely.covers(near, geometry).any():
            return True
        left = shapely.difference(geometry, shapely.union_all(near))
        return bool(left.area <= SLIVER * geometry.area)
