"""Sines and cosines of places, days and wavelengths, as vision transformers add them to tokens."""

from __future__ import annotations

import torch

_SLOWEST = 10_000.0
"""Wavelength of the slowest wave over that of the fastest, by convention."""


def frequencies(count: int, steps: float) -> torch.Tensor:
    """Return 10000 ** -(k / steps) for k below ``count``: (frequency)."""
    return 1.0 / _SLOWEST ** (torch.arange(count) / steps)


def sines(places: torch.Tensor, rates: torch.Tensor) -> torch.Tensor:
    """Return the sines, then the cosines: (place), (frequency) -> (place, 2 x frequency)."""
    angles = places[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], 1)


def lattice(edge: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return row and column of each token of a square, row by row: (token), (token)."""
    y, x = torch.meshgrid(torch.arange(edge), torch.arange(edge), indexing="ij")
    return y.flatten(), x.flatten()
