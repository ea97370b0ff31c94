"""What a model says about one chip, by selion's own road or by that of PRUE's published code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from selion import metrics, prediction
from selion.classes import ClassScheme
from selion.data.dataset import Dataset
from selion.errors import BadInput
from selion.evaluation.answers import EvaluateOptions, answer, onto
from selion.fields import InstanceOptions
from selion.grid import whole
from selion.metrics.protocol import field_mask, mask_objects
from selion.prediction.number_kinds import wanted_numbers
from selion.sample import Sample
from selion.segmenter import LoadedModel, Segmenter, as_model
from selion.training.run import converted_alike

SMALLEST = 10
"""Pixels below which the published code leaves an object of an instance model out of AP."""
AS_IT_IS = prediction.PredictOptions(scale=1)
"""Chips are fed pixel by pixel, whatever their ground sampling distance."""

PUBLISHED = (
    (
        "Prediction: a chip is fed whole, as one view at its own pixels; without it, in the "
        "model's windows, blended where they overlap, at the ground sampling distance on its card, "
        "its probabilities rounded to 1/254 as in a map."
    ),
    (
        "Objects of a model that answers with objects: its masks are laid together and parted "
        "again into 4-connected components; without it, they are taken one by one."
    ),
    (
        "AP, truth and detections of a model of objects: those of 10 px or more; without it, all "
        "of them."
    ),
    (
        "AP, confidence of a component: the mean over its pixels of the largest probability among "
        "all classes but the background; without it, of the probability of a field."
    ),
    "AP, at most 100 detections a chip; without it, all of them.",
    (
        "F1 of a country where nothing matches: not a number, and left out of the mean; without "
        "it, 0."
    ),
    (
        "Change of a score: that of a country's pooled score under one condition (dates swapped, "
        "division by 10,000, the chip enlarged twice by corner-aligned interpolation and the "
        "answer picked back by nearest pixel); without it, the mean over chips of the mean "
        "absolute change over several conditions (PRUE, equations 2 to 6)."
    ),
    (
        "Agreement: the mean over chips of all countries, those with presence-only labels too; "
        "without it, over the chips of a country, then over countries."
    ),
)
"""What the switch ``as published`` does as PRUE's public code does it, and what is done without
it."""
ALWAYS = (
    "The truth is the published two-class mask; its objects are 4-connected components.",
    "Boundary pixels of an answer are background.",
    (
        "AP, truth: these components for models of pixels, the published instances for models of "
        "objects."
    ),
    "A match wants an IoU of more than 0.5.",
    "Counts are pooled within a country; countries are averaged without weights.",
)
"""What is done as in the paper in any case."""
OF_MEANS = (
    "Countries of which only some fields are labelled are left out.",
    "The interval of a mean is 1.96 standard deviations over countries by the root of their count.",
)
"""How means are taken, as in the paper."""
OF_ALL_CHIPS = (
    (
        "Countries of which only some fields are labelled are left out of all means but that of "
        "agreement."
    ),
    (
        "The interval of a mean is 1.96 standard deviations over countries by the root of their "
        "count, that of agreement over chips by the root of theirs."
    ),
)
"""How means are taken where agreement is that of the published code."""


@dataclass(frozen=True, eq=False, slots=True)
class ChipAnswer:
    """An answer on the chip's own pixels."""

    labels: np.ndarray
    """(y, x) uint8: 0 background, 1 field, 2 boundary."""
    objects: np.ndarray
    """(y, x) int32 ids of the objects that precision, recall and F1 count."""
    detected: np.ndarray
    """(y, x) int32 ids of the objects that AP ranks."""
    confidence: np.ndarray
    """(object,) float, of ``detected`` by ascending id."""


@dataclass(frozen=True, eq=False, slots=True)
class ChipTruth:
    """The truth of a chip."""

    mask: np.ndarray
    """(y, x) uint8: 1 inside fields, 0 elsewhere, 255 not known; the published two-class mask."""
    objects: np.ndarray
    """(y, x) int32 ids that AP compares with."""


def shown_chips(chips: Dataset, model: LoadedModel[Any]) -> tuple[Dataset, tuple[str, ...]]:
    """Return chips as they are stored; for a model of bytes, in bytes, as maps and training do it.

    Also what was done.  The published networks divide the numbers that are stored.
    """
    if wanted_numbers(model.inputs) != "bytes":
        return chips, ()
    shown, _, told = converted_alike(chips, (), model.inputs)
    return (shown, told) if isinstance(shown, Dataset) else (chips, ())


def true_answer(sample: Sample, *, whole_objects: bool, published: bool) -> ChipTruth:
    """Read the truth of a chip.

    Parameters
    ----------
    sample : Sample
        With the two-class labels; instances where there are some.
    whole_objects : bool
        Whether the model answers with objects.
    published : bool
        Whether the published code is followed (:data:`PUBLISHED`).

    Raises
    ------
    BadInput
        If the sample has no labels.
    """
    if sample.labels is None:
        raise BadInput(f"{sample.key} has no mask: the two-class mask of the data set is wanted.")
    field = sample.labels.classes.index("field")
    mask = np.where(sample.labels.ids == 255, 255, sample.labels.ids == field).astype(np.uint8)
    # a model of pixels cannot part what touches: its best answer is the mask, and that scores 1
    if sample.instances is None or not whole_objects:
        return ChipTruth(mask, mask_objects(mask))
    ids = sample.instances.ids.astype(np.int32)
    return ChipTruth(mask, without_small(ids) if published else ids)


def chip_answer(model: Segmenter, sample: Sample, *, published: bool) -> ChipAnswer:
    """Ask a model about one chip.

    Parameters
    ----------
    model : Segmenter
        Of probabilities or of objects.
    sample : Sample
        The chip.
    published : bool
        Whether the published code is followed (:data:`PUBLISHED`).

    Raises
    ------
    BandMismatch, EmptyImage, GridMismatch
        If the model cannot be fed with the chip.
    """
    if as_model(model).gives == "objects":
        return _objects(model, sample, published=published)
    if published:
        shares = view_of_chip(model, sample)
        sure = shares[1:].max(0)
    else:
        found = prediction.predict(sample.image, model)
        shares = found.values
        if found.valid is not None:
            shares = np.where(found.valid, shares, np.eye(len(shares))[0][:, None, None])
        things = [model.classes.index(name) for name in model.classes.things]
        sure = shares[things].sum(0)
    labels = onto(three_classes(shares, model.classes), sample.image.grid)
    ids = mask_objects(field_mask(labels))
    return ChipAnswer(labels, ids, ids, _means(ids, onto(sure, sample.image.grid)))


def view_of_chip(model: Segmenter, sample: Sample) -> np.ndarray:
    """Return (class, y, x) probabilities of a chip that is fed whole, at its own pixels."""
    return metrics.classify(model, chip_pixels(model, sample, AS_IT_IS))


def chip_pixels(
    model: Segmenter, sample: Sample, options: prediction.PredictOptions | None = None
) -> np.ndarray:
    """Return the (band, y, x) pixels of a chip on the model's working grid, in its band order."""
    decided = prediction.plan(sample.image, model, options)
    working = decided.working(sample.image)
    pixels: np.ndarray = working.read(whole(working.grid)).values[list(decided.bands)]
    return pixels.astype(np.float32)


def three_classes(shares: np.ndarray, classes: ClassScheme) -> np.ndarray:
    """Turn (class, y, x) probabilities into (y, x) uint8: 0 background, 1 field, 2 boundary."""
    kinds = np.zeros(len(classes), np.uint8)
    kinds[[classes.index(name) for name in classes.things]] = 1
    if classes.boundary:
        kinds[classes.index(classes.boundary)] = 2
    labels: np.ndarray = kinds[shares.argmax(0)]
    return labels


def without_small(ids: np.ndarray, least: int = SMALLEST) -> np.ndarray:
    """Return (y, x) ids without the objects of fewer than ``least`` pixels."""
    area = np.bincount(ids.ravel())
    return np.where(area[ids] >= least, ids, 0).astype(np.int32)


def _objects(model: Segmenter, sample: Sample, *, published: bool) -> ChipAnswer:
    options = EvaluateOptions(
        predict=AS_IT_IS if published else prediction.PredictOptions(),
        instances=InstanceOptions(min_area=0.0),
    )
    said = answer(model, sample, options)
    labels = (said.ids > 0).astype(np.uint8)
    scores = _by_id(said.ids, said.confidence)
    detected = without_small(said.ids) if published else said.ids
    counted = mask_objects(labels) if published else said.ids
    return ChipAnswer(labels, counted, detected, scores[np.unique(detected[detected > 0])])


def _by_id(ids: np.ndarray, confidence: np.ndarray | Sequence[float] | None) -> np.ndarray:
    """Return (id,) confidences, 1 where a model tells none."""
    scores = np.ones(int(ids.max(initial=0)) + 1)
    if confidence is not None:
        scores[np.unique(ids[ids > 0])] = confidence
    return scores


def _means(ids: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Average (y, x) values over each object, by ascending id from 1."""
    number = int(ids.max(initial=0)) + 1
    area = np.bincount(ids.ravel(), minlength=number)[1:]
    total = np.bincount(ids.ravel(), values.ravel().astype(np.float64), number)[1:]
    means: np.ndarray = total / area
    return means
