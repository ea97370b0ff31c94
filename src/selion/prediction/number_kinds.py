"""What an image's numbers are: digital numbers, reflectances, percent, bytes, shifted or scaled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from selion.segmenter import InputSpec

BYTE, TENTHOUSAND = 255.0, 10_000.0
DENSE = 2500.0
"""Near infrared minus red, in digital numbers, of dense vegetation: no offset changes it."""
DARK = (-150.0, 850.0)
"""Between these, in digital numbers, lies the red of dense vegetation (10th percentile)."""
SURE = (50.0, 700.0)
"""Between these it lies after an offset was taken out, else nothing is."""
STEP = 1000.0
"""Offsets are whole multiples of this: 1000 is added since baseline 04.00, or was taken away."""
FEW, SHARE = 60, 0.005
"""Pixels of dense vegetation, and their share of an image, below which they say nothing."""
GREEN = 0.1
"""Share of vegetation that tells bytes from dark digital numbers where the file's type does not."""
BRIGHT = 6000.0
"""Median, in digital numbers, above which an image is snow, clouds, or on another scale."""
LANDSAT = (2.75e-5, -0.2)
"""Reflectance per number, and of the number 0, of Landsat's collection 2, level 2."""
PLAUSIBLE = (1200.0, 16_000.0)
"""Between these, in digital numbers, lies the 99th percentile of land."""
PLANTS = 0.7
"""Normalised difference from which a pixel is dense vegetation, on whatever scale its numbers are.
The next two were taken from ten real dates of six places."""
BLUE = 0.9
"""Blue over green of dense vegetation: 0.50 and 0.58 on the ground, 1.03 to 1.26 where the air
above it scatters blue."""
NEAR = (1200.0, 7000.0)
"""Between these, in digital numbers, lies the near infrared of dense vegetation: 2530 to 4960."""
NEGATIVE = 0.05
"""Share of numbers below 0 from which something was subtracted."""


@dataclass(frozen=True, slots=True)
class NumberKind:
    """What the numbers of one date are."""

    name: str
    """``digital``, ``reflectance``, ``percent``, ``bytes``, ``stretched`` (what was made for a
    screen, from 0 to 1), ``landsat``, or ``unknown``."""
    gain: float = 1.0
    """Digital number = number * gain + shift, where 10000 is a reflectance of 1; of bytes, whose
    stretch nobody says, what brings them to the brightness of farmland."""
    shift: float = 0.0
    sentence: str = ""
    """What was seen; empty where the numbers are digital as they are."""
    doubt: str = ""
    """A warning that goes with the conversion."""
    sure: bool = False
    """Whether dense vegetation shows it."""


def kind_of(
    values: np.ndarray,
    red: np.ndarray | None,
    nir: np.ndarray | None,
    *,
    is_byte: bool,
    stated: bool = False,
) -> NumberKind:
    """Say what the numbers of one date are.

    Parameters
    ----------
    values : (band, n) ndarray
        Valid numbers of all its colours, a sample of the whole image.
    red, nir : (n,) ndarray, optional
        Of the same pixels.
    is_byte : bool
        Whether the file's type holds nothing but bytes.
    stated : bool
        Whether metadata say that they are digital numbers: then they stay, and are doubted at most.

    Returns
    -------
    NumberKind
        Percentiles decide, never the largest number: one stray pixel is not what an image is.
    """
    kind = _plausible(values, red, nir, is_byte=is_byte, stated=stated)
    if kind.name in ("bytes", "stretched", "unknown") or kind.doubt:
        return kind
    return replace(kind, sure=_dark(red, nir, DENSE / kind.gain) is not None)


def _plausible(
    values: np.ndarray,
    red: np.ndarray | None,
    nir: np.ndarray | None,
    *,
    is_byte: bool,
    stated: bool,
) -> NumberKind:
    """Recognise a kind, and doubt one that land does not have."""
    if values.size == 0:
        return NumberKind("unknown")
    kind = (
        _doubted(NumberKind("digital"), _dark(red, nir, DENSE))
        if stated
        else _recognised(values, red, nir, is_byte=is_byte)
    )
    middle, top = np.percentile(values, [50, 99]) * kind.gain + kind.shift
    if kind.doubt or kind.name in ("bytes", "stretched", "unknown"):
        return kind
    if PLAUSIBLE[0] <= top <= PLAUSIBLE[1]:
        if middle <= BRIGHT:
            return kind
        return replace(
            kind,
            doubt=f"half of the numbers are a reflectance above {middle / 10_000:.2g}: snow, "
            "clouds, or another scale than the model was trained on",
        )
    return replace(
        kind,
        doubt=f"the 99th percentile of the numbers is a reflectance of {top / 10_000:.3g}, which "
        f"land does not have ({PLAUSIBLE[0] / 10_000:g} to {PLAUSIBLE[1] / 10_000:g}): they may be "
        "on another scale than the model was trained on",
    )


def doubted_plants(kind: NumberKind, bands: Mapping[str | None, np.ndarray]) -> NumberKind:
    """Doubt numbers by which dense vegetation has a brightness, or a blue, that it has nowhere.

    Parameters
    ----------
    kind : NumberKind
        What the numbers were recognised as.
    bands : mapping
        Colour -> (n,) numbers of the same pixels; nothing is said without red and nir, and of blue
        nothing without green and blue.

    Notes
    -----
    Vegetation is found by a ratio, which no scale changes: so its brightness tells the scale.
    """
    told = kind.name not in ("bytes", "stretched", "unknown") and not kind.doubt
    if not told or not {"red", "nir"} <= bands.keys():
        return kind
    red, nir = (bands[colour] * kind.gain + kind.shift for colour in ("red", "nir"))
    with np.errstate(all="ignore"):  # numbers that no float holds are no vegetation
        plants = (red > 0) & ((nir - red) / (nir + red) >= PLANTS)
    if plants.sum() < max(FEW, SHARE * red.size):
        return kind
    near = float(np.median(nir[plants]))
    if not NEAR[0] <= near <= NEAR[1]:
        return replace(
            kind,
            doubt=f"dense vegetation has a near infrared of {near / TENTHOUSAND:.2g} where "
            f"{NEAR[0] / TENTHOUSAND:g} to {NEAR[1] / TENTHOUSAND:g} is usual: the numbers are on "
            "another scale than the model was trained on, and stay as they are",
        )
    if not {"green", "blue"} <= bands.keys():
        return kind
    green, blue = (bands[colour][plants] * kind.gain + kind.shift for colour in ("green", "blue"))
    ratio = float(np.median(blue)) / max(float(np.median(green)), 1.0)
    if ratio <= BLUE:
        return kind
    return replace(
        kind,
        doubt=f"dense vegetation is {ratio:.2f} times as bright in blue as in green, as it is only "
        "through haze or from above the atmosphere (L1C, TOA), where the model was trained on "
        "reflectances at the ground: give the same image as L2A",
    )


def is_bytes(colours: np.ndarray) -> bool:
    """Whether colours are whole numbers up to 255, and bright for such."""
    if colours.size == 0 or colours.min() < 0 or colours.max() > BYTE:
        return False
    return bool((colours == np.round(colours)).all()) and float(np.percentile(colours, 99)) > 60


def _recognised(
    values: np.ndarray, red: np.ndarray | None, nir: np.ndarray | None, *, is_byte: bool
) -> NumberKind:
    low, middle, high = (float(v) for v in np.percentile(values, [1, 50, 99]))
    if is_byte:
        return _stretched("bytes", middle)
    if low == high:
        return NumberKind("unknown", doubt=f"nearly all of the numbers are {middle:g}")
    whole = bool(np.mean(values == np.round(values)) > 0.99) and high > 2
    if whole or low >= 6500:
        return _whole(values, red, nir, low, high)
    if low < -0.35 and high <= 160:
        return NumberKind(
            "unknown",
            sentence="numbers below 0",
            doubt=f"the numbers lie from {low:.2g} to {high:.2g}, which no reflectances do: they "
            "seem to be scaled for a network; give the image as it was",
        )
    if high <= 1 and float(np.mean(values == 1)) > 0.005:
        return _stretched("stretched", middle)
    kind = NumberKind("digital")
    if high <= 2.5 and middle <= 1.2:
        kind = NumberKind("reflectance", TENTHOUSAND, 0.0, "reflectances from 0 to 1")
    elif high <= 160:
        kind = NumberKind("percent", 100.0, 0.0, "reflectances in percent")
    return _shifted(kind, values, red, nir)


def _stretched(name: str, middle: float) -> NumberKind:
    """Return what was made for a screen: no reflectance is known, the brightness of farmland is."""
    most, what = (60.0, "bytes") if name == "bytes" else (15_300.0, "numbers cut off at 1")
    return NumberKind(
        name,
        min(2000.0 / max(middle, 1e-9), most),
        0.0,
        what,
        f"{what} hold no reflectances: they were brought to the usual brightness of farmland, and "
        "the map is less sure than one from digital numbers",
    )


def _whole(
    values: np.ndarray, red: np.ndarray | None, nir: np.ndarray | None, low: float, high: float
) -> NumberKind:
    if low >= 0 and high <= BYTE:
        green = red is not None and nir is not None and float(np.mean(nir > 1.5 * red))
        if green and green >= GREEN and high > BYTE / 4:
            return _stretched("bytes", float(np.median(values)))
        return NumberKind(
            "unknown",
            sentence="numbers up to 255",
            doubt="the numbers end at 255 though the file could hold more, and no vegetation tells "
            "whether they are bytes or a very dark image: they stay as they are",
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
    kind = _shifted(NumberKind("digital"), values, red, nir)
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
    few = max(FEW, SHARE * red.size)
    return float(np.percentile(chosen, 10)) if chosen.size >= few else None


def _shifted(
    kind: NumberKind, values: np.ndarray, red: np.ndarray | None, nir: np.ndarray | None
) -> NumberKind:
    """Find a whole thousand that was added or taken away, by dense vegetation."""
    dark = _dark(red, nir, DENSE / kind.gain)
    if dark is None:
        return kind
    dark *= kind.gain
    if DARK[0] <= dark <= DARK[1]:
        return kind
    shift = -STEP * round((dark - 350.0) / STEP)
    darkest = float(np.percentile(values, 1, axis=1).min()) * kind.gain
    sure = SURE[0] <= dark + shift <= SURE[1] and 0 < abs(shift) <= 4 * STEP
    if not sure or (shift < 0 and darkest + shift < DARK[0]):
        return _doubted(kind, dark)
    done = "added to" if shift < 0 else "taken from"
    told = (
        f"{kind.sentence}, and {abs(shift):g} was {done} the digital numbers (dense vegetation has "
        f"a red of {dark:.0f})"
        if kind.sentence
        else f"digital numbers that {abs(shift):g} was {done} (dense vegetation has a red of "
        f"{dark:.0f})"
    )
    return NumberKind(kind.name, kind.gain, shift, told)


def _doubted(kind: NumberKind, dark: float | None) -> NumberKind:
    """Doubt numbers whose dense vegetation has another red than is usual; None: there is none."""
    if dark is None or DARK[0] <= dark <= DARK[1]:
        return kind
    return replace(
        kind,
        doubt=f"dense vegetation has a red of {dark:.0f} where {DARK[0]:.0f} to {DARK[1]:.0f} is "
        "usual: haze, or an offset that is not known; the numbers stay as they are",
    )


def wanted_numbers(inputs: InputSpec) -> str:
    """Return what a model was trained on, by its scaling: ``digital``, ``bytes`` or nothing."""
    scaling = inputs.scaling
    divisor = max(abs(value) for value in scaling.divide)
    if inputs.stretch is not None:
        return ""
    if divisor >= 1000:
        return "digital"
    return "bytes" if 20 <= divisor <= BYTE else ""
