"""A fine-tuned model beside the one it started from: kept near it, and scored on the same chips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from selion.classes import IGNORE
from selion.errors import SelionError, counted
from selion.fields.node_score import CUT
from selion.grid import ground_sampling_distance
from selion.progress import OnStep, silent
from selion.sample import Sample
from selion.training.scoring import (
    answers_objects,
    learnt_score,
    score_ways,
    surely_better,
)
from selion.training.start_beside import KeptShare, StartBeside, is_finite, loses_land
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
UNJUDGED = 0.75
"""The share where no chip is held out that could choose."""
LITTLE_CHIPS, LITTLE_FIELDS = 20, 100
"""Below so many training chips or fields it is said that they are few."""


@dataclass(frozen=True, eq=False)
class Settled:
    """What is exported of a finished run."""

    trained: Trained
    """With the weights that are exported, and their scores as they map."""
    card: ModelCard
    besides: tuple[Path, ...] = ()
    """Files of the start that go along: its learnt score of objects."""
    score: NodeScore | None = None
    """The score that goes along instead, as own polygons set it."""
    beside: StartBeside | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Start:
    """What a run started from, as far as it is here and fits."""

    name: str
    """As the recipe has it."""
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
    uncut: Sequence[Sample] = (),
) -> Settled:
    """Average a run's weights with the start's, and score both as they map.

    ``model.keep_start`` is the share of the start.  Where it is "auto", the held-out chips choose
    it among :data:`SHARES` (Wortsman et al., "Robust fine-tuning of zero-shot models", 2022,
    section 3): the best where it is :func:`surely_better` than the start as it maps, and loses no
    land, else the start, so that what is exported is never worse there, and no lucky choice among
    many is taken for a gain.
    Objects are found as the start finds them: its learnt score goes along where the network is
    fed alike and has its classes.  A few held-out chips cannot tell it from the watershed, and
    chose the worse one; but images ``uncut``, with all that is outlined on them, may set how it
    chooses (:mod:`selion.training.tuned_cut`).  Where not all tensors of the network are the
    start's (another number of bands or classes), nothing is averaged.
    """
    keep, name = plan.recipe.model.keep_start, plan.recipe.model.start_from
    if not name or not trained.leads or (not keep and trained.scores is None):
        return Settled(trained, plan.card)
    start = open_start(plan, trained, on_step)
    if trained.scores is None:
        share = UNJUDGED if keep == "auto" else float(keep)
        weights = _averaged(trained, start, share if start.weights else 0.0)
        card = _told(plan.card, share if start.weights else 0.0, "")
        weighted = replace(trained, weights=weights)
        return Settled(weighted, card, _besides(plan, start), None, None, _said(start.why))
    tuned = tuned_by(plan, start, uncut, on_step)
    tried = candidates(plan, network, trained, start, tuned, on_step)
    return written(plan, trained, start, tuned, tried)


def written(
    plan: Plan[Recipe],
    trained: Trained,
    start: Start,
    tuned: TunedCut | None,
    tried: tuple[KeptShare, ...],
) -> Settled:
    """Take the best of what was tried, with what the user and the card are told."""
    keep, name, folds = plan.recipe.model.keep_start, start.name, plan.recipe.validate.folds
    best = best_kept(tried)
    settled = replace(trained, weights=_averaged(trained, start, best.share), scores=best.scores)
    chosen = f", chosen on {counted(len(best.scores.keys), 'chip')}" if keep == "auto" else ""
    card = _told(best.card, best.share, chosen)
    besides = () if best.score is None else _besides(plan, start)
    if start.candidate is None:
        return Settled(settled, card, besides, None, None, _said(start.why))
    if tuned is not None:
        more = f"; fields are chosen by {tuned.said}, as own polygons set it"
        card, besides = replace(card, training=f"{card.training}{more}"), ()
    beside = StartBeside(
        start.model.card.name if start.model is not None else name,
        start.use,
        start.candidate,
        best,
        tried if keep == "auto" and len(tried) > 1 else (),
        tuned,
        folds,
    )
    own_score = None if tuned is None else tuned.score
    return Settled(settled, card, besides, own_score, beside, (beside.sentence,))


def tuned_by(
    plan: Plan[Recipe], start: Start, uncut: Sequence[Sample], on_step: OnStep
) -> TunedCut | None:
    """Let own images set how the start's learnt score chooses fields; None: it stays as it is."""
    wanted = plan.recipe.model.tune_cut and plan.recipe.model.keep_start == "auto"
    if not wanted or start.candidate is None or start.model is None or not start.weights:
        return None
    score, spec = start.candidate.score, plan.recipe.validate.resolved(start.model.classes)
    if score is None or spec.metric != "object_f1" or not _alike(plan.card, start):
        return None
    return tune_cut(start.model, score, uncut, spec, on_step) if len(uncut) else None


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


def open_start(plan: Plan[Recipe], trained: Trained, on_step: OnStep) -> Start:
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
        return Start(name, {}, None, use, None, f"Nothing of {name} was kept: {error}")
    if any(
        key not in weights or weights[key].shape != value.shape
        for key, value in trained.weights.items()
    ):
        weights = {}
    try:
        model = load_model(use)
        score = learnt_score(model, plan.recipe.validate)
        if trained.scores is None:
            return Start(name, weights, model, use, None, score=score)
        told = partial(_tell, on_step, f"{model.card.name} itself", (0, 1))
        found = score_ways(model, plan.validation, plan.recipe.validate, (score,), on_done=told)[0]
    except SelionError as error:
        why = f"What it started from could not be scored on the same chips: {error}"
        return Start(name, weights, None, use, None, why)
    judged = trained.scores.metric
    if (
        found.keys != trained.scores.keys
        or found.metric != judged
        or found.rows(judged).shape != trained.scores.rows(judged).shape  # other classes
    ):
        why = "What it started from answers other chips or classes, and is not compared."
        return Start(name, weights, model, use, None, why)
    card = replace(plan.card, inputs=model.inputs)
    method = _method(plan, model, score)
    return Start(name, weights, model, use, KeptShare(1.0, card, score, found, method), score=score)


def candidates(
    plan: Plan[Recipe],
    network: torch.nn.Module,
    trained: Trained,
    start: Start,
    tuned: TunedCut | None,
    on_step: OnStep,
) -> tuple[KeptShare, ...]:
    """Score what could be exported; the start comes first, as own chips set it."""
    from selion.training.loop import as_mapped
    from selion.training.state import put

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
                theirs = start.candidate.card.inputs
                native = plan.card.inputs.gsd is None
                if native and theirs.gsd is not None and _resampled(plan, start):
                    # weights near the start's want its scale, trained ones that of the chips
                    inputs = replace(plan.card.inputs, gsd=theirs.gsd, finer=theirs.finer)
                    cards.append(replace(plan.card, inputs=inputs))
    device = next(network.parameters()).device.type
    looks = [(share, card) for share in shares for card in cards]
    for number, (share, card) in enumerate(looks):
        put(network, _averaged(trained, start, share))
        model = as_mapped(card, network, device, fast=False)
        told = partial(_tell, on_step, f"{share:g} of the start", (number, len(looks)))
        scores = score_ways(model, plan.validation, plan.recipe.validate, ways, on_done=told)
        found += [
            KeptShare(share, card, way, one, _method(plan, model, way))
            for way, one in zip(ways, scores, strict=True)
        ]
    return tuple(found)


def _by_tuned(plan: Plan[Recipe], start: Start, tuned: TunedCut) -> KeptShare:
    """Score the start on what was held out, as own chips set its choice of fields."""
    assert start.model is not None
    assert start.candidate is not None
    ways = (tuned.score,)
    found = score_ways(start.model, plan.validation, plan.recipe.validate, ways)[0]
    return replace(start.candidate, score=tuned.score, scores=found)


def _besides(plan: Plan[Recipe], start: Start) -> tuple[Path, ...]:
    """Return the file of the start's learnt score, where it goes along."""
    if start.score is None or not start.weights or not _alike(plan.card, start):
        return ()
    folder = None if start.model is None else start.model.card.folder
    return () if folder is None else (Path(folder) / CUT,)


def _tell(on_step: OnStep, what: str, of: tuple[int, int], done: int, total: int) -> None:
    """Report a held-out chip of one of several models that are compared."""
    number, models = of
    on_step("compare", number * total + done, models * total, what)


def _resampled(plan: Plan[Recipe], start: Start) -> bool:
    """Say whether the start maps some held-out chip at another scale than the chip's own."""
    if start.model is None:
        return False
    native = (ground_sampling_distance(one.image.grid) for one in plan.validation)
    return any(start.model.inputs.working_gsd(one) not in (None, one) for one in native)


def _alike(card: ModelCard, start: Start) -> bool:
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


def best_kept(tried: Sequence[KeptShare]) -> KeptShare:
    """Return the best, or the start, which comes first, where that is not surely better.

    Where nothing can be judged, the one nearest UNJUDGED.
    """
    if not any(is_finite(one.scores) for one in tried):
        return min(tried, key=lambda one: (abs(one.share - UNJUDGED), one.score is not None))
    first = tried[0]
    is_start = first.share == 1 and is_finite(first.scores)
    able = [one for one in tried if not is_start or not loses_land(one.scores, first.scores)]
    best = max(able, key=lambda one: one.scores.judged if is_finite(one.scores) else -1.0)
    return first if is_start and not surely_better(best.scores, first.scores) else best


def _averaged(trained: Trained, start: Start, share: float) -> dict[str, torch.Tensor]:
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
