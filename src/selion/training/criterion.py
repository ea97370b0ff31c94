"""Which loss a recipe asks for, and what that loss asks of the network."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from selion.classes import FTW3, ClassScheme
from selion.errors import BadInput, UnknownName
from selion.models.embedded.network import embedded_loss
from selion.training.decode import decode_loss
from selion.training.losses import LOSSES
from selion.training.referring import referring_loss
from selion.training.sets import set_loss

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from selion.training.recipe import Loss

RAW: dict[str, Callable[..., Tensor]] = {
    "sets": set_loss,
    "decode": decode_loss,
    "referring": referring_loss,
    "embedded": embedded_loss,
}
"""Losses of networks with answers of their own: ``loss(answer, truth, **options)``."""
TOLD = ("embedded",)
"""Of these, the ones whose network is told the truth as it answers: what it says of one class goes
on from what was right to say of the others."""
GIVEN = ("logits", "labels", "answer", "truth", "weights", "things", "boundary")
"""Arguments that do not come from ``loss.options``."""


@dataclass(frozen=True, eq=False)
class Criterion:
    """A loss as the loop calls it."""

    function: Callable[..., Tensor]
    options: dict[str, Any]
    raw: bool = False
    """Whether the network is asked for its raw answer: ``network(pixels, raw=True)``."""
    told: bool = False
    """Whether it is told the truth with that: ``network(pixels, raw=True, truth=truth)``."""

    def of(self, network: torch.nn.Module, pixels: Tensor, truth: Tensor) -> Any:
        """Ask a network, wrapped or bare, for what this loss compares."""
        if self.told:
            return network(pixels, raw=True, truth=truth)
        return network(pixels, raw=True) if self.raw else network(pixels).float()

    def __call__(self, answer: Any, truth: Tensor) -> Tensor:
        """Compare an answer with (view, y, x) class ids, or (view, 2, y, x) with object ids.

        A scalar.
        """
        return self.function(answer, truth, **self.options)


def make_loss(spec: Loss, classes: ClassScheme = FTW3) -> Criterion:
    """Return the loss that a recipe asks for.

    Raises
    ------
    UnknownName
        If there is no such loss, or it has no such option.
    BadInput
        If class weights are given to a loss that has none.
    """
    known_losses = LOSSES | RAW
    if spec.kind not in known_losses:
        raise UnknownName.among("loss", spec.kind, known_losses)
    function = known_losses[spec.kind]
    takes = inspect.signature(function).parameters
    options: dict[str, Any] = dict(spec.options)
    known = [name for name in takes if name not in GIVEN]
    for key in options:
        if key not in known:
            raise UnknownName.among(f"option of the loss {spec.kind}", key, known)
    if spec.weights:
        if "weights" not in takes:
            raise BadInput(
                f"The loss {spec.kind} has no class weights, but loss.weights = "
                f"{list(spec.weights)} was given: take them out, or choose another loss."
            )
        options["weights"] = spec.weights
    if "things" in takes:
        options["things"] = [classes.index(name) for name in classes.things]
    if "boundary" in takes:
        options["boundary"] = classes.index(classes.boundary) if classes.boundary else -1
    return Criterion(function, options, spec.kind in RAW, spec.kind in TOLD)


def check_network(network: torch.nn.Module, criterion: Criterion, spec: Loss, family: str) -> None:
    """Refuse a loss of raw answers with a network that has none.

    Raises
    ------
    BadInput
        The message says which loss and which family.
    """
    takes = inspect.signature(network.forward).parameters
    if (criterion.raw and "raw" not in takes) or (criterion.told != ("truth" in takes)):
        raise BadInput(
            f"loss.kind = {spec.kind!r} does not compare what the family {family!r} answers: take "
            "another loss, or another family."
        )
