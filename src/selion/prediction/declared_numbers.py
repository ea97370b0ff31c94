"""What a file itself says of its numbers: GDAL's scale and offset of each band."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from selion.grid import Roi
from selion.prediction.look_sample import sample_of
from selion.prediction.number_kinds import TENTHOUSAND
from selion.raster import (
    DOUBT,
    OFFSETS,
    RECOGNISED,
    SCALES,
    STATED,
    DerivedSource,
    Raster,
    Source,
    converted_nodatas,
    nodatas_of,
)

LAND = (100.0, 16_000.0)
"""Between these, in digital numbers, lies the 99th percentile of a band, or of all, of land."""


@dataclass(frozen=True, eq=False)
class Declared(DerivedSource):
    """A source in digital numbers by its own scale and offset; (band, y, x) float32."""

    gains: tuple[float, ...] = ()
    shifts: tuple[float, ...] = ()
    """Of each band: digital number = number * gain + shift."""
    fillers: tuple[float, ...] = ()
    """Numbers that stand for nothing where all bands have them."""
    sentence: str = ""

    @property
    def dtype(self) -> np.dtype:
        """float32."""
        return np.dtype(np.float32)

    @property
    def tags(self) -> Mapping[str, str]:
        """Those of the source without what was applied, and what was done.

        Where an offset was said none is sought in the values.
        """
        told = {STATED: ",".join(self.bands)} if any(self.shifts) else {}
        return _without(self.source.tags) | {RECOGNISED: self.sentence} | told

    @property
    def nodatas(self) -> tuple[float | None, ...]:
        """The source's, as they are here."""
        return converted_nodatas(nodatas_of(self.source), self.gains, self.shifts)

    def read(self, roi: Roi) -> Raster:
        """Read a region."""
        part = self.source.read(roi)
        valid = part.valid
        for filler in self.fillers:
            empty = (part.values == filler).all(0)
            if empty.any():
                valid = ~empty if valid is None else valid & ~empty
        gains, shifts = (
            np.array(some, np.float32)[:, None, None] for some in (self.gains, self.shifts)
        )
        values = part.values.astype(np.float32) * gains + shifts
        return Raster(values, part.grid, part.bands, valid, self.tags)


@dataclass(frozen=True, eq=False)
class LeftAside(DerivedSource):
    """A source whose own scale and offset cannot be meant: its values decide."""

    doubt: str = ""

    @property
    def tags(self) -> Mapping[str, str]:
        """Those of the source without these two, and a doubt."""
        return _without(self.source.tags) | {DOUBT: self.doubt}

    @property
    def nodatas(self) -> tuple[float | None, ...]:
        """The source's."""
        return nodatas_of(self.source)

    def read(self, roi: Roi) -> Raster:
        """Read a region."""
        return self.source.read(roi)


def _without(tags: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in tags.items() if key not in (SCALES, OFFSETS)}


def as_declared(source: Source) -> Source:
    """Return a source whose numbers are as its file's scale and offset say: reflectance x 10000.

    Parameters
    ----------
    source : Source
        With the tags :data:`selion.raster.SCALES` and ``OFFSETS``; reflectance is number * scale +
        offset, as GDAL and STAC define them.

    Returns
    -------
    Source
        The same where nothing is said, where numbers are bytes or digital numbers already, and,
        with a doubt, where land does not have such reflectances: then its values decide.  What
        stands for nothing stays missing, and so does a 0 where there is an offset.
    """
    gains, shifts = ([TENTHOUSAND * one for one in some] for some in _said(source))
    if source.dtype == np.uint8 or all(
        np.isclose(gain, 1) and not shift for gain, shift in zip(gains, shifts, strict=True)
    ):
        return source
    seen = sample_of(source)
    sample, fillers = seen.values, seen.fillers
    if any(shifts) and source.dtype.kind == "u":
        fillers = tuple(dict.fromkeys((*fillers, 0.0)))
        sample = sample[:, ~(sample == 0).all(0)]
    if sample.size == 0:
        return source
    seen = sample * np.array(gains)[:, None] + np.array(shifts)[:, None]
    top = float(np.percentile(seen, 99))
    told = _told(gains, shifts)
    if not LAND[0] <= top <= LAND[1]:
        doubt = (
            f"By its file's own {told} the image's numbers would be reflectances up to "
            f"{top / TENTHOUSAND:.3g}, which land does not have: they are left aside, and the "
            "values decide."
        )
        return LeftAside(source, doubt)
    sentence = (
        f"The file's own {told} were applied: its numbers became digital numbers (10000 is a "
        "reflectance of 1)."
    )
    return Declared(source, tuple(gains), tuple(shifts), fillers, sentence)


def _said(source: Source) -> tuple[list[float], list[float]]:
    """Return scale and offset of each band; 1e-4 and 0, of digital numbers, where none is said."""
    count = len(source.bands)
    if SCALES not in source.tags:
        return [1 / TENTHOUSAND] * count, [0.0] * count
    scales, offsets = (
        [float(one) for one in source.tags[tag].split(",")] for tag in (SCALES, OFFSETS)
    )
    return scales, offsets


def _told(gains: list[float], shifts: list[float]) -> str:
    scales, offsets = (
        ", ".join(f"{one / TENTHOUSAND:.6g}" for one in dict.fromkeys(some))
        for some in (gains, shifts)
    )
    return f"scale of {scales} and offset of {offsets}" if any(shifts) else f"scale of {scales}"
