"""MAgSeg's tables as files: all figures as CSV, the printed layout as Markdown.

Intersections over unions are shares, rates are percent, as printed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from selion import store
from selion.papers.landscape_cost import MAGSEG, ModelCost, cost_of, relative
from selion.papers.landscape_scores import (
    FIELD,
    PRIMARY,
    figures,
    objects_of,
    strata,
)
from selion.papers.landscapes import OVERHEAD, LandscapeRequest, LandscapeRow, LandscapeScores
from selion.papers.printed import PaperTable

COLUMNS = (
    *("table", "row", "model", "weights", "stand_in", "place", "class", "measure", "how", "ours"),
    *("objects", "paper", "minus_paper", "missing"),
)
"""Of the CSV: one line for each row, place, class, measure and way of averaging."""
STRATA = "strata.csv"
STRATA_COLUMNS = (
    *("row", "stand_in", "place", "by", "stratum", "objects", "mean_iou", "median_iou", "missed"),
    *("blind", "beyond"),
)
"""Of the stratified results of fields (appendix D.2)."""
BEYOND = "mean_iou beyond it"
SHOWN = {
    "mean_iou": "mean IoU",
    "median_iou": "median IoU",
    "fnr": "FNR %",
    "fpr": "FPR %",
    BEYOND: "beyond a blind grid",
    "overhead": "overhead",
    "time": "time",
}
UNKNOWN = "It does not know the class"
NONE_TRUE = "None is among the true objects of the class"
"""Why a class has no figures."""
HOW = (
    (
        "Merge-and-match (appendix C, after Dua et al.): all that was said and touches an object "
        "is taken as one; mean and median over the objects of an image, then the mean over images. "
        "The CSV has all objects pooled, and each answer taken for the one object that it shares "
        "most with, too: the paper says neither."
    ),
    (
        "Merge-and-match pays for cutting the land into squares unseen. 'Beyond a blind grid' is "
        "(score - that of squares as large as the answer's median object) / (1 - it): 1 is "
        "perfect, 0 is what an answer that has not looked gets. The CSV has F1, one to one, too."
    ),
    (
        "Objects below the least area of their class (of the class scheme: fields 500 m2, ponds "
        "25, trees and wells 4) count neither as true nor as said. The paper gives none."
    ),
    (
        "'Every pixel right' knows the class of each pixel and goes the road of all models: 1 "
        "where no two objects of a class touch."
    ),
)
TIMES = (
    "Training time is seconds for each sample and parameter, of the supervised stage, as a "
    "multiple of MAgSeg's; the paper's 1.69, 2.04, 1.80 and 1.33 are by its own 1.33 here. What "
    "theirs are multiples of, and their overheads, our copy of the paper does not say."
)


def write_landscape_tables(scores: LandscapeScores, request: LandscapeRequest) -> list[Path]:
    """Write the CSV and the Markdown of each table, and the strata.

    Returns
    -------
    list of path
        The CSVs of the tables, then that of the strata, if there are some.
    """
    written = []
    for number, (table, rows) in scores.tables.items():
        lines = list(table_lines(scores, number))
        csv, text = (request.out / f"table-{number}.{kind}" for kind in ("csv", "md"))
        store.write_text(text, table_text(scores, table, rows, lines), force=request.force)
        store.write_csv(csv, COLUMNS, ([line[name] for name in COLUMNS] for line in lines))
        written.append(csv)
    found = list(_strata_lines(scores, request.by))
    if found:
        store.write_csv(request.out / STRATA, STRATA_COLUMNS, found)
        written.append(request.out / STRATA)
    return written


def table_lines(scores: LandscapeScores, number: int) -> Iterator[dict[str, object]]:
    """Yield the lines of a table's CSV, by :data:`COLUMNS`; what is not known is empty."""
    table, rows = scores.tables[number]
    if number == OVERHEAD:
        yield from _cost_lines(table, rows)
        return
    for row in rows:
        for place, name, printed in _subsets(table, row, scores.classes):
            yield from _row_lines(number, table, row, (place, name), printed)


def _subsets(
    table: PaperTable, row: LandscapeRow, classes: Sequence[str]
) -> list[tuple[str, str, Mapping[str, float]]]:
    """Return place, class and printed figures of a row's parts."""
    places = {name for one in table.rows for name in one.countries}
    if FIELD in places:  # by class
        names = dict.fromkeys([*table.rows[0].countries, *classes])
        return [(row.place, name, row.row.countries.get(name, {})) for name in names]
    return [(row.place, FIELD, row.row.countries.get(row.place, {}))]


def _row_lines(
    number: int,
    table: PaperTable,
    row: LandscapeRow,
    where: tuple[str, str],
    printed: Mapping[str, float],
) -> Iterator[dict[str, object]]:
    place, name = where
    tables = None if row.tables is None else row.tables.get(name)
    base = _base(number, row) | {"place": place, "class": name}
    objects = 0 if not tables else sum(len(one.table.truth_ids) for one in tables)
    if not tables or not objects:
        why = row.missing or (UNKNOWN if row.tables is not None and not tables else NONE_TRUE)
        for measure in table.columns:
            paper = {"measure": measure, "how": PRIMARY, "paper": _number(printed.get(measure), 2)}
            yield base | paper | {"missing": why, "objects": objects or ""}
        return
    found = figures(tables, () if row.blind is None else row.blind.get(name, ()))
    for (measure, how), value in found.items():
        paper_value = printed.get(measure) if how == PRIMARY else None
        away = None if paper_value is None else value - paper_value
        yield base | {
            "measure": measure,
            "how": how,
            "ours": _number(value),
            "objects": objects,
            "paper": _number(paper_value, 2),
            "minus_paper": _number(away),
        }
    if math.isfinite(row.seam) and name == FIELD:
        yield base | {"measure": "seam error", "how": "all pixels", "ours": _number(row.seam)}


def _base(number: int, row: LandscapeRow) -> dict[str, object]:
    found: dict[str, object] = dict.fromkeys(COLUMNS, "")
    return found | {
        "table": number,
        "row": row.row.label,
        "model": row.row.model.key,
        "weights": "" if row.found is None else row.found.path,
        "stand_in": "" if row.found is None else row.found.stand_in,
        "place": row.place,
    }


def _cost_lines(table: PaperTable, rows: Sequence[LandscapeRow]) -> Iterator[dict[str, object]]:
    costs: dict[str, ModelCost] = {row.row.model.key: cost_of(row) for row in rows}
    times = relative(costs, list(costs))
    unit = next(one.figures["time"] for one in table.rows if one.model.key == MAGSEG)
    for row in rows:
        key, cost = row.row.model.key, costs[row.row.model.key]
        printed = row.row.figures.get("time")
        clock = "seconds of the clock" if cost.clock else "seconds of the processor"
        values: list[tuple[str, str, float | None, float | None]] = [
            ("overhead", "share of the language model", cost.overhead, None),
            ("time", "multiple of MAgSeg (4B)", times.get(key), printed and printed / unit),
            ("parameters", "", cost.parameters, None),
            ("seconds for each sample", clock, cost.seconds, None),
            ("seconds for each sample and billion parameters", clock, cost.time, None),
        ]
        for measure, how, ours, paper in values:
            away = None if ours is None or paper is None else ours - paper
            yield _base(OVERHEAD, row) | {
                "measure": measure,
                "how": how,
                "ours": _number(ours),
                "paper": _number(paper, 3),
                "minus_paper": _number(away),
                "missing": cost.why if ours is None else "",
            }


def _strata_lines(scores: LandscapeScores, columns: Sequence[str]) -> Iterator[tuple[object, ...]]:
    seen = set()
    for number, (_, rows) in scores.tables.items():
        for row in rows:
            name = (row.row.label, row.place, "" if row.found is None else row.found.path)
            if number == OVERHEAD or row.tables is None or row.blind is None or name in seen:
                continue
            seen.add(name)
            objects = objects_of(row.tables.get(FIELD, ()), row.blind.get(FIELD, ()))
            stand_in = "" if row.found is None else row.found.stand_in
            for one in strata(objects, columns):
                figures_of = [_number(float(str(one[key]))) for key in STRATA_COLUMNS[6:]]
                yield (*name[:1], stand_in, row.place, one["by"], one["stratum"], one["objects"],
                       *figures_of)  # fmt: skip


def _number(value: float | None, digits: int = 6) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def table_text(
    scores: LandscapeScores,
    table: PaperTable,
    rows: Sequence[LandscapeRow],
    lines: Sequence[Mapping[str, object]],
) -> str:
    """Return a table as the paper prints it, ours with the paper's figure in brackets."""
    parts = [f"# Table {table.number}: {table.title}", "", "In brackets the paper's figure.", ""]
    for head, heads, body in grids(table, lines):
        parts += [*([f"## {head}", ""] if head else [])]
        parts += [f"| | {' | '.join(heads)} |", f"|{'---|' * (len(heads) + 1)}"]
        parts += [f"| {' | '.join(cells)} |" for cells in body]
        parts.append("")
    parts += _listed("Stand-ins", {one.row.label: _stand_in(one) for one in rows if _stand_in(one)})
    parts += _listed("Missing", missing_of(lines))
    said = (TIMES,) if table.number == OVERHEAD else (*scores.notes, *HOW)
    return "\n".join([*parts, "## How", "", *(f"- {text}" for text in said)]) + "\n"


def _stand_in(row: LandscapeRow) -> str:
    return "" if row.found is None else row.found.stand_in


def _listed(title: str, said: Mapping[str, str]) -> list[str]:
    if not said:
        return []
    return [f"## {title}", "", *(f"- {name}: {text}" for name, text in said.items()), ""]


def missing_of(lines: Sequence[Mapping[str, object]]) -> dict[str, str]:
    """Return row -> why figures are missing, all reasons of a row together."""
    found: dict[str, dict[str, list[str]]] = {}
    for line in lines:
        why = str(line["missing"])
        if why:
            classes = found.setdefault(str(line["row"]), {}).setdefault(why, [])
            classes += [name for name in [str(line["class"])] if name not in classes]
    return {
        name: " ".join(
            f"{why} ({', '.join(classes)})." if why in (UNKNOWN, NONE_TRUE) else why
            for why, classes in reasons.items()
        )
        for name, reasons in found.items()
    }


Grid = tuple[str, list[str], list[list[str]]]
"""Title, heads of the columns, rows of cells with the row's name first."""


def grids(table: PaperTable, lines: Sequence[Mapping[str, object]]) -> list[Grid]:
    """Lay the lines of a CSV out as the paper does: a grid for each place or class.

    Tables of one measure, and that of costs, are one grid.
    """
    measures = list(table.columns)
    if table.number == OVERHEAD:
        chosen = [one for one in lines if one["measure"] in measures]
        return [_grid("", [(m, SHOWN[m]) for m in measures], chosen, "measure")]
    chosen = [one for one in lines if one["how"] == PRIMARY]
    if len(measures) == 1:
        only = [one for one in chosen if one["measure"] in measures]
        names = list(dict.fromkeys(str(one["class"]) for one in only))
        return [_grid("", [(name, name) for name in names], only, "class")]
    heads = [(m, SHOWN[m]) for m in (*measures, BEYOND)]
    found = []
    for place, name in dict.fromkeys((str(one["place"]), str(one["class"])) for one in chosen):
        part = [one for one in chosen if (one["place"], one["class"]) == (place, name)]
        found.append(_grid(f"{name}, {place}" if place else name, heads, part, "measure"))
    return found


def _grid(
    title: str,
    heads: Sequence[tuple[str, str]],
    lines: Sequence[Mapping[str, object]],
    key: str,
) -> Grid:
    cells: dict[str, dict[str, str]] = {}
    for one in lines:
        name = f"{one['row']} (stand-in)" if one["stand_in"] else str(one["row"])
        cells.setdefault(name, {})[str(one[key])] = _cell(one)
    body = [[name, *(row.get(head, "-") for head, _ in heads)] for name, row in cells.items()]
    return title, [shown for _, shown in heads], body


def _cell(one: Mapping[str, object]) -> str:
    text = f"{float(str(one['ours'])):.2f}" if one["ours"] != "" else "-"
    return f"{text} [{one['paper']}]" if one["paper"] != "" else text
