"""Whether the labels lie where the image has its edges.

Labels that were shifted on their way teach a network to draw beside the line.

For each offset d within a few pixels we take the mean strength of the image's edges at the labels'
edges moved by d.  Where labels fit, it is highest at d = 0.  Whether a peak elsewhere means
something is said by its gain over d = 0, measured in independent pieces of the image (or over the
images of a dataset): the mean gain by its standard error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from selion.classes import IGNORE
from selion.labels import Instances, LabelMap

REACH = 8
"""Largest offset in pixels, along y and along x."""
PIECES = 4
"""An image is cut into so many pieces along y and along x, for the standard error."""
FEW = 30
"""Edge pixels below which a piece says nothing."""
SHARP = 98.0
"""Percentile at which edge strengths are cut off, so that one bright roof does not decide."""


@dataclass(frozen=True, eq=False, slots=True)
class Surface:
    """Edge strength by offset, in pieces."""

    sums: np.ndarray
    """(piece, offset) sums of edge strength; offsets row-major, (2 REACH + 1) squared."""
    counts: np.ndarray
    """(piece,) label edge pixels."""


@dataclass(frozen=True, slots=True)
class Shift:
    """How far, and how sure."""

    right: float
    """Pixels that the labels must be moved to the right (negative: to the left) to fit the
    image."""
    down: float
    """Pixels that they must be moved down."""
    significance: float
    """Mean gain in edge strength over no move, by its standard error; infinite is not possible,
    below 4 is nothing."""
    units: int
    """Pieces or images that it was measured in."""

    @property
    def pixels(self) -> float:
        """Length of the shift."""
        return float(np.hypot(self.right, self.down))


def label_edges(labels: LabelMap | None, instances: Instances | None) -> np.ndarray:
    """Return (y, x) bool.

    Pixels on both sides of every change of object, or of class where there are no objects.

    A boundary class is an edge itself.  What touches IGNORE is no edge.
    """
    unknown = None if labels is None else labels.ids == IGNORE
    if instances is not None:
        edges = _changes(instances.ids)
    elif labels is not None:
        line = labels.classes.index(labels.classes.boundary) if labels.classes.boundary else -1
        edges = (
            (labels.ids == line)
            if line >= 0 and (labels.ids == line).any()
            else _changes(labels.ids)
        )
    else:
        return np.zeros((0, 0), bool)
    if unknown is not None and unknown.any():
        edges &= ~ndimage.binary_dilation(unknown, iterations=2)
    return edges


def _changes(ids: np.ndarray) -> np.ndarray:
    changes: np.ndarray = ndimage.maximum_filter(ids, 3) != ndimage.minimum_filter(ids, 3)
    return changes


def image_edges(values: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Return (y, x) float32 edge strength of an image.

    Gradients of all bands, each by its spread, less their surroundings.

    Parameters
    ----------
    values : (band, y, x) ndarray
    valid : (y, x) bool ndarray, optional
    """
    strength = np.zeros(values.shape[1:], np.float32)
    known = np.isfinite(values).all(0) if valid is None else valid & np.isfinite(values).all(0)
    for band in values.astype(np.float32):
        filled = np.where(known, band, band[known].mean() if known.any() else 0)
        spread = filled.std()
        if spread > 0:
            strength += np.hypot(ndimage.sobel(filled, 0), ndimage.sobel(filled, 1)) / spread
    if not known.all():
        strength[ndimage.binary_dilation(~known, iterations=2)] = 0
    strength = np.minimum(strength, np.percentile(strength, SHARP))
    return strength - ndimage.gaussian_filter(strength, REACH)


def surface(
    values: np.ndarray, edges: np.ndarray, valid: np.ndarray | None = None
) -> Surface | None:
    """Measure the edge strength at all offsets; None if there are too few label edges."""
    height, width = edges.shape
    rows, columns = np.nonzero(edges)
    inner = (
        (rows >= REACH) & (rows < height - REACH) & (columns >= REACH) & (columns < width - REACH)
    )
    rows, columns = rows[inner], columns[inner]
    if len(rows) < FEW:
        return None
    strength = image_edges(values, valid)
    piece = rows * PIECES // height * PIECES + columns * PIECES // width
    offsets = [
        (down, right) for down in range(-REACH, REACH + 1) for right in range(-REACH, REACH + 1)
    ]
    sums = np.stack(
        [
            np.bincount(piece, strength[rows + down, columns + right], PIECES * PIECES)
            for down, right in offsets
        ],
        axis=1,
    )
    return Surface(sums, np.bincount(piece, minlength=PIECES * PIECES))


def find_shift(sums: np.ndarray, counts: np.ndarray) -> Shift | None:
    """Find the offset at which the labels fit best, over units that are independent of one another.

    Parameters
    ----------
    sums : (unit, offset) float ndarray
    counts : (unit,) ndarray

    Returns
    -------
    Shift or None
        None with fewer than three units that say something.
    """
    enough = counts >= FEW
    if enough.sum() < 3:
        return None
    sums, counts = sums[enough], counts[enough].astype(float)
    total = sums.sum(0) / counts.sum()
    size = 2 * REACH + 1
    best = int(total.argmax())
    here = REACH * size + REACH
    down, right = divmod(best, size)
    if best == here:
        return Shift(*_peak(total.reshape(size, size), down, right), 0.0, len(counts))
    gains = (sums[:, best] - sums[:, here]) / counts
    weights = counts / counts.sum()
    mean = float((weights * gains).sum())
    error = float(
        np.sqrt((weights**2 * (gains - mean) ** 2).sum() * len(counts) / (len(counts) - 1))
    )
    return Shift(
        *_peak(total.reshape(size, size), down, right), mean / max(error, 1e-9), len(counts)
    )


def _peak(total: np.ndarray, down: int, right: int) -> tuple[float, float]:
    """Return (right, down) of a peak to a fraction of a pixel.

    It is the top of a parabola through the peak and its neighbours.
    """
    return right - REACH + _vertex(total[down], right), down - REACH + _vertex(
        total[:, right], down
    )


def _vertex(line: np.ndarray, at: int) -> float:
    if not 0 < at < len(line) - 1:
        return 0.0
    before, top, after = line[at - 1], line[at], line[at + 1]
    bend = before - 2 * top + after
    return 0.0 if bend >= 0 else float(np.clip((before - after) / (2 * bend), -0.5, 0.5))


def shift_of(one: Surface) -> Shift | None:
    """Find the shift of one image's labels."""
    return find_shift(one.sums, one.counts)


def common_shift(surfaces: Sequence[Surface]) -> Shift | None:
    """Find the shift that all images of a dataset have in common.

    Pieces are the units while there are few images.
    """
    if not surfaces:
        return None
    if len(surfaces) < 8:
        return find_shift(
            np.concatenate([s.sums for s in surfaces]), np.concatenate([s.counts for s in surfaces])
        )
    return find_shift(
        np.stack([s.sums.sum(0) for s in surfaces]), np.stack([s.counts.sum() for s in surfaces])
    )
