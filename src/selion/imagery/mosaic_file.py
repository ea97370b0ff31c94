"""A mosaic as a file.

A sharded Zarr, or a COG, made block by block, taken up again where it stopped.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from selion.errors import BadInput
from selion.grid import Roi
from selion.imagery.mosaic import Mosaic
from selion.progress import OnStep, silent
from selion.runners import Runner, in_order

if TYPE_CHECKING:
    from selion.store import ResumableCube


SHARD, CHUNK = 2048, 256
"""Edges in pixels of the shards of a Zarr, and of the chunks in them."""
BLOCK = 1024
"""Edge in pixels of a COG's tiles, as in the papers."""
COGS = (".tif", ".tiff")


def write_mosaic(
    mosaic: Mosaic,
    path: str | os.PathLike[str],
    *,
    on_step: OnStep = silent,
    threads: int = 2,
    force: bool = False,
    tags: Mapping[str, str] | None = None,
    folder: str | os.PathLike[str] | None = None,
    shard: int = SHARD,
    run: Runner | None = None,
) -> Path:
    """Write a mosaic block by block.

    Parameters
    ----------
    mosaic : Mosaic
    path : str or path
        ``.zarr``: Zarr v3 in shards, for prediction; ``.tif``: cloud-optimised GeoTIFF.
    on_step : callable, optional
        ``on_step(stage, done, of, note)``, told after each block.
    threads : int
        Blocks in work at once; memory is about 70 bytes per pixel of a block (300 MB) for each,
        whatever the size of the mosaic.
    force : bool
        Whether an existing output is replaced.
    tags : mapping of str to str, optional
        Besides the mosaic's own, which say where it comes from.
    folder : path, optional
        Where finished blocks are kept until all are there; by default a hidden folder beside
        ``path``.
    shard : int
        Edge of a block, and of a file of the Zarr, in pixels; a multiple of 256.
    run : Runner, optional
        Workers of this machine that make the blocks instead of threads.

    Returns
    -------
    Path
        ``path``.

    Raises
    ------
    OutputExists, OutputFailed
        If it must not, or cannot, be written.  Finished blocks are kept.
    BadInput
        If the ending is neither, or ``threads`` or ``shard`` are no such numbers.
    UnreadableFile
        If a composite cannot be read.  Finished blocks are kept.

    Notes
    -----
    A run that was interrupted goes on with the blocks that it lacks, if composites, grid and
    options are the same, and comes to the same bytes.  Blocks that no composite touches are not
    computed, and take no space.  A COG is copied from the finished blocks, so it needs the space of
    both for a while.
    """
    from selion.store import ResumableCube, check_output

    path = check_output(path, force)
    ending = mosaic_format(path)
    if threads < 1 or shard < CHUNK or shard % CHUNK:
        raise BadInput(
            f"{threads} threads and blocks of {shard} px were asked for; wanted are one thread or "
            f"more, and a multiple of {CHUNK} px."
        )
    said = {**mosaic.tags, **(tags or {})}
    cube = ResumableCube(
        path,
        mosaic.grid,
        mosaic.bands,
        mosaic.dtype,
        key=mosaic.key,
        nodata=0,
        tags=said,
        chunk=CHUNK,
        shard=shard,
        folder=folder,
    )
    _fill(cube, mosaic, threads, on_step, run)
    if ending == ".zarr":
        return cube.publish(force)
    _copy(cube, path, said, on_step, force=force)
    cube.remove()
    return path


def mosaic_format(path: str | os.PathLike[str]) -> str:
    """Return how the name of a mosaic ends, in small letters.

    Raises
    ------
    BadInput
        If a mosaic cannot be written under such a name.

    Examples
    --------
    >>> mosaic_format("fields.ZARR")
    '.zarr'
    """
    ending = Path(path).suffix.lower()
    if ending not in (".zarr", *COGS):
        raise BadInput(
            f"A mosaic was to be written to {path}; wanted is a name that ends in .zarr or .tif."
        )
    return ending


def _fill(
    cube: ResumableCube, mosaic: Mosaic, threads: int, on_step: OnStep, run: Runner | None
) -> None:
    """Make the blocks that are not there."""
    pending = [roi for roi in cube.shards if not cube.finished(roi)]
    done, total = len(cube.shards) - len(pending), len(cube.shards)
    on_step("mosaic", done, total, f"{done} were there" if done else "")
    if run is not None:
        for _ in in_order(run)(partial(_make, cube, mosaic), pending):
            done += 1
            on_step("mosaic", done, total, "")
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="selion-mosaic") as pool:
        works = [pool.submit(_make, cube, mosaic, roi) for roi in pending]
        try:
            for work in works:
                work.result()
                done += 1
                on_step("mosaic", done, total, "")
        except BaseException:
            for work in works:
                work.cancel()
            raise


def _make(cube: ResumableCube, mosaic: Mosaic, roi: Roi) -> None:
    if mosaic.touching(roi):
        cube.write(roi, mosaic.read(roi).values)
    else:
        cube.skip(roi)


def _copy(
    cube: ResumableCube, path: Path, tags: Mapping[str, str], on_step: OnStep, *, force: bool
) -> None:
    from selion.store import create_cog

    source = cube.source()
    with create_cog(
        path,
        cube.grid,
        cube.bands,
        cube.dtype,
        nodata=0,
        tags=tags,
        overviews="average",
        block=BLOCK,
        force=force,
    ) as sink:
        for number, roi in enumerate(cube.shards):
            part = source.read(roi)
            if part.values.any():
                sink.write(roi, part.values)
            on_step("file", number + 1, len(cube.shards), path.name)
