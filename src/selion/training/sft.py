"""Supervised fine-tuning of a language model that sees.

The library's trainer, our conversations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from pathlib import Path
from typing import Any

from selion.cores import usable_cores
from selion.errors import BadInput
from selion.extras import require
from selion.models.language.chat import Message
from selion.models.language.grammar import Grammar, check_tokenizer
from selion.models.language.network import choose_device, load_pair
from selion.models.language.quiet import quiet
from selion.models.language.sight import check_sight
from selion.models.language.tiny import make_tiny, refuse_family
from selion.progress import OnStep, silent
from selion.training.conversations import Talks
from selion.training.language_recipe import LanguageRecipe, Lora, Machine
from selion.training.processes import check_same_count, join_processes
from selion.training.split import check_same_split, split_arguments, splitting
from selion.training.whole import keeper, last_whole


def make_pair(recipe: LanguageRecipe, talks: Talks) -> tuple[Any, Any]:
    """Return the model that training starts from, and its processor.

    Raises
    ------
    BadInput
        If the recipe names no model, the model is of a family that cannot be asked about patches,
        or the one to go on from speaks of other classes.
    UnreadableFile
        If it cannot be loaded.
    """
    spec = recipe.language
    if spec.tiny:
        return make_tiny(spec.tiny, tuple(sample_texts(talks)), spec.size, recipe.seed)
    if spec.start_from:
        return _going_on(recipe)
    if not spec.base:
        raise BadInput(
            f"The recipe {recipe.name} names no model: add --set language.base=FOLDER_OR_ID, for "
            "example the folder of a model that sees."
        )
    model, processor = load_pair(spec.base, None, _number_type(recipe), spec.base, spec.quantise)
    refuse_family(model.config.model_type, spec.base)
    if not getattr(processor, "chat_template", None):
        raise BadInput(
            f"The processor of {spec.base} has no chat template, so nobody knows how a question is "
            "put to it: take a model that was tuned to answer (often called instruct, it or chat)."
        )
    return model, processor


def find_tokenizer(recipe: LanguageRecipe) -> Any | None:
    """Return the tokenizer of a recipe's model without the model.

    None for a tiny one, which has none yet, or where it is not at hand.
    """
    place = recipe.language.start_from or recipe.language.base
    if not place:
        return None
    require("transformers", "language")
    from transformers import AutoTokenizer

    try:
        with quiet():
            return AutoTokenizer.from_pretrained(place)
    except (OSError, ValueError):
        return None


def find_processor(recipe: LanguageRecipe, talks: Talks) -> Any | None:
    """Return what turns pictures into a recipe's model's inputs, without the model.

    None where it is not at hand.
    """
    place = recipe.language.start_from or recipe.language.base
    if recipe.language.tiny:
        return make_pair(recipe, talks)[1]
    if not place:
        return None
    require("transformers", "language")
    from transformers import AutoProcessor

    try:
        with quiet():
            return AutoProcessor.from_pretrained(place)
    except (OSError, ValueError):
        return None


def check_words(processor: Any, recipe: LanguageRecipe) -> tuple[str, ...]:
    """Look whether a model sees enough of a patch, and its tokenizer can write the answers.

    Sentences and errors as :func:`selion.models.language.check_tokenizer` and
    :func:`selion.models.language.sight.check_sight`.
    """
    prompt = recipe.language.prompt
    check_sight(processor, prompt)
    return check_tokenizer(
        processor.tokenizer,
        Grammar(prompt.spelling, recipe.classes.names, (prompt.grid, prompt.grid)),
    )


def _number_type(recipe: LanguageRecipe) -> Any:
    """Return the number type of a model that is loaded for training.

    Halves only where an adapter learns and the rest stays as it is.
    """
    torch = require("torch", "language")
    half = (
        training_device(recipe.hardware) == "cuda"
        and recipe.language.lora.r > 0
        and recipe.hardware.precision != "float32"
    )
    return torch.bfloat16 if half else torch.float32


def _going_on(recipe: LanguageRecipe) -> tuple[Any, Any]:
    """Load a language model of selion to go on from, its adapter trainable."""
    from selion.models.card import check_listed, read_card

    card = read_card(recipe.language.start_from)
    if card.classes.names != recipe.classes.names:
        raise BadInput(
            f"{card.name} was trained for the classes {', '.join(card.classes.names)}, the recipe "
            f"has {', '.join(recipe.classes.names)}: take an adapter for these classes, or begin "
            "from its base."
        )
    folder = check_listed(card, card.folder or Path(recipe.language.start_from))
    return load_pair(
        card.architecture.get("base") or folder,
        folder,
        _number_type(recipe),
        card.name,
        recipe.language.quantise,
        trainable=True,
    )


def sample_texts(talks: Talks, count: int = 200) -> Iterator[str]:
    """Yield questions and answers for a tokenizer to learn from."""
    for k in range(min(count, len(talks))):
        talk = talks[k]
        yield from (
            part["text"]
            for message in talk.question
            for part in message["content"]
            if part["type"] == "text"
        )
        yield talk.answer
    yield "user\nassistant\n"


def dataset(talks: Talks, columns: Callable[[Any], Mapping[str, Any]]) -> Any:
    """Return talks as a dataset whose rows are drawn when they are asked for.

    Parameters
    ----------
    talks : Talks
    columns : callable
        Talk -> a row.
    """
    datasets = require("datasets", "language")
    # the rewards' trainer asks for a row once for each answer
    row = lru_cache(maxsize=64)(lambda index: columns(talks[index]))

    def rows(batch: Mapping[str, list[int]]) -> dict[str, list[Any]]:
        drawn = [row(index) for index in batch["index"]]
        return {name: [one[name] for one in drawn] for name in drawn[0]}

    return datasets.Dataset.from_dict({"index": list(range(len(talks)))}).with_transform(rows)


def lesson(talk: Any) -> dict[str, Any]:
    """Return the row of a talk that is to be learnt by heart."""
    return {
        "images": list(talk.images),
        "prompt": fresh(talk.question),
        "completion": fresh(talk.reply),
    }


def fresh(messages: list[Message]) -> list[Message]:
    """Copy messages: trainers put images into their slots in place."""
    return [
        {**message, "content": [dict(part) for part in message["content"]]} for message in messages
    ]


def finetune(
    model: Any,
    processor: Any,
    talks: Talks,
    recipe: LanguageRecipe,
    folder: Path,
    *,
    resume: bool = False,
    on_step: OnStep = silent,
) -> Any:
    """Teach a model the right answers.

    Parameters
    ----------
    model, processor
        Of :func:`make_pair`.
    talks : Talks
        As many as the run has rows: ``steps * batch * accumulate``.
    recipe : LanguageRecipe
    folder : path
        Of checkpoints.
    resume : bool
        Go on from the last checkpoint, if there is one.
    on_step : callable

    Returns
    -------
    The trained model: with an adapter, if the recipe has one.

    Raises
    ------
    BadInput
        If the adapter's pattern fits no layer.
    """
    require("peft", "language")
    trl = require("trl", "language")
    spec = recipe.sft
    adapter = None if _has_adapter(model) else lora_config(model, recipe.language.lora)
    arguments = trl.SFTConfig(
        **shared_arguments(recipe, folder, spec.steps, spec.save_every, model),
        per_device_train_batch_size=spec.batch,
        gradient_accumulation_steps=spec.accumulate,
        learning_rate=spec.lr,
        weight_decay=spec.weight_decay,
        warmup_steps=spec.warmup,
        lr_scheduler_type=_SCHEDULES[spec.schedule],
        max_grad_norm=spec.clip,
        max_length=None,  # else the tokens of images are cut
        dataset_kwargs={"skip_prepare_dataset": True},
    )
    with quiet(), split_if_wished(recipe.hardware):
        trainer = trl.SFTTrainer(
            model=model,
            args=arguments,
            train_dataset=dataset(talks, lesson),
            processing_class=processor,
            peft_config=adapter,
            callbacks=[listener("sft", on_step)],
        )
        run(trainer, folder, recipe.hardware, resume=resume)
    return trainer.model


_SCHEDULES = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}


def shared_arguments(
    recipe: LanguageRecipe, folder: Path, steps: int, save_every: int, model: Any
) -> dict[str, Any]:
    """Return what both trainers are told: device, precision, checkpoints, split, silence."""
    device = training_device(recipe.hardware)
    half = device == "cuda" and recipe.hardware.precision != "float32"
    return {
        "output_dir": str(folder),
        "max_steps": steps,
        "seed": recipe.seed,
        "use_cpu": device == "cpu",
        "bf16": half,
        "activation_checkpointing": device != "cpu",
        "gradient_checkpointing": None if device == "cpu" else True,
        "save_steps": save_every,
        "save_total_limit": None,  # the trainer drops the old before the new is whole
        "logging_steps": 5,
        "report_to": "none",
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "dataloader_num_workers": count_workers(recipe.hardware.workers, device),
        "dataloader_pin_memory": device == "cuda",
        **(split_arguments(model) if recipe.hardware.split else {}),
    }


def split_if_wished(machine: Machine) -> AbstractContextManager[None]:
    """Return what a trainer is made and run in: one that splits the model, or nothing."""
    return splitting() if machine.split else nullcontext()


def count_workers(asked: int, device: str) -> int:
    """Return how many processes prepare conversations beside the training."""
    if asked >= 0:
        return asked
    return 0 if device == "cpu" else min(4, usable_cores())


def run(trainer: Any, folder: Path, machine: Machine, *, resume: bool) -> None:
    """Run a trainer of the library.

    From its last whole checkpoint, if that is wished and there is one.
    """
    from transformers import PrinterCallback

    team = join_processes(training_device(machine))
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(keeper(team, machine.keep))
    last = team.led(lambda: last_whole(folder)) if resume else None
    if last is not None:
        check_same_count(last)
        check_same_split(last, split=machine.split)
        if not _has_adapter(trainer.model):
            _take_weights(trainer.model, str(last))
    trainer.train(resume_from_checkpoint=None if last is None else str(last))


def _take_weights(model: Any, checkpoint: str) -> None:
    """Read a checkpoint's weights as a model is read.

    The trainer looks for the names of its memory, not those of the file, and finds none of them.
    """
    saved = type(model).from_pretrained(checkpoint, dtype=model.dtype)
    model.load_state_dict(saved.state_dict())


def listener(stage: str, on_step: OnStep) -> Any:
    """Return a callback that says how far a trainer is."""
    from transformers import TrainerCallback

    class StepListener(TrainerCallback):
        def on_log(
            self,
            args: Any,  # noqa: ARG002  # the library's signature
            state: Any,
            control: Any,  # noqa: ARG002  # the library's signature
            logs: Mapping[str, Any] | None = None,
            **_: Any,
        ) -> None:
            shown = {name: logs[name] for name in ("loss", "reward", "kl") if logs and name in logs}
            on_step(
                stage,
                state.global_step,
                state.max_steps,
                ", ".join(f"{name} {float(value):.3f}" for name, value in shown.items()),
            )

    return StepListener()


def lora_config(model: Any, spec: Lora) -> Any:
    """Return the adapter's configuration; None for rank 0.

    Raises
    ------
    BadInput
        If its pattern fits no layer of the model.
    """
    import re

    if spec.r == 0:
        return None
    peft = require("peft", "language")
    if not any(re.fullmatch(spec.targets, name) for name, _ in model.named_modules()):
        raise BadInput(
            f"language.lora.targets = {spec.targets!r} fits no layer of the model: give a regular "
            "expression of its linear layers."
        )
    return peft.LoraConfig(
        r=spec.r,
        lora_alpha=spec.alpha,
        lora_dropout=spec.dropout,
        target_modules=spec.targets,
        task_type="CAUSAL_LM",
    )


def _has_adapter(model: Any) -> bool:
    return hasattr(model, "peft_config")


def training_device(machine: Machine) -> str:
    """Return what a recipe is trained on: "cpu", "cuda" or "mps"."""
    return choose_device(machine.device, "this recipe")
