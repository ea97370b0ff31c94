"""How the scores of a country move when its chips do: order, brightness, scale, agreement."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from selion import metrics
from selion.evaluation.answers import onto
from selion.evaluation.deployment import as_classes
from selion.metrics.deploy import Perturbed
from selion.papers.answering import AS_IT_IS, chip_pixels, three_classes, true_answer
from selion.papers.counting import COUNTS, counts_of, scores_of
from selion.sample import Sample
from selion.segmenter import Segmenter

FAMILIES = ("order", "brightness", "scale")
"""Of conditions; a table's columns are ``<family>_f1`` and ``<family>_iou``."""
STEP = 4
"""Chips are cut to a multiple of this many pixels for the agreement: a quarter is left out on each
side of the centre."""
DIVISOR = 10_000.0
"""By which the published way divides instead."""


@dataclass(frozen=True, eq=False, slots=True)
class CountryChanges:
    """A model in a country under each condition, chip by chip."""

    chips: tuple[str, ...]
    families: Mapping[str, tuple[str, ...]]
    """Family -> its conditions; empty where the model has one date and no other order."""
    counts: np.ndarray
    """(chip, 1 + condition, 6) int64 counts: the reference, then all conditions in the order of
    ``families``."""
    agreement: np.ndarray
    """(chip,) share of the central pixels on which four corner crops agree."""

    def values(self, *, published: bool) -> dict[str, float]:
        """Return ``<family>_f1``, ``<family>_iou`` and ``agreement`` of the country.

        Published: the absolute change of the country's pooled score, mean over conditions.  Else
        the mean over chips of the mean absolute change over conditions; a chip that neither shows
        nor is said to show a field says nothing.
        """
        found: dict[str, float] = {}
        taken = 1
        for family, conditions in self.families.items():
            part = slice(taken, taken + len(conditions))
            taken += len(conditions)
            for short, measure in (("f1", "object_f1"), ("iou", "pixel_iou")):
                found[f"{family}_{short}"] = self._change(measure, part, published=published)
        return found | {"agreement": float(self.agreement.mean())}

    def _change(self, measure: str, conditions: slice, *, published: bool) -> float:
        counts = self.counts.sum(0, keepdims=True) if published else self.counts
        chips, columns = counts.shape[:2]
        flat = scores_of(counts.reshape(-1, len(COUNTS)), published=False)[measure]
        scores = flat.reshape(chips, columns)
        if measure == "pixel_iou" and not published:  # 0 of nothing would be one that stays
            scores = np.where(counts[:, :, :3].any(2), scores, np.nan)
        moved = np.abs(scores[:, :1] - scores[:, conditions])
        return _finite_mean(moved)

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "chips": list(self.chips),
            "families": {name: list(some) for name, some in self.families.items()},
            "columns": list(COUNTS),
            "counts": self.counts.tolist(),
            "agreement": self.agreement.tolist(),
        }

    @classmethod
    def from_dict(cls, table: Mapping[str, object]) -> CountryChanges:
        """Inverse of :meth:`to_dict`."""
        families: dict[str, list[str]] = table["families"]  # type: ignore[assignment]
        chips: list[str] = table["chips"]  # type: ignore[assignment]
        conditions = 1 + sum(len(some) for some in families.values())
        return cls(
            tuple(chips),
            {name: tuple(some) for name, some in families.items()},
            np.array(table["counts"], np.int64).reshape(len(chips), conditions, len(COUNTS)),
            np.array(table["agreement"], np.float64),
        )


def _finite_mean(moved: np.ndarray) -> float:
    """Mean over conditions, then chips; what is not a number is left out."""
    by_chip = np.ma.masked_invalid(moved).mean(1).filled(np.nan) if moved.size else np.zeros(0)
    known = by_chip[np.isfinite(by_chip)]
    return float(known.mean()) if len(known) else float("nan")


def conditions_of(model: Segmenter, *, published: bool) -> dict[str, list[Perturbed]]:
    """Return the changes of a model's input, by family."""
    if not published:
        return {
            "order": metrics.reordered(model),
            "brightness": metrics.rescaled(model),
            "scale": metrics.resized(model),
        }

    def brighten(pixels: np.ndarray) -> np.ndarray:
        divide = np.asarray(model.inputs.scaling_of(len(pixels)).divide, np.float32)
        return pixels.astype(np.float32) * divide[:, None, None] / np.float32(DIVISOR)

    brighter = Perturbed(f"divided by {DIVISOR:,.0f}", model, brighten)
    twice = Perturbed("enlarged twice", model, enlarge, _pick_every_second)
    return {"order": metrics.reordered(model), "brightness": [brighter], "scale": [twice]}


def enlarge(pixels: np.ndarray, times: int = 2) -> np.ndarray:
    """Interpolate (band, y, x) linearly to ``times`` as many pixels, corners on corners.

    As kornia's ``Resize`` does, whose corner pixels keep their values.
    """
    rows, columns = (np.linspace(0, n - 1, n * times) for n in pixels.shape[1:])
    at = np.meshgrid(rows, columns, indexing="ij")
    return np.stack(
        [
            ndimage.map_coordinates(band, at, order=1, mode="nearest")
            for band in pixels.astype(np.float32)
        ]
    )


def _pick_every_second(shares: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    return shares[:, :: shares.shape[1] // shape[0], :: shares.shape[2] // shape[1]]


def country_changes(
    model: Segmenter, samples: Iterable[Sample], *, published: bool
) -> CountryChanges:
    """Score a model on a country's chips as they are and under each condition.

    Parameters
    ----------
    model : Segmenter
        Of probabilities, or of objects: whose objects are then compared as classes.
    samples : iterable of Sample
        The chips; each is fed whole, as one view.
    published : bool
        One condition for each family, as in the published code, at the chip's own pixels; else
        several, on the model's working grid.
    """
    model = as_classes(model)
    families = conditions_of(model, published=published)
    asked = [model, *(one for some in families.values() for one in some)]
    chips, counts, agreement = [], [], []
    for sample in samples:
        chips.append(sample.key)
        pixels = chip_pixels(model, sample, AS_IT_IS if published else None)
        truth = true_answer(sample, whole_objects=False, published=published).mask
        counts.append([_count(one, pixels, truth, sample) for one in asked])
        agreement.append(_agreement(model, pixels))
    return CountryChanges(
        tuple(chips),
        {name: tuple(one.name for one in some) for name, some in families.items()},
        np.array(counts, np.int64).reshape(len(counts), len(asked), len(COUNTS)),
        np.array(agreement),
    )


def _count(model: Segmenter, pixels: np.ndarray, truth: np.ndarray, sample: Sample) -> np.ndarray:
    """Count on the chip's own pixels: the answer under each pixel's centre."""
    labels = three_classes(metrics.classify(model, pixels), model.classes)
    return counts_of(metrics.prue_scores(truth, onto(labels, sample.image.grid)))


def _agreement(model: Segmenter, pixels: np.ndarray) -> float:
    """Share of the central quarter of a chip on which its four corner crops agree (equation 1)."""
    size = min(pixels.shape[1:]) // STEP * STEP
    top, left = ((edge - size) // 2 for edge in pixels.shape[1:])
    square = pixels[:, top : top + size, left : left + size]
    return metrics.corner_consistency(square, model, size // 2).share
