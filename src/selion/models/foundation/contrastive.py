"""SoftCon and DeCUR: vision transformers of Sentinel-2's thirteen bands, learnt by contrast.

Both are timm's plain transformer.  SoftCon's is DINOv2's (layers scaled, patches of 14 pixels);
published as ``B13_vits14_softcon.pth``.  DeCUR's is the plain one with patches of 16 pixels;
published as ``vits16_ssl4eo-s12_ms_decur_ep100.pth``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from selion.errors import BadInput


@dataclass(frozen=True)
class ContrastiveSize:
    """Size of the transformer; the defaults are SoftCon's ViT-S."""

    width: int = 384
    depth: int = 12
    heads: int = 6
    patch: int = 14
    """Edge of a token in pixels."""
    seen: int = 224
    """Edge in pixels of what it is shown."""
    bands: int = 13
    scaled: bool = True
    """Whether what a layer adds is scaled, as in DINOv2."""


class ContrastiveEncoder(nn.Module):
    """(view, band, seen, seen) -> (view, token, feature)."""

    def __init__(self, size: ContrastiveSize | None = None) -> None:
        super().__init__()
        size = size or ContrastiveSize()
        self.transformer = VisionTransformer(
            img_size=size.seen,
            patch_size=size.patch,
            in_chans=size.bands,
            num_classes=0,
            embed_dim=size.width,
            depth=size.depth,
            num_heads=size.heads,
            init_values=1e-5 if size.scaled else None,
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the tokens of the last layer, normalised, without the class token."""
        return self.transformer.forward_features(image)[:, 1:]


def read_softcon(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Turn SoftCon's published tensors into those of :class:`ContrastiveEncoder`.

    What masked tokens were replaced by in training is left behind.
    """
    return _read(state, dropped=("mask_token",))


def read_decur(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Turn DeCUR's published tensors into those of :class:`ContrastiveEncoder`.

    A head of classes is left behind.
    """
    return _read(state, dropped=("head.weight", "head.bias"))


def _read(state: Mapping[str, torch.Tensor], dropped: tuple[str, ...]) -> dict[str, torch.Tensor]:
    if "patch_embed.proj.weight" not in state:
        raise BadInput(
            "The file holds no 'patch_embed.proj.weight': wanted is the encoder as its authors "
            "published it."
        )
    return {f"transformer.{name}": tensor for name, tensor in state.items() if name not in dropped}
