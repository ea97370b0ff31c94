"""What a model answers on a chip that is made by a formula: kept in its card, and compared.

The checksums of a card say that files are the same.  Whether they are understood in the same way,
scaling, order of bands, engine and processor, is seen by their answers only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from selion.errors import BadInput
from selion.models.architectures import FAMILIES
from selion.models.card import ModelCard
from selion.models.feed import feed, probabilities
from selion.segmenter import View

TOLERANCE = 5e-4
"""The largest difference of a mean probability between machines and engines that compute in
float32.  The rounding of the card takes 5e-5 of it."""
CELLS = 4
"""Cells along each axis of the chip; the card keeps each class's mean probability in each."""
EDGE = 128
"""Pixels along each axis of the chip, or the least multiple above that the model takes."""
_DIGITS = 4
_ENDS = ("chip from", "chip to")
"""Keys of the chip's range, beside the classes."""
_BANDS = "bands"
"""Key of the bands' names, in the order in which the chip has them."""


@dataclass(frozen=True, slots=True)
class Verification:
    """How a model's answers compare with its card's."""

    card: ModelCard
    engine: str
    """What ran the model."""
    difference: float
    """The largest one of a mean probability."""


def synthetic_chip(card: ModelCard, low: np.ndarray, high: np.ndarray) -> View:
    """Make the chip that a model is shown.

    Parcels of 16 px and a fine texture, other ones in each band.  Whole numbers make it, so that it
    is the same on every machine.

    Parameters
    ----------
    card : ModelCard
    low, high : (band,) float64 ndarray
        Between what numbers it lies, in those of images.

    Returns
    -------
    View
        (band, y, x) float32, or of two dates where they are a set: the second has a hole, and lacks
        the bands that may be missing.  It has :data:`EDGE` px, the window where the network takes
        one size only, or the size of the export's own trace where the card does not say what
        network it is.
    """
    spec = card.inputs
    family = FAMILIES.get(str(card.architecture.get("family", "")))
    edge = -(-EDGE // spec.multiple) * spec.multiple if family else 2 * spec.multiple
    edge = spec.window if family is not None and family.fixed else edge
    dates = 2 if spec.dates else 1
    low, high = np.tile(low, dates), np.tile(high, dates)
    y, x = np.ogrid[:edge, :edge]
    parcels = (y // 16) * 7 + (x // 16) * 13 + (y // 16) * (x // 16) * 5
    rows, crossed = y * 31 + x * 17, x * y % 23
    shares = np.arange(17 * 29) / (17 * 29)
    pixels = np.empty((len(low), edge, edge), np.float32)
    for b in range(len(low)):
        parcel, texture = (parcels + b * 3) % 17, (rows + (b + 1) * crossed) % 29
        pixels[b] = (low[b] + shares * (high[b] - low[b])).astype(np.float32)[parcel * 29 + texture]
    if spec.dates:
        second = pixels[len(spec.bands) :]
        second[:, : edge // 2, : edge // 2] = np.nan
        second[[spec.bands.index(name) for name in spec.optional]] = np.nan
    return View(pixels, (slice(0, edge), slice(0, edge)))


def chip_range(card: ModelCard) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers that a card's scaling takes to 0.1 and 0.9, (band,) float64 each."""
    scaling, bands = card.inputs.scaling, len(card.inputs.bands)
    divide, subtract = (
        np.broadcast_to(np.asarray(values, np.float64), (bands,))
        for values in (scaling.divide, scaling.subtract)
    )
    return subtract + 0.1 * divide, subtract + 0.9 * divide


def fingerprint_of(card: ModelCard, answer: Callable[[np.ndarray], np.ndarray]) -> dict[str, str]:
    """Return what a card keeps of a network's answers.

    Parameters
    ----------
    card : ModelCard
    answer : callable
        (1, band, y, x) float32 -> (1, class, y, x) float32 logits.

    Returns
    -------
    dict
        Class -> its mean probabilities in the chip's cells, row by row, as a text; between what
        numbers the chip lies, so that another scaling is noticed; and the bands, so that another
        order of them is.  Empty if the network answers
        NaN.
    """
    spanned = chip_range(card)
    chip = synthetic_chip(card, *spanned)
    found = probabilities(answer(feed(chip, card))[0], chip.pixels.shape[1:])
    if not np.isfinite(found).all():
        return {}
    rows = [" ".join(f"{value:.{_DIGITS}f}" for value in row) for row in _means(found)]
    ends = [" ".join(f"{value:.9g}" for value in end) for end in spanned]
    told = (*ends, _bands_of(card), *rows)
    return dict(zip((*_ENDS, _BANDS, *card.classes.names), told, strict=True))


def _bands_of(card: ModelCard) -> str:
    """Return the names of a card's bands in their order, as a text."""
    return " ".join(card.inputs.bands)


def _means(found: np.ndarray) -> np.ndarray:
    """(class, y, x) -> (class, cell) float64, row by row."""
    rows = np.array_split(found.astype(np.float64), CELLS, axis=1)
    cells = [cell.mean((1, 2)) for row in rows for cell in np.array_split(row, CELLS, axis=2)]
    return np.stack(cells, axis=1)


def compare_answers(card: ModelCard, run: Callable[[Any], np.ndarray], engine: str) -> Verification:
    """Compare a loaded model's answers with those that its card keeps.

    Parameters
    ----------
    card : ModelCard
    run : callable
        Views -> (view, class, y, x) float32 probabilities.
    engine : str
        What runs it, for the sentence.

    Raises
    ------
    BadInput
        If they differ by more than :data:`TOLERANCE`, or the card's bands are in another order.
    """
    wanted, (low, high) = known_answers(card)
    bands = card.fingerprint.get(_BANDS)
    # names of bands may have spaces: they are compared as they were written
    if bands is not None and bands != _bands_of(card):
        raise BadInput(
            f"The card of {card.name} says bands {', '.join(card.inputs.bands)}, and its answers "
            f"were written with {', '.join(bands.split())}: it was changed since; fetch, import or "
            "export it again."
        )
    difference = float(np.abs(_means(run([synthetic_chip(card, low, high)])[0]) - wanted).max())
    if not difference <= TOLERANCE:
        raise BadInput(
            f"{card.name} answers otherwise than where its card was written: mean probabilities on "
            f"a synthetic chip differ by up to {difference:.2g} ({TOLERANCE:g} are allowed; "
            f"{engine}): fetch, import or export it again, or try another --engine."
        )
    return Verification(card, engine, difference)


def known_answers(card: ModelCard) -> tuple[np.ndarray, np.ndarray]:
    """Return the answers that a card keeps, and between what numbers the chip lay.

    Returns
    -------
    (class, cell) float64 ndarray, (2, band) float64 ndarray

    Raises
    ------
    BadInput
        If it keeps none, or they are no rows of numbers.
    """
    if not card.fingerprint:
        raise BadInput(
            f"The card of {card.name} keeps no answers to compare with, so only its files could be "
            "compared, and they are whole: models that were fetched, imported or exported before "
            "answers were kept get them by doing that again, and models that answer with objects "
            "or are stored in 8 bit have none."
        )
    try:
        rows = [card.fingerprint[name].split() for name in card.classes.names]
        ends = [card.fingerprint[name].split() for name in _ENDS]
        return (
            np.array(rows, np.float64).reshape(len(card.classes), CELLS**2),
            np.array(ends, np.float64).reshape(2, len(card.inputs.bands)),
        )
    except (KeyError, ValueError) as error:
        raise BadInput(
            f"The card of {card.name} holds a fingerprint of another kind: wanted are {CELLS**2} "
            "numbers for each class, and the chip's range; fetch, import or export it again."
        ) from error
