"""A cube that survives interruptions.

It grows shard by shard in a hidden folder, and gets its name when it is whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox

from selion.errors import GridMismatch
from selion.grid import Roi, check_north_up, tiles
from selion.store.atomic import (
    PART,
    atomic_folder,
    check_output,
    explained,
    publish_folder,
    replace_bytes,
)
from selion.store.cube import CubeSource, attributes_of, checked_shard, create_array
from selion.store.regions import checked_bands, checked_block, checked_nodata, checked_region
from selion.store.replaced import ZARR

CUBE = "cube.zarr"
MARKS = "finished"
MANIFEST = "growing.json"


class ResumableCube:
    """A sharded Zarr v3 array (band, y, x) in the making.

    Shards are written whole, from any thread, each with a mark that holds the hash of its bytes; a
    shard without its mark, or with other bytes, counts as not there.  A shard of nothing but nodata
    is marked and takes no file.  However often the work was interrupted, the finished cube has the
    same bytes.

    Parameters
    ----------
    path : str or path
        Final name, by which the hidden folder is called.
    grid, bands, dtype, nodata, tags, chunk, shard
        As for :func:`selion.store.create_cube`.
    key : str
        Stands for all that decides the pixels.  What was left by another key, or for another grid,
        is removed.
    folder : path, optional
        Where it grows; by default a hidden folder beside ``path``.  From another disk the finished
        cube has to be copied.

    Raises
    ------
    OutputFailed
        If the folder cannot be written to.
    BadInput, GridMismatch
        If bands, nodata or grid cannot be written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        grid: GeoBox,
        bands: Sequence[str],
        dtype: np.dtype | type | str,
        *,
        key: str,
        nodata: float | None = None,
        tags: Mapping[str, str] | None = None,
        chunk: int = 256,
        shard: int = 2048,
        folder: str | os.PathLike[str] | None = None,
    ) -> None:
        self.path = Path(path).expanduser()
        self.folder = (
            self.path.with_name(f".{self.path.name}.growing") if folder is None else Path(folder)
        )
        self.grid, self.bands, self.dtype = (
            grid,
            checked_bands(grid, bands, str(path)),
            np.dtype(dtype),
        )
        check_north_up(grid, str(path))
        checked_nodata(nodata, self.dtype, str(path))
        checked_shard(chunk, shard, str(path))
        self.shards = tiles((grid.shape[0], grid.shape[1]), shard)
        """Regions to write, row by row."""
        self._shard = shard
        attributes = attributes_of(grid, self.bands, nodata, dict(tags or {}))
        said = json.dumps(
            [key, attributes, str(self.dtype), chunk, shard], sort_keys=True, allow_nan=False
        )
        with explained(self.folder):
            self._array = self._opened(
                hashlib.sha256(said.encode()).hexdigest(),
                attributes,
                0 if nodata is None else nodata,
                chunk,
            )

    def _opened(self, key: str, attributes: dict[str, Any], fill: float, chunk: int) -> Any:
        """Go on with what an earlier run of the same key left, or begin."""
        import zarr

        if self._manifest_key() == key:
            try:
                return zarr.open_array(self.folder / CUBE, mode="r+", zarr_format=3)
            except (OSError, ValueError, KeyError, TypeError):
                pass  # broken: begin again
        self.remove()
        (self.folder / MARKS).mkdir(parents=True)
        array = create_array(
            self.folder / CUBE,
            self.grid,
            self.dtype,
            fill,
            chunk=chunk,
            shard=self._shard,
            attributes=attributes,
        )
        self._write(
            MANIFEST, json.dumps({"what": "shards of an interrupted selion run", "key": key})
        )
        return array

    def _manifest_key(self) -> str:
        try:
            return str(json.loads((self.folder / MANIFEST).read_text("utf-8"))["key"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return ""

    def finished(self, roi: Roi) -> bool:
        """Say whether a shard is there, every byte of it."""
        try:
            mark = (self.folder / self._mark(roi)).read_text("utf-8")
        except (OSError, ValueError):
            return False
        return mark == self._hash(roi)

    def write(self, roi: Roi, values: np.ndarray) -> None:
        """Write the (band, y, x) values of one shard.

        Raises
        ------
        GridMismatch
            If the region is not one of :attr:`shards`.
        BandMismatch, BadInput
            If bands or number type do not fit.
        OutputFailed
            If there is no space left.
        """
        roi = checked_region(roi, self.grid, str(self.path))
        if roi != self._place(roi):
            raise GridMismatch(
                f"Region {roi} is no shard of {self.path}: write the regions in its list of shards."
            )
        with explained(self.folder):
            # a shard at the edge would be read before it is written, and a broken one cannot be
            self._file(roi).unlink(missing_ok=True)
            self._array[:, *roi] = checked_block(
                roi, values, self.bands, self.dtype, str(self.path)
            )
            self._write(self._mark(roi), self._hash(roi))

    def skip(self, roi: Roi) -> None:
        """Mark a shard of nothing but nodata without writing it."""
        with explained(self.folder):
            self._file(roi).unlink(missing_ok=True)
            self._write(self._mark(roi), self._hash(roi))

    def source(self) -> CubeSource:
        """Return what is there so far as a Source."""
        return CubeSource.open(self.folder / CUBE)

    def publish(self, force: bool = False) -> Path:
        """Give the finished cube its name, and remove what was only needed to make it.

        Raises
        ------
        OutputExists, OutputFailed
            If it may not, or cannot, have that name; what is finished stays.
        """
        path = check_output(self.path, force, ZARR)
        with explained(path):
            path.absolute().parent.mkdir(parents=True, exist_ok=True)
            if same_disk(self.folder, path.absolute().parent):
                publish_folder(self.folder / CUBE, path, force, ZARR)
            else:
                self._copy_to(path, force=force)
        self.remove()
        return path

    def _copy_to(self, path: Path, *, force: bool) -> None:
        """Give the cube its name on another disk, where it cannot be moved to in one step."""
        with atomic_folder(path, force, ZARR) as temporary:
            shutil.copytree(self.folder / CUBE, temporary, dirs_exist_ok=True)

    def remove(self) -> None:
        """Remove all that was made, if it was made here; other files in the folder stay."""
        for name in (CUBE, MARKS):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        (self.folder / MANIFEST).unlink(missing_ok=True)
        for left in self.folder.glob(f"*{PART}"):
            left.unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _place(self, roi: Roi) -> Roi:
        """Return the shard that a region begins in."""
        starts = tuple(part.start // self._shard * self._shard for part in roi)
        rows, columns = (
            slice(start, min(start + self._shard, size))
            for start, size in zip(starts, self.grid.shape, strict=True)
        )
        return rows, columns

    def _number(self, roi: Roi) -> tuple[int, int]:
        return roi[0].start // self._shard, roi[1].start // self._shard

    def _file(self, roi: Roi) -> Path:
        row, column = self._number(roi)
        return self.folder / CUBE / "c" / "0" / str(row) / str(column)

    def _mark(self, roi: Roi) -> str:
        row, column = self._number(roi)
        return f"{MARKS}/{row}.{column}"

    def _hash(self, roi: Roi) -> str:
        """Return the hash of a shard's file, or what stands for none."""
        try:
            with self._file(roi).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            return "empty"

    def _write(self, name: str, text: str) -> None:
        replace_bytes(self.folder / name, text.encode())


def same_disk(one: Path, other: Path) -> bool:
    """Say whether a folder can be moved from one to the other in one step."""
    return one.stat().st_dev == other.stat().st_dev
