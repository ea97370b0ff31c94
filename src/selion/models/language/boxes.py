r"""Masks as boxes and bricks: each object by itself, its box and the rows of its mask in there.

::

    boxes          <seg>f0,7,2x9\nx9\nf3,0,4x16\n.2x14\n=1\nx16\nx9\n</seg>

A line with a letter begins an object: its class, the first row and column of its box, and how many
rows and columns that has.  Its rows follow as bricks, runs of cells that are of it (``x``) or not
(``.``); "=k" stands for the row above k times more.  What no object has is the first class.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import groupby

import numpy as np

from selion.classes import IGNORE

INSIDE, OUTSIDE = "x", "."
"""Bricks of an object, and of what else lies in its box."""
_HEAD = re.compile(r"([A-Za-z])\s*" + r"\s*([,x])\s*".join([r"([0-9]{1,6})"] * 4))
_BRICK = re.compile(r"\s*([xX.])\s*([0-9]{1,6})\s*")
_REPEAT = re.compile(r"=\s*([0-9]{1,6})")


def spell_boxes(mask: np.ndarray, labels: Sequence[str]) -> list[str]:
    """Return the lines of the objects of a (y, x) mask, from the top and the left."""
    lines: list[str] = []
    for label, (top, left), inside in _objects(mask):
        rows, columns = inside.shape
        lines.append(f"{labels[label]}{top},{left},{rows}x{columns}")
        spelled = ["".join(_bricks(row)) for row in inside]
        for row, same in groupby(spelled):
            count = len(list(same))
            lines += [row, f"={count - 1}"] if count > 1 else [row]
    return lines


def _bricks(row: np.ndarray) -> list[str]:
    return [
        f"{INSIDE if inside else OUTSIDE}{len(list(cells))}"
        for inside, cells in groupby(row.tolist())
    ]


def _objects(mask: np.ndarray) -> list[tuple[int, tuple[int, int], np.ndarray]]:
    """Return class, corner and (y, x) bool mask of each object, in the order of its corner."""
    from scipy import ndimage

    found = []
    for label in range(1, int(mask.max()) + 1):
        parts, _ = ndimage.label(mask == label)
        for number, box in enumerate(ndimage.find_objects(parts), start=1):
            found.append((label, (box[0].start, box[1].start), parts[box] == number))
    return sorted(found, key=lambda one: (one[1], one[0], one[2].shape))


def blank_page(shape: tuple[int, int], label: int) -> np.ndarray:
    """Return a (2, y, x) int32 page of one class that no label says: classes, and -1."""
    return np.stack([np.full(shape, label, np.int32), np.full(shape, -1, np.int32)])


def read_boxes(
    lines: Sequence[tuple[str, int]],
    shape: tuple[int, int],
    labels: Mapping[str, int],
    *,
    truncated: bool,
) -> tuple[np.ndarray, dict[str, int]]:
    """Read a mask out of lines.

    Parameters
    ----------
    lines : sequence of (str, int)
        With the number of the character of the text at which each begins.
    shape : (y, x)
    labels : mapping
        Letter -> class.
    truncated : bool
        Whether the text has no end: where no object is, nothing is known then; nor is it where all
        that was said is no object.

    Returns
    -------
    page : (2, y, x) int32 ndarray
        Class ids; 255 where the text cannot be read.  And where in the text their labels stand, -1
        where none says it.
    faults : dict
        Fields of :class:`~selion.models.language.rrle.Misread` that are not 0.
    """
    page = blank_page(shape, IGNORE if truncated else 0)
    faults = dict.fromkeys(("rows_missing", "rows_short", "rows_long", "rows_extra", "unknown"), 0)
    place = 0
    said = False
    while place < len(lines):
        line, start = lines[place]
        head = _HEAD.fullmatch(line)
        place += 1
        if head is None:
            faults["rows_extra"] += 1
            continue
        said = True
        place = _read_object(lines, place, head, start, page, labels, faults)
    if not said and (truncated or lines):
        page[0] = IGNORE
        faults["rows_missing"] = shape[0]
    return page, faults


def _read_object(
    lines: Sequence[tuple[str, int]],
    place: int,
    head: re.Match[str],
    start: int,
    page: np.ndarray,
    labels: Mapping[str, int],
    faults: dict[str, int],
) -> int:
    """Write an object into a page; return the number of the line behind it."""
    top, left, rows, columns = (int(head[k]) for k in (2, 4, 6, 8))
    known = labels.get(head[1], IGNORE)
    faults["unknown"] += known == IGNORE
    height, width = page.shape[1:]
    if not rows or not columns or top + rows > height or left + columns > width:
        faults["rows_long"] += 1
    row, above = 0, np.zeros(columns if columns <= width else 0, bool)
    while row < rows and place < len(lines) and not _HEAD.fullmatch(lines[place][0]):
        line, _ = lines[place]
        place += 1
        again = _REPEAT.fullmatch(line)
        times = int(again[1]) if again and row else 1
        if again is None:
            above, whole = _read_bricks(line, len(above))
            faults["rows_short"] += not whole
        elif not row or times > rows - row:
            faults["rows_extra"] += 1
        below = row + min(times, rows - row)
        part = page[:, top + row : top + below, left : left + len(above)]
        part[:, :, above[: part.shape[2]]] = np.array([known, start])[:, None, None]
        row = below
    faults["rows_missing"] += rows - row if rows <= height else 0
    return place


def _read_bricks(line: str, columns: int) -> tuple[np.ndarray, bool]:
    """Return the cells of a row, and whether they are as many as wanted."""
    row, place, end = np.zeros(columns, bool), 0, 0
    while place < columns and (match := _BRICK.match(line, end)):
        stop = place + int(match[2])
        row[place:stop] = match[1] != OUTSIDE
        place, end = stop, match.end()
    return row, place == columns and not line[end:].strip()
