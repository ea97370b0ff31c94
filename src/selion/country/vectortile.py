"""Mapbox vector tiles 2.1.

Polygons of one tile to bytes, all features of a tile in one compiled loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit

EXTENT = 4096
"""Steps along a tile: 1.5 m at zoom 12 on 50 degrees, less than a fifth of a Sentinel-2 pixel."""
REACH = (-EXTENT, 2 * EXTENT - 1)
"""Steps that a geometry may have: MapLibre takes no more than one tile beyond each side."""
POLYGON, VERSION = 3, 2


@dataclass(frozen=True, eq=False)
class Shapes:
    """Polygons as flat arrays."""

    points: np.ndarray
    """(n, 2) int64 global steps of one zoom: x to the east, y to the south; rings one after the
    other, each closed."""
    rings: np.ndarray
    """(r + 1,) int64 where each ring starts."""
    parts: np.ndarray
    """(p + 1,) int64 ring that is each polygon's exterior."""
    features: np.ndarray
    """(f + 1,) int64 polygon that is each feature's first."""


@njit(cache=True, nogil=True)
def _varint(out, at, value):  # type: ignore[no-untyped-def]  # numba types it  # noqa: ANN001, ANN202
    while value > 127:
        out[at] = (value & 127) | 128
        value >>= 7
        at += 1
    out[at] = value
    return at + 1


@njit(cache=True, nogil=True)
def _length(value):  # type: ignore[no-untyped-def]  # numba types it  # noqa: ANN001, ANN202
    count = 1
    while value > 127:
        value >>= 7
        count += 1
    return count


@njit(cache=True, nogil=True)
def _zigzag(value):  # type: ignore[no-untyped-def]  # numba types it  # noqa: ANN001, ANN202
    return value << 1 if value >= 0 else ((-value) << 1) - 1


@njit(cache=True, nogil=True)
def _ring(points, start, stop, left, top, low, high, outside, ring):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Put the different points of a ring into ``ring``, turned as the tile wants it.

    Return their number, 0 if nothing is left or the ring has turned over.
    """
    count = 0
    # the last point is the first again; south is down, so rings run the other way
    for k in range(stop - 2, start - 1, -1):
        x = min(max(points[k, 0] - left, low), high)
        y = min(max(points[k, 1] - top, low), high)
        if count == 0 or x != ring[count - 1, 0] or y != ring[count - 1, 1]:
            ring[count, 0], ring[count, 1] = x, y
            count += 1
    while count > 1 and ring[0, 0] == ring[count - 1, 0] and ring[0, 1] == ring[count - 1, 1]:
        count -= 1
    if count < 3:
        return 0
    twice = 0
    for k in range(count):
        n = (k + 1) % count
        twice += ring[k, 0] * ring[n, 1] - ring[n, 0] * ring[k, 1]
    return count if (twice > 0) == outside and twice != 0 else 0


@njit(cache=True, nogil=True)
def _geometry(points, rings, parts, first, last, left, top, low, high, ring, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Write the commands of one feature's polygons; return their bytes."""
    at, x, y = 0, 0, 0
    for part in range(first, last):
        for r in range(parts[part], parts[part + 1]):
            count = _ring(
                points, rings[r], rings[r + 1], left, top, low, high, r == parts[part], ring
            )
            if count == 0:
                if r == parts[part]:
                    break
                continue
            at = _varint(out, at, 9)
            for k in range(count):
                if k == 1:
                    at = _varint(out, at, 2 | (count - 1) << 3)
                at = _varint(out, at, _zigzag(ring[k, 0] - x))
                at = _varint(out, at, _zigzag(ring[k, 1] - y))
                x, y = ring[k, 0], ring[k, 1]
            at = _varint(out, at, 15)
    return at


@njit(cache=True, nogil=True)
def _features(points, rings, parts, features, chosen, tags, left, top, low, high):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Return the bytes of the features of a layer, and which of the chosen are there."""
    most = 0
    total = 0
    for k in chosen:
        size = rings[parts[features[k + 1]]] - rings[parts[features[k]]]
        most = max(most, size)
        total += size
    ring = np.empty((most + 1, 2), np.int64)
    shape = np.empty(most * 24 + 64, np.uint8)
    out = np.empty(total * 24 + len(chosen) * (64 + 12 * tags.shape[1]), np.uint8)
    there = np.zeros(len(chosen), np.bool_)
    at = 0
    for n in range(len(chosen)):
        k = chosen[n]
        size = _geometry(
            points, rings, parts, features[k], features[k + 1], left, top, low, high, ring, shape
        )
        if size == 0:
            continue
        there[n] = True
        tagged = 0
        for t in range(tags.shape[1]):
            tagged += _length(tags[n, t])
        body = 1 + _length(tagged) + tagged + 2 + 1 + _length(size) + size
        at = _varint(out, at, 18)
        at = _varint(out, at, body)
        at = _varint(out, at, 18)
        at = _varint(out, at, tagged)
        for t in range(tags.shape[1]):
            at = _varint(out, at, tags[n, t])
        at = _varint(out, at, 24)
        at = _varint(out, at, 3)
        at = _varint(out, at, 34)
        at = _varint(out, at, size)
        out[at : at + size] = shape[:size]
        at += size
    return out[:at].copy(), there


def varint(value: int) -> bytes:
    """Encode a whole number from 0 up."""
    out = bytearray()
    while value > 127:
        out.append((value & 127) | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _field(number: int, body: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(body)) + body


def _values(values: np.ndarray) -> list[bytes]:
    """Encode the different values of a column."""
    if values.dtype.kind == "f":
        rows = np.empty(len(values), [("head", "S3"), ("value", "<f4")])
        # a value of five bytes: field 2, four bytes
        rows["head"], rows["value"] = b"\x22\x05\x15", values
        data = rows.tobytes()
        return [data[start : start + 7] for start in range(0, len(data), 7)]
    if values.dtype.kind in "iu":
        return [_field(4, varint(5 << 3) + varint(int(value))) for value in values.tolist()]
    texts = [str(value).encode() for value in values.tolist()]
    return [
        bytes((34, len(text) + 2, 10, len(text))) + text
        if len(text) < 126
        else _field(4, _field(1, text))
        for text in texts
    ]


def encode_layer(
    name: str,
    shapes: Shapes,
    chosen: np.ndarray,
    columns: dict[str, Sequence[object] | np.ndarray],
    tile: tuple[int, int],
) -> bytes:
    """Encode one layer of a tile.

    Parameters
    ----------
    name : str
    shapes : Shapes
        In the steps of the tile's zoom.
    chosen : (m,) int64 ndarray
        Features of the layer.
    columns : dict of str to (m,) values
        Strings, whole numbers from 0 up, or float32; those that are equal are stored once.
    tile : (int, int)
        Column and row.

    Returns
    -------
    bytes
        The layer as a field of a tile; empty if no feature is large enough to be seen.
    """
    tags = np.zeros((len(chosen), 2 * len(columns)), np.int64)
    values: list[bytes] = []
    for number, column in enumerate(columns.values()):
        unique, inverse = np.unique(np.asarray(column), return_inverse=True)
        tags[:, 2 * number], tags[:, 2 * number + 1] = number, inverse + len(values)
        values += _values(unique)
    body, there = _features(
        shapes.points,
        shapes.rings,
        shapes.parts,
        shapes.features,
        np.asarray(chosen, np.int64),
        tags,
        tile[0] * EXTENT,
        tile[1] * EXTENT,
        *REACH,
    )
    if not there.any():
        return b""
    head = _field(1, name.encode())
    keys = b"".join(_field(3, key.encode()) for key in columns)
    return _field(
        3,
        head
        + body.tobytes()
        + keys
        + b"".join(values)
        + varint(5 << 3)
        + varint(EXTENT)
        + varint(15 << 3)
        + varint(VERSION),
    )
