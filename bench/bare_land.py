"""Say how much of land and water of a kind a model of one date in true colour calls field.

    python bench/bare_land.py ../shared/data/satellite/pretraining/eurosat_rgb_subset \\
        --models fields-rgb-vhr

EuroSAT's patches (64 x 64 pixels of 10 m; 34 countries; one kind of land each) that no network of
ours has learnt from: those after the 300th of each class, in the order of their names.  Each is
mirrored at its edges, so that a window is full, and only its own pixels are counted.  Printed is
the share of them that is field or boundary with a probability above one half, the mean over
patches.
"""

from __future__ import annotations

import argparse
import io
import zipfile
from pathlib import Path

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from PIL import Image

import selion
from selion.raster import Raster

LEARNT = 300
"""Patches of each class that `runs/fields_bare.py` may have learnt from."""
COLOURS = ("red", "green", "blue")


def read_patches(archive: Path, count: int) -> dict[str, list[np.ndarray]]:
    """Class -> (3, 64, 64) uint8 patches that are held out."""
    with zipfile.ZipFile(archive) as held:
        names = sorted(name for name in held.namelist() if name.endswith(".jpg"))
        kinds = sorted({Path(name).parent.name for name in names})
        return {
            kind: [
                np.asarray(Image.open(io.BytesIO(held.read(name)))).transpose(2, 0, 1)
                for name in [n for n in names if Path(n).parent.name == kind][LEARNT:][:count]
            ]
            for kind in kinds
        }


def called_field(patch: np.ndarray, model: object) -> float:
    """Share of a patch's pixels that are field or boundary."""
    side = patch.shape[-1]
    padded = np.pad(patch, ((0, 0), (side, side), (side, side)), mode="symmetric")
    grid = GeoBox(padded.shape[1:], Affine(10, 0, 6e5, 0, -10, 5.3e6), "EPSG:32633")
    values = selion.predict(Raster(padded, grid, COLOURS), model).values.astype(np.float64)
    share = values[1:].sum(0) / np.maximum(values.sum(0), 1e-6)
    edge = share.shape[0] // 3
    return float((share[edge : 2 * edge, edge : 2 * edge] > 0.5).mean())


def main() -> None:
    """Print a table: a row a kind of land, a column a model."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder of eurosat_rgb_subset.zip")
    parser.add_argument("--models", nargs="+", default=["fields-rgb-vhr"])
    parser.add_argument("--count", type=int, default=32, help="patches of each kind")
    args = parser.parse_args()
    models = [selion.load_model(name) for name in args.models]
    print("| kind of land | " + " | ".join(args.models) + " |")
    print("|---|" + "---:|" * len(models))
    for kind, patches in read_patches(args.data / "eurosat_rgb_subset.zip", args.count).items():
        shares = [np.mean([called_field(patch, model) for patch in patches]) for model in models]
        print(f"| {kind} | " + " | ".join(f"{share:.3f}" for share in shares) + " |", flush=True)


if __name__ == "__main__":
    main()
