"""Scores as bytes: what a probability raster holds on disk, in the journal and in memory."""

from __future__ import annotations

import json

import numpy as np

import selion
from selion.classes import ClassScheme
from selion.errors import BadInput, BandMismatch
from selion.prediction.planning import PredictionPlan
from selion.raster import Source

STEPS = 254
"""A probability p is stored as round(254 p)."""
NODATA = 255
"""No score at this pixel.  It is not 0, because 0 is a score: surely not this class."""


def quantise(scores: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Turn probabilities into bytes.

    Parameters
    ----------
    scores : (class, y, x) float32 ndarray
        Probabilities; rounding beyond 0 and 1 is cut.
    valid : (y, x) bool ndarray
        Where there is a score.

    Returns
    -------
    (class, y, x) uint8 ndarray
        ``round(254 p)``, and 255 in every class where not valid.
    """
    stored = np.empty(scores.shape, np.uint8)
    for plane, score in zip(stored, scores, strict=True):
        plane[...] = np.rint(score.clip(0, 1) * np.float32(STEPS))
        plane[~valid] = NODATA
    return stored


def dequantise(stored: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turn bytes back into probabilities; off by at most 1/508.

    Parameters
    ----------
    stored : (class, y, x) uint8 ndarray
        What :func:`quantise` returned, or what a score raster holds.

    Returns
    -------
    scores : (class, y, x) float32 ndarray
        Probabilities; 0 where not valid.
    valid : (y, x) bool ndarray
        Where there is a score.
    """
    valid = (stored != NODATA).all(0)
    scores = stored.astype(np.float32) / np.float32(STEPS)
    scores[:, ~valid] = 0
    return scores, valid


def prediction_tags(plan: PredictionPlan) -> dict[str, str]:
    """Return the tags that travel with probabilities, in memory as in a file.

    The classes and the pixel size of the image, so that later steps need neither model nor image,
    and where they came from.
    """
    tags = {
        "classes": json.dumps(plan.classes.to_dict()),
        "provenance": json.dumps(
            {"selion": selion.__version__, "key": plan.key, **plan.decided}, sort_keys=True
        ),
    }
    return tags if plan.image_gsd is None else tags | {"image_gsd": repr(plan.image_gsd)}


def score_tags(plan: PredictionPlan) -> dict[str, str]:
    """Return the tags of a score raster: those of its probabilities, and what its bytes mean."""
    meaning = "value / 254 = probability; 255 = no data"
    scores = {"steps": STEPS, "nodata": NODATA, "meaning": meaning}
    return prediction_tags(plan) | {"scores": json.dumps(scores)}


def score_classes(source: Source, name: str) -> ClassScheme:
    """Return the classes of a score raster.

    Raises
    ------
    BadInput
        If its tags do not hold them, or do not fit its bands.
    """
    text = source.tags.get("classes")
    if not text:
        raise BadInput(
            f"{name} does not say what its bands mean (no tag 'classes'): write it with 'selion "
            "predict' or 'selion map --scores'."
        )
    classes = ClassScheme.from_dict(json.loads(text))
    if len(classes) != len(source.bands):
        raise BandMismatch(
            f"{name} has {len(source.bands)} bands, but its tags name {len(classes)} classes: it "
            "is not a score raster of selion."
        )
    return classes
