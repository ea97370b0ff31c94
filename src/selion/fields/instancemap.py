"""Objects of a raster of any size: found block by block, ids in a file, memory of a few blocks."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from odc.geo.geobox import GeoBox

from selion.classes import ClassScheme
from selion.errors import BadInput, OutputFailed, UnreadableFile
from selion.fields.instances import InstanceInput, InstanceOptions, conclude, cut, prepare
from selion.fields.memory import give_back
from selion.fields.polygonise import Run
from selion.fields.seams import BasinBlock
from selion.grid import Roi, pad_roi, tiles
from selion.labels import Instances
from selion.raster import Source


@dataclass(frozen=True, eq=False)
class InstanceMap:
    """Object ids on disk and a row per object; it is read like :class:`selion.labels.Instances`."""

    path: Path
    """(y, x) int32 ``.npy`` file; 0 is no object."""
    grid: GeoBox
    table: pd.DataFrame
    """``id``, ``class``, ``score``, ``pixels``, ``area`` (m2; px2 for a photograph)."""

    def read(self, roi: Roi) -> Instances:
        """Read a region; the table stays whole."""
        ids = np.load(self.path, mmap_mode="r")
        return Instances(np.array(ids[roi]), self.grid[roi], self.table)


def map_instances(
    probs: Source,
    classes: ClassScheme,
    workspace: str | os.PathLike[str],
    method: str = "watershed",
    options: InstanceOptions | None = None,
    *,
    block: int = 2048,
    run: Run = map,
) -> InstanceMap:
    """Find the objects in a probability map of any size.

    Parameters
    ----------
    probs : Source
        (class, y, x) probabilities, as for :func:`selion.fields.find_instances`.
    classes, method, options
        As there.
    workspace : path
        A folder, made if need be, that gets ``ids.npy``, ``objects.parquet`` and
        ``instances.json``; what it held under these names is replaced.
    block : int
        Edge of a block in pixels.  It decides about memory and speed, never about the result.
    run : callable
        ``map`` or an executor's ``map``: blocks are independent.

    Returns
    -------
    InstanceMap
        The same ids and table, to the last bit, as :func:`selion.fields.find_instances` on the
        whole.

    Raises
    ------
    UnknownName, BandMismatch, BadInput
        As there.
    OutputFailed
        If the workspace cannot be written, or has no room for the ids (4 bytes per pixel).

    Notes
    -----
    Two passes over the blocks: the first cuts each into basins, numbered block by block, the second
    replaces these numbers by ids.  What is in between needs one row per basin and per pass between
    two.
    """
    options = options or InstanceOptions()
    if block < 64:
        message = f"Blocks of {block} px were asked for; wanted are 64 px or more."
        raise BadInput(message)
    give_back()  # what the network left
    scene = prepare(probs.grid, classes, method, options)
    folder = Path(workspace)
    path = make_ids(folder, scene.shape)
    blocks = list(run(partial(_cut_block, probs, scene, path), tiles(scene.shape, block)))
    _rest(probs)
    sizes = [(one.roi, len(one.basins)) for one in blocks]
    lut, table = conclude(blocks, scene, classes, method, options)
    give_back()
    starts = np.cumsum([1, *(count for _, count in sizes)])
    jobs = [
        (roi, np.concatenate([lut[:1], lut[start : start + count]]))
        for (roi, count), start in zip(sizes, starts, strict=False)
    ]
    renumber_blocks(path, jobs)
    save_table(folder, probs.grid, table)
    del jobs, lut
    give_back()
    return InstanceMap(path, probs.grid, table)


def _rest(probs: Source) -> None:
    """Let a source go of what it keeps in memory, if it says that it can."""
    rest = getattr(probs, "rest", None)
    if rest is not None:
        rest()
    give_back()


def make_ids(folder: Path, shape: tuple[int, int]) -> Path:
    """Make the file of ids, its room on the disk taken at once.

    A mapped file that meets a full disk later would kill the process.
    """
    path = folder / "ids.npy"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "instances.json").unlink(missing_ok=True)
        np.lib.format.open_memmap(path, "w+", np.int32, shape).flush()
        if hasattr(os, "posix_fallocate"):
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    except OSError as error:
        if path.is_file():
            path.unlink()
        wanted = max(1, round(4e-6 * shape[0] * shape[1]))
        message = (
            f"The ids of {shape[0]} x {shape[1]} px cannot be kept in {folder} ({error.strerror}): "
            f"give a workspace with {wanted:,} MB."
        )
        raise OutputFailed(message) from error
    return path


def _cut_block(probs: Source, scene: InstanceInput, path: Path, roi: Roi) -> BasinBlock:
    frame = pad_roi(roi, scene.halo, scene.shape)
    labels, block = cut(probs.read(frame), roi, scene, frame)
    np.load(path, mmap_mode="r+")[roi] = labels
    return block


def renumber_blocks(path: Path, jobs: list[tuple[Roi, np.ndarray]]) -> None:
    """Replace the numbers of each region by those of its table: (region, (n,) int32).

    In threads of this process, whoever does the other blocks: a worker that died in the middle
    would leave a region half replaced, and it cannot be done twice.
    """
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
        for _ in pool.map(partial(_number_block, path), jobs):
            pass


def _number_block(path: Path, job: tuple[Roi, np.ndarray]) -> None:
    roi, lut = job
    ids = np.load(path, mmap_mode="r+")
    ids[roi] = lut[ids[roi]]


def save_table(folder: Path, grid: GeoBox, table: pd.DataFrame) -> None:
    """Write the table beside the ids, and last the file that says that both are whole."""
    table.to_parquet(folder / "objects.parquet", index=False)
    place: dict[str, Any] = {
        "shape": [int(v) for v in grid.shape],
        "transform": [float(v) for v in grid.transform[:6]],
        "crs": grid.crs and grid.crs.to_wkt(),
    }
    half = folder / ".instances.json"
    half.write_text(json.dumps(place))
    half.replace(folder / "instances.json")  # last, and at once: it says that the rest is whole


def open_instances(workspace: str | os.PathLike[str]) -> InstanceMap:
    """Open what :func:`map_instances` left in a folder.

    Raises
    ------
    UnreadableFile
        If it is not there or not finished.
    """
    from affine import Affine

    folder = Path(workspace)
    try:
        place = json.loads((folder / "instances.json").read_text())
        grid = GeoBox(tuple(place["shape"]), Affine(*place["transform"]), place["crs"])
        return InstanceMap(folder / "ids.npy", grid, pd.read_parquet(folder / "objects.parquet"))
    except (OSError, ValueError, KeyError) as error:
        message = f"{folder} holds no finished map of objects: run map_instances on it again."
        raise UnreadableFile(message) from error
