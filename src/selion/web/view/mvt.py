"""Mapbox vector tiles, version 2.1.

Polygons and a few properties in, bytes out, without a loop over points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

EXTENT = 4096
"""Units along the edge of a tile."""
MOVE, LINE, CLOSE = 1, 2, 7
LAYER, FEATURE, KEY, VALUE = b"\x1a", b"\x12", b"\x1a", b"\x22"
"""Protobuf tags: of a layer in a tile, and of the parts of a layer."""


@dataclass(frozen=True, eq=False)
class Features:
    """What a layer of a tile holds."""

    polygons: np.ndarray
    """(part,) shapely polygons in units of the tile, y down."""
    owner: np.ndarray
    """(part,) int: which feature a polygon belongs to; rising."""
    numbers: np.ndarray
    """(feature,) the id of each."""
    table: Mapping[str, np.ndarray]
    """Property -> (feature,) float or object (str or None) array; NaN and None are left out."""


def varint(number: int) -> bytes:
    """Encode one whole number."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(tag: bytes, body: bytes) -> bytes:
    """Put a protobuf tag and the length before a body."""
    return tag + varint(len(body)) + body


def varints(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Encode whole numbers below 2^32.

    Returns
    -------
    (byte,) uint8 ndarray
    (number + 1,) int ndarray
        Where each begins.
    """
    numbers = numbers.astype(np.uint64)
    sizes = np.ones(len(numbers), np.int64)
    for k in range(1, 5):
        sizes += numbers >= 1 << (7 * k)
    begins = np.concatenate([[0], np.cumsum(sizes)])
    out = np.zeros(begins[-1], np.uint8)
    for k in range(5):
        has = sizes > k
        more = np.where(sizes[has] > k + 1, 128, 0)
        out[begins[:-1][has] + k] = (numbers[has] >> np.uint64(7 * k)).astype(np.int64) & 127 | more
    return out, begins


def rings_of(features: Features) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Round rings to units of the tile.

    Points that fall together and rings that fall flat are left out.

    Returns
    -------
    points : (n, 2) int64
    begins : (ring + 1,) int
    owner : (ring,) int
        The feature of each ring.
    """
    import shapely

    rings, of = shapely.get_rings(features.polygons, return_index=True)
    points, ring = shapely.get_coordinates(rings, return_index=True)
    points = np.rint(points).astype(np.int64)
    if not len(points):
        return points, np.zeros(1, np.int64), np.zeros(0, np.int64)
    fresh = np.ones(len(points), bool)
    fresh[1:] = (ring[1:] != ring[:-1]) | (points[1:] != points[:-1]).any(1)
    points, ring = points[fresh], ring[fresh]
    last = np.append(ring[1:] != ring[:-1], True)
    points, ring = points[~last], ring[~last]  # the closing point is the first one again
    sizes = np.bincount(ring, minlength=len(rings))
    points, sizes, of = points[(sizes > 2)[ring]], sizes[sizes > 2], of[sizes > 2]
    return points, np.concatenate([[0], np.cumsum(sizes)]), features.owner[of]


def geometry(
    points: np.ndarray, begins: np.ndarray, owner: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Encode rings as commands.

    Returns
    -------
    (byte,) uint8 ndarray
    (count + 1,) int ndarray
        Where each feature begins.
    """
    sizes = np.diff(begins)
    first = np.zeros(len(points), bool)
    first[begins[:-1]] = True
    step = np.diff(points, axis=0, prepend=np.zeros((1, 2), np.int64))
    opening = begins[:-1][np.append(True, owner[1:] != owner[:-1])] if len(owner) else begins[:0]
    step[opening] = points[opening]  # each feature begins at the origin
    zigzag = (step << 1) ^ (step >> 63)
    starts = np.concatenate([[0], np.cumsum(2 * sizes + 3)])
    commands = np.zeros(starts[-1], np.int64)
    commands[starts[:-1]] = MOVE | 1 << 3
    commands[starts[:-1] + 3] = LINE | (sizes - 1) << 3
    commands[starts[1:] - 1] = CLOSE | 1 << 3
    ring = np.repeat(np.arange(len(sizes)), sizes)
    within = np.arange(len(points)) - begins[ring]
    at = starts[ring] + 1 + 2 * within + (within > 0)
    commands[at], commands[at + 1] = zigzag[:, 0], zigzag[:, 1]
    data, each = varints(commands)
    return data, each[starts[np.searchsorted(owner, np.arange(count + 1))]]


def encode_value(value: Any) -> bytes:
    """Encode a property: text, a whole number or a double."""
    if isinstance(value, str):
        body = value.encode("utf-8", "replace")
        return b"\x0a" + varint(len(body)) + body
    if float(value).is_integer() and 0 <= value < 1 << 53:
        return b"\x28" + varint(int(value))
    return b"\x19" + np.float64(value).tobytes()


def tags_of(
    table: Mapping[str, np.ndarray], count: int
) -> tuple[list[bytes], list[bytes], list[bytes]]:
    """Return the keys, the values that occur, and the encoded pairs of each feature."""
    pairs, values, offset = [b""] * count, list[bytes](), 0
    for k, column in enumerate(table.values()):
        text = column.dtype == object
        known = np.array([v is not None for v in column], bool) if text else np.isfinite(column)
        different, which = np.unique(
            column[known].astype(str) if text else column[known], return_inverse=True
        )
        values += [encode_value(str(v) if text else float(v)) for v in different]
        coded = [varint(k) + varint(offset + n) for n in range(len(different))]
        for at, n in zip(np.flatnonzero(known).tolist(), which.tolist(), strict=True):
            pairs[at] += coded[n]
        offset += len(different)
    return [name.encode() for name in table], values, pairs


def encode_layer(name: str, features: Features) -> bytes:
    """Return one layer of a tile; features that fall flat are left out."""
    points, begins, owner = rings_of(features)
    count = len(features.numbers)
    data, each = geometry(points, begins, owner, count)
    keys, values, pairs = tags_of(features.table, count)
    body, cut = data.tobytes(), each.tolist()
    parts = [field(b"\x0a", name.encode()), b"\x78\x02", b"\x28" + varint(EXTENT)]
    for k, number in enumerate(features.numbers.tolist()):
        if cut[k + 1] > cut[k]:
            head = b"\x08" + varint(int(number)) + (field(b"\x12", pairs[k]) if pairs[k] else b"")
            parts.append(
                field(FEATURE, head + b"\x18\x03" + field(b"\x22", body[cut[k] : cut[k + 1]]))
            )
    parts += [field(KEY, key) for key in keys] + [field(VALUE, value) for value in values]
    return field(LAYER, b"".join(parts))


def encode_tile(layers: Sequence[tuple[str, Features]]) -> bytes:
    """Return a tile."""
    return b"".join(
        encode_layer(name, features) for name, features in layers if len(features.numbers)
    )
