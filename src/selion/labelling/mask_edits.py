"""Edits of masks: what a person did, and what it makes of the pixels.

One line of JSON per edit, only ever appended; a mask is its start with all edits that were not
taken back, in order::

    {"id": "k3", "item": "5f...", "kind": "brush", "value": 1, "points": [[10.5, 20.0], [12, 21.5]],
     "width": 6.0, "person": "Ada", "time": "2026-06-01T09:30:12Z"}
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from scipy import ndimage

from selion.errors import BadInput, UnknownName

START, BRUSH, POLYGON, FILL, CLICK = "start", "brush", "polygon", "fill", "click"
UNDO, REDO, DONE, SKIP = "undo", "redo", "done", "skip"
DRAWING = (START, BRUSH, POLYGON, FILL, CLICK)
"""Edits that change pixels: from another start; along a line; inside an outline; the region of one
class around a point; the object at a point, as Segment Anything sees it."""
KINDS = (*DRAWING, UNDO, REDO, DONE, SKIP)
MOST_POINTS = 4000
"""Of a line or an outline."""
WIDEST = 2000.0
"""Pixels of the reach of a brush."""


@dataclass(frozen=True, slots=True)
class Edit:
    """One thing that a person did."""

    id: str
    """Made by the page: what is sent twice is done once."""
    item: str
    kind: str
    """One of :data:`KINDS`."""
    person: str
    time: str
    value: int = 0
    """Class id that pixels get; 255: not known."""
    points: tuple[tuple[float, float], ...] = ()
    """x and y in pixels of the image; the first pixel reaches from 0 to 1."""
    width: float = 0.0
    """How far the brush reaches to either side, in pixels."""
    start: str = ""
    """Name of the start."""
    runs: tuple[int, ...] = ()
    """Of a click: lengths of pixels outside and inside the object in turn, row by row."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UnknownName.among("edit", self.kind, KINDS)
        if not 0 <= self.value <= 255:
            raise BadInput(f"The class {self.value} was given; wanted is an id, or 255.")
        least = {BRUSH: 1, POLYGON: 3, FILL: 1, CLICK: 1}.get(self.kind, 0)
        if not least <= len(self.points) <= MOST_POINTS:
            raise BadInput(
                f"{len(self.points):,} points were given for {self.kind}; wanted are {least} to "
                f"{MOST_POINTS:,}."
            )
        numbers = [number for point in self.points for number in point]
        if not all(math.isfinite(number) and abs(number) < 1e6 for number in numbers):
            raise BadInput("A point is not a place in the image.")
        if self.kind == BRUSH and not 0 < self.width <= WIDEST:
            raise BadInput(
                f"A brush of {self.width:g} pixels was given; wanted is 0 to {WIDEST:g}."
            )

    def to_line(self) -> str:
        """Return the line of the log, without its end; what is empty is left out."""
        table = {name: getattr(self, name) for name in self.__slots__}
        kept = {name: value for name, value in table.items() if value not in ((), "")}
        return json.dumps(kept, ensure_ascii=False)


def read_edit(table: Mapping[str, Any]) -> Edit:
    """Read an edit from a table of JSON.

    Raises
    ------
    BadInput, UnknownName
        If it is none.
    """
    try:
        points = tuple((float(x), float(y)) for x, y in table.get("points", ()))
        return Edit(
            **{name: _text(table[name]) for name in ("id", "item", "kind", "person", "time")},
            value=_whole(table.get("value", 0)),
            points=points,
            width=float(table.get("width", 0.0)),
            start=_text(table.get("start", "")),
            runs=tuple(_whole(run) for run in table.get("runs", ())),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"This is no edit of a mask ({error}).") from error


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > 200:
        raise TypeError("a short text is wanted")
    return value


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError("a whole number is wanted")
    return value


@dataclass
class EditHistory:
    """What became of one mask."""

    done: list[Edit] = field(default_factory=list)
    """Drawing edits that count, in order."""
    undone: list[Edit] = field(default_factory=list)
    """Those that were taken back last, the latest last."""
    status: str = ""
    """``done``, ``skip`` or nothing yet."""
    word: Edit | None = None
    """The edit that said so last."""
    finished: tuple[Edit, ...] = ()
    """Drawing edits that counted when it was last said to be done."""

    def add(self, edit: Edit) -> None:
        """Take in the next edit."""
        if edit.kind == UNDO:
            self.undone += [self.done.pop()] if self.done else []
        elif edit.kind == REDO:
            self.done += [self.undone.pop()] if self.undone else []
        elif edit.kind in (DONE, SKIP):
            self.status, self.word = edit.kind, edit
            self.finished = tuple(self.done) if edit.kind == DONE else self.finished
        else:
            self.done.append(edit)
            self.undone.clear()
            self.status = "" if self.status == SKIP else self.status

    @property
    def version(self) -> str:
        """Name of the pixels: that of the last edit that counts."""
        return self.done[-1].id if self.done else "0"


def apply_edit(ids: np.ndarray, edit: Edit) -> np.ndarray:
    """Return (y, x) uint8 class ids after a drawing edit that is no start."""
    where = _reached(ids, edit)
    return np.where(where, np.uint8(edit.value), ids)


def _reached(ids: np.ndarray, edit: Edit) -> np.ndarray:
    """Return the (y, x) bool pixels that an edit changes."""
    if edit.kind == CLICK:
        return from_runs(edit.runs, (ids.shape[0], ids.shape[1]))
    if edit.kind == FILL:
        x, y = (math.floor(number) for number in edit.points[0])
        if not (0 <= y < ids.shape[0] and 0 <= x < ids.shape[1]):
            return np.zeros(ids.shape, bool)
        regions, _ = ndimage.label(ids == ids[y, x])
        found: np.ndarray = regions == regions[y, x]
        return found
    points, shape = np.asarray(edit.points), (ids.shape[0], ids.shape[1])
    if edit.kind == POLYGON:
        return _outlined(points, shape)
    return _stroked(points, edit.width, shape)


def _outlined(points: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return the pixels whose middles lie inside an outline of (n, 2) x and y (even-odd rule)."""
    found = np.zeros(shape, bool)
    left, top = np.clip(np.floor(points.min(0)).astype(int), 0, shape[::-1])
    right, bottom = np.clip(np.ceil(points.max(0)).astype(int), 0, shape[::-1])
    x, y = np.arange(left, right) + 0.5, (np.arange(top, bottom) + 0.5)[:, None]
    for begin, end in pairwise([*points, points[0]]):
        crossed = (begin[1] <= y) != (end[1] <= y)
        rise = end[1] - begin[1]
        at = begin[0] + (y - begin[1]) * (end[0] - begin[0]) / (rise or 1.0)
        found[top:bottom, left:right] ^= crossed & (x < at)
    return found


def _stroked(points: np.ndarray, reach: float, shape: tuple[int, int]) -> np.ndarray:
    """Return the pixels whose middles lie within reach of a line of (n, 2) x and y."""
    found = np.zeros(shape, bool)
    ends = list(pairwise(points)) or [(points[0], points[0])]
    for begin, end in ends:
        low = np.floor(np.minimum(begin, end) - reach).astype(int)
        high = np.ceil(np.maximum(begin, end) + reach).astype(int)
        left, top = np.clip(low, 0, shape[::-1])
        right, bottom = np.clip(high, 0, shape[::-1])
        if left >= right or top >= bottom:
            continue
        x = np.arange(left, right) + 0.5 - begin[0]
        y = (np.arange(top, bottom) + 0.5 - begin[1])[:, None]
        way = end - begin
        along = np.clip((x * way[0] + y * way[1]) / max(float(way @ way), 1e-9), 0, 1)
        near = (x - along * way[0]) ** 2 + (y - along * way[1]) ** 2 <= reach**2
        found[top:bottom, left:right] |= near
    return found


def to_runs(mask: np.ndarray) -> tuple[int, ...]:
    """Return lengths of pixels outside and inside in turn, row by row, the first may be 0."""
    flat = mask.ravel().astype(bool)
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *edges.tolist(), flat.size]).tolist()
    return (0, *runs) if flat.size and flat[0] else tuple(runs)


def from_runs(runs: Sequence[int], shape: tuple[int, int]) -> np.ndarray:
    """Inverse of :func:`to_runs`.

    Raises
    ------
    BadInput
        If they do not make such a mask.
    """
    if sum(runs) != shape[0] * shape[1] or min(runs, default=0) < 0:
        raise BadInput(f"The runs of an object do not make {shape[0]} x {shape[1]} pixels.")
    inside = np.arange(len(runs)) % 2 == 1
    return np.repeat(inside, runs).reshape(shape)
