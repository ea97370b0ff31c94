"""The set loss of Mask2Former, in which what is not known is not known.

Cheng et al.: Masked-attention mask transformer for universal image segmentation (CVPR 2022),
sections 3.3 and 4.1: queries are matched with the elements of the truth at the least cost
(Hungarian matching); matched ones learn class and mask, the others "no object".

Departure, and the reason for this module: the published losses, and those of libraries that follow
them, take pixels with the label 255 out of the *list* of masks only; in the masks that stay they
count as "not this one", so that every class learns that it is not there.  Here such a pixel is in
no cost and in no loss: points are drawn among known pixels alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment

from selion.classes import IGNORE
from selion.errors import BadInput
from selion.models.mask2former.network import SetAnswer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

OVERSAMPLED, UNCERTAIN = 3, 0.75
"""For each mask three times the points are drawn, and three quarters of those kept are the ones
that the network is least sure of (section 3.3)."""
MANY_IDS = 2**32
"""Above any object id: class and id are told apart in one whole number."""


@dataclass(frozen=True, eq=False)
class _Truth:
    """The elements of one view's truth."""

    classes: Tensor
    """(element,) int64."""
    masks: Tensor
    """(element, pixel) bool."""
    known: Tensor
    """(known pixel,) int64: numbers of the pixels whose truth is known."""
    shape: tuple[int, int]


def set_loss(
    answer: SetAnswer,
    truth: Tensor,
    *,
    weights: Sequence[float] = (),
    targets: Literal["classes", "instances"] = "classes",
    things: Sequence[int] = (),
    points: int = 12544,
    no_object: float = 0.1,
    class_weight: float = 2.0,
    mask_weight: float = 5.0,
    dice_weight: float = 5.0,
) -> Tensor:
    """Match queries with the truth and teach them.

    ``2 class + 5 mask + 5 dice``, summed over the layers.

    * class: cross-entropy of all queries of a view, ``sum w l / sum w``, unmatched ones being "no
      object" with weight ``no_object``.
    * mask: binary cross-entropy, the mean over the points of a matched mask, summed over masks and
      divided by their number in the batch.
    * dice: ``1 - (2 sum p t + 1) / (sum p + sum t + 1)`` over the same points, likewise.

    The cost of a pair is ``2 (-p(class)) + 5 mask + 5 dice`` on points that all pairs of a view
    share.

    Parameters
    ----------
    answer : SetAnswer
    truth : (view, y, x) or (view, 2, y, x) int64 tensor
        Class ids, 255 not known; with ``targets = "instances"`` object ids as second plane.
    weights : sequence of float
        One for each class; empty: all 1.
    targets : {"classes", "instances"}
        Whether an element is all that a view has of a class, or one object (of classes that come as
        things; the others stay whole).
    things : sequence of int
        Ids of the classes that come as things.
    points : int
        Points for each mask; 0: all known pixels.
    no_object : float
    class_weight, mask_weight, dice_weight : float

    Raises
    ------
    BadInput
        If the network answers with something else, or objects are wanted and not there.

    Notes
    -----
    A view of which nothing is known teaches nothing.  A query that no known element takes learns
    "no object", even if what it found lies where nothing is known: to decide that by its mask would
    let unknown pixels into the loss.
    """
    if not isinstance(answer, SetAnswer):
        raise BadInput(
            "loss.kind = 'sets' wants a network that answers with a set of masks (family "
            "mask2former, or vit-adapter with head = 'mask2former')."
        )
    if targets == "instances" and truth.ndim != 4:
        raise BadInput(
            "loss.options.targets = 'instances' was given, but the truth has no objects: give the "
            "dataset instances, or take 'classes'."
        )
    known = [_elements(view, things) for view in truth]
    layers = (answer, *answer.auxiliary)
    total = torch.stack(
        [
            _layer(
                layer,
                known,
                _class_weights(layer, weights, no_object),
                points,
                (class_weight, mask_weight, dice_weight),
            )
            for layer in layers
        ]
    )
    return total.sum()


def _class_weights(answer: SetAnswer, weights: Sequence[float], no_object: float) -> Tensor:
    classes = answer.classes.shape[2] - 1
    return torch.tensor([*(weights or [1.0] * classes), no_object], device=answer.classes.device)


def _elements(view: Tensor, things: Sequence[int]) -> _Truth:
    """Part a view's truth, (y, x) class ids or (2, y, x) with object ids, into its elements."""
    labels = view[0] if view.ndim == 3 else view
    flat = labels.flatten()
    known = (flat != IGNORE).nonzero()[:, 0]
    keys = flat[known] * MANY_IDS
    if view.ndim == 3:
        thing = torch.isin(flat[known], torch.tensor(list(things), device=flat.device))
        keys = keys + torch.where(thing, view[1].flatten()[known], 0)
    found, place = keys.unique(return_inverse=True)
    masks = torch.zeros(len(found), flat.numel(), dtype=torch.bool, device=flat.device)
    masks[place, known] = True
    return _Truth(found // MANY_IDS, masks, known, (int(labels.shape[0]), int(labels.shape[1])))


def _layer(
    answer: SetAnswer,
    truths: Sequence[_Truth],
    weights: Tensor,
    points: int,
    shares: tuple[float, float, float],
) -> Tensor:
    """Return the loss of one layer's answer."""
    queries, nothing = answer.classes.shape[1], answer.classes.shape[2] - 1
    wanted = torch.full((len(truths), queries), nothing, device=answer.classes.device)
    # 0, but of the graph: every weight has a gradient even where nothing is known
    mask = dice = answer.masks[:0].float().sum()
    for k, truth in enumerate(truths):
        if not len(truth.known):
            continue
        chosen, element = _matched(
            answer.classes[k].float(), answer.masks[k].float(), truth, points, shares
        )
        wanted[k, chosen] = truth.classes[element]
        said, real = _points(answer.masks[k].float()[chosen], truth, element, points)
        mask = mask + F.binary_cross_entropy_with_logits(said, real, reduction="none").mean(1).sum()
        dice = dice + _dice(said.sigmoid(), real).sum()
    alive = torch.tensor([len(truth.known) > 0 for truth in truths], device=wanted.device)
    count = max(sum(len(truth.classes) for truth in truths), 1)
    return (
        shares[0] * _entropy(answer.classes.float()[alive], wanted[alive], weights)
        + (shares[1] * mask + shares[2] * dice) / count
    )


def _entropy(logits: Tensor, wanted: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted mean over all queries; 0 where there are none."""
    weight = weights.to(logits.dtype)[wanted]
    loss = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="none").view_as(weight)
    return (weight * loss).sum() / weight.sum().clamp_min(1e-12)


def _dice(said: Tensor, real: Tensor) -> Tensor:
    """Return (mask,) Dice losses of (mask, point) probabilities."""
    return 1 - (2 * (said * real).sum(1) + 1) / (said.sum(1) + real.sum(1) + 1)


@torch.no_grad()
def _matched(
    classes: Tensor, masks: Tensor, truth: _Truth, points: int, shares: tuple[float, float, float]
) -> tuple[Tensor, Tensor]:
    """Return queries and the elements that they take, at the least cost."""
    index = _draw(truth.known, (points,)) if points else truth.known
    said, real = _read(masks, index, truth.shape), truth.masks[:, index].to(masks.dtype)
    negative, positive = F.softplus(said), F.softplus(-said)
    mask = (positive @ real.T + negative @ (1 - real).T) / len(index)
    p = said.sigmoid()
    dice = 1 - (2 * p @ real.T + 1) / (p.sum(1)[:, None] + real.sum(1)[None] + 1)
    cost = -shares[0] * classes.softmax(1)[:, truth.classes] + shares[1] * mask + shares[2] * dice
    # the assignment takes no NaN and no infinity: a query of such numbers is the last choice
    finite = torch.nan_to_num(cost.double(), nan=1e12, posinf=1e12, neginf=-1e12)
    chosen, element = linear_sum_assignment(finite.cpu().numpy())
    return torch.as_tensor(chosen, device=classes.device), torch.as_tensor(
        element, device=classes.device
    )


def _points(masks: Tensor, truth: _Truth, element: Tensor, points: int) -> tuple[Tensor, Tensor]:
    """Return (mask, point) logits and truth of matched masks.

    The points are known pixels that the network is mostly unsure of.
    """
    if not points:
        return _read(masks, truth.known, truth.shape), truth.masks[element][:, truth.known].to(
            masks.dtype
        )
    with torch.no_grad():
        drawn = _draw(truth.known, (len(masks), OVERSAMPLED * points))
        unsure = int(UNCERTAIN * points)
        first = (-_read(masks, drawn, truth.shape).abs()).topk(unsure, 1).indices
        index = torch.cat(
            [drawn.gather(1, first), _draw(truth.known, (len(masks), points - unsure))], 1
        )
    return _read(masks, index, truth.shape), truth.masks[element].gather(1, index).to(masks.dtype)


def _draw(known: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Draw pixel numbers among the known ones, with replacement."""
    return known[torch.randint(len(known), shape, device=known.device)]


def _read(masks: Tensor, index: Tensor, shape: tuple[int, int]) -> Tensor:
    """Read (mask, y, x) logits at pixel numbers of a grid of ``shape``, (point,) or (mask, point).

    Coarser masks bilinearly at the pixels' centres.
    """
    if masks.shape[1:] == shape:
        flat = masks.flatten(1)
        return flat[:, index] if index.ndim == 1 else flat.gather(1, index)
    height, width = shape
    rows, columns = index // width, index % width
    places = torch.stack([(2 * columns + 1) / width - 1, (2 * rows + 1) / height - 1], -1).to(
        masks.dtype
    )
    places = places.expand(len(masks), *places.shape[-2:]) if index.ndim == 1 else places
    return F.grid_sample(
        masks[:, None], places[:, None], mode="bilinear", padding_mode="border", align_corners=False
    )[:, 0, 0]
