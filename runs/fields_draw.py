"""Windows of fields, drawn on the device that trains: aerial chips, chips as Sentinel-2 would show
them, simulated scenes, real scenes that a teacher labelled, patches without a field.

A window is (dates, 4, y, x): red, green, blue and near infrared of each date, scaled to about 0 to
1, and ``ABSENT`` where a band, a date or a cloudy pixel is not there.  Its truth is (y, x) ids: 0
is no field, -1 is not known.  All numbers come from the seed and the number of the step: structure
(which chip, which place, which metres) from numpy, pixels from the device.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from selion.models.dates.absent import ABSENT

IGNORE = 255
DISPLAY = 14.0
"""Digital numbers (reflectance x 10000) per count of a true-colour product."""
TENTH = 3000.0
"""Digital numbers that are fed as 1."""
DEPTHS = (1, 2, 3, 5, 8)
"""Pixels by which a field is worn away, one after the other, for the heads that say how deep inside
a field a pixel lies."""


@dataclass(frozen=True, eq=False)
class Windows:
    """Some windows of one source."""

    pixels: torch.Tensor
    """(view, date, 4, y, x)."""
    ids: torch.Tensor
    """(view, y, x) float32; -1 not known."""
    gsd: np.ndarray
    """(view,) metres."""
    display: bool
    """Whether the numbers are those of a picture, 0 to 1, that saturates."""
    classes: bool = False
    """Whether ``ids`` are classes (0 background, 1 field, 2 boundary) and not ids."""


@dataclass(frozen=True, eq=False)
class Scenes:
    """Simulated or labelled scenes of one size."""

    images: torch.Tensor
    """(scene, 8, y, x) float16, digital numbers / 3000."""
    ids: torch.Tensor
    """(scene, y', x') float32."""
    gsd: float
    """Metres of a pixel of the images."""


@dataclass(frozen=True, eq=False)
class Stock:
    """Everything that windows are drawn from."""

    chips: list[torch.Tensor]
    """Pyramid of (chip, 3, y, x) float16, 0..1."""
    ids: torch.Tensor
    """(chip, y, x) float32."""
    most: int
    """The largest id, and one."""
    looks: tuple[torch.Tensor, torch.Tensor]
    """Mean and deviation (look, 3, 1, 1) of real Sentinel-2 windows, reflectance."""
    infrared: torch.Tensor
    """(date, 11) coefficients: visible -> near infrared."""
    spectra: torch.Tensor
    """(pixel, 4) reflectance."""
    scenes: dict[str, Scenes]
    known: list[tuple[torch.Tensor, torch.Tensor]]
    """(date, bands, y, x) digital numbers / 3000 and (2y, 2x) classes, -1 not known."""
    patches: Patches
    finer: float = 1.0
    """How many times finer than usual most windows are shown."""


@dataclass(frozen=True, eq=False)
class Patches:
    """Sentinel-2 patches of true colour without a field, and such as a teacher labelled."""

    images: torch.Tensor
    """(patch, 3, 64, 64) uint8."""
    classes: torch.Tensor
    """(patch, 128, 128) float32 classes, -1 not known."""
    wet: torch.Tensor
    """(patch,) whether it is open water, dark in near infrared."""
    bare: int
    """How many of them, the first, hold no field."""


class Draw:
    """What one step draws with."""

    def __init__(self, seed: int, step: int, device: torch.device) -> None:
        self.np = np.random.default_rng((seed, step))
        self.device = device
        self.torch = torch.Generator(device).manual_seed(seed * 1_000_003 + step)

    def put(self, values: np.ndarray) -> torch.Tensor:
        """Numbers of numpy on the device, float32."""
        return torch.from_numpy(np.asarray(values, np.float32)).to(self.device, non_blocking=True)

    def normal(self, *shape: int, std: float = 1.0, mean: float = 0.0) -> torch.Tensor:
        return torch.randn(*shape, generator=self.torch, device=self.device) * std + mean

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> torch.Tensor:
        return torch.rand(*shape, generator=self.torch, device=self.device) * (high - low) + low

    def chance(self, share: float, count: int) -> torch.Tensor:
        return self.uniform(count) < share

    def pick(self, count: int, several: int) -> torch.Tensor:
        """``several`` numbers below ``count``."""
        return torch.randint(count, (several,), generator=self.torch, device=self.device)


def metres(
    rng: np.random.Generator,
    count: int,
    usual: tuple[float, float],
    widest: tuple[float, float],
    share: float,
) -> np.ndarray:
    """Metres per pixel, log-uniform: a share in the usual range, the others in the widest."""
    common = rng.random(count) < share
    low = np.where(common, usual[0], widest[0])
    high = np.where(common, usual[1], widest[1])
    return np.exp(rng.uniform(np.log(low), np.log(high)))


def grids(
    draw: Draw, size: int, half: np.ndarray, shape: tuple[int, int], margin: float
) -> torch.Tensor:
    """Sampling grids of random windows, any place, angle, flip and a little stretch.

    ``half`` is half the edge of each window in pixels of the source; (view, size, size, 2).
    """
    height, width = shape
    rng, count = draw.np, len(half)
    angle = rng.uniform(0, 2 * math.pi, count)
    stretch = np.exp(rng.uniform(-0.12, 0.12, count))
    flip = np.where(rng.random(count) < 0.5, -1.0, 1.0)
    y, x = (
        rng.uniform(-1, 1, count) * (np.maximum(side / 2 - half, 0) + margin) * 2 / side
        for side in (height, width)
    )
    cos, sin = np.cos(angle), np.sin(angle)
    a, b = half * 2 / width, half * 2 / height
    theta = np.stack(
        [
            np.stack([flip * a * cos * stretch, -a * sin / stretch, x], -1),
            np.stack([flip * b * sin * stretch, b * cos / stretch, y], -1),
        ],
        1,
    )
    return F.affine_grid(draw.put(theta), [count, 1, size, size], align_corners=False)


def look_at(images: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    """(view, band, y, x) through a grid, bilinearly, mirrored at the edges."""
    return F.grid_sample(
        images.float(), grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )


def ids_at(ids: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    """(view, y, x) ids through a grid, the nearest; -1 outside."""
    found = F.grid_sample(
        ids[:, None] + 1, grid, mode="nearest", padding_mode="zeros", align_corners=False
    )
    return found[:, 0].round() - 1


def with_infrared(visible: torch.Tensor) -> torch.Tensor:
    """(view, 3, y, x) -> (view, 1, 4, y, x), near infrared absent."""
    return torch.cat([visible, torch.full_like(visible[:, :1], ABSENT)], 1)[:, None]


def features(visible: torch.Tensor) -> torch.Tensor:
    """(view, 3, y, x) reflectance -> (view, 11, y, x), what near infrared is fitted on."""
    red, green, blue = visible.unbind(1)
    index = (green - red) / (green + red + 0.01)
    one = torch.ones_like(red)
    parts = (one, red, green, blue, red * red, green * green, red * green)
    return torch.stack([*parts, index, index * index, index * green, red * blue], 1)


def draw_aerial(stock: Stock, draw: Draw, count: int, size: int) -> Windows:
    """Aerial chips at a random ground sampling distance and sharpness."""
    rng = draw.np
    gsd = metres(rng, count, (1.3 / stock.finer, 2.4 / stock.finer), (0.6, 6.0), 0.6)
    blur = gsd * np.exp(rng.uniform(math.log(0.7), np.log(np.maximum(2.2, 2.5 / gsd))))
    level = np.clip(np.round(np.log2(blur)), 0, len(stock.chips) - 1).astype(int)
    order = np.argsort(level, kind="stable")
    gsd, level = gsd[order], level[order]
    chip = rng.integers(len(stock.ids), size=count)
    grid = grids(draw, size, size * gsd / 2, tuple(stock.ids.shape[1:]), 20)
    pixels = torch.cat(
        [
            look_at(stock.chips[k][chip[level == k]], grid[torch.from_numpy(level == k)])
            for k in np.unique(level)
        ]
    )
    return Windows(with_infrared(pixels), ids_at(stock.ids[chip], grid), gsd, display=True)


def recolour(images: torch.Tensor, stock: Stock, draw: Draw) -> torch.Tensor:
    """Give images the mean and the deviation per band of real scenes, as reflectance."""
    which = draw.pick(len(stock.looks[0]), len(images))
    mean = images.mean((2, 3), keepdim=True)
    deviation = images.std((2, 3), keepdim=True) + 1e-3
    colours = stock.looks[0][which] + (images - mean) / deviation * stock.looks[1][which]
    return colours.clamp(min=0.002)


def add_infrared(visible: torch.Tensor, stock: Stock, draw: Draw) -> torch.Tensor:
    """(view, 3, y, x) reflectance -> (view, 4, y, x)."""
    weights = stock.infrared[draw.pick(len(stock.infrared), len(visible))]
    said = torch.einsum("vf,vfyx->vyx", weights, features(visible.clamp(0, 0.3)))
    return torch.cat([visible, said.clamp(0.02, 0.6)[:, None]], 1)


def repaint(
    images: torch.Tensor, parts: torch.Tensor, stock: Stock, share: torch.Tensor, draw: Draw
) -> torch.Tensor:
    """Give a share of the fields the spectrum of another real pixel.

    Their texture stays, stronger or weaker.
    """
    views, bands = images.shape[:2]
    most = stock.most
    index = (
        parts.clamp(min=0).long() + torch.arange(views, device=draw.device)[:, None, None] * most
    )
    index, total = index.reshape(-1), views * most
    flat = images.transpose(0, 1).reshape(bands, -1)
    size = torch.zeros(total, device=draw.device).index_add_(0, index, torch.ones_like(flat[0]))
    mean = torch.zeros(bands, total, device=draw.device).index_add_(1, index, flat)
    mean = mean / size.clamp(min=1)
    wanted = stock.spectra[draw.pick(len(stock.spectra), total)].T[:bands]
    changed = draw.uniform(total) < share.repeat_interleave(most)
    changed[::most] = False
    texture = torch.where(changed, draw.uniform(total, low=0.3, high=1.2), 1.0)
    target = torch.where(changed, wanted, mean)
    painted = (flat - mean[:, index]) * texture[index] + target[:, index]
    return painted.reshape(bands, views, *images.shape[2:]).transpose(0, 1).clamp(min=0.002)


def draw_as_satellite(stock: Stock, draw: Draw, count: int, size: int, dates: int) -> Windows:
    """Chips through pixels of 7 to 13 m, in the colours of real Sentinel-2 scenes."""
    rng = draw.np
    native = math.exp(rng.uniform(math.log(7.0), math.log(13.0)))
    usual = (4.0 / stock.finer, 6.0 / stock.finer)
    wanted = float(metres(rng, 1, usual, (1.8, 12.0), 0.6)[0])
    coarse = max(8, round(size * wanted / native))
    gsd = np.full(count, coarse * native / size)
    chip = rng.integers(len(stock.ids), size=count)
    extent = np.full(count, coarse * native / 2)
    state = rng.bit_generator.state
    shape = tuple(stock.ids.shape[1:])
    half_grid = grids(draw, 2 * coarse, extent, shape, 20)
    rng.bit_generator.state = state  # the same places, finer
    grid = grids(draw, size, extent, shape, 20)
    half = look_at(stock.chips[2][chip], half_grid)
    parts = ids_at(stock.ids[chip], half_grid)
    seen = []
    for _ in range(dates):
        date = add_infrared(recolour(half, stock, draw), stock, draw)
        share = draw.uniform(count, low=0.05, high=0.75)
        share = torch.where(draw.chance(0.25 if dates == 1 else 0.0, count), 0.0, share)
        date = repaint(date, parts, stock, share, draw) * (10_000 / TENTH)
        if rng.random() < 0.7:
            date = F.avg_pool2d(date, 3, 1, 1, count_include_pad=False)
        low = F.avg_pool2d(date, 2)
        seen.append(F.interpolate(low, (size, size), mode="bilinear", align_corners=False))
    return Windows(torch.stack(seen, 1), ids_at(stock.ids[chip], grid), gsd, display=False)


def draw_scene(
    scenes: Scenes,
    draw: Draw,
    count: int,
    size: int,
    dates: int,
    finer: float = 1.0,
    usual: tuple[float, float] = (4.0, 6.0),
    widest: tuple[float, float] = (1.8, 11.0),
) -> Windows:
    """Simulated scenes of two dates; a third date is one of the two, seen on another day."""
    rng = draw.np
    gsd = metres(rng, count, (usual[0] / finer, usual[1] / finer), widest, 0.65)
    which = rng.integers(len(scenes.ids), size=count)
    shape = tuple(scenes.images.shape[2:])
    grid = grids(draw, size, size * gsd / scenes.gsd / 2, shape, 2)
    pixels = look_at(scenes.images[which], grid)
    if rng.random() < 0.3:
        pixels = F.avg_pool2d(pixels, 3, 1, 1, count_include_pad=False)
    pixels = pixels.reshape(count, 2, 4, size, size)
    pixels = pixels[:, [int(k) for k in rng.permutation(2)]]
    if dates == 1:
        pixels = pixels[:, :1]
    elif dates > 2:
        pixels = torch.cat([pixels, pixels[:, rng.integers(2, size=dates - 2)]], 1)
    return Windows(pixels, ids_at(scenes.ids[which], grid), gsd, display=False)


def draw_picture(scenes: Scenes, draw: Draw, count: int, size: int, finer: float = 1.0) -> Windows:
    """One date of simulated scenes of about a metre, as a picture."""
    far = draw_scene(scenes, draw, count, size, 1, finer, (1.3, 2.4), (0.9, 5.0))
    # A picture is stretched by what lies in it: nearly all between black and white.
    white = draw.uniform(count, 1, 1, 1, 1, low=0.25, high=1.2)
    colours = far.pixels[:, :, :3]
    top = colours.mean((1, 2, 3, 4), keepdim=True) + 2 * colours.std((1, 2, 3, 4), keepdim=True)
    scale = torch.where(draw.chance(0.7, count)[:, None, None, None, None], 0.95 / top, 1 / white)
    pixels = far.pixels * scale
    keep = draw.chance(0.4, count)[:, None, None, None]
    infrared = torch.where(keep, pixels[:, :, 3].clamp(0, 1), ABSENT)
    pixels = torch.cat([pixels[:, :, :3].clamp(0, 1), infrared[:, :, None]], 2)
    return Windows(pixels, far.ids, far.gsd, display=True)


def draw_known(stock: Stock, draw: Draw, count: int, size: int, dates: int) -> Windows:
    """Windows of one real scene that a teacher labelled."""
    rng = draw.np
    able = [scene for scene in stock.known if len(scene[0]) >= dates]
    area = np.array([known.numel() * len(images) ** 2 for images, known in able], float)
    images, known = able[rng.choice(len(able), p=area / area.sum())]
    usual = (4.2 / stock.finer, 5.8 / stock.finer)
    gsd = metres(rng, count, usual, (1.8, 12.0), 0.55)
    grid = grids(draw, size, size * gsd / 10 / 2, tuple(images.shape[2:]), 2)
    chosen = images[rng.permutation(len(images))[:dates]].flatten(0, 1)
    pixels = look_at(chosen[None].expand(count, -1, -1, -1), grid)
    pixels = pixels.reshape(count, dates, -1, size, size)
    if pixels.shape[2] == 3:
        pixels = torch.cat([pixels, torch.full_like(pixels[:, :, :1], ABSENT)], 2)
    found = ids_at(known[None].expand(count, -1, -1), grid)
    return Windows(pixels, found, gsd, display=False, classes=True)


def draw_patches(stock: Stock, draw: Draw, count: int, size: int, dates: int) -> Windows:
    """Sentinel-2 patches of forest, towns and water, where no field is, and labelled ones.

    One date is shown as a picture or in reflectance, two in reflectance; near infrared comes by
    regression, that of water is dark.
    """
    rng, held = draw.np, stock.patches
    gsd = metres(rng, count, (4.0 / stock.finer, 6.0 / stock.finer), (2.5, 8.0), 0.7)
    most = [held.bare, len(held.images)]
    spans = [(0, most[0]) if rng.random() < 0.5 else (most[0] % most[1], most[1]) for _ in gsd]
    which = torch.tensor([int(rng.integers(*span)) for span in spans], device=draw.device)
    grid = grids(draw, size, size * gsd / 10 / 2, (64, 64), 2)
    pixels = look_at(held.images[which].float() / 255, grid)
    classes = ids_at(held.classes[which], grid)
    if dates == 1 and rng.random() < 0.5:
        return Windows(with_infrared(pixels), classes, gsd, display=True, classes=True)
    visible, wet = pixels * (255 * DISPLAY / 10_000), held.wet[which][:, None, None, None]
    seen = []
    for _ in range(dates):
        other = draw.chance(0.4, count)[:, None, None, None]
        light = torch.exp(draw.normal(count, 1, 1, 1, std=0.2))
        date = torch.where(other, recolour(visible, stock, draw), visible * light)
        dark = date.mean(1, keepdim=True) * draw.uniform(count, 1, 1, 1, low=0.15, high=0.8)
        date = add_infrared(date, stock, draw)
        seen.append(torch.cat([date[:, :3], torch.where(wet, dark, date[:, 3:])], 1))
    values = torch.stack(seen, 1) * (10_000 / TENTH)
    return Windows(values, classes, gsd, display=False, classes=True)


def blobs(draw: Draw, views: int, size: int, share: float) -> torch.Tensor:
    """(view, y, x) masks of a few soft-edged patches that cover about a share."""
    coarse = draw.normal(views, 1, 7, 7)
    smooth = F.interpolate(coarse, (size, size), mode="bicubic", align_corners=False)[:, 0]
    edge = torch.quantile(smooth[:, ::8, ::8].flatten(1), 1 - share, 1)
    return smooth > edge[:, None, None]


def jitter(windows: Windows, draw: Draw) -> torch.Tensor:
    """Appearance of other sensors, days and conventions; bands and dates go missing."""
    pixels, display = windows.pixels, windows.display
    views, dates, _, size, _ = pixels.shape
    there = pixels > ABSENT / 2
    values = pixels.clamp(min=1e-4)
    strong = 1.0 if display else 0.35
    gamma = torch.exp(draw.normal(views, 1, 1, 1, 1, std=0.25 * strong))
    values = values**gamma
    colours = values[:, :, :3]
    gray = colours.mean(2, keepdim=True)
    saturation = torch.exp(draw.normal(views, 1, 1, 1, 1, std=0.35 * strong)).clamp(max=2)
    if display:
        saturation = torch.where(draw.chance(0.04, views).reshape(-1, 1, 1, 1, 1), 0.0, saturation)
    values = torch.cat([gray + saturation * (colours - gray), values[:, :, 3:]], 2)
    gain = torch.exp(
        draw.normal(views, 1, 1, 1, 1, std=0.28, mean=-0.08)
        + draw.normal(views, dates, 1, 1, 1, std=0.1)
        + draw.normal(views, dates, 4, 1, 1, std=0.08)
    )
    offset = draw.normal(views, dates, 4, 1, 1, std=0.018) + draw.normal(
        views, dates, 1, 1, 1, std=0.025
    )
    # A picture's colours beside an infrared in digital numbers: two conventions in one image.
    mixed = draw.chance(0.12, views).reshape(-1, 1, 1, 1, 1)
    apart = torch.exp(draw.normal(views, 1, 1, 1, 1, std=0.4))
    infrared = torch.where(mixed, values[:, :, 3:] * apart, values[:, :, 3:])
    values = torch.cat([values[:, :, :3], infrared], 2) * gain + offset
    wrong = draw.chance(0.22, views).reshape(-1, 1, 1, 1, 1)
    divided = torch.exp(draw.uniform(views, 1, 1, 1, 1, low=math.log(0.2), high=math.log(2.2)))
    added = draw.uniform(views, 1, 1, 1, 1, low=0.13, high=0.33) * torch.sign(
        draw.normal(views, 1, 1, 1, 1)
    )
    by = draw.chance(0.5, views).reshape(-1, 1, 1, 1, 1)
    values = torch.where(wrong, torch.where(by, values * divided, values + added), values)
    hazy = draw.chance(0.12, views).reshape(-1, 1, 1, 1, 1)
    slope = torch.linspace(0, 1, size, device=draw.device)
    side = slope[:, None] if draw.np.random() < 0.5 else slope[None]
    tint = torch.tensor([1.0, 1.1, 1.3, 0.7], device=draw.device)[:, None, None]
    thick = draw.uniform(views, dates, 1, 1, 1, low=0.03, high=0.22)
    values = torch.where(hazy, values + thick * tint * side, values)
    noise = draw.uniform(views, 1, 1, 1, 1, high=0.02)
    values = values + draw.normal(*values.shape) * noise
    values = values.clamp(0, 1) if display and draw.np.random() < 0.8 else values.clamp(0, 3)
    return torch.where(go_missing(there, draw, display), values, ABSENT)


def go_missing(there: torch.Tensor, draw: Draw, display: bool) -> torch.Tensor:
    """Take away near infrared, and pixels of one date of several."""
    views, dates, _, size, _ = there.shape
    there = there.clone()
    lost = draw.chance(0.15 if dates > 1 else 0.45, views)
    there[:, :, 3] &= ~lost[:, None, None, None]
    if dates > 1 and not display:
        cloudy = draw.chance(0.12, views)
        gone = blobs(draw, views, size, float(draw.np.uniform(0.05, 0.4)))
        there[:, 0] &= ~(gone & cloudy[:, None, None])[:, None]
    return there


def classes_of(parts: list[Windows]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Classes, weights and depths of windows, those with classes of their own last.

    (view, y, x) int64 0 background, 1 field, 2 boundary of about 4 m inside a field, 255 unknown;
    (view, y, x) float32, more where two fields touch; (view, depth, y, x) whether a pixel is still
    field when its field is worn away, -1 where that is not known.
    """
    out = []
    drawn = [windows for windows in parts if not windows.classes]
    if drawn:
        gsd = np.concatenate([windows.gsd for windows in drawn])
        widths = np.maximum(1, np.round(4.4 / gsd)).astype(int)
        out.append(_classes(torch.cat([windows.ids for windows in drawn]), widths))
    out += [_as_said(windows.ids) for windows in parts if windows.classes]
    return tuple(torch.cat([part[k] for part in out]) for k in range(3))  # type: ignore[return-value]


def _as_said(classes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return classes as they are; how deep a pixel lies is not known."""
    labels = torch.where(classes < 0, float(IGNORE), classes).long()
    depths = torch.full_like(classes, -1.0)[:, None].repeat(1, len(DEPTHS), 1, 1)
    return labels, torch.ones_like(classes), depths


def spread(values: torch.Tensor, by: int) -> torch.Tensor:
    """(view, y, x) largest values within ``by`` pixels."""
    across = F.max_pool2d(values[:, None], (1, 2 * by + 1), 1, (0, by))
    return F.max_pool2d(across, (2 * by + 1, 1), 1, (by, 0))[:, 0]


def _classes(
    ids: torch.Tensor, widths: np.ndarray
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Classes, weights and depths of windows whose boundaries are so many pixels wide."""
    unknown, field = ids < 0, ids > 0
    high = torch.where(unknown, -1e9, ids)
    low = torch.where(unknown, -1e9, -ids)
    edge, touching = torch.zeros_like(field), torch.zeros_like(field)
    top, bottom = torch.where(field, ids, -1e9), torch.where(field, -ids, -1e9)
    for width in np.unique(widths):
        some = torch.from_numpy(np.flatnonzero(widths == width)).to(ids.device)
        edge[some] = spread(high[some], width) != -spread(low[some], width)
        reach = int(width) + 2
        near = spread(top[some], reach)
        touching[some] = (near > -spread(bottom[some], reach)) & (near > 0)
    classes = torch.where(unknown, IGNORE, torch.where(field & edge, 2, field.long()))
    weight = torch.where(touching & (field & edge | ~field), 2.5, 1.0)
    depths, inner = [], field
    worn_high, worn_low = high, low
    for by in DEPTHS:
        # A pixel whose neighbourhood is all of one id is inside; neighbours of another id are not.
        worn_high, worn_low = spread(worn_high, by), spread(worn_low, by)
        inner = inner & (worn_high == -worn_low)
        depths.append(torch.where(unknown, -1.0, inner.float()))
    return classes, weight, torch.stack(depths, 1)


Source = Callable[[Stock, Draw, int], Windows]


def read_stock(
    packed: Path, scenes: dict[str, list[Path]], fold: int, device: torch.device
) -> Stock:
    """Read what ``fields_pack.py`` packed, without the chips of a fold, and rendered scenes."""
    with np.load(packed) as held:
        keep = [k for k, of in enumerate(held["folds"]) if of != fold]
        chips, ids = read_chips(held, keep)
        looks = tuple(
            torch.from_numpy(held[name].astype(np.float32)).reshape(-1, 3, 1, 1).to(device)
            for name in ("look_means", "look_deviations")
        )
        infrared = torch.from_numpy(held["infrared"].astype(np.float32)).to(device)
        spectra = torch.from_numpy(held["spectra"].astype(np.float32)).to(device)
        patches = read_patches(held, device)
        known = read_known(held, device)
    return Stock(
        halvings(chips, device),
        torch.from_numpy(ids.astype(np.float32)).to(device),
        int(ids.max()) + 1,
        looks,  # type: ignore[arg-type]
        infrared,
        spectra,
        {kind: read_scenes(paths, device) for kind, paths in scenes.items() if paths},
        known,
        patches,
    )


def halvings(chips: np.ndarray, device: torch.device) -> list[torch.Tensor]:
    """(chip, 3, y, x) uint8 -> the same from 0 to 1, float16, and at 1/2, 1/4, 1/8 and 1/16."""
    levels = [torch.from_numpy(chips).to(device).half() / 255]
    for _ in range(4):
        levels.append(F.avg_pool2d(levels[-1].float(), 2).half())
    return levels


def read_patches(held: np.lib.npyio.NpzFile, device: torch.device) -> Patches:
    """Read packed patches; where no teacher labelled any, those without a field are all."""
    bare = held["bare"]
    images, wet = [bare], held["bare_wet"]
    classes = [np.zeros((len(bare), 128, 128), np.float32)]
    if "taught" in held.files:
        images.append(held["taught"])
        classes.append(_unknown(held["taught_classes"]))
        wet = np.concatenate([wet, np.zeros(len(images[1]), bool)])
    return Patches(
        torch.from_numpy(np.concatenate(images)).to(device),
        torch.from_numpy(np.concatenate(classes)).to(device),
        torch.from_numpy(wet).to(device),
        len(bare),
    )


def _unknown(classes: np.ndarray) -> np.ndarray:
    """Classes with 255 where they are not known -> float32 with -1."""
    return np.where(classes == IGNORE, -1.0, classes).astype(np.float32)


def read_known(
    held: np.lib.npyio.NpzFile, device: torch.device
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Real scenes that were packed with labels."""
    return [
        (_numbers(held[name], device), torch.from_numpy(_unknown(held[label])).to(device))
        for name in held.files
        if name.startswith("scene_") and (label := name.replace("scene_", "known_")) in held.files
    ]


def _numbers(values: np.ndarray, device: torch.device) -> torch.Tensor:
    """A packed scene as digital numbers / 3000; bytes are those of a true-colour product."""
    factor = (DISPLAY if values.dtype == np.uint8 else 1) / TENTH
    return torch.from_numpy(values.astype(np.float32) * factor).to(device)


def read_unlabelled(packed: Path, device: torch.device) -> list[torch.Tensor]:
    """Return real scenes without labels, (date, bands, y, x) digital numbers / 3000."""
    with np.load(packed) as held:
        return [_numbers(held[name], device) for name in held.files if name.startswith("scene_")]


def read_chips(held: np.lib.npyio.NpzFile, which: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """(chip, 3, y, x) uint8 and (chip, y, x) ids of packed chips."""
    images = [np.asarray(Image.open(io.BytesIO(held[f"chip{k}"].tobytes()))) for k in which]
    ids = [np.asarray(Image.open(io.BytesIO(held[f"ids{k}"].tobytes()))) for k in which]
    return np.stack(images).transpose(0, 3, 1, 2).copy(), np.stack(ids).astype(np.int32)


def read_scenes(paths: list[Path], device: torch.device) -> Scenes:
    """Read rendered scenes of one size."""
    images, ids, gsd = [], [], 10.0
    for path in paths:
        with np.load(path) as scene:
            image = torch.from_numpy(scene["image"].astype(np.float32)).to(device)
            images.append((image / TENTH).clamp(max=20).half())
            ids.append(torch.from_numpy(scene["ids"].astype(np.float32)).to(device))
            gsd = float(scene["gsd"]) if "gsd" in scene.files else 10.0
    return Scenes(torch.stack(images), torch.stack(ids), gsd)
