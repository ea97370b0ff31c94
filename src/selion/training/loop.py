"""The loop: batches in, weights out.

A killed run goes on where it was and ends, on a processor, with the same weights to the bit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from selion.errors import BadInput
from selion.models import ModelCard
from selion.models.mask2former.inference import panoptic_options
from selion.models.pixel import TorchSegmenter
from selion.progress import OnStep, silent
from selion.sample import Sample
from selion.segmenter import LoadedModel
from selion.training.checkpoint import BEST, STATE, check_same, load_state, save_state
from selion.training.criterion import Criterion, make_loss
from selion.training.draws import generator
from selion.training.forward import batch_loss, held_out_loss
from selion.training.hardware import TrainingDevice, choose_engine, kept_memory
from selion.training.loader import Feed, Place, Waiting, read_ahead
from selion.training.log import TrainingLog
from selion.training.reading import recipe_table
from selion.training.recipe import Recipe
from selion.training.schedule import is_stale, learning_rate, said_span
from selion.training.scoring import Scores, chosen, score_ways
from selion.training.state import (
    TrainingState,
    from_tensors,
    kept,
    make_state,
    put,
    to_tensors,
    update_average,
    weights_of,
)

if TYPE_CHECKING:
    from selion.fields import NodeScore

LOG_EVERY = 10
"""Steps between two entries of the log."""
NORMS = (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d, torch.nn.BatchNorm3d, torch.nn.SyncBatchNorm)


@dataclass(frozen=True, eq=False)
class Trained:
    """What a run gave."""

    weights: dict[str, torch.Tensor]
    """State dict to export."""
    history: list[dict[str, Any]]
    """Entries of the log: ``step``, ``epoch``, and either ``loss``, ``lr``, ``images_per_s``, or
    the scores of a validation."""
    scores: Scores | None
    """Of these weights on the whole validation split, if there is one."""
    seconds: float
    """Of this run since it began or was resumed."""
    waited: float
    """Share of the seconds of training spent waiting for data."""
    images_per_second: float
    engine: str
    """What computed it."""
    leads: bool = True
    """Whether this process is the one that writes."""
    steps: int = 0
    """Done since the very beginning."""
    spent: float = 0.0
    """Seconds since the very beginning, breaks left out."""


@dataclass(eq=False)
class _Run:
    """One call of :func:`fit`."""

    recipe: Recipe
    card: ModelCard
    feed: Feed
    validation: Sequence[Sample]
    engine: TrainingDevice
    loss: Criterion
    state: TrainingState
    folder: Path | None
    data: str
    on_step: OnStep
    score: NodeScore | None = None
    log: TrainingLog | None = None
    images: int = 0
    training_seconds: float = 0.0
    loader: Waiting | None = None
    began: float = 0.0
    saved: float = 0.0
    limit: float = math.inf
    """Seconds of training after which it ends."""
    before: float = 0.0
    """Of them, those before it was resumed."""
    taken: int = 0
    """Steps of this call."""
    ended: float = 0.0
    """Limit of which all steps that there was time for are done."""

    @property
    def spent(self) -> float:
        """Seconds by the clock since the very beginning, breaks left out."""
        return self.before + time.monotonic() - self.began

    @property
    def steps(self) -> int:
        """Steps in an epoch."""
        return -(-self.feed.batches // (self.recipe.schedule.accumulate * self.engine.world))

    @property
    def step(self) -> int:
        """Steps done since the very beginning."""
        return self.state.epoch * self.steps + self.state.done

    @property
    def leads(self) -> bool:
        """Whether this process writes."""
        return self.engine.rank == 0


def fit(
    network: torch.nn.Module,
    samples: Sequence[Sample],
    recipe: Recipe,
    card: ModelCard,
    folder: Path | None = None,
    *,
    validation: Sequence[Sample] = (),
    score: NodeScore | None = None,
    resume: bool = False,
    data: str = "",
    limit: float = math.inf,
    on_step: OnStep = silent,
) -> Trained:
    """Train a network on samples.

    Parameters
    ----------
    network : torch.nn.Module
        (view, band, y, x) float32 -> (view, class, y, x) logits; it is trained in place.
    samples : sequence of Sample
        Opened when they are needed.
    recipe : Recipe
    card : ModelCard
        What the network will be: used to validate it as maps are made.
    folder : path, optional
        For checkpoints and curves; None keeps nothing.
    validation : sequence of Sample
        May be empty.
    score : NodeScore, optional
        Learnt score by which objects are found in validation, as maps by the new model will find
        them; without it they are those of the watershed.
    resume : bool
        Go on from the folder's checkpoint.
    data : str
        Fingerprint of the samples: a run does not go on with others.
    limit : float
        Seconds by the clock after which it ends, what was trained before it was resumed included,
        the learning rate where it ends: no step is begun that would not be done by then.  Several
        processes that share a run do all their epochs.
    on_step : callable
        Told how far the run is.

    Returns
    -------
    Trained

    Raises
    ------
    BadInput
        If there are no samples, the loss is no longer a number, or the checkpoint is of another
        recipe or of other data.
    OutputFailed
        If a checkpoint cannot be written; the last good one survives.
    """
    if not len(samples):
        raise BadInput(
            "There are no samples to train on: check data.dataset, data.train_split and "
            "data.groups."
        )
    engine = choose_engine(recipe.hardware)
    state = make_state(network, recipe, engine.device, engine.precision == "float16")
    run = _Run(
        recipe,
        card,
        Feed(samples, recipe),
        validation,
        engine,
        make_loss(recipe.loss, recipe.classes),
        state,
        folder,
        data,
        on_step,
        score=score,
        limit=math.inf if engine.accelerator else limit,
    )
    if resume:
        _resume(run)
    if engine.accelerator:
        state.network = engine.accelerator.prepare_model(state.network)
    with kept_memory(engine.device):
        if folder is None or not run.leads:
            return _train(run)
        folder.mkdir(parents=True, exist_ok=True)
        with TrainingLog(folder, state.history, run.step) as run.log:
            return _train(run)


def _train(run: _Run) -> Trained:
    run.began = run.saved = time.monotonic()
    epochs, state = run.recipe.schedule.epochs, run.state
    turns = list(_turns(run))
    run.loader = read_ahead(run.feed, [place for turn in turns for place in turn])
    batches = iter(run.loader)
    started = time.perf_counter()
    for turn in turns:
        if state.done == 0 and is_stale(state.history, run.recipe) and not run.engine.accelerator:
            break
        if _is_late(run):
            break
        loss = _one_step(run, [next(batches) for _ in turn], turn)
        state.done += 1
        run.taken += 1
        if state.done == run.steps:
            state.epoch, state.done = state.epoch + 1, 0
        run.training_seconds += time.perf_counter() - started
        _tell(run, loss)
        if state.done == 0 and state.epoch < epochs:
            _between_epochs(run)
        elif time.monotonic() - run.saved > 60 * run.recipe.hardware.save_every:
            _save(run)
        started = time.perf_counter()
    run.loader.close()
    return _finish(run)


def _is_late(run: _Run) -> bool:
    """Say whether a step as long as those of this call so far would end beyond the limit."""
    usual = run.training_seconds / run.taken if run.taken else 0.0
    return run.step > 0 and (run.limit <= run.ended or run.spent + usual > run.limit)


def _turns(run: _Run) -> Iterator[list[Place]]:
    """Yield, for each step from where the state is, the batches that this process takes."""
    schedule, world = run.recipe.schedule, run.engine.world
    for epoch in range(run.state.epoch, schedule.epochs):
        for step in range(run.state.done if epoch == run.state.epoch else 0, run.steps):
            first = step * schedule.accumulate * world
            numbers = range(
                first + run.engine.rank,
                min(first + schedule.accumulate * world, _rounded(run)),
                world,
            )
            yield [(epoch, number % run.feed.batches) for number in numbers]


def _rounded(run: _Run) -> int:
    """Return the number of batches of an epoch, up to a multiple of the processes.

    Some take a batch again at the end, as all take part in each step.
    """
    return -(-run.feed.batches // run.engine.world) * run.engine.world


def _one_step(run: _Run, batches: list[Any], turn: list[Place]) -> float:
    """Add up the gradients of some batches and take one step; return the mean loss."""
    state, schedule, engine = run.state, run.recipe.schedule, run.engine
    _seed(run)
    learn(state.network, run.recipe)
    rate = learning_rate(schedule, _scheduled(run), run.steps)
    for group in state.optimizer.param_groups:
        group["lr"] = rate * group["share"]
    total = 0.0
    for number, batch in enumerate(batches, 1):
        with engine.apart(state.network, together=number == len(batches)):
            loss = batch_loss(state.network, batch, run.loss, engine) / len(batches)
            state.scaler.scale(loss).backward()
        total += float(loss.detach())
        run.images += len(batch.pixels) * engine.world
    if not math.isfinite(total):
        raise _diverged(run, total, rate, turn)
    _descend(run)
    update_average(_bare(run), schedule.average, run.step)
    return total


def _scheduled(run: _Run) -> int:
    """Return the step whose learning rate counts: a later one than its own where time runs out."""
    if run.limit == math.inf:
        return run.step
    total = run.steps * run.recipe.schedule.epochs
    return min(max(run.step, int(run.spent / run.limit * total)), total - 1)


def learn(network: torch.nn.Module, recipe: Recipe) -> None:
    """Put a network into the mode in which it learns, batch normalisation as a recipe says."""
    network.train()
    if recipe.model.batch_norm == "frozen":
        for layer in network.modules():
            if isinstance(layer, NORMS):
                layer.eval()


def _seed(run: _Run) -> None:
    """Give dropout and its like the numbers of this step, whatever was computed before."""
    torch.manual_seed(int(generator(run.recipe.seed, 3, run.step, run.engine.rank).integers(2**63)))


def _descend(run: _Run) -> None:
    state, clip = run.state, run.recipe.schedule.clip
    state.scaler.unscale_(state.optimizer)
    if clip:
        torch.nn.utils.clip_grad_norm_(state.network.parameters(), clip)
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.optimizer.zero_grad(set_to_none=True)


def _diverged(run: _Run, loss: float, rate: float, turn: list[Place]) -> BadInput:
    keys = [run.feed.samples[index].key for place in turn for index, _ in run.feed.draws(place)][:3]
    kept = (
        f" The checkpoint in {run.folder} is from before."
        if run.folder and (run.folder / STATE).exists()
        else ""
    )
    return BadInput(
        f"The loss is {loss} at step {run.step + 1} (learning rate {rate:g}; samples "
        f"{', '.join(keys)} ...): lower schedule.lr, set schedule.clip, or check "
        f"these samples.{kept}"
    )


def _tell(run: _Run, loss: float) -> None:
    """Report a step, and log it now and then."""
    total, step = run.steps * run.recipe.schedule.epochs, run.step
    pace = run.images / max(run.training_seconds, 1e-9)
    taken = max(
        run.images
        / (
            self_batch := run.recipe.schedule.batch
            * run.recipe.schedule.accumulate
            * run.engine.world
        ),
        1e-9,
    )
    left = (time.monotonic() - run.began) / taken * (total - step) if self_batch else 0.0
    left = max(min(left, run.limit - run.spent), 0.0)
    run.on_step(
        "train",
        step,
        total,
        (
            f"epoch {min(run.state.epoch + 1, run.recipe.schedule.epochs)}, loss {loss:.4g}, "
            f"{pace:.1f} images/s, {said_span(left)} left"
        ),
    )
    if step % LOG_EVERY == 0 or run.state.done == 0:
        rate = run.state.optimizer.param_groups[-1]["lr"]  # what is not slowed by its depth
        _note(
            run,
            {
                "loss": loss,
                "lr": rate,
                "images_per_s": round(pace, 2),
                "waited": round(_waited(run), 4),
            },
        )


def _waited(run: _Run) -> float:
    return run.loader.seconds / max(run.training_seconds, 1e-9) if run.loader else 0.0


def _note(run: _Run, values: dict[str, Any]) -> None:
    entry = {"step": run.step, "epoch": run.state.epoch, **values}
    run.state.history.append(entry)
    if run.log is not None:
        run.log.add(entry)


def _between_epochs(run: _Run) -> None:
    """Validate where the recipe says so, and save."""
    spec = run.recipe.validate
    if run.leads and len(run.validation) and spec.every and run.state.epoch % spec.every == 0:
        scores, loss = _validate(run, weights_of(_bare(run)), spec.limit)
        _note(run, _validation_entry(scores, loss))
        if scores.judged > run.state.best and run.recipe.schedule.keep == "best":
            run.state.best = scores.judged
            _save_best(run, scores.metric)
    _save(run)


def _validation_entry(scores: Scores, loss: float) -> dict[str, Any]:
    return {"val/loss": loss, **{f"val/{name}": value for name, value in scores.to_dict().items()}}


def _validate(run: _Run, weights: dict[str, torch.Tensor], limit: int) -> tuple[Scores, float]:
    """Score weights on the validation split, and take their loss there.

    The network has its own back afterwards.
    """
    network = _bare(run).network
    live = {name: tensor.clone() for name, tensor in kept(network).items()}
    put(network, weights)
    fast = run.engine.precision == "bfloat16"
    model = as_mapped(run.card, network, run.engine.device.type, fast=fast)
    try:
        scores = score_ways(
            model,
            run.validation,
            run.recipe.validate,
            (run.score,),
            limit,
            lambda done, total: run.on_step("validate", done, total, ""),
        )[0]
        return scores, held_out_loss(
            network, run.validation, chosen(run.validation, limit), run.recipe, run.loss, run.engine
        )
    finally:
        put(network, live)


def as_mapped(
    card: ModelCard, network: torch.nn.Module, device: str, *, fast: bool
) -> LoadedModel[Any]:
    """Return the network as a map would load it: with objects where its card asks for them."""
    asked = panoptic_options(card.architecture)
    if asked is None:
        return TorchSegmenter(card, network, device, fast=fast)
    from selion.models.mask2former.segmenter import QuerySegmenter

    return QuerySegmenter(card, network, device, asked, fast=fast)


def _bare(run: _Run) -> TrainingState:
    """Return the state with the network as it is without accelerate's wrapping."""
    if not run.engine.accelerator:
        return run.state
    return replace(run.state, network=run.engine.accelerator.unwrap_model(run.state.network))


def _facts(run: _Run) -> dict[str, Any]:
    return {"recipe": recipe_table(run.recipe), "data": run.data}


def _save(run: _Run) -> None:
    if run.folder is None or not run.leads:
        return
    state = run.state
    facts = {
        "epoch": state.epoch,
        "done": state.done,
        "best": state.best,
        "scaler": state.scaler.state_dict(),
        "history": state.history,
        **({} if run.limit == math.inf else {"seconds": run.spent, "ended": run.ended}),
        **_facts(run),
    }
    save_state(
        run.folder / STATE, to_tensors(_bare(run)), facts, f" of epoch {state.epoch} or before"
    )
    run.saved = time.monotonic()


def _save_best(run: _Run, metric: str) -> None:
    if run.folder is not None:
        save_state(
            run.folder / BEST, weights_of(_bare(run)), {"step": run.step, metric: run.state.best}
        )


def _resume(run: _Run) -> None:
    if run.folder is None:
        raise BadInput("A run without a folder cannot be resumed: give it one.")
    tensors, facts = load_state(run.folder / STATE)
    check_same(facts, _facts(run), run.folder / STATE)
    from_tensors(run.state, tensors)
    run.state.scaler.load_state_dict(facts["scaler"])
    run.ended = facts.get("ended", 0.0)
    run.before = facts.get("seconds", 0.0)  # not in checkpoints of before there was a limit
    run.state.epoch, run.state.done, run.state.best, run.state.history = (
        facts["epoch"],
        facts["done"],
        facts["best"],
        facts["history"],
    )


def _finish(run: _Run) -> Trained:
    """Score the weights that are kept on the whole split, and save the last state."""
    weights, scores = weights_of(_bare(run)), None
    if run.leads and len(run.validation):
        weights, scores, loss = _kept(run, weights)
        if (
            run.step != (run.state.history[-1]["step"] if run.state.history else -1)
            or "val/loss" not in run.state.history[-1]
        ):
            _note(run, _validation_entry(scores, loss))
    run.ended = run.limit
    _save(run)
    seconds = time.monotonic() - run.began
    pace = run.images / max(run.training_seconds, 1e-9)
    return Trained(
        weights, run.state.history, scores, seconds, _waited(run), pace, str(run.engine), run.leads,
        run.step, run.before + seconds,
    )  # fmt: skip


def _kept(
    run: _Run, last: dict[str, torch.Tensor]
) -> tuple[dict[str, torch.Tensor], Scores, float]:
    """Return the weights that the recipe keeps, with their scores and their loss.

    What epochs were judged on may be a part of the split, whose scores are not those of the whole:
    then the best of them is scored on the whole as well before it is compared with the last.
    """
    scores, loss = _validate(run, last, 0)
    best = run.folder / BEST if run.folder else None
    if (
        run.recipe.schedule.keep == "last"
        or best is None
        or not best.exists()
        or not (run.recipe.validate.limit or run.state.best > scores.judged)
    ):
        return last, scores, loss
    weights, _ = load_state(best)
    again = _validate(run, weights, 0)
    return (weights, *again) if again[0].judged > scores.judged else (last, scores, loss)
