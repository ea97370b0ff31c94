"""The state of a run as tensors.

Network, optimiser, average of the weights, scaler of the gradients.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from selion.errors import BadInput
from selion.models.pixel import channels_last
from selion.training.recipe import Recipe

BLOCK = re.compile(r"(?:^|\.)transformer\.blocks\.(\d+)\.")
"""A weight of a block of a transformer, as :mod:`selion.models.vit_adapter.backbone` calls it."""
FIRST = ("cls_token", "reg_token", "mask_token", "pos_embed", "patch_embed")
"""What stands before the first block."""


@dataclass(eq=False)
class TrainingState:
    """What changes from step to step."""

    network: torch.nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    average: dict[str, torch.Tensor] | None
    """Moving average of the parameters by name, or None."""
    epoch: int = 0
    done: int = 0
    """Steps done in this epoch."""
    best: float = -1.0
    history: list[dict[str, Any]] = field(default_factory=list)
    """One entry for each logged step and each validation."""


def make_state(
    network: torch.nn.Module, recipe: Recipe, device: torch.device, half: bool
) -> TrainingState:
    """Prepare a network for its first step."""
    schedule = recipe.schedule
    network = channels_last(network.to(device))
    optimizer = torch.optim.AdamW(
        by_depth(network, schedule.layer_decay),
        lr=schedule.lr,
        weight_decay=schedule.weight_decay,
        amsgrad=schedule.amsgrad,
    )
    average = (
        {name: p.detach().clone() for name, p in network.named_parameters() if _moves(network, p)}
        if schedule.average
        else None
    )
    return TrainingState(
        network, optimizer, torch.amp.GradScaler(device.type, enabled=half), average
    )


def _moves(network: torch.nn.Module, parameter: torch.nn.Parameter) -> bool:
    return parameter.requires_grad or not getattr(network, "reloads_frozen", False)


def by_depth(network: torch.nn.Module, decay: float) -> list[dict[str, Any]]:
    """Return the weights that learn, in groups for the optimiser, with their shares of the rate.

    Parameters
    ----------
    network : torch.nn.Module
    decay : float
        Share of the next block's learning rate; 1: one group.

    Returns
    -------
    list of dict
        ``params`` and ``share``, the deepest last.

    Raises
    ------
    BadInput
        If there is to be a decay and the network has no blocks of a transformer.

    Notes
    -----
    As BEiT is fine-tuned (Bao et al. 2021, section 3.2; ViT-Adapter's configurations): with L
    blocks, patches and positions learn at decay^(L + 1), block k (from 0) at decay^(L - k), all
    else at 1.
    """
    learning = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
    if decay == 1:
        return [{"params": [p for _, p in learning], "share": 1.0}]
    blocks = [int(found[1]) for name, _ in learning if (found := BLOCK.search(name))]
    if not blocks:
        raise BadInput(
            f"schedule.layer_decay = {decay:g} was given, and the network has no blocks of a "
            "transformer whose learning rates could differ: leave it at 1."
        )
    last = max(blocks) + 1
    groups: dict[int, list[torch.nn.Parameter]] = {}
    for name, parameter in learning:
        block = BLOCK.search(name)
        before = "transformer." in name and name.rpartition("transformer.")[2].startswith(FIRST)
        depth = int(block[1]) + 1 if block else 0 if before else last + 1
        groups.setdefault(depth, []).append(parameter)
    return [
        {"params": groups[depth], "share": decay ** (last + 1 - depth)} for depth in sorted(groups)
    ]


def update_average(state: TrainingState, decay: float, step: int) -> None:
    """Move the average of the weights towards the live ones.

    Early in a run it forgets faster, so that the random start is gone by its end.
    """
    if state.average is None:
        return
    share = 1 - min(decay, (1 + step) / (10 + step))
    live = dict(state.network.named_parameters())
    with torch.no_grad():
        # it has no public name
        torch._foreach_lerp_(
            list(state.average.values()), [live[name].detach() for name in state.average], share
        )


def kept(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return the state dict without what need not be kept.

    A network that says ``reloads_frozen`` gets the weights that do not learn back as it is built:
    billions, where a published model is gone on from by an adapter.
    """
    found = dict(network.state_dict())
    if not getattr(network, "reloads_frozen", False):
        return found
    named = network.named_parameters(remove_duplicate=False)
    frozen = {name for name, parameter in named if not parameter.requires_grad}
    return {name: tensor for name, tensor in found.items() if name not in frozen}


def put(network: torch.nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Put back what :func:`kept` returned."""
    own = network.state_dict() if getattr(network, "reloads_frozen", False) else {}
    network.load_state_dict({**own, **weights})


def weights_of(state: TrainingState) -> dict[str, torch.Tensor]:
    """Return the state dict to export, without what the network keeps by itself.

    The averaged parameters if there are any, always with the live batch statistics.

    Averaged statistics are not to be trusted: they hold a rest of the variance 1 that batch norm
    starts with, which can be more than the truth.
    """
    found = kept(state.network)
    if state.average is not None:
        found |= state.average
    return {name: tensor.detach().clone() for name, tensor in found.items()}


def to_tensors(state: TrainingState) -> dict[str, torch.Tensor]:
    """Return all tensors under flat names."""
    found = {f"network.{name}": tensor for name, tensor in kept(state.network).items()}
    for name, tensor in (state.average or {}).items():
        found[f"average.{name}"] = tensor
    for number, values in state.optimizer.state_dict()["state"].items():
        for key, value in values.items():
            found[f"optimizer.{number}.{key}"] = torch.as_tensor(value)
    return found


def from_tensors(state: TrainingState, tensors: Mapping[str, torch.Tensor]) -> None:
    """Put tensors of :func:`to_tensors` back."""
    parts: dict[str, dict[str, torch.Tensor]] = {"network": {}, "average": {}, "optimizer": {}}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = tensor
    put(state.network, parts["network"])
    if state.average is not None:
        for name, value in state.average.items():
            value.copy_(parts["average"][name])
    _restore_optimizer(state.optimizer, parts["optimizer"])


def _restore_optimizer(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]
) -> None:
    """Fill the optimiser's state, in the memory layout of its parameters."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for name, tensor in tensors.items():
        number, _, key = name.partition(".")
        parameter = parameters[int(number)]
        moment = tensor.shape == parameter.shape and tensor.ndim > 0
        optimizer.state[parameter][key] = (
            torch.empty_like(parameter).copy_(tensor) if moment else tensor.clone()
        )
