"""What windows saw of objects, and which of these detections are of one object."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from selion.grid import Lattice, Roi, clip_roi, inside, overlap
from selion.prediction.windows import Position
from selion.store.cache import LruCache

CACHED_WINDOWS = 48
"""Windows that are cached in memory; others are read again."""


@dataclass(frozen=True, eq=False, slots=True)
class SeenWindow:
    """What one window saw, cut to the grid."""

    ids: np.ndarray
    """(y, x) int32: 1 .. n, all present; 0 is no object."""
    scores: np.ndarray
    """(n + 1,) float64 by id; NaN: not told."""
    kinds: np.ndarray
    """(n + 1,) int64 class by id."""
    any_valid: bool
    """Whether the window holds more than nodata."""


@dataclass
class Seen:
    """All windows of a lattice, read when they are wanted."""

    lattice: Lattice
    load: Callable[[Position], SeenWindow]
    cache: LruCache[Position, SeenWindow] = field(default_factory=lambda: LruCache(CACHED_WINDOWS))

    def __getitem__(self, position: Position) -> SeenWindow:
        return self.cache.get(position, lambda: self.load(position))

    def roi(self, position: Position) -> Roi:
        """Return where a window lies, cut to the grid."""
        return clip_roi(self.lattice.window_roi(*position), self.lattice.shape)

    def open_sides(self, position: Position) -> tuple[bool, bool, bool, bool]:
        """Say for each side of a window whether the image goes on beyond it.

        The sides are top, bottom, left and right.
        """
        rows, columns = self.roi(position)
        height, width = self.lattice.shape
        return rows.start > 0, rows.stop < height, columns.start > 0, columns.stop < width


@dataclass(frozen=True, slots=True)
class Detection:
    """One object as one window saw it."""

    position: Position
    local: int
    """Its id there."""
    box: Roi
    """Smallest region of the grid that holds it."""
    pixels: int
    whole: bool
    """Whether it touches no side of the window beyond which the image goes on."""
    score: float
    kind: int
    first: int
    """Row-major index in the grid of its first pixel."""


def list_detections(seen: Seen, position: Position, margin: int) -> list[Detection]:
    """List the objects of a window.

    Those within ``margin`` px of a side beyond which the image goes on count as cut.
    """
    window, roi = seen[position], seen.roi(position)
    ids, width = window.ids, seen.lattice.shape[1]
    strips = (
        ids[:margin],
        ids[ids.shape[0] - margin :],
        ids[:, :margin],
        ids[:, ids.shape[1] - margin :],
    )
    cut = {
        int(k)
        for strip, is_open in zip(strips, seen.open_sides(position), strict=True)
        if is_open
        for k in np.unique(strip)
    }
    pixels = np.bincount(ids.ravel(), minlength=len(window.scores))
    found = []
    for local, box in enumerate(ndimage.find_objects(ids), 1):
        rows, columns = (
            slice(int(side.start + shift.start), int(side.stop + shift.start))
            for side, shift in zip(box, roi, strict=True)
        )
        first = rows.start * width + roi[1].start + int(np.argmax(ids[box[0].start] == local))
        score, kind = float(window.scores[local]), int(window.kinds[local])
        found.append(
            Detection(
                position,
                local,
                (rows, columns),
                int(pixels[local]),
                local not in cut,
                score,
                kind,
                first,
            )
        )
    return found


def join(seen: Seen, detections: list[Detection], agreement: float) -> list[list[int]]:
    """Group detections of one object.

    Parameters
    ----------
    seen : Seen
    detections : list of Detection
        Of all windows, in the lattice's order.
    agreement : float
        Least intersection over union, not reached, where two windows both look.

    Returns
    -------
    list of list of int
        Places in ``detections``, ascending; a group has at most one detection of each window.

    Notes
    -----
    The best agreements are settled first; one that would bring two objects of one window together
    is refused.
    """
    starts: dict[Position, int] = {}
    for place, detection in enumerate(detections):
        starts.setdefault(detection.position, place)
    pairs = sorted(
        (-iou, starts[p] + a - 1, starts[q] + b - 1)
        for p, q in _neighbours(seen.lattice, starts)
        for iou, a, b in _agreements(seen, p, q, agreement)
    )
    parent = list(range(len(detections)))
    members: dict[int, list[int]] = {place: [place] for place in parent}
    for _, one, other in pairs:
        a, b = _root(parent, one), _root(parent, other)
        if a == b or detections[one].kind != detections[other].kind:
            continue
        if {detections[k].position for k in members[a]} & {
            detections[k].position for k in members[b]
        }:
            continue
        parent[max(a, b)] = min(a, b)
        members[min(a, b)] += members.pop(max(a, b))
    return [sorted(group) for _, group in sorted(members.items())]


def _root(parent: list[int], place: int) -> int:
    while parent[place] != place:
        parent[place] = parent[parent[place]]
        place = parent[place]
    return place


def _neighbours(lattice: Lattice, known: Iterable[Position]) -> Iterator[tuple[Position, Position]]:
    """Yield pairs of windows that share pixels and both saw something, each once."""
    positions = set(known)
    reach = [_reach(starts, lattice.window) for starts in lattice.starts]
    for row, column in sorted(positions):
        for below in range(row, reach[0][row]):
            for beside in range(
                _first(lattice.starts[1], column, lattice.window), reach[1][column]
            ):
                if (below, beside) > (row, column) and (below, beside) in positions:
                    yield (row, column), (below, beside)


def _reach(starts: tuple[int, ...], window: int) -> list[int]:
    """Return for each start the place after the last start within its window."""
    return [int(np.searchsorted(starts, start + window)) for start in starts]


def _first(starts: tuple[int, ...], place: int, window: int) -> int:
    """Return the first start whose window reaches beyond the start at ``place``."""
    return int(np.searchsorted(starts, starts[place] - window, side="right"))


def _agreements(
    seen: Seen, one: Position, other: Position, agreement: float
) -> list[tuple[float, int, int]]:
    """Return (IoU, id there, id here) of the objects of two windows that agree where both look."""
    shared = overlap(seen.roi(one), seen.roi(other))
    if shared is None:
        return []
    a = seen[one].ids[inside(shared, seen.roi(one))]
    b = seen[other].ids[inside(shared, seen.roi(other))]
    count = int(b.max(initial=0)) + 1
    common, pixels = np.unique(a.astype(np.int64) * count + b, return_counts=True)
    of_a, of_b = np.bincount(a.ravel()), np.bincount(b.ravel())
    i, j = common // count, common % count
    iou = pixels / (of_a[i] + of_b[j] - pixels)
    kept = (i > 0) & (j > 0) & (iou > agreement)
    return list(zip(iou[kept].tolist(), i[kept].tolist(), j[kept].tolist(), strict=True))


def edge_distance(seen: Seen, position: Position, part: Roi) -> np.ndarray:
    """Return (y, x) int32 of a part of the grid.

    How well a window sees it, as the distance to the window's nearest side beyond which the image
    goes on.
    """
    top, bottom, left, right = seen.open_sides(position)
    rows, columns = seen.roi(position)
    far = seen.lattice.window
    weight: np.ndarray = np.minimum(
        _slope(rows, part[0], top, bottom, far)[:, None],
        _slope(columns, part[1], left, right, far)[None],
    )
    return weight


def _slope(side: slice, part: slice, begins: bool, ends: bool, far: int) -> np.ndarray:
    place = np.arange(part.start, part.stop, dtype=np.int32)
    none = np.full(len(place), far, np.int32)
    return np.minimum(
        place - side.start + 1 if begins else none, side.stop - place if ends else none
    )
