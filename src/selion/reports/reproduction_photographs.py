"""DepthCropSeg++'s tables as one page: the paper's figures beside ours."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import selion
from selion import store
from selion.papers import read_paper
from selion.papers.photo_tables import HEADS, HOW, ROMAN
from selion.papers.photographs import PAPER
from selion.reports import page

REPORT = "report.html"
Line = Mapping[str, str]
WARNING = (
    "Rows marked (stand-in) are not the paper's models. They show that the road works, and say "
    "nothing of what the paper's models score."
)
READ = (
    "How a cell is read: ours in percent with its 95 % interval over photographs; in brackets the "
    "paper's figure."
)


def write_photo_report(out: Path) -> Path:
    """Write ``report.html`` over the tables that stand in a folder; a page there is replaced.

    Parameters
    ----------
    out : path
        As :func:`selion.papers.photo_tables.write_photo_tables` leaves it.
    """
    paper = read_paper(PAPER)
    sections, said = [], set()
    for table in paper.tables:
        path = out / f"table-{table.number}.csv"
        if not path.is_file():
            continue
        with path.open(encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file))
        said |= {line["stand_in"] for line in lines} - {""}
        sections.append(_section(table.number, table.title, table.columns, lines))
    if said:
        sections.insert(0, page.paragraph(WARNING))
        each = (page.paragraph(f"{text[0].upper()}{text[1:]}.") for text in sorted(said))
        sections.append(page.section("Stand-ins", *each))
    sections.append(page.section("How", *(page.paragraph(text) for text in HOW)))
    lead = (
        f"{paper.citation}. Scored with selion {selion.__version__} on photographs that are here."
    )
    text = page.page(f"{paper.name}: its tables, scored here", lead, sections, "", wide=True)
    store.write_text(out / REPORT, text, force=True)
    return out / REPORT


def _section(number: int, title: str, columns: Sequence[str], lines: Sequence[Line]) -> str:
    heads: dict[str, None] = {}
    rows: dict[str, dict[str, str]] = {}
    for line in lines:
        if line["measure"] in columns and line["model"]:
            head = f"{line['subset']}, {HEADS[line['measure']]}"
            heads[head] = None
            name = f"{line['row']} (stand-in)" if line["stand_in"] else line["row"]
            rows.setdefault(name, {})[head] = _cell(line)
    body = [[name, *(found.get(head, "") for head in heads)] for name, found in rows.items()]
    parts = [page.paragraph(READ), page.table(["", *heads], body)]
    runs = [line for line in lines if not line["model"]]
    if runs:
        compared = [
            [f"{line['row']}, {line['measure']}", line["ours"] or "-", line["paper"],
             line["paper_recomputed"]]
            for line in runs
        ]  # fmt: skip
        columns_of_runs = ["", "ours", "paper", "from the paper's own runs"]
        parts.append(page.table(columns_of_runs, compared))
    missing = {f"{line['row']}: {line['missing']}" for line in lines if line["missing"]}
    parts += [page.paragraph(text) for text in sorted(missing)]
    links = f"Every number: table-{number}.csv. How it was scored: table-{number}.md."
    return page.section(f"Table {ROMAN[number]}: {title}", *parts, page.paragraph(links))


def _cell(line: Line) -> str:
    text = f"{float(line['ours']):.2f}" if line["ours"] else "-"
    if line["low"]:
        text += f" ({float(line['low']):.2f} to {float(line['high']):.2f})"
    return f"{text} [{line['paper']}]" if line["paper"] else text
