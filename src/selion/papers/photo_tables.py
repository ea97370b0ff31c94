"""DepthCropSeg++'s tables as files: all figures as CSV, the printed layout as Markdown.

All are in percent, as printed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from selion import store
from selion.evaluation.pixels import SystemScores
from selion.metrics.statistics import (
    Comparison,
    Interval,
    bootstrap,
    mean_from_rows,
    paired_bootstrap,
    pooled_t_test,
)
from selion.papers.photographs import ORACLE, RUNS, PhotoRequest, PhotoScores, runs_of
from selion.papers.printed import PaperModel, PaperRow, PaperTable

COLUMNS = (
    *("table", "row", "model", "weights", "stand_in", "subset", "measure", "ours", "low", "high"),
    *("n", "paper", "paper_recomputed", "minus_paper", "missing"),
)
"""Of the CSV: one line for each row, subset (``all``: all photographs) and measure."""
ALL = "all"
MIOU = "mIoU of the dataset, absent from truth and prediction: skipped"
"""The averaging that stands for the paper's, which does not say its own: mmsegmentation's."""
PAPER_RUNS: dict[tuple[str, str], float] = {
    ("DepthCropSeg++", "mean"): 93.457,
    ("DepthCropSeg++", "standard deviation"): 0.023,
    ("DepthCropSeg++", "variance"): 0.0005,
    ("Fully Supervised", "mean"): 93.033,
    ("Fully Supervised", "standard deviation"): 0.032,
    ("Fully Supervised", "variance"): 0.0010,
    ("difference", "t"): 19.259,
    ("difference", "p"): 0.0001,
    ("difference", "low"): 0.362,
    ("difference", "high"): 0.485,
}
"""The lower half of Table VI as printed.  From its own runs follow t = 18.525 and 0.360 to 0.487:
the column
``paper_recomputed``."""
HOW = (
    "Whatever grows is crop: crop and weed, leaf, stem and head.",
    (
        "SAM and SAM-HQ: 1 to 10 random points on the crop and as many beside it, best mIoU of "
        "each photograph (section III.A): told the truth, and graded by it."
    ),
)
"""What is done as the paper says, or as no one says."""
ROMAN = {4: "IV", 6: "VI", 7: "VII"}
HEADS = {"miou": "mIoU", "boundary_iou": "boundary IoU"}


def write_photo_tables(scores: PhotoScores, request: PhotoRequest) -> list[Path]:
    """Write the CSV and the Markdown of each table.

    Returns
    -------
    list of path
        The CSVs.
    """
    written = []
    for table in scores.tables:
        csv, text = (request.out / f"table-{table.number}.{kind}" for kind in ("csv", "md"))
        store.write_text(text, table_text(scores, table, request), force=request.force)
        store.write_csv(csv, COLUMNS, table_lines(scores, table, request.draws))
        written.append(csv)
    return written


def table_lines(scores: PhotoScores, table: PaperTable, draws: int) -> Iterator[tuple[object, ...]]:
    """Return the lines of the CSV, by :data:`COLUMNS`; what is not known is empty."""
    by_key = {system.name: system for system in scores.report.systems}
    for row in table.rows:
        system = by_key.get(row.model.key)
        if system is None:
            for subset, printed in _printed(row).items():
                for measure in table.columns:
                    yield _line(scores, table, row, (subset, measure), None, printed.get(measure))
            continue
        yield from _row_lines(scores, table, row, system, draws)
    oracle = PaperRow(PaperModel("oracle"), ORACLE)
    yield from _row_lines(scores, table, oracle, by_key[ORACLE], draws)
    if table.number == RUNS:
        yield from _run_lines(scores, table)


def _printed(row: PaperRow) -> dict[str, Mapping[str, float]]:
    return ({ALL: row.figures} if row.figures else {}) | dict(row.countries)


def _row_lines(
    scores: PhotoScores, table: PaperTable, row: PaperRow, system: SystemScores, draws: int
) -> Iterator[tuple[object, ...]]:
    printed = _printed(row)
    for subset in _subsets(table, system):
        part = system if subset == ALL else system.select(subset)
        measured = _measured(part, scores.band, draws)
        for measure in table.columns:
            paper = printed.get(subset, {}).get(measure)
            yield _line(scores, table, row, (subset, measure), measured[measure], paper)
        for name, value in part.values().items():
            ours = Interval(100 * value, math.nan, math.nan, len(part.keys), "")
            yield _line(scores, table, row, (subset, name), ours, None)


def _subsets(table: PaperTable, system: SystemScores) -> list[str]:
    """Return the subsets of a table: its photographs together, or group by group."""
    groups = sorted({group for group in system.groups if group})
    return groups if table.by_country and groups else [ALL]


def _measured(part: SystemScores, band: str, draws: int) -> dict[str, Interval]:
    """Return the two printed measures in percent, with intervals over photographs."""
    counts = np.array([one.counts.ravel() for one in part.confusions], float)
    names = part.confusions[0].names
    miou = bootstrap(counts, lambda sums: _miou_of(sums, names), draws=max(draws, 1))
    means = _means(part.boundaries[band])
    said = np.isfinite(means)
    rows = np.stack([np.where(said, means, 0), said], 1)
    edges = bootstrap(rows, mean_from_rows, draws=max(draws, 1))
    return {"miou": _percent(miou, draws), "boundary_iou": _percent(edges, draws)}


def _means(values: np.ndarray) -> np.ndarray:
    """Return the (sample,) mean over classes of (sample, class) values that are known."""
    known = np.isfinite(values)
    counts = known.sum(1)
    sums = np.where(known, values, 0).sum(1)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _miou_of(sums: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Turn (draw, count) sums of confusions into mIoU; a class that is nowhere is skipped."""
    classes = len(names)
    counts = sums.reshape(-1, classes, classes + 1)
    both = np.diagonal(counts[:, :, :classes], axis1=1, axis2=2)
    either = counts.sum(2) + counts[:, :, :classes].sum(1) - both
    return _means(np.where(either > 0, both / np.maximum(either, 1), np.nan))


def _percent(found: Interval, draws: int) -> Interval:
    low, high = (found.low, found.high) if draws else (math.nan, math.nan)
    return Interval(100 * found.value, 100 * low, 100 * high, found.n, found.method)


def _run_lines(scores: PhotoScores, table: PaperTable) -> Iterator[tuple[object, ...]]:
    """Compare the runs of two systems: mean, spread and t-test, ours beside the paper's."""
    recomputed = _statistics(_figures(table, "one"), _figures(table, "other"))
    ours, why = compare_runs(scores, table)
    for name, measure in dict.fromkeys([*recomputed, *ours]):
        facts: dict[str, object] = dict.fromkeys(COLUMNS, "")
        facts |= {"table": table.number, "row": name, "subset": ALL, "measure": measure}
        facts |= {
            "ours": _number(ours.get((name, measure))),
            "paper": _number(PAPER_RUNS.get((name, measure)), 4),
            "paper_recomputed": _number(recomputed.get((name, measure))),
            "missing": why,
        }
        yield tuple(facts[column] for column in COLUMNS)


def _figures(table: PaperTable, group: str) -> list[float]:
    return [row.figures["miou"] for row in table.rows if row.group == group]


def compare_runs(
    scores: PhotoScores, table: PaperTable
) -> tuple[dict[tuple[str, str], float], str]:
    """Compare our runs of two systems as Table VI does.

    Returns
    -------
    dict
        (system or "difference", measure) -> value; empty where it cannot be said.
    str
        Why not, as a sentence.
    """
    by_key = {system.name: system for system in scores.report.systems}
    values, systems = [], []
    groups = [list(runs_of(table, group)) for group in ("one", "other")]
    twins = _twins([key for keys in groups for key in keys if key in by_key], scores.same)
    if twins:
        return {}, (
            f"{twins[0]} and {twins[1]} are the very same weights: runs are "
            "compared by a t-test only where each was trained from its own seed."
        )
    for keys in groups:
        there = [key for key in keys if key in by_key]
        if len(there) < 2:
            return {}, (
                f"{len(there)} of the runs {', '.join(keys)} have weights here; a t-test wants "
                "two of each system at least."
            )
        values.append([100 * by_key[key].values()[MIOU] for key in there])
        systems.append([by_key[key] for key in there])
    found = _statistics(*values)
    paired = _paired(*systems)
    name = "difference over photographs, paired bootstrap"
    found |= {(name, "mean"): 100 * paired.difference}
    found |= {(name, "low"): 100 * paired.low, (name, "high"): 100 * paired.high}
    return found, ""


def _twins(runs: Sequence[str], same: Mapping[str, str]) -> tuple[str, str] | None:
    """Return two runs, of whichever system, with the very same weights; None: each has its own."""
    first: dict[str, str] = {}
    for run in runs:
        earlier = first.setdefault(same.get(run, run), run)
        if earlier != run:
            return run, earlier
    return None


def _statistics(one: Sequence[float], other: Sequence[float]) -> dict[tuple[str, str], float]:
    """Return mean, spread and t-test of two samples of runs."""
    found: dict[tuple[str, str], float] = {}
    for name, values in (("DepthCropSeg++", one), ("Fully Supervised", other)):
        found |= {
            (name, "mean"): float(np.mean(values)),
            (name, "standard deviation"): float(np.std(values, ddof=1)),
            (name, "variance"): float(np.var(values, ddof=1)),
        }
    test = pooled_t_test(one, other)
    found |= {
        ("difference", "mean"): test.difference,
        ("difference", "t"): test.statistic,
        ("difference", "p"): test.p_value,
        ("difference", "low"): test.low,
        ("difference", "high"): test.high,
    }
    return found


def _paired(one: Sequence[SystemScores], other: Sequence[SystemScores]) -> Comparison:
    """Compare the mean over runs of mIoU by photograph; seeds measure training's noise alone."""
    return paired_bootstrap(_rows_of(one), _rows_of(other), mean_from_rows)


def _rows_of(runs: Sequence[SystemScores]) -> np.ndarray:
    means = np.mean([run.by_image() for run in runs], 0)
    said = np.isfinite(means)
    return np.stack([np.where(said, means, 0), said], 1)


def _line(
    scores: PhotoScores,
    table: PaperTable,
    row: PaperRow,
    where: tuple[str, str],
    ours: Interval | None,
    paper: float | None,
) -> tuple[object, ...]:
    found = scores.found.get(row.model.key)
    away = None if ours is None or paper is None else ours.value - paper
    values: dict[str, object] = {
        "table": table.number,
        "row": row.label,
        "model": row.model.key,
        "weights": "" if found is None else str(found.path),
        "stand_in": "" if found is None else found.stand_in,
        "subset": where[0],
        "measure": where[1],
        "ours": _number(None if ours is None else ours.value),
        "low": _number(None if ours is None else ours.low),
        "high": _number(None if ours is None else ours.high),
        "n": "" if ours is None else ours.n,
        "paper": _number(paper, 2),
        "paper_recomputed": "",
        "minus_paper": _number(away),
        "missing": scores.missing.get(row.model.key, ""),
    }
    return tuple(values[column] for column in COLUMNS)


def _number(value: float | None, digits: int = 6) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def table_text(scores: PhotoScores, table: PaperTable, request: PhotoRequest) -> str:
    """Return a table as the paper prints it, ours with the paper's figure in brackets."""
    lines = [
        f"# Table {ROMAN[table.number]}: {table.title}",
        "",
        "Ours in percent with its 95 % interval over photographs; in brackets the paper's figure.",
        "",
    ]
    read = [dict(zip(COLUMNS, line, strict=True)) for line in
            table_lines(scores, table, request.draws)]  # fmt: skip
    lines += _pivot(read, table)
    if table.number == RUNS:
        lines += _runs_text(read)
    stand_ins = {f"- {one['row']}: {one['stand_in']}." for one in read if one["stand_in"]}
    if stand_ins:
        lines += ["", "## Stand-ins", "", *sorted(stand_ins)]
    missing = {f"- {one['row']}: {one['missing']}" for one in read if one["missing"]}
    problems = [f"- {text}" for text in scores.report.problems]
    if missing or problems:
        lines += ["", "## Missing", "", *sorted(missing), *problems]
    return "\n".join([*lines, "", "## How", "", *(f"- {text}" for text in _how(scores))]) + "\n"


def _how(scores: PhotoScores) -> list[str]:
    mean = f"{MIOU[0].lower()}{MIOU[1:]}"
    unknown = scores.report.settings["pixels not counted"]
    return [
        *scores.notes,
        f"mIoU: {mean}; the paper does not say its averaging, and every other one is in the CSV.",
        f"Boundary IoU: {scores.band}, mean over classes, then photographs; not said in the paper.",
        *HOW,
        f"{ORACLE}: what a perfect model scores by this count.",
        f"Pixels not counted, as their truth is not known: {unknown}.",
    ]


def _pivot(lines: Sequence[Mapping[str, object]], table: PaperTable) -> list[str]:
    cells: dict[str, dict[str, str]] = {}
    heads: dict[str, None] = {}
    for one in lines:
        if one["measure"] not in table.columns or not one["model"]:
            continue
        head = f"{one['subset']}, {HEADS[str(one['measure'])]}"
        heads[head] = None
        name = f"{one['row']} (stand-in)" if one["stand_in"] else str(one["row"])
        cells.setdefault(name, {})[head] = _cell(one)
    found = [f"| | {' | '.join(heads)} |", f"|{'---|' * (len(heads) + 1)}"]
    return found + [
        f"| {name} | {' | '.join(row.get(head, '') for head in heads)} |"
        for name, row in cells.items()
    ]


def _cell(one: Mapping[str, object]) -> str:
    text = f"{float(str(one['ours'])):.2f}" if one["ours"] else "-"
    if one["low"]:
        text += f" ({float(str(one['low'])):.2f} to {float(str(one['high'])):.2f})"
    return f"{text} [{one['paper']}]" if one["paper"] else text


def _runs_text(lines: Sequence[Mapping[str, object]]) -> list[str]:
    found = ["", "| | ours | paper | from the paper's own runs |", "|---|---|---|---|"]
    for one in lines:
        if not one["model"]:
            said = f"{one['row']}, {one['measure']}"
            figures = (one["ours"] or "-", one["paper"], one["paper_recomputed"])
            found.append(f"| {said} | {' | '.join(map(str, figures))} |")
    return found
