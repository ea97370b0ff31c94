"""Fields between bounds: how the values of a column lie, how many fields are left, and which.

From afar they are cells of those fields alone. The bounds come from the page as ``where``, JSON of
column -> [lowest, highest or null], and ``box``, degrees.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from selion.errors import BadInput, UnknownName
from selion.fields import write_fields
from selion.store.vectors import frame_of_rows, touching
from selion.web.view.chunks import Fields, ParquetFields
from selion.web.view.cut import rounded
from selion.web.view.memory import TableFields
from selion.web.view.parquet_footers import crs_of, read_footer, read_groups
from selion.web.view.place import Box, from_degrees, project_boxes

MOST_COUNTED = 2_500_000
"""Rows that are looked at to count; of more the page says that they were not counted."""
MOST_SAVED = 200_000
"""Fields of one GeoPackage."""
SAMPLED = 8
"""Chunks from which the spread of a column is told."""
BINS = 32
STOPS = (0.02, 0.25, 0.5, 0.75, 0.98)
"""Shares of fields below each colour of the ramp."""


@dataclass(frozen=True)
class Bounds:
    """What the page asks for."""

    ranges: Mapping[str, tuple[float, float]]
    """Column -> lowest and highest."""
    box: Box | None = None
    """Metres of web mercator."""

    @property
    def key(self) -> tuple[tuple[str, float, float], ...]:
        """What tells bounds of columns apart."""
        return tuple(sorted((name, *pair) for name, pair in self.ranges.items()))

    def hold(self, boxes: np.ndarray, table: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return (row,) bool: which fields lie between the bounds; unknown values do not."""
        kept = np.ones(len(boxes), bool)
        for name, (low, high) in self.ranges.items():
            # as the tiles hold them, so that what is counted is what is seen
            values = rounded(table[name])
            with np.errstate(invalid="ignore"):
                kept &= (values >= low) & (values <= high)
        return kept if self.box is None else kept & touching(boxes, self.box)


def read_bounds(fields: Fields, parameters: Mapping[str, str]) -> Bounds:
    """Read what the page asks for.

    Raises
    ------
    BadInput
        If it is no table of numbers.
    UnknownName
        If there is no such column of numbers.
    """
    try:
        asked = json.loads(parameters.get("where") or "{}")
        ranges = {str(name): _range(pair) for name, pair in asked.items()}
        degrees = [float(side) for side in (parameters.get("box") or "").split(",") if side]
    except (ValueError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise BadInput(
            'Bounds are wanted as {"confidence": [0.5, null]}, and a box as west,south,east,north '
            "in degrees: load the page again."
        ) from error
    if degrees and (len(degrees) != 4 or not np.isfinite(degrees).all()):
        raise BadInput("A box has four sides, west,south,east,north in degrees.")
    numbers = [name for name, kind in fields.columns.items() if kind == "number"]
    for name in ranges:
        if name not in numbers:
            raise UnknownName.among("column of numbers", name[:40], numbers)
    if not degrees:
        return Bounds(ranges)
    west, south, east, north = project_boxes(np.array([degrees]), from_degrees)[0].tolist()
    return Bounds(ranges, (west, south, east, north))


def _range(pair: Any) -> tuple[float, float]:
    low, high = pair
    return -np.inf if low is None else float(low), np.inf if high is None else float(high)


def spread(fields: Fields, column: str) -> dict[str, Any]:
    """Return how the values of a column lie: a ramp by quantiles, and how many fields where.

    Raises
    ------
    UnknownName
        If it is no column of numbers.
    """
    numbers = [name for name, kind in fields.columns.items() if kind == "number"]
    if column not in numbers:
        raise UnknownName.among("column of numbers", column[:40], numbers)
    count = len(fields.places)
    chosen = np.unique(np.linspace(0, count - 1, min(count, SAMPLED)).astype(int)).tolist()
    values = np.concatenate([np.zeros(0), *(fields.light(k, k + 1)[1][column] for k in chosen)])
    values = values[np.isfinite(values)]
    if not len(values):
        return {"stops": None, "counts": [], "range": None, "part": False}
    low, high = float(values.min()), float(values.max())
    stops = np.quantile(values, STOPS)
    if (np.diff(stops) <= 0).any():  # many fields of one value
        stops = np.linspace(low, high if high > low else low + 1, len(STOPS))
    counts, _ = np.histogram(values, BINS, (low, high if high > low else low + 1))
    return {
        "stops": stops.tolist(),
        "counts": counts.tolist(),
        "range": [low, high],
        "part": len(chosen) < count,
    }


def kept_rows(
    fields: Fields, bounds: Bounds
) -> Iterator[tuple[int, np.ndarray, Mapping[str, np.ndarray]]]:
    """Yield chunks, the rows of each that lie between the bounds, and the chunk's numbers."""
    near = (
        np.arange(len(fields.places))
        if bounds.box is None
        else np.flatnonzero(touching(fields.boxes, bounds.box))
    )
    for index in near.tolist():
        boxes, table = fields.light(index, index + 1)
        rows = np.flatnonzero(bounds.hold(boxes, table))
        if len(rows):
            yield index, rows, table


def count(fields: Fields, bounds: Bounds) -> dict[str, Any]:
    """Return how many fields lie between the bounds, of how many, and their area in m2."""
    of = sum(place.rows for place in fields.places)
    if of > MOST_COUNTED:
        return {"count": None, "of": of, "area": None}
    number, area = 0, 0.0
    sized = fields.columns.get("metrics:area") == "number"
    for _, rows, table in kept_rows(fields, bounds):
        number += len(rows)
        if sized:
            area += float(np.nansum(table["metrics:area"][rows]))
    return {"count": number, "of": of, "area": area if sized else None}


def package(fields: Fields, bounds: Bounds) -> bytes:
    """Return the fields between the bounds as a GeoPackage, with all their columns.

    Raises
    ------
    BadInput
        If there are none, or too many.
    """
    frames, number = [], 0
    for index, rows, _ in kept_rows(fields, bounds):
        number += len(rows)
        if number > MOST_SAVED:
            raise BadInput(
                f"More than {MOST_SAVED:,} fields are in view: come nearer, filter them, or take "
                "the file itself."
            )
        frames.append(frame_of(fields, index, rows))
    if not frames:
        raise BadInput("No field is in view: move the map or widen the filter.")
    import pandas as pd

    with tempfile.TemporaryDirectory(prefix="selion-view-") as folder:
        path = Path(folder) / "fields.gpkg"
        write_fields(pd.concat(frames, ignore_index=True), path)
        return path.read_bytes()


def frame_of(fields: Fields, index: int, rows: np.ndarray) -> Any:
    """Return rows of a chunk with all their columns as a GeoDataFrame."""
    place = fields.places[index]
    if isinstance(fields, TableFields):
        return fields.frame.iloc[place.first + rows]
    if not isinstance(fields, ParquetFields):
        raise BadInput("The tiles of PMTiles hold no whole fields: open the GeoParquet file.")
    path = fields.opened(place.file)
    footer = read_footer(path)
    crs = crs_of(footer.geo["columns"][fields.geometry], fields.geometry)
    names = [name for name in footer.schema.names if name != fields.covering]
    table = read_groups(path, [place.group], names).take(rows)
    return frame_of_rows(table, fields.geometry, crs, path.name)
