"""``selion change``: compares maps of two or more years."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from selion.cli import options as opt
from selion.cli.progress import reporter

if TYPE_CHECKING:
    from selion.change import ChangeResult


tolerance = click.option(
    "--tolerance",
    type=click.FloatRange(0),
    default=1.0,
    show_default=True,
    help=(
        "Pixels of the image that an outline may lie elsewhere, on the mean, before its boundary "
        "has moved."
    ),
)


@click.command(
    "change",
    help=(
        "Compare the fields of two or more years. YEARS, the earliest first: folders "
        "that 'selion map --scores' wrote to, or tables with their probabilities beside them "
        "(fields.parquet, fields.scores.tif), or both as SCORES,FIELDS. Writes maps of changed "
        "pixels and of outcomes, a table of fields under ids that follow them through the years, "
        "their lineage, a summary and a page."
    ),
)
@click.argument("years", nargs=-1, required=True)
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), required=True, help="Folder of the results."
)
@click.option(
    "--rule",
    type=click.Choice(["fixed", "paper"]),
    default="fixed",
    show_default=True,
    help=(
        "When a pixel has changed: on a scale that is the same for all maps, or on that of the "
        "largest difference in the map (PRUE)."
    ),
)
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=None,
    help="Of the rule [default: fixed 0.75, paper 0.5].",
)
@tolerance
@opt.force
@opt.as_json
@opt.quiet
def change_command(
    years: tuple[str, ...],
    out: Path,
    rule: str,
    threshold: float | None,
    tolerance: float,
    **values: Any,
) -> None:
    """Compare years."""
    given = opt.taken(opt.VerbChoice, values)
    from selion import change
    from selion.reports.change import write_report

    began = time.monotonic()
    options = change.ChangeOptions(rule, threshold, change.OutcomeOptions(tolerance=tolerance))
    with reporter(quiet=given.quiet, as_json=given.as_json) as say:
        result = change.compare_years(
            years, out, options, force=given.force, on_step=say.step, on_note=say.note
        )
        path = write_report(result, force=given.force)
    seconds = round(time.monotonic() - began, 1)
    if given.as_json:
        facts = {
            "event": "done",
            "path": str(path),
            "steps": [step.facts() for step in result.steps],
            "seconds": seconds,
        }
        click.echo(json.dumps(facts))
        return
    if not given.quiet:
        _tell(result)
    click.echo(str(path))


def _tell(result: ChangeResult) -> None:
    for step in result.steps:
        click.echo(f"{step.years[0]} to {step.years[1]}", err=True)
        for row in step.summary.to_dict("records"):
            if row["fields_before"] or row["fields_after"]:
                counts = f"{row['fields_before']:>9,} -> {row['fields_after']:>9,} fields"
                click.echo(
                    (
                        f"  {row['outcome']:<10}{counts}{row['ha_before']:>13,.1f} -> "
                        f"{row['ha_after']:>13,.1f} ha"
                    ),
                    err=True,
                )
