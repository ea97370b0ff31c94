"""Tables of polygons out of files: GeoParquet, and whatever GDAL reads."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from selion.errors import BadInput, UnreadableFile
from selion.grid import LONLAT

if TYPE_CHECKING:
    import geopandas
    import pyarrow as pa
    import pyarrow.parquet as pq

Bbox = tuple[float, float, float, float]
"""West, south, east, north."""
SIDES = ("xmin", "ymin", "xmax", "ymax")
"""Of a bounding box in GeoParquet."""


def read_polygons(path: str | os.PathLike[str], bbox: Bbox | None = None) -> geopandas.GeoDataFrame:
    """Read a table of polygons.

    Parameters
    ----------
    path : path
        Fields as :func:`selion.fields.write_fields` writes them, or any polygons that GDAL reads.
    bbox : (west, south, east, north), optional
        Only polygons whose bounding box touches this one; degrees, or the file's units where it has
        no CRS.

    Returns
    -------
    GeoDataFrame

    Raises
    ------
    UnreadableFile
        If the file is missing or cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        raise UnreadableFile(f"There is no file {path}: check the name.")
    if path.suffix.lower() == ".parquet":
        return _read_parquet(path, bbox)
    import pyogrio

    try:
        layers = [str(name) for name in pyogrio.list_layers(path)[:, 0]]
        layer = "fields" if "fields" in layers else layers[0]
        crs = pyogrio.read_info(path, layer=layer)["crs"]
        return pyogrio.read_dataframe(
            path, layer=layer, bbox=None if bbox is None else _bbox_in(bbox, crs)
        )
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
        raise UnreadableFile(
            f"{path} cannot be read as fields ({error}): check that the file is whole."
        ) from error


def _read_parquet(path: Path, bbox: Bbox | None) -> geopandas.GeoDataFrame:
    return read_parquet(path, None if bbox is None else _bbox_in(bbox, file_crs(path)))


def _bbox_in(bbox: Bbox, crs: str | None) -> Bbox:
    from pyproj import Transformer

    return (
        bbox
        if crs is None
        else Transformer.from_crs(LONLAT, crs, always_xy=True).transform_bounds(*bbox)
    )


def read_parquet(path: Path, bbox: Bbox | None = None) -> geopandas.GeoDataFrame:
    """Read GeoParquet; ``bbox`` is in the file's CRS and skips row groups where it can.

    Raises
    ------
    UnreadableFile
        If it is no GeoParquet file.
    """
    import geopandas
    import pyarrow.compute as pc
    import pyarrow.parquet as pq
    from shapely import from_wkb

    metadata = read_metadata(path)
    query = None
    if bbox is not None and "covering" in metadata["geo"]["columns"]["geometry"]:
        x0, y0, x1, y1 = bbox
        near = {side: pc.field("bbox", side) for side in SIDES}
        query = (
            (near["xmin"] <= x1)
            & (near["xmax"] >= x0)
            & (near["ymin"] <= y1)
            & (near["ymax"] >= y0)
        )
    data = pq.read_table(path, filters=query).to_pandas(types_mapper=pandas_type)
    geometry = from_wkb(data.pop("geometry").to_numpy())
    data = data.drop(columns=["bbox"], errors="ignore")
    frame = geopandas.GeoDataFrame(data, geometry=geometry, crs=file_crs(path))
    frame.attrs["collection"] = metadata["collection"]
    return frame


def file_crs(path: Path) -> str | None:
    """Return the CRS of a GeoParquet file as PROJJSON; None if it says that it has none."""
    crs = read_metadata(path)["geo"]["columns"]["geometry"].get("crs", "OGC:CRS84")
    return json.dumps(crs) if isinstance(crs, dict) else crs


def pandas_type(kind: pa.DataType) -> Any:
    """Return what pandas makes of an Arrow type; None: as pyarrow has it."""
    import pandas as pd
    import pyarrow as pa

    return pd.StringDtype() if pa.types.is_string(kind) else None


def read_metadata(path: Path) -> dict[str, Any]:
    """Return GeoParquet's metadata ("geo") and fiboa's ("collection", empty where there is none).

    Raises
    ------
    UnreadableFile
        If it is no GeoParquet file.
    BadInput
        If its geometry is not in the column ``geometry``.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        found = pq.read_metadata(path).metadata or {}
        geo = json.loads(found[b"geo"])
        geo["columns"][geo["primary_column"]]
        collection = json.loads(found.get(b"collection", b"{}"))
    except (OSError, pa.ArrowInvalid) as error:
        raise UnreadableFile(
            f"{path} cannot be read as Parquet ({error}): check that the file is there and whole."
        ) from error
    except (KeyError, ValueError, TypeError) as error:
        raise UnreadableFile(
            f"{path} is a Parquet file without proper GeoParquet metadata: write it with selion, "
            "geopandas or GDAL 3.5 or later."
        ) from error
    if geo["primary_column"] != "geometry":
        raise BadInput(
            f"{path} keeps its geometry in a column called {geo['primary_column']!r}; wanted is "
            "'geometry'."
        )
    return {"geo": geo, "collection": collection}


def group_box(metadata: pq.FileMetaData, group: int, covering: str | None) -> Bbox:
    """Return the box around a row group, from the statistics of its column of bounding boxes.

    Parameters
    ----------
    metadata : FileMetaData
        A Parquet file's footer.
    group : int
    covering : str or None
        Name of the column of bounding boxes; None: there is none.

    Returns
    -------
    (west, south, east, north)
        A side that the statistics do not tell is infinitely far away.
    """
    about = metadata.row_group(group)
    sides = dict(zip(SIDES, (-np.inf, -np.inf, np.inf, np.inf), strict=True))
    for k in range(about.num_columns if covering else 0):
        column = about.column(k)
        name, _, side = column.path_in_schema.rpartition(".")
        statistics = column.statistics if name == covering and side in sides else None
        if statistics is not None and statistics.has_min_max:
            sides[side] = float(statistics.min if side.endswith("min") else statistics.max)
    west, south, east, north = sides.values()
    return west, south, east, north


def file_box(path: Path) -> Bbox | None:
    """Return the box around a GeoParquet file's geometry, in its CRS; None if it has none.

    What the file says of itself, else the statistics of its row groups, else all its geometry.
    """
    import pyarrow.parquet as pq
    import shapely

    geo = read_metadata(path)["geo"]["columns"]["geometry"]
    if "bbox" in geo:  # may hold heights: (x, y, z) below, then (x, y, z) above
        sides = [float(side) for side in geo["bbox"]]
        half = len(sides) // 2
        return sides[0], sides[1], sides[half], sides[half + 1]
    covering = "bbox" if "covering" in geo else None
    with pq.ParquetFile(path) as file:
        groups = range(file.num_row_groups)
        boxes = np.array([group_box(file.metadata, group, covering) for group in groups])
        if not np.isfinite(boxes).all():
            tables = (file.read_row_group(group, ["geometry"]) for group in groups)
            shapes = (shapely.from_wkb(table["geometry"].to_numpy()) for table in tables)
            boxes = np.concatenate([shapely.bounds(part) for part in shapes])
            boxes = boxes[np.isfinite(boxes).all(axis=1)]
    return box_around(boxes) if len(boxes) else None


def box_around(boxes: np.ndarray) -> Bbox:
    """Return the box around (n, 4) boxes."""
    west, south = boxes[:, :2].min(axis=0).tolist()
    east, north = boxes[:, 2:].max(axis=0).tolist()
    return west, south, east, north


def touching(boxes: np.ndarray, box: Bbox) -> np.ndarray:
    """Tell which of (n, 4) boxes touch a box; NaN touches nothing."""
    west, south, east, north = box
    return np.asarray(
        (boxes[:, 0] <= east)
        & (boxes[:, 2] >= west)
        & (boxes[:, 1] <= north)
        & (boxes[:, 3] >= south)
    )
