"""Are the masks the right way round?  Two public datasets have 0 for plants; so may yours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage, special

from selion.classes import IGNORE
from selion.labels import Instances, LabelMap

PLANTS = ("crop", "weed", "plant", "vegetation", "wheat")
"""Classes that are greener than what they grow on."""
ROUND = np.ones((3, 3), bool)
"""A pixel and its eight neighbours."""
ODD = 0.15
"""Share of the boundary that may have background and no field beside it, over that which has field
and no background."""
SEVERAL = 3
"""Patches that the background has at least more than the field, if the two are swapped."""


@dataclass(frozen=True, slots=True)
class Polarity:
    """What one image says."""

    greener: float | None = None
    """Mean excess green of plants less that of the rest; None where there is no colour, or only one
    of the two."""
    exchanged: bool | None = None
    """Whether field and background look exchanged; None where the mask has no boundary class, or
    too little of it."""
    disagree: float | None = None
    """Share of the known pixels in which mask and objects contradict each other."""
    disagree_turned: float | None = None
    """The same if field and background of the mask were exchanged."""


def polarity(
    labels: LabelMap | None, instances: Instances | None, values: np.ndarray, bands: tuple[str, ...]
) -> Polarity:
    """Look at one image and its masks.

    Parameters
    ----------
    labels, instances
        Its truth.
    values : (band, y, x) ndarray
    bands : tuple of str
        Their names.
    """
    if labels is None:
        return Polarity()
    against = (None, None) if instances is None else _against(labels, instances)
    return Polarity(_greener(labels, values, bands), _exchanged(labels), *against)


def excess_green(values: np.ndarray, bands: tuple[str, ...]) -> np.ndarray | None:
    """Return (y, x) 2 g - r - b of the shares of red, green and blue.

    The index is that of Woebbecke et al. 1995; None without colours.
    """
    if not {"red", "green", "blue"} <= set(bands):
        return None
    red, green, blue = (
        values[bands.index(name)].astype(np.float32) for name in ("red", "green", "blue")
    )
    total = red + green + blue
    index: np.ndarray = np.where(total > 0, (2 * green - red - blue) / np.maximum(total, 1e-6), 0)
    return index


def _greener(labels: LabelMap, values: np.ndarray, bands: tuple[str, ...]) -> float | None:
    plants = [labels.classes.index(name) for name in labels.classes.names if name in PLANTS]
    green = excess_green(values, bands) if plants else None
    if green is None:
        return None
    is_plant, known = np.isin(labels.ids, plants), labels.ids != IGNORE
    rest = known & ~is_plant
    return (
        float(green[is_plant].mean() - green[rest].mean())
        if is_plant.any() and rest.any()
        else None
    )


def _exchanged(labels: LabelMap) -> bool | None:
    """Say whether field and background of a mask with boundaries look exchanged.

    Boundaries are drawn at or inside fields: all of them have field beside them, and only those
    that no other field adjoins have background.  So more boundary beside background than beside
    field is odd; with several patches of background for one of field it is an exchange.  Measured:
    of masks that were exchanged, two thirds to all of five simulated styles, all of the Estonian
    tile and 10 of 12 of dense France are found, but few where fields do not adjoin one another, as
    in the NAIP chips: there the objects must tell.  Of masks that were not exchanged, none.
    """
    if labels.classes.boundary is None:
        return None
    line = labels.ids == labels.classes.index(labels.classes.boundary)
    field, ground = labels.ids == 1, labels.ids == 0
    if line.sum() < 30 or not field.any() or not ground.any():
        return None
    beside = [
        float((ndimage.binary_dilation(part, ROUND) & line).sum() / line.sum())
        for part in (field, ground)
    ]
    return beside[0] - beside[1] < -ODD and _patches(ground) >= _patches(field) + SEVERAL


def _patches(mask: np.ndarray) -> int:
    """Count connected patches of 9 pixels or more."""
    names, _ = ndimage.label(mask)
    return int((np.bincount(names.ravel())[1:] >= 9).sum())


def _against(labels: LabelMap, instances: Instances) -> tuple[float, float]:
    """Share of the known pixels in which mask and objects contradict each other.

    The boundary is left aside; the share is given as it is and turned.
    """
    line = -1 if labels.classes.boundary is None else labels.classes.index(labels.classes.boundary)
    known = (labels.ids != IGNORE) & (labels.ids != line)
    if not known.any():
        return 0.0, 0.0
    apart = float(((labels.ids > 0) != (instances.ids > 0))[known].mean())
    return apart, 1 - apart


def mostly_negative(values: list[float]) -> bool:
    """Say whether values are negative in most images.

    That is more often than a coin would have it (p < 0.01, or all of three or four).
    """
    if len(values) < 3:
        return bool(values) and all(v < 0 for v in values) and min(values) < -0.02
    below = sum(v < 0 for v in values)
    return bool(
        below > 0.6 * len(values)
        and (below == len(values) or special.bdtrc(below - 1, len(values), 0.5) < 0.01)
    )
