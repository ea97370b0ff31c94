"""What is beside the transformer.

A small convolutional pyramid, and the two ways between it and the tokens.

Chen et al.: Vision transformer adapter for dense predictions (ICLR 2023, arXiv 2205.08534),
sections 3.3 and 3.4.  Where the paper has SyncBN, here is BatchNorm, which a processor can run, or
GroupNorm, which one photograph at a time can train.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from timm.layers import DropPath
from torch import nn

from selion.models.vit_adapter.attention import DeformableAttention, Shape, centres

_GROUP = 16
"""Channels of a group of GroupNorm, where they divide so."""


def batch_norm(channels: int) -> nn.Module:
    """Return batch normalisation."""
    return nn.BatchNorm2d(channels)


def group_norm(channels: int) -> nn.Module:
    """Return group normalisation, 16 channels a group where they divide so, else one group."""
    return nn.GroupNorm(channels // _GROUP if channels % _GROUP == 0 else 1, channels)


NORMS: dict[str, Callable[[int], nn.Module]] = {"batch": batch_norm, "group": group_norm}


def conv(
    given: int, wanted: int, norm: Callable[[int], nn.Module], stride: int = 1, kernel: int = 3
) -> nn.Sequential:
    """Return a convolution without bias, its normalisation and ReLU."""
    return nn.Sequential(
        nn.Conv2d(given, wanted, kernel, stride, kernel // 2, bias=False),
        norm(wanted),
        nn.ReLU(inplace=True),
    )


class SpatialPrior(nn.Module):
    """Spatial prior module (section 3.3).

    Maps of 1/4, 1/8, 1/16 and 1/32 of the image from plain convolutions.

    Parameters
    ----------
    bands, width : int
        Channels in, and of each map.
    norm : callable
        Channels -> normalisation.
    channels : int
        Of the stem.
    """

    def __init__(
        self, bands: int, width: int, norm: Callable[[int], nn.Module], channels: int = 64
    ) -> None:
        super().__init__()
        sizes = (channels, 2 * channels, 4 * channels, 4 * channels)
        self.stem = nn.Sequential(
            conv(bands, channels, norm, 2),
            conv(channels, channels, norm),
            conv(channels, channels, norm),
            nn.MaxPool2d(3, 2, padding=1),
        )
        self.downs = nn.ModuleList(conv(a, b, norm, 2) for a, b in pairwise(sizes))
        self.lifts = nn.ModuleList(nn.Conv2d(size, width, 1) for size in sizes)

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """(view, band, y, x) -> four (view, width, y, x), the finest first."""
        maps = [self.stem(image)]
        for down in self.downs:
            maps.append(down(maps[-1]))
        return [lift(features) for lift, features in zip(self.lifts, maps, strict=True)]


def to_tokens(features: torch.Tensor) -> torch.Tensor:
    """(view, feature, y, x) -> (view, token, feature), row by row."""
    return features.flatten(2).transpose(1, 2)


def to_maps(tokens: torch.Tensor, shapes: Sequence[Shape]) -> list[torch.Tensor]:
    """(view, token, feature) of several levels -> (view, feature, y, x) of each."""
    parts = tokens.split([rows * columns for rows, columns in shapes], 1)
    width = int(tokens.shape[2])
    return [
        part.transpose(1, 2).reshape(-1, width, *shape)
        for part, shape in zip(parts, shapes, strict=True)
    ]


class Injector(nn.Module):
    """Spatial feature injector (section 3.4, equation 1): ``x + gamma * MSDA(norm x, norm c)``.

    Parameters
    ----------
    width, heads, points, ratio
        See :class:`~selion.models.vit_adapter.attention.DeformableAttention`.
    gamma : float
        Where the learnt weight of what is injected starts, so that the transformer starts as it was
        trained: 1e-6 as in the released large models; the paper says 0.
    """

    def __init__(
        self, width: int, heads: int, points: int, ratio: float, gamma: float = 1e-6
    ) -> None:
        super().__init__()
        self.query_norm, self.value_norm = (
            nn.LayerNorm(width, eps=1e-6),
            nn.LayerNorm(width, eps=1e-6),
        )
        self.attention = DeformableAttention(width, heads, 3, points, ratio)
        self.gamma = nn.Parameter(torch.full((width,), gamma))

    def forward(
        self, tokens: torch.Tensor, grid: Shape, pyramid: torch.Tensor, shapes: Sequence[Shape]
    ) -> torch.Tensor:
        """(view, token, feature) twice -> (view, token, feature).

        The first is of a grid, the second the pyramid's.
        """
        seen = self.attention(
            self.query_norm(tokens), centres([grid], tokens), self.value_norm(pyramid), shapes
        )
        return tokens + self.gamma * seen


class ConvFfn(nn.Module):
    """Feed-forward layer with a depthwise 3 x 3 convolution in between.

    The convolution is on each level's map (section 3.4, "CFFN").

    Parameters
    ----------
    width, hidden : int
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.widen, self.narrow = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.near = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)

    def forward(self, pyramid: torch.Tensor, shapes: Sequence[Shape]) -> torch.Tensor:
        """(view, token, feature) of several levels -> the same."""
        maps = to_maps(self.widen(pyramid), shapes)
        return self.narrow(
            nn.functional.gelu(torch.cat([to_tokens(self.near(level)) for level in maps], 1))
        )


class Extractor(nn.Module):
    """Multi-scale feature extractor (section 3.4, equations 2 and 3).

    ``c + MSDA(norm c, norm x)``, then ``c + CFFN(norm c)``.

    Parameters
    ----------
    width, heads, points, ratio
        See :class:`~selion.models.vit_adapter.attention.DeformableAttention`.
    drop_path : float
        Share of views for which the feed-forward layer is left out in training.
    hidden : float
        Width within the feed-forward layer, as a share of ``width``.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        points: int,
        ratio: float,
        drop_path: float = 0.0,
        hidden: float = 0.25,
    ) -> None:
        super().__init__()
        self.query_norm, self.value_norm, self.ffn_norm = (
            nn.LayerNorm(width, eps=1e-6) for _ in range(3)
        )
        self.attention = DeformableAttention(width, heads, 1, points, ratio)
        self.ffn = ConvFfn(width, int(width * hidden))
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(
        self, pyramid: torch.Tensor, shapes: Sequence[Shape], tokens: torch.Tensor, grid: Shape
    ) -> torch.Tensor:
        """Pyramid's (view, token, feature), and the transformer's of a grid -> the pyramid's."""
        pyramid = pyramid + self.attention(
            self.query_norm(pyramid), centres(shapes, pyramid), self.value_norm(tokens), [grid]
        )
        return pyramid + self.drop_path(self.ffn(self.ffn_norm(pyramid), shapes))
