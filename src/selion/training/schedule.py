"""Learning rates: a function of the place in the run, with no state of its own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from selion.training.recipe import Recipe, Schedule

FIRST, LAST = 25.0, 1e4
"""One cycle begins at lr / 25 and ends 10,000 times lower (Smith and Topin, "Super-convergence",
2019, at torch's defaults)."""


def learning_rate(schedule: Schedule, step: int, steps: int) -> float:
    """Return the learning rate of a step.

    Parameters
    ----------
    schedule : Schedule
    step : int
        Steps done since the run began.
    steps : int
        Steps in an epoch.

    Notes
    -----
    Cosine per epoch is torch's CosineAnnealingLR with T_max = period (or epochs) in closed form:
    ``floor + (lr - floor) (1 + cos(pi e / period)) / 2``.  Linear is mmsegmentation's "poly" of
    power 1.
    """
    epoch = step // steps if schedule.per == "epoch" else step / steps
    progress = epoch / (schedule.period or schedule.epochs)
    done = step / (steps * schedule.epochs)
    if schedule.shape == "one-cycle":
        return _one_cycle(schedule, done)
    rising = (
        min(1.0, (done + 1 / (steps * schedule.epochs)) / schedule.warmup)
        if schedule.warmup
        else 1.0
    )
    if schedule.shape == "constant":
        return schedule.lr * rising
    if schedule.shape == "linear":
        return rising * (schedule.lr + (schedule.floor - schedule.lr) * min(progress, 1.0))
    return rising * _between(schedule.lr, schedule.floor, progress)


def _between(first: float, last: float, progress: float) -> float:
    return last + (first - last) * (1 + math.cos(math.pi * progress)) / 2


def _one_cycle(schedule: Schedule, done: float) -> float:
    if done < schedule.warmup:
        return _between(schedule.lr / FIRST, schedule.lr, done / schedule.warmup)
    return _between(
        schedule.lr, schedule.lr / FIRST / LAST, (done - schedule.warmup) / (1 - schedule.warmup)
    )


def is_stale(history: Sequence[Mapping[str, Any]], recipe: Recipe) -> bool:
    """Say whether the last ``schedule.patience`` validations of a log found nothing better."""
    patience = recipe.schedule.patience
    judged = f"val/{recipe.validate.resolved(recipe.classes).metric}"
    looks = [entry.get(judged, -1.0) for entry in history if "val/loss" in entry]
    return 0 < patience < len(looks) and max(looks[-patience:]) <= max(looks[:-patience])


def said_span(seconds: float) -> str:
    """Say how long something takes, in words."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours} h {minutes:02} min"
        if hours
        else f"{minutes} min {rest:02} s"
        if minutes
        else f"{rest} s"
    )
