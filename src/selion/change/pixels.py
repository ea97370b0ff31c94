"""Change of pixels.

By the paper's rule, which scales by what is in the map, and by a scale that is the same for all
maps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from selion.classes import IGNORE, ClassScheme
from selion.errors import BadInput, UnknownName
from selion.raster import Raster

CHANGES = ClassScheme(
    ("no field", "field", "gained", "lost"), (), None, ("#f2efe4", "#a9c9a0", "#1f78b4", "#d7301f")
)
"""Classes of the map of changed pixels; 255 is not known."""
LEAST = 1 / 508
"""Probabilities are stored in steps of 1/254: what is below half a step has no known logit."""


def _logit(share: np.ndarray) -> np.ndarray:
    share = np.clip(share, LEAST, 1 - LEAST)
    return np.log(share / (1 - share))


def _things(values: np.ndarray, classes: ClassScheme) -> np.ndarray:
    return values[[classes.index(name) for name in classes.things]].sum(0)


def _covered(values: np.ndarray, classes: ClassScheme) -> np.ndarray:
    edge = values[classes.index(classes.boundary)] if classes.boundary else 0.0
    return np.minimum(_things(values, classes) + edge, 1)


@dataclass(frozen=True)
class PixelRule:
    """When a pixel has changed."""

    name: str
    evidence: Callable[[np.ndarray, ClassScheme], np.ndarray]
    """(class, y, x) probabilities -> (y, x) of which the absolute difference is taken."""
    scaled: bool
    """Whether differences are scaled from the least to the largest in the map (0 to 1) first."""
    threshold: float
    """Differences above it are a change."""

    def at(self, threshold: float | None) -> PixelRule:
        """Return the rule with another threshold; None keeps it.

        Raises
        ------
        BadInput
            If it is not between 0 and 1.
        """
        if threshold is None:
            return self
        if not 0 < threshold < 1:
            raise BadInput(
                f"A threshold of {threshold} was given for change; wanted is a number between 0 "
                "and 1."
            )
        return PixelRule(self.name, self.evidence, self.scaled, threshold)


RULES = {
    "fixed": PixelRule("fixed", _covered, scaled=False, threshold=0.75),
    "paper": PixelRule(
        "paper",
        lambda values, classes: _logit(_things(values, classes)),
        scaled=True,
        threshold=0.5,
    ),
}
"""By name.

"fixed": the probability of cropland (field and the boundary within it) changed by more than 0.75.
Calibrated on five simulated countrysides in two years, measured on five others, see docs/change.md.
"paper": |difference of the field's logits|, scaled from its least to its largest value in the map,
above 0.5 (PRUE, arXiv 2603.27101).  Departure: logits come from stored probabilities, so none is
beyond 6.2.
"""


def find_rule(name: str, threshold: float | None = None) -> PixelRule:
    """Return a rule by name; raises UnknownName, BadInput."""
    if name not in RULES:
        raise UnknownName.among("rule for change", name, RULES)
    return RULES[name].at(threshold)


@dataclass(frozen=True, eq=False)
class PixelChange:
    """What one region says about change."""

    difference: np.ndarray
    """(y, x) float32, later minus earlier."""
    field: np.ndarray
    """(y, x) bool: more field than not, on the mean of both years."""
    known: np.ndarray
    """(y, x) bool: both years were seen."""


def compare_pixels(
    one: tuple[Raster, ClassScheme], other: tuple[Raster, ClassScheme], rule: PixelRule
) -> PixelChange:
    """Compare the probabilities of a region in two years."""
    known = np.ones(one[0].values.shape[1:], bool)
    for part, _ in (one, other):
        known &= True if part.valid is None else part.valid
    before, after = (rule.evidence(part.values, classes) for part, classes in (one, other))
    mean = (_covered(one[0].values, one[1]) + _covered(other[0].values, other[1])) / 2
    return PixelChange((after - before).astype(np.float32), mean > 0.5, known)


@dataclass(frozen=True)
class Scale:
    """How differences of one map become numbers from 0 to 1."""

    low: float = 0.0
    high: float = 1.0

    def wider(self, change: PixelChange) -> Scale:
        """Return the scale with the known pixels of one more region in it."""
        found = np.abs(change.difference[change.known])
        return (
            Scale(min(self.low, float(found.min())), max(self.high, float(found.max())))
            if found.size
            else self
        )


EMPTY = Scale(np.inf, -np.inf)
"""Of a map of which nothing was seen yet."""


def classify(change: PixelChange, rule: PixelRule, scale: Scale) -> np.ndarray:
    """Return (y, x) uint8 classes of :data:`CHANGES`, 255 where not known."""
    width = scale.high - scale.low
    size = (
        (np.abs(change.difference) - scale.low) / width
        if width > 0
        else np.zeros_like(change.difference)
    )
    out = np.where(
        size > rule.threshold, np.where(change.difference > 0, 2, 3), change.field
    ).astype(np.uint8)
    out[~change.known] = IGNORE
    return out
