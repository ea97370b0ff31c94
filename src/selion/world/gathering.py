"""Published probabilities brought here block by block, each once, kept until the map is made."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox

from selion.grid import Roi, inside, overlap, roi_shape, whole
from selion.pipeline.probabilities import RunReport, list_failed
from selion.prediction import BlockJournal, FailedBlock
from selion.prediction.scores import published_scores
from selion.progress import OnStep
from selion.raster import Raster, Source
from selion.runners import Done, Runner, Serial
from selion.store.cache import LruCache
from selion.world.probabilities import PublishedScores

BLOCK = 1024
"""Edge in pixels of what is read at once."""
READERS = 6
"""Blocks that this process waits for at once: most of the time goes to the network."""
HELD = 64 * 2**20
"""Bytes of blocks that are kept in memory."""
PLANES = 3
"""Of a block: field, boundary, and 1 where a tile was published."""


@dataclass(frozen=True, eq=False)
class BlockReading:
    """Bring one block here; what a worker is given."""

    scores: PublishedScores
    journal: BlockJournal

    def __call__(self, roi: Roi) -> None:
        """Read it and keep it, if it is not here yet."""
        shape = (PLANES, *roi_shape(roi))
        if self.journal.local and self.journal.has(roi, shape):
            return
        stored, valid = self.scores.stored(roi)
        self.journal.save(roi, np.concatenate([stored, valid[None].astype(np.uint8)]))


@dataclass(frozen=True, eq=False)
class GatheredScores:
    """The probabilities of :class:`PublishedScores`, out of blocks that are here; picklable."""

    scores: PublishedScores
    journal: BlockJournal
    holes: frozenset[tuple[int, int]] = frozenset()
    """First row and column of blocks that could not be read: they are no data."""
    _blocks: LruCache[tuple[int, int], np.ndarray] = field(
        default_factory=lambda: LruCache(HELD, size=lambda block: block.nbytes), repr=False
    )

    @property
    def grid(self) -> GeoBox:
        """As of the probabilities."""
        return self.scores.grid

    @property
    def bands(self) -> tuple[str, ...]:
        """As of the probabilities."""
        return self.scores.bands

    @property
    def dtype(self) -> np.dtype:
        """Always float32."""
        return self.scores.dtype

    @property
    def tags(self) -> Mapping[str, str]:
        """As of the probabilities."""
        return self.scores.tags

    def read(self, roi: Roi) -> Raster:
        """Put a region together from its blocks; far from the area it is no data."""
        planes = np.zeros((PLANES, *roi_shape(roi)), np.uint8)
        for block in blocks_at(self.scores, roi):
            common = overlap(roi, block)
            if common is not None and (block[0].start, block[1].start) in self._near:
                part = self._blocks.get(
                    (block[0].start, block[1].start), partial(self._load, block)
                )
                planes[:, *inside(common, roi)] = part[:, *inside(common, block)]
        return Raster(
            published_scores(planes[:2]), self.grid[roi], self.bands, planes[2] > 0, self.tags
        )

    def unread(self, roi: Roi) -> np.ndarray:
        """Return which pixels of a region lie in blocks that could not be read, (y, x) bool."""
        found = np.zeros(roi_shape(roi), bool)
        for block in blocks_at(self.scores, roi) if self.holes else ():
            common = overlap(roi, block)
            if common is not None and (block[0].start, block[1].start) in self.holes:
                found[inside(common, roi)] = True
        return found

    @cached_property
    def _near(self) -> frozenset[tuple[int, int]]:
        """First row and column of the blocks that are near the area."""
        rois = near_area(self.scores, blocks_at(self.scores, whole(self.grid)))
        return frozenset((rows.start, columns.start) for rows, columns in rois)

    def _load(self, block: Roi) -> np.ndarray:
        shape = (PLANES, *roi_shape(block))
        if (block[0].start, block[1].start) in self.holes:
            return np.zeros(shape, np.uint8)
        stored = self.journal.load(block, shape)
        if stored is not None:
            return stored
        BlockReading(self.scores, self.journal)(block)  # somebody tidied up
        again = self.journal.load(block, shape)
        return np.zeros(shape, np.uint8) if again is None else again

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_blocks"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        blocks: LruCache[Any, np.ndarray] = LruCache(HELD, size=lambda block: block.nbytes)
        self.__dict__.update(state, _blocks=blocks)


def blocks_at(scores: PublishedScores, roi: Roi) -> list[Roi]:
    """Return the blocks that a region of the grid touches.

    Their edges are those of a tile's own blocks, where its pixels are the grid's, so that none of
    these is read twice.
    """
    height, width = scores.grid.shape
    spans = [
        [
            slice(max(start, 0), min(start + BLOCK, size))
            for start in range((part.start + at) // BLOCK * BLOCK - at, part.stop, BLOCK)
        ]
        for part, at, size in zip(roi, _begin(scores), (height, width), strict=True)
    ]
    return [(rows, columns) for rows in spans[0] for columns in spans[1]]


def _begin(scores: PublishedScores) -> tuple[int, int]:
    """Return the row and column, in blocks, of the grid's first pixel in the largest tile."""
    shares = [
        (roi_area(at.bounds), at.shift)
        for at in scores.mosaic.placements
        if at.shift is not None and at.bounds is not None
    ]
    if not shares:
        return 0, 0
    _, (down, across) = max(shares)
    return down % BLOCK, across % BLOCK


def roi_area(roi: Roi) -> int:
    """Return the pixels of a region."""
    height, width = roi_shape(roi)
    return height * width


def gather(
    scores: PublishedScores,
    journal: BlockJournal,
    runner: Runner,
    report: RunReport,
    on_step: OnStep,
) -> GatheredScores:
    """Bring all blocks here that are not here yet.

    Blocks that cannot be read, three times, are noted in ``report`` and read as no data.

    Raises
    ------
    SelionError
        If nothing can be kept.
    """
    rois = near_area(scores, blocks_at(scores, whole(scores.grid)))
    here = journal.finished(lambda roi: (PLANES, *roi_shape(roi)), rois)
    wanted = [roi for roi, there in zip(rois, here, strict=True) if not there]
    failed: list[FailedBlock] = []
    on_step("read", len(rois) - len(wanted), len(rois), "")
    for number, done in enumerate(
        _done(BlockReading(scores, journal), wanted, runner), len(rois) - len(wanted) + 1
    ):
        if done.error is not None:
            failed.append(FailedBlock(done.block, str(done.error), done.tries))
        on_step("read", number, len(rois), "")
    report.failed += list_failed(failed, scores.grid)
    holes = frozenset((one.roi[0].start, one.roi[1].start) for one in failed)
    return GatheredScores(scores, journal, holes)


def near_area(scores: PublishedScores, rois: list[Roi]) -> list[Roi]:
    """Return the blocks that touch the area, or lie within a block of it.

    The others are not read: between parts of an area that lie apart there may be a continent.
    """
    import shapely

    parts = shapely.STRtree(scores.area.on(scores.grid))
    pixel = abs(scores.grid.transform.a)
    boxes = [scores.grid[roi].boundingbox.bbox for roi in rois]
    drawn = shapely.box(*np.array(boxes, np.float64).reshape(-1, 4).T)
    near = np.unique(parts.query(drawn, predicate="dwithin", distance=BLOCK * pixel)[0])
    return [rois[k] for k in near.tolist()]


def _done(work: BlockReading, rois: list[Roi], runner: Runner) -> Iterator[Done]:
    """Do blocks with a runner; in this process several wait for the network at once."""
    if runner.place != "here":
        yield from runner(work, rois)
        return
    stop = threading.Event()

    def one(roi: Roi) -> Done | None:
        return None if stop.is_set() else next(iter(Serial()(work, [roi])))

    with ThreadPoolExecutor(READERS) as pool:
        try:
            yield from (done for done in pool.map(one, rois) if done is not None)
        finally:
            stop.set()


_: type[Source] = GatheredScores
