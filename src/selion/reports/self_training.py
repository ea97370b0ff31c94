"""Two-stage self-training with its reports.

One for each stage, and one over both with what the first stage agreed on.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

import selion
from selion import store
from selion.labelling.selftrain import STAGE_1, STAGE_2, TRIMAP, SelfTraining, self_train, trimapped
from selion.labelling.trimap import AGREEMENT, read_agreement
from selion.labels import LabelMap
from selion.progress import OnStep, silent
from selion.reports import page, picture, training_run
from selion.sample import Sample

REPORT = "report.html"
SHOWN = 6
"""Samples with the least agreement that are shown."""
LONGEST = 420
"""Longer side in pixels of a picture."""


def run(plan: SelfTraining, folder: Path, *, force: bool = False, on_step: OnStep = silent) -> Path:
    """Train both stages, or go on with them, and write the reports.

    Returns
    -------
    Path
        Folder of the final model.

    Raises
    ------
    OutputExists, OutputFailed, BadInput
        As :func:`selion.labelling.selftrain.self_train`.
    """
    model = self_train(plan, folder, training_run.run, force=force, on_step=on_step)
    store.write_text(folder / REPORT, to_html(plan, folder), force=True)
    return model


def to_html(plan: SelfTraining, folder: Path) -> str:
    """Lay a finished run out as a self-contained page."""
    rows = read_agreement(folder / TRIMAP / AGREEMENT)
    sections = [
        page.section("Scores on the validation split", *_scores(folder)),
        page.section("What label and stage 1 agree on", *_agreement(plan, rows)),
        page.section("Least agreement", page.figures(_figures(plan, folder, rows))),
        page.section("How it ran", *(page.paragraph(note) for note in plan.notes), _links()),
    ]
    pseudo = len(plan.kept.entries)
    lead = (
        f"{len(plan.training) - pseudo:,} samples labelled by people, {pseudo:,} pseudo-labelled. "
        "Stage 1 was trained on all of them; its answers and the labels were compared; stage 2 "
        f"was trained on what both say. {_scope(plan)}"
    )
    return page.page(
        f"Self-training: {plan.recipe.name}", lead, sections, f"selion {selion.__version__}"
    )


def _scope(plan: SelfTraining) -> str:
    kept = [
        what
        for what, erased in (
            ("labels of people", plan.options.human),
            ("masks that are all crop", plan.options.full),
        )
        if not erased
    ]
    said = f"Kept as they were: {' and '.join(kept)}." if kept else "No label was kept as it was."
    if plan.options.sure:
        said += f" Stage 1 had to be sure by {plan.options.sure:g} at least."
    return f"{said} Stage 2 went on from stage 1's weights." if plan.fine_tune else said


def _links() -> str:
    names = ((STAGE_1, "stage 1"), (STAGE_2, "stage 2"))
    return page.paragraph(
        "Each stage has a report of its own: "
        f"{', '.join(f'{folder}/{training_run.REPORT} ({name})' for folder, name in names)}."
    )


def _scores(folder: Path) -> list[str]:
    """Put the scores of both stages side by side."""
    both = [
        json.loads((folder / stage / training_run.NUMBERS).read_text("utf-8")).get("scores", {})
        for stage in (STAGE_1, STAGE_2)
    ]
    names = [name for name in both[0] if name in both[1]]
    if not names:
        return [
            page.paragraph(
                "There was no validation split, so nothing is known of how good either stage is."
            )
        ]
    rows = [[name, both[0][name], both[1][name], both[1][name] - both[0][name]] for name in names]
    return [
        page.table(
            ["", "stage 1", "stage 2", "difference"],
            rows,
            "One run of each: differences of a few thousandths are the noise of training.",
        )
    ]


def _agreement(plan: SelfTraining, rows: list[dict[str, str]]) -> list[str]:
    """Average the shares agreed over images, apart for people's labels and pseudo-labels."""
    groups = {
        "pseudo-labels": [r for r in rows if r["key"].startswith("pseudo/")],
        "people": [r for r in rows if not r["key"].startswith("pseudo/")],
    }
    names = ("agreed", *plan.recipe.classes.names)
    body = [
        [group, len(found), *(_mean(found, name) for name in names)]
        for group, found in groups.items()
        if found
    ]
    return [
        page.table(
            ["labels of", "samples", "pixels agreed", *plan.recipe.classes.names],
            body,
            "Means over images. Class: agreed as a share of what either says.",
        )
    ]


def _mean(rows: list[dict[str, str]], name: str) -> float:
    values = [float(row[name]) for row in rows if row[name]]
    return float(np.mean(values)) if values else math.nan


def _figures(plan: SelfTraining, folder: Path, rows: list[dict[str, str]]) -> list[page.Figure]:
    """Show image, label and what is left of it, the least agreement first."""
    before = {entry.key: entry for entry in plan.training.entries}
    after = {entry.key: entry for entry in trimapped(plan, folder / TRIMAP).entries}
    ranked = sorted((row for row in rows if row["agreed"]), key=lambda row: float(row["agreed"]))
    figures = []
    for row in ranked[:SHOWN]:
        one, other = before[row["key"]].open(), after[row["key"]].open()
        caption = (
            f"{row['key']}: {float(row['agreed']):.0%} agreed. Image, label, and what is left of "
            "it (grey is not known)."
        )
        figures.append(
            page.Figure(
                picture.data_uri(triptych(one, other.labels)),
                caption,
                f"{row['key']}: image, label and trimap side by side",
            )
        )
    return figures


def triptych(sample: Sample, left: LabelMap | None) -> np.ndarray:
    """Put image, label and trimap side by side, (y, x, 3) uint8."""
    image, _ = picture.thumbnail(sample.image, LONGEST)
    parts: list[Any] = [image]
    for labels in (sample.labels, left):
        ids = np.full((1, 1), 255, np.uint8) if labels is None else labels.ids
        # labels may be finer than the image
        rows, columns = (
            np.arange(size) * have // size
            for size, have in zip(image.shape[:2], ids.shape, strict=True)
        )
        parts.append(
            picture.class_picture(
                ids[np.ix_(rows, columns)],
                sample.labels.classes if sample.labels else left.classes,  # type: ignore[union-attr]
            )
        )
    gap = np.full((image.shape[0], 4, 3), 255, np.uint8)
    return np.concatenate([parts[0], gap, parts[1], gap, parts[2]], 1)
