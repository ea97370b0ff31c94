"""Bands that a model is not shown decide nothing: what they lack is no hole."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from selion.grid import Roi
from selion.raster import DerivedSource, Raster, Source, nodatas_of
from selion.store.valid import valid_pixels


@dataclass(frozen=True)
class ChosenOnly(DerivedSource):
    """A source whose pixels are there where its chosen bands are; itself a source.

    A file says of a pixel that it is not valid where any of its bands has nothing.  Where that is a
    band that nobody looks at, the pixel is there.  What a mask hides though no band says so stays
    hidden.  Bands that are not chosen hold 0.
    """

    chosen: tuple[int, ...] = ()

    def read(self, roi: Roi) -> Raster:
        """Read a region."""
        part = self.source.read(roi)
        if part.valid is None and not np.issubdtype(part.dtype, np.floating):
            return part
        valid = None if part.valid is None else part.valid | self._unseen(part)
        values = np.zeros_like(part.values)
        values[list(self.chosen)] = part.values[list(self.chosen)]
        return Raster(values, part.grid, part.bands, valid, part.tags)

    def _unseen(self, part: Raster) -> np.ndarray:
        """Return where something is missing from bands that are not chosen, and from no other."""
        nodatas, chosen = nodatas_of(self.source), list(dict.fromkeys(self.chosen))
        told = valid_pixels(part.values, part.bands, nodatas)
        if told is None:
            return np.zeros(part.values.shape[1:], bool)
        known = valid_pixels(
            part.values[chosen],
            [part.bands[k] for k in chosen],
            [nodatas[k] for k in chosen],
        )
        return ~told if known is None else ~told & known


_: type[Source] = ChosenOnly
