"""Tables as the sheets of a workbook that spreadsheet programs open."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from selion.store.atomic import atomic_write

Sheet = tuple[Sequence[str], Sequence[Mapping[str, Any]]]
"""Columns, and rows as column -> value; what is not there is an empty cell."""
STYLES = "xl/styles.xml"
TIMED, DAY = rb'formatCode="DD/MM/YYYY\ HH:MM:SS"', b'formatCode="yyyy\\-mm\\-dd"'
"""How GDAL shows what has a time, as all dates of a frame have, and how a day is to be shown."""
MOMENT = (1980, 1, 1, 0, 0, 0)
"""The time of all parts of a workbook: the first that a zip knows."""


def write_workbook(path: Path, sheets: Mapping[str, Sheet], *, force: bool = True) -> None:
    """Write an ``.xlsx`` with one sheet per table, by GDAL.

    Parameters
    ----------
    path : path
    sheets : mapping
        Name -> (columns, rows); columns hold numbers, dates (:class:`datetime.date`) or texts.
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
        _mend(temporary)


def _mend(path: Path) -> None:
    """Mend what GDAL writes.

    Days are shown as days, as it would show them with a time of day, and in an order that is read
    in two ways; and all parts get the same moment: equal tables, equal bytes.
    """
    with zipfile.ZipFile(path) as read:
        parts = [(name, read.read(name)) for name in read.namelist()]
    parts = [(n, text.replace(TIMED, DAY) if n == STYLES else text) for n, text in parts]
    with zipfile.ZipFile(path, "w") as written:
        for name, content in parts:
            written.writestr(zipfile.ZipInfo(name, MOMENT), content, zipfile.ZIP_DEFLATED)


def _column(values: list[Any]) -> Any:
    """Return values of one kind: numbers or days with nothing for what is not known, or texts."""
    import pandas as pd

    known = [value for value in values if value is not None]
    if known and all(isinstance(value, int | float) for value in known):
        return [_number(value) for value in values]
    if known and all(isinstance(value, date) for value in known):
        return pd.to_datetime(pd.Series(values, dtype="object"))
    return ["" if value is None else str(value) for value in values]


def _number(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value
