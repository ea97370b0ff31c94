"""What lines must hold after points were moved, and the rings that they then make."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from selion.fields.line_graph import LineGraph, lattice_codes
from selion.fields.polygonise import Rings

AGREE = 0.9
"""Intersection over union of a field with what it was: small ones, a tenth of which is a pixel or
two, keep their shape."""
FINE = 1024
"""Steps of a pixel in which moved points are given, so that they do not depend on the machine."""
CLEAR = 1e-3
"""Pixels that lines keep from each other, so that they do not cross in another projection."""


def places_of(rings: Rings) -> np.ndarray:
    """Return where the points of all rings are, ring after ring."""
    shift = rings.starts - np.cumsum(rings.lengths) + rings.lengths
    return np.asarray(np.repeat(shift, rings.lengths) + np.arange(rings.lengths.sum()))


@dataclass(frozen=True, eq=False)
class Moved:
    """Which points stay, and where they go."""

    stays: np.ndarray
    """(n,) bool of the arcs' points."""
    places: np.ndarray
    """(k, 2) float64 of the lattice points, on the ground."""
    changed: np.ndarray
    """(k,) bool."""


@dataclass(frozen=True, eq=False)
class LineCheck:
    """What lines must hold: near to what they were, clear of each other, around sound fields."""

    raw: Rings
    graph: LineGraph
    kept: np.ndarray
    """(k,) bool of the lattice points: those of the simplified lines."""
    places: np.ndarray
    """(k, 2) float64 of the lattice points."""
    metric: np.ndarray
    tolerance: float
    arc_of: np.ndarray
    """(n,) int64 of the arcs' points."""

    def wrong_arcs(self, moved: Moved, asked: np.ndarray) -> np.ndarray:
        """Tell which arcs, of those that are asked for, must go less far."""
        wrong = self._too_far(moved, asked)
        wrong[self._meeting(moved, asked)] = True
        return np.asarray(wrong | self._unsound(moved, asked))

    @cached_property
    def _polygons(self) -> np.ndarray:
        """(p,) the simplified polygons."""
        still = Moved(self.kept[self.graph.points], self.places, np.zeros(len(self.places), bool))
        return np.asarray(drawn_again(self.raw, self.graph, still, self.metric).polygons())

    @cached_property
    def _simplified(self) -> np.ndarray:
        """(arcs,) the simplified lines."""
        import shapely

        old = self._with_ends(self.kept[self.graph.points])
        lines: np.ndarray = shapely.linestrings(
            self.places[self.graph.points[old]], indices=self.arc_of[old]
        )
        return lines

    def _with_ends(self, stays: np.ndarray) -> np.ndarray:
        out = stays.copy()
        out[self.graph.offsets[:-1]] = out[self.graph.offsets[1:] - 1] = True
        return out

    def _too_far(self, moved: Moved, asked: np.ndarray) -> np.ndarray:
        """Tell which arcs are further than the tolerance (Hausdorff) from what they were.

        That is the simplified line or the outline of the pixels, whichever is nearer:
        simplification cuts corners off, and pixels have stairs.
        """
        import shapely

        old = self._with_ends(self.kept[self.graph.points])
        new = self._with_ends(moved.stays)
        change = (moved.changed[self.graph.points] & new) | (old & ~new)
        far = asked & np.logical_or.reduceat(change, self.graph.offsets[:-1])
        at = np.flatnonzero(far)
        if not len(at):
            return far
        after = shapely.linestrings(moved.places[self.graph.points[new]], indices=self.arc_of[new])
        reach = shapely.hausdorff_distance(self._simplified[at], after[at], densify=0.25)
        far[at] = reach > self.tolerance
        for k in np.flatnonzero(far):
            here = slice(self.graph.offsets[k], self.graph.offsets[k + 1])
            pixels = shapely.linestrings(self.places[self.graph.points[here]])
            far[k] = shapely.hausdorff_distance(pixels, after[k], densify=0.25) > self.tolerance
        return far

    def _meeting(self, moved: Moved, asked: np.ndarray) -> np.ndarray:
        """Return arcs of which a segment meets another one elsewhere than in a common end."""
        import shapely

        one, other, arc = self._segments(moved)
        lines = shapely.linestrings(np.stack([moved.places[one], moved.places[other]], axis=1))
        active = np.zeros(len(asked), bool)
        np.logical_or.at(active, arc, moved.changed[one] | moved.changed[other])
        those = np.flatnonzero((active & asked)[arc])
        a, b = shapely.STRtree(lines).query(lines[those], predicate="dwithin", distance=CLEAR)
        a = those[a]
        a, b = a[a != b], b[a != b]
        shared = (one[a] == one[b]).astype(int) + (one[a] == other[b])
        shared += (other[a] == one[b]).astype(int) + (other[a] == other[b])
        bad = shared != 1
        touching = ~bad
        bad[touching] = _folded(one, other, moved.places, a[touching], b[touching])
        return np.unique(np.concatenate([arc[a[bad]], arc[b[bad]]]))

    def _segments(self, moved: Moved) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return both ends of all segments, and their arcs.

        An arc that goes round may have lost its first point, which is also its last.
        """
        points, arc_of = self.graph.points, self.arc_of
        stay = np.flatnonzero(moved.stays)
        inside = arc_of[stay[:-1]] == arc_of[stay[1:]]
        first = np.flatnonzero(np.diff(arc_of[stay], prepend=-1))
        last = np.append(first[1:], len(stay)) - 1
        first, last = stay[first], stay[last]
        begin, end = self.graph.offsets[:-1], self.graph.offsets[1:] - 1
        goes_round = points[begin] == points[end]
        open_ = goes_round[arc_of[first]] & (points[first] != points[last])
        return (
            np.concatenate([points[stay[:-1][inside]], points[last[open_]]]),
            np.concatenate([points[stay[1:][inside]], points[first[open_]]]),
            np.concatenate([arc_of[stay[:-1][inside]], arc_of[first[open_]]]),
        )

    def beside(self, arcs: np.ndarray) -> np.ndarray:
        """Tell which arcs have a point in common with some, and these."""
        near = np.zeros(len(self.graph.codes), bool)
        near[self.graph.points[arcs[self.arc_of]]] = True
        return np.asarray(np.logical_or.reduceat(near[self.graph.points], self.graph.offsets[:-1]))

    def collapsed(self, moved: Moved) -> np.ndarray:
        """Tell which arcs belong to rings that would have no area."""
        rings = drawn_again(self.raw, self.graph, moved, self.metric)
        ring_of = np.repeat(np.arange(len(self.raw.ids)), np.diff(self.raw.exteriors))
        bad = np.zeros(len(self.raw.ids), bool)
        bad[ring_of[rings.lengths < 3]] = True
        return self._around(bad)

    def _unsound(self, moved: Moved, asked: np.ndarray) -> np.ndarray:
        """Tell which arcs belong to polygons that are not valid, or no longer what they were."""
        import shapely

        rings = drawn_again(self.raw, self.graph, moved, self.metric)
        arc, polygon = self.graph.owners.T
        at = np.unique(polygon[asked[arc]])
        new, old = rings.polygons()[at], self._polygons[at]
        change = ~shapely.equals_exact(new, old)
        at, new, old = at[change], new[change], old[change]
        valid = shapely.is_valid(new)
        shared = np.zeros(len(at))
        shared[valid] = shapely.area(shapely.intersection(new[valid], old[valid]))
        bad = np.zeros(len(self.raw.ids), bool)
        bad[at] = shared < AGREE * (shapely.area(new) + shapely.area(old) - shared)
        return self._around(bad)

    def _around(self, bad: np.ndarray) -> np.ndarray:
        """Tell which arcs belong to (p,) polygons."""
        wrong = np.zeros(len(self.graph.offsets) - 1, bool)
        arc, polygon = self.graph.owners.T
        wrong[arc[bad[polygon]]] = True
        return wrong


def _folded(
    one: np.ndarray, other: np.ndarray, places: np.ndarray, a: np.ndarray, b: np.ndarray
) -> np.ndarray:
    """Tell which pairs of segments with one common end lie on each other beyond it."""
    joint = np.where((one[a] == one[b]) | (one[a] == other[b]), one[a], other[a])
    first = places[np.where(one[a] == joint, other[a], one[a])] - places[joint]
    second = places[np.where(one[b] == joint, other[b], one[b])] - places[joint]
    size = np.minimum(np.hypot(*first.T), np.hypot(*second.T))
    cross = np.abs(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0])
    ahead = np.einsum("ni,ni->n", first, second) > 0
    flat = cross * size <= CLEAR * np.hypot(*first.T) * np.hypot(*second.T)
    return np.asarray((ahead & flat) | (size == 0))


def drawn_again(raw: Rings, graph: LineGraph, moved: Moved, metric: np.ndarray) -> Rings:
    """Return the rings with the points that stay, where they are now."""
    index = places_of(raw)
    code = np.searchsorted(graph.codes, lattice_codes(raw.points[index], graph.width))
    stays = np.zeros(len(graph.codes), bool)
    stays[graph.points[moved.stays]] = True
    lattice = graph.places
    back = moved.places @ np.linalg.inv(metric).T
    lattice[moved.changed] = np.round(back[moved.changed] * FINE) / FINE
    keep = stays[code]
    ring = np.repeat(np.arange(len(raw.lengths)), raw.lengths)
    lengths = np.bincount(ring[keep], minlength=len(raw.lengths))
    starts = np.cumsum(lengths) - lengths
    return Rings(lattice[code[keep]], starts, lengths, raw.exteriors, raw.ids)
