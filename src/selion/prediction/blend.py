"""How overlapping windows become one surface: Gaussian weights that sum to one at every pixel."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from selion.grid import Lattice

WIDEST, NARROWEST = 1 / 8, 1 / 16
"""Standard deviations of the Gaussian as shares of the window."""


def spread(overlap: float) -> float:
    """Return the standard deviation of the Gaussian, as a share of the window.

    It is for windows that share ``overlap`` with their neighbour.

    With an overlap ``o`` a pixel at the very border of a window gets the share
    ``1 / (1 + exp((o - o**2) / (2 * sigma**2)))`` of its score from that window.  The sigma for
    which that is 0.25 %, less than one step of the uint8 scores (1/254), is
    ``sqrt((o - o**2) / 12)``: 1/8 at the default overlap of 0.25, less where windows share less.
    So no border can be seen, down to an overlap of a tenth.  More than 1/8 would give the margins
    of windows, where a network sees least, more weight than need be (and 1/4 at an overlap of 0.25
    would jump by 18 %).  PRUE gives no sigma.

    Examples
    --------
    >>> [round(spread(o), 4) for o in (0.5, 0.25, 0.125, 0.0)]
    [0.125, 0.125, 0.0955, 0.0625]
    """
    return float(min(WIDEST, max(NARROWEST, np.sqrt((overlap - overlap**2) / 12))))


def gaussian(window: int, sigma: float = WIDEST) -> np.ndarray:
    """Return the (window,) float64 profile: symmetric and positive everywhere.

    With the widest sigma 3.4e-4 of its maximum at the edges.

    Examples
    --------
    >>> bool(gaussian(256).min() > 0)
    True
    """
    offset = np.arange(window) + 0.5 - window / 2
    weights: np.ndarray = np.exp(-0.5 * (offset / (window * sigma)) ** 2)
    return weights


@dataclass(frozen=True)
class LatticeWeights:
    """The weight of every window of a lattice at every one of its pixels.

    Weights are separable and normalised along each axis over *all* windows of the lattice, so they
    are a partition of unity that knows nothing of blocks: summing ``weight * score`` in lattice
    order is the blended score, with no division at the end.
    """

    lattice: Lattice

    def of(self, row: int, column: int) -> np.ndarray:
        """Return the (y, x) float32 weights of the window at a lattice position.

        They are cut to the grid.
        """
        total: np.ndarray = self._axes[0][row][:, None] * self._axes[1][column]
        return total

    @cached_property
    def _axes(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        lattice = self.lattice
        profile = gaussian(lattice.window, spread(lattice.overlap))
        rows, columns = (
            _shares(starts, profile, size)
            for starts, size in zip(lattice.starts, lattice.shape, strict=True)
        )
        return rows, columns


def _shares(starts: tuple[int, ...], profile: np.ndarray, size: int) -> list[np.ndarray]:
    """Share of each window along one axis.

    float32 arrays as long as the profile, shorter where the axis is.
    """
    window, profile = len(profile), profile[:size]
    total = np.zeros(size)
    for start in starts:
        total[start : start + window] += profile
    return [(profile / total[start : start + window]).astype(np.float32) for start in starts]
