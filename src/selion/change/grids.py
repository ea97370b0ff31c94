"""Two maps on one grid.

As they are, cut to what they share, or resampled, and a sentence that says which.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from odc.geo.geobox import GeoBox
from scipy import ndimage

from selion.errors import GridMismatch
from selion.grid import Roi, inside, overlap, roi_shape, whole
from selion.raster import DerivedSource, Raster, Source

CLOSE = 0.01
"""Pixels that two grids may lie apart and count as the same."""
PROBES = 64
"""Points on each edge of the lattice that tells how much two grids share."""
STEP = 32
"""Pixels between the points that are projected exactly; between them places are interpolated (a UTM
grid bends by less than 1e-5 px over that)."""


@dataclass(frozen=True, eq=False)
class Shifted(DerivedSource):
    """A Source on a grid that is whole pixels away from its own.

    What lies outside of it is not valid.
    """

    target: GeoBox
    offset: tuple[int, int]
    """(y, x) of this grid's first pixel in the source's pixels."""

    @property
    def grid(self) -> GeoBox:
        """The grid it was moved onto."""
        return self.target

    def read(self, roi: Roi) -> Raster:
        """Read a region."""
        there: Roi = tuple(
            slice(part.start + by, part.stop + by)
            for part, by in zip(roi, self.offset, strict=True)
        )  # type: ignore[assignment]
        values, valid = (
            np.zeros((len(self.bands), *roi_shape(roi)), self.dtype),
            np.zeros(roi_shape(roi), bool),
        )
        common = overlap(there, whole(self.source.grid))
        if common:
            part, at = self.source.read(common), inside(common, there)
            values[:, *at] = part.values
            valid[at] = True if part.valid is None else part.valid
        return Raster(values, self.grid[roi], self.bands, valid)


@dataclass(frozen=True, eq=False)
class Warped(DerivedSource):
    """A Source of floats resampled bilinearly onto another grid.

    A pixel is valid if all four that it is made of are.
    """

    target: GeoBox

    @property
    def grid(self) -> GeoBox:
        """The grid it was resampled onto."""
        return self.target

    @property
    def dtype(self) -> np.dtype:
        """float32."""
        return np.dtype(np.float32)

    def read(self, roi: Roi) -> Raster:
        """Resample a region."""
        rows, columns = self._places(roi)
        values, valid = (
            np.zeros((len(self.bands), *roi_shape(roi)), np.float32),
            np.zeros(roi_shape(roi), bool),
        )
        frame = self._frame(rows, columns)
        if frame is not None:
            part = self.source.read(frame)
            at = np.stack([rows - frame[0].start, columns - frame[1].start])
            seen = (
                np.ones(part.values.shape[1:], np.float32)
                if part.valid is None
                else part.valid.astype(np.float32)
            )
            valid = ndimage.map_coordinates(seen, at, order=1, mode="constant", cval=0.0) > 0.999
            for k, band in enumerate(part.values):
                values[k] = np.where(
                    valid,
                    ndimage.map_coordinates(band.astype(np.float32), at, order=1, mode="nearest"),
                    0,
                )
        return Raster(values, self.grid[roi], self.bands, valid)

    def _frame(self, rows: np.ndarray, columns: np.ndarray) -> Roi | None:
        """Return the pixels of the source that a region is made of; None for none."""
        low = [int(np.floor(places.min())) for places in (rows, columns)]
        high = [int(np.ceil(places.max())) + 1 for places in (rows, columns)]
        return overlap((slice(low[0], high[0]), slice(low[1], high[1])), whole(self.source.grid))

    def _places(self, roi: Roi) -> tuple[np.ndarray, np.ndarray]:
        """Return the (y, x) centres of a region's pixels in pixels of the source.

        0 is the centre of its first pixel.
        """
        knots = [np.arange(part.start, part.stop + STEP, STEP) for part in roi]
        y, x = np.meshgrid(*(knot + 0.5 for knot in knots), indexing="ij")
        at = np.meshgrid(*(np.arange(part.stop - part.start) / STEP for part in roi), indexing="ij")
        found = places(self.grid, self.source.grid, y, x)
        between = [
            ndimage.map_coordinates(np.where(np.isfinite(place), place, -1e6), at, order=1) - 0.5
            for place in found
        ]
        return between[0], between[1]


def on_grid(source: Source, grid: GeoBox, names: tuple[str, str]) -> tuple[Source, str | None]:
    """Bring a Source to a grid.

    Parameters
    ----------
    source : Source
        Of floats.
    grid : GeoBox
        North-up.
    names : (str, str)
        Of the source, and of what the grid is from.

    Returns
    -------
    (Source, str or None)
        What reads on the grid, and what the user should know about it.

    Raises
    ------
    GridMismatch
        If only one has a CRS, photographs differ in size, or they have no pixel in common.
    """
    own, (here, there) = source.grid, names
    if (own.crs is None) != (grid.crs is None) or (own.crs is None and own.shape != grid.shape):
        what = "a photograph" if own.crs is None else "a place on the globe"
        raise GridMismatch(
            f"{here} has {what} and {tuple(own.shape)} pixels, {there} {tuple(grid.shape)}: "
            "photographs can only be compared if they have the same size."
        )
    laid, exact = laid_over(source, grid)
    if laid is source:
        return source, None
    shared = _shared(own, grid)
    if shared <= 0:
        raise GridMismatch(
            f"{here} and {there} have no place in common: give maps of the same area."
        )
    rest = (
        ""
        if shared > 0.9999
        else f" {1 - shared:.1%} of {there} lies outside of {here} and is not known."
    )
    if exact:
        return (
            laid,
            f"{here} lies whole pixels beside {there}: they are compared where both are.{rest}",
        )
    what = _difference(own, grid)
    return (
        laid,
        (
            f"{here} lies on another grid than {there} ({what}): it was resampled onto it "
            f"(bilinear), which blurs lines a little.{rest}"
        ),
    )


def laid_over(source: Source, grid: GeoBox) -> tuple[Source, bool]:
    """Bring a Source of a place on the globe to a grid, wherever the two lie.

    Returns
    -------
    (Source, bool)
        What reads on the grid, and whether its pixels are the Source's own; where they are not they
        are resampled (bilinear).
    """
    offset = _offset(source.grid, grid)
    if offset == (0, 0) and source.grid.shape == grid.shape:
        return source, True
    if offset is not None:
        return Shifted(source, grid, offset), True
    return Warped(source, grid), False


def _offset(own: GeoBox, grid: GeoBox) -> tuple[int, int] | None:
    """Return by how many whole pixels a grid lies beside another; None if they differ in more."""
    a, b = own.transform, grid.transform
    reach = max(*own.shape, *grid.shape)
    if own.crs != grid.crs or any(
        abs(one - other) * reach > CLOSE * abs(a.a)
        for one, other in ((a.a, b.a), (a.b, b.b), (a.d, b.d), (a.e, b.e))
    ):
        return None
    x, y = ~a * (b.c, b.f)
    near = round(y), round(x)
    return near if max(abs(y - near[0]), abs(x - near[1])) <= CLOSE else None


def _shared(own: GeoBox, grid: GeoBox) -> float:
    """Return the share of a grid that another covers, told from a lattice of its points."""
    if own.crs is None or grid.crs is None:
        return 1.0
    (height, width), (rows, columns) = grid.shape, own.shape
    y, x = np.meshgrid(
        (np.arange(PROBES) + 0.5) / PROBES * height,
        (np.arange(PROBES) + 0.5) / PROBES * width,
        indexing="ij",
    )
    at_y, at_x = places(grid, own, y, x)
    return float(((at_y >= 0) & (at_y <= rows) & (at_x >= 0) & (at_x <= columns)).mean())


def places(
    grid: GeoBox, own: GeoBox, y: np.ndarray, x: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return where points of one north-up grid, (y, x) in its pixels, lie in the pixels of another.

    Not finite where that cannot be said.
    """
    a, _, c, _, e, f = grid.transform[:6]
    x, y = a * x + c, e * y + f
    if grid.crs != own.crs:
        from pyproj import Transformer

        x, y = Transformer.from_crs(str(grid.crs), str(own.crs), always_xy=True).transform(x, y)
    a, _, c, _, e, f = own.transform[:6]
    return (y - f) / e, (x - c) / a


def _difference(own: GeoBox, grid: GeoBox) -> str:
    if own.crs != grid.crs:
        return f"{own.crs} and {grid.crs}"
    if abs(own.transform.a - grid.transform.a) > 1e-6 * abs(grid.transform.a):
        return f"pixels of {abs(own.transform.a):g} and {abs(grid.transform.a):g}"
    x, y = ~own.transform * (grid.transform.c, grid.transform.f)
    return f"shifted by {y - round(y):.2f} and {x - round(x):.2f} pixels"
