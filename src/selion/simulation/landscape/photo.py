"""A close-range photograph: plants on soil, with their true depth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numba import njit
from scipy import ndimage

from selion.classes import CROP
from selion.errors import BadInput, UnknownName
from selion.grid import photo_grid
from selion.labels import Instances, LabelMap
from selion.raster import Raster
from selion.simulation.landscape.noise import SIZE, make_textures

# Columns of a leaf: where it starts, direction, length, half width, height at its foot and at its
# tip, shape, colour, plant.
_X, _Y, _DIRECTION, _LENGTH, _HALF, _FOOT, _TIP, _SHAPE, _HUE, _PLANT, _COLUMNS = range(11)
_OVAL, _BLADE, _LOBED, _HEART = range(4)
LEAVES = ("oval", "blade", "lobed", "heart")
"""Shapes of leaves, by their number above."""
COPIES, SHADE = 6, 0.5
"""How often the plants of a canopy are set, and the light between them as a share of that above."""
_SOILS = np.array(
    [[120, 92, 66], [150, 124, 95], [84, 66, 52], [140, 86, 58], [128, 120, 108]], np.float32
)


@dataclass(frozen=True, eq=False, slots=True)
class Photo:
    """A photograph of plants from above, and all that is true about it."""

    image: Raster
    """Red, green, blue uint8; no CRS."""
    labels: LabelMap
    """Soil and crop (:data:`selion.classes.CROP`)."""
    depth: np.ndarray
    """(y, x) float32: height above the ground in units of the tallest plant, larger is nearer to
    the camera."""
    instances: Instances
    """Plants."""


@dataclass(frozen=True, slots=True)
class PhotoOptions:
    """What a simulated photograph shows; as it comes, young plants of any kind by day."""

    leaf: str = ""
    """Leaves of the crop, of :data:`LEAVES`; empty: any."""
    canopy: bool = False
    """Leaves below leaves, and no soil to be seen."""
    light: float = 1.0
    """Share of daylight that falls on it; the camera's noise stays, so that the dark is noisy."""

    def __post_init__(self) -> None:
        if self.leaf and self.leaf not in LEAVES:
            raise UnknownName.among("shape of leaf", self.leaf, LEAVES)
        if not 0 < self.light <= 1:
            raise BadInput(f"A share of daylight of {self.light:g} was given; wanted is 0 to 1.")


def simulate_photo(
    seed: int, shape: tuple[int, int] = (480, 640), options: PhotoOptions | None = None
) -> Photo:
    """Simulate a photograph of young plants on soil.

    Parameters
    ----------
    seed : int
        Equal seeds and options give equal bytes.
    shape : tuple of int
        (y, x) size in pixels, at least 32 each.
    options : PhotoOptions, optional

    Returns
    -------
    Photo

    Raises
    ------
    BadInput
        If the photograph would be smaller than 32 pixels.
    """
    if min(shape) < 32:
        raise BadInput(
            f"A photograph of {shape} pixels was asked for; wanted are at least 32 x 32."
        )
    options = options or PhotoOptions()
    rng = np.random.default_rng([seed, 9])
    colour, relief = _soil(shape, rng)
    leaf = LEAVES.index(options.leaf) if options.leaf else None
    leaves, plant_colours = _plants(shape, rng, leaf)
    depth = relief.copy()
    ids = np.zeros(shape, np.int32)
    if options.canopy:
        leaves, plant_colours = _thicken(leaves, plant_colours, shape, rng)
        _darken(colour, ids, plant_colours[1])
    _paint(leaves, plant_colours, colour, depth, ids)
    depth = depth / max(float(depth.max()), 1e-6)
    image = _light(colour, depth, rng, options.light)
    grid = photo_grid(shape)
    present = np.unique(ids)[1:]
    ids = np.searchsorted(np.concatenate([[0], present]), ids).astype(np.int32)
    table = pd.DataFrame(
        {
            "id": np.arange(1, len(present) + 1),
            "class": pd.array(["crop"] * len(present), dtype="string"),
            "score": np.ones(len(present), np.float32),
        }
    )
    return Photo(
        Raster(image, grid, ("red", "green", "blue")),
        LabelMap((ids > 0).astype(np.uint8), grid, CROP),
        depth.astype(np.float32),
        Instances(ids, grid, table),
    )


def _tiled(
    texture: np.ndarray, shape: tuple[int, int], scale: float, rng: np.random.Generator
) -> np.ndarray:
    """Cut a piece of a periodic texture, ``scale`` pixels per texel, at a random place."""
    start = rng.uniform(0, SIZE, 2)
    rows, columns = np.arange(shape[0]) / scale + start[0], np.arange(shape[1]) / scale + start[1]
    return ndimage.map_coordinates(
        texture, np.meshgrid(rows, columns, indexing="ij"), order=1, mode="grid-wrap"
    ).astype(np.float32)


def _soil(shape: tuple[int, int], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return (3, y, x) float32 colour and (y, x) float32 relief in pixels."""
    textures = make_textures(rng)
    unit = max(shape) / 640
    clods = _tiled(textures.grain, shape, 1.6 * unit, rng) + 0.6 * _tiled(
        textures.grain, shape, 0.6 * unit, rng
    )
    moist = _tiled(textures.rough, shape, 2.5 * unit, rng)
    relief = 1.5 * unit * (clods + 1.2 * _tiled(textures.rough, shape, 1.2 * unit, rng))
    relief = np.clip(relief - relief.min(), 0, 9 * unit)
    lit = 1 + 0.10 * clods + 0.16 * moist
    base = _SOILS[rng.integers(len(_SOILS))] * rng.uniform(0.75, 1.2)
    colour = (
        base[:, None, None]
        * lit[None]
        * (1 + 0.03 * rng.standard_normal((3, 1, 1)).astype(np.float32))
    )
    stones = _tiled(textures.grain, shape, 1.1 * unit, rng) > rng.uniform(2.2, 3.2)
    colour[:, stones] = 0.45 * colour[:, stones] + 95
    return np.ascontiguousarray(colour, np.float32), relief.astype(np.float32)


def _thicken(
    leaves: np.ndarray, plant_colours: np.ndarray, shape: tuple[int, int], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Set the same plants again and again, elsewhere in the photograph, until they touch."""
    plants = len(plant_colours) - 1
    made, colours = [leaves], [plant_colours]
    for copy in range(1, COPIES):
        more = leaves.copy()
        more[:, _X] = (more[:, _X] + rng.uniform(0, shape[1])) % shape[1]
        more[:, _Y] = (more[:, _Y] + rng.uniform(0, shape[0])) % shape[0]
        more[:, _PLANT] += copy * plants
        made.append(more)
        colours.append(plant_colours[1:])
    return np.concatenate(made), np.concatenate(colours)


def _darken(colour: np.ndarray, ids: np.ndarray, first: np.ndarray) -> None:
    """Turn the ground into leaves in the shade, all of the first plant."""
    shade = colour.mean(0) / max(float(colour.mean()), 1e-6)
    colour[:] = SHADE * first[:, None, None] * shade
    ids[:] = 1


def _plants(
    shape: tuple[int, int], rng: np.random.Generator, leaf: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return (leaf, 10) float64, lowest first, and (plant + 1, 3) float32 colours."""
    drawn = int(rng.integers(4))
    kind = drawn if leaf is None else leaf
    size = max(shape) * rng.uniform(0.035, 0.12)
    places = _places(shape, size, rng)
    rows = []
    colours = np.zeros((len(places) + 1, 3), np.float32)
    hue = np.array([rng.uniform(65, 118), rng.uniform(110, 150), rng.uniform(45, 85)])
    for plant, (y, x) in enumerate(places, start=1):
        weed = rng.random() < 0.15
        shape_of = int(rng.integers(4)) if weed else kind
        own = size * (rng.uniform(0.25, 0.6) if weed else np.exp(rng.normal(0, 0.22)))
        colours[plant] = hue * np.exp(rng.normal(0, 0.10, 3))
        rows.append(_leaves_of(plant, y, x, own, shape_of, rng))
    leaves = np.concatenate(rows) if rows else np.zeros((0, _COLUMNS))
    return leaves[np.argsort(leaves[:, _FOOT] + leaves[:, _TIP], kind="stable")], colours


def _places(shape: tuple[int, int], size: float, rng: np.random.Generator) -> np.ndarray:
    """Return plant centres (plant, 2) as (y, x): in rows, or scattered."""
    if rng.random() < 0.3:
        count = max(2, int(rng.uniform(0.15, 0.7) * shape[0] * shape[1] / (size * size * 3)))
        return rng.uniform(0, 1, (count, 2)) * shape
    between, within = size * rng.uniform(2.2, 5.0), size * rng.uniform(0.9, 2.4)
    turn = rng.uniform(0, np.pi)
    reach = np.hypot(*shape)
    across, along = np.meshgrid(
        np.arange(-reach / 2, reach / 2, between),
        np.arange(-reach / 2, reach / 2, within),
        indexing="ij",
    )
    across = across + rng.normal(0, 0.08 * size, across.shape)
    along = along + rng.normal(0, 0.2 * within, along.shape)
    y = shape[0] / 2 + along * np.sin(turn) + across * np.cos(turn)
    x = shape[1] / 2 + along * np.cos(turn) - across * np.sin(turn)
    kept = (
        (y > -size)
        & (y < shape[0] + size)
        & (x > -size)
        & (x < shape[1] + size)
        & (rng.random(y.shape) > 0.08)
    )
    return np.stack([y[kept], x[kept]], 1)


def _leaves_of(
    plant: int, y: float, x: float, size: float, kind: int, rng: np.random.Generator
) -> np.ndarray:
    """Return the leaves of one plant, (leaf, 10)."""
    count = int(rng.integers(3, 7) if kind == _BLADE else rng.integers(4, 11))
    leaves = np.zeros((count, _COLUMNS))
    leaves[:, _X], leaves[:, _Y] = x, y
    leaves[:, _DIRECTION] = (
        rng.uniform(0, 2 * np.pi) + np.arange(count) * 2.39996 + rng.normal(0, 0.25, count)
    )
    leaves[:, _LENGTH] = size * np.linspace(1.0, 0.5, count) * np.exp(rng.normal(0, 0.12, count))
    leaves[:, _HALF] = (
        leaves[:, _LENGTH]
        * {_OVAL: 0.24, _BLADE: 0.07, _LOBED: 0.30, _HEART: 0.38}[kind]
        * np.exp(rng.normal(0, 0.1, count))
    )
    leaves[:, _FOOT] = size * (0.35 + 0.09 * np.arange(count))
    leaves[:, _TIP] = leaves[:, _FOOT] * rng.uniform(0.55, 1.35, count)
    leaves[:, _SHAPE], leaves[:, _PLANT] = kind, plant
    leaves[:, _HUE] = rng.normal(0, 0.07, count)
    return leaves


# Called for every pixel under a leaf.
@njit(nogil=True, cache=True, error_model="numpy")
def _outline(shape: int, a: float) -> float:
    """Return the half width of a leaf at the share ``a`` of its length, 1 at its widest."""
    if shape == _BLADE:
        return min(1.0, 6 * a) * (1 - a) ** 0.55
    if shape == _LOBED:
        return np.sqrt(4 * a * (1 - a)) * (0.72 + 0.28 * np.cos(a * 22.0))
    if shape == _HEART:
        return min(1.0, 2.4 * np.sqrt(a)) * np.sqrt(1 - a)
    return np.sqrt(4 * a * (1 - a))


# Compiled: leaves overlap, so each pixel is compared with what is there.  Invariant: ``depth``
# holds the height of the leaf that is seen, so the order of leaves matters for ties only.
@njit(nogil=True, cache=True, error_model="numpy")
def _paint(
    leaves: np.ndarray,
    plant_colours: np.ndarray,
    colour: np.ndarray,
    depth: np.ndarray,
    ids: np.ndarray,
) -> None:
    """Paint the leaves; what is higher hides what is lower."""
    for k in range(len(leaves)):
        leaf = leaves[k]
        length, half, plant = leaf[_LENGTH], leaf[_HALF], int(leaf[_PLANT])
        c, s = np.cos(leaf[_DIRECTION]), np.sin(leaf[_DIRECTION])
        reach = length + half
        for r in range(
            max(0, int(leaf[_Y] - reach)), min(depth.shape[0], int(leaf[_Y] + reach) + 1)
        ):
            for q in range(
                max(0, int(leaf[_X] - reach)), min(depth.shape[1], int(leaf[_X] + reach) + 1)
            ):
                a = (c * (q - leaf[_X]) + s * (r - leaf[_Y])) / length
                b = (-s * (q - leaf[_X]) + c * (r - leaf[_Y])) / half
                if a <= 0 or a >= 1 or abs(b) > _outline(int(leaf[_SHAPE]), a):
                    continue
                z = (
                    leaf[_FOOT]
                    + (leaf[_TIP] - leaf[_FOOT]) * a
                    + 0.25 * length * a * (1 - a)
                    - 0.10 * half * b * b
                )
                if z <= depth[r, q]:
                    continue
                depth[r, q] = z
                ids[r, q] = plant
                vein = 0.16 * max(0.0, 1 - abs(b) * half / 1.3) + 0.05 * np.cos(
                    (a * 9 - abs(b) * 2) * 6.28
                )
                light = (1 + leaf[_HUE]) * (0.82 + 0.18 * b * (c - s) + 0.22 * a + vein)
                for band in range(3):
                    colour[band, r, q] = plant_colours[plant, band] * light


def _light(
    colour: np.ndarray, depth: np.ndarray, rng: np.random.Generator, share: float = 1.0
) -> np.ndarray:
    """Cast shadows, tint the light, add vignette and noise; (3, y, x) uint8."""
    shape = depth.shape
    softness = max(shape) / 640
    turn, length = rng.uniform(0, 2 * np.pi), max(shape) * rng.uniform(0.0, 0.05)
    shadow = np.zeros(shape, np.float32)
    for step in np.linspace(0.25, 1.0, 5):
        moved = ndimage.shift(
            depth,
            (length * step * np.sin(turn), length * step * np.cos(turn)),
            order=1,
            mode="nearest",
        )
        shadow = np.maximum(shadow, np.clip(4 * (moved - depth - 0.45 * step), 0, 1))
    dark = 1 - rng.uniform(0.25, 0.65) * ndimage.gaussian_filter(shadow, 0.8 * softness)
    y, x = np.meshgrid(np.linspace(-1, 1, shape[0]), np.linspace(-1, 1, shape[1]), indexing="ij")
    vignette = 1 - rng.uniform(0, 0.2) * (y * y + x * x) / 2
    cast = np.exp(rng.normal(0, 0.06, 3)) * rng.uniform(0.75, 1.25)
    lit = (
        ndimage.gaussian_filter(colour, (0, 0.5, 0.5))
        * (dark * vignette)[None]
        * cast[:, None, None]
        * share
    )
    return np.clip(np.rint(lit + rng.normal(0, rng.uniform(1, 5), colour.shape)), 0, 255).astype(
        np.uint8
    )
