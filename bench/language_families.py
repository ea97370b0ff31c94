"""Each family of vision-language models by its whole road: taught, rewarded, loaded, asked.

    python bench/language_families.py                        # a table; a minute or two on one core
    python bench/language_families.py --only llava,internvl --table families.md

Tiny models with random weights of the library's own classes, with an adapter on a base in a folder.
"predict" compares a map that was made behind the shared image with one that was not.  Seconds are
of the processor, of one thread, and of so small a model say nothing of a large one.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from language_toys import pair, recipe, sample, still
from selion import prediction
from selion.errors import SelionError
from selion.models import load_model
from selion.models.language.tiny import FAMILIES, UNTAKEN, make_tiny
from selion.training.conversations import Talks
from selion.training.grpo import reinforce
from selion.training.inspect_language import make_generator, question
from selion.training.language_recipe import Grpo, Lora, Sft
from selion.training.language_run import TRAINING, plan_talks, train_language
from selion.training.sft import finetune, make_pair

T = TypeVar("T")
COLUMNS = (
    *("family", "SFT, ms a step", "GRPO, ms a step", "load, ms", "predict, equal"),
    *("prefix shared", "tokens an image"),
)
STEPS = 4


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """Return a result and the processor's milliseconds."""
    began = time.process_time()
    found = work()
    return found, 1e3 * (time.process_time() - began)


def road(family: str, folder: Path) -> tuple[str, ...]:
    """Go the whole road with one family; its row of the table."""
    base = folder / "base"
    for part in pair(family):
        part.save_pretrained(base)
    adapter = Lora(r=4, alpha=8, dropout=0.0)
    made = recipe(
        sft=Sft(STEPS, 2, 1, lr=1e-3),
        grpo=Grpo(STEPS, 1, 4, lr=1e-4, alarm=1.0, gate=0.0, grammar=True),
    )
    made = replace(made, language=replace(made.language, tiny="", base=str(base), lora=adapter))
    plan = plan_talks(made, [sample(k) for k in range(2)])
    talks = plan.talks(TRAINING)
    model, processor = make_pair(made, talks)
    taught, supervised = timed(lambda: finetune(model, processor, talks, made, folder / "sft"))
    written = train_language(replace(plan, recipe=replace(made, grpo=Grpo())), folder / "run")
    questions = Talks(plan.samples, made, STEPS, 2)
    _, rewarded = timed(lambda: reinforce(taught, processor, questions, made, folder / "grpo"))
    loaded: Any
    loaded, load = timed(lambda: load_model(folder / "run" / "model", "torch", threads=1))
    image = sample(5).image
    behind = prediction.predict(image, loaded)
    shares = loaded.generator.prefix(question(talks[0])) is not None
    loaded.generator.options = replace(loaded.generator.options, share=False)
    alone = prediction.predict(image, loaded)
    asked = make_generator(model, processor, made, "none").together([question(talks[0])])
    ids = asked["input_ids"][0].tolist()
    eyes = max(ids.count(token) for token in set(processor.tokenizer.all_special_ids))
    return (
        str(written.card.architecture["base"] and family),
        f"{supervised / STEPS:.0f}",
        f"{rewarded / STEPS:.0f}",
        f"{load:.0f}",
        "yes" if np.array_equal(behind.values, alone.values) else "NO",
        "yes" if shares else "no",
        str(eyes // 2),
    )


def line(cells: tuple[str, ...]) -> str:
    """Return a row of a table in Markdown."""
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Go every family's road, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="Families, with commas.")
    parser.add_argument("--table", type=Path, default=None, help="Also write the table here.")
    given = parser.parse_args()
    torch.set_num_threads(1)
    # for videos, of which there are none here
    importlib.import_module("transformers.models.smolvlm.processing_smolvlm").num2words = str
    lines = [line(COLUMNS), line(("---",) * len(COLUMNS))]
    wanted = given.only.split(",") if given.only else [*FAMILIES, *UNTAKEN]
    for family in wanted:
        with tempfile.TemporaryDirectory() as folder, still():
            try:
                if family in UNTAKEN:
                    make_tiny(family, ())
                lines.append(line(road(family, Path(folder))))
            except SelionError as problem:
                lines.append(line((family, str(problem), *[""] * (len(COLUMNS) - 2))))
        print(lines[-1], flush=True)
    if given.table:
        given.table.write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
