"""Segment everything: a grid of points asks.

The masks that are sure, stable and different are the objects of a window.

The zoomed-in crops of the paper (20 more per image) are not made here: windows of a large image
overlap, and :func:`selion.prediction.predict_objects` joins what they saw; a smaller ``--window``
zooms in.  Windows of any size are resized to what the network looks at (1024 px).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from selion.errors import BadInput, UnknownName
from selion.grid import photo_grid
from selion.labels import Instances
from selion.models.card import ModelCard
from selion.models.execution import identity_of, on_torch
from selion.models.feed import check_views
from selion.models.sam.masks import boxes_of, clean, layer, stability, suppress
from selion.models.sam.network import Looked, Prompted, load_prompted
from selion.segmenter import Answers, LoadedModel, View


@dataclass(frozen=True, slots=True)
class MaskOptions:
    """Which masks are kept.  Defaults are the paper's; a card's architecture may say others.

    References
    ----------
    Kirillov et al., Segment Anything (ICCV 2023), appendix B: a regular grid of 32 x 32 points,
    predicted IoU from 88.0, stability from 95.0 between the thresholds -1 and 1, no mask over 95 %
    of the image, non-maximum suppression of boxes at 0.7, parts and holes below 100 px removed.
    """

    points_per_side: int = 32
    points_at_once: int = 64
    """Prompts that the network answers in one call; decides about memory only."""
    quality: float = 0.88
    """Least intersection over union that the network expects."""
    stability: float = 0.95
    """Least stability, see :func:`selion.models.sam.masks.stability`."""
    offset: float = 1.0
    """The thresholds of the stability, in logits."""
    overlap: float = 0.7
    """Most intersection over union of two boxes."""
    small: int = 100
    """Parts and holes of fewer pixels (of the window) are removed."""
    most: float = 0.95
    """Masks over more of the window than this are background."""
    visible: float = 0.5
    """Ours: objects do not lie on each other, so the smallest mask has a pixel, and of what smaller
    ones cover to more than this share nothing stays."""

    def __post_init__(self) -> None:
        shares = (self.quality, self.stability, self.overlap, self.most, self.visible)
        if (
            min(self.points_per_side, self.points_at_once) < 1
            or not all(0 <= share <= 1 for share in shares)
            or self.small < 0
            or self.offset < 0
        ):
            message = (
                f"{self} was given; wanted are counts from 1, shares from 0 to 1, and nothing "
                "below 0."
            )
            raise BadInput(message)


def mask_options(architecture: Mapping[str, Any]) -> MaskOptions:
    """Read options from a card's architecture.

    Raises
    ------
    UnknownName
        If there is no such option; the nearest one is offered.
    BadInput
        If a value is out of range.
    """
    known = [field.name for field in fields(MaskOptions)]
    for key in architecture:
        if key not in (*known, "family"):
            raise UnknownName.among("architecture key", key, [*known, "family"])
    return MaskOptions(**{key: value for key, value in architecture.items() if key != "family"})


def point_grid(side: int, shape: tuple[int, int]) -> np.ndarray:
    """Return (side * side, 2) float64 x and y.

    The centres of side x side cells of an image of ``shape`` (y, x).
    """
    steps = (np.arange(side) + 0.5) / side
    y, x = np.meshgrid(steps * shape[0], steps * shape[1], indexing="ij")
    return np.stack([x.ravel(), y.ravel()], 1)


def segment_everything(
    network: Prompted, image: np.ndarray, options: MaskOptions
) -> tuple[np.ndarray, np.ndarray]:
    """Find the objects of one window.

    Parameters
    ----------
    network : Prompted
    image : (3, y, x) float32 ndarray
        Red, green and blue from 0 to 1.
    options : MaskOptions

    Returns
    -------
    (y, x) int32 ndarray
        Ids 1 .. n, 0 for none; ids may be missing.
    (n,) float64 ndarray
        Of each id the intersection over union that the network expects.
    """
    looked = network.look(image)
    asked = point_grid(options.points_per_side, looked.shape)
    masks, boxes, quality = zip(
        *(
            _good(network, looked, asked[k : k + options.points_at_once], options)
            for k in _starts(asked, options)
        ),
        strict=True,
    )
    packed, box, score = np.concatenate(masks), np.concatenate(boxes), np.concatenate(quality)
    kept = suppress(box, score, options.overlap)
    whole = np.unpackbits(packed[kept], axis=-1, count=looked.shape[1]).astype(bool)
    found, score = _cleaned(whole, score[kept], options)
    return layer(found, options.visible), np.clip(score, 0, 1)


def _starts(asked: np.ndarray, options: MaskOptions) -> range:
    return range(0, len(asked), options.points_at_once)


def _good(
    network: Prompted, looked: Looked, points: np.ndarray, options: MaskOptions
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ask with a few points.

    Return of the masks that are good the bits (n, y, x / 8), the boxes and the expected quality.
    """
    logits, quality = network.ask(looked, points[:, None], np.ones((len(points), 1), np.int64))
    logits, quality = logits.flatten(0, 1), quality.flatten()
    sure = quality >= options.quality
    logits, quality = logits[sure], quality[sure]
    bits, kept = [np.zeros((0, *looked.shape), bool)], []
    for k in range(0, len(logits), 8):  # full-size logits of a few at a time: 4 MB each at 1024 px
        large = network.enlarge(looked, logits[k : k + 8])
        steady = stability(large, options.offset) >= options.stability
        bits.append((large[steady] > 0).cpu().numpy())
        kept.append(quality[k : k + 8][steady])
    masks = np.concatenate(bits)
    score = (torch.cat(kept) if kept else quality).cpu().numpy().astype(np.float64)
    size = masks.sum((1, 2))
    fair = (size > 0) & (size <= options.most * masks[0].size if len(masks) else size > 0)
    return np.packbits(masks[fair], axis=-1), boxes_of(masks[fair]), score[fair]


def _cleaned(
    masks: np.ndarray, score: np.ndarray, options: MaskOptions
) -> tuple[np.ndarray, np.ndarray]:
    """Remove crumbs, then suppress once more.

    What was clean before is preferred to what became alike by cleaning.
    """
    changed = np.zeros(len(masks), bool)
    for k in range(len(masks)):
        masks[k], changed[k] = clean(masks[k], options.small)
    kept = suppress(boxes_of(masks), np.where(changed, 0.0, 1.0), options.overlap)
    return masks[kept], score[kept]


class SamSegmenter:
    """A card and a network that segments everything.

    Parameters
    ----------
    card : ModelCard
        Its ``inputs.scaling`` brings pixels to 0 .. 1; mean and deviation are the checkpoint's own.
        The model does not tell kinds apart: all objects are the first of the classes' things.
    network : Prompted
    """

    gives: Answers = "objects"
    batch = 1
    """Views that run at once."""
    at_once = 0

    def __init__(self, card: ModelCard, network: Prompted, reason: str = "") -> None:
        self.card, self.inputs, self.classes = card, card.inputs, card.classes
        self.network, self.options = network, mask_options(card.architecture)
        execution = on_torch(network.device, fast=network.fast, reason=reason)
        self.engine = str(execution)
        """What runs the model."""
        self.identity = identity_of("SamSegmenter", card, execution.deciding, self.options)

    def rest(self) -> None:
        """Nothing is compiled here that could be let go of."""

    def __call__(self, views: Sequence[View]) -> list[Instances]:
        """Return the objects of each view.

        Raises
        ------
        BandMismatch, BadInput
            If views have not the card's bands, or hold NaN.
        """
        check_views(views, self.card)
        return [self._one(view) for view in views]

    def _one(self, view: View) -> Instances:
        image = self.card.inputs.scaling(view.pixels)
        if not np.isfinite(image).all():
            message = (
                f"NaN or infinity reached {self.card.name}: fill nodata pixels before prediction."
            )
            raise BadInput(message)
        ids, quality = segment_everything(self.network, image, self.options)
        names = np.unique(ids[ids > 0])
        kind = (self.classes.things or self.classes.names[1:])[0]
        table = pd.DataFrame(
            {
                "id": names.astype(np.int64),
                "class": pd.array([kind] * len(names), dtype="string"),
                "score": quality[names - 1],
            }
        )
        return Instances(ids, photo_grid(ids.shape), table)


_: type[LoadedModel[list[Instances]]] = SamSegmenter


def load_sam(
    card: ModelCard, folder: Path, device: str, *, fast: bool = False, reason: str = ""
) -> SamSegmenter:
    """Load what a card describes.

    Raises
    ------
    UnreadableFile, BadInput
        As :func:`selion.models.sam.network.load_prompted`; BadInput also if the card does not want
        three bands.
    """
    if len(card.inputs.bands) != 3:
        message = (
            f"{card.name}: its card wants {len(card.inputs.bands)} bands "
            f"({', '.join(card.inputs.bands)}); Segment Anything takes red, green and blue."
        )
        raise BadInput(message)
    return SamSegmenter(card, load_prompted(folder, device, fast=fast), reason)
