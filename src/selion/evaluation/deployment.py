"""Deployment scores of a model on a dataset's samples.

Consistency, order, radiometry, scale, seams.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from selion import metrics, prediction
from selion.errors import BadInput
from selion.evaluation.answers import known_pixels, onto, truth_ids
from selion.grid import Lattice
from selion.metrics.deploy import CENTRES, SCALES, SCALINGS
from selion.sample import Sample
from selion.segmenter import Segmenter

Square = tuple[np.ndarray, np.ndarray]


def deployment_scores(
    model: Segmenter,
    samples: Sequence[Sample],
    *,
    size: int = 256,
    centre: int = 128,
    most: int = 50,
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
    most : int
        Most samples looked at, evenly spread: every sample costs about 18 predictions.
    options : PredictOptions, optional
        Decide the working grid.

    Returns
    -------
    dict
        ``consistency`` (mean), ``consistency_sweep``, ``order``, ``radiometry``, ``scale`` (mean
        field IoU per condition and the sensitivities), ``seams`` (of windows laid side by side
        without blending), the grids of conditions, and how many samples were used.

    Raises
    ------
    BadInput
        If every sample is smaller than ``size``.
    """
    step = max(1, -(-len(samples) // most))
    chosen = samples[::step]
    squares = [
        s for s in (_square(model, sample, size, options) for sample in chosen) if s is not None
    ]
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
    families = {
        "order": metrics.reordered(model),
        "radiometry": metrics.rescaled(model),
        "scale": metrics.resized(model),
    }
    for family, conditions in families.items():
        found[family] = (
            metrics.sensitivity(squares, model, conditions).summary()
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
    pixels, known = known_pixels(part, decided.bands)
    if not known.any():
        return None
    pixels = np.where(known, pixels, pixels[:, known].mean(1)[:, None, None])
    truth = (onto(truth_ids(sample), working.grid)[roi] > 0).astype(np.uint8) * _thing(model)
    ignore = None if sample.ignore is None else onto(sample.ignore, working.grid)[roi]
    truth[~known if ignore is None else ~known | ignore] = 255
    return pixels, truth


def _thing(model: Segmenter) -> int:
    return model.classes.index(model.classes.things[0]) if model.classes.things else 1


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
