"""A mosaic that stays: composites of whole tiles, made once for all jobs, models and years.

A folder of the user's, or a prefix on an object store, holds an *edition* for each year and each
way of composing (``2024-latitude-1a2b3c4d``); in it lie ``TILE_SEASON.tif`` with its STAC item, and
what was planned for each tile.  A tile that was made otherwise lies in another edition, and is
never taken instead.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import selion
from selion import imagery, store
from selion.errors import BadInput, NoScenes, UnreadableFile
from selion.imagery.stac_items import COLLECTION, outline
from selion.pipeline import searching
from selion.pipeline.area_options import AreaOptions, provider_of, sensor_of
from selion.pipeline.mosaic_shelf import MosaicShelf, shelf_of
from selion.pipeline.searched_ground import SEARCHED, SearchedGround
from selion.pipeline.searching import ArchiveAnswer, Pair, search_archive, seasons_at, spans_of
from selion.pipeline.tile_records import (
    TileRecord,
    edition_name,
    grid_to_plain,
    read_plain,
    read_record,
    recipe_of,
    record_to_plain,
    write_plain,
)
from selion.progress import OnNote, OnStep, unsaid
from selion.store.labelled_cube import ROOT

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from selion.imagery import Area, Scene, TilePlan
    from selion.imagery.cut import TilePart
    from selion.store import Place

EDITION = "edition.json"
TILES = "tiles"
FORMER = "former"
"""Composites that were made before their season was over, by the day of their search."""
ITEM = re.compile(r".*_window_.\.json")
WAIT = 0.5
"""Seconds between two looks at a tile that another run is making."""


@dataclass(frozen=True, eq=False)
class MosaicNeeds:
    """What an area takes from a mosaic."""

    plans: tuple[TilePlan, ...]
    """Of the tiles and seasons that it needs, each of a whole tile."""
    refused: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class TileMosaic:
    """An edition of a mosaic: the composites of one year, or of given dates, made in one way.

    Picklable; many runs may use it at once.
    """

    folder: Path | str
    """Of the edition; its address, if it is on an object store."""
    year: int
    options: AreaOptions
    keep: bool = True
    """Whether what is found is written down."""

    @classmethod
    def of(cls, year: int, options: AreaOptions, *, keep: bool = True) -> TileMosaic:
        """Open, or begin, the edition that some options ask for.

        Parameters
        ----------
        year : int
        options : AreaOptions
            With a ``mosaic``.
        keep : bool
            Whether anything may be written; False for a look without consequences.

        Raises
        ------
        BadInput
            If the folder is a file or an address that cannot be written, or what lies under the
            edition's name is another.
        OutputFailed
            If the folder cannot be made.
        FetchFailed
            If the object store does not answer.
        """
        if options.mosaic is None:
            raise BadInput("A mosaic was asked for without a folder: give one (--mosaic FOLDER).")
        recipe = recipe_of(year, options)
        folder = _edition_place(options.mosaic, edition_name(recipe))
        edition = cls(folder, year, options, keep)
        edition.check(recipe)
        return edition

    def check(self, recipe: Mapping[str, Any]) -> None:
        """Write down how the tiles are made, or see that it is what was written."""
        told = read_plain(self.shelf, EDITION)
        if told is not None:
            if told.get("recipe") != dict(recipe):
                raise BadInput(
                    f"{self.shelf.place(EDITION)} says that its tiles were made otherwise than was "
                    f"asked for now: move {self.folder} away, or give another folder."
                )
        elif self.keep:
            write_plain(self.shelf, EDITION, {"selion": selion.__version__, "recipe": dict(recipe)})

    @property
    def name(self) -> str:
        """The edition's."""
        return str(self.folder).rpartition("/")[2]

    @cached_property
    def shelf(self) -> MosaicShelf:
        """Where its files lie."""
        return shelf_of(self.folder)

    # what an area needs

    def needs(self, area: Area, on_step: OnStep) -> MosaicNeeds:
        """Return which tiles and seasons an area needs, and what they are made of.

        The archive is asked for what no run before has asked: an area that lies in what was
        searched before, and whose tiles are planned, is answered from the folder alone.

        Raises
        ------
        NoScenes
            If no tile has a clear view in any season.
        SearchFailed, FetchFailed
            If the archive does not answer.
        """
        grids, notes = self._around(area, on_step)
        wishes = self.options.wishes
        cuts = (
            imagery.cut(tile, grid, area, wishes.around, wishes.coarse)
            for tile, grid in sorted(grids.items())
        )
        parts = [part for part in cuts if part is not None]
        made: dict[str, TileRecord] = {}
        while True:
            wanted = [self.needed(parts, number, made) for number in (0, 1)]
            fresh = sorted({tile for tiles in wanted for tile in tiles} - made.keys())
            if not fresh:
                break
            for tile in fresh:
                made[tile] = self.record(tile, grids, on_step)
        plans = tuple(
            made[tile].plans[number]
            for tile in sorted(made)
            for number in (0, 1)
            if tile in wanted[number]
        )
        if not any(plan.scenes for plan in plans):
            why = dict.fromkeys(note for plan in plans for note in plan.notes)
            raise NoScenes(
                f"No tile of the mosaic has a clear view of {area.name}: {' '.join(why)}".rstrip()
            )
        used = [made[tile] for tile in sorted({plan.tile for plan in plans})]
        return MosaicNeeds(
            plans,
            tuple(dict.fromkeys(pair for record in used for pair in record.refused)),
            (*notes, *(note for record in used for note in record.notes)),
        )

    def needed(
        self, parts: Sequence[TilePart], number: int, made: Mapping[str, TileRecord]
    ) -> list[str]:
        """Return the tiles that are needed in a season; one that is not planned yet may see."""
        seeing: list[TilePart] = []
        blind: list[TilePart] = []
        for part in parts:
            record = made.get(part.tile)
            (seeing if record is None or record.plans[number].scenes else blind).append(part)
        if not sensor_of(self.options).fixed_tiles:
            return [part.tile for part in (*seeing, *blind)]
        return [part.tile for part in imagery.needed(seeing, blind)]

    def _around(self, area: Area, on_step: OnStep) -> tuple[dict[str, GeoBox], list[str]]:
        """Return the grids of the tiles around an area, and what a search for them had to say."""
        ground = SearchedGround.of(self.shelf)
        known = ground.grids
        if ground.covers(area.geometry):
            return known, []
        answer = search_archive(
            area, spans_of(area, self.year, self.options), self.options, on_step
        )
        found = self._grids(answer.scenes.values(), known)
        self._remember(area, found)
        return known | found, list(answer.notes)

    def _remember(self, area: Area, tiles: Mapping[str, GeoBox]) -> None:
        if not self.keep:
            return
        region = area.geometry.wkb_hex
        name = hashlib.sha256(region.encode()).hexdigest()[:16]
        plain = {tile: grid_to_plain(grid) for tile, grid in sorted(tiles.items())}
        write_plain(self.shelf, f"{SEARCHED}/{name}.json", {"region": region, "tiles": plain})

    def _grids(self, scenes: Iterable[Scene], known: Mapping[str, GeoBox]) -> dict[str, GeoBox]:
        provider = imagery.find_provider(self.options.provider)
        signers = {provider.name: imagery.make_signer(provider)}
        return imagery.grids_of(scenes, signers, known, self.options.retry)

    # a tile

    def record(self, tile: str, grids: Mapping[str, GeoBox], on_step: OnStep) -> TileRecord:
        """Return what a tile is made of: as it was planned before, or planned now.

        What was planned before a season was over is planned anew once it is.
        """
        name = f"{TILES}/{tile}.json"
        known = read_record(self.shelf, name)
        if known is not None and not known.early:
            return known
        if not self.keep:
            return self._plan(tile, grids, on_step)
        with self.turn(tile):
            known = read_record(self.shelf, name)
            if known is not None and not known.early:
                return known
            made = self._plan(tile, grids, on_step)
            if not any(plan.scenes for plan in made.plans):
                return known or made
            if known is not None:
                made = replace(made, said=self._set_aside(known, made))
            write_plain(self.shelf, name, record_to_plain(made))
        return made

    def _set_aside(self, known: TileRecord, made: TileRecord) -> str:
        """Move composites away that lack scenes of their season; return what was done."""
        place = f"{FORMER}/{known.asked.isoformat()}"
        moved = False
        for old, new in zip(known.plans, made.plans, strict=True):
            if {one.id for one in old.scenes} == {one.id for one in new.scenes}:
                continue
            for name in (file_of(old), item_name(old), *reversed(self.shelf.tree(zarr_of(old)))):
                if self.shelf.has(name):
                    moved = True
                    self.shelf.move(name, f"{place}/{name}")
        told = (
            f"what it was then lies in {self.shelf.place(place)}."
            if moved
            else "the scenes are the same, or there was no composite yet."
        )
        return (
            f"Tile {known.tile} was searched on {known.asked}, before {' and '.join(known.early)} "
            f"ended, and is planned anew: {told}"
        )

    def _plan(self, tile: str, grids: Mapping[str, GeoBox], on_step: OnStep) -> TileRecord:
        """Search all of a tile, and choose its scenes in both seasons."""
        grid = grids[tile]
        area = imagery.read_area(outline(grid), name=f"tile {tile}")
        seasons: Pair = seasons_at(imagery.middle(grid), self.year, self.options)
        try:
            answer = search_archive(area, [seasons], self.options, on_step)
        except NoScenes:
            answer = ArchiveAnswer({}, (), ())
        else:
            self._remember(area, self._grids(answer.scenes.values(), grids))
        provider = imagery.find_provider(self.options.provider)
        plans = imagery.plan_whole_tile(
            tile,
            grid,
            area,
            seasons,
            answer.scenes.values(),
            {provider.name: imagery.make_signer(provider)},
            self.options.wishes,
            providers={provider.name: provider},
            on_step=on_step,
        )
        return TileRecord(tile, grid, tuple(plans), searching.today(), answer.refused)

    # its composites

    def place(self, plan: TilePlan) -> Path | str:
        """Return where the composite of a tile and season lies."""
        return self.shelf.place(file_of(plan))

    def has(self, plan: TilePlan) -> bool:
        """Say whether a composite is there, with its item, and as Zarr if that is wanted.

        Raises
        ------
        BadInput
            If a file of that name is no composite of this plan.
        """
        if not (self.shelf.has(file_of(plan)) and self.shelf.has(item_name(plan))):
            return False
        self._check(plan)
        return not self.options.mosaic_zarr or self._has_zarr(plan)

    def _has_zarr(self, plan: TilePlan) -> bool:
        return self.shelf.has(f"{zarr_of(plan)}/{ROOT}")

    def _check(self, plan: TilePlan) -> None:
        """Refuse a file that was made otherwise than the edition says."""
        path = self.place(plan)
        try:
            told = imagery.read_provenance(path)
        except UnreadableFile as error:
            raise BadInput(f"{error} Move it out of the mosaic, and it is made again.") from error
        season, scenes = told.get("season", {}), {one["id"] for one in told.get("scenes", ())}
        planned = {scene.id for scene in plan.scenes}
        same = (season.get("start"), season.get("end")) == (
            plan.season.start.isoformat(),
            plan.season.end.isoformat(),
        )
        if told.get("tile") != plan.tile or not same or not scenes <= planned:
            raise BadInput(
                f"{path} was made of other scenes or days than the mosaic's edition says: move it "
                "away, and it is made again."
            )

    def make(self, plan: TilePlan, compose: Callable[[Path], None]) -> None:
        """Make a composite, its STAC item and its Zarr if wanted, as far as they are not there.

        Parameters
        ----------
        plan : TilePlan
        compose : callable
            Writes the composite to a path of this machine.

        Raises
        ------
        OutputFailed
            If it cannot be written, or another run has taken over.
        """
        provider, name = provider_of(self.options), file_of(plan)
        there, as_zarr = self.shelf.has(name), self._has_zarr(plan)
        if there:
            self._check(plan)
        with self.shelf.desk() as desk:
            if not there:
                compose(desk / name)
            made = self.place(plan) if there else desk / name
            if self.options.mosaic_zarr and not as_zarr:
                imagery.write_zarr(made, plan, desk / zarr_of(plan))
                as_zarr = True
            imagery.write_item(made, plan, provider, self.name, desk / item_name(plan), as_zarr)

    @contextmanager
    def turn(self, name: str, on_note: OnNote = unsaid) -> Iterator[None]:
        """Be the only run that makes something, as long as the block or this process lives.

        Raises
        ------
        OutputFailed
            If the folder cannot be written.
        """
        told = False
        while True:
            with self.shelf.turn(name) as free:
                if free:
                    yield
                    return
            if not told:
                on_note(f"{name} is being made by another run: waiting for it.")
                told = True
            time.sleep(WAIT * self.shelf.pace)

    def busy(self, plan: TilePlan) -> bool:
        """Say whether another run is making a composite just now."""
        return self.shelf.busy(stem_of(plan))

    def publish(self, plans: Iterable[TilePlan] = ()) -> dict[str, Path | str]:
        """Bring the collection and the tile indices (GTI) up to date with what is there.

        Parameters
        ----------
        plans : iterable of TilePlan
            Whose composites are there, whether the folder lists them already or not.

        Returns
        -------
        dict of str to Path or str
            Season -> its index.
        """
        own = [item_name(plan) for plan in plans]
        items, indices = self._composites(own)
        if not self._is_published(items, indices):  # who only reads needs no right to write
            with self.turn("index"):
                items, indices = self._composites(own)
                if not self._is_published(items, indices):
                    self._publish(items, indices)
        return {season: self.shelf.place(name) for season, name in indices.items()}

    def _composites(self, own: Sequence[str]) -> tuple[list[str], dict[str, str]]:
        """Return the items of the composites that are there, and the index of each season.

        What a store does not list yet, but others have published or this run has, is there too.
        """
        names = set(self.shelf.names())
        unlisted = {*own, *self._published()} - names
        for name in sorted({*unlisted, *(tif_of(item) for item in unlisted)}):
            names |= {name} if self.shelf.has(name) else set()
        items = sorted(name for name in names if ITEM.fullmatch(name) and tif_of(name) in names)
        seasons = sorted({name.removesuffix(".json").partition("_")[2] for name in items})
        return items, {season: f"{season}.gti.gpkg" for season in seasons}

    def _is_published(self, items: Sequence[str], indices: Mapping[str, str]) -> bool:
        return self._published() == list(items) and all(
            self.shelf.has(name) for name in indices.values()
        )

    def _published(self) -> list[str]:
        """Return the items that the collection names."""
        told = read_plain(self.shelf, COLLECTION) or {}
        links = (link for link in told.get("links", ()) if link.get("rel") == "item")
        return [link["href"].removeprefix("./") for link in links]

    def _publish(self, items: Sequence[str], indices: Mapping[str, str]) -> None:
        paths = [self.shelf.place(tif_of(name)) for name in items]
        area = imagery.read_area(_everything(paths), name=self.name)
        grid = imagery.target_grid(area, "auto", sensor_of(self.options).gsd)
        recipe = (read_plain(self.shelf, EDITION) or {})["recipe"]
        title = f"Seasonal composites of {self.name}"
        with self.shelf.desk(items) as desk:
            for season, index in indices.items():
                of_season = [path for path in paths if str(path).endswith(f"{season}.tif")]
                imagery.write_index(of_season, desk / index, grid, force=True)
            named = [desk / name for name in items]
            imagery.write_collection(desk, self.name, named, recipe, title)


def stem_of(plan: TilePlan) -> str:
    """Return what a tile and season is called in a mosaic."""
    return f"{plan.tile}_{plan.season.name}"


def file_of(plan: TilePlan) -> str:
    """Return the name of a composite's file."""
    return f"{stem_of(plan)}.tif"


def zarr_of(plan: TilePlan) -> str:
    """Return the name of the folder in which a composite lies as Zarr."""
    return f"{stem_of(plan)}.zarr"


def item_name(plan: TilePlan) -> str:
    """Return the name of the file of a composite's STAC item."""
    return f"{stem_of(plan)}.json"


def tif_of(item: str) -> str:
    """Return the name of the composite that an item describes."""
    return f"{item.removesuffix('.json')}.tif"


def _edition_place(given: Place, name: str) -> Path | str:
    """Return where an edition lies in what was given.

    Raises
    ------
    BadInput
        If nothing can be kept there.
    """
    if isinstance(given, store.RemotePath):
        if not store.is_object_url(given):
            raise BadInput(
                f"--mosaic {given} cannot be written to: give a folder, or a prefix on an object "
                "store (s3://, gs:// or az://BUCKET/FOLDER)."
            )
        return f"{os.fspath(given).rstrip('/')}/{name}"
    root = given.expanduser()
    if root.exists() and not root.is_dir():
        raise BadInput(
            f"--mosaic {given} is a file; wanted is a folder for the composites of tiles: give "
            "one, or the name of a new one."
        )
    return root / name


def _everything(paths: Iterable[Path | str]) -> dict[str, Any]:
    """Return the outlines of all composites as one GeoJSON geometry."""
    shapes = [outline(store.open_raster(path).grid)["coordinates"] for path in paths]
    return {"type": "MultiPolygon", "coordinates": shapes}
