"""Train ``fields-s2-2season``: two Sentinel-2 dates, eight bands, upsampled to 5 m -> background, field, boundary.

Trained on the simulated countryside alone: images at 10 m, truth at 5 m from the same seeds.  The scenes are rendered once into the data folder; a killed run
goes on where it was.

    python runs/fields_s2_2season.py checkpoints/scenes checkpoints/s2 --scenes 48 --start-from checkpoints/vhr/last.pt

``--start-from`` takes over the weights of the RGB run where shapes fit (all but the first convolution).
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from fit import Batch, boundary_labels, fit, options, random_grid, sample
from tilth.data.landscape import simulate

DECODER = (64, 48, 32, 24, 16)
GSD, SIDE = 10.0, 512
STYLES = ("europe", "europe", "europe", "mixed", "mixed", "bocage", "prairie", "mixed", "smallholder", "europe", "pivots", "mixed")
"""Drawn in turn: the fields that 10 m can show more often than those it cannot."""
FIRST_SEED = 50_000
"""Seeds of the training scenes; the demo and the tests stay below."""


def render(folder: Path, count: int) -> list[Path]:
    """Simulate the scenes that are not in the folder yet."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"scene_{k:03d}.npz" for k in range(count)]
    for k, path in enumerate(paths):
        if path.exists():
            continue
        style = STYLES[k % len(STYLES)]
        image = simulate(FIRST_SEED + k, (SIDE, SIDE), GSD, style).image.values
        fine = simulate(FIRST_SEED + k, (2 * SIDE, 2 * SIDE), GSD / 2, style).instances.ids
        part = path.with_suffix(".part.npz")
        np.savez(part, image=image, ids=fine.astype(np.int32))
        part.replace(path)
        print(path.name, style, flush=True)
    return paths


def read_scene(path: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (8, y, x) float32 digital numbers at 10 m and (2y, 2x) ids at 5 m."""
    with np.load(path) as scene:
        return torch.from_numpy(scene["image"].astype(np.float32)), torch.from_numpy(scene["ids"])


def draw_view(scene: tuple[torch.Tensor, torch.Tensor], size: int, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """A random window at 3.5 to 7 m, any angle; a third is looked at through a wider point-spread function."""
    image, ids = scene
    gsd = float(np.exp(rng.uniform(math.log(3.5), math.log(7.0))))
    grid = random_grid(size, gsd, 10.0, tuple(image.shape[1:]), rng, margin=2)
    pixels, found = sample(image, ids, grid)
    if rng.random() < 0.3:
        pixels = F.avg_pool2d(pixels[None], 3, 1, 1, count_include_pad=False)[0]
    return pixels, boundary_labels(found, 1)


def jitter(pixels: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Digital numbers -> input.  PRUE's divisor drawn from 1500 to 4500, window order swapped; besides gain and haze per band and date, noise."""
    if rng.random() < 0.5:
        pixels = torch.cat([pixels[4:], pixels[:4]])
    divisor = rng.uniform(1500, 4500) if rng.random() < 0.7 else 3000.0
    gain = torch.from_numpy(np.exp(rng.normal(0, 0.10, (8, 1, 1)))).float()
    haze = torch.from_numpy(np.repeat(rng.normal(0, 60, 2), 4)[:, None, None] + rng.normal(0, 40, (8, 1, 1))).float()
    noise = torch.from_numpy(rng.normal(0, rng.uniform(0, 60), tuple(pixels.shape))).float()
    return ((pixels * gain + haze + noise) / divisor).clamp(0, 3)


def main() -> None:
    """Render, then train."""
    parser = options(__doc__)
    parser.add_argument("--scenes", type=int, default=48)
    parser.add_argument("--render-only", action="store_true")
    args = parser.parse_args()
    paths = render(args.data, args.scenes)
    if args.render_only:
        return
    scenes = [read_scene(path) for path in paths]

    def draw(step: int) -> Batch:
        views = []
        for k in range(args.batch):
            rng = np.random.default_rng((args.seed, step, k))
            pixels, classes = draw_view(scenes[rng.integers(len(scenes))], args.size, rng)
            views.append((jitter(pixels, rng), classes))
        return torch.stack([v[0] for v in views]), torch.stack([v[1] for v in views])

    fit(draw, 8, DECODER, args)


if __name__ == "__main__":
    main()
