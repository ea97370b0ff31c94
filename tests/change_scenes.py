"""Years that are drawn: ids become probabilities and a table of fields, as 'selion map --scores'
would leave them.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from selion import fields, store
from selion.classes import FTW3
from selion.grid import whole
from selion.labels import Instances, class_labels

GRID = GeoBox((120, 160), Affine(10, 0, 600_000, 0, -10, 5_300_000), "EPSG:32633")


def boxes(
    *given: tuple[int, int, int, int, int], shape: tuple[int, int] = (120, 160)
) -> np.ndarray:
    """Return ids with each rectangle (id, top, left, bottom, right)."""
    ids = np.zeros(shape, np.int32)
    for number, top, left, bottom, right in given:
        ids[top:bottom, left:right] = number
    return ids


def write_year(
    folder: Path,
    ids: np.ndarray,
    grid: GeoBox = GRID,
    *,
    unseen: np.ndarray | None = None,
    name: str = "fields",
    year: int = 2023,
) -> Path:
    """Write ``fields.parquet`` and ``fields.scores.tif`` of one year; nothing is found where it was
    not seen.
    """
    folder.mkdir(parents=True, exist_ok=True)
    hidden = np.zeros(ids.shape, bool) if unseen is None else unseen
    instances = Instances(np.where(hidden, 0, ids).astype(np.int32), grid)
    labels = class_labels(instances).ids
    scores = np.full((3, *ids.shape), 5, np.uint8)
    for code in range(3):
        scores[code][labels == code] = 244
    scores[:, hidden] = 255
    tags = {"classes": json.dumps(FTW3.to_dict()), "image_gsd": repr(10.0)}
    with store.create_cog(
        folder / f"{name}.scores.tif", grid, FTW3.names, np.uint8, nodata=255, tags=tags, force=True
    ) as sink:
        sink.write(whole(grid), scores)
    frame = fields.to_fields(instances, fields.FieldOptions(simplify=0))
    fields.write_fields(
        frame,
        folder / f"{name}.parquet",
        fields.Origin(name, datetime(year, 8, 1, tzinfo=UTC)),
        force=True,
    )
    return folder


def write_picture(
    path: Path, seed: int, grid: GeoBox = GRID, colour: tuple = (400, 700, 300)
) -> Path:
    """Write imagery of a year: one colour, with a grain that stretching needs."""
    grain = np.random.default_rng(seed).integers(0, 40, (3, *grid.shape))
    values = (np.array(colour)[:, None, None] + grain).astype(np.uint16)
    with store.create_cog(path, grid, ("red", "green", "blue"), np.uint16, nodata=0) as sink:
        sink.write(whole(grid), values)
    return path
