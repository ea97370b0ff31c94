"""Adaptive average pooling by two matrix products.

The same means, and the graph keeps its dynamic sizes.
"""

from __future__ import annotations

import torch
from torch import nn


class CellMeans(nn.Module):
    """What :class:`torch.nn.AdaptiveAvgPool2d` answers.

    The tracing exporter would fix that one at the size of its example.

    Parameters
    ----------
    rows, columns : int
        Of the answer.
    """

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        self._rows, self._columns = rows, columns

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(view, channel, y, x) -> (view, channel, row, column)."""
        return (
            _shares(features, 2, self._rows)
            @ features
            @ _shares(features, 3, self._columns).transpose(0, 1)
        )


def _shares(features: torch.Tensor, axis: int, cells: int) -> torch.Tensor:
    """(cell, position): 1 / n for the n positions of a cell.

    Cell i goes from floor(i size / cells) to ceil((i + 1) size / cells).
    """
    position = torch.ones_like(features[:1, :1].transpose(axis, 3)[0, 0, 0]).cumsum(0)  # 1 .. size
    size = position[-1]
    cell = torch.arange(cells, device=features.device, dtype=features.dtype)[:, None]
    inside = (position > torch.floor(cell * size / cells)) & (
        position <= torch.ceil((cell + 1) * size / cells)
    )
    inside = inside.to(features.dtype)
    return inside / inside.sum(1, keepdim=True)


def replace_adaptive_pooling(network: nn.Module) -> nn.Module:
    """Put :class:`CellMeans` in the place of adaptive poolings, in place.

    Those are replaced that pool to more than one cell.
    """
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.AdaptiveAvgPool2d):
            rows, columns = (
                module.output_size
                if isinstance(module.output_size, tuple)
                else (module.output_size, module.output_size)
            )
            if rows and columns and rows * columns > 1:
                network.set_submodule(name, CellMeans(rows, columns))
    return network
