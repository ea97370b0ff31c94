"""From a recipe with a ``[language]`` table to a model's folder.

Conversations, supervised fine-tuning, rewards, card.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from selion import store
from selion.errors import BadInput, OutputExists
from selion.models.card import CARD, ModelCard, sha256_of, write_card
from selion.models.language.network import FORMAT
from selion.models.language.quiet import quiet
from selion.models.language.rrle import CODECS, count_tokens
from selion.models.language.smol import WHEEL
from selion.models.toml import to_toml
from selion.progress import OnStep, silent
from selion.sample import Sample
from selion.training.conversations import Talks, simulated
from selion.training.grpo import check_gate, reinforce
from selion.training.inspect_language import inspect
from selion.training.language_recipe import LanguageRecipe
from selion.training.plan import UNNAMED, Plan, SampleOrigin, origin_of
from selion.training.reading import changed_keys, recipe_table
from selion.training.reward import Standing
from selion.training.sft import check_words, find_tokenizer, finetune, make_pair
from selion.training.start import find_language_start, keep_start, start_notes, with_kept_start

RECIPE, MODEL, SUPERVISED, NUMBERS = "recipe.toml", "model", "supervised", "standing.json"
SFT, GRPO, TIMES = "sft-checkpoints", "grpo-checkpoints", "times.json"
"""In a run's folder: the recipe, the model, the supervised model that rewards began from, how both
stand, checkpoints of the two stages, and what they took."""
FREE = ("name", "summary", "licence", "attribution", "hardware")
TRAINING, VALIDATION, REWARDED = 0, 1, 2
"""Seeds of the draws."""


@dataclass(frozen=True, eq=False)
class LanguagePlan(Plan[LanguageRecipe]):
    """A run of a language model that could begin."""

    def talks(self, kind: int) -> Talks:
        """Return the conversations of a stage: training, validation or rewards."""
        sft, grpo = self.recipe.sft, self.recipe.grpo
        counts = {
            TRAINING: max(1, sft.steps * sft.batch * sft.accumulate),
            VALIDATION: self.recipe.inspect.patches,
            REWARDED: max(1, grpo.steps * grpo.prompts * grpo.accumulate),
        }
        hidden = self.recipe.draws.hidden if kind == TRAINING else 0.0
        return Talks(
            self.validation if kind == VALIDATION else self.samples,
            self.recipe,
            counts[kind],
            kind,
            hidden,
        )


@dataclass(frozen=True, eq=False)
class LanguageResult:
    """What a run made."""

    plan: LanguagePlan
    card: ModelCard
    supervised: Standing | None
    reinforced: Standing | None
    alarm: str = ""
    advice: tuple[str, ...] = ()
    """What answers cost that they need not."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the user."""
        said = []
        for title, standing in (("Supervised", self.supervised), ("By reward", self.reinforced)):
            if standing is not None:
                said += [f"{title}: {line}" for line in standing.lines()]
        return (*said, *([self.alarm] if self.alarm else []), *self.advice)


def plan_language(recipe: LanguageRecipe) -> LanguagePlan:
    """Open a recipe's data, or simulate it.

    Raises
    ------
    BadInput, UnknownName, UnreadableFile
        If recipe and data do not fit.
    """
    if recipe.simulate.scenes:
        samples, validation = simulated(recipe.simulate)
        return plan_talks(
            recipe, samples, validation, SampleOrigin("simulated countryside", "Apache-2.0")
        )
    from selion.training.datasets import open_samples

    training, held = open_samples(recipe)  # type: ignore[arg-type]  # it looks at data, classes, window, name and seed, which both kinds of recipe have
    return plan_talks(recipe, training, held, origin_of(training))


def plan_talks(
    recipe: LanguageRecipe,
    samples: Sequence[Sample],
    validation: Sequence[Sample] = (),
    origin: SampleOrigin = UNNAMED,
) -> LanguagePlan:
    """Plan a run on samples that are at hand already.

    The first conversation is drawn, so that what does not fit is said before anything is loaded.

    Raises
    ------
    BadInput, BandMismatch
        If there are no samples, or the first does not fit.
    """
    if not len(samples):
        raise BadInput(
            "There are no samples to train on: check data.dataset, data.train_split and "
            "data.groups, or give simulate.scenes."
        )
    prompt = recipe.language.prompt
    first = Talks(samples, recipe, 1)[0]
    recipe.language.prompt.answer(first.truth, recipe.classes.names)
    said = [
        f"{len(samples):,} training and {len(validation):,} validation images of {origin.source}.",
        f"Patches of {prompt.patch} px, answers of {prompt.grid} rows in {prompt.codec}.",
        *origin.notes,
    ]
    if not len(validation):
        said.append(
            "There is no validation split: nothing will be known of how good the model is, and "
            "rewards cannot begin."
        )
    start = find_language_start(recipe.language)
    said += start_notes(start)
    base = recipe.language.base or recipe.language.start_from or f"a tiny {recipe.language.tiny}"
    card = ModelCard(
        recipe.name,
        recipe.spec(),
        recipe.classes,
        summary=recipe.summary,
        architecture={
            "family": "language",
            "prompt": prompt.to_dict(),
            "taught": list(recipe.classes.names),
        },
        format=FORMAT,
        licence=recipe.licence or origin.licence,
        attribution=recipe.attribution or origin.citation,
        training=(
            f"{base}; {origin.source}, {len(samples):,} images; {recipe.sft.steps} supervised "
            f"steps, {recipe.grpo.steps} by reward; seed {recipe.seed}"
        ),
        started_from=start,
    )
    return LanguagePlan(recipe, samples, validation, card, tuple(said))


def train_language(
    plan: LanguagePlan,
    folder: Path,
    *,
    resume: bool = False,
    force: bool = False,
    on_step: OnStep = silent,
) -> LanguageResult:
    """Train, and write the model into ``folder/model``.

    Parameters
    ----------
    plan : LanguagePlan
    folder : path
    resume : bool
        Go on from the last checkpoint of the stage that was interrupted.
    force : bool
        Begin anew in a folder that holds a run.
    on_step : callable

    Raises
    ------
    OutputExists
        If the folder holds a run and neither ``resume`` nor ``force`` is given.
    BadInput
        If the tokenizer cannot write the answers, or the supervised model does not pass the gate
        before rewards; it stays in ``folder/supervised``.
    """
    import torch

    recipe = plan.recipe
    _prepare(folder, recipe, resume=resume, force=force)
    if resume:
        plan = replace(plan, card=with_kept_start(folder, plan.card))
    else:
        keep_start(folder, plan.card)
    if recipe.hardware.threads:
        torch.set_num_threads(recipe.hardware.threads)
    took: dict[str, dict[str, float]] = {}
    with quiet():
        model, processor, supervised = _supervised(
            plan, folder, took, resume=resume, on_step=on_step
        )
        standing, alarm = None, ""
        if recipe.grpo.steps:
            if supervised is None:
                raise BadInput(
                    "Rewards want a validation split, on which the supervised model is scored "
                    "first: give one, or set grpo.steps to 0."
                )
            check_gate(supervised, recipe.grpo.gate)
            # the trainer looks for what the divergence is measured from where the model was loaded
            # from
            model, processor = _again(plan, folder)
            with _clock(took, "by_reward", len(plan.talks(REWARDED))):
                found = reinforce(
                    model,
                    processor,
                    plan.talks(REWARDED),
                    recipe,
                    folder / GRPO,
                    resume=resume,
                    on_step=on_step,
                )
            model, alarm = found.model, found.alarm
            standing = inspect(model, processor, plan.talks(VALIDATION), recipe)
            _write_json(folder / "rewards.json", list(found.history))
        card = _export(plan, model, processor, folder / MODEL, standing or supervised)
        advice = check_words(processor, recipe)
    _write_json(
        folder / NUMBERS,
        {
            name: s.to_dict()
            for name, s in (("supervised", supervised), ("by_reward", standing))
            if s is not None
        },
    )
    if not resume:  # the clock of a run that was interrupted saw its last part only
        _write_json(folder / TIMES, took)
    return LanguageResult(plan, card, supervised, standing, alarm, advice)


@contextmanager
def _clock(took: dict[str, dict[str, float]], stage: str, samples: int) -> Iterator[None]:
    """Note what a stage takes, and how many questions it sees.

    It takes seconds of the clock and of the processor.
    """
    clock, processor = time.perf_counter(), time.process_time()
    yield
    took[stage] = {
        "samples": samples,
        "seconds": round(time.perf_counter() - clock, 3),
        "processor_seconds": round(time.process_time() - processor, 3),
    }


def _supervised(
    plan: LanguagePlan,
    folder: Path,
    took: dict[str, dict[str, float]],
    *,
    resume: bool,
    on_step: OnStep,
) -> tuple[Any, Any, Standing | None]:
    """Return the supervised model, its processor, and how it stands.

    It was trained now or before an interruption.
    """
    recipe = plan.recipe
    done = folder / SUPERVISED / CARD
    if resume and done.is_file():
        model, processor = _again(plan, folder)
    else:
        model, processor = make_pair(recipe, plan.talks(TRAINING))
        check_words(processor, recipe)
        if recipe.sft.steps:
            with _clock(took, "supervised", len(plan.talks(TRAINING))):
                model = finetune(
                    model,
                    processor,
                    plan.talks(TRAINING),
                    recipe,
                    folder / SFT,
                    resume=resume,
                    on_step=on_step,
                )
    standing = (
        inspect(model, processor, plan.talks(VALIDATION), recipe) if len(plan.validation) else None
    )
    if recipe.grpo.steps and not done.is_file():
        _export(plan, model, processor, folder / SUPERVISED, standing)
    return model, processor, standing


def _again(plan: LanguagePlan, folder: Path) -> tuple[Any, Any]:
    """Load the supervised model as it was written."""
    language = replace(plan.recipe.language, base="", tiny="", start_from=str(folder / SUPERVISED))
    return make_pair(replace(plan.recipe, language=language), plan.talks(TRAINING))


def _prepare(folder: Path, recipe: LanguageRecipe, *, resume: bool, force: bool) -> None:
    """Make a run's folder, or refuse one that holds another run."""
    begun = folder / RECIPE
    if resume:
        _check_same(begun, recipe)
        return
    if begun.exists():
        if not force:
            raise OutputExists(
                f"{folder} holds a run already: continue with --resume, start over with --force, "
                "or choose another folder."
            )
        for name in (MODEL, SUPERVISED, SFT, GRPO):
            shutil.rmtree(folder / name, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    with store.atomic_write(begun, force=True) as temporary:
        temporary.write_text(to_toml(recipe_table(recipe)), "utf-8")  # type: ignore[arg-type]


def _check_same(path: Path, recipe: LanguageRecipe) -> None:
    """Refuse to go on with another recipe than the one that a run began with."""
    from selion.store.plain import toml_table

    if not path.is_file():
        raise BadInput(
            f"{path.parent} holds no run to resume: omit --resume, or give the folder of one."
        )
    was = {
        key: value for key, value in toml_table(path.read_text("utf-8")).items() if key not in FREE
    }
    now = {key: value for key, value in recipe_table(recipe).items() if key not in FREE}  # type: ignore[arg-type]
    changed = [f"{key} was {a!r} and is now {b!r}" for key, a, b in changed_keys(was, now)]
    if changed:
        raise BadInput(
            f"{path} is of another recipe: {'; '.join(changed[:3])}. Resume with the old one, or "
            "start in another folder."
        )


def _export(
    plan: LanguagePlan, model: Any, processor: Any, folder: Path, standing: Standing | None
) -> ModelCard:
    """Write model, processor and card; the card last, so that a folder with one is whole."""
    import torch

    recipe = plan.recipe
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    model.save_pretrained(part, safe_serialization=True)
    processor.save_pretrained(part)
    if base_of(recipe) == WHEEL:
        from selion.models.language.joined import write_joined

        write_joined(model, part)
    for path in [*part.glob("*.md"), *part.glob("*.bin")]:
        path.unlink()
    architecture = dict(plan.card.architecture)
    if (part / "adapter_config.json").is_file():
        architecture["base"] = base_of(recipe)
        for extra in [path for path in part.iterdir() if path.is_dir()]:
            # the copy of the supervised adapter that the divergence was measured from
            shutil.rmtree(extra)
    scores = {} if standing is None else {"validation": standing.to_dict()}
    names = sorted(path.name for path in part.iterdir() if path.is_file())
    card = replace(
        plan.card,
        architecture=architecture,
        scores=scores,
        files={name: sha256_of(part / name) for name in names},
        notes=f"torch {torch.__version__}",
    )
    write_card(card, part / CARD)
    shutil.rmtree(folder, ignore_errors=True)
    part.replace(folder)
    return replace(card, folder=folder)


def base_of(recipe: LanguageRecipe) -> str:
    """Return what an adapter of a recipe lies on.

    The base, or that of the model that was gone on from.
    """
    from selion.models.card import read_card

    if recipe.language.base or not recipe.language.start_from:
        return recipe.language.base
    return str(read_card(recipe.language.start_from).architecture.get("base", ""))


def _write_json(path: Path, values: Any) -> None:
    with store.atomic_write(path, force=True) as temporary:
        temporary.write_text(json.dumps(values, indent=1) + "\n", "utf-8")


def forecast(plan: LanguagePlan) -> tuple[str, ...]:
    """Return sentences on what a run will read and write, before it begins; no model is loaded."""
    recipe = plan.recipe
    talks = plan.talks(TRAINING)
    drawn = [talks[k] for k in range(min(32, len(talks)))]
    answers = [len(talk.answer) for talk in drawn]
    sft, grpo = recipe.sft, recipe.grpo
    lessons = sft.steps * sft.batch * sft.accumulate
    written = grpo.steps * grpo.prompts * grpo.accumulate * grpo.answers
    return (
        (
            f"Supervised: {sft.steps:,} steps of {sft.batch * sft.accumulate} conversations, "
            f"{lessons:,} in all."
        ),
        f"Right answers have {sum(answers) / len(answers):.0f} characters.",
        *_tokens(plan),
        f"By reward: {grpo.steps:,} steps, {written:,} answers to be written."
        if grpo.steps
        else "By reward: nothing (grpo.steps = 0).",
        "Nothing was written.",
    )


def _tokens(plan: LanguagePlan) -> Iterator[str]:
    """Say what right answers cost in tokens of the recipe's model, by patch, rows and codec.

    Nothing where its tokenizer is not at hand.
    """
    tokenizer, prompt = find_tokenizer(plan.recipe), plan.recipe.language.prompt
    if tokenizer is None:
        return
    for patch, grid in (
        (prompt.patch, prompt.grid),
        (prompt.patch, prompt.grid // 2),
        (2 * prompt.patch, prompt.grid),
        (2 * prompt.patch, prompt.grid // 2),
    ):
        with suppress(BadInput):  # larger than the images, or no rows left
            asked = replace(plan.recipe.language, prompt=replace(prompt, patch=patch, grid=grid))
            talks = Talks(plan.samples, replace(plan.recipe, language=asked), 32)
            truths = [talks[k].truth for k in range(len(talks))]
            yield (
                f"Tokens of an answer, patches of {patch} px in {grid} rows: "
                f"{_costs(tokenizer, truths, plan.recipe.classes.names, patch)}."
            )


def _costs(tokenizer: Any, truths: Sequence[np.ndarray], names: tuple[str, ...], patch: int) -> str:
    costs = []
    for codec in CODECS.values():
        with suppress(BadInput):  # names that this codec cannot spell
            counts = count_tokens(tokenizer, truths, names, codec)
            mean = sum(counts) / len(counts)
            costs.append(
                f"{codec.name} {mean:.0f} ({mean * (1024 / patch) ** 2:,.0f} for 1024 x 1024 px)"
            )
    return "; ".join(costs)
