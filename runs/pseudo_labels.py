"""Label the real Sentinel-2 scenes that have no labels with the RGB model of a run: self-training,
and the teacher of the two-season model.

    python runs/pseudo_labels.py checkpoints/rgb1/last.pt \\
        ../shared/data/satellite/s2_unlabelled checkpoints/pseudo

The teacher looks at every date in eight poses (rotations and flips); the probabilities of all are
averaged, because fields do not move within a season.  Objects are cut out of them as `selion map`
does, their edges become the boundary class, and whatever the teacher is not sure of becomes 255: it
counts in no loss.  A scene of several dates is far surer than one date, which is what the student
of one date learns from it.  With ``--season`` the two-season model looks at every ordered pair of
dates of the scenes that have a near infrared, and its mean counts as much as that of the RGB model.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import numpy as np
import rasterio
import torch
import torch.nn.functional as F
from affine import Affine
from odc.geo.geobox import GeoBox
from scipy import ndimage

from fields_rgb_vhr import DECODER
from fields_s2_2season import DECODERS
from fit import IGNORE, Feed, boundary_labels, is_fed, network, read_state, without_depths
from satellite import DISPLAY
from selion.classes import FTW3
from selion.fields import InstanceOptions, find_instances
from selion.labels import MIN_AREA
from selion.raster import Raster

TILE, MARGIN = 448, 64
UNSURE = (0.3, 0.6)
"""Probabilities of field and boundary together between these are not known."""
LEAST_SCORE = 0.7
"""Objects of a lower mean probability are not known."""


def read_dates(folder: Path) -> dict[str, list[np.ndarray]]:
    """Scene -> dates of (band, y, x) digital numbers: 3 or 4 bands."""
    scenes: dict[str, list[np.ndarray]] = {}
    pair = _read(folder / "ftw_inn_pair" / "s2_pair_8band.tif")
    scenes["inn"] = [pair[:4], pair[4:]]
    scenes["siteb"] = [
        np.concatenate([image[:3] * DISPLAY, image[3:4]])
        for image in map(_read, sorted(folder.glob("*siteB/s2_*.tif")))
    ]
    scenes["muensterland"] = [_read(path) * DISPLAY for path in sorted(folder.glob("*/*rgb8.tif"))]
    for path in sorted(folder.glob("*/cnn_*.jpg"))[::3]:
        scenes[path.stem] = [_read(path) * DISPLAY]
    return scenes


def _read(path: Path) -> np.ndarray:
    with rasterio.open(path) as source:
        return source.read().astype(np.float32)


@torch.inference_mode()
def teach(model: torch.nn.Module, image: torch.Tensor) -> torch.Tensor:
    """(band, y, x) image at 5 m -> (class, y, x) probabilities, averaged over eight poses, tile by
    tile.
    """
    height, width = image.shape[1:]
    step = TILE - 2 * MARGIN
    rows, columns = -(-height // step), -(-width // step)
    pads = (MARGIN, columns * step - width + MARGIN, MARGIN, rows * step - height + MARGIN)
    padded = torch.from_numpy(
        np.pad(image.numpy(), ((0, 0), (pads[2], pads[3]), (pads[0], pads[1])), mode="symmetric")
    )
    out = torch.zeros(3, rows * step, columns * step)
    for row in range(rows):
        for column in range(columns):
            tile = padded[:, row * step : row * step + TILE, column * step : column * step + TILE]
            said = poses(model, tile)[:, MARGIN:-MARGIN, MARGIN:-MARGIN]
            out[:, row * step : (row + 1) * step, column * step : (column + 1) * step] = said
    return out[:, :height, :width]


def load(
    path: Path, key: str, bands: int, decoder: tuple[int, ...], encoder: str = "mobilenet_v2"
) -> torch.nn.Module:
    """Build a network with the weights of a checkpoint; one of `fit.Feed` is fed as it was."""
    bare = network(bands, decoder, encoder)
    bare.load_state_dict(without_depths(read_state(path, key)))
    fed = path.suffix != ".safetensors" and is_fed(torch.load(path, weights_only=True)[key])
    model = Feed(bare) if fed else bare
    return model.eval().to(memory_format=torch.channels_last)


def mean_said(model: torch.nn.Module, images: list[np.ndarray]) -> np.ndarray:
    """Mean probabilities at 5 m over several (band, y, x) images at 10 m that are scaled as the
    model wants them.
    """
    fine = [
        F.interpolate(
            torch.from_numpy(image)[None], scale_factor=2, mode="bilinear", align_corners=False
        )[0]
        for image in images
    ]
    return torch.stack([teach(model, image) for image in fine]).mean(0).numpy()


def poses(model: torch.nn.Module, tile: torch.Tensor) -> torch.Tensor:
    """Mean probabilities over the eight symmetries of the square."""
    views = [torch.rot90(flipped, k, (1, 2)) for flipped in (tile, tile.flip(2)) for k in range(4)]
    # processors without such instructions only imitate half precision, at a tenth of the pace
    half = torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        said = [
            model(view[None].to(memory_format=torch.channels_last)).float().softmax(1)[0]
            for view in views
        ]
    turned = [torch.rot90(p, -k % 4, (1, 2)) for p, k in zip(said, [0, 1, 2, 3] * 2, strict=True)]
    return torch.stack(turned[:4] + [p.flip(2) for p in turned[4:]]).mean(0)


def known_classes(probs: np.ndarray) -> np.ndarray:
    """(class, y, x) probabilities at 5 m -> classes, 255 where not sure."""
    grid = GeoBox(probs.shape[1:], Affine(5, 0, 0, 0, -5, 0), "EPSG:32633")
    said = Raster(probs.astype(np.float32), grid, FTW3.names)
    found = find_instances(said, FTW3, options=InstanceOptions(min_area=MIN_AREA))
    ids, scores = found.ids.astype(np.int32), found.table["score"].to_numpy()
    classes = boundary_labels(torch.from_numpy(ids), 1).numpy()
    extent = probs[1] + probs[2]
    unsure = (extent > UNSURE[0]) & (extent < UNSURE[1])
    unsure |= (ids == 0) & (extent >= UNSURE[1])
    unsure |= (classes == 2) & (probs[2] < 0.2) & (extent > 0.8)
    unsure |= (classes == 1) & (probs[2] > 0.4)
    weak = np.concatenate([[False], scores < LEAST_SCORE])
    return np.where(unsure | weak[ids], 255, classes).astype(np.uint8)


def dry(classes: np.ndarray, dates: list[np.ndarray]) -> np.ndarray:
    """Water is no field, whatever it looks like in colour: where every date's near infrared is
    darker than its green (NDWI above 0, McFeeters 1996).
    """
    if dates[0].shape[0] < 4:
        return classes
    water = np.logical_and.reduce([date[1] > date[3] for date in dates])
    water = ndimage.binary_opening(water, iterations=1)
    shore = ndimage.binary_dilation(water, iterations=2) & ~water
    water, shore = (np.repeat(np.repeat(mask, 2, 0), 2, 1) for mask in (water, shore))
    return np.where(water, 0, np.where(shore & (classes > 0), IGNORE, classes)).astype(np.uint8)


def main() -> None:
    """Label every scene."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--key", default="mean")
    parser.add_argument("--encoder", default="mobilenet_v2", help="of the checkpoint")
    parser.add_argument(
        "--season",
        type=Path,
        help="checkpoint of the two-season model, a second teacher where a scene has two dates",
    )
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    model = load(args.checkpoint, args.key, 3, DECODER, args.encoder)
    season = load(args.season, args.key, 8, DECODERS["narrow"]) if args.season else None
    for name, dates in read_dates(args.data).items():
        said = mean_said(model, [(date[:3] / (255 * DISPLAY)).clip(0, 1) for date in dates])
        if season and len(dates) > 1 and len(dates[0]) == 4:
            pairs = [np.concatenate(pair) / 3000 for pair in itertools.permutations(dates, 2)]
            said = (said + mean_said(season, pairs)) / 2
        classes = dry(known_classes(said), dates)
        np.savez(args.out / f"{name}.npz", dates=np.stack(dates), classes=classes)
        shares = [round(float((classes == k).mean()), 3) for k in (0, 1, 2, 255)]
        print(
            name,
            len(dates),
            "dates; shares of background, field, boundary, not known:",
            shares,
            flush=True,
        )


if __name__ == "__main__":
    main()
