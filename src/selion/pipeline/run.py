"""The whole pipeline in one call: an image, or an area and a year, becomes a table of fields."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from selion import fields, imagery, store
from selion.errors import BadInput, ImageWarning
from selion.models import load_model
from selion.pipeline import areas, composites, maps
from selion.pipeline.areas import AreaOptions, Survey
from selion.pipeline.maps import MapOptions, probability_options, refuse_unused
from selion.pipeline.probabilities import RunReport, check_output, work_folder
from selion.pipeline.watcher import MapWatcher
from selion.progress import OnStep, silent, usual
from selion.raster import Source
from selion.runners import RunnerOptions, open_runner
from selion.store.arrays import ImageArray
from selion.store.calls import sealed

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

    from selion.imagery import AreaLike

WHEN = "determination:datetime"


@sealed("selion.map_fields")
def map_fields(
    image: AreaLike | Source | ImageArray | Sequence[Path | str | Source],
    out: Path | str | None = None,
    model: str | Path | None = None,
    options: MapOptions | None = None,
    *,
    year: int | None = None,
    area_options: AreaOptions | None = None,
    work: Path | str | None = None,
    force: bool = False,
    on_step: OnStep | None = None,
) -> GeoDataFrame:
    """Map the fields of an image, or of an area in a year: the whole pipeline in one call.

    Parameters
    ----------
    image : path, URL, Source, ndarray or xarray.DataArray; with ``year`` an area
        GeoTIFF, COG, VRT, Zarr, photograph, product (Sentinel-2, Landsat, PlanetScope) or STAC
        item, or one in memory, which :func:`selion.as_raster` tells the place of; a list of them
        is one place on several dates; or a file of polygons, a GeoDataFrame, a bounding box or
        GeoJSON (:func:`selion.imagery.read_area`).
    out : path, optional
        The table: ``.parquet`` (fiboa), ``.gpkg``, ``.fgb``, ``.geojson`` or ``.pmtiles``.  None:
        nothing is written, which is for images of up to 100 million pixels.
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
    on_step : callable, optional
        Is told how far the work is; None: in a notebook a bar, elsewhere nobody.

    Returns
    -------
    GeoDataFrame
        The fields, in the CRS of the image.

    Raises
    ------
    SelionError
        One sentence that says what was given, what was wanted and what to do.

    Warns
    -----
    ImageWarning
        What may make the map of an image wrong; the table's metadata have it too.
    """
    options, on_step = options or MapOptions(), on_step or usual()
    if work is not None:
        options = replace(options, work=Path(work))
    if year is None:
        if area_options is not None:
            raise BadInput(
                f"Options of an area were given, but no year for {_called(image)}: give "
                "year=2024, or an image without them."
            )
        job = maps.prepare(_image(image), model, options)
        for said in job.warnings:
            warnings.warn(said.removeprefix("Warning: "), ImageWarning, stacklevel=2)
        with _table(out, job) as path:
            return maps.map_image(job, path, options, force=force, on_step=on_step)[1]
    if isinstance(image, Source | ImageArray):
        raise BadInput(
            f"A year ({year}) was given with an image: with a year an area is wanted, such as "
            "polygons; omit it to map this image."
        )
    if out is None:
        raise BadInput(
            "An area is mapped in parts that are kept beside the table, so that nothing is read "
            "twice: give out='fields.parquet'."
        )
    out = Path(out)
    store.check_output(out, force)
    fields.format_of(out)
    place = areas.work_folder(out, options.work)
    area = cast("AreaLike", image)
    survey = areas.survey_area(area, year, area_options, work=place, on_step=on_step)
    return map_area(survey, out, model, options, force=force, on_step=on_step).frame


MOST_PIXELS = 100_000_000
"""Of an image whose fields are returned without a file: what is finished of it is not kept."""


def _image(
    image: AreaLike | Source | ImageArray | Sequence[Path | str | Source],
) -> Path | str | Source | list[Path | str | Source]:
    """Return what :func:`selion.pipeline.maps.prepare` takes."""
    if isinstance(image, list | tuple) and all(
        isinstance(one, str | os.PathLike | Source) for one in image
    ):
        return list(image)
    if isinstance(image, str | os.PathLike):
        return image if isinstance(image, str) else Path(image)
    if isinstance(image, Source):
        return image
    if isinstance(image, ImageArray):
        return store.as_raster(image)
    raise BadInput(
        f"{_called(image)} is an area, not an image: give the year to map, for example year=2024."
    )


def _called(area: object) -> str:
    """Say what was given: a table by its number of polygons, never all of it."""
    if hasattr(area, "geometry") and hasattr(area, "__len__"):
        return f"a table of {len(area):,} polygons"
    text = str(area)
    return text if len(text) <= 80 else f"{text[:77]}..."


@contextmanager
def _table(out: Path | str | None, job: maps.MapJob) -> Iterator[Path]:
    """Say where the table is written: where it is wanted, or where it goes afterwards."""
    if out is not None:
        yield Path(out)
        return
    height, width = job.plan.grid.shape
    if height * width > MOST_PIXELS:
        raise BadInput(
            f"The image has {height:,} x {width:,} working pixels: give out='fields.parquet', so "
            "that what is finished is kept if the run is interrupted."
        )
    with tempfile.TemporaryDirectory(prefix="selion-") as folder:
        yield Path(folder) / "fields.parquet"


@sealed("selion.composite")
def composite(
    area: AreaLike,
    out: Path | str,
    *,
    year: int,
    area_options: AreaOptions | None = None,
    work: Path | str | None = None,
    force: bool = False,
    on_step: OnStep | None = None,
) -> Source:
    """Write the cloud-free two-season composite of an area in a year, and open it.

    Parameters
    ----------
    area : path, GeoDataFrame, bounding box or GeoJSON
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
    on_step : callable, optional
        Is told how far the work is; None: in a notebook a bar, elsewhere nobody.

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
    on_step = on_step or usual()
    composites.check_name(out, force=force)
    survey = areas.survey_area(
        area, year, area_options, work=areas.work_folder(out, work), on_step=on_step
    )
    made = composites.write_composite(survey, out, work=work, force=force, on_step=on_step)
    return store.open_raster(made.path)


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
    for raster in (options.scores, options.consistency):
        if raster is not None:
            store.check_output(raster, force)
    fields.format_of(out)
    if model is not None and probability_options(options):  # before scenes are read for nothing
        loaded = load_model(model, options.engine, speaking=options.speaking)
        refuse_unused(loaded, options, runner=False)
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
