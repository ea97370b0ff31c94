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

from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Geod

from selion.errors import BadInput, GridMismatch

Roi = tuple[slice, slice]
"""Rows and columns: it indexes arrays (``values[:, *roi]``) and grids (``grid[roi]``) alike.
Always explicit non-negative bounds."""


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
        message = (
            f"{name} has a rotated geotransform ({tuple(round(v, 6) for v in transform[:6])}): "
            "warp it north-up first, for example with gdalwarp."
        )
        raise GridMismatch(message)


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
    message = (
        f"{names[0]} and {names[1]} lie on different grids ({what}): resample one onto the other."
    )
    raise GridMismatch(message)


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


def _lonlat(grid: GeoBox, points: list[tuple[float, float]]) -> tuple[list[float], list[float]]:
    from pyproj import CRS, Transformer

    to_lonlat = Transformer.from_crs(
        CRS.from_user_input(str(grid.crs)), "EPSG:4326", always_xy=True
    )
    lons, lats = to_lonlat.transform([p[0] for p in points], [p[1] for p in points])
    if not all(math.isfinite(v) for v in (*lons, *lats)):
        message = (
            f"The grid's centre cannot be placed on the globe (CRS {grid.crs}): check the CRS of "
            "the image."
        )
        raise GridMismatch(message)
    return list(lons), list(lats)


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

    def __post_init__(self) -> None:
        if self.window < 1 or not 0 <= self.overlap <= 0.75:
            message = (
                f"A window of {self.window} px with overlap {self.overlap} was asked for; wanted "
                "is a positive window and an overlap from 0 to 0.75."
            )
            raise BadInput(message)

    @property
    def stride(self) -> int:
        """Distance between window starts in pixels."""
        return max(1, round(self.window * (1 - self.overlap)))

    @cached_property
    def starts(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Window starts along y and along x."""
        return self._starts(self.shape[0]), self._starts(self.shape[1])

    def _starts(self, size: int) -> tuple[int, ...]:
        if size <= self.window:
            return (0,)
        regular = tuple(range(0, size - self.window, self.stride))
        return (*regular, size - self.window)

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
