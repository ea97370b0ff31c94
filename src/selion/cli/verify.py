"""``selion verify``: whether a result is what its run made, and can be trusted."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from selion.cli import options as opt
from selion.errors import plain_text
from selion.store.address import RemotePath

DIFFERENT = 1
"""Exit code where something differs."""
LONGEST = 10_000
"""Letters of a line."""


@click.command("verify")
@click.argument("result", type=opt.place)
@click.option("--again", is_flag=True, help="Run its command again aside, and compare the bytes.")
@click.option(
    "--shared-area",
    "overlap",
    type=click.FloatRange(0),
    default=1.0,
    show_default=True,
    metavar="M2",
    help="Area that two fields may share.",
)
@opt.as_json
def verify_command(
    result: Path | RemotePath, *, again: bool, overlap: float, as_json: bool
) -> None:
    """Verify RESULT, a file or folder that a verb wrote.

    That no byte of it was changed, that outlines are sound and lie beside one another, that its
    files agree, what it was made from, and whether that would make it again here.  Exit code 1 if
    something differs.
    """
    from selion.verification import verify

    found = verify(result, again=again, tolerance=overlap)
    if as_json:
        click.echo(json.dumps(found.to_dict(), indent=2))
    else:
        for check in found.checks:
            where = f"{check.where}: " if check.where else ""
            for text in check.said:
                # names of files and words of a manifest may be commands to a terminal
                line = plain_text(f"{where}{text}", LONGEST)
                click.echo(f"{check.status:<12} {check.name:<11} {line}")
        said = "Nothing differs." if found.holds else "Something differs."
        click.echo(f"{plain_text(str(result), LONGEST)}: {said}", err=True)
    if not found.holds:
        sys.exit(DIFFERENT)
