"""``selion reproduce``: the tables of papers, each by one command."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from selion.cli import options as opt
from selion.cli.progress import Reporter, reporter
from selion.cli.reproduce_landscapes import magseg_command
from selion.cli.reproduce_photographs import depthcropseg_command

PRUE_TABLES = ("1", "2", "3", "4", "5", "6")
PRUE_FIGURES = ("6", "7")
UNSCORED = "3"
"""The table of countries: it wants maps, not chips."""
ROWS = frozenset(f"--table {number}" for number in PRUE_TABLES if number != UNSCORED)
CHIPS = ROWS | {f"--figure {number}" for number in PRUE_FIGURES}
LAND = frozenset({f"--table {UNSCORED}"})
ACTS_ON = {
    "maps": LAND,
    "census": LAND,
    "prices": LAND,
    "own": ROWS,
    "draws": ROWS,
    "published": CHIPS,
    "countries": CHIPS | LAND,
    "weights": CHIPS | LAND,
    "engine": CHIPS | LAND,
    "threads": CHIPS | LAND,
}
"""Option -> what it acts on; one that is not here acts on everything."""
OF_SPEED = ("prices", "countries", "weights", "engine", "threads")
"""Options that act on Table 3 by the speed that is measured for it, and so where chips are."""


@click.group("reproduce", help="Score what a paper's tables are made of, beside its figures.")
def reproduce_group() -> None:
    """Hold one verb for each paper."""


reproduce_group.add_command(depthcropseg_command)
reproduce_group.add_command(magseg_command)


@dataclass(frozen=True, kw_only=True)
class PrueChoice(opt.VerbChoice):
    """Options of ``selion reproduce prue``, as they were given."""

    tables: tuple[str, ...]
    figures: tuple[str, ...]
    data: Path | None
    weights: Path | None
    own: tuple[str, ...]
    countries: tuple[str, ...]
    quick: bool
    maps: Path | None
    census: Path | None
    prices: Path | None
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
    help="Table of the paper; repeatable  [default: all, and the figures, if none is named].",
)
@click.option(
    "--figure",
    "figures",
    type=click.Choice(PRUE_FIGURES),
    multiple=True,
    help="Figure of the paper: agreement against overlap (6), against object F1 (7); repeatable.",
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
    "--quick",
    is_flag=True,
    help=(
        "See every table in minutes: rows without weights get a small network that is trained for "
        "seconds, and is called a stand-in wherever it appears; without --data, a sample in the "
        "layout of Fields of The World stands in for it."
    ),
)
@click.option(
    "--maps",
    type=click.Path(path_type=Path),
    default=None,
    help=(
        "Folder of finished maps for Table 3: COUNTRY-YEAR.parquet or folders of that name, and "
        "COUNTRY.geojson with the outline of what was mapped."
    ),
)
@click.option(
    "--census",
    type=click.Path(path_type=Path),
    default=None,
    help="CSV of country, fields and area_ha to lay beside the maps of Table 3.",
)
@click.option(
    "--prices",
    type=click.Path(path_type=Path),
    default=None,
    help="Price sheet for the cost in Table 3 [default: the one that 'selion plan' has].",
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
    help="Folder of table-N.csv, table-N.md, figure-N.csv, report.html and the scores behind them.",
)
@opt.group(opt.engine, opt.threads, opt.force, opt.as_json, opt.quiet)
def prue_command(**values: Any) -> None:
    """Score the tables, or list their rows."""
    given = opt.taken(PrueChoice, values)
    from selion.papers import read_paper

    paper = read_paper("prue")
    named = given.tables or given.figures
    tables = list(dict.fromkeys(given.tables if named else PRUE_TABLES))
    figures = list(dict.fromkeys(given.figures if named else PRUE_FIGURES))
    scored = [number for number in tables if number != UNSCORED]
    _refuse_without_effect(
        given, {*(f"--table {n}" for n in tables), *(f"--figure {n}" for n in figures)}
    )
    if given.data is None and not given.quick and (scored or figures):
        _refuse_without_data(given, scored, tables)
        _list_rows([int(number) for number in scored], given.weights)
        return
    with reporter(quiet=given.quiet, as_json=given.as_json) as say:
        written = _reproduce(given, paper, tables, figures, say)
    for path in written:
        if given.as_json:
            opt.print_result(path, {}, given)
        else:
            click.echo(str(path))


def _reproduce(
    given: PrueChoice, paper: Any, tables: list[str], figures: list[str], say: Reporter
) -> list[Path]:
    from selion import papers
    from selion.papers.request import PaperRequest, reproduce
    from selion.reports.reproduction import write_report

    def show(scores: Any) -> None:
        if not given.quiet and not given.as_json:
            click.echo(papers.to_markdown(scores), err=True)

    request = PaperRequest(
        tuple(int(number) for number in tables),
        tuple(int(number) for number in figures),
        given.out,
        given.data,
        given.weights,
        given.own,
        _countries(given.countries),
        given.quick,
        given.maps,
        given.census,
        given.prices,
        papers.ReproduceOptions(given.published, given.engine, given.threads, given.draws),
        given.force,
    )
    written = reproduce(paper, request, on_step=say.step, on_table=show)
    return [*written, write_report(given.out)]


def _countries(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names in comma-separated texts; a text without any is refused."""
    found: list[str] = []
    for text in texts:
        names = [name.strip() for name in text.split(",") if name.strip()]
        if not names:
            raise click.UsageError(
                f"--countries {text!r} names no country: give names, as in austria,denmark, or "
                "omit it for all."
            )
        found += names
    return tuple(dict.fromkeys(found))


def _refuse_without_effect(given: PrueChoice, asked: set[str]) -> None:
    """Refuse options that change nothing of what is asked for."""
    _countries(given.countries)
    chips = given.data is not None or given.quick
    for name, option in _given_options().items():
        acts_on = ACTS_ON.get(name, asked)
        if not acts_on & asked:
            raise click.UsageError(
                f"{option} has no effect on {', '.join(sorted(asked))}: it is for "
                f"{', '.join(sorted(acts_on))}. Add one of these, or omit it."
            )
        if asked == LAND and name in OF_SPEED and not chips:
            raise click.UsageError(
                f"{option} has no effect on Table {UNSCORED} without --data, on whose chips the "
                "speed for its cost is measured: give it, or --quick, or omit the option."
            )


def _given_options() -> dict[str, str]:
    """Return name -> option, of those on the command line."""
    context = click.get_current_context()
    return {
        str(option.name): max(option.opts, key=len)
        for option in context.command.params
        if context.get_parameter_source(str(option.name)) is click.core.ParameterSource.COMMANDLINE
    }


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


def _refuse_without_data(given: PrueChoice, scored: list[str], tables: list[str]) -> None:
    """Refuse what cannot be made, and options that change nothing, where nothing is scored."""
    if given.maps is not None:  # then Table 3 is asked for
        raise click.UsageError(
            f"--maps is for Table {UNSCORED}, and what else is asked for wants --data, the folder "
            f"of Fields of The World: give it, or --quick, or ask for --table {UNSCORED} alone."
        )
    if not scored and UNSCORED not in tables:
        raise click.UsageError(
            "Figures are made of scores, and there is nothing to score: give --data, the folder of "
            "Fields of The World, or --quick."
        )
    without = [o for name, o in _given_options().items() if name not in ("tables", "weights")]
    if without:
        raise click.UsageError(
            f"{', '.join(without)} has no effect without --data, which is the folder of Fields of "
            "The World: give it, or --quick, or omit the option."
        )
