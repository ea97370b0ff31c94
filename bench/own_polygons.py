"""What fine-tuning on few own chips gives, beside the model it starts from.

    python bench/own_polygons.py --own 3 --folds 2 --epochs 40 --json rows.json

The chips are the seven of the American ones (1024 px of 1 m, outlined completely) that
`fields-rgb-vhr` was not trained on.  A fold draws own chips, the packaged recipe `own-polygons` is
trained on their windows, strips held out as for a user, and the chips that are
left say object F1: of the start, of what was trained alone, of three quarters of the start, and of
what `model.keep_start = "auto"` writes.  Everything maps as `selion map` does by itself.  Time is
processor time.  Chips of the test are never held out for the choice.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
CHIPS = ROOT.parent / "shared" / "data" / "satellite" / "vhr_naip_usa"
START = "fields-rgb-vhr"
KEPT: tuple[float | Literal["auto"], ...] = ("auto", 0.75, 0.0)
"""Shares of the start's weights; the first is the recipe's own."""


@dataclass(frozen=True)
class Counts:
    """Objects of test chips, and their pixels: true positives, false positives, misses."""

    rows: np.ndarray

    @property
    def f1(self) -> float:
        """Object F1 over all chips."""
        tp, fp, fn = self.rows[:, :3].sum(0)
        return float(2 * tp / max(2 * tp + fp + fn, 1))

    @property
    def iou(self) -> float:
        """Pixel IoU of fields over all chips."""
        tp, fp, fn = self.rows[:, 3:].sum(0)
        return float(tp / max(tp + fp + fn, 1))


def scored(model: str | Path, which: list[int]) -> Counts:
    """Score a model on some of the seven chips as it maps by itself."""
    from selion.evaluation.folder import read_folder
    from selion.models import load_model
    from selion.training.recipe import Validate
    from selion.training.scoring import learnt_score, score_ways

    loaded, spec = load_model(model), Validate(method="watershed")
    samples = read_folder(CHIPS).samples[2::4]
    chosen = [samples[k] for k in which]
    return Counts(score_ways(loaded, chosen, spec, [learnt_score(loaded, spec)])[0].counts)


def trained(own: list[int], epochs: int, folder: Path, seed: int) -> tuple[dict[str, Path], float]:
    """Train once; what each share of the start writes, and the minutes of training."""
    from selion import training
    from selion.data.burning import Burning
    from selion.data.polygons import Chips, Labelled, load_polygons
    from selion.data.strips import Strips
    from selion.training import loop, run
    from selion.training.beside import settle

    images = sorted((CHIPS / "images").glob("*.tif"))[2::4]
    labelled = Labelled(CHIPS / "fields.parquet", burning=Burning(width=1), complete=True)
    recipe = training.read_recipe(
        "own-polygons",
        [f"schedule.epochs={epochs}", f"seed={seed}", "hardware.workers=0", "hardware.threads=1"],
    )
    made = load_polygons(
        [images[k] for k in own],
        labelled,
        Chips(recipe.window, land=Strips(recipe.data.validation_share)),
    )
    plan = run.plan_samples(recipe, made.select("train"), made.select("val"))
    network, _ = run.make_network(recipe)
    began = time.process_time()
    found = loop.fit(network, plan.samples, recipe, plan.card, folder, validation=plan.validation)
    minutes = (time.process_time() - began) / 60
    written = {}
    for share in KEPT:
        model = replace(recipe.model, keep_start=share)
        settled = settle(replace(plan, recipe=replace(recipe, model=model)), network, found)
        written[str(share)] = folder / f"model-{share}"
        run.write_model(settled, network, written[str(share)])
        print(f"  {share}: {settled.notes[0]}", flush=True)
    return written, minutes


def main() -> None:
    """Print one row per fold, and one over all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--own", type=int, default=1, help="Own chips in a fold.")
    parser.add_argument("--folds", type=int, nargs="+", default=[0], help="Which folds, from 0.")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if not 1 <= args.own <= 5 or min(args.folds) < 0 or max(args.folds) >= 7 or args.epochs < 1:
        sys.exit("Wanted are 1 to 5 own chips, folds from 0 to 6 and an epoch or more.")
    rows: list[dict[str, Any]] = []
    pooled: dict[str, list[np.ndarray]] = {}
    for fold in args.folds:
        own = sorted({(fold + 2 * k) % 7 for k in range(args.own)})
        test = [k for k in range(7) if k not in own]
        with TemporaryDirectory() as folder:
            models, minutes = trained(own, args.epochs, Path(folder), fold)
            found = {"start": scored(START, test)} | {
                name: scored(path, test) for name, path in models.items()
            }
        rows.append(
            {"own": own, "epochs": args.epochs, "minutes": round(minutes, 2)}
            | {name: [round(one.f1, 3), round(one.iou, 3)] for name, one in found.items()}
        )
        print(json.dumps(rows[-1]), flush=True)
        for name, one in found.items():
            pooled.setdefault(name, []).append(one.rows)
    over = {name: Counts(np.concatenate(all_of)) for name, all_of in pooled.items()}
    print("all folds:", {name: (round(c.f1, 3), round(c.iou, 3)) for name, c in over.items()})
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
