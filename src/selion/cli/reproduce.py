"""``selion reproduce``: the tables of papers, each by one command."""

from __future__ import annotations

from pathlib import Path

import click


@click.group("reproduce", help="Score what a paper's tables are made of, beside its figures.")
def reproduce_group() -> None:
    """Hold one verb for each paper."""


@reproduce_group.command(
    "prue",
    help="List the rows of PRUE's tables: which weights are here, and where others are had.",
)
@click.option(
    "--table",
    "tables",
    type=click.Choice(["1", "2", "4", "5", "6"]),
    multiple=True,
    help="Table of the paper; repeatable [default: all].",
)
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    default=None,
    help="Folder of models; those that 'selion models fetch' brought are found without it.",
)
def prue_command(tables: tuple[str, ...], weights: Path | None) -> None:
    """List the rows."""
    from selion.papers import read_paper
    from selion.papers.finding import find_weights

    paper = read_paper("prue")
    for number in tables or ("1", "2", "4", "5", "6"):
        table = paper.table(int(number))
        found = find_weights(table.models.values(), weights)
        click.echo(f"Table {number}: {table.title}")
        for row in table.rows:
            mine = found.get(row.model.key)
            where = f"missing: {row.model.remedy}" if mine is None else str(mine.path)
            click.echo(f"  {row.label:<44} {where}")
