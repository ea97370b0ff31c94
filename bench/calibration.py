"""Whether a confidence of 0.8 is right eight times in ten: tables of ``selion map`` beside truth.

    python bench/calibration.py ../shared/data [--scenes 3] [--model NAME] [--json rows.json]

A field is right if it matches a true one, one to one, at an intersection over union above 0.5.
Tables are of the NAIP chips whose labels the network of ``fields-rgb-vhr`` has not learnt from
(every fourth from the third; its learnt score has), and of simulated countrysides of seeds that no
training has drawn, in each of their styles.  Printed are the expected calibration error (ECE, ten
bins of equal width), the mean confidence and the share that was right, the reliability curve, and
the ECE after a correction of two numbers that was fitted on every other image
(:func:`selion.metrics.fit_over_images`); and object F1 and pixel IoU, pooled.  ``--model`` maps the
simulated places with another model than the one that is taken by itself.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from selion import metrics, store
from selion.grid import whole
from selion.metrics.calibration import fit_over_images, reliability
from selion.pipeline import maps
from selion.simulation.landscape import simulate
from selion.simulation.landscape.styles import STYLES

SEED = 770_000
"""Far from the seeds of all training."""
EDGE = 256


@dataclass(frozen=True, eq=False)
class Judged:
    """The fields of one image."""

    sure: np.ndarray
    """(n,) confidence."""
    right: np.ndarray
    """(n,) 1 or 0; NaN where the truth is not known."""
    objects: metrics.ObjectScores
    pixels: np.ndarray
    """(2,) pixels that are field in both, and in either."""


def judged(path: Path, drawn: np.ndarray, folder: Path, method: str, model: str | None) -> Judged:
    """Map an image and compare its table with the ids (y, x) that are true."""
    options = maps.MapOptions(method=method, threads=1, work=folder / path.stem)
    job = maps.prepare(path, model, options)
    _, frame = maps.map_image(job, folder / "fields.parquet", options, force=True)
    grid = store.open_raster(path).grid
    ids = store.burn(frame.geometry.to_crs(grid.crs), range(1, len(frame) + 1), grid)
    table = metrics.overlap_table(drawn, ids)
    kept = table.prediction_ids - 1
    sure, right = frame["confidence"].to_numpy(float)[kept], metrics.object_outcomes(table)
    known = drawn >= 0
    said, true = (ids > 0) & known, (drawn > 0) & known
    pixels = np.array([(said & true).sum(), (said | true).sum()])
    return Judged(sure, right, metrics.object_scores(table, 0.5), pixels)


def chips(data: Path) -> Iterator[tuple[Path, np.ndarray]]:
    """Yield the chips that the network has not seen."""
    for path in sorted((data / "satellite" / "vhr_naip_usa" / "images").glob("*.tif"))[2::4]:
        truth = store.open_raster(path.parents[1] / "instances" / path.name)
        yield path, truth.read(whole(truth.grid)).values[0].astype(np.int32)


def scenes(style: str, count: int, folder: Path) -> Iterator[tuple[Path, np.ndarray]]:
    """Yield simulated places as two dates of Sentinel-2."""
    for number in range(count):
        scene = simulate(SEED + number, (EDGE, EDGE), 10.0, style)
        path = folder / f"{style}-{number}.tif"
        with store.create_cog(path, scene.image.grid, scene.image.bands, np.uint16) as sink:
            sink.write(whole(scene.image.grid), scene.image.values)
        yield path, scene.instances.ids


def row(what: str, found: list[Judged]) -> dict[str, object]:
    """One line."""
    sure, right = (
        np.concatenate([getattr(one, name) for one in found]) for name in ("sure", "right")
    )
    curve = reliability(sure, right)
    fitted = fit_over_images([one.sure for one in found], [one.right for one in found])
    return {
        "what": what,
        "n": curve.n,
        "confidence": round(float(np.nanmean(sure)), 3),
        "right": round(float(np.nanmean(right)), 3),
        "ece": round(curve.ece, 3),
        "f1": round(sum((one.objects for one in found[1:]), found[0].objects).f1, 3),
        "iou": round(float(np.divide(*sum(one.pixels for one in found))), 3),
        "corrected": None if fitted is None else round(fitted.ece_corrected, 3),
        "correction": None if fitted is None else fitted.correction.to_dict(),
        "curve": " ".join(
            f"{one.confidence:.2f}:{one.right:.2f}({one.n:.0f})" for one in curve.table.itertuples()
        ),
    }


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--scenes", type=int, default=3, help="of each style")
    parser.add_argument("--model", help="name or folder, for the simulated places")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows: list[dict[str, object]] = []
    everything: dict[str, list[Judged]] = {"cut": [], "watershed": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for what in ("NAIP, 7 chips", *STYLES):
            places = (
                chips(args.data) if what.startswith("NAIP") else scenes(what, args.scenes, folder)
            )
            found: dict[str, list[Judged]] = {"cut": [], "watershed": []}
            for path, drawn in places:
                for method, mine in found.items():
                    model = None if what.startswith("NAIP") else args.model
                    mine.append(judged(path, drawn, folder, method, model))
            for method, mine in found.items():
                rows.append(row(f"{what}, {method}", mine))
                print(json.dumps(rows[-1]), flush=True)
                if not what.startswith("NAIP"):
                    everything[method] += mine
        for method, mine in everything.items():
            rows.append(row(f"all simulated, {method}", mine))
            print(json.dumps(rows[-1]), flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
