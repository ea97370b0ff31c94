"""What runs a model, as a sentence for people and as what decides its answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from selion.models.card import ModelCard
from selion.segmenter import Answers


@dataclass(frozen=True, slots=True)
class Execution:
    """What runs a model."""

    program: str
    """Library, its version, and the device: ``"OpenVINO 2026.2 on Intel Xeon"``."""
    precision: str = ""
    """``"float32"``, ``"bfloat16"``, or why not; empty: the program does not say."""
    threads: int | None = None
    """Windows that run at once on a processor; it decides no bit, so a run may go on with another
    number."""
    reason: str = ""
    """Why this one was taken, as the end of a sentence: ``"; as asked for"``."""

    def __str__(self) -> str:
        count = "" if self.threads is None else f"{self.threads} threads"
        return self._sentence("1 thread" if self.threads == 1 else count)

    @property
    def deciding(self) -> str:
        """The sentence without the number of threads."""
        return self._sentence("")

    def _sentence(self, threads: str) -> str:
        parts = (part for part in (self.program, threads, self.precision) if part)
        return ", ".join(parts) + self.reason


def on_torch(device: str, *, fast: bool, reason: str) -> Execution:
    """Describe torch on a device that is named as torch names it."""
    import torch

    precision = "bfloat16" if fast else "float32"
    return Execution(f"torch {torch.__version__} on {device.upper()}", precision, reason=reason)


def identity_of(
    kind: str, card: ModelCard, engine: str, options: object = None
) -> Mapping[str, Any]:
    """Return what tells a loaded model from another, see :class:`selion.segmenter.LoadedModel`.

    Parameters
    ----------
    kind : str
        A name that stays, wherever the class moves: unfinished work is known by it.
    card : ModelCard
    engine : str
        :attr:`Execution.deciding`.
    options : object, optional
        What else decides; its repr is taken.
    """
    found = {
        "type": kind,
        "inputs": repr(card.inputs),
        "classes": card.classes.to_dict(),
        "name": card.name,
        "sha256": card.sha256,
        "files": dict(card.files),
        "engine": engine,
    }
    return found | ({} if options is None else {"options": repr(options)})


class CardModel:
    """What a loaded model with a card says of itself: see :class:`selion.segmenter.LoadedModel`.

    Parameters
    ----------
    kind : str
        See :func:`identity_of`.
    card : ModelCard
    execution : Execution
        What runs it.
    options : object, optional
        What else decides.
    """

    gives: Answers = "probabilities"
    batch: int = 1
    """How many views a call is best made with."""
    at_once: int = 0
    """How many calls may be under way at once, from other threads than the caller's."""

    def __init__(
        self, kind: str, card: ModelCard, execution: Execution, options: object = None
    ) -> None:
        self.card, self.inputs, self.classes = card, card.inputs, card.classes
        self.engine = str(execution)
        """What runs the model, and why that one."""
        self.identity = identity_of(kind, card, execution.deciding, options)

    def rest(self) -> None:
        """Let go of memory that the next call would make again: nothing, unless a model says so."""
