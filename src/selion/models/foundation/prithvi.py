"""Prithvi-EO 2.0's encoder, for one image.

Szwarcman et al.: Prithvi-EO-2.0, a versatile multitemporal foundation model for Earth observation
applications (IEEE TGRS 2026, arXiv 2412.02732).  A vision transformer over cubes of one date; waves
of time, row and column are added to its tokens, and one image is the first date.  This is the
network without date and place: the one with them (TL) is another file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from selion.models.foundation.positions import frequencies, lattice, sines
from selion.models.foundation.published import BLOCK, PublishedFile, blocks_of, check_image, named

_BANDS = 6
"""Blue, green, red, narrow near infrared and both short-wave infrareds of HLS."""
_ENCODER = "encoder."
_LAYOUT = PublishedFile(
    "Prithvi-EO 2.0",
    ("cls_token", "pos_embed", *named("patch_embed.proj", "norm")),
    "blocks.{}.",
    BLOCK,
    ("decoder.",),
)


@dataclass(frozen=True, slots=True)
class PrithviSize:
    """Sizes of Prithvi-EO 2.0; the published 300M is the default."""

    width: int = 1024
    depth: int = 24
    heads: int = 16
    patch: int = 16
    seen: int = 224
    """Edge of the image in pixels."""


class PrithviEncoder(nn.Module):
    """Prithvi-EO 2.0 for one image, without its decoder.

    Parameters
    ----------
    size : PrithviSize, optional
        Default: the published one.

    Notes
    -----
    Bands are blue, green, red, narrow near infrared, and short-wave infrared 1 and 2, in that
    order.  Any size can be shown: places are counted anew, as in the authors' code.
    """

    def __init__(self, size: PrithviSize | None = None) -> None:
        super().__init__()
        self.size = size = size or PrithviSize()
        self.embed = nn.Conv2d(_BANDS, size.width, size.patch, size.patch)
        self.cls_token = nn.Parameter(torch.empty(1, 1, size.width).normal_(std=0.02))
        self.blocks = blocks_of(size.width, size.depth, size.heads, 1e-6)
        self.norm = nn.LayerNorm(size.width, eps=1e-6)
        self.places: torch.Tensor
        self.register_buffer("places", _places(size))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(view, band, y, x) -> (view, token, feature), row by row, normalised.

        Raises
        ------
        BadInput
            If the image has not the bands or the size.
        """
        check_image("Prithvi", image, _BANDS, self.size.seen)
        tokens = self.embed(image).flatten(2).transpose(1, 2) + self.places
        first = self.cls_token.expand(tokens.shape[0], -1, -1)
        return self.norm(self.blocks(torch.cat([first, tokens], 1)))[:, 1:]


def _places(size: PrithviSize) -> torch.Tensor:
    """Return (token, feature): three eighths by column, as many by row, a quarter by date."""
    edge = size.seen // size.patch
    y, x = lattice(edge)
    part = size.width // 16
    wide, rest = 3 * part, 2 * part
    return torch.cat(
        [
            sines(x, frequencies(wide, wide)),
            sines(y, frequencies(wide, wide)),
            sines(torch.zeros(edge**2), frequencies(rest, rest)),
        ],
        1,
    )


def read_prithvi(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Turn ``Prithvi_EO_V2_300M.pt`` into :class:`PrithviEncoder`'s weights.

    Raises
    ------
    BadInput
        If a tensor of the encoder is missing, or one is there that the file has not (those of date
        and place of the TL weights).

    Notes
    -----
    The file's places are fixed, and of four dates; the encoder counts its own.
    """
    given, _ = _LAYOUT.take({name.removeprefix(_ENCODER): tensor for name, tensor in state.items()})
    del given["pos_embed"]
    kernel = given.pop("patch_embed.proj.weight").flatten(2, 3)  # one date is one step
    bias = given.pop("patch_embed.proj.bias")
    return {**given, "embed.weight": kernel, "embed.bias": bias}
