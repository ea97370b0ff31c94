"""A map against a truth, from files: rasters of ids, tables of polygons, or one of each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tilth import fields, score, store
from tilth.errors import BadInput
from tilth.evaluate.vectors import score_fields
from tilth.grid import pixel_metres, same_grid, whole
from tilth.score.image import ImageOptions, ImageScores, score_ids
from tilth.score.report import Report
from tilth.score.summary import RunScores, ScoreOptions, compare, summarise

VECTORS = (".parquet", ".gpkg", ".geojson", ".json", ".fgb", ".shp", ".gml", ".kml")


def is_vector(path: Path | str) -> bool:
    """Say whether a name is that of a table of polygons."""
    return Path(path).suffix.lower() in VECTORS


def evaluate_files(
    guesses: Sequence[Path | str],
    truth: Path | str,
    options: ScoreOptions | None = None,
    *,
    image: ImageOptions | None = None,
    reproject: bool = False,
    step: float | None = 5.0,
) -> Report:
    """Compare one map or several with a truth.

    Parameters
    ----------
    guesses : sequence of paths
        Rasters of object ids (band 1, 0 is none) or tables of polygons; several are compared pairwise, the first against each other one.
    truth : path
        Raster or table; a raster decides the grid of the comparison, polygons are then burnt onto it by pixel centre.
    options, image
        What is summed up, and what is measured on pixels.
    reproject : bool
        Bring polygons to the truth's CRS where they differ.
    step : float, optional
        Metres between the points of outlines whose distance is measured between polygons.

    Raises
    ------
    GridMismatch
        If rasters lie on different grids, or CRSs differ and ``reproject`` is not set.
    """
    if not guesses:
        message = "No map was given to compare with the truth: name one at least."
        raise BadInput(message)
    options = options or ScoreOptions()
    names = _names(guesses)
    found = [_one(path, truth, image or ImageOptions(), reproject=reproject, step=step) for path in guesses]
    runs = [summarise(name, [scores], options) for name, (scores, _) in zip(names, found, strict=True)]
    problems = [f"{name}: {line}" for name, (_, lines) in zip(names, found, strict=True) for line in lines]
    baselines = _baselines(truth, options) if not is_vector(truth) else []
    differences = {f"{runs[0].name} - {other.name}": compare(runs[0], other) for other in runs[1:]}
    settings = {"truth": Path(truth).name, "IoU of a match": options.iou, "areas": "m2" if found[0][0].unit is not None else "px"}
    return Report(f"{', '.join(names)} against {Path(truth).name}", tuple(runs), tuple(baselines), differences, settings, tuple(problems))


def _names(paths: Sequence[Path | str]) -> list[str]:
    stems = [Path(p).stem for p in paths]
    return stems if len(set(stems)) == len(stems) else [str(p) for p in paths]


def _one(guess: Path | str, truth: Path | str, image: ImageOptions, *, reproject: bool, step: float | None) -> tuple[ImageScores, tuple[str, ...]]:
    key = Path(truth).stem
    if is_vector(guess) and is_vector(truth):
        compared = score_fields(fields.read_fields(truth), fields.read_fields(guess), key=key, reproject=reproject, step=step, iou=image.iou)
        return compared.scores, compared.problems
    raster = store.open_raster(guess if is_vector(truth) else truth)
    ids, sure, problems = {}, None, []
    for name, path in (("truth", truth), ("guess", guess)):
        ids[name], confidence, lines = _onto(path, raster, name)
        problems += lines
        sure = confidence if name == "guess" else None
    scores = score_ids(key, ids["truth"], ids["guess"], confidence=sure, pixel=pixel_metres(raster.grid), options=image)
    return scores, tuple(problems)


def _onto(path: Path | str, raster: Any, name: str) -> tuple[np.ndarray, np.ndarray | None, list[str]]:
    """Read ids on the grid of ``raster``."""
    if not is_vector(path):
        source = store.open_raster(path)
        same_grid(raster.grid, source.grid, ("the raster", f"the {name}"))
        values = source.read(whole(source.grid)).values[0]
        if not np.issubdtype(values.dtype, np.integer):
            message = f"{path} holds {values.dtype} values; wanted is a raster of object ids (integers, 0 for none)."
            raise BadInput(message)
        return np.maximum(values, 0).astype(np.int32), None, []
    frame = fields.read_fields(path)
    if raster.grid.crs is not None and frame.crs is not None:
        frame = frame.to_crs(str(raster.grid.crs))
    ids = store.burn(frame.geometry.to_numpy(), range(1, len(frame) + 1), raster.grid)
    present = np.unique(ids[ids > 0])
    lost = len(frame) - len(present)
    lines = [f"{name}: {lost:,} of {len(frame):,} polygons hold no pixel centre of the grid and were not compared."] if lost else []
    return ids, frame["confidence"].to_numpy(float)[present - 1] if "confidence" in frame else None, lines


def _baselines(truth: Path | str, options: ScoreOptions) -> list[RunScores]:
    source = store.open_raster(truth)
    ids = np.maximum(source.read(whole(source.grid)).values[0], 0).astype(np.int32)
    step = max(2, round(float(np.sqrt((ids > 0).sum() / max(len(np.unique(ids)) - 1, 1)))))
    quick, pixel = ImageOptions(distances=False), pixel_metres(source.grid)
    answers = {f"grid of {step} px": score.regular_grid(ids.shape, step), f"grid of {max(2, step // 4)} px": score.regular_grid(ids.shape, max(2, step // 4))}
    answers |= {"one object everywhere": score.constant(ids.shape)}
    return [summarise(n, [score_ids(n, ids, a, pixel=pixel, options=quick)], options, content_free=True) for n, a in answers.items()]
