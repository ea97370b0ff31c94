"""The loss of LAVT and of ReLA: each phrase is a question of its own, this class or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from selion.classes import IGNORE

if TYPE_CHECKING:  # it brings transformers along, which other losses can do without
    from selion.models.referring.network import ReferringAnswer

UNKNOWN = -100
"""What torch's cross entropy leaves out."""


def referring_loss(
    answer: ReferringAnswer,
    truth: Tensor,
    weights: tuple[float, ...] = (0.9, 1.1),
    minimap: float = 0.1,
    absent: float = 0.1,
) -> Tensor:
    """Cross entropy of what is said of each phrase.

    Parameters
    ----------
    answer : ReferringAnswer
        Of phrases for the classes after the first.
    truth : (view, y, x) int64 tensor
        Class ids; 255 is in no loss.
    weights : (2,) tuple of float
        Of pixels that are not of the class, and that are; both papers' code has these.
    minimap, absent : float
        Weights of ReLA's map of regions and of whether the class is there at all.

    Returns
    -------
    () float tensor

    Notes
    -----
    Yang et al. (arXiv 2112.02244), section 3.4; Liu et al. (arXiv 2306.00968), section 4.4.  A
    region of ReLA's map is of the class where more than half of it is, as far as it is known; a
    window with unknown pixels in which the class is not seen says nothing of whether it is there.
    """
    phrases = answer.masks.shape[1]
    wanted = torch.arange(1, phrases + 1, device=truth.device)[:, None, None]
    unknown = (truth == IGNORE)[:, None]
    there = truth[:, None] == wanted  # (view, phrase, y, x)
    each = torch.tensor(weights, device=truth.device, dtype=torch.float32)
    masks = F.interpolate(
        answer.masks.flatten(0, 1).float(), truth.shape[1:], mode="bilinear", align_corners=False
    )
    goal = there.long().masked_fill(unknown, UNKNOWN)
    loss = _entropy(masks, goal.flatten(0, 1), each)
    if answer.regions is not None:
        cells = (answer.regions.shape[3], answer.regions.shape[4])
        known = F.adaptive_avg_pool2d((~unknown).float(), cells)
        share = F.adaptive_avg_pool2d((there & ~unknown).float(), cells)
        coarse = (share > known / 2).long().masked_fill(known == 0, UNKNOWN)
        regions = answer.regions.flatten(0, 1).float()
        loss = loss + minimap * _entropy(regions, coarse.flatten(0, 1), each)
    if answer.absent is not None:
        seen = (there & ~unknown).flatten(2).any(2)
        doubt = ~seen & unknown.flatten(2).any(2)
        gone = (~seen).long().masked_fill(doubt, UNKNOWN)
        said = answer.absent.flatten(0, 1).float()
        loss = loss + absent * _entropy(said, gone.flatten(), each)
    return loss


def _entropy(logits: Tensor, goal: Tensor, weights: Tensor) -> Tensor:
    """Cross entropy; 0 where nothing is known."""
    if (goal == UNKNOWN).all():
        return logits.sum() * 0
    return F.cross_entropy(logits, goal, weight=weights, ignore_index=UNKNOWN)
