"""The working grid.

Finer imagery is averaged down, coarser imagery is interpolated up, and every region read alone
equals the whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from selion.errors import BadInput, GridMismatch
from selion.grid import Roi, pixel_metres
from selion.raster import DerivedSource, Raster, Source

SNAP = 0.01
"""A scale this close, relatively, to n or 1/n is taken as n or 1/n: UTM's scale factor must not
turn 2x into 1.9992x."""


def valid_pixels(part: Raster) -> np.ndarray | None:
    """Return the (y, x) bool mask of the pixels that can be used.

    Marked valid, and finite in every band; None if all can.
    """
    valid = part.valid
    if np.issubdtype(part.dtype, np.floating):
        finite = np.isfinite(part.values).all(0)
        valid = finite if valid is None else valid & finite
    return None if valid is None or valid.all() else valid


def snap(scale: float) -> float:
    """Return the whole number, or one over it, that is nearly a scale.

    It is within :data:`SNAP` of it; else the scale itself is returned.

    Examples
    --------
    >>> snap(1.9992), snap(0.3334) == 1 / 3, snap(0.6)
    (2.0, True, 0.6)
    """
    near = float(round(scale)) if scale >= 1 else 1 / round(1 / scale)
    return near if abs(near / scale - 1) <= SNAP else scale


def working_grid(grid: GeoBox, scale: tuple[float, float]) -> GeoBox:
    """Return the grid of the same extent with (y, x) times ``scale`` as many pixels.

    The number of pixels is rounded (at least 1) and the pixel is stretched by the remainder, less
    than half a pixel over the whole image, so that the extent, and with it every corner, stays
    where it was.

    Raises
    ------
    BadInput
        If a scale is not positive and finite.
    """
    if not all(0 < v < 1e4 for v in scale):
        raise BadInput(
            f"A scale of {scale} (y, x) was asked for; wanted are positive factors such as 2 or "
            "0.5."
        )
    height, width = (
        max(1, round(size * factor)) for size, factor in zip(grid.shape, scale, strict=True)
    )
    across, down = grid.shape[1] / width, grid.shape[0] / height
    a, b, c, d, e, f = grid.transform[:6]
    return GeoBox(
        (height, width), Affine(a * across, b * down, c, d * across, e * down, f), grid.crs
    )


def scale_to(grid: GeoBox, gsd: float) -> tuple[float, float]:
    """Return the (y, x) scale that gives pixels of ``gsd`` metres, square on the ground.

    Raises
    ------
    GridMismatch
        If the grid has no CRS, so that metres mean nothing.
    """
    size = pixel_metres(grid)
    if size is None:
        raise GridMismatch(
            f"Pixels of {gsd:g} m were asked for, but the image has no CRS: give the factor to "
            "resample by (--scale) instead of --gsd."
        )
    return snap(size[0] / gsd), snap(size[1] / gsd)


LINEAR_TAPS = 2
"""Input pixels that an interpolated pixel is made of."""
Steps = tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Taps along y and along x: (tap, output) indexes and weights."""


@dataclass(frozen=True, slots=True)
class Axis:
    """Which input pixels make an output pixel along one axis, and with which weights.

    All positions are whole numbers in units of ``1 / (2 * size_out)`` input pixels, so the taps of
    an output pixel depend on its global index alone and not on where a reading begins.
    """

    size_in: int
    size_out: int

    def taps(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Return indexes and weights, (tap, output) int64 and float32.

        Indexes are cut to the axis, and weights sum to one.
        """
        here = np.arange(start, stop, dtype=np.int64)
        index, weights = self._mean(here) if self.size_in >= self.size_out else self._linear(here)
        return index.clip(0, self.size_in - 1), weights.astype(np.float32)

    def _mean(self, here: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Area average: the weight is the share of the output pixel that the input pixel covers."""
        count = (
            self.size_in // self.size_out
            if self.size_in % self.size_out == 0
            else -(-self.size_in // self.size_out) + 1
        )
        index = here * self.size_in // self.size_out + np.arange(count)[:, None]
        low = np.maximum(index * self.size_out, here * self.size_in)
        high = np.minimum((index + 1) * self.size_out, (here + 1) * self.size_in)
        return index, (high - low).clip(0) / self.size_in

    def _linear(self, here: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Linear interpolation between pixel centres.

        Beyond the outermost centres the outermost pixel is repeated.
        """
        first, rest = np.divmod((2 * here + 1) * self.size_in - self.size_out, 2 * self.size_out)
        share = rest / (2 * self.size_out)
        return np.stack([first, first + 1]), np.stack([1 - share, share])


def magnified_grid(grid: GeoBox, times: int) -> GeoBox:
    """Return the grid of the same corners with ``times`` as many pixels along each edge."""
    height, width = grid.shape
    return GeoBox(
        (height * times, width * times), grid.transform * Affine.scale(1 / times), grid.crs
    )


def coarser(roi: Roi, times: int) -> Roi:
    """Return the region of the coarse grid that a region of the magnified grid lies in."""
    rows, columns = (slice(s.start // times, -(-s.stop // times)) for s in roi)
    return rows, columns


def magnify(pixels: np.ndarray, times: int) -> np.ndarray:
    """Interpolate (band, y, x) pixels by themselves, ``times`` as many along each edge.

    Bilinear, with pixel centres (not corners) aligned: the centre of pixel ``k`` of the result lies
    at ``(k + 1/2) / times - 1/2`` of the given ones.  Beyond the outermost centres the outermost
    pixel is repeated.

    Returns
    -------
    (band, times * y, times * x) float32 ndarray
    """
    rows, columns = (Axis(size, size * times).taps(0, size * times) for size in pixels.shape[1:])
    return _gather(pixels.astype(np.float32, copy=False), (rows, columns))


@dataclass(frozen=True)
class Magnified(DerivedSource):
    """A source of whose pixels each becomes a square of ``times`` by ``times``.

    A prediction reads it by :func:`read_frame`, and each window interpolates what it was cut from
    by itself, as the network was shown it in training; whoever reads it as a source gets the
    interpolation of the whole.
    """

    times: int

    @cached_property
    def grid(self) -> GeoBox:
        """The finer grid."""
        return magnified_grid(self.source.grid, self.times)

    @property
    def dtype(self) -> np.dtype:
        """Always float32."""
        return np.dtype(np.float32)

    def read(self, roi: Roi) -> Raster:
        """Read a region of the finer grid, interpolated; (band, y, x) float32."""
        return Resampled(self.source, (self.times, self.times)).read(roi)

    def read_coarse(self, roi: Roi) -> Raster:
        """Read the pixels of the source that a region of the finer grid lies in."""
        return self.source.read(coarser(roi, self.times))


def read_frame(working: Source, frame: Roi) -> Raster:
    """Read what windows of a region are cut out of: of a magnified source its own pixels."""
    return working.read_coarse(frame) if isinstance(working, Magnified) else working.read(frame)


@dataclass(frozen=True)
class Resampled(DerivedSource):
    """A source seen on its working grid; it is itself a source, of float32.

    An axis that gets fewer pixels is area-averaged, one that gets more is interpolated linearly,
    with pixel centres (not corners) aligned.  Pixels that are not valid have no weight: the others
    share it.  An output pixel is valid if at least half of its weight is.  A region read alone
    equals the same region of the whole, bit for bit: each output pixel is a sum over the same taps
    in the same order.
    """

    scale: tuple[float, float]
    """(y, x) factors; 2 is twice as many pixels."""

    @cached_property
    def grid(self) -> GeoBox:
        """The working grid: the source's extent and CRS."""
        return working_grid(self.source.grid, self.scale)

    @property
    def dtype(self) -> np.dtype:
        """Always float32."""
        return np.dtype(np.float32)

    def read(self, roi: Roi) -> Raster:
        """Read a region of the working grid.

        Returns
        -------
        Raster
            (band, y, x) float32, 0 where not valid.
        """
        frame, steps = self.frame(roi)
        part = self.source.read(frame)
        values, valid = resampled(part.values.astype(np.float32), valid_pixels(part), steps)
        return Raster(values, self.grid[roi], self.bands, valid)

    def frame(self, roi: Roi) -> tuple[Roi, Steps]:
        """Return what has to be read of the source for a region, and the taps into it."""
        axes = [
            Axis(size_in, size_out)
            for size_in, size_out in zip(self.source.grid.shape, self.grid.shape, strict=True)
        ]
        taps = [axis.taps(part.start, part.stop) for axis, part in zip(axes, roi, strict=True)]
        rows, columns = (slice(int(index.min()), int(index.max()) + 1) for index, _ in taps)
        return (rows, columns), (
            (taps[0][0] - rows.start, taps[0][1]),
            (taps[1][0] - columns.start, taps[1][1]),
        )


def resampled(
    values: np.ndarray, known: np.ndarray | None, steps: Steps
) -> tuple[np.ndarray, np.ndarray | None]:
    """Resample (band, y, x) float32 values, which are changed where they are not known.

    Returns
    -------
    (band, y, x) float32 ndarray, (y, x) bool ndarray or None
        0 where not valid; None: all are.
    """
    if known is None:
        return _gather(values, steps), None
    values[:, ~known] = 0
    missing = _gather((~known)[None].astype(np.float32), steps)[0]
    return _normalised(_gather(values, steps), missing)


def _gather(planes: np.ndarray, steps: Steps) -> np.ndarray:
    """Sum the taps of (band, y, x) float32 planes along both axes.

    Elementwise steps only, whose rounding knows no position.

    The order of the axes is fixed by the taps of the rows: rows first where two or more are
    averaged into one, else columns first, so that the larger pass meets fewer pixels.  Band by band
    and into buffers that are reused, so that the memory stays in the cache.
    """
    (rows, row_weights), (columns, column_weights) = steps
    out = np.empty((len(planes), rows.shape[1], columns.shape[1]), np.float32)
    for plane, result in zip(planes, out, strict=True):
        if len(rows) > LINEAR_TAPS:
            middle = _sum_taps(plane, 0, rows, row_weights[:, :, None])
            _sum_taps(middle, 1, columns, column_weights[:, None], result)
        else:
            middle = _sum_taps(plane, 1, columns, column_weights[:, None])
            _sum_taps(middle, 0, rows, row_weights[:, :, None], result)
    return out


def _sum_taps(
    plane: np.ndarray,
    axis: int,
    index: np.ndarray,
    weights: np.ndarray,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Sum the taps of a (y, x) plane along one axis, first to last.

    ``clip`` only tells numpy that it need not buffer: no index is beyond.
    """
    total: np.ndarray = np.take(plane, index[0], axis, out=out, mode="clip")
    total *= weights[0]
    for tap in range(1, len(index)):
        part = np.take(plane, index[tap], axis, mode="clip")
        part *= weights[tap]
        total += part
    return total


def _normalised(values: np.ndarray, missing: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give the missing (y, x) share of the weight to the rest.

    Where nothing is missing not a bit is touched.
    """
    valid = missing <= 0.5 + 1e-6
    mixed = valid & (missing > 0)
    values[:, mixed] /= 1 - missing[mixed]
    values[:, ~valid] = 0
    return values, valid


_: type[Source] = Resampled
