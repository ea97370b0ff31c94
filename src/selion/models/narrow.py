"""Weights in fewer bytes.

float16 for matrices, int8 with one scale per output channel for the few largest ones.

This is storage only.  Every engine widens the numbers to float32 before it computes, so all see the
same weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

SCALE = ":scale"
"""Ending of the tensor that holds the scales of an int8 tensor."""
_FLOAT16_MAX = 65504.0  # the largest finite number of the format
_LARGE = 2**19
"""Values from which a tensor is stored as int8: only the few largest ones, see the module."""


def narrow(state: Mapping[str, np.ndarray], *, half: bool, small: bool) -> dict[str, np.ndarray]:
    """Return the tensors as they are stored.

    Parameters
    ----------
    state : mapping
        State dict of a network, as arrays.
    half : bool
        Tensors of two and more dimensions become float16, unless a value is too large for it.
        Biases, scales and batch statistics are few and delicate (a running variance can be 1e-9):
        they keep their type.
    small : bool
        Tensors of two and more dimensions with 2**19 values or more become int8,
        ``round(127 * w / max|w|)`` by output channel (their first dimension), and ``max|w| / 127``
        is stored beside them.
    """
    stored: dict[str, np.ndarray] = {}
    for name, tensor in state.items():
        matrix = np.issubdtype(tensor.dtype, np.floating) and tensor.ndim >= 2
        if small and matrix and tensor.size >= _LARGE:
            top = np.abs(tensor).max(axis=tuple(range(1, tensor.ndim)), keepdims=True)
            scale = np.where(top > 0, top, np.float32(1)).astype(np.float32) / np.float32(127)
            stored[name] = np.rint(tensor.astype(np.float32) / scale).astype(np.int8)
            stored[name + SCALE] = scale
        elif half and matrix and float(np.abs(tensor).max(initial=0)) <= _FLOAT16_MAX:
            stored[name] = tensor.astype(np.float16)
        else:
            stored[name] = tensor
    # Copies, so that tensors that share memory in the network do not in the file.
    return {name: np.array(tensor, order="C") for name, tensor in stored.items()}


def widen(stored: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the state dict, as float32, that stored tensors stand for.

    Always copies: tensors lie unaligned in the file, and torch's kernels round differently on
    unaligned memory.
    """
    state = {}
    for name, tensor in stored.items():
        if name + SCALE in stored:
            state[name] = tensor.float() * stored[name + SCALE]
        elif not name.endswith(SCALE):
            state[name] = tensor.float().clone() if tensor.is_floating_point() else tensor.clone()
    return state
