"""fiboa 0.3 GeoParquet 1.1.

Written and described, without network and without fiboa's own tools.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from selion.errors import BadInput
from selion.fields.extension import custom_schema
from selion.fields.memory import give_back
from selion.fields.projecting import projected
from selion.fields.schema import COLUMNS, Origin
from selion.store.address import locate
from selion.store.parquet import SIDES
from selion.store.vectors import read_metadata

if TYPE_CHECKING:
    import geopandas
    import pandas as pd
    import pyarrow as pa

WHOLE, ROWS = 50_000, 10_240
"""Rows up to which a table is one row group, and of a row group at least where it has more."""
CHUNK = 8192
"""Outlines that are projected at once."""


def write_parquet(
    frame: geopandas.GeoDataFrame, path: Path, origin: Origin, crs: str | None = None
) -> None:
    """Write fields to a GeoParquet 1.1 file, a row group at a time.

    Rows are sorted along a Hilbert curve; zstd; a bbox column that readers use to skip row groups.
    Beside the table there are in memory the outlines as they will be in the file, and one row
    group.

    Parameters
    ----------
    frame : GeoDataFrame
        With the columns of :data:`selion.fields.schema.COLUMNS` (others are kept).
    path : Path
        Where; written in place, so give the temporary name of
        :func:`selion.store.atomic_write`.
    origin : Origin
    crs : str, optional
        That of the file; None: that of the frame, whose outlines are then written as they are.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    drawn = _draw(frame, crs)
    give_back()
    order = _along_hilbert(frame["id"].to_numpy(), drawn.bounds)
    plain = frame.drop(columns=[frame.geometry.name, "bbox"], errors="ignore")
    fields = _column_fields(plain)
    metadata = {
        "geo": json.dumps(_geo(drawn, frame.crs if crs is None else crs)),
        "collection": json.dumps(collection_metadata(origin, fields)),
    }
    empty = [field.name for field in fields if not field.nullable and plain[field.name].hasnans]
    if empty:
        raise BadInput(
            f"Some fields have no {empty[0]}, which each must have: fill it in, or merge the table "
            "first with 'selion merge', which does."
        )
    schema = pa.schema([*fields, *_drawn_fields()], metadata=metadata)
    # "id" as a dictionary would only repeat itself; the geometry neither.
    dictionary = [name for name in schema.names if name == "class"]
    with pq.ParquetWriter(
        path,
        schema,
        compression="zstd",
        compression_level=9,
        use_dictionary=dictionary,
        write_page_index=True,
    ) as file:
        groups = 1 if len(order) <= WHOLE else len(order) // ROWS
        for rows in np.array_split(order, groups):
            file.write_table(
                _arrow(plain.iloc[rows], drawn.bounds[rows], drawn.outlines.take(rows), schema),
                row_group_size=max(1, len(rows)),
            )
    del drawn
    give_back()


def collection_metadata(origin: Origin, fields: Iterable[pa.Field]) -> dict[str, object]:
    """Return the metadata of a table with these columns, plain values.

    What differs by field stands in its column and not here; columns that fiboa does not know are
    described, see :func:`selion.fields.extension.custom_schema`.
    """
    fields = list(fields)
    names = {field.name for field in fields}
    custom = custom_schema(fields)
    said = {name: value for name, value in origin.to_dict().items() if name not in names}
    return said | ({"schemas:custom": custom} if custom else {})


@dataclass(frozen=True, eq=False)
class _Drawn:
    """Outlines as they are written."""

    outlines: pa.ChunkedArray
    """(n,) WKB."""
    bounds: np.ndarray
    """(n, 4) float64."""
    kinds: tuple[str, ...]
    """Types of geometry, sorted."""


def _draw(frame: geopandas.GeoDataFrame, crs: str | None) -> _Drawn:
    """Project outlines and turn them into bytes, some at a time.

    Exteriors are counter-clockwise, also where the projection mirrors; what lies over the
    antimeridian has parts on both sides of it.
    """
    import geopandas
    import pyarrow as pa
    import shapely

    shapes = frame.geometry.to_numpy()
    outlines, bounds, kinds = [], np.empty((len(shapes), 4)), set()
    for start in range(0, len(shapes), CHUNK):
        rows = slice(start, start + CHUNK)
        part = shapes[rows]
        if crs is not None:
            part = shapely.orient_polygons(
                projected(geopandas.GeoSeries(part, crs=frame.crs), crs).to_numpy()
            )
        outlines.append(pa.array(shapely.to_wkb(part), pa.binary()))
        bounds[rows] = shapely.bounds(part)
        kinds |= set(geopandas.GeoSeries(part).geom_type.unique())
    return _Drawn(pa.chunked_array(outlines, pa.binary()), bounds, tuple(sorted(kinds)))


def _along_hilbert(ids: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Return the order of rows along a Hilbert curve through the middles of their boxes."""
    import geopandas

    if len(ids) < 2:
        return np.arange(len(ids))
    middles = geopandas.GeoSeries.from_xy(
        (bounds[:, 0] + bounds[:, 2]) / 2, (bounds[:, 1] + bounds[:, 3]) / 2
    )
    distance = middles.hilbert_distance(level=16).to_numpy()
    return np.lexsort((ids.astype(str), distance))


def _total(bounds: np.ndarray) -> np.ndarray:
    """Return the box around (n, 4) boxes."""
    return np.concatenate([np.nanmin(bounds[:, :2], axis=0), np.nanmax(bounds[:, 2:], axis=0)])


def _column_fields(plain: pd.DataFrame) -> list[pa.Field]:
    """Return Arrow's fields of the columns, ours first; required ones cannot be null."""
    import pyarrow as pa

    kinds = {"string": pa.string(), "float": pa.float32(), "time": pa.timestamp("ms", tz="UTC")}
    ours = [
        pa.field(column.name, kinds[column.kind], nullable=not column.required)
        for column in COLUMNS
        if column.name in plain
    ]
    known = {column.name for column in COLUMNS}
    return ours + [
        pa.field(str(name), pa.array(plain[name], from_pandas=True).type)
        for name in plain.columns
        if name not in known
    ]


def _drawn_fields() -> list[pa.Field]:
    import pyarrow as pa

    box = [pa.field(side, pa.float64(), nullable=False) for side in SIDES]
    return [pa.field("bbox", pa.struct(box)), pa.field("geometry", pa.binary(), nullable=False)]


def _arrow(
    plain: pd.DataFrame, bounds: np.ndarray, outlines: pa.ChunkedArray, schema: pa.Schema
) -> pa.Table:
    """Build the columns of some rows."""
    import pyarrow as pa

    try:
        arrays = [
            pa.array(plain[field.name], field.type, from_pandas=True) for field in list(schema)[:-2]
        ]
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise BadInput(
            f"A column of the fields holds something else than it should ({error}): correct it, or "
            "leave it out."
        ) from error
    parts = [pa.array(bounds[:, k]) for k in range(4)]
    box = pa.StructArray.from_arrays(parts, fields=list(schema.field("bbox").type))
    return pa.table([*arrays, box, outlines], schema=schema)


def _geo(drawn: _Drawn, crs: Any) -> dict[str, Any]:
    """GeoParquet's own metadata."""
    from pyproj import CRS

    column: dict[str, Any] = {
        "encoding": "WKB",
        "geometry_types": list(drawn.kinds),
        "crs": None if crs is None else CRS.from_user_input(crs).to_json_dict(),
        "orientation": "counterclockwise",
        "covering": {"bbox": {side: ["bbox", side] for side in SIDES}},
    }
    if len(drawn.bounds):
        column["bbox"] = [float(v) for v in _total(drawn.bounds)]
    return {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}


def read_origin(path: str | os.PathLike[str]) -> Origin:
    """Return where the fields of a fiboa file come from."""
    return Origin.from_dict(read_metadata(locate(path))["collection"])
