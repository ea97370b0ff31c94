"""Objects become a table of fields.

Outlines, measures on the ground, confidence and an id that says where.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from selion.errors import BadInput, GridMismatch
from selion.fields.memory import give_back
from selion.fields.polygonise import Ids, Rings, Run, outline, pixel_counts
from selion.fields.regularise import ground_steps, regularise
from selion.grid import Roi, ground_sampling_distance, pixel_areas
from selion.labels import Instances

if TYPE_CHECKING:
    import geopandas
    from odc.geo.geobox import GeoBox

PART = 16384
"""Polygons that are brought to the grid's CRS at once."""
NARROW, WIDE = 0.5, 10.0
"""Pixels by which lines may be moved: less moves none, more moves all."""
BASE32 = "0123456789bcdefghjkmnpqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class FieldOptions:
    """How outlines are drawn and which stay.

    Metres and m2 on the ground; pixels and px2 for a photograph.
    """

    simplify: float | None = None
    """Corners whose triangle is smaller than this length squared go, shared edges as one; 0 keeps
    the pixels' outlines; None: 1.5 pixels."""
    regularise: float | Literal["auto"] | None = None
    """Lines of blocks become straight, their angles right, by moving them by this length at most;
    "auto": 1.5 pixels; None: they stay as they are."""
    min_area: float | None = None
    """Smaller fields are dropped; None: the smallest area that the objects were looked for."""
    max_area: float = np.inf
    """Larger fields are dropped."""

    def __post_init__(self) -> None:
        if (
            not (self.simplify is None or 0 <= self.simplify < np.inf)
            or not 0 <= (self.min_area or 0) <= self.max_area
        ):
            raise BadInput(
                f"simplify {self.simplify}, area {self.min_area} to {self.max_area} were given; "
                "wanted are numbers from 0 up, the smaller area first."
            )
        if not (self.regularise in (None, "auto") or 0 < float(self.regularise) < np.inf):
            raise BadInput(
                f"regularise {self.regularise} was given; wanted is a length above 0, or auto for "
                "1.5 pixels."
            )


def check_outlines(options: FieldOptions, grid: GeoBox) -> None:
    """Refuse (BadInput), before there are objects, lengths that do not fit a grid's pixels."""
    if options.regularise is not None:
        _tolerance(options.regularise, ground_sampling_distance(grid) or 1.0)


def to_fields(
    instances: Ids, options: FieldOptions | None = None, *, run: Run = map
) -> geopandas.GeoDataFrame:
    """Turn objects into a table of fields.

    Parameters
    ----------
    instances : Instances or InstanceMap
        (y, x) ids and a table with ``id`` and, if known, ``class`` and ``score``.
    options : FieldOptions, optional
    run : callable
        ``map`` or an executor's.

    Returns
    -------
    GeoDataFrame
        In the raster's CRS, with the columns of :data:`selion.fields.schema.COLUMNS`, in the order
        of the objects' ids.  Neighbours have the same points on their shared edge, so that they
        stay without gap or overlap in any other projection.

    Raises
    ------
    GridMismatch
        If the grid is rotated or cannot be placed on the globe.
    """
    import geopandas

    options = options or FieldOptions()
    least = instances.min_area if options.min_area is None else options.min_area
    options = replace(options, min_area=least)  # refuses what does not fit the largest area
    grid = instances.grid
    pixel = ground_sampling_distance(grid) or 1.0
    crs = None if grid.crs is None else grid.crs.to_wkt()
    counts = pixel_counts(instances)
    simplify = 1.5 if options.simplify is None else options.simplify / pixel
    chosen = _in_range(instances, counts, least, options.max_area)
    rings = outline(chosen, simplify=simplify, nodes=True, run=run, counts=counts)
    if options.regularise is not None:
        raw = outline(chosen, nodes=True, run=run)
        rings = regularise(raw, rings, ground_steps(grid), _tolerance(options.regularise, pixel))
    ids, polygons, area, perimeter = _one_each(rings.ids, *_drawn(rings, grid, crs))
    del rings
    give_back()
    keep = (area >= least) & (area <= options.max_area)
    ids, polygons, area, perimeter = ids[keep], polygons[keep], area[keep], perimeter[keep]
    known = instances.read((slice(0, 0), slice(0, 0))).table.set_index("id").reindex(ids)
    columns = {
        "id": pd.array(place_names(polygons, grid), dtype="string"),
        "class": pd.array(
            known["class"].to_numpy() if "class" in known else np.full(len(ids), None, object),
            dtype="string",
        ),
        "metrics:area": area.astype(np.float32),
        "metrics:perimeter": perimeter.astype(np.float32),
        "confidence": (
            known["score"].to_numpy(np.float32, na_value=np.nan)
            if "score" in known
            else np.full(len(ids), np.nan)
        ).astype(np.float32),
    }
    return geopandas.GeoDataFrame(columns, geometry=polygons, crs=crs)


def _tolerance(given: float | str, pixel: float) -> float:
    """Return the tolerance of regularisation in pixels."""
    if given == "auto":
        return 1.5
    tolerance = float(given) / pixel
    if not NARROW <= tolerance <= WIDE:
        raise BadInput(
            f"regularise {given} was given where a pixel is {pixel:g}; wanted is half a pixel to "
            f"ten, {NARROW * pixel:g} to {WIDE * pixel:g}."
        )
    return tolerance


def _drawn(
    rings: Rings, grid: GeoBox, crs: str | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return polygons, areas and perimeters, some polygons at a time.

    A point takes twice the room in the grid's CRS that it takes on the lattice.
    """
    from selion.fields.tidy import measure_rings

    count = len(rings.ids)
    polygons, area, perimeter = np.empty(count, object), np.empty(count), np.empty(count)
    for start in range(0, count, PART):
        rows = slice(start, min(start + PART, count))
        part = rings.part(rows)
        area[rows], perimeter[rows] = measure_rings(*part.ragged(grid), crs)
        polygons[rows] = part.polygons(grid)
    return polygons, area, perimeter


@dataclass(frozen=True, eq=False)
class Chosen:
    """Ids of which some are left out."""

    instances: Ids
    ids: np.ndarray
    """(k,) int32: of each id itself, or 0."""

    @property
    def grid(self) -> GeoBox:
        """The whole grid."""
        return self.instances.grid

    @property
    def min_area(self) -> float:
        """Area of the smallest object that was looked for."""
        return self.instances.min_area

    def read(self, roi: Roi) -> Instances:
        """Read a region."""
        found = self.instances.read(roi)
        return Instances(self.ids[found.ids], found.grid, found.table)


def _in_range(instances: Ids, counts: np.ndarray, least: float, most: float) -> Ids:
    """Leave out what is clearly too small or too large before any line is drawn.

    By its ``counts`` (k,) of pixels, and by the largest and the smallest of them: it would only
    hold its neighbours' corners.
    """
    small, large = _pixel_range(instances.grid)
    keep = (counts * large >= 0.9 * least) & (counts * small <= most / 0.9)
    return (
        instances
        if keep[1:].all()
        else Chosen(instances, np.where(keep, np.arange(len(keep)), 0).astype(np.int32))
    )


def _pixel_range(grid: GeoBox) -> tuple[float, float]:
    """Return the areas of the smallest and of the largest pixel in m2 (px2 of a photograph)."""
    try:
        sizes, unit = pixel_areas(grid)
    except GridMismatch:  # a corner of the raster lies beyond the globe, and its middle does not
        pixel = ground_sampling_distance(grid) or 1.0
        return pixel**2, pixel**2
    return float(sizes.min()) * unit, float(sizes.max()) * unit


def _one_each(
    ids: np.ndarray, polygons: np.ndarray, area: np.ndarray, perimeter: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Bring the parts of an object together."""
    import shapely

    names, starts, counts = np.unique(ids, return_index=True, return_counts=True)
    if len(names) == len(ids):
        return ids, polygons, area, perimeter
    out = polygons[starts]
    for k in np.flatnonzero(counts > 1):
        out[k] = shapely.multipolygons(polygons[starts[k] : starts[k] + counts[k]])
    return names, out, np.add.reduceat(area, starts), np.add.reduceat(perimeter, starts)


def place_names(polygons: np.ndarray, grid: GeoBox) -> list[str]:
    """Name polygons by where they are.

    The geohash of a point inside, or in a photograph ``x<column>y<row>`` of it.

    Disjoint polygons have different points inside; should two of them share a name, because they
    are millimetres apart, the later ones get a number.
    """
    import shapely

    if not len(polygons):
        return []
    inside = shapely.get_coordinates(shapely.point_on_surface(polygons))
    if grid.crs is None:
        names = [f"x{x:.1f}y{y:.1f}" for x, y in inside]
    else:
        from pyproj import Transformer

        lon, lat = Transformer.from_crs(grid.crs.to_wkt(), "OGC:CRS84", always_xy=True).transform(
            inside[:, 0], inside[:, 1]
        )
        names = geohash(np.asarray(lon), np.asarray(lat))
    if len(set(names)) == len(names):
        return names
    again = pd.Series(names).groupby(names).cumcount().to_numpy()
    return [f"{name}-{k + 1}" if k else name for name, k in zip(names, again, strict=True)]


def geohash(lon: np.ndarray, lat: np.ndarray) -> list[str]:
    """Encode (n,) degrees as geohashes of 12 characters (4 cm by 2 cm).

    Examples
    --------
    >>> geohash(np.array([10.40744]), np.array([57.64911]))
    ['u4pruydqqvj8']
    """
    x = np.clip((lon + 180) % 360 / 360 * 2**30, 0, 2**30 - 1).astype(np.uint64)
    y = np.clip((lat + 90) / 180 * 2**30, 0, 2**30 - 1).astype(np.uint64)
    code = _spread(x) << np.uint64(1) | _spread(y)
    letters = np.frombuffer(BASE32.encode(), np.uint8)
    digits = np.stack(
        [code >> np.uint64(shift) & np.uint64(31) for shift in range(55, -5, -5)], axis=-1
    )
    return (
        np.ascontiguousarray(letters[digits.astype(np.intp)])
        .view("S12")
        .ravel()
        .astype(str)
        .tolist()
    )


def _spread(values: np.ndarray) -> np.ndarray:
    """Put a 0 between the bits of (n,) uint64 values below 2**32."""
    for shift, mask in (
        (16, 0x0000FFFF0000FFFF),
        (8, 0x00FF00FF00FF00FF),
        (4, 0x0F0F0F0F0F0F0F0F),
        (2, 0x3333333333333333),
        (1, 0x5555555555555555),
    ):
        values = (values | (values << np.uint64(shift))) & np.uint64(mask)
    return values
