"""Whether an image of one split is in another.

The same bytes, the same picture turned or compressed again, the same land on another day.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from odc.geo.geobox import GeoBox

THUMB = 32
"""Edge of the small picture that is kept of each image."""
NEAR = 24
"""Bits of 256 in which two fingerprints of the same picture may differ."""
ALIKE = 0.97
"""Correlation of two small pictures from which on they show the same."""
COMMON = 0.01
"""Share of the smaller of two footprints from which on they overlap; squares of different
projections never fit exactly."""
ROWS = 512
"""Fingerprints that are compared with all others at once: bounds the memory of the table."""


@dataclass(frozen=True, eq=False, slots=True)
class ImageDigest:
    """What is remembered of an image."""

    digest: str
    """Of its pixels."""
    thumb: np.ndarray
    """(THUMB, THUMB) float16 (there may be many), mean 0 and length 1; zeros if the image is
    flat."""
    corners: tuple[tuple[float, float], ...] | None
    """Longitude and latitude of the corners; None for photographs."""


def digest_image(values: np.ndarray, grid: GeoBox) -> ImageDigest:
    """Digest an image.

    Parameters
    ----------
    values : (band, y, x) ndarray
    grid : GeoBox
    """
    digest = hashlib.blake2b(
        np.ascontiguousarray(values).tobytes() + repr(values.shape).encode(), digest_size=16
    ).hexdigest()
    return ImageDigest(digest, small(values), corners_of(grid))


def small(values: np.ndarray) -> np.ndarray:
    """Return the small picture: brightness averaged over (THUMB, THUMB) cells, mean 0, length 1."""
    bright = np.nan_to_num(values.astype(np.float32)).mean(0)
    for axis in (0, 1):
        starts = np.arange(THUMB) * bright.shape[axis] // THUMB
        widths = np.maximum(np.diff([*starts, bright.shape[axis]]), 1)
        bright = np.add.reduceat(bright, starts, axis=axis) / (
            widths[:, None] if axis == 0 else widths[None, :]
        )
    bright = bright - bright.mean()
    length = np.linalg.norm(bright)
    picture: np.ndarray = bright / length if length > 1e-6 else np.zeros_like(bright)
    return picture.astype(np.float16)


def corners_of(grid: GeoBox) -> tuple[tuple[float, float], ...] | None:
    """Return longitude and latitude of a grid's corners, in order; None without a CRS."""
    if grid.crs is None:
        return None
    from pyproj import Transformer

    height, width = grid.shape
    points = [
        grid.transform * corner for corner in ((0, 0), (width, 0), (width, height), (0, height))
    ]
    lon, lat = Transformer.from_crs(str(grid.crs), "OGC:CRS84", always_xy=True).transform(
        [p[0] for p in points], [p[1] for p in points]
    )
    return tuple(zip(map(float, lon), map(float, lat), strict=True))


def fingerprint_bits(thumbs: np.ndarray) -> np.ndarray:
    """Return (n, 4) uint64.

    For each cell of a 16 x 16 picture, whether it is brighter than the middle one.
    """
    n = len(thumbs)
    cells = (
        thumbs.reshape(n, 16, THUMB // 16, 16, THUMB // 16)
        .mean((2, 4), dtype=np.float32)
        .reshape(n, 256)
    )
    bits = np.packbits(cells > np.median(cells, axis=1, keepdims=True), axis=1)
    return bits.view(np.uint64)


def same_pictures(one: np.ndarray, other: np.ndarray) -> list[tuple[int, int, float]]:
    """Find pairs of small pictures that show the same, also turned or mirrored.

    Parameters
    ----------
    one, other : (n, THUMB, THUMB), (m, THUMB, THUMB) float ndarrays

    Returns
    -------
    list of (index in one, index in other, correlation)
        One entry for each pair, its best.
    """
    found: dict[tuple[int, int], float] = {}
    if not len(one) or not len(other):
        return []
    bits = fingerprint_bits(other)
    flat = other.reshape(len(other), -1)
    for turn in range(8):
        turned = np.rot90(one if turn < 4 else one[:, :, ::-1], turn % 4, axes=(1, 2))
        mine = fingerprint_bits(np.ascontiguousarray(turned))
        for start in range(0, len(one), ROWS):
            apart = np.bitwise_count(mine[start : start + ROWS, None] ^ bits[None]).sum(
                2, dtype=np.uint16
            )
            for k, j in np.argwhere(apart <= NEAR):
                alike = float((turned[start + k].ravel().astype(np.float32) * flat[j]).sum())
                if alike >= ALIKE:
                    pair = (start + int(k), int(j))
                    found[pair] = max(found.get(pair, 0.0), alike)
    return [(i, j, alike) for (i, j), alike in sorted(found.items())]


def common_land(
    one: Sequence[ImageDigest], other: Sequence[ImageDigest]
) -> list[tuple[int, int, float]]:
    """Find pairs of images that show common land.

    They are (index in one, index in other, share of the smaller).
    """
    import shapely

    mine, theirs = (
        [k for k, image in enumerate(side) if image.corners is not None] for side in (one, other)
    )
    if not mine or not theirs:
        return []
    shapes = [
        shapely.polygons([side[k].corners for k in places])
        for side, places in ((one, mine), (other, theirs))
    ]
    first, second = shapely.STRtree(shapes[1]).query(shapes[0], predicate="intersects")
    areas = [shapely.area(side) for side in shapes]
    share = shapely.area(shapely.intersection(shapes[0][first], shapes[1][second])) / np.minimum(
        areas[0][first], areas[1][second]
    )
    return [(mine[i], theirs[j], float(s)) for i, j, s in zip(first, second, share, strict=True)]
