"""The loss of DECODE's three heads.

Extent, boundary, and distance to the boundary, each by Tanimoto similarity with complement.

Waldner et al.: Detect, consolidate, delineate (Remote Sensing 13, 2197, 2021), section 2.3: the
mean of the three losses.  Diakogiannis et al.: ResUNet-a (ISPRS 162, 2020) for what the heads
learn: the distance is that to the field's boundary, as a share of the largest in the field.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from scipy import ndimage

from selion.classes import IGNORE
from selion.errors import BadInput
from selion.training.losses import ftnmt, similarity

if TYPE_CHECKING:
    from torch import Tensor


def decode_loss(
    answer: dict[str, Tensor],
    truth: Tensor,
    *,
    weights: Sequence[float] = (),
    targets: Literal["classes", "instances"] = "classes",
    things: Sequence[int] = (1,),
    boundary: int = -1,
    depth: int = 5,
    smooth: float = 1e-5,
) -> Tensor:
    """Return the mean of the losses of extent, boundary and distance.

    Each is ``1 - (T(p, t) + T(1 - p, 1 - t)) / 2``, see :func:`selion.training.losses.ftnmt`.

    Parameters
    ----------
    answer : dict
        Logits of a network's heads: ``extent`` (view, class, y, x), ``boundary`` and ``distance``
        (view, 1, y, x).
    truth : (view, y, x) or (view, 2, y, x) int64 tensor
        Class ids, 255 not known; with ``targets = "instances"`` object ids as second plane.
    weights : sequence of float
        One for each class of the extent; empty: all 1.
    targets : {"classes", "instances"}
        Whether objects are the 4-connected parts of their classes, or what the truth says.
    things : sequence of int
        Ids of the classes that come as objects.
    boundary : int
        Id of the class that parts objects; -1: there is none, and the outermost pixel of each
        object is its boundary.
    depth : int
        Terms of the fractal similarity; DECODE begins with 1 and takes more when the learning rate
        falls, PRUE has 5.
    smooth : float

    Raises
    ------
    BadInput
        If the network has no such heads.
    """
    if not isinstance(answer, dict) or not {"extent", "boundary", "distance"} <= answer.keys():
        raise BadInput(
            "loss.kind = 'decode' wants a network with heads for extent, boundary and distance "
            "(family decode)."
        )
    labels, objects = (truth[:, 0], truth[:, 1]) if targets == "instances" else (truth, None)
    edge, distance = boundary_targets(labels, objects, things, boundary)
    known = (labels != IGNORE)[:, None]
    parts = [ftnmt(answer["extent"].float(), labels, weights=weights, depth=depth, smooth=smooth)]
    for head, target in (("boundary", edge), ("distance", distance)):
        said = answer[head].float().masked_fill(~known, 0.0).sigmoid() * known
        parts.append(1 - similarity(said, target[:, None] * known, known, depth, smooth).mean())
    return torch.stack(parts).mean()


def boundary_targets(
    labels: Tensor, objects: Tensor | None, things: Sequence[int], boundary: int
) -> tuple[Tensor, Tensor]:
    """Make the truth of the boundary and of the distance from classes.

    Object ids are used where there are some.

    Returns
    -------
    (view, y, x) float32 tensor
        1 on boundaries.
    (view, y, x) float32 tensor
        0 outside objects; inside, the distance to the nearest known pixel that is not of the
        object, as a share of the largest in it.
    """
    made = [
        _of_view(
            view.cpu().numpy(),
            None if objects is None else objects[k].cpu().numpy(),
            things,
            boundary,
        )
        for k, view in enumerate(labels)
    ]
    edge, distance = (
        torch.from_numpy(np.stack(planes)).to(labels.device) for planes in zip(*made, strict=True)
    )
    return edge, distance


def _of_view(
    labels: np.ndarray, objects: np.ndarray | None, things: Sequence[int], boundary: int
) -> tuple[np.ndarray, np.ndarray]:
    inside = np.isin(labels, list(things))
    ids: Any = (
        ndimage.label(inside)[0]
        if objects is None
        else np.where(inside | (labels == boundary), np.maximum(objects, 0), 0)
    )
    known = labels != IGNORE
    edge = labels == boundary if boundary >= 0 else _outermost(ids, known)
    return edge.astype(np.float32), distances(ids, known)


def _outermost(ids: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Mark pixels of objects that have a known neighbour, of eight, that is not of the object."""
    top = ndimage.maximum_filter(np.where(known, ids, -1), 3, mode="nearest")
    # not the largest int64: the filter computes in float64, where that becomes the smallest one
    bottom = ndimage.minimum_filter(np.where(known, ids, ids.max(initial=0)), 3, mode="nearest")
    marked: np.ndarray = (ids > 0) & ((top > ids) | (bottom < ids))
    return marked


def distances(ids: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return (y, x) float32: how deep a pixel lies in its object, 1 at the deepest place.

    An object that fills all that is known is 1 everywhere.
    """
    depth = np.zeros(ids.shape, np.float32)
    for number, box in enumerate(ndimage.find_objects(ids), 1):
        if box is None:
            continue
        frame = tuple(slice(max(s.start - 1, 0), s.stop + 1) for s in box)
        own = ids[frame] == number
        others = known[frame] & ~own
        reach = ndimage.distance_transform_edt(~others) if others.any() else np.ones(own.shape)
        depth[frame][own] = (reach / reach[own].max())[own]
    return depth
