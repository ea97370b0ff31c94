"""In which order fields are looked at: the most doubtful first, each with its reasons in words.

Four signs, each a doubt of 0 to 1: the model's own confidence; what its probabilities say of the
outline (a line through the field, an edge that is none, land beyond the edge that looks the same);
how well another map agrees; a shape that fields seldom have.  A field's doubt is 1 - the product of
(1 - sign), which is near the greatest sign and grows with each further one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from selion.fields.schema import confidences_of
from selion.grid import Roi, pad_roi, tiles
from selion.progress import OnStep, silent
from selion.review.shapes import sound

if TYPE_CHECKING:
    import geopandas

    from selion.classes import ClassScheme
    from selion.raster import Source

SURE, LOST = 0.95, 0.5
"""Confidence from which on there is no doubt, and below which there is nothing else."""
SAID = 0.2
"""Signs from here on are said in words."""
BLOCK = 2048
"""Edge in pixels of the pieces in which probabilities are read."""
ROUND = 0.12
"""Isoperimetric quotient (4 pi area / perimeter^2; a square has 0.79, a strip of 1 x 20 0.14) below
which a shape is odd."""


@dataclass(frozen=True)
class Ranking:
    """Fields from the most doubtful to the least."""

    order: np.ndarray
    """(n,) positions in the table."""
    doubt: np.ndarray
    """(n,) float32 by position in the table, 0 to 1."""
    signs: dict[str, np.ndarray]
    """Name of a sign -> (n,) float32; what is not known is 0."""
    missing: Sequence[Any] = ()
    """Outlines that only the other map has, the largest first, in the CRS of this one."""
    confidence: np.ndarray | None = None
    """(n,) by position in the table, 0 to 1; None where the map says none."""

    def reasons(self, row: int) -> list[str]:
        """Say in words why a field is doubtful, the strongest sign first.

        Of confidence the number itself is told, so that one number means one thing.
        """
        found = sorted(
            (
                (float(values[row]), name)
                for name, values in self.signs.items()
                if values[row] >= SAID
            ),
            reverse=True,
        )
        return [self._said(name, row) for _, name in found]

    def _said(self, name: str, row: int) -> str:
        if name != "confidence" or self.confidence is None:
            return WORDS[name]
        return f"{WORDS[name]}: its confidence is {self.confidence[row]:.0%}"


WORDS = {
    "confidence": "the model is not sure of it",
    "line": "a line runs through it: perhaps two fields",
    "edge": "its edge is weak: perhaps it is one with a neighbour, or its outline is elsewhere",
    "beyond": "the land around it is probably field too: perhaps it extends further",
    "other": "the other map has another outline here",
    "shape": "few fields have this shape",
}


def rank(
    frame: geopandas.GeoDataFrame,
    scores: Source | None = None,
    classes: ClassScheme | None = None,
    against: geopandas.GeoDataFrame | None = None,
    on_step: OnStep = silent,
) -> Ranking:
    """Order the fields of a map by doubt.

    Parameters
    ----------
    frame : GeoDataFrame
        Fields; a column ``confidence`` (or ``score``, 0 to 100) is used where there is one.
    scores : Source, optional
        Class probabilities, 0 to 1, and ``classes``, what they are of.
    against : GeoDataFrame, optional
        Another map of the same land.
    on_step : callable, optional
        Progress.

    Returns
    -------
    Ranking
        Equal doubts keep the order of the table.
    """
    signs = {"confidence": _unsure(frame), "shape": _odd(frame)}
    if scores is not None and classes is not None and "field" in classes.names:
        signs |= _of_scores(frame, scores, classes, on_step)
    missing: Sequence[Any] = ()
    if against is not None:
        signs["other"], missing = compare(frame, against)
    doubt = 1 - np.prod([1 - np.clip(values, 0, 1) for values in signs.values()], axis=0)
    order = np.argsort(-doubt, kind="stable")
    return Ranking(order, doubt.astype(np.float32), signs, missing, confidences_of(frame))


def by_chance(ids: Sequence[str]) -> Ranking:
    """Order the units of a sample by chance, the same for everybody.

    Whoever stops halfway has then answered a sample too: neither the doubtful ones, nor those that
    lie together in the table.
    """
    numbers = [hashlib.sha256(str(name).encode()).digest() for name in ids]
    order = np.array(sorted(range(len(numbers)), key=numbers.__getitem__), np.int64)
    return Ranking(order, np.zeros(len(numbers), np.float32), {})


def _unsure(frame: geopandas.GeoDataFrame) -> np.ndarray:
    """Turn confidence into doubt; nothing where it is not known."""
    known = confidences_of(frame)
    if known is None:
        return np.zeros(len(frame), np.float32)
    return np.nan_to_num(np.clip((SURE - known) / (SURE - LOST), 0, 1), nan=0.0).astype(np.float32)


def _odd(frame: geopandas.GeoDataFrame) -> np.ndarray:
    """Doubt shapes that are far from compact.

    Never more than a half, because long strips are fields too.
    """
    import shapely

    if {"metrics:area", "metrics:perimeter"} <= set(frame.columns):
        area, length = (
            frame[name].to_numpy(np.float64, na_value=np.nan)
            for name in ("metrics:area", "metrics:perimeter")
        )
    else:
        area, length = (
            shapely.area(frame.geometry.to_numpy()),
            shapely.length(frame.geometry.to_numpy()),
        )
    compact = 4 * np.pi * area / np.maximum(length, 1e-300) ** 2
    return np.nan_to_num(np.clip(1 - compact / ROUND, 0, 1) * 0.5).astype(np.float32)


def compare(
    frame: geopandas.GeoDataFrame, against: geopandas.GeoDataFrame
) -> tuple[np.ndarray, list[Any]]:
    """Compare with another map.

    Returns
    -------
    (n,) float32 ndarray
        1 - the best intersection over union that a field has with one of the other map.
    list of Polygon
        Fields of the other map of which less than a tenth lies on a field of this one, the largest
        first.
    """
    import shapely

    mine = sound(frame.geometry.to_numpy())
    theirs = sound(
        (
            against if frame.crs is None or against.crs is None else against.to_crs(frame.crs)
        ).geometry.to_numpy()
    )
    if not len(theirs):
        return np.ones(len(mine), np.float32), []
    tree = shapely.STRtree(theirs)
    one, other = tree.query(mine, predicate="intersects")
    common = shapely.area(shapely.intersection(mine[one], theirs[other]))
    areas = shapely.area(mine), shapely.area(theirs)
    best = np.zeros(len(mine))
    np.maximum.at(best, one, common / np.maximum(areas[0][one] + areas[1][other] - common, 1e-300))
    covered = np.bincount(other, common, len(theirs))
    free = np.flatnonzero(covered < 0.1 * areas[1])
    return (1 - best).astype(np.float32), [
        theirs[k] for k in free[np.argsort(-areas[1][free], kind="stable")]
    ]


def _of_scores(
    frame: geopandas.GeoDataFrame, scores: Source, classes: ClassScheme, on_step: OnStep
) -> dict[str, np.ndarray]:
    """Hold each outline against the probabilities under it."""
    import shapely

    grid = scores.grid
    placed = (
        frame if frame.crs is None or grid.crs is None else frame.to_crs(str(grid.crs))
    ).geometry.to_numpy()
    tree = shapely.STRtree(placed)
    sums = np.zeros((len(SUMS), len(frame)))
    parts = tiles((int(grid.shape[0]), int(grid.shape[1])), BLOCK)
    for number, roi in enumerate(parts, 1):
        sums += _block(placed, tree, scores, classes, roi)
        on_step("queue", number, len(parts), "")
    total = dict(zip(SUMS, sums, strict=True))

    def mean(what: str, of: str) -> np.ndarray:
        return np.asarray(
            np.divide(total[what], total[of], out=np.zeros(len(frame)), where=total[of] >= 4)
        )

    line = np.clip((mean("line", "inside") - 0.1) / 0.3, 0, 1)
    edge = np.where(total["edge"] >= 4, np.clip((0.55 - mean("rim", "edge")) / 0.35, 0, 1), 0)
    beyond = np.clip((mean("alike", "around") - 0.5) / 0.4, 0, 1)
    return {
        "line": (0.5 * line).astype(np.float32),
        "edge": (0.8 * edge).astype(np.float32),
        "beyond": (0.7 * beyond).astype(np.float32),
    }


SUMS = ("inside", "line", "edge", "rim", "around", "alike")
"""By field: pixels well inside, and of them boundary; pixels of the edge, and their summed
probability of boundary; free pixels around, and of them field."""
LINE = 0.35
"""Probability of boundary from which on a pixel inside a field is part of a line."""


def _block(
    placed: np.ndarray, tree: Any, scores: Source, classes: ClassScheme, roi: Roi
) -> np.ndarray:
    """Count the pixels of one piece of the grid, (sum, field)."""
    import shapely

    from selion import store

    grid = scores.grid
    wide = pad_roi(roi, 4, (int(grid.shape[0]), int(grid.shape[1])))
    rows = np.sort(tree.query(shapely.box(*grid[wide].extent.boundingbox)))
    found = np.zeros((len(SUMS), len(placed)))
    if not len(rows):
        return found
    ids = store.burn(list(placed[rows]), range(1, len(rows) + 1), grid[wide])
    values = scores.read(wide).values
    field = np.asarray(values[classes.names.index("field")], np.float32)
    rim = (
        np.asarray(values[classes.names.index("boundary")], np.float32)
        if "boundary" in classes.names
        else 1 - field
    )
    cut = np.s_[
        roi[0].start - wide[0].start : roi[0].stop - wide[0].start,
        roi[1].start - wide[1].start : roi[1].stop - wide[1].start,
    ]
    edge = _edges(ids)
    inside, edge = (ids > 0) & ~_spread(edge), (ids > 0) & edge
    for k, (where, weight) in enumerate(
        ((inside, None), (inside, rim > LINE), (edge, None), (edge, rim))
    ):
        found[k, rows] = _counted(
            ids[cut], where[cut], None if weight is None else weight[cut], len(rows)
        )
    for owner in _around(ids):
        where = (ids == 0) & (owner > 0)
        found[4, rows] += _counted(owner[cut], where[cut], None, len(rows))
        found[5, rows] += _counted(owner[cut], where[cut], (field > 0.5)[cut], len(rows))
    return found


def _counted(
    owner: np.ndarray, where: np.ndarray, weight: np.ndarray | None, count: int
) -> np.ndarray:
    chosen = None if weight is None else weight[where].astype(np.float64)
    return np.bincount(owner[where], chosen, minlength=count + 1)[1:]


def _edges(ids: np.ndarray) -> np.ndarray:
    """Mark (y, x) pixels of which one of the four neighbours has another id."""
    edges = np.zeros(ids.shape, bool)
    for axis in (0, 1):
        differs = np.diff(ids, axis=axis) != 0
        first = np.s_[:-1, :] if axis == 0 else np.s_[:, :-1]
        second = np.s_[1:, :] if axis == 0 else np.s_[:, 1:]
        edges[first] |= differs
        edges[second] |= differs
    return edges


def _spread(marks: np.ndarray) -> np.ndarray:
    """Mark the four neighbours of marked pixels too."""
    wide = marks.copy()
    wide[1:] |= marks[:-1]
    wide[:-1] |= marks[1:]
    wide[:, 1:] |= marks[:, :-1]
    wide[:, :-1] |= marks[:, 1:]
    return wide


def _around(ids: np.ndarray, step: int = 2) -> list[np.ndarray]:
    """Return which field each pixel looks at two pixels away, in four directions.

    Nothing is looked at beyond the array.
    """
    found = []
    for axis, way in ((0, step), (0, -step), (1, step), (1, -step)):
        seen = np.roll(ids, way, axis)
        entered = slice(0, step) if way > 0 else slice(-step, None)
        seen[(entered, slice(None)) if axis == 0 else (slice(None), entered)] = 0
        found.append(seen)
    return found
