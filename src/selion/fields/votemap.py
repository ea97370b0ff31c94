"""Objects by BoundaryVote: block by block, the same as of the whole raster at once."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from selion.classes import ClassScheme
from selion.fields import seams
from selion.fields.memory import give_back
from selion.fields.polygonise import Run
from selion.fields.shares import in_shares
from selion.fields.vote_options import VoteOptions
from selion.fields.vote_tables import FIRST, SECOND, FilledBlock, decide, settle, table_of
from selion.fields.voting import (
    ALIKE,
    ONE_SHARE,
    FloodedBlock,
    VoteInput,
    flood_block,
    join_regions,
    prepare_vote,
)
from selion.grid import CELL, Roi, roi_shape, tiles, whole
from selion.labels import Instances
from selion.raster import CachingSource, Raster, Source
from selion.store.instancemap import InstanceMap, make_ids, renumber_blocks, save_table
from selion.store.npy import open_npy

Plane = Callable[[str], np.ndarray]
"""The pixels of the whole raster under a name: "ids", "second" (int32), "field" (uint8)."""


@dataclass(frozen=True, eq=False)
class FillJob:
    """What a block needs from its neighbours to say which pixels are objects."""

    roi: Roi
    around: list[tuple[tuple[slice, slice], np.ndarray]]
    """Regions of the two pixels around it, by where they lie in its frame."""
    groups: np.ndarray
    """(n + 1,) int32: of each region of the block, and of those around, the group."""
    fallback: bool


@dataclass(frozen=True, eq=False)
class ArrayPlanes:
    """Pixels in memory, where the raster is one block."""

    arrays: dict[str, np.ndarray]

    def __call__(self, name: str) -> np.ndarray:
        """Return the array."""
        return self.arrays[name]


@dataclass(frozen=True, eq=False)
class FilePlanes:
    """Pixels in files of a workspace."""

    folder: Path

    def __call__(self, name: str) -> np.ndarray:
        """Return the array, mapped."""
        mapped: np.ndarray = open_npy(self.folder / f"{name}.npy", "r+")
        return mapped


def find_by_vote(
    probs: Raster, classes: ClassScheme, options: VoteOptions, min_area: float | None
) -> Instances:
    """Do what :func:`map_by_vote` does for a raster that fits in memory."""
    scene = prepare_vote(probs, classes, options, min_area)
    arrays = {name: np.zeros(scene.shape, np.int32) for name in ("ids", "second")}
    planes = ArrayPlanes(arrays | {"field": np.zeros(scene.shape, np.uint8)})
    ids, table = find_blocks(probs, scene, planes, [whole(probs.grid)], classes, map)
    for roi, lut in ids:
        arrays["ids"][roi] = lut[arrays["ids"][roi]]
    return Instances(arrays["ids"], probs.grid, table, scene.min_area)


def map_by_vote(
    probs: Source,
    classes: ClassScheme,
    workspace: str | os.PathLike[str],
    options: VoteOptions,
    min_area: float | None,
    *,
    block: int = 2048,
    run: Run = map,
) -> InstanceMap:
    """Find objects by BoundaryVote in a raster of any size.

    Parameters, result and files as :func:`selion.fields.map_instances`.

    Notes
    -----
    Each block is flooded in a window that grows until nothing beyond it could change the block, at
    most to its cell of ``core`` pixels and ``halo`` around it.  Regions are named by the first
    pixel of their seed, so tables of lines and of regions join blocks exactly.  The reference keeps
    a field where the cell holds its centroid, which cuts or doubles what is wider than the halo;
    here all cells are one raster, and what touches across a border of cells is one.
    """
    give_back()
    scene = prepare_vote(probs, classes, options, min_area)
    folder = Path(workspace)
    path = make_ids(folder, scene.shape)
    extra = [folder / "field.npy", *([folder / "second.npy"] if len(scene.rules) > 1 else [])]
    try:
        for name in extra:
            make_ids(folder, scene.shape, name.stem, np.uint8 if name == extra[0] else np.int32)
        jobs, table = find_blocks(
            probs, scene, FilePlanes(folder), tiles(scene.shape, block), classes, run
        )
    finally:
        for name in extra:
            name.unlink(missing_ok=True)
    give_back()
    renumber_blocks(path, jobs)
    found = InstanceMap(path, probs.grid, table, scene.min_area)
    save_table(found)
    del jobs
    give_back()
    return found


def find_blocks(
    probs: Source,
    scene: VoteInput,
    planes: Plane,
    rois: list[Roi],
    classes: ClassScheme,
    run: Run,
) -> tuple[list[tuple[Roi, np.ndarray]], pd.DataFrame]:
    """Return what the numbers in "ids" of each block become, and the table of objects."""
    flooded = list(run(partial(_flood, in_shares(probs), scene, planes), rois))
    if isinstance(probs, CachingSource):
        probs.rest()
    give_back()
    jobs = [_fill_jobs([one[k] for one in flooded], scene) for k in range(len(scene.rules))]
    filled = list(run(partial(_fill, scene, planes), list(zip(*jobs, strict=True))))
    del flooded, jobs
    give_back()
    first, second = decide(filled, scene)
    if second is not None:
        starts = [np.cumsum([0, *(len(one.blocks[k].basins) for one in filled)]) for k in (0, 1)]
        work = [
            (roi, first[starts[0][k] : starts[0][k + 1]], second[starts[1][k] : starts[1][k + 1]])
            for k, roi in enumerate(rois)
        ]
        composed = list(run(partial(_compose, scene, planes), work))
        blocks, origins = [one for one, _ in composed], [one for _, one in composed]
    else:
        blocks, origins = [one.blocks[0] for one in filled], []
    del filled
    sizes = [len(one.basins) for one in blocks]
    basins = seams.join(blocks, scene.shape[1])
    owner = np.zeros(len(basins.rows), np.int64)
    owner[basins.pieces] = np.maximum(first if second is None else np.concatenate(origins), 0)
    added = np.flatnonzero(basins.rows[:, seams.KIND] == SECOND)
    owner[added] = owner.max(initial=0) + 1 + np.arange(len(added))
    ids = settle(basins, owner, scene, second is not None)
    pieces = np.concatenate([[0], ids[basins.pieces]]).astype(np.int32)
    ends = np.cumsum([1, *sizes])
    luts = [
        (roi, np.concatenate([pieces[:1], pieces[start : start + size]]))
        for roi, start, size in zip(rois, ends, sizes, strict=False)
    ]
    return luts, table_of(basins, ids, scene, classes)


def _flood(probs: Source, scene: VoteInput, planes: Plane, roi: Roi) -> tuple[FloodedBlock, ...]:
    labels, field, blocks = flood_block(probs, scene, roi)
    planes("field")[roi] = field
    for name, pixels in zip(("ids", "second"), labels, strict=False):
        planes(name)[roi] = pixels
    return blocks


def _fill_jobs(blocks: list[FloodedBlock], scene: VoteInput) -> list[FillJob]:
    """Bring to each block the regions around it, and what all became part of."""
    names, groups, fallback = join_regions(blocks, scene.options)
    where = {(one.roi[0].start, one.roi[1].start): one for one in blocks}
    rows = sorted({one.roi[0].start for one in blocks})
    columns = sorted({one.roi[1].start for one in blocks})
    jobs = []
    for block in blocks:
        i, j = rows.index(block.roi[0].start), columns.index(block.roi[1].start)
        found = []
        for y, x in product((-1, 0, 1), (-1, 0, 1)):
            if (y or x) and 0 <= i + y < len(rows) and 0 <= j + x < len(columns):
                other = where[rows[i + y], columns[j + x]]
                place, labels = _strip(block.roi, other, y, x)
                up = labels > 0
                found.append((place, labels.copy(), up, other.names[labels[up] - 1]))
        seen = np.concatenate([block.names[:0], *(one[3] for one in found)])
        table = np.concatenate([block.names, np.setdiff1d(seen, block.names)])
        order = np.argsort(table)
        around = []
        for place, labels, up, there in found:
            labels[up] = order[np.searchsorted(table, there, sorter=order)] + 1
            around.append((place, labels))
        part = groups[np.searchsorted(names, table)] + 1
        jobs.append(
            FillJob(block.roi, around, np.concatenate([[0], part]).astype(np.int32), fallback)
        )
    return jobs


def _strip(roi: Roi, other: FloodedBlock, y: int, x: int) -> tuple[tuple[slice, slice], np.ndarray]:
    """Return two pixels of a neighbour along a block, and where they lie in the block's frame."""
    height, width = roi_shape(roi)
    top, bottom, left, right = other.strips
    if y:
        part = bottom if y < 0 else top
        if x:
            part = part[:, -2:] if x < 0 else part[:, :2]
    else:
        part = right if x < 0 else left
    if y < 0:
        rows = slice(0, 2)
    elif y > 0:
        rows = slice(height + 2, height + 2 + part.shape[0])
    else:
        rows = slice(2, height + 2)
    if x < 0:
        columns = slice(0, 2)
    elif x > 0:
        columns = slice(width + 2, width + 2 + part.shape[1])
    else:
        columns = slice(2, width + 2)
    return (rows, columns), part


def _fill(scene: VoteInput, planes: Plane, jobs: tuple[FillJob, ...]) -> FilledBlock:
    """Fill the lines of one block, and measure its pieces."""
    from selion.fields.flooding import BARE, fill_lines, tally

    roi = jobs[0].roi
    field, found, numbered = planes("field")[roi], [], []
    for name, job in zip(("ids", "second"), jobs, strict=False):
        frame = np.zeros(tuple(n + 4 for n in roi_shape(roi)), np.int32)
        frame[2:-2, 2:-2] = planes(name)[roi]
        for where, values in job.around:
            frame[where] = values
        kind = fill_lines(frame, job.groups, job.fallback)
        passes = name == "ids" and bool(scene.options.fill_holes_px)
        labels, block = _measure(kind, field, roi, scene, passes=passes)
        planes(name)[roi] = labels
        found.append(block)
        bare = (frame[2:-2, 2:-2] == BARE) & (kind == 0)
        numbered.append(np.where(kind == FIRST, labels, np.where(bare, np.int32(-1), np.int32(0))))
    shared = np.empty((0, 3), np.int64)
    if len(jobs) > 1:
        rows = tally(numbered[1], np.maximum(numbered[0], 0))
        across = len(found[0].basins) + 1
        keys, place = np.unique((rows[:, 0] + 1) * across + rows[:, 1], return_inverse=True)
        pairs = np.column_stack([keys // across - 1, keys % across])
        count = np.bincount(place, rows[:, 2], len(keys)).astype(np.int64)
        shared = np.column_stack([np.where(pairs > 0, pairs - 1, -1), count])
    return FilledBlock(tuple(found), shared)


def _measure(
    kind: np.ndarray, field: np.ndarray, roi: Roi, scene: VoteInput, *, passes: bool
) -> tuple[np.ndarray, seams.BasinBlock]:
    """Give one number to what touches and is of one kind, and measure it."""
    from selion.fields import basins
    from selion.fields.seeding import name_pieces

    flat = np.zeros(kind.shape, np.uint16)
    labels, count = name_pieces(kind)
    shares = (ALIKE.astype(np.float64) * ONE_SHARE).astype(np.uint32)[field]
    top, left = roi[0].start, roi[1].start
    rows = basins.measure(
        labels, count, kind, flat, shares, scene.areas, CELL, top, left, scene.shape
    )
    found = np.empty((0, 5), np.int64)
    lines = np.zeros(kind.shape, bool)
    if passes:
        beside = basins.passes(labels, kind, flat, lines, top, left, scene.shape[1])
        beside[:, :2] -= 1
        found = seams.sum_passes(
            np.column_stack([beside[:, :3], np.ones(len(beside), np.int64), beside[:, 3]])
        )
    return labels, seams.BasinBlock(
        roi, rows, found, seams.rims_of(labels, kind, flat, lines, flat + np.uint16(basins.STAYS))
    )


def _compose(
    scene: VoteInput, planes: Plane, work: tuple[Roi, np.ndarray, np.ndarray]
) -> tuple[seams.BasinBlock, np.ndarray]:
    """Lay the added fields of one block over the others; return pieces, and whose each is."""
    from selion.fields.basins import OUTSIDE

    roi, first, second = work
    own = np.concatenate([[0], first])[planes("ids")[roi]]
    kind = np.where(own > 0, FIRST, np.where(own < 0, OUTSIDE, 0)).astype(np.uint8)
    kind[np.concatenate([[0], second])[planes("second")[roi]] > 0] = SECOND
    labels, block = _measure(kind, planes("field")[roi], roi, scene, passes=True)
    planes("ids")[roi] = labels
    origin = np.zeros(len(block.basins), np.int64)
    mine = kind == FIRST
    origin[labels[mine] - 1] = own[mine]
    return block, origin
