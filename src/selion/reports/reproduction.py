"""A paper's tables as one page: whatever stands in a folder, the paper's figures beside ours.

Tables come from their CSV files alone, so that a page can be written again after each of them.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import selion
from selion import store
from selion.errors import BadInput, UnreadableFile
from selion.papers import read_paper
from selion.reports import page
from selion.reports.reproduction_figures import draw_points, draw_sweeps

Line = Mapping[str, str]
REPORT = "report.html"
MARK = "stand-in"
"""What a row is called that no weights of the paper stand behind."""
TIE = "\N{NO-BREAK SPACE}"
HEADS = {
    "pixel_iou": "IoU", "pixel_precision": "precision", "pixel_recall": "recall",
    "object_precision": "object precision", "object_recall": "object recall",
    "object_f1": "object F1", "ap50_95": "AP .5:.95", "ap50": "AP .5",
    "parameters_m": "parameters (M)", "throughput_km2_s": "km2/s",
    "order_f1": "order, F1", "order_iou": "order, IoU",
    "brightness_f1": "brightness, F1", "brightness_iou": "brightness, IoU",
    "scale_f1": "scale, F1", "scale_iou": "scale, IoU", "agreement": "agreement",
}  # fmt: skip
"""Measures as their columns are headed."""
NUMBERS = "How a cell is read: ours ± 1.96 standard deviations over countries by the root of their \
number; in brackets the paper's figure, = where our interval holds it, ≠ where it does not."


def write_report(out: Path) -> Path:
    """Write ``report.html`` over the tables and figures in a folder, and the figures as SVG.

    Parameters
    ----------
    out : path
        Folder of ``table-N.csv``, ``throughput.csv``, ``census.csv`` and ``figure-N.csv``; what is
        not there is left out.  A page that is there is replaced.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    UnreadableFile
        If the folder holds none of them, or one is damaged.
    """
    paper = read_paper("prue")
    tables = {
        number: lines for number in range(1, 7) if (lines := _read(out / f"table-{number}.csv"))
    }
    sections = [
        _land(lines) if number == 3 else _scored(number, lines, paper.table(number).title)
        for number, lines in tables.items()
    ]
    sections += _plain(out)
    sections += _figures(out)
    if not sections:
        raise UnreadableFile(
            f"{out} holds no table and no figure of a paper: make one, for example with 'selion "
            "reproduce prue --quick'."
        )
    stand_ins = {
        line["stand_in"]
        for lines in (*tables.values(), _read(out / "figure-6.csv"), _read(out / "figure-7.csv"))
        for line in lines
        if line.get("stand_in")
    }
    lead = f"{paper.citation}. Scored with selion {selion.__version__} on the chips that are here."
    if stand_ins:
        warning = page.section(
            "Stand-ins",
            page.paragraph(
                f"Rows marked ({MARK}) are not the paper's models. They show that the road works, "
                "and say nothing of what the paper's models score."
            ),
            *(page.paragraph(f"{said[0].upper()}{said[1:]}.") for said in sorted(stand_ins)),
        )
        sections.insert(0, warning)
    text = page.page(f"{paper.name}: its tables, scored here", lead, sections, "", wide=True)
    store.write_text(out / REPORT, text, force=True)
    return out / REPORT


def _read(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UnreadableFile(
            f"{path} cannot be read as a table ({error}): make it again."
        ) from error


def _name(line: Line) -> str:
    said = " ".join(filter(None, (line["row"], line["backbone"])))
    return f"{said} ({MARK})" if line["stand_in"] else said


def _scored(number: int, lines: Sequence[Line], title: str) -> str:
    """Lay out a table of scores; rows without weights say why below."""
    try:
        return page.section(f"Table {number}: {title}", *_parts(number, lines))
    except KeyError as error:
        raise BadInput(
            f"table-{number}.csv has no column {error}: it is of another version; make it again "
            "with --force."
        ) from error


def _parts(number: int, lines: Sequence[Line]) -> list[str]:
    means = [line for line in lines if line["country"] == "mean"]
    countries = [line for line in lines if line["country"] != "mean"]
    parts = [page.paragraph(NUMBERS)]
    if number == 6:
        measures = dict.fromkeys(line["measure"] for line in lines)
        parts += [_by_country([x for x in lines if x["measure"] == m], m) for m in measures]
    else:
        parts.append(_pivot(means, _cell, ""))
        if any(line["minus_reference"] for line in means):
            caption = "Difference from the reference, in brackets the paper's"
            parts.append(_pivot(means, _difference, caption))
        if any(line["ours"] for line in countries):
            parts.append(_countries(countries))
    missing = {f"{line['row']}: {line['missing']}" for line in lines if line["missing"]}
    parts += [page.paragraph(text) for text in sorted(missing)]
    links = f"Every number: table-{number}.csv. How it was scored: table-{number}.md."
    return [*parts, page.paragraph(links)]


def _pivot(lines: Sequence[Line], cell: object, caption: str) -> str:
    measures = list(dict.fromkeys(line["measure"] for line in lines))
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for line in lines:
        name = (line["model"], _name(line))
        rows.setdefault(name, {})[line["measure"]] = cell(line)  # type: ignore[operator]
    body = [[name, *(found.get(m, "") for m in measures)] for (_, name), found in rows.items()]
    return page.table(["", *(HEADS.get(m, m) for m in measures)], body, caption)


def _by_country(lines: Sequence[Line], measure: str) -> str:
    names = list(dict.fromkeys(_name(line) for line in lines))
    rows: dict[str, dict[str, str]] = {}
    for line in sorted(lines, key=lambda line: (line["country"] == "mean", line["country"])):
        rows.setdefault(line["country"], {})[_name(line)] = _cell(line)
    body = [[country, *(found.get(n, "") for n in names)] for country, found in rows.items()]
    return page.table(["", *names], body, HEADS.get(measure, measure))


def _countries(lines: Sequence[Line]) -> str:
    """Fold what each country scored: many rows, wanted rarely."""
    measures = list(dict.fromkeys(line["measure"] for line in lines))
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for line in lines:
        if line["ours"]:
            rows.setdefault((_name(line), line["country"]), {})[line["measure"]] = (
                f"{float(line['ours']):.3f}"
            )
    body = [[*name, *(found.get(m, "") for m in measures)] for name, found in rows.items()]
    inner = page.table(["", "country", *(HEADS.get(m, m) for m in measures)], body)
    return page.folded("By country", inner)


def _cell(line: Line) -> str:
    digits = 1 if line["measure"] in ("parameters_m", "throughput_km2_s") else 3
    ours = f"{float(line['ours']):.{digits}f}" if line["ours"] else "-"
    if line["low"] and line["high"]:
        half = (float(line["high"]) - float(line["low"])) / 2
        ours += f"{TIE}±{TIE}{half:.3f}"
    if not line["paper"]:
        return ours
    sign = {"yes": f"{TIE}=", "no": f"{TIE}≠"}.get(line["holds_paper"], "")
    return f"{ours} ({line['paper']}{sign})"


def _difference(line: Line) -> str:
    if not line["minus_reference"]:
        return ""
    theirs = line["paper_minus_reference"]
    said = f" ({float(theirs):+.2f})" if theirs else ""
    return f"{float(line['minus_reference']):+.3f}{said}"


def _land(lines: Sequence[Line]) -> str:
    """Lay out Table 3; the paper's area is also shown as what it is of the true one."""
    heads = {
        "country": "", "year": "year",
        "area_million_km2": "area, million km2", "mercator_million_km2": "the same in Web Mercator",
        "dollars": "cost, $", "fields_m": "fields, millions", "median_ha": "median, ha",
        "paper_area_million_km2": "paper: area", "paper_area_over_true": "over the true area",
        "paper_dollars": "paper: $", "paper_fields_m": "paper: fields",
        "paper_median_ha": "paper: median", "note": "",
    }  # fmt: skip
    body = [[line[name] for name in heads] for line in lines]
    note = (
        "Areas and medians here are on the ellipsoid; the paper's areas are Web Mercator's. Costs "
        "here are those of the hours that reading, predicting and parting took on this machine, at "
        "the price sheet's rate; the paper's are for its network alone."
    )
    title = "Table 3: countries, their area, cost and fields"
    return page.section(title, page.paragraph(note), page.table(list(heads.values()), body))


def _plain(out: Path) -> list[str]:
    found = []
    if lines := _read(out / "throughput.csv"):
        heads = [name for name in lines[0] if name not in ("weights", "stand_in")]
        body = [
            [
                f"{line['model']} ({MARK})" if line["stand_in"] else line["model"],
                *(line[name] for name in heads[1:]),
            ]
            for line in lines
        ]
        said = page.paragraph(
            "Alone: random numbers, nothing read, as in the paper (there on a V100, 64 at once). "
            "End to end: from files to objects."
        )
        found.append(page.section("Throughput on this machine", said, page.table(heads, body)))
    if lines := _read(out / "census.csv"):
        body = [list(line.values()) for line in lines]
        found.append(page.section("Beside the census", page.table(list(lines[0]), body)))
    return found


def _figures(out: Path) -> list[str]:
    found = []
    drawings = {
        6: ("Figure 6: agreement and overlap", draw_sweeps),
        7: ("Figure 7: agreement and object F1", draw_points),
    }
    for number, (title, draw) in drawings.items():
        lines = _read(out / f"figure-{number}.csv")
        if lines:
            svg, caption = draw(lines)
            store.write_text(out / f"figure-{number}.svg", svg, force=True)
            found.append(page.section(title, page.chart(svg, escape(caption))))
    return found
