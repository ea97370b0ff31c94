"""DOFA, version 1: an encoder whose first layer is made from the bands' wavelengths.

Xiong et al.: Neural plasticity-inspired foundation model for observing the Earth crossing
modalities (2024, arXiv 2403.15356).  A small transformer turns each wavelength into the kernel of
its band and all of them into one bias; the rest is a vision transformer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from selion.models.foundation.kernels import INNER, KernelMaker, maker_names
from selion.models.foundation.positions import frequencies, sines
from selion.models.foundation.published import BLOCK, PublishedFile, blocks_of, check_image

_SCALE = 0.01
"""Kernels and bias are made a hundred times too large."""
_MADE = maker_names(
    "patch_embed.weight_generator.",
    "patch_embed.weight_generator.transformer_encoder.layers.0.",
    "patch_embed.fclayer.w1",
    "patch_embed.fclayer.w2",
)
_FILE = PublishedFile(
    "DOFA",
    ("cls_token", "pos_embed", *_MADE),
    "blocks.{}.",
    BLOCK,
    ("mask_token", "norm.", "fc_norm.", "head.", "projector.", "decoder_"),
)
SENTINEL_2 = (0.665, 0.56, 0.49, 0.705, 0.74, 0.783, 0.842, 1.61, 2.19)
"""Wavelengths in micrometres of B04, B03, B02, B05, B06, B07, B08, B11 and B12, as in the authors'
examples."""


@dataclass(frozen=True, slots=True)
class DofaSize:
    """Sizes of DOFA; the published large one is the default."""

    width: int = 1024
    depth: int = 24
    heads: int = 16
    patch: int = 16
    seen: int = 224
    """Edge of the image in pixels."""
    waves: tuple[float, ...] = SENTINEL_2
    """Wavelengths of the bands, in micrometres."""
    mixed: bool = False
    """How the row of numbers that is made for a band becomes a kernel.  False: pixels, then
    features, as torchgeo and the authors' files since September 2024 have it.  True: the rows of
    all bands are one row, cut anew into features, bands and pixels, as in the authors' first code;
    the wrapper that PRUE uses still does so."""


class DofaEncoder(nn.Module):
    """DOFA without its head.

    Tokens are those of the last block, not normalised, as in the wrapper that PRUE uses.

    Parameters
    ----------
    size : DofaSize

    Notes
    -----
    Bands are those of ``size.waves``, in that order.  The kernels follow from the weights and the
    wavelengths alone; they are made at each pass, so that they can be trained.
    """

    def __init__(self, size: DofaSize = DofaSize()) -> None:
        super().__init__()
        self.size = size
        self.maker = KernelMaker(size.width, size.patch, F.relu)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, size.width))
        count = (size.seen // size.patch) ** 2
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + count, size.width), requires_grad=False)
        self.blocks = blocks_of(size.width, size.depth, size.heads, 1e-6)
        half = INNER // 2
        waves = sines(1000 * torch.tensor(size.waves), frequencies(half, half))
        self.waves: torch.Tensor
        self.register_buffer("waves", waves, persistent=False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(view, band, y, x) -> (view, token, feature), row by row.

        Raises
        ------
        BadInput
            If the image has not the bands or the size.
        """
        check_image("DOFA", image, len(self.size.waves), self.size.seen)
        kernel, bias = self.kernel()
        # one pixel of padding, as published: patches begin a pixel before the image
        features = F.conv2d(image, kernel, bias, stride=self.size.patch, padding=1)
        tokens = features.flatten(2).transpose(1, 2) + self.pos_embed[:, 1:]
        first = (self.cls_token + self.pos_embed[:, :1]).expand(tokens.shape[0], -1, -1)
        return self.blocks(torch.cat([first, tokens], 1))[:, 1:]

    def kernel(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return kernels and bias of the first layer: (feature, band, y, x) and (feature)."""
        patch, width, bands = self.size.patch, self.size.width, len(self.size.waves)
        numbers, bias = self.maker(self.waves)
        kernel = (
            numbers.reshape(width, bands, patch, patch)
            if self.size.mixed
            else numbers.reshape(bands, patch, patch, width).permute(3, 0, 1, 2)
        )
        return _SCALE * kernel, _SCALE * bias


def read_dofa(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Turn ``DOFA_ViT_large_e100.pth``, or torchgeo's copy, into :class:`DofaEncoder`'s weights.

    Raises
    ------
    BadInput
        If a tensor of the encoder is missing, or one is there that the file has not.

    Notes
    -----
    The file does not say which way its kernels are meant, see ``DofaSize.mixed``.
    """
    given, _ = _FILE.take(state)
    return {_MADE.get(name, name): tensor for name, tensor in given.items()}
