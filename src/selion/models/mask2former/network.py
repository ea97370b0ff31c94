"""Mask2Former of transformers as a segmenter.

Queries, each a class and a mask, become class probabilities per pixel; or objects, see
:mod:`~selion.models.mask2former.segmenter`.

Cheng et al.: Masked-attention mask transformer for universal image segmentation (CVPR 2022).  PRUE
fine-tunes it with a Swin-S backbone on both dates (Table 1: 68.8 M parameters); its weights start
from COCO, which here would be for the user to convert: random weights are built.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

if TYPE_CHECKING:  # seconds to import, and the other losses want no more than SetAnswer of here
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation

_LEAST = 1e-6
"""Added to a class's evidence: logits are its logarithm."""


class SetAnswer(NamedTuple):
    """What a network of queries answers before it is turned into classes per pixel.

    Each query a class and a mask.
    """

    classes: torch.Tensor
    """(view, query, class + 1) logits, "no object" the last."""
    masks: torch.Tensor
    """(view, query, y, x) logits, at the pixels' resolution or a coarser one of the same extent."""
    auxiliary: tuple[SetAnswer, ...] = ()
    """What the layers before the last one answer: they learn from the same truth."""


def log_evidence(classes: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Return the logarithm of the queries' evidence for each class and pixel.

    Parameters
    ----------
    classes : (view, query, class) float tensor
        Probabilities.
    masks : (view, query, y, x) float tensor
        Probabilities.

    Returns
    -------
    (view, class, y, x) float tensor
    """
    return torch.log(torch.einsum("bqc,bqhw->bchw", classes, masks) + _LEAST)


class Queries(nn.Module):
    """A Mask2Former that answers as any other network does.

    Parameters
    ----------
    model : Mask2FormerForUniversalSegmentation
        With a label per class of the card; the "no object" label is its own.
    """

    def __init__(self, model: Mask2FormerForUniversalSegmentation) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: torch.Tensor, raw: bool = False) -> torch.Tensor | SetAnswer:
        """(view, band, y, x) -> (view, class, y, x) logits.

        Their softmax is the share of each class in the queries' evidence for the pixel.

        The evidence is that of the paper's semantic inference: the sum over queries of class
        probability times mask probability.  With ``raw`` the queries themselves, of all layers, for
        :func:`selion.training.sets.set_loss`.
        """
        if raw:
            return self.answer(image)
        classes, masks = self.queries(image)
        return log_evidence(classes, masks)

    def answer(self, image: torch.Tensor) -> SetAnswer:
        """Return the queries of all layers as logits.

        Masks are at the decoder's resolution of y / 4, x / 4.
        """
        found = self.model(pixel_values=image, output_auxiliary_logits=True)
        before = tuple(
            SetAnswer(layer["class_queries_logits"], layer["masks_queries_logits"])
            for layer in found.auxiliary_logits
        )
        return SetAnswer(found.class_queries_logits, found.masks_queries_logits, before)

    def queries(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Answer the queries themselves.

        Returns
        -------
        (view, query, class) float tensor
            Probability of each class; what is missing to one is "no object".
        (view, query, y, x) float tensor
            Probability that a pixel belongs to the query's object.
        """
        answer = self.model(pixel_values=image)
        masks = F.interpolate(
            answer.masks_queries_logits, size=image.shape[2:], mode="bilinear", align_corners=False
        )
        return answer.class_queries_logits.softmax(2)[..., :-1], masks.sigmoid()


@dataclass(frozen=True, slots=True)
class SwinSize:
    """Sizes of a Swin transformer; by default Swin-S, as PRUE's."""

    embed_dim: int = 96
    depths: Sequence[int] = (2, 2, 18, 2)
    num_heads: Sequence[int] = (3, 6, 12, 24)
    window_size: int = 7


@dataclass(frozen=True, slots=True)
class DecoderSize:
    """Sizes of Mask2Former's pixel decoder and transformer decoder."""

    hidden: int = 256
    """Width of both decoders and of the queries."""
    queries: int = 100
    """Objects per window at most."""
    encoder_layers: int = 6
    """Layers of the pixel decoder."""
    decoder_layers: int = 10
    """Layers of the transformer decoder as transformers counts them: one more than are run, for
    the answer before the first."""
    feedforward: int = 0
    """Inner width of the transformer decoder; 0: eight times ``hidden``, as in the paper."""
    mask_feature_size: int = 0
    """Width of the masks' embeddings; 0: ``hidden``."""

    def config(self, classes: int, **more: Any) -> Mask2FormerConfig:
        """Return the configuration of transformers, with ``more`` of its values."""
        from transformers import Mask2FormerConfig

        return Mask2FormerConfig(
            num_labels=classes,  # type: ignore[call-arg]  # taken by a parent
            num_queries=self.queries,
            feature_size=self.hidden,
            hidden_dim=self.hidden,
            mask_feature_size=self.mask_feature_size or self.hidden,
            encoder_feedforward_dim=4 * self.hidden,
            dim_feedforward=self.feedforward or 8 * self.hidden,
            encoder_layers=self.encoder_layers,
            decoder_layers=self.decoder_layers,
            **more,
        )


def make_mask2former(bands: int, classes: int, swin: SwinSize, decoder: DecoderSize) -> Queries:
    """Build Mask2Former over a Swin transformer from its configuration, with random weights."""
    from transformers import Mask2FormerForUniversalSegmentation, SwinConfig

    backbone = SwinConfig(
        num_channels=bands,
        embed_dim=swin.embed_dim,
        depths=list(swin.depths),
        num_heads=list(swin.num_heads),
        window_size=swin.window_size,
        drop_path_rate=0.3,  # of Mask2Former's published configurations with Swin
        out_features=["stage1", "stage2", "stage3", "stage4"],  # type: ignore[call-arg]
    )
    config = decoder.config(classes, backbone_config=backbone)
    return Queries(Mask2FormerForUniversalSegmentation(config))
