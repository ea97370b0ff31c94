"""Heads on a pyramid of four maps of one width: per pixel, or Mask2Former's queries."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import nn

from selion.errors import BadInput
from selion.models.vit_adapter.interaction import conv
from selion.models.vit_adapter.upsample import resize

if TYPE_CHECKING:
    from selion.models.mask2former.network import DecoderSize, SetAnswer


class Head(nn.Module):
    """What turns the four maps, the finest first, into classes."""

    def forward(self, maps: list[torch.Tensor], image: torch.Tensor) -> torch.Tensor:
        """Four maps and the image -> (view, class, y, x) logits of the image's size."""
        raise NotImplementedError

    def answer(self, maps: list[torch.Tensor]) -> SetAnswer:  # noqa: ARG002
        """Answer the queries themselves, as a loss over sets of masks wants them.

        Raises
        ------
        BadInput
            If the head has none.
        """
        raise BadInput(
            "This network answers per pixel, and a loss over sets of masks was asked for: take "
            "head = 'mask2former', or another loss."
        )


class PixelHead(Head):
    """One convolution per map, all added up, one more convolution, and classes.

    Each has ``hidden`` channels; they are added up at 1/4 of the image.

    This is the smallest of the family of Kirillov et al., "Panoptic feature pyramid networks" (CVPR
    2019, section 3.1): with an adapter before it, which has already mixed the levels, it needs no
    pyramid of its own.

    Parameters
    ----------
    width, classes : int
    norm : callable
        Channels -> normalisation.
    hidden : int
        0: 128.
    """

    def __init__(
        self, width: int, classes: int, norm: Callable[[int], nn.Module], hidden: int = 0
    ) -> None:
        super().__init__()
        hidden = hidden or 128
        self.sides = nn.ModuleList(conv(width, hidden, norm, kernel=1) for _ in range(4))
        self.join = conv(hidden, hidden, norm)
        self.classes = nn.Conv2d(hidden, classes, 1)

    def forward(self, maps: list[torch.Tensor], image: torch.Tensor) -> torch.Tensor:
        """Four maps and the image -> (view, class, y, x) logits of the image's size.

        The finest map is the first.
        """
        levels = [side(level) for side, level in zip(self.sides, maps, strict=True)]
        total = levels[0]
        for level in levels[1:]:
            total = total + resize(level, levels[0])
        return resize(self.classes(self.join(total)), image)


class QueryHead(Head):
    """Mask2Former's pixel decoder and transformer decoder, those of transformers.

    Its loss is not taken, as it does not know ignored pixels.

    Cheng et al.: Masked-attention mask transformer for universal image segmentation (CVPR 2022,
    arXiv 2112.01527).

    Parameters
    ----------
    width, classes : int
    norm : callable
        Not used: the decoders have GroupNorm and LayerNorm of their own.
    hidden : int
        Width of both decoders and of the masks' embeddings, a multiple of 32; 0: 256.
    **decoder
        ``queries``, ``encoder_layers`` and ``feedforward`` of
        :class:`~selion.models.mask2former.network.DecoderSize`; ``decoder_layers`` that are run, 9
        as in the paper.
    """

    def __init__(
        self,
        width: int,
        classes: int,
        norm: Callable[[int], nn.Module],  # noqa: ARG002
        hidden: int = 0,
        **decoder: int,
    ) -> None:
        from selion.models.mask2former.network import DecoderSize

        super().__init__()
        hidden = hidden or 256
        if hidden % 32:
            raise ValueError(
                f"hidden = {hidden} was given for Mask2Former's decoders; wanted is a multiple of "
                "32"
            )
        # transformers counts the answer before the first layer
        layers = decoder.pop("decoder_layers", 9) + 1
        size = DecoderSize(hidden, decoder_layers=layers, **decoder)
        self.model: Any = _decoders(width, classes, size)

    def answer(self, maps: list[torch.Tensor]) -> SetAnswer:
        """Answer the queries, before and after each layer of the decoder.

        Returns
        -------
        SetAnswer
            Logits of classes (view, query, class + 1), "no object" the last, and of masks (view,
            query, y / 4, x / 4), of the last layer; and those of all layers before it.
        """
        from selion.models.mask2former.network import SetAnswer

        decoded = self.model.pixel_decoder(maps)
        found = self.model.decoder(
            multi_scale_features=decoded.multi_scale_features, mask_features=decoded.mask_features
        )
        classes = [
            self.model.classes(state.transpose(0, 1)) for state in found.intermediate_hidden_states
        ]
        layers = list(zip(classes, found.masks_queries_logits, strict=True))
        return SetAnswer(
            *layers[-1], auxiliary=tuple(SetAnswer(*layer, auxiliary=()) for layer in layers[:-1])
        )

    def forward(self, maps: list[torch.Tensor], image: torch.Tensor) -> torch.Tensor:
        """Four maps, the finest first, and the image -> (view, class, y, x) logits.

        The logarithm of the evidence, as :class:`selion.models.mask2former.network.Queries`.
        """
        from selion.models.mask2former.network import log_evidence

        answer = self.answer(maps)
        masks = F.interpolate(
            answer.masks, size=image.shape[2:], mode="bilinear", align_corners=False
        ).sigmoid()
        return log_evidence(answer.classes.softmax(2)[..., :-1], masks)


def _decoders(width: int, classes: int, size: DecoderSize) -> nn.Module:
    """Build both decoders with their own start.  Their heads are 32 wide, as in both papers."""
    from transformers import Mask2FormerConfig, Mask2FormerPreTrainedModel
    from transformers.models.mask2former import modeling_mask2former as parts

    class Decoders(Mask2FormerPreTrainedModel):
        """transformers starts what is in a model of its own."""

        def __init__(self, config: Mask2FormerConfig) -> None:
            super().__init__(config)
            self.pixel_decoder = parts.Mask2FormerPixelDecoder(config, [width] * 4)
            self.decoder = parts.Mask2FormerTransformerModule(size.hidden, config)
            self.classes = nn.Linear(size.hidden, classes + 1)
            self.post_init()

    return Decoders(size.config(classes, num_attention_heads=size.hidden // 32))


HEADS: dict[str, Callable[..., Head]] = {"pixel": PixelHead, "mask2former": QueryHead}
