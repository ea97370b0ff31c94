"""Train ``fields-s2-2season``: two Sentinel-2 dates, eight bands, upsampled to 5 m -> background,
field, boundary.

Three sources: the simulated countryside, images at 10 m and truth at 5 m from the same seeds,
rendered once into the data folder; real fields of aerial chips drawn as two dates of Sentinel-2
(``satellite.py``); real pairs of dates that the RGB model has labelled (``pseudo_labels.py``).  A
killed run goes on where it was.  docs/weights.md names the runs that make what ships; the first, on
simulation alone, is

    python runs/fields_s2_2season.py checkpoints/scenes checkpoints/s2 --scenes 48 \
        --start-from checkpoints/vhr/last.pt

``--start-from`` takes over the weights of another run where shapes fit (of the RGB run all but the
first convolution).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from fields_rgb_vhr import read_chip, split
from fit import Batch, boundary_labels, fit, options, random_grid, sample
from satellite import boundary_width, draw_gsd, draw_pair, draw_pseudo, read_looks, read_pseudo
from selion.simulation.landscape import simulate

DECODER = (64, 48, 32, 24, 16)
GSD, SIDE = 10.0, 512
STYLES = (
    "europe",
    "europe",
    "europe",
    "mixed",
    "mixed",
    "bocage",
    "prairie",
    "mixed",
    "smallholder",
    "europe",
    "pivots",
    "mixed",
)
"""Drawn in turn: the fields that 10 m can show more often than those it cannot."""
FIRST_SEED = 50_000
"""Seeds of the training scenes; the demo and the tests stay below."""


def render(folder: Path, count: int, first: int = FIRST_SEED) -> list[Path]:
    """Simulate the scenes that are not in the folder yet, from seed ``first`` on."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"scene_{k:03d}.npz" for k in range(count)]
    for k, path in enumerate(paths):
        if path.exists():
            continue
        style = STYLES[k % len(STYLES)]
        image = simulate(first + k, (SIDE, SIDE), GSD, style).image.values
        fine = simulate(first + k, (2 * SIDE, 2 * SIDE), GSD / 2, style).instances.ids
        part = path.with_suffix(".part.npz")
        np.savez(part, image=image, ids=fine.astype(np.int32))
        part.replace(path)
        print(path.name, style, flush=True)
    return paths


def read_scene(path: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (8, y, x) float32 digital numbers at 10 m and (2y, 2x) ids at 5 m."""
    with np.load(path) as scene:
        return torch.from_numpy(scene["image"].astype(np.float32)), torch.from_numpy(scene["ids"])


def draw_view(
    scene: tuple[torch.Tensor, torch.Tensor], size: int, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """A random window at 3.5 to 7 m, any angle; a third is looked at through a wider point-spread
    function.
    """
    image, ids = scene
    gsd = draw_gsd(rng, (4.0, 6.0), (1.7, 10.0), 0.7)
    grid = random_grid(size, gsd, 10.0, tuple(image.shape[1:]), rng, margin=2)
    pixels, found = sample(image, ids, grid)
    if rng.random() < 0.3:
        pixels = F.avg_pool2d(pixels[None], 3, 1, 1, count_include_pad=False)[0]
    return pixels, boundary_labels(found, boundary_width(gsd))


def jitter(pixels: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Digital numbers -> input.

    PRUE's divisor drawn from 1500 to 4500 (a tenth up to 10000), window order swapped; gain and
    offset per date and per band, the offset of 1000 forgotten or taken twice, a thin haze that is
    thicker on one side, noise.
    """
    if rng.random() < 0.5:
        pixels = torch.cat([pixels[4:], pixels[:4]])
    kind = rng.random()
    divisor = (
        3000.0
        if kind < 0.3
        else rng.uniform(1500, 4500)
        if kind < 0.9
        else rng.uniform(4500, 10000)
    )
    gain = np.exp(np.repeat(rng.normal(0, 0.10, 2), 4) + rng.normal(0, 0.08, 8)).astype(np.float32)[
        :, None, None
    ]
    haze = (np.repeat(rng.normal(0, 60, 2), 4) + rng.normal(0, 40, 8)).astype(np.float32)[
        :, None, None
    ]
    pixels = pixels * torch.from_numpy(gain) + torch.from_numpy(haze)
    if rng.random() < 0.2:
        pixels = pixels + float(rng.choice([-1000.0, 1000.0])) * float(rng.uniform(0.2, 1.0))
    if rng.random() < 0.15:
        side = (
            torch.linspace(0, 1, pixels.shape[2])
            if rng.random() < 0.5
            else torch.linspace(0, 1, pixels.shape[1])[:, None]
        )
        date = slice(0, 4) if rng.random() < 0.5 else slice(4, 8)
        pixels[date] += (
            side * torch.tensor([1.0, 1.1, 1.3, 0.7])[:, None, None] * float(rng.uniform(100, 700))
        )
    noise = torch.from_numpy(rng.standard_normal(tuple(pixels.shape), np.float32)) * float(
        rng.uniform(0, 60)
    )
    return ((pixels + noise) / divisor).clamp(0, 3)


def draw_known(
    scene: tuple[list[torch.Tensor], torch.Tensor], size: int, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """A random window of two dates of a real scene that the RGB model has labelled."""
    dates, classes = scene
    first, second = rng.choice(len(dates), 2, replace=False)
    return draw_pseudo(torch.cat([dates[first], dates[second]]), classes, size, rng)


def main() -> None:
    """Render, then train."""
    parser = options(__doc__)
    parser.add_argument("--scenes", type=int, default=48)
    parser.add_argument("--render-only", action="store_true")
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED)
    parser.add_argument("--more-scenes", type=Path, help="a second folder of rendered scenes")
    parser.add_argument(
        "--chips", type=Path, help="aerial chips with fields, drawn as two dates of Sentinel-2"
    )
    parser.add_argument(
        "--looks",
        type=Path,
        help="folder of real Sentinel-2 scenes without labels, for the chips' colours",
    )
    parser.add_argument(
        "--satellite", type=float, default=0.0, help="share of windows from the chips"
    )
    parser.add_argument(
        "--pseudo",
        type=Path,
        help=(
            "folder of real scenes that the RGB model labelled (pseudo_labels.py): those of two "
            "dates and more"
        ),
    )
    parser.add_argument("--known", type=float, default=0.0, help="share of windows from those")
    args = parser.parse_args()
    paths = render(args.data, args.scenes, args.first_seed)
    if args.render_only:
        return
    paths += sorted(args.more_scenes.glob("*.npz")) if args.more_scenes else []
    scenes = [read_scene(path) for path in paths]
    chips = [read_chip(path) for path in split(args.chips)[0]] if args.chips else []
    looks = read_looks(args.looks) if args.looks else None
    known = [
        scene
        for path in (sorted(args.pseudo.glob("*.npz")) if args.pseudo else [])
        if len((scene := read_pseudo(path))[0]) > 1
    ]

    def view(rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        kind = rng.random()
        if known and kind < args.known:
            return draw_known(known[rng.integers(len(known))], args.size, rng)
        if chips and looks and kind > 1 - args.satellite:
            return draw_pair(chips[rng.integers(len(chips))], args.size, looks, rng)
        return draw_view(scenes[rng.integers(len(scenes))], args.size, rng)

    def draw(step: int) -> Batch:
        views = []
        for k in range(args.batch):
            rng = np.random.default_rng((args.seed, step, k))
            pixels, classes = view(rng)
            views.append((jitter(pixels, rng), classes))
        return torch.stack([v[0] for v in views]), torch.stack([v[1] for v in views])

    fit(draw, 8, DECODER, args)


if __name__ == "__main__":
    main()
