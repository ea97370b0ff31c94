"""Straight lines and right angles for blocks: vineyards, orchards, fields along a grid of roads.

Lines between fields are fitted, not their outlines: a line belongs to both its sides, so they stay
one.  What cannot be straightened within the tolerance, or without crossing another line, stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from selion.fields.line_check import LineCheck, Moved, drawn_again, places_of
from selion.fields.line_graph import LineGraph, find_arcs, lattice_codes
from selion.fields.line_sides import Sides, directed_lines, find_sides
from selion.fields.polygonise import Rings
from selion.grid import metres_per_unit

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

HOLD = 0.01
"""Weight of where a point was, beside that of one line."""
NEARER = 0.95
"""Share of the tolerance that a corner may go, for its lines go a little further."""
LEVELS = (1.0, 0.6, 0.3)
"""How much of its way a corner goes: all, less where that was too much, then nothing moves."""
FROZEN = len(LEVELS)
NEAR_NODES = 3.0
"""Pixels between two nodes that may be one crossing of lines: they keep half of their distance."""


def regularise(raw: Rings, simple: Rings, metric: np.ndarray, tolerance: float) -> Rings:
    """Straighten the lines of a coverage.

    Parameters
    ----------
    raw, simple : Rings
        The same objects with all corners of their pixels and all nodes, and simplified.
    metric : (2, 2) float64 ndarray
        A step on the lattice (x, y) in pixels on the ground.
    tolerance : float
        Pixels on the ground by which a line may move.

    Returns
    -------
    Rings
        Those of ``raw`` with the points that stay, float64 coordinates on the lattice.

    Notes
    -----
    Corners by Douglas and Peucker (1973); each side between two corners gets the line of least
    squares through the middles of its pixels' edges, which for the stairs of a straight edge is not
    biased.  Sides of a field whose directions agree modulo a right angle are turned to the mean of
    these.  A corner goes where its lines meet.  Then lines that moved too far, meet another or
    leave a ring without area are put back, until none does.
    """
    if not len(raw.ids):
        return simple
    width = int(raw.points[:, 0].max()) + 2
    graph = find_arcs(raw, width)
    kept = np.isin(graph.codes, lattice_codes(_used(simple), width)) | graph.nodes
    places = graph.places @ metric.T
    sides = find_sides(graph, places, tolerance)
    lines = directed_lines(graph, sides, places, tolerance)
    arc_of = np.repeat(np.arange(len(graph.offsets) - 1), np.diff(graph.offsets))
    check = LineCheck(raw, graph, kept, places, metric, tolerance, arc_of)
    level = np.zeros(len(graph.offsets) - 1, np.int64)
    asked = np.ones(len(level), bool)
    while True:
        moved = _moved(graph, sides, lines, places, kept, level, tolerance)
        if (collapsed := check.collapsed(moved)).any():
            level[collapsed] = FROZEN
            continue
        wrong = check.wrong_arcs(moved, asked)
        # what cannot go back itself is moved by its neighbours
        wrong |= check.beside(wrong & (level == FROZEN))
        wrong &= level < FROZEN
        if not wrong.any():
            break
        level[wrong] += 1
        asked = check.beside(wrong)
    return drawn_again(raw, graph, moved, metric)


def ground_steps(grid: GeoBox) -> np.ndarray:
    """Return (2, 2) a step on the lattice (x, y) of a grid in its pixels on the ground.

    It is that in the grid's middle; without a CRS a pixel is a pixel.
    """
    if grid.crs is None:
        return np.eye(2)
    a, e = grid.transform.a, grid.transform.e
    height, width = grid.shape
    x, y = grid.transform * (width / 2, height / 2)
    turn = metres_per_unit(grid.crs.to_wkt(), np.array([x]), np.array([y]))[0]
    steps = turn @ np.diag([a, e])
    return np.asarray(steps / np.sqrt(abs(np.linalg.det(steps))))


def _used(rings: Rings) -> np.ndarray:
    """Return (n, 2) the points that rings use."""
    return np.asarray(rings.points[places_of(rings)])


def _moved(
    graph: LineGraph,
    sides: Sides,
    lines: tuple[np.ndarray, np.ndarray, np.ndarray],
    places: np.ndarray,
    kept: np.ndarray,
    level: np.ndarray,
    tolerance: float,
) -> Moved:
    """Put corners where the lines of their sides meet, or on the way there as arcs allow."""
    line, angle, middle = lines
    used = np.flatnonzero(sides.straight & (level[sides.arc] < FROZEN))
    normal = np.stack([-np.sin(angle[used]), np.cos(angle[used])], axis=1)
    distance = np.einsum("ni,ni->n", normal, middle[used])
    matrix = np.zeros((len(places), 2, 2))
    vector = np.zeros((len(places), 2))
    corner = np.zeros(len(places), bool)
    for end in (0, 1):
        point = graph.points[sides.ends[used, end]]
        np.add.at(matrix, point, normal[:, :, None] * normal[:, None, :])
        np.add.at(vector, point, normal * distance[:, None])
        corner[point] = True
    at = np.flatnonzero(corner)
    solved = np.linalg.solve(
        matrix[at] + HOLD * np.eye(2), (vector[at] + HOLD * places[at])[:, :, None]
    )[:, :, 0]
    out = places.copy()
    out[at] = solved
    _kept_apart(graph, out, places, corner)
    share = np.ones(len(places))
    arc_of = np.repeat(np.arange(len(level)), np.diff(graph.offsets))
    np.minimum.at(share, graph.points, np.array([*LEVELS, 1.0])[level[arc_of]])
    step = (out - places)[at]
    size = np.hypot(*step.T)
    share = np.minimum(share[at], NEARER * tolerance / np.maximum(size, 1e-9))
    out[at] = places[at] + step * share[:, None]
    stays = kept[graph.points].copy()
    inner = np.zeros(len(stays) + 1, np.int64)
    np.add.at(inner, sides.ends[used, 0] + 1, 1)
    np.add.at(inner, sides.ends[used, 1], -1)
    stays[np.cumsum(inner)[:-1] > 0] = False
    stays[sides.ends[used].ravel()] = True
    stays[_passed(sides.ends[used], line[used])] = False
    return Moved(stays, out, corner)


def _kept_apart(graph: LineGraph, out: np.ndarray, places: np.ndarray, corner: np.ndarray) -> None:
    """Keep two near nodes apart that would fall together: two lines that cross make two of them."""
    one, other = graph.points[graph.offsets[:-1]], graph.points[graph.offsets[1:] - 1]
    offset = places[one] - places[other]
    short = (one != other) & (np.hypot(*offset.T) <= NEAR_NODES) & corner[one] & corner[other]
    one, other, offset = one[short], other[short], offset[short]
    middle = (out[one] + out[other]) / 2
    out[one], out[other] = middle + offset / 4, middle - offset / 4


def _passed(ends: np.ndarray, line: np.ndarray) -> np.ndarray:
    """Return the points, in the middle of an arc, at which one line goes on."""
    order = np.argsort(ends[:, 0], kind="stable")
    ends, line = ends[order], line[order]
    same = (ends[:-1, 1] == ends[1:, 0]) & (line[:-1] == line[1:])
    return np.asarray(ends[:-1, 1][same])
