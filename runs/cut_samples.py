"""Probabilities of places that a network has not seen, with the fields drawn there: what
``cut_score.py`` learns from.

    python runs/cut_samples.py MODEL samples.npz --chips ../shared/data/satellite/vhr_naip_usa \\
        --fold 0 --looks ../shared/data/satellite/s2_unlabelled

Aerial chips are shown as they are, at 2.5 and 4 m, and as Sentinel-2 would show them, several times
in other colours; simulated scenes (``fields_s2_2season.py --render-only``) as they are, each date
alone for a model of three bands.  The network answers as it does in `selion map`, so samples lie on
the grid that objects are found on.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from affine import Affine
from odc.geo.geobox import GeoBox

from fields_rgb_vhr import folds, read_chip, split
from satellite import DISPLAY, Chip, Looks, add_infrared, read_looks, recolour, repaint
from selion.evaluation.answers import onto
from selion.grid import ground_sampling_distance
from selion.models import load_model
from selion.prediction import predict
from selion.raster import Raster
from selion.segmenter import LoadedModel

COARSE = (1.0, 2.5, 4.0)
"""Metres at which an aerial chip is shown."""
SATELLITE = 10.0
FULL = 65535


def grid_of(shape: tuple[int, int], gsd: float) -> GeoBox:
    """A grid somewhere in UTM."""
    return GeoBox(shape, Affine(gsd, 0, 500_000, 0, -gsd, 5_000_000), "EPSG:32631")


def aerial(chip: Chip, gsd: float) -> tuple[np.ndarray, np.ndarray]:
    """(3, y, x) uint8 image and (y, x) ids of a chip at some distance."""
    levels, ids = chip
    image, shape = levels[0], tuple(round(side / gsd) for side in ids.shape)
    if gsd > 1:
        image = F.interpolate(image[None], shape, mode="area")[0]
    fine = F.interpolate(ids[None, None].float(), shape, mode="nearest-exact")[0, 0]
    return (image.numpy() * 255).round().astype(np.uint8), fine.numpy().astype(np.int32)


def as_satellite(
    chip: Chip, looks: Looks, rng: np.random.Generator, dates: int
) -> tuple[np.ndarray, np.ndarray]:
    """A chip through Sentinel-2's eyes at 10 m: one date of 8-bit colour, or two of four bands."""
    levels, ids = chip
    side = tuple(round(n / SATELLITE) for n in ids.shape)
    half_side = tuple(2 * n for n in side)
    half = F.interpolate(levels[2][None], half_side, mode="area")[0]
    parts = F.interpolate(ids[None, None].float(), half_side, mode="nearest-exact")[0, 0].int()
    seen = []
    for _ in range(dates):
        date = recolour(half, looks.colours[rng.integers(len(looks.colours))])
        if dates > 1:
            date = add_infrared(date, looks, rng)
        if dates > 1 or rng.random() < 0.5:
            date = repaint(date, parts, looks.spectra, float(rng.uniform(0.1, 0.7)), rng)
        blurred = F.avg_pool2d(date[None], 3, 1, 1, count_include_pad=False)
        seen.append(F.avg_pool2d(blurred, 2)[0].numpy() * 10_000)
    found = F.interpolate(ids[None, None].float(), side, mode="nearest-exact")[0, 0]
    image = np.concatenate(seen)
    if dates == 1:
        image = (image / DISPLAY).round().clip(0, 255).astype(np.uint8)
    return image, found.numpy().astype(np.int32)


def scene_views(path: Path, bands: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """A simulated scene at 10 m: the pair, or each date in 8-bit colour."""
    with np.load(path) as scene:
        image, ids = scene["image"], scene["ids"][1::2, 1::2].astype(np.int32)
    ids = np.maximum(ids, 0)
    if bands == 8:
        return [(image, ids)]
    return [
        ((image[date : date + 3] / DISPLAY).round().clip(0, 255).astype(np.uint8), ids)
        for date in (0, 4)
    ]


def answer(model: LoadedModel, image: np.ndarray, gsd: float) -> Raster:
    """Ask the network as `selion map` does."""
    return predict(Raster(image, grid_of(image.shape[1:], gsd), model.inputs.bands), model)


def main() -> None:
    """Ask and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("out", type=Path)
    parser.add_argument("--chips", type=Path)
    parser.add_argument("--fold", type=int, help="of the chips; without it all, with their folds")
    parser.add_argument("--looks", type=Path, help="real scenes, for the colours of satellites")
    parser.add_argument("--views", type=int, default=3, help="satellite views of each chip")
    parser.add_argument("--scenes", type=Path, nargs="*", default=[])
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model(args.model)
    bands = len(model.inputs.bands)
    looks = read_looks(args.looks) if args.looks else None
    jobs: list[tuple[str, str, int, float, np.ndarray, np.ndarray]] = []
    for fold, paths in enumerate(folds(args.chips) if args.chips else []):
        if args.fold not in (None, fold):
            continue
        for path in paths:
            chip = read_chip(path)
            rng = np.random.default_rng(list(path.stem.encode()))
            if bands == 3:
                jobs += [
                    (f"{path.stem}_{gsd:g}m", f"aerial {gsd:g} m", fold, gsd, *aerial(chip, gsd))
                    for gsd in COARSE
                ]
            if looks:
                jobs += [
                    (
                        f"{path.stem}_s2_{k}",
                        "satellite",
                        fold,
                        SATELLITE,
                        *as_satellite(chip, looks, rng, 2 if bands == 8 else 1),
                    )
                    for k in range(args.views)
                ]
    for k, path in enumerate(args.scenes):
        jobs += [
            (f"{path.parent.name}_{path.stem}_{n}", "simulated", k % 5, SATELLITE, *view)
            for n, view in enumerate(scene_views(path, bands))
        ]
    fresh = {path.stem for path in split(args.chips)[1]} if args.chips else set()
    out = {}
    for name, kind, fold, gsd, image, ids in jobs:
        said = answer(model, image, gsd)
        out[f"{name}/probs"] = (said.values * FULL).round().astype(np.uint16)
        out[f"{name}/truth"] = onto(ids, said.grid)
        about = {"kind": kind, "fold": fold, "gsd": ground_sampling_distance(said.grid)}
        about["unseen"] = any(name.startswith(stem) for stem in fresh)
        out[f"{name}/about"] = np.array(json.dumps(about))
        print(name, kind, said.values.shape, flush=True)
    np.savez(args.out, **out)


if __name__ == "__main__":
    main()
