"""From a batch to its loss.

Once while learning, once on the validation split, by the same few lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from selion.errors import BadInput, counted
from selion.sample import Sample
from selion.training.crops import Batch, collate, make_view
from selion.training.draws import Draw
from selion.training.mixture import recipe_for
from selion.training.recipe import Augment, Recipe

if TYPE_CHECKING:
    from selion.training.criterion import Criterion
    from selion.training.hardware import TrainingDevice

ONE_VALUE = "Expected more than 1 value per channel"
"""How torch's batch normalisation begins its refusal."""


def batch_loss(
    network: torch.nn.Module, batch: Batch, loss: Criterion, engine: TrainingDevice
) -> torch.Tensor:
    """Run a network over a batch and compare its answer with the truth.

    A scalar, differentiable.

    Raises
    ------
    BadInput
        If a level of the network has one pixel and the batch one window: nothing to normalise.
    """
    pixels = torch.from_numpy(batch.pixels).to(
        engine.device, memory_format=torch.channels_last, non_blocking=True
    )
    labels = torch.from_numpy(batch.labels).to(engine.device, non_blocking=True)
    try:
        with engine.autocast():
            answer = loss.of(network, pixels, labels)
    except ValueError as error:
        if ONE_VALUE not in str(error):
            raise
        count, _, height, width = batch.pixels.shape
        raise BadInput(
            f"A batch of {counted(count, 'window')} of {height} x {width} px was given, of which a "
            "level of the network has one value a channel, and that cannot be normalised: set "
            "schedule.batch to at least 2 with as many windows an epoch, or enlarge input.window."
        ) from error
    return loss(answer, labels)


@torch.no_grad()
def held_out_loss(
    network: torch.nn.Module,
    samples: Sequence[Sample],
    places: Sequence[int],
    recipe: Recipe,
    loss: Criterion,
    engine: TrainingDevice,
) -> float:
    """Return the mean of the training's loss over windows of samples that are not learnt from.

    Windows are cut as in training, but always the same ones, and nothing is augmented: one window
    of each sample, or, where windows are drawn at random places, a batch of them at least.  The
    network is in evaluation mode.

    Raises
    ------
    BadInput, BandMismatch, GridMismatch
        If a sample does not fit the recipe.
    """
    batch = recipe.schedule.batch
    count = max(len(places), batch) if recipe.crops.mode == "random" else len(places)
    network.eval()
    # of losses that draw points; a step of the training draws its own
    torch.manual_seed(recipe.seed)
    total = 0.0
    for first in range(0, count, batch):
        numbers = range(first, min(first + batch, count))
        chosen = [(places[k % len(places)], Draw(recipe.seed, 0, k)) for k in numbers]
        views = [
            make_view(
                samples[place], replace(recipe_for(samples, recipe, place), augment=Augment()), draw
            )
            for place, draw in chosen
        ]
        total += float(batch_loss(network, collate(views), loss, engine)) * len(views)
    return total / count
