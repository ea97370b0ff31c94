"""One encoder for each date, features fused over the dates that are there, one U-Net decoder.

One network for what a user has: one date or many in any order, red, green and blue with or without
near infrared, dates with clouds cut out of them.  The siamese networks of Daudt, Le Saux, Boulch
(ICIP 2018) take two dates exactly; here the fusion is that of a set (Zaheer et al., Deep Sets,
2017): a mean that does not know the order, and what the strongest date has above it.
"""

from __future__ import annotations

from typing import Any

import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from torch import nn

from selion.errors import BadInput
from selion.models.dates.absent import ABSENT


class DateSet(nn.Module):
    """A shared encoder, features fused over dates level by level, a U-Net decoder.

    Per level the fused features are ``mean + W (max - mean)`` over the dates that are there, so one
    date alone passes as it is, and the answer knows no order.
    """

    def __init__(
        self, encoder: nn.Module, decoder: nn.Module, segmentation_head: nn.Module, bands: int
    ) -> None:
        super().__init__()
        self.encoder, self.decoder, self.segmentation_head = encoder, decoder, segmentation_head
        self.bands = bands
        channels: Any = encoder.out_channels
        self.fusions = nn.ModuleList(_half(c) for c in channels[1:])

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(view, dates x bands, y, x) -> (view, class, y, x) logits.

        Bands are those of the first date, then of the second; numbers of 0 and above, or
        :data:`ABSENT`.
        """
        return self.segmentation_head(self.features(image))

    def features(self, image: torch.Tensor) -> torch.Tensor:
        """(view, dates x bands, y, x) -> (view, channel, y, x), what the head looks at."""
        views, _, height, width = image.shape
        dates = image.reshape(-1, self.bands, height, width)
        there = (dates > ABSENT / 2).to(dates.dtype)
        # The colours as ImageNet's networks saw them, -1 to 1; what is not there is their middle.
        levels = self.encoder(torch.cat([(2 * dates - 1) * there, there], 1))
        seen = there[:, :1].reshape(views, -1, height, width)
        fused = [levels[0].reshape(views, -1, *levels[0].shape[1:])[:, 0]]
        for fusion, level in zip(self.fusions, levels[1:], strict=True):
            seen = F.avg_pool2d(seen, 2)
            fused.append(
                fuse_dates(fusion, level.reshape(views, -1, *level.shape[1:]), seen[:, :, None])
            )
        return self.decoder(fused)


def _half(channels: int) -> nn.Conv2d:
    """Return what halves each channel at first."""
    fusion = nn.Conv2d(channels, channels, 1, bias=False)
    nn.init.dirac_(fusion.weight)
    with torch.no_grad():
        fusion.weight.mul_(0.5)
    return fusion


def fuse_dates(fusion: nn.Module, dates: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """Return (view, channel, y, x) of (view, date, channel, y, x) features.

    ``seen`` is (view, date, 1, y, x), the shares of pixels that were there.
    """
    mean = (dates * seen).sum(1) / seen.sum(1).clamp(min=1e-4)
    top = torch.where(seen > 0, dates, torch.full_like(dates, -1e4)).amax(1)
    # Where no date was there, nothing is stronger than the mean.
    return mean + fusion(torch.where(seen.amax(1) > 0, top - mean, torch.zeros_like(mean)))


def make_dates(
    bands: int, classes: int, encoder: str, weights: str | bool | None, **options: Any
) -> DateSet:
    """Build a network for any number of dates.

    Parameters
    ----------
    bands : int
        Of one date.
    classes : int
    encoder : str
        smp's name; its levels halve the image one after the other.
    weights : str or bool, optional
        As smp's ``encoder_weights``.
    **options
        smp's options of :class:`segmentation_models_pytorch.Unet`.

    Raises
    ------
    BadInput
        If there are fewer than three bands: red, green and blue come first.
    """
    if bands < 3:
        raise BadInput(
            f"A network for any number of dates was asked for {bands} bands; wanted are those of "
            "one date, red, green and blue first."
        )
    unet: Any = smp.Unet(
        encoder, encoder_weights=weights, in_channels=2 * bands, classes=classes, **options
    )
    return DateSet(unet.encoder, unet.decoder, unet.segmentation_head, bands)
