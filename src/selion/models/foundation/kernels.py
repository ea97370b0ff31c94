"""Kernels of a first layer that are made from wavelengths.

Xiong et al.: Neural plasticity-inspired foundation model for observing the Earth crossing
modalities (2024, arXiv 2403.15356).  Clay's first layer is DOFA's with small differences, which are
in the modules of the two.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from timm.layers import Mlp
from timm.models.vision_transformer import Attention
from torch import nn

INNER = 128
"""Features of a wavelength."""
_LEARNT, _HIDDEN, _HEADS = 128, 2048, 4
"""Tokens that stand beside the wavelengths', width of the hidden layer, heads."""


class KernelMaker(nn.Module):
    """Waves of wavelengths -> numbers of each band's kernel, and the layer's bias.

    A transformer of one layer over learnt tokens, a token for each band, and one more of which the
    bias is made.

    Parameters
    ----------
    width, patch : int
        Features of a token, its edge in pixels.
    activation : callable
        Between the layers that wavelengths go through first.
    """

    def __init__(
        self, width: int, patch: int, activation: Callable[[torch.Tensor], torch.Tensor]
    ) -> None:
        super().__init__()
        self.tokens = nn.Parameter(torch.empty(_LEARNT, INNER).normal_(std=0.02))
        self.last = nn.Parameter(torch.empty(1, INNER).normal_(std=0.02))
        self.waves1, self.waves2 = nn.Linear(INNER, INNER), nn.Linear(INNER, INNER)
        self.attn = Attention(INNER, _HEADS, qkv_bias=True)
        self.mlp = Mlp(INNER, _HIDDEN)
        self.norm1, self.norm2 = nn.LayerNorm(INNER), nn.LayerNorm(INNER)
        self.kernel = nn.Linear(INNER, patch**2 * width)
        self.bias = nn.Linear(INNER, width)
        self._activation = activation

    def forward(self, waves: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(band, wave) -> (band, number of the kernel) and (feature)."""
        act = self._activation
        bands = waves + act(self.waves2(act(self.waves1(waves))))
        tokens = torch.cat([self.tokens, bands, self.last])[None]
        tokens = self.norm1(tokens + self.attn(tokens))
        tokens = self.norm2(tokens + self.mlp(tokens))[0]
        return self.kernel(tokens[_LEARNT:-1] + bands), self.bias(tokens[-1])


def maker_names(generator: str, layer: str, first: str, second: str) -> dict[str, str]:
    """Return a published file's names -> those of an encoder's ``maker``, a :class:`KernelMaker`.

    Parameters
    ----------
    generator, layer : str
        How the names begin of what makes kernels, and of its transformer's layer.
    first, second : str
        Layers that wavelengths go through first.
    """
    layers = {
        f"{layer}self_attn.out_proj": "attn.proj",
        f"{layer}linear1": "mlp.fc1",
        f"{layer}linear2": "mlp.fc2",
        f"{layer}norm1": "norm1",
        f"{layer}norm2": "norm2",
        f"{generator}fc_weight": "kernel",
        f"{generator}fc_bias": "bias",
        first: "waves1",
        second: "waves2",
    }
    return {
        f"{generator}weight_tokens": "maker.tokens",
        f"{generator}bias_token": "maker.last",
        f"{layer}self_attn.in_proj_weight": "maker.attn.qkv.weight",
        f"{layer}self_attn.in_proj_bias": "maker.attn.qkv.bias",
        **{
            f"{theirs}.{kind}": f"maker.{ours}.{kind}"
            for theirs, ours in layers.items()
            for kind in ("weight", "bias")
        },
    }
