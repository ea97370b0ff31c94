"""Bars of work in a notebook: below the cell that runs, one for each stage."""

from __future__ import annotations

import secrets
import time
from html import escape
from typing import Any

EVERY = 0.2
"""Seconds between two drawings."""


class CellBars:
    """The bars of one cell."""

    def __init__(self, shell: Any) -> None:
        self.stages: dict[str, tuple[float, str]] = {}
        """Stage -> (share that is done, detail)."""
        self._shell, self._drawn = shell, 0.0
        self._name = ""

    def step(self, stage: str, share: float, detail: str) -> None:
        """Move a bar; drawn now and then, and when a stage ends."""
        self.stages[stage] = share, "" if share >= 1 and detail.endswith("/s") else detail
        now = time.monotonic()
        if share < 1 and now - self._drawn < EVERY:
            return
        again = bool(self._name)
        self._drawn, self._name = now, self._name or secrets.token_hex(8)
        self._shell.display_pub.publish(
            {"text/html": self.html(), "text/plain": f"{stage}: {share:.0%} {detail}".rstrip()},
            transient={"display_id": self._name},
            update=again,
        )

    def html(self) -> str:
        """Return the bars as a table."""
        rows = (
            f'<tr><td style="text-align:left">{escape(stage)}</td>'
            f'<td><progress max="1" value="{share:.3f}" aria-label="{escape(stage)}"></progress>'
            f'</td><td>{share:.0%}</td><td style="text-align:left">{escape(detail)}</td></tr>'
            for stage, (share, detail) in self.stages.items()
        )
        return f"<table>{''.join(rows)}</table>"


_cells: dict[Any, CellBars] = {}
"""The number of the cell that runs -> its bars."""


def step(shell: Any, stage: str, done: float, total: float, detail: str = "") -> None:
    """Show how far a stage is, below the cell that runs."""
    number = shell.execution_count
    if number not in _cells:
        _cells.clear()
        _cells[number] = CellBars(shell)
    _cells[number].step(stage, min(done / max(total, 1e-9), 1.0), detail)
