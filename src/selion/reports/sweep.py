"""Sweeps: several runs that differ in one thing or a few.

A table says which differences are more than luck.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from selion import metrics, store, training
from selion.errors import BadInput
from selion.progress import OnNote, OnStep, silent
from selion.reports import page, training_run
from selion.training.scoring import MEASURES, STATISTICS, Scores

RECIPE = "recipe"
"""The key that stands for the whole recipe: ``recipe=prue/loss-dice,prue/loss-focal``."""
LUCK = 0.05
"""Least p-value, corrected, that is put down to which samples were scored."""


@dataclass(frozen=True)
class Variant:
    """One run of a sweep."""

    name: str
    """``schedule.lr=0.001``: what makes it differ; also its folder."""
    recipe: str
    changes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class SweepRow:
    """What one run of a sweep gave."""

    variant: Variant
    folder: Path
    scores: Scores
    seconds: float


def variants(recipe: str, sweeps: Sequence[str]) -> list[Variant]:
    """Return every combination of the values of ``key=a,b,c``.

    Raises
    ------
    BadInput
        If a sweep is not of this form, has one value only, or names a key twice.
    """
    axes = [_axis(text) for text in sweeps]
    keys = [key for key, _ in axes]
    if len(set(keys)) < len(keys):
        raise BadInput(
            f"The sweeps {', '.join(sweeps)} name a key twice: give all its values in one."
        )
    found = []
    for values in itertools.product(*(values for _, values in axes)):
        pairs = list(zip(keys, values, strict=True))
        changes = tuple(f"{key}={value}" for key, value in pairs if key != RECIPE)
        found.append(
            Variant(
                ", ".join(f"{key}={value}" for key, value in pairs),
                dict(pairs).get(RECIPE, recipe),
                changes,
            )
        )
    return found


def _axis(text: str) -> tuple[str, list[str]]:
    key, sign, values = text.partition("=")
    # a comma within brackets parts no values
    found = [value.strip() for value in re.split(r",(?![^\[]*\])", values) if value.strip()]
    if not sign or not key.strip() or len(found) < 2:
        raise BadInput(
            f"The sweep {text!r} was given; wanted is key=a,b,... with two values at least, for "
            "example schedule.lr=1e-4,3e-4,1e-3."
        )
    return key.strip(), found


def folder_name(variant: Variant) -> str:
    """Return a name that every file system takes."""
    return re.sub(r"[^A-Za-z0-9.=_-]+", "_", variant.name).strip("_")


def run_sweep(
    chosen: Sequence[Variant],
    changes: Sequence[str],
    folder: Path,
    *,
    resume: bool = False,
    force: bool = False,
    on_step: OnStep = silent,
    on_note: OnNote | None = None,
) -> list[SweepRow]:
    """Train every variant in a folder of its own and score it on the whole validation split.

    With ``resume``, variants that are finished are read, a half finished one goes on, the others
    begin.

    Raises
    ------
    BadInput
        If there is no validation split, variants were validated on different samples, or a recipe
        is one of a language model.
    """
    recipes = [
        training.read_recipe(variant.recipe, (*changes, *variant.changes)) for variant in chosen
    ]
    for recipe in recipes:
        if isinstance(recipe, training.LanguageRecipe):
            raise BadInput(
                f"{recipe.name} trains a language model, and a sweep compares networks: omit "
                "--sweep, and train once with each value in a folder of its own."
            )
    plans = [training.plan_training(recipe) for recipe in recipes]
    if not all(len(plan.validation) for plan in plans):
        raise BadInput(
            "A sweep compares scores, but there is no validation split: give the dataset one."
        )
    rows = []
    for number, (variant, plan) in enumerate(zip(chosen, plans, strict=True), 1):
        place = folder / folder_name(variant)
        if on_note:
            on_note(f"Run {number} of {len(chosen)}: {variant.name}")
        going = resume and (place / training.STATE).exists()
        result = training_run.run(plan, place, resume=going, force=force, on_step=on_step)
        if result.trained.scores is not None:
            rows.append(SweepRow(variant, place, result.trained.scores, result.trained.seconds))
    if len({(row.scores.keys, row.scores.metric) for row in rows}) > 1:
        raise BadInput(
            "The variants were validated on different samples, or by different metrics: do not "
            "sweep over what chooses the data or the metric."
        )
    return rows


def header(rows: Sequence[SweepRow]) -> tuple[str, ...]:
    """Name the columns of :func:`table`: the metric that the recipes are judged by comes first."""
    return (
        "run",
        MEASURES[rows[0].scores.metric],
        "95 %",
        "difference",
        "95 %",
        "p (Holm)",
        MEASURES[_second(rows[0].scores)],
        "95 %",
    )


def _second(scores: Scores) -> str:
    return (scores.measures[1:] or scores.measures)[0]


def table(rows: Sequence[SweepRow]) -> list[list[object]]:
    """Compare runs with the first one.

    Returns
    -------
    list of list
        Columns of :func:`header`: scores with bootstrap intervals over samples, the difference of
        the metric to the first run by a paired bootstrap over the same samples, and its p-value
        corrected for the number of comparisons.

    Notes
    -----
    This is the luck of which samples were scored.  The luck of a training run (another seed) is not
    in it: sweep over ``seed`` to see that.
    """
    first = rows[0].scores
    metric, other = first.metric, _second(first)
    pairs = [
        metrics.paired_bootstrap(row.scores.rows(metric), first.rows(metric), STATISTICS[metric])
        for row in rows[1:]
    ]
    corrected = metrics.holm([pair.p_value for pair in pairs]).tolist() if pairs else []
    found: list[list[object]] = []
    for k, row in enumerate(rows):
        main, beside = row.scores.interval(metric), row.scores.interval(other)
        difference: list[object] = ["", "", ""]
        if k:
            pair = pairs[k - 1]
            difference = [
                round(pair.difference, 3),
                pair.bounds,
                "-" if math.isnan(corrected[k - 1]) else round(corrected[k - 1], 3),
            ]
        found.append(
            [
                row.variant.name,
                round(main.value, 3),
                main.bounds,
                *difference,
                round(beside.value, 3),
                beside.bounds,
            ]
        )
    return found


def text_table(rows: Sequence[Sequence[object]]) -> str:
    """Lay a table out for a terminal; its header is the first row."""
    cells = [[f"{v:.3f}" if isinstance(v, float) else str(v) for v in row] for row in rows]
    widths = [max(len(row[k]) for row in cells) for k in range(len(cells[0]))]
    return "\n".join(
        "  ".join(
            text.ljust(widths[0]) if k == 0 else text.rjust(widths[k]) for k, text in enumerate(row)
        ).rstrip()
        for row in cells
    )


def _place(row: Sequence[object]) -> float:
    """Sort the best run first; a score that is no number wins nothing."""
    score = float(str(row[1]))
    return math.inf if math.isnan(score) else -score


def _lead(rows: Sequence[SweepRow], best: Sequence[Sequence[object]]) -> str:
    """Name the winner, and say whether it is more than luck."""
    first, winner = rows[0].variant.name, best[0]
    metric = MEASURES[rows[0].scores.metric]
    said = f"{len(rows)} runs, differences to {first}. Best {metric}: {winner[0]} with {winner[1]}"
    if winner[0] == first:
        return f"{said}, which is the run that the others are compared with."
    sure = isinstance(winner[5], float) and winner[5] < LUCK
    return f"{said}; {'more than' if sure else 'this may be'} the luck of the samples."


def write_sweep(rows: Sequence[SweepRow], folder: Path) -> Path:
    """Write ``sweep.html`` and ``sweep.json``; what is there is replaced."""
    body = table(rows)
    best = sorted(body, key=_place)
    facts = [
        {
            "run": row[0],
            made.scores.metric: row[1],
            "scores": made.scores.to_dict(),
            "seconds": made.seconds,
        }
        for row, made in zip(body, rows, strict=True)
    ]
    store.write_text(folder / "sweep.json", json.dumps(facts, indent=1) + "\n", force=True)
    links = page.paragraph(
        f"Each run has its own folder with a report: {', '.join(row.folder.name for row in rows)}."
    )
    few = (
        " There are so few of them that the intervals are too narrow."
        if len(rows[0].scores.keys) < training_run.FEW
        else ""
    )
    luck = page.paragraph(
        "Intervals and p-values are over validation samples; the luck of a seed is not in "
        f"them.{few}"
    )
    with store.atomic_write(folder / "sweep.html", force=True) as temporary:
        section = page.section("Runs, the best first", page.table(header(rows), best), luck, links)
        temporary.write_text(
            page.page("Training sweep", _lead(rows, best), [section]),
            "utf-8",
        )
    return folder / "sweep.html"
