"""A plain vision transformer of timm, taken apart.

Tokens of an image of any size, and its blocks a few at a time.

ViT and DINOv2 add absolute positions, which are interpolated to the grid of the image.  BEiT adds a
bias for each pair of tokens, looked up by their distance, which is interpolated too
(:func:`stretch`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import timm
import torch
import torch.nn.functional as F
from timm.models.beit import Beit
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from torch.utils.checkpoint import checkpoint

from selion.errors import BadInput
from selion.models.vit_adapter.attention import Shape

_PREFIX = 3
"""Rows at the end of BEiT's table: class token to token, token to class token, class token to
itself."""


class Backbone(nn.Module):
    """A transformer without its last norm and its classifier, which ViT-Adapter does not use.

    Parameters
    ----------
    encoder : str
        timm's name of a ViT (also DINOv2, DeiT, with registers or not) or of a BEiT.
    bands : int
    pretrained : bool
        Load the weights that the name's tag stands for; timm brings positions to ``img_size``.
        With three bands they are made to take colours from 0 to 1 (:func:`take_unit_colours`); with
        others, timm repeats the first layer's weights over the bands.
    recompute : bool
        Compute the blocks again in the backward pass instead of keeping what they computed.
    **options
        timm's: ``img_size``, ``patch_size``, ``embed_dim``, ``depth``, ``num_heads``,
        ``drop_path_rate``.

    Raises
    ------
    ValueError
        If the encoder is of another kind, or its patches are not square.
    """

    def __init__(
        self,
        encoder: str,
        bands: int,
        *,
        pretrained: bool = False,
        recompute: bool = False,
        **options: Any,
    ) -> None:
        super().__init__()
        transformer: Any = timm.create_model(
            encoder, pretrained=pretrained, in_chans=bands, num_classes=0, **options
        )
        kind = type(transformer)
        beit = kind is Beit
        # what is derived from them has tokens of its own
        if not beit and kind is not VisionTransformer:
            raise ValueError(
                f"{encoder} is a {kind.__name__}, which cannot be adapted; wanted is a plain ViT, "
                "DINOv2, DeiT or BEiT"
            )
        rows, columns = transformer.patch_embed.patch_size
        if rows != columns or (
            beit and (transformer.pos_embed is not None or transformer.rel_pos_bias is not None)
        ):
            raise ValueError(
                f"{encoder} has patches that are not square, or positions of two kinds, which "
                "cannot be adapted"
            )
        if pretrained and bands == 3:
            take_unit_colours(
                transformer.patch_embed.proj,
                transformer.pretrained_cfg["mean"],
                transformer.pretrained_cfg["std"],
            )
        transformer.norm = transformer.fc_norm = nn.Identity()
        transformer.patch_embed.strict_img_size = False
        self.transformer = transformer
        self.width, self.patch, self.prefix = (
            int(transformer.embed_dim),
            int(rows),
            int(transformer.num_prefix_tokens),
        )
        self.depth, self.heads = len(transformer.blocks), int(transformer.blocks[0].attn.num_heads)
        self.recompute = recompute
        for attention in [block.attn for block in transformer.blocks] if beit else []:
            # (n + 1)^2 numbers in every block; one for all is in `pairs`
            attention.register_buffer("relative_position_index", None)
            attention.register_buffer("k_bias", None)  # zeros

    def embed(self, image: torch.Tensor) -> tuple[torch.Tensor, Shape]:
        """(view, band, y, x) -> (view, prefix + token, feature) with positions added.

        With it comes the grid of the tokens (rows, columns).

        Raises
        ------
        BadInput
            If height or width is not a multiple of the patch.
        """
        grid = (int(image.shape[2]) // self.patch, int(image.shape[3]) // self.patch)
        if not torch.jit.is_tracing() and (grid[0] * self.patch, grid[1] * self.patch) != tuple(
            image.shape[2:]
        ):
            raise BadInput(
                f"The transformer's patches are {self.patch} px wide; {tuple(image.shape[2:])} px "
                "was given: take a multiple."
            )
        tokens = self.transformer.patch_embed.proj(image).flatten(2).transpose(1, 2)
        return self._placed(
            self.transformer.patch_embed.norm(tokens)
            if hasattr(self.transformer.patch_embed, "norm")
            else tokens,
            grid,
        ), grid

    def _placed(self, tokens: torch.Tensor, grid: Shape) -> torch.Tensor:
        """Put the prefix before the tokens, and add positions to both."""
        vit = self.transformer
        before = [
            token for token in (vit.cls_token, getattr(vit, "reg_token", None)) if token is not None
        ]
        prefix = (
            torch.cat([token.expand(tokens.shape[0], -1, -1) for token in before], 1)
            if before
            else tokens[:, :0]
        )
        positions = vit.pos_embed
        if positions is not None:
            own = 0 if vit.no_embed_class else self.prefix
            tokens = tokens + resample(positions[:, own:], vit.patch_embed.grid_size, grid)
            prefix = prefix + positions[:, :own] if own else prefix
        tokens = vit.pos_drop(torch.cat([prefix, tokens], 1))
        return tokens if isinstance(vit, Beit) else vit.norm_pre(vit.patch_drop(tokens))

    def run(self, tokens: torch.Tensor, first: int, last: int, grid: Shape) -> torch.Tensor:
        """(view, prefix + token, feature) -> the same after blocks.

        They are ``first`` to ``last``, without the latter.
        """
        step = beit_block if isinstance(self.transformer, Beit) else _vit_block
        for block in self.transformer.blocks[first:last]:
            again = self.recompute and torch.is_grad_enabled()
            tokens = (
                checkpoint(step, block, tokens, grid, use_reentrant=False)
                if again
                else step(block, tokens, grid)
            )
        return tokens


def take_unit_colours(layer: nn.Conv2d, mean: Sequence[float], std: Sequence[float]) -> None:
    """Make a convolution without padding take colours from 0 to 1, in place.

    It answers to them what it did to ``(colour - mean) / std``.

    selion's augmentations work on colours from 0 to 1, and each encoder of timm wants a mean and a
    deviation of its own.
    """
    with torch.no_grad():
        weight = layer.weight / layer.weight.new_tensor(std)[:, None, None]
        shift = (weight * layer.weight.new_tensor(mean)[:, None, None]).sum((1, 2, 3))
        layer.weight.copy_(weight)
        if layer.bias is None:  # a network built from the card has none
            raise ValueError("a first layer without bias cannot take colours from 0 to 1")
        layer.bias.sub_(shift)


def _vit_block(block: Any, tokens: torch.Tensor, _grid: Shape) -> torch.Tensor:
    return block(tokens)


def resample(positions: torch.Tensor, old: Shape, new: Shape) -> torch.Tensor:
    """Bring (1, token, feature) positions of one grid onto another.

    It is done by antialiased bicubic interpolation, as timm does.
    """
    if tuple(old) == tuple(new):
        return positions
    rows, columns = (
        torch.from_numpy(_bicubic(a, b)).to(positions) for a, b in zip(old, new, strict=True)
    )
    moved = torch.einsum("yr,xc,rcf->yxf", rows, columns, positions[0].unflatten(0, tuple(old)))
    return moved.flatten(0, 1)[None]


@lru_cache(maxsize=16)
def _bicubic(old: int, new: int) -> np.ndarray:
    """Return the (new, old) weights of torch's antialiased bicubic interpolation along one axis.

    As numbers they are constants of an exported graph.
    """
    with torch.no_grad():
        found = F.interpolate(
            torch.eye(old)[None, None], size=(new, old), mode="bicubic", antialias=True
        )
    return found[0, 0].detach().cpu().numpy().copy()


def beit_block(block: Any, tokens: torch.Tensor, grid: Shape) -> torch.Tensor:
    """Run a block of BEiT on (view, 1 + token, feature) of any grid.

    timm's own runs on that of its table only.
    """
    first, second = (1.0, 1.0) if block.gamma_1 is None else (block.gamma_1, block.gamma_2)
    tokens = tokens + block.drop_path1(
        first * _beit_attention(block.attn, block.norm1(tokens), grid)
    )
    return tokens + block.drop_path2(second * block.mlp(block.norm2(tokens)))


def _beit_attention(attention: Any, tokens: torch.Tensor, grid: Shape) -> torch.Tensor:
    bias = (
        None
        if attention.q_bias is None
        else torch.cat([attention.q_bias, torch.zeros_like(attention.q_bias), attention.v_bias])
    )
    q, k, v = (
        F.linear(tokens, attention.qkv.weight, bias)
        .unflatten(2, (3, attention.num_heads, -1))
        .permute(2, 0, 3, 1, 4)
        .unbind(0)
    )
    table = attention.relative_position_bias_table
    pairs = None if table is None else distance_bias(table, attention.window_size, grid)
    seen = F.scaled_dot_product_attention(
        q, k, v, attn_mask=pairs, dropout_p=attention.attn_drop.p if attention.training else 0.0
    )
    return attention.proj_drop(attention.proj(seen.transpose(1, 2).flatten(2)))


def distance_bias(table: torch.Tensor, old: Shape, new: Shape) -> torch.Tensor:
    """Look up BEiT's bias of each pair of tokens.

    Parameters
    ----------
    table : (distance, head) float tensor
        Of distances (2 rows - 1) x (2 columns - 1), then three for the class token.
    old, new : (rows, columns)
        Grid of the table, and of the tokens.

    Returns
    -------
    (1, head, 1 + token, 1 + token) float tensor
    """
    if tuple(old) != tuple(new):
        rows, columns = (
            torch.from_numpy(stretch(a, b)).to(table) for a, b in zip(old, new, strict=True)
        )
        spread = table[:-_PREFIX].unflatten(0, (2 * old[0] - 1, 2 * old[1] - 1))
        table = torch.cat(
            [torch.einsum("yr,xc,rch->yxh", rows, columns, spread).flatten(0, 1), table[-_PREFIX:]]
        )
    index = torch.from_numpy(pairs(tuple(new))).to(table.device)
    return table[index].permute(2, 0, 1)[None]


@lru_cache(maxsize=4)
def pairs(grid: Shape) -> np.ndarray:
    """(1 + token, 1 + token) int64.

    Which row of BEiT's table says how a pair of tokens of a grid lies.
    """
    rows, columns = grid
    y, x = (axis.ravel() for axis in np.indices(grid))
    apart = (y[:, None] - y + rows - 1) * (2 * columns - 1) + x[:, None] - x + columns - 1
    last = (2 * rows - 1) * (2 * columns - 1)
    index = np.empty((1 + len(y), 1 + len(y)), np.int64)
    index[1:, 1:], index[0], index[1:, 0], index[0, 0] = apart, last, last + 1, last + 2
    return index


@lru_cache(maxsize=16)
def stretch(old: int, new: int) -> np.ndarray:
    """(2 new - 1, 2 old - 1) float32 weights that bring a table of distances -old + 1 ...

    Old - 1 to new ones, linearly.

    Notes
    -----
    Near distances stay as they are, far ones are spread: the table's entries are taken to lie at 0,
    1, 1 + q, 1 + q + q^2, ... with the q that puts the last one at the new farthest distance (as
    BEiT's and timm's tools do to checkpoints).  A smaller grid reads the middle of the table as it
    is.
    """
    places = np.arange(old, dtype=float)
    if new > old > 1:
        low, high = 1.0, 1.0 + new
        for _ in range(60):
            q = (low + high) / 2
            low, high = (low, q) if (q ** np.arange(old - 1)).sum() > new - 1 else (q, high)
        places[1:] = np.cumsum(low ** np.arange(old - 1))
    known = np.concatenate([-places[:0:-1], places])
    wanted = np.arange(-new + 1, new)
    return np.stack([np.interp(wanted, known, unit) for unit in np.eye(2 * old - 1)], 1).astype(
        np.float32
    )
