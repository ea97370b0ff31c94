"""What an image's numbers are: digital numbers, reflectances, percent, bytes, shifted or scaled."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from selion.segmenter import InputSpec

BYTE, TENTHOUSAND = 255.0, 10_000.0
DENSE = 2000.0
"""Near infrared minus red, in digital numbers, of dense vegetation: no offset changes it."""
DARK = (-150.0, 850.0)
"""Between these, in digital numbers, lies the red of dense vegetation (10th percentile)."""
STEP = 1000.0
"""Offsets are whole multiples of this: 1000 is added since baseline 04.00, or was taken away."""
FEW = 60
"""Pixels of dense vegetation below which they say nothing."""
LANDSAT = (2.75e-5, -0.2)
"""Reflectance per number, and of the number 0, of Landsat's collection 2, level 2."""
PLAUSIBLE = (1200.0, 16_000.0)
"""Between these, in digital numbers, lies the 99th percentile of land."""
NEGATIVE = 0.05
"""Share of numbers below 0 from which something was subtracted."""


@dataclass(frozen=True, slots=True)
class NumberKind:
    """What the numbers of one date are."""

    name: str
    """``digital``, ``reflectance``, ``percent``, ``bytes``, ``landsat``, or ``unknown``."""
    gain: float = 1.0
    """Digital number = number * gain + shift, where 10000 is a reflectance of 1; of bytes, whose
    stretch nobody says, what brings them to the brightness of farmland."""
    shift: float = 0.0
    sentence: str = ""
    """What was seen; empty where the numbers are digital as they are."""
    doubt: str = ""
    """A warning that goes with the conversion."""


def kind_of(values: np.ndarray, red: np.ndarray | None, nir: np.ndarray | None) -> NumberKind:
    """Say what the numbers of one date are.

    Parameters
    ----------
    values : ndarray
        Valid numbers of all its colours, a sample of the whole image.
    red, nir : (n,) ndarray, optional
        Of the same pixels.

    Returns
    -------
    NumberKind
        Percentiles decide, never the largest number: one stray pixel is not what an image is.
    """
    if values.size == 0:
        return NumberKind("unknown")
    kind = _recognised(values, red, nir)
    top = float(np.percentile(values, 99)) * kind.gain + kind.shift
    if kind.doubt or kind.name in ("bytes", "unknown") or PLAUSIBLE[0] <= top <= PLAUSIBLE[1]:
        return kind
    return replace(
        kind,
        doubt=f"the 99th percentile of the numbers is a reflectance of {top / 10_000:.3g}, which "
        f"land does not have ({PLAUSIBLE[0] / 10_000:g} to {PLAUSIBLE[1] / 10_000:g}): they may be "
        "on another scale than the model was trained on",
    )


def _recognised(values: np.ndarray, red: np.ndarray | None, nir: np.ndarray | None) -> NumberKind:
    low, middle, high = (float(v) for v in np.percentile(values, [1, 50, 99]))
    whole = bool(np.mean(values == np.round(values)) > 0.99) and high > 2
    if whole or low >= 6500:
        return _whole(values, red, nir, low, high)
    if high <= 2.5 and middle <= 1.2:
        return _shifted(
            NumberKind("reflectance", TENTHOUSAND, 0.0, "reflectances from 0 to 1"), red, nir
        )
    if high <= 160:
        return _shifted(NumberKind("percent", 100.0, 0.0, "reflectances in percent"), red, nir)
    return _shifted(NumberKind("digital"), red, nir)


def _whole(
    values: np.ndarray, red: np.ndarray | None, nir: np.ndarray | None, low: float, high: float
) -> NumberKind:
    if low >= 0 and high <= BYTE:
        gain = 2000.0 / max(float(np.median(values)), 1.0)
        return NumberKind(
            "bytes",
            min(gain, 60.0),
            0.0,
            "bytes",
            "bytes hold no reflectances: they were brought to the usual brightness of farmland, "
            "and the map is less sure than one from digital numbers",
        )
    if low >= 6500 and high > 9000 and _dark(red, nir, DENSE / 10_000 / LANDSAT[0]) is not None:
        dark = _dark(red, nir, DENSE / 10_000 / LANDSAT[0]) or 0.0
        if 7000 <= dark <= 10_500:
            return NumberKind(
                "landsat",
                LANDSAT[0] * 10_000,
                LANDSAT[1] * 10_000,
                "the numbers of Landsat's collection 2 (reflectance = number x 0.0000275 - 0.2)",
            )
    kind = _shifted(NumberKind("digital"), red, nir)
    if kind.shift == 0 and float(np.mean(values < 0)) > NEGATIVE:
        return NumberKind(
            "unknown",
            sentence="numbers below 0",
            doubt=f"{np.mean(values < 0):.0%} of the numbers are below 0, and no vegetation tells "
            "what was subtracted: add it again, the map is not to be trusted",
        )
    if kind.shift == 0 and float(np.mean(values == 0)) > 0.2:
        return NumberKind(
            "digital",
            doubt=f"{np.mean(values == 0):.0%} of the numbers are 0: an offset may have been "
            "subtracted twice",
        )
    return kind


def _dark(red: np.ndarray | None, nir: np.ndarray | None, dense: float) -> float | None:
    """Return the 10th percentile of red in dense vegetation; None: there is too little."""
    if red is None or nir is None:
        return None
    chosen = red[nir - red >= dense]
    return float(np.percentile(chosen, 10)) if chosen.size >= FEW else None


def _shifted(kind: NumberKind, red: np.ndarray | None, nir: np.ndarray | None) -> NumberKind:
    """Find a whole thousand that was added or taken away, by dense vegetation."""
    dark = _dark(red, nir, DENSE / kind.gain)
    if dark is None:
        return kind
    dark *= kind.gain
    if DARK[0] <= dark <= DARK[1]:
        return kind
    shift = -STEP * round((dark - 350.0) / STEP)
    if not DARK[0] <= dark + shift <= DARK[1] or shift == 0 or abs(shift) > 4 * STEP:
        return kind
    done = "added to" if shift < 0 else "taken from"
    told = (
        f"{kind.sentence}, and {abs(shift):g} was {done} the digital numbers (dense vegetation has "
        f"a red of {dark:.0f})"
        if kind.sentence
        else f"digital numbers that {abs(shift):g} was {done} (dense vegetation has a red of "
        f"{dark:.0f})"
    )
    return NumberKind(kind.name, kind.gain, shift, told)


def wanted_numbers(inputs: InputSpec) -> str:
    """Return what a model was trained on, by its scaling: ``digital``, ``bytes`` or nothing."""
    scaling = inputs.scaling
    divisor = max(abs(value) for value in scaling.divide)
    if inputs.stretch is not None:
        return ""
    if divisor >= 1000:
        return "digital"
    return "bytes" if 20 <= divisor <= BYTE else ""
