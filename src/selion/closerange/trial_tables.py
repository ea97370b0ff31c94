"""What is written of a trial: means, long and wide, curves, and which photograph went where."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from selion.closerange.codes import code_rows
from selion.closerange.tables import write_table
from selion.closerange.trial import Trial
from selion.store.replaced import FolderKind
from selion.store.workbook import write_workbook

MEANS, LONG, CURVES, WHERE, CODES, BOOK = (
    "means.csv", "long.csv", "curves.csv", "photographs.csv", "codes.csv", "trial.xlsx",
)  # fmt: skip
TRIAL = FolderKind(
    "what 'crops trial' writes",
    (MEANS,),
    (LONG, CURVES, WHERE, CODES, BOOK, "index.html", "photos/"),
)
LONG_COLUMNS = ("plot", "date", "trait", "n", "mean", "sd", "min", "max")
CURVE_COLUMNS = (
    "plot", "dates", "first", "last", "top", "rate_per_day", "fastest", "reached", "rmse", "note",
)  # fmt: skip
WHERE_COLUMNS = ("file", "plot", "date", "from", "counts", "why", "trust", "cover")
DAYS = ("date", "first", "last", "fastest", "reached")
"""Columns that hold a day."""
CODE_COLUMNS = ("file", "code", "kind", "x", "y", "plot", "why")


def write_trial(trial: Trial, folder: Path) -> None:
    """Write four CSVs, a fifth where codes were read, and a workbook with them as sheets."""
    tables = {
        MEANS: (mean_columns(trial), trial.means),
        LONG: (LONG_COLUMNS, trial.long),
        CURVES: (CURVE_COLUMNS, curve_rows(trial)),
        WHERE: (WHERE_COLUMNS, _where_rows(trial)),
    }
    if trial.coded:
        tables[CODES] = (CODE_COLUMNS, code_rows(trial.coded))
    for name, (columns, rows) in tables.items():
        write_table(folder / name, columns, rows)
    write_workbook(
        folder / BOOK,
        {
            Path(name).stem: (columns, [_typed(row) for row in rows])
            for name, (columns, rows) in tables.items()
        },
    )


def _typed(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row whose days are days and whose cover, a text in ``crops.csv``, is a number."""
    typed = {name: date.fromisoformat(row[name]) for name in DAYS if row.get(name)}
    numbers = {"cover": _number(row["cover"])} if isinstance(row.get("cover"), str) else {}
    return {name: None if name in DAYS else cell for name, cell in row.items()} | typed | numbers


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def mean_columns(trial: Trial) -> list[str]:
    """Return the columns of the means, in the order in which they came."""
    return list(dict.fromkeys(name for row in trial.means for name in row))


def curve_rows(trial: Trial) -> list[dict[str, Any]]:
    """Return one row per plot with what its curve says."""
    rows = []
    for one in trial.curves:
        growth = one.growth
        rows.append(
            {
                "plot": one.plot,
                "dates": len(one.days),
                "first": one.days[0].isoformat(),
                "last": one.days[-1].isoformat(),
                "top": growth.top,
                "rate_per_day": growth.rate,
                "fastest": one.fastest.isoformat() if one.fastest else None,
                "reached": one.reached.isoformat() if one.reached else None,
                "rmse": growth.error,
                "note": one.note,
            }
        )
    return rows


def _where_rows(trial: Trial) -> list[dict[str, Any]]:
    return [
        {
            "file": photo.row["file"],
            "plot": photo.plot,
            "date": photo.day.isoformat() if photo.day else "",
            "from": photo.source,
            "counts": "no" if photo.why or _left_out(trial, photo.row) else "yes",
            "why": photo.why
            or (photo.row.get("reasons", "") if _left_out(trial, photo.row) else photo.differs),
            "trust": photo.row.get("trust", ""),
            "cover": photo.row.get("cover", ""),
        }
        for photo in trial.photos
    ]


def _left_out(trial: Trial, row: Any) -> bool:
    return not trial.options.untrusted and row.get("trust") != "yes"
