"""Models that come in two sizes, and the size of an image from which the larger one is taken.

The numbers are data: ``sizes.toml``, which ``bench/sizes.py`` measures.  A square kilometre of a
small image costs more than one of a large image, because loading the network and windows that are
not full are paid for either way, and the larger network pays more of both; so the small model is
for what is looked at, the base model for what is mapped.  One base model can be that of several
small ones, if it takes the images of all.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

_SIZES = Path(__file__).with_name("sizes.toml")


@dataclass(frozen=True, slots=True)
class SizedModel:
    """What a model of a pair costs and gives."""

    name: str
    start: float
    """Seconds of one core until the first window is looked at."""
    seconds: float
    """Seconds of one core per megapixel as the small model looks at an image; the larger one may
    look at finer pixels."""
    object_f1: float
    """On data that neither model has seen."""


@dataclass(frozen=True, slots=True)
class SizePair:
    """Two models for the same images: a quick one, and a better one that takes longer."""

    small: SizedModel
    base: SizedModel
    megapixels: float
    """From here on the base model is taken; megapixels as the small one looks at the image."""

    @property
    def names(self) -> tuple[str, str]:
        """Of the small and of the base model."""
        return self.small.name, self.base.name

    def for_size(self, megapixels: float) -> SizedModel:
        """Return the model for an image of so many megapixels as the network looks at it."""
        return self.base if megapixels >= self.megapixels else self.small

    def seconds_per_point(self, megapixels: float) -> float:
        """Return what 0.01 of object F1 more costs: seconds of one core per megapixel."""
        more = self.base.start - self.small.start
        points = 100 * (self.base.object_f1 - self.small.object_f1)
        return (more / megapixels + self.base.seconds - self.small.seconds) / points

    def reason(self, megapixels: float) -> str:
        """Say in a sentence which one is taken and why."""
        small, base = self.names
        size = f"{megapixels:,.2g}" if megapixels < 10 else f"{megapixels:,.0f}"
        times = self.base.seconds / self.small.seconds
        more = self.base.object_f1 - self.small.object_f1
        worth = f"{base} takes {times:.1f} times as long and has {more:.2f} of object F1 more"
        if self.for_size(megapixels) is self.base:
            return (
                f"{base} was chosen, because the image has {size} megapixels as {small} looks at "
                f"them ({small} below {self.megapixels:g}); {worth}: --model {small} is the quick "
                "one."
            )
        return (
            f"{small} was chosen, because the image has {size} megapixels as it looks at them "
            f"({base} from {self.megapixels:g} on); {worth}: --model {base} is the better one."
        )


@cache
def size_pairs() -> tuple[SizePair, ...]:
    """Return the models that come in two sizes."""
    table = tomllib.loads(_SIZES.read_text(encoding="utf-8"))
    return tuple(
        SizePair(_cost(pair, "small"), _cost(pair, "base"), pair["megapixels"])
        for pair in table["pair"]
    )


def _cost(pair: Mapping[str, Any], size: str) -> SizedModel:
    return SizedModel(
        pair[size], pair["start"][size], pair["seconds"][size], pair["object_f1"][size]
    )
