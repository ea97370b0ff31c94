"""What a network needs that pools a window to one pixel and normalises it: more than one."""

from __future__ import annotations

from collections.abc import Sequence

from selion.errors import BadInput
from selion.sample import Sample
from selion.training.mixture import epoch_length
from selion.training.recipe import Recipe


def check_batch(recipe: Recipe) -> None:
    """Refuse batches of one where the network has statistics of one number a window.

    The convolutional head of frozen encoders pools a window to one pixel and normalises it.
    """
    if pools_windows(recipe) and recipe.schedule.batch == 1:
        raise BadInput(
            "schedule.batch = 1 was given, and the convolutional head of the family 'frozen' "
            "normalises over the windows of a batch: set schedule.batch to at least 2 "
            '(schedule.accumulate does not help), or model.architecture.head = "linear".'
        )


def check_epoch(recipe: Recipe, samples: Sequence[Sample]) -> None:
    """Refuse an epoch of one window, which is a batch of one, where that cannot be learnt from."""
    if pools_windows(recipe) and epoch_length(samples, recipe) == 1:
        raise BadInput(
            "The data give one window an epoch, and the convolutional head of the family 'frozen' "
            "normalises over the windows of a batch: give more samples, set crops.mode = "
            '"random" and crops.per_epoch to at least 2, or model.architecture.head = "linear".'
        )


def pools_windows(recipe: Recipe) -> bool:
    """Say whether a network has a layer that pools a window to one pixel and normalises it."""
    said = recipe.model.architecture
    return said.get("family") == "frozen" and said.get("head", "convolutional") != "linear"
