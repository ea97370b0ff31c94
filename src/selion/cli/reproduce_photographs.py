"""``selion reproduce depthcropseg``: the tables of DepthCropSeg++."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from selion.cli import options as opt
from selion.cli.progress import reporter

TABLES = {"IV": 4, "VI": 6, "VII": 7}
SCORING = (
    *("layout", "split", "own", "ratio", "draws", "engine", "threads", "out", "force", "as_json"),
    "quiet",
)
"""Options that say how photographs are scored."""


@dataclass(frozen=True, kw_only=True)
class PhotoChoice(opt.VerbChoice):
    """Options of ``selion reproduce depthcropseg``, as they were given."""

    tables: tuple[str, ...]
    data: Path | None
    layout: str
    split: str
    weights: Path | None
    own: tuple[str, ...]
    quick: bool
    ratio: float
    draws: int
    engine: str
    threads: int | None
    out: Path


@click.command(
    "depthcropseg",
    help=(
        "Score the rows of DepthCropSeg++'s Tables IV, VI and VII on photographs with masks, with "
        "whatever weights are here, beside the paper's figures. Table VI compares runs from "
        "several seeds; Table VII scores each group of the data by itself (soybean, rice and full "
        "are the paper's). What is missing is named, with how it is had. The same command "
        "continues an interrupted run."
    ),
)
@click.option(
    "--table",
    "tables",
    type=click.Choice(list(TABLES)),
    multiple=True,
    help="Table of the paper; repeatable  [default: all].",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    default=None,
    help="Folder of photographs with masks; without it, only the rows are listed.",
)
@click.option(
    "--layout",
    metavar="NAME",
    default="",
    help="How the data lies on disk ('selion data list')  [default: what it looks like].",
)
@click.option(
    "--split",
    default="",
    help="Only this split; all: every photograph  [default: test, else val, else all].",
)
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    default=None,
    help=(
        "Folder of models, each in a folder called as the row's model (two-stages; SAM: sam), as "
        "the list of rows names them; those that 'selion models fetch' brought are found without "
        "it."
    ),
)
@click.option(
    "-m",
    "--model",
    "own",
    multiple=True,
    help="Add a row for a model of your own to Tables IV and VII: its name or folder; repeatable.",
)
@click.option(
    "--quick",
    is_flag=True,
    help=(
        "See every table in minutes: rows without weights get a tiny network that learns for "
        "seconds by the row's own road, and is called a stand-in wherever it appears; without "
        "--data, simulated photographs stand in for it."
    ),
)
@click.option(
    "--boundary-ratio",
    "ratio",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.02,
    show_default=True,
    help="Width of the band of boundary IoU as a share of the diagonal.",
)
@click.option(
    "--bootstrap",
    "draws",
    type=click.IntRange(0),
    default=1000,
    show_default=True,
    help="Bootstrap samples for the intervals over photographs; 0: none.",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=Path("reproduced"),
    show_default=True,
    help="Folder of table-N.csv, table-N.md, report.html and the answers behind them.",
)
@opt.group(opt.engine, opt.threads, opt.force, opt.as_json, opt.quiet)
def depthcropseg_command(**values: Any) -> None:
    """Score the tables, or list their rows."""
    given = opt.taken(PhotoChoice, values)
    numbers = tuple(TABLES[name] for name in dict.fromkeys(given.tables or TABLES))
    if given.own and numbers == (6,):
        raise click.UsageError(
            "--model adds a row to Tables IV and VII, and Table VI compares the runs of two "
            "systems: add one of these tables, or omit it."
        )
    if given.layout and given.data is None:
        raise click.UsageError("--layout says how --data lies on disk: give it, or omit --layout.")
    if given.data is None and not given.quick:
        opt.refuse_given(SCORING, "rows are only listed without --data or --quick")
        _list_rows(numbers, given.weights)
        return
    from selion.papers.photo_tables import table_text, write_photo_tables
    from selion.papers.photographs import PhotoRequest, score_photographs
    from selion.reports.reproduction_photographs import write_photo_report

    request = PhotoRequest(
        numbers,
        given.out,
        given.data,
        given.layout,
        given.split,
        given.weights,
        given.own,
        given.quick,
        given.ratio,
        given.draws,
        given.engine,
        given.threads,
        given.force,
    )
    with reporter(quiet=given.quiet, as_json=given.as_json) as say:
        scores = score_photographs(request, on_step=say.step)
        written = write_photo_tables(scores, request)
        report = write_photo_report(given.out)
    for table, path in zip(scores.tables, written, strict=True):
        if given.as_json:
            opt.print_result(path, {}, given)
            continue
        if not given.quiet:
            click.echo(table_text(scores, table, request), err=True)
        click.echo(str(path))
    if not given.as_json:
        click.echo(str(report))


def _list_rows(numbers: tuple[int, ...], weights: Path | None) -> None:
    from selion.papers import find_weights, read_paper
    from selion.papers.photo_tables import ROMAN

    paper = read_paper("depthcropseg")
    for number in numbers:
        table = paper.table(number)
        found = find_weights(table.models.values(), weights, paper)
        click.echo(f"Table {ROMAN[number]}: {table.title}")
        for row in table.rows:
            mine = found.get(row.model.key)
            where = f"missing: {row.model.remedy}" if mine is None else str(mine.path)
            click.echo(f"  {row.model.key:<26} {row.label:<34} {where}")
