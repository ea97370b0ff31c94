"""Rows of the benchmark table: what was measured, what was wanted, and whether it was reached."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    section: str
    what: str
    value: float | None
    """The number; None: it was not measured, and ``note`` says why."""
    unit: str = "x"
    goal: float | None = None
    """What the issue wants; None: reported only."""
    at_most: bool = False
    """Whether less is better than the goal."""
    note: str = ""

    @property
    def reached(self) -> bool | None:
        """Whether the goal is reached; None where there is none, or no number."""
        if self.value is None or self.goal is None:
            return None
        return self.value <= self.goal if self.at_most else self.value >= self.goal


def ratio(
    section: str,
    what: str,
    slow: Sequence[float],
    quick: Sequence[float],
    goal: float | None = None,
) -> Row:
    """Median of the ratios of interleaved pairs; the note gives their range and the two medians in
    seconds.
    """
    pairs = [a / b for a, b in zip(slow, quick, strict=True)]
    note = (
        f"{min(pairs):.2f} to {max(pairs):.2f} over {len(pairs)}; {statistics.median(slow):.2f} s "
        f"against {statistics.median(quick):.2f} s"
    )
    return Row(section, what, statistics.median(pairs), "x", goal, note=note)


def seconds(section: str, what: str, walls: Sequence[float], note: str = "") -> Row:
    """Median of wall times."""
    spread = f"{min(walls):.2f} to {max(walls):.2f} over {len(walls)}"
    return Row(
        section, what, statistics.median(walls), "s", note=f"{spread}; {note}" if note else spread
    )


def save(rows: Iterable[Row], path: Path) -> None:
    """Write rows as JSON."""
    path.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n", encoding="utf-8")


def load(path: Path) -> list[Row]:
    """Read rows that :func:`save` wrote."""
    return [Row(**row) for row in json.loads(path.read_text(encoding="utf-8"))]


def _number(row: Row) -> str:
    if row.value is None:
        return "-"
    digits = {"x": 2, "s": 2, "%": 5, "MB": 0, "": 0}.get(row.unit, 2)
    shown = f"{row.value:,.{digits}f}"
    if row.unit == "%":
        shown = shown.rstrip("0").rstrip(".")
    return f"{shown} {row.unit}".strip()


def _goal(row: Row) -> str:
    if row.goal is None:
        return ""
    verdict = {True: "reached", False: "MISSED", None: "not measured"}[row.reached]
    return f"{'<=' if row.at_most else '>='} {row.goal:g} {row.unit}: {verdict}"


def markdown(rows: Iterable[Row]) -> str:
    """Return one Markdown table per section."""
    parts: list[str] = []
    section = None
    for row in rows:
        if row.section != section:
            section = row.section
            parts += [
                "",
                f"### {section}",
                "",
                "| what | measured | goal | detail |",
                "|---|---:|---|---|",
            ]
        parts.append(
            f"| {row.what} | {_number(row)} | {_goal(row)} | {row.note.replace('|', '·')} |"
        )
    return "\n".join(parts).strip() + "\n"
