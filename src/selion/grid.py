"""Where things are.

Grids, regions of a grid, and the lattice of windows that every prediction shares.

A grid is an :class:`odc.geo.geobox.GeoBox`: a shape, an affine transform and a CRS in one hashable
value.  A photograph is a grid without a CRS whose unit is the pixel.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import CRS, Geod, Transformer
from pyproj.exceptions import ProjError

from selion.errors import BadInput, GridMismatch

Roi = tuple[slice, slice]
"""Rows and columns: it indexes arrays (``values[:, *roi]``) and grids (``grid[roi]``) alike.
Always explicit non-negative bounds."""
LONLAT = "OGC:CRS84"
"""Longitude and latitude on WGS 84, in this order."""
CELL = 256
"""Pixels of one cell of this edge count as equally large."""
STEP = 1e-5
"""Radians on the ground over which the metric is measured; about 60 m."""


SMALLEST = 1e-5
"""Edge of a pixel in metres below which a grid cannot be right."""


def photo_grid(shape: tuple[int, int]) -> GeoBox:
    """Return the grid of a photograph: pixels, no CRS."""
    return GeoBox(shape, Affine.identity(), None)


def whole(grid: GeoBox) -> Roi:
    """Return the region that is the whole grid."""
    height, width = grid.shape
    return slice(0, height), slice(0, width)


def pad_roi(roi: Roi, margin: int, shape: tuple[int, int]) -> Roi:
    """Grow a region by ``margin`` pixels on each side, cut to ``shape`` (y, x)."""
    rows, columns = roi
    return (
        slice(max(rows.start - margin, 0), min(rows.stop + margin, shape[0])),
        slice(max(columns.start - margin, 0), min(columns.stop + margin, shape[1])),
    )


def inside(roi: Roi, frame: Roi) -> Roi:
    """Express ``roi`` in the pixel coordinates of the array that was cut out by ``frame``."""
    return (
        slice(roi[0].start - frame[0].start, roi[0].stop - frame[0].start),
        slice(roi[1].start - frame[1].start, roi[1].stop - frame[1].start),
    )


def overlap(one: Roi, other: Roi) -> Roi | None:
    """Return the common region of two regions, or None."""
    rows = slice(max(one[0].start, other[0].start), min(one[0].stop, other[0].stop))
    columns = slice(max(one[1].start, other[1].start), min(one[1].stop, other[1].stop))
    return (rows, columns) if rows.start < rows.stop and columns.start < columns.stop else None


def clip_roi(roi: Roi, shape: tuple[int, int]) -> Roi:
    """Cut off what of a region passes the lower or right edge of a grid of ``shape`` (y, x)."""
    rows, columns = roi
    return slice(rows.start, min(rows.stop, shape[0])), slice(
        columns.start, min(columns.stop, shape[1])
    )


def roi_shape(roi: Roi) -> tuple[int, int]:
    """Return the (y, x) size of a region."""
    return roi[0].stop - roi[0].start, roi[1].stop - roi[1].start


def tiles(shape: tuple[int, int], size: int) -> list[Roi]:
    """Cut ``shape`` (y, x) into a row-major list of disjoint square regions of ``size`` px.

    The last ones are smaller.
    """
    height, width = shape
    return [
        (slice(top, min(top + size, height)), slice(left, min(left + size, width)))
        for top in range(0, height, size)
        for left in range(0, width, size)
    ]


def check_north_up(grid: GeoBox, name: str = "the image") -> None:
    """Refuse rotated or sheared grids.

    Raises
    ------
    GridMismatch
        If the transform has rotation terms.
    """
    transform = grid.transform
    if abs(transform.b) > 1e-9 * abs(transform.a) or abs(transform.d) > 1e-9 * abs(transform.e):
        raise GridMismatch(
            f"{name} has a rotated geotransform ({tuple(round(v, 6) for v in transform[:6])}): "
            "warp it north-up first, for example with gdalwarp."
        )


def check_place(grid: GeoBox, name: str = "the image") -> None:
    """Refuse a grid that lies nowhere on Earth, or whose pixels are too small for any.

    Raises
    ------
    GridMismatch
        If its coordinates are none of its CRS, such as metres in one of degrees; if a pixel is
        smaller than a hundredth of a millimetre.
    """
    if grid.crs is None:
        return
    degrees = grid.crs.geographic
    x0, y0, x1, y1 = grid.boundingbox.bbox
    far = max(abs(y0), abs(y1)) > 91 or max(abs(x0), abs(x1)) > 541
    if degrees and (far or not np.isfinite([x0, y0, x1, y1]).all()):
        raise GridMismatch(
            f"{name} has the CRS {grid.crs}, which is in degrees, and coordinates such as "
            f"{x0:.10g}, {y0:.10g}: assign the CRS that it really has, for example with gdal_edit "
            "-a_srs."
        )
    least = SMALLEST / 111_000 if degrees else SMALLEST
    if min(abs(grid.transform.a), abs(grid.transform.e)) < least:
        raise GridMismatch(
            f"{name} has pixels of {abs(grid.transform.a):.3g} {'degrees' if degrees else 'm'}: "
            "its geotransform is wrong; assign the right one, for example with gdal_edit -a_ullr."
        )


def same_grid(
    one: GeoBox, other: GeoBox, names: tuple[str, str] = ("the first", "the second")
) -> None:
    """Check that two grids are the same to a hundredth of a pixel.

    Raises
    ------
    GridMismatch
        If shape, CRS or transform differ; the message says which.
    """
    if one.shape != other.shape:
        what = f"{tuple(one.shape)} and {tuple(other.shape)} pixels"
    elif one.crs != other.crs:
        what = f"CRS {one.crs} and {other.crs}"
    elif any(
        abs(a - b) > 0.01 * abs(one.transform.a)
        for a, b in zip(one.transform[:6], other.transform[:6], strict=True)
    ):
        what = f"transforms {tuple(one.transform[:6])} and {tuple(other.transform[:6])}"
    else:
        return
    raise GridMismatch(
        f"{names[0]} and {names[1]} lie on different grids ({what}): resample one onto the other."
    )


def ground_sampling_distance(grid: GeoBox) -> float | None:
    """Return the mean pixel size on the ground, in metres, at the centre of the grid.

    None without a CRS.

    Measured on the ellipsoid, so it is right in degrees, in feet and in Web Mercator, whose metres
    are not metres.
    """
    size = pixel_metres(grid)
    return None if size is None else math.sqrt(size[0] * size[1])


def pixel_metres(grid: GeoBox) -> tuple[float, float] | None:
    """Return the (y, x) edges of a pixel on the ground, in metres, at the centre of the grid.

    None without a CRS.
    """
    if grid.crs is None:
        return None
    height, width = grid.shape
    step_y, step_x = max(height // 8, 1), max(width // 8, 1)
    transform = grid.transform
    points = [
        transform * (width / 2, height / 2),
        transform * (width / 2 + step_x, height / 2),
        transform * (width / 2, height / 2 + step_y),
    ]
    lons, lats = _lonlat(grid, points)
    geod = Geod(ellps="WGS84")
    _, _, east = geod.inv(lons[0], lats[0], lons[1], lats[1])
    _, _, south = geod.inv(lons[0], lats[0], lons[2], lats[2])
    return abs(south) / step_y, abs(east) / step_x


def _transformer(crs: str, target: str) -> Transformer:
    """Return what brings points of a CRS elsewhere; GridMismatch where PROJ knows no way."""
    try:
        return Transformer.from_crs(CRS.from_user_input(crs), target, always_xy=True)
    except ProjError as error:
        raise GridMismatch(
            f"PROJ knows no way from the CRS {crs[:80]} to longitude and latitude: assign the "
            "right one, for example with gdal_edit."
        ) from error


def _lonlat(grid: GeoBox, points: list[tuple[float, float]]) -> tuple[list[float], list[float]]:
    to_lonlat = _transformer(str(grid.crs), "EPSG:4326")
    lons, lats = to_lonlat.transform([p[0] for p in points], [p[1] for p in points])
    if not all(math.isfinite(v) for v in (*lons, *lats)):
        raise GridMismatch(
            f"The grid's centre cannot be placed on the globe (CRS {grid.crs}): check the CRS of "
            "the image."
        )
    return list(lons), list(lats)


def metres_per_unit(crs: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return how a step in a CRS is a step on the ground.

    Parameters
    ----------
    crs : str
        Anything that pyproj understands.
    x, y : (n,) float ndarray
        Points in that CRS.

    Returns
    -------
    (n, 2, 2) float64 ndarray
        J with (east, north) metres = J @ (dx, dy), on the WGS 84 ellipsoid.

    Raises
    ------
    GridMismatch
        If the points cannot be placed on the globe.
    """
    source = CRS.from_user_input(crs)
    to_lonlat = _transformer(crs, "OGC:CRS84")
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    step = (
        STEP * 6371008.8 / source.axis_info[0].unit_conversion_factor
        if source.is_projected
        else np.degrees(STEP)
    )
    offsets = np.array([(step, 0), (-step, 0), (0, step), (0, -step)])
    lon, lat = to_lonlat.transform((x + offsets[:, :1]).ravel(), (y + offsets[:, 1:]).ravel())
    lon, lat = np.reshape(lon, (4, -1)), np.reshape(lat, (4, -1))
    if not (np.isfinite(lon).all() and np.isfinite(lat).all()):
        raise GridMismatch(f"Some points cannot be placed on the globe (CRS {crs}): check the CRS.")
    east, north = _radii(lat.mean(axis=0))
    dlon = np.stack([_short(lon[0] - lon[1]), _short(lon[2] - lon[3])], axis=-1) / (2 * step)
    dlat = np.stack([lat[0] - lat[1], lat[2] - lat[3]], axis=-1) / (2 * step)
    return np.stack([np.radians(dlon) * east[:, None], np.radians(dlat) * north[:, None]], axis=1)


def _short(degrees: np.ndarray) -> np.ndarray:
    """Take differences of longitude the short way round."""
    return (degrees + 180) % 360 - 180


def _radii(lat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Metres per radian of longitude and of latitude on the WGS 84 ellipsoid."""
    a, e2 = 6378137.0, 0.0066943799901413165
    w2 = 1 - e2 * np.sin(np.radians(lat)) ** 2
    return a / np.sqrt(w2) * np.cos(np.radians(lat)), a * (1 - e2) / w2**1.5


def pixel_areas(grid: GeoBox) -> tuple[np.ndarray, float]:
    """Return how large pixels are.

    (Y, X) int64 per cell of CELL px, and the m2 (px2 for a photograph) of one unit.
    """
    rows, columns = (-(-int(size) // CELL) for size in grid.shape)
    if grid.crs is None:
        return np.full((rows, columns), 1 << 20, np.int64), 1 / (1 << 20)
    x, y = np.meshgrid((np.arange(columns) + 0.5) * CELL, (np.arange(rows) + 0.5) * CELL)
    x, y = np.minimum(x, grid.shape[1]), np.minimum(y, grid.shape[0])
    transform = grid.transform
    jacobian = metres_per_unit(
        str(grid.crs), transform.a * x.ravel() + transform.c, transform.e * y.ravel() + transform.f
    )
    area = np.abs(np.linalg.det(jacobian) * transform.a * transform.e).reshape(rows, columns)
    unit = float(area[rows // 2, columns // 2]) / (1 << 20)
    return np.round(area / unit).astype(np.int64), unit


def is_lonlat(crs: str) -> bool:
    """Say whether a CRS is longitude and latitude on WGS 84, in whatever order.

    Raises
    ------
    pyproj.exceptions.CRSError
        If PROJ does not know it.
    """
    known = CRS.from_user_input(crs)
    return any(
        known.equals(CRS.from_user_input(name), ignore_axis_order=True)
        for name in (LONLAT, "EPSG:4326")
    )


@dataclass(frozen=True)
class Lattice:
    """The global lattice of windows over a grid.

    It depends on nothing but the grid's shape, the window and the overlap.

    Windows start every ``stride`` pixels; the last one in each direction is moved back so that it
    ends at the edge.  Because the lattice is global, any block can work out which windows touch it,
    and all blocks agree.
    """

    shape: tuple[int, int]
    """(y, x) size of the grid in pixels."""
    window: int
    """Edge of a window in pixels."""
    overlap: float = 0.25
    """Share of a window that it has in common with its neighbour, 0 to 0.75."""
    step: int = 1
    """Windows start at multiples of this many pixels; shape and window must be multiples of it."""
    shift: tuple[int, int] = (0, 0)
    """(y, x) pixels by which all windows are moved but those at the grid's edges; multiples of
    ``step`` below the stride."""

    def __post_init__(self) -> None:
        if self.window < 1 or not 0 <= self.overlap <= 0.75:
            raise BadInput(
                f"A window of {self.window} px with overlap {self.overlap} was asked for; wanted "
                "is a positive window and an overlap from 0 to 0.75."
            )

    @property
    def stride(self) -> int:
        """Distance between window starts in pixels."""
        return self.step * max(1, round(self.window // self.step * (1 - self.overlap)))

    @cached_property
    def starts(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Window starts along y and along x."""
        rows, columns = (self._starts(*axis) for axis in zip(self.shape, self.shift, strict=True))
        return rows, columns

    def _starts(self, size: int, shift: int) -> tuple[int, ...]:
        if size <= self.window:
            return (0,)
        first = (0,) if shift else ()
        regular = tuple(range(shift, size - self.window, self.stride))
        return (*first, *regular, size - self.window)

    def __len__(self) -> int:
        return len(self.starts[0]) * len(self.starts[1])

    def window_roi(self, row: int, column: int) -> Roi:
        """Region of the window in lattice row ``row``, column ``column``.

        It passes the edge if the grid is smaller than a window.
        """
        top, left = self.starts[0][row], self.starts[1][column]
        return slice(top, top + self.window), slice(left, left + self.window)

    def touching(self, roi: Roi) -> Iterator[tuple[int, int]]:
        """Lattice positions of all windows that share a pixel with ``roi``.

        They are (row, column), row-major.
        """
        rows = [
            k
            for k, top in enumerate(self.starts[0])
            if top < roi[0].stop and top + self.window > roi[0].start
        ]
        columns = [
            k
            for k, left in enumerate(self.starts[1])
            if left < roi[1].stop and left + self.window > roi[1].start
        ]
        return ((row, column) for row in rows for column in columns)
