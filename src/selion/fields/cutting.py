"""Objects chosen by a learnt score: the best disjoint nodes of the hierarchy of basins.

A watershed decides about each border by itself and by one number.  Here every node of the hierarchy
is a candidate, a learnt score says of each how likely it is one field, and the disjoint ones of the
largest summed score are taken (optimal cut of a tree; Kiran and Serra, Pattern Recognition 47,
2014).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from selion.fields import hierarchy, nodes, seams
from selion.fields.basins import NOTHING, OUTSIDE, smooth
from selion.fields.node_score import CutSettings, NodeScore
from selion.fields.seams import AREA, CORE, FIELD, KIND, LINE, PIXELS, SURE, Basins

FULL, HECTARE = 65535, 1e4
MIDDLE = 4.5
"""Common logarithm of the m2 (3.2 ha) of a field whose size speaks neither for nor against it."""


# Compiled: with arrays each step would be a pass over the block and a temporary of its size.
@njit(cache=True, nogil=True)
def _planes(thing, line):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    out = np.empty((4, *thing.shape), np.uint16)
    for i in range(thing.shape[0]):
        for j in range(thing.shape[1]):
            field, edge = np.int64(thing[i, j]), np.int64(line[i, j])
            stuff = max(65535 - field - edge, np.int64(0))
            out[0, i, j], out[1, i, j], out[2, i, j] = field, edge, stuff
            out[3, i, j] = edge + stuff // 2
    return out


def planes_of(shares: np.ndarray, thing: int, boundary: int) -> np.ndarray:
    """Return (4, y, x) uint16: thing, boundary, background, and the strength of a border here.

    The strength is the boundary plus half the background, smoothed by one pass of (1 2 1)/4.
    """
    line = shares[boundary] if boundary >= 0 else np.zeros_like(shares[thing])
    planes: np.ndarray = _planes(shares[thing], line)
    planes[3] = smooth(planes[3], 1)
    return planes


def grow(basins: Basins, settings: CutSettings, unit: float) -> tuple[Basins, nodes.Tree]:
    """Return the leaves, one row each, and the hierarchy over them, as :func:`by_score` sees it."""
    leaves = seams.by_depth(basins, round(settings.depth * FULL))
    return leaves, nodes.grow(leaves, unit)


def candidates(tree: nodes.Tree, settings: CutSettings) -> np.ndarray:
    """Return (node,) bool: things that are not too small to be anything."""
    large: np.ndarray = (tree.rows[:, CORE] > 0) & (
        tree.rows[:, AREA] * tree.unit >= settings.least
    )
    return large


def worth(tree: nodes.Tree, said: np.ndarray, settings: CutSettings) -> np.ndarray:
    """Return (node,) float64 of what choosing each node brings.

    Its probability of being one field less the price; and, where that is ``floor`` at least, for
    each hectare of it twice what the mean probability of field and boundary is above one half,
    times ``land``.  The second part is as large for a node as for its parts together, so it says
    little about where fields part, but land that is surely farmed is not left out for a doubt about
    that.  What is no candidate brings nothing.  Where ``size`` is set, the probability is more by
    it for each ten times that the node is larger than 3.2 ha, from 0 to 1.
    """
    rows = tree.rows
    area = rows[:, AREA] * tree.unit
    if settings.size:
        more = settings.size * (np.log10(np.maximum(area, 1.0)) - MIDDLE)
        said = np.where(said > 0, np.clip(said + more, 0.0, 1.0), 0.0)
    mean = (rows[:, FIELD] + rows[:, LINE]) / rows[:, PIXELS] / FULL
    land = settings.land * area / HECTARE * np.maximum(2 * mean - 1, 0)
    land = np.where(said >= settings.floor, land, 0.0)
    brings: np.ndarray = np.where(candidates(tree, settings), said - settings.price + land, -1.0)
    return brings


def by_score(basins: Basins, score: NodeScore, unit: float) -> Basins:
    """Choose objects among all nodes of the hierarchy.

    Parameters
    ----------
    basins : Basins
        With the columns of the cut.
    score : NodeScore
    unit : float
        m2 per unit of area.

    Returns
    -------
    Basins
        One row per object, whose summed share is its score, and those that lie in none.
    """
    fine, tree = grow(basins, score.settings, unit)
    known = fine.rows[:, KIND] < OUTSIDE
    said = score(tree, candidates(tree, score.settings))
    chosen = hierarchy.best_cut(tree.children, worth(tree, said, score.settings))
    object_ = chosen >= 0
    rows = fine.rows.copy()
    rows[:, KIND] = np.where(object_, 1, np.where(known, NOTHING, OUTSIDE))
    rows[:, SURE] = np.where(object_, np.rint(said[chosen] * FULL) * rows[:, PIXELS], 0)
    groups = np.where(object_, chosen, tree.count + np.arange(len(rows)))
    return seams.merge(Basins(rows, fine.passes, fine.pieces), groups)
