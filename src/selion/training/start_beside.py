"""What a new model scores beside the one that it started from, for people and for reports."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from selion import metrics
from selion.errors import counted
from selion.training.scoring import MEASURES, STATISTICS, Scores
from selion.training.tuned_cut import TunedCut

if TYPE_CHECKING:
    from selion.fields import NodeScore
    from selion.models import ModelCard


LAND_LOST = 0.005
"""Pixel IoU that what replaces the start may lose."""


@dataclass(frozen=True, eq=False)
class KeptShare:
    """An average of the start's and the trained weights, as it would map."""

    share: float
    """Of the start's weights."""
    card: ModelCard
    score: NodeScore | None
    """The start's learnt score, where objects are those of the cut."""
    scores: Scores
    method: str
    """How objects are found, for people; empty where none are looked for."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "share_of_start": self.share,
            "gsd": None if self.card.inputs.gsd is None else list(self.card.inputs.gsd),
            "method": self.method,
            self.scores.metric: round(self.scores.judged, 6) if is_finite(self.scores) else None,
        }


@dataclass(frozen=True, eq=False)
class StartBeside:
    """The start model on the chips that were held out, and how the new one compares.

    Both as they map by themselves: by their learnt score of objects, or by the watershed.
    """

    name: str
    use: str
    """What ``-m`` takes to map with it."""
    start: KeptShare
    new: KeptShare
    tried: tuple[KeptShare, ...] = ()
    """What the held-out chips chose the new one from; empty where nothing was chosen."""
    tuned: TunedCut | None = None
    """How own chips set the choice of fields, where they were surely better for it."""
    folds: int = 0
    """In so many parts all own chips were judged, each by a network that had not seen it; 0: these
    chips were held out."""

    @property
    def scores(self) -> Scores:
        """What the start scores."""
        return self.start.scores

    @property
    def comparison(self) -> metrics.Comparison:
        """New minus start, by the measure that decides, over the same draws of chips."""
        judged = self.scores.metric
        return metrics.paired_bootstrap(
            self.new.scores.rows(judged), self.scores.rows(judged), STATISTICS[judged], draws=1000
        )

    @property
    def better(self) -> str:
        """Say which is better by the measure that decides: new, start or neither."""
        gain = self.new.scores.judged - self.scores.judged
        return "neither" if not np.isfinite(gain) or gain == 0 else "new" if gain > 0 else "start"

    @property
    def kept(self) -> bool:
        """Whether no average was better, so that what was written is the start itself."""
        return self.new is self.start

    @property
    def sentence(self) -> str:
        """Return both scores, the better one, and what to do, for the user."""
        if self.tuned is None:
            return self._compared
        told = self.tuned.sentence(self.name)
        if self.new is not self.tried[0]:
            return f"{told} {self._compared}"
        return (
            f"{told} No average of trained weights is surely better than that: what was written is "
            f"{self.name} with these, and maps fields so."
        )

    @property
    def _compared(self) -> str:
        """Return what the held-out chips say of the weights."""
        chips = counted(len(self.scores.keys), "own chip" if self.folds else "held-out chip")
        if self.folds:
            chips += f", each answered after training on the others in {self.folds} folds,"
        measure, ours, theirs = MEASURES[self.scores.metric], _by(self.new), _by(self.start)
        keep = f"selion map IMAGE -m {shlex.quote(self.use)} -o fields.parquet"
        cure = "more fields from other places or a lower schedule.lr may help"
        if self.kept:
            best = max((one.scores for one in self.tried[1:]), key=_judged, default=self.scores)
            above = (
                f"is above its own {measure} of {self.scores.judged:.3f}{theirs}"
                if not best.judged > self.scores.judged
                else f"finds more objects without losing land: the best has {measure} "
                f"{best.judged:.3f} for a pixel IoU of {best.pixel_iou:.3f}, {self.name} itself "
                f"{self.scores.judged:.3f} for {self.scores.pixel_iou:.3f}{theirs}"
                if loses_land(best, self.scores)
                else f"is surely better: the best has {measure} {best.judged:.3f} and {self.name} "
                f"itself {self.scores.judged:.3f}{theirs}, and so few fields can differ that much "
                "by luck"
            )
            return (
                f"On the same {chips} no average of the trained weights and those of {self.name} "
                f"{above}: what was written is {self.name} itself. Keep mapping with it: {keep}; "
                f"{cure}, and model.keep_start=0 writes what was trained alone."
            )
        both = (
            f"On the same {chips} {measure} is {self.new.scores.judged:.3f} of the new model{ours} "
            f"and {self.scores.judged:.3f} of {self.name}{theirs}, which it started from"
        )
        if self.tried:
            both += (
                f" (the best of {len(self.tried)} was taken, {self.new.share:g} of the start's "
                "weights, chosen on these chips: chips of a test split would say it without favour)"
            )
        if self.better == "neither":
            return f"{both}: neither is better."
        found = self.comparison
        luck = "" if found.sure else ", by no more than luck could give"
        if found.n == 1:
            luck = f", but {found.method}"
        if self.better == "new":
            return f"{both}: the new model is better{luck}."
        auto = "" if self.tried else ' model.keep_start = "auto" falls back to the start;'
        return (
            f"{both}: the start is better{luck}. Keep mapping with the start: {keep};{auto} {cure}."
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "name": self.name,
            "scores": self.scores.to_dict(),
            "method": self.start.method,
            "new_method": self.new.method,
            "share_of_start": self.new.share,
            "folds": self.folds,
            "tried": [one.to_dict() for one in self.tried],
            "tuned": None if self.tuned is None else self.tuned.to_dict(),
            "better": self.better,
            "difference": self.comparison.to_dict(),
            "sentence": self.sentence,
        }


def _judged(scores: Scores) -> float:
    return scores.judged if is_finite(scores) else -1.0


def loses_land(new: Scores, start: Scores) -> bool:
    """Say whether more objects would be found for less of their land."""
    return start.metric == "object_f1" and new.pixel_iou < start.pixel_iou - LAND_LOST


def _by(one: KeptShare) -> str:
    return f" (by {one.method})" if one.method else ""


def is_finite(scores: Scores) -> bool:
    """Say whether anything can be judged by scores."""
    return bool(np.isfinite(scores.judged))
