"""Objects of a raster of any size on disk: a file of ids, a table, a note that both are whole."""

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

from selion.cores import usable_cores
from selion.errors import OutputFailed, UnreadableFile
from selion.grid import Roi
from selion.labels import Instances
from selion.store.npy import open_npy


@dataclass(frozen=True, eq=False)
class InstanceMap:
    """Object ids on disk and a row per object; it is read like :class:`selion.labels.Instances`."""

    path: Path
    """(y, x) int32 ``.npy`` file; 0 is no object."""
    grid: GeoBox
    table: pd.DataFrame
    """``id``, ``class``, ``score``, ``pixels``, ``area`` (m2; px2 for a photograph)."""
    min_area: float = 0.0
    """As that of :class:`selion.labels.Instances`."""

    def read(self, roi: Roi) -> Instances:
        """Read a region; the table stays whole."""
        ids = open_npy(self.path)
        return Instances(np.array(ids[roi]), self.grid[roi], self.table, self.min_area)


def make_ids(
    folder: Path, shape: tuple[int, int], name: str = "ids", dtype: type[np.generic] = np.int32
) -> Path:
    """Make the file of ids, or of another number of each pixel, its room on the disk taken first.

    A mapped file that meets a full disk later would kill the process.
    """
    path = folder / f"{name}.npy"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "instances.json").unlink(missing_ok=True)
        np.lib.format.open_memmap(path, "w+", dtype, shape).flush()
        if hasattr(os, "posix_fallocate"):
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    except OSError as error:
        if path.is_file():
            path.unlink()
        wanted = max(1, round(np.dtype(dtype).itemsize * 1e-6 * shape[0] * shape[1]))
        raise OutputFailed(
            f"The ids of {shape[0]} x {shape[1]} px cannot be kept in {folder} ({error.strerror}): "
            f"give a workspace with {wanted:,} MB."
        ) from error
    return path


def renumber_blocks(path: Path, jobs: list[tuple[Roi, np.ndarray]]) -> None:
    """Replace the numbers of each region by those of its table: (region, (n,) int32).

    In threads of this process, whoever does the other blocks: a worker that died in the middle
    would leave a region half replaced, and it cannot be done twice.
    """
    with ThreadPoolExecutor(min(usable_cores(), 8)) as pool:
        for _ in pool.map(partial(_number_block, path), jobs):
            pass


def _number_block(path: Path, job: tuple[Roi, np.ndarray]) -> None:
    roi, lut = job
    ids = open_npy(path, "r+")
    ids[roi] = lut[ids[roi]]


def save_table(found: InstanceMap) -> None:
    """Write the table beside the ids, and last the file that says that both are whole."""
    folder, grid = found.path.parent, found.grid
    found.table.to_parquet(folder / "objects.parquet", index=False)
    place: dict[str, Any] = {
        "shape": [int(v) for v in grid.shape],
        "transform": [float(v) for v in grid.transform[:6]],
        "crs": grid.crs and grid.crs.to_wkt(),
        "min_area": found.min_area,
    }
    half = folder / ".instances.json"
    half.write_text(json.dumps(place))
    half.replace(folder / "instances.json")  # last, and at once: it says that the rest is whole


def open_instances(workspace: str | os.PathLike[str]) -> InstanceMap:
    """Open the objects that a run left in a folder.

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
        table = pd.read_parquet(folder / "objects.parquet")
        return InstanceMap(folder / "ids.npy", grid, table, float(place.get("min_area", 0)))
    except (OSError, ValueError, KeyError, RecursionError) as error:
        raise UnreadableFile(
            f"{folder} holds no finished map of objects: run map_instances on it again."
        ) from error
