"""CROMA's optical encoder.

Fuller et al.: CROMA, remote sensing representations with contrastive radar-optical masked
autoencoders (NeurIPS 2023, arXiv 2311.00566).  A vision transformer over patches of 8 px whose
attention knows places only by a bias: each head's slope times the distance of two patches.  PRUE
takes the tokens of the optical encoder; the radar and the joint encoder and the pooled answer are
left in the file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from timm.layers import Mlp
from torch import nn

from selion.models.foundation.published import PublishedFile, check_image, named

_BANDS = 12
"""Sentinel-2's without the cirrus band."""
_ENCODER = "s2_encoder."
_FILE = PublishedFile(
    "CROMA",
    (*named(f"{_ENCODER}linear_input", f"{_ENCODER}transformer.norm_out"),),
    f"{_ENCODER}transformer.layers.{{}}.",
    (
        "0.to_qkv.weight",
        *named("0.input_norm", "0.to_out", "1.input_norm", "1.net.0", "1.net.3"),
    ),
    ("s1_", "s2_GAP_FFN.", "joint_", "cross_", "attn_bias"),
)
_PARTS = {
    "0.input_norm": "norm1",
    "0.to_qkv": "qkv",
    "0.to_out": "proj",
    "1.input_norm": "norm2",
    "1.net.0": "mlp.fc1",
    "1.net.3": "mlp.fc2",
}


@dataclass(frozen=True, slots=True)
class CromaSize:
    """Sizes of CROMA; the published base is the default."""

    width: int = 768
    depth: int = 12
    heads: int = 16
    """A power of two: the slopes of the bias are made for that."""
    patch: int = 8
    seen: int = 120
    """Edge of the image in pixels."""


class _NearBlock(nn.Module):
    """A transformer's block whose attention gets a bias."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width, 4 * width)

    def forward(self, tokens: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        views, count, width = tokens.shape
        qkv = self.qkv(self.norm1(tokens)).reshape(views, count, 3, self.heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        tokens = tokens + self.proj(seen.transpose(1, 2).reshape(views, count, width))
        return tokens + self.mlp(self.norm2(tokens))


class CromaEncoder(nn.Module):
    """The optical encoder of CROMA.

    Parameters
    ----------
    size : CromaSize

    Raises
    ------
    ValueError
        If the heads are no power of two.

    Notes
    -----
    Bands are B01 to B12 of Sentinel-2 without B10, in that order.
    """

    def __init__(self, size: CromaSize = CromaSize()) -> None:
        super().__init__()
        self.size = size
        self.embed = nn.Conv2d(_BANDS, size.width, size.patch, size.patch)
        self.blocks = nn.ModuleList(_NearBlock(size.width, size.heads) for _ in range(size.depth))
        self.norm = nn.LayerNorm(size.width)
        self.bias: torch.Tensor
        self.register_buffer(
            "bias", distance_bias(size.heads, size.seen // size.patch), persistent=False
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(view, band, y, x) -> (view, token, feature), row by row.

        Raises
        ------
        BadInput
            If the image has not the bands or the size.
        """
        check_image("CROMA", image, _BANDS, self.size.seen)
        tokens = self.embed(image).flatten(2).transpose(1, 2)
        for block in self.blocks:
            tokens = block(tokens, self.bias)
        return self.norm(tokens)


def distance_bias(heads: int, rows: int) -> torch.Tensor:
    """Return what a head adds to the attention of two patches: its slope times their distance.

    Parameters
    ----------
    heads : int
        A power of two; head k of n has the slope -2^(-8 (k + 1) / n).
    rows : int
        Patches along an edge.

    Returns
    -------
    torch.Tensor
        (1, head, token, token) float32, 0 or less; distances in patches.

    Raises
    ------
    ValueError
        If the heads are no power of two.

    References
    ----------
    CROMA (arXiv 2311.00566), section 3, "2D-ALiBi"; Press et al.: Train short, test long (2022).
    """
    if heads < 1 or heads & (heads - 1):
        raise ValueError(f"{heads} heads were given; wanted is a power of two")
    slopes = 2.0 ** (-8.0 * torch.arange(1, heads + 1) / heads)
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(rows), indexing="ij")
    places = torch.stack([y.flatten(), x.flatten()], 1).double()
    far = (places[:, None] - places[None]).square().sum(2).sqrt().float()
    return -(slopes[:, None, None] * far)[None]


def read_croma(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Turn ``CROMA_base.pt`` or ``CROMA_large.pt`` into the weights of :class:`CromaEncoder`.

    Parameters
    ----------
    state : mapping
        Of names: the file's parts (``s2_encoder``, ...), a point, and the names in them.

    Raises
    ------
    BadInput
        If a tensor of the optical encoder is missing, or one is there that the file has not.
    """
    given, depth = _FILE.take(state)
    linear = given[f"{_ENCODER}linear_input.weight"]
    patch = math.isqrt(linear.shape[1] // _BANDS)
    weights = {
        "embed.weight": linear.reshape(len(linear), _BANDS, patch, patch),
        "embed.bias": given[f"{_ENCODER}linear_input.bias"],
        **{
            f"norm.{kind}": given[f"{_ENCODER}transformer.norm_out.{kind}"]
            for kind in ("weight", "bias")
        },
    }
    for k in range(depth):
        for name in _FILE.each:
            part, kind = name.rsplit(".", 1)
            weights[f"blocks.{k}.{_PARTS[part]}.{kind}"] = given[_FILE.block.format(k) + name]
    return weights
