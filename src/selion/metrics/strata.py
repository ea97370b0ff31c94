"""Scores by any column: crop, region, year, slope."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pandas as pd

from selion.errors import BadInput
from selion.metrics.image import ImageScores
from selion.metrics.objects import match_objects

MANY = 12
"""A column of numbers with more different values than this is cut at its quartiles."""
NONE = "(none)"


def stratify(images: Sequence[ImageScores], column: str, iou: float = 0.5) -> pd.DataFrame:
    """Score objects by the value of a column.

    Parameters
    ----------
    images : sequence of ImageScores
        With ``labels[column]``.
    column : str
    iou : float
        IoU of a match.

    Returns
    -------
    DataFrame
        Index: value, ``(none)`` last; columns truth, found, recall, mean_iou (of the matches),
        prediction, right, precision.  Precision is NaN where predictions carry no such value: a
        false alarm has no crop.  Predictions that lie for the most part where the truth is not
        known are not counted.

    Raises
    ------
    BadInput
        If an image has no such column.
    """
    for image in images:
        if column not in image.labels:
            raise BadInput(
                f"{image.key} has no values of {column!r}: scores can be given by "
                f"{sorted(image.labels) or 'no column'}."
            )
    rows = [_rows(image, column, iou) for image in images]
    truth, prediction = (pd.concat([pair[k] for pair in rows], ignore_index=True) for k in (0, 1))
    cut = _binning(pd.concat([truth["value"], prediction["value"]]))
    parts = [
        side.assign(value=cut(side["value"])).groupby("value", sort=False)
        for side in (truth, prediction)
    ]
    found = parts[0].agg(
        truth=("hit", "size"),
        found=("hit", "sum"),
        recall=("hit", "mean"),
        mean_iou=("iou", "mean"),
    )
    said = parts[1].agg(prediction=("hit", "size"), right=("hit", "sum"), precision=("hit", "mean"))
    table = found.join(said, how="outer").fillna(
        dict.fromkeys(("truth", "found", "prediction", "right"), 0)
    )
    order = sorted(table.index, key=lambda value: (value == NONE, _sort_key(value)))
    counts = dict.fromkeys(("truth", "found", "prediction", "right"), "int64")
    return table.loc[order].astype(counts).rename_axis(column)


def _rows(image: ImageScores, column: str, iou: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return one row per true and per predicted object: value, hit (0 or 1), iou of its match."""
    table, (real, said) = image.table, image.labels[column]
    matches = match_objects(table, iou)
    best = np.full(len(table.truth_ids), np.nan)
    best[matches.truth_index] = matches.iou
    truth = pd.DataFrame(
        {
            "value": pd.Series(real, dtype=object),
            "hit": np.isfinite(best).astype(float),
            "iou": best,
        }
    )
    right = np.zeros(len(table.prediction_ids))
    right[matches.prediction_index] = 1
    keep = (right > 0) | (table.prediction_ignored <= table.prediction_area)
    prediction = pd.DataFrame(
        {
            "value": pd.Series(
                said if said is not None else np.full(len(right), None), dtype=object
            ),
            "hit": right,
        }
    )
    return truth, prediction[keep] if said is not None else prediction[:0]


def _binning(values: pd.Series) -> Callable[[pd.Series], pd.Series]:
    """Return what turns values into texts: themselves, or quarters of a column of many numbers."""
    known = values.dropna()
    numbers = pd.to_numeric(known, errors="coerce")
    if numbers.isna().any() or numbers.nunique() <= MANY:
        return lambda column: column.map(_text).astype(object)
    edges = np.unique(np.quantile(numbers, [0, 0.25, 0.5, 0.75, 1]))
    names = np.array([f"{low} to {high}" for low, high in pairwise(_texts_of(edges))], object)
    return lambda column: column.map(
        lambda v: (
            NONE
            if pd.isna(v)
            else names[min(int(np.searchsorted(edges, float(v), "right")) - 1, len(names) - 1)]
        )
    ).astype(object)


def _texts_of(edges: np.ndarray) -> list[str]:
    """Return texts of different numbers, as short as tells all of them apart."""
    for digits in range(6, 18):
        texts = [f"{edge:.{digits}g}" for edge in edges]
        if len(set(texts)) == len(edges):
            break
    return texts


def _text(value: object) -> str:
    missing = pd.api.types.is_scalar(value) and pd.isna(value)  # type: ignore[call-overload]
    if missing or (isinstance(value, str) and not value):
        return NONE
    # a column of whole numbers in which one is missing comes as floats: 5.0 is the 5 of others
    whole = isinstance(value, float | np.floating) and float(value).is_integer()
    return str(int(value)) if whole else str(value)  # type: ignore[call-overload]


def _sort_key(value: str) -> tuple[float, str]:
    first = value.split(" ", maxsplit=1)[0]
    try:
        return float(first), value
    except ValueError:
        return np.inf, value
