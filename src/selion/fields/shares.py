"""Probabilities in whole numbers."""

from __future__ import annotations

import numpy as np

from selion.errors import BadInput
from selion.grid import Roi
from selion.raster import CountingSource, DerivedSource, Raster, Source

FULL = 65535
"""Probabilities are counted in this many steps, in whole numbers, so that sums do not depend on
their order."""


def shares_of(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities times FULL as uint16, and where they are numbers.

    Raises
    ------
    BadInput
        If the values are not probabilities.
    """
    if values.dtype == np.uint16:
        return values, np.ones(values.shape[1:], bool)
    if values.dtype == np.uint8:
        return values.astype(np.uint16) * np.uint16(257), np.ones(values.shape[1:], bool)
    if values.dtype.kind != "f":
        raise BadInput(
            f"Probabilities came as {values.dtype}; wanted are floats from 0 to 1, uint8 or uint16."
        )
    finite = np.isfinite(values).all(axis=0)
    clean = values if finite.all() else np.where(np.isfinite(values), values, 0)
    if clean.size and (clean.min() < -1e-3 or clean.max() > 1 + 1e-3):
        raise BadInput(
            f"Values from {clean.min():g} to {clean.max():g} were given as probabilities; wanted "
            "are 0 to 1 (is a softmax missing?)."
        )
    return (np.clip(clean, 0, 1) * np.float32(FULL) + np.float32(0.5)).astype(np.uint16), finite


def in_shares(probs: Source) -> Source:
    """Return the source as whole numbers where it has them: :func:`shares_of` then does nothing."""
    return Counted(probs) if isinstance(probs, CountingSource) else probs


class Counted(DerivedSource):
    """Probabilities read as whole numbers from a source that has them."""

    def read(self, roi: Roi) -> Raster:
        """Read a region."""
        assert isinstance(self.source, CountingSource)
        return self.source.read_counts(roi)
