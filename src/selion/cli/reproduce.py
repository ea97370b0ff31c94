"""``selion reproduce``: the tables of papers, each by one command."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from selion.cli import options as opt
from selion.cli.progress import Reporter, reporter

PRUE_TABLES = ("1", "2", "4", "5", "6")


@click.group("reproduce", help="Score what a paper's tables are made of, beside its figures.")
def reproduce_group() -> None:
    """Hold one verb for each paper."""


@dataclass(frozen=True, kw_only=True)
class PrueChoice(opt.VerbChoice):
    """Options of ``selion reproduce prue``, as they were given."""

    tables: tuple[str, ...]
    data: Path | None
    weights: Path | None
    own: tuple[str, ...]
    countries: tuple[str, ...]
    published: bool
    draws: int
    engine: str
    threads: int | None
    out: Path


@reproduce_group.command(
    "prue",
    help=(
        "Score the rows of PRUE's tables (arXiv 2603.27101) on the test split of Fields of The "
        "World, with whatever weights are here, beside the paper's figures. What is missing is "
        "named, with where it is had. The same command continues an interrupted run, and tables "
        "in one folder share their scores."
    ),
)
@click.option(
    "--table",
    "tables",
    type=click.Choice(PRUE_TABLES),
    multiple=True,
    help="Table of the paper; repeatable  [default: all].",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    default=None,
    help=(
        "Folder of Fields of The World; without it, only the rows are listed, and where their "
        "weights are."
    ),
)
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    default=None,
    help=(
        "Folder of models, each in a folder called as the row's model (prue-b7), as the published "
        "weights or as the recipe; those that 'selion models fetch' brought are found without it."
    ),
)
@click.option(
    "-m",
    "--model",
    "own",
    multiple=True,
    help="Add a row for a model of your own: its name or folder; repeatable.",
)
@click.option(
    "-c",
    "--countries",
    multiple=True,
    help="Only these countries, by name or comma-separated; repeatable  [default: all there are].",
)
@click.option(
    "--as-published",
    "published",
    is_flag=True,
    help=(
        "Do as PRUE's public code does where selion does otherwise by design: whole chips as one "
        "view, at most 100 detections a chip, its confidences and its changes of scores; the "
        "tables list each difference."
    ),
)
@click.option(
    "--bootstrap",
    "draws",
    type=click.IntRange(0),
    default=1000,
    show_default=True,
    help="Bootstrap samples for the intervals of a country.",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=Path("reproduced"),
    show_default=True,
    help="Folder of table-N.csv, table-N.md and the scores behind them.",
)
@opt.group(opt.engine, opt.threads, opt.force, opt.as_json, opt.quiet)
def prue_command(**values: Any) -> None:
    """Score the tables, or list their rows."""
    given = opt.taken(PrueChoice, values)
    from selion.papers import read_paper
    from selion.papers.writing import table_paths
    from selion.store import check_output

    paper = read_paper("prue")
    numbers = [int(number) for number in dict.fromkeys(given.tables or PRUE_TABLES)]
    if given.data is None:
        _refuse_without_data()
        _list_rows(numbers, given.weights)
        return
    for number in numbers:
        for path in table_paths(given.out, number):
            check_output(path, given.force)
    with reporter(quiet=given.quiet, as_json=given.as_json) as say:
        written = _score(given, paper, numbers, say)
    for path in written:
        if given.as_json:
            opt.print_result(path, {}, given)
        else:
            click.echo(str(path))


def _score(given: PrueChoice, paper: Any, numbers: list[int], say: Reporter) -> list[Path]:
    from selion import papers

    countries = [name for text in given.countries for name in text.split(",") if name]
    data = papers.open_chips(paper, given.data or Path(), countries)
    options = papers.ReproduceOptions(given.published, given.engine, given.threads, given.draws)
    written = []
    for number in numbers:
        table, own = papers.with_own(paper.table(number), given.own)
        models = papers.find_weights(table.models.values(), given.weights) | own
        scores = papers.reproduce_table(table, data, models, given.out, options, on_step=say.step)
        written.append(papers.write_table(scores, given.out, force=given.force))
        if not given.quiet and not given.as_json:
            click.echo(papers.to_markdown(scores), err=True)
    return written


def _list_rows(numbers: list[int], weights: Path | None) -> None:
    from selion.papers import find_weights, read_paper

    paper = read_paper("prue")
    for number in numbers:
        table = paper.table(number)
        found = find_weights(table.models.values(), weights)
        click.echo(f"Table {number}: {table.title}")
        for row in table.rows:
            mine = found.get(row.model.key)
            where = f"missing: {row.model.remedy}" if mine is None else str(mine.path)
            click.echo(f"  {row.label:<44} {where}")


def _refuse_without_data() -> None:
    """Refuse options that change nothing where nothing is scored."""
    context = click.get_current_context()
    given = [
        option.opts[0]
        for option in context.command.params
        if option.name not in ("tables", "weights")
        and context.get_parameter_source(str(option.name)) is click.core.ParameterSource.COMMANDLINE
    ]
    if given:
        raise click.UsageError(
            f"{', '.join(given)} has no effect without --data, which is the folder of Fields of "
            "The World: give it, or omit the option."
        )
