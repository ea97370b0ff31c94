"""A fine-tuned model beside the one it started from: kept near it, and scored on the same chips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from selion import metrics
from selion.classes import IGNORE
from selion.errors import SelionError, counted
from selion.sample import Sample
from selion.training.scoring import MEASURES, STATISTICS, Scores, score_samples

if TYPE_CHECKING:
    import torch

    from selion.training.loop import Trained
    from selion.training.plan import Plan
    from selion.training.recipe import Recipe

LITTLE_CHIPS, LITTLE_FIELDS = 20, 100
"""Below so many training chips or fields it is said that they are few."""


@dataclass(frozen=True, eq=False)
class StartBeside:
    """The start model on the chips that were held out, and how the new one compares."""

    name: str
    scores: Scores
    new: Scores

    @property
    def comparison(self) -> metrics.Comparison:
        """New minus start, by the measure that decides, over the same draws of chips."""
        judged = self.new.metric
        return metrics.paired_bootstrap(
            self.new.rows(judged), self.scores.rows(judged), STATISTICS[judged], draws=1000
        )

    @property
    def better(self) -> str:
        """Say which is better by the measure that decides: new, start or neither."""
        gain = self.new.judged - self.scores.judged
        return "neither" if not np.isfinite(gain) or gain == 0 else "new" if gain > 0 else "start"

    @property
    def sentence(self) -> str:
        """Return both scores, the better one, and what to do, for the user."""
        judged = self.new.metric
        found = self.comparison
        both = (
            f"On the same {counted(len(self.new.keys), 'held-out chip')} {MEASURES[judged]} is "
            f"{self.new.judged:.3f} of the new model and {self.scores.judged:.3f} of "
            f"{self.name}, which it started from"
        )
        if self.better == "neither":
            return f"{both}: neither is better."
        luck = "" if found.low > 0 or found.high < 0 else ", by no more than luck could give"
        if self.better == "new":
            return f"{both}: the new model is better{luck}."
        return (
            f"{both}: the start is better{luck}. Map with -m {self.name}; more fields from other "
            "places, a lower schedule.lr or a larger model.keep_start may help."
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "name": self.name,
            "scores": self.scores.to_dict(),
            "better": self.better,
            "difference": self.comparison.to_dict(),
            "sentence": self.sentence,
        }


def kept_near(plan: Plan[Recipe], network: torch.nn.Module, trained: Trained) -> Trained:
    """Return a run with weights that are averaged with the start's, and with their scores.

    ``model.keep_start`` is the share of the start; where not all tensors of the network are the
    start's (another number of bands or classes), nothing is averaged.  Wortsman et al., "Robust
    fine-tuning of zero-shot models", 2022, with one share instead of a chosen one.
    """
    share, name = plan.recipe.model.keep_start, plan.recipe.model.start_from
    if not share or not name:
        return trained
    from selion.training.start import start_weights

    start = start_weights(name)
    if any(
        key not in start or start[key].shape != value.shape
        for key, value in trained.weights.items()
    ):
        return trained
    weights = {
        key: (1 - share) * value + share * start[key].to(value)
        if value.is_floating_point()
        else value
        for key, value in trained.weights.items()
    }
    if not trained.leads or not len(plan.validation):
        return replace(trained, weights=weights)
    from selion.training.loop import as_mapped

    network.load_state_dict(weights)
    device = next(network.parameters()).device.type
    model = as_mapped(plan.card, network, device, fast=False)
    return replace(
        trained,
        weights=weights,
        scores=score_samples(model, plan.validation, plan.recipe.validate),
    )


def beside_start(plan: Plan[Recipe], trained: Trained) -> tuple[StartBeside | None, str]:
    """Score what a run started from on what it held out.

    None where it started from no model or nothing is held out, or with a sentence where the start
    cannot be shown those chips.
    """
    name = plan.recipe.model.start_from
    if not name or trained.scores is None or not trained.leads:
        return None, ""
    from selion.models import load_model

    inner = Path(name).expanduser() / "model"
    try:
        start = load_model(inner if inner.is_dir() else name)
        found = score_samples(start, plan.validation, plan.recipe.validate)
    except SelionError as error:
        return None, f"What it started from could not be scored on the same chips: {error}"
    if found.keys != trained.scores.keys or found.metric != trained.scores.metric:
        return None, "What it started from answers other chips or classes, and is not compared."
    return StartBeside(start.card.name, found, trained.scores), ""


def little_notes(samples: Sequence[Sample], validation: Sequence[Sample]) -> list[str]:
    """Say that there are few chips or fields to learn fields from; nothing where there are many."""
    if len(samples) >= 5 * LITTLE_CHIPS:
        return []
    fields, pixels = _held(samples)
    if len(samples) >= LITTLE_CHIPS and fields >= LITTLE_FIELDS:
        return []
    out, _ = _held(validation)
    return [
        (
            f"That is little to learn from: {counted(len(samples), 'chip')} with "
            f"{counted(fields, 'field')} and {pixels / 1e6:.2f} million known pixels; held out are "
            f"{counted(len(validation), 'chip')} with {counted(out, 'field')}, whose scores say "
            f"little. Wanted are {LITTLE_CHIPS} chips and {LITTLE_FIELDS} fields at least, of "
            "several places."
        )
    ]


def _held(samples: Sequence[Sample]) -> tuple[int, int]:
    """Count fields, chip by chip, and known pixels."""
    fields = pixels = 0
    for k in range(len(samples)):
        one = samples[k]
        if one.instances is not None:
            fields += len(np.unique(one.instances.ids[one.instances.ids > 0]))
        if one.labels is not None:
            pixels += int((one.labels.ids != IGNORE).sum())
    return fields, pixels
