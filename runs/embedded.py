"""Train the embedding-as-mask family (LISA, LISAt, GSVA) on the data of an ordinary recipe: one of
MAgSeg's baselines.

    python runs/embedded.py crops --set data.dataset=FOLDER --vlm llava-hf/llava-1.5-7b-hf \
        --sam facebook/sam-vit-huge --reject -o gsva/
    selion map image.tif --model gsva/ -o fields.parquet

The recipe gives data, classes, windows and augmentation; its network, loss and schedule are not
looked at.  What learns is what learns in LISA: an adapter of rank 8, the word embeddings and the
head, the projection, the mask decoder.  ``--all`` lets everything learn, for tiny models.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from selion import training
from selion.models.card import ModelCard
from selion.models.embedded.convert import build_embedded, save_embedded
from selion.models.embedded.network import fit
from selion.training.crops import collate, make_view
from selion.training.draws import Draw, order
from selion.training.language_run import TIMES
from selion.training.mixture import recipe_for
from selion.training.recipe import Recipe
from selion.training.run import TrainingPlan

Pair = tuple[torch.Tensor, torch.Tensor]


def batches(plan: TrainingPlan, size: int) -> Iterator[Pair]:
    """Give augmented windows without end: (view, 3, y, x) from 0 to 1, (view, y, x) class ids."""
    recipe, samples, epoch = plan.recipe, plan.samples, 0
    while True:
        places = np.resize(order(recipe.seed, epoch, len(samples)), -(-len(samples) // size) * size)
        for k in range(0, len(places), size):
            views = [
                make_view(
                    samples[int(p)],
                    recipe_for(samples, recipe, int(p)),
                    Draw(recipe.seed, epoch, k + j),
                )
                for j, p in enumerate(places[k : k + size])
            ]
            batch = collate(views)
            yield torch.from_numpy(batch.pixels).clamp(0, 1), torch.from_numpy(batch.labels)
        epoch += 1


def main() -> None:
    """Train and save."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe")
    parser.add_argument("--set", dest="changes", action="append", default=[])
    parser.add_argument("--vlm", required=True, help="a vision-language model: folder or id")
    parser.add_argument("--sam", required=True, help="a Segment Anything: folder or id")
    parser.add_argument("--reject", action="store_true", help="GSVA's [REJ]")
    parser.add_argument("--lora", type=int, default=8)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--steps", type=int, default=5000, help="LISA: 10 epochs of 500")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("-o", "--out", type=Path, required=True)
    args = parser.parse_args()
    recipe = training.read_recipe(args.recipe, args.changes)
    if not isinstance(recipe, Recipe):
        parser.error(
            f"{args.recipe} is a recipe of a language model that writes masks; give an ordinary "
            "one, such as crops or fields-rgb-vhr"
        )
    plan = training.plan_training(recipe)
    torch.manual_seed(recipe.seed)
    network = build_embedded(
        args.vlm, args.sam, recipe.classes, reject=args.reject, lora=0 if args.all else args.lora
    )
    if not args.all:
        network.freeze()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    clock, processor = time.perf_counter(), time.process_time()
    losses = fit(
        network.to(device),
        batches(plan, args.batch),
        steps=args.steps,
        lr=args.lr,
        warmup=min(100, args.steps // 10 + 1),
    )
    print(
        f"loss {np.mean(losses[:10]):.3f} at first, {np.mean(losses[-10:]):.3f} at last, "
        f"{args.steps} steps"
    )
    card = ModelCard(
        args.out.name,
        recipe.input.spec(),
        recipe.classes,
        training=f"{plan.card.training}; {args.vlm}, {args.sam}",
        licence=plan.card.licence,
    )
    took = {
        "samples": args.steps * args.batch,
        "seconds": time.perf_counter() - clock,
        "processor_seconds": time.process_time() - processor,
    }
    save_embedded(network, card, args.out)
    (args.out / TIMES).write_text(json.dumps({"supervised": took}) + "\n", "utf-8")
    print(args.out)


if __name__ == "__main__":
    main()
