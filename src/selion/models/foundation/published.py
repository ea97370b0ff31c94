"""What published encoders have in common: their files, the images that they take, their blocks.

A file holds more than the encoder: decoders, masks, other sensors.  A :class:`PublishedFile` says
which tensors the encoder needs, and what else may lie beside them; anything missing or strange is
said in one sentence, and never left as it was by chance.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from timm.models.vision_transformer import Block
from torch import nn

from selion.errors import BadInput

LINEAR = ("weight", "bias")
"""Tensors of a linear layer, a convolution or a normalisation."""


def named(*layers: str) -> tuple[str, ...]:
    """Return the names of the weights and biases of layers."""
    return tuple(f"{layer}.{kind}" for layer in layers for kind in LINEAR)


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """The tensors of a published checkpoint, by the names of its authors' file."""

    model: str
    """For messages."""
    once: tuple[str, ...]
    """What an encoder needs and has once."""
    block: str
    """How the names of a block's tensors begin, with ``{}`` for its number."""
    each: tuple[str, ...]
    """What each block needs, after that beginning."""
    beside: tuple[str, ...] = ()
    """How the names begin of what the file holds beside the encoder and is let go."""

    def take(self, state: Mapping[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], int]:
        """Return the encoder's tensors under the file's names, and the number of its blocks.

        Parameters
        ----------
        state : mapping
            Name to tensor.

        Raises
        ------
        BadInput
            If a tensor is missing, or one is there that no such file holds.
        """
        depth = 0
        while any(name.startswith(self.block.format(depth)) for name in state):
            depth += 1
        wanted = {
            *self.once,
            *(self.block.format(k) + name for k in range(max(depth, 1)) for name in self.each),
        }
        missing = sorted(wanted - state.keys())
        strange = sorted(name for name in state.keys() - wanted if not name.startswith(self.beside))
        if missing or strange:
            raise BadInput(
                f"These are not the weights of {self.model} as they are published: "
                + " and ".join(
                    f"{len(names)} tensors {what} ({', '.join(names[:3])}"
                    f"{', ...' if len(names) > 3 else ''})"
                    for names, what in ((missing, "are missing"), (strange, "are unknown"))
                    if names
                )
                + "; give the file of its authors."
            )
        return {name: state[name] for name in state if name in wanted}, depth


def check_image(model: str, image: torch.Tensor, bands: int, edge: int) -> None:
    """Refuse an image that an encoder of one size and of given bands cannot take.

    Raises
    ------
    BadInput
        If (view, band, y, x) has other bands, or another height or width than ``edge``.
    """
    if torch.jit.is_tracing():  # the sizes of a trace are tensors, and were checked before
        return
    if tuple(image.shape[1:]) != (bands, edge, edge):
        raise BadInput(
            f"{model} takes {bands} bands of {edge} x {edge} px, and {image.shape[1]} of "
            f"{image.shape[2]} x {image.shape[3]} px were given: say seen = {edge}, and give its "
            "card's bands."
        )


def blocks_of(width: int, depth: int, heads: int, epsilon: float) -> nn.Sequential:
    """Return timm's blocks of a vision transformer, with biases and hidden layers of four widths.

    Parameters
    ----------
    width, depth, heads : int
    epsilon : float
        Of the layer normalisations.
    """
    normalised: Any = partial(nn.LayerNorm, eps=epsilon)
    return nn.Sequential(
        *(Block(width, heads, qkv_bias=True, norm_layer=normalised) for _ in range(depth))
    )


BLOCK = named("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
"""Tensors of one of timm's blocks."""
