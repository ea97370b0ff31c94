"""A fully convolutional network without a pyramid: the smallest thing that the comparison has."""

from __future__ import annotations

import torch
from torch import nn


class Fcn(nn.Module):
    """Five 3 x 3 convolutions with leaky ReLU at full resolution, then one 1 x 1.

    It sees 11 x 11 pixels.  This is the FCN of torchgeo, which PRUE compares as "FCN"; the one of
    Long, Shelhamer, Darrell (2015) has strides and skips.  The names of the weights are those of
    torchgeo, so that published checkpoints fit.

    Parameters
    ----------
    bands, classes : int
    filters : int
        Channels between.
    """

    def __init__(self, bands: int, classes: int, filters: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for channels in (bands, *[filters] * 4):
            layers += [nn.Conv2d(channels, filters, 3, padding=1), nn.LeakyReLU(inplace=True)]
        self.backbone = nn.Sequential(*layers)
        self.last = nn.Conv2d(filters, classes, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(view, band, y, x) -> (view, class, y, x) logits."""
        return self.last(self.backbone(image))
