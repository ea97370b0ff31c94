"""SatlasPretrain's Swin V2-T of single Sentinel-2 images: torchvision's network, its last map.

Published as ``sentinel2_swint_si_ms.pth``, and again by torchgeo under shorter names of tensors;
both are read.  The map of the last stage, a token for 32 x 32 pixels, becomes tokens row by row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn
from torchvision.models.swin_transformer import (
    PatchMergingV2,
    SwinTransformer,
    SwinTransformerBlockV2,
)

from selion.errors import BadInput

_STEM, _STAGES = 4, 4
"""Edge of the first patches in pixels; stages, each of which halves the map and doubles the
width."""
_FEATURES = "features."


@dataclass(frozen=True)
class SatlasSize:
    """Size of the network; the defaults are the published one's."""

    width: int = 768
    """Features of the last stage: eight times those of the first."""
    depths: tuple[int, ...] = (2, 2, 6, 2)
    heads: tuple[int, ...] = (3, 6, 12, 24)
    reach: int = 8
    """Edge of an attention window in tokens."""
    patch: int = 32
    """Edge in pixels of a token of the last stage; the network knows no other."""
    seen: int = 512
    """Edge in pixels of what it is shown."""
    bands: int = 9

    def __post_init__(self) -> None:
        if self.patch != _STEM * 2 ** (_STAGES - 1):
            raise BadInput(
                f"A patch of {self.patch} px was given; the tokens of Satlas are "
                f"{_STEM * 2 ** (_STAGES - 1)} px wide."
            )


class SatlasEncoder(nn.Module):
    """(view, band, seen, seen) -> (view, token, feature)."""

    def __init__(self, size: SatlasSize | None = None) -> None:
        super().__init__()
        size = size or SatlasSize()
        first = size.width // 2 ** (_STAGES - 1)
        swin = SwinTransformer(
            patch_size=[_STEM, _STEM],
            embed_dim=first,
            depths=list(size.depths),
            num_heads=list(size.heads),
            window_size=[size.reach, size.reach],
            stochastic_depth_prob=0.2,
            block=SwinTransformerBlockV2,
            downsample_layer=PatchMergingV2,
        )
        self.features = swin.features
        self.features[0][0] = nn.Conv2d(size.bands, first, _STEM, _STEM)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the map of the last stage, not normalised, as tokens."""
        return self.features(image).flatten(1, 2)


def read_satlas(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Turn the published tensors into those of :class:`SatlasEncoder`.

    The pyramid above the encoder, its last normalisation and its head of classes are left behind.

    Raises
    ------
    BadInput
        If there is no such network in the file.
    """
    taken = {}
    for name, tensor in state.items():
        before, found, after = name.partition(_FEATURES)
        if found and before in {"", "backbone.", "backbone.backbone."}:
            taken[f"{_FEATURES}{after}"] = tensor
    if not taken:
        raise BadInput(
            "The file holds no tensors called 'features...': wanted is the Swin V2-T of "
            "SatlasPretrain as it was published."
        )
    return taken
