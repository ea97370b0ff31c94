"""From published probabilities to a table of fields: our objects, without a model."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import selion
from selion import fields, prediction, store
from selion.classes import FTW3
from selion.errors import BadInput, NoScenes
from selion.grid import tiles
from selion.imagery import Area, AreaLike
from selion.pipeline.land_cover import keep_cropland
from selion.pipeline.maps import MapOptions, Refine, map_scores, published_options
from selion.pipeline.probabilities import RunReport, check_output, conclude, work_folder
from selion.pipeline.unfit import check_fields
from selion.prediction.scores import NODATA, SCORE_BYTES, quantise
from selion.progress import OnStep, silent
from selion.runners import open_runner
from selion.world.editions import Edition
from selion.world.fields import read_published_fields
from selion.world.gathering import BLOCK, GatheredScores, gather
from selion.world.probabilities import PublishedScores, nothing_seen, open_probabilities

if TYPE_CHECKING:
    from geopandas import GeoDataFrame


@dataclass(frozen=True, eq=False)
class PublishedMap:
    """The fields of an area, and the published probabilities that they were made from."""

    path: Path
    frame: GeoDataFrame
    scores: GatheredScores
    """They stay only where the work folder is kept."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that the user should read."""
        return self.scores.scores.notes

    def facts(self) -> dict[str, Any]:
        """Return what a summary says beside the fields: what was not looked at."""
        return missing_facts(self.scores.scores)


def missing_facts(scores: PublishedScores) -> dict[str, Any]:
    """Return how much of an area was not looked at; nothing if all was."""
    if not scores.missing_km2:
        return {}
    return {
        "not_looked_at_km2": round(scores.missing_km2, 3),
        "not_looked_at_share": round(scores.missing_km2 / scores.area.km2, 4),
    }


def map_published(
    edition: Edition | str,
    area: AreaLike | Area,
    year: int,
    out: Path | str,
    options: MapOptions | None = None,
    *,
    crs: str = "auto",
    force: bool = False,
    on_step: OnStep = silent,
    use: Callable[[PublishedMap], None] | None = None,
    report: RunReport | None = None,
) -> PublishedMap:
    """Map the fields of an area from published probabilities.

    Parameters
    ----------
    edition : Edition or str
        Of probabilities: ``ftw-2e``, ``ftw-1e``, or ``NAME@ADDRESS``.
    area : path, bbox, GeoJSON or Area
        See :func:`selion.imagery.read_area`.
    year : int
    out : path
        The table; its ending decides the format.
    options : MapOptions, optional
        How objects and outlines are made; ``predict.gsd`` is the pixel in metres.  What concerns a
        model has no effect.
    crs : str
        See :func:`selion.imagery.target_grid`.
    use : callable, optional
        Called with the result while the probabilities are still here, for example to draw them.
    report : RunReport, optional
        Gets the seconds of each stage, and the blocks that could not be read.

    Returns
    -------
    PublishedMap
        Fields that touch the area, whole as far as the area's grid reaches, which is the box around
        the area: one on the border of the box is cut there.  Of an area in parts that lie apart,
        what is further than 1,024 pixels from it is not read.

    Raises
    ------
    NoScenes
        If nothing of the area was looked at.
    Incomplete
        Without ``report``: the table is written, but lacks what could not be read.
    SelionError
        If edition, area, year or options cannot be used, or nothing can be read or written.
    """
    options, out = options or MapOptions(), Path(out)
    told, report = report is not None, report or RunReport()
    force = _checked(out, options, force=force)
    scores = open_probabilities(edition, area, year, gsd=options.predict.gsd, crs=crs)
    check_fields(options.outlines, options.land_cover, scores.grid)
    for note in scores.notes:
        if scores.tiles or note != scores.missing_note:  # of one array it is counted below
            report.on_note(note)
    with work_folder(out, options.work, report) as folder:
        place = options.journal or folder
        journal = prediction.BlockJournal(f"{place}/published-{scores.key[:16]}", scores.key)
        with open_runner(options.runner) as runner, report.stages.during("read"):
            gathered = gather(scores, journal, runner, report, on_step)
        if not scores.tiles:  # one array of the world: only its pixels tell where nothing is
            gathered = replace(gathered, scores=_counted(gathered))
            scores = gathered.scores
            if scores.missing_km2:
                report.on_note(scores.missing_note)
        if options.scores is not None:
            with report.stages.during("write"):
                _write_scores(gathered, options.scores, force=force, on_step=on_step)
        frame = map_scores(
            gathered,
            FTW3,
            out,
            replace(published_options(options), work=folder),
            provenance=dict(scores.provenance),
            refine=touching(scores),
            force=force,
            on_step=on_step,
            report=report,
        )
        result = PublishedMap(out, frame, gathered)
        if use is not None:
            use(result)
    conclude(out, report, told=told)
    return result


def map_published_fields(
    edition: Edition | str,
    area: AreaLike | Area,
    year: int,
    out: Path | str,
    options: MapOptions | None = None,
    *,
    least_confidence: float | None = None,
    force: bool = False,
    on_step: OnStep = silent,
    report: RunReport | None = None,
) -> tuple[Path, GeoDataFrame]:
    """Write the published polygons of an area as a table of fields.

    Parameters
    ----------
    edition, area, year, least_confidence
        As in :func:`selion.world.read_published_fields`.
    out : path
        The table; its ending decides the format.
    options : MapOptions, optional
        ``min_area``, ``outlines.max_area``, ``collection`` and ``land_cover``; what concerns
        probabilities has no effect.

    Returns
    -------
    (path, GeoDataFrame)
        The fields as written: those that touch the area, uncut, with all their columns.

    Raises
    ------
    SelionError
        As that function, and if the table cannot be written.
    """
    options, out, report = options or MapOptions(), Path(out), report or RunReport()
    force = _checked(out, replace(options, scores=None), force=force)
    with report.stages.during("read"):
        found = read_published_fields(
            edition, area, year, least_confidence=least_confidence, on_step=on_step
        )
    for note in found.notes:
        report.on_note(note)
    frame = found.frame
    size = frame["metrics:area"].to_numpy(np.float64)
    wide = (size >= (options.min_area or 0)) & (size <= options.outlines.max_area)
    if not wide.all():
        frame = frame[wide].reset_index(drop=True)
    if options.land_cover is not None:
        frame, note = keep_cropland(frame, options.land_cover, on_step)
        on_step("land cover", 1, 1, note)
    name = found.provenance["edition"]
    origin = fields.Origin(
        options.collection or out.stem,
        details=f"{name}, as published, selion {selion.__version__}",
        provenance=found.provenance,
    )
    with report.stages.during("table"):
        fields.write_fields(frame, out, origin, force=force)
    return out, frame


def _checked(out: Path, options: MapOptions, *, force: bool) -> bool:
    """Refuse what cannot be, before anything is read; say whether the output may be replaced."""
    if options.method == "cut":
        raise BadInput(
            "Method 'cut' was asked for, which needs a model's learnt score; published "
            "probabilities come without: use watershed, components or vote."
        )
    force = check_output(out, force)
    if options.scores is not None:
        store.check_output(options.scores, force)
    fields.format_of(out)
    return force


def _counted(gathered: GatheredScores) -> PublishedScores:
    """Count the pixels of the area that hold nothing; of what could not be read nobody knows.

    Raises
    ------
    NoScenes
        If all do.
    """
    scores = gathered.scores
    inside, missing = 0, 0
    for roi in tiles((gathered.grid.shape[0], gathered.grid.shape[1]), BLOCK):
        wanted = scores.area.mask(gathered.grid[roi])
        inside += int(wanted.sum())
        wanted &= ~gathered.unread(roi)
        missing += int((wanted & ~np.asarray(gathered.read(roi).valid)).sum())
    if missing == inside:
        raise NoScenes(nothing_seen(scores.edition, scores.area, scores.year))
    return replace(scores, counted_km2=scores.area.km2 * missing / inside)


def touching(scores: PublishedScores) -> Refine:
    """Return what keeps the fields that touch the area."""
    import shapely

    place = shapely.union_all(scores.area.on(scores.grid))

    def refine(frame: GeoDataFrame) -> GeoDataFrame:
        return frame[frame.geometry.intersects(place)]

    return refine


def _write_scores(gathered: GatheredScores, path: Path, *, force: bool, on_step: OnStep) -> None:
    """Write probabilities as a COG of ours: v / 254, 255 where nothing was looked at."""
    rois = tiles((gathered.grid.shape[0], gathered.grid.shape[1]), BLOCK)
    with store.create_cog(
        path,
        gathered.grid,
        gathered.bands,
        np.uint8,
        nodata=NODATA,
        tags=dict(gathered.tags) | {"scores": json.dumps(SCORE_BYTES)},
        overviews="average",
        force=force,
    ) as sink:
        for number, roi in enumerate(rois, 1):
            part = gathered.read(roi)
            sink.write(roi, quantise(part.values, np.asarray(part.valid)))
            on_step("scores", number, len(rois), "")
