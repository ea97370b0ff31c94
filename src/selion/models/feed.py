"""What a network is fed and what it answers.

Scale, pad, and back to probabilities, the same for every engine.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from selion.errors import BadInput, BandMismatch
from selion.models.card import ModelCard
from selion.models.dates.absent import ABSENT
from selion.segmenter import InputSpec, View


def check_views(views: Sequence[View], card: ModelCard) -> None:
    """Refuse views that the network cannot take.

    Raises
    ------
    BandMismatch
        If the number of bands is not the card's.
    BadInput
        If views differ in size, or hold NaN or infinity.
    """
    bands = card.inputs.bands
    for view in views:
        if view.pixels.ndim != 3 or not card.inputs.takes(view.pixels.shape[0]):
            each = " for each date" if card.inputs.dates else ""
            raise BandMismatch(
                f"{card.name} wants {len(bands)} bands{each} ({', '.join(bands)}); pixels of shape "
                f"{view.pixels.shape} were given: choose or order the bands."
            )
        if view.pixels.shape != views[0].pixels.shape:
            raise BadInput(
                f"Views of {views[0].pixels.shape} and {view.pixels.shape} came in one call; "
                "wanted is one size."
            )


def empty_answers(views: Sequence[View], card: ModelCard) -> np.ndarray:
    """Return the (view, class, y, x) float32 array that answers to views are written to.

    Raises
    ------
    BandMismatch, BadInput
        As :func:`check_views`.
    """
    check_views(views, card)
    shape = views[0].pixels.shape[1:] if views else (0, 0)
    return np.empty((len(views), len(card.classes), *shape), np.float32)


def feed(view: View, card: ModelCard) -> np.ndarray:
    """Scale one view by its card and pad it to the card's multiple.

    It is padded at the bottom and right, by reflection.  Where dates are a set, NaN becomes
    :data:`selion.models.dates.absent.ABSENT`.

    Returns
    -------
    (1, band, y, x) float32 ndarray

    Raises
    ------
    BadInput
        If there is NaN or infinity: the caller fills nodata.
    """
    scaled = scaled_pixels(view.pixels, card.inputs)
    if not np.isfinite(scaled).all():
        raise BadInput(
            f"NaN or infinity reached {card.name}: fill nodata pixels before prediction."
        )
    pads = [-size % card.inputs.multiple for size in scaled.shape[1:]]
    if any(pads):
        scaled = np.pad(scaled, ((0, 0), (0, pads[0]), (0, pads[1])), mode="reflect")
    return np.ascontiguousarray(scaled[None])


def scaled_pixels(pixels: np.ndarray, inputs: InputSpec) -> np.ndarray:
    """Scale (band, y, x) pixels, or (dates x bands, y, x) where dates are a set, to float32."""
    scaled = inputs.scaling_of(len(pixels))(pixels)
    if inputs.dates:
        scaled = np.where(np.isnan(scaled), np.float32(ABSENT), np.maximum(scaled, 0))
    return scaled


def probabilities(logits: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Softmax over the classes, cut to the first ``shape`` (y, x) pixels.

    Parameters
    ----------
    logits : (class, y, x) float32 ndarray
    shape : (y, x)

    Returns
    -------
    (class, y, x) float32 ndarray
        Sums to one over the classes.
    """
    cut = logits[:, : shape[0], : shape[1]]
    shares = cut - cut.max(axis=0)
    np.exp(shares, out=shares)
    shares /= shares.sum(axis=0)
    return shares
