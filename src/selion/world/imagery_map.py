"""From quarterly mosaics to a table of fields: any model, the quarters that it means."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selion import fields, prediction, store
from selion.imagery import Area, AreaLike, read_area, target_grid
from selion.imagery.scene import BANDS
from selion.imagery.season import HARVEST, PLANTING
from selion.models.refine.segmenter import load_refined
from selion.pipeline.choosing import ChosenModel, ImageSize, choose_model
from selion.pipeline.maps import MapJob, MapOptions, Refine, map_image
from selion.pipeline.probabilities import RunReport, check_output, conclude
from selion.pipeline.watcher import MapWatcher
from selion.progress import OnStep, silent
from selion.world.editions import Edition, wanted_edition
from selion.world.mosaics import MosaicOptions, QuarterlyMosaics, open_mosaics

if TYPE_CHECKING:
    from geopandas import GeoDataFrame


@dataclass(frozen=True, eq=False)
class MosaicMap:
    """The fields of an area, and what they were made from."""

    path: Path
    frame: GeoDataFrame
    job: MapJob
    mosaics: QuarterlyMosaics

    def facts(self) -> dict[str, Any]:
        """Return what a summary says beside the fields: what was not looked at."""
        missing = max(self.mosaics.missing.values(), default=0.0)
        return {"not_looked_at_km2": round(missing, 3)} if missing else {}


def prepare_mosaics(
    edition: Edition | str,
    area: AreaLike | Area,
    year: int,
    model: str | Path | None = None,
    options: MapOptions | None = None,
    mosaics: MosaicOptions | None = None,
) -> tuple[MapJob, QuarterlyMosaics]:
    """Load a model, open the mosaics that it wants, and plan the prediction.

    Nothing but heads of files is read.  Parameters and errors as :func:`map_mosaics`.
    """
    options, mosaics = options or MapOptions(), mosaics or MosaicOptions()
    edition = wanted_edition(edition, "imagery")
    area = area if isinstance(area, Area) else read_area(area)
    choice = ChosenModel(model) if model else usual_model(edition, area, mosaics)
    load = partial(
        load_refined,
        choice.name,
        options.refiner,
        options.engine,
        fast=options.fast,
        speaking=options.speaking,
    )
    loaded = load(threads=options.threads)
    found = open_mosaics(edition, area, year, loaded.inputs, mosaics, model=loaded.card.name)
    plan = prediction.plan(found, loaded, options.predict, found.key)
    name = f"{edition.name} of {found.area.name}, {year}"
    job = MapJob(name, found, loaded, plan, load, choice.why)
    return job, found


def usual_model(edition: Edition, area: Area, mosaics: MosaicOptions) -> ChosenModel:
    """Return the packaged model of two dates, for the size of an area."""
    bands = tuple(f"{season}:{band}" for season in (PLANTING, HARVEST) for band in BANDS)
    gsd = mosaics.gsd or edition.resolution or 10.0
    shape = target_grid(area, mosaics.crs, gsd).shape
    return choose_model(bands, ImageSize(float(prod(shape)), gsd))


def map_mosaics(
    edition: Edition | str,
    area: AreaLike | Area,
    year: int,
    out: Path | str,
    model: str | Path | None = None,
    options: MapOptions | None = None,
    *,
    mosaics: MosaicOptions | None = None,
    force: bool = False,
    on_step: OnStep = silent,
    report: RunReport | None = None,
) -> MosaicMap:
    """Map the fields of an area from quarterly cloudless mosaics.

    Parameters
    ----------
    edition : Edition or str
        ``ftw-mosaics``, ``cdse-mosaics``, or ``NAME@ADDRESS``.
    area : path, bbox, GeoJSON or Area
        See :func:`selion.imagery.read_area`.
    year : int
        Of the harvest.
    out : path
        The table; its ending decides the format.
    model : str or path, optional
        Name or folder; None: the packaged model of two dates.
    options : MapOptions, optional
        How the model is run, and how objects and outlines are made of what it says.
    mosaics : MosaicOptions, optional
        Seasons, grid and resampling.
    force : bool
        Whether an existing table is replaced.
    report : RunReport, optional
        As in :func:`selion.pipeline.maps.map_image`.

    Returns
    -------
    MosaicMap
        Fields that touch the area.

    Raises
    ------
    NoScenes
        If nothing of the area was looked at.
    SelionError
        As :func:`selion.world.mosaics.open_mosaics` and :func:`selion.pipeline.maps.map_image`.
    """
    options, out = options or MapOptions(), Path(out)
    told, report = report is not None, report or RunReport()
    check_output(out, force)
    fields.format_of(out)
    if options.scores is not None:
        store.check_output(options.scores, force)
    job, found = prepare_mosaics(edition, area, year, model, options, mosaics)
    for note in (*found.notes, *job.notes):
        report.on_note(note)
    result = map_prepared(job, found, out, options, force=force, on_step=on_step, report=report)
    conclude(out, report, told=told)
    return result


def map_prepared(
    job: MapJob,
    found: QuarterlyMosaics,
    out: Path,
    options: MapOptions,
    *,
    watcher: MapWatcher | None = None,
    force: bool = False,
    on_step: OnStep = silent,
    use: Callable[[MosaicMap], None] | None = None,
    report: RunReport | None = None,
) -> MosaicMap:
    """Map what :func:`prepare_mosaics` prepared; see :func:`map_mosaics`."""
    path, frame = map_image(
        job,
        out,
        options,
        watcher=watcher,
        force=force,
        on_step=on_step,
        refine=_touching(found),
        report=report,
    )
    result = MosaicMap(path, frame, job, found)
    if use is not None:
        use(result)
    return result


def _touching(found: QuarterlyMosaics) -> Refine:
    """Return what keeps the fields that touch the area."""
    import shapely

    place = shapely.union_all(found.area.on(found.grid))

    def refine(frame: GeoDataFrame) -> GeoDataFrame:
        return frame[frame.geometry.intersects(place)]

    return refine
