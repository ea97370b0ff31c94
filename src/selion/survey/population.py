"""The population: units of equal area, and the stratum of each, read block by block."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from selion import country, store
from selion.country.statistics import Units
from selion.errors import BadInput, GridMismatch
from selion.fields import read_fields
from selion.fields.schema import check_shares, confidences_of
from selion.grid import LONLAT, Roi, pad_roi
from selion.imagery import Area
from selion.pipeline.cover_tiles import covers_near
from selion.pipeline.land_cover import LandCover
from selion.store.vectors import decoded
from selion.survey.design import CLASSES, SampleOptions, Stratum

if TYPE_CHECKING:
    from pyproj import Transformer

    from selion.raster import Source
    from selion.store.address import Place

Box = tuple[float, float, float, float]
FieldsNear = Callable[[Sequence[Box]], tuple[np.ndarray, np.ndarray | None]]
"""Boxes in degrees -> (n,) outlines in longitude and latitude, (n,) confidences or None."""
STEP = 0.01
"""Degrees between the points of a projected outline: straight lines of a map are bent in another
projection, by less than a metre at this step."""
SLIVER = 1e-3
"""Of the smaller of two districts: what they may share, because they were drawn by hand."""
AT_ONCE = 64
"""Neighbours of a district that are cut at once: the first that overlaps ends it."""
NAMELESS = {"", "nan", "none", "all"}
"""No names of districts; "all" is what the whole is called."""
MOST = 2**30
"""Rows and columns of units at most."""


def fields_of(path: Place) -> FieldsNear:
    """Return what reads the fields of a map near a place.

    A merged map and GeoParquet in longitude and latitude are read by row groups, other files whole.

    Raises
    ------
    UnreadableFile, GridMismatch
        If it is no map of fields on the ground.
    """
    import shapely

    if path.suffix.lower() in ("", ".parquet"):
        return _merged(country.open_maps(path))
    frame = read_fields(path)
    if frame.crs is None:
        raise GridMismatch(f"{path} has no CRS, so that it covers no area: give one that has.")
    frame = frame.to_crs(LONLAT)
    shapes, sure = frame.geometry.to_numpy(), confidences_of(frame)
    tree = shapely.STRtree(shapes)

    def near(boxes: Sequence[Box]) -> tuple[np.ndarray, np.ndarray | None]:
        rows = np.unique(np.concatenate([tree.query(shapely.box(*box)) for box in boxes]))
        return shapes[rows], None if sure is None else sure[rows]

    return near


def _merged(maps: country.Maps) -> FieldsNear:
    import pandas as pd

    from selion.country.lookup import opened

    named: list[str] = []
    if maps.parts:
        with opened(maps.parts[0]) as file:
            named = [n for n in ("confidence", "score") if n in file.schema_arrow.names][:1]

    def near(boxes: Sequence[Box]) -> tuple[np.ndarray, np.ndarray | None]:
        tables = list(country.scan(maps, boxes, named))
        shapes = [decoded(table["geometry"].to_numpy(), "The map") for table in tables]
        found = np.concatenate([np.empty(0, object), *shapes])
        if not named:
            return found, None
        columns = [table.select(named).to_pandas() for table in tables]
        frame = (
            pd.concat([pd.DataFrame({named[0]: []}), *columns])
            if not tables
            else pd.concat(columns)
        )
        return found, confidences_of(frame)

    return near


@dataclass(frozen=True, eq=False)
class Population:
    """All units of an area, and how they are told apart."""

    area: Area
    near: FieldsNear
    options: SampleOptions
    units: Units | None = None
    """Districts."""
    covers: tuple[Source, ...] = ()

    @cached_property
    def crs(self) -> str:
        """Lambert's azimuthal equal-area projection about the middle of the area."""
        lon, lat = self.area.centre
        return f"+proj=laea +lat_0={lat:.1f} +lon_0={lon:.1f} +datum=WGS84 +units=m +no_defs"

    @cached_property
    def grid(self) -> GeoBox:
        """All units: those whose centre the area holds are of the population."""
        import shapely

        edge = self.options.unit
        west, south, east, north = shapely.total_bounds(self.outline)
        first, top = np.floor(west / edge), np.ceil(north / edge)
        shape = int(top - np.floor(south / edge)), int(np.ceil(east / edge) - first)
        if max(shape) > MOST:
            raise BadInput(
                f"{self.area.name} has {shape[0]:,} x {shape[1]:,} units of {edge:g} m: take "
                "larger ones."
            )
        place = Affine(edge, 0, float(first * edge), 0, -edge, float(top * edge))
        return GeoBox(shape, place, self.crs)

    @property
    def corner(self) -> tuple[int, int]:
        """Row and column of the first unit, from the origin of the projection."""
        place, edge = self.grid.transform, self.options.unit
        return -round(place.f / edge), round(place.c / edge)

    @cached_property
    def outline(self) -> np.ndarray:
        """(n,) polygons of the area in the units' CRS."""
        import shapely

        return self.placed(shapely.get_parts(np.array([self.area.geometry], object)), bent=True)

    @cached_property
    def _districts(self) -> np.ndarray:
        return (
            np.empty(0, object) if self.units is None else self.placed(self.units.shapes, bent=True)
        )

    @cached_property
    def _to_units(self) -> Transformer:
        from pyproj import Transformer

        return Transformer.from_crs(LONLAT, self.crs, always_xy=True)

    def placed(self, shapes: np.ndarray, *, bent: bool = False) -> np.ndarray:
        """Bring (n,) outlines in longitude and latitude to the units' CRS."""
        import shapely

        if bent:
            shapes = shapely.segmentize(shapes, STEP)
        moved = shapely.transform(
            shapes, lambda xy: np.column_stack(self._to_units.transform(xy[:, 0], xy[:, 1]))
        )
        return np.asarray(moved)

    def degrees(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Bring points of the units' CRS to longitude and latitude."""
        lon, lat = self._to_units.transform(x, y, direction="INVERSE")
        return np.asarray(lon), np.asarray(lat)

    # Strata

    @property
    def kinds(self) -> tuple[tuple[str, int], ...]:
        """Names of what the map says, and the position of its class in ``CLASSES``."""
        options, field_, other = self.options, CLASSES.index("field"), CLASSES.index("other")
        names = ["field"]
        if options.breaks:
            low, high = options.breaks[0], options.breaks[-1]
            names += [
                f"field, confidence below {low:g}",
                *(f"field, confidence {a:g} to {b:g}" for a, b in pairwise(options.breaks)),
                f"field, confidence {high:g} and above",
            ]
        near = f"other, within {options.near:g} m of a field"
        others = ([near] if options.near else []) + ["other"]
        return (*((name, field_) for name in names), *((name, other) for name in others))

    @property
    def grounds(self) -> tuple[str, ...]:
        """Names of the land covers; one empty name where there are none."""
        none = self.options.land_cover is None
        return ("",) if none else ("on cropland", "not on cropland", "land cover unknown")

    @property
    def places(self) -> tuple[str, ...]:
        """Names of the districts; one empty name where there are none."""
        return ("",) if self.units is None else (*self.units.names, "outside all districts")

    def stratum(self, code: int, units: int, drawn: int) -> Stratum:
        """Describe a stratum by its code."""
        place, rest = divmod(code, len(self.grounds) * len(self.kinds))
        ground, kind = divmod(rest, len(self.kinds))
        name, mapped = self.kinds[kind]
        parts = (self.places[place], name, self.grounds[ground])
        return Stratum("; ".join(filter(None, parts)), mapped, self.places[place], units, drawn)

    def touched(self, block: int) -> list[Roi]:
        """Return the blocks of units that the area touches, row by row.

        Parts far from each other have little in the square around them all.
        """
        import shapely

        shape = (int(self.grid.shape[0]), int(self.grid.shape[1]))
        down, across = (-(-length // block) for length in shape)
        to_unit, near = ~self.grid.transform, set[tuple[int, int]]()
        for west, south, east, north in shapely.bounds(self.outline).tolist():
            (left, top), (right, bottom) = to_unit * (west, north), to_unit * (east, south)
            rows = range(max(int(top // block), 0), min(int(bottom // block) + 1, down))
            columns = range(max(int(left // block), 0), min(int(right // block) + 1, across))
            near.update((row, column) for row in rows for column in columns)
        rois = [
            (
                slice(row * block, min((row + 1) * block, shape[0])),
                slice(column * block, min((column + 1) * block, shape[1])),
            )
            for row, column in sorted(near)
        ]
        boxes = shapely.box(*np.transpose([self.grid[roi].boundingbox.bbox for roi in rois]))
        hit = shapely.STRtree(self.outline).query(boxes, "intersects")[0]
        return [rois[k] for k in np.unique(hit).tolist()]

    def codes(self, roi: Roi) -> np.ndarray:
        """Return the (y, x) int64 stratum of each unit of a block; -1 is not of the population."""
        grid = self.grid[roi]
        inside = store.burn(list(self.outline), [1] * len(self.outline), grid) > 0
        if not inside.any():
            return np.full(inside.shape, -1, np.int64)
        place = np.zeros(inside.shape, np.int64)
        if self.units is not None:
            burnt = store.burn(list(self._districts), range(1, len(self._districts) + 1), grid)
            place = np.where(burnt > 0, burnt - 1, len(self._districts))
        code = (place * len(self.grounds) + self._ground(grid)) * len(self.kinds) + self._kind(roi)
        return np.where(inside, code, -1)

    def _kind(self, roi: Roi) -> np.ndarray:
        """Return (y, x) positions in ``kinds``."""
        margin = int(np.ceil(self.options.near / self.options.unit)) + 1
        shape = (int(self.grid.shape[0]), int(self.grid.shape[1]))
        shapes, sure = self.near(self._boxes(self.grid[pad_roi(roi, margin, shape)]))
        shapes, grid = self.placed(shapes), self.grid[roi]
        found = np.full(tuple(grid.shape), len(self.kinds) - 1, np.int64)
        if self.options.near and len(shapes):
            import shapely

            wide = shapely.buffer(shapes, self.options.near)
            found[store.burn(list(wide), [1] * len(wide), grid) > 0] = len(self.kinds) - 2
        kind = np.zeros(len(shapes), np.int64)
        if self.options.breaks and sure is not None:
            check_shares(sure)
            known = np.isfinite(sure)
            kind[known] = 1 + np.digitize(sure[known], self.options.breaks)
        burnt = store.burn(list(shapes), (kind + 1).tolist(), grid)
        return np.where(burnt > 0, burnt - 1, found)

    def _ground(self, grid: GeoBox) -> np.ndarray | int:
        """Return (y, x) positions in ``grounds``."""
        cover = self.options.land_cover
        if cover is None:
            return 0
        found = np.full(tuple(grid.shape), 2, np.int64)
        lon, lat = self.degrees(*_centres(grid))
        for source in self.covers:
            where, codes = _looked_up(source, lon, lat)
            new = where & (found == 2)
            found[new] = np.where(np.isin(codes[new], sorted(cover.crops)), 0, 1)
        return found

    def _boxes(self, grid: GeoBox) -> list[Box]:
        """Return boxes in degrees around a block, two where it crosses the antimeridian."""
        box = grid.extent.boundingbox
        edge = np.linspace(0, 1, 33)
        x = np.concatenate(
            [box.left + edge * (box.right - box.left)] * 2
            + [np.full(33, box.left), np.full(33, box.right)]
        )
        y = np.concatenate(
            [np.full(33, box.bottom), np.full(33, box.top)]
            + [box.bottom + edge * (box.top - box.bottom)] * 2
        )
        lon, lat = self.degrees(x, y)
        south, north = float(lat.min()) - 1e-4, float(lat.max()) + 1e-4
        if np.ptp(lon) <= 180:
            return [(float(lon.min()) - 1e-4, south, float(lon.max()) + 1e-4, north)]
        return [
            (float(lon[lon > 0].min()) - 1e-4, south, 180.0, north),
            (-180.0, south, float(lon[lon <= 0].max()) + 1e-4, north),
        ]


def _centres(grid: GeoBox) -> tuple[np.ndarray, np.ndarray]:
    rows, columns = np.indices(tuple(grid.shape)) + 0.5
    x, y = grid.transform * (columns, rows)
    return np.asarray(x), np.asarray(y)


def _looked_up(source: Source, lon: np.ndarray, lat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where a raster has data at points, and its first band there."""
    from pyproj import Transformer

    crs = source.grid.crs
    if crs is None:
        raise GridMismatch("A raster of land cover has no CRS: give one that has.")
    x, y = Transformer.from_crs(LONLAT, crs.to_wkt(), always_xy=True).transform(lon, lat)
    column, row = (np.floor(v).astype(np.int64) for v in ~source.grid.transform * (x, y))
    height, width = source.grid.shape
    where = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    values = np.zeros(where.shape, np.int64)
    if where.any():
        first, left = int(row[where].min()), int(column[where].min())
        roi = (
            slice(first, int(row[where].max()) + 1),
            slice(left, int(column[where].max()) + 1),
        )
        part = source.read(roi)
        at = row[where] - first, column[where] - left
        values[where] = part.values[0][at]
        if part.valid is not None:
            where[where] = part.valid[at]
    return where, values


def open_population(path: Place, area: Area, options: SampleOptions) -> Population:
    """Open a map, its districts and its land cover for drawing.

    Raises
    ------
    SelionError
        If one of them cannot be used.
    """
    units = None
    if options.districts is not None:
        units = country.read_units(options.districts, options.district_column)
        check_districts(units, options.districts)
    cover: LandCover | None = options.land_cover
    covers = () if cover is None else tuple(s for _, s in covers_near(cover.rasters, area.boxes))
    return Population(area, fields_of(path), options, units, covers)


def check_districts(units: Units, path: Place) -> None:
    """Refuse districts that could not be told apart, or that share ground.

    Raises
    ------
    BadInput
        If two share a name, one has none or that of the whole, or two overlap.
    """
    import shapely

    unnamed = [name for name in units.names if name.strip().lower() in NAMELESS]
    if len(set(units.names)) < len(units.names) or unnamed:
        raise BadInput(
            f"Some districts of {path} share a name, or have none ({', '.join(unnamed[:3])}): name "
            "a column whose values differ (--district-column)."
        )
    tree = shapely.STRtree(units.shapes)
    for row in range(len(units.shapes)):
        near = np.sort(tree.query(units.shapes[row]))
        near = near[near > row]
        for start in range(0, len(near), AT_ONCE):
            _check_apart(units, row, near[start : start + AT_ONCE], path)


def _check_apart(units: Units, row: int, others: np.ndarray, path: Place) -> None:
    """Refuse a district that shares ground with another one."""
    import shapely

    shape, shapes = units.shapes[row], units.shapes[others]
    common = shapely.area(shapely.intersection(shape, shapes))
    least = np.minimum(shapely.area(shape), shapely.area(shapes))
    if (bad := np.flatnonzero(common > SLIVER * least)).size:
        raise BadInput(
            f"The districts {units.names[row]} and {units.names[others[bad[0]]]} of {path} "
            "overlap, so that a unit would belong to both: give districts that do not."
        )
