"""A mask made better by depth.

What lies as deep as the soil is dropped, and the edge is drawn again where depth steps.

DepthCropSeg++ calls such a step optional and gives no formula; this one is ours.  Off unless asked
for, and reported apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from selion.errors import BadInput, GridMismatch


@dataclass(frozen=True, slots=True)
class RefineOptions:
    """How much depth may change a mask."""

    band: int = 4
    """Pixels on both sides of the edge that are decided anew; 0 leaves the edge as it is."""
    reach: float = 8.0
    """Standard deviation in pixels of the neighbourhood in which soil and crop are compared; larger
    than ``band``, so that both are met."""

    def __post_init__(self) -> None:
        if self.band < 0 or self.reach <= 0:
            raise BadInput(
                f"A band of {self.band} px and a reach of {self.reach} px were given; wanted are 0 "
                "or more, and more than 0."
            )


def refine(
    mask: np.ndarray, depth: np.ndarray, threshold: float, options: RefineOptions | None = None
) -> np.ndarray:
    """Correct a mask by depth.

    Parameters
    ----------
    mask : (y, x) bool ndarray
        Crop, from whatever source: a network, a colour rule, depth itself.
    depth : (y, x) ndarray
        Normalised, larger is nearer.
    threshold : float
        Depth that parts soil from crop.
    options : RefineOptions, optional

    Returns
    -------
    (y, x) bool ndarray

    Raises
    ------
    GridMismatch
        If mask and depth differ in size.
    """
    options = options or RefineOptions()
    if mask.shape != depth.shape:
        raise GridMismatch(
            f"A mask of {mask.shape} pixels and depth of {depth.shape} were given: bring both to "
            "one size."
        )
    kept = drop_low_parts(mask.astype(bool), depth, threshold)
    return redraw_edge(kept, depth, options) if options.band else kept


def drop_low_parts(mask: np.ndarray, depth: np.ndarray, threshold: float) -> np.ndarray:
    """Drop 4-connected parts of a (y, x) bool mask that lie low.

    Those are the ones whose median depth is not above the threshold.
    """
    ids, count = ndimage.label(mask)
    if not count:
        return mask
    medians = np.atleast_1d(ndimage.median(depth, ids, np.arange(1, count + 1)))
    kept: np.ndarray = np.concatenate([[False], medians > threshold])[ids]
    return kept


def redraw_edge(mask: np.ndarray, depth: np.ndarray, options: RefineOptions) -> np.ndarray:
    """Decide the pixels within a band around the edge of a (y, x) bool mask anew.

    Crop is what lies nearer to the crop beside it than to the soil beside it.

    Both levels are Gaussian means of depth over the pixels outside the band that are sure to be the
    one or the other; a pixel that does not see both stays.
    """
    inner = ndimage.binary_erosion(mask, iterations=options.band, border_value=1)
    outer = ~ndimage.binary_dilation(mask, iterations=options.band)
    band = ~inner & ~outer
    crop, seen_crop = _level(depth, inner, options.reach)
    soil, seen_soil = _level(depth, outer, options.reach)
    known = band & (seen_crop > 1e-4) & (seen_soil > 1e-4) & (crop > soil)
    return np.where(known, depth > (crop + soil) / 2, mask)


def _level(depth: np.ndarray, where: np.ndarray, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean of depth over the pixels of a mask around each pixel.

    With it comes how much of the mask was seen.
    """
    seen = ndimage.gaussian_filter(where.astype(np.float32), reach)
    total = ndimage.gaussian_filter(np.where(where, depth, 0).astype(np.float32), reach)
    return total / np.maximum(seen, 1e-12), seen
