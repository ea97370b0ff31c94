"""``selion crops trial``: measured photographs become plots, dates and growth curves."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from selion.cli import options as opt
from selion.cli.progress import reporter


@dataclass(frozen=True, kw_only=True)
class TrialChoice(opt.VerbChoice):
    """Options of ``selion crops trial``, as they were given."""

    table: Path | None
    pattern: str | None
    plots: Path | None
    names: str | None
    at: float
    untrusted: bool
    codes: str | None


@click.command(
    "trial",
    help=(
        "Bring measured photographs together by plot and date: means with their spread, growth "
        "curves, and the date of a given cover. RUN is the folder that 'selion crops FOLDER' "
        "wrote. What tells the plot: --photo-table, then --codes, then --pattern, then --plots."
    ),
)
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder of the tables, the workbook and the page.",
)
@click.option(
    "--pattern",
    default=None,
    help=(
        "How photographs are named, without the ending: {plot}, {date}, {time}, * and ?; with "
        "folders where these count, for example '{plot}/*'."
    ),
)
@click.option(
    "--photo-table",
    "table",
    type=click.Path(path_type=Path),
    default=None,
    help="CSV with the columns file, plot and, if need be, date.",
)
@click.option(
    "--plots",
    type=click.Path(path_type=Path),
    default=None,
    help="Polygons of the plots, for photographs with GPS.",
)
@click.option(
    "--name-column",
    "names",
    default=None,
    metavar="COLUMN",
    help="Column of --plots with their names [default: plot_id, plot, name or id].",
)
@click.option(
    "--at",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.5,
    show_default=True,
    help="Cover whose date is asked for.",
)
@click.option(
    "--untrusted",
    is_flag=True,
    help="Count photographs too of which 'trust' is no [default: they are left out].",
)
@click.option(
    "--codes",
    default=None,
    metavar="PATTERN",
    help=(
        "Read QR and bar codes on labels in the photographs: what they say, with {plot} where the "
        "plot stands, for example 'TRIAL7-{plot}', or '{plot}' for all of it."
    ),
)
@opt.force
@opt.as_json
@opt.quiet
def trial_command(run: Path, out: Path, **values: Any) -> None:
    """Bring photographs together."""
    given = opt.taken(TrialChoice, values)
    from selion import store
    from selion.closerange import TrialOptions, read_trial, write_trial
    from selion.closerange.trial_tables import TRIAL
    from selion.reports.trial import write_page

    if given.plots is None:
        opt.refuse_given(["names"], "no polygons were given by --plots")
    options = TrialOptions(
        given.table, given.pattern, given.plots, given.names, given.at, given.untrusted,
        given.codes,
    )  # fmt: skip
    store.check_output(out, given.force, TRIAL)
    with reporter(quiet=given.quiet, as_json=given.as_json) as say:
        where = run.expanduser().resolve()
        trial = read_trial(where, options, on_step=say.step, on_note=say.note)
        with store.atomic_folder(out, given.force, TRIAL) as folder:
            write_trial(trial, folder)
            write_page(trial, out.resolve(), folder, say.step)
    facts = {
        "photographs": len(trial.photos),
        "left out": sum(row["left_out"] for row in trial.means),
        "plots": len(trial.curves),
        "plots and dates": len(trial.means),
        "curves in doubt": sum(bool(one.note) for one in trial.curves),
    } | ({"plots not seen": len(trial.unseen)} if trial.unseen else {})
    if given.as_json:
        click.echo(json.dumps({"event": "done", "path": str(out), **facts}))
        return
    if not given.quiet:
        for name, value in facts.items():
            click.echo(f"{name:<16} {value}", err=True)
    click.echo(str(out))
