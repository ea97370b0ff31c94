"""Plots and dates out of the names of photographs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from pathlib import PurePosixPath

from selion.errors import BadInput

PARTS = {
    "plot": r"(?P<plot>[^/]+?)",
    "date": r"(?P<date>\d{4}-\d{2}-\d{2}|\d{4}_\d{2}_\d{2}|\d{8})",
    "time": r"(?P<time>\d{6}|\d{2}[-_]\d{2}[-_]\d{2})",
}
ANY = {"*": "[^/]*?", "?": "[^/]"}
DATE = re.compile(r"(?<!\d)(\d{4})([-_]?)(\d{2})\2(\d{2})(?!\d)")
YEARS = range(1990, 2100)
"""Of photographs: 20180116 is a date, 12345678 is a number."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """How names are read."""

    text: str
    """As the user wrote it: ``{plot}``, ``{date}``, ``{time}``, ``*`` and ``?``."""
    rule: re.Pattern[str]
    folders: int
    """So many folders above a photograph are part of the name."""

    def read(self, file: str) -> dict[str, str]:
        """Return what a name says of ``plot``, ``date`` and ``time``; empty if it does not fit."""
        path = PurePosixPath(file.replace("\\", "/"))
        if not path.name:  # a table may say "/" or nothing
            return {}
        name = "/".join(path.with_suffix("").parts[-1 - self.folders :])
        return self.read_text(name)

    def read_text(self, text: str) -> dict[str, str]:
        """Return what a text says that is no name of a file, such as that of a printed code."""
        found = self.rule.fullmatch(text)
        return {} if found is None else {k: v for k, v in found.groupdict().items() if v}


def read_pattern(text: str) -> Pattern:
    """Read a pattern for names without their ending, such as ``FPWW022{plot}_*_{date}_*``.

    Raises
    ------
    BadInput
        If it names no ``{plot}``, a part twice, or one that there is not.
    """
    named = re.findall(r"\{(.*?)\}", text)
    wrong = next((name for name in named if name not in PARTS), None)
    if wrong is not None or "plot" not in named or len(set(named)) < len(named):
        why = (
            f"there is no part {{{wrong}}}"
            if wrong is not None
            else "a part stands twice"
            if len(set(named)) < len(named)
            else "no part says which plot it is"
        )
        raise BadInput(
            f"The pattern {text!r} was given: {why}; wanted is a name without its ending with "
            "{plot} and, where names hold them, {date} and {time}, for example "
            "'FPWW022{plot}_RGB1_{date}_*'."
        )
    pieces = re.split(r"(\{.*?\}|\*|\?)", text)
    rule = "".join(
        PARTS[piece[1:-1]] if piece.startswith("{") else ANY.get(piece, re.escape(piece))
        for piece in pieces
        if piece
    )
    return Pattern(text, re.compile(rule), text.count("/"))


def to_date(text: str) -> date | None:
    """Read 20180116, 2018-01-16 or 2018_01_16, alone or first in an ISO time; else None."""
    found = DATE.match(text)
    return None if found is None else _checked(found)


def find_date(file: str) -> date | None:
    """Return the only date in a name; None if there is none, or two that differ."""
    dates = {_checked(found) for found in DATE.finditer(PurePosixPath(file).name)} - {None}
    return dates.pop() if len(dates) == 1 else None


def _checked(found: re.Match[str]) -> date | None:
    year, month, day = (int(found[k]) for k in (1, 3, 4))
    if year not in YEARS:
        return None
    try:
        return date(year, month, day)
    except ValueError:
        return None
