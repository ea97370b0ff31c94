"""What an answer is worth, and what answers that know nothing are worth beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from selion.classes import IGNORE, ClassScheme
from selion.metrics import mean_dice
from selion.metrics.pixel import Over
from selion.models.language.chat import Prompt
from selion.models.language.rrle import decode

Reward = Callable[..., list[float]]


def spoken_mask(text: str, prompt: Prompt, classes: ClassScheme) -> tuple[np.ndarray, bool]:
    """Read an answer: (grid, grid) uint8, 255 where it cannot be read.

    And whether nothing was wrong with it.
    """
    mask, misread = decode(text, (prompt.grid, prompt.grid), classes.names, prompt.spelling)
    return mask, misread.clean


def dice_reward(
    prompt: Prompt, classes: ClassScheme, over: Over = "foreground", smooth: float = 1.0
) -> Reward:
    """Return the reward of MAgSeg's second step as the trainer wants it.

    Answers and columns in, one number each out.

    It is :func:`selion.metrics.mean_dice`, the very function that evaluates; what cannot be read is
    a miss.

    Parameters
    ----------
    prompt : Prompt
    classes : ClassScheme
    over : {"foreground", "union", "truth", "paper", "all"}
        As :func:`selion.metrics.mean_dice` has them.  "paper": a class that neither the truth nor
        the answer has is paid with 1.
    smooth : float
        The paper's epsilon.

    Notes
    -----
    MAgSeg (arXiv 2605.16179), reward of the policy step.
    """

    def dice(completions: Sequence[Any], truth: Sequence[Any], **_: Any) -> list[float]:
        masks = [spoken_mask(text_of(answer), prompt, classes)[0] for answer in completions]
        return [
            mean_dice(np.asarray(true, np.uint8), mask, classes, over, smooth)
            for true, mask in zip(truth, masks, strict=True)
        ]

    return dice


def validity_reward(prompt: Prompt, classes: ClassScheme) -> Reward:
    """Return a reward of 1 for each answer without a fault, and 0 for any other."""

    def validity(completions: Sequence[Any], **_: Any) -> list[float]:
        return [float(spoken_mask(text_of(answer), prompt, classes)[1]) for answer in completions]

    return validity


def text_of(answer: Any) -> str:
    """Return the text of an answer.

    It is given as a text or as messages whose content is a text or parts.
    """
    if isinstance(answer, str):
        return answer
    content = answer[0]["content"] if answer else ""
    return (
        content if isinstance(content, str) else "".join(part.get("text") or "" for part in content)
    )


@dataclass(frozen=True, slots=True)
class Standing:
    """How good answers are, beside answers that know nothing."""

    dice: float
    """Mean over patches of the mean Dice over the classes that truth or answer have."""
    paper_dice: float
    """The same over all classes, as in the paper."""
    valid: float
    """Share of answers without a fault."""
    accuracy: float
    """Share of cells that are right."""
    shuffled: float
    """Dice of answers about the images of other patches."""
    shuffled_patch: float
    """... about the patch of another image, with its own whole image."""
    shuffled_context: float
    """... about its own patch, with another whole image."""
    constants: Mapping[str, float]
    """Dice of saying one class everywhere."""
    paper_constants: Mapping[str, float]
    """The same over all classes: what the paper's reward pays for saying nothing."""
    patches: int
    each: tuple[float, ...] = ()
    """Dice of each patch."""

    @property
    def best_constant(self) -> float:
        """The best answer that knows nothing."""
        return max(self.constants.values())

    def lines(self) -> list[str]:
        """Sentences for the user."""
        best = max(self.constants, key=lambda name: self.constants[name])
        paid = max(self.paper_constants, key=lambda name: self.paper_constants[name])
        mean = (
            f"Mean Dice over present classes {self.dice:.3f} ({self.patches} patches; "
            f"{self.valid:.0%} of the answers without a fault, {self.accuracy:.0%} of cells "
            f"right); beside it: always {best!r} {self.best_constant:.3f}, images shuffled "
            f"{self.shuffled:.3f} (patch only {self.shuffled_patch:.3f}, whole image only "
            f"{self.shuffled_context:.3f})."
        )
        return [
            mean,
            (
                f"The paper's Dice over all classes {self.paper_dice:.3f}; beside it: always "
                f"{paid!r} {self.paper_constants[paid]:.3f}."
            ),
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {name: getattr(self, name) for name in self.__slots__ if name != "each"} | {
            "best_constant": self.best_constant
        }


def constants(
    truths: Sequence[np.ndarray], classes: ClassScheme, over: Over = "union", smooth: float = 1.0
) -> dict[str, float]:
    """Return what saying one class everywhere is worth, class by class, and what saying nothing is.

    The smoothing pays for that too.
    """
    said = {**dict(enumerate(classes.names)), IGNORE: "nothing"}
    return {
        name: float(
            np.mean(
                [mean_dice(true, np.full_like(true, k), classes, over, smooth) for true in truths]
            )
        )
        for k, name in said.items()
    }


def mean_worth(
    truths: Sequence[np.ndarray],
    masks: Sequence[np.ndarray],
    classes: ClassScheme,
    over: Over = "union",
) -> float:
    """Return the mean Dice of masks against truths."""
    return float(
        np.mean(
            [mean_dice(true, mask, classes, over) for true, mask in zip(truths, masks, strict=True)]
        )
    )


def accuracy(truths: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> float:
    """Return the share of known cells that are right."""
    pairs = [
        (true[true != IGNORE], mask[true != IGNORE])
        for true, mask in zip(truths, masks, strict=True)
    ]
    return float(np.concatenate([a == b for a, b in pairs]).mean())
