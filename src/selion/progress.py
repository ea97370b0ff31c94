"""How long work tells where it is: one way to report a step, and one to say a sentence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class OnStep(Protocol):
    """Is called while work goes on.

    Whoever wants to stop the work raises KeyboardInterrupt here.
    """

    def __call__(self, stage: str, done: float, total: float, detail: str = "", /) -> None:
        """Take note that ``done`` of ``total`` parts of a stage are finished."""
        ...


OnNote = Callable[[str], None]
"""Is called with each sentence that a user should read."""


_watching: list[OnStep] = []


def watch(on_step: OnStep) -> None:
    """Let somebody look on wherever a call names nobody, as a notebook does."""
    _watching[:] = [on_step]


def usual() -> OnStep:
    """Return who looks on where a call names nobody: nobody, but in a notebook a bar."""
    return _watching[-1] if _watching else silent


def silent(_stage: str, _done: float, _total: float, _detail: str = "", /) -> None:
    """Tell nobody about a step."""


def unsaid(_text: str) -> None:
    """Tell nobody a sentence."""
