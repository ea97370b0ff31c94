"""``selion crops codes``: plots become a sheet of labels with QR codes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from selion.cli import options as opt

PAPERS = ("a4", "letter")


@dataclass(frozen=True, kw_only=True)
class CodesChoice(opt.VerbChoice):
    """Options of ``selion crops codes``, as they were given."""

    codes: str
    names: str | None
    size: float
    paper: str


@click.command(
    "codes",
    help=(
        "Write a sheet of labels to print at 100 % and cut: the name of each plot as a QR code "
        "and as text beside it. PLOTS are polygons, or a CSV with a column of names. What the "
        "codes say is read in photographs by 'selion crops trial --codes'."
    ),
)
@click.argument("plots", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--out",
    type=opt.OutputPath(path_type=Path),
    required=True,
    help="The .pdf to write.",
)
@click.option(
    "--codes",
    default="{plot}",
    show_default=True,
    metavar="PATTERN",
    help="What a code says, with {plot} where the plot stands: 'TRIAL7-{plot}'.",
)
@click.option(
    "--name-column",
    "names",
    default=None,
    metavar="COLUMN",
    help="Column of PLOTS with their names [default: plot_id, plot, name or id].",
)
@click.option(
    "--code-size",
    "size",
    type=click.FloatRange(10, 150),
    default=40.0,
    show_default=True,
    help="Edge of a code with its white border, in mm.",
)
@click.option(
    "--paper", type=click.Choice(PAPERS), default="a4", show_default=True, help="Size of a page."
)
@opt.force
@opt.as_json
@opt.quiet
def codes_command(plots: Path, out: Path, **values: Any) -> None:
    """Write the labels."""
    given = opt.taken(CodesChoice, values)
    from selion.closerange import CodeSheetOptions, write_labels
    from selion.data.plots import list_plots

    options = CodeSheetOptions(given.codes, given.size, given.paper)
    sheet = write_labels(list_plots(plots, given.names), out, options, force=given.force)
    if sheet.unreadable and not given.quiet:
        click.echo(
            f"{len(sheet.unreadable)} names have signs that the font of the text lacks (the first: "
            f"{sheet.unreadable[0]}): their codes hold them, the text beside shows boxes.",
            err=True,
        )
    facts = {
        "labels": sheet.labels,
        "pages": sheet.pages,
        "module_mm": round(sheet.module, 2),
        "read_up_to_mm_per_pixel": round(sheet.module / 3, 2),
    }
    opt.print_result(sheet.path, facts, given, width=26)
