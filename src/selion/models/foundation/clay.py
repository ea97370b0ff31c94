"""Clay 1.5: an encoder that is told wavelengths, ground sampling distance, date and place.

Clay, the Clay Foundation Model (2024-25; github.com/Clay-foundation/model).  The kernels of its
first layer are made from the bands' wavelengths, as DOFA's are; waves of a token's place, and eight
numbers for date and place of the image, are added to its features; the rest is a vision transformer
without biases in its attention.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Attention, Block
from torch import nn

from selion.models.foundation.kernels import INNER, KernelMaker, maker_names
from selion.models.foundation.positions import frequencies, lattice, sines
from selion.models.foundation.published import PublishedFile, check_image, named

_SCALE = 0.02
"""Kernels are made fifty times too large; the bias is not."""
_KNOWN = 8
"""Features of a token that hold date and place of the image instead of its own place."""
_WEEKS, _HOURS, _DEGREES = 52, 24, 360
_MADE = maker_names(
    "patch_embedding.weight_generator.",
    "patch_embedding.weight_generator.encoder.layers.0.",
    "patch_embedding.fclayer.l1",
    "patch_embedding.fclayer.l2",
)
_BLOCK = {
    "0.norm.weight": "norm1.weight",
    "0.norm.bias": "norm1.bias",
    "0.to_qkv.weight": "attn.qkv.weight",
    "0.to_out.weight": "attn.proj.weight",
    "1.net.0.weight": "norm2.weight",
    "1.net.0.bias": "norm2.bias",
    "1.net.1.weight": "mlp.fc1.weight",
    "1.net.1.bias": "mlp.fc1.bias",
    "1.net.3.weight": "mlp.fc2.weight",
    "1.net.3.bias": "mlp.fc2.bias",
}
"""Tensors of a block: the authors' names -> timm's."""
_LAYERS = "transformer.layers."
_LAYOUT = PublishedFile(
    "Clay 1.5",
    ("cls_token", *named("transformer.norm"), *_MADE),
    f"{_LAYERS}{{}}.",
    tuple(_BLOCK),
)
_ENCODER = "model.encoder."
"""How the encoder's tensors begin in the file, which holds a decoder and a teacher too."""


@dataclass(frozen=True, slots=True)
class ClaySize:
    """Sizes of Clay, and what it is told of the images; the published large one is the default."""

    width: int = 1024
    depth: int = 24
    heads: int = 16
    patch: int = 8
    seen: int = 256
    """Edge of the image in pixels."""
    waves: tuple[float, ...] = (0.665, 0.56, 0.493, 0.842)
    """Wavelengths of the bands in micrometres: red, green, blue and near infrared of Sentinel-2 as
    the authors' table has them."""
    metres: float = 10.0
    """Of a pixel."""
    week: float | None = None
    """Of the year, 1 to 53.  None: not told, as for a fifth of the images that Clay learnt from."""
    hour: float | None = None
    """Of the day, UTC.  PRUE gives an angle of 12 (radians, not hours) to all: 45.8366 here."""
    latitude: float | None = None
    """In degrees."""
    longitude: float | None = None
    """In degrees."""

    def known(self) -> tuple[float, ...]:
        """Return sine and cosine of week, hour, latitude and longitude; zeros where not told."""
        turns = (
            (self.week, _WEEKS),
            (self.hour, _HOURS),
            (self.latitude, _DEGREES),
            (self.longitude, _DEGREES),
        )
        angles = [None if value is None else 2 * math.pi * value / whole for value, whole in turns]
        return tuple(
            0.0 if angle is None else of(angle) for angle in angles for of in (math.sin, math.cos)
        )


class ClayEncoder(nn.Module):
    """Clay without decoder and teacher.

    Parameters
    ----------
    size : ClaySize, optional
        Default: the published one.

    Notes
    -----
    Bands are those of ``size.waves``, in that order.  The kernels follow from the weights and the
    wavelengths alone; they are made at each pass, so that they can be trained.
    """

    def __init__(self, size: ClaySize | None = None) -> None:
        super().__init__()
        self.size = size = size or ClaySize()
        self.maker = KernelMaker(size.width, size.patch, F.gelu)
        self.cls_token = nn.Parameter(torch.empty(1, 1, size.width).normal_(std=0.02))
        self.blocks = nn.Sequential(*(_block(size.width, size.heads) for _ in range(size.depth)))
        self.norm = nn.LayerNorm(size.width)
        half = INNER // 2
        waves = sines(torch.tensor(size.waves), frequencies(half, half - 1))
        self.waves: torch.Tensor
        self.places: torch.Tensor
        self.register_buffer("waves", waves)
        self.register_buffer("places", _places(size))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(view, band, y, x) -> (view, token, feature), row by row, normalised.

        Raises
        ------
        BadInput
            If the image has not the bands or the size.
        """
        bands, patch = len(self.size.waves), self.size.patch
        check_image("Clay", image, bands, self.size.seen)
        numbers, bias = self.maker(self.waves)
        kernel = _SCALE * numbers.reshape(bands, self.size.width, patch**2)
        # a product of matrices: engines want the kernels of convolutions to be constants
        edge = self.size.seen // patch
        patches = (
            image.reshape(-1, bands, edge, patch, edge, patch)
            .permute(0, 2, 4, 1, 3, 5)
            .reshape(-1, edge**2, bands * patch**2)
        )
        tokens = patches @ kernel.permute(0, 2, 1).flatten(0, 1) + bias + self.places
        first = self.cls_token.expand(tokens.shape[0], -1, -1)
        return self.norm(self.blocks(torch.cat([first, tokens], 1)))[:, 1:]


def _block(width: int, heads: int) -> nn.Module:
    """Return timm's block, without biases in its attention."""
    block = Block(width, heads, norm_layer=nn.LayerNorm)
    block.attn = Attention(width, heads, proj_bias=False)
    return block


def _places(size: ClaySize) -> torch.Tensor:
    """Return what is added to tokens, (token, feature).

    The metres of a pixel scale the frequencies, which in Clay's code fall by two parts in a hundred
    only: its exponents are divided by half the number of features once more.
    """
    features = size.width - _KNOWN
    quarter = features // 4
    rates = frequencies(quarter, (quarter - 1) * features / 2) * size.metres
    y, x = lattice(size.seen // size.patch)
    known = torch.tensor(size.known()).expand(len(y), -1)
    return torch.cat([sines(x, rates), sines(y, rates), known], 1)


def read_clay(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Turn ``clay-v1.5.ckpt`` into :class:`ClayEncoder`'s weights.

    Parameters
    ----------
    state : mapping
        Of the whole file, or of its ``state_dict``, or of the encoder alone (names without
        ``model.encoder.``).

    Raises
    ------
    BadInput
        If a tensor of the encoder is missing, or one is there that the file has not.
    """
    inner = {name.removeprefix("state_dict."): tensor for name, tensor in state.items()}
    whole = any(name.startswith(_ENCODER) for name in inner)
    given, _ = _LAYOUT.take(
        {
            name.removeprefix(_ENCODER): tensor
            for name, tensor in inner.items()
            if name.startswith(_ENCODER) or not whole
        }
    )
    return {_own_name(name): tensor for name, tensor in given.items()}


def _own_name(name: str) -> str:
    if name in _MADE:
        return _MADE[name]
    if name.startswith(_LAYERS):
        number, rest = name.removeprefix(_LAYERS).split(".", 1)
        return f"blocks.{number}.{_BLOCK[rest]}"
    return name.removeprefix("transformer.")
