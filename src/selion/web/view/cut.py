"""Fields of one tile.

Only the chunks that touch it are read, only so many fields are shown, and each only as fine as it
can be seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from selion.fields.mvt import EXTENT, TileLayer, encode_layer, flatten
from selion.store.vectors import readable_shapes, touching
from selion.web.view.cells import MOST, Keep, Overview
from selion.web.view.chunks import Chunk, Fields
from selion.web.view.place import EARTH, Box, Projection, WebTile, is_across

BUFFER = 64
"""Units beyond the edge of a tile that outlines are drawn to, so that no seam is seen."""
SEEN = 4.0
"""Units of a tile, half a pixel of the screen: what is simplified away is smaller."""
MOST_ROWS = 2_500_000
"""Rows whose chunks are read for one tile; a file whose rows lie anyhow is shown by cells only."""


@dataclass(frozen=True, eq=False)
class Picked:
    """Rows of a chunk."""

    chunk: Chunk
    first: int
    rows: np.ndarray

    @property
    def areas(self) -> np.ndarray:
        """(row,) area of the boxes."""
        west, south, east, north = self.chunk.boxes[self.rows].T
        return (east - west) * (north - south)


def cut_tile(
    fields: Fields,
    overview: Overview | None,
    zoom: int,
    tile: WebTile,
    most: int = MOST,
    keep: Keep | None = None,
) -> bytes:
    """Return a vector tile.

    Layer ``fields`` from ``zoom`` on, and where a tile would need too much of the file, ``cells``
    otherwise.  With ``keep`` only those rows are drawn; of cells the overview has them already.
    """
    box = widened(tile)
    near = np.flatnonzero(touching(fields.boxes, box))
    if overview is not None and (
        tile.z < zoom or sum(fields.places[k].rows for k in near.tolist()) > MOST_ROWS
    ):
        return encode_layer("cells", overview.cut(tile), keep_flat=True)
    picked = pick(fields, near, box, most, keep)
    # the outline of a field that is narrower than a unit is still seen
    return encode_layer("fields", draw(fields, picked, tile), keep_flat=True) if picked else b""


def widened(tile: WebTile) -> Box:
    """Return the box of a tile with its buffer."""
    west, south, east, north = tile.box
    more = tile.edge * BUFFER / EXTENT
    return west - more, south - more, east + more, north + more


def pick(
    fields: Fields, near: np.ndarray, box: Box, most: int, keep: Keep | None = None
) -> list[Picked]:
    """Return the rows that touch a box; of too many, the largest."""
    found = []
    for index in near.tolist():
        chunk = fields.chunk(index)
        wanted = touching(chunk.boxes, box)
        if keep is not None:
            wanted &= keep(chunk.boxes, chunk.table)
        rows = np.flatnonzero(wanted)
        if len(rows):
            found.append(Picked(chunk, fields.places[index].first, rows))
    count = sum(len(each.rows) for each in found)
    if count <= most:
        return found
    least = np.partition(np.concatenate([each.areas for each in found]), count - most)[count - most]
    thinned = [
        Picked(each.chunk, each.first, each.rows[each.areas >= least][:most]) for each in found
    ]
    return [each for each in thinned if len(each.rows)]


def draw(fields: Fields, picked: list[Picked], tile: WebTile) -> TileLayer:
    """Return rows as a layer of a tile."""
    import shapely

    # coordinates may be anything
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        drawn = [shapes_of(each, fields.project, tile) for each in picked]
    shapes = np.concatenate(drawn)
    numbers = np.concatenate([each.first + each.rows for each in picked])
    table = {}
    for name, kind in fields.columns.items():
        column = np.concatenate([each.chunk.table[name][each.rows] for each in picked])
        table[name] = rounded(column) if kind == "number" else column
    parts, owner = shapely.get_parts(shapes, return_index=True)
    sound = shapely.get_type_id(parts) == 3
    outlines = flatten(shapely.orient_polygons(parts[sound]), owner[sound], len(numbers))
    return TileLayer(outlines, table, numbers=numbers)


def shapes_of(picked: Picked, project: Projection, tile: WebTile) -> np.ndarray:
    """Return the polygons of rows in units of the tile.

    Simplified to what is seen, cut where they leave it.
    """
    import shapely

    wkb = picked.chunk.shapes.take(picked.rows).to_numpy(zero_copy_only=False)
    shapes = shapely.force_2d(readable_shapes(wkb))
    shapes[~np.isin(shapely.get_type_id(shapes), (3, 6))] = None
    west, _, _, north = tile.box

    def to_units(points: np.ndarray) -> Any:
        units = (points - [west, north]) * np.array([1, -1]) * (EXTENT / tile.edge)
        # giant fields: cut below, never overflowing
        return np.clip(np.nan_to_num(units, nan=0.0, posinf=1e9, neginf=-1e9), -1e9, 1e9)

    units = shapely.transform(shapes, lambda points: to_units(project(points)))
    if (across := is_across(picked.chunk.boxes[picked.rows])).any():
        units[across] = shapely.transform(in_one_piece(shapes[across], project, tile), to_units)
    shapes = shapely.simplify(units, SEEN, preserve_topology=False)
    low, high = -BUFFER, EXTENT + BUFFER
    bounds = shapely.bounds(shapes)
    out = np.flatnonzero((bounds[:, :2] < low).any(1) | (bounds[:, 2:] > high).any(1))
    shapes[out] = [clipped(shape, low, high) for shape in shapes[out]]
    return np.asarray(shapes)


def in_one_piece(shapes: np.ndarray, project: Projection, tile: WebTile) -> np.ndarray:
    """Project fields on both sides of the antimeridian, whole at the side of a tile.

    In a CRS of metres an outline goes on there, and on the map it would go around the world.  What
    is in two pieces, as in longitude and latitude, stays.
    """
    import shapely

    parts, owner = shapely.get_parts(shapes, return_index=True)
    parts = shapely.transform(parts, project)
    end = np.array([2 * EARTH, 0.0])
    jumping = is_across(shapely.bounds(parts).reshape(-1, 4))
    parts[jumping] = shapely.transform(
        parts[jumping],
        lambda points: points + end * (points[:, :1] < 0) - end * (tile.box[0] < 0),
    )
    whole = np.full(len(shapes), None, object)
    shapely.multipolygons(parts, indices=owner, out=whole)
    return whole


def clipped(shape: Any, low: float, high: float) -> Any:
    """Cut a shape to the tile; one that crosses itself so that GEOS gives up is not drawn."""
    import shapely

    try:
        return shapely.clip_by_rect(shape, low, low, high, high)
    except shapely.errors.GEOSException:
        return None


def rounded(column: np.ndarray) -> np.ndarray:
    """Round to three digits, so that values repeat and tiles stay small."""
    with np.errstate(invalid="ignore", divide="ignore"):
        digits = np.where(column == 0, 0, np.floor(np.log10(np.abs(column))))
    scale = 10.0 ** np.nan_to_num(np.clip(2 - digits, -15, 15), nan=0.0)
    return np.asarray(np.round(column * scale) / scale)
