"""DINOv3's ViT-L/16 of satellite images, as timm has it: colours only, positions by rotation.

Published by Meta as ``dinov3_vitl16_pretrain_sat493m-eadcf0ff.pth``, and again by timm as
``vit_large_patch16_dinov3.sat493m``; both are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import timm
import torch
from torch import nn

from selion.errors import BadInput

_NAME = "vit_large_patch16_dinov3"
_RENAMED = {"storage_tokens": "reg_token", "ls1.gamma": "gamma_1", "ls2.gamma": "gamma_2"}
"""Meta's names -> timm's."""
_LEFT = ("mask_token", "local_cls_norm.weight", "local_cls_norm.bias")
"""What only training needed."""


@dataclass(frozen=True)
class Dinov3Size:
    """Size of the transformer; the defaults are the published network's."""

    width: int = 1024
    depth: int = 24
    heads: int = 16
    patch: int = 16
    """Edge of a token in pixels."""
    seen: int = 256
    """Edge in pixels of what it is shown."""


class Dinov3Encoder(nn.Module):
    """(view, band, seen, seen) -> (view, token, feature)."""

    def __init__(self, size: Dinov3Size | None = None) -> None:
        super().__init__()
        size = size or Dinov3Size()
        if not timm.is_model(_NAME):
            raise BadInput(
                f"timm {timm.__version__} has no DINOv3: install a newer one (pip install -U timm)."
            )
        self.transformer: Any = timm.create_model(
            _NAME,
            num_classes=0,
            img_size=size.seen,
            patch_size=size.patch,
            embed_dim=size.width,
            depth=size.depth,
            num_heads=size.heads,
        )
        # timm leaves the periods out of the weights; Meta's are rounded, and answers depend on them
        rope: Any = self.transformer.rope
        rope.register_buffer("periods", rope.periods, persistent=True)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the tokens of the last layer, normalised, without class and register tokens."""
        return self.transformer.forward_features(image)[:, self.transformer.num_prefix_tokens :]


def read_dinov3(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Turn Meta's or timm's tensors into those of :class:`Dinov3Encoder`.

    The biases of queries, keys and values are zeros in the published file, so the network has none.

    Raises
    ------
    BadInput
        If it is another network, or those biases are not zeros.
    """
    if "patch_embed.proj.weight" not in state:
        raise BadInput(
            "The file holds no 'patch_embed.proj.weight': wanted are the weights of DINOv3's "
            "ViT-L/16 as Meta or timm published them."
        )
    if "storage_tokens" not in state:
        return {f"transformer.{name}": tensor for name, tensor in state.items()}
    taken = {}
    for name, tensor in state.items():
        if name.endswith("attn.qkv.bias"):
            query, _, value = tensor.chunk(3)
            if bool(query.any()) or bool(value.any()):
                raise BadInput(
                    f"{name} of the file is not zero, as it is in the published weights: wanted "
                    "are those of DINOv3's ViT-L/16 trained on SAT-493M."
                )
        elif name == "rope_embed.periods":
            taken["transformer.rope.periods"] = tensor.float()
        elif name not in _LEFT and not name.endswith("bias_mask"):
            for theirs, ours in _RENAMED.items():
                name = name.replace(theirs, ours)  # noqa: PLW2901
            taken[f"transformer.{name}"] = tensor
    return taken
