"""The whole pipeline in one call: an image, or an area and a year, becomes a table of fields."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from selion import fields, imagery, store
from selion.errors import BadInput
from selion.models import load_model
from selion.pipeline import areas, composites, maps
from selion.pipeline.areas import AreaOptions, Survey
from selion.pipeline.maps import MapOptions, probability_options, refuse_unused
from selion.pipeline.probabilities import RunReport, check_output, work_folder
from selion.pipeline.watcher import MapWatcher
from selion.progress import OnStep, silent
from selion.runners import RunnerOptions, open_runner

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

    from selion.imagery import AreaLike
    from selion.raster import Source

WHEN = "determination:datetime"


def map_fields(
    image: AreaLike,
    out: Path | str,
    model: str | Path | None = None,
    options: MapOptions | None = None,
    *,
    year: int | None = None,
    area_options: AreaOptions | None = None,
    work: Path | str | None = None,
    force: bool = False,
) -> GeoDataFrame:
    """Map the fields of an image, or of an area in a year: the whole pipeline in one call.

    Parameters
    ----------
    image : path or URL; with ``year`` an area
        GeoTIFF, COG, VRT, Zarr or photograph; or a file of polygons, a bounding box or GeoJSON
        (:func:`selion.imagery.read_area`).
    out : path
        The table: ``.parquet`` (fiboa), ``.gpkg``, ``.fgb``, ``.geojson`` or ``.pmtiles``.
    model : str or path, optional
        Name or folder; None takes the packaged model that fits the bands.
    options : MapOptions, optional
        How the model is run, and how objects and outlines are made of what it says.
    year : int, optional
        Of the harvest: scenes are searched, chosen, composed and joined first.
    area_options : AreaOptions, optional
        With ``year``: which archive, seasons, scenes and grid.
    work : path, optional
        Keep finished parts in this folder, as ``options.work``.
    force : bool
        Whether an existing table is replaced.

    Returns
    -------
    GeoDataFrame
        The fields, in the CRS of the image.

    Raises
    ------
    SelionError
        One sentence that says what was given, what was wanted and what to do.
    """
    options, out = options or MapOptions(), Path(out)
    if work is not None:
        options = replace(options, work=Path(work))
    if year is None:
        if area_options is not None:
            raise BadInput(
                f"Options of an area were given, but no year for {image}: give year=2024, or an "
                "image without them."
            )
        if not isinstance(image, str | os.PathLike):
            raise BadInput(
                f"{image} is an area, not an image: give the year to map, for example year=2024."
            )
        image = image if isinstance(image, str) else Path(image)
        return maps.map_image(maps.prepare(image, model, options), out, options, force=force)[1]
    store.check_output(out, force)
    fields.format_of(out)
    place = areas.work_folder(out, options.work)
    survey = areas.survey_area(image, year, area_options, work=place)
    return map_area(survey, out, model, options, force=force).frame


def composite(
    area: AreaLike,
    out: Path | str,
    *,
    year: int,
    area_options: AreaOptions | None = None,
    work: Path | str | None = None,
    force: bool = False,
) -> Source:
    """Write the cloud-free two-season composite of an area in a year, and open it.

    Parameters
    ----------
    area : path, bounding box or GeoJSON
        See :func:`selion.imagery.read_area`.
    out : path
        ``.zarr`` or ``.tif``.
    year : int
        Of the harvest.
    area_options : AreaOptions, optional
        Which archive, seasons, scenes and grid.
    work : path, optional
        Keep finished parts in this folder.
    force : bool
        Whether an existing composite is replaced.

    Returns
    -------
    Source
        What :func:`selion.predict` takes.

    Raises
    ------
    SelionError
        One sentence that says what was given, what was wanted and what to do.
    """
    out, work = Path(out), None if work is None else Path(work)
    composites.check_name(out, force=force)
    survey = areas.survey_area(area, year, area_options, work=areas.work_folder(out, work))
    return store.open_raster(composites.write_composite(survey, out, work=work, force=force).path)


@dataclass(frozen=True, eq=False)
class AreaMap:
    """The fields of an area, and what they were made from."""

    path: Path
    frame: GeoDataFrame
    mosaic: Path | str
    """The composite on one grid; it stays only where the work folder is kept."""
    job: maps.MapJob


def map_area(
    survey: Survey,
    out: Path,
    model: str | Path | None = None,
    options: MapOptions | None = None,
    *,
    watcher: MapWatcher | None = None,
    force: bool = False,
    on_step: OnStep = silent,
    use: Callable[[AreaMap], None] | None = None,
    report: RunReport | None = None,
) -> AreaMap:
    """Map the fields of a survey: compose, join, predict, outline.

    Parameters
    ----------
    survey : Survey
        From :func:`selion.pipeline.areas.survey_area`.
    out, model, options, watcher, force
        As in :func:`selion.pipeline.maps.map_image`.
    on_step : callable, optional
    use : callable, optional
        Called with the result while the composite is still there, for example to draw it.
    report : RunReport, optional
        As in :func:`selion.pipeline.maps.map_image`.

    Returns
    -------
    AreaMap
        Fields that touch the area, with ``determination:datetime`` of the last image of the tiles
        they lie in.
    """
    options = options or MapOptions()
    if options.scores is not None:
        store.check_output(options.scores, force)
    fields.format_of(out)
    if model is not None and probability_options(options):  # before scenes are read for nothing
        refuse_unused(load_model(model, options.engine), options, runner=False)
    told, report = report is not None, report or RunReport()
    force = check_output(out, force)
    with work_folder(out, options.work, report) as folder:
        with open_runner(options.runner) as runner, report.stages.during("composite"):
            mosaic = composites.join_composites(
                survey,
                folder,
                runner=runner,
                far=options.journal,
                on_step=on_step,
                on_note=report.on_note,
            )
        # the runner has done the composites, whatever the model then makes of it
        job = maps.prepare(mosaic, model, replace(options, runner=RunnerOptions()))
        for note in job.notes:
            report.on_note(note)
        options = replace(options, collection=options.collection or out.stem, work=folder)
        path, frame = maps.map_image(
            job,
            out,
            options,
            watcher=watcher,
            force=force,
            on_step=on_step,
            refine=_refiner(survey, job),
            report=report,
        )
        result = AreaMap(path, frame, mosaic, job)
        if use is not None:
            use(result)
    if report.failed and not told:
        raise report.incomplete(out)
    return result


def _refiner(survey: Survey, job: maps.MapJob) -> maps.Refine:
    """Return what keeps the fields that touch the area.

    It gives each the time of its last image.
    """
    import shapely

    place = shapely.union_all(survey.area.on(job.source.grid))
    times = imagery.last_image_times(job.source.tags, job.source.grid.crs)

    def refine(frame: GeoDataFrame) -> GeoDataFrame:
        inside = frame[frame.geometry.intersects(place)]
        return inside.assign(**{WHEN: times(inside)})

    return refine
