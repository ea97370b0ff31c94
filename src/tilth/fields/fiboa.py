"""fiboa 0.3 GeoParquet 1.1: written, read and checked, without network and without fiboa's own tools."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tilth.errors import BadInput, UnreadableFile
from tilth.fields.schema import COLUMNS, Origin

if TYPE_CHECKING:
    import geopandas
    import pyarrow as pa

ROWS = 50_000
"""Rows per row group."""
SIDES = ("xmin", "ymin", "xmax", "ymax")


def write_parquet(frame: geopandas.GeoDataFrame, path: Path, origin: Origin) -> None:
    """Write fields as they are to a GeoParquet 1.1 file.

    Rows are sorted along a Hilbert curve; zstd; a bbox column that readers use to skip row groups.

    Parameters
    ----------
    frame : GeoDataFrame
        With the columns of :data:`tilth.fields.schema.COLUMNS` (others are kept); its CRS becomes the file's.
    path : Path
        Where; written in place, so give the temporary name of :func:`tilth.store.whole.whole_file`.
    origin : Origin
    """
    import pyarrow.parquet as pq

    frame = _along_hilbert(frame)
    table = _arrow(frame)
    collection = {name: value for name, value in origin.to_dict().items() if name not in frame}  # what differs by field stands in its column
    metadata = {"geo": json.dumps(_geo(frame)), "collection": json.dumps(collection)}
    table = table.replace_schema_metadata(metadata)
    # "id" as a dictionary would only repeat itself; the geometry neither.
    dictionary = [name for name in table.column_names if name == "class"]
    pq.write_table(table, path, compression="zstd", compression_level=9, row_group_size=ROWS, use_dictionary=dictionary, write_page_index=True)


def _along_hilbert(frame: geopandas.GeoDataFrame) -> geopandas.GeoDataFrame:
    if len(frame) < 2:
        return frame
    order = np.lexsort((frame["id"].to_numpy(str), frame.geometry.hilbert_distance(level=16).to_numpy()))
    return frame.iloc[order]


def _arrow(frame: geopandas.GeoDataFrame) -> pa.Table:
    """Build the columns: required ones cannot be null."""
    import pyarrow as pa
    import shapely

    geometries = frame.geometry.to_numpy()
    fields, arrays = [], []
    kinds = {"string": pa.string(), "float": pa.float32(), "time": pa.timestamp("ms", tz="UTC")}
    for column in COLUMNS:
        if column.name in frame:
            fields.append(pa.field(column.name, kinds[column.kind], nullable=not column.required))
            arrays.append(pa.array(frame[column.name], kinds[column.kind], from_pandas=True))
    known = {column.name for column in COLUMNS} | {frame.geometry.name, "bbox"}
    for name in frame.columns:
        if name not in known:
            arrays.append(pa.array(frame[name], from_pandas=True))
            fields.append(pa.field(str(name), arrays[-1].type))
    bounds = shapely.bounds(geometries).reshape(-1, 4)
    parts = [pa.array(bounds[:, k]) for k in range(4)]
    box = [pa.field(side, pa.float64(), nullable=False) for side in SIDES]
    arrays += [pa.StructArray.from_arrays(parts, fields=box), pa.array(shapely.to_wkb(geometries), pa.binary())]
    fields += [pa.field("bbox", pa.struct(box)), pa.field("geometry", pa.binary(), nullable=False)]
    return pa.table(arrays, schema=pa.schema(fields))


def _geo(frame: geopandas.GeoDataFrame) -> dict[str, Any]:
    """GeoParquet's own metadata."""
    column: dict[str, Any] = {
        "encoding": "WKB",
        "geometry_types": sorted(frame.geometry.geom_type.unique()),
        "crs": None if frame.crs is None else frame.crs.to_json_dict(),
        "orientation": "counterclockwise",
        "covering": {"bbox": {side: ["bbox", side] for side in SIDES}},
    }
    if len(frame):
        column["bbox"] = [float(v) for v in frame.total_bounds]
    return {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}


def read_parquet(path: Path, bbox: tuple[float, float, float, float] | None = None) -> geopandas.GeoDataFrame:
    """Read fields; ``bbox`` is in the file's CRS and skips row groups where it can.

    Raises
    ------
    UnreadableFile
        If it is no GeoParquet file.
    """
    import geopandas
    import pyarrow.compute as pc
    import pyarrow.parquet as pq
    from shapely import from_wkb

    metadata = _metadata(path)
    query = None
    if bbox is not None and "covering" in metadata["geo"]["columns"]["geometry"]:
        x0, y0, x1, y1 = bbox
        near = {side: pc.field("bbox", side) for side in SIDES}
        query = (near["xmin"] <= x1) & (near["xmax"] >= x0) & (near["ymin"] <= y1) & (near["ymax"] >= y0)
    data = pq.read_table(path, filters=query).to_pandas(types_mapper=_pandas_type)
    geometry = from_wkb(data.pop("geometry").to_numpy())
    data = data.drop(columns=["bbox"], errors="ignore")
    frame = geopandas.GeoDataFrame(data, geometry=geometry, crs=file_crs(path))
    frame.attrs["collection"] = metadata["collection"]
    return frame


def file_crs(path: Path) -> str | None:
    """Return the CRS of a GeoParquet file as PROJJSON; None if it says that it has none."""
    crs = _metadata(path)["geo"]["columns"]["geometry"].get("crs", "OGC:CRS84")
    return json.dumps(crs) if isinstance(crs, dict) else crs


def _pandas_type(kind: pa.DataType) -> Any:
    import pandas as pd
    import pyarrow as pa

    return pd.StringDtype() if pa.types.is_string(kind) else None


def _metadata(path: Path) -> dict[str, Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        found = pq.read_metadata(path).metadata or {}
        geo = json.loads(found[b"geo"])
        geo["columns"][geo["primary_column"]]
        collection = json.loads(found.get(b"collection", b"{}"))
    except (OSError, pa.ArrowInvalid) as error:
        message = f"{path} cannot be read as Parquet ({error}): check that the file is there and whole."
        raise UnreadableFile(message) from error
    except (KeyError, ValueError, TypeError) as error:
        message = f"{path} is a Parquet file without proper GeoParquet metadata: write it with tilth, geopandas or GDAL 3.5 or later."
        raise UnreadableFile(message) from error
    if geo["primary_column"] != "geometry":
        message = f"{path} keeps its geometry in a column called {geo['primary_column']!r}; wanted is 'geometry'."
        raise BadInput(message)
    return {"geo": geo, "collection": collection}


def read_origin(path: str | os.PathLike[str]) -> Origin:
    """Return where the fields of a fiboa file come from."""
    return Origin.from_dict(_metadata(Path(path))["collection"])
