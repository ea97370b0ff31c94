"""Objects chosen by a learnt score: the best disjoint nodes of the hierarchy of basins.

A watershed decides about each border by itself and by one number.  Here every node of the hierarchy
is a candidate, a learnt score says of each how likely it is one field, and the disjoint ones of the
largest summed score are taken (optimal cut of a tree; Kiran and Serra, Pattern Recognition 47,
2014).
"""

from __future__ import annotations

import numpy as np

from selion.fields import hierarchy, nodes, seams
from selion.fields.basins import NOTHING, OUTSIDE, smooth
from selion.fields.node_score import CutSettings, NodeScore
from selion.fields.seams import AREA, CORE, FIELD, KIND, LINE, PIXELS, SURE, Basins
from selion.grid import Roi

FULL, HECTARE = 65535, 1e4


def planes_of(shares: np.ndarray, thing: int, boundary: int) -> np.ndarray:
    """Return (4, y, x) uint16: thing, boundary, background, and the strength of a border here.

    The strength is the boundary plus half the background, smoothed by one pass of (1 2 1)/4.
    """
    thing_share = shares[thing]
    line = shares[boundary] if boundary >= 0 else np.zeros_like(thing_share)
    stuff = FULL - np.minimum(thing_share.astype(np.uint32) + line, FULL)
    strength = np.minimum(line + stuff // 2, FULL).astype(np.uint16)
    return np.stack([thing_share, line, stuff.astype(np.uint16), smooth(strength, 1)])


def more_columns(
    labels: np.ndarray,
    found: tuple[np.ndarray, np.ndarray],
    kind: np.ndarray,
    planes: np.ndarray,
    core: Roi,
    shape: tuple[int, int],
) -> tuple[np.ndarray, np.ndarray]:
    """Add the columns of the cut to a block's basins and to its pairs of pixels.

    Parameters
    ----------
    labels, kind : (y, x) ndarrays
        Of the block.
    found : ((n, 7) int64 ndarray, (m, 5) int64 ndarray)
        Basins, and passes as :func:`selion.fields.basins.passes` lists them.
    planes : (4, y, x) uint16 ndarray
        Of :func:`planes_of`.
    core : Roi
        Where the block lies in the raster of ``shape``.
    """
    rows, pairs = found
    inside = nodes.sum_pixels(
        labels, len(rows), kind, planes[:3], core[0].start, core[1].start, shape
    )
    beside = nodes.border_values(labels, planes[3], planes[2], len(pairs))
    return np.concatenate([rows, inside], axis=1), np.concatenate([pairs, beside], axis=1)


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
    that.  What is no candidate brings nothing.
    """
    rows = tree.rows
    area = rows[:, AREA] * tree.unit
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
