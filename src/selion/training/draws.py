"""Random numbers that depend on nothing but where in the run they are drawn.

Seed, epoch, place in the epoch, and what for.

Workers, batch size, resumption and the other augmentations do not change them: two recipes that
differ in one augmentation see the same draws of all others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

PURPOSES = (
    "order",
    "window",
    "divisor",
    "rotate",
    "flip_x",
    "flip_y",
    "d4",
    "sharpness",
    "appearance",
    "blur",
    "crop",
    "noise",
    "swap",
    "part",
    "absent band",
    "absent date",
)
"""What is drawn for; append only, as the place in the list is part of the seed."""
Per = Literal["sample", "batch"]


def generator(*seed: int) -> np.random.Generator:
    """Return numpy's generator of a seed of several numbers."""
    return np.random.default_rng(seed)


@dataclass(frozen=True, slots=True)
class Draw:
    """One place in a run."""

    seed: int
    epoch: int
    index: int
    """Place in the epoch."""
    batch: int = 0
    """Number of the batch in the epoch."""

    def rng(self, purpose: str, per: Per = "sample") -> np.random.Generator:
        """Return the generator for one purpose; "batch" gives all samples of a batch the same."""
        place = (0, self.index) if per == "sample" else (1, self.batch)
        return generator(self.seed, self.epoch, *place, PURPOSES.index(purpose))

    def happens(self, purpose: str, p: float, per: Per = "sample") -> bool:
        """Say whether something with chance ``p`` happens.

        It is the first number of its generator.
        """
        return p > 0 and bool(self.rng(purpose, per).random() < p)


def order(seed: int, epoch: int, count: int, turn: int = 0) -> np.ndarray:
    """Return the order of ``count`` samples in an epoch, (count,) int64.

    ``turn`` tells the rounds of an epoch that is longer than the samples apart.
    """
    return generator(seed, epoch, 2, turn, PURPOSES.index("order")).permutation(count)
