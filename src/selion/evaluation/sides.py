"""The sides of a comparison of files, each read by region as object ids.

A raster, polygons burnt where they are needed, a grid that knows nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox

from selion import fields, metrics, store
from selion.errors import BadInput, GridMismatch
from selion.evaluation.vectors import crs_name, fields_column, overlaps, tidy
from selion.fields.schema import confidences_of
from selion.grid import Roi
from selion.labels import Instances
from selion.raster import Source
from selion.store.address import Place
from selion.store.parquet import is_table_folder

VECTORS = (".parquet", ".gpkg", ".geojson", ".json", ".fgb", ".shp", ".gml", ".kml")


def is_vector(path: Place | str) -> bool:
    """Say whether a name is that of a table of polygons, or of a hive folder of such tables."""
    place = store.locate(path)
    remote_folder = str(place).endswith("/")  # is a table, or nothing that could be read
    return place.suffix.lower() in VECTORS or remote_folder or is_table_folder(place)


@dataclass(frozen=True, eq=False)
class RasterIds:
    """Band 1 of a raster as object ids; nodata, and what is below 0, is no object."""

    source: Source
    name: str

    def __post_init__(self) -> None:
        if not np.issubdtype(self.source.dtype, np.integer):
            raise BadInput(
                f"{self.name} holds {self.source.dtype} values; wanted is a raster of object ids "
                "(integers, 0 for none)."
            )
        names = self.source.bands
        if len(names) > 1:
            raise BadInput(
                f"{self.name} has {len(names)} bands ({', '.join(names[:4])}), as an image has; "
                "wanted is one band of object ids (integers, 0 for none), or a table of polygons."
            )

    @property
    def grid(self) -> GeoBox:
        """The raster's grid."""
        return self.source.grid

    def read(self, roi: Roi) -> Instances:
        """Read the ids of a region."""
        part = self.source.read(roi)
        ids = np.maximum(part.values[0], 0).astype(np.int64)
        # nodata may be the largest number of the type, as one huge object
        return Instances(ids if part.valid is None else ids * part.valid, part.grid)


@dataclass(frozen=True, eq=False)
class BurntIds:
    """Polygons as object ids 1, 2, ...

    In their order, burnt by pixel centre; where they overlap, the later one stands.
    """

    frame: Any
    """GeoDataFrame in the grid's CRS."""
    grid: GeoBox
    problems: tuple[str, ...] = ()
    """What was reprojected, repaired, dropped, or overlaps."""

    def read(self, roi: Roi) -> Instances:
        """Burn the polygons of a region."""
        part = self.grid[roi]
        near = (
            np.sort(self.frame.sindex.query(part.pad(1).extent.geom, predicate="intersects"))
            if len(self.frame)
            else np.zeros(0, np.int64)
        )
        return Instances(
            store.burn(self.frame.geometry.to_numpy()[near], (near + 1).tolist(), part), part
        )


@dataclass(frozen=True, eq=False)
class GridIds:
    """Squares of ``step`` px that know nothing of the image."""

    grid: GeoBox
    step: int

    def read(self, roi: Roi) -> Instances:
        """Make the ids of a region."""
        rows, columns = (np.arange(s.start, s.stop) // self.step for s in roi)
        across = -(-self.grid.shape[1] // self.step)
        return Instances(
            (rows[:, None] * across + columns[None, :] + 1).astype(np.int64), self.grid[roi]
        )


@dataclass(frozen=True, eq=False)
class Extent:
    """Where the truth was mapped; an object found elsewhere is neither right nor wrong."""

    inside: RasterIds | BurntIds

    @property
    def grid(self) -> GeoBox:
        """The grid of what it was read from."""
        return self.inside.grid

    def known(self, roi: Roi) -> np.ndarray:
        """Return (y, x) bool: True where the truth was mapped."""
        return self.inside.read(roi).ids > 0


def open_side(path: Place | str, grid: GeoBox, name: str) -> RasterIds | BurntIds:
    """Open a raster of ids or a table of polygons on a grid.

    Polygons are brought to its CRS, and it is said.

    Raises
    ------
    GridMismatch
        If only one of polygons and grid has a CRS, or no polygon lies on the grid.  Rasters on
        other grids are refused when they are compared.
    """
    path = store.locate(path)
    if not is_vector(path):
        return RasterIds(store.open_raster(path), str(path))
    frame = fields.read_fields(path)
    if (grid.crs is None) != (frame.crs is None):
        raise GridMismatch(
            f"The {name} {path.name} has {'no' if frame.crs is None else 'a'} CRS and the "
            f"raster {'none' if grid.crs is None else 'one'}: give both."
        )
    moved = []
    if frame.crs is not None and frame.crs != str(grid.crs):
        moved = [
            f"{name}: polygons were brought from {crs_name(frame)} to the raster's {grid.crs}."
        ]
        frame = frame.to_crs(str(grid.crs))
    if len(frame) and not _overlap(frame.total_bounds, grid.boundingbox.bbox):
        raise GridMismatch(
            f"All {len(frame):,} polygons of the {name} {path.name} lie beside the raster: their "
            f"box is {_box(frame.total_bounds)} and its {_box(grid.boundingbox.bbox)} "
            f"({grid.crs or 'pixels'}). Give two of one place."
        )
    frame, problems = tidy(frame, name)
    return BurntIds(
        frame, grid, (*moved, *problems, *overlaps(name, frame.geometry, "the later one stands"))
    )


def _overlap(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether two boxes (west, south, east, north) share an area; one without numbers does."""
    west, south, east, north = one
    beside = west > other[2] or east < other[0] or south > other[3] or north < other[1]
    return not beside


def _box(bounds: Sequence[float]) -> str:
    return ", ".join(f"{value:.6g}" for value in bounds)


def open_extent(path: Place | str, grid: GeoBox) -> Extent:
    """Open where the truth was mapped: polygons, or a raster that is not 0 there."""
    return Extent(open_side(path, grid, "extent"))


def mapped_area(path: Place | str, crs: Any) -> Any:
    """Return the polygons of an extent as one geometry in ``crs``.

    Raises
    ------
    BadInput
        If the extent is a raster: polygons are compared with polygons without a grid.
    """
    path = store.locate(path)
    if not is_vector(path):
        raise BadInput(
            f"The extent {path} is a raster, but polygons are compared with polygons: give the "
            "extent as polygons too."
        )
    frame = store.read_polygons(path)  # an area, of any number of corners
    if (crs is None) != (frame.crs is None):
        raise GridMismatch(
            f"The extent {path} has {'no' if frame.crs is None else 'a'} CRS and the truth "
            f"{'none' if crs is None else 'one'}: give both."
        )
    return (frame if crs is None else frame.to_crs(crs)).geometry.make_valid().union_all()


def unseen(side: RasterIds | BurntIds, ids: np.ndarray, name: str) -> list[str]:
    """Say what was repaired, and how many polygons no pixel of the comparison belongs to."""
    if isinstance(side, RasterIds):
        return []
    lost = len(side.frame) - len(ids)
    line = (
        f"{name}: {lost:,} of {len(side.frame):,} polygons hold no pixel centre that is compared, "
        "and were left out."
    )
    return [*side.problems, *([line] if lost else [])]


def confidences(side: RasterIds | BurntIds, ids: np.ndarray) -> np.ndarray | None:
    """Return (object,) confidences of the burnt polygons with those ids, if the table has them."""
    said = None if isinstance(side, RasterIds) else confidences_of(side.frame)
    return None if said is None else said[ids - 1]


def column_of(side: RasterIds | BurntIds, column: str, ids: np.ndarray) -> np.ndarray:
    """Return (object,) values of a column of the truth's polygons.

    Raises
    ------
    BadInput
        If the truth is a raster.
    UnknownName
        If its table has no such column.
    """
    if isinstance(side, RasterIds):
        raise BadInput(
            f"Scores by {column!r} were asked for, but the truth {side.name} is a raster: give a "
            "table of polygons that has this column."
        )
    values: np.ndarray = fields_column(side.frame, column).to_numpy(object)[ids - 1]
    return values


def predicted_column(side: RasterIds | BurntIds, column: str, ids: np.ndarray) -> np.ndarray | None:
    """Return (object,) values of a column of the prediction's polygons, or None if it has none."""
    if isinstance(side, RasterIds) or column not in side.frame:
        return None
    values: np.ndarray = side.frame[column].to_numpy(object)[ids - 1]
    return values


def blind_answers(grid: GeoBox, area: Sequence[float]) -> dict[str, GridIds]:
    """Return answers that have not seen the image.

    Grids whose step is the root of the mean true area and a quarter of it, and one object.
    """
    step = max(2, round(float(np.sqrt(np.mean(area))))) if len(area) else 2
    steps = {f"grid of {s} px": s for s in (step, max(2, step // 4))} | {
        "one object everywhere": max(grid.shape)
    }
    return {name: GridIds(grid, size) for name, size in steps.items()}


def squares_of(answer: GridIds) -> int:
    """Return how many objects a grid has."""
    height, width = (int(edge) for edge in answer.grid.shape)
    return -(-height // answer.step) * -(-width // answer.step)


_: type[metrics.ObjectIds] = RasterIds
