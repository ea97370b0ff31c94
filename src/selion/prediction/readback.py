"""Probabilities read back as a Source.

From the finished blocks of a run, or from a score raster.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np
from odc.geo.geobox import GeoBox

from selion.classes import FTW3
from selion.errors import BadInput
from selion.grid import Roi, inside, overlap, roi_shape
from selion.prediction.journal import BlockJournal
from selion.prediction.planning import PredictionPlan
from selion.prediction.scores import (
    NODATA,
    counts,
    dequantise,
    is_published,
    prediction_tags,
    published_counts,
    published_scores,
)
from selion.raster import DerivedSource, Raster, Source


@dataclass(frozen=True, eq=False)
class JournalSource:
    """Probabilities read from the finished blocks of a prediction.

    The journal is the working raster, nothing is written twice.
    """

    journal: BlockJournal
    plan: PredictionPlan
    holes: frozenset[tuple[int, int]] = field(default_factory=frozenset)
    """First row and column of the blocks that failed: they are read as no data."""
    most: int = 8
    """Blocks that are kept in memory at most: a row of them and two, where that is less."""

    @property
    def grid(self) -> GeoBox:
        """The working grid."""
        return self.plan.grid

    @property
    def bands(self) -> tuple[str, ...]:
        """Class names."""
        return self.plan.classes.names

    @property
    def dtype(self) -> np.dtype:
        """Probabilities are read as float32."""
        return np.dtype(np.float32)

    @cached_property
    def tags(self) -> Mapping[str, str]:
        """Those of the probabilities that :func:`selion.prediction.predict` returns."""
        return prediction_tags(self.plan)

    def read(self, roi: Roi) -> Raster:
        """Put a region together from the blocks that it touches."""
        scores, valid = dequantise(self.stored(roi))
        return Raster(scores, self.grid[roi], self.bands, valid, self.tags)

    def read_counts(self, roi: Roi) -> Raster:
        """Read a region as whole numbers, see :class:`selion.raster.CountingSource`."""
        found, valid = counts(self.stored(roi))
        return Raster(found, self.grid[roi], self.bands, valid, self.tags)

    def stored(self, roi: Roi) -> np.ndarray:
        """Return the (class, y, x) uint8 scores of a region."""
        values = np.empty((len(self.bands), *roi_shape(roi)), np.uint8)
        for number in self.plan.blocks_of(roi):
            block = self.plan.blocks[number]
            common = overlap(roi, block)
            if common:
                values[:, *inside(common, roi)] = self._block(number)[:, *inside(common, block)]
        return values

    def rest(self) -> None:
        """Let go of the blocks that are kept in memory; the next read loads them again."""
        _block_reader.cache_clear()

    @property
    def _block(self) -> Callable[[int], np.ndarray]:
        return _block_reader(self)


@lru_cache(maxsize=2)
def _block_reader(source: JournalSource) -> Callable[[int], np.ndarray]:
    """Keep as many blocks as a row of them and two, and no more than the source says.

    One that a later region's halo needs is loaded again, which takes milliseconds.
    """
    across = -(-source.plan.lattice.shape[1] // source.plan.block)

    @lru_cache(maxsize=min(across + 2, source.most))
    def load(number: int) -> np.ndarray:
        roi = source.plan.blocks[number]
        if (roi[0].start, roi[1].start) in source.holes:
            return np.full((len(source.bands), *roi_shape(roi)), NODATA, np.uint8)
        stored = source.journal.load(roi, (len(source.bands), *roi_shape(roi)))
        if stored is None:
            # broken on an object store: the next run must not take it for finished
            source.journal.drop(roi)
            raise BadInput(
                f"A finished block vanished from {source.journal.folder} while it was in use: run "
                "the same command again."
            )
        return stored

    return load


@dataclass(frozen=True, eq=False)
class ScoreSource(DerivedSource):
    """Probabilities read from a score raster.

    One that ``selion predict`` wrote, or one as Fields of The World publishes it
    (:func:`selion.prediction.scores.is_published`), whose background is what field and boundary
    leave.
    """

    @cached_property
    def published(self) -> bool:
        """Whether it is as Fields of The World publishes."""
        return is_published(self.source)

    @property
    def bands(self) -> tuple[str, ...]:
        """Class names."""
        return FTW3.names if self.published else self.source.bands

    @property
    def dtype(self) -> np.dtype:
        """Probabilities are read as float32."""
        return np.dtype(np.float32)

    def read(self, roi: Roi) -> Raster:
        """Read a region as probabilities."""
        part = self.source.read(roi)
        valid = part.valid
        if self.published:
            scores = published_scores(part.values)
        elif part.values.dtype != np.uint8:
            valid = np.isfinite(part.values).all(0) if valid is None else valid
            scores = np.where(valid, part.values, 0).astype(np.float32)
        else:
            scores, valid = dequantise(part.values)
        return Raster(scores, part.grid, self.bands, valid, self.tags)

    def read_counts(self, roi: Roi) -> Raster:
        """Read a region as whole numbers, see :class:`selion.raster.CountingSource`."""
        part = self.source.read(roi)
        if self.published:
            found, valid = published_counts(part.values), part.valid
        elif part.values.dtype == np.uint8:
            found, valid = counts(part.values)
        else:
            return self.read(roi)
        return Raster(found, part.grid, self.bands, valid, self.tags)


_: type[Source] = JournalSource
