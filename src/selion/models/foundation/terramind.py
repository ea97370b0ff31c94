"""TerraMind 1's encoder, for Sentinel-2 L2A.

Jakubik et al.: TerraMind, large-scale generative multimodality for Earth observation (ICCV 2025,
arXiv 2504.11171).  A transformer without biases whose tokens come from several modalities, each
with its own first layer; this is the part that sees Sentinel-2 L2A alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import SwiGLU
from timm.models.vision_transformer import Block
from torch import nn

from selion.models.foundation.positions import frequencies, lattice, sines
from selion.models.foundation.published import PublishedFile, check_image

_L2A = 12
"""Bands of the published first layer: all of Sentinel-2 L2A, from B01 to B12 with B8A."""
BANDS = (1, 2, 3, 7)
"""Those that are fed, by their places among the twelve: blue, green, red, near infrared (B08)."""
_BLOCK = {
    "norm1.weight": "norm1.weight",
    "attn.qkv.weight": "attn.qkv.weight",
    "attn.proj.weight": "attn.proj.weight",
    "norm2.weight": "norm2.weight",
    "mlp.fc1.weight": "mlp.fc1_g.weight",
    "mlp.fc3.weight": "mlp.fc1_x.weight",
    "mlp.fc2.weight": "mlp.fc2.weight",
}
"""Tensors of a block: the authors' names -> timm's."""
_MODALITY = "encoder_embeddings.untok_sen2l2a@224."
_LAYOUT = PublishedFile(
    "TerraMind 1",
    (f"{_MODALITY}proj.weight", f"{_MODALITY}mod_emb", "encoder_norm.weight"),
    "encoder.{}.",
    tuple(_BLOCK),
    ("encoder_embeddings.", "decoder", "mask_token", "tokenizer."),
)


@dataclass(frozen=True, slots=True)
class TerraMindSize:
    """Sizes of TerraMind 1; the published base is the default."""

    width: int = 768
    depth: int = 12
    heads: int = 12
    patch: int = 16
    seen: int = 256
    """Edge of the image in pixels."""
    learnt: int = 224
    """Edge of the images that it learnt from: places of others are interpolated from theirs."""


class TerraMindEncoder(nn.Module):
    """TerraMind 1 for blue, green, red and near infrared of Sentinel-2 L2A.

    Parameters
    ----------
    size : TerraMindSize, optional
        Default: the published one.

    Notes
    -----
    A band that is not fed is left out of the first layer's sum, as in terratorch.
    """

    def __init__(self, size: TerraMindSize | None = None) -> None:
        super().__init__()
        self.size = size = size or TerraMindSize()
        self.embed = nn.Conv2d(len(BANDS), size.width, size.patch, size.patch, bias=False)
        self.modality = nn.Parameter(torch.empty(1, 1, size.width).normal_(std=0.02))
        self.blocks = nn.Sequential(*(_block(size.width, size.heads) for _ in range(size.depth)))
        self.norm = nn.LayerNorm(size.width, eps=1e-6, bias=False)
        self.places: torch.Tensor
        self.register_buffer("places", _places(size))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(view, band, y, x) -> (view, token, feature), row by row, normalised.

        Raises
        ------
        BadInput
            If the image has not the bands or the size.
        """
        check_image("TerraMind", image, len(BANDS), self.size.seen)
        tokens = self.embed(image).flatten(2).transpose(1, 2)
        return self.norm(self.blocks(tokens + self.places + self.modality))


def _block(width: int, heads: int) -> nn.Module:
    """Return timm's block without biases, its gated hidden layer two thirds of four widths wide."""
    hidden = 2 * 4 * width // 3
    norm: Any = partial(nn.LayerNorm, eps=1e-6, bias=False)
    return Block(
        width,
        heads,
        mlp_ratio=(hidden + 0.5) / width,  # the block rounds down
        proj_bias=False,
        norm_layer=norm,
        act_layer=nn.SiLU,
        mlp_layer=SwiGLU,
    )


def _places(size: TerraMindSize) -> torch.Tensor:
    """Return (token, feature): half by row, half by column."""
    known, edge = size.learnt // size.patch, size.seen // size.patch
    y, x = lattice(known)
    quarter = size.width // 4
    rates = frequencies(quarter, quarter)
    places = torch.cat([sines(y, rates), sines(x, rates)], 1)
    if edge == known:
        return places
    image = places.T.reshape(1, size.width, known, known)
    image = F.interpolate(image, size=(edge, edge), mode="bicubic", align_corners=False)
    return image.flatten(2)[0].T


def read_terramind(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Turn ``TerraMind_v1_base.pt`` into :class:`TerraMindEncoder`'s weights.

    Raises
    ------
    BadInput
        If a tensor of the encoder is missing, or one is there that the file has not.

    Notes
    -----
    The file's normalisations have biases that are zeros and never learnt, and its places are fixed:
    both are let go.
    """
    given, _ = _LAYOUT.take(
        {
            name: tensor
            for name, tensor in state.items()
            if not (name.startswith("encoder") and name.endswith(("norm1.bias", "norm2.bias")))
            and name != "encoder_norm.bias"
        }
    )
    rows = given.pop(f"{_MODALITY}proj.weight")  # (feature, pixels x bands)
    edge = round((rows.shape[1] / _L2A) ** 0.5)
    kernel = rows.reshape(len(rows), edge, edge, _L2A)[..., list(BANDS)].permute(0, 3, 1, 2)
    return {
        "embed.weight": kernel,
        "modality": given.pop(f"{_MODALITY}mod_emb"),
        "norm.weight": given.pop("encoder_norm.weight"),
        **{_own_name(name): tensor for name, tensor in given.items()},
    }


def _own_name(name: str) -> str:
    _, number, rest = name.split(".", 2)
    return f"blocks.{number}.{_BLOCK[rest]}"
