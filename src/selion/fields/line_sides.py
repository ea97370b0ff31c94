"""Sides: stretches of lines between corners, which of them are straight, and along which lines.

Sides of a field whose directions agree modulo a right angle get one direction, and sides that go on
as one get one line.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from selion.fields.line_graph import LineGraph, find_corners, measure_sides

TRIM = 2
"""Pixels at each end of a side that say nothing about where its line runs."""
LONG = 4.0
"""Tolerances that a side must be long to count as straight."""
BOWED = 2 / 3
"""Share of the tolerance by which a straight side may be bowed."""
STAIRS = 0.7
"""Pixels by which the corners of pixels lie beside a straight edge."""
ROUGH = 0.5
"""Share of the tolerance that its points may be off in the mean."""
GEOMETRIC = 0.7
"""Share of a field's outline that must be straight: others are left as they are."""
FEW = 6
"""Straight sides of a field without right angles: with more it is round."""
SQUARE = 0.85
"""How well the sides of a field with right angles agree on its direction, 0 to 1."""
TURN = np.radians(10.0)
"""A side that is this near to a field's direction is meant to have it."""
ALIKE = np.radians(3.0)
"""Neighbours whose directions differ by less have one."""
AHEAD = np.radians(8.0)
"""Two sides that meet and turn by less may be one line."""


@dataclass(frozen=True, eq=False)
class Sides:
    """Stretches of arcs between corners."""

    arc: np.ndarray
    """(s,) int64."""
    ends: np.ndarray
    """(s, 2) int64 first and last point, places among the points of the graph's arcs."""
    sums: np.ndarray
    """(s, 6) float64, as :func:`selion.fields.line_graph.measure_sides` gives them."""
    length: np.ndarray
    """(s,) float64."""
    straight: np.ndarray
    """(s,) bool."""


def find_sides(graph: LineGraph, places: np.ndarray, tolerance: float) -> Sides:
    """Cut arcs at their corners and tell which pieces are straight sides of a geometric field."""
    on_arcs = places[graph.points]
    marks = find_corners(on_arcs, graph.offsets, tolerance + STAIRS)
    arc_of = np.repeat(np.arange(len(graph.offsets) - 1), np.diff(graph.offsets))
    ends = _without_short_ones(_between(np.flatnonzero(marks), arc_of), arc_of, on_arcs, tolerance)
    sums, shape = measure_sides(graph.places[graph.points], on_arcs, ends[:, 0], ends[:, 1], TRIM)
    straight = (
        (shape[:, 0] >= LONG * tolerance)
        & (shape[:, 1] <= ROUGH * tolerance)
        & (shape[:, 2] <= BOWED * tolerance)
    )
    sides = Sides(arc_of[ends[:, 0]], ends, sums, shape[:, 0], straight)
    side, polygon = _by_polygon(graph, sides)
    count = int(graph.owners[:, 1].max()) + 1
    whole = np.bincount(polygon, sides.length[side], count)
    good = np.bincount(polygon, sides.length[side] * straight[side], count)
    angle, _, _ = _fitted(sums)
    turned = sides.length[side] * straight[side] * np.exp(4j * angle[side])
    square = np.hypot(
        np.bincount(polygon, turned.real, count), np.bincount(polygon, turned.imag, count)
    )
    few = np.bincount(polygon, straight[side], count) <= FEW
    geometric = (good >= GEOMETRIC * whole) & ((square >= SQUARE * good) | few)
    chosen = np.zeros(len(straight), bool)
    np.logical_or.at(chosen, side, geometric[polygon])
    return Sides(sides.arc, ends, sums, shape[:, 0], straight & chosen)


def _between(at: np.ndarray, arc_of: np.ndarray) -> np.ndarray:
    """Return (s, 2) the pairs of neighbouring marks on one arc."""
    inside = arc_of[at[:-1]] == arc_of[at[1:]]
    return np.stack([at[:-1][inside], at[1:][inside]], axis=1)


def _without_short_ones(
    ends: np.ndarray, arc_of: np.ndarray, on_arcs: np.ndarray, tolerance: float
) -> np.ndarray:
    """Give short sides between long ones to these: a corner that is cut off, or a nick.

    Whether the corner may go where the long sides meet is seen when it is there.
    """
    long = np.hypot(*(on_arcs[ends[:, 1]] - on_arcs[ends[:, 0]]).T) >= LONG * tolerance
    arc = arc_of[ends[:, 0]]
    after = np.append((arc[1:] == arc[:-1]), False)
    before = np.insert((arc[1:] == arc[:-1]), 0, False)
    next_long, last_long = (
        after & np.append(long[1:], False),
        before & np.insert(long[:-1], 0, False),
    )
    middle = ~long & next_long & last_long
    first, last = ~long & ~before & next_long, ~long & ~after & last_long
    gone = np.concatenate([ends[middle].ravel(), ends[first, 1], ends[last, 0]])
    marks = np.zeros(len(on_arcs), bool)
    marks[ends.ravel()] = True
    marks[gone] = False
    marks[ends[middle].sum(axis=1) // 2] = True
    return _between(np.flatnonzero(marks), arc_of)


def _by_polygon(graph: LineGraph, sides: Sides) -> tuple[np.ndarray, np.ndarray]:
    """Return pairs of a side and a polygon that it belongs to."""
    by_arc = np.argsort(graph.owners[:, 0], kind="stable")
    arcs, polygons = graph.owners[by_arc].T
    low, high = np.searchsorted(arcs, sides.arc), np.searchsorted(arcs, sides.arc, side="right")
    side = np.repeat(np.arange(len(sides.arc)), high - low)
    place = np.repeat(low - np.cumsum(high - low) + (high - low), high - low)
    return side, polygons[place + np.arange(len(side))]


def _fitted(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return angle, (n, 2) middle and mean square distance of the lines of least squares."""
    weight = sums[:, 0]
    middle = sums[:, 1:3] / weight[:, None]
    xx = sums[:, 3] / weight - middle[:, 0] ** 2
    xy = sums[:, 4] / weight - middle[:, 0] * middle[:, 1]
    yy = sums[:, 5] / weight - middle[:, 1] ** 2
    angle = 0.5 * np.arctan2(2 * xy, xx - yy)
    least = (xx + yy) / 2 - np.hypot((xx - yy) / 2, xy)
    return angle, middle, np.maximum(least, 0)


def _apart(one: np.ndarray, other: np.ndarray, period: float) -> np.ndarray:
    """Return how far angles differ, modulo a period: from -period / 2 to period / 2."""
    return np.asarray((one - other + period / 2) % period - period / 2)


def directed_lines(
    graph: LineGraph, sides: Sides, places: np.ndarray, tolerance: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return number, angle and middle of each side's line; sides may be one line."""
    line = _joined_lines(graph, sides, places, tolerance)
    sums = np.zeros((len(line), 6))
    used = sides.straight
    np.add.at(sums, line[used], sides.sums[used])
    sums[sums[:, 0] == 0] = (1, 0, 0, 1, 0, 1)
    angle, middle, _ = _fitted(sums)
    wanted, weight = _field_directions(graph, sides, angle[line])
    side, polygon = _by_polygon(graph, sides)
    turn = _apart(wanted[polygon], angle[line[side]], np.pi / 2)
    counts = used[side] & (weight[polygon] > 0) & (np.abs(turn) <= TURN)
    share = sides.length[side] * counts
    total = np.bincount(line[side], share, len(line))
    mean = np.bincount(line[side], share * turn, len(line)) / np.where(total > 0, total, 1)
    reach = np.zeros(len(line))
    along = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    for end in (0, 1):
        away = places[graph.points[sides.ends[:, end]]] - middle[line]
        np.maximum.at(reach, line[used], np.abs(np.einsum("ni,ni->n", away, along[line]))[used])
    fits = reach * np.abs(np.sin(mean)) <= ROUGH * tolerance
    angle = angle + np.where(fits, mean, 0)
    return line, angle[line], middle[line]


def _field_directions(
    graph: LineGraph, sides: Sides, angle: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the direction of each polygon with right angles, modulo one, and its weight.

    Neighbours along a straight side whose directions are alike have their mean.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    side, polygon = _by_polygon(graph, sides)
    used = sides.straight[side]
    side, polygon = side[used], polygon[used]
    count = int(graph.owners[:, 1].max()) + 1
    turned = sides.length[side] * np.exp(4j * angle[side])
    total = np.bincount(polygon, sides.length[side], count)
    found = np.bincount(polygon, turned.real, count) + 1j * np.bincount(polygon, turned.imag, count)
    square = (total > 0) & (np.abs(found) >= SQUARE * total)
    own = np.angle(found) / 4
    order = np.lexsort((polygon, side))
    side, polygon = side[order], polygon[order]
    pair = np.flatnonzero(side[1:] == side[:-1])
    a, b = polygon[pair], polygon[pair + 1]
    alike = square[a] & square[b] & (np.abs(_apart(own[a], own[b], np.pi / 2)) <= ALIKE)
    links = coo_array((np.ones(alike.sum(), np.int8), (a[alike], b[alike])), shape=(count, count))
    _, group = connected_components(links, directed=False)
    found = np.where(square, found, 0)
    together = np.bincount(group, found.real) + 1j * np.bincount(group, found.imag)
    shared = np.angle(together)[group] / 4
    near = np.abs(_apart(shared, own, np.pi / 2)) <= ALIKE
    return np.where(near, shared, own), np.where(square, total, 0)


def _joined_lines(
    graph: LineGraph, sides: Sides, places: np.ndarray, tolerance: float
) -> np.ndarray:
    """Return the line of each side: sides that go on as one have one where that fits."""
    line = np.arange(len(sides.arc))
    sums = sides.sums.copy()
    angle, middle, _ = _fitted(np.where(sides.straight[:, None], sums, (1, 0, 0, 1, 0, 1)))
    members: dict[int, list[int]] = {}
    for one, other in _continuations(graph, sides, angle, places):
        a, b = int(line[one]), int(line[other])
        if a == b:
            continue
        a, b = min(a, b), max(a, b)
        both = sums[a] + sums[b]
        joint, centre, least = (value[0] for value in _fitted(both[None]))
        all_of = members.get(a, [a]) + members.get(b, [b])
        normal = np.array([-np.sin(joint), np.cos(joint)])
        off = np.abs((middle[all_of] - centre) @ normal).max()
        if least <= (ROUGH * tolerance) ** 2 and off <= BOWED * tolerance:
            sums[a] = both
            members[a] = all_of
            members.pop(b, None)
            line[all_of] = a
    return line


def _continuations(
    graph: LineGraph, sides: Sides, angle: np.ndarray, places: np.ndarray
) -> list[tuple[int, int]]:
    """Return pairs of straight sides that meet and go on as one, the straightest first."""
    used = np.flatnonzero(sides.straight)
    node = graph.points[sides.ends[used]].ravel()
    far = graph.points[sides.ends[used][:, ::-1]].ravel()
    who = np.repeat(used, 2)
    away = places[far] - places[node]
    along = np.stack([np.cos(angle[who]), np.sin(angle[who])], axis=1)
    along *= np.sign(np.einsum("ni,ni->n", away, along))[:, None]
    order = np.lexsort((who, node))
    node, who, along = node[order], who[order], along[order]
    found: list[tuple[float, int, int]] = []
    for step in (1, 2, 3):
        at = np.flatnonzero(node[step:] == node[:-step])
        turn = np.pi - np.arccos(np.clip(np.einsum("ni,ni->n", along[at], along[at + step]), -1, 1))
        near = (turn <= AHEAD) & (who[at] != who[at + step])
        found += zip(
            turn[near].round(9).tolist(),
            who[at][near].tolist(),
            who[at + step][near].tolist(),
            strict=True,
        )
    return [(one, other) for _, one, other in sorted(found)]
