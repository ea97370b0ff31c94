"""What a mosaic that stays holds already, asked before anything is taken from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from selion import imagery
from selion.imagery.stac_items import outline
from selion.pipeline.searched_ground import SearchedGround
from selion.pipeline.tile_mosaic import TILES
from selion.pipeline.tile_records import read_record

if TYPE_CHECKING:
    from selion.imagery import Area
    from selion.pipeline.tile_mosaic import TileMosaic


def ready_areas(edition: TileMosaic, areas: Sequence[Area]) -> list[bool]:
    """Say of each area whether all that it needs is there.

    The archive is not asked, and nothing is written.

    Parameters
    ----------
    edition : TileMosaic
    areas : sequence of Area

    Returns
    -------
    list of bool

    Raises
    ------
    BadInput
        If a file of the mosaic was made otherwise than it says.
    """
    import shapely

    ground = SearchedGround.of(edition.shelf)
    names = sorted(ground.grids)
    outlines = shapely.STRtree(
        [imagery.read_area(outline(ground.grids[name])).geometry for name in names]
    )
    known = {name: read_record(edition.shelf, f"{TILES}/{name}.json") for name in names}
    made = {name: one for name, one in known.items() if one is not None and not one.early}
    there = {
        name: [not plan.scenes or edition.has(plan) for plan in record.plans]
        for name, record in made.items()
    }
    wishes, found = edition.options.wishes, []
    for area in areas:
        near = sorted(names[k] for k in outlines.query(area.geometry, "intersects").tolist())
        cuts = (
            imagery.cut(name, ground.grids[name], area, wishes.around, wishes.coarse)
            for name in near
        )
        parts = [part for part in cuts if part is not None]
        wanted = [(name, k) for k in (0, 1) for name in edition.needed(parts, k, made)]
        found.append(
            ground.covers(area.geometry)
            and all(name in there and there[name][k] for name, k in wanted)
        )
    return found
