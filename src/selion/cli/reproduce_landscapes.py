"""``selion reproduce magseg``: the tables of MAgSeg."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from selion.cli import options as opt
from selion.cli.progress import reporter

TABLES = ("1", "2", "3", "4", "5")
SCORING = ("layout", "split", "own", "by", "engine", "threads", "out", "force", "as_json", "quiet")
"""Options that say how images are scored."""


@dataclass(frozen=True, kw_only=True)
class LandscapeChoice(opt.VerbChoice):
    """Options of ``selion reproduce magseg``, as they were given."""

    tables: tuple[str, ...]
    data: Path | None
    layout: str
    split: str
    weights: Path | None
    own: tuple[str, ...]
    by: tuple[str, ...]
    quick: bool
    engine: str
    threads: int | None
    out: Path


@click.command(
    "magseg",
    help=(
        "Score the rows of MAgSeg's tables (arXiv 2605.16179) on images with masks, with whatever "
        "weights are here, beside the paper's figures: class by class (1), in Cambodia and Vietnam "
        "(2; trained in India alone: 3), parameters and training time (4), EPOC and GRPO one by "
        "one (5). A U-Net, a map whose every pixel is right and grids that have not seen the image "
        "stand in each. What is missing is named, with how it is had. The same command continues "
        "an interrupted run."
    ),
)
@click.option(
    "--table",
    "tables",
    type=click.Choice(TABLES),
    multiple=True,
    help="Table of the paper; repeatable  [default: all].",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    default=None,
    help=(
        "Folder of images with masks or objects, its groups called india, cambodia and vietnam "
        "where it has them; without it, only the rows are listed."
    ),
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
    help="Only this split; all: every image  [default: test, else val, else all].",
)
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    default=None,
    help=(
        "Folder of models, each in a folder called as the row's model (sft-4b, grpo-4b, epoc, "
        "lisa; SAM: sam), or as its recipe; its folders india, cambodia and vietnam hold those "
        "that were trained there, where there are such."
    ),
)
@click.option(
    "-m",
    "--model",
    "own",
    multiple=True,
    help=(
        "Add a row for a model of your own: its name or folder, with +REFINER for what refines "
        "its answers; repeatable."
    ),
)
@click.option(
    "--by",
    multiple=True,
    metavar="COLUMN",
    help=(
        "Also give fields by a column of the objects' table, such as a climate; repeatable. By "
        "size and group they are given anyway."
    ),
)
@click.option(
    "--quick",
    is_flag=True,
    help=(
        "See every table in minutes: rows without weights get a tiny network that learns for "
        "seconds by the row's own road, and is called a stand-in wherever it appears; without "
        "--data, simulated smallholdings at 0.5 m stand in for it."
    ),
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=Path("reproduced"),
    show_default=True,
    help="Folder of table-N.csv, table-N.md, strata.csv, report.html and the answers behind them.",
)
@opt.group(opt.engine, opt.threads, opt.force, opt.as_json, opt.quiet)
def magseg_command(**values: Any) -> None:
    """Score the tables, or list their rows."""
    given = opt.taken(LandscapeChoice, values)
    numbers = tuple(int(name) for name in dict.fromkeys(given.tables or TABLES))
    if given.by and numbers == (4,):
        raise click.UsageError(
            "--by is for what is scored on images, and Table 4 is of parameters and training time: "
            "add another table, or omit it."
        )
    if given.layout and given.data is None:
        raise click.UsageError("--layout says how --data lies on disk: give it, or omit --layout.")
    if given.data is None and not given.quick:
        opt.refuse_given(SCORING, "rows are only listed without --data or --quick")
        _list_rows(numbers, given.weights)
        return
    from selion.papers.landscape_tables import write_landscape_tables
    from selion.papers.landscapes import LandscapeRequest, score_landscapes
    from selion.reports.reproduction_landscapes import write_landscape_report

    request = LandscapeRequest(
        numbers,
        given.out,
        given.data,
        given.layout,
        given.split,
        given.weights,
        given.own,
        given.by,
        given.quick,
        given.engine,
        given.threads,
        given.force,
    )
    with reporter(quiet=given.quiet, as_json=given.as_json) as say:
        scores = score_landscapes(request, on_step=say.step)
        written = write_landscape_tables(scores, request)
        report = write_landscape_report(given.out, scores.notes)
    for path in written:
        if given.as_json:
            opt.print_result(path, {}, given)
            continue
        text = path.with_suffix(".md")
        if not given.quiet and text.is_file():
            click.echo(text.read_text("utf-8"), err=True)
        click.echo(str(path))
    if not given.as_json:
        click.echo(str(report))


def _list_rows(numbers: tuple[int, ...], weights: Path | None) -> None:
    from selion.papers import find_weights, read_paper
    from selion.papers.landscapes import INDIA, parted, parts_of, trained_in

    paper = read_paper("magseg")
    wanted = parts_of(paper, numbers)
    found = find_weights(wanted.values(), trained_in(weights, INDIA), paper)
    for number in numbers:
        table = paper.table(number)
        click.echo(f"Table {number}: {table.title}")
        for row in table.rows:
            mine = parted(row.model, found)
            where = f"missing: {row.model.remedy}" if isinstance(mine, str) else mine.path
            click.echo(f"  {row.model.key:<14} {row.label:<28} {where}")
