"""How a partition goes wrong.

Over- and under-segmentation, kinds of error, size classes, area bias.  All from one overlap table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from selion.errors import BadInput
from selion.metrics.objects import Matches, match_objects
from selion.metrics.overlap import OverlapTable
from selion.metrics.pixel import divide

FIELD_SIZES = (0.0, 0.64e4, 2.56e4, 16e4, 100e4, np.inf)
"""Edges in m2 of the field size classes of Fritz et al. and Lesiv et al.: very small, small,
medium, large, very large."""
FIELD_SIZE_NAMES = (
    "very small (< 0.64 ha)",
    "small (0.64 to 2.56 ha)",
    "medium (2.56 to 16 ha)",
    "large (16 to 100 ha)",
    "very large (> 100 ha)",
)


@dataclass(frozen=True, slots=True)
class Segmentation:
    """Shares of area that are cut off or taken in."""

    over: float
    """Mean over truth objects of 1 - |T & G| / |T|, G the prediction that shares most with T; 1
    where there is none."""
    under: float
    """Mean over truth objects with a prediction of 1 - |T & G| / |G|."""
    over_weighted: float
    """The same, weighted by the area of the truth."""
    under_weighted: float
    fragments: float
    """Mean number of predictions that lie for more than half in a truth object, over truth objects
    that have one."""


def segmentation_errors(table: OverlapTable) -> Segmentation:
    """Measure over- and under-segmentation.

    Each truth object is measured against the prediction that shares most with it.

    Notes
    -----
    Persello and Bruzzone, "A novel protocol for accuracy assessment in classification of very high
    resolution images", IEEE TGRS 48, 2010, eq. 6 and 7; used for fields by Waldner and
    Diakogiannis, Remote Sensing of Environment 245, 2020.
    """
    rows, columns, shared = _best_prediction(table)
    over = np.ones(len(table.truth_ids))
    over[rows] = 1 - shared / table.truth_area[rows]
    under = 1 - shared / table.prediction_area[columns]
    inside = table.shared > 0.5 * table.prediction_area[table.prediction_index]
    pieces = np.bincount(table.truth_index[inside], minlength=len(over))
    return Segmentation(
        _mean(over),
        _mean(under),
        _mean(over, table.truth_area),
        _mean(under, table.truth_area[rows]),
        _mean(pieces[pieces > 0].astype(float)),
    )


def _best_prediction(table: OverlapTable) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return truth row, prediction row and shared area of each truth object's largest overlap."""
    order = np.lexsort((table.prediction_index, -table.shared, table.truth_index))
    first = (
        np.concatenate([[True], np.diff(table.truth_index[order]) > 0])
        if len(order)
        else np.zeros(0, bool)
    )
    best = order[first]
    return table.truth_index[best], table.prediction_index[best], table.shared[best]


def _mean(values: np.ndarray, weights: np.ndarray | None = None) -> float:
    return float(np.average(values, weights=weights)) if len(values) else float("nan")


TRUTH_KINDS = ("matched", "split", "merged", "partial", "missed")
PREDICTION_KINDS = ("matched", "fragment", "merger", "partial", "false", "ignored")


@dataclass(frozen=True, eq=False, slots=True)
class ErrorKinds:
    """What became of each object."""

    truth: np.ndarray
    """(truth,) index into TRUTH_KINDS."""
    prediction: np.ndarray
    """(prediction,) index into PREDICTION_KINDS."""

    def counts(self) -> dict[str, dict[str, int]]:
        """Count objects by kind."""
        return {
            side: dict(zip(names, np.bincount(kinds, minlength=len(names)).tolist(), strict=True))
            for side, names, kinds in (
                ("truth", TRUTH_KINDS, self.truth),
                ("prediction", PREDICTION_KINDS, self.prediction),
            )
        }


def error_kinds(table: OverlapTable, iou: float = 0.5) -> ErrorKinds:
    """Say of each truth object what became of it, and likewise of each prediction.

    It was matched, split, merged with others, partly found or missed.

    Matched: one to one at ``iou``.  Split: two or more predictions lie for more than half in it and
    together cover more than half of it.  Merged: more than half of it lies in a prediction that
    holds more than half of another object too.  Missed: less than a tenth is covered.  A prediction
    is a fragment if it lies for more than half in an unmatched object, a merger if it holds more
    than half of two or more objects, false if less than a tenth of it is truth.  Kinds are tried in
    the order of the lists.
    """
    matches = match_objects(table, iou)
    truths, predictions = len(table.truth_ids), len(table.prediction_ids)
    rows, columns = table.truth_index, table.prediction_index
    of_prediction, of_truth = (
        table.shared > 0.5 * table.prediction_area[columns],
        table.shared > 0.5 * table.truth_area[rows],
    )
    covered, filled = (
        np.bincount(rows, table.shared, truths),
        np.bincount(columns, table.shared, predictions),
    )
    pieces, cover = (
        np.bincount(rows[of_prediction], minlength=truths),
        np.bincount(rows[of_prediction], table.shared[of_prediction], truths),
    )
    swallowed = np.bincount(columns[of_truth], minlength=predictions)
    in_merger = np.bincount(rows[of_truth & (swallowed[columns] > 1)], minlength=truths) > 0
    is_fragment = np.bincount(columns[of_prediction], minlength=predictions) > 0
    truth = np.select(
        [
            _marked(truths, matches.truth_index),
            (pieces > 1) & (cover > 0.5 * table.truth_area),
            in_merger,
            covered >= 0.1 * table.truth_area,
        ],
        [0, 1, 2, 3],
        4,
    )
    ignored = table.prediction_ignored > table.prediction_area
    real = filled >= 0.1 * table.prediction_area
    prediction = np.select(
        [_marked(predictions, matches.prediction_index), ignored, swallowed > 1, is_fragment, real],
        [0, 5, 2, 1, 3],
        4,
    )
    return ErrorKinds(truth, prediction)


def _marked(size: int, rows: np.ndarray) -> np.ndarray:
    marks = np.zeros(size, bool)
    marks[rows] = True
    return marks


def size_classes(
    table: OverlapTable,
    edges: Sequence[float] = FIELD_SIZES,
    names: Sequence[str] = FIELD_SIZE_NAMES,
    *,
    pixel_area: float = 1.0,
    iou: float = 0.5,
    matches: Matches | None = None,
) -> pd.DataFrame:
    """Score by size.

    Recall and IoU by the size of the truth, precision by the size of the prediction.  Unmatched
    predictions that lie for the most part where the truth is not known are not counted.

    Parameters
    ----------
    table : OverlapTable
        Areas in pixels, or in m2 with ``pixel_area`` 1.
    edges : sequence of float
        Class edges in m2 (px without a CRS), ascending, one more than classes; a class holds
        ``low <= area < high``.
    names : sequence of str
        Class names.
    pixel_area : float
        m2 of a pixel.
    iou : float
        IoU of a match.
    matches : Matches, optional
        Taken instead of those at ``iou``: found in pixels, where an IoU of a half is exact.

    Returns
    -------
    DataFrame
        Index: class; columns truth, found, recall, mean_iou (of the matches), prediction, right,
        precision.

    Notes
    -----
    Classes: Fritz et al., Global Change Biology 21, 2015; Lesiv et al., Global Change Biology
    25, 2019.
    """
    if len(edges) != len(names) + 1:
        raise BadInput(
            f"{len(edges)} edges were given for {len(names)} size classes; wanted is one more than "
            "classes."
        )
    matches = match_objects(table, iou) if matches is None else matches
    of_truth, of_prediction = (
        np.digitize(area * pixel_area, edges) - 1
        for area in (table.truth_area, table.prediction_area)
    )
    size = len(names)

    def count(kinds: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        inside = (kinds >= 0) & (kinds < size)
        return np.bincount(kinds[inside], None if weights is None else weights[inside], size)

    judged = table.prediction_ignored <= table.prediction_area
    judged[matches.prediction_index] = True
    truth, found = count(of_truth), count(of_truth[matches.truth_index])
    prediction, right = count(of_prediction[judged]), count(of_prediction[matches.prediction_index])
    total_iou = count(of_truth[matches.truth_index], matches.iou)
    columns = {
        "truth": truth,
        "found": found,
        "recall": divide(found, truth),
        "mean_iou": divide(total_iou, found),
    }
    return pd.DataFrame(
        {
            **columns,
            "prediction": prediction,
            "right": right,
            "precision": divide(right, prediction),
        },
        index=pd.Index(names, name="size"),
    )


@dataclass(frozen=True, slots=True)
class AreaBias:
    """How areas differ, in shares of the truth; 0.1 is ten per cent too large."""

    total: float
    """All predicted area against all true area."""
    matched: float
    """Summed area of the matches against their truth's."""
    median: float
    """Median over matches."""
    spread: float
    """Half the distance between the 16th and the 84th percentile over matches."""


def area_bias(table: OverlapTable, matches: Matches | None = None) -> AreaBias:
    """Compare predicted with true areas, in total and match by match.

    Matches are one to one at IoU 0.5 unless ``matches`` are given.
    """
    matches = match_objects(table) if matches is None else matches
    truth, prediction = (
        table.truth_area[matches.truth_index],
        table.prediction_area[matches.prediction_index],
    )
    nan = float("nan")
    total = (
        float(table.prediction_area.sum() / table.truth_area.sum() - 1)
        if table.truth_area.sum()
        else nan
    )
    if not len(truth):
        return AreaBias(total, nan, nan, nan)
    ratio = prediction / truth - 1
    low, high = np.percentile(ratio, [16, 84])
    return AreaBias(
        total,
        float(prediction.sum() / truth.sum() - 1),
        float(np.median(ratio)),
        float(high - low) / 2,
    )
