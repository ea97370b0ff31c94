"""The page of a history: a line of years, what became of the fields in each, how sure it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import selion
from selion import store
from selion.change.fusion import YEARS
from selion.change.history import PAGE
from selion.reports import page, picture
from selion.reports.change import legend, small_map
from selion.reports.evaluation import reliability_drawing

if TYPE_CHECKING:
    from selion.change.history import FieldHistory

LONGEST = 900
"""Edge of a map on the page, in pixels."""
HOW = (
    "Each year is compared with the year before and with the one before that. A field keeps its id "
    "while it stays one; what a year's map lacks although the years before and after it have it is "
    "not seen that year, and neither gone nor new. In the first and the last year, where that "
    "cannot be told of a single field, it is said of a year or a neighbourhood in which far more "
    "fields are missing at once than usual. Probabilities are fused over the years in which an "
    "outline did not move."
)
MEANING = {
    "first": "in the first year that saw it",
    "kept": "the same field, the same outline",
    "moved": "the same field, its outline elsewhere",
    "split": "one field became several",
    "merged": "several fields became one",
    "redrawn": "several fields became several others",
    "appeared": "a field where there was none",
    "gone": "no field any more",
    "not seen": "the year's map lacks it, the years around have it",
    "passing": "divided or drawn otherwise for this year only",
    "unknown": "the year did not see the ground",
}


def write_report(history: FieldHistory, *, force: bool = False) -> Path:
    """Write ``report.html`` into the folder of a history.

    Parameters
    ----------
    history : FieldHistory
        From :func:`selion.change.join_years`; its maps are read again.
    force : bool
        Whether an existing page is replaced.

    Raises
    ------
    OutputExists, OutputFailed
        If it may not, or cannot, be written.
    """
    path = history.folder / PAGE
    store.write_text(path, to_html(history), force=force)
    return path


def to_html(history: FieldHistory) -> str:
    """Lay a history out as a self-contained page."""
    numbers, facts = history.numbers, history.facts
    lead = (
        f"{facts['fields']:,} fields in {len(numbers)} years, {facts['alive']:,} of them there in "
        f"{numbers[-1]}."
    )
    panels = [(str(number), _panel(history, at, number)) for at, number in enumerate(numbers)]
    parts = [
        page.section(
            "Year by year",
            page.paragraph("Choose a year with the pointer, or with the arrow keys."),
            page.year_slider("Year", panels),
            legend(YEARS),
        ),
        page.section("All years", _counts(history)),
        *_districts(history),
        _sureness(facts),
        page.section(
            "What the words mean",
            page.table(("outcome", "what it means"), [[k, v] for k, v in MEANING.items()]),
            page.paragraph(HOW),
        ),
    ]
    notes = [*history.notes, *facts.get("maps", ())]
    if notes:
        parts.append(page.section("Notes", *(page.paragraph(note) for note in notes)))
    parts.append(_files(history))
    title = f"Fields from {numbers[0]} to {numbers[-1]}"
    return page.page(title, lead, parts, f"selion {selion.__version__}")


def _panel(history: FieldHistory, at: int, number: int) -> str:
    facts = history.facts["years"][str(number)]
    figure = page.Figure(
        picture.data_uri(small_map(history.outcomes[at], YEARS, LONGEST)),
        f"What became of the fields in {number}.",
        f"Map of the outcomes of fields in {number}",
    )
    said = ""
    if facts["under_detected"]:
        said = page.paragraph(
            f"Under-detected: {facts['missed']:.0%} of the fields that the years around have are "
            "missing from this year's map."
        )
    elif facts["under_detected_share"]:
        said = page.paragraph(
            f"Under-detected where {facts['under_detected_share']:.0%} of the fields lie."
        )
    rows = [
        [name.replace("_", " "), value]
        for name, value in facts["counts"].items()
        if name not in ("fields", "ha") and value
    ]
    counts = facts["counts"]
    table = page.table(
        ("outcome", "fields"), rows, f"{counts['fields']:,} fields, {counts['ha']:,.1f} ha"
    )
    return said + page.row([page.figures([figure]), table])


def _counts(history: FieldHistory) -> str:
    years = history.facts["years"]
    names = [
        name
        for name in next(iter(years.values()))["counts"]
        if any(year["counts"][name] for year in years.values())
    ]
    rows = [
        [
            number,
            *(
                f"{year['counts'][name]:,.1f}" if name == "ha" else f"{year['counts'][name]:,}"
                for name in names
            ),
            "yes" if year["under_detected"] else f"{year['under_detected_share']:.0%}",
        ]
        for number, year in years.items()
    ]
    header = ("year", *(name.replace("_", " ") for name in names), "under-detected")
    return page.table(
        header, rows, "Fields by year; under-detected: as a whole, or share of fields"
    )


def _districts(history: FieldHistory) -> list[str]:
    table = history.summary
    if table["district"].nunique() < 2 and set(table["district"]) == {"all"}:
        return []
    wide = table.pivot_table(index="district", columns="year", values="fields", sort=True)
    rows = [
        [str(name), *(f"{int(value):,}" for value in row)]
        for name, row in zip(wide.index, wide.to_numpy(), strict=True)
    ]
    header = ("district", *(str(year) for year in wide.columns))
    return [page.section("Districts", page.table(header, rows, "Fields by district and year"))]


def _sureness(facts: dict[str, Any]) -> str:
    parts = [
        page.table(
            ("", ""),
            [
                ["mean stability (IoU of consecutive outlines)", _number(facts["stability"])],
                ["mean doubt", _number(facts["doubt"])],
            ],
        )
    ]
    found = facts.get("calibration")
    if found is None:
        text = (
            "score, not calibrated: the column score is the mean probability of a field's pixels. "
            "Give own or reviewed fields as --reference to have it fitted."
        )
        return page.section("How sure it is", *parts, page.paragraph(text))
    parts.append(
        page.paragraph(
            f"The column confidence is the probability that a field is one of the reference at IoU "
            f"{found['iou']}, fitted (isotonic) on {found['fields']:,} fields of {found['year']}. "
            f"Expected calibration error {found['confidence']['ece']:.3f} by curves that were not "
            f"fitted on what they are judged on; that of the score as it is "
            f"{found['score']['ece']:.3f}."
        )
    )
    drawings = [
        reliability_drawing(
            found[name]["bins"],
            f"{words}: expected calibration error {found[name]['ece']:.3f}, Brier "
            f"{found[name]['brier']:.3f}.",
        )
        for name, words in (("score", "Score as it is"), ("confidence", "Calibrated"))
    ]
    return page.section("How sure it is", *parts, page.row(drawings))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _files(history: FieldHistory) -> str:
    rows = [
        ["history.parquet", "a row a field, lists by year (GeoParquet)"],
        ["history.long.parquet", "a row a field and year (GeoParquet)"],
        ["lineage.csv", "who came from whom"],
        ["summary.csv", "counts by district and year"],
        ["fused.scores.tif", "probabilities fused over the years (COG)"],
        *(
            [["fields.parquet", "fields of these (fiboa GeoParquet)"]]
            if _has_fields(history)
            else []
        ),
        *([one.name, "outcomes of a year (COG)"] for one in history.outcomes),
        ["history.json", "all of this for machines"],
    ]
    return page.section("Files", page.table(("file", "what"), rows))


def _has_fields(history: FieldHistory) -> bool:
    return "fused_fields" in history.facts
