"""Train ``fields-rgb-vhr``: RGB imagery of 1 to 5 m, and Sentinel-2 true colour upsampled to 5 m -> background, field, boundary.

Real NAIP chips (USDA, public domain; polygons MIT) are cut at random places, angles, ground sampling distances and sharpness; a third of each
batch can come from simulated Sentinel-2 scenes.  Everything is drawn from the seed; a killed run goes on from its last checkpoint with the same
samples.  Two runs make what ships:

    python runs/fields_rgb_vhr.py ../shared/data/satellite/vhr_naip_usa checkpoints/vhr --steps 2500
    python runs/fields_rgb_vhr.py ../shared/data/satellite/vhr_naip_usa checkpoints/vhr_s2 --steps 500 --lr 6e-4 --seed 8 \\
        --start-from checkpoints/vhr/last.pt --scenes checkpoints/scenes

Split by place: of the chips sorted by name every fourth, from the third, is validation and is never seen in training.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import rasterio
import torch
import torch.nn.functional as F

from fit import Batch, boundary_labels, fit, options, random_grid, sample

FINEST, COARSEST = 1.5, 5.5
"""Ground sampling distances that are drawn, in metres; the card says 2 to 5."""
DECODER = (128, 64, 32, 24, 16)
Chip = tuple[list[torch.Tensor], torch.Tensor]
"""Image pyramid at 1, 2, 4, 8, 16 m (band, y, x) float32 0..1, and ids (y, x)."""


def split(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return training and validation chips."""
    chips = sorted((folder / "images").glob("*.tif"))
    return [c for k, c in enumerate(chips) if k % 4 != 2], [c for k, c in enumerate(chips) if k % 4 == 2]


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
    gsd = float(np.exp(rng.uniform(math.log(FINEST), math.log(COARSEST))))
    blur = gsd * float(np.exp(rng.uniform(math.log(0.7), math.log(2.2))))
    level = int(np.clip(round(math.log2(blur)), 0, len(levels) - 1))
    image, found = sample(levels[level], ids, random_grid(size, gsd, 1.0, tuple(ids.shape), rng))
    return image, boundary_labels(found, 2 if gsd < 2.6 else 1)


def jitter(image: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Appearance of other sensors and days: gamma, gain and offset per band, saturation, noise."""
    image = image.clamp(1e-4, 1) ** float(np.exp(rng.normal(0, 0.25)))
    gain = float(np.exp(rng.normal(-0.1, 0.3))) * torch.from_numpy(np.exp(rng.normal(0, 0.08, (3, 1, 1)))).float()
    offset = torch.from_numpy(rng.normal(0, 0.02, (3, 1, 1))).float() + float(rng.normal(0, 0.03))
    grey = image.mean(0, keepdim=True)
    saturation = float(np.clip(np.exp(rng.normal(0, 0.35)), 0, 2)) if rng.random() > 0.04 else 0.0
    image = (grey + saturation * (image - grey)) * gain + offset
    return (image + torch.from_numpy(rng.normal(0, rng.uniform(0, 0.02), image.shape)).float()).clamp(0, 1)


def read_scene(path: Path) -> Chip:
    """Read a simulated Sentinel-2 scene of ``fields_s2_2season.py``: both dates in one list, ids at 5 m."""
    with np.load(path) as scene:
        image = torch.from_numpy(scene["image"].astype(np.float32))
        return [image[:3], image[4:7]], torch.from_numpy(scene["ids"])


def draw_scene(scene: Chip, size: int, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """A random window of one date as 8-bit colour at 3.5 to 6.5 m: as dark as a true-colour product (reflectance / 14), or stretched."""
    dates, ids = scene
    image = dates[rng.integers(2)]
    gsd = float(np.exp(rng.uniform(math.log(3.5), math.log(6.5))))
    pixels, found = sample(image, ids, random_grid(size, gsd, 10.0, tuple(image.shape[1:]), rng, margin=2))
    white = 3570.0 if rng.random() < 0.4 else rng.uniform(1200, 3200)
    return (pixels / white).clamp(0, 1), boundary_labels(found, 1)


def main() -> None:
    """Train."""
    parser = options(__doc__)
    parser.add_argument("--scenes", type=Path, help="folder of simulated Sentinel-2 scenes (fields_s2_2season.py --render-only)")
    parser.add_argument("--share", type=float, default=0.35, help="share of windows from the simulated scenes")
    args = parser.parse_args()
    chips = [read_chip(path) for path in split(args.data)[0]]
    scenes = [read_scene(path) for path in sorted(args.scenes.glob("*.npz"))] if args.scenes else []

    def draw(step: int) -> Batch:
        views = []
        for k in range(args.batch):
            rng = np.random.default_rng((args.seed, step, k))
            if scenes and rng.random() < args.share:
                image, classes = draw_scene(scenes[rng.integers(len(scenes))], args.size, rng)
            else:
                image, classes = draw_view(chips[rng.integers(len(chips))], args.size, rng)
            views.append((jitter(image, rng), classes))
        return torch.stack([v[0] for v in views]), torch.stack([v[1] for v in views])

    fit(draw, 3, DECODER, args)


if __name__ == "__main__":
    main()
