"""What is done to masks before they are objects.

How stable, where, which of two, without crumbs, and who is on top.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage

_EIGHT = np.ones((3, 3), bool)


def stability(logits: torch.Tensor, offset: float) -> torch.Tensor:
    """Return (n,) float.

    Intersection over union of the masks at thresholds ``offset`` above and below 0; 0 for an empty
    mask.

    Parameters
    ----------
    logits : (n, y, x) float tensor
    offset : float

    References
    ----------
    Kirillov et al., Segment Anything (ICCV 2023), appendix B, "Filtering".
    """
    inner, outer = (logits > offset).sum((1, 2)), (logits > -offset).sum((1, 2))
    return inner / outer.clamp(min=1)


def boxes_of(masks: np.ndarray) -> np.ndarray:
    """Return (n, 4) int64 top, bottom, left and right (the ends exclusive) of (n, y, x) bool masks.

    Zeros for an empty one.
    """
    boxes = np.zeros((len(masks), 4), np.int64)
    for axis, column in ((2, 0), (1, 2)):
        there = np.any(masks, axis=axis)
        boxes[:, column] = there.argmax(1)
        boxes[:, column + 1] = np.where(there.any(1), there.shape[1] - there[:, ::-1].argmax(1), 0)
    return boxes


def suppress(boxes: np.ndarray, scores: np.ndarray, most: float) -> np.ndarray:
    """Greedy non-maximum suppression.

    Parameters
    ----------
    boxes : (n, 4) ndarray
        Top, bottom, left, right.
    scores : (n,) ndarray
        The higher is kept; of equal ones the first.
    most : float
        Boxes whose intersection over union with a better one is more than this are dropped.

    Returns
    -------
    (k,) int64 ndarray
        Which are kept, the best first.
    """
    area = (boxes[:, 1] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 2])
    left = np.argsort(-scores, kind="stable")
    kept = []
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        height = np.minimum(boxes[best, 1], boxes[left, 1]) - np.maximum(
            boxes[best, 0], boxes[left, 0]
        )
        width = np.minimum(boxes[best, 3], boxes[left, 3]) - np.maximum(
            boxes[best, 2], boxes[left, 2]
        )
        common = np.maximum(height, 0) * np.maximum(width, 0)
        left = left[common <= most * (area[best] + area[left] - common)]
    return np.array(kept, np.int64)


def clean(mask: np.ndarray, least: int) -> tuple[np.ndarray, bool]:
    """Fill holes and drop parts of fewer than ``least`` pixels.

    The largest part stays, however small.

    Parameters
    ----------
    mask : (y, x) bool ndarray
    least : int

    Returns
    -------
    (y, x) bool ndarray, bool
        The mask, and whether anything was changed.
    """
    if least <= 1 or not mask.any():
        return mask, False
    top, bottom, left, right = boxes_of(mask[None])[0]
    part = np.pad(mask[top:bottom, left:right], 1)
    filled = part | _small(~part, least, rim=True)
    parts, _ = ndimage.label(filled, _EIGHT)
    sizes = np.bincount(parts.ravel())
    keep = sizes >= least
    keep[0], keep[1 + int(sizes[1:].argmax())] = False, True
    cleaned = keep[parts]
    out = np.zeros_like(mask)
    out[top:bottom, left:right] = cleaned[1:-1, 1:-1]
    return out, not np.array_equal(cleaned, part)


def _small(mask: np.ndarray, least: int, *, rim: bool) -> np.ndarray:
    """Return the parts of fewer than ``least`` pixels.

    With ``rim`` a part that touches the rim counts as large, because it goes on.
    """
    parts, _ = ndimage.label(mask, _EIGHT)
    small = np.bincount(parts.ravel()) < least
    small[0] = False
    if rim:
        for side in (parts[0], parts[-1], parts[:, 0], parts[:, -1]):
            small[side] = False
    return small[parts]


def layer(masks: np.ndarray, visible: float) -> np.ndarray:
    """Lay masks over each other, the smallest on top.

    A pixel belongs to the smallest mask that holds it.

    Parameters
    ----------
    masks : (n, y, x) bool ndarray
    visible : float
        A mask of which smaller ones leave less than this share is dropped: it is what they make up
        together.

    Returns
    -------
    (y, x) int32 ndarray
        The mask of each pixel, from 1; 0 for none.
    """
    ids = np.zeros(masks.shape[1:], np.int32)
    sizes = masks.sum((1, 2))
    for k in np.argsort(sizes, kind="stable"):
        free = masks[k] & (ids == 0)
        if sizes[k] and free.sum() >= visible * sizes[k]:
            ids[free] = k + 1
    return ids
