"""A fine-tuned model beside the one it started from: kept near it, and scored on the same chips."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from selion import metrics
from selion.classes import IGNORE
from selion.errors import SelionError, counted
from selion.fields.node_score import CUT
from selion.grid import ground_sampling_distance
from selion.progress import OnStep, silent
from selion.sample import Sample
from selion.training.mixture import Mixture
from selion.training.scoring import (
    MEASURES,
    STATISTICS,
    Scores,
    answers_objects,
    learnt_score,
    says_something,
    score_ways,
    surely_better,
)
from selion.training.tuned_cut import TunedCut, tune_cut

if TYPE_CHECKING:
    import torch

    from selion.fields import NodeScore
    from selion.models import ModelCard
    from selion.segmenter import LoadedModel
    from selion.training.loop import Trained
    from selion.training.plan import Plan
    from selion.training.recipe import Recipe

SHARES = (1.0, 0.75, 0.5, 0.25, 0.0)
"""Shares of the start's weights that are tried where the held-out chips choose."""
HALF = 0.5
"""The share that replaces the start where it is better by no more than luck could give: Wortsman et
al. (2022) recommend it where nothing tells which."""
UNJUDGED = 0.75
"""The share where no chip is held out that could choose."""
LAND_LOST = 0.005
"""Pixel IoU that what replaces the start may lose."""
LITTLE_CHIPS, LITTLE_FIELDS = 20, 100
"""Below so many training chips or fields it is said that they are few."""


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
            self.scores.metric: round(self.scores.judged, 6) if _finite(self.scores) else None,
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
        chips = counted(len(self.scores.keys), "held-out chip")
        measure, ours, theirs = MEASURES[self.scores.metric], _by(self.new), _by(self.start)
        keep = f"selion map IMAGE -m {shlex.quote(self.use)} -o fields.parquet"
        cure = "more fields from other places or a lower schedule.lr may help"
        if self.kept:
            best = max((one.scores.judged for one in self.tried[1:]), default=0.0)
            above = (
                f"is above its own {measure} of {self.scores.judged:.3f}{theirs}"
                if not best > self.scores.judged
                else f"is surely better: the best has {measure} {best:.3f} and {self.name} itself "
                f"{self.scores.judged:.3f}{theirs}, and so few fields can differ that much by luck"
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
            best = max(one.scores.judged for one in self.tried)
            taken = (
                f"the best of {len(self.tried)} was taken, {self.new.share:g} of the start's "
                "weights"
                if self.new.scores.judged == best
                else f"none of {len(self.tried)} is surely better, and half of the start's weights "
                "was taken"
            )
            both += (
                f" ({taken}, chosen on these chips: chips of a test split would say it without "
                "favour)"
            )
        if self.better == "neither":
            return f"{both}: neither is better."
        found = self.comparison
        luck = "" if found.low > 0 or found.high < 0 else ", by no more than luck could give"
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
            "tried": [one.to_dict() for one in self.tried],
            "tuned": None if self.tuned is None else self.tuned.to_dict(),
            "better": self.better,
            "difference": self.comparison.to_dict(),
            "sentence": self.sentence,
        }


@dataclass(frozen=True, eq=False)
class Settled:
    """What is exported of a finished run."""

    trained: Trained
    """With the weights that are exported, and their scores as they map."""
    card: ModelCard
    besides: tuple[Path, ...] = ()
    """Files of the start that go along: its learnt score of objects."""
    score: NodeScore | None = None
    """The score that goes along instead, as own chips set it."""
    beside: StartBeside | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class _Start:
    """What a run started from, as far as it is here and fits."""

    weights: Mapping[str, torch.Tensor]
    """Empty where some tensor of the network is not the start's."""
    model: LoadedModel[Any] | None
    use: str
    candidate: KeptShare | None
    """The start as it maps; None where it cannot be shown the held-out chips."""
    why: str = ""
    score: NodeScore | None = None
    """Its learnt score of objects."""


def settle(
    plan: Plan[Recipe],
    network: torch.nn.Module,
    trained: Trained,
    on_step: OnStep = silent,
) -> Settled:
    """Average a run's weights with the start's, and score both as they map.

    ``model.keep_start`` is the share of the start.  Where it is "auto", the held-out chips choose
    it among :data:`SHARES` (Wortsman et al., "Robust fine-tuning of zero-shot models", 2022,
    section 3): the best where it is :func:`surely_better` than the start as it maps, else
    :data:`HALF` where that is better at all, else the start.  What is exported is never worse
    there, and no lucky choice among many is taken for a gain.
    Objects are found as the start finds them: its learnt score goes along where the network is
    fed alike and has its classes.  A few held-out chips cannot tell it from the watershed, and
    chose the worse one.  Where not all tensors of the network are the start's (another number of
    bands or classes), nothing is averaged.
    """
    keep, name = plan.recipe.model.keep_start, plan.recipe.model.start_from
    if not name or not trained.leads or (not keep and trained.scores is None):
        return Settled(trained, plan.card)
    start = _open_start(plan, trained, on_step)
    if trained.scores is None:
        share = UNJUDGED if keep == "auto" else float(keep)
        weights = _averaged(trained, start, share if start.weights else 0.0)
        card = _told(plan.card, share if start.weights else 0.0, "")
        weighted = replace(trained, weights=weights)
        return Settled(weighted, card, _besides(plan, start), None, None, _said(start.why))
    tuned = _tuned(plan, start, on_step)
    tried = _candidates(plan, network, trained, start, tuned, on_step)
    best = _best(tried)
    settled = replace(trained, weights=_averaged(trained, start, best.share), scores=best.scores)
    chosen = f", chosen on {counted(len(best.scores.keys), 'chip')}" if keep == "auto" else ""
    card = _told(best.card, best.share, chosen)
    besides = () if best.score is None else _besides(plan, start)
    if start.candidate is None:
        return Settled(settled, card, besides, None, None, _said(start.why))
    if tuned is not None:
        own = counted(len(tuned.after.keys), "own chip")
        more = f"; fields are chosen by {tuned.said}, as {own} set it"
        card, besides = replace(card, training=f"{card.training}{more}"), ()
    beside = StartBeside(
        start.model.card.name if start.model is not None else name,
        start.use,
        start.candidate,
        best,
        tried if keep == "auto" and len(tried) > 1 else (),
        tuned,
    )
    own_score = None if tuned is None else tuned.score
    return Settled(settled, card, besides, own_score, beside, (beside.sentence,))


def _tuned(plan: Plan[Recipe], start: _Start, on_step: OnStep) -> TunedCut | None:
    """Let own chips set how the start's learnt score chooses fields; None: it stays as it is."""
    wanted = plan.recipe.model.tune_cut and plan.recipe.model.keep_start == "auto"
    if not wanted or start.candidate is None or start.model is None or not start.weights:
        return None
    score, spec = start.candidate.score, plan.recipe.validate.resolved(start.model.classes)
    if score is None or spec.metric != "object_f1" or not _alike(plan.card, start):
        return None
    if isinstance(plan.samples, Mixture):
        return None  # others' chips do not say what one's own fields are like
    return tune_cut(start.model, score, (plan.samples, plan.validation), spec, on_step)


def score_of_start(plan: Plan[Recipe]) -> NodeScore | None:
    """Return the learnt score by which a run's new model will find objects.

    That of its start, where it goes along (:func:`settle`); None: the watershed finds them.
    """
    from selion.models import load_model

    name = plan.recipe.model.start_from
    if not name or not len(plan.validation):
        return None
    inner = Path(name).expanduser() / "model"
    try:
        model = load_model(str(inner) if inner.is_dir() else name)
        score = learnt_score(model, plan.recipe.validate)
    except SelionError:
        return None  # said where it is compared
    return score if _fed_alike(plan.card, model) else None


def _open_start(plan: Plan[Recipe], trained: Trained, on_step: OnStep) -> _Start:
    """Load what a run started from, and score it as it maps on what was held out."""
    from selion.models import load_model
    from selion.training.start import start_weights

    name = plan.recipe.model.start_from
    inner = Path(name).expanduser() / "model"
    use = str(inner) if inner.is_dir() else name
    weights: Mapping[str, torch.Tensor] = {}
    try:
        weights = start_weights(name)
    except (SelionError, OSError) as error:
        return _Start({}, None, use, None, f"Nothing of {name} was kept: {error}")
    if any(
        key not in weights or weights[key].shape != value.shape
        for key, value in trained.weights.items()
    ):
        weights = {}
    try:
        model = load_model(use)
        score = learnt_score(model, plan.recipe.validate)
        if trained.scores is None:
            return _Start(weights, model, use, None, score=score)
        told = partial(_tell, on_step, f"{model.card.name} itself", (0, 1))
        found = score_ways(model, plan.validation, plan.recipe.validate, (score,), on_done=told)[0]
    except SelionError as error:
        why = f"What it started from could not be scored on the same chips: {error}"
        return _Start(weights, None, use, None, why)
    judged = trained.scores.metric
    if (
        found.keys != trained.scores.keys
        or found.metric != judged
        or found.rows(judged).shape != trained.scores.rows(judged).shape  # other classes
    ):
        why = "What it started from answers other chips or classes, and is not compared."
        return _Start(weights, model, use, None, why)
    card = replace(plan.card, inputs=model.inputs)
    method = _method(plan, model, score)
    return _Start(weights, model, use, KeptShare(1.0, card, score, found, method), score=score)


def _candidates(
    plan: Plan[Recipe],
    network: torch.nn.Module,
    trained: Trained,
    start: _Start,
    tuned: TunedCut | None,
    on_step: OnStep,
) -> tuple[KeptShare, ...]:
    """Score what could be exported; the start comes first, as own chips set it."""
    from selion.training.loop import as_mapped

    keep = plan.recipe.model.keep_start
    found: list[KeptShare] = []
    shares: Sequence[float] = (0.0,)
    cards = [plan.card]
    ways: list[NodeScore | None] = [None]
    if start.weights:
        shares = SHARES if keep == "auto" else (float(keep),)
        if start.candidate is not None and _alike(plan.card, start):
            ways = [start.candidate.score]
            if keep == "auto":
                found, shares = [start.candidate], SHARES[1:]
                if tuned is not None:
                    ways = [tuned.score]
                    found = [_by_tuned(plan, start, tuned)]
                finest = start.candidate.card.inputs.gsd
                native = plan.card.inputs.gsd is None
                if native and finest is not None and _resampled(plan, start):
                    # weights near the start's want its scale, trained ones that of the chips
                    inputs = replace(plan.card.inputs, gsd=finest)
                    cards.append(replace(plan.card, inputs=inputs))
    device = next(network.parameters()).device.type
    looks = [(share, card) for share in shares for card in cards]
    for number, (share, card) in enumerate(looks):
        network.load_state_dict(_averaged(trained, start, share))
        model = as_mapped(card, network, device, fast=False)
        told = partial(_tell, on_step, f"{share:g} of the start", (number, len(looks)))
        scores = score_ways(model, plan.validation, plan.recipe.validate, ways, on_done=told)
        found += [
            KeptShare(share, card, way, one, _method(plan, model, way))
            for way, one in zip(ways, scores, strict=True)
        ]
    return tuple(found)


def _by_tuned(plan: Plan[Recipe], start: _Start, tuned: TunedCut) -> KeptShare:
    """Score the start on what was held out, as own chips set its choice of fields."""
    assert start.model is not None
    assert start.candidate is not None
    ways = (tuned.score,)
    found = score_ways(start.model, plan.validation, plan.recipe.validate, ways)[0]
    return replace(start.candidate, score=tuned.score, scores=found)


def _besides(plan: Plan[Recipe], start: _Start) -> tuple[Path, ...]:
    """Return the file of the start's learnt score, where it goes along."""
    if start.score is None or not start.weights or not _alike(plan.card, start):
        return ()
    folder = None if start.model is None else start.model.card.folder
    return () if folder is None else (Path(folder) / CUT,)


def _tell(on_step: OnStep, what: str, of: tuple[int, int], done: int, total: int) -> None:
    """Report a held-out chip of one of several models that are compared."""
    number, models = of
    on_step("compare", number * total + done, models * total, what)


def _resampled(plan: Plan[Recipe], start: _Start) -> bool:
    """Say whether the start maps some held-out chip at another scale than the chip's own."""
    if start.model is None:
        return False
    native = (ground_sampling_distance(one.image.grid) for one in plan.validation)
    return any(start.model.inputs.working_gsd(one) not in (None, one) for one in native)


def _alike(card: ModelCard, start: _Start) -> bool:
    """Say whether a model and its start have the same classes and are fed alike."""
    return start.model is not None and _fed_alike(card, start.model)


def _fed_alike(card: ModelCard, model: LoadedModel[Any]) -> bool:
    ours, theirs = card.inputs, model.inputs
    same = (ours.bands, ours.scaling.divide, ours.scaling.subtract) == (
        theirs.bands,
        theirs.scaling.divide,
        theirs.scaling.subtract,
    )
    return same and card.classes.names == model.classes.names


def _best(tried: Sequence[KeptShare]) -> KeptShare:
    """Return the best where it is surely better than the start, which comes first.

    Else the half of both where it is better at all, and else the start.  Where nothing can be
    judged, the one nearest UNJUDGED.
    """
    if not any(_finite(one.scores) for one in tried):
        return min(tried, key=lambda one: (abs(one.share - UNJUDGED), one.score is not None))
    first = tried[0]
    is_start = first.share == 1 and _finite(first.scores)
    able = [one for one in tried if not is_start or not _loses_land(one.scores, first.scores)]
    best = max(able, key=lambda one: one.scores.judged if _finite(one.scores) else -1.0)
    if not is_start or surely_better(best.scores, first.scores):
        return best
    halves = [one for one in able if one.share == HALF]
    if not halves or not says_something(first.scores):
        return first
    half = max(halves, key=lambda one: one.scores.judged)
    return half if half.scores.judged > first.scores.judged else first


def _loses_land(new: Scores, start: Scores) -> bool:
    """Say whether more objects would be found for less of their land."""
    return start.metric == "object_f1" and new.pixel_iou < start.pixel_iou - LAND_LOST


def _averaged(trained: Trained, start: _Start, share: float) -> dict[str, torch.Tensor]:
    """Return weights of which a share is the start's; whole numbers stay as they were trained."""
    if not share or not start.weights:
        return trained.weights
    return {
        key: (1 - share) * value + share * start.weights[key].to(value)
        if value.is_floating_point()
        else value
        for key, value in trained.weights.items()
    }


def _told(card: ModelCard, share: float, chosen: str) -> ModelCard:
    """Write into a card how much of the start is in its weights."""
    if not share:
        return card
    much = "all of" if share == 1 else f"{share:g} of"
    return replace(card, training=f"{card.training}; {much} the weights are the start's{chosen}")


def _method(plan: Plan[Recipe], model: Any, score: NodeScore | None) -> str:
    if answers_objects(model):
        return "its own objects"
    method = plan.recipe.validate.resolved(model.classes).method
    return "cut" if score is not None else "" if method == "pixels" else method


def _by(one: KeptShare) -> str:
    return f" (by {one.method})" if one.method else ""


def _finite(scores: Scores) -> bool:
    return bool(np.isfinite(scores.judged))


def _said(why: str) -> tuple[str, ...]:
    return (why,) if why else ()


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
