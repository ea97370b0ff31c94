"""Upsamplers by two that learn: FADE, CARAFE, DySample.

And what they do to a transformer's maps on their way to the finer ones.

All are written from their papers: FADE's published code is for academic purposes only, and none of
it is used here.  An upsampler is called with a guide (the encoder's finer map) and the features
(the decoder's coarser map), and answers on the guide's grid; a guide of an odd size is one whose
last row or column has no partner: the cell below pixel (y, x) is always (y // 2, x // 2).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

TAPS = 5
"""Edge of the neighbourhood that an output pixel is put together from."""
_HIDDEN = 64
"""Channels that kernels are computed from, in FADE and in CARAFE."""


def reassemble(features: torch.Tensor, kernels: torch.Tensor) -> torch.Tensor:
    """Put each of the four pixels above a cell together from the 5 x 5 cells around that cell.

    Content-aware reassembly (arXiv 1905.02188, equation 2).

    Parameters
    ----------
    features : (view, channel, y, x) float tensor
        Outside of it is 0.
    kernels : (view, 25, 4, y, x) float tensor
        Weights of the 25 neighbours, row by row, for the upper left, upper right, lower left and
        lower right pixel of the cell.

    Returns
    -------
    (view, channel, 2 y, 2 x) float tensor

    Notes
    -----
    The textbook form unfolds the neighbours, 25 times the answer in memory (5.1 GB for FADE's last
    step at 896 px).  Here one neighbour after the other is a shifted view that is multiplied and
    added up, and the backward pass does the same.  The four pixels of a cell are kept apart until
    the end, so that the innermost loop runs along whole rows.
    """
    # autocast gives a softmax, and so the sum, float32
    padded = F.pad(features.to(kernels.dtype), (TAPS // 2,) * 4)
    fused = (
        _sum_of_taps(padded, kernels) if torch.jit.is_tracing() else _Taps.apply(padded, kernels)
    )
    return F.pixel_shuffle(fused.flatten(1, 2), 2)


def _tap(padded: torch.Tensor, tap: int, like: torch.Tensor) -> torch.Tensor:
    """Return the neighbour number ``tap`` of each cell, (view, channel, 1, y, x).

    It is a view of the padded features.
    """
    top, left = divmod(tap, TAPS)
    return padded[:, :, None, top : top + like.shape[-2], left : left + like.shape[-1]]


def _sum_of_taps(padded: torch.Tensor, kernels: torch.Tensor) -> torch.Tensor:
    """(view, channel, y + 4, x + 4) and (view, 25, 4, y, x) -> (view, channel, 4, y, x)."""
    total = kernels[:, None, 0] * _tap(padded, 0, kernels)
    for tap in range(1, TAPS**2):
        kernel, near = kernels[:, None, tap], _tap(padded, tap, kernels)
        total = (
            torch.addcmul(total, kernel, near)
            if torch.jit.is_tracing()
            else total.addcmul_(kernel, near)
        )
    return total


class _Taps(torch.autograd.Function):
    """:func:`_sum_of_taps` with a backward pass that adds up in place, too.

    torch's own would make 25 padded gradients and add them.
    """

    @staticmethod
    # torch's own signature
    def forward(ctx: Any, padded: torch.Tensor, kernels: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(padded, kernels)
        return _sum_of_taps(padded, kernels)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, wanted: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        padded, kernels = ctx.saved_tensors
        of_padded, of_kernels = torch.zeros_like(padded), torch.empty_like(kernels)
        for tap in range(TAPS**2):
            of_kernels[:, tap] = (wanted * _tap(padded, tap, kernels)).sum(1)
            _tap(of_padded, tap, kernels)[:, :, 0].add_((wanted * kernels[:, None, tap]).sum(2))
        return of_padded, of_kernels


def _quarters(fine: torch.Tensor) -> torch.Tensor:
    """(view, channel, 2 y or one less, 2 x or one less) -> (view, channel, 4, y, x).

    The four pixels of each cell, 0 where one is missing.
    """
    odd = [size % 2 for size in fine.shape[2:]]
    if any(odd):
        fine = F.pad(fine, (0, odd[1], 0, odd[0]))
    return F.pixel_unshuffle(fine, 2).unflatten(1, (-1, 4))


def _cut(fine: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return fine[..., : like.shape[2], : like.shape[3]]


def _start(layer: nn.Conv2d, std: float) -> nn.Conv2d:
    """Start a convolution at nearly nothing, as all three papers do.

    Their kernels and offsets begin even.
    """
    nn.init.normal_(layer.weight, std=std)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class Fade(nn.Module):
    """FADE: kernels from encoder and decoder alike.

    A gate stands between the encoder's detail and the upsampled decoder.

    With E and D the 1 x 1 compressions of guide ``en`` and features ``de`` to 64 channels, W one 3
    x 3 convolution that both share, and NN nearest upsampling::

        K = softmax_25( W * E(en) + NN( W * D(de) ) )      semi-shift convolution (section 3.3)
        g = sigmoid( NN( G(de) ) )                          gate (section 3.4)
        answer = g en + (1 - g) reassemble(de, K)

    The bias of W enters twice, as W is applied to both.  The decoder's part is computed at its own
    resolution ("L2H"): the published form at the high resolution mixes the channels of the four
    pixels, and is not followed.

    Parameters
    ----------
    channels : int
        Of guide and features; 146,586 parameters with 1,024.

    References
    ----------
    Lu, Liu, Fu, Cao: FADE, fusing the assets of decoder and encoder for task-agnostic upsampling
    (ECCV 2022, arXiv 2207.10392).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.encoder = nn.Conv2d(channels, _HIDDEN, 1)
        self.decoder = nn.Conv2d(channels, _HIDDEN, 1, bias=False)
        self.kernels = _start(nn.Conv2d(_HIDDEN, TAPS**2, 3, padding=1), 0.001)
        self.gate = nn.Conv2d(channels, 1, 1)
        for layer in (self.encoder, self.decoder):
            nn.init.xavier_uniform_(layer.weight)

    def forward(self, guide: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        """(view, channel, y, x) and half of it, rounded up -> (view, channel, y, x)."""
        fine = _quarters(self.kernels(self.encoder(guide)))
        kernels = (fine + self.kernels(self.decoder(features))[:, :, None]).softmax(1)
        fused = _cut(reassemble(features, kernels), guide)
        gate = self.gate(features).sigmoid()
        gate = _cut(gate.repeat_interleave(2, 2).repeat_interleave(2, 3), guide)
        return fused + gate * (guide - fused)


class Carafe(nn.Module):
    """CARAFE: kernels from the features themselves; the guide only says the size.

    Parameters
    ----------
    channels : int
        123,300 parameters with 1,024.

    References
    ----------
    Wang et al.: CARAFE, content-aware reassembly of features (ICCV 2019, arXiv 1905.02188), section
    3.2 with k_encoder 3, k_up 5, C_m 64.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.compress = nn.Conv2d(channels, _HIDDEN, 1)
        self.kernels = _start(nn.Conv2d(_HIDDEN, 4 * TAPS**2, 3, padding=1), 0.001)
        nn.init.xavier_uniform_(self.compress.weight)

    def forward(self, guide: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        """(view, any, y, x) and (view, channel, y / 2, x / 2) -> (view, channel, y, x).

        Halves are rounded up.
        """
        kernels = self.kernels(self.compress(features)).unflatten(1, (TAPS**2, 4)).softmax(1)
        return _cut(reassemble(features, kernels), guide)


class DySample(nn.Module):
    """DySample: each pixel reads the features at a learnt place.

    It is near where bilinear upsampling would read; the guide only says the size.

    Parameters
    ----------
    channels : int
        32,800 parameters with 1,024.
    groups : int
        Channels of a group share their places.

    References
    ----------
    Liu, Lu, Fu, Cao: Learning to upsample by learning to sample (ICCV 2023, arXiv 2308.15085),
    "linear and pixel shuffle" with static scope 0.25.
    """

    def __init__(self, channels: int, groups: int = 4) -> None:
        super().__init__()
        if channels % groups:
            raise ValueError(f"{channels} channels do not divide into {groups} groups of DySample")
        self.groups = groups
        self.offsets = _start(nn.Conv2d(channels, 2 * groups * 4, 1), 0.001)

    def forward(self, guide: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        """(view, any, y, x) and (view, channel, y / 2, x / 2) -> (view, channel, y, x).

        Halves are rounded up.
        """
        channels, rows, columns = features.shape[1:]
        # places want more digits than bfloat16 has
        exact = torch.promote_types(features.dtype, torch.float32)
        # centres of the four pixels in a cell, from its own
        corner = torch.tensor([-0.25, 0.25], dtype=exact, device=features.device)
        # (x | y, group, pixel, y, x)
        start = torch.stack([corner.repeat(2), corner.repeat_interleave(2)])[:, None, :, None, None]
        # the static scope: places of neighbouring pixels just touch
        moved = start + 0.25 * self.offsets(features).unflatten(1, (2, self.groups, 4))
        y, x = (torch.arange(n, dtype=exact, device=features.device) + 0.5 for n in (rows, columns))
        place = torch.stack(
            [(moved[:, 0] + x) * (2 / columns) - 1, (moved[:, 1] + y[:, None]) * (2 / rows) - 1], 1
        )
        # (view * group, 2 y, 2 x, 2)
        fine = (
            F.pixel_shuffle(place.flatten(1, 3), 2)
            .unflatten(1, (2, self.groups))
            .permute(0, 2, 3, 4, 1)
            .flatten(0, 1)
        )
        parts = features.reshape(-1, channels // self.groups, rows, columns)
        read = F.grid_sample(
            parts.to(exact), fine, mode="bilinear", padding_mode="border", align_corners=False
        )
        return _cut(read.reshape(-1, channels, 2 * rows, 2 * columns), guide).to(features.dtype)


def resize(features: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Bring (view, channel, y, x) bilinearly onto the grid of another map."""
    size = like.shape[2:]
    return (
        features
        if features.shape[2:] == size
        else F.interpolate(features, size=size, mode="bilinear", align_corners=False)
    )


def added(features: torch.Tensor, onto: torch.Tensor) -> torch.Tensor:
    """Bring a map bilinearly onto the grid of another, and add both."""
    # In this order: OpenVINO (2026.4) makes one step of resizing and adding, and reads the other
    # term wrongly where it is a transposed view and comes first.
    return resize(features, onto) + onto


class Resized(nn.Module):
    """The transformer's maps are added to the finer ones.

    It is done after one bilinear step each, as in ViT-Adapter.
    """

    def __init__(self, _width: int, *, recompute: bool = False) -> None:
        super().__init__()
        self.recompute = recompute

    def forward(
        self, finest: torch.Tensor, finer: torch.Tensor, first: torch.Tensor, second: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Add two maps of the transformer, at 1/16, to maps of 1/4 and 1/8."""
        return added(first, finest), added(second, finer)


class Stepwise(nn.Module):
    """The transformer's maps are added after steps of a learnt upsampler.

    One step (to 1/8) and two (to 1/4): three of them, each guided by the map it leads to.

    DepthCropSeg++ says that ViT's features of low resolution are upsampled, then added, and gives
    +0.44 M parameters: that of three FADE with 1,024 channels.  The guides are the maps before
    anything is added to them; the paper does not say so.

    Parameters
    ----------
    make : callable
        Channels -> upsampler.
    width : int
    recompute : bool
        Compute the upsamplers again in the backward pass instead of keeping what they computed.
    """

    def __init__(
        self, make: Callable[[int], nn.Module], width: int, *, recompute: bool = False
    ) -> None:
        super().__init__()
        self.ups = nn.ModuleList(make(width) for _ in range(3))
        self.recompute = recompute

    def _up(self, k: int, guide: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(self.ups[k], guide, features, use_reentrant=False)
        return self.ups[k](guide, features)

    def forward(
        self, finest: torch.Tensor, finer: torch.Tensor, first: torch.Tensor, second: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Add two maps of the transformer, at 1/16, to maps of 1/4 and 1/8."""
        halfway = self._up(0, finer, first)
        return finest + self._up(1, finest, halfway), finer + self._up(2, finer, second)


UPSAMPLERS: dict[str, Callable[[int], nn.Module]] = {
    "fade": Fade,
    "carafe": Carafe,
    "dysample": DySample,
}
"""Those that learn; "bilinear" does not."""
