"""How overlapping windows become one surface: Gaussian weights that sum to one at every pixel."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tilth.grid import Lattice

SIGMA = 1 / 8
"""Standard deviation of the Gaussian as a share of the window.

With an overlap ``o`` a pixel at the very border of a window gets the share ``1 / (1 + exp((o - o**2) / (2 * SIGMA**2)))`` of its score from
that window.  At the default overlap of 0.25 that is 0.25 %, less than one step of the uint8 scores (1/254), so no border can be seen; a wider
Gaussian (1/4) would jump by 18 % there, a narrower one would use less of the overlap.  PRUE gives no sigma.
"""


def gaussian(window: int) -> np.ndarray:
    """Return the (window,) float64 profile: symmetric, positive everywhere, 3.4e-4 of its maximum at the edges.

    Examples
    --------
    >>> bool(gaussian(256).min() > 0)
    True
    """
    offset = np.arange(window) + 0.5 - window / 2
    return np.exp(-0.5 * (offset / (window * SIGMA)) ** 2)


@dataclass(frozen=True)
class LatticeWeights:
    """The weight of every window of a lattice at every one of its pixels.

    Weights are separable and normalised along each axis over *all* windows of the lattice, so they are a partition of unity that knows
    nothing of blocks: summing ``weight * score`` in lattice order is the blended score, with no division at the end.
    """

    lattice: Lattice

    def of(self, row: int, column: int) -> np.ndarray:
        """Return the (y, x) float32 weights of the window at a lattice position, cut to the grid."""
        return self._axes[0][row][:, None] * self._axes[1][column]

    @cached_property
    def _axes(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        lattice = self.lattice
        rows, columns = (_shares(starts, lattice.window, size) for starts, size in zip(lattice.starts, lattice.shape, strict=True))
        return rows, columns


def _shares(starts: tuple[int, ...], window: int, size: int) -> list[np.ndarray]:
    """Share of each window along one axis: float32 arrays of ``window`` values, fewer where the axis is shorter."""
    profile = gaussian(window)[: min(window, size)]
    total = np.zeros(size)
    for start in starts:
        total[start : start + window] += profile
    return [(profile / total[start : start + window]).astype(np.float32) for start in starts]
