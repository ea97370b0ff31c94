"""Say how much of land and water of a kind a model of one date in true colour, or of two dates with
near infrared, calls field.

    S=../shared/data/satellite
    python bench/bare_land.py $S/pretraining/eurosat_rgb_subset --models fields-rgb-vhr
    python bench/bare_land.py $S/pretraining/eurosat_rgb_subset --models fields-s2-2season \\
        --looks $S/s2_unlabelled --valley $S/clouds/eolearn_slovenia_68dates

EuroSAT's patches (64 x 64 pixels of 10 m; 34 countries; one kind of land each) that no network of
ours has learnt from: those after the 300th of each class, in the order of their names.  Each is
mirrored at its edges, so that a window is full, and only its own pixels are counted.  Printed is
the share of them that is field or boundary with a probability above one half, the mean over
patches.
"""

from __future__ import annotations

import argparse
import io
import itertools
import sys
import zipfile
from functools import partial
from pathlib import Path

import geopandas
import numpy as np
import torch
from affine import Affine
from odc.geo.geobox import GeoBox
from PIL import Image

import selion
from selion import store
from selion.grid import whole
from selion.raster import Raster

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "runs"))
from satellite import DISPLAY, Looks, add_infrared, read_looks

LEARNT = 300
"""Patches of each class that `runs/fields_bare.py` may have learnt from."""
COLOURS = ("red", "green", "blue")
DATES = tuple(f"window_{date}:{band}" for date in "ab" for band in (*COLOURS, "nir"))
WATER = "SeaLake"
MEADOW = 1300
"""RABA's code of permanent meadows; the valley has next to no arable land."""
BANDS, CLOUDY = (3, 2, 1, 7), 1500
"""Of thirteen: red, green, blue, near infrared; mean digital number of blue under clouds."""


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


def as_two_dates(
    patch: np.ndarray, wet: bool, looks: Looks, rng: np.random.Generator
) -> np.ndarray:
    """(8, y, x) digital numbers of a patch on two days."""
    visible = torch.from_numpy(patch.astype(np.float32)) * (DISPLAY / 10_000)
    dates = []
    for _ in range(2):
        seen = visible * float(np.exp(rng.normal(0, 0.1)))
        dark = seen.mean(0, keepdim=True) * float(rng.uniform(0.2, 0.7))
        dates.append(torch.cat([seen, dark]) if wet else add_infrared(seen, looks, rng))
    return (torch.cat(dates) * 10_000).numpy().round().astype(np.uint16)


def valley_table(folder: Path, model: object) -> dict[str, float]:
    """Share of meadows, and of all other land, that is called field: the mean over pairs."""
    scenes = [store.open_raster(path) for path in sorted(folder.glob("s2_l1c_13band_*.tif"))]
    values = [scene.read(whole(scene.grid)).values for scene in scenes]
    clear = [v[list(BANDS)] for v in values if v[1].mean() < CLOUDY]
    grid = scenes[0].grid
    land = geopandas.read_parquet(folder / "lulc_raba.parquet").to_crs(str(grid.crs))
    codes = store.burn(land.geometry.to_numpy(), land["RABA_ID"].to_numpy().astype(int), grid)
    shares = []
    for first, second in itertools.permutations(clear, 2):
        said = selion.predict(Raster(np.concatenate([first, second]), grid, DATES), model).values
        fold = said.shape[1] // codes.shape[0]  # a model of 5 m answers twice as finely
        field = (np.argmax(said, 0) > 0)[fold // 2 :: fold, fold // 2 :: fold]
        shares.append(
            (field[codes == MEADOW].mean(), field[(codes > 0) & (codes != MEADOW)].mean())
        )
    meadow, other = np.mean(shares, 0)
    return {"meadows": float(meadow), "all other land": float(other)}


def called_field(patch: np.ndarray, model: object, names: tuple[str, ...] = COLOURS) -> float:
    """Share of a patch's pixels that are field or boundary."""
    side = patch.shape[-1]
    padded = np.pad(patch, ((0, 0), (side, side), (side, side)), mode="symmetric")
    grid = GeoBox(padded.shape[1:], Affine(10, 0, 6e5, 0, -10, 5.3e6), "EPSG:32633")
    values = selion.predict(Raster(padded, grid, names), model).values.astype(np.float64)
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
    parser.add_argument("--looks", type=Path, help="real scenes, for models of two dates")
    parser.add_argument("--valley", type=Path, help="folder of the Slovenian scenes")
    args = parser.parse_args()
    models = [selion.load_model(name) for name in args.models]
    pairs = [len(model.inputs.bands) == len(DATES) for model in models]
    if any(pairs) and not args.looks:
        parser.error("a model of two dates needs --looks, the scenes that near infrared is from.")
    looks = read_looks(args.looks) if any(pairs) else None
    print("| kind of land | " + " | ".join(args.models) + " |")
    print("|---|" + "---:|" * len(models))
    for kind, patches in read_patches(args.data / "eurosat_rgb_subset.zip", args.count).items():
        shares = []
        for model, pair in zip(models, pairs, strict=True):
            rng = np.random.default_rng(5)
            draw = partial(as_two_dates, wet=kind == WATER, looks=looks, rng=rng)
            shown = [draw(patch) for patch in patches] if pair else patches
            names = DATES if pair else COLOURS
            shares.append(np.mean([called_field(patch, model, names) for patch in shown]))
        print(f"| {kind} | " + " | ".join(f"{share:.3f}" for share in shares) + " |", flush=True)
    for name, model, pair in zip(args.models, models, pairs, strict=True):
        if args.valley and pair:
            for kind, share in valley_table(args.valley, model).items():
                print(f"{name}, {kind} of a valley in Slovenia: {share:.3f}", flush=True)


if __name__ == "__main__":
    main()
