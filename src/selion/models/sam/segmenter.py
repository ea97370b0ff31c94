"""Segment everything: a grid of points asks.

The masks that are sure, stable and different are the objects of a window.

The zoomed-in crops of the paper (20 more per image) are not made here: windows of a large image
overlap, and :func:`selion.prediction.predict_objects` joins what they saw; a smaller ``--window``
zooms in.  Windows of any size are resized to what the network looks at (1024 px).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage

from selion.errors import BadInput, GridMismatch
from selion.labels import Instances
from selion.models.card import ModelCard, options_of
from selion.models.execution import CardModel, on_torch
from selion.models.feed import check_views
from selion.models.objects import scored_objects
from selion.models.sam.network import EncodedImage, Prompted, load_prompted
from selion.segmenter import LoadedModel, View

_EIGHT = np.ones((3, 3), bool)
COUNTS = tuple(range(1, 11))
"""Points of each kind that are given, DepthCropSeg++, III.A: 1 to 10 at random, the best answer
kept."""


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
    """Least stability, see :func:`stability`."""
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
            raise BadInput(
                f"{self} was given; wanted are counts from 1, shares from 0 to 1, and nothing "
                "below 0."
            )


def mask_options(architecture: Mapping[str, Any]) -> MaskOptions:
    """Read options from a card's architecture; errors as :func:`selion.models.card.options_of`."""
    return options_of(MaskOptions, architecture, besides=("family",))


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
    encoded = network.encode(image)
    asked = point_grid(options.points_per_side, encoded.shape)
    masks, boxes, quality = zip(
        *(
            _good(network, encoded, asked[k : k + options.points_at_once], options)
            for k in _starts(asked, options)
        ),
        strict=True,
    )
    packed, box, score = np.concatenate(masks), np.concatenate(boxes), np.concatenate(quality)
    kept = suppress(box, score, options.overlap)
    whole = np.unpackbits(packed[kept], axis=-1, count=encoded.shape[1]).astype(bool)
    found, score = _cleaned(whole, score[kept], options)
    return layer(found, options.visible), np.clip(score, 0, 1)


def _starts(asked: np.ndarray, options: MaskOptions) -> range:
    return range(0, len(asked), options.points_at_once)


def _good(
    network: Prompted, encoded: EncodedImage, points: np.ndarray, options: MaskOptions
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ask with a few points.

    Return of the masks that are good the bits (n, y, x / 8), the boxes and the expected quality.
    """
    logits, quality = network.ask(encoded, points[:, None], np.ones((len(points), 1), np.int64))
    logits, quality = logits.flatten(0, 1), quality.flatten()
    sure = quality >= options.quality
    logits, quality = logits[sure], quality[sure]
    bits, kept = [np.zeros((0, *encoded.shape), bool)], []
    for k in range(0, len(logits), 8):  # full-size logits of a few at a time: 4 MB each at 1024 px
        large = network.enlarge(encoded, logits[k : k + 8])
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


class SamSegmenter(CardModel):
    """A card and a network that segments everything.

    Parameters
    ----------
    card : ModelCard
        Its ``inputs.scaling`` brings pixels to 0 .. 1; mean and deviation are the checkpoint's own.
        The model does not tell kinds apart: all objects are the first of the classes' things.
    network : Prompted
    """

    gives = "objects"

    def __init__(self, card: ModelCard, network: Prompted, reason: str = "") -> None:
        self.network, self.options = network, mask_options(card.architecture)
        execution = on_torch(network.device, fast=network.fast, reason=reason)
        super().__init__("SamSegmenter", card, execution, self.options)

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
            raise BadInput(
                f"NaN or infinity reached {self.card.name}: fill nodata pixels before prediction."
            )
        ids, quality = segment_everything(self.network, image, self.options)
        return scored_objects(ids, quality, self.classes)


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
        raise BadInput(
            f"{card.name}: its card wants {len(card.inputs.bands)} bands "
            f"({', '.join(card.inputs.bands)}); Segment Anything takes red, green and blue."
        )
    return SamSegmenter(card, load_prompted(folder, device, fast=fast), reason)


# What is done to masks before they are objects.


def stability(logits: torch.Tensor, offset: float) -> torch.Tensor:
    """Return (n,) float.

    Intersection over union of the masks at thresholds ``offset`` above and below 0; 0 for an empty
    mask.

    Parameters
    ----------
    logits : (n, y, x) float tensor
    offset : float

    References
    ----------
    Kirillov et al., Segment Anything (ICCV 2023), appendix B, "Filtering".
    """
    inner, outer = (logits > offset).sum((1, 2)), (logits > -offset).sum((1, 2))
    return inner / outer.clamp(min=1)


def boxes_of(masks: np.ndarray) -> np.ndarray:
    """Return (n, 4) int64 top, bottom, left and right (the ends exclusive) of (n, y, x) bool masks.

    Zeros for an empty one.
    """
    boxes = np.zeros((len(masks), 4), np.int64)
    for axis, column in ((2, 0), (1, 2)):
        there = np.any(masks, axis=axis)
        boxes[:, column] = there.argmax(1)
        boxes[:, column + 1] = np.where(there.any(1), there.shape[1] - there[:, ::-1].argmax(1), 0)
    return boxes


def suppress(boxes: np.ndarray, scores: np.ndarray, most: float) -> np.ndarray:
    """Greedy non-maximum suppression.

    Parameters
    ----------
    boxes : (n, 4) ndarray
        Top, bottom, left, right.
    scores : (n,) ndarray
        The higher is kept; of equal ones the first.
    most : float
        Boxes whose intersection over union with a better one is more than this are dropped.

    Returns
    -------
    (k,) int64 ndarray
        Which are kept, the best first.
    """
    area = (boxes[:, 1] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 2])
    left = np.argsort(-scores, kind="stable")
    kept = []
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        height = np.minimum(boxes[best, 1], boxes[left, 1]) - np.maximum(
            boxes[best, 0], boxes[left, 0]
        )
        width = np.minimum(boxes[best, 3], boxes[left, 3]) - np.maximum(
            boxes[best, 2], boxes[left, 2]
        )
        common = np.maximum(height, 0) * np.maximum(width, 0)
        left = left[common <= most * (area[best] + area[left] - common)]
    return np.array(kept, np.int64)


def clean(mask: np.ndarray, least: int) -> tuple[np.ndarray, bool]:
    """Fill holes and drop parts of fewer than ``least`` pixels.

    The largest part stays, however small.

    Parameters
    ----------
    mask : (y, x) bool ndarray
    least : int

    Returns
    -------
    (y, x) bool ndarray, bool
        The mask, and whether anything was changed.
    """
    if least <= 1 or not mask.any():
        return mask, False
    top, bottom, left, right = boxes_of(mask[None])[0]
    part = np.pad(mask[top:bottom, left:right], 1)
    filled = part | _small(~part, least, rim=True)
    parts, _ = ndimage.label(filled, _EIGHT)
    sizes = np.bincount(parts.ravel())
    keep = sizes >= least
    keep[0], keep[1 + int(sizes[1:].argmax())] = False, True
    cleaned = keep[parts]
    out = np.zeros_like(mask)
    out[top:bottom, left:right] = cleaned[1:-1, 1:-1]
    return out, not np.array_equal(cleaned, part)


def _small(mask: np.ndarray, least: int, *, rim: bool) -> np.ndarray:
    """Return the parts of fewer than ``least`` pixels.

    With ``rim`` a part that touches the rim counts as large, because it goes on.
    """
    parts, _ = ndimage.label(mask, _EIGHT)
    small = np.bincount(parts.ravel()) < least
    small[0] = False
    if rim:
        for side in (parts[0], parts[-1], parts[:, 0], parts[:, -1]):
            small[side] = False
    return small[parts]


def layer(masks: np.ndarray, visible: float) -> np.ndarray:
    """Lay masks over each other, the smallest on top.

    A pixel belongs to the smallest mask that holds it.

    Parameters
    ----------
    masks : (n, y, x) bool ndarray
    visible : float
        A mask of which smaller ones leave less than this share is dropped: it is what they make up
        together.

    Returns
    -------
    (y, x) int32 ndarray
        The mask of each pixel, from 1; 0 for none.
    """
    ids = np.zeros(masks.shape[1:], np.int32)
    sizes = masks.sum((1, 2))
    for k in np.argsort(sizes, kind="stable"):
        free = masks[k] & (ids == 0)
        if sizes[k] and free.sum() >= visible * sizes[k]:
            ids[free] = k + 1
    return ids


# Prompts drawn from the truth: how the close-range tables compare Segment Anything with models that
# are told nothing.


@dataclass(frozen=True, eq=False, slots=True)
class BestMask:
    """The best answer of several."""

    mask: np.ndarray
    """(y, x) bool."""
    points: np.ndarray
    """(point, 2) x and y of the prompt that led to it; empty if nothing was asked."""
    inside: np.ndarray
    """(point,) bool: whether the prompt said that the point is crop."""
    miou: float
    """Mean IoU of crop and of the rest with the truth, of those that the truth has; NaN if nothing
    was asked."""
    quality: float
    """The intersection over union that the network itself expected; NaN if nothing was asked."""


def prompt_points(truth: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Draw random points inside a mask.

    Parameters
    ----------
    truth : (y, x) bool ndarray
        Where the crop truly is.
    n : int
        Points, all different; fewer if the crop has fewer pixels.
    seed : int

    Returns
    -------
    (n, 2) float64 ndarray
        x and y: column and row of a pixel.

    Raises
    ------
    BadInput
        If no pixel is crop, or ``n`` is not positive.

    Notes
    -----
    These prompts come from the truth: whoever is asked with them is told where the crop is.  Scores
    reached this way are those of an oracle, and not comparable with models that see the image
    alone.
    """
    inside = np.flatnonzero(truth)
    if n < 1 or not len(inside):
        raise BadInput(
            f"{n} points inside a crop of {len(inside)} pixels were asked for; wanted are at least "
            "one of each."
        )
    chosen = np.random.default_rng([seed, n]).choice(inside, min(n, len(inside)), replace=False)
    return np.stack([chosen % truth.shape[1], chosen // truth.shape[1]], 1).astype(np.float64)


def best_of_points(
    network: Prompted,
    image: np.ndarray,
    truth: np.ndarray,
    *,
    counts: Sequence[int] = COUNTS,
    background: bool = True,
    seed: int = 0,
) -> BestMask:
    """Ask with random points on the crop and beside it, once for each number of points.

    The answer that fits the truth best is kept.

    Parameters
    ----------
    network : Prompted
        SAM, SAM 2 or SAM-HQ, see :func:`selion.models.sam.network.load_prompted`.
    image : (3, y, x) float32 ndarray
        Red, green and blue from 0 to 1.
    truth : (y, x) bool ndarray
    counts : ints
        How many points of each kind are given each time.
    background : bool
        Whether as many points beside the crop are given, marked as such.
    seed : int

    Returns
    -------
    BestMask
        Where the truth is empty nothing can be asked, and the mask is empty.

    Raises
    ------
    GridMismatch
        If image and truth differ in size.
    BadInput
        If the image has not three bands.

    Notes
    -----
    DepthCropSeg++, section III.A: 1 to 10 random foreground and background points per image, the
    best mIoU of each image reported; that there are as many of one kind as of the other is ours.
    An oracle twice over: the points are drawn from the truth, and the truth decides which answer is
    kept.  A single point gets three answers, of which the one that the network itself thinks best
    is taken; several points get one, as the authors of Segment Anything advise.
    """
    if image.shape[1:] != truth.shape:
        raise GridMismatch(
            f"An image of {image.shape[1:]} pixels and a truth of {truth.shape} were given: they "
            "must lie on one grid."
        )
    if not truth.any():
        nothing = np.zeros(truth.shape, bool)
        return BestMask(nothing, np.empty((0, 2)), np.empty(0, bool), np.nan, np.nan)
    encoded = network.encode(image)
    best: BestMask | None = None
    for n in counts:
        on = prompt_points(truth, n, seed)
        beside = prompt_points(~truth, n, seed) if background and not truth.all() else on[:0]
        points = np.concatenate([on, beside])
        inside = np.arange(len(points)) < len(on)
        logits, quality = network.ask(
            encoded, points[None], inside[None].astype(np.int64), several=len(points) == 1
        )
        k = int(quality[0].argmax())
        mask = (network.enlarge(encoded, logits[0, k : k + 1]) > 0)[0].cpu().numpy()
        found = BestMask(mask, points, inside, _miou(mask, truth), float(quality[0, k]))
        best = found if best is None or found.miou > best.miou else best
    if best is None:
        raise BadInput("No number of points was given: name at least one.")
    return best


def _miou(mask: np.ndarray, truth: np.ndarray) -> float:
    kinds = [(mask, truth), (~mask, ~truth)]
    return float(np.mean([(a & b).sum() / (a | b).sum() for a, b in kinds if b.any()]))
