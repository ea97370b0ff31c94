"""Simulated photographs of crops from above, to train `crops-wide` on: many species and grounds.

    python runs/crops_scenes.py sheet.png --count 40          photographs with their masks

Five styles, which are also what leave-one-style-out leaves out: ``rosette`` (beet, rape, lettuce),
``grass`` (cereals, rice, maize), ``broad`` (bean, cotton, potato, chilli, up to canopies without
holes), ``seedling`` (cotyledons and first leaves, sparse, on residue and stones) and ``feather``
(carrot, chamomile, fennel).  Ground: soils of many colours with clods, cracks, moisture and stones,
straw and dead leaves (no plant!), paper, hoses, film.  Leaves are swept along a bent midrib into a
height buffer at twice the size and averaged down, so that the mask is a share of plant.

Only numpy, scipy and numba: it runs on machines without GDAL.
"""

from __future__ import annotations

import argparse
import colorsys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numba import njit
from scipy import ndimage

STYLES = ("rosette", "grass", "broad", "seedling", "feather")
SIDE = 384
"""Pixels of a photograph; it is painted at twice as many."""
FINE = 2
BANK = 1024
# Columns of a leaf.
(_X, _Y, _DIR, _LEN, _HALF, _BEND, _FOOT, _TIP, _LIFT, _KIND, _LOBES, _DEPTH, _R, _G, _B, _R2, _G2,
 _B2, _OLD, _GLOSS, _LABEL, _VEIN, _FOLD, _PHASE, _COLUMNS) = range(25)  # fmt: skip
_OVAL, _BLADE, _HEART, _SPOON, _STRIP, _DISC = range(6)


class Grounds:
    """Periodic noise of several roughnesses, made once per process."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng([seed, 3])
        frequency = np.hypot(np.fft.fftfreq(BANK)[:, None], np.fft.rfftfreq(BANK)[None, :]).astype(
            np.float32
        )
        frequency[0, 0] = 1
        self.noise = []
        for power in (0.0, 0.6, 1.0, 1.4, 1.8, 2.4):
            phase = rng.standard_normal((*frequency.shape, 2)).astype(np.float32).view(np.complex64)
            low = frequency ** -np.float32(power)
            low[0, 0] = 0
            made = np.fft.irfft2(phase[..., 0] * low, (BANK, BANK)).astype(np.float32)
            self.noise.append((made - made.mean()) / made.std())

    def cut(self, rough: int, side: int, rng: np.random.Generator, zoom: float = 1) -> np.ndarray:
        """(side, side) float32 piece of noise, mean 0 and deviation 1 over the whole bank."""
        turned = np.rot90(self.noise[rough], int(rng.integers(4)))
        row, column = rng.integers(0, BANK, 2)
        if zoom == 1:
            index = (np.arange(side) + row) % BANK, (np.arange(side) + column) % BANK
            return np.ascontiguousarray(turned[np.ix_(*index)])
        small = int(side / zoom) + 3
        index = (np.arange(small) + row) % BANK, (np.arange(small) + column) % BANK
        return ndimage.zoom(turned[np.ix_(*index)], side / small, order=1, grid_mode=True,
                            mode="nearest")[:side, :side]  # fmt: skip


def _hsv(hue: float, saturation: float, value: float) -> np.ndarray:
    return 255 * np.array(
        colorsys.hsv_to_rgb(hue / 360 % 1, min(max(saturation, 0), 1), min(max(value, 0), 1)),
        np.float32,
    )


def plant_colour(rng: np.random.Generator) -> np.ndarray:
    """A plant's colour: mostly green, sometimes glaucous, yellowish, dark, pale or purple."""
    kind = rng.choice(6, p=[0.58, 0.14, 0.13, 0.06, 0.04, 0.05])
    hue, saturation, value = (
        ((78, 125), (0.25, 0.75), (0.28, 0.72)),
        ((125, 175), (0.08, 0.40), (0.30, 0.70)),
        ((52, 78), (0.30, 0.75), (0.40, 0.85)),
        ((80, 150), (0.20, 0.60), (0.14, 0.30)),
        ((60, 120), (0.10, 0.30), (0.65, 0.90)),
        ((300, 372), (0.20, 0.55), (0.20, 0.50)),
    )[kind]
    return _hsv(rng.uniform(*hue), rng.uniform(*saturation), rng.uniform(*value))


def _dead_colour(rng: np.random.Generator) -> np.ndarray:
    return _hsv(rng.uniform(24, 50), rng.uniform(0.12, 0.5), rng.uniform(0.35, 0.92))


def _soil_colour(rng: np.random.Generator) -> np.ndarray:
    kind = rng.choice(6, p=[0.40, 0.14, 0.12, 0.14, 0.12, 0.08])
    hue, saturation, value = (
        ((20, 36), (0.20, 0.50), (0.30, 0.65)),  # brown
        ((8, 22), (0.40, 0.65), (0.35, 0.65)),  # red
        ((20, 40), (0.08, 0.25), (0.12, 0.28)),  # black
        ((25, 48), (0.05, 0.20), (0.45, 0.80)),  # grey, pale
        ((30, 45), (0.25, 0.50), (0.60, 0.85)),  # sand
        ((200, 260), (0.02, 0.12), (0.25, 0.60)),  # bluish grey
    )[kind]
    return _hsv(rng.uniform(*hue), rng.uniform(*saturation), rng.uniform(*value))


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True)
def _outline(kind: int, t: float) -> float:
    """Half width at the share ``t`` of the length, at most 1."""
    if kind == _BLADE:
        return min(1.0, 0.55 + 3 * t) * (1 - t) ** 0.6
    if kind == _HEART:
        return min(1.0, 2.4 * np.sqrt(t)) * np.sqrt(1 - t)
    if kind == _SPOON:  # a stalk, then a blade
        return 0.10 if t < 0.45 else 0.10 + 0.9 * np.sqrt(max(0.0, 1 - ((t - 0.72) / 0.28) ** 2))
    if kind == _STRIP:
        return 1.0
    if kind == _DISC:
        return np.sqrt(max(0.0, 1 - (2 * t - 1) ** 2))
    return np.sqrt(4 * t * (1 - t))


# Compiled: leaves overlap, so each pixel is compared with what is there.  Invariant: ``height``
# holds that of the leaf that is seen.
@njit(nogil=True, cache=True, error_model="numpy", fastmath=True)
def _sweep(leaves, colour, height, label, grain, sun_x, sun_y):
    rows, columns = height.shape
    for k in range(len(leaves)):
        leaf = leaves[k]
        length, kind = leaf[_LEN], int(leaf[_KIND])
        steps = int(length * (1.6 + abs(leaf[_BEND]) * leaf[_HALF] / max(length, 1.0))) + 2
        x, y = leaf[_X], leaf[_Y]
        for i in range(steps):
            t = (i + 0.5) / steps
            turn = leaf[_DIR] + leaf[_BEND] * t * t
            c, s = np.cos(turn), np.sin(turn)
            x += c * length / steps
            y += s * length / steps
            half = leaf[_HALF] * _outline(kind, t)
            if leaf[_LOBES] > 0:
                half *= 1 - leaf[_DEPTH] * (
                    0.5 + 0.5 * np.cos(6.283 * leaf[_LOBES] * t + leaf[_PHASE])
                )
            z = leaf[_FOOT] + (leaf[_TIP] - leaf[_FOOT]) * t + leaf[_LIFT] * 4 * t * (1 - t)
            slope = (leaf[_TIP] - leaf[_FOOT] + leaf[_LIFT] * 4 * (1 - 2 * t)) / max(length, 1.0)
            across = int(half / 0.6) + 1
            old = min(1.0, max(0.0, (t - 1 + leaf[_OLD]) * 5))
            for j in range(-across, across + 1):
                u = j / across
                r = int(np.floor(y + c * u * half))
                q = int(np.floor(x - s * u * half))
                if r < 0 or q < 0 or r >= rows or q >= columns:
                    continue
                deep = z - 0.25 * half * u * u
                if deep <= height[r, q]:
                    continue
                height[r, q] = deep
                label[r, q] = leaf[_LABEL]
                bank = leaf[_FOLD] * (1.0 if u > 0 else -1.0) + 0.35 * u
                light = 1 - 0.55 * (
                    (-s * sun_x + c * sun_y) * bank + (c * sun_x + s * sun_y) * slope
                )
                light = min(max(light, 0.35), 1.6)
                rib = leaf[_VEIN] * max(0.0, 1 - abs(u) * half / (0.8 + 0.06 * leaf[_HALF]))
                rib += (
                    0.35
                    * leaf[_VEIN]
                    * max(
                        0.0,
                        np.cos(6.283 * (t * length / (5 + 0.5 * leaf[_HALF]) - 0.6 * abs(u))) - 0.6,
                    )
                )
                light *= 1 + 0.06 * grain[r, q] + rib
                shine = leaf[_GLOSS] * max(0.0, light - 0.95 + 0.10 * grain[r, q])
                for band in range(3):
                    base = leaf[_R + band] * (1 - old) + leaf[_R2 + band] * old
                    colour[band, r, q] = base * light + 255 * shine


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True)
def _stones(stones, colour, height, grain, sun_x, sun_y):
    rows, columns = height.shape
    for k in range(len(stones)):
        x, y, a, b, turn, red, green, blue, tall, p, q_ = stones[k]
        c, s = np.cos(turn), np.sin(turn)
        reach = max(a, b) * 1.3
        for r in range(max(0, int(y - reach)), min(rows, int(y + reach) + 1)):
            for q in range(max(0, int(x - reach)), min(columns, int(x + reach) + 1)):
                u, v = (c * (q - x) + s * (r - y)) / a, (-s * (q - x) + c * (r - y)) / b
                angle = np.arctan2(v, u)
                edge = 1 + 0.12 * np.cos(2 * angle + p) + 0.08 * np.cos(3 * angle + q_)
                d = (u * u + v * v) / (edge * edge)
                if d >= 1:
                    continue
                z = tall * np.sqrt(1 - d)
                if z <= height[r, q]:
                    continue
                height[r, q] = z
                light = (
                    0.95
                    - 0.35 * d
                    - 0.45 * (u * (c * sun_x + s * sun_y) + v * (-s * sun_x + c * sun_y))
                )
                light = max(0.25, light * (1 + 0.07 * grain[r, q]))
                colour[0, r, q] = red * light
                colour[1, r, q] = green * light
                colour[2, r, q] = blue * light


def _blank(count: int) -> np.ndarray:
    leaves = np.zeros((count, _COLUMNS), np.float64)
    leaves[:, _LABEL] = 1
    return leaves


def _coloured(
    leaves: np.ndarray, colour: np.ndarray, rng: np.random.Generator, spread: float = 0.1
) -> None:
    """Give leaves the colour of their plant, jittered, and an old tip to some."""
    own = colour * np.exp(
        rng.normal(0, spread, (len(leaves), 1)) + rng.normal(0, spread / 3, (len(leaves), 3))
    )
    leaves[:, _R : _B + 1] = own
    old = own.copy()
    ageing = rng.random(len(leaves)) < 0.12
    leaves[:, _OLD] = np.where(ageing, rng.uniform(0.05, 0.6, len(leaves)), 0)
    old[ageing] = 0.4 * own[ageing] + 0.6 * _dead_colour(rng)
    leaves[:, _R2 : _B2 + 1] = old


class Species:
    """What all plants of one kind in a photograph share."""

    def __init__(self, style: str, rng: np.random.Generator) -> None:
        self.style = style
        self.colour = plant_colour(rng)
        self.gloss = rng.uniform(0.1, 0.9) if rng.random() < 0.35 else rng.uniform(0, 0.1)
        self.vein = rng.uniform(0, 0.35)
        self.fold = rng.normal(0, 0.25)
        self.lobes = int(rng.integers(3, 12)) if rng.random() < 0.5 else 0
        self.depth = rng.uniform(0.05, 0.6)
        self.kind = int(rng.choice([_OVAL, _HEART, _SPOON]))
        self.wide = rng.uniform(0.7, 1.4)
        self.count = float(rng.uniform(0.6, 1.6))
        self.bend = rng.uniform(0.1, 1.6)

    def plant(self, x: float, y: float, size: float, rng: np.random.Generator) -> np.ndarray:
        """Leaves of one plant, ``size`` pixels in radius."""
        leaves = getattr(self, f"_{self.style}")(x, y, size, rng)
        _coloured(leaves, self.colour * np.exp(rng.normal(0, 0.08)), rng)
        leaves[:, _GLOSS] = self.gloss * rng.uniform(0.3, 1, len(leaves))
        leaves[:, _VEIN] = self.vein
        leaves[:, _FOLD] += self.fold
        return leaves

    def _radial(
        self, count: int, x: float, y: float, size: float, rng: np.random.Generator
    ) -> np.ndarray:
        leaves = _blank(count)
        leaves[:, _X], leaves[:, _Y] = x, y
        leaves[:, _DIR] = (
            rng.uniform(0, 6.283) + np.arange(count) * 2.39996 + rng.normal(0, 0.25, count)
        )
        leaves[:, _LEN] = size * np.linspace(1, 0.35, count) * np.exp(rng.normal(0, 0.15, count))
        leaves[:, _FOOT] = size * (0.2 + 0.06 * np.arange(count))
        leaves[:, _TIP] = leaves[:, _FOOT] * rng.uniform(0.5, 1.5, count)
        leaves[:, _LIFT] = 0.1 * leaves[:, _LEN]
        leaves[:, _PHASE] = rng.uniform(0, 6.283, count)
        leaves[:, _BEND] = rng.normal(0, 0.15, count)
        return leaves

    def _rosette(self, x: float, y: float, size: float, rng: np.random.Generator) -> np.ndarray:
        leaves = self._radial(max(3, int(rng.integers(5, 14) * self.count)), x, y, size, rng)
        leaves[:, _HALF] = (
            leaves[:, _LEN] * {_OVAL: 0.22, _HEART: 0.34, _SPOON: 0.24}[self.kind] * self.wide
        )
        leaves[:, _KIND], leaves[:, _LOBES], leaves[:, _DEPTH] = self.kind, self.lobes, self.depth
        return leaves

    def _grass(self, x: float, y: float, size: float, rng: np.random.Generator) -> np.ndarray:
        count = max(2, int(rng.integers(2, 9) * self.count))
        leaves = self._radial(count, x, y, size, rng)
        leaves[:, _DIR] = rng.uniform(0, 6.283, count)
        leaves[:, _X] += rng.normal(0, 0.06 * size, count)
        leaves[:, _Y] += rng.normal(0, 0.06 * size, count)
        leaves[:, _LEN] = size * rng.uniform(0.4, 1.2, count)
        leaves[:, _HALF] = np.maximum(1.2, size * rng.uniform(0.025, 0.06) * self.wide) * np.exp(
            rng.normal(0, 0.15, count)
        )
        leaves[:, _KIND] = _BLADE
        leaves[:, _BEND] = rng.normal(0, self.bend, count)
        leaves[:, _TIP] = leaves[:, _FOOT] * rng.uniform(0.2, 2.5, count)
        leaves[:, _FOLD] = rng.normal(0, 0.5, count)
        return leaves

    def _broad(self, x: float, y: float, size: float, rng: np.random.Generator) -> np.ndarray:
        leaves = self._radial(max(4, int(rng.integers(6, 18) * self.count)), x, y, size, rng)
        count = len(leaves)
        reach = size * np.sqrt(rng.uniform(0, 1, count)) * 0.8
        stalks = leaves.copy()
        stalks[:, _LEN], stalks[:, _KIND] = reach, _STRIP
        stalks[:, _HALF] = max(1.0, 0.012 * size)
        stalks[:, _FOOT] *= 0.6
        leaves[:, _X] += reach * np.cos(leaves[:, _DIR] + leaves[:, _BEND] / 3)
        leaves[:, _Y] += reach * np.sin(leaves[:, _DIR] + leaves[:, _BEND] / 3)
        leaves[:, _DIR] += rng.normal(0, 0.7, count)
        leaves[:, _LEN] = size * rng.uniform(0.35, 0.75, count) * self.wide
        leaves[:, _HALF] = leaves[:, _LEN] * (0.30 if self.kind == _OVAL else 0.42)
        leaves[:, _KIND] = _OVAL if self.kind == _OVAL else _HEART
        leaves[:, _LOBES], leaves[:, _DEPTH] = self.lobes, 0.4 * self.depth
        leaves[:, _FOOT] = size * rng.uniform(0.2, 1.2, count)
        leaves[:, _TIP] = leaves[:, _FOOT] * rng.uniform(0.6, 1.3, count)
        return np.concatenate([leaves, stalks])

    def _seedling(self, x: float, y: float, size: float, rng: np.random.Generator) -> np.ndarray:
        leaves = self._radial(2 + int(rng.integers(0, 4)), x, y, size, rng)
        leaves[1, _DIR] = leaves[0, _DIR] + np.pi + rng.normal(0, 0.15)
        leaves[:2, _LEN] = size * rng.uniform(0.6, 0.9)
        leaves[2:, _LEN] *= 0.9
        leaves[:, _HALF] = leaves[:, _LEN] * rng.uniform(0.12, 0.40)
        leaves[:, _KIND] = _SPOON if self.kind == _SPOON else _OVAL
        leaves[2:, _LOBES], leaves[2:, _DEPTH] = self.lobes, self.depth
        return leaves

    def _feather(self, x: float, y: float, size: float, rng: np.random.Generator) -> np.ndarray:
        fronds = self._radial(max(2, int(rng.integers(3, 8) * self.count)), x, y, size, rng)
        fronds[:, _KIND], fronds[:, _HALF] = _BLADE, max(1.0, 0.02 * size)
        made = [fronds]
        thick = rng.uniform(0.10, 0.35) * self.wide
        for frond in fronds:
            pairs = int(rng.integers(4, 9))
            t = np.repeat(np.linspace(rng.uniform(0.15, 0.45), 0.95, pairs), 2)
            parts = _blank(len(t))
            turn = frond[_DIR] + frond[_BEND] * t * t
            parts[:, _X] = frond[_X] + t * frond[_LEN] * np.cos(
                frond[_DIR] + frond[_BEND] * t * t / 3
            )
            parts[:, _Y] = frond[_Y] + t * frond[_LEN] * np.sin(
                frond[_DIR] + frond[_BEND] * t * t / 3
            )
            side = np.tile([1.0, -1.0], pairs)
            parts[:, _DIR] = turn + side * rng.uniform(0.5, 1.1) + rng.normal(0, 0.1, len(t))
            parts[:, _LEN] = (
                frond[_LEN]
                * rng.uniform(0.18, 0.4)
                * (1.1 - 0.6 * t)
                * np.exp(rng.normal(0, 0.1, len(t)))
            )
            parts[:, _HALF] = np.maximum(1.0, parts[:, _LEN] * thick)
            parts[:, _KIND] = _OVAL
            parts[:, _LOBES], parts[:, _DEPTH] = 3, 0.6
            parts[:, _FOOT] = frond[_FOOT] + (frond[_TIP] - frond[_FOOT]) * t
            parts[:, _TIP] = parts[:, _FOOT]
            parts[:, _PHASE] = rng.uniform(0, 6.283, len(t))
            made.append(parts)
        return np.concatenate(made)


def _spots(side: int, size: float, dense: float, rng: np.random.Generator) -> np.ndarray:
    """(plant, 2) places in rows, drilled, or scattered; ``dense`` is plants a squared size."""
    count = max(1, int(dense * side * side / (3 * size * size)))
    count = min(count, 1500)
    if rng.random() < 0.4:
        return rng.uniform(-0.1 * side, 1.1 * side, (count, 2))
    between = min(side, max(size * rng.uniform(1.2, 4.0), 24))
    turn = rng.uniform(0, np.pi) if rng.random() < 0.5 else rng.choice([0, np.pi / 2])
    rows = max(1, int(1.5 * side / between))
    along = rng.uniform(-0.75, 0.75, (rows, max(1, round(1.6 * count / rows)))) * side
    across = (np.arange(rows)[:, None] - rows / 2 + rng.uniform()) * between + rng.normal(
        0, 0.08 * between, along.shape
    )
    c, s = np.cos(turn), np.sin(turn)
    return np.stack(
        [side / 2 + c * along - s * across, side / 2 + s * along + c * across], -1
    ).reshape(-1, 2)


@dataclass(frozen=True)
class _Litter:
    """A kind of thing that is no plant: size as a share of the side, half width of its length."""

    length: tuple[float, float]
    ratio: tuple[float, float]
    kinds: tuple[int, ...]
    bend: float = 0.2

    def scattered(
        self, count: int, side: int, colour: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        leaves = _blank(count)
        leaves[:, _LABEL] = 0
        leaves[:, _X], leaves[:, _Y] = rng.uniform(-0.1 * side, 1.1 * side, (2, count))
        leaves[:, _DIR] = rng.uniform(0, 6.283, count)
        leaves[:, _LEN] = np.exp(rng.uniform(*np.log(self.length), count)) * side
        ratio = np.exp(rng.uniform(*np.log(self.ratio), count))
        leaves[:, _HALF] = np.maximum(1.0, leaves[:, _LEN] * ratio)
        leaves[:, _KIND] = rng.choice(self.kinds, count)
        leaves[:, _BEND] = rng.normal(0, self.bend, count)
        leaves[:, _FOOT] = rng.uniform(1, 14, count)
        leaves[:, _TIP] = rng.uniform(1, 14, count)
        leaves[:, _FOLD] = rng.normal(0, 0.3, count)
        leaves[:, _R : _B + 1] = colour * np.exp(rng.normal(0, 0.18, (count, 1)))
        leaves[:, _R2 : _B2 + 1] = leaves[:, _R : _B + 1]
        leaves[:, _VEIN] = rng.uniform(-0.15, 0.3)
        return leaves


_STRAW = _Litter((0.01, 0.3), (0.01, 0.08), (_STRIP, _BLADE), 0.5)
_DEAD = _Litter((0.02, 0.2), (0.15, 0.45), (_OVAL, _HEART), 0.6)
_PAPER = _Litter((0.05, 0.7), (0.15, 0.8), (_STRIP, _OVAL, _DISC), 0.4)
_HOSE = _Litter((1.2, 2.0), (0.006, 0.05), (_STRIP,), 0.4)


def _litter(side: int, rng: np.random.Generator) -> np.ndarray:
    """Straw, dead leaves, and what people leave: none of it is a plant."""
    parts = [np.zeros((0, _COLUMNS))]
    if rng.random() < 0.45:
        heavy = rng.random() < 0.25
        for _ in range(int(rng.integers(1, 4))):
            count = int(rng.integers(60, 500) if heavy else rng.integers(2, 60))
            parts.append(_STRAW.scattered(count, side, _dead_colour(rng), rng))
    if rng.random() < 0.2:
        brown = _hsv(rng.uniform(12, 45), rng.uniform(0.2, 0.6), rng.uniform(0.2, 0.6))
        parts.append(_DEAD.scattered(int(rng.integers(1, 25)), side, brown, rng))
    if rng.random() < 0.2:
        white = _hsv(rng.uniform(0, 360), rng.uniform(0, 0.12), rng.uniform(0.5, 1))
        parts.append(_PAPER.scattered(int(rng.integers(1, 6)), side, white, rng))
    if rng.random() < 0.06:
        hue = float(rng.choice([0, 30, 210, 225, 350]))
        painted = _hsv(hue, rng.uniform(0, 0.9), rng.uniform(0.05, 0.95))
        parts.append(_HOSE.scattered(int(rng.integers(1, 3)), side, painted, rng))
    return np.concatenate(parts)


def _ground(
    side: int, grounds: Grounds, sun: tuple[float, float], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(3, y, x) colour and (y, x) relief of bare soil with stones."""
    fine = float(np.exp(rng.uniform(np.log(1), np.log(4))))
    relief = rng.uniform(0.5, 1.5) * grounds.cut(int(rng.integers(2, 5)), side, rng, fine)
    relief += rng.uniform(0, 1.0) * grounds.cut(5, side, rng)
    if rng.random() < 0.6:  # clods and crumbs
        coarse = grounds.cut(4, side, rng, fine)
        lumps = (
            np.sqrt(np.abs(coarse))
            if rng.random() < 0.5
            else np.maximum(coarse, rng.uniform(-0.5, 0.5))
        )
        relief = 0.5 * relief + rng.uniform(0.5, 2.5) * lumps
    rough = rng.uniform(1.5, 7) * fine
    slope_y, slope_x = np.gradient(ndimage.gaussian_filter(relief, 0.6) * rough)
    lean = sun[0] * slope_x + sun[1] * slope_y
    lean *= rng.uniform(0.05, 0.5) / max(float(lean.std()), 1e-3)
    shade = 1 - 0.85 * np.tanh(lean)
    shade *= 1 + rng.uniform(0.03, 0.16) * grounds.cut(int(rng.integers(0, 3)), side, rng)
    shade *= 1 + rng.uniform(0, 0.22) * grounds.cut(5, side, rng)
    colour = _soil_colour(rng)[:, None, None] * shade[None]
    if rng.random() < 0.35:  # two soils, moist and dry
        share = 1 / (1 + np.exp(-rng.uniform(1, 6) * (grounds.cut(5, side, rng) + rng.normal())))
        colour = colour * (1 - share) + (_soil_colour(rng)[:, None, None] * shade[None]) * share
    if rng.random() < 0.2:  # cracks
        lines = np.abs(grounds.cut(5, side, rng)) + 0.15 * np.abs(grounds.cut(3, side, rng))
        colour *= 1 - rng.uniform(0.4, 0.85) * np.exp(-((lines / rng.uniform(0.03, 0.10)) ** 2))
    colour *= 1 + rng.uniform(0, 0.04) * np.stack(
        [grounds.cut(1, side, rng, fine) for _ in range(3)]
    )
    relief = np.clip((relief - relief.min()) * rough * 0.3, 0, 12).astype(np.float32)
    colour = np.ascontiguousarray(np.clip(colour, 0, 400), np.float32)
    if rng.random() < 0.55:
        count = int(np.exp(rng.uniform(0, np.log(250))))
        largest = rng.uniform(0.01, 0.09) * side
        stones = np.zeros((count, 11))
        stones[:, :2] = rng.uniform(0, side, (count, 2))
        stones[:, 2] = np.maximum(2, largest * rng.uniform(0, 1, count) ** 2.5)
        stones[:, 3] = stones[:, 2] * rng.uniform(0.5, 1, count)
        stones[:, 4] = rng.uniform(0, 6.283, count)
        hue = rng.uniform(0, 60, count) if rng.random() < 0.8 else rng.uniform(180, 360, count)
        tones = [_hsv(h, rng.uniform(0, 0.3), rng.uniform(0.25, 1) ** 0.7) for h in hue]
        stones[:, 5:8] = np.stack(tones)
        stones[:, 8] = 4 + 0.6 * stones[:, 3]
        stones[:, 9:11] = rng.uniform(0, 6.283, (count, 2))
        _stones(stones, colour, relief, grounds.cut(2, side, rng), *sun)
    return colour, relief


def _lit(
    colour: np.ndarray, height: np.ndarray, sun: tuple[float, float], rng: np.random.Generator
) -> np.ndarray:
    """Cast shadows along the sun, tint them, blur a little; (3, y, x) float32."""
    length, hard = rng.uniform(0.1, 1.6), rng.uniform(0, 0.75)
    reach = float(np.percentile(height, 99.5)) * length
    shadow = np.zeros(height.shape, np.float32)
    steps = 10
    for step in range(1, steps + 1):
        far = reach * step / steps
        dy, dx = round(sun[1] * far), round(sun[0] * far)
        if (dy or dx) and max(abs(dy), abs(dx)) < min(height.shape):
            moved = ndimage.shift(height, (-dy, -dx), order=0, mode="nearest")
            shadow = np.maximum(
                shadow, np.clip((moved - height - far / max(length, 0.1)) / 2, 0, 1)
            )
    shadow = ndimage.gaussian_filter(shadow, rng.uniform(0.4, 2.5))
    tint = np.array([1.05, 1.0, rng.uniform(0.8, 1)], np.float32)
    lit = colour * (1 - hard * shadow[None] * tint[:, None, None])
    # deep between leaves it is darker than above
    if rng.random() < 0.7:
        above = ndimage.gaussian_filter(height, 0.02 * SIDE)
        lit *= 1 - rng.uniform(0, 0.5) * np.clip(
            (above - height) / (np.percentile(height, 98) + 1), 0, 1
        )
    return ndimage.gaussian_filter(lit, (0, *[rng.uniform(0.2, 0.9)] * 2))


def render(
    seed: int, grounds: Grounds, style: str | None = None
) -> tuple[np.ndarray, np.ndarray, str]:
    """One photograph: (3, y, x) uint8, (y, x) uint8 share of plant (0 to 255), its style."""
    rng = np.random.default_rng([seed, 22])
    style = style or STYLES[int(rng.integers(len(STYLES)))]
    side = SIDE * FINE
    turn = rng.uniform(0, 6.283)
    sun = (float(np.cos(turn)), float(np.sin(turn)))
    colour, height = _ground(side, grounds, sun, rng)
    label = np.zeros((side, side), np.float32)
    leaves = [_litter(side, rng)]
    bare = rng.random() < 0.04
    if not bare:
        dense = {
            "rosette": rng.choice([0.15, 0.5, 1.2, 3.0]),
            "grass": rng.choice([0.6, 1.5, 4.0, 10.0]),
            "broad": rng.choice([0.3, 1.0, 2.5, 5.0]),
            "seedling": rng.choice([0.03, 0.08, 0.2, 0.5]),
            "feather": rng.choice([0.2, 0.6, 1.5, 4.0]),
        }[style] * rng.uniform(0.6, 1.4)  # fmt: skip
        low, high = {"rosette": (0.05, 0.45), "grass": (0.06, 0.40), "broad": (0.08, 0.6),
                     "seedling": (0.015, 0.12), "feather": (0.06, 0.4)}[style]  # fmt: skip
        size = side * float(np.exp(rng.uniform(np.log(low), np.log(high))))
        kinds = [(Species(style, rng), _spots(side, size, dense, rng), size)]
        if rng.random() < 0.35:  # weeds
            other = Species(
                style if rng.random() < 0.5 else STYLES[int(rng.integers(len(STYLES)))], rng
            )
            small = size * rng.uniform(0.2, 0.8)
            kinds.append((other, _spots(side, small, dense * rng.uniform(0.02, 0.3), rng), small))
        for species, spots, own in kinds:
            for x, y in spots[:700]:
                leaves.append(species.plant(x, y, own * np.exp(rng.normal(0, 0.25)), rng))
    every = np.concatenate(leaves)
    _sweep(every, colour, height, label, grounds.cut(2, side, rng), *sun)

    def down(values: np.ndarray) -> np.ndarray:
        shape = (*values.shape[:-2], SIDE, FINE, SIDE, FINE)
        return values.reshape(shape).mean((-3, -1))

    image = _lit(down(colour), down(height), sun, rng)
    return (
        np.clip(np.rint(image), 0, 255).astype(np.uint8),
        np.rint(255 * down(label)).astype(np.uint8),
        style,
    )


def main() -> None:
    """Write a sheet to look at."""
    import time

    from PIL import Image

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sheet", type=Path)
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    grounds = Grounds(0)
    render(0, grounds)
    begun, rows = time.perf_counter(), []
    for seed in range(args.seed, args.seed + args.count):
        image, share, _ = render(seed, grounds, STYLES[seed % len(STYLES)])
        outlined = np.where(share[None] > 127, image, image // 3)
        rows.append(np.concatenate([image, outlined], 1).transpose(1, 2, 0))
    print(f"{(time.perf_counter() - begun) / args.count:.2f} s a photograph")
    wide = 10
    Image.fromarray(
        np.concatenate(
            [
                np.concatenate(rows[k : k + wide], 1)
                for k in range(0, len(rows) // wide * wide, wide)
            ]
        )[::2, ::2]
    ).save(args.sheet)


if __name__ == "__main__":
    main()
