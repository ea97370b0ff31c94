"""Of several cuts through a depth map, the one whose mask looks best.

Neither of the two curves of :mod:`selion.labelling.threshold` is right for every photograph, and a
camera that does not look straight down sees the ground rise.  So the map is cut four times: by both
curves, as it is and with the plane of the ground taken out; the signs of
:mod:`selion.labelling.quality` choose.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np

from selion.labelling.quality import MaskQuality, judge
from selion.labelling.threshold import DepthMask, ThresholdOptions, depth_mask

CLEAR = 0.15
"""A mask whose contrast is worse than the best one's by this is out, whatever its colours: where
leaves are red or soil is green the colour rule likes the wrong mask, and depth says so."""


def choose_mask(
    depth: np.ndarray, image: np.ndarray | None = None, options: ThresholdOptions | None = None
) -> DepthMask:
    """Cut a depth map by each curve and ground that the options leave open; keep the best mask.

    Parameters
    ----------
    depth : (y, x) ndarray
        As for :func:`selion.labelling.threshold.depth_mask`.
    image : (3, y, x) ndarray, optional
        The photograph on the same grid; without it contrast alone decides.
    options : ThresholdOptions, optional
        A curve and a ground that are given are the only ones tried.

    Returns
    -------
    DepthMask
        ``mask`` is None, and ``why`` says it, where no cut has one.

    Raises
    ------
    BadInput
        As the function above, or if photograph and depth differ in size.

    Notes
    -----
    DepthCropSeg++ (section II) fits one curve and says nothing of tilted ground.  What this gains
    is measured by ``bench/pseudo_masks.py``.
    """
    options = options or ThresholdOptions()
    cuts = [depth_mask(depth, one) for one in _ways(options)]
    judged = [(cut, judge(cut, image)) for cut in cuts if cut.mask is not None]
    return _best(judged) if judged else cuts[0]


def _ways(options: ThresholdOptions) -> list[ThresholdOptions]:
    """Return the options of each cut; at equal signs the earlier one is kept."""
    ways = [options]
    if options.ground == "best":
        ways = [replace(options, ground="flat"), replace(options, ground="tilted")]
    if options.curve == "best":
        both = ([replace(way, curve="contour"), replace(way, curve="histogram")] for way in ways)
        ways = list(itertools.chain.from_iterable(both))
    return ways


def _best(judged: list[tuple[DepthMask, MaskQuality]]) -> DepthMask:
    clearest = max(quality.contrast for _, quality in judged)
    left = [pair for pair in judged if pair[1].contrast > clearest - CLEAR]
    return max(left, key=lambda pair: pair[1].score)[0]
