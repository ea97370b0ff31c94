"""ReLA's decoder: an image as regions that see the pixels, the words and each other.

Liu et al.: GRES, generalized referring expression segmentation (CVPR 2023, arXiv 2306.00968),
section 4.  Its pixel decoder is Mask2Former's, which transformers has.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import Mask2FormerConfig
from transformers.models.mask2former.modeling_mask2former import (
    Mask2FormerPixelDecoder,
    Mask2FormerSinePositionEmbedding,
)

from selion.errors import BadInput

LEVELS = 3
"""Resolutions that the layers look at in turn: 1/32, 1/16, 1/8."""
READING = 0.1
"""Weight of what the regions read."""


@dataclass(frozen=True, slots=True)
class RegionSize:
    """Sizes of ReLA's decoder; by default the paper's."""

    hidden: int = 256
    regions: int = 100
    """P squared: regions are P rows of P."""
    layers: int = 9
    encoder_layers: int = 6
    """Of the pixel decoder."""
    heads: int = 8
    feedforward: int = 2048

    def __post_init__(self) -> None:
        edge = math.isqrt(self.regions)
        if edge * edge != self.regions or self.hidden % 32 or self.hidden % self.heads:
            raise BadInput(
                f"{self.regions} regions, hidden = {self.hidden} and {self.heads} heads were "
                "given; wanted are a square number of regions, and a multiple of 32 and of the "
                "heads."
            )


class RegionLayer(nn.Module):
    """Regions see the pixels of their mask, then each other, then think."""

    def __init__(self, size: RegionSize) -> None:
        super().__init__()
        self.pixels, self.others = (
            nn.MultiheadAttention(size.hidden, size.heads, batch_first=True) for _ in range(2)
        )
        self.thought = nn.Sequential(
            nn.Linear(size.hidden, size.feedforward),
            nn.ReLU(),
            nn.Linear(size.feedforward, size.hidden),
        )
        self.norms = nn.ModuleList(nn.LayerNorm(size.hidden) for _ in range(3))

    def look(
        self,
        regions: torch.Tensor,
        places: torch.Tensor,
        pixels: torch.Tensor,
        where: torch.Tensor,
        hidden: torch.Tensor,
    ) -> torch.Tensor:
        """Gather from pixels that are not hidden: the region-image cross attention."""
        found = self.pixels(
            regions + places, pixels + where, pixels, attn_mask=hidden, need_weights=False
        )[0]
        seen: torch.Tensor = self.norms[0](regions + found)
        return seen

    def forward(self, regions: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """Compare regions with each other, (view, region, hidden)."""
        asked = regions + places
        regions = self.norms[1](regions + self.others(asked, asked, regions, need_weights=False)[0])
        after: torch.Tensor = self.norms[2](regions + self.thought(regions))
        return after


class RegionDecoder(nn.Module):
    """The decoder.

    Parameters
    ----------
    widths : sequence of int
        Channels of the encoder's four stages.
    words : int
        Channels of a word.
    size : RegionSize
    """

    def __init__(self, widths: Sequence[int], words: int, size: RegionSize) -> None:
        super().__init__()
        self.size, hidden = size, size.hidden
        config = Mask2FormerConfig(
            feature_size=hidden,
            mask_feature_size=hidden,
            hidden_dim=hidden,
            encoder_feedforward_dim=4 * hidden,
            encoder_layers=size.encoder_layers,
            num_attention_heads=size.heads,
            dropout=0.0,
        )
        self.fine: Any = Mask2FormerPixelDecoder(config, list(widths))
        nn.init.normal_(self.fine.level_embed)
        self.where = Mask2FormerSinePositionEmbedding(hidden // 2, normalize=True)
        self.queries, self.places = (nn.Embedding(size.regions, hidden) for _ in range(2))
        self.levels = nn.Embedding(LEVELS, hidden)
        self.layers: Any = nn.ModuleList(RegionLayer(size) for _ in range(size.layers))
        self.words = nn.Linear(words, hidden, bias=False)
        self.reading = nn.MultiheadAttention(hidden, size.heads, batch_first=True)
        self.read_norm = nn.LayerNorm(hidden)
        self.share = nn.Parameter(torch.zeros(()))
        self.norm = nn.LayerNorm(hidden)
        self.minimap = nn.Linear(hidden, 2)
        self.absent = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 2))
        self.filters = nn.Sequential(
            *(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()),
            nn.Linear(hidden, hidden),
        )

    def forward(
        self, stages: Sequence[torch.Tensor], words: torch.Tensor, mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Answer about each view of stages and its phrase.

        Parameters
        ----------
        stages : (view, width, y, x) float tensors
            From fine to coarse.
        words : (view, token, words) float tensor
        mask : (view, token) tensor

        Returns
        -------
        (view, 2, y / 4, x / 4), (view, 2, row, column), (view, 2) float tensors
            Masks, the coarse map of regions, whether it is not there; all logits.
        """
        fine = self.fine(list(stages))
        pixels, levels = fine.mask_features, fine.multi_scale_features
        regions = self.queries.weight.expand(len(pixels), -1, -1)
        places = self.places.weight
        for k, layer in enumerate(self.layers):
            level = levels[k % LEVELS]
            where = self.where(level.shape, level.device, level.dtype).flatten(2).transpose(1, 2)
            seen = level.flatten(2).transpose(1, 2) + self.levels.weight[k % LEVELS]
            hidden = self._hidden(regions, pixels, level.shape[2:])
            regions = layer.look(regions, places, seen, where, hidden)
            if k == 0:
                regions = regions + READING * self._read(regions, words, mask)
            regions = layer(regions, places)
        return self._answer(regions, pixels)

    def _read(self, regions: torch.Tensor, words: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Let regions read the words."""
        said = self.words(words)
        found = self.reading(regions, said, said, key_padding_mask=mask == 0, need_weights=False)
        read: torch.Tensor = self.read_norm(regions + found[0]) * self.share.sigmoid()
        return read

    def _hidden(
        self, regions: torch.Tensor, pixels: torch.Tensor, shape: Sequence[int]
    ) -> torch.Tensor:
        """(view * head, region, pixel) bool: what a region does not look at; never everything."""
        masks = torch.einsum("brc,bcyx->bryx", self.filters(self.norm(regions)), pixels)
        small = F.interpolate(masks, tuple(shape), mode="bilinear", align_corners=False)
        hidden = small.flatten(2).detach() < 0
        hidden = hidden & ~hidden.all(2, keepdim=True)
        return hidden.repeat_interleave(self.size.heads, 0)

    def _answer(
        self, regions: torch.Tensor, pixels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        even, edge = self.norm(regions), math.isqrt(self.size.regions)
        coarse = self.minimap(even)  # (view, region, 2)
        filters = torch.einsum("bra,brc->bac", coarse, self.filters(even))
        masks = torch.einsum("bac,bcyx->bayx", filters, pixels)
        return masks, coarse.transpose(1, 2).unflatten(2, (edge, edge)), self.absent(even).mean(1)
