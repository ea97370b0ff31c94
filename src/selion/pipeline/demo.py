"""The demo: a countryside is simulated, mapped and scored against its own truth.

A page shows it.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

import selion
from selion import fields, store
from selion import metrics as score
from selion.classes import ClassScheme
from selion.grid import whole
from selion.pipeline import maps
from selion.progress import OnNote, OnStep
from selion.raster import colour_bands
from selion.reports import page, picture
from selion.simulation.landscape import Landscape, simulate

if TYPE_CHECKING:
    from geopandas import GeoDataFrame


@dataclass(frozen=True)
class DemoResult:
    """What the demo made."""

    report: Path
    scores: dict[str, dict[str, float]]
    """Rows of the table: who -> metric -> value."""
    table: str
    """The scores as text."""


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
        rasters["scl.tif"] = (scene.scl.values, scene.scl.bands, None)
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
    truth = fields.to_fields(scene.instances, fields.FieldOptions(simplify=0))
    fields.write_fields(
        truth,
        out / "truth.parquet",
        fields.Origin("simulated", None, f"seed {scene.seed}, {scene.style}", "unknown"),
        force=force,
    )
    return paths


def run_demo(
    out: Path,
    *,
    seed: int = 11,
    size: int = 768,
    image: str | None = None,
    force: bool = False,
    on_step: OnStep,
    on_note: OnNote,
) -> DemoResult:
    """Simulate, map, score, report.

    Parameters
    ----------
    out : path
        Folder; gets ``scene/``, ``fields.parquet``, ``fields.scores.tif``, ``preview.png`` and
        ``report.html``.
    image : str, optional
        A real image that is mapped besides, with the model that fits its bands; it has no truth, so
        it is only shown.
    """
    began = time.monotonic()
    store.check_output(out / "report.html", force)
    on_note(f"Simulating {size} x {size} pixels of 10 m, seed {seed} ...")
    scene = simulate(seed, (size, size), 10.0, "europe")
    write_landscape(scene, out / "scene", force=True)
    options = maps.MapOptions()
    job = maps.prepare(out / "scene" / "image.tif", None, options)
    for note in job.notes:
        on_note(note)
    scores_path = out / "fields.scores.tif"
    preview = out / "preview.png"
    path, frame = maps.map_image(
        job,
        out / "fields.parquet",
        options,
        scores=scores_path,
        preview=preview,
        force=True,
        on_step=on_step,
    )
    rows = score_scene(scene, frame)
    sections = [
        _scene_section(scene, job.source, frame),
        _score_section(rows, job.model.card.name),
        _outputs_section(out, path, scores_path, preview),
    ]
    if image is not None:
        sections.insert(1, _real_section(image, out, options, on_step, on_note))
    seconds = time.monotonic() - began
    lead = (
        f"{size} x {size} pixels of 10 m became {len(frame):,} fields in {seconds:.0f} s, from "
        "nothing to this page."
    )
    with store.atomic_write(out / "report.html", force=True) as temporary:
        temporary.write_text(
            page.page(
                "selion demo",
                lead,
                sections,
                f"selion {selion.__version__}, model {job.model.card.name}, seed {seed}",
            ),
            "utf-8",
        )
    return DemoResult(out / "report.html", rows, text_table(rows))


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


def text_table(rows: dict[str, dict[str, float]]) -> str:
    """Lay scores out for a terminal."""
    metrics = list(next(iter(rows.values())))
    width = max(len(name) for name in rows)
    lines = [" " * width + "".join(f"  {m:>16}" for m in metrics)]
    lines += [
        f"{name:<{width}}" + "".join(f"  {row[m]:>16.3f}" for m in metrics)
        for name, row in rows.items()
    ]
    return "\n".join(lines)


def _scene_section(scene: Landscape, source: Any, frame: GeoDataFrame) -> str:
    grid = scene.image.grid
    first, step = picture.thumbnail(source, 768)
    names = source.bands
    second, _ = picture.thumbnail(
        source,
        768,
        colour_bands(tuple(n if n.startswith("window_b") else "" for n in names)),
    )
    truth = fields.to_fields(scene.instances, fields.FieldOptions(simplify=0))
    shown = [
        page.Figure(
            picture.data_uri(first),
            "First date, true colour.",
            "Simulated fields in true colour, first date",
        ),
        page.Figure(
            picture.data_uri(second),
            "Second date, true colour.",
            "The same fields on the second date",
        ),
        page.Figure(
            picture.data_uri(
                picture.draw_outlines(first, truth, grid, step, picture.COLOURS["truth"])
            ),
            "The truth.",
            "Outlines of the true fields",
        ),
        page.Figure(
            picture.data_uri(picture.draw_outlines(first, frame, grid, step)),
            "The fields that were found.",
            "Outlines of the fields found",
        ),
    ]
    return page.section("The scene, its truth and its map", page.figures(shown))


def _score_section(rows: dict[str, dict[str, float]], model: str) -> str:
    metrics = list(next(iter(rows.values())))
    body = [
        [name if name != "selion" else f"selion, {model}", *(row[m] for m in metrics)]
        for name, row in rows.items()
    ]
    text = (
        "Against the truth of the same scene. The model was trained on other seeds of the same "
        "simulation: real imagery is the measure, see docs/weights.md."
    )
    return page.section("Scores", page.table(["", *metrics], body), page.paragraph(text))


def _outputs_section(out: Path, *paths: Path) -> str:
    listed = [
        *paths,
        *(out / "scene" / name for name in ("image.tif", "instances.tif", "truth.parquet")),
    ]
    rows = [[str(path.relative_to(out)), f"{path.stat().st_size / 1e6:.1f} MB"] for path in listed]
    return page.section("Files", page.table(["file", "size"], rows))


def _real_section(
    image: str, out: Path, options: maps.MapOptions, on_step: OnStep, on_note: OnNote
) -> str:
    job = maps.prepare(image, None, options)
    for note in job.notes:
        on_note(note)
    _, frame = maps.map_image(job, out / "real.parquet", options, force=True, on_step=on_step)
    shown, step = picture.thumbnail(job.source, 1100)
    found = picture.draw_outlines(shown, frame, job.source.grid, step)
    facts = maps.summarise(frame)
    figures = [
        page.Figure(picture.data_uri(shown), "The image.", "The real image in true colour"),
        page.Figure(
            picture.data_uri(found),
            f"{facts['fields']:,} fields, {facts['total_ha']} ha.",
            "The real image with the fields found",
        ),
    ]
    return page.section(f"A real image: {Path(image).name}", page.figures(figures))
