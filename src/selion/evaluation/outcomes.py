"""Where a map is right and where it is wrong: both sides of a comparison as small pictures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from selion.evaluation.sides import BurntIds, RasterIds
from selion.grid import tiles
from selion.metrics.overlap import OverlapTable
from selion.metrics.partition import error_kinds

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

LONGEST = 1100
"""Edge of the pictures in pixels."""


BLOCK = 2048
"""Edge of what is read at once, in pixels."""


@dataclass(frozen=True, eq=False)
class OutcomePixels:
    """Objects of one side, and what became of each, pixel by pixel of a picture."""

    ids: np.ndarray
    """(y, x) int64; 0 is no object."""
    kinds: np.ndarray
    """(y, x) uint8: 0 no object that was compared, else 1 + the place in
    :data:`~selion.metrics.partition.TRUTH_KINDS` or ``PREDICTION_KINDS``."""


@dataclass(frozen=True, eq=False)
class Outcomes:
    """What became of the objects of a truth and of a map, on one small grid."""

    name: str
    """Of the map."""
    truth: OutcomePixels
    prediction: OutcomePixels
    grid: GeoBox
    """Of the pictures."""


def picture_outcomes(
    name: str,
    truth: RasterIds | BurntIds,
    prediction: RasterIds | BurntIds,
    table: OverlapTable,
    iou: float = 0.5,
    longest: int = LONGEST,
) -> Outcomes:
    """Read both sides thinned to a picture, and look up what became of each object.

    Parameters
    ----------
    truth, prediction
        Sides on one grid, whose ids are those of the table.
    table : OverlapTable
    iou : float
        IoU of a match.
    longest : int
        Longest edge of the pictures in pixels; of a larger grid every n-th pixel is taken.
    """
    kinds = error_kinds(table, iou)
    step = max(1, -(-max(truth.grid.shape) // longest))
    small = thinned(truth.grid, step)
    sides = [
        _side(_read_thinned(side, step, small), ids, of)
        for side, ids, of in (
            (truth, table.truth_ids, kinds.truth),
            (prediction, table.prediction_ids, kinds.prediction),
        )
    ]
    return Outcomes(name, sides[0], sides[1], small)


def thinned(grid: GeoBox, step: int) -> GeoBox:
    """Return the grid whose pixels' centres are those of every ``step``-th pixel, the first ones.

    So a polygon that is burnt by pixel centre comes out as in every n-th pixel of the whole.
    """
    height, width = (-(-edge // step) for edge in grid.shape)
    middle = (1 - step) / 2  # of a wide pixel about the centre of its first one
    at = grid.transform * Affine.translation(middle, middle) * Affine.scale(step)
    return GeoBox((height, width), at, grid.crs)


def around(frames: tuple[GeoDataFrame, GeoDataFrame], longest: int = LONGEST) -> GeoBox:
    """Return a grid of square pixels where tables in one CRS both have polygons.

    A truth of many places is compared with the map of one; where the rectangles around the two do
    not meet, the grid lies around both.
    """
    bounds = np.array([frame.total_bounds for frame in frames])
    bounds = bounds[np.isfinite(bounds).all(axis=1)]
    (west, south), (east, north) = bounds[:, :2].max(axis=0), bounds[:, 2:].min(axis=0)
    if west >= east or south >= north:
        (west, south), (east, north) = bounds[:, :2].min(axis=0), bounds[:, 2:].max(axis=0)
    pixel = max(east - west, north - south) / longest
    height, width = (max(1, int(np.ceil(edge / pixel))) for edge in (north - south, east - west))
    return GeoBox((height, width), Affine(pixel, 0, west, 0, -pixel, north), frames[0].crs)


def _read_thinned(side: RasterIds | BurntIds, step: int, small: GeoBox) -> np.ndarray:
    if isinstance(side, BurntIds):
        side = replace(side, grid=small)
        whole = (slice(0, small.shape[0]), slice(0, small.shape[1]))
        return np.asarray(side.read(whole).ids, np.int64)
    ids = np.zeros(small.shape, np.int64)
    height, width = side.grid.shape
    for roi in tiles((height, width), BLOCK):
        first = [-part.start % step for part in roi]
        seen = side.read(roi).ids[first[0] :: step, first[1] :: step]
        row, column = (-(-part.start // step) for part in roi)
        ids[row : row + seen.shape[0], column : column + seen.shape[1]] = seen
    return ids


def _side(ids: np.ndarray, known: np.ndarray, kinds: np.ndarray) -> OutcomePixels:
    if not len(known):
        return OutcomePixels(ids, np.zeros(ids.shape, np.uint8))
    at = np.minimum(np.searchsorted(known, ids), len(known) - 1)
    found = np.where(known[at] == ids, kinds[at] + 1, 0)
    return OutcomePixels(ids, found.astype(np.uint8))
