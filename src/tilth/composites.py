"""The composites of an area: a median per tile and season, all of them on one grid, and where they came from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tilth
from tilth import imagery, store
from tilth.areas import OnStep, Survey, make_folder, work_folder
from tilth.errors import NoScenes

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from tilth.imagery import Mosaic


INDEX = ".gti.gpkg"


def _silent(_stage: str, _done: float, _total: float, _detail: str) -> None:
    pass


@dataclass(frozen=True, eq=False)
class Composites:
    """What was composed: a file per tile and season, and what could not be."""

    paths: tuple[Path, ...]
    seasons: tuple[str, ...]
    """Season of each file."""
    failed: tuple[str, ...]
    """One sentence per tile and season that has none."""


def compose_tiles(survey: Survey, folder: Path, *, on_step: OnStep = _silent, on_note: Callable[[str], None] | None = None) -> Composites:
    """Make the composite of every tile and season of a survey; what a folder holds already is not made again.

    Parameters
    ----------
    survey : Survey
    folder : Path
        For files ``TILE_SEASON.tif``; it must belong to this survey alone.
    on_step, on_note : callable, optional

    Returns
    -------
    Composites

    Raises
    ------
    NoScenes
        If nothing could be composed.
    OutputFailed
        If the folder cannot be written; what is finished stays.
    """
    provider = imagery.find_provider(survey.options.provider)
    signers = {provider.name: imagery.make_signer(provider)}
    paths, seasons, failed = [], [], []
    for number, plan in enumerate(survey.plans):
        path = folder / f"{plan.tile}_{plan.season.name}.tif"
        name = f"{plan.tile} {plan.season.name}"
        if not plan.scenes:
            failed.append(f"{name} has no scene that shows the area.")
            continue
        try:
            if not path.is_file():
                imagery.compose(plan, path, signers=signers, excluded=survey.options.excluded, on_step=_within(on_step, number, len(survey.plans), name))
        except NoScenes as error:
            failed.append(str(error))
            continue
        paths.append(path)
        seasons.append(plan.season.name)
    on_step("compose", 1, 1, f"{len(paths)} composites")
    for sentence in failed if on_note else ():
        on_note(sentence)  # type: ignore[misc]  # on_note is given here
    if not paths:
        raise NoScenes(f"No composite could be made of {survey.area.name}: {' '.join(failed)}")
    return Composites(tuple(paths), tuple(seasons), tuple(failed))


def _within(on_step: OnStep, number: int, of: int, name: str) -> OnStep:
    """Show the progress of one tile as a part of all."""

    def tell(_stage: str, done: float, total: float, _note: str) -> None:
        on_step("compose", (number + done / max(total, 1e-9)) / of, 1, name)

    return tell


def join_composites(
    survey: Survey, folder: Path, *, out: Path | None = None, force: bool = False, on_step: OnStep = _silent, on_note: Callable[[str], None] | None = None
) -> Path:
    """Compose the tiles of a survey and join them on one grid.

    Parameters
    ----------
    survey : Survey
    folder : Path
        The run's work folder.
    out : Path, optional
        Where the mosaic goes (``.zarr`` or ``.tif``); None: a Zarr in the work folder, which is taken up if it is there.
    force : bool
        Whether an existing ``out`` is replaced.
    on_step, on_note : callable, optional

    Returns
    -------
    Path
        The mosaic.

    Raises
    ------
    NoScenes
        If a season has no composite at all.
    """
    _check_seasons(
        survey, {plan.season.name for plan in survey.plans if plan.scenes}, [note for plan in survey.plans if not plan.scenes for note in plan.notes]
    )
    tiles = folder / f"area-{survey.key}" / "tiles"
    make_folder(tiles)
    composites = compose_tiles(survey, tiles, on_step=on_step, on_note=on_note)
    _check_seasons(survey, set(composites.seasons), composites.failed)
    mosaic = mosaic_of(survey, composites.paths)
    path = out or tiles.parent / f"mosaic-{mosaic.key[:16]}.zarr"
    if out is None and path.exists():
        return path
    work = tiles.parent / f"{path.name}.blocks"
    return imagery.write_mosaic(mosaic, path, force=force, tags=_provenance_tags(survey, mosaic), folder=work, on_step=on_step)


def _check_seasons(survey: Survey, there: Collection[str], why: Iterable[str]) -> None:
    """Refuse a pair of seasons of which one is missing everywhere."""
    missing = sorted({plan.season.name for plan in survey.plans} - set(there))
    if missing:
        message = f"{survey.area.name} has no composite for {', '.join(missing)}: {' '.join(dict.fromkeys(why))}"
        raise NoScenes(message)


def mosaic_of(survey: Survey, composites: Iterable[Path]) -> Mosaic:
    """Lay composites on the grid that a survey asks for."""
    options = survey.options
    return imagery.Mosaic(tuple(composites), imagery.target_grid(survey.area, options.crs, options.gsd), options.resampling)


def _provenance_tags(survey: Survey, mosaic: Mosaic) -> dict[str, str]:
    """Return what a map should say about its image: the search, and the scenes that gave pixels."""
    told = {
        "area": survey.area.name,
        "year": survey.year,
        "provider": survey.options.provider,
        "notes": list(survey.notes),
        "tilth": tilth.__version__,
        "scenes": [
            {"tile": sheet.tile, "season": sheet.season} | {name: scene.get(name) for name in ("id", "time", "baseline", "clear_share")}
            for sheet in mosaic.sheets
            for scene in sheet.provenance.get("scenes", ())
        ],
    }
    return {"provenance": json.dumps(told, ensure_ascii=False, sort_keys=True)}


@dataclass(frozen=True, eq=False)
class Written:
    """A composite on disk."""

    path: Path
    grid: GeoBox
    count: int
    """Composites of tiles and seasons in it."""
    tiles: tuple[Path, ...]
    """Those that were kept."""
    indices: tuple[Path, ...]

    def facts(self) -> dict[str, object]:
        """Return what a summary says."""
        height, width = self.grid.shape
        index = {"index": ", ".join(str(path) for path in self.indices)} if self.indices else {}
        return {"pixels": f"{height} x {width}", "crs": str(self.grid.crs)[:60], "composites": self.count, **index}


def write_composite(
    survey: Survey,
    out: Path,
    *,
    tiles: Path | None = None,
    work: Path | None = None,
    force: bool = False,
    on_step: OnStep = _silent,
    on_note: Callable[[str], None] | None = None,
) -> Written:
    """Write the two-season composite of a survey, and the composites of its tiles with a GDAL tile index if they are wanted.

    Parameters
    ----------
    survey : Survey
    out : Path
        ``.zarr`` or ``.tif``.
    tiles : Path, optional
        Folder for the tiles' composites and ``index.SEASON.gti.gpkg``.
    work : Path, optional
        Keep finished parts here.

    Raises
    ------
    BadInput, OutputExists, OutputFailed
        If the composite, or a file in ``tiles``, must not or cannot be written: before anything is composed.
    NoScenes
        If a season has no composite at all.
    """
    check_name(out, force=force)
    for target in () if tiles is None else [tiles / name for name in _kept_names(survey)]:
        store.check_output(target, force)
    folder = work_folder(out, work)
    path = join_composites(survey, folder, out=out, force=force, on_step=on_step, on_note=on_note)
    made = sorted((folder / f"area-{survey.key}" / "tiles").glob("*.tif"))
    kept, indices = ((), ()) if tiles is None else _keep_tiles(survey, made, tiles, force=force)
    if work is None:
        shutil.rmtree(folder)
    return Written(path, store.open_raster(path).grid, len(made), kept if work is None else tuple(made), indices)


def check_name(out: Path, *, force: bool) -> None:
    """Refuse a composite that cannot be written under its name, before any work is done."""
    store.check_output(out, force)
    imagery.mosaic_format(out)


def _kept_names(survey: Survey) -> list[str]:
    """Return the files that the folder of kept tiles will hold."""
    plans = [plan for plan in survey.plans if plan.scenes]
    return [f"{plan.tile}_{plan.season.name}.tif" for plan in plans] + sorted({f"index.{plan.season.name}{INDEX}" for plan in plans})


def _keep_tiles(survey: Survey, made: Sequence[Path], folder: Path, *, force: bool) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Copy composites to a folder of the user's and index them."""
    make_folder(folder)
    kept = []
    for path in made:
        with store.whole_file(folder / path.name, force) as temporary:
            shutil.copyfile(path, temporary)
        kept.append(folder / path.name)
    indices = imagery.write_index(kept, folder / f"index{INDEX}", mosaic_of(survey, kept).grid, force=force)
    return tuple(kept), tuple(indices.values())
