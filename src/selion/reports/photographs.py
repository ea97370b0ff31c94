"""The page of a run.

What it gave, and every overlay in a grid, those first that should be looked at.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from selion import store
from selion.closerange.model import AUTO, OTHER
from selion.reports import page

if TYPE_CHECKING:
    from selion.closerange.run import CropRun

INDEX = "index.html"
MOST = 5000
"""Photographs on the page; the table has all."""


def write_gallery(run: CropRun) -> Path:
    """Write ``index.html`` with relative links to overlays and tables.

    What is there is replaced.
    """
    store.write_text(run.folder / INDEX, to_html(run), force=True)
    return run.folder / INDEX


def to_html(run: CropRun) -> str:
    """Lay a run out as a page."""
    rows = sorted(run.rows, key=lambda row: (row["trust"] == "yes", row["file"]))
    doubted = [row for row in rows if row["trust"] != "yes"]
    sections = [*(page.paragraph(note) for note in run.notes), _folded(run)]
    if run.failed:
        sections.append(
            page.section("Could not be measured", page.table(["photograph", "why"], run.failed))
        )
    if doubted:
        sections.append(
            page.section(f"Look at these first ({len(doubted):,})", _grid(doubted[:MOST]))
        )
    trusted = rows[len(doubted) :]
    if trusted:
        sections.append(
            page.section(
                f"Nothing speaks against these ({len(trusted):,})",
                _grid(trusted[: max(MOST - len(doubted), 0)]),
            )
        )
    lead = (
        f"{_count(len(rows), 'photograph')} measured with the model {run.model}. What is tinted, "
        f"with a yellow outline, was taken for plants.{_in_short(run)}"
    )
    return page.page("Cover and traits", lead, sections, f"selion {run.version}", wide=True)


def _in_short(run: CropRun) -> str:
    """Return the covers, and how many photographs are to be looked at, in one sentence."""
    covers = [row["cover"] for row in run.rows if row["cover"] is not None]
    if not covers:
        return ""
    doubted = sum(row["trust"] != "yes" for row in run.rows)
    looked = f"{doubted:,} of them should be looked at." if doubted else "None looks doubtful."
    return (
        f" The median cover is {statistics.median(covers):.1%}, from {min(covers):.1%} to "
        f"{max(covers):.1%}. {looked}"
    )


def _folded(run: CropRun) -> str:
    """Return all numbers, the tables and how to read the bars, folded: photographs come first."""
    inner = page.table(["", ""], _facts(run)) + _links(run) + _reading(run)
    return page.folded("What was measured, the tables, and how to read the bars", inner)


def _facts(run: CropRun) -> list[list[object]]:
    covers = [row["cover"] for row in run.rows if row["cover"] is not None]
    facts: list[list[object]] = [["model", f"{run.model}: {run.about}"]]
    if covers:
        facts.append(
            [
                "cover",
                (
                    f"median {statistics.median(covers):.1%}, from {min(covers):.1%} to "
                    f"{max(covers):.1%}"
                ),
            ]
        )
    facts.append(["connected plants or leaves", f"{sum(row['components'] for row in run.rows):,}"])
    facts.append(
        [
            "not to be trusted unseen",
            f"{sum(row['trust'] != 'yes' for row in run.rows):,} of {len(run.rows):,}",
        ]
    )
    facts.append(["could not be measured", f"{len(run.failed):,}"])
    return facts


def _links(run: CropRun) -> str:
    names = [
        name
        for name in ("crops.csv", "components.csv", "failed.csv", "run.json")
        if (run.folder / name).exists()
    ]
    links = [f'<a href="{name}">{name}</a>' for name in names]
    return f"<p>Tables: {', '.join(links)}</p>"


def _reading(run: CropRun) -> str:
    band = (
        "holds the true cover of nine photographs in ten, of many fields and cameras; of a single "
        "one it may hold fewer"
        if run.model in (AUTO, OTHER)
        else "is where the model itself would let cover lie (90 %, all its doubts erring "
        "together). It is no promise: a model that is surely wrong has a narrow band"
    )
    return page.paragraph(
        f"The bar shows cover from 0 to 100 %: the line is the mask, the band {band}. Touching "
        "plants count as one."
    )


def _grid(rows: Sequence[dict[str, Any]]) -> str:
    return f'<div class="grid">{"".join(_card(row) for row in rows)}</div>'


def _card(row: dict[str, Any]) -> str:
    cover, low, high = (_number(row[name]) for name in ("cover", "cover_low", "cover_high"))
    picture = ""
    if row.get("thumb"):
        alternative = f"{row['file']} with outlines around plants, cover {cover:.0%}"
        picture = (
            f'<a href="{quote(row["overlay"])}"><img src="{quote(row["thumb"])}" loading="lazy" '
            f'alt="{escape(alternative, quote=True)}"></a>'
        )
    bar = page.band(low, high, cover)
    span = f'<span class="soft">({low:.0%} to {high:.0%})</span>'
    words = (
        f"<p><strong>{escape(row['file'])}</strong></p><p>cover {cover:.1%} {span}, "
        f"{_count(row['components'], 'piece')}</p>"
    )
    why = f'<p class="why">{escape(row["reasons"])}</p>' if row["reasons"] else ""
    note = f'<p class="soft">{escape(row["notes"])}</p>' if row["notes"] else ""
    return (
        '<div class="card '
        f'{"yes" if row["trust"] == "yes" else "no"}">{picture}{bar}{words}{why}{note}</div>'
    )


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and value == value else 0.0  # noqa: PLR0124  # NaN is not itself


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
