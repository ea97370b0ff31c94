"""The two seasons of each tile, as they were taken, or as they will be."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from selion import imagery
from selion.imagery.stac_items import outline
from selion.pipeline.area_options import AreaOptions, sensor_of
from selion.pipeline.searching import Pair, seasons_at

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from selion.imagery import Area
    from selion.pipeline.areas import Survey

HELD = re.compile(r"(; the belt|, which) holds (?P<share>\d+)% of what is around")
"""How much of what is around a tile the belt or the region of its seasons holds."""
BLOCK = 100.0
"""Metres of the pixels of the grids that are drawn of squares."""


@dataclass(frozen=True, eq=False)
class TileSeasons:
    """A tile, and when it is looked at."""

    name: str
    grid: GeoBox
    """Of any pixels; its outline counts."""
    seasons: Pair

    @cached_property
    def days(self) -> tuple[str, str]:
        """Planting and harvest, as ``2024-03-31 to 2024-05-30``."""
        first, second = (f"{one.start} to {one.end}" for one in self.seasons)
        return first, second

    @cached_property
    def outline(self) -> Area:
        """Where it lies."""
        return imagery.read_area(outline(self.grid), name=self.name)


def taken_seasons(survey: Survey) -> list[TileSeasons]:
    """Return the seasons of the tiles of a survey, by tile."""
    pairs: dict[str, list[imagery.TilePlan]] = {}
    for plan in survey.plans:
        pairs.setdefault(plan.tile, []).append(plan)
    found = []
    for tile, plans in sorted(pairs.items()):
        usual = seasons_at(imagery.middle(plans[0].grid), survey.year, survey.options)
        named = {plan.season.name: plan.season for plan in plans}
        first, second = (named.get(season.name, season) for season in usual)
        found.append(TileSeasons(tile, plans[0].grid, (first, second)))
    return found


def expected_seasons(
    squares: Iterable[tuple[str, tuple[float, float], str]], year: int, options: AreaOptions
) -> list[TileSeasons]:
    """Return the seasons of the tiles that an area will need, before the archive is asked.

    Parameters
    ----------
    squares : iterable of (str, (float, float), str)
        Name, upper left corner in metres and CRS of the squares of the sensor's tiling that the
        area touches.
    year : int
    options : AreaOptions

    Returns
    -------
    list of TileSeasons
        A tile reaches from its square's upper left corner over its edges; by its middle the rule
        decides, as when it is composed.
    """
    from affine import Affine
    from odc.geo.geobox import GeoBox

    size = round(1000 * sensor_of(options).tile_edge / BLOCK)
    found = []
    for name, (left, top), crs in squares:
        grid = GeoBox((size, size), Affine(BLOCK, 0, left, 0, -BLOCK, top), crs)
        found.append(TileSeasons(name, grid, seasons_at(imagery.middle(grid), year, options)))
    return found


def grouped(tiles: Sequence[TileSeasons]) -> list[tuple[tuple[str, str], list[TileSeasons]]]:
    """Return the pairs of seasons with their tiles, in the order of the days."""
    found: dict[tuple[str, str], list[TileSeasons]] = {}
    for tile in tiles:
        found.setdefault(tile.days, []).append(tile)
    return sorted(found.items())


def reasons(tiles: Iterable[TileSeasons]) -> str:
    """Return why some tiles have their seasons, the most frequent clause first, without places.

    What a belt or a region holds of what is around is told once, of the tile where it is least.
    """
    said, least = Counter[str](), dict[str, int]()
    for tile in tiles:
        why = tile.seasons[0].why.partition(" at ")[0]
        held = HELD.search(why)
        why = HELD.sub("", why)
        said[why] += 1
        if held is not None:
            least[why] = min(least.get(why, 100), int(held["share"]))
    return "; ".join(
        why if why not in least else f"{why} (at least {least[why]}% of what is around a tile)"
        for why, _ in said.most_common(3)
    )
