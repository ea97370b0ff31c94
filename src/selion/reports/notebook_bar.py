"""Bars of work in a notebook: below the cell that runs, one for each stage."""

from __future__ import annotations

import time
from html import escape
from typing import Any

from selion.extras import require

EVERY = 0.2
"""Seconds between two drawings."""


class CellBars:
    """The bars of one cell."""

    def __init__(self) -> None:
        self.stages: dict[str, tuple[float, str]] = {}
        """Stage -> (share that is done, detail)."""
        self._drawn = 0.0
        self._handle: Any = None

    def step(self, stage: str, share: float, detail: str) -> None:
        """Move a bar; drawn now and then, and when a stage ends."""
        self.stages[stage] = share, detail
        now = time.monotonic()
        if share < 1 and now - self._drawn < EVERY:
            return
        self._drawn, shown = now, require("IPython.display", "notebook")
        page = shown.HTML(self.html())
        if self._handle is None:
            self._handle = shown.display(page, display_id=True)
        else:
            self._handle.update(page)

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


def step(stage: str, done: float, total: float, detail: str = "") -> None:
    """Show how far a stage is, below the cell that runs."""
    number = require("IPython", "notebook").get_ipython().execution_count
    if number not in _cells:
        _cells.clear()
        _cells[number] = CellBars()
    _cells[number].step(stage, min(done / max(total, 1e-9), 1.0), detail)
