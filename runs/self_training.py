"""What self-training gives in a new region: a source model, a control that learns as long from
labelled chips alone, both stages with and without chips.

    python runs/self_training.py SOURCE ../shared/data checkpoints/selftrain --seeds 1 2

SOURCE is a folder of a model that has never seen ``siteB`` (``rgb1`` of docs/weights.md, exported).
All is done by the verbs, and gone on with after a break; scores are those of ``bench/weights.py``:
the Estonian tile, 23 km from the unlabelled scenes, and the seven NAIP chips that nothing here
learns from.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "bench"))
import weights as bench
from selion.pipeline import maps

STEPS = (
    "schedule.epochs=4",
    "crops.per_epoch=320",
    "schedule.batch=8",
    "schedule.lr=3e-4",
    "validate.every=0",
)
"""160 steps of 8 windows, from the source model's weights."""


def selion(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "selion.cli.main", *map(str, words)], check=True)


def split_chips(chips: Path, folder: Path) -> Path:
    """Lay the NAIP chips out as a dataset whose validation split is that of
    ``bench/weights.py``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("images", "instances"):
        if not (folder / name).exists():
            (folder / name).symlink_to((chips / name).resolve())
    names = sorted(path.stem for path in (chips / "images").glob("*.tif"))
    rows = [f"{name},{'val' if number % 4 == 2 else 'train'}" for number, name in enumerate(names)]
    (folder / "splits.csv").write_text("\n".join(["key,split", *rows]) + "\n", "utf-8")
    return folder


def measure(model: Path, cases: list[bench.Case]) -> dict[str, float]:
    triples = []
    with tempfile.TemporaryDirectory() as folder:
        for case in cases:
            options = maps.MapOptions(predict=replace(maps.MapOptions().predict, bands=case.bands))
            (truth, ignore), (prediction, _) = (
                bench.truth_of(case),
                bench.prediction_of(case, case.image, str(model), options, Path(folder)),
            )
            triples.append((truth, prediction, ignore))
    return bench.tally(triples)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("source", "data", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    args = parser.parse_args()
    satellite, pseudo, models = (
        args.data / "satellite",
        args.out / "pseudo",
        {"source": args.source},
    )
    chips = split_chips(satellite / "vhr_naip_usa", args.out / "chips")
    selion(
        "label",
        "pseudo",
        satellite / "s2_unlabelled" / "estonia_t35vme_siteB",
        "-m",
        args.source,
        "--dates",
        "--bands",
        "1,2,3",
        "-o",
        pseudo,
    )
    for seed in args.seeds:
        changes = [
            word
            for change in (*STEPS, f"model.start_from={args.source}", f"seed={seed}")
            for word in ("--set", change)
        ]
        control = args.out / f"control-{seed}"
        if not (control / "report.html").is_file():
            selion(
                "train",
                "fields-rgb-vhr",
                "--set",
                f"data.dataset={chips}",
                *changes,
                "-o",
                control,
                "--force",
            )
        models[control.name] = control / "model"
        for name, given in (("mixed", ("--labelled", chips, "--share", 0.4)), ("alone", ())):
            run = args.out / f"{name}-{seed}"
            selion(
                "label",
                "selftrain",
                "fields-rgb-vhr",
                "--pseudo",
                pseudo,
                *given,
                "--gsd",
                4,
                6,
                *changes,
                "-o",
                run,
            )
            models |= {
                f"{run.name}, stage {stage}": run / f"stage-{stage}" / "model" for stage in (1, 2)
            }
    places = {"Estonia": bench.estonia(args.data), "NAIP": bench.naip(args.data)}
    scores = {
        name: {place: measure(model, cases) for place, cases in places.items()}
        for name, model in models.items()
    }
    (args.out / "scores.json").write_text(json.dumps(scores, indent=1) + "\n", "utf-8")
    for name, row in scores.items():
        print(
            f"{name:<20}",
            *(
                f"{place} {values['object F1']:.3f} / {values['pixel IoU']:.3f}"
                for place, values in row.items()
            ),
        )


if __name__ == "__main__":
    main()
