"""What a model says about a sample, on the sample's own grid, and what is true there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from odc.geo.geobox import GeoBox

from selion import fields, prediction
from selion.classes import IGNORE
from selion.errors import BadInput
from selion.labels import MIN_AREA
from selion.metrics.image import ImageOptions
from selion.metrics.summary import ScoreOptions
from selion.prediction.look_together import alike
from selion.prediction.objects import find_own_objects
from selion.raster import Raster
from selion.sample import Sample
from selion.segmenter import Segmenter, as_model


@dataclass(frozen=True)
class EvaluateOptions:
    """What an evaluation may choose."""

    score: ScoreOptions = field(default_factory=ScoreOptions)
    image: ImageOptions = field(default_factory=ImageOptions)
    predict: prediction.PredictOptions = field(default_factory=prediction.PredictOptions)
    method: str = "auto"
    """How probabilities become objects, see :func:`selion.fields.choose_method`."""
    instances: fields.InstanceOptions = field(
        default_factory=lambda: fields.InstanceOptions(min_area=MIN_AREA)
    )
    """How objects are found; from 500 m2 whatever the image's pixels, so that scores stay
    comparable with those on the model cards, unless the model's classes have least areas of their
    own."""
    baselines: bool = True
    protocol: str | None = None
    """``"prue"`` adds the scores by PRUE's rules."""
    presence_only: tuple[str, ...] = ()
    """Groups of which only some objects are labelled: PRUE's rules leave them out."""
    by: tuple[str, ...] = ()
    """Columns that scores are also given by: ``group`` or ``split`` of the samples, or columns of
    the tables of their instances."""

    def __post_init__(self) -> None:
        if self.protocol not in (None, "prue"):
            raise BadInput(f"Protocol {self.protocol!r} was asked for; known is 'prue'.")


@dataclass(frozen=True, eq=False)
class Answer:
    """What was said about one sample, on the sample's own grid."""

    ids: np.ndarray
    """(y, x) int32."""
    confidence: np.ndarray | None = None
    """(object,) 0..1, ids ascending."""
    labels: np.ndarray | None = None
    """(y, x) uint8: 0 background, 1 object, 2 boundary; for PRUE's rules."""
    classes: np.ndarray | None = None
    """(y, x) uint8 class ids of the model, 255 where it gave none; for the confusion of classes."""
    parted: bool = False
    """Whether objects that touch are told apart by ``ids`` alone, not by a boundary in
    ``labels``."""


def with_method(options: EvaluateOptions, model: Segmenter) -> EvaluateOptions:
    """Decide how the objects of one model are found."""
    found = options.instances
    if found.min_area == MIN_AREA and model.classes.least_area:
        found = replace(found, min_area=None)  # the scheme says it class by class
    method, instances = fields.choose_method(
        options.method, found, model.classes, as_model(model).card
    )
    return replace(options, method=method, instances=instances)


def truth_ids(sample: Sample) -> np.ndarray:
    """Return (y, x) int32 ids of the true objects.

    Without instances, the 4-connected components of the thing classes.

    Raises
    ------
    BadInput
        If the sample has neither instances nor labels.
    """
    from scipy import ndimage

    if sample.instances is not None:
        return sample.instances.ids
    if sample.labels is None:
        raise BadInput(
            f"{sample.key} has neither instances nor labels: there is nothing to compare with."
        )
    wanted = [sample.labels.classes.index(name) for name in sample.labels.classes.things]
    ids: np.ndarray = ndimage.label(np.isin(sample.labels.ids, wanted))[0].astype(np.int32)
    return ids


def as_on_maps(samples: Sequence[Sample], model: Segmenter) -> tuple[list[Sample], tuple[str, ...]]:
    """Return samples whose images are converted as a map of them would be, and what was done.

    All are converted alike, see :func:`selion.prediction.look_together.alike`.
    """
    images, told = alike(
        [sample.image for sample in samples], model.inputs, [sample.key for sample in samples]
    )
    return [
        replace(sample, image=image) for sample, image in zip(samples, images, strict=True)
    ], told


def answer(model: Segmenter, sample: Sample, options: EvaluateOptions) -> Answer:
    """Predict one sample and find its objects, by the method that :func:`with_method` chose.

    The result lies on the sample's grid, whatever the model's resolution.  A model that answers
    with objects is taken at its word.
    """
    if as_model(model).gives == "objects":
        return _own_objects(model, sample, options)
    probabilities = prediction.predict(sample.image, model, options=options.predict)
    if probabilities is None:
        raise BadInput(f"{sample.key}: the prediction was written elsewhere.")
    objects = fields.find_instances(probabilities, model.classes, options.method, options.instances)
    ids = onto(objects.ids, sample.image.grid)
    present = np.unique(ids[ids > 0])
    by_id = objects.table.set_index("id")["score"]
    said = probabilities.values.argmax(0).astype(np.uint8)
    if probabilities.valid is not None:
        said[~probabilities.valid] = IGNORE
    three = onto(_three(probabilities.values, model), sample.image.grid)
    return Answer(ids, by_id.loc[present].to_numpy(float), three, onto(said, sample.image.grid))


def _own_objects(model: Segmenter, sample: Sample, options: EvaluateOptions) -> Answer:
    """Return the objects that a model answers with.

    Smaller ones than are looked for elsewhere are left out; where the model tells no scores, there
    are no confidences.
    """
    found = find_own_objects(
        sample.image,
        model,  # type: ignore[arg-type]  # it answers with objects, as was asked
        options.predict,
    )
    table = found.table[found.table["area"] >= (options.instances.min_area or 0)]
    ids = onto(np.where(np.isin(found.ids, table["id"]), found.ids, 0), sample.image.grid)
    scores = table.set_index("id")["score"].loc[np.unique(ids[ids > 0])].to_numpy(float)
    confidence = scores if np.isfinite(scores).all() else None
    return Answer(ids, confidence, (ids > 0).astype(np.uint8), parted=True)


def _three(probabilities: np.ndarray, model: Segmenter) -> np.ndarray:
    """Turn class probabilities into 0 background, 1 thing, 2 boundary."""
    kinds = np.zeros(len(model.classes), np.uint8)
    kinds[[model.classes.index(name) for name in model.classes.things]] = 1
    if model.classes.boundary:
        kinds[model.classes.index(model.classes.boundary)] = 2
    return kinds[probabilities.argmax(0)]


def onto(ids: np.ndarray, grid: GeoBox) -> np.ndarray:
    """Bring (y, x) ids of the same extent onto a grid of another pixel size.

    The id under each pixel's centre.
    """
    if ids.shape == tuple(grid.shape):
        return ids
    rows, columns = (
        np.minimum(((np.arange(new) + 0.5) * old / new).astype(int), old - 1)
        for new, old in zip(grid.shape, ids.shape, strict=True)
    )
    return ids[np.ix_(rows, columns)]


def known_pixels(
    part: Raster, bands: Sequence[int], *, any_date: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return the (band, y, x) float32 pixels of some bands, and (y, x) bool where all are known.

    Or where any is, which is what counts for a set of dates.
    """
    pixels = part.values[list(bands)].astype(np.float32)
    finite = np.isfinite(pixels)
    known = np.asarray(finite.any(0) if any_date else finite.all(0))
    return pixels, known if part.valid is None else part.valid & known
