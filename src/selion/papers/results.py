"""What was scored for a paper's table: rows, and what is missing in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from selion.metrics import Interval
from selion.papers.printed import ROUNDING, PaperRow, PaperTable


@dataclass(frozen=True, slots=True)
class FoundModel:
    """The weights that stand for a row."""

    path: Path | str
    """A model's folder, or its name."""
    stand_in: str = ""
    """Where it is not the paper's model: what it is instead, as a sentence for every table."""


@dataclass(frozen=True, eq=False)
class RowScores:
    """One row of a table as it was scored here."""

    row: PaperRow
    found: FoundModel | None = None
    """None: no weights."""
    missing: str = ""
    """Why it has no scores: a sentence."""
    countries: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Country -> measure -> value."""
    ranges: Mapping[str, Mapping[str, Interval]] = field(default_factory=dict)
    """Country -> measure -> 95 % interval over its chips (bootstrap), of the measures that are
    sums over chips."""
    means: Mapping[str, Interval] = field(default_factory=dict)
    """Measure -> unweighted mean over countries, with the paper's 1.96 sd / sqrt(n)."""
    facts: Mapping[str, float] = field(default_factory=dict)
    """Measures that belong to the model, not to a country: parameters, throughput."""

    def value(self, measure: str) -> float:
        """Return our figure for a column of the table; NaN where there is none."""
        if measure in self.facts:
            return self.facts[measure]
        return self.means[measure].value if measure in self.means else float("nan")


@dataclass(frozen=True, eq=False)
class TableScores:
    """A table as it was scored here."""

    table: PaperTable
    rows: tuple[RowScores, ...]
    settings: Mapping[str, object] = field(default_factory=dict)
    """What the figures depend on."""
    problems: tuple[str, ...] = ()
    """What is missing and where it is had: one sentence each."""

    @property
    def reference(self) -> RowScores | None:
        """The row that others are compared with, where it was scored."""
        return next(
            (r for r in self.rows if r.row.model.key == self.table.reference and r.means), None
        )


def holds(ours: Interval, printed: float) -> bool | None:
    """Say whether an interval of ours holds a printed figure; None where it has no width.

    A printed figure stands for all numbers that round to it (:data:`ROUNDING`).
    """
    if ours.low != ours.low or ours.high != ours.high:  # NaN: fewer than two countries
        return None
    return ours.low - ROUNDING <= printed <= ours.high + ROUNDING
