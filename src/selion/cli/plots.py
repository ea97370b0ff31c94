"""``selion crops plots``: an orthomosaic and the plots of a trial become a table of plots."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from selion.cli import options as opt
from selion.cli.progress import reporter

positive = click.FloatRange(min=0, min_open=True)


@dataclass(frozen=True, kw_only=True)
class PlotsChoice(opt.VerbChoice):
    """Options of ``selion crops plots``, as they were given."""

    model: str | None
    names: str | None
    buffer: float
    scale: float | None
    window: int | None
    overlap: float | None
    flips: bool
    min_area: int
    pictures: bool
    engine: str
    fast: bool


@click.command(
    "plots",
    help=(
        "Measure the plots of a trial in an orthomosaic of any size: cover with its interval, "
        "colour indices and counts for each polygon of PLOTS, with a map, a picture of every plot "
        "and a layer for QGIS. The same command continues an interrupted run."
    ),
)
@click.argument("orthomosaic")
@click.argument("plots", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder of the results; or a .csv for the table alone.",
)
@click.option(
    "-m",
    "--model",
    default=None,
    help=(
        "Name or folder of a model; colour: the Canopeo colour rule; colour-otsu: excess green "
        "with Otsu's threshold [default: auto, as for photographs]."
    ),
)
@click.option(
    "--name-column",
    "names",
    default=None,
    metavar="COLUMN",
    help="Column of PLOTS with their names [default: plot_id, plot, name or id].",
)
@click.option(
    "--buffer",
    type=click.FloatRange(0),
    default=0.0,
    show_default=True,
    help="Metres along the edge of each plot that are left out.",
)
@click.option(
    "--scale",
    type=positive,
    default=None,
    help="Scale the orthomosaic by this factor for the model (0.5: half).",
)
@opt.window
@opt.overlap
@opt.flips
@click.option(
    "--min-pixels",
    "min_area",
    type=click.IntRange(1),
    default=30,
    show_default=True,
    help="Smallest plant or leaf that is counted, in pixels.",
)
@click.option(
    "--pictures/--no-pictures",
    default=True,
    show_default=True,
    help="Draw a picture of every plot.",
)
@opt.engine
@opt.fast
@opt.force
@opt.as_json
@opt.quiet
def plots_command(orthomosaic: str, plots: Path, out: Path, **values: Any) -> None:
    """Measure plots."""
    given = opt.taken(PlotsChoice, values)
    from selion.closerange import ComputeOptions, PlotOptions, measure_plots
    from selion.closerange.model import RULES
    from selion.reports.plots import write_page

    if given.model in RULES:
        opt.refuse_given(
            ["window", "overlap", "flips", "engine", "fast"],
            f"{given.model} is a rule of single pixels, not a network",
        )
    if out.suffix.lower() == ".csv":
        opt.refuse_given(["pictures"], "a .csv is the table alone: give a folder for pictures")
    options = PlotOptions(
        given.names, given.buffer, given.scale, given.window, given.overlap, given.flips,
        given.min_area, given.pictures,
    )  # fmt: skip
    with reporter(quiet=given.quiet, as_json=given.as_json) as say:
        run = measure_plots(
            orthomosaic,
            plots,
            out,
            given.model,
            options,
            ComputeOptions(engine=given.engine, fast=given.fast),
            force=given.force,
            on_step=say.step,
            on_note=say.note,
            use=write_page,
        )
    facts = {
        "plots": len(run.rows),
        "look at": run.untrusted,
        "model": run.model,
        "seconds": round(run.seconds["wall"], 1),
    }
    if given.as_json:
        told = {"event": "done", "path": str(out), **facts, "notes": list(run.notes)}
        click.echo(json.dumps(told))
        return
    if not given.quiet:
        for name, value in facts.items():
            click.echo(f"{name:<16} {value}", err=True)
    click.echo(str(out))
