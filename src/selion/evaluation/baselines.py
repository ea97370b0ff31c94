"""What needs no training, and what a model says when part of its input is taken away.

Printed beside every score.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from selion import metrics, prediction
from selion.evaluation.answers import Answer, EvaluateOptions, answer, known_pixels
from selion.grid import inside, whole
from selion.metrics.deploy import SegmenterWrapper
from selion.metrics.protocol import mask_objects
from selion.raster import Raster, colour_bands
from selion.sample import Sample
from selion.segmenter import Segmenter, View

Maker = Callable[[Sample], Answer]


def makers(
    samples: Sequence[Sample],
    truths: dict[str, np.ndarray],
    first: dict[str, Answer],
    model: Segmenter,
    options: EvaluateOptions,
) -> dict[str, tuple[Maker, bool]]:
    """Return what answers in the place of a model, by name.

    Also whether it does so without having seen the image.

    The grid's step is the root of the mean true area: the best that can be said without looking at
    the image.

    Parameters
    ----------
    samples : sequence of Sample
        Those that were scored.
    truths, first : dict
        Key to truth ids, and to the first model's answer.
    model : Segmenter
        The first model; if it looks at context, it also answers with the context of another sample.
    options : EvaluateOptions
    """
    objects = sum(len(np.unique(t[t > 0])) for t in truths.values())
    step = max(
        2, round(float(np.sqrt(sum(int((t > 0).sum()) for t in truths.values()) / max(objects, 1))))
    )
    found: dict[str, tuple[Maker, bool]] = {
        "gradient watershed": (lambda s: Answer(_watershed(s)), False)
    }
    if all(colours(s.image.bands) for s in samples):
        found["colour rule (excess green)"] = (lambda s: Answer(_green(s)), False)
    if model.inputs.context is not None and len(samples) > 1:
        found["context of other images"] = (_other_context(samples, model, options), False)
    for size in (step, max(2, step // 4)):
        found[f"grid of {size} px"] = (
            lambda s, size=size: Answer(metrics.regular_grid(s.image.grid.shape, size)),  # type: ignore[misc]
            True,
        )
    found["one object everywhere"] = (lambda s: Answer(metrics.constant(s.image.grid.shape)), True)
    found["nothing anywhere"] = (lambda s: Answer(metrics.constant(s.image.grid.shape, 0)), True)
    return found | (
        {"answers of other images": (_shuffled(samples, first), True)} if len(samples) > 1 else {}
    )


def _watershed(sample: Sample) -> np.ndarray:
    part = sample.image.read(whole(sample.image.grid))
    return metrics.gradient_watershed(np.nan_to_num(part.values.astype(np.float32)), part.valid)


def colours(bands: tuple[str, ...]) -> tuple[int, int, int] | None:
    """Return the indexes of red, green and blue, or None if the names do not say.

    They are of the first date, where there are several.
    """
    found = colour_bands(bands)
    said = [bands[k].lower().rpartition(":")[2] for k in found] if bands else []
    return (
        found if [name[:1] for name in said] == ["r", "g", "b"] and len(set(found)) == 3 else None
    )


def _green(sample: Sample) -> np.ndarray:
    """Components of what is green.

    Plants where plants stand apart, and one object where they do not.
    """
    part = sample.image.read(whole(sample.image.grid))
    chosen = colours(part.bands) or (0, 1, 2)
    green = metrics.excess_green(np.nan_to_num(part.values[list(chosen)].astype(np.float32)))
    return mask_objects(green if part.valid is None else green * part.valid)


def _shuffled(samples: Sequence[Sample], answers: dict[str, Answer]) -> Maker:
    """Give each sample the model's answer to the next one, cut or repeated to its shape."""
    after = _next(samples)
    return lambda sample: Answer(
        _fit(answers[after[sample.key].key].ids, sample.image.grid.shape.yx)
    )


def _next(samples: Sequence[Sample]) -> dict[str, Sample]:
    return {s.key: samples[(k + 1) % len(samples)] for k, s in enumerate(samples)}


def _fit(pixels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Cut or repeat (..., y, x) pixels to a shape."""
    height, width = shape
    pads = [(0, 0)] * (pixels.ndim - 2) + [
        (0, max(0, height - pixels.shape[-2])),
        (0, max(0, width - pixels.shape[-1])),
    ]
    return np.pad(pixels, pads, mode="wrap")[..., :height, :width]


def _other_context(samples: Sequence[Sample], model: Segmenter, options: EvaluateOptions) -> Maker:
    """Let the model answer each sample with the surroundings of the next one.

    What is lost is what it takes from its surroundings.
    """
    after = _next(samples)
    return lambda sample: answer(
        OtherContext(model, _surroundings(after[sample.key], model, options.predict)),
        sample,
        options,
    )


def _surroundings(
    sample: Sample, model: Segmenter, options: prediction.PredictOptions
) -> np.ndarray:
    """Read the (band, y, x) middle of an image on the model's working grid.

    It is as large as the model's context; holes get the bands' means.
    """
    decided = prediction.plan(sample.image, model, options)
    working = decided.working(sample.image)
    frame = whole(working.grid)
    edge = model.inputs.context or 0
    starts = [max(0, (s.stop - edge) // 2) for s in frame]
    rows, columns = (
        slice(start, min(start + edge, s.stop)) for start, s in zip(starts, frame, strict=True)
    )
    part = working.read(inside((rows, columns), frame))
    pixels, known = known_pixels(part, decided.bands)
    mean = pixels[:, known].mean(1) if known.any() else np.zeros(len(pixels), np.float32)
    filled: np.ndarray = np.where(known, pixels, mean[:, None, None])
    return filled


@dataclass(frozen=True, eq=False)
class OtherContext(SegmenterWrapper):
    """A model whose windows come with the surroundings of another place."""

    model: Segmenter
    pixels: np.ndarray
    """(band, y, x) float32 in the source's numbers; cut or repeated to the size of each context."""

    def __call__(self, views: Sequence[View]) -> np.ndarray:
        """Answer as the model does, with the surroundings exchanged."""
        return self.model(
            [
                view
                if view.context is None
                else replace(view, context=self._exchanged(view.context))
                for view in views
            ]
        )

    def _exchanged(self, context: Raster) -> Raster:
        return Raster(_fit(self.pixels, context.values.shape[1:]), context.grid, context.bands)


_: type[Segmenter] = OtherContext
