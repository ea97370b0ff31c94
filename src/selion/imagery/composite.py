"""The cloud-free image of one tile in one season.

The median of what the chosen scenes show, block by block.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from selion.cores import usable_cores
from selion.errors import FetchFailed, NoScenes, OutputFailed
from selion.grid import Roi, overlap
from selion.imagery.clouds import parse_excluded
from selion.imagery.composite_blocks import CompositeBlock, CompositeBlocks
from selion.imagery.pipeline import Broken, Pipeline, ReadPiece
from selion.imagery.provenance import composite_tags
from selion.imagery.scene import TilePlan
from selion.imagery.signing import Signer
from selion.imagery.views import ClearRule, OpenBand, SceneView
from selion.progress import OnStep, silent

log = logging.getLogger(__name__)
WAITING = 12
"""Readers of what comes over a network: most of them wait."""
STACKS = 96 * 2**20
"""Bytes for stacks of pixels: 48 scenes' worth of blocks, so two stacks of 20 scenes, or five of
10."""
COUNT = "count"
"""Name of the band that holds the number of views."""
BLOCK = 1024
"""Pixels of the tile's lattice of blocks: the tiles of the archives' files lie on it, so that each
is decoded once."""
CELL = 2 * BLOCK
"""Pixels of the tile for which the scene classification is read at once: one tile of its file,
which has 20 m pixels."""
TILE = 1024
"""Edge of the written file's tiles in pixels."""
METHOD = 1
"""Number of the way in which pixels are made; blocks of another number are not taken up again."""


@dataclass(frozen=True, slots=True)
class ComposeOptions:
    """How a composite is made; nothing here but ``margin`` decides a pixel."""

    readers: int | None = None
    """Threads that read; each scene belongs to one of them.  None: the processor's number for
    files, :data:`WAITING` for servers."""
    ahead: int | None = None
    """Stacks (one band of one block, 2 MB per scene) that are read while another one is computed.
    None: none for files, for decoding them keeps the processor busy; what fits in :data:`STACKS`
    bytes, but one at least, for servers."""
    margin: float = 0.0
    """Metres around cloud and shadow that are not used."""
    force: bool = False
    """Whether an existing file is replaced."""
    folder: Path | None = None
    """Where finished blocks are kept until the composite is whole; a hidden folder beside it by
    default."""


def compose(
    plan: TilePlan,
    path: str | os.PathLike[str],
    *,
    signers: Mapping[str, Signer],
    excluded: Collection[int] | None = None,
    options: ComposeOptions | None = None,
    on_step: OnStep = silent,
    open_band: OpenBand | None = None,
) -> Path:
    """Make the composite of one tile in one season.

    Parameters
    ----------
    plan : TilePlan
        The part of the tile, the scenes and their radiometry.
    path : str or path
        Cloud-optimised GeoTIFF to write: the sensor's bands (red, green, blue, nir; reflectance x
        10000) and count (views), uint16; 0 = never seen.
    signers : mapping of str to Signer
        By provider.
    excluded : collection of int
        Classes of the mask that are not used; None: the sensor's default.
    options : ComposeOptions, optional
    on_step : callable, optional
        Told after each block.
    open_band : callable, optional
        ``(scene, band) -> Source`` in place of :func:`selion.imagery.reading.open_band` with the
        signers.

    Returns
    -------
    Path
        ``path``; its tags say where it comes from
        (:func:`selion.imagery.provenance.read_provenance`).

    Raises
    ------
    NoScenes
        If the plan has no scenes.
    FetchFailed
        If the servers of more than half of the scenes do not answer, or no scene is left.  Finished
        blocks are kept.
    OutputExists, OutputFailed
        If the output must not, or cannot, be written.  Finished blocks are kept where the disk was
        full.

    Notes
    -----
    The bytes depend on plan, classes and margin only: not on the number of threads, on
    interruptions, or on when a scene broke.  A scene of which any needed pixel cannot be read is
    left out for the whole tile, and the blocks in which it took part are made again without it;
    the tags tell of it.  Each band has the median of its own clear views; ``count`` is the smallest
    number of views of its bands, and where it is 0 all bands are 0.
    """
    from selion.store import check_output

    options = options or ComposeOptions()
    path = check_output(path, options.force)
    if not plan.scenes:
        raise NoScenes(
            f"Tile {plan.tile} has no scenes for {plan.season.name} ({plan.season.start} to "
            f"{plan.season.end}): widen the season or the cloud limit."
        )
    mask = plan.sensor.mask
    rule = ClearRule(parse_excluded(excluded, mask), options.margin, mask)
    work = _Work(plan, rule, open_band or _opener(signers), options, on_step)
    kept = CompositeBlocks.open(
        options.folder or path.with_name(f".{path.name}.blocks"),
        work.key,
        len(plan.sensor.bands) + 1,
    )
    while broken := work.make(kept):
        work.exclude(kept, broken)
    _write(work, kept, path)
    kept.remove()
    return path


def _opener(signers: Mapping[str, Signer]) -> OpenBand:
    from selion.imagery.reading import open_band

    return lambda scene, band: open_band(scene, band, signers[scene.provider])


def lattice(roi: Roi, size: int) -> list[Roi]:
    """Return the cells of a lattice over a tile that a part of the tile touches.

    They are cut to the part, in its pixels and row by row.
    """
    top, left = roi[0].start, roi[1].start
    cells = []
    for row in range(top // size, -(-roi[0].stop // size)):
        for column in range(left // size, -(-roi[1].stop // size)):
            cell = slice(row * size, (row + 1) * size), slice(column * size, (column + 1) * size)
            common = overlap(cell, roi)
            if common is not None:
                cells.append(
                    (
                        slice(common[0].start - top, common[0].stop - top),
                        slice(common[1].start - left, common[1].stop - left),
                    )
                )
    return cells


@dataclass(eq=False)
class _Work:
    """What one composite is made of."""

    plan: TilePlan
    rule: ClearRule
    open_band: OpenBand
    options: ComposeOptions
    on_step: OnStep
    cells: list[ReadPiece] = field(init=False)
    blocks: list[Roi] = field(init=False)
    doubted: set[str] = field(default_factory=set)
    """Scenes that were left out because a server did not answer: used again if it turns out that
    none does."""

    def __post_init__(self) -> None:
        blocks = lattice(self.plan.roi, BLOCK)
        self.cells = [
            ReadPiece(cell, tuple(block for block in blocks if overlap(cell, block)))
            for cell in lattice(self.plan.roi, CELL)
        ]
        self.blocks = [block for cell in self.cells for block in cell.blocks]

    @property
    def key(self) -> str:
        """Stands for all that decides a pixel."""
        grid = self.plan.grid
        said: dict[str, object] = {
            "method": METHOD,
            "grid": [list(grid.shape), list(grid.transform[:6]), str(grid.crs)],
            "roi": [self.plan.roi[0].start, self.plan.roi[1].start],
            "rule": [sorted(self.rule.excluded), self.rule.margin],
            "scenes": sorted(
                [s.id, s.provider, sorted(s.hrefs.items()), how.offset, how.scale]
                for s, how in zip(self.plan.scenes, self.plan.radiometry, strict=True)
            ),
        }
        if sensor := self.plan.sensor.key:
            said["sensor"] = sensor
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

    def make(self, kept: CompositeBlocks) -> list[Broken]:
        """Make all blocks that are not there yet; return the scenes that broke, when one did."""
        missing = [
            ReadPiece(piece.cell, tuple(block for block in piece.blocks if not kept.has(block)))
            for piece in self.cells
        ]
        pending = [piece for piece in missing if piece.blocks]
        done = len(self.blocks) - sum(len(piece.blocks) for piece in pending)
        self._told(done)
        with self._pipeline(kept.lost) as pipeline:
            for roi, block in pipeline.blocks(pending):
                kept.save(roi, block)
                done += 1
                self._told(done)
        return pipeline.broken

    def exclude(self, kept: CompositeBlocks, broken: list[Broken]) -> None:
        """Remember the scenes that broke.

        Raises
        ------
        FetchFailed
            If for more than half of those in use the server does not answer: then it is the
            archive, and tomorrow they are all there again.  Or if no scene is left.
        """
        in_use = len(self.plan.scenes) - len(kept.lost)
        silent = sum(one.silent for one in broken)
        last = broken[-1]
        if 2 * silent > in_use or len(broken) == in_use:
            kept.include(self.doubted)
            raise FetchFailed(
                f"{len(broken)} of the {in_use} scenes of tile {self.plan.tile} in "
                f"{self.plan.season.name} cannot be read (the last: {last.why}) Run the same "
                "command again when the archive answers: finished blocks are kept."
            ) from last.error
        for one in broken:
            log.warning("%s cannot be read and is left out: %s", one.scene.id, one.why)
        kept.exclude({one.scene.id: one.why for one in broken})
        self.doubted |= {one.scene.id for one in broken if one.silent}

    def _pipeline(self, lost: Collection[str]) -> Pipeline:
        chosen = [
            (scene, how)
            for scene, how in zip(self.plan.scenes, self.plan.radiometry, strict=True)
            if scene.id not in lost
        ]
        remote = any("://" in href for scene, _ in chosen for href in scene.hrefs.values())
        views = [
            SceneView(scene, how, self.plan.grid, self.rule, self.open_band, keep_open=remote)
            for scene, how in chosen
        ]
        fitting = max(STACKS // (2 * BLOCK * BLOCK * len(views)) - 1, 1) if remote else 0
        readers, ahead = self.options.readers, self.options.ahead
        return Pipeline(
            views,
            tuple(self.plan.sensor.bands),
            (WAITING if remote else usable_cores()) if readers is None else readers,
            min(fitting, len(self.plan.sensor.bands)) if ahead is None else ahead,
        )

    def _told(self, done: int) -> None:
        self.on_step(
            "composite", done, len(self.blocks), f"{self.plan.tile} {self.plan.season.name}"
        )


def _write(work: _Work, kept: CompositeBlocks, path: Path) -> None:
    """Write the kept blocks as one file.

    Raises
    ------
    OutputFailed
        If there is no space left, or a kept block is gone.
    """
    from selion.store import create_cog

    clear, views = _tally(work, kept)
    tags = composite_tags(work.plan, work.rule, kept.lost, clear, views)
    bands = (*work.plan.sensor.bands, COUNT)
    with create_cog(
        path,
        work.plan.grid,
        bands,
        np.uint16,
        nodata=0,
        tags=tags,
        overviews="average",
        block=TILE,
        force=work.options.force,
    ) as sink:
        for number, roi in enumerate(work.blocks):
            sink.write(roi, _kept_block(kept, roi).values)
            work.on_step("file", number + 1, len(work.blocks), path.name)


def _tally(work: _Work, kept: CompositeBlocks) -> tuple[Counter[str], list[int]]:
    """Return the clear pixels of each scene, and how often pixels were seen.

    The latter is the number of pixels that were seen 0, 1, 2 ... times.
    """
    clear: Counter[str] = Counter()
    views = np.zeros(len(work.plan.scenes) + 1, np.int64)
    for roi in work.blocks:
        block = _kept_block(kept, roi)
        clear.update(block.clear)
        views += np.bincount(block.values[-1].ravel(), minlength=len(views))
    return clear, views.tolist()


def _kept_block(kept: CompositeBlocks, roi: Roi) -> CompositeBlock:
    block = kept.load(roi)
    if block is None:
        raise OutputFailed(
            f"A finished block vanished from {kept.folder} while it was in use: run the same "
            "command again."
        )
    return block
