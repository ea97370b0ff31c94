"""Mask2Former of transformers as a segmenter: queries, each a class and a mask, become class probabilities per pixel, or instances.

Cheng et al.: Masked-attention mask transformer for universal image segmentation (CVPR 2022).  PRUE fine-tunes it with a Swin-S backbone on both dates
(Table 1: 68.8 M parameters); its weights start from COCO, which here would be for the user to convert: random weights are built.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, SwinConfig

_LEAST = 1e-6
"""Added to a class's evidence: logits are its logarithm."""


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

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(view, band, y, x) -> (view, class, y, x) logits, whose softmax is the share of each class in the queries' evidence for the pixel.

        The evidence is that of the paper's semantic inference: the sum over queries of class probability times mask probability.
        """
        classes, masks = self.queries(image)
        evidence = torch.einsum("bqc,bqhw->bchw", classes, masks)
        return torch.log(evidence + _LEAST)

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
        masks = F.interpolate(answer.masks_queries_logits, size=image.shape[2:], mode="bilinear", align_corners=False)
        return answer.class_queries_logits.softmax(2)[..., :-1], masks.sigmoid()

    def instances(self, image: torch.Tensor, things: Sequence[int], least: float = 0.5) -> torch.Tensor:
        """Answer which object each pixel belongs to, by the paper's panoptic rule without its overlap test.

        Parameters
        ----------
        image : (view, band, y, x) float tensor
        things : ints
            Classes that come as objects.
        least : float
            Queries whose best class is less probable are left out.

        Returns
        -------
        (view, y, x) int64 tensor
            Ids from 1, local to the view; 0 where no object is.  Not counted through: a query without a pixel leaves its id unused.
        """
        classes, masks = self.queries(image)
        score, best = classes.max(2)
        kept = score >= least
        claim = torch.where(kept[..., None, None], score[..., None, None] * masks, 0.0)
        strongest, owner = claim.max(1)
        inside = torch.gather(masks, 1, owner[:, None])[:, 0] >= 0.5
        thing = torch.isin(torch.gather(best, 1, owner.flatten(1)).view_as(owner), torch.tensor(list(things), device=best.device))
        return torch.where(inside & thing & (strongest > 0), owner + 1, 0)

    def loss(self, image: torch.Tensor, masks: list[torch.Tensor], labels: list[torch.Tensor]) -> torch.Tensor:
        """Return the set loss of the paper (matching, class, mask and Dice terms), averaged over the batch.

        Parameters
        ----------
        image : (view, band, y, x) float tensor
        masks : list of (object, y, x) float tensors
            0 and 1, one tensor per view.
        labels : list of (object,) int64 tensors
            The class of each.
        """
        return self.model(pixel_values=image, mask_labels=masks, class_labels=labels).loss.squeeze()


def make_mask2former(
    bands: int,
    classes: int,
    queries: int = 100,
    hidden: int = 256,
    embed_dim: int = 96,
    depths: Sequence[int] = (2, 2, 18, 2),
    num_heads: Sequence[int] = (3, 6, 12, 24),
    window_size: int = 7,
    decoder_layers: int = 10,
    encoder_layers: int = 6,
    feedforward: int = 0,
    mask_feature_size: int = 0,
) -> Queries:
    """Build Mask2Former over a Swin transformer from its configuration, with random weights; defaults are Swin-S, as PRUE's.

    Parameters
    ----------
    bands, classes : int
    queries : int
        Objects per window at most.
    hidden : int
        Width of the pixel decoder and of the queries.
    embed_dim, depths, num_heads, window_size
        Of Swin.
    decoder_layers, encoder_layers : int
        Layers of the transformer decoder (as transformers counts them: one more than run) and of the pixel decoder.
    feedforward : int
        Inner width of the transformer decoder; 0: eight times ``hidden``.
    mask_feature_size : int
        Width of the masks' embeddings; 0: ``hidden``.
    """
    shape: dict[str, Any] = {"out_features": ["stage1", "stage2", "stage3", "stage4"]}  # taken by a parent of the configuration
    swin = SwinConfig(
        num_channels=bands,
        embed_dim=embed_dim,
        depths=list(depths),
        num_heads=list(num_heads),
        window_size=window_size,
        drop_path_rate=0.3,
        **shape,
    )
    labels: dict[str, Any] = {"num_labels": classes}
    config = Mask2FormerConfig(
        backbone_config=swin,
        **labels,
        num_queries=queries,
        feature_size=hidden,
        hidden_dim=hidden,
        mask_feature_size=mask_feature_size or hidden,
        encoder_feedforward_dim=4 * hidden,
        dim_feedforward=feedforward or 8 * hidden,
        encoder_layers=encoder_layers,
        decoder_layers=decoder_layers,
    )
    return Queries(Mask2FormerForUniversalSegmentation(config))
