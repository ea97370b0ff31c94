"""The report as a page that needs nothing else.

Tables, charts, and cases, the worst first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

import selion
from selion import store
from selion.errors import BadInput, counted
from selion.evaluation.outcomes import Outcomes
from selion.metrics.partition import PREDICTION_KINDS, TRUTH_KINDS
from selion.metrics.report import (
    MARK,
    Report,
    class_table,
    comparison_table,
    confusion_table,
    correction_line,
    group_table,
    setting_text,
    size_table,
    stratum_table,
)
from selion.metrics.summary import RunScores
from selion.reports import page, picture
from selion.reports.place import place_facts, scale_bar
from selion.sample import Sample

KIND_COLOURS = {
    "matched": "#3c8c4a",
    "split": "#d9902f",
    "merged": "#b0562c",
    "partial": "#c9b037",
    "missed": "#8a8a8a",
    "fragment": "#d9902f",
    "merger": "#b0562c",
    "false": "#8a8a8a",
    "ignored": "#cfcfcf",
}

_NOTHING = "#f4f4f0"
ARROWS = {"higher is better": "\u2191", "lower is better": "\u2193", "0 is best": "\u21920"}
DIRECTIONS = "\u2191: higher is better; \u2193: lower is better; \u21920: nearest to 0 is best."
WORST = 6
"""Samples at the bad end that are shown."""
TRUTH, FOUND = (
    "#{:02x}{:02x}{:02x}".format(*picture.COLOURS[name]) for name in ("truth", "fields")
)
"""Colours of outlines."""


FILES = ("report.json", "report.md", "report.html")


def write_report(
    report: Report,
    out: Path | str,
    *,
    figures: Sequence[page.Figure] = (),
    outcomes: Sequence[Outcomes] = (),
    force: bool = False,
) -> list[Path]:
    """Write ``report.json``, ``report.md`` and ``report.html`` into a folder.

    Parameters
    ----------
    report : Report
    out : path
    figures : sequence of Figure
        Cases, the worst first.
    outcomes : sequence of Outcomes
        Of each map, where it is right and where it is wrong.
    force : bool
        Replace what is there.

    Raises
    ------
    OutputExists
        If one of them is there and ``force`` is false; nothing is written then.
    """
    folder = Path(out)
    texts = (report.to_json(), report.to_markdown(), to_html(report, figures, outcomes))
    check_report(folder, force=force)
    for name, text in zip(FILES, texts, strict=True):
        store.write_text(folder / name, text, force=force)
    return [folder / name for name in FILES]


def check_report(out: Path | str, *, force: bool = False) -> None:
    """Refuse (OutputExists) what :func:`write_report` would refuse, before anything is scored."""
    for name in FILES:
        store.check_output(Path(out) / name, force)


def to_html(
    report: Report, figures: Sequence[page.Figure] = (), outcomes: Sequence[Outcomes] = ()
) -> str:
    """Lay a report out as a self-contained page."""
    header, rows = report.score_table()
    table = page.table(header, [[_shorter(row[0]), *row[1:]] for row in rows])
    sections = [page.section("Scores", table, page.paragraph(DIRECTIONS), *_warnings(report))]
    sections += [page.section(f"Right and wrong: {one.name}", outcome_map(one)) for one in outcomes]
    if outcomes and outcomes[0].grid.crs is not None:
        place = page.table(["", ""], place_facts(outcomes[0].grid))
        sections.append(page.section("Where it is", place))
    if figures:
        key = page.legend({"truth": TRUTH, "prediction": FOUND, "both": "#ffffff"})
        sections.append(
            page.section("Cases, the worst first", f"<p>{key}</p>", page.figures(figures))
        )
    if report.settings:
        sections.append(
            page.section(
                "How it was measured",
                page.table(["", ""], [[k, setting_text(v)] for k, v in report.settings.items()]),
            )
        )
    sections += [page.section(run.name, *_run_parts(run)) for run in report.runs]
    for pair, found in (report.comparisons or {}).items():
        sections.append(page.section(f"Difference: {pair}", page.table(*comparison_table(found))))
    if report.problems:
        sections.append(page.section("Notes", *(page.paragraph(p) for p in report.problems)))
    beside = counted(len(report.baselines), "baseline") if report.baselines else "no baseline"
    scored = "1 map or model" if len(report.runs) == 1 else f"{len(report.runs):,} maps or models"
    lead = f"{scored} scored, beside {beside} without training."
    return page.page(report.title, lead, sections, f"selion {selion.__version__}")


def _shorter(measure: str) -> str:
    """Write which way is better as an arrow."""
    for words, arrow in ARROWS.items():
        measure = measure.replace(f"({words})", arrow)
    return measure


def _warnings(report: Report) -> list[str]:
    lines = []
    for run in report.runs:
        won = report.won_by_content_free(run)
        labels = [f"{m.label} ({won[m.name]})" for m in report.measures if m.name in won]
        if labels:
            lines.append(
                page.paragraph(
                    f"{MARK} A content-free answer does as well as {run.name} or better in: "
                    f"{', '.join(labels)}. Do not judge by these alone."
                )
            )
    return lines


def _run_parts(run: RunScores) -> list[str]:
    parts = [page.paragraph(note) for note in run.notes]
    parts += [kinds_chart(side, kinds) for side, kinds in run.kinds.items()]
    parts.append(page.table(*size_table(run), "By size"))
    if run.groups:
        parts.append(page.table(*group_table(run), "By group"))
    parts += [page.table(*stratum_table(run, column), f"By {column}") for column in run.strata]
    if run.classes is not None:
        parts += [
            page.table(*confusion_table(run.classes), "Pixels by class"),
            page.table(*class_table(run.classes), "Pixel scores by class"),
        ]
    if run.calibration is not None and run.calibration.n:
        parts.append(reliability_chart(run))
    if run.correction is not None:
        parts.append(page.paragraph(correction_line(run.correction)))
    return parts


def outcome_map(found: Outcomes) -> str:
    """Lay the truth and the map over each other, each object coloured by what became of it."""
    shown = []
    for side, names, words in (
        (found.truth, TRUTH_KINDS, "Truth"),
        (found.prediction, PREDICTION_KINDS, "Map"),
    ):
        colours = [_NOTHING, *(KIND_COLOURS[name] for name in names)]
        palette = np.array([tuple(bytes.fromhex(colour[1:])) for colour in colours], np.uint8)
        drawn = palette[side.kinds]
        drawn[picture.edges(side.ids)] = 40
        what = f"{words}: each object by what became of it."
        shown.append(page.Figure(picture.data_uri(drawn), what, what))
    key = page.legend(
        {
            " or ".join(dict.fromkeys(pair)): KIND_COLOURS[pair[0]]
            for pair in zip(TRUTH_KINDS, PREDICTION_KINDS, strict=False)
        }
        | {"ignored": KIND_COLOURS["ignored"]}
    )
    return page.slider(shown[0], shown[1], key, scale_bar(found.grid))


def kinds_chart(side: str, kinds: Mapping[str, int]) -> str:
    """Draw the kinds of error of one side as a bar; the numbers stand in the legend."""
    total = sum(kinds.values())
    if not total:
        return page.paragraph(f"No {side} objects.")
    left, bars, legend = 0.0, [], {}
    for kind, count in kinds.items():
        width = 600 * count / total
        colour = KIND_COLOURS[kind]
        bars.append(
            f'<rect x="{left:.1f}" y="0" width="{width:.1f}" height="22" '
            f'fill="{colour}"><title>{escape(kind)}: {count:,}</title></rect>'
        )
        legend[f"{kind} {count:,} ({count / total:.0%})"] = colour
        left += width
    label = f"{side} objects by kind: {', '.join(f'{k} {c}' for k, c in kinds.items())}"
    svg = (
        f'<svg class="bar" viewBox="0 0 600 22" role="img" aria-label="{escape(label)}" '
        f'preserveAspectRatio="none">{"".join(bars)}</svg>'
    )
    return page.chart(svg, f"{escape(side)} objects: {page.legend(legend)}")


def reliability_chart(run: RunScores) -> str:
    """Draw confidence against the share that was right, with Wilson intervals.

    The diagonal is honesty.
    """
    found = run.calibration
    if found is None:
        return ""
    caption = (
        f"Confidence of {counted(found.n, 'object')}: expected calibration error {found.ece:.3f}, "
        f"Brier {found.brier:.3f}."
    )
    return reliability_drawing(found.table.to_dict("records"), caption)


def reliability_drawing(bins: Sequence[Mapping[Any, Any]], caption: str) -> str:
    """Draw the bins of :class:`selion.metrics.Reliability`."""
    marks = []
    for row in bins:
        x, y = 30 + 240 * row["confidence"], 260 - 240 * row["right"]
        low, high = 260 - 240 * row["low95"], 260 - 240 * row["high95"]
        marks.append(
            f'<line x1="{x:.1f}" y1="{low:.1f}" x2="{x:.1f}" y2="{high:.1f}" '
            'stroke="currentColor" stroke-opacity=".5"/>'
        )
        marks.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="var(--accent)"><title>{row["n"]:,} '
            "objects</title></circle>"
        )
    axes = (
        '<path d="M30 20V260H270" fill="none" stroke="currentColor"/><path d="M30 260L270 20" '
        'stroke="currentColor" stroke-opacity=".3" stroke-dasharray="4"/>'
    )
    words = (
        '<text x="150" y="285" text-anchor="middle">confidence</text><text x="12" y="140" '
        'text-anchor="middle" transform="rotate(-90 12 140)">share that is right</text>'
        '<text x="26" y="275" text-anchor="middle">0</text><text x="270" y="275" '
        'text-anchor="middle">1</text><text x="24" y="26" text-anchor="end">1</text>'
    )
    look = (
        'class="square" role="img" aria-label="Reliability diagram: confidence against the share '
        'that was right"'
    )
    svg = f'<svg viewBox="0 0 290 295" {look}>{axes}{"".join(marks)}{words}</svg>'
    return page.chart(svg, escape(caption))


def case_figures(run: RunScores, samples: Sequence[Sample], answer: Any) -> list[page.Figure]:
    """Show the worst samples by object F1, the worst first, then the median and the best.

    Parameters
    ----------
    run : RunScores
        Of these samples.
    samples : sequence of Sample
    answer : callable
        From a sample to (truth ids, predicted ids), each (y, x).

    Raises
    ------
    BadInput
        If a scored image is not among the samples.
    """
    by_key = {sample.key: sample for sample in samples}
    rows = run.images.dropna(subset=["object_f1"]).sort_values("object_f1", kind="stable")
    if not len(rows):
        return []
    last = len(rows) - 1
    places = [(k, "Worst" if k == 0 else f"Number {k + 1} from below") for k in range(WORST)]
    places = [(k, name) for k, name in places if k < min(len(rows) // 2, last) or k == 0]
    places += [(len(rows) // 2, "Median"), (last, "Best")]
    found = []
    for place, name in places:
        row = rows.iloc[place]
        if row["key"] not in by_key:
            raise BadInput(
                f"{row['key']} was scored but is not among the samples: pass the same samples."
            )
        truth, prediction = answer(by_key[row["key"]])
        caption = (
            f"{name}: {row['key']}, object F1 {row['object_f1']:.2f}, pixel IoU "
            f"{row['pixel_iou']:.2f}."
        )
        found.append(
            page.Figure(
                picture.data_uri(picture.compared(by_key[row["key"]].image, truth, prediction)),
                caption,
                f"{name} case with true and predicted outlines",
            )
        )
    return found
