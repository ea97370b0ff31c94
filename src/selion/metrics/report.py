"""Reports: any number of runs side by side, baselines beside each.

What a content-free answer wins has a mark.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from selion.errors import counted
from selion.metrics.calibration import Fitted
from selion.metrics.pixel import Confusion, pixel_scores
from selion.metrics.statistics import Comparison, Interval
from selion.metrics.summary import MEASURES, Measure, RunScores

MARK = "!"
"""Stands beside a score that a content-free answer reaches or beats."""


@dataclass(frozen=True, eq=False, slots=True)
class Report:
    """Runs, the baselines beside them, and how the runs differ."""

    title: str
    runs: tuple[RunScores, ...]
    baselines: tuple[RunScores, ...] = ()
    comparisons: dict[str, dict[str, Comparison]] | None = None
    """``"a - b"`` to measure to comparison."""
    settings: dict[str, object] | None = None
    """What decided the scores: IoU, cap, protocol, scalings ..."""
    problems: tuple[str, ...] = ()
    """What was left out, and why; never silently."""

    @property
    def measures(self) -> list[Measure]:
        """Measures that a run or a baseline has, in the order of :data:`MEASURES`."""
        return [
            m
            for m in MEASURES
            if any(m.name in run.values for run in (*self.runs, *self.baselines))
        ]

    def won_by_content_free(self, run: RunScores) -> dict[str, str]:
        """Return measures in which a content-free baseline is as good as this run or better.

        With them comes the name of the best such baseline.
        """
        won: dict[str, str] = {}
        for m in self.measures:
            rivals = [
                (_goodness(m, b.values.get(m.name, math.nan)), b.name)
                for b in self.baselines
                if b.content_free
            ]
            rivals = [pair for pair in rivals if not math.isnan(pair[0])]
            mine = _goodness(m, run.values.get(m.name, math.nan))
            if rivals and not math.isnan(mine) and max(rivals)[0] >= mine:
                won[m.name] = max(rivals)[1]
        return won

    def __repr__(self) -> str:
        return f"<Report {self.title}: {len(self.runs)} runs, {len(self.baselines)} baselines>"

    def to_dict(self) -> dict[str, object]:
        """Plain values; NaN becomes None."""
        table: dict[str, object] = _plain(
            {
                "title": self.title,
                "settings": self.settings or {},
                "problems": list(self.problems),
                "measures": [
                    {"name": m.name, "label": m.label, "better": m.better, "source": m.source}
                    for m in self.measures
                ],
                "runs": [run.to_dict() for run in self.runs],
                "baselines": [run.to_dict() for run in self.baselines],
                "won_by_content_free": {
                    run.name: self.won_by_content_free(run) for run in self.runs
                },
                "comparisons": {
                    pair: {m: c.to_dict() for m, c in found.items()}
                    for pair, found in (self.comparisons or {}).items()
                },
            }
        )
        return table

    def to_json(self) -> str:
        """Write strict JSON: no NaN."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n"

    def to_markdown(self) -> str:
        """Write tables for a terminal, an issue or a paper's supplement."""
        parts = [f"# {self.title}\n", _settings(self), markdown_table(*self.score_table())]
        if any(self.won_by_content_free(run) for run in self.runs):
            parts.append(
                f"`{MARK}` a content-free answer (one that has not seen the image) is as good or "
                "better: do not judge by this measure alone.\n"
            )
        for run in self.runs:
            parts += [f"## {run.name}\n", *_run_parts(run)]
        for pair, found in (self.comparisons or {}).items():
            parts += [f"## {pair}\n", markdown_table(*comparison_table(found))]
        if self.problems:
            parts.append("## Notes\n\n" + "\n".join(f"- {p}" for p in self.problems) + "\n")
        return "\n".join(parts)

    def _unit(self, m: Measure) -> str:
        """Return the unit of a measure that has one, after a comma."""
        if m.name != "boundary_distance":
            return ""
        areas = (self.settings or {}).get("areas")
        return {"m2": " in m", "px": " in px"}.get(str(areas), " in m, px without a CRS")

    def score_table(self) -> tuple[list[str], list[list[str]]]:
        """Return header and rows: measures down, runs and baselines across."""
        columns = (*self.runs, *self.baselines)
        won = {run.name: self.won_by_content_free(run) for run in self.runs}
        rows = []
        for m in self.measures:
            cells = [
                _cell(run, m) + (f" {MARK}" if m.name in won.get(run.name, {}) else "")
                for run in columns
            ]
            rows.append([f"{m.label}{self._unit(m)} ({_arrow(m)})", *cells])
        return [
            "measure",
            *(run.name + (" (content-free)" if run.content_free else "") for run in columns),
        ], rows


def _goodness(m: Measure, value: float) -> float:
    return {"high": value, "low": -value, "zero": -abs(value)}[m.better]


def _arrow(m: Measure) -> str:
    return {"high": "higher is better", "low": "lower is better", "zero": "0 is best"}[m.better]


def _cell(run: RunScores, m: Measure) -> str:
    if m.name in run.intervals:
        return str(run.intervals[m.name])
    return number(run.values.get(m.name, math.nan))


def number(value: float) -> str:
    """Write a score, or a dash where there is none."""
    return "-" if math.isnan(value) else f"{value:.3f}"


def _settings(report: Report) -> str:
    lines = [f"- {name}: {setting_text(value)}" for name, value in (report.settings or {}).items()]
    return "\n".join(lines) + "\n" if lines else ""


def setting_text(value: object) -> str:
    """Write a setting that may be a table or a list as one line."""
    if isinstance(value, Mapping):
        return "; ".join(f"{k}: {setting_text(v)}" for k, v in value.items())
    return " ".join(map(setting_text, value)) if isinstance(value, list | tuple) else str(value)


def _run_parts(run: RunScores) -> list[str]:
    parts = ["\n".join(f"- {note}" for note in run.notes) + "\n"] if run.notes else []
    if run.groups:
        parts.append(markdown_table(*group_table(run)))
    parts += [markdown_table(*kind_table(run)), markdown_table(*size_table(run))]
    parts += [markdown_table(*stratum_table(run, column)) for column in run.strata]
    if run.classes is not None:
        parts += [
            "Pixels by class:\n",
            markdown_table(*confusion_table(run.classes)),
            markdown_table(*class_table(run.classes)),
        ]
    if run.calibration is not None and run.calibration.n:
        c = run.calibration
        parts.append(
            f"Confidence of {counted(c.n, 'object')}: expected calibration error {c.ece:.3f}, "
            f"largest {c.mce:.3f}, Brier {c.brier:.3f}.\n"
        )
    if run.correction is not None:
        parts.append(correction_line(run.correction) + "\n")
    return parts


GROUP_MEASURES = (
    "pixel_iou",
    "object_f1",
    "object_precision",
    "object_recall",
    "ap",
    "over_segmentation",
    "under_segmentation",
)


def group_table(run: RunScores) -> tuple[list[str], list[list[str]]]:
    """Return header and rows: groups down, and their unweighted mean with the papers' interval."""
    names = [m for m in GROUP_MEASURES if m in run.values]
    counts = run.images.groupby("group").size()
    rows = [
        [group or "(none)", str(counts[group]), *(number(row[m]) for m in names)]
        for group, row in run.groups.items()
    ]
    means = [_mean_text(run.group_means[m]) for m in names]
    return ["group", "images", *names], [*rows, ["mean of groups", str(len(run.images)), *means]]


def _mean_text(found: Interval) -> str:
    """Write a mean with its half width; one group, or none that has the score, has no interval."""
    return f"{found.value:.3f} ± {found.half_width:.3f}" if found.n > 1 else number(found.value)


def kind_table(run: RunScores) -> tuple[list[str], list[list[str]]]:
    """Return header and rows: what became of the objects."""
    rows = [
        [f"{side}: {kind}", f"{count:,}"]
        for side, kinds in run.kinds.items()
        for kind, count in kinds.items()
    ]
    return ["objects", "number"], rows


def size_table(run: RunScores) -> tuple[list[str], list[list[str]]]:
    """Return header and rows: scores by size."""
    return _kinds_of_object("size", run.sizes)


def stratum_table(run: RunScores, column: str) -> tuple[list[str], list[list[str]]]:
    """Return header and rows: scores by the values of a column."""
    return _kinds_of_object(column, run.strata[column])


def _kinds_of_object(title: str, table: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Return header and rows: scores of one kind of object each."""
    rows = [
        [
            str(name),
            f"{int(r['truth']):,}",
            number(r["recall"]),
            number(r["mean_iou"]),
            f"{int(r['prediction']):,}",
            number(r["precision"]),
        ]
        for name, r in table.to_dict("index").items()
    ]
    return [
        title,
        "true objects",
        "recall",
        "mean IoU of matches",
        "predicted objects",
        "precision",
    ], rows


def confusion_table(counts: Confusion) -> tuple[list[str], list[list[str]]]:
    """Return header and rows: pixels by true (down) and predicted (across) class."""
    rows = [
        [name, *(f"{n:,}" for n in row)]
        for name, row in zip(counts.names, counts.counts.tolist(), strict=True)
    ]
    return ["truth, prediction across", *counts.names, "no answer"], rows


def class_table(counts: Confusion) -> tuple[list[str], list[list[str]]]:
    """Return header and rows.

    Pixel scores of each class, their mean over the classes that occur, and how many pixels were
    left out.
    """
    found = pixel_scores(counts)
    names = ("iou", "precision", "recall", "f1", "accuracy")
    rows = [
        [str(name), *(number(row[m]) for m in names)]
        for name, row in found.table.to_dict("index").items()
    ]
    mean = ["mean of classes", *(number(found.mean[m]) for m in names)]
    return ["class", *names], [
        *rows,
        mean,
        [f"all ({found.ignored:,} px not known)", "", "", "", "", number(found.accuracy)],
    ]


def correction_line(found: Fitted) -> str:
    """Say what would make the confidences honest."""
    gain = (
        f"from {found.ece:.3f} to {found.ece_corrected:.3f} on images that it was not fitted on"
        if not math.isnan(found.ece_corrected)
        else "not judged: too few images"
    )
    c = found.correction
    return (
        f"Correction of the confidence (applied to nothing here): sigmoid({c.slope:.3f} logit(p) "
        f"{c.offset:+.3f}); expected calibration error {gain}."
    )


def comparison_table(found: dict[str, Comparison]) -> tuple[list[str], list[list[str]]]:
    """Return header and rows.

    Differences, their intervals, and what the sample could show at all.
    """
    rows = [
        [
            m,
            f"{c.difference:+.3f}",
            "-" if math.isnan(c.low) else f"[{c.low:+.3f}, {c.high:+.3f}]",
            "-" if math.isnan(c.p_value) else f"{c.p_value:.4f}",
            "-" if math.isnan(c.detectable) else f"{c.detectable:.3f}",
            c.method,
        ]
        for m, c in found.items()
    ]
    return [
        "measure",
        "difference",
        "95 % interval",
        "p",
        "least difference that this sample shows (power 0.8)",
        "method",
    ], rows


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out a table whose columns stand under each other in plain text too."""
    widths = [max(len(str(row[k])) for row in (header, *rows)) for k in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(f"{c:<{w}}" for c, w in zip(cells, widths, strict=True)) + " |"

    return (
        "\n".join(
            [line(header), "|" + "|".join("-" * (w + 2) for w in widths) + "|", *map(line, rows)]
        )
        + "\n"
    )


def _plain(value: Any) -> Any:
    """Turn numpy numbers into Python's, and NaN and infinity into None."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
