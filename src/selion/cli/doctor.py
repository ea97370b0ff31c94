"""``selion doctor``: which verbs work here, versions, engines and data paths, for bug reports."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from selion.reports.doctor import VerbState


@click.command(
    "doctor", help="Show which verbs work here, what others lack, versions, engines and paths."
)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def doctor_command(as_json: bool) -> None:
    """Print what was found."""
    import json

    from selion.cli.main import VERBS
    from selion.reports.doctor import examine, examine_verbs

    findings, verbs = examine(), examine_verbs(VERBS)
    if as_json:
        states = {
            name: {"works": not state.lacks} | dataclasses.asdict(state)
            for name, state in verbs.items()
        }
        click.echo(json.dumps(findings | {"verbs": states}, indent=2))
        return
    for name, value in findings.items():
        click.echo(f"{name:<22} {value}")
    _print_verbs(verbs)


def _print_verbs(verbs: Mapping[str, VerbState]) -> None:
    """Print the verbs that work on a line, and one line for each that does not."""
    works = [name for name, state in verbs.items() if not state.lacks]
    click.echo()
    click.echo(
        click.wrap_text(", ".join(works), initial_indent="work here:  ", subsequent_indent=" " * 12)
    )
    for name, state in verbs.items():
        if state.lacks:
            click.echo(f"not here:   {name} lacks {', '.join(state.lacks)}: {state.install}")
