"""Writing an archive: :func:`simulate_archive`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from selion import store
from selion.errors import BadInput
from selion.simulation.archive.faults import FAULTS, check_faults
from selion.simulation.archive.files import AREA, NOTE, make_item, moved_to, write_catalogue
from selion.simulation.archive.footprint import cut, seen_outline, to_geojson
from selion.simulation.archive.layouts import NUMBERS, Layout, Shot, layout_of
from selion.simulation.archive.nouns import BANDS, Archive, ArchiveOptions, ArchiveSeason, Truth
from selion.simulation.archive.passes import (
    ORBITS,
    Handling,
    Pass,
    default_seasons,
    draw_sky,
    make_pass,
    plan_passes,
)
from selion.simulation.archive.scenes import (
    PassTally,
    Studio,
    coarse,
    percent,
    sees,
    write_clear,
    write_scene,
    write_truth,
)
from selion.simulation.archive.tiling import (
    LONLAT,
    Tile,
    TileLattice,
    corner_of,
    tiles_of,
    transformer,
)
from selion.simulation.archive.truths import Draw, write_world
from selion.simulation.archive.world import area_points, equal_area, make_world, world_grid
from selion.simulation.landscape.noise import make_textures
from selion.store.replaced import FolderKind

ARCHIVE = FolderKind(
    "a simulated archive",
    (NOTE,),
    ("catalog.json", "collection.json", AREA, "items/", "[0-9][0-9][A-Z][A-Z][A-Z]/"),
)


def simulate_archive(
    folder: str | os.PathLike[str],
    options: ArchiveOptions | None = None,
    *,
    draw: Draw | None = None,
    force: bool = False,
    **changes: Any,
) -> Archive:
    """Write a Sentinel-2 archive of a countryside that does not exist.

    One landscape is seen through tiles in their own UTM zones, on days of two seasons, from orbits
    whose swath ends inside of tiles, through clouds that the scene classification flags and that
    are painted in the pixels.  Within a season the ground does not change: where the classification
    says clear, the numbers (less their offset) are the truth, unless gain, haze or noise were asked
    for.

    Parameters
    ----------
    folder : path
        Gets ``catalog.json``, ``collection.json``, ``items/``, ``area.geojson``, one folder per
        tile, and ``truth/``.
    options : ArchiveOptions, optional
    draw : callable, optional
        Draws the outlines of the truth's fields: (Instances, options, file) ->, such as
        :func:`selion.pipeline.demo.write_outlines`; None: the truth has none.
    force : bool
        Whether an existing folder is replaced.
    **changes
        Fields of :class:`ArchiveOptions` that replace those of ``options``.

    Returns
    -------
    Archive

    Raises
    ------
    BadInput
        If an option makes no sense.
    OutputExists, OutputFailed
        If it may not, or cannot, be written.

    Notes
    -----
    Departures from the real thing: beyond ``patch_px`` the landscape is mirrored; tiles that are
    not of 10980 px are those of a lattice shrunk alike, so that their names are well-formed but not
    real; the first orbit sees everything; all bands have the sharpness of 10 m; all layouts have
    COGs.

    Examples
    --------
    >>> simulate_archive(  # doctest: +SKIP
    ...     "archive", seed=3, centre=(12.0, 50.0), layout="cdse", faults=("truncated",)
    ... )
    """
    options = replace(options or ArchiveOptions(), **changes)
    _check(options)
    with store.atomic_folder(folder, force, ARCHIVE) as temporary:
        archive = _write(temporary, options, draw)
    return moved_to(archive, Path(folder))


def _check(options: ArchiveOptions) -> None:
    check_faults(options.faults)
    layout_of(options.layout)
    low, high = options.clouds
    shares = (low, high, options.cirrus, options.snow, options.kept, options.wrong_flags)
    if (
        not all(0 <= share <= 1 for share in shares)
        or low > high
        or options.kept + options.wrong_flags > 1
    ):
        raise BadInput(
            f"Shares of {shares} were given (clouds from, to, cirrus, snow, kept, wrong flags); "
            "each is 0 to 1, the first not above the second."
        )
    longitude, latitude = options.centre
    if not (-180 <= longitude <= 180 and -79 <= latitude <= 83):
        raise BadInput(
            f"The centre {options.centre} was given; wanted are longitude -180 to 180 and latitude "
            "-79 to 83, where there are UTM zones."
        )
    if (
        not 1 <= options.orbits <= len(ORBITS)
        or not options.baselines
        or min(options.patch_px, options.threads) < 1
    ):
        raise BadInput(
            f"{options.orbits} orbits, {len(options.baselines)} baselines, {options.threads} "
            "threads: give 1 to 3, 1 or more, 1 or more."
        )


@dataclass(frozen=True, eq=False, slots=True)
class _Plan:
    """What is to be written."""

    folder: Path
    options: ArchiveOptions
    layout: Layout
    centre: tuple[float, float]
    seasons: tuple[ArchiveSeason, ...]
    tiles: tuple[Tile, ...]
    studio: Studio
    passes: tuple[Pass, ...]
    free: tuple[date, ...]
    """A day for each broken item."""
    size: tuple[float, float]
    """(north-south, east-west) metres of the area."""


@dataclass(frozen=True, slots=True)
class _Made:
    """A scene that is written."""

    item: dict[str, Any]
    moment: datetime
    added: int
    fault: str = ""


def _write(folder: Path, options: ArchiveOptions, draw: Draw | None) -> Archive:
    plan = _plan(folder, options)
    tallies = {
        (tile.name, season.name): PassTally(np.zeros(coarse(tile.grid).shape, np.uint8))
        for tile in plan.tiles
        for season in plan.seasons
    }
    with ThreadPoolExecutor(options.threads) as pool:
        jobs = [
            (tile, taken)
            for taken in plan.passes
            for tile in plan.tiles
            if sees(plan.studio, tile, taken)
        ]
        items = list(
            pool.map(
                lambda job: _scene(plan, job[0], job[1], tallies[job[0].name, job[1].season.name]),
                jobs,
            )
        )
        truth = _truth(plan, tallies, pool, draw)
    return _publish(plan, items + list(_broken(plan)), truth)


def _plan(folder: Path, options: ArchiveOptions) -> _Plan:
    layout, lattice = layout_of(options.layout), TileLattice(options.tile_px, options.gsd)
    centre, size = _place(options, lattice)
    seasons = options.seasons or default_seasons(centre[1], options.year)
    tiles = tiles_of(lattice, *area_points(centre, size, lattice.edge / 6))
    grid = world_grid(centre, tiles, options.gsd)
    textures = make_textures(np.random.default_rng([options.seed, 10]))
    passes = plan_passes(options, seasons, centre, grid, textures, layout.handling)
    days = _free_days(options, seasons[0], passes)
    world = make_world(grid, options)
    lattices = {tile.name: world.lattice(tile.grid, 0, tile.grid.shape[0]) for tile in tiles}
    studio = Studio(world, textures, lattices, layout.block)
    return _Plan(folder, options, layout, centre, seasons, tiles, studio, passes, days, size)


def _free_days(
    options: ArchiveOptions, season: ArchiveSeason, passes: Sequence[Pass]
) -> tuple[date, ...]:
    """Return a day for each fault on which nothing else is taken."""
    taken = {one.moment.date() for one in passes}
    days = [
        day
        for k in range((season.end - season.start).days + 1)
        if (day := season.start + timedelta(days=k)) not in taken
    ]
    if len(days) < len(options.faults):
        raise BadInput(
            f"{len(options.faults)} faults were asked for, but {season.name} has {len(days)} days "
            "without an acquisition: ask for fewer dates."
        )
    return tuple(days[: len(options.faults)])


def _place(
    options: ArchiveOptions, lattice: TileLattice
) -> tuple[tuple[float, float], tuple[float, float]]:
    if options.size_km is None:
        return corner_of(lattice, options.centre), (1.1 * lattice.edge, 1.1 * lattice.edge)
    size = (
        options.size_km
        if isinstance(options.size_km, tuple)
        else (options.size_km, options.size_km)
    )
    if not min(size) > 0:
        raise BadInput(f"An area of {size} km was asked for; wanted are lengths above 0.")
    return options.centre, (size[0] * 1000, size[1] * 1000)


def _scene(plan: _Plan, tile: Tile, taken: Pass, tally: PassTally) -> _Made:
    shot = Shot(tile, taken, np.zeros(12))
    name = plan.layout.name(shot)
    cells = write_scene(
        plan.studio,
        tile,
        plan.seasons.index(taken.season),
        taken.sky,
        plan.folder / tile.name / name,
        tally,
    )
    return _Made(_item(plan, replace(shot, shares=percent(cells))), taken.moment, taken.sky.added)


def _item(plan: _Plan, shot: Shot) -> dict[str, Any]:
    name, layout = plan.layout.name(shot), plan.layout
    outline = to_geojson(
        plan.studio.world, seen_outline(plan.studio.world, shot.tile.grid, shot.taken.swath)
    )
    assets = {
        layout.assets[band]: {
            "href": f"{shot.tile.name}/{name}/{NUMBERS[band]}.tif",
            **layout.asset(
                band, coarse(shot.tile.grid) if band == "scl" else shot.tile.grid, shot.taken
            ),
        }
        for band in (*BANDS, "scl")
    }
    return make_item(layout, name, layout.properties(shot), outline, assets)


def _broken(plan: _Plan) -> Iterator[_Made]:
    """Write one more item per fault, over the tile in the middle.

    They lie on days of the first season that nothing else was taken on.
    """
    tile = plan.tiles[len(plan.tiles) // 2]
    options = replace(plan.options, snow=0.0, defects=False)
    for k, (name, day) in enumerate(zip(plan.options.faults, plan.free, strict=True)):
        fault = FAULTS[name]
        rng = np.random.default_rng([options.seed, 13, k])
        sky = draw_sky(
            options,
            plan.studio.world.grid,
            plan.studio.textures,
            rng,
            (0, plan.centre[1], 0.0),
            fault.clouds,
        )
        processed = Handling.of(plan.layout.handling, plan.options.baselines[0])
        taken = make_pass(plan.seasons[0], day, plan.centre, (0, k), sky, processed)
        shot = Shot(tile, taken, np.zeros(12))
        place = plan.folder / tile.name / plan.layout.name(shot)
        cells = write_scene(plan.studio, tile, 0, taken.sky, place, placed=fault.placed)
        item = fault.change(
            _item(plan, replace(shot, shares=percent(cells))), plan.layout.assets, plan.folder
        )
        yield _Made(item, taken.moment, taken.sky.added, name)


def _truth(
    plan: _Plan,
    tallies: dict[tuple[str, str], PassTally],
    pool: ThreadPoolExecutor,
    draw: Draw | None,
) -> Truth:
    folder, studio = plan.folder / "truth", plan.studio
    keys = [(tile, k, season) for tile in plan.tiles for k, season in enumerate(plan.seasons)]
    seen = pool.map(
        lambda key: write_truth(
            studio, key[0], key[1], folder / f"{key[0].name}-{key[2].name}.tif"
        ),
        keys,
    )
    count = partial(_clear, folder, tallies, studio.block)
    tiles = {
        (tile.name, season.name): path for (tile, _, season), path in zip(keys, seen, strict=True)
    }
    clear = {
        (tile.name, season.name): path
        for (tile, _, season), path in zip(keys, pool.map(count, keys), strict=True)
    }
    seasons = [season.name for season in plan.seasons]
    written = write_world(folder, studio.world, seasons, plan.options, draw)
    return replace(written, tiles=tiles, clear=clear)


def _clear(
    folder: Path,
    tallies: dict[tuple[str, str], PassTally],
    block: int,
    key: tuple[Tile, int, ArchiveSeason],
) -> Path:
    tile, _, season = key
    return write_clear(
        folder / f"{tile.name}-{season.name}-clear.tif",
        coarse(tile.grid),
        tallies[tile.name, season.name],
        block,
    )


def _publish(plan: _Plan, items: list[_Made], truth: Truth) -> Archive:
    """Put the archive together and write its catalogue.

    Items stand in the order of time, then of their tile.
    """
    north, east = plan.size
    edge = np.linspace(-0.5, 0.5, 9)
    x = np.concatenate([edge, np.full(9, 0.5), -edge, np.full(9, -0.5)]) * east
    y = np.concatenate([np.full(9, -0.5), edge, np.full(9, 0.5), -edge]) * north
    area, bbox = cut(np.stack(transformer(equal_area(plan.centre), LONLAT).transform(x, y), 1))
    ordered = sorted(items, key=lambda made: (made.moment, made.item["id"]))
    archive = Archive(
        plan.folder,
        plan.options,
        plan.centre,
        area,
        (bbox[0], bbox[1], bbox[2], bbox[3]),
        plan.seasons,
        plan.layout.collection,
        {tile.name: tile.grid for tile in plan.tiles},
        plan.studio.world.grid,
        truth,
        tuple(made.item for made in ordered),
        {made.item["id"]: made.fault for made in ordered if made.fault},
        {made.item["id"]: made.added for made in ordered},
    )
    write_catalogue(archive)
    return archive
