"""Score fields' models: five folds by place of labelled aerial chips, and a tile of Sentinel-2 that
no network and no score has seen.

    python bench/weights.py ../shared/data --folds checkpoints/cut/table.json
    python bench/weights.py ../shared/data --networks fold{0,1,2,3,4}.safetensors \\
        --work checkpoints/cut --pictures checkpoints/pictures -- --painted 1 --simulated 0.1
    python bench/weights.py ../shared/data --models fields-rgb-vhr checkpoints/base --estonia

The model that ships has learnt from all chips, so on them only folds are honest: networks that have
not seen the fold, and a score that has not either (``runs/cut_score.py``, which ``--networks``
runs, with what stands after ``--``, and ``--folds`` reads).  Printed are object F1 (mean over folds
and its 95 % interval, pooled beside), precision, recall and pixel IoU, each beside the watershed, a
watershed of image gradients and what an oracle could choose from the hierarchies of both.

Each look at the Estonian tile (``--estonia``) is written down in docs/weights.md: what is looked at
often is chosen on.  Its fields are those of the table that `selion map` writes, burnt on the grid
of the truth.  Objects are matched one to one at IoU 0.5 and pooled over images.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from selion import metrics as score
from selion import store
from selion.classes import IGNORE
from selion.evaluation import deployment_scores
from selion.evaluation.folder import read_folder
from selion.grid import whole
from selion.models import load_model
from selion.pipeline import maps
from selion.pipeline.demo import TWO
from selion.segmenter import InputSpec

PACKAGED = ("fields-rgb-vhr", "fields-s2-2season")
RUNS = Path(__file__).resolve().parents[1] / "runs"
Scores = dict[str, float]


@dataclass(frozen=True)
class Case:
    """One image with its truth."""

    name: str
    image: Path
    truth: Path
    ignore: Path
    bands: tuple[int, ...] | None = None


def fold_tables(args: argparse.Namespace) -> dict[str, dict[str, dict]]:
    """Kind of imagery -> method -> scores, of places that have not been seen; empty if not asked
    for.
    """
    table = args.folds
    if args.networks:
        satellite = args.data / "satellite"
        command = [sys.executable, str(RUNS / "cut_score.py"), str(args.work)]
        command += ["--networks", *args.networks, "--chips", str(satellite / "vhr_naip_usa")]
        command += ["--looks", str(satellite / "s2_unlabelled")]
        command += ["--pictures", str(args.pictures)] if args.pictures else []
        command += args.more
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        table = args.work / "table.json"
    if table is None:
        return {}
    rows: dict[str, dict[str, dict]] = json.loads(table.read_text())
    rows.pop("reliability", None)
    return rows


def estonia(data: Path) -> list[Case]:
    """One Sentinel-2 place on three dates, 8-bit true colour."""
    folder = data / "satellite" / "s2_fields" / "estonia_t35vme_west"
    return [
        Case(path.stem, path, folder / "instances.tif", folder / "mask3.tif", (1, 2, 3))
        for path in sorted(folder.glob("s2_*.tif"))
    ]


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


def truth_of(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Return (y, x) ids and where they are not known."""
    source, mask = store.open_raster(case.truth), store.open_raster(case.ignore)
    ids = source.read(whole(source.grid)).values[0].astype(np.int32)
    return ids, mask.read(whole(mask.grid)).values[0] == IGNORE


def prediction_of(case: Case, model: str, options: maps.MapOptions, folder: Path) -> np.ndarray:
    """Map an image and burn its fields onto the truth's grid."""
    grid = store.open_raster(case.truth).grid
    job = maps.prepare(case.image, model, options)
    _, frame = maps.map_image(job, folder / f"{case.name}.parquet", options, force=True)
    return store.burn(frame.geometry.to_numpy(), range(1, len(frame) + 1), grid)


def tally(pairs: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> Scores:
    """Pool (truth, prediction, ignore) triples."""
    objects, pixels = None, None
    for truth, prediction, ignore in pairs:
        one = score.object_scores(score.overlap_table(truth, prediction, ignore), 0.5)
        two = score.confusion(
            (truth > 0).astype(np.uint8), (prediction > 0).astype(np.uint8), TWO, mask=~ignore
        )
        objects, pixels = (one, two) if objects is None else (objects + one, pixels + two)
    return {
        "f1": round(objects.f1, 3),
        "precision": round(objects.precision, 3),
        "recall": round(objects.recall, 3),
        "iou": round(float(score.pixel_scores(pixels).iou[1]), 3),
    }


def baseline(case: Case) -> np.ndarray:
    """Gradient watershed with the parameters that suit it best at 10 m."""
    source = store.open_raster(case.image)
    image = source.read(whole(source.grid)).values[:3].astype(np.float32)
    return score.gradient_watershed(image, sigma=0.7, min_area=20)


def takes(inputs: InputSpec, dates: int) -> bool:
    """Whether a model can be shown one date of colour, or two of four bands."""
    return bool(inputs.dates) or len(inputs.bands) == (3 if dates == 1 else 8)


def look(args: argparse.Namespace, scratch: Path) -> dict[str, Scores]:
    """Map the Estonian tile with every model."""
    one = estonia(args.data)
    rows: dict[str, Scores] = {}
    for kind, dates, cases in (
        ("Estonia, true colour, 3 dates", 1, one),
        ("Estonia, two dates", 2, two_dates(one, scratch)),
    ):
        known = [truth_of(case) for case in cases]
        for model in args.models:
            if not takes(load_model(model).inputs, dates):
                continue
            for method in args.methods:
                found = []
                for case, (truth, ignore) in zip(cases, known, strict=True):
                    predict = replace(maps.MapOptions().predict, bands=case.bands)
                    options = maps.MapOptions(predict=predict, method=method)
                    found.append((truth, prediction_of(case, model, options, scratch), ignore))
                rows[f"{kind}: {Path(model).name}, {method}"] = tally(found)
        plain = [(t, baseline(c), i) for c, (t, i) in zip(cases, known, strict=True)]
        rows[f"{kind}: gradient watershed"] = tally(plain)
    return rows


def deployment(args: argparse.Namespace) -> dict[str, Scores]:
    """PRUE's sensitivities on every fourth aerial chip: how answers change, not how good they are,
    so chips that a model was trained on serve.
    """
    chips = read_folder(args.data / "satellite" / "vhr_naip_usa").samples[2::4]
    rows = {}
    for name in args.models:
        model = load_model(name)
        if not takes(model.inputs, 1):
            continue
        found = deployment_scores(model, chips)
        rows[Path(name).name] = {"consistency": round(float(found["consistency"]), 3)} | {
            family: round(float(found[family]["sensitivity"]), 3)
            for family in ("order", "radiometry", "scale")
            if isinstance(found[family], dict)
        }
    return rows


def show_folds(rows: dict[str, dict[str, dict]]) -> None:
    """Print the folds: mean, interval, pooled scores."""
    print(
        f"{'five folds by place':<52} {'mean F1':>8} {'95 %':>16} {'pooled':>7} {'P':>6} {'R':>6}"
    )
    for kind, methods in rows.items():
        for method, row in methods.items():
            mean, (low, high) = float(np.mean(row["folds"])), row["interval"]
            print(
                f"{kind + ': ' + method:<52} {mean:>8.3f} {low:>7.3f} to {high:.3f} "
                f"{row['f1']:>7.3f} {row['precision']:>6.3f} {row['recall']:>6.3f}"
                + (f" IoU {row['iou']:.3f}" if row["iou"] else "")
            )


def show(title: str, rows: dict[str, Scores]) -> None:
    """Print scores, a line for each."""
    print(title)
    for name, row in rows.items():
        print(f"  {name:<70}", *(f"{metric} {value:.3f}" for metric, value in row.items()))


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--models", nargs="+", default=list(PACKAGED), help="names or folders")
    parser.add_argument("--methods", nargs="+", default=["auto", "watershed"])
    parser.add_argument("--folds", type=Path, help="table.json of runs/cut_score.py")
    parser.add_argument("--networks", nargs="+", help="one for each fold, in their order")
    parser.add_argument("--work", type=Path, default=Path("checkpoints/cut"))
    parser.add_argument("--pictures", type=Path, help="twelve pictures, with --networks")
    parser.add_argument("--estonia", action="store_true", help="look at the unseen tile: log it")
    parser.add_argument("--deployment", action="store_true")
    parser.add_argument("--json", type=Path)
    words, more = sys.argv[1:], []
    if "--" in words:
        words, more = words[: words.index("--")], words[words.index("--") + 1 :]
    args = parser.parse_args(words)
    args.more = more
    if more and not args.networks:
        parser.error("what stands after -- is for runs/cut_score.py: give --networks")
    if args.pictures and not args.networks:
        parser.error("--pictures was given without --networks: pictures are drawn of the folds.")
    if not (args.folds or args.networks or args.estonia or args.deployment):
        parser.error("nothing was asked for: give --folds, --networks, --estonia or --deployment.")
    tables, looks, tests = fold_tables(args), {}, {}
    show_folds(tables)
    if args.estonia:
        with tempfile.TemporaryDirectory() as scratch:
            looks = look(args, Path(scratch))
        show("A tile that was not seen (write this look down in docs/weights.md)", looks)
    if args.deployment:
        tests = deployment(args)
        show("Deployment, field IoU on seven aerial chips", tests)
    if args.json:
        found = {"folds": tables, "estonia": looks, "deployment": tests}
        args.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
