"""A place in a mask's text, as its grammar knows it."""

from __future__ import annotations

from typing import NamedTuple


class GrammarState(NamedTuple):
    """A place in a mask's text."""

    literal: str
    """Characters that must come next, whatever the phase."""
    phase: str
    typed: str = ""
    """Of the label, or of the number, that is being written."""
    rows: int = 0
    """Rows still to be written, the present one included."""
    cells: int = 0
    """Pixels still to be written in the present row."""
    last: int = -1
    """Class of the last run of the present row; a run of the same class may not follow."""
    above: bool = False
    """Whether "=k" may come: there is a row above, and the last line was a row."""
    box: tuple[int, ...] = ()
    """Numbers of the present object's box that are written."""
