"""A network's shape without its numbers: on the meta device where that is possible."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from selion.models.architectures import build


class _NumbersStay(TorchFunctionMode):
    """Ranges are made on the CPU.

    Builders read single numbers from them (the rates of stochastic depth), which the meta device
    does not have.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.linspace:
            kwargs.setdefault("device", "cpu")
        return func(*args, **kwargs)


def build_meta(architecture: Mapping[str, Any], bands: int, classes: int) -> torch.nn.Module:
    """Build a network on the meta device: shapes and counts, no memory.

    Raises
    ------
    UnknownName, BadInput
        See :func:`selion.models.architectures.build`.
    """
    with torch.device("meta"), _NumbersStay():
        return build(architecture, bands, classes)


def build_blank(architecture: Mapping[str, Any], bands: int, classes: int) -> torch.nn.Module:
    """Build a network that weights are put into.

    On the meta device, unless it has buffers that are not stored with its weights.

    Raises
    ------
    UnknownName, BadInput
        See :func:`selion.models.architectures.build`.
    """
    try:
        network = build_meta(architecture, bands, classes)
    except (RuntimeError, NotImplementedError):
        return build(architecture, bands, classes)  # some builders compute with what they make
    stored = network.state_dict().keys()
    unstored = [name for name, _ in network.named_buffers() if name not in stored]
    return build(architecture, bands, classes) if unstored else network
