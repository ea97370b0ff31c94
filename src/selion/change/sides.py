"""One year on the common grid.

Its fields burnt into a file of ids, its probabilities beside them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from odc.geo.geobox import GeoBox

from selion import fields, prediction, store
from selion.change.grids import on_grid
from selion.change.outcomes import Side
from selion.change.years import Year
from selion.classes import ClassScheme
from selion.errors import BadInput, GridMismatch
from selion.fields.tidy import remeasured
from selion.grid import Roi, check_north_up, pixel_metres, tiles
from selion.raster import Raster, Source
from selion.store.instancemap import make_ids
from selion.store.npy import open_npy

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

BLOCK = 1024
"""Edge in pixels of the blocks in which maps are compared."""


@dataclass(frozen=True, eq=False)
class YearOnGrid:
    """What is kept of one year while it is compared: everything but its outlines."""

    year: Year
    origin: fields.Origin
    scores: Source
    """Probabilities, on the common grid."""
    classes: ClassScheme
    ids: Path
    """(y, x) int32 ``.npy`` file on the common grid: 1 .. n in the order of the table, 0 is no
    field."""
    names: np.ndarray
    """(n,) object: ids in the table."""
    pixels: np.ndarray
    """(n,) float64 pixels on the common grid."""
    area: np.ndarray
    """(n,) float64 in m2 (px2 in a photograph)."""
    perimeter: np.ndarray
    """(n,) float64 in m (px)."""
    centroid: np.ndarray
    """(n, 2) float64 (y, x) in pixels of the common grid."""

    def read_ids(self, roi: Roi) -> np.ndarray:
        """Return the (y, x) int32 ids of a region."""
        return np.array(open_npy(self.ids)[roi])

    def read(self, roi: Roi) -> tuple[Raster, ClassScheme]:
        """Return the probabilities of a region, and what they are of."""
        return self.scores.read(roi), self.classes

    def side(self, seen: np.ndarray, grid: GeoBox) -> Side:
        """Return what outcomes are told from; ``seen`` are (n,) pixels that both years saw."""
        return Side(self.pixels, self.perimeter / mean_pixel(grid), seen)


def mean_pixel(grid: GeoBox) -> float:
    """Return the edge of a pixel in metres; 1 for a photograph."""
    y, x = pixel_metres(grid) or (1.0, 1.0)
    return float(np.sqrt(y * x))


def open_scores(year: Year) -> tuple[Source, ClassScheme, float]:
    """Open the probabilities of a year.

    Return also their classes and the pixel of the image behind them, in pixels of theirs.

    Raises
    ------
    UnreadableFile, BandMismatch, BadInput, GridMismatch
        If they cannot be read, do not say what they are, have no class that comes as objects, or
        lie on a rotated grid.
    """
    source = store.open_raster(year.scores)
    check_north_up(source.grid, str(year.scores))
    classes = prediction.score_classes(source, str(year.scores))
    if not classes.things:
        raise BadInput(
            f"None of the classes {', '.join(classes.names)} of {year.scores} comes as objects: "
            "change is told of fields."
        )
    noted = source.tags.get("image_gsd")
    pixel = max(1.0, float(noted) / mean_pixel(source.grid)) if noted else 1.0
    return prediction.ScoreSource(source), classes, pixel


def place(year: Year, grid: GeoBox, first: Year, folder: Path) -> tuple[YearOnGrid, list[str]]:
    """Bring a year to the common grid.

    Parameters
    ----------
    year : Year
    grid : GeoBox
        That of the first year's probabilities.
    first : Year
        Whose grid it is.
    folder : Path
        Gets the ids.

    Returns
    -------
    (Mapped, list of str)
        And sentences about what was resampled, cut or dropped.

    Raises
    ------
    GridMismatch
        If it cannot be laid over the grid.
    """
    source, classes, _ = open_scores(year)
    scores, note = on_grid(source, grid, (str(year.scores), str(first.scores)))
    frame, notes = read_year(year, grid)
    path = make_ids(folder / year.label, (int(grid.shape[0]), int(grid.shape[1])))
    pixels = burn_ids(frame, grid, path)
    # over a field degrees are as good as metres: geopandas need not warn
    inside = frame.geometry.set_crs(None, allow_override=True).centroid
    x, y = ~grid.transform * (inside.x.to_numpy(), inside.y.to_numpy())
    mapped = YearOnGrid(
        year,
        origin_of(year),
        scores,
        classes,
        path,
        frame["id"].to_numpy(object),
        pixels,
        frame["metrics:area"].to_numpy(np.float64),
        frame["metrics:perimeter"].to_numpy(np.float64),
        np.column_stack([y, x]),
    )
    return mapped, [*([note] if note else []), *notes]


def origin_of(year: Year) -> fields.Origin:
    """Return where a table comes from, as far as it says."""
    return (
        fields.read_origin(year.table)
        if year.table.suffix.lower() == ".parquet"
        else fields.Origin(year.label)
    )


def read_year(year: Year, grid: GeoBox | None = None) -> tuple[GeoDataFrame, list[str]]:
    """Read the fields of a year and measure them, in the CRS of the grid if one is given.

    Rows without a polygon are left out, and it is said.
    """
    frame, notes = fields.read_fields(year.table), []
    if year.others:
        notes.append(
            f"{year.table} was read and not {' or '.join(year.others)} beside it: name the table "
            "that is meant."
        )
    if grid is not None and (frame.crs is None) != (grid.crs is None):
        what = "no CRS" if frame.crs is None else "a CRS"
        raise GridMismatch(
            f"{year.table} has {what}, and its probabilities {year.scores} "
            f"{'have one' if frame.crs is None else 'have none'}: they do not belong together."
        )
    empty = frame.geometry.isna() | frame.geometry.is_empty
    if empty.any():
        notes.append(f"{year.table}: {int(empty.sum()):,} rows without a polygon were left out.")
        frame = frame[~empty].reset_index(drop=True)
    if "id" not in frame:
        frame = frame.assign(id=[f"{year.label}-{number}" for number in range(1, len(frame) + 1)])
        notes.append(f"{year.table} has no column 'id': its fields are numbered.")
    frame = remeasured(frame.assign(id=frame["id"].astype(str)))
    return (frame if grid is None or grid.crs is None else frame.to_crs(str(grid.crs))), notes


def burn_ids(frame: GeoDataFrame, grid: GeoBox, path: Path) -> np.ndarray:
    """Burn polygons into a file of ids, block by block.

    A pixel belongs to the polygon that holds its centre.  Return (n,) pixels of each.
    """
    shapes, tree = frame.geometry.to_numpy(), frame.sindex
    pixels = np.zeros(len(frame) + 1, np.int64)
    for roi in tiles((int(grid.shape[0]), int(grid.shape[1])), BLOCK):
        part = grid[roi]
        near = np.sort(tree.query(part.extent.geom)) if len(frame) else np.zeros(0, np.int64)
        ids = store.burn(shapes[near], (near + 1).tolist(), part)
        pixels += np.bincount(ids.ravel(), minlength=len(pixels))
        open_npy(path, "r+")[roi] = ids
    return pixels[1:].astype(np.float64)


def without_file(mapped: YearOnGrid) -> YearOnGrid:
    """Drop the ids of a year that is done with."""
    mapped.ids.unlink(missing_ok=True)
    return replace(mapped, ids=Path())
