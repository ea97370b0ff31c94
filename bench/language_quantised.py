"""A base in 4 bits beside the same base as it is: its memory, and the loss of what is learnt on it.

    python bench/language_quantised.py --hidden 256 --steps 60     # minutes on one core

A tiny model is trained with all of its parameters on coloured squares of three classes; then an
adapter learns on, with lessons of another seed, on that base as it is and in 4 bits, from the same
start.  Wants the extra ``qlora``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import language_toys
from language_toys import pair, recipe, sample, still
from selion.models.language.network import load_pair
from selion.training.conversations import Talks
from selion.training.language_recipe import LanguageRecipe, Lora, Sft
from selion.training.sft import finetune, make_pair


def learnt(made: LanguageRecipe, model: Any, processor: Any, folder: Path) -> tuple[Any, list[str]]:
    """Return the model after its lessons, and what was said of its loss."""
    said: list[str] = []
    talks = Talks([sample(k) for k in range(8)], made, made.sft.steps * made.sft.batch)
    model = finetune(
        model, processor, talks, made, folder, on_step=lambda *step: said.append(str(step[3]))
    )
    return model, [one for one in said if one]


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--steps", type=int, default=60)
    args = parser.parse_args()
    torch.set_num_threads(1)
    language_toys.SIZE = replace(language_toys.SIZE, hidden=args.hidden, layers=args.layers)
    with tempfile.TemporaryDirectory() as place, still():
        folder = Path(place)
        base = folder / "base"
        made = recipe(sft=Sft(args.steps, 8, 1, lr=1e-3, save_every=10_000))
        model, processor = pair()
        model, said = learnt(made, model, processor, folder / "whole")
        print(f"base, all parameters: {said[0]} -> {said[-1]}")
        for part in (model, processor):
            part.save_pretrained(base)
        for quantise in ("", "nf4"):
            held = load_pair(base, None, torch.float32, "base", quantise)[0]
            size = held.get_memory_footprint() / 1e6
            language = replace(
                made.language, tiny="", base=str(base), quantise=quantise,
                lora=Lora(r=8, alpha=16, dropout=0.0),
            )  # fmt: skip
            moved = replace(
                made, language=language, seed=made.seed + 1, sft=replace(made.sft, lr=2e-3),
            )  # fmt: skip
            talks = Talks([sample(0)], moved, 1)
            said = learnt(moved, *make_pair(moved, talks), folder / (quantise or "full"))[1]
            print(f"{quantise or 'as it is'}: {size:.2f} MB; {', '.join(said)}")


if __name__ == "__main__":
    main()
