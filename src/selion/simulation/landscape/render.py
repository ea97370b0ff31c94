"""Light: from the ground and the season to reflectance on the image grid."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from selion.simulation.landscape.cover import SUBS, Ground, LandscapeCover, in_strips
from selion.simulation.landscape.features import (
    HUT,
    M_ASPHALT,
    M_BUSH,
    M_EARTH,
    M_FIELD,
    M_GRAVEL,
    M_LAWN,
    M_MARGIN,
    M_PAVED,
    M_ROOF,
    M_SAND,
    M_TREE,
    M_WATER,
    crown,
)
from selion.simulation.landscape.noise import cell_key, sample, uniform
from selion.simulation.landscape.parcels import KIND, PLOT
from selion.simulation.landscape.season import Phenology

ROOFS = np.array(
    [
        [0.230, 0.120, 0.085, 0.260],
        [0.160, 0.105, 0.085, 0.200],
        [0.130, 0.125, 0.125, 0.150],
        [0.300, 0.300, 0.300, 0.310],
        [0.480, 0.480, 0.470, 0.460],
        [0.090, 0.110, 0.140, 0.130],
        [0.200, 0.125, 0.095, 0.240],
        [0.410, 0.415, 0.420, 0.420],
        [0.190, 0.165, 0.120, 0.280],
        [0.255, 0.195, 0.140, 0.310],
        [0.280, 0.270, 0.250, 0.300],
        [0.110, 0.190, 0.320, 0.220],
    ],
    np.float32,
)
"""Tiles, old tiles, slate, metal, white membrane, solar panels; of huts: rust, zinc, thatch, adobe,
concrete, blue sheets."""
PLAIN = np.array(
    [
        [0.075, 0.090, 0.050, 0.270],  # rough grassland, replaced by the season
        [0.1, 0.1, 0.1, 0.3],  # fields, replaced by the season
        [0.021, 0.042, 0.019, 0.330],  # woods
        [0.030, 0.055, 0.025, 0.330],  # bushes
        [0.035, 0.048, 0.045, 0.015],  # water
        [0.122, 0.116, 0.102, 0.170],  # asphalt
        [0.215, 0.190, 0.150, 0.260],  # gravel and earth roads
        [0.2, 0.2, 0.2, 0.2],  # roofs, replaced
        [0.185, 0.180, 0.165, 0.220],  # paved yards
        [0.050, 0.085, 0.038, 0.360],  # lawn
        [0.070, 0.095, 0.048, 0.330],  # verges and margins
        [0.300, 0.260, 0.200, 0.370],  # sand
        [0.255, 0.210, 0.155, 0.320],  # trodden earth, mixed with the soil
    ],
    np.float32,
)
_DEAD = np.array([0.150, 0.128, 0.085, 0.260], np.float32)


# The kernels' scalars travel in named tuples, which cost nothing in compiled code.


class _Scale(NamedTuple):
    """How the fine grid becomes the image."""

    fold: int
    """Fine pixels per image pixel, along each side."""
    step: float
    """Size of a fine pixel in metres."""
    bands: int


class _FieldPoint(NamedTuple):
    """A point of a field."""

    u: float
    v: float
    """Metres east and south of the view's corner."""
    rim: float
    """Metres to the parcel's boundary."""
    step: float


class _Feature(NamedTuple):
    """What stands at a point that is not a field."""

    material: int
    key: np.uint64
    part: int
    is_plot: bool
    tall: float
    """Height in metres."""


class _NoisePoint(NamedTuple):
    """Where a point lies in the noise, and the fine noise there."""

    x: float
    y: float
    fine: float
    detailed: bool


class _Reflector(NamedTuple):
    """How what is not a field reflects: see _plain_state."""

    material: int
    light: float
    second: float
    row: int


# Compiled: each fine pixel walks towards the sun until something hides it.
@njit(nogil=True, cache=True, error_model="numpy")
def _shade(
    first: int,
    last: int,
    heights: np.ndarray,
    dx: float,
    dy: float,
    rise: float,
    steps: int,
    shaded: np.ndarray,
) -> None:
    """Mark fine pixels that do not see the sun: something stands above the ray towards it."""
    rows, columns = heights.shape
    for r in range(first, last):
        for c in range(columns):
            own = heights[r, c]
            shaded[r, c] = 0
            for k in range(1, steps + 1):
                rr, cc = r + round(dy * k), c + round(dx * k)
                if rr < 0 or cc < 0 or rr >= rows or cc >= columns:
                    break
                if heights[rr, cc] > own + rise * k:
                    shaded[r, c] = 1
                    break


def cast_shadows(ground: Ground, azimuth: float, elevation: float) -> np.ndarray:
    """Return (y, x) uint8, 1 where the sun does not reach.

    Parameters
    ----------
    ground : Ground
    azimuth, elevation : float
        Where the sun stands, radian; azimuth clockwise from north.
    """
    shaded = np.empty(ground.heights.shape, np.uint8)
    dx, dy = np.sin(azimuth), -np.cos(azimuth)
    rise = 2 * ground.step * np.tan(elevation)  # half metres per step
    steps = max(1, int(np.ceil(2 * 22 / rise)))

    def rows(first: int) -> None:
        _shade(first, min(first + 64, len(shaded)), ground.heights, dx, dy, rise, steps, shaded)

    in_strips(rows, len(shaded))
    return shaded


# Compiled for _render, for each fine pixel of a field.
@njit(nogil=True, cache=True, error_model="numpy")
def _field_state(
    point: _FieldPoint,
    leaves: np.ndarray,
    texture: np.ndarray,
    index: int,
    key: np.uint64,
    part: int,
    rough: np.ndarray,
    grain: np.ndarray,
) -> tuple[int, float, float]:
    """Return (variant, change of greenness, change of brightness) at a point of a field."""
    u, v, rim, step = point.u, point.v, point.rim, point.step
    ct, st = np.cos(leaves[index, 2]), np.sin(leaves[index, 2])
    s = ct * (u - leaves[index, 0]) + st * (v - leaves[index, 1])
    t = -st * (u - leaves[index, 0]) + ct * (v - leaves[index, 1])
    if leaves[index, 4] > leaves[index, 3]:
        s, t = t, s
    long, wide = max(leaves[index, 3], leaves[index, 4]), min(leaves[index, 3], leaves[index, 4])
    variant = part & 1
    if texture[index, 7] > 0 and part == 0 and t / wide > 2 * texture[index, 7] - 1:
        variant = 2
    change = (
        texture[index, 0] * sample(rough, u / 2.7, v / 2.7)
        + texture[index, 5] * s / long
        + texture[index, 6] * t / wide
    )
    bright = 0.6 * texture[index, 0] * sample(rough, v / 1.9, u / 1.9 + 50)
    if texture[index, 0] > 0.035:
        # Hilltops where the soil is thin, and hollows where water stood.
        scale = 0.9 + 2.5 * uniform(key, 481)
        change -= (
            2.5
            * texture[index, 0]
            * min(
                max(sample(rough, v / scale + 500 * uniform(key, 480), u / scale) - 1.1, 0.0), 1.5
            )
        )
    # Rows: noise drawn out along the direction of work.
    bright += texture[index, 1] * sample(grain, s / 14.0, t / 0.55 if step < 1.5 else t / 1.4)
    if texture[index, 3] > 0:
        change += texture[index, 4] * (
            2 * uniform(key, 400 + (int(np.floor(t / texture[index, 3])) & 63)) - 1
        )
    if texture[index, 2] > 0:
        # A pair of wheel tracks, 2.2 m wide; a larger pixel sees them weaker and wider.
        broad = max(2.2, 1.3 * step)
        change -= (
            0.24
            * max(
                0.0,
                min(
                    1.0,
                    broad / 2
                    + 0.5 * step
                    - abs((t / texture[index, 2]) % 1.0 - 0.5) * texture[index, 2],
                ),
            )
            * 2.2
            / broad
        )
    if rim < 9 and uniform(key, 470) < 0.5:
        change -= 0.12 * uniform(key, 471)
    if rim < 2.5:
        change -= 0.06
    return variant, change, bright


# Compiled for _render, for each fine pixel that is not a field and each line on one.
@njit(nogil=True, cache=True, error_model="numpy")
def _plain_state(
    feature: _Feature,
    point: _NoisePoint,
    salt: np.uint64,
    sun: np.ndarray,
    smooth: np.ndarray,
    rough: np.ndarray,
) -> tuple[float, float, int]:
    """Return (brightness, second number, row) of what is not a field.

    The second number is, by material: roof, nothing; water, depth of the shoal; trees, 1 for
    conifers; roads, wear; grass, lushness.
    """
    material, key, part, is_plot, tall = feature
    x, y, fine, detailed = point
    if material == M_ROOF:
        drawn = uniform(key, 500 + part)
        kind = 6 + int(5.2 * drawn) if part >= HUT else int((3.6 if is_plot else 5.15) * drawn)
        ridge = 1.0 + 0.13 * (1.0 if uniform(key, 530 + part) < 0.5 else -1.0) * (
            1.0 if int(2 * tall) % 2 else -1.0
        )
        return ridge * (0.7 + 0.5 * uniform(key, 510 + part)), 0.0, kind
    if material == M_WATER:
        return 1.0, 0.5 + 0.5 * sample(smooth, x / 9, y / 9), 0
    if material in (M_TREE, M_BUSH):
        stand = sample(smooth, x / 12 + 31, y / 12)
        mixed = (
            stand + 0.5 * sample(rough, x / 8, y / 8) - sun[2] + (1.2 if detailed else 0.5) * fine
        )
        conifer = min(max(0.5 + 0.8 * mixed, 0.0), 1.0)
        if not detailed:
            return (1 + 0.09 * fine) * (1 + 0.13 * stand), conifer, 0
        dome, bx, by, cx, cy = crown(x, y, salt, 7.5 if tall > 3 else 4.0)
        own = 0.8 + 0.4 * uniform(cell_key(salt, int(cy * 4), int(cx * 4)), 9)
        return (
            (0.62 + 0.6 * dome)
            * (1 + 0.36 * (sun[0] * bx + sun[1] * by))
            * (1 + 0.2 * fine)
            * 1.25
            * own,
            conifer,
            0,
        )
    if material in (M_ASPHALT, M_GRAVEL, M_PAVED, M_SAND, M_EARTH):
        worn = 0.1 * sample(rough, x / 2.1, y / 2.1) if material == M_EARTH and detailed else 0.0
        return (1.0 + 0.05 * fine) * (0.8 + 0.4 * uniform(cell_key(key, 0, 0), 7)) + worn, 0.0, 0
    lush = (
        0.2 * sample(rough, x / 3.1, y / 3.1)
        + 0.22 * sample(smooth, x / 15, y / 15)
        + 0.3 * (uniform(key, 520) - 0.5)
    )
    return 1.0 + 0.06 * fine, lush + (0.2 if material in (M_LAWN, M_MARGIN) else 0.0), 0


# Compiled for _render, for each such pixel, date and band.
@njit(nogil=True, cache=True, error_model="numpy")
def _plain_colour(
    reflector: _Reflector,
    b: int,
    d: int,
    plain: np.ndarray,
    roofs: np.ndarray,
    dead: np.ndarray,
    soil: np.ndarray,
    dryness: np.ndarray,
    turbid: np.ndarray,
) -> float:
    """Return the reflectance of what is not a field at band ``b`` and date ``d``."""
    material, light, second, row = reflector
    colour = plain[material, b]
    if material == M_ROOF:
        return roofs[row, b] * light
    if material == M_WATER:
        mud = max(0.0, turbid[d] * (0.7 + 0.3 * second))
        return (1 - mud) * colour + mud * (
            0.15 - 0.02 * (b == 2) - 0.09 * (b == 3) + 0.01 * (b == 1)
        )
    if material in (M_TREE, M_BUSH):
        return colour * light * (1.05 - second * (0.40 if b == 3 else 0.27))
    if material in (M_ASPHALT, M_PAVED, M_SAND):
        return colour * light
    if material in (M_GRAVEL, M_EARTH):
        laid, own = (0.7, 0.3) if material == M_GRAVEL else (0.4, 0.75)
        return (laid * colour + own * soil[b]) * light
    brown = min(max(dryness[d] * 0.9 + 0.12 - second, 0.0), 1.0)
    return ((1 - brown) * colour + brown * (0.75 * dead[b] + 0.25 * soil[b])) * light


# Compiled: some hundred operations for each fine pixel, date and band.
@njit(nogil=True, cache=True, error_model="numpy")
def _render(
    first: int,
    last: int,
    scale: _Scale,
    world: tuple,
    ground: tuple,
    season: tuple,
    palette: tuple,
    noises: tuple,
    out: np.ndarray,
) -> None:
    """Fill image rows ``first`` to ``last`` of (date * bands, y, x) reflectance.

    Each pixel is the mean of ``fold`` x ``fold`` fine pixels.
    """
    # Unpacked once: taking an array out of a tuple for every pixel would cost more than the pixel,
    # for reference counts are atomic.
    salt, ox, oy, leaves, leaf_keys = world
    keys, materials, heights, rims, lines, shaded = ground
    greenness, spectra, texture = season
    plain, roofs, dead, soil, dryness, turbid, sun = palette
    smooth, rough, grain = noises
    fold, step, bands = scale
    dates = greenness.shape[2]
    weight = 1.0 / (fold * fold)
    detailed = step < 2.5
    for r in range(first * fold, last * fold):
        for c in range(out.shape[2] * fold):
            px, py = (c + 0.5) * step, (r + 0.5) * step
            x, y = px + ox, py + oy
            material, over, share = materials[r, c], lines[r, c] >> 4, (lines[r, c] & 15) / 15.0
            code = abs(keys[r, c]) - 1
            index, part = code // SUBS, code % SUBS
            key = leaf_keys[index]
            fine = sample(grain, x / 0.9, y / 0.9) if detailed else sample(grain, x / 2.6, y / 2.6)
            dim = (0.42 if shaded[r, c] else 1.0) * (1 + 0.03 * sample(smooth, x / 14 + 9, y / 14))
            point = _NoisePoint(x, y, fine, detailed)
            variant, change, light, second, row = 0, 0.0, 0.0, 0.0, 0
            if material == M_FIELD:
                variant, change, light = _field_state(
                    _FieldPoint(px, py, 0.5 * rims[r, c], step),
                    leaves,
                    texture,
                    index,
                    key,
                    part,
                    rough,
                    grain,
                )
                light = 1 + light + 0.015 * fine
            else:
                is_plot = leaves[index, KIND] == PLOT
                feature = _Feature(material, key, part, is_plot, 0.5 * heights[r, c])
                light, second, row = _plain_state(feature, point, salt, sun, smooth, rough)
            light2, second2, row2 = 0.0, 0.0, 0
            if share > 0:
                line = _Feature(over, key, 0, False, 2.0)
                light2, second2, row2 = _plain_state(line, point, salt, sun, smooth, rough)
            own = _Reflector(material, light, second, row)
            top = _Reflector(over, light2, second2, row2)
            for d in range(dates):
                g = greenness[index, variant, d]
                g = min(max(g + change * (0.25 + g), 0.0), 0.99)
                for b in range(bands):
                    if material == M_FIELD:
                        value = (
                            g * spectra[index, variant, d, b]
                            + (1 - g) * spectra[index, variant, d, 4 + b]
                        ) * light
                    else:
                        value = _plain_colour(own, b, d, plain, roofs, dead, soil, dryness, turbid)
                    if share > 0:
                        value += share * (
                            _plain_colour(top, b, d, plain, roofs, dead, soil, dryness, turbid)
                            - value
                        )
                    # Skylight reaches the shadows, and it is blue.
                    out[d * bands + b, r // fold, c // fold] += (
                        value * (dim + (0.06 if b == 2 and shaded[r, c] else 0.0)) * weight
                    )


def render(
    world: LandscapeCover,
    ground: Ground,
    season: Phenology,
    fold: int,
    bands: int,
    sun: tuple[float, float],
    rng: np.random.Generator,
) -> np.ndarray:
    """Return reflectance on the image grid, (date * band, y, x) float32 in 0..1.

    Bands are in the order red, green, blue, near infrared.

    Parameters
    ----------
    world, ground, season
        The landscape.
    fold : int
        Fine pixels per image pixel, along each side.
    bands : int
        4 with near infrared, 3 without.
    sun : tuple of float
        Azimuth and elevation, radian.
    rng : numpy.random.Generator
        Draws what the whole image shares: colours of woods and water.
    """
    shape = ground.keys.shape[0] // fold, ground.keys.shape[1] // fold
    dates = season.greenness.shape[2]
    out = np.zeros((dates * bands, *shape), np.float32)
    shaded = cast_shadows(ground, *sun)
    # Earth came later and follows the soil: it draws nothing.
    plain = PLAIN.copy()
    drawn = plain[:M_EARTH]
    drawn[:] = (
        drawn
        * np.exp(rng.normal(0, 0.10, (len(drawn), 1)))
        * np.exp(rng.normal(0, 0.04, drawn.shape))
    )
    turbid = np.clip(rng.exponential(0.28) * np.exp(rng.normal(0, 0.35, dates)), 0, 1).astype(
        np.float32
    )
    light = np.array([np.sin(sun[0]), -np.cos(sun[0]), rng.normal(0.6, 0.9)], np.float32)
    tree, textures = world.tree, world.textures
    scale = _Scale(fold, ground.step, bands)
    place = (world.salt, world.numbers[5], world.numbers[6], tree.leaves, tree.keys[tree.groups])
    lie = (ground.keys, ground.materials, ground.heights, ground.rims, ground.lines, shaded)
    growth = (season.greenness, season.spectra, season.texture)
    palette = (plain, ROOFS, _DEAD, season.soil, season.dryness, turbid, light)
    noises = (textures.smooth, textures.rough, textures.grain)

    def rows(first: int) -> None:
        last = min(first + 16, shape[0])
        _render(first, last, scale, place, lie, growth, palette, noises, out)

    in_strips(rows, shape[0], 16)
    return out
