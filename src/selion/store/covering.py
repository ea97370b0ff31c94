"""The column of boxes around a column of geometry, by which a part of a Parquet file is found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from selion.store.parquet import SIDES

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

HALF = 180.0
"""Degrees of longitude of half the world."""


def covering_column(geometry: Mapping[str, Any], schema: pa.Schema) -> str:
    """Return the name of the column of boxes around a column of geometry; empty if it has none.

    Parameters
    ----------
    geometry : mapping
        What GeoParquet's metadata say of it.  GDAL calls the boxes ``geometry_bbox``.
    schema : pa.Schema
        Of the file.
    """
    import pyarrow as pa

    try:
        name = str(geometry["covering"]["bbox"]["xmin"][0])
    except (KeyError, TypeError, IndexError):
        return ""
    at = schema.get_field_index(name)
    kind: Any = schema.field(at).type if at >= 0 else None
    held = {field.name for field in kind} if kind is not None and pa.types.is_struct(kind) else ()
    return name if {*SIDES} <= {*held} else ""


def group_box(
    metadata: pq.FileMetaData, group: int, covering: str | None
) -> tuple[float, float, float, float]:
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
        A side that the statistics do not tell is infinitely far away.  Where a row may reach over
        the antimeridian, beside others that do not, the box goes around the world.
    """
    about = metadata.row_group(group)
    least = dict(zip(SIDES, (-np.inf, -np.inf, -np.inf, -np.inf), strict=True))
    most = dict.fromkeys(SIDES, np.inf)
    for k in range(about.num_columns if covering else 0):
        column = about.column(k)
        name, _, side = column.path_in_schema.rpartition(".")
        statistics = column.statistics if name == covering and side in least else None
        if statistics is not None and statistics.has_min_max:
            least[side], most[side] = float(statistics.min), float(statistics.max)
    west, south, east, north = least["xmin"], least["ymin"], most["xmax"], most["ymax"]
    # such a row begins farther east than it ends, by more than half the world
    across = most["xmin"] - least["xmax"] > HALF
    if across and -HALF <= west <= east <= HALF:
        return -HALF, south, HALF, north
    return west, south, east, north
