"""Objects of a raster of any size: found block by block, with memory for a few blocks."""

from __future__ import annotations

import os
from functools import partial
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


def map_by_class(
    probs: Source,
    classes: ClassScheme,
    workspace: str | os.PathLike[str],
    method: str = "watershed",
    options: InstanceOptions | None = None,
    *,
    block: int = 2048,
    run: Run = map,
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
    if block < 64:
        raise BadInput(f"Blocks of {block} px were asked for; wanted are 64 px or more.")
    if method == "vote":
        from selion.fields.votemap import map_by_vote

        vote, least = options.vote, options.min_area
        return map_by_vote(probs, classes, workspace, vote, least, block=block, run=run)
    give_back()  # what the network left
    counted = in_shares(probs)
    scene = prepare(probs, classes, method, options)
    folder = Path(workspace)
    path = make_ids(folder, scene.shape)
    blocks = list(run(partial(_cut_block, counted, scene, path), tiles(scene.shape, block)))
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


def _cut_block(probs: Source, scene: InstanceInput, path: Path, roi: Roi) -> BasinBlock:
    frame = pad_roi(roi, scene.halo, scene.shape)
    labels, block = cut(probs.read(frame), roi, scene, frame)
    np.load(path, mmap_mode="r+")[roi] = labels
    return block
