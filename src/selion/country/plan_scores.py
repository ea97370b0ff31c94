"""The class probabilities that the jobs of a plan kept, as one: each place from one job."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from odc.geo.geobox import GeoBox

from selion import fields, prediction, store
from selion.change.grids import laid_over
from selion.change.sides import mean_pixel
from selion.change.years import SCORES
from selion.classes import ClassScheme
from selion.country.job_tables import AREA, JOBS, JobArea, finished_jobs, read_job
from selion.errors import BadInput, UnreadableFile, counted
from selion.grid import LONLAT, Roi, check_north_up, roi_shape
from selion.raster import DerivedSource, Raster, Source
from selion.store import GeoTiffSource

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

BEND = 0.01
"""Degrees between the corners of a place that is moved to another projection: a line of that length
bends by less than a metre in any UTM zone."""
NAMED = 5
"""Jobs that a sentence names."""


@dataclass(frozen=True, eq=False)
class ScoredJob:
    """A finished job and its probabilities."""

    name: str
    source: Source
    """float32, on the job's own grid."""
    place: BaseGeometry
    """Longitude and latitude: what is told from this job alone.  Its core, and of what it saw
    beyond all cores what no job before it saw."""
    area: BaseGeometry | None
    """The country near it."""
    table: Path
    scores: Path

    def close(self) -> None:
        """Let go of the file, which is opened again when it is read: a country has many."""
        if isinstance(self.source, DerivedSource) and isinstance(self.source.source, GeoTiffSource):
            self.source.source.close()


@dataclass(frozen=True, eq=False)
class PlanScores:
    """What the finished jobs of a plan kept."""

    folder: Path
    jobs: tuple[ScoredJob, ...]
    classes: ClassScheme
    pixel: float
    """Metres of a pixel of the images."""
    models: tuple[str, ...]
    """Names of the models that the tables say."""
    missing: tuple[str, ...]
    """Jobs that are not finished."""

    @cached_property
    def _tree(self) -> Any:
        import shapely

        return shapely.STRtree([job.place for job in self.jobs])

    def near(self, shape: BaseGeometry) -> list[ScoredJob]:
        """Return the jobs whose places share ground with a place."""
        import shapely

        beside = [self.jobs[k] for k in np.sort(self._tree.query(shape, "intersects"))]
        return [job for job in beside if shapely.intersection(job.place, shape).area > 0]

    def over(self, grid: GeoBox, shape: BaseGeometry) -> Source:
        """Return the probabilities of a place on a grid."""
        jobs = self.near(shape)
        pieces = tuple(
            (laid_over(job.source, grid)[0], moved_to(job.place, str(grid.crs))) for job in jobs
        )
        return MosaicScores((jobs or self.jobs)[0].source, grid, pieces)


@dataclass(frozen=True, eq=False)
class MosaicScores(DerivedSource):
    """Probabilities of several jobs on one grid, each where its place is."""

    target: GeoBox
    pieces: tuple[tuple[Source, BaseGeometry], ...]
    """Sources on the grid, and the place of each in its CRS."""

    @property
    def grid(self) -> GeoBox:
        """The grid they were brought to."""
        return self.target

    @property
    def dtype(self) -> np.dtype:
        """float32."""
        return np.dtype(np.float32)

    def read(self, roi: Roi) -> Raster:
        """Read a region; a pixel belongs to the place that holds its centre."""
        grid, shape = self.target[roi], roi_shape(roi)
        values = np.zeros((len(self.bands), *shape), np.float32)
        valid = np.zeros(shape, bool)
        for source, place in self.pieces:
            here = covered(place, grid)
            if not here.any():
                continue
            part = source.read(roi)
            values[:, here] = part.values[:, here]
            valid |= here if part.valid is None else here & part.valid
        return Raster(values, grid, self.bands, valid)


def covered(place: BaseGeometry, grid: GeoBox) -> np.ndarray:
    """Return (y, x) bool: whether a place, in the CRS of a grid, holds the centre of each pixel."""
    import shapely

    if not shapely.intersects(place, grid.extent.geom):
        return np.zeros(grid.shape, bool)
    return store.burn([place], [1], grid) > 0


def moved_to(place: BaseGeometry, crs: str) -> BaseGeometry:
    """Return a place of longitude and latitude in another CRS, with its borders where they were."""
    import shapely
    from pyproj import Transformer

    mover = Transformer.from_crs(LONLAT, crs, always_xy=True)
    fine = shapely.segmentize(place, BEND)
    return shapely.make_valid(shapely.transform(fine, mover.transform, interleaved=False))


def keeps_scores(folder: Path) -> bool:
    """Say whether any finished job of a plan kept its probabilities.

    Raises
    ------
    UnreadableFile
        If the folder holds no plan, or none of its jobs is finished.
    """
    done, _ = finished_jobs(folder)
    named = _named(folder)
    return any(_beside(table, named).is_file() for table in done)


def open_plan_scores(folder: Path) -> PlanScores:
    """Open the probabilities of all finished jobs.

    Parameters
    ----------
    folder : Path
        Of ``selion plan``; its jobs ran with ``--scores``.

    Raises
    ------
    UnreadableFile
        If the folder holds no plan, none of its jobs is finished, or a file cannot be read.
    BadInput
        If some of the finished jobs kept no probabilities, or those of different classes.
    """
    done, missing = finished_jobs(folder)
    named = _named(folder)
    scores = {table: _beside(table, named) for table in done}
    without = [table.parent.name for table, path in scores.items() if not path.is_file()]
    if without:
        raise BadInput(
            f"{counted(len(without), 'finished job')} of {folder} kept no probabilities "
            f"({some_names(without)}), others did: run them again with --scores, or add --tables "
            "to compare tables alone."
        )
    areas = [_area(table) for table in done]
    order = sorted(range(len(done)), key=lambda k: (areas[k].core.bounds, done[k].parent.name))
    places = _places([areas[k] for k in order])
    jobs, pixels, models = [], [], set()
    schemes: dict[ClassScheme, str] = {}
    for k, place in zip(order, places, strict=True):
        table = done[k]
        source = store.open_raster(scores[table])
        check_north_up(source.grid, str(scores[table]))
        scheme = prediction.score_classes(source, str(scores[table]))
        schemes.setdefault(scheme, table.parent.name)
        pixels.append(float(source.tags.get("image_gsd") or mean_pixel(source.grid)))
        models.add(_model(table))
        jobs.append(
            ScoredJob(
                table.parent.name,
                prediction.ScoreSource(source),
                place,
                areas[k].area,
                table,
                scores[table],
            )
        )
    if len(schemes) > 1:
        told = "; ".join(f"{name}: {', '.join(one.names)}" for one, name in schemes.items())
        raise BadInput(
            f"The jobs of {folder} are of different classes ({told}): run those of one model."
        )
    classes = next(iter(schemes))
    if not classes.things:
        raise BadInput(
            f"None of the classes {', '.join(classes.names)} of {folder} comes as objects: change "
            "is told of fields."
        )
    names = tuple(sorted(name for name in models if name))
    return PlanScores(folder, tuple(jobs), classes, max(pixels), names, tuple(missing))


def some_names(names: Sequence[str]) -> str:
    """Return the first of many names."""
    return ", ".join(names[:NAMED]) + (" ..." if len(names) > NAMED else "")


def _area(table: Path) -> JobArea:
    path = table.with_name(AREA)
    area = read_job(path) if path.is_file() else None
    if area is None:
        raise UnreadableFile(
            f"{path} does not say what its job answers for: write the plan again, or add --tables "
            "to compare tables alone."
        )
    return area


def _named(folder: Path) -> dict[str, str]:
    """Return the name of the file of probabilities of each job, as its command has it."""
    found = {}
    try:
        for job in json.loads((folder / JOBS).read_text("utf-8")):
            words = list(map(str, job.get("command") or ()))
            at = words.index("--scores") + 1 if "--scores" in words[:-1] else 0
            if at and (name := Path(words[at]).name):
                found[str(job["name"])] = name
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UnreadableFile(
            f"{folder / JOBS} is not a list of jobs ({error!r}): make the plan again."
        ) from error
    return found


def _beside(table: Path, named: dict[str, str]) -> Path:
    return table.with_name(named.get(table.parent.name, f"{table.stem}{SCORES}"))


def _places(areas: Sequence[JobArea]) -> list[Any]:
    """Return what each job has the word for; together all that any of them saw."""
    import shapely

    cores = np.array([area.core for area in areas], object)
    seen = np.array([area.seen for area in areas], object)
    near = shapely.STRtree(seen)
    places = []
    for number, area in enumerate(areas):
        beside = np.sort(near.query(area.seen))
        others = [cores[k] for k in beside if k != number]
        others += [seen[k] for k in beside if k < number]
        rest = shapely.difference(area.seen, shapely.union_all(others))
        places.append(shapely.intersection(area.seen, shapely.union(area.core, rest)))
    return places


def _model(table: Path) -> str:
    """Return the name of the model that a table says, empty where it says none."""
    model: Any = (fields.read_origin(table).provenance or {}).get("model")
    return str(model.get("name", "")) if isinstance(model, dict) else ""
