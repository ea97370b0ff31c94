"""What a node of the hierarchy is like: the features that its score is learnt from.

All of them come from whole numbers that were summed over the node's pixels and along its borders,
so they do not depend on blocks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from selion.fields import hierarchy
from selion.fields.basins import find_row, more_rows, name_pass
from selion.fields.seams import (
    AREA,
    BINS,
    CORE,
    FIELD,
    KIND,
    LENGTH,
    LINE,
    PIXELS,
    RIM,
    STRENGTH,
    STUFF,
    XX,
    XY,
    YY,
    Basins,
    X,
    Y,
)

FULL = 65535.0
STEP = 1 << 15
"""Nodes whose features are in memory at a time, for each thread."""

OWN = (
    *("log_area", "log_pixels", "core", "rim", "elongation", "fill", "log_minor"),
    *("field", "field_sd", "boundary", "boundary_sd", "background", "background_sd"),
    *("compactness", "log_width", "strength", "beside"),
    *(f"weaker_{k}" for k in range(1, BINS)),
    *("inner_strength", "inner_length", "inner_top", "formed"),
    *(f"inner_weaker_{k}" for k in range(1, BINS)),
    *("swallowed", "persistence", "shared", "share_of_parent", "share_of_grandparent"),
    *("boundary_beside", "boundary_along", "background_beside"),
    *("log_leaves", "largest_leaf", "torn", "torn_hard"),
)
_SHAPE = ("field", "compactness", "fill", "strength")
_USUAL = ("log_area", "background", "core", "elongation", *_SHAPE)
OTHERS = {
    "sibling": (*_USUAL, "formed", "inner_top", "log_width"),
    "parent": (*_USUAL, "swallowed", "persistence", "inner_top"),
    "larger": _USUAL,
    "smaller": _USUAL,
    "grandparent": (*_SHAPE, "swallowed", "formed", "persistence"),
}
"""What is told of a node's neighbours in the tree: its sibling, its parent and that one's, and its
two parts."""
FEATURES = (*OWN, *(f"{who}_{name}" for who, names in OTHERS.items() for name in names))
"""Names of the features: a node's own, and some of its neighbours' in the tree."""


# Compiled: thirteen sums in one pass over the pixels, those of a run in one row at a time.
@njit(cache=True, nogil=True)
def sum_pixels(labels, count, kind, planes, top, left, shape):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Sum up over each basin what its features are made of.

    Parameters
    ----------
    labels : (y, x) int32 ndarray
        1 .. count.
    kind : (y, x) uint8 ndarray
        1 where the thing is likelier than not.
    planes : (3, y, x) uint16 ndarray
        Thing, boundary, background.
    top, left : int
        Where the block lies in the raster.
    shape : (int, int)
        The raster's size (y, x).

    Returns
    -------
    (count, 13) int64 ndarray
        Columns CORE to STUFF2.
    """
    height, width = labels.shape
    out = np.zeros((count, 13), np.int64)
    sums = np.zeros(6, np.int64)
    for i in range(height):
        y, j = np.int64(top + i), 0
        edge = y == 0 or y == shape[0] - 1
        while j < width:
            here, began, core, rim = labels[i, j], j, np.int64(0), np.int64(0)
            across, square = np.int64(0), np.int64(0)
            for k in range(6):
                sums[k] = 0
            while j < width and labels[i, j] == here:
                x = np.int64(left + j)
                core += kind[i, j] == 1
                rim += edge or x == 0 or x == shape[1] - 1
                across += x
                square += x * x
                for k in range(3):
                    value = np.int64(planes[k, i, j])
                    sums[2 * k] += value
                    sums[2 * k + 1] += (value * value) >> 16
                j += 1
            row, length = out[here - 1], np.int64(j - began)
            row[0] += core
            row[1] += rim
            row[2] += y * length
            row[3] += across
            row[4] += y * y * length
            row[5] += square
            row[6] += y * across
            for k in range(6):
                row[7 + k] += sums[k]
    return out


# Compiled: a hash table finds the row of a pair, as in selion.fields.basins.add_up; the list of all
# pairs of pixels would be the largest table that there is.
@njit(cache=True, nogil=True)
def sum_borders(labels, kind, relief, line, strength, stuff, top, left, across):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Sum up what lies between each two basins that touch.

    Parameters
    ----------
    labels, kind, relief, line : (y, x) ndarrays
        As for :func:`selion.fields.basins.passes`.
    strength, stuff : (y, x) uint16 ndarray
        Strength of a border and background; of each pair of pixels the larger counts.
    top, left : int
        Where the block lies in the raster.
    across : int
        Width of the raster.

    Returns
    -------
    (n, 7 + BINS) int64 ndarray
        Columns ONE to HISTOGRAM and further, basins from 0, in the order in which they were met.
    """
    height, width = labels.shape
    places = 1 << 12
    place, used, last = np.full(places, -1), 0, 0
    out = np.zeros((places // 2 + 1, 7 + BINS), np.int64)
    for i in range(height):
        for j in range(width):
            for down in range(2):
                y, x = i + down, j + 1 - down
                if y >= height or x >= width or labels[i, j] == labels[y, x]:
                    continue
                upper = line[i, j] if relief[i, j] >= relief[y, x] else line[y, x]
                rise = np.int64(max(relief[i, j], relief[y, x]))
                if kind[i, j] != kind[y, x]:
                    rise, upper = np.int64(65535), True
                way = name_pass(rise, (np.int64(top) + i) * across + left + j, down)
                one = np.int64(min(labels[i, j], labels[y, x]) - 1)
                other = np.int64(max(labels[i, j], labels[y, x]) - 1)
                # most often it is the pair that was met last
                if one != out[last, 0] or other != out[last, 1] or used == 0:
                    at = find_row(place, out, one, other)
                    if place[at] < 0:
                        place[at] = used
                        out[used, 0], out[used, 1], out[used, 2] = one, other, way
                        used += 1
                    last = place[at]
                row = out[last]
                row[2] = min(row[2], way)
                row[3] += 1
                row[4] += upper
                strong = np.int64(max(strength[i, j], strength[y, x]))
                row[5] += strong
                row[6] += max(stuff[i, j], stuff[y, x])
                row[7 + ((strong * BINS) >> 16)] += 1
                if 2 * used > place.size:
                    out, place = more_rows(out, 2 * out.shape[0]), np.full(2 * place.size, -1)
                    for k in range(used):
                        place[find_row(place, out, out[k, 0], out[k, 1])] = k
    return out[:used].copy()


@dataclass(frozen=True, eq=False)
class Tree:
    """A hierarchy of basins with what its nodes are made of."""

    children: np.ndarray
    """(j, 2) int64, see :func:`selion.fields.hierarchy.agglomerate`."""
    between: np.ndarray
    """(j, c) int64."""
    rows: np.ndarray
    """(n, 20) int64 sums of every node; those that are not sums (class, lowest height, first pixel)
    mean nothing."""
    outer: np.ndarray
    inner: np.ndarray
    """(n, c) int64 sums of the borders around and inside."""
    top: np.ndarray
    """(n,) float64 strongest border inside, times FULL."""
    unit: float
    """m2 per unit of area."""

    @property
    def count(self) -> int:
        """Nodes."""
        return len(self.rows)


def grow(basins: Basins, unit: float) -> Tree:
    """Build the hierarchy of the basins of things.

    What is no thing joins nothing, so that all pixels of a node have a thing's probability; it
    counts along the borders of those that it lies beside.  Along what is beyond the image there is
    no border, as along the raster's edge: its pixels count as RIM.

    Parameters
    ----------
    basins : Basins
        With the columns of the cut.
    unit : float
        m2 per unit of area.
    """
    from selion.fields.basins import OUTSIDE

    kinds, pairs = basins.rows[:, KIND], basins.passes[:, :2]
    thing = (kinds > 0) & (kinds < OUTSIDE)
    beyond = (kinds[pairs] == OUTSIDE).any(axis=1)
    count, sums = len(kinds), _border_columns(basins.passes)
    one, other = (np.ascontiguousarray(pairs[:, end]) for end in (0, 1))
    joins = thing[pairs].all(axis=1)
    children, between = hierarchy.agglomerate(count, one[joins], other[joins], sums[joins])
    around = hierarchy.surround(count, one[~beyond], other[~beyond], sums[~beyond])
    rows = basins.rows.copy()
    rows[:, RIM] += hierarchy.surround(count, one[beyond], other[beyond], sums[beyond])[:, 0]
    outer, inner, top = hierarchy.borders(children, between, around)
    return Tree(children, between, hierarchy.accumulate(children, rows), outer, inner, top, unit)


def _border_columns(passes: np.ndarray) -> np.ndarray:
    """Length, strength, background, histogram."""
    return np.ascontiguousarray(passes[:, [LENGTH, *range(STRENGTH, passes.shape[1])]])


class Features:
    """What nodes are told apart by.

    Parameters
    ----------
    tree : Tree

    Notes
    -----
    Border strength is the probability of the boundary plus half that of the background, 0 .. 1.  A
    node is *formed* over the border between its two parts and *swallowed* over the one to its
    sibling; in between it persists.  It is *torn* as much as the worst of all joins inside it: the
    strength of the border that fell (*hard*: its square) times the share of the smaller part.
    ``boundary_beside`` is the boundary within it for each pixel of its border, ``boundary_along``
    also of borders that fell inside.  Lengths are in pixels, ``log_width`` (2 area / perimeter) and
    ``log_minor`` (minor axis of the ellipse of equal moments) are logarithms of metres.
    """

    def __init__(self, tree: Tree) -> None:
        parent, sibling, larger, smaller = _relations(tree)
        grandparent = np.where(parent >= 0, parent[parent], -1)
        names = list(dict.fromkeys(name for told in OTHERS.values() for name in told))
        columns = [OWN.index(name) for name in names]
        self._tree, self._parent = tree, parent
        self._inside = hierarchy.inside(tree.children, tree.between, tree.rows[:, PIXELS])
        # one row more, for those that are not there: -1 is its place
        self._shown = np.full((tree.count + 1, len(names)), np.nan, np.float32)
        for k in range(0, tree.count, STEP):
            nodes = np.arange(k, min(k + STEP, tree.count))
            self._shown[nodes] = _own(tree, nodes, parent, self._inside)[:, columns]
        relations = (sibling, parent, larger, smaller, grandparent)
        self._told = [
            (relation, [names.index(name) for name in some])
            for relation, some in zip(relations, OTHERS.values(), strict=True)
        ]

    def __call__(self, nodes: np.ndarray) -> np.ndarray:
        """Return (n, len(FEATURES)) float32 of (n,) int64 nodes, NaN for neighbours not there."""
        own = _own(self._tree, nodes, self._parent, self._inside)
        others = [self._shown[relation[nodes]][:, some] for relation, some in self._told]
        return np.concatenate([own, *others], axis=1)


def _relations(tree: Tree) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return parent, sibling, larger and smaller part of every node, -1 for none."""
    parent, sibling, larger, smaller = (np.full(tree.count, -1) for _ in range(4))
    first = tree.count - len(tree.children)
    for side in range(2):
        parent[tree.children[:, side]] = np.arange(first, tree.count)
        sibling[tree.children[:, side]] = tree.children[:, 1 - side]
    size = tree.rows[:, PIXELS][tree.children]
    swapped = (size[:, 0] < size[:, 1])[:, None]
    parts = np.where(swapped, tree.children[:, ::-1], tree.children)
    larger[first:], smaller[first:] = parts[:, 0], parts[:, 1]
    return parent, sibling, larger, smaller


def _own(tree: Tree, at: np.ndarray, parent: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return the (n, len(OWN)) features of some nodes that are about themselves.

    ``inside`` is what :func:`selion.fields.hierarchy.inside` says of every node.
    """
    rows, outer, inner = (
        values[at].astype(float) for values in (tree.rows, tree.outer, tree.inner)
    )
    basins = tree.count - len(tree.children)
    pixels, area = rows[:, PIXELS], rows[:, AREA] * tree.unit
    gsd = np.sqrt(area / pixels)
    around, within = np.maximum(outer[:, 0], 1), np.maximum(inner[:, 0], 1)
    has, made = parent[at] >= 0, at >= basins
    fell = tree.between if len(tree.children) else np.ones((1, tree.outer.shape[1]), np.int64)
    height = fell[:, 1] / np.maximum(fell[:, 0], 1) / FULL
    above = np.where(has, parent[at] - basins, 0)
    swallowed = np.where(has, height[above], 1.0)
    formed = np.where(made, height[np.where(made, at - basins, 0)], 0.0)
    major, minor = _axes(rows)
    shares = []
    for column in (FIELD, LINE, STUFF):
        mean = rows[:, column] / pixels / FULL
        square = rows[:, column + 1] * 65536 / pixels / FULL / FULL
        shares += [mean, np.sqrt(np.maximum(square - mean * mean, 0))]
    weaker = np.cumsum(outer[:, 3:], 1)[:, : BINS - 1] / around[:, None]
    inner_weaker = np.cumsum(inner[:, 3:], 1)[:, : BINS - 1] / within[:, None]
    length = outer[:, 0] + rows[:, RIM]
    whole = np.where(has, tree.rows[:, PIXELS][parent[at]], pixels)
    second = np.where(has, parent[parent[at]], -1)
    wider = np.where(second >= 0, tree.rows[:, PIXELS][second], whole)
    beside, along = np.maximum(length, 1) * FULL, np.maximum(length + inner[:, 0], 1) * FULL
    leaves, largest, torn, hard = inside[at].T
    columns = [
        np.log(area),
        np.log(pixels),
        rows[:, CORE] / pixels,
        rows[:, RIM] / np.sqrt(pixels),
        np.sqrt(major / minor),
        pixels / (4 * np.pi * np.sqrt(major * minor)),
        np.log(4 * np.sqrt(minor) * gsd),
        *shares,
        4 * np.pi * pixels / np.maximum(length, 1) ** 2,
        np.log(2 * pixels / np.maximum(length, 1) * gsd),
        outer[:, 1] / around / FULL,
        outer[:, 2] / around / FULL,
        *weaker.T,
        inner[:, 1] / within / FULL,
        inner[:, 0] / np.sqrt(pixels) / 10,
        tree.top[at] / FULL,
        formed,
        *inner_weaker.T,
        swallowed,
        swallowed - formed,
        np.where(has, fell[above, 0] / around, 0.0),
        pixels / whole,
        pixels / wider,
        rows[:, LINE] / beside,
        rows[:, LINE] / along,
        rows[:, STUFF] / beside,
        np.log(leaves),
        largest / pixels,
        torn / pixels / FULL,
        hard / pixels / FULL / FULL,
    ]
    return np.stack(columns, 1).astype(np.float32)


def _axes(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the variances along both axes of the ellipse of equal moments, px2."""
    pixels = rows[:, PIXELS]
    y, x = rows[:, Y] / pixels, rows[:, X] / pixels
    # a pixel is a square with a variance of its own, 1/12
    down = rows[:, YY] / pixels - y * y + 1 / 12
    across = rows[:, XX] / pixels - x * x + 1 / 12
    both = rows[:, XY] / pixels - x * y
    half = np.sqrt(np.maximum((down - across) ** 2 / 4 + both**2, 0))
    return (down + across) / 2 + half, np.maximum((down + across) / 2 - half, 1e-3)
