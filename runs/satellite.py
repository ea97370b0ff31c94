"""Real fields as Sentinel-2 would show them: aerial chips with hand-drawn fields, made coarse, in
the colours of real Sentinel-2 scenes.

What is real in such a window: the fields' shapes and neighbours, woods, waterways, farmsteads,
roads and their texture.  What is made: colour statistics (those of a real scene without labels),
the near infrared (a regression on the visible bands of real scenes) and the second date (fields get
the spectrum of other real pixels, everything else stays).
"""

from __future__ import annotations

import io
import math
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
import torch
import torch.nn.functional as F
from PIL import Image

from fit import boundary_labels, random_grid, sample

DISPLAY = 14.0
"""Digital numbers (reflectance x 10000) per count of a true-colour product."""
BARE = ("Forest", "Industrial", "Residential", "SeaLake")
"""EuroSAT's classes without fields."""
LEARNT = 300
"""Patches of each that are learnt from; those after them in the order of names are held out."""
Chip = tuple[list[torch.Tensor], torch.Tensor]
"""Image pyramid at 1, 2, 4, 8, 16 m (band, y, x) float32 0..1, and ids (y, x)."""


def draw_gsd(
    rng: np.random.Generator, usual: tuple[float, float], widest: tuple[float, float], share: float
) -> float:
    """Metres per pixel, log-uniform: a ``share`` in the usual range, the others in the widest."""
    low, high = usual if rng.random() < share else widest
    return float(np.exp(rng.uniform(math.log(low), math.log(high))))


def boundary_width(gsd: float) -> int:
    """Pixels of a boundary of about 4 m, at least one."""
    return max(1, round(4.4 / gsd))


@dataclass(frozen=True, eq=False)
class Looks:
    """What real Sentinel-2 scenes look like."""

    colours: list[tuple[torch.Tensor, torch.Tensor]]
    """Mean and deviation per band (3, 1, 1), reflectance 0..1 by the display rule, of windows of
    every scene."""
    infrared: np.ndarray
    """(date, feature) coefficients: visible bands -> near infrared."""
    spectra: np.ndarray
    """(pixel, 4) reflectance of random pixels."""


def _features(visible: np.ndarray) -> np.ndarray:
    red, green, blue = visible
    index = (green - red) / (green + red + 0.01)
    return np.stack(
        [
            np.ones_like(red),
            red,
            green,
            blue,
            red * red,
            green * green,
            red * green,
            index,
            index * index,
            index * green,
            red * blue,
        ]
    )


def read_looks(folder: Path) -> Looks:
    """Read the real scenes without labels: true colour, 3 dates with near infrared, one pair of
    dates.
    """
    paths = [
        *sorted(folder.glob("*/*rgb8.tif")),
        *sorted(folder.glob("*siteB/s2_*.tif")),
        *sorted(folder.glob("*/cnn_*.jpg"))[::3],
    ]
    images = [_read(path)[:3] * (DISPLAY / 10000) for path in paths]
    pair = _read(folder / "ftw_inn_pair" / "s2_pair_8band.tif") / 10000
    colours = []
    for image in (*images, pair[:3], pair[4:7]):
        windows = (
            torch.from_numpy(image).unfold(1, 200, 150).unfold(2, 200, 150).flatten(1, 2).unbind(1)
        )
        colours += [
            (window.mean((1, 2))[:, None, None], window.std((1, 2))[:, None, None] + 5e-4)
            for window in windows
        ]
    rng = np.random.default_rng(0)
    dates = [pair[:4], pair[4:]] + [
        np.concatenate([_read(p)[:3] * DISPLAY, _read(p)[3:4]]) / 10000
        for p in sorted(folder.glob("*siteB/s2_*.tif"))
    ]
    tables = [date.reshape(4, -1)[:, rng.integers(0, date[0].size, 60_000)] for date in dates]
    fitted = [
        np.linalg.lstsq(_features(table[:3].astype(float)).T, table[3].astype(float), rcond=None)[0]
        for table in tables
    ]
    return Looks(colours, np.stack(fitted), np.concatenate(tables, 1).T.astype(np.float32))


def _read(path: Path) -> np.ndarray:
    with rasterio.open(path) as source:
        return source.read().astype(np.float32)


def satellite_view(
    chip: Chip, size: int, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, float]:
    """Look at a chip through pixels of 7 to 13 m.

    Returns
    -------
    (3, 2n, 2n) colours 0..1 and (2n, 2n) ids at half of those pixels, (size, size) ids on the
    working grid, metres per pixel of the working grid.
    """
    levels, ids = chip
    native = float(np.exp(rng.uniform(math.log(7.0), math.log(13.0))))
    coarse = max(8, round(size * draw_gsd(rng, (4.0, 6.0), (1.5, 12.0), 0.5) / native))
    gsd, seed = coarse * native / size, int(rng.integers(2**31))
    half = random_grid(2 * coarse, native / 2, 1.0, tuple(ids.shape), np.random.default_rng(seed))
    fine = random_grid(size, gsd, 1.0, tuple(ids.shape), np.random.default_rng(seed))
    colours, parts = sample(levels[2], ids, half)
    return colours, parts, sample(levels[4], ids, fine)[1], gsd


def as_seen(half: torch.Tensor, size: int, rng: np.random.Generator) -> torch.Tensor:
    """From half pixels to the working grid: the sensor's blur, its pixels, bilinear
    interpolation.
    """
    if rng.random() < 0.7:
        half = F.avg_pool2d(half[None], 3, 1, 1, count_include_pad=False)[0]
    low = F.avg_pool2d(half[None], 2)
    return F.interpolate(low, (size, size), mode="bilinear", align_corners=False)[0]


def recolour(image: torch.Tensor, look: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Give an image the mean and the deviation per band of a real scene."""
    mean, deviation = image.mean((1, 2), keepdim=True), image.std((1, 2), keepdim=True) + 1e-3
    return ((image - mean) / deviation * look[1] + look[0]).clamp(min=0.002)


def add_infrared(visible: torch.Tensor, looks: Looks, rng: np.random.Generator) -> torch.Tensor:
    """(3, y, x) reflectance -> (4, y, x)."""
    weights = looks.infrared[rng.integers(len(looks.infrared))]
    prediction = (
        np.tensordot(weights, _features(visible.numpy().clip(0, 0.3).astype(float)), 1)
        .clip(0.02, 0.6)
        .astype(np.float32)
    )
    return torch.cat([visible, torch.from_numpy(prediction)[None]])


def repaint(
    image: torch.Tensor,
    parts: torch.Tensor,
    spectra: np.ndarray,
    share: float,
    rng: np.random.Generator,
) -> torch.Tensor:
    """Give a share of the fields the spectrum of another real pixel; their texture stays, stronger
    or weaker.
    """
    count = int(parts.max()) + 1
    if count < 2:
        return image
    index = parts.clamp(min=0).long().ravel()
    size = torch.bincount(index, minlength=count).clamp(min=1).float()
    mean = torch.stack([torch.bincount(index, band.ravel(), count) for band in image]) / size
    wanted = torch.from_numpy(spectra[rng.integers(0, len(spectra), count)].T[: len(image)].copy())
    changed = torch.from_numpy(rng.random(count) < share)
    changed[0] = False
    texture = torch.from_numpy(
        np.where(changed, rng.uniform(0.3, 1.2, count), 1.0).astype(np.float32)
    )
    target = torch.where(changed, wanted, mean)
    flat = (image.flatten(1) - mean[:, index]) * texture[index] + target[:, index]
    return flat.reshape(image.shape).clamp(min=0.002)


def draw_colour(
    chip: Chip, size: int, looks: Looks, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """One date in 8-bit true colour, 0..1, and its classes."""
    half, parts, found, gsd = satellite_view(chip, size, rng)
    if rng.random() < 0.75:
        half = recolour(half, looks.colours[rng.integers(len(looks.colours))])
        if rng.random() < 0.4:
            half = repaint(half, parts, looks.spectra, rng.uniform(0.1, 0.7), rng)
        half = half / (255 * DISPLAY / 10000)
    return as_seen(half, size, rng).clamp(0, 1), boundary_labels(found, boundary_width(gsd))


def draw_pair(
    chip: Chip, size: int, looks: Looks, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Two dates of four bands, digital numbers, and their classes."""
    half, parts, found, gsd = satellite_view(chip, size, rng)
    dates = []
    for _ in range(2):
        date = add_infrared(
            recolour(half, looks.colours[rng.integers(len(looks.colours))]), looks, rng
        )
        date = repaint(date, parts, looks.spectra, rng.uniform(0.1, 0.8), rng)
        dates.append(as_seen(date, size, rng))
    return torch.cat(dates) * 10000, boundary_labels(found, boundary_width(gsd))


def read_pseudo(path: Path) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Read a scene that a teacher labelled: its dates, and classes (255 where the teacher was not
    sure).
    """
    with np.load(path) as scene:
        return [
            torch.from_numpy(date.astype(np.float32)) for date in scene["dates"]
        ], torch.from_numpy(scene["classes"].astype(np.int32))


def draw_pseudo(
    image: torch.Tensor, classes: torch.Tensor, size: int, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """A random window of a scene with classes on a grid twice as fine."""
    gsd = draw_gsd(rng, (4.2, 5.8), (1.5, 12.0), 0.5)
    pixels, found = sample(
        image, classes, random_grid(size, gsd, 10.0, tuple(image.shape[1:]), rng, margin=2)
    )
    return pixels, torch.where(found < 0, 255, found).long()


def read_patches(folder: Path, names: tuple[str, ...], part: slice) -> torch.Tensor:
    """Read a part of EuroSAT's patches of each class, in the order of their names.

    Returns
    -------
    (patch, 3, 64, 64) float32 true colour at 10 m, 0..1.
    """
    with zipfile.ZipFile(folder / "eurosat_rgb_subset.zip") as held:
        paths = sorted(name for name in held.namelist() if name.endswith(".jpg"))
        wanted = [[path for path in paths if Path(path).parent.name == n][part] for n in names]
        images = [
            np.asarray(Image.open(io.BytesIO(held.read(path))))
            for group in wanted
            for path in group
        ]
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255


def draw_bare(
    patches: torch.Tensor, size: int, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """A random window of land or water without a field, mirrored at the edge of its patch.

    Half of the windows lie across four patches, so that a straight edge between two of them is seen
    to be none of a field.
    """
    chosen = patches[rng.integers(len(patches), size=4)]
    image = torch.cat([torch.cat([*chosen[:2]], 2), torch.cat([*chosen[2:]], 2)], 1)
    image = image if rng.random() < 0.5 else chosen[0]
    gsd = draw_gsd(rng, (4.0, 6.0), (1.5, 12.0), 0.5)
    grid = random_grid(size, gsd, 10.0, tuple(image.shape[1:]), rng, margin=2)
    pixels = F.grid_sample(
        image[None], grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )[0]
    return pixels, torch.zeros((size, size), dtype=torch.int64)
