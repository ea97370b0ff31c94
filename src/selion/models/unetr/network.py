"""UNETR in two dimensions: a vision transformer whose layers are the skip connections of a U-Net.

Hatamizadeh et al.: UNETR, transformers for 3D medical image segmentation (WACV 2022, figure 2),
with 2D convolutions and timm's transformers.  smp has none.  Table 5 of PRUE has a row "UNETR", but
what its code trains there is a U-Net with its decoder widths reversed (family ``unet_r``).
"""

from __future__ import annotations

from typing import Any

import timm
import torch
from torch import nn


def _conv(given: int, wanted: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(given, wanted, 3, padding=1, bias=False),
        nn.BatchNorm2d(wanted),
        nn.ReLU(inplace=True),
    )


def _lift(given: int, wanted: int, times: int) -> nn.Sequential:
    """Return ``times`` doublings of the resolution."""
    return nn.Sequential(
        *(
            part
            for k in range(times)
            for part in (
                nn.ConvTranspose2d(given if k == 0 else wanted, wanted, 2, 2),
                _conv(wanted, wanted),
            )
        )
    )


class Unetr(nn.Module):
    """A transformer and a decoder with as many levels as it takes to get from a patch to a pixel.

    Parameters
    ----------
    bands, classes : int
    encoder : str
        timm's name of a vision transformer.
    pretrained : bool
        Load the weights that the name's tag stands for.
    channels : int
        Of the finest level; they double with each level.
    **options
        timm's: ``img_size``, ``patch_size``, ``embed_dim``, ``depth``, ``num_heads``.

    Raises
    ------
    ValueError
        If the patch is not a power of two, or the transformer has fewer layers than the decoder has
        levels.
    """

    def __init__(
        self,
        bands: int,
        classes: int,
        encoder: str,
        *,
        pretrained: bool = False,
        channels: int = 32,
        **options: Any,
    ) -> None:
        super().__init__()
        transformer: Any = timm.create_model(
            encoder,
            pretrained=pretrained,
            in_chans=bands,
            num_classes=0,
            dynamic_img_size=True,
            **options,
        )
        patch, width, depth = (
            transformer.patch_embed.patch_size[0],
            transformer.embed_dim,
            len(transformer.blocks),
        )
        levels = patch.bit_length() - 1
        if patch != 2**levels or not 1 <= levels <= depth:
            raise ValueError(
                f"patches of {patch} px and {depth} layers do not make a decoder: wanted are a "
                "power of two and a layer for each doubling"
            )
        self.encoder: Any = transformer
        self._layers = [round(depth * (k + 1) / levels) - 1 for k in range(levels)]
        sizes = [channels * 2**level for level in range(levels)]
        self.image = nn.Sequential(_conv(bands, channels), _conv(channels, channels))
        # Layers from the deepest but one to the shallowest join at ever finer levels.
        self.skips = nn.ModuleList(
            _lift(width, sizes[level], levels - level) for level in reversed(range(1, levels))
        )
        self.ups = nn.ModuleList(
            nn.ConvTranspose2d(
                width if level == levels - 1 else sizes[level + 1], sizes[level], 2, 2
            )
            for level in reversed(range(levels))
        )
        self.joins = nn.ModuleList(
            nn.Sequential(_conv(2 * size, size), _conv(size, size)) for size in reversed(sizes)
        )
        self.head = nn.Conv2d(channels, classes, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(view, band, y, x) -> (view, class, y, x) logits.

        Height and width must be a multiple of the patch.
        """
        *layers, features = self.encoder.forward_intermediates(
            image, indices=self._layers, norm=True, intermediates_only=True
        )
        finer = [lift(layer) for lift, layer in zip(self.skips, reversed(layers), strict=True)]
        for up, join, skip in zip(self.ups, self.joins, [*finer, self.image(image)], strict=True):
            features = join(torch.cat([up(features), skip], 1))
        return self.head(features)
