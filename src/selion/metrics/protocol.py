"""Other people's rules, reproduced as they are so that numbers can be laid beside theirs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from selion.classes import IGNORE
from selion.errors import GridMismatch
from selion.metrics.objects import ObjectScores, object_scores
from selion.metrics.overlap import overlap_table
from selion.metrics.pixel import Confusion, confusion, pixel_scores
from selion.metrics.statistics import Interval, group_mean

PRUE_DIFFERENCES = (
    (
        "Objects are 4-connected components of the field class, in truth and prediction, whatever "
        "the instance labels say: fields that touch are one object."
    ),
    (
        "Boundary pixels of the prediction are background; the truth is a two-class mask whose "
        "boundary lines are background."
    ),
    "A match wants an IoU of more than 0.5; equality is no match.",
    (
        "Unknown pixels (presence-only countries) are left out of pixel scores only: a field found "
        "there is a false alarm among objects."
    ),
    (
        "Counts are pooled within a country, and countries are averaged without weights; `ftw "
        "model test --countries full_data` pools all chips instead."
    ),
    "The interval is 1.96 standard deviations over countries, divided by the root of their number.",
)
"""What `protocol="prue"` does otherwise than selion's own rules; printed with its scores."""


def field_mask(labels: np.ndarray) -> np.ndarray:
    """Return (y, x) uint8: 1 field interior, 0 background and boundary, 255 unknown.

    From two- or three-class labels.
    """
    return np.where(labels == IGNORE, IGNORE, labels == 1).astype(np.uint8)


def mask_objects(mask: np.ndarray) -> np.ndarray:
    """Return (y, x) int32 ids of the 4-connected components of the pixels that are 1."""
    import cc3d

    ids: np.ndarray = cc3d.connected_components(
        np.ascontiguousarray(mask == 1).view(np.uint8), connectivity=4, out_dtype=np.uint32
    )
    return ids.astype(np.int32, copy=False)


@dataclass(frozen=True, eq=False, slots=True)
class PrueScores:
    """One country, or one chip."""

    pixels: Confusion
    objects: ObjectScores

    def __add__(self, other: PrueScores) -> PrueScores:
        return PrueScores(self.pixels + other.pixels, self.objects + other.objects)

    def to_dict(self) -> dict[str, float]:
        """Return the columns of PRUE's Table 1.

        An F1 without precision or recall is NaN, as there.
        """
        field = pixel_scores(self.pixels).table.iloc[1]
        precision, recall = self.objects.precision, self.objects.recall
        f1 = (
            2 * precision * recall / (precision + recall)
            if precision + recall > 0
            else float("nan")
        )
        named = {
            "pixel_iou": field.iou,
            "pixel_precision": field.precision,
            "pixel_recall": field.recall,
        }
        # torchmetrics, which ftw-tools uses, calls 0 / 0 zero
        pixels = {name: float(np.nan_to_num(value)) for name, value in named.items()}
        return {**pixels, "object_precision": precision, "object_recall": recall, "object_f1": f1}


def prue_scores(
    truth: np.ndarray,
    prediction: np.ndarray,
    iou: float = 0.5,
    *,
    objects: np.ndarray | None = None,
) -> PrueScores:
    """Score one chip as ftw-tools and PRUE do.

    Parameters
    ----------
    truth, prediction : (y, x) uint8 ndarray
        Two- or three-class labels (0 background, 1 field, 2 boundary); truth 255 is unknown (3 in
        FTW's files).
    iou : float
        At least 0.5; a match wants more.
    objects : (y, x) int32 ndarray, optional
        Predicted ids of a model that answers with objects (Mask2Former, SAM, Delineate Anything):
        they are taken instead of the components of ``prediction``, as the paper's evaluation of
        instance models does.

    Notes
    -----
    PRUE (arXiv 2603.27101), section 3.4, as in the public code of ftw-baselines at 0bc7a85; the
    differences from selion's own scores are :data:`PRUE_DIFFERENCES`.
    """
    if truth.shape != prediction.shape:
        raise GridMismatch(
            f"Truth of shape {truth.shape} and prediction of shape {prediction.shape} cannot be "
            "compared: bring both to one grid."
        )
    real, said = field_mask(truth), field_mask(prediction)
    table = overlap_table(mask_objects(real), mask_objects(said) if objects is None else objects)
    return PrueScores(confusion(real, said, 2), object_scores(table, iou, strict=True))


def prue_means(
    chips: Iterable[tuple[str, PrueScores]],
) -> tuple[dict[str, dict[str, float]], dict[str, Interval]]:
    """Pool chips by country, then average countries.

    Parameters
    ----------
    chips : iterable of (country, PrueScores)

    Returns
    -------
    countries : dict
        Country to scores.
    means : dict
        Measure to its unweighted mean over countries with the papers' interval.
    """
    pooled: dict[str, PrueScores] = {}
    for country, scores in chips:
        pooled[country] = pooled[country] + scores if country in pooled else scores
    countries = {country: scores.to_dict() for country, scores in sorted(pooled.items())}
    return countries, country_means(countries)


def country_means(countries: Mapping[str, Mapping[str, float]]) -> dict[str, Interval]:
    """Average each measure over countries."""
    measures = next(iter(countries.values()), {})
    return {
        measure: group_mean({name: row[measure] for name, row in countries.items()})
        for measure in measures
    }
