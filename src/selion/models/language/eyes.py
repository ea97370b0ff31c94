"""The eyes of a joined model: a convolutional encoder whose features become tokens.

Plain torch and timm, so that it trains where transformers is not installed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

ACROSS = 4
"""Cells of a token, side by side in one row: what is written goes row by row, too."""
STRIDE = 8
"""Pixels along each edge of a cell of the finest features."""
GROUPS = 8


def places(rows: int, columns: int, size: int) -> np.ndarray:
    """Return (rows * columns, size) float32 sines and cosines, half of them of the row."""
    halves = []
    for count in (rows, columns):
        waves = np.pi * np.arange(1, size // 4 + 1) / count / 2
        line = (np.arange(count) + 0.5)[:, None] * waves[None]
        halves.append(np.concatenate([np.sin(line), np.cos(line)], 1))
    both = [np.repeat(halves[0], columns, 0), np.tile(halves[1], (rows, 1))]
    return np.concatenate(both, 1).astype(np.float32)


def _smooth(width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(2):
        layers += [nn.Conv2d(width, width, 3, padding=1), nn.GroupNorm(GROUPS, width), nn.GELU()]
    return nn.Sequential(*layers)


class Eyes(nn.Module):
    """An image becomes ``(size / 16)**2`` tokens that know where they are.

    The encoder's features at strides 8, 16 and 32 are brought together at stride 8, and four that
    lie side by side are one token.

    Parameters
    ----------
    encoder : str
        timm's name of a convolutional network.
    size : int
        Edge in pixels of the images.
    width : int
        Channels of the features at stride 8; a token has four times as many numbers.
    """

    def __init__(
        self, encoder: str = "tf_efficientnet_lite0", size: int = 256, width: int = 128
    ) -> None:
        super().__init__()
        import timm

        network: Any = timm.create_model(
            encoder, features_only=True, pretrained=False, out_indices=(2, 3, 4)
        )
        self.encoder = network
        self.lateral = nn.ModuleList(
            nn.Conv2d(channels, width, 1) for channels in network.feature_info.channels()
        )
        self.smooth = nn.ModuleList(_smooth(width) for _ in range(2))
        rows, numbers = size // STRIDE, ACROSS * width
        self.norm = nn.LayerNorm(numbers)
        self.place = nn.Parameter(torch.from_numpy(places(rows, rows // ACROSS, numbers)))

    def train(self, mode: bool = True) -> Eyes:  # torch's own signature
        """Set the mode; the encoder's statistics stay those of ImageNet."""
        super().train(mode)
        self.encoder.eval()
        return self

    def dense(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return (image, width, y / 8, x / 8) features of (image, 3, y, x) pixels in -1 .. 1."""
        fine, middle, coarse = (
            lateral(found)
            for lateral, found in zip(self.lateral, self.encoder(pixels), strict=True)
        )
        for level, smooth in zip((middle, fine), self.smooth, strict=True):
            coarse = smooth(level + F.interpolate(coarse, scale_factor=2, mode="nearest"))
        return coarse

    def tokens(self, dense: torch.Tensor) -> torch.Tensor:
        """Return (image, token, 4 * width) tokens of dense features, row by row."""
        count, width, rows, columns = dense.shape
        split = dense.view(count, width, rows, columns // ACROSS, ACROSS)
        folded = split.permute(0, 2, 3, 4, 1).reshape(count, -1, ACROSS * width)
        return self.norm(folded) + self.place

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return (image, token, 4 * width) tokens of (image, 3, y, x) pixels in -1 .. 1."""
        return self.tokens(self.dense(pixels))
