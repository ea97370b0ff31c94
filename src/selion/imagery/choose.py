"""Which scenes to take: the greedy search of PRUE, before any band is read at full resolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from selion.errors import BadInput, GridMismatch

TARGET = 5
"""Clear views that a pixel should have."""
LIMIT = 10
"""Most scenes per tile and season."""


@dataclass(frozen=True, eq=False, slots=True)
class Choice:
    """Which scenes were chosen, what each of them brought, and how deep the view is."""

    order: tuple[int, ...]
    """Positions of the scenes, in the order in which they were chosen."""
    gains: tuple[int, ...]
    """Pixels that each of them added below the target depth: never growing, never zero."""
    depth: np.ndarray
    """(y, x) uint8, clear views per pixel of the chosen scenes, also outside the area."""


def choose(
    valid: np.ndarray,
    target: int = TARGET,
    limit: int = LIMIT,
    inside: np.ndarray | None = None,
    prefer: Sequence[float] | None = None,
) -> Choice:
    """Choose scenes greedily.

    Each time it is the one that adds most clear views where there are fewer than ``target``.

    Parameters
    ----------
    valid : (scene, y, x) bool ndarray
        Where each scene is clear.
    target : int
        Clear views that a pixel should have, 1 to 255.
    limit : int
        Most scenes.
    inside : (y, x) bool ndarray, optional
        The area: only its pixels count.
    prefer : sequence of float, optional
        One number per scene: of scenes with equal gain the one with the smallest number wins (cloud
        of the whole scene, days from the middle of the season).  Without it the first wins, which
        is the paper's rule.

    Returns
    -------
    Choice

    Raises
    ------
    GridMismatch
        If the shapes do not fit.
    BadInput
        If ``target`` or ``limit`` make no sense.

    Notes
    -----
    The gain of a scene can only shrink while others are chosen, so the greedy choice is within 1 -
    1/e of the best one (a monotone submodular function).  The masks are packed to one bit per
    pixel, and a gain is a count of bits: 60 scenes of 1098 x 1098 px take a few hundredths of a
    second.

    We depart from the paper in one point that it leaves open: when no scene remains its
    ``best_idx`` is null and is selected all the same; here the search ends.

    References
    ----------
    PRUE, appendix D, Algorithm 3 (``SelectScenesGreedy``).

    Examples
    --------
    >>> views = np.array([[[1, 1, 0, 0]], [[1, 1, 1, 0]], [[0, 0, 0, 1]]], bool)
    >>> choose(views, target=1).order
    (1, 2)
    """
    _check(valid, target, limit, inside, prefer)
    scenes, shape = valid.shape[0], valid.shape[1:]
    bits = _packed(valid)
    depth = np.zeros(shape, np.uint8)
    lacking = np.ones(shape, bool) if inside is None else inside.astype(bool)
    ranks = np.zeros(scenes) if prefer is None else np.asarray(prefer, float)
    order: list[int] = []
    gains: list[int] = []
    remaining = list(range(scenes))
    while remaining and len(order) < limit:
        found = _gains(bits, remaining, _packed(lacking[None])[0])
        best = min(range(len(remaining)), key=lambda k: (-found[k], ranks[remaining[k]], k))
        if not found[best]:
            break
        order.append(remaining.pop(best))
        gains.append(int(found[best]))
        depth += valid[order[-1]]
        lacking &= depth < target
    return Choice(tuple(order), tuple(gains), depth)


def _check(
    valid: np.ndarray,
    target: int,
    limit: int,
    inside: np.ndarray | None,
    prefer: Sequence[float] | None,
) -> None:
    if valid.ndim != 3 or valid.dtype != bool:
        raise GridMismatch(
            f"Masks of shape {valid.shape} and type {valid.dtype} were given; wanted is (scene, y, "
            "x) bool."
        )
    if inside is not None and inside.shape != valid.shape[1:]:
        raise GridMismatch(
            f"An area of shape {inside.shape} does not fit masks of shape {valid.shape}."
        )
    if prefer is not None and len(prefer) != len(valid):
        raise BadInput(
            f"{len(prefer)} preferences were given for {len(valid)} scenes: give one per scene."
        )
    if not 1 <= target <= 255 or not 1 <= limit <= 255:
        raise BadInput(
            f"A target of {target} views and a limit of {limit} scenes were given; wanted are 1 to "
            "255 of each."
        )


def _packed(masks: np.ndarray) -> np.ndarray:
    """Pack (scene, y, x) bool into (scene, word) uint64, one bit per pixel."""
    scenes = masks.shape[0]
    packed = np.packbits(masks.reshape(scenes, masks[:1].size if scenes else 0), axis=1)
    words = np.zeros((scenes, -(-packed.shape[1] // 8) * 8), np.uint8)
    words[:, : packed.shape[1]] = packed
    return words.view(np.uint64)


def _gains(bits: np.ndarray, remaining: Sequence[int], lacking: np.ndarray) -> list[int]:
    """Count, for each remaining scene, its clear pixels among the lacking ones."""
    return [int(np.bitwise_count(bits[scene] & lacking).sum(dtype=np.int64)) for scene in remaining]
