"""The pages of several maps of a country: one of all years, and one of each step."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import selion
from selion import store
from selion.change.run import REPORT
from selion.reports import page
from selion.reports.change_maps import told_fields, write_map_report

if TYPE_CHECKING:
    from selion.country import MapSeries
    from selion.store.address import Place

SHOWN = ("kept", "moved", "split", "merged", "redrawn", "appeared", "gone", "unknown")
ID_TEXT = (
    "An id goes on from year to year, and none is given twice. Each step is told from its two "
    "years alone: a field that one year has not goes by another id when a later year has it again."
)


def write_series_report(
    series: MapSeries, *, images: Sequence[Place | str] = (), force: bool = False
) -> Path:
    """Write ``report.html`` into the folder of a comparison of several maps, and of each step.

    Parameters
    ----------
    series : MapSeries
        From :func:`selion.country.compare_series`.
    images : sequence of path or address, optional
        Imagery of each year, see :func:`selion.reports.change_imagery.find_images`.
    force : bool
        Whether existing pages are replaced.

    Raises
    ------
    OutputExists, OutputFailed
        If they may not, or cannot, be written.
    BadInput, UnreadableFile
        If the imagery cannot be shown.
    """
    for number, step in enumerate(series.steps):
        write_map_report(step, images=images[number : number + 2], force=force)
    path = series.folder / REPORT
    store.write_text(path, to_html(series), force=force)
    return path


def to_html(series: MapSeries) -> str:
    """Lay all steps out as a page of their own, with links to those of each."""
    labels = [series.steps[0].years[0], *(step.years[1] for step in series.steps)]
    rows = []
    for step in series.steps:
        counts = {row["outcome"]: row for row in step.summary.to_dict("records")}
        sides = {name: "fields_before" if name == "gone" else "fields_after" for name in SHOWN}
        late = [int(counts[name][side]) for name, side in sides.items()]
        rows.append([" to ".join(step.years), *late])
    caption = "Fields of the later year by outcome; of those that are gone, the earlier ones."
    links = "".join(
        f'<li><a href="{escape(step.folder.name)}/{REPORT}">{escape(" to ".join(step.years))}</a>'
        "</li>"
        for step in series.steps
    )
    files = [
        [
            f"{series.steps[0].folder.name}/ ...",
            "what became of the fields in each step: maps, lineage",
        ],
        ["summary.csv", "counts and hectares by outcome, all steps"],
        ["change.json", "which steps there are, for machines"],
    ]
    parts = [
        page.section("From year to year", page.table(("years", *SHOWN), rows, caption)),
        page.section("Each step", f"<ul>{links}</ul>"),
        page.section(
            "How it was told", page.paragraph(told_fields(series.steps)), page.paragraph(ID_TEXT)
        ),
        page.section("Files", page.table(("file", "what"), files)),
    ]
    lead = (
        f"What became of the fields from {labels[0]} to {labels[-1]}, told from {len(labels)} maps."
    )
    title = f"Change {labels[0]} to {labels[-1]}"
    return page.page(title, lead, parts, f"selion {selion.__version__}")
