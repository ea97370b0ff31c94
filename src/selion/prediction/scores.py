"""Scores as bytes: what a probability raster holds on disk, in the journal and in memory."""

from __future__ import annotations

import json

import numpy as np

import selion
from selion.classes import FTW3, ClassScheme
from selion.errors import BadInput, BandMismatch
from selion.prediction.planning import PredictionPlan
from selion.raster import Source

STEPS = 254
"""A probability p is stored as round(254 p)."""
NODATA = 255
"""No score at this pixel.  It is not 0, because 0 is a score: surely not this class."""
SCORE_BYTES = {
    "steps": STEPS,
    "nodata": NODATA,
    "meaning": "value / 254 = probability; 255 = no data",
}
"""What a score raster says of its bytes."""
PUBLISHED_BANDS = ("field", "boundary")
"""Of rasters as Fields of The World publishes them: p = v / 255, every pixel has a score, and the
background is what is left."""
PUBLISHED_STEPS = 255
PUBLISHED_TAGS = ("tile_key", "quantization")
"""One of these tags says that a raster with such bands is one of them."""


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
    stored, steps = np.empty(scores.shape, np.uint8), np.empty(valid.shape, np.float32)
    for plane, score in zip(stored, scores, strict=True):
        np.clip(score, 0, 1, out=steps)
        steps *= np.float32(STEPS)
        plane[...] = np.rint(steps, out=steps)
    if not valid.all():
        stored[:, ~valid] = NODATA
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
    scores = stored.astype(np.float32)
    scores /= np.float32(STEPS)
    if not valid.all():
        scores[:, ~valid] = 0
    return scores, valid


def published_scores(stored: np.ndarray) -> np.ndarray:
    """Turn bytes as Fields of The World publishes them into probabilities.

    Parameters
    ----------
    stored : (2, y, x) uint8 ndarray
        Field and boundary, p = v / 255; no value means that there is none.

    Returns
    -------
    (3, y, x) float32 ndarray
        Background, field and boundary; the background is 1 - field - boundary, 0 at least.

    Examples
    --------
    >>> published_scores(np.array([[[51, 255]], [[102, 255]]], np.uint8)).tolist()[0]
    [[0.4000000059604645, 0.0]]
    """
    scores = np.empty((3, *stored.shape[1:]), np.float32)
    steps = np.float32(PUBLISHED_STEPS)
    left = PUBLISHED_STEPS - stored[0].astype(np.int16) - stored[1]
    scores[0] = np.maximum(left, 0).astype(np.float32) / steps
    scores[1:] = stored.astype(np.float32) / steps
    return scores


def counts(stored: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turn bytes into whole numbers: what :func:`dequantise` gives, times 65535 and rounded.

    Parameters
    ----------
    stored : (class, y, x) uint8 ndarray

    Returns
    -------
    (class, y, x) uint16 ndarray
        0 where not valid.
    valid : (y, x) bool ndarray
    """
    valid = (stored != NODATA).all(0)
    found: np.ndarray = _COUNTS[stored]
    if not valid.all():
        found[:, ~valid] = 0
    return found, valid


def published_counts(stored: np.ndarray) -> np.ndarray:
    """Do to :func:`published_scores` what :func:`counts` does to :func:`dequantise`.

    Examples
    --------
    >>> (published_counts(np.array([[[51, 255]], [[102, 255]]], np.uint8)) / 65535).tolist()[0]
    [[0.4, 0.0]]
    """
    found = np.empty((3, *stored.shape[1:]), np.uint16)
    found[1:] = stored
    left = PUBLISHED_STEPS - found[1]
    found[0] = left - np.minimum(left, found[2])
    found *= np.uint16(65535 // PUBLISHED_STEPS)
    return found


_COUNTS = (
    np.arange(256, dtype=np.float32).clip(0, STEPS) / np.float32(STEPS) * np.float32(65535)
    + np.float32(0.5)
).astype(np.uint16)


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
    return prediction_tags(plan) | {"scores": json.dumps(SCORE_BYTES)}


def score_classes(source: Source, name: str) -> ClassScheme:
    """Return the classes of a score raster: one of ours, or one as Fields of The World publishes.

    Ours has the tag ``classes``, p = v / 254, and 255 where there is no score; theirs the bands
    ``field`` and ``boundary``, p = v / 255, and a score everywhere.

    Raises
    ------
    BadInput
        If it is neither of them, or says both.
    """
    text = source.tags.get("classes")
    if not text:
        if is_published(source):
            return FTW3
        raise BadInput(_neither(source, name))
    try:
        classes = ClassScheme.from_dict(json.loads(text))
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise BadInput(
            f"{name} has a damaged tag 'classes' ({text[:60]!r}): write it again with 'selion "
            "predict' or 'selion map --scores'."
        ) from error
    if len(classes) != len(source.bands):
        raise BandMismatch(
            f"{name} has {len(source.bands)} bands, but its tags name {len(classes)} classes: it "
            "is not a score raster of selion."
        )
    return classes


def is_published(source: Source) -> bool:
    """Say whether a raster holds probabilities as Fields of The World publishes them.

    By bands, numbers and tags; one that declares a value for no data does not.
    """
    return (
        "classes" not in source.tags
        and tuple(source.bands) == PUBLISHED_BANDS
        and source.dtype == np.uint8
        and any(tag in source.tags for tag in PUBLISHED_TAGS)
        and getattr(source, "nodata", None) is None
    )


def _neither(source: Source, name: str) -> str:
    """Say why a raster without the tag ``classes`` is no score raster."""
    if tuple(source.bands) == PUBLISHED_BANDS and source.dtype == np.uint8:
        nodata = getattr(source, "nodata", None)
        why = (
            f"declares {nodata:g} as no data, which Fields of The World never does"
            if nodata is not None
            else f"has none of the tags {' and '.join(PUBLISHED_TAGS)}, which Fields of The World "
            "writes"
        )
        return (
            f"{name} has the bands field and boundary, but {why}: whether its values are v / 255 "
            "or v / 254 cannot be told; write it again with the tags of its publisher."
        )
    return (
        f"{name} does not say what its bands mean (no tag 'classes'; bands "
        f"{', '.join(source.bands)}): write it with 'selion predict' or 'selion map --scores', or "
        "give a raster of Fields of The World (bands field and boundary, tag tile_key)."
    )
