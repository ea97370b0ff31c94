"""Galileo's encoder, for one Sentinel-2 image.

Tseng et al.: Galileo, learning global and local features of many remote sensing modalities (ICML
2025, arXiv 2502.09356).  Each group of bands has a token of its own at each place; what a token is
of (group, time step, month, place) is added to it.  Groups of other sensors, the weather and the
terrain are not given, and their tokens left out; the answer at a place is the mean over its
groups.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import Mlp
from torch import nn

from selion.models.foundation.published import BLOCK, PublishedFile, check_image, named

GROUPS = {"S2_RGB": 3, "S2_Red_Edge": 3, "S2_NIR_10m": 1, "S2_NIR_20m": 1, "S2_SWIR": 2}
"""Sentinel-2's groups and their numbers of bands, in the order of the bands."""
_FIRST, _ALL = 1, 7
"""Where they stand among all groups of space and time: after radar, before the NDVI."""
_BASE = 8
"""Edge in pixels of the kernels that are learnt; other patches get theirs from them."""
_GROUND = 10.0
"""Metres of a pixel that the encoding of places counts in."""
_TOGETHER = 1024
"""Tokens that ask the others at a time."""
_JOINED = tuple(f"attn.{part}" for part in "qkv")
_FILE = PublishedFile(
    "Galileo",
    (
        "pos_embed",
        "month_embed.weight",
        "s_t_channel_embed",
        *named("norm", *(f"space_time_embed.{group}.proj" for group in GROUPS)),
    ),
    "blocks.{}.",
    (*(name for name in BLOCK if ".qkv." not in name), *named(*_JOINED)),
    (
        *(f"{of}_channel_embed" for of in ("sp", "t", "st")),
        *(f"space_time_embed.{of}." for of in ("S1", "NDVI")),
        *("space_embed.", "time_embed.", "static_embed."),
    ),
)


@dataclass(frozen=True, slots=True)
class GalileoSize:
    """Sizes of Galileo; the published base is the default."""

    width: int = 768
    depth: int = 12
    heads: int = 12
    patch: int = 4
    seen: int = 256
    """Edge of the image in pixels."""
    steps: int = 24
    """Time steps that the encoder knows; one is given."""
    month: int = 6
    """Of the image, 0 to 11.  PRUE gives 6 (July) to all."""
    metres: float = 10.0
    """Of a pixel."""


class SlicedAttention(nn.Module):
    """Self-attention that asks for some tokens at a time; its weights have timm's names.

    A graph without a fused kernel holds one number for each head and pair of tokens: for 20,480
    tokens 20 GB.  In slices it holds a twentieth.

    Parameters
    ----------
    width, heads : int
    together : int
        Tokens that ask at a time.
    """

    def __init__(self, width: int, heads: int, together: int = _TOGETHER) -> None:
        super().__init__()
        self.heads, self.together = heads, together
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(view, token, feature) -> (view, token, feature)."""
        views, count, width = tokens.shape
        qkv = self.qkv(tokens).reshape(views, count, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        answers = [
            F.scaled_dot_product_attention(query[:, :, k : k + self.together], key, value)
            for k in range(0, int(count), self.together)
        ]
        return self.proj(torch.cat(answers, 2).transpose(1, 2).reshape(views, count, width))


class _SlicedBlock(nn.Module):
    """A transformer's block with :class:`SlicedAttention`."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = SlicedAttention(width, heads)
        self.mlp = Mlp(width, 4 * width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        tokens = tokens + self.attn(self.norm1(tokens))
        return tokens + self.mlp(self.norm2(tokens))


class GalileoEncoder(nn.Module):
    """Galileo for one Sentinel-2 image.

    Parameters
    ----------
    size : GalileoSize

    Notes
    -----
    Bands are B02, B03, B04, B05, B06, B07, B08, B8A, B11 and B12, in that order.  A place has five
    tokens: 256 px in patches of 4 px are 20,480 tokens that all attend to each other.
    """

    def __init__(self, size: GalileoSize = GalileoSize()) -> None:
        super().__init__()
        self.size = size
        self.embed = nn.ModuleDict(
            {group: nn.Conv2d(bands, size.width, _BASE) for group, bands in GROUPS.items()}
        )
        quarter = size.width // 4
        self.group = nn.Parameter(torch.zeros(_ALL, quarter))
        steps = torch.arange(size.steps, dtype=torch.float32)
        # fixed, but part of the published file
        self.step = nn.Parameter(_waves_of(steps, quarter), requires_grad=False)
        self.month = nn.Parameter(_months(quarter), requires_grad=False)
        self.blocks = nn.Sequential(
            *(_SlicedBlock(size.width, size.heads) for _ in range(size.depth))
        )
        self.norm = nn.LayerNorm(size.width)
        self.place: torch.Tensor
        self.register_buffer("place", _places(size), persistent=False)
        self.resized: torch.Tensor
        self.register_buffer("resized", kernels_resized(_BASE, size.patch), persistent=False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(view, band, y, x) -> (view, token, feature), row by row.

        Raises
        ------
        BadInput
            If the image has not the bands or the size.
        """
        check_image("Galileo", image, sum(GROUPS.values()), self.size.seen)
        tokens = torch.cat(
            [self._embed(k, part) for k, part in enumerate(image.split(list(GROUPS.values()), 1))],
            1,
        )
        tokens = self.norm(self.blocks(tokens))
        places = (self.size.seen // self.size.patch) ** 2
        return tokens.reshape(-1, len(GROUPS), places, self.size.width).mean(1)

    def _embed(self, k: int, bands: torch.Tensor) -> torch.Tensor:
        """Return the tokens of one group, with what they are of: (view, place, feature)."""
        layer: Any = self.embed[list(GROUPS)[k]]
        patch = self.size.patch
        kernel = (layer.weight.flatten(2) @ self.resized).unflatten(2, (patch, patch))
        tokens = F.conv2d(bands, kernel, layer.bias, stride=patch).flatten(2).transpose(1, 2)
        of = torch.cat([self.group[_FIRST + k], self.step[0], self.month[self.size.month]])
        places = self.place.shape[0]
        return tokens + torch.cat([of.expand(places, -1), self.place], 1)


def kernels_resized(base: int, patch: int) -> torch.Tensor:
    """Return the matrix that makes of a kernel one of another size that answers alike.

    The small kernel on an image that was resized (bicubic, antialiased) from ``base`` to ``patch``
    pixels answers, by least squares, what the large one answers on the image itself: it is the
    pseudo-inverse of the resizing's transpose, times the large kernel.

    Parameters
    ----------
    base, patch : int
        Edges of the kernels in pixels.

    Returns
    -------
    torch.Tensor
        (base^2, patch^2) float32; kernels are rows by rows.

    References
    ----------
    Beyer et al.: FlexiViT, one model for all patch sizes (CVPR 2023), section 3.4.
    """
    if base == patch:
        return torch.eye(base**2)
    one = torch.eye(base**2).reshape(base**2, 1, base, base)
    small = F.interpolate(one, size=(patch, patch), mode="bicubic", antialias=True)
    return torch.linalg.pinv(small.reshape(base**2, patch**2)).T.contiguous()


def _waves_of(places: torch.Tensor, features: int) -> torch.Tensor:
    """Return sines and cosines of places: (place) -> (place, feature).

    Frequencies fall from 1 to 10000^(-1/4) only: the authors divide by twice the features where
    others divide by half of them.
    """
    half = features // 2
    frequencies = 1.0 / 10000 ** (torch.arange(half) / features / 2.0)
    angles = places[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], 1)


def _months(features: int) -> torch.Tensor:
    """Return (month, feature): the sine of the month of the year, then its cosine, repeated."""
    angles = torch.arange(12)[:, None] / (12 / (2 * math.pi))
    return torch.cat(
        [angles.sin().expand(-1, features // 2), angles.cos().expand(-1, features // 2)], 1
    )


def _places(size: GalileoSize) -> torch.Tensor:
    """Return what is added for a place, (place, feature): half by its column, half by its row."""
    rows = size.seen // size.patch
    scale = size.metres * size.patch / _GROUND
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(rows), indexing="ij")
    eighth = size.width // 8
    return torch.cat(
        [_waves_of(scale * x.flatten(), eighth), _waves_of(scale * y.flatten(), eighth)], 1
    )


def read_galileo(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Turn a published ``encoder.pt`` (nano, tiny, base) into :class:`GalileoEncoder`'s weights.

    Raises
    ------
    BadInput
        If a tensor of the encoder is missing, or one is there that the file has not.
    """
    given, depth = _FILE.take({name.replace(".backbone", ""): t for name, t in state.items()})
    fixed = {
        "pos_embed": "step",
        "month_embed.weight": "month",
        "s_t_channel_embed": "group",
        **{
            f"space_time_embed.{group}.proj.{kind}": f"embed.{group}.{kind}"
            for group in GROUPS
            for kind in ("weight", "bias")
        },
    }
    split = {f"blocks.{k}.{name}" for k in range(depth) for name in named(*_JOINED)}
    weights = {fixed.get(name, name): t for name, t in given.items() if name not in split}
    for k in range(depth):
        for kind in ("weight", "bias"):
            weights[f"blocks.{k}.attn.qkv.{kind}"] = torch.cat(
                [given[f"blocks.{k}.{part}.{kind}"] for part in _JOINED]
            )
    return weights
