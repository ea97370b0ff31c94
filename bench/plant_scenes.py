"""Plants before a camera, in three dimensions: scenes that are not of the simulator that ships.

Leaves are tilted ellipses above rough ground; each pixel's ray is cut with the ground and with
every leaf, and the nearest wins.  The camera may look straight down or be tilted, so the ground may
be as far as it likes to be on one side.  For ``bench/pseudo_masks.py --generator camera`` and for
tests that want depth which our own simulator did not make.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

HEIGHT = 1.2
"""Metres of the camera above the ground."""
KINDS = ("rosettes", "grass", "rows", "seedlings")


@dataclass(frozen=True, eq=False)
class Scene:
    """What a camera saw, and what was there."""

    image: np.ndarray
    """(3, y, x) uint8."""
    inverse: np.ndarray
    """(y, x) float64 inverse depth along the optical axis, 1/m: what depth networks aim at."""
    crop: np.ndarray
    """(y, x) bool."""
    kind: str
    tilt: float
    """Degrees of the camera from straight down."""


@dataclass(frozen=True, eq=False)
class _Leaves:
    """Ellipses in space, one a row."""

    middle: np.ndarray
    along: np.ndarray
    """(n, 3) half of the long axis."""
    across: np.ndarray
    """(n, 3) half of the short axis."""
    colour: np.ndarray
    """(n, 3)."""


def draw_scene(seed: int, shape: tuple[int, int], tilt: float | None = None) -> Scene:
    """Draw a scene; the tilt is up to 30 degrees where none is given."""
    random = np.random.default_rng([seed, 77])
    kind = KINDS[seed % len(KINDS)]
    tilt = float(random.uniform(0, 30)) if tilt is None else tilt
    turn = _turned(tilt, float(random.uniform(0, 2 * math.pi)))
    rays = _rays(shape, turn)
    depth, image = _ground(rays, random)
    crop = np.zeros(shape, bool)
    spot = _ground_extent(rays)
    light = _unit(random.normal([0, 0, 2.5], [0.8, 0.8, 0.2]))
    _paint(_plants(kind, spot, random), rays, turn, light, (depth, image, crop))
    noisy = image + random.normal(0, random.uniform(1, 5), image.shape)
    return Scene(np.clip(noisy, 0, 255).astype(np.uint8), 1 / depth, crop, kind, tilt)


def as_network(inverse: np.ndarray, seed: int) -> np.ndarray:
    """Return inverse depth as a network would say it: fine parts lost, waves, noise."""
    random = np.random.default_rng([seed, 5])
    spread = float(inverse.std())
    waves = ndimage.gaussian_filter(random.standard_normal(inverse.shape), inverse.shape[0] / 8)
    blurred = ndimage.gaussian_filter(ndimage.median_filter(inverse, 5), 1.3)
    noise = random.standard_normal(inverse.shape)
    return blurred + spread * (0.1 * waves / waves.std() + 0.01 * noise)


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector, axis=-1, keepdims=True)


def _turned(tilt: float, turn: float) -> np.ndarray:
    """Return (3, 3): what brings the camera's coordinates into the world's, whose z points up."""
    angle = math.radians(tilt)
    cos, sin = math.cos(angle), math.sin(angle)
    about_x = np.array([[1, 0, 0], [0, cos, sin], [0, -sin, cos]])
    cos, sin = math.cos(turn), math.sin(turn)
    return about_x @ np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])


def _rays(shape: tuple[int, int], turn: np.ndarray) -> np.ndarray:
    """Return (3, y, x) rays from the camera, of length 1 along its axis."""
    rows, columns = np.indices(shape, dtype=np.float64)
    x = (columns - (shape[1] - 1) / 2) / max(shape)
    y = (rows - (shape[0] - 1) / 2) / max(shape)
    return np.einsum("ij,jyx->iyx", turn, np.stack([x, -y, -np.ones(shape)]))


def _window(
    middle: np.ndarray, radius: float, turn: np.ndarray, shape: tuple[int, int]
) -> tuple[slice, slice] | None:
    """Return where a ball in space can be seen."""
    x, y, z = turn.T @ (middle - [0, 0, HEIGHT])
    if -z - radius < 0.02:
        return None
    reach = 1.5 * radius / (-z - radius) * max(shape) + 1
    column = x / -z * max(shape) + (shape[1] - 1) / 2
    row = -y / -z * max(shape) + (shape[0] - 1) / 2
    rows = slice(max(int(row - reach), 0), max(int(row + reach) + 1, 0))
    return rows, slice(max(int(column - reach), 0), max(int(column + reach) + 1, 0))


def _ground_extent(rays: np.ndarray) -> tuple[float, float, float, float]:
    reach = HEIGHT / -rays[2]
    x, y = rays[0] * reach, rays[1] * reach
    return float(x.min()), float(x.max()), float(y.min()), float(y.max())


def _ground(rays: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return (y, x) depth of rough ground and its (3, y, x) colours."""
    shape = rays.shape[1:]
    rough = sum(
        weight * _even(ndimage.gaussian_filter(random.standard_normal(shape), size))
        for size, weight in ((1.5, 0.2), (4, 0.4), (12, 0.6))
    )
    depth = (HEIGHT - 0.004 * random.uniform(0.5, 3) * rough) / -rays[2]
    brown = random.uniform(80, 190) * np.array(
        [1, random.uniform(0.72, 0.92), random.uniform(0.5, 0.8)]
    )
    texture = (
        1 + 0.12 * _even(ndimage.gaussian_filter(random.standard_normal(shape), 1)) + 0.1 * rough
    )
    return depth, brown[:, None, None] * texture


def _even(plane: np.ndarray) -> np.ndarray:
    return plane / plane.std()


def _plants(kind: str, spot: tuple[float, ...], random: np.random.Generator) -> _Leaves:
    """Place plants on the ground that the camera sees."""
    x0, x1, y0, y1 = spot
    area = (x1 - x0) * (y1 - y0)
    density = {"rosettes": 14, "grass": 30, "rows": 25, "seedlings": 9}[kind]
    count = max(3, int(area * density * random.uniform(0.5, 1.2)))
    feet = np.column_stack([random.uniform(x0, x1, count), random.uniform(y0, y1, count)])
    if kind == "rows":
        feet[:, 0] = np.round(feet[:, 0] / 0.3) * 0.3 + random.normal(0, 0.02, count)
    parts = [_plant(kind, foot, random) for foot in feet]
    return _Leaves(*(np.concatenate(rows) for rows in zip(*parts, strict=True)))


def _plant(kind: str, foot: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Return middle, long half axis, short half axis and colour of each leaf of one plant."""
    size = {"rosettes": 0.09, "grass": 0.14, "rows": 0.12, "seedlings": 0.035}[kind]
    size *= random.uniform(0.6, 1.4)
    count = int(random.integers(*((2, 5) if kind == "seedlings" else (5, 12))))
    turns = random.uniform(0, 2 * math.pi, count)
    lift = np.radians(
        random.uniform(25, 75, count) if kind == "grass" else random.uniform(0, 45, count)
    )
    out = np.column_stack([np.cos(turns), np.sin(turns), np.zeros(count)])
    along = (out * np.cos(lift)[:, None] + [0, 0, 1] * np.sin(lift)[:, None]) * size / 2
    side = np.column_stack([-np.sin(turns), np.cos(turns), np.zeros(count)])
    width = (
        random.uniform(0.04, 0.09, count) if kind == "grass" else random.uniform(0.3, 0.6, count)
    )
    stem = random.uniform(0.2, 1.0, count)[:, None] * [
        0,
        0,
        size * (0.4 if kind == "seedlings" else 0.8),
    ]
    middle = np.column_stack([np.broadcast_to(foot, (count, 2)), np.zeros(count)]) + stem + along
    green = np.array([random.uniform(40, 110), random.uniform(95, 175), random.uniform(25, 80)])
    colour = green * random.uniform(0.75, 1.2, (count, 1))
    return middle, along, side * (width * size / 2)[:, None], colour


def _paint(
    leaves: _Leaves,
    rays: np.ndarray,
    turn: np.ndarray,
    light: np.ndarray,
    seen: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    """Cut the rays with every leaf; the nearest surface is what is seen (depth, image, crop)."""
    eye = np.array([0, 0, HEIGHT])
    for middle, along, across, colour in zip(
        leaves.middle, leaves.along, leaves.across, leaves.colour, strict=True
    ):
        where = _window(middle, float(np.linalg.norm(along)), turn, rays.shape[1:])
        if where is None:
            continue
        depth, image, crop = (plane[..., where[0], where[1]] for plane in seen)
        part = rays[:, where[0], where[1]]
        normal = _unit(np.cross(along, across))
        with np.errstate(divide="ignore", invalid="ignore"):
            reach = float(normal @ (middle - eye)) / np.tensordot(normal, part, 1)
            from_middle = part * reach + (eye - middle)[:, None, None]
            u = np.tensordot(along / (along @ along), from_middle, 1)
            v = np.tensordot(across / (across @ across), from_middle, 1)
            hit = (u**2 + v**2 < 1) & (reach > 0.02) & (reach < depth)
        depth[hit] = reach[hit]
        crop[hit] = True
        shade = 0.55 + 0.45 * abs(float(normal @ light))
        vein = 1 - 0.15 * np.exp(-((v[hit] / 0.15) ** 2))
        image[:, hit] = colour[:, None] * shade * vein
