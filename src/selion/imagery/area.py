"""The area of interest: from a file, a box or GeoJSON to polygons in longitude and latitude."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from selion.errors import BadInput, GridMismatch, UnreadableFile
from selion.grid import LONLAT, is_lonlat
from selion.imagery.globe import (
    LIMIT,
    Box,
    boxes_of,
    cut,
    polygons_of,
    repaired,
    shifted,
    square_kilometres,
    unwrap,
)

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox
    from shapely import MultiPolygon

    from selion.store import Place


@runtime_checkable
class PolygonTable(Protocol):
    """A GeoDataFrame or GeoSeries of geopandas, by what is read of it."""

    @property
    def crs(self) -> Any:
        """The CRS of its polygons."""

    @property
    def geometry(self) -> Any:
        """Its polygons."""

    def to_crs(self, crs: Any) -> Any:
        """Return it in another CRS."""


AreaLike = str | os.PathLike[str] | Mapping[str, object] | Sequence[float] | PolygonTable
"""A file of polygons, a table of geopandas, a box in degrees, or GeoJSON: what :func:`read_area`
reads."""
IMAGES = (".tif", ".tiff", ".jp2", ".vrt", ".png", ".jpg", ".jpeg", ".img")
"""Endings of files that are no polygons."""
SMALLEST = 1e-4
"""km2: one pixel of Sentinel-2."""
WRAPS = {"EPSG:3857": 40075016.685578488}
"""Projected CRSs that go around the globe, and how far that is."""


@dataclass(frozen=True, eq=False)
class Area:
    """Where fields are looked for."""

    name: str
    geometry: MultiPolygon
    """Longitude and latitude, -180 to 180, cut at the antimeridian; valid, without overlaps, as
    exact as it was given."""
    notes: tuple[str, ...] = ()
    """What was done to the polygons that the user should know."""

    @cached_property
    def km2(self) -> float:
        """Size on the ellipsoid."""
        return square_kilometres(self.geometry)

    @cached_property
    def boxes(self) -> tuple[Box, ...]:
        """One box, or two where the area crosses the antimeridian (the western one first)."""
        return boxes_of(_parts(self.geometry))

    @cached_property
    def centre(self) -> tuple[float, float]:
        """Longitude and latitude of the middle, weighted by area; it need not lie inside."""
        import shapely

        parts = _parts(self.geometry)
        if len(self.boxes) == 2:
            west = shapely.bounds(parts)[:, 0]
            parts = np.concatenate([parts[west >= 0], shifted(parts[west < 0], 360.0)])
        x, y = shapely.get_coordinates(shapely.centroid(shapely.multipolygons(parts)))[0]
        return (float(x) + 180) % 360 - 180, float(y)

    @cached_property
    def outlines(self) -> tuple[dict[str, Any], ...]:
        """Per box a GeoJSON geometry of at most some hundred points that covers the area there.

        For asking a catalogue, never for a mask.
        """
        return tuple(_outline(self.geometry, box) for box in self.boxes)

    def within(self, other: Area) -> Area | None:
        """Return the part that lies in another area; None if there is none."""
        import shapely

        parts = polygons_of(np.array([shapely.intersection(self.geometry, other.geometry)]))
        return Area(self.name, shapely.multipolygons(parts)) if len(parts) else None

    def on(self, grid: GeoBox) -> np.ndarray:
        """Return the area's polygons near a grid in its CRS.

        Where that goes on beyond the antimeridian, they do.

        Raises
        ------
        GridMismatch
            If the grid has no CRS.
        """
        return _onto(self.geometry, grid)

    def mask(self, grid: GeoBox) -> np.ndarray:
        """Return which pixels of a grid the area touches.

        Parameters
        ----------
        grid : GeoBox
            In any CRS; it may reach over the antimeridian.

        Returns
        -------
        (y, x) bool ndarray

        Raises
        ------
        GridMismatch
            If the grid has no CRS.
        """
        from selion import store

        shapes = self.on(grid)
        return store.burn(list(shapes), [1] * len(shapes), grid, all_touched=True) > 0


def read_area(given: AreaLike, name: str | None = None) -> Area:
    """Read an area from whatever describes it.

    Parameters
    ----------
    given : path, str, mapping or sequence
        A file of polygons (GeoJSON, GeoPackage, GeoParquet, shapefile, FlatGeobuf ... in any CRS)
        or the address of one, a GeoDataFrame or GeoSeries,
        ``"west,south,east,north"`` or those four numbers in degrees (west > east: over the
        antimeridian), or GeoJSON as text or mapping (geometry, Feature, FeatureCollection).
    name : str, optional
        By default the file's.

    Returns
    -------
    Area
        All polygons together; invalid ones are repaired, what is no polygon is left out, and
        ``notes`` says so.

    Raises
    ------
    UnreadableFile
        If the file is missing or no table of shapes.
    BadInput
        If there is no polygon, nothing of any size, or the numbers cannot be degrees.
    """
    if isinstance(given, PolygonTable):
        if given.crs is None:
            raise BadInput("The table of polygons has no CRS: give it one with set_crs.")
        shapes = given.geometry.to_crs(LONLAT).__geo_interface__
        return _area(_from_geojson(shapes, "The table"), name or "area")
    if isinstance(given, Mapping):
        return _area(_from_geojson(given, "The GeoJSON"), name or "area")
    if isinstance(given, str | os.PathLike):
        from selion import store

        text = os.fspath(given).strip()
        if text.startswith("{"):
            return _area(_from_geojson(_parsed(text), "The GeoJSON"), name or "area")
        numbers = _numbers(text)
        return (
            _from_file(store.locate(text).expanduser(), name)
            if numbers is None
            else _from_box(numbers, name or text)
        )
    return _from_box(
        [float(value) for value in given], name or ",".join(f"{value:g}" for value in given)
    )


def _numbers(text: str) -> list[float] | None:
    pieces = (
        text.strip("[]()").replace(";", ",").split(",")
        if "," in text or ";" in text
        else text.split()
    )
    try:
        return [float(piece) for piece in pieces] if len(pieces) > 1 else None
    except ValueError:
        return None


def _parsed(text: str) -> Mapping[str, object]:
    try:
        found = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise BadInput(
            f"The area begins like GeoJSON but is none ({error}): check the quotes, or give a file."
        ) from error
    return dict(found)


def _from_box(numbers: list[float], name: str) -> Area:
    import shapely

    if len(numbers) == 6:
        numbers = [numbers[k] for k in (0, 1, 3, 4)]
    if len(numbers) != 4 or not np.isfinite(numbers).all():
        raise BadInput(
            f"A box of {len(numbers)} numbers was given ({name}); wanted are four: west, south, "
            "east, north in degrees."
        )
    west, south, east, north = numbers
    if not (
        -180 <= west <= 360 and -180 <= east <= 360 and -90 <= south <= 90 and -90 <= north <= 90
    ):
        raise BadInput(
            f"The box {name} is outside of the globe; wanted are west, south, east, north in "
            f"degrees{_swapped(south, north, west, east)}."
        )
    if south >= north or west == east:
        raise BadInput(
            f"The box {name} has no size: wanted are west, south, east, north, south below north."
        )
    return _sized(
        np.array([shapely.box(west, south, east + 360 if west > east else east, north)]), name, ()
    )


def _swapped(south: float, north: float, west: float, east: float) -> str:
    """Return a suspicion, if the numbers make sense the other way around."""
    likely = (
        max(abs(south), abs(north)) > 90
        and max(abs(west), abs(east)) <= 90
        and max(abs(south), abs(north)) <= 180
    )
    return "; were longitude and latitude swapped?" if likely else ""


@dataclass(frozen=True)
class _Shapes:
    """Geometries as they were read, and what to call them."""

    shapes: np.ndarray
    crs: str | None
    source: str


def _from_file(path: Place, name: str | None) -> Area:
    if isinstance(path, Path) and not path.exists():
        raise UnreadableFile(
            f"There is no file {path}: give a file of polygons, or a box as west,south,east,north "
            "in degrees."
        )
    return _area(_read_table(path), name or path.stem)


def _read_table(path: Place) -> _Shapes:
    from selion import store

    if path.is_dir():
        raise UnreadableFile(
            f"{path} is a folder: give one file of polygons (GeoJSON, GeoPackage, GeoParquet, "
            "shapefile)."
        )
    if path.suffix.lower() in IMAGES:
        raise BadInput(
            f"{path} is an image, and wanted is an area: give polygons, or a box as west,south,"
            f"east,north in degrees. 'selion map {path} -o fields.parquet', without --year, maps "
            "the image itself."
        )
    frame = store.read_polygons(path)
    column = getattr(frame, "_geometry_column_name", None)
    if column is None or column not in frame:
        raise BadInput(f"{path} holds a table without geometry: give a file of polygons.")
    shapes = frame.geometry.to_numpy()
    crs = None if frame.crs is None else frame.crs.to_wkt()
    return _Shapes(shapes[frame.geometry.notna().to_numpy()], crs, str(path))


def _from_geojson(given: Mapping[str, object], source: str) -> _Shapes:
    import shapely
    from shapely.geometry import shape

    kind = given.get("type")
    if kind == "FeatureCollection":
        members = [feature.get("geometry") for feature in given.get("features") or ()]  # type: ignore[attr-defined]
    else:
        members = [given.get("geometry") if kind == "Feature" else given]
    crs = given.get("crs")
    try:
        shapes = [shape(member) for member in members if member]
        wanted = str(crs["properties"]["name"]) if crs else LONLAT  # type: ignore[index]
    except (
        shapely.errors.ShapelyError,
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        IndexError,
    ) as error:
        raise BadInput(
            f"{source} of type {kind!r} cannot be read ({error}): wanted is a geometry, a Feature "
            "or a FeatureCollection."
        ) from error
    return _Shapes(np.array(shapes, object), wanted, source)


def _area(given: _Shapes, name: str) -> Area:
    import shapely

    polygons = polygons_of(given.shapes) if len(given.shapes) else given.shapes
    if not len(polygons):
        kinds = sorted({shape.geom_type for shape in given.shapes})
        what = (
            f"holds {' and '.join(kinds)}, and no polygon: draw the area, or buffer the points"
            if kinds
            else "is empty: it holds no polygon"
        )
        raise BadInput(f"{given.source} {what}.")
    others = len(given.shapes) - int(np.isin(shapely.get_type_id(given.shapes), (3, 6)).sum())
    notes = [f"{others} of its shapes are no polygons and were left out."] if others else []
    polygons = _degrees(shapely.force_2d(polygons), given)
    unwrapped = [unwrap(polygon) for polygon in polygons]
    if any(jumped for _, jumped in unwrapped):
        notes.append(
            "Its outline jumps by more than 180 degrees of longitude: it was taken to cross the "
            "antimeridian."
        )
    return _sized(np.array([polygon for polygon, _ in unwrapped]), name, tuple(notes))


def _degrees(polygons: np.ndarray, given: _Shapes) -> np.ndarray:
    """Return polygons in longitude and latitude; without a CRS they must look like that already."""
    import shapely

    if not np.isfinite(shapely.get_coordinates(polygons)).all():
        raise BadInput(
            f"{given.source} has a polygon with corners without a place (NaN): repair it, or leave "
            "it out."
        )
    if given.crs is not None and not _is_lonlat(given.crs):
        polygons = _projected(polygons, given)
    west, south, east, north = shapely.total_bounds(polygons)
    if not np.isfinite([west, south, east, north]).all():
        raise BadInput(f"{given.source} has points that lie nowhere on the globe: check its CRS.")
    if max(abs(south), abs(north)) <= 90 and max(abs(west), abs(east)) <= LIMIT:
        return polygons
    numbers = f"x {west:g} to {east:g}, y {south:g} to {north:g}"
    if given.crs is None:
        message = (
            f"{given.source} has no CRS, and its numbers ({numbers}) are not degrees: write its "
            "CRS into it, for example with ogr2ogr -a_srs."
        )
    else:
        message = (
            f"{given.source} lies outside of the globe ({numbers} as longitude and "
            f"latitude){_swapped(south, north, west, east)}."
        )
    raise BadInput(message)


def _is_lonlat(crs: str) -> bool:
    from pyproj.exceptions import CRSError

    try:
        return is_lonlat(crs)
    except CRSError as error:
        raise BadInput(
            f"The area is in a CRS that PROJ does not know ({crs[:80]}): write it in longitude and "
            "latitude."
        ) from error


def _projected(polygons: np.ndarray, given: _Shapes) -> np.ndarray:
    import shapely
    from pyproj import Transformer

    transformer = Transformer.from_crs(given.crs, LONLAT, always_xy=True)
    west, south, east, north = shapely.total_bounds(polygons)
    # straight edges of one CRS are curves in the other
    fine = shapely.segmentize(polygons, max(east - west, north - south, 1e-9) / 64)
    return shapely.transform(fine, transformer.transform, interleaved=False)


def _sized(polygons: np.ndarray, name: str, notes: tuple[str, ...]) -> Area:
    import shapely

    polygons, broken = repaired(polygons)
    if broken:
        notes = (
            *notes,
            (
                f"{broken} of its polygons {'was' if broken == 1 else 'were'} not valid (crossing "
                "edges) and repaired."
            ),
        )
    whole = shapely.union_all(cut(polygons)) if len(polygons) else shapely.MultiPolygon()
    area = Area(name, shapely.multipolygons(polygons_of(np.array([whole]))), notes)
    if area.geometry.is_empty or area.km2 < SMALLEST:
        raise BadInput(
            f"The area {name} has no size ({1e6 * area.km2:.0f} m2): wanted is a polygon larger "
            f"than {1e6 * SMALLEST:g} m2."
        )
    return area


# search and mask


def _parts(geometry: MultiPolygon) -> np.ndarray:
    import shapely

    return np.asarray(shapely.get_parts(geometry))


def _outline(geometry: MultiPolygon, box: Box, most: int = 200) -> dict[str, Any]:
    """Cover the part of the area in a box by few points.

    As it is, or by those cells of a coarse net that it touches.

    A simplified line may cut off a corner, and with it a tile; cells cannot.
    """
    import shapely

    shapely.prepare(geometry)
    cover = shapely.multipolygons(
        polygons_of(np.array([shapely.intersection(geometry, shapely.box(*box))]))
    )
    cells = 32
    while shapely.get_num_coordinates(cover) > most and cells > 1:
        x, y = np.linspace(box[0], box[2], cells + 1), np.linspace(box[1], box[3], cells + 1)
        net = shapely.box(x[:-1], y[:-1, None], x[1:], y[1:, None]).ravel()
        cover = shapely.simplify(shapely.union_all(net[shapely.intersects(geometry, net)]), 0)
        cells //= 2
    # one polygon as one, outlines counter-clockwise: what every server understands
    parts = shapely.get_parts(shapely.orient_polygons(cover))
    return dict(
        json.loads(
            shapely.to_geojson(parts[0] if len(parts) == 1 else shapely.multipolygons(parts))
        )
    )


def _onto(geometry: MultiPolygon, grid: GeoBox) -> np.ndarray:
    """Bring the parts of the area near a grid into its CRS."""
    import shapely
    from pyproj import Transformer

    if grid.crs is None:
        raise GridMismatch(
            "The grid has no CRS: an area in longitude and latitude cannot be laid over a "
            "photograph."
        )
    crs, turns = grid.crs.to_wkt(), grid.crs.geographic
    west, south, east, north = _lonlat_box(grid, None if turns else crs)
    frames = [
        shapely.box(west + 360 * turn, south, east + 360 * turn, north) for turn in (-1, 0, 1)
    ]
    near = polygons_of(shapely.intersection(geometry, np.array(frames)))
    if not len(near):
        return near
    if _is_lonlat(crs):
        moved = near
    else:
        transformer = Transformer.from_crs(LONLAT, crs, always_xy=True)
        fine = shapely.segmentize(near, 0.01)
        moved = shapely.transform(fine, transformer.transform, interleaved=False)
    around = (
        360.0
        if turns
        else next((length for name, length in WRAPS.items() if grid.crs == name), 0.0)
    )
    if not around:
        return moved
    return np.concatenate([shifted(moved, turn * around) for turn in (-1, 0, 1)])


def _lonlat_box(grid: GeoBox, crs: str | None, margin: float = 0.05) -> Box:
    """Return a box in running longitudes around a grid; no CRS if it is in degrees already."""
    from pyproj import Transformer

    height, width = grid.shape
    steps = np.linspace(0, 1, 33)
    columns = np.concatenate([steps * width, steps * width, 0 * steps, 0 * steps + width])
    rows = np.concatenate([0 * steps, 0 * steps + height, steps * height, steps * height])
    to_crs = grid.transform
    x, y = (
        to_crs.c + to_crs.a * columns + to_crs.b * rows,
        to_crs.f + to_crs.d * columns + to_crs.e * rows,
    )
    lon, lat = (
        (x, y) if crs is None else Transformer.from_crs(crs, LONLAT, always_xy=True).transform(x, y)
    )
    seen = np.isfinite(lon) & np.isfinite(lat)
    lon, lat = lon[seen], lat[seen]
    if not len(lon):
        return -180.0, -90.0, 180.0, 90.0
    if crs is not None and np.ptp(lon) > 180 and np.ptp(x) < 0.5 * WRAPS["EPSG:3857"]:
        lon = np.where(lon < 0, lon + 360, lon)  # it reaches over the antimeridian
    return (
        lon.min() - margin,
        max(lat.min() - margin, -90.0),
        lon.max() + margin,
        min(lat.max() + margin, 90.0),
    )
