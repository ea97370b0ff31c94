"""A raster as the Zarr that xarray opens: named axes with their coordinates, and its place.

A group of Zarr v3 by the CF conventions: one variable of (time, band, y, x), and beside it the
coordinates ``time`` with its bounds, ``band``, ``y``, ``x`` and ``spatial_ref``, which rioxarray
and odc-geo read as well.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox
from pyproj import CRS

from selion.errors import BadInput
from selion.grid import check_north_up, tiles
from selion.raster import Source
from selion.store.atomic import atomic_folder
from selion.store.replaced import ZARR

NAME = "composite"
"""Of the variable."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HOUR = 3600
ROOT = "zarr.json"
"""What tells of a group; a folder that has it is whole."""
CHUNK, SHARD = 256, 2048


@dataclass(frozen=True)
class Labels:
    """What the axes of a raster mean beside its place."""

    first: date
    last: date
    """Days of what it shows, both included."""
    attributes: Mapping[str, Any]
    """Of the variable, as JSON has them."""
    title: str
    """Of the group."""


def write_labelled(
    source: Source, labels: Labels, path: str | os.PathLike[str], *, force: bool = False
) -> Path:
    """Write a raster as a Zarr for xarray; the folder appears when it is whole.

    Parameters
    ----------
    source : Source
        (band, y, x) of any number type, north up, with a CRS; read a shard at a time.
    labels : Labels
    path : path
        Final name, by habit ending in ``.zarr``.
    force : bool
        Whether an existing folder is replaced.

    Returns
    -------
    Path
        ``path``.

    Raises
    ------
    BadInput
        If the raster is a photograph.
    OutputExists, OutputFailed
        If it may not, or cannot, be written.

    Notes
    -----
    The values are those of the raster, to the bit.  There is no ``_FillValue``, which would have
    xarray turn whole numbers into floats of twice their size; which value says nothing is told in
    words (:attr:`Labels.attributes`).  The metadata of all arrays stands in the group's own too,
    for readers over HTTP, which cannot list a folder.
    """
    if source.grid.crs is None:
        raise BadInput(f"{path} was to hold a photograph, which has no place on the Earth.")
    check_north_up(source.grid, str(path))
    with atomic_folder(path, force, ZARR) as temporary:
        first = source.read((slice(0, 1), slice(0, 1)))
        array = _begin(temporary, source, first.values.dtype, labels)
        for roi in tiles((source.grid.shape[0], source.grid.shape[1]), SHARD):
            array[(0, slice(None), *roi)] = source.read(roi).values
        _consolidate(temporary)
    return Path(path)


def _begin(folder: Path, source: Source, dtype: np.dtype, labels: Labels) -> Any:
    """Create the group with its coordinates; return its variable, empty."""
    import zarr
    from zarr.codecs import ZstdCodec

    conventions = {"Conventions": "CF-1.11", "title": labels.title}
    group = zarr.create_group(folder, zarr_format=3, attributes=conventions)
    for name, (axes, values, attributes) in _coordinates(source, labels).items():
        array = group.create_array(
            name,
            shape=np.shape(values),
            dtype=str if np.asarray(values).dtype.kind == "U" else np.asarray(values).dtype,
            chunks=tuple(max(edge, 1) for edge in np.shape(values)),
            dimension_names=axes,
            attributes=attributes,
            compressors=ZstdCodec(level=1),
        )
        array[...] = np.asarray(values, object) if array.dtype.kind in "OT" else values
    count, (height, width) = len(source.bands), source.grid.shape
    said = {"grid_mapping": "spatial_ref", "coordinates": "spatial_ref"}
    return group.create_array(
        NAME,
        shape=(1, count, height, width),
        dtype=dtype,
        chunks=(1, count, CHUNK, CHUNK),
        shards=(1, count, SHARD, SHARD),
        compressors=ZstdCodec(level=1),
        dimension_names=("time", "band", "y", "x"),
        attributes={**said, "cell_methods": "time: median", **labels.attributes},
    )


def _coordinates(
    source: Source, labels: Labels
) -> dict[str, tuple[tuple[str, ...], Any, dict[str, Any]]]:
    """Return axes, values and attributes of each coordinate."""
    begin = _hours(labels.first)
    end = _hours(labels.last) + 24  # midnight after the last day
    when = {"units": "hours since 1970-01-01", "calendar": "proleptic_gregorian"}
    y, x = _centres(source.grid)
    about = {one["axis"].lower(): one for one in CRS(str(source.grid.crs)).cs_to_cf()}
    return {
        "time": (("time",), [(begin + end) // 2], {**when, "bounds": "time_bnds", "axis": "T"}),
        "time_bnds": (("time", "bnds"), [[begin, end]], dict(when)),
        "band": (("band",), list(source.bands), {}),
        "y": (("y",), y, about["y"]),
        "x": (("x",), x, about["x"]),
        "spatial_ref": ((), 0, _place(source.grid)),
    }


def _hours(day: date) -> int:
    moment = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return int((moment - EPOCH).total_seconds()) // HOUR


def _centres(grid: GeoBox) -> tuple[np.ndarray, np.ndarray]:
    """Return the coordinates of pixel centres along y and x."""
    step, (height, width) = grid.transform, grid.shape
    y = step.f + step.e * (np.arange(height) + 0.5)
    return y, step.c + step.a * (np.arange(width) + 0.5)


def _place(grid: GeoBox) -> dict[str, Any]:
    """Return CF's grid mapping of a grid, with what GDAL calls its transform."""
    crs = CRS(str(grid.crs))
    wkt = crs.to_wkt()
    transform = " ".join(map(repr, map(float, grid.transform.to_gdal())))
    return {**crs.to_cf(), "crs_wkt": wkt, "spatial_ref": wkt, "GeoTransform": transform}


def _consolidate(folder: Path) -> None:
    """Write what all arrays say of themselves into the group's own file, as xarray looks for it."""
    told = {path.parent.name: _read(path) for path in sorted(folder.glob(f"*/{ROOT}"))}
    root = _read(folder / ROOT)
    root["consolidated_metadata"] = {
        "kind": "inline", "must_understand": False, "metadata": told,
    }  # fmt: skip
    (folder / ROOT).write_text(json.dumps(root, indent=1), "utf-8")


def _read(path: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return told
