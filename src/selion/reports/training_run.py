"""A training run with its report: curves, scores, and samples of the validation split.

And sweeps, which are several runs with a table.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import selion
from selion import metrics, models, store, training
from selion.progress import OnStep, silent
from selion.reports import page, picture
from selion.sample import Sample, known_keys

if TYPE_CHECKING:
    from selion.training.run import Result, TrainingPlan
    from selion.training.scoring import Scores

REPORT, NUMBERS = "report.html", "report.json"
SHOWN = 6
"""Samples of the validation split in the report: the worst, the best, and those between, evenly
spread."""
CURVES = {
    "loss": "training",
    "val/loss": "validation",
    "lr": "rate",
    "images_per_s": "windows",
    "val/object_f1": "object F1",
    "val/pixel_iou": "pixel IoU",
    "val/miou": "mIoU",
}
"""Names of curves in a table of steps, and for people."""
SEEN = 640
"""Edge of a sample on the page in pixels: as wide as its column, so that outlines can be told."""
SAMPLE_KEY = {
    name: "#{:02x}{:02x}{:02x}".format(*colour)
    for name, colour in (
        ("truth", picture.COLOURS["truth"]),
        ("answer", picture.COLOURS["fields"]),
        ("both", (255, 255, 255)),
    )
}
FEW = 5
"""Below so many samples of the validation split, the report warns of its intervals."""
COLOURS = ("var(--accent)", "#c0642b", "#3a6ea5", "#9a4f96")


def run(
    plan: TrainingPlan,
    folder: Path,
    *,
    resume: bool = False,
    force: bool = False,
    on_step: OnStep = silent,
) -> Result:
    """Train a plan and write ``report.html`` and ``report.json`` beside the model.

    Raises
    ------
    OutputExists, OutputFailed, BadInput
        See :func:`selion.training.train_plan`.
    """
    done = resume and is_finished(plan, folder)
    result = training.train_plan(plan, folder, resume=resume, force=force, on_step=on_step)
    # of a run that was finished before nothing new is known, and its pace would be that of doing
    # nothing
    if result.trained.leads and not done:
        write_report(result, folder)
    return result


def is_finished(plan: TrainingPlan, folder: Path) -> bool:
    """Say whether a folder holds the model and the report of this very plan.

    Raises BadInput if it holds another run.
    """
    from selion.training.run import is_finished as all_done

    return (folder / REPORT).is_file() and all_done(plan, folder)


def write_report(result: Result, folder: Path) -> Path:
    """Write the report of a finished run; what is there is replaced."""
    store.write_text(folder / NUMBERS, json.dumps(numbers(result), indent=1) + "\n", force=True)
    store.write_text(folder / REPORT, to_html(result), force=True)
    return folder / REPORT


def numbers(result: Result) -> dict[str, Any]:
    """Return what a run gave as plain values for JSON."""
    trained, scores = result.trained, result.trained.scores
    facts: dict[str, Any] = {
        "name": result.card.name,
        "recipe": training.recipe_table(result.plan.recipe),
        "training_samples": len(result.plan.samples),
        "validation_samples": len(result.plan.validation),
        "seconds": round(trained.seconds, 1),
        "images_per_second": round(trained.images_per_second, 2),
        "share_waited_for_data": round(trained.waited, 4),
        "engine": trained.engine,
    }
    if scores is not None:
        facts["scores"] = scores.to_dict()
        facts["intervals"] = {name: scores.interval(name).to_dict() for name in scores.measures}
        facts["samples"] = {
            key: counts.tolist() for key, counts in zip(scores.keys, scores.counts, strict=True)
        }
    if result.beside is not None:
        facts["start"] = result.beside.to_dict()
    return facts


def to_html(result: Result) -> str:
    """Lay a run out as a self-contained page."""
    trained, recipe = result.trained, result.plan.recipe
    sections = [
        page.section("Scores", *_beside_parts(result), *_score_parts(result.trained.scores))
    ]
    if trained.scores is not None and len(result.plan.validation):
        sections.append(
            page.section(
                "Samples of the validation split, the worst first",
                f"<p>{page.legend(SAMPLE_KEY)}</p>",
                page.figures(sample_figures(result)),
            )
        )
    sections.append(page.section("Curves", *curves(trained.history)))
    sections.append(page.section("How it ran", page.table(["", ""], _facts(result))))
    settings = [[k, json.dumps(v)] for k, v in _flat(training.recipe_table(recipe))]
    sections.append(
        page.section(
            "Recipe", page.folded(f"{len(settings)} settings", page.table(["", ""], settings))
        )
    )
    folds = recipe.validate.folds
    judges = f"judged in {folds} folds" if folds else f"{len(result.plan.validation):,} validation"
    samples = f"{len(result.plan.samples):,} training samples, {judges}" + " samples" * (not folds)
    lead = f"{recipe.summary or recipe.name}. {samples}, {recipe.schedule.epochs} epochs."
    return page.page(f"Training: {recipe.name}", lead, sections, f"selion {selion.__version__}")


def _beside_parts(result: Result) -> list[str]:
    """Show the new model and the one it started from on the same samples."""
    found = result.beside
    if found is None:
        return [page.paragraph(note) for note in result.notes]
    from selion.training.scoring import MEASURES

    new, start = found.new.scores, found.scores
    names = [name for name in new.measures if name in start.measures]
    rows: list[list[object]] = [
        [label, one.method or "-", *(one.scores.value(name) for name in names)]
        for label, one in (
            (f"new: {result.card.name}", found.new),
            (f"start: {found.name}", found.start),
        )
    ]
    parts = [
        page.paragraph(found.sentence),
        page.table(["model", "objects by", *(MEASURES[name] for name in names)], rows),
    ]
    if not found.tried:
        return parts
    tried: list[list[object]] = [
        [
            f"{one.share:g}{', the start itself' if one is found.start else ''}",
            "as it is" if one.card.inputs.gsd is None else _metres(one.card.inputs.gsd),
            one.method or "-",
            one.scores.judged,
        ]
        for one in found.tried
    ]
    head = ["share of the start's weights", "pixels", "objects by", MEASURES[start.metric]]
    return [*parts, page.paragraph("What the held-out chips chose from:"), page.table(head, tried)]


def _metres(gsd: tuple[float, float]) -> str:
    return f"{gsd[0]:g} to {gsd[1]:g} m"


def _score_parts(scores: Scores | None) -> list[str]:
    if scores is None:
        return [
            page.paragraph(
                "There was no validation split, so nothing is known of how good this model is."
            )
        ]
    from selion.training.scoring import MEASURES

    found = {name: scores.interval(name) for name in scores.measures}
    rows = [[MEASURES[name], interval.value, interval.bounds] for name, interval in found.items()]
    parts = [
        page.table(
            ["", "score", "95 % of bootstrap draws of samples"],
            rows,
            f"Validation split, {len(scores.keys):,} samples.",
        )
    ]
    if len(scores.keys) < FEW:
        parts.append(
            page.paragraph(
                "So few samples say little: draws of them are alike, and the intervals too narrow."
            )
        )
    if scores.confusion is not None:
        table = metrics.pixel_scores(scores.confusion).table[["iou", "precision", "recall", "f1"]]
        body = [
            [str(name), *(float(v) for v in row)]
            for name, row in zip(table.index, table.to_numpy(), strict=True)
        ]
        parts.append(page.table(["class", *table.columns], body, "Pixels by class."))
    return parts


def _facts(result: Result) -> list[list[object]]:
    trained = result.trained
    return [
        ["computed by", trained.engine],
        ["time", f"{trained.seconds / 60:.1f} minutes (since it was started or resumed)"],
        ["pace", f"{trained.images_per_second:.3g} windows a second"],
        ["waited for data", f"{trained.waited:.1%} of the training time"],
        ["data", result.card.training],
        ["licence", result.card.licence or "not stated"],
    ]


def _flat(table: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in table.items():
        found += (
            _flat(value, f"{prefix}{key}.")
            if isinstance(value, dict)
            else [(f"{prefix}{key}", value)]
        )
    return found


def curves(history: Sequence[dict[str, Any]]) -> list[str]:
    """Draw loss, learning rate and validation scores over the steps."""
    groups = {
        "Loss": ("loss", "val/loss"),
        "Learning rate": ("lr",),
        "Validation": ("val/object_f1", "val/pixel_iou", "val/miou"),
        "Windows a second": ("images_per_s",),
    }
    charts = []
    for title, names in groups.items():
        lines = {
            _line_name(name): [
                (e["step"], e[name]) for e in history if name in e and math.isfinite(e[name])
            ]
            for name in names
        }
        lines = {name: points for name, points in lines.items() if points}
        if lines:
            charts.append(chart(title, lines, (0.0, 1.0) if title == "Validation" else None))
    return [page.row(charts)] if charts else [page.paragraph("Nothing was logged.")]


def _line_name(name: str) -> str:
    """Name a curve for people: the loss of the validation split stands beside that of training."""
    return CURVES.get(name, name.removeprefix("val/"))


def chart(
    title: str, lines: dict[str, list[tuple[float, float]]], span: tuple[float, float] | None = None
) -> str:
    """Draw lines as an inline SVG that scales with the page.

    Parameters
    ----------
    title : str
    lines : dict
        Name -> (x, y) points.
    span : (low, high), optional
        Of the y axis; that of the points without it.
    """
    xs, ys = ([p[axis] for points in lines.values() for p in points] for axis in (0, 1))
    right = max(xs)
    left = min(*xs, right - 1)  # what is known of one step alone stands at the end
    low, high = span or (min(ys), max(ys))
    low, high = (
        (low - 0.05 * abs(low) - 1e-9, high + 0.05 * abs(high) + 1e-9)
        if high - low < 1e-9
        else (low, high)
    )

    def at(x: float, y: float) -> str:
        return (
            f"{60 + 320 * (x - left) / (right - left):.1f},"
            f"{150 - 130 * (y - low) / (high - low):.1f}"
        )

    drawn = []
    for (name, points), colour in zip(lines.items(), COLOURS, strict=False):
        drawn.append(
            f'<polyline points="{" ".join(at(*p) for p in points)}" fill="none" stroke="{colour}" '
            f'stroke-width="1.8"><title>{escape(name)}</title></polyline>'
        )
        if len(points) == 1:
            x, y = at(*points[0]).split(",")
            drawn.append(f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>')
    axes = '<path d="M60 20V150H380" fill="none" stroke="currentColor" stroke-opacity=".4"/>'
    words = (
        f'<text x="55" y="24" text-anchor="end">{high:.2g}</text><text x="55" y="150" '
        f'text-anchor="end">{low:.2g}</text><text x="380" y="166" text-anchor="end">step '
        f"{right:,.0f}</text>"
    )
    label = f"{title}: " + "; ".join(
        f"{name} from {points[0][1]:.3g} to {points[-1][1]:.3g}" for name, points in lines.items()
    )
    svg = (
        '<svg class="chart" viewBox="0 0 390 172" role="img" '
        f'aria-label="{escape(label)}">{axes}{"".join(drawn)}{words}</svg>'
    )
    keys = {
        f"{name}, last {points[-1][1]:.3g}": colour
        for (name, points), colour in zip(lines.items(), COLOURS, strict=False)
    }
    return page.chart(svg, f"{escape(title)}: {page.legend(keys)}")


def sample_figures(result: Result) -> list[page.Figure]:
    """Show samples of the validation split from the worst to the best by the metric that decided.

    Imagery, truth, and what the exported model says.
    """
    from selion.training.scoring import MEASURES, answered_objects, true_objects

    scores, plan = result.trained.scores, result.plan
    if scores is None or not len(plan.validation):  # judged in folds: it has seen all of them
        return []
    model = models.load_model(result.card.folder or result.card.name)
    values, spec = scores.of_samples(), plan.recipe.validate.resolved(plan.recipe.classes)
    ranked = [int(k) for k in np.argsort(values, kind="stable") if np.isfinite(values[k])]
    picked = (
        [
            ranked[int(k)]
            for k in sorted({int(v) for v in np.linspace(0, len(ranked) - 1, SHOWN).round()})
        ]
        if ranked
        else []
    )
    place = _places(plan.validation, scores.keys)
    figures = []
    for k in picked:
        sample = plan.validation[place[k]]
        truth = true_objects(sample, spec)
        predicted = answered_objects(model, sample, spec, truth.shape)
        caption = f"{sample.key}: {MEASURES[scores.metric]} {values[k]:.2f}."
        figures.append(
            page.Figure(
                picture.data_uri(picture.compared(sample.image, truth, predicted, SEEN)),
                caption,
                f"{sample.key} with true and found outlines",
            )
        )
    return figures


def _places(samples: Sequence[Sample], keys: Sequence[str]) -> list[int]:
    known = known_keys(samples) or [samples[k].key for k in range(len(samples))]
    at = {key: k for k, key in enumerate(known)}
    return [at[key] for key in keys]
