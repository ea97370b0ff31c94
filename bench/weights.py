"""Score the shipped weights on the real, labelled imagery beside the checkout, the gradient
watershed beside each.

    python bench/weights.py ../shared/data [--flips] [--json scores.json] [--pictures folder]

Fields are parted as `selion map` does by default and by the watershed.  The learnt score of the
default has seen all aerial chips, also the seven; what it gives on chips that it has not seen,
``runs/cut_score.py`` prints, fold by fold.  No score has seen the Estonian tile.

Objects are matched one to one at IoU 0.5 and pooled over a dataset's images; the ids are burnt from
the table of fields that `selion map` writes, on the grid of the truth.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from selion import metrics as score
from selion import store
from selion.classes import IGNORE
from selion.grid import whole
from selion.pipeline import maps
from selion.pipeline.demo import TWO
from selion.reports import picture


@dataclass(frozen=True)
class Case:
    """One image with its truth."""

    name: str
    image: Path
    truth: Path
    ignore: Path | None = None
    bands: tuple[int, ...] | None = None


def naip(data: Path) -> list[Case]:
    """The seven validation chips: every fourth by name, from the third."""
    folder = data / "satellite" / "vhr_naip_usa"
    images = sorted((folder / "images").glob("*.tif"))[2::4]
    return [Case(path.stem, path, folder / "instances" / path.name) for path in images]


def estonia(data: Path) -> list[Case]:
    """One Sentinel-2 place on three dates, 8-bit true colour."""
    folder = data / "satellite" / "s2_fields" / "estonia_t35vme_west"
    return [
        Case(path.stem, path, folder / "instances.tif", folder / "mask3.tif", (1, 2, 3))
        for path in sorted(folder.glob("s2_*.tif"))
    ]


def truth_of(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Return (y, x) ids and where they are not known."""
    source = store.open_raster(case.truth)
    ids = source.read(whole(source.grid)).values[0].astype(np.int32)
    if case.ignore is None:
        return ids, np.zeros(ids.shape, bool)
    mask = store.open_raster(case.ignore)
    return ids, mask.read(whole(mask.grid)).values[0] == IGNORE


def prediction_of(
    case: Case, image: Path, model: str, options: maps.MapOptions, folder: Path
) -> tuple[np.ndarray, object]:
    """Map an image and burn its fields onto the truth's grid."""
    grid = store.open_raster(case.truth).grid
    job = maps.prepare(image, model, options)
    _, frame = maps.map_image(job, folder / f"{case.name}.parquet", options, force=True)
    return store.burn(frame.geometry.to_numpy(), range(1, len(frame) + 1), grid), frame


def tally(pairs: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> dict[str, float]:
    """Pool (truth, prediction, ignore) triples."""
    objects, pixels = None, None
    for truth, prediction, ignore in pairs:
        one = score.object_scores(score.overlap_table(truth, prediction, ignore), 0.5)
        two = score.confusion(
            (truth > 0).astype(np.uint8), (prediction > 0).astype(np.uint8), TWO, mask=~ignore
        )
        objects, pixels = (one, two) if objects is None else (objects + one, pixels + two)
    return {
        "object F1": round(objects.f1, 3),
        "precision": round(objects.precision, 3),
        "recall": round(objects.recall, 3),
        "pixel IoU": round(float(score.pixel_scores(pixels).iou[1]), 3),
    }


def baseline(case: Case) -> np.ndarray:
    """Gradient watershed on the truth's grid (2 m for the aerial chips: averaged down, ids
    repeated); at 10 m with the parameters that suit it best there.
    """
    source = store.open_raster(case.image)
    image = source.read(whole(source.grid)).values[:3].astype(np.float32)
    step = 2 if image.shape[1] >= 1000 else 1
    small = image.reshape(3, image.shape[1] // step, step, image.shape[2] // step, step).mean(
        (2, 4)
    )
    settings = {} if step > 1 else {"sigma": 0.7, "min_area": 20}
    return score.gradient_watershed(small, **settings).repeat(step, 0).repeat(step, 1)


def two_dates(cases: list[Case], folder: Path) -> list[Case]:
    """Make eight-band pairs of the first and the last Estonian date; the 8-bit true colour is
    brought back to reflectance by S2's 1/10 display rule.
    """
    first, last = (store.open_raster(case.image) for case in (cases[0], cases[-1]))
    parts = [source.read(whole(source.grid)).values.astype(np.float32) for source in (first, last)]
    stacked = np.concatenate(
        [np.concatenate([part[:3] * 14.0, part[3:4]]) for part in parts]
    ).astype(np.uint16)
    bands = tuple(f"window_{w}:{b}" for w in "ab" for b in ("red", "green", "blue", "nir"))
    path = folder / "estonia_pair.tif"
    with store.create_cog(path, first.grid, bands, np.uint16, force=True) as sink:
        sink.write(whole(first.grid), stacked)
    return [replace(cases[0], name="estonia_pair", image=path, bands=None)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--flips", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--aerial", default="fields-rgb-vhr", help="model name or folder")
    parser.add_argument("--season", default="fields-s2-2season", help="model name or folder")
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--methods", nargs="+", default=["auto", "watershed"])
    args = parser.parse_args()
    rows: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        runs = {
            "NAIP, 7 unseen chips": (args.aerial, naip(args.data)),
            "Estonia, Sentinel-2 RGB, 3 dates": (args.aerial, estonia(args.data)),
        }
        runs["Estonia, Sentinel-2, two dates"] = (
            args.season,
            two_dates(estonia(args.data), folder),
        )
        for name, (model, cases) in runs.items():
            found: dict[str, list] = {method: [] for method in args.methods}
            plain = []
            for case in cases:
                truth, ignore = truth_of(case)
                options = maps.MapOptions(
                    predict=replace(maps.MapOptions().predict, bands=case.bands, flips=args.flips)
                )
                for method in reversed(args.methods):
                    prediction, frame = prediction_of(
                        case, case.image, model, replace(options, method=method), folder
                    )
                    found[method].append((truth, prediction, ignore))
                plain.append((truth, baseline(case), ignore))
                if args.pictures:
                    args.pictures.mkdir(parents=True, exist_ok=True)
                    source = store.open_raster(case.image)
                    image, step = picture.thumbnail(source)
                    grid = source.grid
                    if max(image.shape[:2]) <= 700:
                        image, grid = picture.enlarge(image, 2), picture.zoomed(grid, 2)
                    picture.save_png(
                        picture.draw_outlines(image, frame, grid, step),
                        args.pictures / f"{case.name}.{Path(model).name}.png",
                    )
            for method, triples in found.items():
                rows[f"{name}: {Path(model).name}, {method}"] = tally(triples)
            rows[f"{name}: gradient watershed"] = tally(plain)
    width = max(map(len, rows))
    metrics = list(next(iter(rows.values())))
    print(" " * width, *(f"{m:>10}" for m in metrics))
    for name, row in rows.items():
        print(f"{name:<{width}}", *(f"{row[m]:>10.3f}" for m in metrics))
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
