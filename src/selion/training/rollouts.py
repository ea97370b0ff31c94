"""Answers that are learnt from by reward: each follows from the seed and its question's number.

They do not depend on how many processes share the run, which of them draws, or what else is drawn
at once, so that two processes learn what one does with twice the accumulation, and a run that goes
on draws what it would have drawn.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from copy import copy
from typing import Any

import numpy as np

from selion.errors import BadInput, MissingExtra, SelionError
from selion.extras import available
from selion.models.card import read_card
from selion.models.language.ebnf import to_ebnf
from selion.models.language.grammar import Grammar
from selion.models.language.smol import WHEEL
from selion.training.language_recipe import LanguageRecipe
from selion.training.processes import Team
from selion.training.split import gather_to_generate

ANSWERS = 3
"""Seed of these draws, beside those of the conversations."""


class PlacedDraws:
    """A logits processor for one call of ``generate`` that takes the likeliest token.

    The next token of each row is drawn by one number of that row's own: where it falls among the
    shares of all tokens, laid end to end.

    Parameters
    ----------
    numbers : (answer, token) float32
        From 0 up to 1.
    temperature : float
    """

    def __init__(self, numbers: np.ndarray, temperature: float) -> None:
        self._numbers, self._temperature = numbers, temperature
        self._done = 0

    def __call__(self, input_ids: Any, scores: Any) -> Any:  # noqa: ARG002  # the library's signature
        """Set the scores of all tokens but the drawn one to minus infinity.

        Parameters
        ----------
        input_ids : (answer, token) int64 tensor
        scores : (answer, vocabulary) float tensor

        Returns
        -------
        (answer, vocabulary) float tensor
        """
        import torch

        shares = torch.softmax(scores.float() / self._temperature, -1)
        ends = shares.cumsum(-1)
        numbers = torch.from_numpy(self._numbers[:, self._done]).to(scores.device)
        self._done += 1
        chosen = (ends <= numbers[:, None] * ends[:, -1:]).sum(-1)
        # sums are rounded: what falls behind the last token is the likeliest
        chosen = torch.where(chosen < shares.shape[1], chosen, shares.argmax(-1))
        return torch.full_like(scores, -torch.inf).scatter_(1, chosen[:, None], 0.0)


def draw_numbers(seed: int, questions: range, answers: int, tokens: int) -> np.ndarray:
    """Return the numbers that answers are drawn by.

    Parameters
    ----------
    seed : int
        Of the recipe.
    questions : range
        Numbers of the questions, counted through the run.
    answers : int
        To each.
    tokens : int
        Of an answer, at most.

    Returns
    -------
    (question * answer, token) float32
        From 0 up to 1.
    """
    return np.stack(
        [
            np.random.default_rng([seed, ANSWERS, question, answer]).random(tokens, np.float32)
            for question in questions
            for answer in range(answers)
        ]
    )


def drawn_by(recipe: LanguageRecipe) -> dict[str, Any]:
    """Return what tells the trainer to let vLLM draw the answers; empty: the model does.

    Raises
    ------
    MissingExtra
        If vLLM is wanted and not installed.
    BadInput
        If it cannot draw these answers.
    """
    spec, language = recipe.grpo, recipe.language
    if not spec.vllm:
        return {}
    made_here = "made here" if language.tiny else ""
    if language.quantise or made_here or WHEEL in {language.base, _base_of(language.start_from)}:
        raise BadInput(
            f"grpo.vllm = {spec.vllm!r} cannot be obeyed: vLLM loads a model from its folder, and "
            f"this one is {language.quantise or made_here or 'read from a wheel'}; leave it out."
        )
    if not available("vllm"):
        raise MissingExtra(
            f"grpo.vllm = {spec.vllm!r} wants vllm, which is not installed: pip install "
            "'trl[vllm]', or leave it out."
        )
    found: dict[str, Any] = {"use_vllm": True, "vllm_mode": spec.vllm}
    if spec.vllm == "server":
        found["vllm_server_base_url"] = spec.vllm_url
    else:
        found["vllm_gpu_memory_utilization"] = spec.vllm_memory
    if spec.grammar:
        prompt = language.prompt
        rows = (prompt.grid, prompt.grid)
        text = to_ebnf(Grammar(prompt.spelling, recipe.classes.names, rows))
        found["generation_kwargs"] = {"structured_outputs": {"grammar": text}}
    return found


def _base_of(model: str) -> str:
    """Return what the adapter of a model of selion lies on; empty: nothing, or it is not there."""
    with suppress(SelionError):
        return str(read_card(model).architecture.get("base", "")) if model else ""
    return ""


@contextmanager
def placed(model: Any, processor: Any, recipe: LanguageRecipe, team: Team) -> Iterator[Any]:
    """Let a model draw its answers by their place in the run; give the callback that counts steps.

    They are held to the grammar where the recipe wants that.

    Parameters
    ----------
    model, processor
        As the trainer gets them.
    recipe : LanguageRecipe
    team : Team
    """
    from transformers import TrainerCallback

    spec, free = recipe.grpo, model.generate

    class RolloutClock(TrainerCallback):
        """Counts the steps of the run, and what was drawn in this one."""

        step = drawn = 0

        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002  # the library's signature
            self.step, self.drawn = state.global_step, 0

    clock, processors = RolloutClock(), _grammar(model, processor, recipe)

    def generate(*given: Any, generation_config: Any, **options: Any) -> Any:
        drawn = clock.step * spec.accumulate + clock.drawn
        clock.drawn += 1
        first = (drawn * team.world + team.rank) * spec.prompts
        numbers = draw_numbers(
            recipe.seed,
            range(first, first + spec.prompts),
            spec.answers,
            generation_config.max_new_tokens,
        )
        asked = copy(generation_config)
        asked.do_sample, asked.top_k = False, None  # the processor has drawn
        return free(
            *given,
            generation_config=asked,
            **options,
            logits_processor=[*processors(), PlacedDraws(numbers, spec.temperature)],
        )

    model.generate = generate
    try:
        yield clock
    finally:
        del model.generate
        gather_to_generate(model)  # what the trainer had laid around it went with it


def _grammar(model: Any, processor: Any, recipe: LanguageRecipe) -> Any:
    """Return what gives the processors that hold one call's answers to the grammar, if wanted."""
    if not recipe.grpo.grammar:
        return list
    from selion.models.language.generation import TextGenerator
    from selion.models.language.grammar import MaskGrammar

    names = recipe.classes.names
    tokens = TextGenerator(model, processor, recipe.language.prompt, names).tokens
    return lambda: [MaskGrammar(tokens)]
