"""``selion doctor``: versions, engines and data paths, for bug reports."""

from __future__ import annotations

import click


@click.command("doctor", help="Show versions, engines and what is installed.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def doctor_command(as_json: bool) -> None:
    """Print what was found."""
    import json

    from selion.reports.doctor import examine

    findings = examine()
    if as_json:
        click.echo(json.dumps(findings, indent=2))
        return
    for name, value in findings.items():
        click.echo(f"{name:<22} {value}")
