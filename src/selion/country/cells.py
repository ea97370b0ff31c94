"""Where a row lies.

Geohash cells as partitions, and one Hilbert curve over the whole globe as the order inside of them.

The id of a field is the geohash of a point inside it (:func:`selion.fields.table.geohash`), so the
id alone says in which partition a field is found.  A geohash of four characters has ten bits each
way and is therefore exactly one cell of the Hilbert curve of order ten: the curve visits its rows
one after the other.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from selion.errors import BadInput
from selion.fields.table import BASE32

BITS = 30
"""Bits of longitude and of latitude in an id of twelve characters."""
ORDER = 20
"""Order of the Hilbert curve: steps of 38 m by 19 m at the equator."""
FINE = 10
"""Order whose cells are geohashes of four characters, 39 km by 20 km at the equator: as much as is
held in memory at once."""
SHIFT = 2 * (ORDER - FINE)
"""Bits by which a place on the curve is finer than a fine cell."""
LEVELS = (2, 3, 4)
"""Characters that the name of a partition may have."""
NAME = re.compile(rb"[0-9b-hjkmnp-z]{12}(-\d+)?")
DIGITS = np.full(256, 255, np.uint8)
DIGITS[np.frombuffer(BASE32.encode(), np.uint8)] = np.arange(32)


def check_level(level: int) -> int:
    """Return the level, or refuse one that is none (BadInput)."""
    if level not in LEVELS:
        raise BadInput(
            f"Cells of {level} characters were asked for; wanted are "
            f"{', '.join(map(str, LEVELS))} (1250, 156 or 39 km wide)."
        )
    return level


def places_of(ids: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read where fields lie from their ids.

    Parameters
    ----------
    ids : sequence of str
        Geohashes of twelve characters, perhaps with a number behind (``u4pruydqqvj8-2``).

    Returns
    -------
    x, y : (n,) uint64 ndarray
        Longitude and latitude in 2**30 steps.
    known : (n,) bool ndarray
        Whether the id is such a geohash; x and y mean nothing where it is none.
    """
    text = np.array([str(name).encode("ascii", "replace") for name in ids], dtype="S24")
    known = np.array([NAME.fullmatch(name) is not None for name in text.tolist()], bool)
    letters = np.frombuffer(text.tobytes(), np.uint8).reshape(len(text), 24)[:, :12]
    code = np.zeros(len(text), np.uint64)
    for k in range(12):
        code = code << np.uint64(5) | (DIGITS[letters[:, k]] & 31).astype(np.uint64)
    return _gathered(code >> np.uint64(1)), _gathered(code), known


def _gathered(values: np.ndarray) -> np.ndarray:
    """Take every second bit of (n,) uint64 values, beginning with the lowest."""
    values = values & np.uint64(0x5555555555555555)
    for shift, mask in (
        (1, 0x3333333333333333),
        (2, 0x0F0F0F0F0F0F0F0F),
        (4, 0x00FF00FF00FF00FF),
        (8, 0x0000FFFF0000FFFF),
        (16, 0x00000000FFFFFFFF),
    ):
        values = (values | (values >> np.uint64(shift))) & np.uint64(mask)
    return values


def degrees(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return longitude and latitude of the middle of (n,) steps."""
    return (x + 0.5) / 2**BITS * 360 - 180, (y + 0.5) / 2**BITS * 180 - 90


def steps(lon: np.ndarray, lat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Inverse of :func:`degrees`."""
    top = 2**BITS - 1
    x = np.clip((np.asarray(lon) + 180) % 360 / 360 * 2**BITS, 0, top)
    return x.astype(np.uint64), np.clip((np.asarray(lat) + 90) / 180 * 2**BITS, 0, top).astype(
        np.uint64
    )


def hilbert(x: np.ndarray, y: np.ndarray, order: int = ORDER) -> np.ndarray:
    """Return the place of points on the Hilbert curve over the globe.

    Parameters
    ----------
    x, y : (n,) uint64 ndarray
        In 2**30 steps.
    order : int
        The curve has 4**order places.

    Returns
    -------
    (n,) int64 ndarray
        The place at a lower order is this one without its last bits, two per order.

    Examples
    --------
    >>> corners = steps(np.array([-90.0, -90, 90, 90]), np.array([-45.0, 45, 45, -45]))
    >>> hilbert(*corners, order=1)
    array([0, 1, 2, 3])
    """
    x, y = (np.asarray(v).astype(np.int64) >> (BITS - order) for v in (x, y))
    out = np.zeros(x.shape, np.int64)
    side = 1 << order
    for bit in range(order - 1, -1, -1):
        right, up = (x >> bit) & 1, (y >> bit) & 1
        out += ((3 * right) ^ up) << (2 * bit)
        turned, mirrored = up == 0, (up == 0) & (right == 1)
        x, y = np.where(mirrored, side - 1 - x, x), np.where(mirrored, side - 1 - y, y)
        x, y = np.where(turned, y, x), np.where(turned, x, y)
    return out


def fine_cell(key: np.ndarray) -> np.ndarray:
    """Return the fine cell of places on the curve of order :data:`ORDER`."""
    return np.asarray(key) >> SHIFT


def cell_box(name: str) -> tuple[float, float, float, float]:
    """Return west, south, east and north of a geohash.

    Examples
    --------
    >>> cell_box("u4")
    (0.0, 56.25, 11.25, 61.875)
    """
    code = 0
    for letter in name:
        code = code << 5 | BASE32.index(letter)
    count = 5 * len(name)
    x = y = 0
    for k in range(count):
        bit = code >> (count - 1 - k) & 1
        x, y = (x << 1 | bit, y) if k % 2 == 0 else (x, y << 1 | bit)
    width, height = 360 / 2 ** ((count + 1) // 2), 180 / 2 ** (count // 2)
    return -180 + x * width, -90 + y * height, -180 + (x + 1) * width, -90 + (y + 1) * height
