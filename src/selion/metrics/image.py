"""All that is kept of one image once it is scored.

Its overlap table and a few counts, from which every measure is read later.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from selion.errors import BadInput
from selion.metrics.boundary import boundary_band, boundary_distances
from selion.metrics.objects import match_objects
from selion.metrics.overlap import OverlapTable, overlap_table
from selion.metrics.pixel import Confusion

Labels = tuple[np.ndarray, np.ndarray | None]
"""(truth,) and (prediction,) objects' values of a column; None where predictions have none."""


@dataclass(frozen=True, eq=False, slots=True)
class ImageScores:
    """One image, or one place."""

    key: str
    group: str
    table: OverlapTable
    area: tuple[float, float, float]
    """Area right (object in both), wrong (prediction alone) and missed (truth alone), in the
    table's unit."""
    unit: float | None
    """m2 of the table's unit; None for a photograph."""
    confidence: np.ndarray | None = None
    """(prediction,) 0..1 in the order of the table's predictions."""
    edge: tuple[float, float] = (0.0, 0.0)
    """Pixels shared by the boundary bands of truth and prediction, and pixels in either; zeros
    where there is no raster."""
    distances: pd.DataFrame | None = None
    """One row per match: truth, prediction, distance, hausdorff_95, in metres or pixels; None where
    it was not measured."""
    ignored: float = 0.0
    """Area left out because the truth is not known."""
    classes: Confusion | None = None
    """Pixels by true and predicted class; None where classes were not compared."""
    labels: dict[str, Labels] = field(default_factory=dict)
    """Column to values, in the order of the table's ids: what scores are given by beside group and
    size."""

    def __post_init__(self) -> None:
        if self.confidence is not None and len(self.confidence) != len(self.table.prediction_ids):
            raise BadInput(
                f"{self.key}: {len(self.confidence)} confidences were given for "
                f"{len(self.table.prediction_ids)} objects; wanted is one each."
            )


@dataclass(frozen=True, slots=True)
class ImageOptions:
    """What is measured on the pixels of an image."""

    edge_width: int = 1
    """Width in pixels of the boundary band of objects (boundary IoU over all outlines)."""
    distances: bool = True
    """Measure boundary distances of matches; takes most of the time."""
    iou: float = 0.5
    """IoU of a match, for the distances."""


def score_ids(
    key: str,
    truth: np.ndarray,
    prediction: np.ndarray,
    *,
    group: str = "",
    ignore: np.ndarray | None = None,
    confidence: np.ndarray | None = None,
    pixel: tuple[float, float] | None = None,
    options: ImageOptions | None = None,
) -> ImageScores:
    """Score one image's object ids.

    Parameters
    ----------
    key, group : str
        Name of the image, and of the group (country, site) that it belongs to.
    truth, prediction : (y, x) integer ndarray
        Object ids, 0 is none.
    ignore : (y, x) bool ndarray, optional
        Where the truth is not known.
    confidence : (prediction,) ndarray, optional
        0..1 for each predicted id in ascending order, those on unknown pixels included.
    pixel : (dy, dx), optional
        Metres of a pixel; None for a photograph.
    options : ImageOptions, optional
    """
    options = options or ImageOptions()
    table = overlap_table(truth, prediction, ignore)
    known = np.ones(truth.shape, bool) if ignore is None else ~ignore
    real, said = (truth > 0) & known, (prediction > 0) & known
    area = (float((real & said).sum()), float((said & ~real).sum()), float((real & ~said).sum()))
    seen = None if ignore is None else known
    bands = [outline_band(ids, options.edge_width, seen) for ids in (truth, prediction)]
    edge = (float((bands[0] & bands[1]).sum()), float((bands[0] | bands[1]).sum()))
    distances = None
    if options.distances:
        distances = boundary_distances(
            truth, prediction, table, match_objects(table, options.iou), pixel or (1.0, 1.0), seen
        )[1]
    unit = None if pixel is None else pixel[0] * pixel[1]
    return ImageScores(
        key, group, table, area, unit, confidence, edge, distances, float((~known).sum())
    )


def outline_band(ids: np.ndarray, width: int, known: np.ndarray | None = None) -> np.ndarray:
    """Mark pixels of objects at most ``width`` steps from another id.

    The image's border is no outline, nor is that of what is not ``known`` ((y, x) bool), where
    nothing is marked.
    """
    from scipy import ndimage

    size = 2 * width + 1
    # unknown pixels are neither the largest nor the smallest id of their neighbours; ids.max, as
    # the filter computes in float64, where the largest int64 becomes the smallest one
    highest, lowest = (
        (ids, ids)
        if known is None
        else (np.where(known, ids, 0), np.where(known, ids, ids.max(initial=0)))
    )
    differs = ndimage.maximum_filter(highest, size, mode="nearest") != ndimage.minimum_filter(
        lowest, size, mode="nearest"
    )
    line: np.ndarray = differs & (ids > 0)
    return line if known is None else line & known


def mask_scores(
    key: str,
    truth: np.ndarray,
    prediction: np.ndarray,
    *,
    group: str = "",
    known: np.ndarray | None = None,
    width: int = 3,
) -> ImageScores:
    """Score one image's masks of a class that does not come as objects (crop against soil).

    Each mask is one object.

    Parameters
    ----------
    truth, prediction : (y, x) bool ndarray
        Masks.
    width : int
        Width in pixels of the boundary band, the image's border included as in boundary IoU.
    """
    ignore = None if known is None else ~known
    plain = score_ids(
        key,
        truth.astype(np.int32),
        prediction.astype(np.int32),
        group=group,
        ignore=ignore,
        options=ImageOptions(distances=False),
    )
    one, other = boundary_band(truth, width, known), boundary_band(prediction, width, known)
    edge = (float((one & other).sum()), float((one | other).sum()))
    return ImageScores(key, group, plain.table, plain.area, None, None, edge, None, plain.ignored)
