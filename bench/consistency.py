"""Whether consistency flags what a model has not seen, and where it is wrong.

    python bench/consistency.py ../shared/data [--patches 40] [--json rows.json]

Each image is mapped as ``selion map --consistency`` does.  Printed are areas under the curve: the
chance that of a right and a wrong one, drawn at random, the wrong one has the lower value (0.5 says
nothing), of consistency, of confidence, and of both multiplied:

* **pixels** and **fields** of the NAIP chips whose labels the network has not learnt from (every
  fourth from the third): a pixel is right if field or not is, a field if it matches a drawn one at
  IoU 0.5.  Fields by the watershed, whose confidence no label of these chips has shaped, and by the
  learnt score, which has seen them (so its confidence looks better there than it is elsewhere);
* **fields drawn** where there are none: EuroSAT's patches (Sentinel-2, 34 countries, 640 m) of
  towns, industry, roads, forest, rivers and lakes, against its patches of crops and pasture, and
  photographs of wheat taken from a metre above, against the NAIP chips.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from geopandas import GeoDataFrame
from PIL import Image
from scipy.stats import rankdata

from selion import metrics, prediction, store
from selion.grid import whole
from selion.labels import Instances
from selion.pipeline import maps

MODEL = "fields-rgb-vhr"
FARMED = ("AnnualCrop", "PermanentCrop", "Pasture")
OTHERS = ("Forest", "Highway", "Industrial", "Residential", "River", "SeaLake")
PATCH = 160
"""Pixels of a window that holds a whole patch; more would be its mirror image."""
SATELLITE = 10 / 4.5
"""From the pixels of Sentinel-2 to the coarsest that the model works at."""


@dataclass(frozen=True, eq=False)
class Mapped:
    """An image, mapped."""

    frame: GeoDataFrame
    pixels: np.ndarray
    """(y, x) float64 consistency, NaN without data."""
    sure: np.ndarray
    """(y, x) float64: how likely the likelier of field and not field is."""
    field: np.ndarray
    """(y, x) bool."""
    grid: object


def mapped(
    path: Path,
    folder: Path,
    method: str,
    scale: float | None = None,
    window: int | None = None,
) -> Mapped:
    """Map an image with its consistency."""
    options = maps.MapOptions(
        predict=prediction.PredictOptions(scale=scale, window=window),
        work=folder / path.stem,
        method=method,
        consistency=folder / "consistency.tif",
        scores=folder / "scores.tif",
        threads=1,
    )
    job = maps.prepare(path, MODEL, options)
    _, frame = maps.map_image(job, folder / "fields.parquet", options, force=True)
    stored = store.open_raster(folder / "consistency.tif")
    values = stored.read(whole(stored.grid)).values[0].astype(float)
    scores = prediction.ScoreSource(store.open_raster(folder / "scores.tif"))
    land = 1 - scores.read(whole(stored.grid)).values[0].astype(float)
    pixels = np.where(values == prediction.NODATA, np.nan, values / prediction.STEPS)
    return Mapped(frame, pixels, np.maximum(land, 1 - land), land > 0.5, job.plan.grid)


def auroc(values: np.ndarray, wrong: np.ndarray) -> float:
    """Chance that a wrong one has the lower value; ties count half."""
    keep = np.isfinite(values)
    values, wrong = values[keep], wrong[keep].astype(bool)
    bad, good = int(wrong.sum()), int((~wrong).sum())
    if not bad or not good:
        return float("nan")
    return float((rankdata(-values)[wrong].sum() - bad * (bad + 1) / 2) / (bad * good))


def row(what: str, wrong: list[np.ndarray], told: dict[str, list[np.ndarray]]) -> dict[str, object]:
    """One line: how many, the share that is wrong, and the area under each curve."""
    bad = np.concatenate(wrong)
    values = {name: np.concatenate(parts) for name, parts in told.items()}
    values["both"] = values["consistency"] * values["confidence"]
    return {
        "what": what,
        "n": len(bad),
        "wrong": round(float(bad.mean()), 3),
        **{name: round(auroc(one, bad), 3) for name, one in values.items()},
    }


def unseen_chips(data: Path) -> list[Path]:
    """Return the chips that the network has not learnt from."""
    return sorted((data / "satellite" / "vhr_naip_usa" / "images").glob("*.tif"))[2::4]


def on_chips(data: Path, folder: Path) -> Iterator[dict[str, object]]:
    """Compare pixels and fields with what was drawn."""
    for method in ("watershed", "cut"):
        pixels, fields = defaultdict(list), defaultdict(list)
        bad_pixels, bad_fields = [], []
        for path in unseen_chips(data):
            found = mapped(path, folder, method)
            truth = store.open_raster(path.parents[1] / "instances" / path.name)
            drawn = truth.read(whole(truth.grid)).values[0].astype(np.int32)
            rows, columns = (  # of the working grid, in the truth
                np.minimum((np.arange(new) + 0.5) * old / new, old - 1).astype(int)
                for new, old in zip(found.field.shape, drawn.shape, strict=True)
            )
            near = drawn[np.ix_(rows, columns)]
            bad_pixels.append(((near > 0) != found.field).ravel())
            pixels["consistency"].append(found.pixels.ravel())
            pixels["confidence"].append(found.sure.ravel())
            ids = store.burn(found.frame.geometry, range(1, len(found.frame) + 1), found.grid)
            table = metrics.overlap_table(Instances(near, found.grid), Instances(ids, found.grid))
            right = metrics.object_outcomes(table)
            kept = table.prediction_ids - 1
            bad_fields.append(right == 0)
            for name in ("consistency", "confidence"):
                fields[name].append(found.frame[name].to_numpy(float)[kept])
        if method == "watershed":
            yield row("pixels of 7 chips", bad_pixels, pixels)
        yield row(f"fields of 7 chips, {method}", bad_fields, fields)


def patches(data: Path, count: int, folder: Path) -> Iterator[tuple[str, Path]]:
    """Write patches of each class as images."""
    archive = next((data / "satellite" / "pretraining").rglob("eurosat_rgb_subset.zip"))
    with zipfile.ZipFile(archive) as file:
        names = sorted(name for name in file.namelist() if name.endswith(".jpg"))
        for kind in (*FARMED, *OTHERS):
            mine = [name for name in names if f"{kind}/" in f"/{name}"]
            for name in mine[:: max(len(mine) // count, 1)][:count]:
                path = folder / f"{Path(name).stem}.png"
                Image.open(io.BytesIO(file.read(name))).convert("RGB").save(path)
                yield kind, path


def photographs(data: Path, count: int) -> list[Path]:
    """Return some photographs from close range."""
    found = sorted((data / "closerange" / "ews_wheat" / "images").glob("*.jpg"))
    return found[:: max(len(found) // count, 1)][:count]


def on_others(data: Path, folder: Path, count: int) -> Iterator[dict[str, object]]:
    """Compare fields drawn on farmed land with those drawn where there are none."""
    found: dict[str, list[Mapped]] = defaultdict(list)
    for kind, path in patches(data, count, folder):
        found[kind].append(mapped(path, folder, "cut", SATELLITE, PATCH))
    for path in photographs(data, count // 2):
        found["photographs"].append(mapped(path, folder, "cut", 1.0))
    for path in unseen_chips(data):
        found["NAIP"].append(mapped(path, folder, "cut"))
    for kind, some in found.items():
        frames = [one.frame for one in some]
        yield {
            "what": kind,
            "n": len(some),
            "fields an image": round(sum(map(len, frames)) / len(some), 2),
            "land": round(float(np.mean([one.field.mean() for one in some])), 3),
            "consistency": round(float(np.nanmean([np.nanmean(one.pixels) for one in some])), 3),
            **{
                f"{name} of fields": round(
                    float(np.concatenate([frame[name] for frame in frames]).mean()), 3
                )
                for name in ("consistency", "confidence")
                if sum(map(len, frames))
            },
        }
    for what, good, bad in (
        ("towns, water, forest", FARMED, OTHERS),
        ("towns and roads", FARMED, ("Highway", "Industrial", "Residential")),
        ("photographs", ("NAIP",), ("photographs",)),
    ):
        told, images, wrong, foreign = defaultdict(list), defaultdict(list), [], []
        for kind in (*good, *bad):
            for one in found[kind]:
                wrong.append(np.full(len(one.frame), kind in bad))
                foreign.append(np.array([kind in bad]))
                images["consistency"].append(np.array([np.nanmean(one.pixels)]))
                images["confidence"].append(np.array([one.sure.mean()]))
                for name in ("consistency", "confidence"):
                    told[name].append(one.frame[name].to_numpy(float))
        yield row(f"fields drawn on {what}", wrong, told)
        yield row(f"images of {what}", foreign, images)


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--patches", type=int, default=40, help="of each class of EuroSAT")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for one in (
            *on_chips(args.data, Path(name)),
            *on_others(args.data, Path(name), args.patches),
        ):
            rows.append(one)
            print("  ".join(f"{key} {value}" for key, value in one.items()), flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
