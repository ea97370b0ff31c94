"""Learning of the embedding-as-mask family: one plain loop."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from selion.models.embedded.network import EmbeddedMasks, EmbeddedWeights, embedded_loss


def fit(
    network: EmbeddedMasks,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    steps: int,
    lr: float = 3e-4,
    warmup: int = 100,
    weights: EmbeddedWeights | None = None,
) -> list[float]:
    """Train what is not frozen.

    Parameters
    ----------
    network : EmbeddedMasks
        See :meth:`~selion.models.embedded.network.EmbeddedMasks.freeze`.
    batches : iterable
        Pairs of (view, 3, y, x) images from 0 to 1 and (view, y, x) int64 class ids, 255 not known;
        as many as there are steps, or more.
    steps : int
    lr : float
        Reached after ``warmup`` steps, then falling to 0 in a straight line; 3e-4 is LISA's.
    warmup : int
    weights : EmbeddedWeights, optional

    Returns
    -------
    list of float
        The loss of each step.
    """
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=lr, betas=(0.9, 0.95), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda k: min((k + 1) / max(warmup, 1), max(steps - k, 0) / max(steps - warmup, 1)),
    )
    device, losses = learning[0].device, []
    network.train()
    for (images, labels), _ in zip(batches, range(steps), strict=False):
        loss = embedded_loss(
            network, images.to(device), labels.to(device), weights or EmbeddedWeights()
        )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learning, 1.0)
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
    network.eval()
    return losses
