"""An image of one band whose numbers stand for colours, as the colours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from selion.grid import Roi
from selion.raster import NEGATIVE, PALETTE, RECOGNISED, DerivedSource, Raster, Source

COLOURS = ("red", "green", "blue")


@dataclass(frozen=True, eq=False)
class PaletteColours(DerivedSource):
    """(3, y, x) uint8 colours of a source of one band; its tag :data:`PALETTE` has them."""

    @property
    def bands(self) -> tuple[str, ...]:
        """Red, green and blue."""
        return COLOURS

    @property
    def dtype(self) -> np.dtype:
        """Bytes."""
        return np.dtype(np.uint8)

    @property
    def tags(self) -> Mapping[str, str]:
        """Those of the source without the palette, and what was done."""
        said = "The numbers of the image's one band stand for colours (a palette): these are taken."
        kept = {key: value for key, value in self.source.tags.items() if key != PALETTE}
        return kept | {RECOGNISED: said}

    @cached_property
    def colours(self) -> np.ndarray:
        """(number, 3) uint8."""
        return np.frombuffer(bytes.fromhex(self.source.tags[PALETTE]), np.uint8).reshape(-1, 3)

    def read(self, roi: Roi) -> Raster:
        """Read a region."""
        part = self.source.read(roi)
        numbers = np.clip(part.values[0], 0, len(self.colours) - 1)
        values = np.moveaxis(self.colours[numbers], 2, 0)
        return Raster(np.ascontiguousarray(values), part.grid, COLOURS, part.valid, self.tags)


@dataclass(frozen=True, eq=False)
class TurnedGray(PaletteColours):
    """(1, y, x) uint8 greys of a source whose 0 is white."""

    @property
    def bands(self) -> tuple[str, ...]:
        """One."""
        return self.source.bands

    @property
    def tags(self) -> Mapping[str, str]:
        """Those of the source without the palette, and what was done."""
        said = "The image's 0 is white (min-is-white): it is turned."
        kept = {k: text for k, text in self.source.tags.items() if k not in (PALETTE, NEGATIVE)}
        return kept | {RECOGNISED: said}

    def read(self, roi: Roi) -> Raster:
        """Read a region."""
        part = super().read(roi)
        return Raster(part.values[:1], part.grid, self.bands, part.valid, self.tags)


@dataclass(frozen=True, eq=False)
class TurnedDeepGray(TurnedGray):
    """(1, y, x) uint16 greys of such a source of 16 bits; its tag :data:`NEGATIVE` says black."""

    @property
    def dtype(self) -> np.dtype:
        """That of the source."""
        return self.source.dtype

    def read(self, roi: Roi) -> Raster:
        """Read a region."""
        part = self.source.read(roi)
        black = part.values.dtype.type(int(self.source.tags[NEGATIVE]))
        values = black - np.minimum(part.values, black)
        return Raster(values, part.grid, self.bands, part.valid, self.tags)


def painted(source: Source) -> Source:
    """Return a source in colours where it has a palette, else itself; no negative of gray."""
    if len(source.bands) != 1 or source.dtype.kind != "u":
        return source
    if NEGATIVE in source.tags:
        return TurnedGray(source) if PALETTE in source.tags else TurnedDeepGray(source)
    return PaletteColours(source) if source.tags.get(PALETTE) else source
