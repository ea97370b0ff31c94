"""Fields of files that have no footers to read.

GeoPackage, FlatGeobuf and GeoJSON, read whole when they are opened, up to a bound.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from selion.errors import UnreadableFile
from selion.store import read_polygons
from selion.store.address import Place, place_state
from selion.web.view.chunks import FEW, Chunk, RowGroupPlace, place_of, plain, row_box
from selion.web.view.parquet_footers import MOST_COLUMNS, UNSHOWN
from selion.web.view.place import EARTH, Projection, project_boxes, projection

TABLES = (".gpkg", ".fgb", ".geojson")
LARGEST = 300 << 20
"""Bytes of a file that is read whole."""
GROUP = 20_000
"""Rows of a chunk."""


@dataclass(frozen=True, eq=False)
class TableFields:
    """Fields in memory."""

    frame: Any
    chunks: tuple[Chunk, ...]
    places: Sequence[RowGroupPlace]
    boxes: np.ndarray
    project: Projection
    columns: Mapping[str, str]
    ranges: Mapping[str, tuple[float, float]]
    flat: bool

    def chunk(self, index: int) -> Chunk:
        """Return a chunk."""
        return self.chunks[index]

    def light(self, begin: int, end: int) -> tuple[np.ndarray, Mapping[str, np.ndarray]]:
        """Return boxes and numbers of chunks."""
        chunks, names = (
            self.chunks[begin:end],
            [name for name, kind in self.columns.items() if kind == "number"],
        )
        return np.concatenate([chunk.boxes for chunk in chunks]), {
            name: np.concatenate([chunk.table[name] for chunk in chunks]) for name in names
        }

    def record(self, row: int) -> dict[str, Any]:
        """Return all columns of one row.

        Raises
        ------
        UnreadableFile
            If there is no such row.
        """
        index = place_of(self.places, row)
        values = self.frame.drop(columns=self.frame.geometry.name).iloc[row].to_dict()
        record = {
            str(name): plain(getattr(value, "item", lambda value=value: value)())
            for name, value in values.items()
        }
        return record | {"box": row_box(self.chunks[index], row - self.places[index].first)}


def open_table(path: Place) -> TableFields:
    """Read a file of fields.

    Raises
    ------
    UnreadableFile
        If it is too large, or none.
    """
    size, _ = place_state(path)
    if size > LARGEST:
        raise UnreadableFile(
            f"{path.name} has {size:,} bytes, and such files are read whole: write "
            "it as GeoParquet (.parquet), which is read in parts."
        )
    frame = read_polygons(path)  # of any kind, and any number of corners
    project = projection(frame.crs.to_wkt() if frame.crs is not None else None)
    frame = frame.iloc[hilbert(frame)].reset_index(drop=True)
    columns = columns_of(frame)
    shapes, bounds = (
        frame.geometry.to_wkb().to_numpy(object),
        project_boxes(frame.geometry.bounds.to_numpy(), project),
    )
    cuts = list(range(0, len(frame), GROUP))
    chunks = tuple(cut(frame, shapes, bounds, columns, first) for first in cuts)
    places = tuple(
        RowGroupPlace(0, k, first, min(GROUP, len(frame) - first)) for k, first in enumerate(cuts)
    )
    boxes = np.array([around_all(chunk.boxes) for chunk in chunks], float).reshape(-1, 4)
    numbers = [name for name, kind in columns.items() if kind == "number"]
    ranges = {
        name: (float(frame[name].min()), float(frame[name].max()))
        for name in numbers
        if np.isfinite(frame[name]).any()
    }
    return TableFields(frame, chunks, places, boxes, project, columns, ranges, frame.crs is None)


def hilbert(frame: Any) -> np.ndarray:
    """Return an order in which neighbours follow each other."""
    if frame.empty or frame.geometry.isna().any() or not np.isfinite(frame.total_bounds).all():
        return np.arange(len(frame))
    return np.asarray(np.argsort(frame.hilbert_distance().to_numpy(), kind="stable"))


def around_all(boxes: np.ndarray) -> list[float]:
    """Return the box around the finite boxes, the whole map where there are none."""
    sound = boxes[np.isfinite(boxes).all(1)]
    return (
        [*sound[:, :2].min(0), *sound[:, 2:].max(0)]
        if len(sound)
        else [-EARTH, -EARTH, EARTH, EARTH]
    )


def columns_of(frame: Any) -> dict[str, str]:
    """Return which columns may travel in tiles."""
    found = {}
    for name in frame.columns.drop(frame.geometry.name):
        if name in ("id", "bbox", *UNSHOWN):
            continue
        if frame[name].dtype.kind in "fiu":
            found[str(name)] = "number"
        elif frame[name].dtype.kind not in "Mmb" and all(
            isinstance(v, str) for v in frame[name].dropna().head(100)
        ):
            found[str(name)] = "text"
    return dict(list(found.items())[:MOST_COLUMNS])


def cut(
    frame: Any, shapes: np.ndarray, bounds: np.ndarray, columns: Mapping[str, str], first: int
) -> Chunk:
    """Return some rows as a chunk."""
    import pyarrow as pa

    rows = slice(first, first + GROUP)
    table = {}
    for name, kind in columns.items():
        column = frame[name].iloc[rows]
        if kind == "number":
            table[name] = column.to_numpy(float, na_value=np.nan)
        else:
            known = column.notna().to_numpy()
            table[name] = np.where(
                known & (column.nunique() <= FEW), column.astype(object).to_numpy(), None
            )
    return Chunk(bounds[rows], pa.array(shapes[rows], pa.binary()), table)
