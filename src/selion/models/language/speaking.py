"""How a language model is asked in one run, instead of as its card says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from selion.errors import BadInput
from selion.models.card import ModelCard
from selion.models.language.chat import Prompt

LOCAL, SERVED = "transformers", "openai"
"""Formats of cards of language models: of one that runs here, and of one that a server runs."""
OPTIONS = {"samples": "--samples", "grammar": "--grammar", "scores": "--answer-scores"}
"""How the command line names what a run may say otherwise."""
INSISTED = "insisted"
"""Key of an architecture: what a run wants, so that a server that cannot do it is refused."""


def speaking_card(card: ModelCard, speaking: Mapping[str, Any]) -> ModelCard:
    """Return a card whose model is asked as a run wants it.

    What is not said stays as the card has it.  The card that comes back is the one that the model
    is loaded with, so that files made by it say how it was asked, and no unfinished work of a run
    that asked otherwise is taken up.

    Parameters
    ----------
    card : ModelCard
    speaking : mapping
        Keys of a card's ``[architecture.speaking]``.

    Raises
    ------
    BadInput
        If it is no card of a language model, or of one whose server cannot be asked so.
    """
    if not speaking:
        return card
    named = ", ".join(OPTIONS.get(key, key) for key in speaking)
    if card.format not in (LOCAL, SERVED):
        raise BadInput(
            f"{card.name} is no language model, and {named} is of the answers that one writes: "
            "omit it, or choose a language model."
        )
    own = card.architecture.get("speaking", {})
    if not isinstance(own, Mapping):
        raise BadInput(f"The card of {card.name} says speaking = {own!r}; wanted is a table.")
    insisted: dict[str, Any] = {}
    if card.format == SERVED:
        _check_served(card, str(speaking.get("grammar", "")))
        insisted = {INSISTED: sorted(speaking)}
    return replace(
        card, architecture={**card.architecture, "speaking": {**own, **speaking}, **insisted}
    )


def exact_speaking(card: ModelCard) -> dict[str, Any]:
    """Return how a loaded model is asked, to load it again in float32; empty if it is not asked."""
    if card.format != LOCAL:
        return {}
    own = card.architecture.get("speaking", {})
    return {**(own if isinstance(own, Mapping) else {}), "precision": "float32"}


def _check_served(card: ModelCard, grammar: str) -> None:
    """Refuse a grammar that a server cannot be given."""
    if grammar == "xgrammar":
        raise BadInput(
            f"--grammar xgrammar runs beside a model here, and {card.name} runs on its server: "
            "take selion, which is sent along, or none."
        )
    prompt = Prompt.from_dict(dict(card.architecture["prompt"]))  # type: ignore[call-overload]
    if grammar and grammar != "none" and prompt.spelling.counts_rows:
        raise BadInput(
            f"--grammar {grammar} cannot be obeyed by {card.name}: the codec {prompt.codec} counts "
            "its rows, which the grammars of servers cannot; omit it, or take none."
        )
