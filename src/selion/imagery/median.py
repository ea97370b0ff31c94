"""Median over time of pixels that are not always seen.

It is found by a sorting network whose lines are rows of pixels.

Notes
-----
A network compares fixed pairs, whatever the numbers are, so one comparison is a minimum and a
maximum of two whole rows: 32 pixels at a time with AVX-512, no branch.  What is not seen is filled
with the largest and the smallest number by turns, so that the median of what is seen lies in the
middle of all lines, however many were seen: only the two middle lines have to come out right, and
comparisons that cannot reach them are left out.

References
----------
.. [1] K. E. Batcher, "Sorting networks and their applications", AFIPS 1968.
.. [2] D. E. Knuth, The Art of Computer Programming 3, 5.2.2, Algorithm M (merge exchange), which
sorts any number of lines.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np
from numba import njit

from selion.errors import BadInput

MOST = 255
"""Scenes in a stack at most: the count of views is uint8."""
CHUNK = 1024
"""Pixels that go through the network together: 20 lines of them are 40 kB, which a core holds next
to it (512 to 2048 measure alike)."""
BOTH, LEAST, LARGEST = 3, 1, 2
"""What of a comparison is needed: both lines, the first one (minimum) or the second one
(maximum)."""


def masked_median(
    stack: np.ndarray, *, threads: int = 1, out: tuple[np.ndarray, np.ndarray] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the median over time of what was seen, and how often it was seen.

    Parameters
    ----------
    stack : (t, y, x) uint16 ndarray
        0 = not seen.
    threads : int
        The rows are shared among so many; the result does not depend on it.
    out : pair of (y, x) uint16 and (y, x) uint8 ndarray, optional
        Where the result is put.

    Returns
    -------
    median : (y, x) uint16 ndarray
        Of an even number of views the mean of the two middle ones, rounded half up (NumPy would
        give .5).  0 where nothing was seen.
    count : (y, x) uint8 ndarray
        Views that are not 0.

    Raises
    ------
    BadInput
        If the stack is not (t, y, x) uint16 of 1 to 255 views.

    Examples
    --------
    >>> stack = np.array([[[7, 0]], [[0, 0]], [[10, 0]]], np.uint16)
    >>> masked_median(stack)
    (array([[9, 0]], dtype=uint16), array([[2, 0]], dtype=uint8))
    """
    if stack.ndim != 3 or stack.dtype != np.uint16 or not 1 <= len(stack) <= MOST:
        raise BadInput(
            f"A stack of shape {stack.shape} and type {stack.dtype} was given; wanted is (time, y, "
            f"x) uint16 with 1 to {MOST} views."
        )
    stack = np.ascontiguousarray(stack)
    median, count = out or (
        np.empty(stack.shape[1:], np.uint16),
        np.empty(stack.shape[1:], np.uint8),
    )
    pairs, middle = network(len(stack))
    threads = max(threads, 1)
    bounds = [stack.shape[1] * k // threads for k in range(threads + 1)]
    if threads == 1:
        _median(stack, pairs, middle, median, count, *bounds)
    else:
        with ThreadPoolExecutor(threads, thread_name_prefix="selion-median") as pool:
            list(
                pool.map(
                    lambda top, end: _median(stack, pairs, middle, median, count, top, end),
                    bounds[:-1],
                    bounds[1:],
                )
            )
    return median, count


@lru_cache(maxsize=64)
def network(lines: int) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Return the comparisons that bring the middle of ``lines`` numbers to its place.

    With them comes where it then lies.

    Returns
    -------
    comparisons : (k, 3) int64 ndarray
        First line (gets the minimum), second line (gets the maximum), and what of the two is
        needed: BOTH, LEAST or LARGEST.
    middle : (int, int, int)
        The two lines whose mean is the median of an even number of views, and the line that is the
        median of an odd number.
    """
    half = (lines - 1) // 2
    low, high = (half, half + 1) if lines % 2 == 0 else (max(half - 1, 0), half)
    kept = needed(merge_exchange(lines), (low, high))
    comparisons = np.array(kept, np.int64).reshape(-1, 3)
    comparisons.flags.writeable = False
    return comparisons, (low, high, half)


def merge_exchange(lines: int) -> list[tuple[int, int]]:
    """Return the comparisons (first line, second line) that sort ``lines`` numbers.

    Algorithm M of [2]_.
    """
    if lines < 2:
        return []
    top = 1 << ((lines - 1).bit_length() - 1)
    pairs: list[tuple[int, int]] = []
    step = top
    while step:
        reach, offset, distance = top, 0, step
        while True:
            pairs += [
                (line, line + distance) for line in range(lines - distance) if line & step == offset
            ]
            if reach == step:
                break
            distance, reach, offset = reach - step, reach // 2, step
        step //= 2
    return pairs


def needed(pairs: Iterable[tuple[int, int]], wanted: Iterable[int]) -> list[tuple[int, int, int]]:
    """Return the comparisons, in their order, on which the ``wanted`` lines depend.

    With each comes what of it is needed.
    """
    lines = set(wanted)
    kept = []
    for first, second in reversed(list(pairs)):
        what = (LEAST if first in lines else 0) | (LARGEST if second in lines else 0)
        if what:
            kept.append((first, second, what))
            lines |= {first, second}
    return kept[::-1]


# Compiled: np.median would sort a copy of the stack.  Invariant: the missing views of a pixel are
# the largest and the smallest number by turns, so the median of what was seen lies in the middle
# lines.
@njit(cache=True, nogil=True)
def _median(stack, pairs, middle, out, count, top, end):  # type: ignore[no-untyped-def]  # numba types it  # noqa: ANN001, ANN202
    """Fill the rows from ``top`` to ``end`` of ``out`` and ``count`` from the (t, y, x) stack."""
    views, _, width = stack.shape
    low, high, single = middle
    lines = np.empty((views, CHUNK), np.uint16)
    fill, seen = np.empty(CHUNK, np.uint16), np.empty(CHUNK, np.uint16)
    zero, one, all_ones = np.uint16(0), np.uint16(1), np.uint16(65535)
    for y in range(top, end):
        for left in range(0, width, CHUNK):
            n = min(CHUNK, width - left)
            # the first that is not seen counts as the largest, the next as the smallest ...
            fill[:] = all_ones
            seen[:] = zero
            for t in range(views):
                row, line = stack[t, y, left : left + n], lines[t]
                for j in range(n):
                    missing = all_ones if row[j] == zero else zero
                    line[j] = np.uint16(row[j] | (fill[j] & missing))
                    fill[j] = np.uint16(fill[j] ^ missing)
                    seen[j] = np.uint16(seen[j] + (one & ~missing))
            _exchange(lines, pairs, n)
            for j in range(n):
                mean = np.uint16(
                    (np.uint32(lines[low, j]) + np.uint32(lines[high, j]) + np.uint32(1))
                    >> np.uint32(1)
                )
                value = lines[single, j] if seen[j] & one else mean
                out[y, left + j] = value if seen[j] else zero
                count[y, left + j] = np.uint8(seen[j])


# Each comparison is a loop over a row without a branch; what of the two is not needed is not
# written.
@njit(cache=True, nogil=True)
def _exchange(lines, pairs, n):  # type: ignore[no-untyped-def]  # numba types it  # noqa: ANN001, ANN202
    """Run the network on the first ``n`` pixels of the (t, pixel) lines, in place."""
    for k in range(len(pairs)):
        first, second = lines[pairs[k, 0]], lines[pairs[k, 1]]
        if pairs[k, 2] == BOTH:
            for j in range(n):
                a, b = first[j], second[j]
                first[j], second[j] = min(a, b), max(a, b)
        elif pairs[k, 2] == LEAST:
            for j in range(n):
                first[j] = min(first[j], second[j])
        else:
            for j in range(n):
                second[j] = max(first[j], second[j])
