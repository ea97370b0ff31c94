"""LAVT and ReLA as networks that answer classes: each class is asked for by its name.

Notes
-----
LAVT: Yang et al., CVPR 2022 (arXiv 2112.02244).  ReLA: Liu et al., GRES (CVPR 2023, arXiv
2306.00968), over LAVT's encoder.  Facts of structure that the papers leave out are those of the
published code.

Where both depart from their papers: an image is asked about every class at once and the answers are
brought together by a softmax over the margins of each class and a background of 0, as a Segmenter's
probabilities sum to one; the last stage's gate of LAVT, whose product is thrown away, is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from selion.errors import BadInput
from selion.models.referring.eyes import ReadingSwin, ReferringSize, make_readers
from selion.models.referring.regions import RegionDecoder, RegionSize
from selion.models.referring.words import phrase_tokens

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""What Swin's images are normalised with; pixels come in from 0 to 1."""
ABSENT = -1e4
"""Margin of a class that is said not to be there."""


class ReferringAnswer(NamedTuple):
    """What a network says of each phrase."""

    masks: torch.Tensor
    """(view, phrase, 2, y / 4, x / 4) logits: not this class, this class."""
    regions: torch.Tensor | None = None
    """(view, phrase, 2, row, column) logits of ReLA's coarse map; None of LAVT."""
    absent: torch.Tensor | None = None
    """(view, phrase, 2) logits: it is there, it is not; None of LAVT."""


class MaskPredictor(nn.Module):
    """LAVT's decoder (section 3.4): from the coarsest stage to the finest."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        hidden = widths[-1] // 2
        begins = (widths[-1] + widths[-2], *(hidden + width for width in widths[-3::-1]))
        self.steps = nn.ModuleList(
            nn.Sequential(*_convolved(begin, hidden), *_convolved(hidden, hidden))
            for begin in begins
        )
        self.last = nn.Conv2d(hidden, 2, 1)

    def forward(self, stages: Sequence[torch.Tensor]) -> torch.Tensor:
        """Stages from fine to coarse -> (view, 2, y / 4, x / 4)."""
        found = stages[-1]
        for step, finer in zip(self.steps, reversed(stages[:-1]), strict=True):
            found = F.interpolate(found, finer.shape[2:], mode="bilinear", align_corners=True)
            found = step(torch.cat([found, finer], 1))
        answer: torch.Tensor = self.last(found)
        return answer


def _convolved(given: int, wanted: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(given, wanted, 3, padding=1, bias=False), nn.BatchNorm2d(wanted), nn.ReLU()


class Referring(nn.Module):
    """A network that is asked for each class by its name.

    Parameters
    ----------
    size : ReferringSize
    bands : int
        The first three are normalised as ImageNet's.
    ids, mask : (phrase, token) int64 tensor
        The phrases, of which the network keeps the tokens beside its weights.
    decoder : MaskPredictor or RegionDecoder
    weights : path, optional
    """

    ids: torch.Tensor
    mask: torch.Tensor
    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(
        self,
        size: ReferringSize,
        bands: int,
        tokens: tuple[torch.Tensor, torch.Tensor],
        decoder: nn.Module,
        weights: Path | None = None,
    ) -> None:
        super().__init__()
        swin, self.text = make_readers(size, bands, weights)
        self.eyes = ReadingSwin(swin, size.text_hidden, size.widths)
        self.decoder = decoder
        more = max(bands - len(MEAN), 0)
        for name, values in (
            ("ids", tokens[0]),
            ("mask", tokens[1]),
            ("mean", torch.tensor([*MEAN, *[0.0] * more][:bands])[:, None, None]),
            ("deviation", torch.tensor([*DEVIATION, *[1.0] * more][:bands])[:, None, None]),
        ):
            self.register_buffer(name, values)

    def forward(self, image: torch.Tensor, raw: bool = False) -> torch.Tensor | ReferringAnswer:
        """(view, band, y, x) from 0 to 1 -> (view, class, y, x) logits.

        With ``raw`` what is said of each phrase, for
        :func:`selion.training.referring.referring_loss`.
        """
        answer = self.answer(image)
        if raw:
            return answer
        margins = answer.masks[:, :, 1] - answer.masks[:, :, 0]
        margins = F.interpolate(margins, image.shape[2:], mode="bilinear", align_corners=False)
        if answer.absent is not None and not self.training:  # else nothing would learn there
            away = answer.absent[..., 1] > answer.absent[..., 0]
            margins = margins.masked_fill(away[..., None, None], ABSENT)
        return torch.cat([torch.zeros_like(margins[:, :1]), margins], 1)

    def answer(self, image: torch.Tensor) -> ReferringAnswer:
        """Return what the network says of each phrase."""
        text = self.text(input_ids=self.ids, attention_mask=self.mask)
        words = text.last_hidden_state.transpose(1, 2)
        stages = self.eyes((image - self.mean) / self.deviation, words, self.mask)
        if not isinstance(self.decoder, RegionDecoder):
            return ReferringAnswer(self._apart(self.decoder(stages), len(image)))
        said = words.transpose(1, 2).repeat(len(image), 1, 1)
        mask = self.mask.repeat(len(image), 1)
        parts = self.decoder(stages, said, mask)
        return ReferringAnswer(*(self._apart(part, len(image)) for part in parts))

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *more: Any) -> None:
        """Make room for phrases as a tokenizer had split them, which need not be at hand here."""
        for name in ("ids", "mask"):
            kept = state_dict.get(prefix + name)
            if kept is not None and kept.ndim == 2 and len(kept) == len(self.ids):
                setattr(self, name, getattr(self, name).new_empty(kept.shape))
        super()._load_from_state_dict(state_dict, prefix, *more)

    def _apart(self, values: torch.Tensor, views: int) -> torch.Tensor:
        """(view * phrase, ...) -> (view, phrase, ...)."""
        return values.reshape(views, len(self.ids), *values.shape[1:])


_TEXT = ("text_hidden", "text_layers", "text_heads", "vocabulary", "drop_path")
SIZES = ("embed_dim", "depths", "num_heads", "window_size", *_TEXT)
"""Keys of an architecture that are :class:`ReferringSize`'s."""
REGIONS = ("hidden", "regions", "layers", "encoder_layers", "heads", "feedforward")
"""Keys of an architecture that are :class:`RegionSize`'s."""


def make_referring(
    kind: str, bands: int, classes: int, weights: str = "", **options: Any
) -> Referring:
    """Build LAVT or ReLA from its options.

    Parameters
    ----------
    kind : {"lavt", "gres"}
    bands, classes : int
        The first class is the background.
    weights : str
        A folder with the folders ``swin`` and ``bert``; see
        :func:`selion.models.referring.eyes.make_readers`.
    **options
        ``phrases``, one for each class after the first, and sizes.

    Raises
    ------
    BadInput
        If phrases do not fit the classes, or sizes do not fit each other.
    """
    folder = Path(weights) if weights else None
    size = ReferringSize(**_of(options, SIZES))
    if len(size.depths) != 4 or len(size.num_heads) != 4:
        raise BadInput(
            f"depths = {list(size.depths)} and num_heads = {list(size.num_heads)} were given; "
            "wanted are four stages."
        )
    words = folder / "bert" if folder and (folder / "bert").is_dir() else None
    tokens = phrase_tokens(options.get("phrases", ()), classes, size.vocabulary, words)
    decoder: nn.Module = (
        MaskPredictor(size.widths)
        if kind == "lavt"
        else RegionDecoder(size.widths, size.text_hidden, RegionSize(**_of(options, REGIONS)))
    )
    return Referring(size, bands, tokens, decoder, folder)


def _of(options: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    return {key: options[key] for key in keys if key in options}
