"""FC-Siam: one encoder looks at both dates, their features are fused, one U-Net decoder answers.

Daudt, Le Saux, Boulch: Fully convolutional Siamese networks for change detection (ICIP 2018) has
"conc" and "diff", here with the order of terms of torchgeo (the second date first).  "avg" is the
one of PRUE (arXiv 2603.27101, Table 2 "FCSiam"): the mean does not know which date came first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import segmentation_models_pytorch as smp
import torch
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder
from torch import nn

from selion.errors import BadInput

Fuse = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
FUSIONS: dict[str, Fuse] = {
    "conc": lambda first, second: torch.cat([second, first], 1),
    "diff": lambda first, second: second - first,
    "avg": lambda first, second: (first + second) / 2,
}
"""(view, channel, y, x) of the first and of the second date -> fused."""


class Siamese(nn.Module):
    """A shared encoder, a fusion per level, a U-Net decoder.

    The dates go through the encoder one after the other, not as one batch: so the answer of "avg"
    is the same to the bit in both orders, and batch statistics are taken as torchgeo takes them.
    """

    def __init__(
        self, encoder: nn.Module, decoder: nn.Module, segmentation_head: nn.Module, fuse: Fuse
    ) -> None:
        super().__init__()
        self.encoder, self.decoder, self.segmentation_head = encoder, decoder, segmentation_head
        self._fuse = fuse

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(view, bands, y, x) -> (view, class, y, x) logits.

        Bands are those of the first date, then of the second.
        """
        first, second = (self.encoder(date) for date in image.chunk(2, 1))
        # The level at full resolution is the image itself; the decoder does not use it.
        fused = [second[0], *(self._fuse(a, b) for a, b in zip(first[1:], second[1:], strict=True))]
        return self.segmentation_head(self.decoder(fused))


def make_siamese(
    fusion: str, bands: int, classes: int, encoder: str, weights: str | bool | None, **options: Any
) -> Siamese:
    """Build an FC-Siam network.

    Parameters
    ----------
    fusion : {"conc", "diff", "avg"}
    bands : int
        Of both dates together.
    classes : int
    encoder : str
        smp's name.
    weights : str or bool, optional
        As smp's ``encoder_weights``.
    **options
        smp's options of :class:`segmentation_models_pytorch.Unet`.

    Raises
    ------
    BadInput
        If the bands do not divide into two dates.
    """
    if bands % 2:
        raise BadInput(
            f"FC-Siam wants the bands of two dates; {bands} bands are not twice a number: give the "
            "same bands for both dates."
        )
    unet: Any = smp.Unet(
        encoder, encoder_weights=weights, in_channels=bands // 2, classes=classes, **options
    )
    decoder = unet.decoder if fusion != "conc" else _wider(unet, encoder, options)
    return Siamese(unet.encoder, decoder, unet.segmentation_head, FUSIONS[fusion])


def _wider(unet: Any, encoder: str, options: dict[str, Any]) -> nn.Module:
    """Return a decoder for twice the channels on each level that it uses."""
    first, *channels = unet.encoder.out_channels
    decoder = UnetDecoder(
        encoder_channels=(first, *(2 * count for count in channels)),
        decoder_channels=options.get("decoder_channels", (256, 128, 64, 32, 16)),
        n_blocks=options.get("encoder_depth", 5),
        use_norm=options.get("decoder_use_norm", "batchnorm"),
        attention_type=options.get("decoder_attention_type"),
        add_center_block=encoder.startswith("vgg"),
        interpolation_mode=options.get("decoder_interpolation", "nearest"),
    )
    smp.base.initialization.initialize_decoder(decoder)
    return decoder
