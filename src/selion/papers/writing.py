"""A scored table as files: every figure in one CSV, and the printed layout as Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from selion.metrics import Interval, group_mean
from selion.papers.printed import PaperRow
from selion.papers.results import RowScores, TableScores, holds
from selion.store import check_output, write_csv, write_text

COLUMNS = (
    *("table", "group", "row", "backbone", "model", "weights", "stand_in", "country", "measure"),
    *("ours", "low", "high", "n", "paper", "paper_plus_minus", "minus_paper", "holds_paper"),
    "paper_same_countries",
    *("minus_reference", "minus_reference_low", "minus_reference_high", "paper_minus_reference"),
    "missing",
)
"""Of the CSV: one line for each row, country (``mean``: their unweighted mean) and measure."""
MEAN = "mean"
MODEL_FACTS = ("parameters_m", "throughput_km2_s")
"""Measures of a model: they have no countries, and ratios would say more than differences."""


def table_paths(out: Path | str, number: int) -> tuple[Path, Path]:
    """Return where the CSV and the Markdown of a table are written."""
    return Path(out) / f"table-{number}.csv", Path(out) / f"table-{number}.md"


def write_table(scores: TableScores, out: Path | str, *, force: bool = False) -> Path:
    """Write a table's CSV and Markdown.

    Returns
    -------
    Path
        The CSV.

    Raises
    ------
    OutputExists
        If one of them is there, unless ``force``.
    """
    csv, text = table_paths(out, scores.table.number)
    for path in (csv, text):
        check_output(path, force)
        path.parent.mkdir(parents=True, exist_ok=True)
    write_text(text, to_markdown(scores), force=force)
    write_csv(csv, COLUMNS, table_lines(scores))
    return csv


def table_lines(scores: TableScores) -> Iterator[tuple[object, ...]]:
    """Return the lines of the CSV, by :data:`COLUMNS`; what is not known is empty."""
    for row in scores.rows:
        for measure in scores.table.columns:
            yield _mean_line(scores, row, measure)
        for country in _countries(row):
            for measure in scores.table.columns:
                if measure not in MODEL_FACTS:
                    yield _country_line(scores, row, country, measure)


def from_reference(scores: TableScores, row: RowScores, measure: str) -> Interval | None:
    """Return by how much a row differs from the table's reference: the mean over countries.

    None for the reference itself, and where one of the two was not scored.
    """
    reference = scores.reference
    if reference is None or row is reference or measure not in row.means:
        return None
    if measure == "agreement" and scores.settings.get("as published") == "yes":
        moved = row.value(measure) - reference.value(measure)
        return Interval(moved, math.nan, math.nan, 1, "difference of means")
    both = [name for name in row.countries if name in reference.countries]
    return group_mean([row.countries[c][measure] - reference.countries[c][measure] for c in both])


def to_markdown(scores: TableScores) -> str:
    """Return the table as the paper prints it, ours with the paper's figure in brackets."""
    table = scores.table
    lines = [f"# Table {table.number}: {table.title}", ""]
    lines += [
        (
            "Ours ± 1.96 standard deviations by the root of the number of countries; in brackets "
            "the paper's figure, with = where our interval holds it and ≠ where it does not."
        ),
        "",
    ]
    lines += _by_country(scores) if table.by_country else _by_row(scores)
    stand_ins = [r for r in scores.rows if r.found and r.found.stand_in]
    if stand_ins:
        lines += ["", "## Stand-ins", ""]
        lines += [f"- {r.row.label}: {r.found.stand_in}" for r in stand_ins if r.found]
    if scores.problems:
        lines += ["", "## Missing", "", *(f"- {text}" for text in scores.problems)]
    lines += ["", "## How", ""]
    for name, value in scores.settings.items():
        if isinstance(value, list):
            lines += [f"- {name}:", *(f"  - {text}" for text in value)]
        else:
            lines.append(f"- {name}: {value}")
    return "\n".join(lines) + "\n"


def _by_row(scores: TableScores) -> list[str]:
    table = scores.table
    heads = ["row", *table.columns]
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for row in scores.rows:
        cells = [_cell(row, measure) for measure in table.columns]
        lines.append(f"| {_name(row)} | {' | '.join(cells)} |")
    return lines


def _by_country(scores: TableScores) -> list[str]:
    table = scores.table
    lines = []
    for measure in table.columns:
        heads = [measure, *(_name(row) for row in scores.rows)]
        lines += [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
        names = dict.fromkeys(name for row in scores.rows for name in _countries(row))
        for name in sorted(names):
            cells = [_country_cell(row, name, measure) for row in scores.rows]
            lines.append(f"| {name} | {' | '.join(cells)} |")
        means = [_cell(row, measure) for row in scores.rows]
        lines += [f"| {MEAN} | {' | '.join(means)} |", ""]
    return lines[:-1]


def _name(row: RowScores) -> str:
    label = " ".join(part for part in (row.row.label, row.row.backbone) if part)
    if row.row.group[:1].isupper():  # the paper prints the first column of its ablations
        label = f"{row.row.group}: {label}"
    return f"{label} (stand-in)" if row.found and row.found.stand_in else label


def _cell(row: RowScores, measure: str) -> str:
    if measure in MODEL_FACTS:
        return _shown(row.value(measure), None, row.row.figures.get(measure), None, digits=1)
    ours = row.means.get(measure)
    printed = row.row.figures.get(measure)
    held = _held(row, ours, printed)
    half = None if ours is None else ours.half_width
    return _shown(math.nan if ours is None else ours.value, half, printed, held)


def _country_cell(row: RowScores, country: str, measure: str) -> str:
    ours = row.countries.get(country, {}).get(measure, math.nan)
    printed = row.row.countries.get(country, {}).get(measure)
    spread = row.ranges.get(country, {}).get(measure)
    held = _held(row, spread, printed)
    return _shown(ours, None if spread is None else spread.half_width, printed, held)


def _held(row: RowScores, ours: Interval | None, printed: float | None) -> bool | None:
    """Say whether ours holds the paper's figure; a stand-in is not the paper's model: None."""
    if ours is None or printed is None or (row.found is not None and row.found.stand_in):
        return None
    return holds(ours, printed)


def _shown(
    ours: float, half: float | None, printed: float | None, held: bool | None, digits: int = 3
) -> str:
    mine = "-" if math.isnan(ours) else f"{ours:.{digits}f}"
    if half is not None and not math.isnan(half):
        mine += f" ± {half:.{digits}f}"
    if printed is None:
        return mine
    sign = "" if held is None else " =" if held else " ≠"
    return f"{mine} ({printed:.2f}{sign})"


def _countries(row: RowScores) -> list[str]:
    return sorted({*row.countries, *row.row.countries})


def _mean_line(scores: TableScores, row: RowScores, measure: str) -> tuple[object, ...]:
    printed = row.row.figures.get(measure)
    ours = row.means.get(measure)
    if ours is None and measure in row.facts:
        ours = Interval(row.facts[measure], math.nan, math.nan, 1, "")
    moved = from_reference(scores, row, measure)
    reference = _printed_reference(scores)
    known = reference is not None and reference is not row.row and measure not in MODEL_FACTS
    theirs = reference.figures.get(measure) if known and reference else None
    return _line(
        scores,
        row,
        (MEAN, measure),
        ours,
        (printed, row.row.plus_minus.get(measure)),
        (moved, None if printed is None or theirs is None else printed - theirs),
    )


def _country_line(
    scores: TableScores, row: RowScores, country: str, measure: str
) -> tuple[object, ...]:
    printed = row.row.countries.get(country, {}).get(measure)
    value = row.countries.get(country, {}).get(measure)
    spread = row.ranges.get(country, {}).get(measure)
    ours = spread
    if value is not None and spread is None:
        chips = next(iter(row.ranges.get(country, {}).values()), None)
        ours = Interval(value, math.nan, math.nan, chips.n if chips else 1, "")
    reference = scores.reference
    moved = None
    if reference is not None and reference is not row and value is not None:
        other = reference.countries.get(country, {}).get(measure, math.nan)
        moved = Interval(value - other, math.nan, math.nan, 1, "")
    of_paper = _printed_reference(scores)
    theirs = None
    if of_paper is not None and of_paper is not row.row:
        theirs = of_paper.countries.get(country, {}).get(measure)
    return _line(
        scores,
        row,
        (country, measure),
        ours,
        (printed, None),
        (moved, None if printed is None or theirs is None else printed - theirs),
    )


def _paper_there(row: RowScores, measure: str) -> float | None:
    """Return the paper's mean over the countries that were scored here, where it prints them."""
    printed = [row.row.countries.get(name, {}).get(measure) for name in row.countries]
    known = [value for value in printed if value is not None]
    return sum(known) / len(known) if known and len(known) == len(printed) else None


def _printed_reference(scores: TableScores) -> PaperRow | None:
    key = scores.table.reference
    return next((r.row for r in scores.rows if r.row.model.key == key), None)


def _line(
    scores: TableScores,
    row: RowScores,
    where: tuple[str, str],
    ours: Interval | None,
    paper: tuple[float | None, float | None],
    moved: tuple[Interval | None, float | None],
) -> tuple[object, ...]:
    held = _held(row, ours, paper[0])
    away = None if ours is None or paper[0] is None else ours.value - paper[0]
    found = row.found
    values: Mapping[str, object] = {
        "table": scores.table.number,
        "group": row.row.group,
        "row": row.row.label,
        "backbone": row.row.backbone,
        "model": row.row.model.key,
        "weights": "" if found is None else str(found.path),
        "stand_in": "" if found is None else found.stand_in,
        "country": where[0],
        "measure": where[1],
        "ours": _number(None if ours is None else ours.value),
        "low": _number(None if ours is None else ours.low),
        "high": _number(None if ours is None else ours.high),
        "n": "" if ours is None or math.isnan(ours.value) else ours.n,
        "paper": _number(paper[0], 2),
        "paper_plus_minus": _number(paper[1], 2),
        "minus_paper": _number(away),
        "holds_paper": "" if held is None else "yes" if held else "no",
        "paper_same_countries": _number(_paper_there(row, where[1]) if where[0] == MEAN else None),
        "minus_reference": _number(None if moved[0] is None else moved[0].value),
        "minus_reference_low": _number(None if moved[0] is None else moved[0].low),
        "minus_reference_high": _number(None if moved[0] is None else moved[0].high),
        "paper_minus_reference": _number(moved[1], 2),
        "missing": row.missing,
    }
    return tuple(values[name] for name in COLUMNS)


def _number(value: float | None, digits: int = 6) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.{digits}f}"
