"""How well boundaries lie: boundary IoU of masks, and distances between outlines in metres."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import ndimage

from tilth.classes import IGNORE
from tilth.errors import BadInput, GridMismatch
from tilth.score.objects import Matches
from tilth.score.overlap import OverlapTable


def boundary_width(shape: tuple[int, int], ratio: float = 0.02) -> int:
    """Return the width in pixels of the boundary band: ``ratio`` of the image's diagonal, at least 1 (Cheng et al. 2021)."""
    return max(1, round(ratio * float(np.hypot(*shape))))


def boundary_band(mask: np.ndarray, width: int, known: np.ndarray | None = None) -> np.ndarray:
    """Mark the pixels of a (y, x) bool mask that are at most ``width`` 8-neighbour steps from its outside.

    The image's border counts as outside; the border of what is not known does not.
    """
    filled = mask if known is None else mask | ~known
    steps = ndimage.distance_transform_cdt(np.pad(filled, 1), "chessboard")[1:-1, 1:-1]
    band = mask & (steps <= width)
    return band if known is None else band & known


def boundary_iou(truth: np.ndarray, guess: np.ndarray, width: int | None = None, ratio: float = 0.02, known: np.ndarray | None = None) -> float:
    """Return the IoU of the boundary bands of two masks.

    Parameters
    ----------
    truth, guess : (y, x) bool ndarray
        Masks of one class or one object.
    width : int, optional
        Width of the band in pixels; None takes ``ratio`` of the diagonal.  Two per cent of a 1024 x 1024 image are 29 px, much more than a
        leaf's edge: print the width beside the score.
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
    Cheng et al., "Boundary IoU: improving object-centric image segmentation evaluation", CVPR 2021, eq. 2, with the erosion of its
    reference: d steps of a 3 x 3 square, the image padded with one pixel of outside.
    """
    if truth.shape != guess.shape:
        message = f"Masks of shapes {truth.shape} and {guess.shape} cannot be compared: bring both to one grid."
        raise GridMismatch(message)
    steps = boundary_width((truth.shape[0], truth.shape[1]), ratio) if width is None else width
    one, other = boundary_band(truth.astype(bool), steps, known), boundary_band(guess.astype(bool), steps, known)
    union = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / union if union else float("nan")


def class_boundary_iou(truth: np.ndarray, guess: np.ndarray, classes: int, width: int | None = None, ratio: float = 0.02) -> np.ndarray:
    """Return the (class,) boundary IoU of two (y, x) label maps; truth 255 does not count, NaN marks classes without a boundary."""
    known = truth != IGNORE
    every = None if known.all() else known
    return np.array([boundary_iou((truth == c) & known, (guess == c) & known, width, ratio, every) for c in range(classes)])


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
    truth: np.ndarray, guess: np.ndarray, table: OverlapTable, matches: Matches, pixel: tuple[float, float] = (1.0, 1.0)
) -> tuple[BoundaryDistance, pd.DataFrame]:
    """Measure how far apart the outlines of matched objects lie.

    For each matched pair the outline is the object's pixels that touch (4-neighbours) another id, and distances run from every outline
    pixel of the one to the nearest outline pixel of the other, in both directions.  Outlines along the image's border do not count.

    Parameters
    ----------
    truth, guess : (y, x) integer ndarray
        The ids that the table was made from.
    table, matches
        From :func:`tilth.score.overlap_table` and :func:`tilth.score.match_objects`.
    pixel : (dy, dx)
        Pixel size on the ground in metres; (1, 1) gives pixels.

    Returns
    -------
    summary : BoundaryDistance
    each : DataFrame
        Columns truth, guess (ids), distance (average symmetric), hausdorff_95.

    Notes
    -----
    Average symmetric surface distance and 95th-percentile Hausdorff distance as in Taha and Hanbury, "Metrics for evaluating 3D medical image
    segmentation", BMC Medical Imaging 15, 2015.
    """
    one, other = table.truth_ids[matches.truth_index], table.guess_ids[matches.guess_index]
    frames = [_boxes(ids, keys) for ids, keys in ((truth, one), (guess, other))]
    values = [_pair_distance(truth, guess, pair, _hull(a, b, truth.shape), pixel) for pair, a, b in zip(zip(one, other, strict=True), *frames, strict=True)]
    found = np.array(values, float).reshape(len(values), 2)
    each = pd.DataFrame({"truth": one, "guess": other, "distance": found[:, 0], "hausdorff_95": found[:, 1]})
    return _summary(each), each


def _summary(each: pd.DataFrame) -> BoundaryDistance:
    known = each.dropna()
    if not len(known):
        nan = float("nan")
        return BoundaryDistance(nan, nan, nan, nan, 0)
    distance = known["distance"].to_numpy()
    return BoundaryDistance(
        float(distance.mean()), float(np.median(distance)), float(np.percentile(distance, 95)), float(known["hausdorff_95"].mean()), len(known)
    )


def _boxes(ids: np.ndarray, keys: np.ndarray) -> list[tuple[slice, slice]]:
    """Bounding boxes of the objects named by ``keys``."""
    present = np.unique(keys)
    dense = np.zeros(int(ids.max(initial=0)) + 1, np.int32) if ids.max(initial=0) < 2**27 else None
    if dense is None:
        message = "Object ids above 134 million cannot be measured here: renumber them first."
        raise BadInput(message)
    dense[present] = np.arange(1, len(present) + 1)
    boxes = ndimage.find_objects(dense[ids], len(present))
    return [boxes[dense[key] - 1] for key in keys]


def _hull(one: tuple[slice, slice], other: tuple[slice, slice], shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Smallest box around both, one pixel larger where there is room."""
    rows, columns = (slice(max(min(a.start, b.start) - 1, 0), min(max(a.stop, b.stop) + 1, n)) for a, b, n in zip(one, other, shape, strict=True))
    return rows, columns


def _pair_distance(truth: np.ndarray, guess: np.ndarray, pair: tuple[int, int], box: tuple[slice, slice], pixel: tuple[float, float]) -> tuple[float, float]:
    edges = [_outline(ids[box] == key) for ids, key in zip((truth, guess), pair, strict=True)]
    if not edges[0].any() or not edges[1].any():
        return float("nan"), float("nan")
    away = [ndimage.distance_transform_edt(~edge, pixel) for edge in edges]
    both = np.concatenate([away[1][edges[0]], away[0][edges[1]]])
    return float(both.mean()), float(np.percentile(both, 95))


def _outline(mask: np.ndarray) -> np.ndarray:
    """Pixels of a mask with a 4-neighbour outside; what lies beyond the array is not outside."""
    return mask & ~ndimage.binary_erosion(mask, border_value=1)
