"""Which pixels of a scene show the ground, by the mask that comes with it."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np

from selion.errors import BadInput
from selion.imagery.sensors import Mask, find_sensor

SCL = find_sensor().mask
"""The scene classification of Sen2Cor, Sentinel-2's mask."""
CLASSES, EXCLUDED, CLOUDY = SCL.classes, SCL.excluded, SCL.cloudy


def clear(
    scl: np.ndarray,
    excluded: Collection[int] | None = None,
    margin: float = 0.0,
    gsd: float = 20.0,
    mask: Mask = SCL,
) -> np.ndarray:
    """Say which pixels are clear.

    Parameters
    ----------
    scl : (..., y, x) integer ndarray
        Values of the mask.  A code that is no class is not clear (of Sentinel-2, none of 0 to 11).
    excluded : collection of int, optional
        Classes that are not clear: codes, or numbers of bits; None: the mask's own.
    margin : float
        Metres around cloud and shadow (``mask.cloudy``: codes 3, 7, 8, 9 and 10 of Sentinel-2, as
        far as they are excluded) that are not clear either; 0 as in the paper.
    gsd : float
        Edge of a pixel in metres, for the margin.
    mask : Mask
        What the values mean; by default the scene classification of Sentinel-2.

    Returns
    -------
    (..., y, x) bool ndarray

    Raises
    ------
    BadInput
        If an excluded code is none, or the margin is negative.

    Notes
    -----
    Whether a margin helps was measured (``bench/choose.py --margin``).  On one date it does: 20 m
    from cloud the ground is still 0.07 brighter in red than it is, at 70 m 0.01 (UKIS chip, cumulus
    over farmland).  In the median of what is chosen hardly anything is left of that: over 16
    windows of two months in Slovenia, partly cloudy dates alone, a margin of 40 m changes the mean
    error of NDVI from 0.122 to 0.120, and the share of pixels that are seen at all from 90 to 85 %.
    So the default is the paper's.
    """
    if margin < 0 or not np.isfinite(margin):
        raise BadInput(f"A margin of {margin} m around clouds was given; wanted is 0 or more.")
    codes = parse_excluded(excluded, mask)
    seen = ~_among(scl, codes, mask, unknown=True)
    if margin == 0 or not codes & mask.cloudy:
        return seen
    return seen & ~widened(_among(scl, codes & mask.cloudy, mask), margin / gsd)


def delivered(values: np.ndarray, mask: Mask = SCL) -> np.ndarray:
    """Say where a scene has pixels at all, whatever classes are masked.

    Examples
    --------
    >>> delivered(np.array([0, 4, 9], np.uint8)).tolist()
    [False, True, True]
    """
    if mask.kind == "bits" and not mask.fill:  # of bits 0 is what has none of them
        return np.ones(values.shape, bool)
    return np.asarray(values != mask.fill)


def widened(mask: np.ndarray, radius: float) -> np.ndarray:
    """Grow a (..., y, x) bool mask by ``radius`` pixels, measured from centre to centre."""
    from scipy.ndimage import distance_transform_edt

    if mask.ndim > 2:
        return np.stack([widened(layer, radius) for layer in mask])
    return mask if not mask.any() else distance_transform_edt(~mask) <= radius


def parse_excluded(given: str | Iterable[int] | None, mask: Mask = SCL) -> frozenset[int]:
    """Return classes of a mask from ``"0,1,3"`` or numbers; None: the mask's own.

    Raises
    ------
    BadInput
        If one is not a class of the mask, or none would be left to see.
    """
    if given is None:
        return mask.excluded
    parts = given.replace(";", ",").split(",") if isinstance(given, str) else list(given)
    codes = frozenset(_code(part, mask) for part in parts if str(part).strip())
    if mask.kind == "codes" and codes >= set(mask.classes) - {0}:
        ground = ", ".join(map(str, mask.ground))
        raise BadInput(
            f"All classes of the {mask.title} were excluded: leave at least one that shows the "
            f"ground{f' ({ground})' if ground else ''}."
        )
    return codes


def names_of(codes: Iterable[int], mask: Mask = SCL) -> str:
    """Return codes as they are named in messages: ``cloud shadow (3), thin cirrus (10)``."""
    return ", ".join(f"{mask.classes.get(code, 'unknown')} ({code})" for code in sorted(codes))


def _code(part: str | int, mask: Mask) -> int:
    try:
        code = int(part)
    except (TypeError, ValueError):
        code = -1
    if code not in mask.classes:
        raise BadInput(
            f"{part!r} is not a class of the {mask.title}; they are {names_of(mask.classes, mask)}."
        )
    return code


def _among(
    values: np.ndarray, codes: Collection[int], mask: Mask, *, unknown: bool = False
) -> np.ndarray:
    """Say which pixels have one of some classes; those of no class get ``unknown``."""
    if not np.issubdtype(values.dtype, np.integer):
        raise BadInput(
            f"A {mask.title} of type {values.dtype} was given; wanted are whole numbers"
            + (
                f" from {min(mask.classes)} to {max(mask.classes)}."
                if mask.kind == "codes"
                else "."
            )
        )
    if mask.kind == "bits":
        # bit 15 of int16 is its sign
        bits = values.astype(f"u{values.dtype.itemsize}", copy=False)
        wanted = sum(1 << code for code in codes) & int(np.iinfo(bits.dtype).max)
        return (bits & bits.dtype.type(wanted)) != 0
    table = np.full(256, unknown)
    table[list(mask.classes)] = False
    table[list(codes)] = True
    if values.dtype != np.uint8:
        values = np.where((values >= 0) & (values < 255), values, 255).astype(np.uint8)
    return table[values]
