"""The truth of the whole world as files: both seasons without clouds, fields, land cover."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from odc.geo.geobox import GeoBox

from selion import store
from selion.grid import roi_shape, tiles, whole
from selion.labels import Instances
from selion.simulation.archive.nouns import BANDS, ArchiveOptions, Truth
from selion.simulation.archive.world import World

BLOCK = 2048


Draw = Callable[[Instances, ArchiveOptions, Path], object]
"""(fields of the landscape, how it was simulated, GeoParquet file to write) -> anything."""


def write_world(
    folder: Path,
    world: World,
    seasons: Sequence[str],
    options: ArchiveOptions,
    draw: Draw | None = None,
) -> Truth:
    """Write the seasons, the field ids, the cover and, with ``draw``, the fields' outlines.

    A mirrored landscape has no outlines.  Tiles are not written here.
    """
    scene = world.landscape
    paths = {}
    for values, name in zip(world.seasons, seasons, strict=True):
        paths[name] = folder / f"{name}.tif"
        _write(paths[name], world.grid, BANDS, _mirrored(values), ("uint16", 0, "average"))
    instances, cover = folder / "instances.tif", folder / "cover.tif"
    _write(
        instances,
        world.grid,
        ("instance",),
        _numbered(scene.instances.ids),
        ("int32", 0, "nearest"),
    )
    _write(
        cover, world.grid, ("cover",), _mirrored(scene.cover.ids[None]), ("uint8", 255, "nearest")
    )
    if world.changes is not None:
        world.changes.to_csv(folder / "changes.csv", index=False, lineterminator="\n")
    outlines = None
    if draw is not None and not world.mirrored:
        outlines = folder / "fields.parquet"
        draw(scene.instances, options, outlines)
    return Truth(
        paths,
        instances,
        cover,
        outlines,
        {},
        {},
    )


Part = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Rows and columns of the world -> (band, y, x)."""


def _write(
    path: Path, grid: GeoBox, bands: Sequence[str], part: Part, kind: tuple[str, int, str]
) -> None:
    dtype, nodata, overviews = kind
    with store.create_cog(path, grid, bands, dtype, nodata=nodata, overviews=overviews) as sink:  # type: ignore[arg-type]
        for rows, columns in tiles(roi_shape(whole(grid)), BLOCK):
            sink.write(
                (rows, columns),
                part(np.arange(rows.start, rows.stop), np.arange(columns.start, columns.stop)),
            )


def reflect(index: np.ndarray, size: int) -> np.ndarray:
    """Return where an index beyond an image of ``size`` px lies in it, mirrored at its edges."""
    folded = index % (2 * size)
    return np.where(folded < size, folded, 2 * size - 1 - folded)


def _mirrored(values: np.ndarray) -> Part:
    height, width = values.shape[1:]
    return lambda rows, columns: values[:, reflect(rows, height)[:, None], reflect(columns, width)]


def _numbered(ids: np.ndarray) -> Part:
    """Give each copy its own ids.

    A field that the edge of the landscape cuts is one with its mirror image, but has two.
    """
    height, width = ids.shape
    most = int(ids.max())

    def part(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        found = ids[reflect(rows, height)[:, None], reflect(columns, width)].astype(np.int64)
        copy = (rows // height)[:, None] * 64 + columns // width
        return (np.where(found > 0, found + most * copy, 0))[None].astype(np.int32)

    return part
