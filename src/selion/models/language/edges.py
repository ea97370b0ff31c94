"""How the edges of a mask go on below its last row: each by itself, as it leaned so far."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

HISTORY = 32
"""Rows from which it is seen whether an edge leans."""
STEP, OFF = 8, 4
"""Cells that an edge moves from row to row, at most, and that it lies beside where its last step
leads; what is farther away is another one."""
STRAIGHT = 0.8
"""Cells that an edge may lie beside a line and still follow it: cells round it by half of one."""


class Run(NamedTuple):
    """A run of a row: its class, and where it ends."""

    label: int
    end: int


Row = tuple[Run, ...]


class Edge(NamedTuple):
    """Where an edge lies ``k`` rows below the last one: ``offset + slope * k``."""

    offset: float
    slope: float

    def at(self, below: int) -> int:
        """Return the cell."""
        return int(np.floor(self.offset + self.slope * below + 0.5))


def follow(rows: Sequence[Row]) -> list[Edge]:
    """Return how the edges of the last row lean, from the left; its end is none."""
    found = []
    last = rows[-1]
    width = last[-1].end
    for k in range(len(last) - 1):
        pair = last[k].label, last[k + 1].label
        track, expected, reach = [last[k].end], last[k].end, STEP
        for row in rows[-2 : -HISTORY - 1 : -1]:
            ends = [one.end for one, right in pairwise(row) if (one.label, right.label) == pair]
            end = min(ends, key=lambda end: abs(end - expected), default=-width)
            if abs(end - expected) > reach:
                break
            expected, reach = 2 * end - track[-1], OFF
            track.append(end)
        found.append(_line(track))
    return found


def _line(track: Sequence[int]) -> Edge:
    """Lay a line through the last places of an edge, the newest first, as far as they are one."""
    for count in dict.fromkeys((len(track), *(n for n in _WINDOWS if n < len(track)))):
        steps = _STEPS[:count]
        places = np.array(track[:count], float)
        middle, mean = steps.mean(), places.mean()
        spread = ((steps - middle) ** 2).sum()
        slope = ((steps - middle) @ (places - mean)) / spread if count > 1 else 0.0
        offset = mean - slope * middle
        if np.abs(places - offset - slope * steps).max() <= STRAIGHT:
            return Edge(float(offset), float(slope))
    return Edge(float(track[0]), 0.0)


_WINDOWS = (24, 16, 12, 8, 6, 4, 3, 2)
_STEPS = -np.arange(HISTORY, dtype=float)


def further(rows: Sequence[Row], count: int, width: int) -> list[Row]:
    """Return the rows that are expected below others.

    Runs whose edges meet end there.

    Parameters
    ----------
    rows : sequence of Row
    count : int
        Rows that are wanted.
    width : int
    """
    if not rows or not rows[-1] or count <= 0:
        return []
    edges, labels = follow(rows), [run.label for run in rows[-1]]
    return [
        _row(labels, [*(edge.at(below) for edge in edges), width], width)
        for below in range(1, count + 1)
    ]


def changed(rows: Sequence[Row], width: int) -> Row:
    """Return the row that is expected below others, knowing that it is not as the last one.

    The edge that is nearest to a step takes it.
    """
    found = further(rows, 1, width)
    if not found or found[0] != rows[-1]:
        return found[0] if found else ()
    edges, last = follow(rows), rows[-1]
    if not edges:
        return ()
    ahead = [edge.offset + edge.slope - run.end for edge, run in zip(edges, last, strict=False)]
    first = max(range(len(ahead)), key=lambda k: abs(ahead[k]))
    ends = [run.end for run in last]
    ends[first] += 1 if ahead[first] > 0 else -1
    return _row([run.label for run in last], ends, width)


def _row(labels: Sequence[int], ends: Sequence[int], width: int) -> Row:
    """Return runs that end somewhere as a row; those without cells are left out."""
    row: list[Run] = []
    place = 0
    for label, end in zip(labels, ends, strict=True):
        stop = min(end, width)
        if stop <= place:
            continue
        if row and row[-1].label == label:
            row[-1] = Run(label, stop)
        else:
            row.append(Run(label, stop))
        place = stop
    return tuple(row)


def completed(begun: Row, above: Row, typed: Sequence[int], width: int) -> Row:
    """Go on with a row as another one does from there.

    Parameters
    ----------
    begun : Row
        Its runs that are whole.
    above : Row
        What was expected in its place.
    typed : sequence of int
        Class of the run that is being written, if one is.
    width : int

    Returns
    -------
    Row
        Empty if nothing can be expected.
    """
    row = list(begun)
    place = row[-1].end if row else 0
    if place >= width:
        return tuple(row) if place == width else ()
    ahead = [run for run in above if run.end > place]
    if row and ahead and ahead[0].label == row[-1].label:
        ahead = ahead[1:]  # this run ended before the one above it
    if typed:
        same = [k for k, run in enumerate(ahead) if run.label == typed[0]]
        end = ahead[same[0]].end if same else (ahead[0].end if ahead else width)
        ahead = [Run(typed[0], end), *(run for run in ahead if run.end > end)]
    for run in ahead:
        if row and row[-1].label == run.label:
            row[-1] = run
        else:
            row.append(run)
    if not row:
        return ()
    row[-1] = row[-1]._replace(end=width)
    return tuple(row)
