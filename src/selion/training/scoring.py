"""Validation: the network of the moment, predicted as maps are, beside the truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from selion import fields, metrics, prediction
from selion.classes import IGNORE, ClassScheme
from selion.errors import BadInput, EmptyImage
from selion.grid import pixel_metres
from selion.labels import MIN_AREA
from selion.metrics.statistics import f1_from_counts, iou_from_counts
from selion.prediction.objects import find_own_objects
from selion.sample import Sample
from selion.segmenter import Segmenter, as_model
from selion.training.class_mapping import placed
from selion.training.recipe import Validate

if TYPE_CHECKING:
    from selion.fields import NodeScore
    from selion.metrics import Interval
    from selion.raster import Raster

COLUMNS = ("object_tp", "object_fp", "object_fn", "pixel_tp", "pixel_fp", "pixel_fn")
MEASURES = {"object_f1": "object F1", "pixel_iou": "pixel IoU", "miou": "mIoU"}
"""What a run can be judged by: name in recipes and logs -> name for people."""

SURE = 2.0
"""Standard errors by which an average has to be better than the start to replace it."""
DISAGREE = 0.25
"""Share of objects, at least, on which two models answer independently of each other: a few chips
on which they happen to agree do not make a small gain sure."""
FEWEST_CHIPS, FEWEST_OBJECTS = 3, 10
"""Below so many chips (of pixels) or objects no gain is sure: a spread cannot be told from them."""


def miou_from_counts(sums: np.ndarray) -> np.ndarray:
    """Turn (draw, class (class + 1)) sums of a flattened confusion into means of IoU.

    They are (draw,), over the classes that truth or predicted has.

    It is the dataset-level mIoU of :func:`selion.metrics.pixel_scores`, for many draws at once.
    """
    classes = round((np.sqrt(1 + 4 * sums.shape[1]) - 1) / 2)
    square = sums.reshape(len(sums), classes, classes + 1)
    hit = np.diagonal(square, axis1=1, axis2=2)
    union = square.sum(2) + square[:, :, :-1].sum(1) - hit
    iou = np.divide(hit, union, out=np.zeros_like(hit), where=union > 0)
    present = (union > 0).sum(1)
    return np.divide(iou.sum(1), present, out=np.full(len(sums), np.nan), where=present > 0)


STATISTICS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "object_f1": f1_from_counts,
    "pixel_iou": iou_from_counts,
    "miou": miou_from_counts,
}
"""Measure -> from (draw, count) sums of :meth:`Scores.rows` to (draw,) scores."""


@dataclass(frozen=True, eq=False)
class Scores:
    """What validation found, sample by sample."""

    keys: tuple[str, ...]
    groups: tuple[str, ...]
    counts: np.ndarray
    """(sample, 6) float64, :data:`COLUMNS`; objects are all 0 where none were looked for."""
    confusions: tuple[metrics.Confusion, ...] = ()
    """Pixels by true and predicted class, one for each sample; empty where some sample has no
    labels of the model's classes."""
    metric: str = "object_f1"
    """What these scores are judged by."""

    @property
    def confusion(self) -> metrics.Confusion | None:
        """The confusion of the whole split."""
        return reduce(add, self.confusions) if self.confusions else None

    @property
    def measures(self) -> tuple[str, ...]:
        """Which of :data:`MEASURES` these scores hold, that which they are judged by first."""
        there = {
            "object_f1": bool(self.counts[:, :3].any()),
            "pixel_iou": True,
            "miou": bool(self.confusions),
        }
        return tuple(
            sorted(
                (name for name, found in there.items() if found or name == self.metric),
                key=lambda name: name != self.metric,
            )
        )

    @property
    def object_f1(self) -> float:
        """2 TP / (2 TP + FP + FN) over all samples."""
        return self.value("object_f1")

    @property
    def pixel_iou(self) -> float:
        """TP / (TP + FP + FN) of objects against the rest, over all samples."""
        return self.value("pixel_iou")

    @property
    def miou(self) -> float:
        """IoU of each class over the pixels of all samples, averaged over the classes.

        Those count that truth or predicted has.
        """
        return self.value("miou")

    @property
    def judged(self) -> float:
        """The measure that decides which weights are best."""
        return self.value(self.metric)

    def value(self, measure: str) -> float:
        """Return one of :data:`MEASURES` over all samples, NaN where it says nothing."""
        rows = self.rows(measure)
        return (
            float(STATISTICS[measure](rows.sum(0, keepdims=True))[0])
            if rows.shape[1]
            else float("nan")
        )

    def rows(self, measure: str) -> np.ndarray:
        """Return the (sample, count) numbers that a measure is read from."""
        if measure == "miou":
            return (
                np.array([c.counts.ravel() for c in self.confusions], float)
                if self.confusions
                else np.zeros((len(self.keys), 0))
            )
        return self.counts[:, :3] if measure == "object_f1" else self.counts[:, 3:]

    def of_samples(self) -> np.ndarray:
        """Return the measure that decides, of each sample by itself, (sample,) float64.

        NaN where it says nothing.
        """
        return STATISTICS[self.metric](self.rows(self.metric))

    def interval(self, measure: str, draws: int = 1000) -> Interval:
        """Return one of :data:`MEASURES` with its bootstrap interval over samples."""
        return metrics.bootstrap(self.rows(measure), STATISTICS[measure], draws=max(draws, 1))

    def to_dict(self) -> dict[str, float]:
        """Plain values for the log."""
        tp, fp, fn = (float(v) for v in self.counts[:, :3].sum(0))
        found = {name: self.value(name) for name in self.measures}
        if "object_f1" in found:
            found |= {
                "object_precision": tp / max(tp + fp, 1),
                "object_recall": tp / max(tp + fn, 1),
            }
        if self.confusion is not None:
            table = metrics.pixel_scores(self.confusion).iou
            found |= {
                f"iou_{name}": float(value)
                for name, value in zip(self.confusion.names, table, strict=True)
            }
        return {name: round(value, 6) for name, value in found.items() if np.isfinite(value)}


def chosen(samples: Sequence[object], limit: int) -> list[int]:
    """Return which samples are scored: all, or ``limit`` of them, evenly spread."""
    if not limit or limit >= len(samples):
        return list(range(len(samples)))
    return sorted({int(k) for k in np.linspace(0, len(samples) - 1, limit).round()})


def learnt_score(model: Segmenter, spec: Validate) -> NodeScore | None:
    """Return a model's learnt score of objects, if maps are made by it.

    None where it has none, or where the rules ask for another way than the watershed.

    Raises
    ------
    UnreadableFile, ChecksumMismatch
        See :func:`selion.fields.node_score.score_of`.
    """
    if spec.resolved(model.classes).method != "watershed" or answers_objects(model):
        return None
    card = as_model(model).card
    return fields.choose_method("auto", fields.InstanceOptions(), model.classes, card)[1].score


def score_samples(
    model: Segmenter, samples: Sequence[Sample], spec: Validate, limit: int = 0, on_done: Any = None
) -> Scores:
    """Predict samples and count their pixels and objects against the truth.

    Objects are left out where the recipe asks for pixels alone.

    Raises
    ------
    BadInput
        If a sample has no truth that fits, or there is none.
    """
    return score_ways(model, samples, spec, (None,), limit, on_done)[0]


def score_ways(
    model: Segmenter,
    samples: Sequence[Sample],
    spec: Validate,
    ways: Sequence[NodeScore | None],
    limit: int = 0,
    on_done: Any = None,
) -> list[Scores]:
    """Return what :func:`score_samples` does for several ways to objects; predicted is once.

    A way is a learnt score, by which a cut finds objects in place of the watershed, or None.
    """
    spec = spec.resolved(model.classes)
    rows, keys, groups, confusions = [], [], [], []
    places = chosen(samples, limit)
    for done, k in enumerate(places, 1):
        sample = samples[k]
        try:
            counts, confusion = _score(model, sample, spec, ways)
        except EmptyImage:
            continue  # nothing was seen there, so nothing can be found
        rows.append(counts)
        keys.append(sample.key)
        groups.append(sample.group)
        confusions += [] if confusion is None else [confusion]
        if on_done:
            on_done(done, len(places))
    if not rows:
        seen = (
            f"none of the {len(places)} validation samples shows a valid pixel: all is nodata or "
            "NaN; check the images with 'selion data check'."
        )
        raise BadInput(
            "There is nothing to validate on: "
            f"{seen if places else 'give the dataset a validation split.'}"
        )
    complete = tuple(confusions) if len(confusions) == len(keys) else ()
    return [
        Scores(tuple(keys), tuple(groups), np.array(counts, float), complete, spec.metric)
        for counts in zip(*rows, strict=True)
    ]


def _score(
    model: Segmenter, sample: Sample, spec: Validate, ways: Sequence[NodeScore | None]
) -> tuple[list[list[float]], metrics.Confusion | None]:
    probabilities = None if answers_objects(model) else predicted_sample(model, sample)
    confusion = None if probabilities is None else _confusion(probabilities, model.classes, sample)
    if confusion is None and "miou" in (spec.metric, "miou" if spec.method == "pixels" else ""):
        have = ", ".join(sample.labels.classes.names) if sample.labels is not None else "no labels"
        raise BadInput(
            f"{sample.key} has {have}, and the model answers "
            f"{', '.join(model.classes.names)}{' with objects' if probabilities is None else ''}: "
            "pixels are compared by class, so give it such labels, or validate by objects."
        )
    if spec.method == "pixels" and confusion is not None:
        return [[0, 0, 0, *_covered(confusion, model.classes)]] * len(ways), confusion
    truth = true_objects(sample, spec)
    found = (
        own_objects(model, sample, spec, truth.shape)
        if probabilities is None
        else found_objects(probabilities, model, spec, truth.shape, score)
        for score in ways
    )
    return [counts_of(sample, spec, truth, predicted) for predicted in found], confusion


def counts_of(
    sample: Sample, spec: Validate, truth: np.ndarray, predicted: np.ndarray
) -> list[float]:
    """Return :data:`COLUMNS` of a sample."""
    ignore = sample.ignore
    where = sample.instances or sample.labels  # its grid may be finer than the image's
    pixel = pixel_metres(where.grid if where is not None else sample.image.grid)
    image = metrics.score_ids(
        sample.key,
        truth,
        predicted,
        ignore=ignore,
        pixel=pixel,
        options=metrics.ImageOptions(distances=False),
    )
    objects = metrics.object_scores(image.table, spec.iou, strict=spec.method == "components")
    return [objects.tp, objects.fp, objects.fn, *image.area]


def predicted_sample(model: Segmenter, sample: Sample) -> Raster:
    """Return what a model says of a sample, on the grid that it works on.

    Raises
    ------
    EmptyImage
        If it shows no valid pixel.
    """
    probabilities = prediction.predict(sample.image, model)
    if probabilities is None:
        raise BadInput(f"{sample.key} was not predicted.")
    return probabilities


def answered_objects(
    model: Segmenter, sample: Sample, spec: Validate, shape: tuple[int, ...]
) -> np.ndarray:
    """Return (y, x) int32 ids of what a model says about a sample, on a grid of ``shape``.

    Where it has a learnt score, its objects are those of the cut, as on maps.
    """
    if answers_objects(model):
        return own_objects(model, sample, spec, shape)
    score = learnt_score(model, spec)
    return found_objects(predicted_sample(model, sample), model, spec, shape, score)


def answers_objects(model: Segmenter) -> bool:
    """Say whether a model answers with objects instead of probabilities."""
    return as_model(model).gives == "objects"


def own_objects(
    model: Segmenter, sample: Sample, spec: Validate, shape: tuple[int, ...]
) -> np.ndarray:
    """Return (y, x) int32 ids of the objects that a model answers with, on a grid of ``shape``.

    Smaller ones than :func:`found_objects` looks for are left out.
    """
    found = find_own_objects(sample.image, model)  # type: ignore[arg-type]  # as was asked
    least = 0 if spec.method == "components" else MIN_AREA
    kept = found.table.loc[found.table["area"] >= least, "id"]
    return onto(np.where(np.isin(found.ids, kept), found.ids, 0).astype(np.int32), shape)


def _covered(confusion: metrics.Confusion, classes: ClassScheme) -> list[float]:
    """Return TP, FP, FN of what is not ground.

    The classes that come as things and their boundary, or all but the first where none do.
    """
    names = {*classes.things, classes.boundary} if classes.things else set(classes.names[1:])
    inside = np.array([name in names for name in classes.names])
    counts = confusion.counts
    hit = counts[inside][:, :-1][:, inside].sum()
    return [
        float(hit),
        float(counts[~inside][:, :-1][:, inside].sum()),
        float(counts[inside].sum() - hit),
    ]


def found_objects(
    probabilities: Raster,
    model: Segmenter,
    spec: Validate,
    shape: tuple[int, ...],
    score: NodeScore | None = None,
) -> np.ndarray:
    """Return (y, x) int32 object ids on a grid of ``shape``.

    For "pixels" the class ids, 0 being ground; with a learnt score those of the cut.
    """
    spec = spec.resolved(model.classes)
    if spec.method == "pixels":
        return onto(_said(probabilities), shape).astype(np.int32)
    # from 500 m2 whatever the image's pixels, so that epochs compare with those on the model cards
    options = fields.InstanceOptions(min_area=MIN_AREA)
    if spec.method == "components":  # PRUE counts what touches, as it is
        options = fields.InstanceOptions(extent="field", min_area=0, max_hole=0)
    method = spec.method if score is None else "cut"
    options = replace(options, score=score)
    objects = fields.find_instances(probabilities, model.classes, method, options)
    return onto(objects.ids, shape)


def true_objects(sample: Sample, spec: Validate) -> np.ndarray:
    """Return (y, x) int32 true objects: ids where there are any.

    For "components", or without ids, the 4-connected parts of the thing classes.

    For "pixels" they are the class ids.
    """
    by_labels = spec.method in ("components", "pixels") and sample.labels is not None
    if sample.instances is not None and not by_labels:
        return sample.instances.ids
    if sample.labels is None:
        raise BadInput(
            f"{sample.key} has neither instances nor labels: there is nothing to validate with."
        )
    if spec.method == "pixels":
        return sample.labels.ids.astype(np.int32)
    wanted = [sample.labels.classes.index(name) for name in sample.labels.classes.things]
    ids: np.ndarray = ndimage.label(np.isin(sample.labels.ids, wanted))[0].astype(np.int32)
    return ids


def _confusion(
    probabilities: Raster, classes: ClassScheme, sample: Sample
) -> metrics.Confusion | None:
    """Count pixels by class; None where the labels have a class that the model has not."""
    known = {} if sample.labels is None else placed(sample.labels.classes, classes)
    if sample.labels is None or len(known) < len(sample.labels.classes):
        return None
    moved = np.arange(256, dtype=np.uint8)  # a value that is no class stays, and is refused by name
    moved[: len(sample.labels.classes)] = [known[k] for k in range(len(sample.labels.classes))]
    return metrics.confusion(
        moved[sample.labels.ids], onto(_said(probabilities), sample.labels.ids.shape), classes
    )


def _said(probabilities: Raster) -> np.ndarray:
    said = probabilities.values.argmax(0).astype(np.uint8)
    if probabilities.valid is not None:
        said[~probabilities.valid] = IGNORE
    return said


def onto(ids: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Bring (y, x) ids of the same extent onto another shape: the id under each pixel's centre."""
    if ids.shape == shape:
        return ids
    rows, columns = (
        np.minimum(((np.arange(new) + 0.5) * old / new).astype(int), old - 1)
        for new, old in zip(shape, ids.shape, strict=True)
    )
    return ids[np.ix_(rows, columns)]


def surely_better(new: Scores, start: Scores) -> bool:
    """Say whether scores are better by more than :data:`SURE` standard errors.

    Parameters
    ----------
    new, start : Scores
        Of the same chips.

    Notes
    -----
    The error is that of the paired bootstrap over chips.  A few chips show too little of it: for
    objects it is at least that of two proportions of as many objects, p (1 - p) / n each, that
    differ in a share of :data:`DISAGREE`; fewer than :data:`FEWEST_OBJECTS`, or for pixels than
    :data:`FEWEST_CHIPS` chips, show none at all.  The best of many has been chosen, which two
    errors make up for: of 16 independent tries at no gain the best is 1.8 errors above on average.
    """
    gain, judged = new.judged - start.judged, start.metric
    found = metrics.paired_bootstrap(
        new.rows(judged), start.rows(judged), STATISTICS[judged], draws=1000
    )
    error = found.detectable / 2.8 if np.isfinite(found.detectable) else 0.0
    if not says_something(start):
        return False
    if judged == "object_f1":
        middle = (start.judged + new.judged) / 2
        error = max(error, float(np.sqrt(2 * DISAGREE * middle * (1 - middle) / _objects(start))))
    return gain > 0 and gain >= SURE * error


def says_something(start: Scores) -> bool:
    """Say whether scores are of enough objects, or of enough chips for pixels, to compare with."""
    if start.metric == "object_f1":
        return _objects(start) >= FEWEST_OBJECTS
    return len(start.keys) >= FEWEST_CHIPS


def _objects(scores: Scores) -> float:
    """Return the mean of the numbers of true and of found objects."""
    hits, extra, missed = scores.counts[:, :3].sum(0).tolist()
    return float(hits + (extra + missed) / 2)
