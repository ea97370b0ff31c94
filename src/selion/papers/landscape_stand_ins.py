"""MAgSeg's tables in minutes: simulated smallholdings, and tiny networks for its rows.

A stand-in goes the row's own road (text as mask, supervised or by reward; one coarse answer for a
whole image; an embedding that prompts a decoder; a network of boundaries) with a tiny network from
random weights and a few steps.  What it scores says that the road works, and nothing of the paper's
models.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from selion.classes import ALU
from selion.data import load_dataset
from selion.errors import counted
from selion.models.card import CARD, ModelCard
from selion.papers.quick import is_done, kept_sample
from selion.papers.results import FoundModel
from selion.progress import OnStep, silent
from selion.segmenter import InputSpec, Scaling
from selion.simulation.holdings import HoldingOptions, write_holdings
from selion.training import plan_training, read_recipe, recipe_table, train_plan
from selion.training.embedded_lessons import train_tiny_embedded
from selion.training.language_recipe import LanguageRecipe
from selion.training.language_run import MODEL, plan_language, train_language
from selion.training.recipe import Recipe

PATCH = 96
"""Edge of a patch in pixels, and of the windows of the embedding-as-mask family."""
SPEC = InputSpec(
    ("red", "green", "blue"), Scaling((255.0,), (0.0,), (0.0, 1.0)), window=PATCH, overlap=0.0
)
"""What the embedding-as-mask family is fed."""
LESSONS = 40
"""Supervised steps of 16 patches."""
REWARDED = 3
"""Steps by reward, of 4 questions with 4 answers."""
WINDOWS = 160
"""Windows that a network learns from, once each."""
FIELDS_ALONE = (
    "classes=fields-3",
    'model.architecture.phrases=["field","boundary"]',
    "data.truth=instances",
)
"""A network that reads names, where a country's truth holds fields and nothing else."""
TEXT = {
    "sft-4b": "text as mask, supervised",
    "grpo-4b": "text as mask, supervised and then by reward",
    "sft-12b": "text as mask, supervised, half as wide again",
    "grpo-12b": "text as mask, supervised and then by reward, half as wide again",
    "text4seg-c": "text as mask, one answer of 16 rows about the whole image",
    "text4seg-boxes": "text as mask, one answer about the whole image, object by object",
}
WHOLE = {"text4seg-c": "rrle", "text4seg-boxes": "boxes"}
"""Those that answer once about the whole image -> how they spell it."""
NAMED = {
    "lavt": "a Swin transformer that reads the name of each class",
    "gres": "regions of an image that see pixels, names of classes and each other",
}
EMBEDDED = {
    "lisa": "embedding as mask",
    "lisat": "embedding as mask, from another language model than LISA's",
    "gsva": "embedding as mask with a token to reject",
}


def make_holdings(
    folder: Path, options: HoldingOptions | None = None, *, on_step: OnStep = silent
) -> Path:
    """Write the sample that stands in for the data, or take the one that is there.

    Raises
    ------
    OutputExists
        If the folder holds something else.
    """
    options = options or HoldingOptions()
    return kept_sample(
        folder, options.to_json(), lambda: write_holdings(folder, options, on_step=on_step)
    )


def make_landscape_stand_ins(
    keys: Iterable[str], sample: Path, trained: str, folder: Path, *, on_step: OnStep = silent
) -> dict[str, FoundModel]:
    """Train a stand-in for each model that has a road; what is finished is taken.

    Parameters
    ----------
    keys : iterable of str
        Of the paper's models.
    sample : path
        As :func:`make_holdings` writes it.
    trained : str
        The group that they learn from.
    folder : path
        Gets one run for each stand-in.
    on_step : callable, optional
        Told of progress: (stage, done, total, detail).

    Returns
    -------
    dict
        Key of a model -> its stand-in, and in one sentence what it is; without those of the extra
        "language" where that is not installed.
    """
    work = _LandscapeStandIns(sample, trained, folder / trained)
    roads = {**TEXT, **EMBEDDED, **NAMED, "epoc": "a network of boundaries"}
    wanted = [key for key in keys if key in roads]
    found = {}
    for done, key in enumerate(wanted):
        on_step("stand-ins", done, len(wanted), f"{key}, {trained}")
        found[key] = FoundModel(
            work.model(key),
            f"stand-in, not the paper's model: {roads[key]}, a tiny network that learnt from "
            f"{counted(len(work.images), 'simulated scene')}",
        )
    on_step("stand-ins", len(wanted), len(wanted))
    return found


class _LandscapeStandIns:
    """Stand-ins, and what they learn from."""

    def __init__(self, sample: Path, trained: str, folder: Path) -> None:
        self.sample, self.trained, self.folder = sample, trained, folder
        data = load_dataset(sample).select("train").select(groups=trained)
        self.images = [data[k] for k in range(len(data))]

    def model(self, key: str) -> Path:
        """Train a stand-in, or take it."""
        if key in TEXT:
            return self.written(key)
        if key in EMBEDDED:
            return self.embedded(key)
        return self.network(f"magseg/{key}-tiny" if key in NAMED else "epoc-small", key)

    def written(self, key: str) -> Path:
        """Train a tiny language model that writes masks."""
        recipe = self.recipe(key)
        table = recipe_table(recipe)  # type: ignore[arg-type]  # it writes both kinds of recipe
        decides = json.dumps(table, sort_keys=True, default=str)
        digest = hashlib.blake2b(decides.encode(), digest_size=4).hexdigest()
        place = self.folder / f"{key}-{digest}"  # another recipe is another stand-in
        if not (place / MODEL / CARD).is_file():
            train_language(plan_language(recipe), place, force=True)
        return place / MODEL

    def recipe(self, key: str) -> LanguageRecipe:
        """Return how a tiny language model is trained."""
        coarse, large = key in WHOLE, key.endswith("12b")
        changes = [
            f"name={key}",
            f"seed={int(large)}",
            "simulate.scenes=0",
            f"data.dataset={self.sample}",
            f'data.groups=["{self.trained}"]',
            f'data.validation_groups=["{self.trained}"]',
            "classes=alu",
            "language.context=384",
            f"language.size.hidden={96 if large else 64}",
            f"language.prompt.patch={384 if coarse else PATCH}",
            f"language.prompt.grid={16 if coarse else 4}",
            "draws.least_classes=1",
            "draws.most_share=1.0",
            f"sft.steps={LESSONS // 4 if coarse else LESSONS}",
            "sft.batch=16",
            "grpo.over=foreground",
            "inspect.patches=4",
        ]
        if coarse:
            changes.append(f"language.prompt.codec={WHOLE[key]}")
        if key.startswith("grpo"):
            changes += [f"grpo.steps={REWARDED}", "grpo.prompts=4", "grpo.answers=4", "grpo.gate=0"]
        found = read_recipe("magseg-tiny", changes)
        if not isinstance(found, LanguageRecipe):
            raise TypeError("magseg-tiny is a recipe of a language model")
        return found

    def network(self, recipe_name: str, key: str) -> Path:
        """Train a small network by an ordinary recipe: of boundaries as EPOC's, LAVT, GRES."""
        recipe = read_recipe(
            recipe_name,
            [
                f"name={key}",
                f"data.dataset={self.sample}",
                f'data.groups=["{self.trained}"]',
                "crops.mode=random",
                f"crops.per_epoch={WINDOWS}",
                "schedule.epochs=1",
                "schedule.keep=last",
                "validate.every=0",
                "hardware.device=cpu",
                "hardware.kind=thread",
                *(FIELDS_ALONE if key in NAMED and not self.several() else ()),
            ],
        )
        if not isinstance(recipe, Recipe):
            raise TypeError(f"{recipe_name} is a recipe of a network")
        plan, place = plan_training(recipe), self.folder / key
        if not is_done(plan, place):
            train_plan(plan, place, force=True)
        return place / MODEL

    def several(self) -> bool:
        """Say whether the truth that is learnt from holds more than fields."""
        held = [image.labels.ids for image in self.images if image.labels is not None]
        return any(bool((ids > ALU.index("field")).any()) for ids in held)

    def embedded(self, key: str) -> Path:
        """Train a tiny network whose language model prompts Segment Anything's decoder."""
        words = self.written("sft-12b" if key == "lisat" else "sft-4b")
        place = self.folder / f"{key}-on-{words.parent.name}"
        if not (place / CARD).is_file():
            card = ModelCard(key, SPEC, ALU, licence="CC0-1.0", training="a few simulated scenes")
            train_tiny_embedded(card, words, self.images, place, reject=key == "gsva")
        return place
