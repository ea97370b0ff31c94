"""The page of the demo: the scene, its truth and its map, the scores, the files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import selion
from selion import fields, store
from selion.pipeline.demo import REPORT
from selion.pipeline.maps import summarise
from selion.raster import colour_bands
from selion.reports import page, picture

if TYPE_CHECKING:
    from selion.pipeline.demo import DemoMap, DemoResult

PREVIEW = "preview.png"
"""The preview of the scene's map, in the demo's folder."""
FILES = (
    "fields.parquet",
    "fields.scores.tif",
    PREVIEW,
    "scene/image.tif",
    "scene/instances.tif",
    "scene/truth.parquet",
)
"""What the page names, where it is there."""


def write_report(result: DemoResult) -> Path:
    """Write ``report.html`` into the demo's folder; what is there is replaced.

    Raises
    ------
    OutputFailed
        If it cannot be written.
    """
    text = to_html(result)
    store.write_text(result.folder / REPORT, text, force=True)
    return result.folder / REPORT


def to_html(result: DemoResult) -> str:
    """Lay a demo out as a self-contained page."""
    height, width = result.scene.image.grid.shape
    model = result.mapped.job.model.card.name
    lead = (
        f"{width} x {height} pixels of 10 m became {len(result.mapped.frame):,} fields in "
        f"{result.seconds:.0f} s, simulation and scores included."
    )
    sections = [
        _scene_section(result),
        *([] if result.real is None else [_real_section(result.real)]),
        _score_section(result.scores, model),
        _files_section(result.folder),
    ]
    footer = f"selion {selion.__version__}, model {model}, seed {result.scene.seed}"
    return page.page("selion demo", lead, sections, footer)


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


def _scene_section(result: DemoResult) -> str:
    scene, source, frame = result.scene, result.mapped.job.source, result.mapped.frame
    grid = scene.image.grid
    first, step = picture.thumbnail(source, 768)
    later = tuple(name if name.startswith("window_b") else "" for name in source.bands)
    second, _ = picture.thumbnail(source, 768, colour_bands(later))
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


def _files_section(folder: Path) -> str:
    rows = [
        [name, f"{(folder / name).stat().st_size / 1e6:.1f} MB"]
        for name in FILES
        if (folder / name).is_file()
    ]
    return page.section("Files", page.table(["file", "size"], rows))


def _real_section(real: DemoMap) -> str:
    source, frame = real.job.source, real.frame
    shown, step = picture.thumbnail(source, 1100)
    found = picture.draw_outlines(shown, frame, source.grid, step)
    facts = summarise(frame)
    figures = [
        page.Figure(picture.data_uri(shown), "The image.", "The real image in true colour"),
        page.Figure(
            picture.data_uri(found),
            f"{facts['fields']:,} fields, {facts['total_ha']} ha.",
            "The real image with the fields found",
        ),
    ]
    return page.section(f"A real image: {Path(real.job.image).name}", page.figures(figures))
