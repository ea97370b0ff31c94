"""Refinement after Text4Seg.

A coarse mask, and points drawn inside and outside it, prompt Segment Anything, whose masks take its
place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from selion.classes import ClassScheme
from selion.errors import BadInput
from selion.models.execution import identity_of
from selion.models.loading import load_model
from selion.models.refine.card import card_of, pair_card
from selion.segmenter import Answers, LoadedModel, View

if TYPE_CHECKING:
    from selion.models.sam.network import Looked, Prompted

POINTS = 10
"""Points inside each part, and as many outside."""
ROUNDS = 3
"""How often a part is asked about: first with the coarse mask, then with the answer before."""
SURE = 8.0
"""Logits are cut at plus and minus this much: a mask decoder is sure of itself, and a softmax of
logits of hundreds has no second class."""


def refine_with_points(
    network: Prompted,
    image: np.ndarray,
    labels: np.ndarray,
    classes: ClassScheme,
    *,
    points: int = POINTS,
    seed: int = 0,
) -> np.ndarray:
    """Replace a coarse class map by the masks that Segment Anything gives for points inside it.

    Parameters
    ----------
    network : Prompted
    image : (3, y, x) float32 ndarray
        0 to 1.
    labels : (y, x) integer ndarray
        Coarse class ids; 0 is background.
    classes : ClassScheme
    points : int
        Drawn inside each 4-connected part of a class, and as many outside it.
    seed : int

    Returns
    -------
    (class, y, x) float32 ndarray
        Probabilities: a softmax over the largest logit of each class's parts, the background's
        being 0.

    Notes
    -----
    Text4Seg (Lan et al., ICLR 2025, arXiv 2410.09855): its masks of 16 x 16 cells are refined by
    SAM, which is given the coarse mask as logits and ten points inside and outside of it, and asked
    twice more with its own answer instead of the mask.  There a mask is of one object that was
    referred to; here each part of a class is asked for by itself.
    """
    scores = np.full((len(classes), *labels.shape), -SURE, np.float32)
    scores[0] = 0
    looked = network.look(image)
    rng = np.random.default_rng(seed)
    for kind in range(1, len(classes)):
        parts, count = ndimage.label(labels == kind)
        for part in range(1, count + 1):
            found = _ask_about(network, looked, parts == part, points, rng)
            np.maximum(scores[kind], np.clip(found, -SURE, SURE), out=scores[kind])
    power = np.exp(scores - scores.max(0))
    return (power / power.sum(0)).astype(np.float32)


def _ask_about(
    network: Prompted, looked: Looked, mask: np.ndarray, points: int, rng: np.random.Generator
) -> np.ndarray:
    """Ask for the object that a coarse mask means; (y, x) float32 logits."""
    inside, outside = _within(mask, points, rng), _within(~mask, points, rng)
    places, given = (
        np.concatenate([inside, outside]),
        np.repeat([1, 0], [len(inside), len(outside)]),
    )
    known = network.coarse(looked, mask)
    for _ in range(ROUNDS):
        known = network.ask(looked, places[None], given[None], several=False, mask=known)[0][0]
    found: np.ndarray = network.enlarge(looked, known)[0].cpu().numpy()
    return found


def _within(mask: np.ndarray, points: int, rng: np.random.Generator) -> np.ndarray:
    """Draw up to so many different pixels of a mask; (point, 2) x and y."""
    places = np.flatnonzero(mask)
    chosen = rng.choice(places, min(points, len(places)), replace=False)
    return np.stack([chosen % mask.shape[1], chosen // mask.shape[1]], 1).astype(np.float64)


class PointRefined:
    """A model of coarse masks and Segment Anything as one Segmenter.

    The points of a window follow from its place.

    Parameters
    ----------
    base : Segmenter
    prompted : SamSegmenter
        As :func:`selion.models.load_model` gives it for a checkpoint of Segment Anything.

    Raises
    ------
    BadInput
        If the base answers with objects, or the two want other bands.
    """

    def __init__(self, base: Any, prompted: Any) -> None:
        if base.gives == "objects" or base.inputs.bands != prompted.inputs.bands:
            message = (
                f"Segment Anything looks at {', '.join(prompted.inputs.bands)} and refines what "
                f"answers with probabilities; the model looks at {', '.join(base.inputs.bands)}: "
                "take another refiner."
            )
            raise BadInput(message)
        self.base, self.prompted = base, prompted
        self.inputs, self.classes = base.inputs, base.classes
        self.gives: Answers = "probabilities"
        self.batch, self.at_once = 1, 0
        self.engine = f"{base.engine}; refined by {prompted.engine}"
        self.card = pair_card(base, prompted, prompted.card.name)
        deciding = f"{base.identity['engine']}; refined by {prompted.identity['engine']}"
        self.identity = identity_of(
            "PointRefined", self.card, deciding, (dict(self.card.files), POINTS)
        )

    def rest(self) -> None:
        """Let go of what was compiled or kept."""
        self.base.rest()
        self.prompted.rest()

    def exact(self) -> PointRefined:
        """Load both again in float32."""
        cards = (card_of(self.base), self.prompted.card)
        base, prompted = (load_model(card.folder or card.name, fast=False) for card in cards)
        return PointRefined(base, prompted)

    def __call__(self, views: Sequence[View]) -> np.ndarray:
        """Return (view, class, y, x) float32 probabilities."""
        said = self.base(views).argmax(1)
        scaling = self.prompted.inputs.scaling
        found = [
            refine_with_points(
                self.prompted.network,
                scaling(view.pixels),
                labels,
                self.classes,
                seed=view.roi[0].start * 100_003 + view.roi[1].start,
            )
            for view, labels in zip(views, said, strict=True)
        ]
        return np.stack(found)


_: type[LoadedModel[np.ndarray]] = PointRefined
