"""Cut large fields of aerial chips at 1 m into strips, straight or along a curve, and paint them.

Crops alternate, two or three that differ much or hardly, mostly with a line of grass or of tracks
between.  Texture, light and neighbours stay those of the chip.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

LEAST = 12_000
"""m2 of a field that is cut."""
CUT = 0.6
"""Share of such fields that are cut."""
SMALLEST = 250
"""m2 of a strip; what is smaller belongs to the next."""
NARROWEST = {"aerial": 13.0, "satellite": 32.0}
"""Metres of the narrowest usual width: two pixels of 10 m hold no strip and two borders."""


def terrain(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """(y, x) distance in pixels from a curve, negative on its other side."""
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    angle = rng.uniform(0, 2 * math.pi)
    plane = rows * math.sin(angle) + columns * math.cos(angle)
    if rng.random() < 0.35:
        return plane
    rough = rng.standard_normal((shape[0] // 8 + 2, shape[1] // 8 + 2))
    hills = ndimage.gaussian_filter(rough, rng.uniform(4, 16), mode="reflect")
    hills = ndimage.zoom(hills, 8, order=1)[: shape[0], : shape[1]]
    tilt = rng.uniform(0, 2.5) / max(shape)
    height = (hills - hills.mean()) / (hills.std() + 1e-9) + tilt * plane
    above = height > np.quantile(height, rng.uniform(0.3, 0.7))
    return ndimage.distance_transform_edt(above) - ndimage.distance_transform_edt(~above)


def cut(
    mask: np.ndarray, narrowest: float, rng: np.random.Generator, plots: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """(y, x) of a field at 1 m -> 1, 2, ... of its strips, 0 outside; and of which turn each is."""
    way = terrain(mask.shape, rng)
    narrow = rng.random() < 0.7
    usual = np.exp(rng.uniform(*np.log((narrowest, 45) if narrow else (45, 150))))
    second = usual * np.exp(rng.normal(0, 0.4)) if rng.random() < 0.5 else usual
    inside = way[mask]
    count = int((inside.max() - inside.min()) / min(usual, second)) + 3
    widths = np.where(np.arange(count) % 2, usual, second) * np.exp(rng.normal(0, 0.15, count))
    edges = inside.min() - rng.uniform(0, usual) + np.cumsum(widths)
    turn = np.where(mask, np.searchsorted(edges, way), -1)
    parts = np.zeros(mask.shape, np.int32)
    for k in np.unique(turn[mask]):
        named = ndimage.label(turn == k)[0]
        parts[named > 0] = named[named > 0] + parts.max()
    if plots and rng.random() < plots:
        parts, turn = across(parts, turn, usual, rng)
    sizes = np.bincount(parts.ravel())
    small = (sizes < SMALLEST)[parts] & mask
    if small.all() or not (mask & ~small).any():
        return mask.astype(np.int32), np.where(mask, 0, -1)
    near = ndimage.distance_transform_edt(~(mask & ~small), return_indices=True)[1]
    return np.where(mask, parts[tuple(near)], 0), np.where(mask, turn[tuple(near)], -1)


def across(
    parts: np.ndarray, turn: np.ndarray, usual: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Cut each strip of ``cut`` across into plots of one to four usual widths."""
    plots, crop = np.zeros_like(parts), turn.copy()
    for k, box in enumerate(ndimage.find_objects(parts), 1):
        mask = parts[box] == k
        places = np.argwhere(mask) - np.argwhere(mask).mean(0)
        along = places @ np.linalg.eigh(places.T @ places)[1][:, -1]
        length = usual * np.exp(rng.uniform(0, math.log(4)))
        piece = ((along - along.min() + rng.uniform(0, length)) / length).astype(np.int32)
        plots[box][mask] = plots.max() + 1 + piece
        crop[box][mask] += piece
    return plots, crop


def crops(
    own: np.ndarray, others: np.ndarray, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(turn, 3) colours, and (turn,) how strong the field's texture is in each."""
    number = int(rng.choice([2, 3], p=[0.8, 0.2]))
    strength = np.exp(rng.uniform(np.log(0.1), 0.2))
    made = [own]
    while len(made) < number:
        if rng.random() < 0.6:
            other = others[rng.integers(len(others))]
        else:
            other = own * np.exp(rng.normal(0, 0.3)) * np.exp(rng.normal(0, 0.12, 3))
        made.append(own + strength * (other - own))
    order = np.arange(count) % number
    if rng.random() < 0.2:
        order = rng.integers(number, size=count)
    texture = np.exp(rng.normal(0, 0.25, number))
    colours = np.array(made)[order] + rng.normal(0, 0.012, (count, 1))
    return colours, texture[order]


def paint_strips(
    image: np.ndarray,
    ids: np.ndarray,
    narrowest: float,
    rng: np.random.Generator,
    plots: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Cut large fields of a chip at 1 m: (3, y, x) bytes and (y, x) ids -> the same, new.

    ``narrowest`` is the least usual width, in metres; ``plots`` is the share of them whose strips
    are cut across.
    """
    out, named = image.astype(np.float32) / 255, ids.copy()
    size = np.bincount(np.maximum(ids, 0).ravel())
    boxes = ndimage.find_objects(np.maximum(ids, 0))
    means = [ndimage.mean(band, np.maximum(ids, 0), np.flatnonzero(size[1:]) + 1) for band in out]
    others = np.stack(means, 1)
    for k in np.flatnonzero(size >= LEAST):
        if k == 0 or rng.random() > CUT:
            continue
        box = boxes[k - 1]
        mask = ids[box] == k
        parts, turn = cut(mask, narrowest, rng, plots)
        part = out[(slice(None), *box)]
        own = part[:, mask].mean(1)
        colours, texture = crops(own, others, int(turn.max()) + 1, rng)
        target = np.where(mask, colours[np.maximum(turn, 0)].transpose(2, 0, 1), 0)
        edge = _between(parts)
        gain = np.where(mask, texture[np.maximum(turn, 0)], 1.0)
        shift = np.where(mask, target - own[:, None, None], 0) + (gain - 1) * np.where(
            mask, part - own[:, None, None], 0
        )
        faint = np.abs(colours - own).max() < 0.05
        if faint or rng.random() < 0.6:
            shift += _line(edge & mask, faint, rng)
        soft = rng.uniform(0.4, 1.2)
        shift = np.stack([ndimage.gaussian_filter(band, soft) for band in shift])
        out[(slice(None), *box)] = np.where(mask, part + shift, part)
        named[box] = np.where(mask, parts + named.max(), named[box])
    return np.clip(np.rint(out * 255), 0, 255).astype(np.uint8), named


def _between(parts: np.ndarray) -> np.ndarray:
    high = ndimage.maximum_filter(parts, 2)
    low = -ndimage.maximum_filter(np.where(parts > 0, -parts, -(2**30)), 2)
    return (high != low) & (parts > 0) & (low < 2**29)


def _line(edge: np.ndarray, faint: bool, rng: np.random.Generator) -> np.ndarray:
    """(3, y, x) of what a line of grass or tracks adds, broken here and there."""
    wide = int(rng.integers(1, 4))
    line = ndimage.binary_dilation(edge, iterations=wide - 1) if wide > 1 else edge
    depth = rng.uniform(0.04 if faint else 0.02, 0.2) * (1 if rng.random() < 0.6 else -1)
    tint = np.exp(rng.normal(0, 0.25, 3))
    coarse = rng.standard_normal((edge.shape[0] // 16 + 2, edge.shape[1] // 16 + 2))
    uneven = ndimage.zoom(coarse, 16, order=1)[: edge.shape[0], : edge.shape[1]]
    return (depth * tint)[:, None, None] * line * np.clip(1 + 0.4 * uneven, 0.1, 2)
