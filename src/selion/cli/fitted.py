"""Tables of a report as a terminal of a given width can show them."""

from __future__ import annotations

import itertools
import shutil
import sys
import textwrap

GAP = 2
"""Blanks between two columns."""
LEAST = 6
"""Letters that a column keeps."""


def fitted(text: str, columns: int) -> str:
    r"""Lay out anew what of a Markdown text is a table wider than ``columns`` letters.

    Cells are broken between words and stand under each other; lines of other text, and tables that
    fit, stay as they are.

    Examples
    --------
    >>> print(fitted("| measure | one map |\n|---|---|\n| pixel IoU of all | 0.836 |", 16))
    measure   one
              map
    --------  ------
    pixel     0.836
    IoU of
    all
    """
    shown: list[str] = []
    for is_table, lines in itertools.groupby(text.splitlines(), lambda line: line.startswith("|")):
        part = list(lines)
        wide = is_table and max(map(len, part)) > columns
        shown += _laid_out(part, columns) if wide else part
    return "\n".join(shown) + "\n" * text.endswith("\n")


def for_terminal(text: str) -> str:
    """Return a text as the terminal of the standard error shows it; as it is where that is none."""
    if sys.stderr is None or not sys.stderr.isatty():
        return text
    return fitted(text, shutil.get_terminal_size().columns)


def _laid_out(lines: list[str], columns: int) -> list[str]:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    body = [*rows[:1], *rows[2:]]  # the second line is Markdown's rule
    widths = _widths(body, columns)
    shown = [line for row in body for line in _row(row, widths)]
    head = len(_row(body[0], widths))
    rule = (" " * GAP).join("-" * width for width in widths)
    return [*shown[:head], rule, *shown[head:]]


def _widths(rows: list[list[str]], columns: int) -> list[int]:
    """Return the letters of each column: headers are broken first, then what is widest."""
    sides = list(itertools.zip_longest(*rows, fillvalue=""))
    widths = [max(1, *map(len, side)) for side in sides]
    words = [max([LEAST, *map(len, " ".join(side).split())]) for side in sides]
    below = [max(word, *map(len, side[1:]), 0) for word, side in zip(words, sides, strict=True)]
    for least in (below, words):
        while sum(widths) + GAP * (len(widths) - 1) > columns:
            spare = [width - low for width, low in zip(widths, least, strict=True)]
            if max(spare) <= 0:
                break
            widths[spare.index(max(spare))] -= 1
    return widths


def _row(row: list[str], widths: list[int]) -> list[str]:
    cells = [textwrap.wrap(cell, width) or [""] for cell, width in zip(row, widths, strict=False)]
    high = itertools.zip_longest(*cells, fillvalue="")
    return [
        (" " * GAP)
        .join(part.ljust(width) for part, width in zip(line, widths, strict=False))
        .rstrip()
        for line in high
    ]
