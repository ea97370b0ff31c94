"""Deployment scores of a model on a dataset's samples.

Consistency, order, radiometry, scale, seams.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from selion import metrics, prediction
from selion.classes import FTW3, ClassScheme
from selion.errors import BadInput, UnknownName
from selion.evaluation.answers import as_on_maps, known_pixels, onto, truth_ids
from selion.grid import Lattice, photo_grid
from selion.labels import Instances, class_labels
from selion.metrics.deploy import CENTRES, SCALES, SCALINGS, SegmenterWrapper
from selion.sample import Sample
from selion.segmenter import Segmenter, View, as_model

Square = tuple[np.ndarray, np.ndarray]
FAMILIES = {
    "order": metrics.reordered,
    "radiometry": metrics.rescaled,
    "scale": metrics.resized,
}
"""What the input is changed in, and the changes of a model's input."""


def deployment_scores(
    model: Segmenter,
    samples: Sequence[Sample],
    *,
    size: int = 256,
    centre: int = 128,
    most: int | None = None,
    families: Sequence[str] = tuple(FAMILIES),
    options: prediction.PredictOptions | None = None,
) -> dict[str, object]:
    """Measure how a model's score holds when the input changes.

    Parameters
    ----------
    model : Segmenter
        Any model.
    samples : sequence of Sample
        Their central ``size`` x ``size`` px on the model's working grid are used; smaller ones are
        left out and counted.
    size, centre : int
        Of the corner consistency.
    most : int, optional
        Most samples looked at, evenly spread; by default all.  Every sample costs about 18
        predictions.
    families : sequence of str
        Of changes of the input: of :data:`FAMILIES`.
    options : PredictOptions, optional
        Decide the working grid.

    Returns
    -------
    dict
        ``consistency`` (mean), ``consistency_sweep``, ``order``, ``radiometry``, ``scale`` (mean
        field IoU per condition and the sensitivities; ``object_f1`` the same of objects, and
        ``groups`` both by group), ``seams`` (of windows laid side by side
        without blending), the grids of conditions, and how many samples were used.

    Raises
    ------
    BadInput
        If every sample is smaller than ``size``.
    """
    unknown = [name for name in families if name not in FAMILIES]
    if unknown:
        raise UnknownName.among("family of changes", unknown[0], FAMILIES)
    model = as_classes(model)
    step = 1 if most is None else max(1, -(-len(samples) // most))
    chosen, _ = as_on_maps(samples[::step], model)
    found_squares = [(s.group, _square(model, s, size, options)) for s in chosen]
    groups = [group for group, square in found_squares if square is not None]
    squares = [square for _, square in found_squares if square is not None]
    if not squares:
        raise BadInput(
            f"All of {len(chosen)} samples are smaller than {size} px on the model's grid: give a "
            "smaller size."
        )
    shares = [metrics.corner_consistency(pixels, model, centre).share for pixels, _ in squares]
    centres = (
        [c for c in CENTRES if c < size] if size == 256 else [size // 4, size // 2, 3 * size // 4]
    )
    swept = [metrics.consistency_sweep(pixels, model, centres) for pixels, _ in squares]
    sweep = {c: float(np.mean([found[c] for found in swept])) for c in centres}
    found: dict[str, object] = {
        "samples": len(squares),
        "too small": len(chosen) - len(squares),
        "size": size,
        "centre": centre,
    }
    found |= {"consistency": float(np.mean(shares)), "consistency_sweep": sweep}
    for family in families:
        conditions = FAMILIES[family](model)
        found[family] = (
            _changes(squares, groups, model, conditions)
            if conditions
            else "one date: no other order"
        )
    found["seams"] = (
        float(np.nanmean([_seam(model, pixels) for pixels, _ in squares]))
        if size >= 2 * model.inputs.window
        else "samples hold one window"
    )
    return found | {
        "radiometry grid (name, gain, offset in divisors)": [list(row) for row in SCALINGS],
        "scale grid": list(SCALES),
    }


def _changes(
    squares: Sequence[Square],
    groups: Sequence[str],
    model: Segmenter,
    conditions: Sequence[metrics.Perturbed],
) -> dict[str, object]:
    """Return how pixels and objects score under each condition: all, and by group."""
    measures = {
        "field_iou": metrics.field_iou(model.classes),
        "object_f1": metrics.object_f1(model.classes),
    }
    found = metrics.sensitivities(squares, model, conditions, measures)
    by_group: dict[str, object] = {
        group: {name: one.take(rows).summary() for name, one in found.items()}
        for group in sorted(set(groups) - {""})
        if (rows := [k for k, other in enumerate(groups) if other == group])
    }
    return {
        **found["field_iou"].summary(),
        "object_f1": found["object_f1"].summary(),
        "groups": by_group,
    }


def _square(
    model: Segmenter, sample: Sample, size: int, options: prediction.PredictOptions | None
) -> Square | None:
    """Read the central square on the model's working grid, and its truth as class ids."""
    decided = prediction.plan(sample.image, model, options)
    working = decided.working(sample.image)
    height, width = working.grid.shape
    if min(height, width) < size:
        return None
    top, left = (height - size) // 2, (width - size) // 2
    roi = (slice(top, top + size), slice(left, left + size))
    part = working.read(roi)
    pixels, known = known_pixels(part, decided.bands, any_date=decided.dates is not None)
    if not known.any():
        return None
    pixels = prediction.fill_unknown(pixels, known)
    truth = onto(_true_classes(sample, model), working.grid)[roi].copy()
    ignore = None if sample.ignore is None else onto(sample.ignore, working.grid)[roi]
    truth[~known if ignore is None else ~known | ignore] = 255
    return pixels, truth


@dataclass(frozen=True)
class ObjectsAsClasses(SegmenterWrapper):
    """A model of objects that answers with classes, so that pixels can be compared.

    Thing or not, and where the model's classes have a boundary, the outermost pixels of objects
    that touch.
    """

    model: Segmenter

    def __call__(self, views: Sequence[View]) -> np.ndarray:
        """Return (view, class, y, x) float32, 0 or 1."""
        classes = self.model.classes
        hot = np.eye(len(classes), dtype=np.float32)
        answers: Any = self.model(views)
        return np.stack([hot[_in_classes(one.ids, classes)].transpose(2, 0, 1) for one in answers])


def as_classes(model: Segmenter) -> Segmenter:
    """Return a model that answers with classes: one of objects behind :class:`ObjectsAsClasses`."""
    return ObjectsAsClasses(model) if as_model(model).gives == "objects" else model


def _true_classes(sample: Sample, model: Segmenter) -> np.ndarray:
    """Return the (y, x) uint8 truth in the model's classes.

    Its labels, where they have these classes.  Else its objects, whose outermost pixels are the
    boundary of a model that has one: a perfect answer scores 1 by pixels and by objects.
    """
    classes = model.classes
    if sample.labels is not None and sample.labels.classes.names == classes.names:
        return sample.labels.ids
    return _in_classes(truth_ids(sample), classes)


def _in_classes(ids: np.ndarray, classes: ClassScheme) -> np.ndarray:
    """Turn (y, x) ids into (y, x) uint8 classes: things, and their outermost pixels as boundary."""
    thing = classes.index(classes.things[0]) if classes.things else 1
    found = (ids > 0).astype(np.uint8) * np.uint8(thing)
    if classes.boundary:
        drawn = class_labels(Instances(ids.astype(np.int32), photo_grid(ids.shape))).ids
        found[drawn == FTW3.index("boundary")] = classes.index(classes.boundary)
    return found


def _seam(model: Segmenter, pixels: np.ndarray) -> float:
    """Class changes at the borders of windows laid side by side, over those elsewhere."""
    window = model.inputs.window
    size = pixels.shape[-1] // window * window
    labels = np.zeros((size, size), np.uint8)
    lattice = Lattice((size, size), window, 0.0)
    for row in range(len(lattice.starts[0])):
        for column in range(len(lattice.starts[1])):
            roi = lattice.window_roi(row, column)
            labels[roi] = metrics.classify(model, pixels[:, *roi]).argmax(0)
    return metrics.seam_error(labels, *metrics.lattice_seams(lattice))
