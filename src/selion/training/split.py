"""A base whose weights are split among the processes of a run (FSDP2): each holds its part of them.

The libraries' trainers do it; here is what they have to be told, and how what was learnt is had
whole again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selion.errors import BadInput

SAVED = "pytorch_model_fsdp_0"
"""Folder in a checkpoint of a run that splits."""
_SWITCH = "ACCELERATE_USE_FSDP"


def split_arguments(model: Any) -> dict[str, Any]:
    """Return what a trainer is told so that it splits a model layer by layer.

    A family also names layers that this model does not have, at which the trainer would end.

    Raises
    ------
    BadInput
        If the family does not say what its layers are.
    """
    named = set(getattr(model, "_no_split_modules", None) or ())
    layers = sorted({type(part).__name__ for part in model.modules()} & named)
    if not layers:
        raise BadInput(
            "hardware.split = true cannot be obeyed: the family of this model does not say which "
            "layers may be split from each other; leave it out."
        )
    return {
        "fsdp": True,
        "fsdp_config": {
            "version": 2,
            "transformer_layer_cls_to_wrap": layers,
            "state_dict_type": "SHARDED_STATE_DICT",
        },
    }


@contextmanager
def splitting() -> Iterator[None]:
    """Let accelerate split while this lasts, on processors too.

    It asks for a split on accelerators only, though the split itself runs anywhere; several
    processes on processors are called several GPUs to it, and computed on as what they are.
    """
    from accelerate import state
    from accelerate.utils import DistributedType

    begin = state.AcceleratorState.__init__

    def begun(self: Any, *given: Any, **named: Any) -> None:
        place = state.PartialState()
        if place.distributed_type == DistributedType.MULTI_CPU:
            place.distributed_type = DistributedType.MULTI_GPU
        begin(self, *given, **named)

    was = os.environ.get(_SWITCH)
    setattr(state.AcceleratorState, "__init__", begun)  # noqa: B010  # it is a method to mypy
    try:
        yield
    finally:
        setattr(state.AcceleratorState, "__init__", begin)  # noqa: B010
        # the trainer leaves it set, and what is loaded next would believe it
        os.environ.pop(_SWITCH, None)
        if was is not None:
            os.environ[_SWITCH] = was


def whole_weights(model: Any) -> dict[str, Any]:
    """Return what learns of a split model, whole; empty if it is not split.

    All processes of a run have to ask, for each has a part of the answer.

    Returns
    -------
    dict
        Name of a parameter -> tensor on the processor.
    """
    from torch.distributed.tensor import DTensor

    learning = {name: one for name, one in model.named_parameters() if one.requires_grad}
    if not any(isinstance(one, DTensor) for one in learning.values()):
        return {}
    return {
        name: (one.full_tensor() if isinstance(one, DTensor) else one).detach().cpu().clone()
        for name, one in learning.items()
    }


def gather_to_generate(model: Any) -> None:
    """Let a split model gather what it needs to write; one that is not split stays as it is."""
    from torch.distributed.fsdp import register_fsdp_forward_method

    register_fsdp_forward_method(model, "generate")


def check_same_split(checkpoint: Path, *, split: bool) -> None:
    """Refuse to go on from a checkpoint that was written the other way.

    Raises
    ------
    BadInput
    """
    was = (checkpoint / SAVED).is_dir()
    if was != split:
        raise BadInput(
            f"{checkpoint} was written with hardware.split = {str(was).lower()}, and this run has "
            f"{str(split).lower()}: resume as it began, or start in another folder."
        )
