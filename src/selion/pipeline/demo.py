"""The demo: a countryside is simulated, mapped and scored against its own truth."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

import selion
from selion import fields, store
from selion import metrics as score
from selion.classes import ClassScheme
from selion.errors import SelionError
from selion.grid import whole
from selion.labels import Instances
from selion.pipeline import maps
from selion.pipeline.watcher import MapWatcher
from selion.progress import OnNote, OnStep, silent, unsaid
from selion.simulation.archive import ArchiveOptions
from selion.simulation.landscape import Landscape, simulate

if TYPE_CHECKING:
    from geopandas import GeoDataFrame


CLOUDS = "scl.tif"
"""Of a scene with clouds."""
REPORT = "report.html"
"""The page that :func:`selion.reports.demo.write_report` adds to the folder."""


@dataclass(frozen=True, eq=False)
class DemoMap:
    """An image that was mapped."""

    job: maps.MapJob
    path: Path
    """The table."""
    frame: GeoDataFrame
    """Its fields."""


@dataclass(frozen=True, eq=False)
class DemoResult:
    """What the demo made."""

    folder: Path
    scene: Landscape
    mapped: DemoMap
    """The scene's map."""
    scores: dict[str, dict[str, float]]
    """Who -> metric -> value; of the map, and of what needs no model."""
    seconds: float
    """From the simulation to the scores."""
    real: DemoMap | None = None
    """The map of a real image, where one was given."""


def write_landscape(scene: Landscape, out: Path, *, force: bool = False) -> list[Path]:
    """Write a simulated scene and its truth as COGs and a table.

    Raises
    ------
    OutputExists, OutputFailed
        If it may not, or cannot, be written.
    """
    tags = {
        "selion": json.dumps(
            {
                "simulated": True,
                "seed": scene.seed,
                "style": scene.style,
                "version": selion.__version__,
            }
        )
    }
    rasters: dict[str, tuple[np.ndarray, tuple[str, ...], Any]] = {
        "image.tif": (scene.image.values, scene.image.bands, None),
        "instances.tif": (scene.instances.ids[None].astype(np.int32), ("instance",), 0),
        "labels.tif": (scene.labels.ids[None], ("class",), 255),
        "cover.tif": (scene.cover.ids[None], ("cover",), 255),
    }
    if scene.scl is not None:
        rasters[CLOUDS] = (scene.scl.values, scene.scl.bands, None)
    paths = [out / name for name in (*rasters, "truth.parquet")]
    for path in paths:
        store.check_output(path, force)
    for name, (values, bands, nodata) in rasters.items():
        overviews: Literal["average", "nearest"] = "average" if name == "image.tif" else "nearest"
        with store.create_cog(
            out / name,
            scene.image.grid,
            bands,
            values.dtype,
            nodata=nodata,
            tags=tags,
            overviews=overviews,
            force=force,
        ) as sink:
            sink.write(whole(scene.image.grid), values)
    details = f"seed {scene.seed}, {scene.style}"
    _write_truth(scene.instances, out / "truth.parquet", None, details, force=force)
    if force and scene.scl is None:
        _remove_former(out / CLOUDS)
    return paths


def _remove_former(clouds: Path) -> None:
    """Remove the clouds of a simulated scene that was replaced by one without; nothing else."""
    if not clouds.is_file():
        return
    try:
        told = json.loads(store.open_raster(clouds).tags.get("selion", "{}"))
    except (SelionError, ValueError, RecursionError):
        return
    if isinstance(told, dict) and told.get("simulated"):
        clouds.unlink(missing_ok=True)


def write_outlines(instances: Instances, options: ArchiveOptions, path: Path) -> None:
    """Write the outlines of a simulated archive's fields, see ``draw`` of ``simulate_archive``.

    Raises
    ------
    OutputExists, OutputFailed
        If they may not, or cannot, be written.
    """
    seen = datetime(options.year, 12, 31, tzinfo=UTC)
    _write_truth(instances, path, seen, f"seed {options.seed}, {options.style}")


def _write_truth(
    instances: Instances,
    path: Path,
    determined: datetime | None,
    details: str,
    *,
    force: bool = False,
) -> None:
    frame = fields.to_fields(instances, fields.FieldOptions(simplify=0))
    origin = fields.Origin("simulated", determined, details, "unknown")
    fields.write_fields(frame, path, origin, force=force)


def run_demo(
    out: Path,
    *,
    seed: int = 11,
    size: int = 768,
    image: str | None = None,
    watcher: MapWatcher | None = None,
    force: bool = False,
    on_step: OnStep = silent,
    on_note: OnNote = unsaid,
) -> DemoResult:
    """Simulate, map and score; :func:`selion.reports.demo.write_report` shows it.

    Parameters
    ----------
    out : path
        Folder; gets ``scene/``, ``fields.parquet`` and ``fields.scores.tif``.
    seed, size : int
        Of the scene; ``size`` is its edge in pixels of 10 m.
    image : str, optional
        A real image that is mapped besides, with the model that fits its bands; it has no truth, so
        it is only shown.
    watcher : MapWatcher, optional
        Looks on while the scene is mapped.
    force : bool
        Whether a finished demo, which is one with a page, is replaced.
    on_step, on_note : callable, optional

    Raises
    ------
    OutputExists, OutputFailed
        If it may not, or cannot, be written.
    """
    began = time.monotonic()
    store.check_output(out / REPORT, force)
    if image is not None:
        store.open_raster(image)  # now: a name that is wrong is said before the work
    on_note(f"Simulating {size} x {size} pixels of 10 m, seed {seed} ...")
    scene = simulate(seed, (size, size), 10.0, "europe")
    write_landscape(scene, out / "scene", force=True)
    options = maps.MapOptions(scores=out / "fields.scores.tif")
    map_one = partial(_map, on_step=on_step, on_note=on_note)
    mapped = map_one(out / "scene" / "image.tif", out / "fields.parquet", options, watcher)
    scores = score_scene(scene, mapped.frame)
    real = None if image is None else map_one(image, out / "real.parquet", maps.MapOptions())
    return DemoResult(out, scene, mapped, scores, time.monotonic() - began, real)


def _map(
    image: Path | str,
    out: Path,
    options: maps.MapOptions,
    watcher: MapWatcher | None = None,
    *,
    on_step: OnStep,
    on_note: OnNote,
) -> DemoMap:
    job = maps.prepare(image, None, options)
    for note in job.notes:
        on_note(note)
    path, frame = maps.map_image(job, out, options, watcher=watcher, force=True, on_step=on_step)
    return DemoMap(job, path, frame)


def score_scene(scene: Landscape, frame: GeoDataFrame) -> dict[str, dict[str, float]]:
    """Score the map and, beside it, what needs no model.

    A gradient watershed, a regular grid, one field everywhere.

    All are compared with the truth on the scene's own grid: pixel IoU of field against background,
    object F1 at IoU 0.5.
    """
    truth = scene.instances.ids
    prediction = store.burn(
        frame.geometry.to_numpy(), range(1, len(frame) + 1), scene.instances.grid
    )
    image = scene.image.values
    cell = max(2, round(float(np.sqrt((truth > 0).sum() / max(truth.max(), 1)))))
    answers = {
        "selion": prediction,
        # what suits it best at 10 m
        "gradient watershed": score.gradient_watershed(image, sigma=0.7, min_area=20),
        "regular grid": score.regular_grid(truth.shape, cell),
        "one field everywhere": score.constant(truth.shape),
    }
    return {name: compare(truth, ids) for name, ids in answers.items()}


TWO = ClassScheme(("background", "field"), ("field",))


def compare(truth: np.ndarray, prediction: np.ndarray) -> dict[str, float]:
    """Return pixel IoU and object precision, recall and F1 at IoU 0.5 of (y, x) ids."""
    pixels = score.pixel_scores(
        score.confusion((truth > 0).astype(np.uint8), (prediction > 0).astype(np.uint8), TWO)
    )
    objects = score.object_scores(score.overlap_table(truth, prediction), 0.5)
    return {
        "pixel IoU": float(pixels.iou[1]),
        "object precision": objects.precision,
        "object recall": objects.recall,
        "object F1": objects.f1,
    }
