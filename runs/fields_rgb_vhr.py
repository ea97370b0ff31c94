"""Train ``fields-rgb-vhr``: RGB imagery of 1 to 5 m, and Sentinel-2 true colour upsampled to 5 m ->
background, field, boundary.

Real NAIP chips (USDA, public domain; polygons MIT) are cut at random places, angles, ground
sampling distances and sharpness; a share of each batch can be the same chips as Sentinel-2 would
show them, simulated Sentinel-2 scenes, and real ones that the run before has labelled.  Everything
is drawn from the seed; a killed run goes on from its last checkpoint with the same samples.
docs/weights.md names the runs that make what ships; the first is

    python runs/fields_rgb_vhr.py ../shared/data/satellite/vhr_naip_usa checkpoints/vhr --steps 2500

Split by place: of the chips sorted by name every fourth, from the third, is validation and is never
seen in training.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
import torch
import torch.nn.functional as F

from fit import Batch, boundary_labels, fit, options, random_grid, sample
from satellite import (
    BARE,
    DISPLAY,
    LEARNT,
    Chip,
    boundary_width,
    draw_bare,
    draw_colour,
    draw_gsd,
    draw_pseudo,
    read_looks,
    read_patches,
    read_pseudo,
)

FINEST, COARSEST = 0.5, 6.0
"""Ground sampling distances that are drawn, in metres.  The card says 2 to 5, where most of the
windows lie; the others are for those who say another."""
NEAR = 5.0
"""Simulated scenes of finer pixels are seen as aerial imagery."""
USUAL = (1.3, 2.4)
"""Where two windows of five lie."""
DECODER = (128, 64, 32, 24, 16)


def split(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return training and validation chips."""
    chips = sorted((folder / "images").glob("*.tif"))
    return [c for k, c in enumerate(chips) if k % 4 != 2], [
        c for k, c in enumerate(chips) if k % 4 == 2
    ]


def folds(folder: Path, count: int = 5, near: float = 25_000.0) -> list[list[Path]]:
    """Deal the chips to ``count`` folds by place; chips closer than ``near`` metres go together.

    The file name holds the centre's latitude and longitude.  Groups are dealt the largest first, to
    the fold with the fewest chips.
    """
    chips = sorted((folder / "images").glob("*.tif"))
    places = [tuple(map(float, chip.stem.split("_")[1:3])) for chip in chips]
    group = list(range(len(chips)))
    for a, (lat, lon) in enumerate(places):
        for b, (north, east) in enumerate(places[:a]):
            across = (lon - east) * math.cos(math.radians(lat))
            if 111_200 * math.hypot(lat - north, across) < near:
                group = [group[b] if g == group[a] else g for g in group]
    groups = [[c for c, g in zip(chips, group, strict=True) if g == k] for k in sorted(set(group))]
    dealt: list[list[Path]] = [[] for _ in range(count)]
    for members in sorted(groups, key=len, reverse=True):
        min(dealt, key=len).extend(members)
    return dealt


def pyramid(image: torch.Tensor) -> list[torch.Tensor]:
    """Average an image down by 1, 2, 4, 8 and 16."""
    levels = [image]
    for _ in range(4):
        levels.append(F.avg_pool2d(levels[-1][None], 2)[0])
    return levels


def read_chip(path: Path) -> Chip:
    """Read one chip with its instance raster."""
    with rasterio.open(path) as source:
        image = torch.from_numpy(source.read()).float() / 255
    with rasterio.open(path.parent.parent / "instances" / path.name) as source:
        ids = torch.from_numpy(source.read(1).astype(np.int32))
    return pyramid(image), ids


def draw_view(chip: Chip, size: int, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """A random window at a random ground sampling distance and sharpness."""
    levels, ids = chip
    gsd = draw_gsd(rng, USUAL, (FINEST, COARSEST), 0.4)
    blur = gsd * float(np.exp(rng.uniform(math.log(0.7), math.log(max(2.2, 2.5 / gsd)))))
    level = int(np.clip(round(math.log2(blur)), 0, len(levels) - 1))
    image, found = sample(levels[level], ids, random_grid(size, gsd, 1.0, tuple(ids.shape), rng))
    return image, boundary_labels(found, boundary_width(gsd))


def misread(image: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Another convention of numbers: a divisor far too large or too small, or an offset of up to a
    third of the range forgotten or taken twice.
    """
    if rng.random() < 0.5:
        return image * float(np.exp(rng.uniform(math.log(0.2), math.log(2.2))))
    return image + float(rng.uniform(0.4, 1.0)) * float(rng.choice([-1.0, 1.0])) / 3


def jitter(image: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Appearance of other sensors and days: gamma, gain and offset per band, saturation, noise."""
    image = image.clamp(1e-4, 1) ** float(np.exp(rng.normal(0, 0.25)))
    gain = (
        float(np.exp(rng.normal(-0.1, 0.3)))
        * torch.from_numpy(np.exp(rng.normal(0, 0.08, (3, 1, 1)))).float()
    )
    offset = torch.from_numpy(rng.normal(0, 0.02, (3, 1, 1))).float() + float(rng.normal(0, 0.03))
    grey = image.mean(0, keepdim=True)
    saturation = float(np.clip(np.exp(rng.normal(0, 0.35)), 0, 2)) if rng.random() > 0.04 else 0.0
    image = (grey + saturation * (image - grey)) * gain + offset
    if rng.random() < 0.3:
        image = misread(image, rng)
        return (
            image
            + torch.from_numpy(rng.standard_normal(tuple(image.shape), np.float32))
            * float(rng.uniform(0, 0.01))
        ).clamp(min=0)
    return (
        image
        + torch.from_numpy(rng.standard_normal(tuple(image.shape), np.float32))
        * float(rng.uniform(0, 0.02))
    ).clamp(0, 1)


@dataclass(frozen=True, eq=False)
class Scene:
    """A simulated scene."""

    dates: list[torch.Tensor]
    """Two of (3, y, x) digital numbers."""
    ids: torch.Tensor
    """(y', x') finer than the image, or as fine."""
    gsd: float
    """Metres of a pixel of the image."""


def read_scene(path: Path) -> Scene:
    """Read a simulated scene of ``scenes.py`` or ``fields_s2_2season.py``."""
    with np.load(path) as scene:
        image = torch.from_numpy(scene["image"].astype(np.float32))
        gsd = float(scene["gsd"]) if "gsd" in scene.files else 10.0
        return Scene([image[:3], image[4:7]], torch.from_numpy(scene["ids"]), gsd)


def draw_scene(
    scene: Scene, size: int, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """A random window of one date as 8-bit colour: as dark as a true-colour product (reflectance /
    14), or stretched; one of metres always stretched.
    """
    image, fine = scene.dates[rng.integers(2)], scene.gsd < NEAR
    gsd = draw_gsd(rng, USUAL if fine else (4.0, 6.0), (0.9, 5.0) if fine else (1.5, 12.0), 0.5)
    grid = random_grid(size, gsd, scene.gsd, tuple(image.shape[1:]), rng, margin=2)
    pixels, found = sample(image, scene.ids, grid)
    white = 3570.0 if rng.random() < 0.4 else rng.uniform(1200, 3200)
    if fine and rng.random() < 0.7:
        white = float(pixels.mean() + 2 * pixels.std()) / 0.95
    return (pixels / white).clamp(0, 1), boundary_labels(found, boundary_width(gsd))


def draw_known(
    scene: Chip, size: int, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """A random window of one date of a real scene that the model of the run before has labelled."""
    dates, classes = scene
    image, found = draw_pseudo(dates[rng.integers(len(dates))][:3], classes, size, rng)
    white = 255 * DISPLAY if rng.random() < 0.6 else rng.uniform(1500, 5000)
    return (image / white).clamp(0, 1), found


def main() -> None:
    """Train."""
    parser = options(__doc__)
    parser.add_argument(
        "--scenes",
        type=Path,
        nargs="*",
        default=[],
        help="folders of simulated Sentinel-2 scenes (fields_s2_2season.py --render-only)",
    )
    parser.add_argument(
        "--share", type=float, default=0.35, help="share of windows from the simulated scenes"
    )
    parser.add_argument(
        "--looks",
        type=Path,
        help="folder of real Sentinel-2 scenes without labels, for their colours",
    )
    parser.add_argument(
        "--satellite",
        type=float,
        default=0.0,
        help="share of windows of the chips drawn as Sentinel-2 would show them",
    )
    parser.add_argument(
        "--pseudo",
        type=Path,
        help="folder of real scenes that a teacher labelled (pseudo_labels.py)",
    )
    parser.add_argument("--known", type=float, default=0.0, help="share of windows from those")
    parser.add_argument(
        "--patches", type=Path, help="folder of EuroSAT, of whose classes without fields it learns"
    )
    parser.add_argument("--bare", type=float, default=0.0, help="share of windows from those")
    parser.add_argument(
        "--fold", type=int, help="leave out this fifth of the places; -1: train on all 28 chips"
    )
    args = parser.parse_args()
    looks = read_looks(args.looks) if args.looks else None
    if args.fold is None:
        paths = split(args.data)[0]
    else:
        paths = [p for k, fold in enumerate(folds(args.data)) if k != args.fold for p in fold]
    chips = [read_chip(path) for path in paths]
    scenes = [read_scene(path) for folder in args.scenes for path in sorted(folder.glob("*.npz"))]
    known = [read_pseudo(path) for path in sorted(args.pseudo.glob("*.npz"))] if args.pseudo else []
    bare = read_patches(args.patches, BARE, slice(LEARNT)) if args.patches else None
    # many dates: more views, and surer labels
    area = np.array([classes.numel() * len(dates) ** 2 for dates, classes in known], float)

    def view(rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        kind, chip = rng.random(), chips[rng.integers(len(chips))]
        if scenes and kind < args.share:
            return draw_scene(scenes[rng.integers(len(scenes))], args.size, rng)
        if bare is not None and kind > 1 - args.bare:
            return draw_bare(bare, args.size, rng)
        if looks and kind > 1 - args.bare - args.satellite:
            return draw_colour(chip, args.size, looks, rng)
        if known and kind < args.share + args.known:
            return draw_known(known[rng.choice(len(known), p=area / area.sum())], args.size, rng)
        return draw_view(chip, args.size, rng)

    def draw(step: int) -> Batch:
        views = []
        for k in range(args.batch):
            rng = np.random.default_rng((args.seed, step, k))
            image, classes = view(rng)
            views.append((jitter(image, rng), classes))
        return torch.stack([v[0] for v in views]), torch.stack([v[1] for v in views])

    fit(draw, 3, DECODER, args, misread)


if __name__ == "__main__":
    main()
