"""Train ``crops-rgb``: photographs of crops from close range -> soil and crop, on wheat with
hand-made masks and on simulated photographs.

    python runs/crops_rgb.py ../shared/data/closerange/ews_wheat checkpoints/crops

A killed run goes on where it was (``--resume``).  ``--pseudo FOLDER`` adds photographs with
pseudo-labels (of ``selion label``), which is how the second stage gets its own.  ``--by date``
keeps whole trials out of training instead of plots: the harder question, for docs/weights.md only.
"""

from __future__ import annotations

import argparse
import re
from dataclasses import replace
from pathlib import Path

from selion.data import load_dataset
from selion.labelling.selection import keep_pseudo
from selion.sample import Sample
from selion.simulation.landscape import simulate_photo
from selion.training import SampleOrigin, plan_samples, read_recipe, train_plan

FIRST_SEED = 90_000
"""Seeds of the training photographs; tests and benchmarks stay below."""
SHAPES = ((480, 640), (400, 400), (640, 480), (300, 500))
WHEAT = (
    "Contains the Eschikon Wheat Segmentation dataset, Zenkl et al. 2022, "
    "doi:10.3389/fpls.2021.774068, CC BY-SA 4.0"
)
CHILLI = (
    "; photographs without labels of the Chilli Crop-Weed Detection Dataset, Bhaktavatsala "
    "Shivaram et al. 2025, CC BY 4.0"
)
"""Attribution; the second where ``--pseudo`` is its photographs."""


def simulated(count: int) -> list[Sample]:
    """Simulate photographs, each with its true mask."""
    photos = (simulate_photo(FIRST_SEED + k, SHAPES[k % len(SHAPES)]) for k in range(count))
    return [
        Sample(f"simulated_{k}", photo.image, photo.labels, None, "simulated", "train")
        for k, photo in enumerate(photos)
    ]


def wheat(folder: Path, by: str) -> tuple[list[Sample], list[Sample]]:
    """Open the wheat photographs: training and validation, parted by plot or by trial (year of
    sowing).
    """
    whole = load_dataset("ews", folder)
    if by == "plot":
        return list(whole.select("train")) + list(whole.select("test")), list(whole.select("val"))
    trials = {sample.key: re.search(r"FPWW0(\d\d)", sample.key)[1] for sample in whole}
    late = [sample for sample in whole if trials[sample.key] != "22"]
    return [sample for sample in whole if trials[sample.key] == "22"], late


def main() -> None:
    """Train, export and say how good it is."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("wheat", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--simulated", type=int, default=160)
    parser.add_argument(
        "--times", type=int, default=2, help="how often a wheat photograph stands in the list"
    )
    parser.add_argument(
        "--pseudo", type=Path, help="folder of 'selion label pseudo' or 'selion label depth'"
    )
    parser.add_argument("--decisions", type=Path, help="log of its screening")
    parser.add_argument("--lr", type=float)
    parser.add_argument("--start-from", default="")
    parser.add_argument("--by", choices=("plot", "date"), default="plot")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--resume", action="store_true")
    args = parser.parse_args()
    recipe = read_recipe("crops-rgb")
    if args.epochs:
        recipe = replace(recipe, schedule=replace(recipe.schedule, epochs=args.epochs))
    if args.lr:
        recipe = replace(recipe, schedule=replace(recipe.schedule, lr=args.lr))
    if args.start_from:
        recipe = replace(recipe, model=replace(recipe.model, start_from=args.start_from))
    known, validation = wheat(args.wheat, args.by)
    samples = known * args.times + simulated(args.simulated)
    if args.pseudo:
        samples += [entry.open() for entry in keep_pseudo(args.pseudo, args.decisions).entries]
    source = (
        f"EWS wheat ({len(known)} photographs), simulated "
        f"photographs{', photographs that a model labelled' * bool(args.pseudo)}"
    )
    plan = plan_samples(
        recipe,
        samples,
        validation,
        SampleOrigin(source, "CC-BY-SA-4.0", WHEAT + CHILLI * bool(args.pseudo)),
    )
    print("\n".join(plan.notes), flush=True)
    result = train_plan(
        plan,
        args.out,
        resume=args.resume,
        on_step=lambda stage, done, total, said: (
            done % 20 == 0 and print(stage, done, total, said, flush=True)
        ),
    )
    print(result.trained.scores.to_dict() if result.trained.scores else "no validation split")


if __name__ == "__main__":
    main()
