"""Where windows meet: the error at seams."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from selion.grid import Lattice


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
