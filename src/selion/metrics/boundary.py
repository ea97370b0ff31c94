"""How well boundaries lie: boundary IoU of masks, and distances between outlines in metres."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import ndimage

from selion.classes import IGNORE
from selion.errors import GridMismatch
from selion.metrics.objects import Matches
from selion.metrics.overlap import OverlapTable


def boundary_width(shape: tuple[int, int], ratio: float = 0.02) -> int:
    """Return the width in pixels of the boundary band.

    ``ratio`` of the image's diagonal, at least 1 (Cheng et al. 2021).
    """
    return max(1, round(ratio * float(np.hypot(*shape))))


def boundary_band(mask: np.ndarray, width: int, known: np.ndarray | None = None) -> np.ndarray:
    """Mark the pixels of a (y, x) bool mask that are near its outside.

    They are at most ``width`` 8-neighbour steps from it.

    The image's border counts as outside; the border of what is not known does not.
    """
    filled = mask if known is None else mask | ~known
    steps = ndimage.distance_transform_cdt(np.pad(filled, 1), "chessboard")[1:-1, 1:-1]
    band: np.ndarray = mask & (steps <= width)
    return band if known is None else band & known


def boundary_iou(
    truth: np.ndarray,
    prediction: np.ndarray,
    width: int | None = None,
    ratio: float = 0.02,
    known: np.ndarray | None = None,
) -> float:
    """Return the IoU of the boundary bands of two masks.

    Parameters
    ----------
    truth, prediction : (y, x) bool ndarray
        Masks of one class or one object.
    width : int, optional
        Width of the band in pixels; None takes ``ratio`` of the diagonal.  Two per cent of a 1024 x
        1024 image are 29 px, much more than a leaf's edge: print the width beside the score.
    ratio : float
        Share of the diagonal.
    known : (y, x) bool ndarray, optional
        True where pixels count.

    Returns
    -------
    float
        0..1; NaN if neither mask has a boundary.

    Notes
    -----
    Cheng et al., "Boundary IoU: improving object-centric image segmentation evaluation", CVPR 2021,
    eq. 2, with the erosion of its reference: d steps of a 3 x 3 square, the image padded with one
    pixel of outside.
    """
    if truth.shape != prediction.shape:
        raise GridMismatch(
            f"Masks of shapes {truth.shape} and {prediction.shape} cannot be compared: bring both "
            "to one grid."
        )
    steps = boundary_width((truth.shape[0], truth.shape[1]), ratio) if width is None else width
    one, other = (
        boundary_band(truth.astype(bool), steps, known),
        boundary_band(prediction.astype(bool), steps, known),
    )
    union = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / union if union else float("nan")


def class_boundary_iou(
    truth: np.ndarray,
    prediction: np.ndarray,
    classes: int,
    width: int | None = None,
    ratio: float = 0.02,
) -> np.ndarray:
    """Return the (class,) boundary IoU of two (y, x) label maps.

    Truth 255 does not count, NaN marks classes without a boundary.
    """
    known = truth != IGNORE
    every = None if known.all() else known
    return np.array(
        [
            boundary_iou((truth == c) & known, (prediction == c) & known, width, ratio, every)
            for c in range(classes)
        ]
    )


@dataclass(frozen=True, slots=True)
class BoundaryDistance:
    """Distances between outlines, in the unit of the pixel size that was given (metres)."""

    mean: float
    """Mean over matches of the average symmetric distance."""
    median: float
    percentile_95: float
    """95th percentile over matches."""
    hausdorff_95: float
    """Mean over matches of the 95th percentile of the distances in both directions."""
    matches: int


def boundary_distances(
    truth: np.ndarray,
    prediction: np.ndarray,
    table: OverlapTable,
    matches: Matches,
    pixel: tuple[float, float] = (1.0, 1.0),
    known: np.ndarray | None = None,
) -> tuple[BoundaryDistance, pd.DataFrame]:
    """Measure how far apart the outlines of matched objects lie.

    For each matched pair the outline is the object's pixels that touch (4-neighbours) another id,
    and distances run from every outline pixel of the one to the nearest outline pixel of the other,
    in both directions.  Outlines along the image's border do not count, nor do those on ground
    whose truth is not known, or along it: there the truth was cut off, and not the object.

    Parameters
    ----------
    truth, prediction : (y, x) integer ndarray
        The ids that the table was made from.
    table, matches
        From :func:`selion.metrics.overlap_table` and :func:`selion.metrics.match_objects`.
    pixel : (dy, dx)
        Pixel size on the ground in metres; (1, 1) gives pixels.
    known : (y, x) bool ndarray, optional
        True where the truth is known, as for the table.

    Returns
    -------
    summary : BoundaryDistance
    each : DataFrame
        Columns truth, prediction (ids), distance (average symmetric), hausdorff_95.

    Notes
    -----
    Average symmetric surface distance and 95th-percentile Hausdorff distance as in Taha and
    Hanbury, "Metrics for evaluating 3D medical image segmentation", BMC Medical Imaging 15, 2015.
    """
    one, other = (
        table.truth_ids[matches.truth_index],
        table.prediction_ids[matches.prediction_index],
    )
    points = [
        _outline_points(ids, keys, pixel, known)
        for ids, keys in ((truth, one), (prediction, other))
    ]
    found = pd.concat([_nearest(points[0], points[1]), _nearest(points[1], points[0])]).groupby(
        "match"
    )["distance"]
    empty = pd.DataFrame({"truth": one, "prediction": other})
    each = empty.assign(
        distance=found.mean().reindex(empty.index),
        hausdorff_95=found.quantile(0.95).reindex(empty.index),
    )
    return _summary(each), each


def _summary(each: pd.DataFrame) -> BoundaryDistance:
    known = each.dropna()
    if not len(known):
        nan = float("nan")
        return BoundaryDistance(nan, nan, nan, nan, 0)
    distance = known["distance"].to_numpy()
    return BoundaryDistance(
        float(distance.mean()),
        float(np.median(distance)),
        float(np.percentile(distance, 95)),
        float(known["hausdorff_95"].mean()),
        len(known),
    )


def _outline_points(
    ids: np.ndarray, keys: np.ndarray, pixel: tuple[float, float], known: np.ndarray | None
) -> np.ndarray:
    """Return (point, 3): y, x and match, of the outline pixels of the objects named by ``keys``.

    The third coordinate sets the objects of each match so far apart that the nearest point is
    always one of the same match: one tree serves all.
    """
    differs = np.zeros(ids.shape, bool)
    for axis in (0, 1):
        change = np.diff(ids, axis=axis) != 0
        first, second = (
            (slice(None, -1), slice(1, None))
            if axis == 0
            else ((slice(None), slice(None, -1)), (slice(None), slice(1, None)))
        )
        if known is not None:
            change &= known[first] & known[second]
        differs[first] |= change
        differs[second] |= change
    rows, columns = np.nonzero(differs & (ids > 0))
    order = np.argsort(keys, kind="stable")
    here = ids[rows, columns]
    place = np.minimum(np.searchsorted(keys[order], here), max(len(keys) - 1, 0))
    matched = keys[order][place] == here if len(keys) else np.zeros(len(here), bool)
    # a third axis puts objects so far apart that the nearest point is of the same object
    apart = 4.0 * (ids.shape[0] * pixel[0] + ids.shape[1] * pixel[1])
    return np.column_stack(
        [
            rows[matched] * pixel[0],
            columns[matched] * pixel[1],
            order[place[matched]] * apart,
            order[place[matched]],
        ]
    ).astype(float)


def _nearest(one: np.ndarray, other: np.ndarray) -> pd.DataFrame:
    """Return the distance from each point to the nearest one of the same match.

    Points whose match has none are left out.
    """
    from scipy.spatial import KDTree

    one = one[np.isin(one[:, 3], other[:, 3])]
    distance = KDTree(other[:, :3]).query(one[:, :3])[0] if len(one) else np.zeros(0)
    return pd.DataFrame({"match": one[:, 3].astype(np.int64), "distance": distance})
