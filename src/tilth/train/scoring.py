"""Validation: the network of the moment, through the road that maps take, beside the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from tilth import fields, predict, score
from tilth.classes import IGNORE
from tilth.errors import BadInput, EmptyImage
from tilth.grid import pixel_metres
from tilth.sample import Sample
from tilth.score.statistics import f1_from_counts, iou_from_counts
from tilth.segmenter import Segmenter
from tilth.train.recipe import Validate

if TYPE_CHECKING:
    from tilth.score import Interval

COLUMNS = ("object_tp", "object_fp", "object_fn", "pixel_tp", "pixel_fp", "pixel_fn")


@dataclass(frozen=True, eq=False)
class Scores:
    """What validation found, sample by sample."""

    keys: tuple[str, ...]
    groups: tuple[str, ...]
    counts: np.ndarray
    """(sample, 6) float64, :data:`COLUMNS`."""
    confusion: score.Confusion | None = None
    """Pixels by true and guessed class, where there are labels of the model's classes."""

    @property
    def object_f1(self) -> float:
        """2 TP / (2 TP + FP + FN) over all samples."""
        return self.interval("object_f1", 0).value

    @property
    def pixel_iou(self) -> float:
        """TP / (TP + FP + FN) of objects against the rest, over all samples."""
        return self.interval("pixel_iou", 0).value

    def rows(self, measure: str) -> np.ndarray:
        """Return the (sample, 3) counts that a measure is read from."""
        return self.counts[:, :3] if measure == "object_f1" else self.counts[:, 3:]

    def interval(self, measure: str, draws: int = 1000) -> Interval:
        """Return "object_f1" or "pixel_iou" with its bootstrap interval over samples; ``draws`` 0 gives the value alone."""
        return score.bootstrap(self.rows(measure), STATISTICS[measure], draws=max(draws, 1))

    def to_dict(self) -> dict[str, float]:
        """Plain values for the log."""
        tp, fp, fn = (float(v) for v in self.counts[:, :3].sum(0))
        found = {"object_f1": self.object_f1, "object_precision": tp / max(tp + fp, 1), "object_recall": tp / max(tp + fn, 1), "pixel_iou": self.pixel_iou}
        if self.confusion is not None:
            table = score.pixel_scores(self.confusion).iou
            found |= {f"iou_{name}": float(value) for name, value in zip(self.confusion.names, table, strict=True)}
        return {name: round(value, 6) for name, value in found.items() if np.isfinite(value)}


STATISTICS = {"object_f1": f1_from_counts, "pixel_iou": iou_from_counts}
"""Measure -> from (draw, 3) sums of counts to (draw,) scores."""


def chosen(samples: Sequence[Sample], limit: int) -> list[int]:
    """Return which samples are scored: all, or ``limit`` of them, evenly spread."""
    if not limit or limit >= len(samples):
        return list(range(len(samples)))
    return sorted({int(k) for k in np.linspace(0, len(samples) - 1, limit).round()})


def score_samples(model: Segmenter, samples: Sequence[Sample], spec: Validate, limit: int = 0, on_done: Any = None) -> Scores:
    """Predict samples, find their objects, and count them and their pixels against the truth.

    Raises
    ------
    BadInput
        If a sample has no truth, or there is none.
    """
    rows, keys, groups, total = [], [], [], None
    places = chosen(samples, limit)
    for done, k in enumerate(places, 1):
        sample = samples[k]
        try:
            counts, confusion = _score(model, sample, spec)
        except EmptyImage:
            continue  # nothing was seen there, so nothing can be found
        rows.append(counts)
        keys.append(sample.key)
        groups.append(sample.group)
        if confusion is not None:
            total = confusion if total is None else total + confusion
        if on_done:
            on_done(done, len(places))
    if not rows:
        message = "There is nothing to validate on: give the dataset a validation split."
        raise BadInput(message)
    return Scores(tuple(keys), tuple(groups), np.array(rows, float), total)


def _score(model: Segmenter, sample: Sample, spec: Validate) -> tuple[list[float], score.Confusion | None]:
    probabilities = predict.predict(sample.image, model)
    if probabilities is None:
        message = f"{sample.key} was not predicted."
        raise BadInput(message)
    truth = true_objects(sample, spec)
    guess = found_objects(probabilities, model, spec, truth.shape)
    ignore = sample.ignore
    image = score.score_ids(sample.key, truth, guess, ignore=ignore, pixel=pixel_metres(sample.image.grid), options=score.ImageOptions(distances=False))
    objects = score.object_scores(image.table, spec.iou, strict=spec.method == "components")
    counts = [objects.tp, objects.fp, objects.fn, *image.area]
    return counts, _confusion(probabilities, model, sample)


def found_objects(probabilities: Any, model: Segmenter, spec: Validate, shape: tuple[int, ...]) -> np.ndarray:
    """Return (y, x) int32 object ids on a grid of ``shape``."""
    plain = fields.InstanceOptions(extent="field", min_area=0, max_hole=0)  # PRUE counts what touches, as it is
    objects = fields.find_instances(probabilities, model.classes, spec.method, plain if spec.method == "components" else None)
    return _onto(objects.ids, shape)


def true_objects(sample: Sample, spec: Validate) -> np.ndarray:
    """Return (y, x) int32 true objects: ids where there are any; for "components", or without ids, the 4-connected parts of the thing classes."""
    by_labels = spec.method == "components" and sample.labels is not None
    if sample.instances is not None and not by_labels:
        return sample.instances.ids
    if sample.labels is None:
        message = f"{sample.key} has neither instances nor labels: there is nothing to validate with."
        raise BadInput(message)
    wanted = [sample.labels.classes.index(name) for name in sample.labels.classes.things]
    ids: np.ndarray = ndimage.label(np.isin(sample.labels.ids, wanted))[0].astype(np.int32)
    return ids


def _confusion(probabilities: Any, model: Segmenter, sample: Sample) -> score.Confusion | None:
    if sample.labels is None or sample.labels.classes.names != model.classes.names:
        return None
    said = probabilities.values.argmax(0).astype(np.uint8)
    if probabilities.valid is not None:
        said[~probabilities.valid] = IGNORE
    return score.confusion(sample.labels.ids, _onto(said, sample.labels.ids.shape), model.classes)


def _onto(ids: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Bring (y, x) ids of the same extent onto another shape: the id under each pixel's centre."""
    if ids.shape == shape:
        return ids
    rows, columns = (np.minimum(((np.arange(new) + 0.5) * old / new).astype(int), old - 1) for new, old in zip(shape, ids.shape, strict=True))
    return ids[np.ix_(rows, columns)]
