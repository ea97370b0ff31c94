"""Colour of the vegetation.

The indices that field scientists quote, as means over the plants' own pixels.
"""

from __future__ import annotations

import numpy as np

ENOUGH = 1_000_000
"""Pixels that indices are averaged over at most, roughly; more are thinned evenly."""
NAMES = ("exg", "gli", "ngrdi", "vari", "dgci", "hue", "saturation", "red", "green", "blue")


def colour_indices(image: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """Average colour indices over the pixels of a mask.

    Parameters
    ----------
    image : (3, y, x) uint8 ndarray
        Red, green, blue.
    mask : (y, x) bool ndarray
        The vegetation.

    Returns
    -------
    dict
        One number for each of :data:`NAMES`; NaN without a pixel of vegetation.

    Notes
    -----
    With R, G, B of 0..255, r = R / (R + G + B) and so on:

    * exg, excess green, 2 g - r - b: Woebbecke et al., Transactions of the ASAE 38, 1995, pp.
      259-269.
    * gli, green leaf index, (2 G - R - B) / (2 G + R + B): Louhaichi, Borman and Johnson, Geocarto
      International 16(1), 2001.
    * ngrdi, (G - R) / (G + R): Tucker, Remote Sensing of Environment 8, 1979 (as VI of green and
      red).
    * vari, (G - R) / (G + R - B) of the *mean* colour: Gitelson et al., Remote Sensing of
      Environment 80, 2002.  The mean of its values by pixel has no bounds, since the divisor goes
      through 0.
    * dgci, dark green colour index, ((H - 60) / 60 + (1 - S) + (1 - V)) / 3 with hue in degrees and
      S, V in 0..1: Karcher and Richardson, Crop Science 43, 2003.
    * hue (degrees, circular mean weighted by saturation, because gray has none), saturation (0..1),
      and the mean red, green, blue (0..255).

    None of them is corrected for light or camera: compare photographs of one camera and one light,
    or with a colour card.
    """
    at = np.flatnonzero(mask)
    at = at[:: max(1, len(at) // ENOUGH)]
    pixels = image.reshape(3, -1)[:, at].astype(np.float32)
    if not pixels.shape[1]:
        return dict.fromkeys(NAMES, float("nan"))
    red, green, blue = pixels
    total = np.maximum(red + green + blue, 1)
    hue, saturation, value = hue_saturation_value(pixels)
    mean = [float(band.mean(dtype=np.float64)) for band in pixels]
    found = {
        "exg": float(((2 * green - red - blue) / total).mean(dtype=np.float64)),
        "gli": float(
            ((2 * green - red - blue) / np.maximum(2 * green + red + blue, 1)).mean(
                dtype=np.float64
            )
        ),
        "ngrdi": float(((green - red) / np.maximum(green + red, 1)).mean(dtype=np.float64)),
        "vari": _ratio(mean[1] - mean[0], mean[1] + mean[0] - mean[2]),
        "dgci": float(
            (((hue - 60) / 60 + (1 - saturation) + (1 - value)) / 3).mean(dtype=np.float64)
        ),
        "hue": _mean_angle(hue, saturation),
        "saturation": float(saturation.mean(dtype=np.float64)),
    }
    return found | dict(zip(("red", "green", "blue"), mean, strict=True))


def hue_saturation_value(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return hue, saturation and value of (3, n) colours of 0..255.

    Hue is in degrees, 0 to 360 (0 for gray), the other two go from 0 to 1.
    """
    red, green, blue = pixels
    top, low = pixels.max(0), pixels.min(0)
    spread = top - low
    safe = np.maximum(spread, 1e-6)
    sextant = np.where(
        top == red,
        (green - blue) / safe % 6,
        np.where(top == green, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    return np.where(spread > 0, 60 * sextant, 0), spread / np.maximum(top, 1e-6), top / 255


def _mean_angle(degrees: np.ndarray, weights: np.ndarray) -> float:
    angles = np.radians(degrees)
    east, north = (
        float((weights * np.cos(angles)).mean(dtype=np.float64)),
        float((weights * np.sin(angles)).mean(dtype=np.float64)),
    )
    if east == north == 0:
        return float("nan")
    return float(np.degrees(np.arctan2(north, east)) % 360)


def _ratio(above: float, below: float) -> float:
    return above / below if abs(below) > 1e-9 else float("nan")
