"""What an encoder is shown of a date: its bands, missing ones filled, normalised, at its size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from selion.models.foundation.cards import REFLECTANCE, EncoderCard, EncoderFeed


class Fed(nn.Module):
    """The bands of a date -> the bands of an encoder.

    (view, band of the date, y, x) reflectance -> (view, band of the encoder, seen, seen).

    Parameters
    ----------
    card : EncoderCard
    feeding : EncoderFeed
        One of the card's.
    date : sequence of str
        Bands of a date, in the network's order.
    seen : int
        Edge in pixels that the encoder is shown; other windows are brought to it bilinearly.

    Raises
    ------
    BadInput
        If a band can be had in no way.
    """

    subtract: torch.Tensor
    divide: torch.Tensor

    def __init__(
        self, card: EncoderCard, feeding: EncoderFeed, date: Sequence[str], seen: int
    ) -> None:
        super().__init__()
        sources = feeding.sources(card.bands, tuple(date), card.name)
        # zeros are one more band, behind the date's own
        self._sources = [len(date) if place < 0 else place for place in sources]
        self._seen = seen
        # of one dimension, so that they are stored in full precision whatever the weights are
        for name, values in (("subtract", feeding.subtract), ("divide", feeding.divide)):
            each = values * (len(card.bands) if len(values) == 1 else 1)
            self.register_buffer(name, torch.tensor(each) / REFLECTANCE)

    def forward(self, date: torch.Tensor) -> torch.Tensor:
        """Return what the encoder is shown."""
        bands = torch.cat([date, torch.zeros_like(date[:, :1])], 1)[:, self._sources]
        shown = (bands - self.subtract[:, None, None]) / self.divide[:, None, None]
        if tuple(int(extent) for extent in shown.shape[2:]) == (self._seen, self._seen):
            return shown
        return F.interpolate(
            shown, size=(self._seen, self._seen), mode="bilinear", align_corners=False
        )
