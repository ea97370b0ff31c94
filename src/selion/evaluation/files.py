"""A map against a truth, from files: rasters of ids, tables of polygons, or one of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from selion import fields, store
from selion.errors import BadInput
from selion.evaluation.outcomes import Outcomes, around, picture_outcomes
from selion.evaluation.sides import (
    BurntIds,
    RasterIds,
    blind_answers,
    column_of,
    confidences,
    is_vector,
    mapped_area,
    open_extent,
    open_side,
    predicted_column,
    squares_of,
    unseen,
)
from selion.evaluation.twins import refuse_twice
from selion.evaluation.vectors import score_fields
from selion.grid import same_grid
from selion.metrics.image import ImageOptions, ImageScores
from selion.metrics.report import Report
from selion.metrics.streamed import WHOLE, score_sources
from selion.metrics.summary import RunScores, ScoreOptions, compare, summarise
from selion.store.address import Place

MOST_SQUARES = 3_000_000
"""Objects of a baseline: some 300 bytes of memory each are taken while they are scored, and a grid
of squares a quarter as wide as fields has 36 million at 30,000 x 30,000 px."""


@dataclass(frozen=True)
class FilesCompared:
    """Maps that were compared with a truth."""

    report: Report
    outcomes: tuple[Outcomes, ...]
    """Of each map, where it is right and where it is wrong."""


def evaluate_files(
    predictions: Sequence[Place | str],
    truth: Place | str,
    options: ScoreOptions | None = None,
    *,
    image: ImageOptions | None = None,
    reproject: bool = False,
    step: float | None = 5.0,
    extent: Place | str | None = None,
    by: Sequence[str] = (),
) -> Report:
    """Compare one map or several with a truth; rasters are read block by block.

    Parameters
    ----------
    predictions : sequence of paths or addresses
        Rasters of object ids (band 1, 0 is none) or tables of polygons; several are compared
        pairwise, the first against each other one.
    truth : path
        Raster or table; a raster decides the grid of the comparison, polygons are then burnt onto
        it by pixel centre.
    options, image
        What is summed up, and what is measured on pixels.
    reproject : bool
        Between polygons, bring the prediction to the truth's CRS where they differ.  (Polygons that
        are burnt onto a raster always come to its CRS.)
    step : float, optional
        Metres between the points of outlines whose distance is measured between polygons.
    extent : path, optional
        Where the truth was mapped: polygons, or a raster that is not 0 there.  A truth of polygons
        says where fields are, not where somebody looked for them: without an extent, everything
        outside them counts as "no field", and a field found where nobody mapped is a false alarm.
        With one, nothing outside it counts, and predictions that lie outside for more than half are
        counted as ignored.
    by : sequence of str
        Columns of the truth's table of polygons that scores are also given by; precision too, where
        the prediction has the column.

    Raises
    ------
    GridMismatch
        If rasters lie on different grids, or the CRSs of polygons differ and ``reproject`` is not
        set.
    """
    return compare_files(
        predictions,
        truth,
        options,
        image=image,
        reproject=reproject,
        step=step,
        extent=extent,
        by=by,
    ).report


def compare_files(
    predictions: Sequence[Place | str],
    truth: Place | str,
    options: ScoreOptions | None = None,
    *,
    image: ImageOptions | None = None,
    reproject: bool = False,
    step: float | None = 5.0,
    extent: Place | str | None = None,
    by: Sequence[str] = (),
) -> FilesCompared:
    """Compare as :func:`evaluate_files` does, and keep a picture of what became of each object."""
    if not predictions:
        raise BadInput("No map was given to compare with the truth: name one at least.")
    options, image = options or ScoreOptions(), image or ImageOptions()
    refuse_twice([str(store.locate(path)) for path in predictions], "map")
    names = _names(predictions)
    found = [
        _one(path, truth, image, extent, by, reproject=reproject, step=step) for path in predictions
    ]
    runs = [summarise(name, [one.scores], options) for name, one in zip(names, found, strict=True)]
    problems = [
        f"{name}: {line}" for name, one in zip(names, found, strict=True) for line in one.problems
    ]
    baselines, left_out = (
        ([], [])
        if is_vector(truth) and is_vector(predictions[0])
        else _baselines(predictions[0], truth, extent, found[0].scores, options)
    )
    problems += left_out
    differences = {f"{runs[0].name} - {other.name}": compare(runs[0], other) for other in runs[1:]}
    settings = {
        "truth": store.locate(truth).name,
        "IoU of a match": options.iou,
        "areas": "m2" if found[0].scores.unit is not None else "px",
    }
    settings |= {
        "mapped area of the truth": "everywhere" if extent is None else store.locate(extent).name
    }
    report = Report(
        f"{', '.join(names)} against {store.locate(truth).name}",
        tuple(runs),
        tuple(baselines),
        differences,
        settings,
        tuple(problems),
    )
    outcomes = [
        picture_outcomes(name, *one.sides, one.scores.table, options.iou)
        for name, one in zip(names, found, strict=True)
    ]
    return FilesCompared(report, tuple(outcomes))


@dataclass(frozen=True)
class _Compared:
    """One map beside the truth."""

    scores: ImageScores
    problems: tuple[str, ...]
    sides: tuple[RasterIds | BurntIds, RasterIds | BurntIds]


def _names(paths: Sequence[Place | str]) -> list[str]:
    places = [store.locate(path) for path in paths]
    stems = [place.stem for place in places]
    return stems if len(set(stems)) == len(stems) else [str(place) for place in places]


def _one(
    prediction: Place | str,
    truth: Place | str,
    image: ImageOptions,
    extent: Place | str | None,
    by: Sequence[str],
    *,
    reproject: bool,
    step: float | None,
) -> _Compared:
    key = store.locate(truth).stem
    if is_vector(prediction) and is_vector(truth):
        polygons, answer = fields.read_fields(truth), fields.read_fields(prediction)
        area = None if extent is None else mapped_area(extent, polygons.crs)
        compared = score_fields(
            polygons,
            answer,
            key=key,
            reproject=reproject,
            step=step,
            iou=image.iou,
            extent=area,
            by=by,
        )
        small = around(compared.sides)
        sides = BurntIds(compared.sides[0], small), BurntIds(compared.sides[1], small)
        return _Compared(compared.scores, compared.problems, sides)
    grid = store.open_raster(prediction if is_vector(truth) else truth).grid
    real, said = (
        open_side(path, grid, name) for name, path in (("truth", truth), ("prediction", prediction))
    )
    same_grid(real.grid, said.grid, ("the truth", "the prediction"))
    known = None if extent is None else open_extent(extent, grid)
    scores = score_sources(key, real, said, known, options=image)
    table = scores.table
    problems = [
        *unseen(real, table.truth_ids, "truth"),
        *unseen(said, table.prediction_ids, "prediction"),
    ]
    if image.distances and scores.distances is None:
        problems.append(
            f"Outline distances can be measured up to {WHOLE:,} pixels only; these maps have "
            f"{np.prod(grid.shape):,}."
        )
    labels = {
        column: (
            column_of(real, column, table.truth_ids),
            predicted_column(said, column, table.prediction_ids),
        )
        for column in by
    }
    scores = replace(scores, confidence=confidences(said, table.prediction_ids), labels=labels)
    return _Compared(scores, tuple(problems), (real, said))


def _baselines(
    prediction: Place | str,
    truth: Place | str,
    extent: Place | str | None,
    scored: ImageScores,
    options: ScoreOptions,
) -> tuple[list[RunScores], list[str]]:
    """Score answers that have not seen the image, on the same grid and extent.

    Those of more than :data:`MOST_SQUARES` objects are left out, and it is said.
    """
    grid = store.open_raster(prediction if is_vector(truth) else truth).grid
    real, known = (
        open_side(truth, grid, "truth"),
        None if extent is None else open_extent(extent, grid),
    )
    quick = ImageOptions(distances=False)
    answers = blind_answers(grid, scored.table.truth_area.tolist())
    runs = [
        summarise(n, [score_sources(n, real, a, known, options=quick)], options, content_free=True)
        for n, a in answers.items()
        if squares_of(a) <= MOST_SQUARES
    ]
    left_out = [
        f"The baseline {name!r} was left out: {squares_of(answer):,} squares are more than the "
        f"{MOST_SQUARES:,} that are scored."
        for name, answer in answers.items()
        if squares_of(answer) > MOST_SQUARES
    ]
    return runs, left_out
