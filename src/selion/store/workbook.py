"""Tables as the sheets of a workbook that spreadsheet programs open."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from selion.store.atomic import atomic_write

Sheet = tuple[Sequence[str], Sequence[Mapping[str, Any]]]
"""Columns, and rows as column -> value; what is not there is an empty cell."""
MOMENT = (1980, 1, 1, 0, 0, 0)
"""The time of all parts of a workbook: the first that a zip knows."""


def write_workbook(path: Path, sheets: Mapping[str, Sheet], *, force: bool = True) -> None:
    """Write an ``.xlsx`` with one sheet per table, by GDAL.

    Parameters
    ----------
    path : path
    sheets : mapping
        Name -> (columns, rows); columns hold either numbers or texts.
    force : bool
        Whether what is there is replaced.

    Raises
    ------
    OutputExists, OutputFailed
        See :func:`selion.store.atomic_write`.
    """
    import pandas as pd
    import pyogrio

    with atomic_write(path, force) as temporary:
        for number, (name, (columns, rows)) in enumerate(sheets.items()):
            table = {column: _column([row.get(column) for row in rows]) for column in columns}
            frame = pd.DataFrame(table, columns=list(columns))
            append = bool(number)
            pyogrio.write_dataframe(frame, temporary, driver="XLSX", layer=name, append=append)
        _without_times(temporary)


def _without_times(path: Path) -> None:
    """Set the time of every part of a workbook to the same moment: equal tables, equal bytes."""
    with zipfile.ZipFile(path) as read:
        parts = [(name, read.read(name)) for name in read.namelist()]
    with zipfile.ZipFile(path, "w") as written:
        for name, content in parts:
            written.writestr(zipfile.ZipInfo(name, MOMENT), content, zipfile.ZIP_DEFLATED)


def _column(values: list[Any]) -> list[Any]:
    """Return values of one kind: numbers with nothing for what is not known, or texts."""
    known = [value for value in values if value is not None]
    if known and all(isinstance(value, int | float) for value in known):
        return [_number(value) for value in values]
    return ["" if value is None else str(value) for value in values]


def _number(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value
