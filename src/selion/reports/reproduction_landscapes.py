"""MAgSeg's tables as one page: the paper's figures beside ours."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import selion
from selion import store
from selion.papers import read_paper
from selion.papers.landscape_tables import (
    HOW,
    STRATA,
    STRATA_COLUMNS,
    TIMES,
    grids,
    missing_of,
)
from selion.papers.landscapes import OVERHEAD, PAPER
from selion.papers.printed import PaperTable
from selion.reports import page

REPORT = "report.html"
WARNING = (
    "Rows marked (stand-in) are not the paper's models. They show that the road works, and say "
    "nothing of what the paper's models score."
)
READ = "Each cell is ours; in brackets the paper's figure, on data that are not public."
HEADS = {
    "row": "",
    "by": "by",
    "stratum": "",
    "objects": "objects",
    "mean_iou": "mean IoU",
    "median_iou": "median IoU",
    "missed": "missed %",
    "blind": "a blind grid",
    "beyond": "beyond it",
}


def write_landscape_report(out: Path, notes: Sequence[str] = ()) -> Path:
    """Write ``report.html`` over the tables that stand in a folder; a page there is replaced.

    Parameters
    ----------
    out : path
        As :func:`selion.papers.landscape_tables.write_landscape_tables` leaves it.
    notes : sequence of str
        Sentences on the images that the tables are made of.
    """
    paper = read_paper(PAPER)
    sections, said = [], set()
    for table in paper.tables:
        path = out / f"table-{table.number}.csv"
        if path.is_file():
            lines = _read(path)
            said |= {(line["row"], line["stand_in"]) for line in lines if line["stand_in"]}
            sections.append(_section(table, lines))
    if said:
        sections.insert(0, page.paragraph(WARNING))
    sections[:0] = [page.paragraph(text) for text in notes]
    if (out / STRATA).is_file():
        sections.append(_strata(_read(out / STRATA)))
    if said:
        each = (page.paragraph(f"{row}: {text}.") for row, text in sorted(said))
        sections.append(page.section("Stand-ins", *each))
    sections.append(page.section("How", *(page.paragraph(text) for text in HOW)))
    lead = f"{paper.citation}. Scored with selion {selion.__version__} on images that are here."
    text = page.page(f"{paper.name}: its tables, scored here", lead, sections, "", wide=True)
    store.write_text(out / REPORT, text, force=True)
    return out / REPORT


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _section(table: PaperTable, lines: list[dict[str, str]]) -> str:
    parts = [page.paragraph(READ)]
    for title, heads, body in grids(table, lines):
        if title:
            parts.append(page.paragraph(title.capitalize()))
        parts.append(page.table(["", *heads], body))
    if table.number == OVERHEAD:
        parts.append(page.paragraph(TIMES))
    parts += [page.paragraph(f"{row}: {why}") for row, why in missing_of(lines).items()]
    links = f"Every number: table-{table.number}.csv. How it was scored: table-{table.number}.md."
    return page.section(f"Table {table.number}: {table.title}", *parts, page.paragraph(links))


def _strata(lines: list[dict[str, str]]) -> str:
    body = [[_shown(line, key) for key in HEADS] for line in lines]
    why = (
        "Fields by their true size in acres (appendix D.2, whose bins end at 5), by group, and by "
        "the columns that were asked for; all objects, any overlap."
    )
    return page.section(
        "By size and place",
        page.paragraph(why),
        page.table(list(HEADS.values()), body),
        page.paragraph(f"Every number: {STRATA}."),
    )


def _shown(line: dict[str, str], key: str) -> str:
    if key == "row" and line["stand_in"]:
        return f"{line['row']} (stand-in)"
    exact = key not in STRATA_COLUMNS[6:] or not line[key]
    return line[key] if exact else f"{float(line[key]):.2f}"
