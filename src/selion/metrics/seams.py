"""Where windows meet: the error at seams, and a map of where shifted windows disagree."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from selion.errors import BadInput
from selion.grid import Lattice
from selion.segmenter import Segmenter, View


def lattice_seams(lattice: Lattice) -> tuple[list[int], list[int]]:
    """Return the rows and the columns at which a window of the lattice begins or ends.

    They lie inside the grid; a seam lies before each.
    """

    def seams(starts: Iterable[int], size: int) -> list[int]:
        ends = {edge for start in starts for edge in (start, start + lattice.window)}
        return sorted(edge for edge in ends if 0 < edge < size)

    return seams(lattice.starts[0], lattice.shape[0]), seams(lattice.starts[1], lattice.shape[1])


def seam_error(labels: np.ndarray, rows: Iterable[int], columns: Iterable[int]) -> float:
    """Return how much more often the class changes across seams than elsewhere.

    1 is no seam to be seen.

    Parameters
    ----------
    labels : (y, x) integer ndarray
        Classes or object ids.
    rows, columns : iterable of int
        Seams lie between row ``r - 1`` and ``r``, and likewise for columns.

    Returns
    -------
    float
        Rate of change at seams over rate elsewhere; infinite if it changes at seams only, NaN
        without seams or without any change.
    """
    counts = np.zeros((2, 2))  # seam or interior; changes, places
    for axis, places in ((0, rows), (1, columns)):
        changes = (
            np.diff(labels, axis=axis) != 0
            if labels.dtype != bool
            else np.logical_xor(*_neighbours(labels, axis))
        )
        at_seam = np.zeros(changes.shape[axis], bool)
        at_seam[[p - 1 for p in places]] = True
        for k, chosen in enumerate((at_seam, ~at_seam)):
            part = np.compress(chosen, changes, axis)
            counts[k] += np.count_nonzero(part), part.size
    seam, interior = (changed / total if total else float("nan") for changed, total in counts)
    if interior == 0:
        return float("inf") if seam > 0 else float("nan")
    return float(seam / interior)


def _neighbours(labels: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    return (labels[1:], labels[:-1]) if axis == 0 else (labels[:, 1:], labels[:, :-1])


def consistency_map(
    pixels: np.ndarray, model: Segmenter, window: int | None = None, shifts: int = 2, batch: int = 4
) -> np.ndarray:
    """Predict an image with windows at several positions, unblended, and map where they agree.

    Parameters
    ----------
    pixels : (band, y, x) ndarray
        The image, finite.
    model : Segmenter
        Any model.
    window : int, optional
        Edge of a window; the model's own by default.
    shifts : int
        Positions along each axis: ``shifts ** 2`` predictions in all, a window divided by
        ``shifts`` apart.
    batch : int
        Windows given to the model at once.

    Returns
    -------
    (y, x) float32 ndarray
        Share of the predictions that say what most say: 1 is agreement, low values are places to
        distrust.

    Notes
    -----
    The corner consistency of PRUE (equation 1) says the same of one image's centre; here every
    pixel is judged.
    """
    size = model.inputs.window if window is None else window
    if shifts < 2 or size % model.inputs.multiple:
        raise BadInput(
            f"{shifts} shifts of a {size} px window were asked for; wanted are two or more, and a "
            f"window that is a multiple of {model.inputs.multiple}."
        )
    starts = [round(k * size / shifts) for k in range(shifts)]
    votes = np.zeros((len(model.classes), *pixels.shape[1:]), np.uint8)
    for top in starts:
        for left in starts:
            labels = _tiled(pixels, model, (top, left), size, batch)
            for c in range(len(votes)):
                votes[c] += labels == c
    agreement: np.ndarray = votes.max(0) / np.float32(len(starts) ** 2)
    return agreement.astype(np.float32)


def _tiled(
    pixels: np.ndarray, model: Segmenter, shift: tuple[int, int], size: int, batch: int
) -> np.ndarray:
    """Predict disjoint windows whose lattice is moved up and left by ``shift``.

    (y, x) class ids.
    """
    height, width = pixels.shape[1:]
    above, left_of = shift
    pads = ((0, 0), (above, -(height + above) % size), (left_of, -(width + left_of) % size))
    padded = np.pad(pixels, pads, mode="symmetric")
    labels = np.zeros((padded.shape[1], padded.shape[2]), np.uint8)
    corners = [
        (top, left)
        for top in range(0, labels.shape[0], size)
        for left in range(0, labels.shape[1], size)
    ]
    for first in range(0, len(corners), batch):
        rois = [
            (slice(top, top + size), slice(left, left + size))
            for top, left in corners[first : first + batch]
        ]
        for roi, answer in zip(
            rois, model([View(padded[:, *roi], roi) for roi in rois]), strict=True
        ):
            labels[roi] = answer.argmax(0)
    return labels[shift[0] : shift[0] + height, shift[1] : shift[1] + width]


def object_consistency(ids: np.ndarray, agreement: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average a consistency map over objects.

    Returns
    -------
    ids : (object,) int64 ndarray
        Ascending, without 0.
    consistency : (object,) float64 ndarray
    """
    keys, place = np.unique(ids, return_inverse=True)
    mean = np.bincount(place.ravel(), agreement.ravel().astype(float)) / np.bincount(place.ravel())
    keep = keys > 0
    return keys[keep].astype(np.int64), mean[keep]
