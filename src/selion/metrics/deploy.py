"""Whether the score will hold when the model is deployed.

Translation, input order, radiometry and scale, for any Segmenter.

PRUE (arXiv 2603.27101), section 3.2, equations 1 to 8.  The paper and its code name no values for
radiometry and scale, so the grids here are ours and are printed with every result: :data:`SCALINGS`
and :data:`SCALES`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import ndimage

from selion.classes import ClassScheme
from selion.errors import BadInput
from selion.metrics.pixel import confusion, finite_mean, pixel_scores
from selion.metrics.protocol import prue_scores
from selion.segmenter import InputSpec, Segmenter, View

Change = Callable[[np.ndarray], np.ndarray]
Measure = Callable[[np.ndarray, np.ndarray], float]
"""From (y, x) truth labels and (y, x) predicted labels to a score."""

SCALINGS = (
    ("divisor x 0.5", 2.0, 0.0),
    ("divisor x 0.75", 4 / 3, 0.0),
    ("divisor x 1.5", 2 / 3, 0.0),
    ("divisor x 10/3", 0.3, 0.0),
    ("offset left in", 1.0, 1 / 3),
    ("offset taken twice", 1.0, -1 / 3),
)
"""Name, gain and offset of each change of radiometry; the offset is a share of the model's own
divisor.

With PRUE's divisor of 3000 these are divisors of 1500, 2250, 4500 and 10000 (the two conventions of
the paper), and the offset of 1000 that Sentinel-2's processing baseline 04.00 brought, forgotten or
subtracted twice.
"""
SCALES = (0.5, 0.75, 1.5, 2.0, 3.0)
"""Factors by which the image is resampled before the model sees it."""
CENTRES = (32, 64, 96, 128, 160, 192, 224)
"""Overlaps in pixels for the sweep of Figure 6, for 256 px images."""


def classify(model: Segmenter, pixels: np.ndarray) -> np.ndarray:
    """Return (class, y, x) probabilities of one (band, y, x) image.

    It is given as one view, padded by reflection to the model's multiple.
    """
    height, width = pixels.shape[1:]
    multiple = model.inputs.multiple
    pads = (-height % multiple, -width % multiple)
    padded = (
        np.pad(pixels, ((0, 0), (0, pads[0]), (0, pads[1])), mode="symmetric")
        if any(pads)
        else pixels
    )
    view = View(padded, (slice(0, padded.shape[1]), slice(0, padded.shape[2])))
    return model([view])[0, :, :height, :width]


@dataclass(frozen=True, eq=False, slots=True)
class Consistency:
    """Whether four crops of one image say the same of what they share."""

    share: float
    """Share of the centre's pixels on which all four agree."""
    agree: np.ndarray
    """(centre, centre) bool."""


def corner_consistency(pixels: np.ndarray, model: Segmenter, centre: int = 128) -> Consistency:
    """Predict the four corner crops of an image and compare them where they overlap.

    Parameters
    ----------
    pixels : (band, size, size) ndarray
        A square image: 256 px in the paper.
    model : Segmenter
        Any model.
    centre : int
        Edge in pixels of the region that all four crops share; crops are ``(size + centre) / 2``
        px: 192 for 256 and 128.

    Raises
    ------
    BadInput
        If the image is not square, or size and centre differ in parity.

    Notes
    -----
    PRUE, equation 1: the mean over the shared pixels of whether all four classes are equal.
    """
    size = pixels.shape[-1]
    if pixels.ndim != 3 or pixels.shape[1] != size or not 0 < centre < size or (size - centre) % 2:
        raise BadInput(
            f"An image of shape {pixels.shape} and a centre of {centre} px were given; wanted is a "
            "square image and a smaller centre of the same parity."
        )
    crop, pad = (size + centre) // 2, (size - centre) // 2
    said = []
    for top in (0, pad):
        for left in (0, pad):
            labels = classify(model, pixels[:, top : top + crop, left : left + crop]).argmax(0)
            said.append(labels[pad - top : pad - top + centre, pad - left : pad - left + centre])
    agree = np.logical_and.reduce([said[0] == other for other in said[1:]])
    return Consistency(float(agree.mean()), agree)


def consistency_sweep(
    pixels: np.ndarray, model: Segmenter, centres: Sequence[int] = CENTRES
) -> dict[int, float]:
    """Return the corner consistency for several overlaps (PRUE, Figure 6).

    Large ones show shifts alone, small ones missing context too.
    """
    return {centre: corner_consistency(pixels, model, centre).share for centre in centres}


class SegmenterWrapper:
    """A Segmenter that asks another one, ``model``: it takes and answers what that one does."""

    model: Segmenter

    @property
    def inputs(self) -> InputSpec:
        """What the model itself expects."""
        return self.model.inputs

    @property
    def classes(self) -> ClassScheme:
        """What the model itself answers."""
        return self.model.classes


@dataclass(frozen=True)
class Perturbed(SegmenterWrapper):
    """A model that sees a changed image.

    Still a Segmenter, so it can be scored by whatever scores the model itself.
    """

    name: str
    model: Segmenter
    before: Change
    """From the (band, y, x) pixels of a view to those that the model gets."""
    after: Callable[[np.ndarray, tuple[int, int]], np.ndarray] | None = None
    """From (class, y, x) probabilities back to the (y, x) shape of the view; None if the shape
    stays."""

    def __call__(self, views: Sequence[View]) -> np.ndarray:
        """Return (view, class, y, x) float32 probabilities."""
        return np.stack([self._one(view) for view in views])

    def _one(self, view: View) -> np.ndarray:
        changed = self.before(view.pixels)
        if self.after is None:
            answer: np.ndarray = self.model([View(changed, view.roi, view.context)])[0]
            return answer
        return self.after(
            classify(self.model, changed), (view.pixels.shape[1], view.pixels.shape[2])
        )


def season_groups(bands: Sequence[str]) -> list[list[int]]:
    """Return the band numbers of each date, read from names such as ``planting:red``.

    One group if the names do not say.
    """
    groups: dict[str, list[int]] = {}
    for k, name in enumerate(bands):
        groups.setdefault(name.partition(":")[0] if ":" in name else "", []).append(k)
    return list(groups.values())


def reordered(model: Segmenter) -> list[Perturbed]:
    """Return the model with the dates of its input in every other cyclic order.

    Empty for models of one date.
    """
    groups = season_groups(model.inputs.bands)
    if len(groups) < 2 or len({len(g) for g in groups}) != 1:
        return []
    orders = [
        [k for group in groups[turn:] + groups[:turn] for k in group]
        for turn in range(1, len(groups))
    ]
    return [
        Perturbed(f"order {turn}", model, lambda pixels, order=order: pixels[order])  # type: ignore[misc]
        for turn, order in enumerate(orders, 1)
    ]


def rescaled(
    model: Segmenter, changes: Sequence[tuple[str, float, float]] = SCALINGS
) -> list[Perturbed]:
    """Return the model behind other radiometric conventions.

    Pixels times gain, plus offset shares of its divisor, never below 0.
    """

    def changed(pixels: np.ndarray, gain: float, offset: float) -> np.ndarray:
        divide = np.asarray(model.inputs.scaling_of(len(pixels)).divide, np.float32)
        moved = divide[:, None, None] * np.float32(offset)
        return np.maximum(pixels.astype(np.float32) * np.float32(gain) + moved, 0)

    def change(gain: float, offset: float) -> Change:
        return lambda pixels: changed(pixels, gain, offset)

    return [Perturbed(name, model, change(gain, offset)) for name, gain, offset in changes]


def resized(model: Segmenter, factors: Sequence[float] = SCALES) -> list[Perturbed]:
    """Return the model behind a resampled image.

    Linear up or area-averaged down, probabilities brought back linearly.
    """
    return [
        Perturbed(
            f"scale x {f:g}",
            model,
            lambda pixels, f=f: resize(pixels, _scaled(pixels, f)),  # type: ignore[misc]
            resize,
        )
        for f in factors
    ]


def _scaled(pixels: np.ndarray, factor: float) -> tuple[int, int]:
    return max(1, round(pixels.shape[1] * factor)), max(1, round(pixels.shape[2] * factor))


def resize(pixels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resample (band, y, x) to ``shape`` (y, x), float32.

    Smoothed first where it shrinks, linear between pixel centres.
    """
    steps = [old / new for old, new in zip(pixels.shape[1:], shape, strict=True)]
    sigma = [max(0.0, (step - 1) / 2) for step in steps]
    rows, columns = (
        np.clip((np.arange(new) + 0.5) * step - 0.5, 0, old - 1)
        for new, step, old in zip(shape, steps, pixels.shape[1:], strict=True)
    )
    grid = np.meshgrid(rows, columns, indexing="ij")
    source = (
        ndimage.gaussian_filter(band, sigma, mode="nearest") if max(sigma) else band
        for band in pixels.astype(np.float32)
    )
    return np.stack(
        [ndimage.map_coordinates(band, grid, order=1, mode="nearest") for band in source]
    )


def field_iou(classes: ClassScheme) -> Measure:
    """Return the measure of a field's pixels.

    IoU of the first thing class together with the boundary class.
    """
    wanted = [
        classes.index(name)
        for name in (*classes.things[:1], *([classes.boundary] if classes.boundary else []))
    ] or list(range(1, len(classes)))

    def measure(truth: np.ndarray, prediction: np.ndarray) -> float:
        one = np.where(truth == 255, 255, np.isin(truth, wanted)).astype(np.uint8)
        return float(
            pixel_scores(confusion(one, np.isin(prediction, wanted).astype(np.uint8), 2))
            .table["iou"]
            .iloc[1]
        )

    return measure


def object_f1(classes: ClassScheme) -> Measure:
    """Return the measure of a field's objects.

    F1 at an IoU of more than 0.5 of the 4-connected components of the first thing class, as PRUE
    counts them (:func:`selion.metrics.prue_scores`); 0 where nothing matches, NaN where neither
    truth nor prediction has an object.
    """
    thing = classes.index(classes.things[0]) if classes.things else 1

    def only(labels: np.ndarray) -> np.ndarray:
        return np.where(labels == 255, 255, labels == thing).astype(np.uint8)

    def measure(truth: np.ndarray, prediction: np.ndarray) -> float:
        found = prue_scores(only(truth), only(prediction)).objects
        counted = 2 * found.tp + found.fp + found.fn
        return 2 * found.tp / counted if counted else float("nan")

    return measure


@dataclass(frozen=True, eq=False, slots=True)
class Sensitivity:
    """How a score moves when the input does."""

    samples: pd.DataFrame
    """(sample, condition): the score under each condition; column ``reference`` first."""
    conditions: tuple[str, ...]

    @property
    def delta(self) -> np.ndarray:
        """(sample,) mean over conditions of |reference - score| (equation 6)."""
        return _known_mean(np.abs(self._differences))

    @property
    def drop(self) -> np.ndarray:
        """(sample,) reference minus the mean score over conditions.

        It has its sign (equations 2 and 3).
        """
        return _known_mean(self._differences)

    @property
    def _differences(self) -> np.ndarray:
        reference = self.samples[["reference"]].to_numpy()
        difference: np.ndarray = reference - self.samples[list(self.conditions)].to_numpy()
        return difference

    def take(self, rows: Sequence[int]) -> Sensitivity:
        """Take some of the samples."""
        return Sensitivity(self.samples.iloc[list(rows)], self.conditions)

    def summary(self) -> dict[str, float]:
        """Mean score of each condition, and the dataset's sensitivity.

        The mean over samples of the absolute change.
        """
        means = {
            name: finite_mean(self.samples[name].to_numpy())
            for name in ("reference", *self.conditions)
        }
        return {
            **means,
            "sensitivity": finite_mean(self.delta),
            "mean_absolute_drop": finite_mean(np.abs(self.drop)),
        }


def _known_mean(values: np.ndarray) -> np.ndarray:
    """Average (sample, condition) over conditions; NaN where none is known."""
    mean: np.ndarray = np.ma.masked_invalid(values).mean(1).filled(np.nan)
    return mean


def sensitivity(
    samples: Iterable[tuple[np.ndarray, np.ndarray]],
    model: Segmenter,
    conditions: Sequence[Perturbed],
    measure: Measure | None = None,
) -> Sensitivity:
    """Score a model on samples as they are and under each condition.

    Parameters
    ----------
    samples : iterable of (pixels, truth)
        (band, y, x) pixels in the source's numbers and (y, x) uint8 labels of the model's scheme.
    model : Segmenter
        Any model.
    conditions : sequence of Perturbed
        From :func:`reordered`, :func:`rescaled`, :func:`resized`.
    measure : callable, optional
        Defaults to :func:`field_iou`.

    Raises
    ------
    BadInput
        Without a condition or a sample.
    """
    judges = {"": measure or field_iou(model.classes)}
    return sensitivities(samples, model, conditions, judges)[""]


def sensitivities(
    samples: Iterable[tuple[np.ndarray, np.ndarray]],
    model: Segmenter,
    conditions: Sequence[Perturbed],
    measures: Mapping[str, Measure],
) -> dict[str, Sensitivity]:
    """Score a model as :func:`sensitivity` does by several measures, predicting once.

    Raises
    ------
    BadInput
        Without a condition or a sample.
    """
    names = tuple(condition.name for condition in conditions)
    rows: dict[str, list[list[float]]] = {name: [] for name in measures}
    for pixels, truth in samples:
        said = [classify(one, pixels).argmax(0).astype(np.uint8) for one in (model, *conditions)]
        for name, judge in measures.items():
            rows[name].append([judge(truth, labels) for labels in said])
    counted = len(next(iter(rows.values()), []))
    if not counted or not names:
        raise BadInput(
            f"{counted} samples and {len(names)} conditions were given; wanted is one of each at "
            "least (a model of one date has no other order)."
        )
    return {
        name: Sensitivity(pd.DataFrame(found, columns=["reference", *names]), names)
        for name, found in rows.items()
    }
