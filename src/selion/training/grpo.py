"""Learning by reward: groups of answers to one question, each compared with its group.

The library's trainer, our rewards.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from contextlib import nullcontext
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np

from selion.errors import BadInput
from selion.extras import require
from selion.models.language.quiet import quiet
from selion.progress import OnStep, silent
from selion.training.conversations import Talks
from selion.training.language_recipe import Grpo, LanguageRecipe
from selion.training.processes import join_processes
from selion.training.reward import Standing, dice_reward, validity_reward
from selion.training.rollouts import drawn_by, placed
from selion.training.sft import (
    dataset,
    fresh,
    listener,
    run,
    shared_arguments,
    split_if_wished,
    training_device,
)

WATCHED = 50
"""Steps over which the alarm looks."""
MEASURED = 256
"""Right answers, at most, whose length says where an answer is cut."""


def check_gate(standing: Standing, gate: float) -> None:
    """Refuse to begin with a model that does not write masks yet.

    All its answers would be worth the same, and nothing could be learnt.

    Raises
    ------
    BadInput
    """
    if standing.valid < gate:
        raise BadInput(
            f"Only {standing.valid:.0%} of the supervised model's answers are masks without a "
            f"fault, and rewards begin at {gate:.0%}: train longer with sft.steps, or lower "
            "grpo.gate."
        )


def prompt_row(talk: Any) -> dict[str, Any]:
    """Return the row of a talk that is to be answered."""
    return {
        "images": list(talk.images),
        "prompt": fresh(talk.question),
        "truth": talk.truth.tolist(),
    }


def reinforce(
    model: Any,
    processor: Any,
    talks: Talks,
    recipe: LanguageRecipe,
    folder: Path,
    *,
    resume: bool = False,
    on_step: OnStep = silent,
) -> Reinforced:
    """Let a model write, and strengthen what is worth more than its group.

    Parameters
    ----------
    model, processor
        The supervised model; with a trainable adapter, the divergence is measured from that adapter
        as it is now.
    talks : Talks
        At least ``steps * prompts * accumulate``.
    recipe : LanguageRecipe
    folder : path
        Of checkpoints.
    resume : bool
    on_step : callable

    Returns
    -------
    Reinforced

    Notes
    -----
    Shao et al., DeepSeekMath (arXiv 2402.03300), equation 3; as MAgSeg (arXiv 2605.16179) has it,
    with the divergence from the supervised model.  The library's defaults are others (loss "dapo",
    no divergence).
    """
    trl = require("trl", "language")
    spec, prompt, classes = recipe.grpo, recipe.language.prompt, recipe.classes
    rewards = [
        dice_reward(prompt, classes, spec.over, spec.smooth),
        validity_reward(prompt, classes),
    ]
    weights = [1.0, spec.validity]
    arguments = trl.GRPOConfig(
        **shared_arguments(recipe, folder, spec.steps, spec.save_every, model)
        # what was measured since it was last said is in no checkpoint
        | {"logging_steps": gcd(5, spec.save_every)},
        **batches(spec),
        max_completion_length=_room(processor, talks),
        mask_truncated_completions=spec.mask_truncated,
        learning_rate=spec.lr,
        weight_decay=spec.weight_decay,
        warmup_steps=spec.warmup,
        lr_scheduler_type="cosine",
        loss_type="grpo",
        scale_rewards="group",
        beta=spec.beta,
        epsilon=spec.epsilon,
        temperature=spec.temperature,
        reward_weights=weights,
        **drawn_by(recipe),
    )
    watch = make_watch(spec.alarm)
    team = join_processes(training_device(recipe.hardware))
    own = not spec.vllm  # vLLM draws by numbers of its own
    drawing = placed(model, processor, recipe, team) if own else nullcontext()
    with quiet(), split_if_wished(recipe.hardware), drawing as clock:
        trainer = trl.GRPOTrainer(
            model=model,
            args=arguments,
            reward_funcs=rewards,
            train_dataset=dataset(talks, prompt_row),
            processing_class=processor,
            callbacks=[listener("grpo", on_step), watch, *([clock] if clock else [])],
        )
        run(trainer, folder, recipe.hardware, resume=resume)
    return Reinforced(trainer.model, tuple(watch.history), watch.alarmed)


class Reinforced:
    """What learning by reward gave."""

    def __init__(self, model: Any, history: tuple[Mapping[str, float], ...], alarm: str) -> None:
        self.model = model
        self.history = history
        """One entry for each logged step: reward, its spread, the share of groups without one, the
        divergence."""
        self.alarm = alarm
        """Why it ended early; empty if it did not."""


def batches(spec: Grpo) -> dict[str, int]:
    """Return how a step is cut into what the trainer does at once.

    Answers to ``prompts`` questions are drawn together, and learnt from ``micro`` at a time.
    """
    drawn = spec.prompts * spec.answers
    micro = spec.micro or drawn
    return {
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": spec.accumulate * drawn // micro,
        "steps_per_generation": drawn // micro,
        "num_generations": spec.answers,
    }


def _room(processor: Any, talks: Talks) -> int:
    """Return the tokens after which an answer is cut: those of nearly all right ones, and some.

    The 99th percentile of what right answers take, plus a tenth; the longest that the grammar
    allows is many times as long, and a model that does not end would be waited for that long.
    """
    tokenizer, count = processor.tokenizer, min(MEASURED, len(talks))
    every = np.linspace(0, len(talks) - 1, count).round().astype(int)
    lengths = [len(tokenizer.encode(talks[int(k)].answer, add_special_tokens=False)) for k in every]
    return int(1.1 * np.percentile(lengths, 99)) + 4


def make_watch(share: float) -> Any:
    """Return a callback that keeps the curves, and stops a run that learns nothing.

    In such a run all answers of most groups are worth the same.
    """
    from transformers import TrainerCallback

    class Watch(TrainerCallback):
        def __init__(self) -> None:
            self.history: list[dict[str, float]] = []
            self.alarmed = ""
            self.flat: deque[float] = deque(maxlen=WATCHED)

        def on_log(
            self,
            args: Any,
            state: Any,
            control: Any,
            logs: Mapping[str, Any] | None = None,
            **_: Any,
        ) -> None:
            if not logs or "reward" not in logs:
                return
            self.take(logs, state.global_step, args.logging_steps)
            mean = sum(self.flat) / len(self.flat)
            if len(self.flat) == WATCHED and mean > share:
                groups = (
                    f"In {mean:.0%} of the groups of the last {WATCHED} steps all answers were "
                    "worth the same"
                )
                self.alarmed = (
                    f"{groups}: the answers have collapsed, or there is nothing left to learn."
                )
                control.should_training_stop = True

        def on_train_begin(
            self,
            args: Any,
            state: Any,
            control: Any,  # noqa: ARG002  # the library's signature
            **_: Any,
        ) -> None:
            """Go on from what was said before an interruption."""
            for logs in state.log_history:
                if "reward" in logs:
                    self.take(logs, logs["step"], args.logging_steps)

        def take(self, logs: Mapping[str, float], step: int, steps: int) -> None:
            kept = {
                name: float(logs[name])
                for name in ("reward", "reward_std", "frac_reward_zero_std", "kl", "loss")
                if name in logs
            }
            self.history.append({"step": step, **kept})
            self.flat.extend([kept.get("frac_reward_zero_std", 0.0)] * max(1, steps))

    return Watch()
