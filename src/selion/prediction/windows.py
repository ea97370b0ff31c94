"""One window: cut out, filled, padded, turned.

What the model sees, and nothing that is not finite.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from selion.errors import BadInput, GridMismatch
from selion.grid import Roi, clip_roi, inside
from selion.prediction.planning import PredictionPlan
from selion.prediction.resample import coarser, magnify, valid_pixels
from selion.raster import Raster, Source
from selion.segmenter import Segmenter, View

CONTEXTS = 8
"""Wider images that are kept while a run goes along its rows of windows."""
Position = tuple[int, int]
"""(row, column) in the lattice."""


@dataclass(frozen=True, eq=False, slots=True)
class Window:
    """A window that has something to see."""

    position: Position
    view: View
    """Float32 pixels in the source's numbers, (band, window, window)."""
    valid: np.ndarray
    """(y, x) bool, cut to the grid."""


def cut_window(part: Raster, frame: Roi, position: Position, plan: PredictionPlan) -> Window | None:
    """Cut the window at a lattice position out of what was read.

    Parameters
    ----------
    part : Raster
        What was read of the working grid, all bands; see
        :func:`selion.prediction.resample.read_frame`.
    frame : Roi
        Where ``part`` lies on the working grid; it holds the window.
    position : (row, column)
        Lattice position.
    plan : PredictionPlan
        Bands and lattice.

    Returns
    -------
    Window or None
        None if no pixel of it is valid.
    """
    roi = plan.lattice_roi(*position)
    times = plan.upsampling
    seen = part.read(inside(coarser(roi, times), coarser(frame, times)))
    pixels, valid = _filled(seen, plan)
    if not valid.any():
        return None
    edge = plan.lattice.window
    if times > 1:
        beyond = [(0, edge // times - size) for size in valid.shape]
        pixels = magnify(np.pad(pixels, [(0, 0), *beyond], mode="edge"), times)
        valid = valid.repeat(times, axis=0).repeat(times, axis=1)
    if pixels.shape[1:] != (edge, edge):
        pixels = pixels[:, mirror(pixels.shape[1], edge)][:, :, mirror(pixels.shape[2], edge)]
    return Window(position, View(pixels, plan.lattice.window_roi(*position)), valid)


def add_context(
    window: Window, source: Source, plan: PredictionPlan, kept: dict[Position, Raster] | None = None
) -> Window:
    """Give a window the wider image that it lies in, filled as the window itself is.

    Wider images lie on a lattice of their own, half of them over their neighbour, and a window
    takes the one whose middle is nearest to its own: many windows get the same one, as the same
    object, so that a model may encode it once.  An image that is not larger is given whole.

    Parameters
    ----------
    window : Window
    source : Source
        On the working grid.
    plan : PredictionPlan
    kept : dict, optional
        Wider images that were read before, by their place in their lattice; as many stay as a row
        of blocks touches.
    """
    if plan.context is None:
        return window
    kept = {} if kept is None else kept
    place = context_position(window.view.roi, plan)
    roi = context_roi(place, plan)
    if place not in kept:
        while len(kept) >= CONTEXTS:
            del kept[next(iter(kept))]
        kept[place] = _context(source.read(roi), plan)
    kept[place] = kept.pop(place)  # the one used last is the last to go
    return Window(
        window.position, View(window.view.pixels, window.view.roi, kept[place], roi), window.valid
    )


def _context(part: Raster, plan: PredictionPlan) -> Raster:
    pixels, valid = _filled(part, plan)
    return Raster(pixels, part.grid, tuple(part.bands[k] for k in plan.bands), valid)


def context_position(roi: Roi, plan: PredictionPlan) -> Position:
    """Return the place, in the lattice of wider images, of the nearest one.

    It is the one whose middle is nearest to a window's.
    """
    lattice = plan.contexts
    middles = [(span.start + span.stop) / 2 for span in roi]
    nearest = [
        min(range(len(starts)), key=lambda k: abs(starts[k] + lattice.window / 2 - middle))
        for starts, middle in zip(lattice.starts, middles, strict=True)
    ]
    return nearest[0], nearest[1]


def context_roi(place: Position, plan: PredictionPlan) -> Roi:
    """Return the region of a wider image, cut to the grid."""
    return clip_roi(plan.contexts.window_roi(*place), plan.lattice.shape)


def _filled(part: Raster, plan: PredictionPlan) -> tuple[np.ndarray, np.ndarray]:
    """Select bands as float32 and fill pixels that are not valid.

    They get the mean, band by band, of those that are.

    A pixel counts as valid only if all *selected* bands are finite.  The mean (and not 0) keeps the
    fill within the numbers that the network knows, whatever its scaling; it depends on nothing
    beyond this part.  Where dates are a set, what one date lacks stays NaN, and a pixel is valid
    where any date is there.
    """
    bands = list(plan.bands)
    as_they_are = bands == list(range(len(part.bands)))
    values = part.values if as_they_are else part.values[bands]
    chosen = Raster(values, part.grid, tuple(part.bands[k] for k in bands), part.valid)
    pixels = chosen.values.astype(np.float32)
    valid = valid_pixels(chosen) if plan.dates is None else chosen.valid
    if valid is None:
        return pixels, np.ones(pixels.shape[1:], bool)
    return fill_unknown(pixels, valid), valid


def fill_unknown(pixels: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Give (band, y, x) float32 pixels, where they are not known, the mean of those that are.

    They are changed in place.  NaN where other bands are known has no part in it, and stays; a band
    that is nothing else stays as it is.
    """
    for plane in pixels:
        seen = plane[known]
        seen = seen[np.isfinite(seen)]
        if seen.size:
            plane[~known] = seen.mean(dtype=np.float64)
    return pixels


def mirror(size: int, length: int) -> np.ndarray:
    """Indexes (length,) that run to and fro over an axis of ``size``, the end pixels not repeated.

    Any size from 1.

    Examples
    --------
    >>> mirror(3, 8).tolist(), mirror(1, 3).tolist()
    ([0, 1, 2, 1, 0, 1, 2, 1], [0, 0, 0])
    """
    period = max(2 * size - 2, 1)
    there = np.arange(length) % period
    return np.minimum(there, period - there) if size > 1 else there


def segment(model: Segmenter, windows: Sequence[Window], plan: PredictionPlan) -> np.ndarray:
    """Ask the model, once in the pose of the plan, or in eight orientations.

    Returns
    -------
    (window, class, y, x) float32 ndarray
        Probabilities; the mean over the orientations, summed in a fixed order.

    Raises
    ------
    GridMismatch
        If the model answers another shape.
    BadInput
        If it answers numbers that are not finite.
    """
    views = [window.view for window in windows]
    if not plan.flips and plan.pose == (0, False):
        return _checked(model(views), len(views), plan, windows)
    poses = list(product(range(4), (False, True))) if plan.flips else [plan.pose]
    total: np.ndarray | None = None
    for turns, flip in poses:
        turned = [View(_turn(view.pixels, turns, flip), view.roi) for view in views]
        scores = _turn_back(_checked(model(turned), len(views), plan, windows), turns, flip)
        total = scores.copy() if total is None else total + scores
    return np.asarray(total) / np.float32(len(poses))


def _turn(pixels: np.ndarray, turns: int, flip: bool) -> np.ndarray:
    turned = np.rot90(pixels, turns, (-2, -1))
    return np.ascontiguousarray(turned[..., ::-1] if flip else turned)


def _turn_back(scores: np.ndarray, turns: int, flip: bool) -> np.ndarray:
    return np.rot90(scores[..., ::-1] if flip else scores, -turns, (-2, -1))


def _checked(
    scores: np.ndarray, count: int, plan: PredictionPlan, windows: Sequence[Window]
) -> np.ndarray:
    edge = plan.lattice.window
    wanted = (count, len(plan.classes), edge, edge)
    if scores.shape != wanted:
        raise GridMismatch(
            f"The model returned scores of shape {scores.shape}; wanted is (view, class, y, x) = "
            f"{wanted}: check its card."
        )
    if not np.isfinite(scores).all():
        roi = windows[0].view.roi
        raise BadInput(
            f"The model returned numbers that are not finite near row {roi[0].start}, column "
            f"{roi[1].start}: try without --fast, or another engine."
        )
    return scores
