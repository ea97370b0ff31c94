"""How overlapping windows become one surface: weights that sum to one at every pixel."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from selion.grid import Lattice, Roi

WIDEST, NARROWEST = 1 / 8, 1 / 16
"""Standard deviations of the Gaussian as shares of the window."""
LEAST = 1e-3
"""The least weight of a Hann window."""


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


def hann(window: int) -> np.ndarray:
    """Return the (window, window) float64 product of two symmetric Hann windows, at least 0.001.

    A symmetric Hann window is 0 at both ends; without the least weight a pixel in the outermost row
    of an image would be seen by no window.

    References
    ----------
    The second edition of the global field boundaries of Fields of The World blends so.

    Examples
    --------
    >>> hann(5).round(3)[2].tolist()
    [0.001, 0.5, 1.0, 0.5, 0.001]
    """
    profile = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / max(window - 1, 1))
    return np.maximum(np.outer(profile, profile), LEAST)


@dataclass(frozen=True)
class LatticeWeights:
    """The weight of every window of a lattice at every one of its pixels.

    Weights are normalised over *all* windows of the lattice, so they are a partition of unity that
    knows nothing of blocks: summing ``weight * score`` in lattice order is the blended score, with
    no division at the end.  Gaussian weights are separable, and normalised along each axis; Hann
    weights are not, because of their least weight, and are normalised over the windows that touch.
    """

    lattice: Lattice
    blend: str = "gaussian"
    """``gaussian`` or ``hann``."""

    def of(self, row: int, column: int) -> np.ndarray:
        """Return the (y, x) float32 weights of the window at a lattice position.

        They are cut to the grid.
        """
        if self.blend == "hann":
            return self._hann_of(row, column)
        total: np.ndarray = self._axes[0][row][:, None] * self._axes[1][column]
        return total

    def _hann_of(self, row: int, column: int) -> np.ndarray:
        """Share of a window in the sum over itself and its neighbours.

        Most windows have neighbours at the same distances, and so the same shares.
        """
        key = self._neighbours(0, row), self._neighbours(1, column)
        if key not in self._shares_kept:
            profile = hann(self.lattice.window)
            total = np.zeros_like(profile)
            for down in key[0]:
                for right in key[1]:
                    here, there = _common(down, right, len(profile))
                    total[here] += profile[there]
            # written whole, in one step: threads that make it at once make the same
            self._shares_kept[key] = (profile / total).astype(np.float32)
        height, width = (min(len(self._shares_kept[key]), size) for size in self.lattice.shape)
        return self._shares_kept[key][:height, :width]

    def _neighbours(self, axis: int, position: int) -> tuple[int, ...]:
        """Distances, in pixels, to the windows along an axis that share a pixel with this one."""
        starts = self.lattice.starts[axis]
        distances = (start - starts[position] for start in starts)
        return tuple(d for d in distances if abs(d) < self.lattice.window)

    @cached_property
    def _shares_kept(self) -> dict[tuple[tuple[int, ...], tuple[int, ...]], np.ndarray]:
        """Shares by the distances of neighbours: at most some dozens, whatever the grid."""
        return {}

    @cached_property
    def _axes(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        lattice = self.lattice
        profile = gaussian(lattice.window, spread(lattice.overlap))
        rows, columns = (
            _shares(starts, profile, size)
            for starts, size in zip(lattice.starts, lattice.shape, strict=True)
        )
        return rows, columns


def _common(down: int, right: int, window: int) -> tuple[Roi, Roi]:
    """Return the pixels that a window shares with one at a distance, as either counts them."""
    here = tuple(slice(max(d, 0), min(window + d, window)) for d in (down, right))
    there = tuple(slice(max(-d, 0), min(window - d, window)) for d in (down, right))
    return (here[0], here[1]), (there[0], there[1])


def _shares(starts: tuple[int, ...], profile: np.ndarray, size: int) -> list[np.ndarray]:
    """Share of each window along one axis.

    float32 arrays as long as the profile, shorter where the axis is.
    """
    window, profile = len(profile), profile[:size]
    total = np.zeros(size)
    for start in starts:
        total[start : start + window] += profile
    return [(profile / total[start : start + window]).astype(np.float32) for start in starts]
