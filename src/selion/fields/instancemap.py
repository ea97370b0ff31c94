"""Objects of a raster of any size: found block by block, with memory for a few blocks."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from selion.classes import ClassScheme
from selion.errors import BadInput
from selion.fields.instances import InstanceInput, InstanceOptions, conclude, cut, prepare
from selion.fields.memory import give_back
from selion.fields.polygonise import Run
from selion.fields.seams import BasinBlock
from selion.fields.shares import in_shares
from selion.grid import Roi, pad_roi, tiles
from selion.raster import CachingSource, Source
from selion.store.instancemap import InstanceMap, make_ids, renumber_blocks, save_table
from selion.store.npy import open_npy


@dataclass(frozen=True, eq=False)
class BlockCutter:
    """Cuts the blocks of a raster into basins; any of them may be cut before the others are known.

    Calls for different blocks may be made from different threads.
    """

    probs: Source
    scene: InstanceInput
    path: Path
    """The ids, of which each block gets its own numbers."""
    block: int
    done: dict[tuple[int, int], BasinBlock] = field(default_factory=dict)
    """First row and column -> what was cut by :meth:`ahead`."""

    @property
    def regions(self) -> list[Roi]:
        """The blocks, row by row."""
        return tiles(self.scene.shape, self.block)

    def frame(self, roi: Roi) -> Roi:
        """Return the region whose probabilities decide about a block."""
        return pad_roi(roi, self.scene.halo, self.scene.shape)

    def ahead(self, roi: Roi) -> None:
        """Cut a block whose frame is known, and keep what came of it."""
        self.done[_corner(roi)] = self._cut(roi)

    def __call__(self, roi: Roi) -> BasinBlock:
        """Return a block's basins, cut now unless that was done ahead."""
        return self.done.pop(_corner(roi), None) or self._cut(roi)

    def _cut(self, roi: Roi) -> BasinBlock:
        frame = self.frame(roi)
        labels, block = cut(self.probs.read(frame), roi, self.scene, frame)
        open_npy(self.path, "r+")[roi] = labels
        return block


def begin_by_class(
    probs: Source,
    classes: ClassScheme,
    workspace: str | os.PathLike[str],
    method: str = "watershed",
    options: InstanceOptions | None = None,
    *,
    block: int = 2048,
) -> BlockCutter:
    """Prepare :func:`map_by_class` of a raster of which only parts are known yet."""
    if block < 64:
        raise BadInput(f"Blocks of {block} px were asked for; wanted are 64 px or more.")
    scene = prepare(probs, classes, method, options or InstanceOptions())
    return BlockCutter(in_shares(probs), scene, make_ids(Path(workspace), scene.shape), block)


def map_by_class(
    probs: Source,
    classes: ClassScheme,
    workspace: str | os.PathLike[str],
    method: str = "watershed",
    options: InstanceOptions | None = None,
    *,
    block: int = 2048,
    run: Run = map,
    begun: BlockCutter | None = None,
) -> InstanceMap:
    """Do what :func:`selion.fields.instances.find_by_class` does for a raster of any size.

    Parameters, result and files as :func:`selion.fields.map_instances`.

    Notes
    -----
    Two passes over the blocks: the first cuts each into basins, numbered block by block, the second
    replaces these numbers by ids.  What is in between needs one row per basin and per pass between
    two.
    """
    options = options or InstanceOptions()
    if method == "vote":
        if block < 64:
            raise BadInput(f"Blocks of {block} px were asked for; wanted are 64 px or more.")
        from selion.fields.votemap import map_by_vote

        vote, least = options.vote, options.min_area
        return map_by_vote(probs, classes, workspace, vote, least, block=block, run=run)
    give_back()  # what the network left
    if begun is None:
        cutter = begin_by_class(probs, classes, workspace, method, options, block=block)
    else:
        cutter = replace(begun, probs=in_shares(probs))
    scene, path = cutter.scene, cutter.path
    blocks = list(run(cutter, cutter.regions))
    if isinstance(probs, CachingSource):
        probs.rest()
    give_back()
    sizes = [(one.roi, len(one.basins)) for one in blocks]
    lut, table = conclude(blocks, scene, classes, method, options)
    give_back()
    starts = np.cumsum([1, *(count for _, count in sizes)])
    jobs = [
        (roi, np.concatenate([lut[:1], lut[start : start + count]]))
        for (roi, count), start in zip(sizes, starts, strict=False)
    ]
    renumber_blocks(path, jobs)
    found = InstanceMap(path, probs.grid, table, scene.min_area)
    save_table(found)
    del jobs, lut
    give_back()
    return found


def _corner(roi: Roi) -> tuple[int, int]:
    return roi[0].start, roi[1].start
