"""The pixels of a tile on a day.

The clean landscape, clouds and their shadows over it, and the scene classification that tells of
them.

Everything is a function of the place in the world, so that tiles, strips and bands of one
acquisition agree where they overlap.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from selion.simulation.archive.nouns import CLEAR
from selion.simulation.archive.world import CELL
from selion.simulation.landscape.noise import Textures, cell_key, normal, sample

NODATA, DEFECT, DARK, SHADOW, VEGETATION, BARE, WATER, FRINGE, MEDIUM, HIGH, CIRRUS, SNOW = range(
    12
)
(
    _EAST,
    _SOUTH,
    _LOW,
    _UP,
    _TEXEL,
    _COS,
    _SIN,
    _OX,
    _OY,
    _EDGE,
    _VEIL,
    _DX,
    _DY,
    _BRIGHT,
    _SNOWLINE,
    _LINE,
) = range(16)
FAR = 1e12
"""A threshold that nothing passes; in world pixels, a place beyond all swaths."""
# When the four pixels of a cell differ, the class of the highest rank is the cell's: what is called
# clear is clear in all four.
_RANK = np.zeros(12, np.int64)
_RANK[[NODATA, DEFECT, HIGH, MEDIUM, FRINGE, CIRRUS, SHADOW, SNOW]] = (9, 8, 7, 6, 5, 4, 3, 2)
_WHITE = np.array([6300.0, 6400.0, 6700.0, 6500.0])
_SNOWY = np.array([8300.0, 8500.0, 8600.0, 7600.0])
_IS_CLEAR = np.zeros(12, np.uint8)
_IS_CLEAR[list(CLEAR)] = 1


@dataclass(frozen=True, eq=False, slots=True)
class Sky:
    """What lies between the ground and the satellite on one pass.

    Also how it changes the numbers.
    """

    numbers: np.ndarray
    """(16,) float64 in world pixels: swath (direction, from, to), clouds (texel, turn, origin,
    thresholds), shadow, brightness, snow line, defect line."""
    gains: np.ndarray
    """(4,) float64."""
    hazes: np.ndarray
    """(4,) float64, reflectance x 10000."""
    noise: float = 0.0
    salt: int = 0
    added: int = 0
    """On top of every digital number: 0 or 1000."""


def clear_sky(swath: tuple[float, float, float, float] = (1.0, 0.0, -FAR, FAR)) -> Sky:
    """Return a sky that changes nothing.

    The truth as seen in a swath (direction in x and y, from, to).
    """
    numbers = np.array([*swath, 1.0, 1.0, 0.0, 0.0, 0.0, FAR, FAR, 0.0, 0.0, 1.0, FAR, FAR])
    return Sky(numbers, np.ones(4), np.zeros(4))


# Inlined, as the helpers below: called for every pixel.  The world is repeated mirrored, so that it
# has no edge.
@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _mirror(k: int, size: int) -> int:
    k %= 2 * size
    return k if k < size else 2 * size - 1 - k


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _thickness(field: float, edge: float) -> float:
    """Return how thick a cloud is, 0 to 0.97, where a field passes an edge.

    Less than 0.03 is none.
    """
    depth = min(max((field - edge) / 0.5, 0.0), 1.0)
    depth = 0.97 * depth * (2 - depth)
    return depth if depth > 0.03 else 0.0


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _field(texture: np.ndarray, sky: np.ndarray, x: float, y: float, stretch: float) -> float:
    u, v = (
        (x * sky[_COS] - y * sky[_SIN]) / sky[_TEXEL],
        (x * sky[_SIN] + y * sky[_COS]) / sky[_TEXEL],
    )
    return sample(texture, u / stretch + sky[_OX], v / stretch + sky[_OY])


# Compiled as _paint, with the same function, so that thresholds are quantiles of exactly what is
# painted.
@njit(nogil=True, cache=True, error_model="numpy")
def field_values(
    texture: np.ndarray, sky: np.ndarray, xs: np.ndarray, ys: np.ndarray, stretch: float
) -> np.ndarray:
    """Return the cloud field at points of the world, (point,) float64.

    Thresholds are its quantiles.
    """
    out = np.empty(len(xs))
    for k in range(len(xs)):
        out[k] = _field(texture, sky, xs[k], ys[k], stretch)
    return out


VEIL_STRETCH, SNOW_STRETCH = 2.6, 1.7
"""How much wider than clouds cirrus and snow are."""


# Compiled: called for every pixel of every date.  It depends on the place in the world alone, so
# tiles that overlap show the same clouds.
@njit(nogil=True, cache=True, error_model="numpy")
def _look_up(
    x: float, y: float, sky: np.ndarray, smooth: np.ndarray, rough: np.ndarray
) -> tuple[int, float, float]:
    """Return the class of a point, the share that is white, and the depth of the shadow.

    The class is :data:`VEGETATION` if nothing lies over the point.
    """
    along = x * sky[_EAST] + y * sky[_SOUTH]
    if along < sky[_LOW] or along > sky[_UP]:
        return NODATA, 0.0, 0.0
    if abs(along - sky[_LINE]) < 0.5:
        return DEFECT, 0.0, 0.0
    cloud = _thickness(_field(rough, sky, x, y, 1.0), sky[_EDGE])
    veil = 0.4 * _thickness(_field(smooth, sky, x, y, VEIL_STRETCH), sky[_VEIL])
    shadow = _thickness(_field(rough, sky, x + sky[_DX], y + sky[_DY], 1.0), sky[_EDGE])
    code = VEGETATION
    if cloud > 0:
        code = HIGH if cloud > 0.55 else MEDIUM if cloud > 0.15 else FRINGE
    elif veil > 0:
        code = CIRRUS
    elif shadow > 0:
        code = SHADOW
    elif _field(smooth, sky, x, y, SNOW_STRETCH) > sky[_SNOWLINE]:
        code = SNOW
    return code, max(cloud, veil), shadow


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _ground_class(red: float, nir: float) -> int:
    """Classify clear ground by sums over a cell.

    Nothing of it is called unclassified, which maskings leave out.
    """
    index = (nir - red) / max(nir + red, 1.0)
    if nir < 4 * 900:
        return WATER if index < 0.1 else DARK
    return VEGETATION if index > 0.3 else BARE


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _place(lattice: np.ndarray, i: int, j: int) -> tuple[float, float]:
    """Return column and row of the world where a pixel lies."""
    a, b = i // CELL, j // CELL
    s, t = (i % CELL) / CELL, (j % CELL) / CELL
    one, two, three, four = (1 - s) * (1 - t), (1 - s) * t, s * (1 - t), s * t
    x = (
        one * lattice[0, a, b]
        + two * lattice[0, a, b + 1]
        + three * lattice[0, a + 1, b]
        + four * lattice[0, a + 1, b + 1]
    )
    y = (
        one * lattice[1, a, b]
        + two * lattice[1, a, b + 1]
        + three * lattice[1, a + 1, b]
        + four * lattice[1, a + 1, b + 1]
    )
    return x, y


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _see_ground(patch: np.ndarray, x: float, y: float, ground: np.ndarray) -> None:
    """Put the landscape at a point, bilinear, into ``ground`` (4,)."""
    height, width = patch.shape[1:]
    x0, y0 = int(np.floor(x)), int(np.floor(y))
    u, v = x - x0, y - y0
    left, right, top, low = (
        _mirror(x0, width),
        _mirror(x0 + 1, width),
        _mirror(y0, height),
        _mirror(y0 + 1, height),
    )
    for band in range(4):
        p = patch[band]
        ground[band] = (1 - v) * ((1 - u) * p[top, left] + u * p[top, right]) + v * (
            (1 - u) * p[low, left] + u * p[low, right]
        )


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _cover_ground(
    value: float, band: int, code: int, white: float, shadow: float, bright: float
) -> float:
    """Lay cloud, shadow or snow over a reflectance x 10000.

    A saturated pixel has more than a file can hold.
    """
    if code == VEGETATION:
        return value
    if code == DEFECT:
        return 1e6
    if code == SNOW:
        return _SNOWY[band] + 0.1 * value
    return (
        value * (1 - 0.65 * shadow * (1 - white)) * (1 - white)
        + _WHITE[band] * bright * (0.8 + 0.4 * white) * white
    )


# Compiled: ground, sky and noise of a pixel in one go, without rasters of the steps between.
# Invariant: noise is a hash of row and column, so any block of rows gives the same pixels; a cell
# of 2 x 2 pixels has one class, the worst of the four.
@njit(nogil=True, cache=True, error_model="numpy")
def _paint(
    patch: np.ndarray,
    lattice: np.ndarray,
    row: int,
    sky: np.ndarray,
    smooth: np.ndarray,
    rough: np.ndarray,
    levels: np.ndarray,
    salt: np.uint64,
    out: np.ndarray,
    scl: np.ndarray,
) -> None:
    ground = np.empty(4)
    for r in range(0, out.shape[1], 2):
        for c in range(0, out.shape[2], 2):
            red, nir, worst = 0.0, 0.0, VEGETATION
            for k in range(4):
                i, j = r + k // 2, c + k % 2
                x, y = _place(lattice, i, j)
                code, white, shadow = _look_up(x, y, sky, smooth, rough)
                if _RANK[code] > _RANK[worst]:
                    worst = code
                _see_ground(patch, x, y, ground)
                red, nir = red + ground[0], nir + ground[3]
                key = cell_key(salt, row + i, j)
                for band in range(4):
                    value = (
                        _cover_ground(ground[band], band, code, white, shadow, sky[_BRIGHT])
                        * levels[0, band]
                        + levels[1, band]
                    )
                    if levels[2, 0] > 0:
                        value *= 1 + levels[2, 0] * normal(key, band)
                    number = min(max(np.rint(value), 1.0) + levels[2, 1], 65535.0)
                    out[band, i, j] = 0 if code == NODATA else int(number)
            scl[r // 2, c // 2] = _ground_class(red, nir) if worst == VEGETATION else worst


def paint(
    patch: np.ndarray,
    lattice: np.ndarray,
    row: int,
    shape: tuple[int, int],
    sky: Sky,
    textures: Textures,
) -> tuple[np.ndarray, np.ndarray]:
    """Paint some rows of a tile.

    Parameters
    ----------
    patch : (4, y, x) uint16 ndarray
        Reflectance x 10000 of the landscape, mirrored beyond its edges.
    lattice : (2, y, x) float64 ndarray
        Where the rows lie (:meth:`selion.simulation.archive.world.World.lattice`).
    row : int
        First row's number in the tile, for the noise.
    shape : (int, int)
        Rows and columns, even.
    sky : Sky
    textures : Textures

    Returns
    -------
    bands : (4, y, x) uint16 ndarray
        Digital numbers, 0 outside of the swath.
    scl : (y / 2, x / 2) uint8 ndarray
        Scene classification.  Where it is one of :data:`CLEAR` but 11, all four pixels show the
        ground.
    """
    out, scl = np.empty((4, *shape), np.uint16), np.empty((shape[0] // 2, shape[1] // 2), np.uint8)
    levels = np.stack([sky.gains, sky.hazes, np.array([sky.noise, sky.added, 0.0, 0.0])])
    _paint(
        patch,
        lattice,
        row,
        sky.numbers,
        textures.smooth,
        textures.rough,
        levels,
        np.uint64(sky.salt),
        out,
        scl,
    )
    return out, scl


def count_clear(scl: np.ndarray, counts: np.ndarray) -> None:
    """Add one to ``counts`` where a classification of the same shape says clear.

    It is uint8, changed in place, and 255 at most.
    """
    counts += _IS_CLEAR[scl] * (counts < 255)


def cloud_numbers(
    swath: tuple[float, float, float, float],
    texel: float,
    shares: tuple[float, float, float],
    extent: tuple[int, int],
    textures: Textures,
    rng: np.random.Generator,
    shadow: tuple[float, float],
    line: float,
) -> np.ndarray:
    """Draw the sky of a pass: (16,) numbers of :class:`Sky`.

    Parameters
    ----------
    shares : (float, float, float)
        Of the world that lies under clouds, cirrus and snow; the first may be 1.
    extent : (int, int)
        Rows and columns of the world, over which the shares hold.
    shadow : (float, float)
        From a cloud to its shadow, in world pixels along x and y.
    line : float
        Where the defect line lies across the swath.
    """
    turn, ox, oy = rng.uniform(0, 2 * np.pi), *rng.uniform(0, 512, 2)
    numbers = np.array(
        [
            *swath,
            texel,
            np.cos(turn),
            np.sin(turn),
            ox,
            oy,
            FAR,
            FAR,
            -shadow[0],
            -shadow[1],
            rng.uniform(0.9, 1.15),
            FAR,
            line,
        ]
    )
    ys, xs = (
        grid.ravel()
        for grid in np.meshgrid(*(np.linspace(0, size - 1, 96) for size in extent), indexing="ij")
    )
    for place, share, texture, stretch in (
        (_EDGE, shares[0], textures.rough, 1.0),
        (_VEIL, shares[1], textures.smooth, VEIL_STRETCH),
        (_SNOWLINE, shares[2], textures.smooth, SNOW_STRETCH),
    ):
        if share >= 1:
            numbers[place] = -FAR
        elif share > 0:
            numbers[place] = np.quantile(field_values(texture, numbers, xs, ys, stretch), 1 - share)
    return numbers
