"""Multi-scale deformable attention in plain torch.

Each query looks at a few places of each level, and learns where.

Zhu et al.: Deformable DETR, deformable transformers for end-to-end object detection (ICLR 2021,
arXiv 2010.04159), section 4.1, equation 3.  The authors' operator is a CUDA extension that has to
be compiled; :func:`torch.nn.functional.grid_sample` gives the same numbers wherever torch runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

Shape = tuple[int, int]
"""(rows, columns) of a level."""


def attend(
    values: torch.Tensor, shapes: Sequence[Shape], places: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """Add up values read, bilinearly, at given places of several levels.

    Parameters
    ----------
    values : (view, token, head, feature) float tensor
        The levels one after the other, each row by row.
    shapes : sequence of (rows, columns)
        Of the levels.
    places : (view, query, head, level, point, 2) float tensor
        (x, y) as shares of a level's width and height: (0, 0) is its upper left corner, not the
        centre of its first cell.  What lies outside reads as 0.
    weights : (view, query, head, level, point) float tensor

    Returns
    -------
    (view, query, head * feature) float tensor

    Notes
    -----
    The levels are added up one by one, so that no more than one level's samples is in memory, where
    transformers stacks them all.
    """
    # Sizes are numbers, but for the batch, which is not spelt out: in an exported graph it stays
    # open, and all else is constant.
    heads, features, queries = int(values.shape[2]), int(values.shape[3]), int(places.shape[1])
    # (level, view * head, query, point, 2)
    grids = (2 * places - 1).permute(3, 0, 2, 1, 4, 5).flatten(1, 2)
    # (level, view * head, 1, query, point)
    shares = weights.permute(3, 0, 2, 1, 4).flatten(1, 2)[:, :, None]
    levels = (
        values.permute(0, 2, 3, 1)
        .flatten(0, 1)
        .split([rows * columns for rows, columns in shapes], 2)
    )
    total = torch.zeros((), dtype=values.dtype, device=values.device)
    for k, (level, shape) in enumerate(zip(levels, shapes, strict=True)):
        seen = F.grid_sample(
            level.reshape(-1, features, *shape),
            grids[k],
            mode="bilinear",
            padding_mode="zeros",
            align_corners=False,
        )
        total = total + (seen * shares[k]).sum(-1)  # (view * head, feature, query)
    return total.reshape(-1, heads * features, queries).transpose(1, 2)


def centres(shapes: Sequence[Shape], like: torch.Tensor) -> torch.Tensor:
    """Return the centres of all cells of some levels, (token, 2) as (x, y) shares.

    They are on the device of ``like``; float32, or finer if it is.
    """
    return torch.from_numpy(_centres(tuple(shapes))).to(
        like.device, torch.promote_types(like.dtype, torch.float32)
    )


@lru_cache(maxsize=64)
def _centres(shapes: tuple[Shape, ...]) -> np.ndarray:
    found = []
    for shape in shapes:
        y, x = (
            (place.ravel() + 0.5) / n for place, n in zip(np.indices(shape), shape, strict=True)
        )
        found.append(np.stack([x, y], 1))
    return np.concatenate(found).astype(np.float32)


class DeformableAttention(nn.Module):
    """Attention of tokens to a few learnt places of other tokens' maps.

    Parameters
    ----------
    width : int
        Features of queries, values and answers.
    heads, levels, points : int
        Places per query are ``heads * levels * points``.
    ratio : float
        Features of the values within, as a share of ``width`` (ViT-Adapter halves them).

    Raises
    ------
    ValueError
        If the features within do not divide among the heads.
    """

    def __init__(
        self, width: int, heads: int, levels: int, points: int = 4, ratio: float = 1.0
    ) -> None:
        super().__init__()
        inner = int(width * ratio)
        if inner < heads or inner % heads:
            raise ValueError(
                f"{width} features times ratio {ratio:g} do not divide among {heads} heads of "
                "deformable attention"
            )
        self.heads, self.levels, self.points = heads, levels, points
        self.offsets = nn.Linear(width, heads * levels * points * 2)
        self.weights = nn.Linear(width, heads * levels * points)
        self.values = nn.Linear(width, inner)
        self.answer = nn.Linear(inner, width)
        self._start()

    def _start(self) -> None:
        """Start as the paper.

        Each head looks in its own direction, point k at k + 1 cells, all alike in weight (its
        appendix A.4).
        """
        angle = torch.arange(self.heads, dtype=torch.float32) * (2 * math.pi / self.heads)
        direction = torch.stack([angle.cos(), angle.sin()], -1)
        # onto the square of cells around
        direction = direction / direction.abs().amax(-1, keepdim=True)
        steps = torch.arange(1, self.points + 1, dtype=torch.float32)
        # (head, level, point, 2)
        bias = direction[:, None, None] * steps[:, None] * torch.ones(self.levels, 1, 1)
        with torch.no_grad():
            self.offsets.bias.copy_(bias.flatten())
        for tensor in (
            self.offsets.weight,
            self.weights.weight,
            self.weights.bias,
            self.values.bias,
            self.answer.bias,
        ):
            nn.init.zeros_(tensor)
        for layer in (self.values, self.answer):
            nn.init.xavier_uniform_(layer.weight)

    def forward(
        self,
        queries: torch.Tensor,
        places: torch.Tensor,
        values: torch.Tensor,
        shapes: Sequence[Shape],
    ) -> torch.Tensor:
        """Return what each query sees.

        Parameters
        ----------
        queries : (view, query, feature) float tensor
        places : (query, 2) float tensor
            Where each query lies, as :func:`centres` gives it; offsets are in cells of each level.
        values : (view, token, feature) float tensor
        shapes : sequence of (rows, columns)
            Of the levels of ``values``.

        Returns
        -------
        (view, query, feature) float tensor
        """
        count, tokens = int(queries.shape[1]), int(values.shape[1])
        offsets = self.offsets(queries).reshape(-1, count, self.heads, self.levels, self.points, 2)
        weights = (
            self.weights(queries)
            .reshape(-1, count, self.heads, self.levels * self.points)
            .softmax(-1)
        )
        # Places want more digits than bfloat16 has, whatever the rest is computed in.
        cells = torch.tensor(
            [(columns, rows) for rows, columns in shapes], dtype=places.dtype, device=places.device
        )
        # (view, query, head, level, point, 2)
        looked = places[:, None, None, None] + offsets.to(places.dtype) / cells[:, None]
        inner = self.values(values)
        inner = inner.reshape(-1, tokens, self.heads, self.values.out_features // self.heads)
        weights = weights.reshape(-1, count, self.heads, self.levels, self.points).to(places.dtype)
        return self.answer(attend(inner.to(places.dtype), shapes, looked, weights).to(inner.dtype))
