"""Mask2Former as a model that answers with objects: the queries' own, by panoptic inference."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from selion.labels import Instances
from selion.models.card import ModelCard
from selion.models.execution import CardModel
from selion.models.feed import check_views, feed
from selion.models.mask2former.inference import PanopticOptions, panoptic_options
from selion.models.objects import scored_objects
from selion.models.pixel import TorchNetwork, load_network
from selion.segmenter import LoadedModel, View

if TYPE_CHECKING:
    from selion.models.mask2former.network import SetAnswer

INSIDE = 0.5
"""A pixel belongs to a mask from this probability."""


def find_objects(
    classes: torch.Tensor, masks: torch.Tensor, things: Sequence[int], options: PanopticOptions
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Find the objects of one view among its queries.

    Each query that is sure enough of its class competes for pixels with its score times its mask's
    probability; the strongest has the pixel, and keeps it where its own mask holds it.  A query
    that wins too little of its mask is dropped, and what it won stays empty.

    Parameters
    ----------
    classes : (query, class + 1) float tensor
        Logits, "no object" the last.
    masks : (query, y, x) float tensor
        Logits.
    things : sequence of int
        Classes that come as objects; the others compete for pixels and are not answered.
    options : PanopticOptions

    Returns
    -------
    ids : (y, x) int64 tensor
        1 .. n, 0 for none; ids may be missing.
    scores : (n,) float tensor
        The probability of the class, of each id.
    kinds : (n,) int64 tensor
        The class of each id.

    References
    ----------
    Cheng et al., Per-pixel classification is not all you need for semantic segmentation (NeurIPS
    2021), section 3.4, as Cheng et al., Masked-attention mask transformer for universal image
    segmentation (CVPR 2022) keep it; that a query's score ranks its object: PRUE (arXiv
    2603.27101), section 3.4.
    """
    scores, kinds = classes.softmax(1).max(1)
    kept = (kinds < classes.shape[1] - 1) & (scores > options.least_score)
    scores, kinds, shares = scores[kept], kinds[kept], masks[kept].sigmoid()
    count = len(scores)
    if not count:
        return torch.zeros(masks.shape[1:], dtype=torch.int64), scores.cpu(), kinds.cpu()
    owner = (scores[:, None, None] * shares).argmax(0)
    inside = shares.gather(0, owner[None])[0] >= INSIDE
    won = torch.bincount(owner.flatten(), minlength=count).cpu().double()
    whole = (shares >= INSIDE).sum((1, 2)).cpu().double()
    owner, inside, scores, kinds = owner.cpu(), inside.cpu(), scores.cpu(), kinds.cpu()
    visible = (whole > 0) & (won / whole >= options.least_visible)
    good = visible & torch.isin(kinds, torch.tensor(list(things)))
    return torch.where(inside & good[owner], owner + 1, 0), scores, kinds


class QuerySegmenter(CardModel):
    """A card and a network of queries, each of which may be an object.

    Parameters
    ----------
    card : ModelCard
        Its architecture says ``inference = "panoptic"``; objects are of its classes' things.
    network : torch.nn.Module
        Answers with a :class:`~selion.models.mask2former.network.SetAnswer` when it is asked for
        one (``raw=True``).
    device : {"cpu", "cuda", "mps"}
    options : PanopticOptions
    fast : bool
        bfloat16.
    reason : str
        Why this engine was taken.
    """

    gives = "objects"

    def __init__(
        self,
        card: ModelCard,
        network: torch.nn.Module,
        device: str,
        options: PanopticOptions,
        *,
        fast: bool = False,
        reason: str = "",
    ) -> None:
        self.options = options
        self._running = TorchNetwork(network, device, fast=fast)
        self.batch = self._running.batch
        """How many views a call is best made with: those that lack are padded."""
        super().__init__("QuerySegmenter", card, self._running.execution(reason), options)

    def __call__(self, views: Sequence[View]) -> list[Instances]:
        """Return the objects of each view.

        Raises
        ------
        BandMismatch, BadInput
            See :mod:`selion.models.feed`.
        """
        check_views(views, self.card)
        found: list[Instances] = []
        for first in range(0, len(views), self.batch):
            group = views[first : first + self.batch]
            pixels = np.concatenate([feed(view, self.card) for view in group])
            answer = self._running.run(pixels, raw=True)
            found += [self._one(answer, k, view, pixels.shape[2:]) for k, view in enumerate(group)]
        return found

    def _one(self, answer: SetAnswer, k: int, view: View, fed: tuple[int, ...]) -> Instances:
        """Turn the answer for one view into objects; ``fed`` is the view's size once padded."""
        height, width = view.pixels.shape[1:]
        with torch.inference_mode():
            masks = F.interpolate(
                answer.masks[k : k + 1].float(), size=fed, mode="bilinear", align_corners=False
            )[0, :, :height, :width]
            things = [self.classes.index(name) for name in self.classes.things]
            ids, scores, kinds = find_objects(
                answer.classes[k].float(), masks, things, self.options
            )
        return scored_objects(
            ids.numpy().astype(np.int32),
            scores.numpy().astype(np.float64),
            self.classes,
            kinds.numpy(),
        )


_: type[LoadedModel[list[Instances]]] = QuerySegmenter


def load_queries(
    device: str,
    card: ModelCard,
    folder: Path,
    *,
    fast: bool = False,
    threads: int | None = None,
    reason: str = "",
) -> QuerySegmenter:
    """Load what a card describes whose architecture asks for objects.

    ``device`` and ``threads`` as :func:`selion.models.pixel.load_on` takes them.

    Raises
    ------
    BadInput
        If the weights do not fit the architecture, or it has no queries.
    """
    if threads and device == "cpu":
        torch.set_num_threads(threads)
    options = panoptic_options(card.architecture) or PanopticOptions()
    return QuerySegmenter(
        card, load_network(card, folder), device, options, fast=fast, reason=reason
    )
