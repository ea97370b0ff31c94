"""How far a mask out of depth is to be trusted.

Also which photographs have no soil to be parted from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from selion import metrics
from selion.errors import BadInput
from selion.labelling.threshold import DepthMask

GREEN = 0.05
"""Excess green of chromatic coordinates (2 g - r - b) from which a pixel may be a plant: soils have
about 0, leaves 0.1 to 0.6."""
FULL = 0.985
"""Least share of such pixels in a photograph that is fully covered, and ..."""
LESS_GREEN = 0.135
"""... the least mean of the less green half (by Otsu): greenish light brings soil to 0.12 or so,
the shade within a canopy stays above 0.15 ..."""
PARTED = 0.775
"""... and the largest share of the variance of excess green that lies between the two halves:
plants and soil are two groups of colours, leaves are one."""
SMALLEST = 25
"""Without this many pixels on both sides nothing can be compared."""


@dataclass(frozen=True, slots=True)
class MaskQuality:
    """Signs of a good mask, each 0 to 1, higher is better."""

    contrast: float
    """Mean step of depth along the edge of the mask against that anywhere else: 1 - other /
    edge."""
    colour: float
    """How well the mask agrees with the colour rule (IoU with excess green and Otsu); NaN without
    colours."""

    @property
    def score(self) -> float:
        """Geometric mean of both: one bad sign is enough to doubt.

        Contrast alone without colours.
        """
        return (
            math.sqrt(self.contrast * self.colour) if math.isfinite(self.colour) else self.contrast
        )


NONE = MaskQuality(0.0, math.nan)
"""Of a photograph that gave no mask."""


def judge(found: DepthMask, image: np.ndarray | None = None) -> MaskQuality:
    """Judge a mask by what is at hand without a truth.

    Parameters
    ----------
    found : DepthMask
    image : (3, y, x) ndarray, optional
        The photograph on the same grid.

    Raises
    ------
    BadInput
        If photograph and depth differ in size.
    """
    if found.mask is None or found.depth is None:
        return NONE
    if image is not None and image.shape[1:] != found.mask.shape:
        raise BadInput(
            f"A photograph of {image.shape[1:]} pixels was given for a mask of {found.mask.shape}: "
            "bring both to one size."
        )
    colour = math.nan if image is None else _overlap(found.mask, metrics.excess_green(image) > 0)
    return MaskQuality(_contrast(found.mask, found.depth), colour)


def _contrast(mask: np.ndarray, depth: np.ndarray) -> float:
    """Compare steps of neighbours across the edge of the mask with all others.

    The edge of the mask runs between the former.
    """
    steps = np.concatenate([np.abs(np.diff(depth, axis=axis)).ravel() for axis in (0, 1)])
    on_edge = np.concatenate([np.diff(mask, axis=axis).ravel() for axis in (0, 1)])
    if on_edge.sum() < SMALLEST:
        return 0.0
    edge, other = float(steps[on_edge].mean()), float(steps[~on_edge].mean())
    return max(0.0, 1 - other / edge) if edge > 0 else 0.0


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    union = int((one | other).sum())
    return int((one & other).sum()) / union if union else 1.0


def covered(image: np.ndarray) -> bool:
    """Say whether a photograph shows plants alone, by its colours: its mask is then all ones.

    Depth cannot say it: a full canopy has leaves above leaves, and the threshold would part those.
    Red leaves, residue and yellow crops are not seen as plants here; such photographs are for a
    user's own list.

    Parameters
    ----------
    image : (3, y, x) ndarray
        Red, green, blue.

    Notes
    -----
    DepthCropSeg++ (section II) gives full-coverage images a mask of all ones and does not say how
    they are told apart.
    """
    index = _smooth_excess_green(image)
    if float((index > GREEN).mean()) < FULL:
        return False
    greener = metrics.otsu_depth(index) > 0
    if not greener.any():
        return True
    return float(index[~greener].mean()) >= LESS_GREEN and _between(index, greener) <= PARTED


def _between(index: np.ndarray, greener: np.ndarray) -> float:
    """Return the share of the variance that lies between two halves (Otsu's criterion)."""
    share, total = float(greener.mean()), float(index.var())
    apart = float(index[greener].mean() - index[~greener].mean())
    return share * (1 - share) * apart**2 / total if total > 0 else 0.0


def _smooth_excess_green(image: np.ndarray) -> np.ndarray:
    """Return (y, x) excess green of chromatic coordinates.

    Sensor noise, which is loud in the dark, is averaged away first.
    """
    smooth = ndimage.uniform_filter(image.astype(np.float32), (0, 5, 5))
    shares = smooth / np.maximum(smooth.sum(0), 1e-6)
    index: np.ndarray = 2 * shares[1] - shares[0] - shares[2]
    return index
