"""What a mosaic of tiles writes down: how its tiles are made, and what each is made of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import selion
from selion import imagery
from selion.errors import UnreadableFile
from selion.imagery.composite import METHOD
from selion.imagery.season import given_crop
from selion.imagery.world_calendar import calendar_file
from selion.pipeline import searching
from selion.pipeline.area_options import AreaOptions, sensor_of

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from selion.imagery import TilePlan
    from selion.pipeline.mosaic_shelf import MosaicShelf

CHOICE = 1
"""Number of the way in which the scenes of a tile are chosen: part of an edition's name."""
CALENDARS = ("*.tif", "*.tiff")


@dataclass(frozen=True, eq=False)
class TileRecord:
    """What is known of a tile: its grid, and what its composites are made of."""

    tile: str
    grid: GeoBox
    plans: tuple[TilePlan, ...]
    """One per season."""
    asked: date
    """Day on which the archive was asked, UTC."""
    refused: tuple[tuple[str, str], ...] = ()
    """(id, why) of the items that cannot be used."""
    said: str = ""
    """A sentence on how it came about, for the run that planned it."""

    @property
    def early(self) -> list[str]:
        """Names of the seasons that are over by now, and were not when the archive was asked."""
        ends = {plan.season.name: plan.season.end for plan in self.plans}
        return [name for name, end in ends.items() if self.asked <= end < searching.today()]

    @property
    def notes(self) -> list[str]:
        """What a reader of the tile should know: that a season is not over."""
        notes = [self.said] if self.said else []
        return notes + [
            f"Tile {self.tile} was searched on {self.asked}, and {plan.season.name} ends on "
            f"{plan.season.end}: later scenes are not in it. The first run after that day composes "
            "it anew."
            for plan in self.plans
            if searching.today() <= plan.season.end
        ]


def recipe_of(year: int, options: AreaOptions) -> dict[str, Any]:
    """Return all that decides the composite of a tile, as plain values.

    Neither the grid nor the resampling of a map do: a tile is kept on its own grid.
    """
    provider = options.provider
    sensor = sensor_of(options)
    seasons: dict[str, Any]
    if options.seasons is not None:
        seasons = {
            season.name: [season.start.isoformat(), season.end.isoformat()]
            for season in options.seasons
        }
    else:
        seasons = {"year": year, "rule": options.rule}
        if options.rule == "calendar":
            seasons |= calendar_facts(options.crop, options.calendar)
    return {
        "provider": str(Path(provider).resolve()) if _is_place(provider) else provider,
        "sensor": sensor.name,
        "sensor_key": sensor.key,
        "seasons": seasons,
        "max_cloud": options.cloud,
        "views": options.target,
        "max_scenes": options.limit,
        "mask": sorted(options.masked),
        "balance": options.balance,
        "method": [METHOD, CHOICE],
    }


def _is_place(provider: str) -> bool:
    """Say whether a provider is a path, of something that is there or was."""
    found = imagery.find_provider(provider, perhaps_gone=True)
    if found.known:  # a name wins over a folder that is called so
        return False
    return Path(provider).exists() or (found.url != provider and Path(found.url).is_absolute())


def edition_name(recipe: Mapping[str, Any]) -> str:
    """Return the name of the folder of an edition.

    Examples
    --------
    >>> edition_name({"seasons": {"year": 2024, "rule": "latitude"}})
    '2024-latitude-d3039d91'
    """
    seasons = recipe["seasons"]
    digest = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:8]
    begun = f"{seasons['year']}-{seasons['rule']}" if "rule" in seasons else "dates"
    return f"{begun}-{digest}"


def calendar_facts(crop: str, given: Path | None) -> dict[str, Any]:
    """Return the crop, and the files of its calendar with what they hold, wherever they lie."""
    if given is None:
        own = calendar_file()
        return {
            "crop": crop,
            "calendar": [[own.name, hashlib.sha256(own.read_bytes()).hexdigest()]],
        }
    place = given.expanduser()
    files = (
        [place]
        if place.is_file()
        else sorted(path for form in CALENDARS for path in place.glob(form))
    )
    sums = [[path.name, hashlib.sha256(path.read_bytes()).hexdigest()] for path in files]
    return {"crop": given_crop(crop), "calendar": sums}


def grid_to_plain(grid: GeoBox) -> list[Any]:
    """Return shape, transform and CRS of a grid as JSON has them."""
    return [list(grid.shape), list(grid.transform[:6]), str(grid.crs)]


def grid_from_plain(plain: Sequence[Any]) -> GeoBox:
    """Return the grid that :func:`grid_to_plain` wrote down."""
    from affine import Affine
    from odc.geo.geobox import GeoBox

    shape, transform, crs = plain
    return GeoBox(tuple(shape), Affine(*transform), crs)


def record_to_plain(record: TileRecord) -> dict[str, Any]:
    """Return a record as JSON has it."""
    return {
        "selion": selion.__version__,
        "tile": record.tile,
        "grid": grid_to_plain(record.grid),
        "asked": record.asked.isoformat(),
        "refused": [list(pair) for pair in record.refused],
        "plans": imagery.plans_to_json(record.plans),
    }


def read_record(shelf: MosaicShelf, name: str) -> TileRecord | None:
    """Read what :func:`record_to_plain` made; None if there is none.

    Raises
    ------
    UnreadableFile
        If it is something else.
    """
    told = read_plain(shelf, name)
    if told is None:
        return None
    try:
        return TileRecord(
            told["tile"],
            grid_from_plain(told["grid"]),
            tuple(imagery.plans_from_json(told["plans"])),
            date.fromisoformat(told["asked"]),
            tuple((name, why) for name, why in told["refused"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UnreadableFile(
            f"{shelf.place(name)} is no record of a mosaic's tile ({error}): move it away, and the "
            "tile is planned again."
        ) from error


def read_plain(shelf: MosaicShelf, name: str) -> dict[str, Any] | None:
    """Read a JSON object of a mosaic; None if there is none.

    Raises
    ------
    UnreadableFile
        If it cannot be read.
    """
    content = shelf.read(name)
    if content is None:
        return None
    try:
        told = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UnreadableFile(
            f"{shelf.place(name)} of a mosaic cannot be read ({error}): move it away, and it is "
            "made again."
        ) from error
    return told if isinstance(told, dict) else {}


def write_plain(shelf: MosaicShelf, name: str, content: Mapping[str, Any]) -> None:
    """Write a JSON object of a mosaic; never half of it.

    Raises
    ------
    OutputFailed
        If it cannot be written.
    """
    shelf.write(name, (json.dumps(content, indent=1, sort_keys=True) + "\n").encode())
