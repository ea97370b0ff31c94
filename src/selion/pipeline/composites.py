"""The composites of an area.

A median per tile and season, all of them on one grid, and where they came from.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import selion
from selion import imagery, store
from selion.errors import FetchFailed, NoScenes, OutputExists, UnreadableFile
from selion.pipeline.areas import Survey, make_folder, work_folder
from selion.pipeline.tile_mosaic import TileMosaic, stem_of
from selion.progress import OnNote, OnStep, silent, unsaid
from selion.runners import Runner, Serial
from selion.store.address import open_bytes
from selion.store.witness import UsedScene, used_scene

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from selion.imagery import Mosaic
    from selion.imagery.scene import TilePlan


INDEX = ".gti.gpkg"


@dataclass(frozen=True, eq=False)
class Composites:
    """What was composed: a file per tile and season, and what could not be."""

    paths: tuple[Path | str, ...]
    seasons: tuple[str, ...]
    """Season of each file."""
    failed: tuple[str, ...]
    """One sentence per tile and season that has none."""


@dataclass(frozen=True)
class TileWork:
    """Make the composite of one tile and season; what a worker is given."""

    provider: str
    excluded: frozenset[int]
    folder: Path | str
    """Where it goes: a folder that all workers see, or a prefix on an object store."""
    readers: int | None = None
    """Threads that read files; None: as many as there are cores."""
    shared: TileMosaic | None = None
    """The mosaic that ``folder`` is of; None: the folder is this run's alone."""

    def name(self, plan: TilePlan) -> str:
        """Return the name of its file."""
        return f"{plan.tile}_{plan.season.name}.tif"

    def place(self, plan: TilePlan) -> Path | str:
        """Return where it lies when it is made."""
        return (
            self.folder / self.name(plan)
            if isinstance(self.folder, Path)
            else f"{self.folder}/{self.name(plan)}"
        )

    def made(self, plan: TilePlan) -> bool:
        """Say whether it is there."""
        if self.shared is not None:
            return self.shared.has(plan)
        return is_of(self.place(plan), plan)

    def __call__(self, plan: TilePlan, on_step: OnStep = silent, on_note: OnNote = unsaid) -> str:
        """Make it, if it is not there; return why there is none, if so."""
        try:
            if self.shared is not None:
                self._share(self.shared, plan, on_step, on_note)
            elif isinstance(self.folder, Path):
                self._compose(plan, self.folder / self.name(plan), on_step)
            else:
                self._send(store.ObjectFolder(self.folder), plan, on_step)
        except NoScenes as error:
            return str(error)
        return ""

    def _send(self, far: store.ObjectFolder, plan: TilePlan, on_step: OnStep) -> None:
        """Make it here and send it, in the place of one of other scenes that lies there."""
        with tempfile.TemporaryDirectory(prefix="selion-") as passing:
            here = Path(passing) / self.name(plan)
            self._compose(plan, here, on_step)
            with contextlib.suppress(OutputExists):  # somebody else was quicker: it is the same
                far.upload(here, here.name, force=not self.made(plan))

    def _share(self, mosaic: TileMosaic, plan: TilePlan, on_step: OnStep, on_note: OnNote) -> None:
        """Make it while no other run does; what another has made meanwhile is taken."""
        with mosaic.turn(stem_of(plan), on_note):
            if not mosaic.has(plan):
                mosaic.make(plan, lambda path: self._compose(plan, path, on_step))

    def _compose(self, plan: TilePlan, path: Path, on_step: OnStep) -> None:
        provider = imagery.find_provider(self.provider, perhaps_gone=True)
        remote = any("://" in href for scene in plan.scenes for href in scene.hrefs.values())
        # of two that make the same tile, the later one does no harm
        options = imagery.ComposeOptions(readers=None if remote else self.readers, force=True)
        imagery.compose(
            plan,
            path,
            signers={provider.name: imagery.make_signer(provider)},
            excluded=self.excluded,
            options=options,
            on_step=on_step,
        )


def is_of(place: Path | str, plan: TilePlan) -> bool:
    """Say whether a file, or what lies at an address, is the composite of a plan.

    Where a survey was deleted and made anew, as its sentence tells to, or on another machine, that
    of the former one lies there still, of other scenes.
    """
    if not _is_there(place):
        return False
    try:
        same = _is_made_of(imagery.read_provenance(place), plan)
    except UnreadableFile:
        same = False
    if not same and not isinstance(place, Path):
        _forget(place)
    return same


def _forget(address: str) -> None:
    """Have GDAL ask anew for what lies at an address: another one is about to lie there."""
    from selion.store.gdal import forget, gdal_settings
    from selion.store.urls import gdal_name

    with gdal_settings(remote=True, reach=gdal_name(address)):
        forget(address)


def _is_made_of(told: Mapping[str, Any], plan: TilePlan) -> bool:
    facts, season = plan.season.facts(), told.get("season", {})
    scenes = {one["id"] for key in ("scenes", "set_aside") for one in told.get(key, ())}
    same = all(season.get(name) == facts[name] for name in ("start", "end"))
    return same and scenes == {scene.id for scene in plan.scenes}


def _is_there(place: Path | str) -> bool:
    if isinstance(place, Path):
        return place.is_file()
    folder, _, name = place.rpartition("/")
    return store.ObjectFolder(folder).has(name)


def compose_tiles(
    survey: Survey,
    folder: Path | str,
    *,
    runner: Runner | None = None,
    mosaic: TileMosaic | None = None,
    on_step: OnStep = silent,
    on_note: OnNote | None = None,
) -> Composites:
    """Make the composite of every tile and season of a survey.

    What a folder holds already is not made again.

    Parameters
    ----------
    survey : Survey
    folder : Path or str
        For files ``TILE_SEASON.tif``; without ``mosaic`` it must belong to this survey alone.  The
        address of a place on an object store, for workers that share no disk.
    runner : Runner, optional
        Who makes them; None: this process.
    mosaic : TileMosaic, optional
        The mosaic that ``folder`` is of, which other runs use at once: a tile that one of them is
        making is waited for.
    on_step, on_note : callable, optional

    Returns
    -------
    Composites

    Raises
    ------
    NoScenes
        If nothing could be composed.
    FetchFailed
        If the archive did not answer for some tiles, three times; the others are made first, and
        are there for the next run.
    OutputFailed
        If the folder cannot be written; what is finished stays.
    """
    runner = runner or Serial()
    here = runner.place == "here" or (runner.place == "cluster" and isinstance(folder, Path))
    work = TileWork(
        survey.options.provider,
        survey.options.masked,
        folder,
        None if here else runner.threads,
        mosaic,
    )
    wanted = [plan for plan in survey.plans if plan.scenes]
    for scene in (scene for plan in wanted for scene in plan.scenes):
        used_scene(scene.id, UsedScene(scene.hrefs, scene.facts()))
    pending = [plan for plan in wanted if not work.made(plan)]
    if mosaic is not None:  # what others are making comes last: it may be there by then
        pending.sort(key=mosaic.busy)
    failed = {
        name_of(plan): f"{name_of(plan)} has no scene that shows the area."
        for plan in survey.plans
        if not plan.scenes
    }
    lost: list[BaseException] = []

    def one(plan: TilePlan) -> str:
        step = _within(on_step, wanted.index(plan), len(wanted), name_of(plan))
        return work(plan, step, on_note or unsaid)

    for number, done in enumerate(
        Serial()(one, pending) if here else runner(work, pending), len(wanted) - len(pending) + 1
    ):
        if done.error is not None:
            lost.append(done.error)
        elif done.result:
            failed[name_of(done.block)] = done.result
        on_step("compose", number / len(wanted), 1, name_of(done.block))
    if lost:
        raise _lost(lost, len(wanted))
    there = [plan for plan in wanted if name_of(plan) not in failed]
    on_step("compose", 1, 1, f"{len(there)} composites")
    sentences = [failed[name_of(plan)] for plan in survey.plans if name_of(plan) in failed]
    for sentence in sentences if on_note else ():
        on_note(sentence)  # type: ignore[misc]  # on_note is given here
    if not there:
        raise NoScenes(f"No composite could be made of {survey.area.name}: {' '.join(sentences)}")
    return Composites(
        tuple(work.place(plan) for plan in there),
        tuple(plan.season.name for plan in there),
        tuple(sentences),
    )


def name_of(plan: TilePlan) -> str:
    """Return what a tile and season is called."""
    return f"{plan.tile} {plan.season.name}"


def _lost(errors: Sequence[BaseException], count: int) -> FetchFailed:
    if len(errors) == 1 and isinstance(errors[0], FetchFailed):
        return errors[0]
    return FetchFailed(
        f"{len(errors)} of {count} tiles and seasons could not be composed; the others are kept. "
        f"The last one says: {errors[-1]}"
    )


def _within(on_step: OnStep, number: int, of: int, name: str) -> OnStep:
    """Show the progress of one tile as a part of all."""

    def tell(_stage: str, done: float, total: float, _note: str = "") -> None:
        on_step("compose", (number + done / max(total, 1e-9)) / of, 1, name)

    return tell


def join_composites(
    survey: Survey,
    folder: Path,
    *,
    out: Path | None = None,
    force: bool = False,
    runner: Runner | None = None,
    far: str | None = None,
    on_step: OnStep = silent,
    on_note: OnNote | None = None,
) -> Path | str:
    """Compose the tiles of a survey and join them on one grid.

    Parameters
    ----------
    survey : Survey
    folder : Path
        The run's work folder.
    out : Path, optional
        Where the mosaic goes (``.zarr`` or ``.tif``); None: a Zarr in the work folder, which is
        taken up if it is there.
    force : bool
        Whether an existing ``out`` is replaced.
    runner : Runner, optional
        Who makes tiles and blocks; None: this process.
    far : str, optional
        A prefix on an object store for the tiles' composites, and for the mosaic where ``out`` is
        None: for workers that share no disk.
    on_step, on_note : callable, optional

    Returns
    -------
    Path or str
        The mosaic, or its address.

    Raises
    ------
    NoScenes
        If a season has no composite at all.
    """
    _check_seasons(
        survey,
        {plan.season.name for plan in survey.plans if plan.scenes},
        [note for plan in survey.plans if not plan.scenes for note in plan.notes],
    )
    near = folder / f"area-{survey.key}"
    tiles: Path | str = (
        near / "tiles" if far is None else f"{far.rstrip('/')}/area-{survey.key}/tiles"
    )
    kept = kept_mosaic(survey)
    make_folder(near / "tiles")
    composites = compose_tiles(
        survey,
        tiles if kept is None else kept.folder,
        runner=runner,
        mosaic=kept,
        on_step=on_step,
        on_note=on_note,
    )
    if kept is not None:
        kept.publish(plan for plan in survey.plans if plan.scenes)
    _check_seasons(survey, set(composites.seasons), composites.failed)
    mosaic = mosaic_of(survey, composites.paths)
    name = f"mosaic-{mosaic.key[:16]}{'.zarr' if far is None else '.tif'}"
    if far is not None and out is None and store.ObjectFolder(far).has(name):
        return f"{far.rstrip('/')}/{name}"
    path = out or near / name
    if out is None and path.exists() and far is None:
        return path
    run = runner if runner is not None and runner.place == "machine" else None
    made = imagery.write_mosaic(
        mosaic,
        path,
        force=force or far is not None,
        tags=_provenance_tags(survey, mosaic),
        folder=near / f"{path.name}.blocks",
        on_step=on_step,
        run=run,
    )
    return (
        made
        if far is None or out is not None
        else store.ObjectFolder(far.rstrip("/")).upload(made, name, force=True)
    )


def kept_mosaic(survey: Survey) -> TileMosaic | None:
    """Return the mosaic that a survey's tiles are kept in; None: they are this run's alone."""
    if survey.options.mosaic is None:
        return None
    return TileMosaic.of(survey.year, survey.options)


def _check_seasons(survey: Survey, there: Collection[str], why: Iterable[str]) -> None:
    """Refuse a pair of seasons of which one is missing everywhere."""
    missing = sorted({plan.season.name for plan in survey.plans} - set(there))
    if missing:
        raise NoScenes(
            f"{survey.area.name} has no composite for {', '.join(missing)}: "
            f"{' '.join(dict.fromkeys(why))}"
        )


def mosaic_of(survey: Survey, composites: Iterable[Path | str]) -> Mosaic:
    """Lay composites on the grid that a survey asks for."""
    options = survey.options
    return imagery.Mosaic(
        tuple(composites),
        imagery.target_grid(survey.area, options.crs, options.pixel),
        options.resampling,
    )


def _provenance_tags(survey: Survey, mosaic: Mosaic) -> dict[str, str]:
    """Return what a map should say about its image: the search, and the scenes that gave pixels."""
    told = {
        "area": survey.area.name,
        "year": survey.year,
        "provider": survey.options.provider,
        "notes": list(survey.notes),
        "selion": selion.__version__,
        "scenes": [
            {"tile": layer.tile, "season": layer.season}
            | {name: scene.get(name) for name in ("id", "time", "baseline", "clear_share")}
            for layer in mosaic.layers
            for scene in layer.provenance.get("scenes", ())
        ],
    }
    return {"provenance": json.dumps(told, ensure_ascii=False, sort_keys=True)}


@dataclass(frozen=True, eq=False)
class WrittenComposites:
    """A composite on disk."""

    path: Path
    grid: GeoBox
    count: int
    """Composites of tiles and seasons in it."""
    tiles: tuple[Path | str, ...]
    """Those that were kept."""
    indices: tuple[Path, ...]

    def facts(self) -> dict[str, object]:
        """Return what a summary says."""
        height, width = self.grid.shape
        index = {"index": ", ".join(str(path) for path in self.indices)} if self.indices else {}
        return {
            "pixels": f"{height} x {width}",
            "crs": str(self.grid.crs)[:60],
            "composites": self.count,
            **index,
        }


def write_composite(
    survey: Survey,
    out: Path,
    *,
    tiles: Path | None = None,
    work: Path | None = None,
    force: bool = False,
    runner: Runner | None = None,
    far: str | None = None,
    on_step: OnStep = silent,
    on_note: OnNote | None = None,
) -> WrittenComposites:
    """Write the two-season composite of a survey.

    The composites of its tiles come with a GDAL tile index if they are wanted.

    Parameters
    ----------
    survey : Survey
    out : Path
        ``.zarr`` or ``.tif``.
    tiles : Path, optional
        Folder for the tiles' composites and ``index.SEASON.gti.gpkg``.
    work : Path, optional
        Keep finished parts here.
    runner, far
        As for :func:`join_composites`; with ``far`` the tiles' composites stay there, and ``tiles``
        gets none.

    Raises
    ------
    BadInput, OutputExists, OutputFailed
        If the composite, or a file in ``tiles``, must not or cannot be written: before anything is
        composed.
    NoScenes
        If a season has no composite at all.
    """
    check_name(out, force=force)
    for target in () if tiles is None else [tiles / name for name in _kept_names(survey)]:
        store.check_output(target, force)
    folder = work_folder(out, work)
    path = Path(
        join_composites(
            survey,
            folder,
            out=out,
            force=force,
            runner=runner,
            far=far,
            on_step=on_step,
            on_note=on_note,
        )
    )
    mosaic = kept_mosaic(survey)
    made: list[Path | str] = (
        _made_in(folder / f"area-{survey.key}" / "tiles", survey)
        if mosaic is None
        else [mosaic.place(plan) for plan in survey.plans if plan.scenes]
    )
    kept, indices = ((), ()) if tiles is None else _keep_tiles(survey, made, tiles, force=force)
    if work is None:
        shutil.rmtree(folder)
    count = len(made) if far is None else sum(bool(plan.scenes) for plan in survey.plans)
    return WrittenComposites(
        path, store.open_raster(path).grid, count, kept if work is None else tuple(made), indices
    )


def _made_in(folder: Path, survey: Survey) -> list[Path | str]:
    """Return the composites of a survey in a folder, in the order of their names."""
    names = sorted(f"{plan.tile}_{plan.season.name}.tif" for plan in survey.plans if plan.scenes)
    return [folder / name for name in names if (folder / name).is_file()]


def check_name(out: Path, *, force: bool) -> None:
    """Refuse a composite that cannot be written under its name, before any work is done."""
    store.check_output(out, force)
    imagery.mosaic_format(out)


def _kept_names(survey: Survey) -> list[str]:
    """Return the files that the folder of kept tiles will hold."""
    plans = [plan for plan in survey.plans if plan.scenes]
    return [f"{plan.tile}_{plan.season.name}.tif" for plan in plans] + sorted(
        {f"index.{plan.season.name}{INDEX}" for plan in plans}
    )


def _keep_tiles(
    survey: Survey, made: Sequence[Path | str], folder: Path, *, force: bool
) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Copy composites to a folder of the user's and index them."""
    make_folder(folder)
    kept = []
    for path in map(store.locate, made):
        with (
            store.atomic_write(folder / path.name, force) as temporary,
            open_bytes(path) as source,
            temporary.open("wb") as target,
        ):
            shutil.copyfileobj(source, target)
        kept.append(folder / path.name)
    indices = imagery.write_index(
        kept, folder / f"index{INDEX}", mosaic_of(survey, kept).grid, force=force
    )
    return tuple(kept), tuple(indices.values())
