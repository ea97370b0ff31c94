"""Mapbox vector tiles 2.1: encode polygons and their properties as a layer.

The one encoder, of ``selion tiles`` and of the viewer.  All features of a layer are written in one
compiled loop.

References
----------
Mapbox (2016): Vector Tile Specification 2.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numba import njit

EXTENT = 4096
"""Units along the edge of a tile: 1.5 m at zoom 12 on 50 degrees, less than a fifth of a Sentinel-2
pixel."""
REACH = (-EXTENT, 2 * EXTENT - 1)
"""Units that a point may have: MapLibre takes no more than one tile beyond each side.
Rings that go farther are cut there."""
VERSION = 2
LEFT_OUT = -1
"""Stands for the id or the tag of a property that a feature does not have."""


# Who renames this class deletes the cached kernels (mvt.*.nbi): numba reads their index, which has
# the class by name, before it looks whether the source has changed.
class TileRings(NamedTuple):
    """Polygons as flat arrays; a tuple, because compiled code takes no dataclass."""

    points: np.ndarray
    """(n, 2) units, x to the east, y to the south; rings one after the other, each closed.
    Exteriors turn clockwise as one sees them on the map, holes the other way."""
    rings: np.ndarray
    """(r + 1,) int64 point that each ring begins with."""
    parts: np.ndarray
    """(p + 1,) int64 ring that is each polygon's exterior."""
    features: np.ndarray
    """(f + 1,) int64 polygon that is each feature's first."""


class _Frame(NamedTuple):
    """The tile as the kernels need it."""

    left: int
    top: int
    low: int
    high: int
    keep_flat: bool


@dataclass(frozen=True, eq=False)
class TileLayer:
    """What a layer of a tile holds."""

    outlines: TileRings
    columns: Mapping[str, np.ndarray]
    """Property -> (m,) array: text (str or object), whole numbers from 0 up, float32, or float64,
    of which whole numbers are written as such.  NaN and None are left out."""
    chosen: np.ndarray | None = None
    """(m,) int64: the features of ``outlines`` that the layer holds; None: all."""
    numbers: np.ndarray | None = None
    """(m,) int64 id of each feature from 0 up; None: they have none."""


def flatten(polygons: np.ndarray, owner: np.ndarray, count: int) -> TileRings:
    """Return polygons as flat arrays.

    Parameters
    ----------
    polygons : (p,) array of shapely Polygon
    owner : (p,) int ndarray
        The feature that each belongs to; rising.
    count : int
        Number of features.

    Returns
    -------
    TileRings
        With (n, 2) float64 points, as they are.
    """
    import shapely

    if not len(polygons):
        start = np.zeros(1, np.int64)
        return TileRings(np.zeros((0, 2)), start, start, np.zeros(count + 1, np.int64))
    _, points, (rings, parts) = shapely.to_ragged_array(polygons, include_z=False)
    features = np.searchsorted(owner, np.arange(count + 1))
    return TileRings(
        points, rings.astype(np.int64), parts.astype(np.int64), features.astype(np.int64)
    )


def squares(boxes: np.ndarray) -> TileRings:
    """Return (n, 4) boxes, left, top, right, bottom in units, as one polygon each."""
    left, top, right, bottom = boxes.T
    ring = np.stack([right, top, right, bottom, left, bottom, left, top, right, top], axis=1)
    one = np.arange(len(boxes) + 1, dtype=np.int64)
    return TileRings(ring.reshape(-1, 2), 5 * one, one, one)


def encode_layer(
    name: str, layer: TileLayer, corner: tuple[int, int] = (0, 0), *, keep_flat: bool = False
) -> bytes:
    """Encode one layer of a tile.

    Parameters
    ----------
    name : str
    layer : TileLayer
    corner : (int, int)
        Units of the tile's upper left corner: x, y.  Points are rounded to whole units.
    keep_flat : bool
        Whether rings without area are kept, so that their outline is seen.  Rings with fewer than
        three points never are.

    Returns
    -------
    bytes
        The layer as a field of a tile; empty if no feature is large enough to be seen.
    """
    outlines = layer.outlines
    if outlines.points.dtype != np.int64:
        outlines = outlines._replace(points=np.rint(outlines.points).astype(np.int64))
    count = len(outlines.features) - 1 if layer.chosen is None else len(layer.chosen)
    chosen = np.arange(count) if layer.chosen is None else np.asarray(layer.chosen, np.int64)
    numbers = np.full(count, LEFT_OUT) if layer.numbers is None else layer.numbers
    tags, values = _tags(layer.columns, count)
    body = _features(
        outlines,
        chosen,
        np.asarray(numbers, np.int64),
        tags,
        _Frame(corner[0], corner[1], *REACH, keep_flat),
    )
    if not len(body):
        return b""
    return _field(
        3,
        b"".join(
            (
                _field(1, name.encode()),
                _varint_bytes(15 << 3),
                _varint_bytes(VERSION),
                _varint_bytes(5 << 3),
                _varint_bytes(EXTENT),
                body.tobytes(),
                *(_field(3, key.encode()) for key in layer.columns),
                *values,
            )
        ),
    )


def _varint_bytes(value: int) -> bytes:
    """Encode a whole number from 0 up."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _field(number: int, body: bytes) -> bytes:
    """Put the protobuf tag and the length before a body."""
    return _varint_bytes(number << 3 | 2) + _varint_bytes(len(body)) + body


def _tags(columns: Mapping[str, np.ndarray], count: int) -> tuple[np.ndarray, list[bytes]]:
    """Return (count, 2 * column) pairs of key and value, and the different values."""
    tags = np.full((count, 2 * len(columns)), LEFT_OUT, np.int64)
    values: list[bytes] = []
    for number, column in enumerate(columns.values()):
        known = _known(column)
        there = column if known.all() else column[known]
        unique, inverse = np.unique(
            there.astype(str) if column.dtype == object else there, return_inverse=True
        )
        tags[known, 2 * number], tags[known, 2 * number + 1] = number, inverse + len(values)
        values += _values(unique)
    return tags, values


def _known(column: np.ndarray) -> np.ndarray:
    if column.dtype.kind == "O":
        return np.array([value is not None for value in column], bool)
    return np.isfinite(column) if column.dtype.kind == "f" else np.ones(len(column), bool)


def _values(values: np.ndarray) -> list[bytes]:
    """Encode the different values of a column."""
    if values.dtype == np.float32:
        rows = np.empty(len(values), [("head", "S3"), ("value", "<f4")])
        # a value of five bytes: field 2, four bytes
        rows["head"], rows["value"] = b"\x22\x05\x15", values
        data = rows.tobytes()
        return [data[start : start + 7] for start in range(0, len(data), 7)]
    return [_field(4, _value(value)) for value in values.tolist()]


def _value(value: Any) -> bytes:
    """Encode a property: text, a whole number or a double."""
    if isinstance(value, str):
        return _field(1, value.encode("utf-8", "replace"))
    if float(value).is_integer() and 0 <= value < 1 << 53:
        return _varint_bytes(5 << 3) + _varint_bytes(int(value))
    return b"\x19" + np.float64(value).tobytes()


# Why the kernels below are compiled: an encoder in numpy alone builds each feature's bytes in a
# loop of Python, and takes several times as long per tile (bench/tiles.py); lengths stand before
# bodies in protobuf, so the loop cannot be turned into one expression over arrays.  Constants are
# int64: numba compiles what is called with a literal for each of them anew.


@njit(cache=True, nogil=True)
def _varint(out, at, value):  # type: ignore[no-untyped-def]  # numba types it  # noqa: ANN001, ANN202
    # a kernel because the others call it once per coordinate
    while value > 127:
        out[at] = (value & 127) | 128
        value >>= 7
        at += 1
    out[at] = value
    return at + 1


@njit(cache=True, nogil=True)
def _length(value):  # type: ignore[no-untyped-def]  # numba types it  # noqa: ANN001, ANN202
    # a kernel because the length of a feature is asked for before it is written
    count = 1
    while value > 127:
        value >>= 7
        count += 1
    return count


@njit(cache=True, nogil=True)
def _zigzag(value):  # type: ignore[no-untyped-def]  # numba types it  # noqa: ANN001, ANN202
    # a kernel because the others call it once per coordinate
    return value << 1 if value >= 0 else ((-value) << 1) - 1


@njit(cache=True, nogil=True)
def _cut(ring, count, axis, limit, inward, out):  # type: ignore[no-untyped-def]  # numba types it  # noqa: ANN001, ANN202
    """Put what lies on one side of a line into ``out`` (Sutherland and Hodgman 1974)."""
    # a kernel because what is kept of an edge depends on both of its ends
    kept = 0
    for k in range(count):
        n = (k + 1) % count
        here, there = inward * (ring[k, axis] - limit), inward * (ring[n, axis] - limit)
        if here >= 0:
            out[kept, 0], out[kept, 1] = ring[k, 0], ring[k, 1]
            kept += 1
        if (here > 0 and there < 0) or (here < 0 and there > 0):
            start, end = ring[k, 1 - axis], ring[n, 1 - axis]
            out[kept, axis] = limit
            out[kept, 1 - axis] = start + np.int64(np.rint((end - start) * (here / (here - there))))
            kept += 1
    return kept


@njit(cache=True, nogil=True)
def _within_reach(ring, count, frame, spare):  # type: ignore[no-untyped-def]  # numba types it  # noqa: ANN001, ANN202
    """Cut a ring at the reach of the tile; points moved there would bend its edges in the tile."""
    # a kernel because the others call it for each ring
    for axis in range(2):
        count = _cut(ring, count, axis, frame.low, 1, spare)
        count = _cut(spare, count, axis, frame.high, -1, ring)
    return count


@njit(cache=True, nogil=True)
def _ring(points, frame, outside, ring, spare):  # type: ignore[no-untyped-def]  # numba types it  # noqa: ANN001, ANN202
    """Put the different points of a closed ring into ``ring``.

    Return their number, 0 if nothing is left or the ring has turned over.
    """
    # a kernel because which points are dropped depends on those that were kept before
    count = len(points) - 1  # the last point is the first again
    beyond = False
    for k in range(count):
        x, y = points[k, 0] - frame.left, points[k, 1] - frame.top
        ring[k, 0], ring[k, 1] = x, y
        beyond |= min(x, y) < frame.low or max(x, y) > frame.high
    held = _within_reach(ring, count, frame, spare) if beyond else count
    count = 0
    for k in range(held):
        x, y = ring[k, 0], ring[k, 1]
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
    return count if frame.keep_flat or ((twice > 0) == outside and twice != 0) else 0


@njit(cache=True, nogil=True)
def _geometry(outlines, feature, frame, rings, out):  # type: ignore[no-untyped-def]  # numba types it  # noqa: ANN001, ANN202
    """Write the commands of one feature's polygons; return their bytes."""
    # a kernel because the commands of a ring have no length that is known before
    at, x, y = np.int64(0), 0, 0
    ring, spare = rings[0], rings[1]
    for part in range(outlines.features[feature], outlines.features[feature + 1]):
        exterior = outlines.parts[part]
        for r in range(exterior, outlines.parts[part + 1]):
            points = outlines.points[outlines.rings[r] : outlines.rings[r + 1]]
            count = _ring(points, frame, r == exterior, ring, spare)
            if count == 0:
                if r == exterior and not frame.keep_flat:
                    break
                continue
            at = _varint(out, at, np.int64(9))
            for k in range(count):
                if k == 1:
                    at = _varint(out, at, 2 | (count - 1) << 3)
                at = _varint(out, at, _zigzag(ring[k, 0] - x))
                at = _varint(out, at, _zigzag(ring[k, 1] - y))
                x, y = ring[k, 0], ring[k, 1]
            at = _varint(out, at, np.int64(15))
    return at


@njit(cache=True, nogil=True)
def _tags_length(tags):  # type: ignore[no-untyped-def]  # numba types it  # noqa: ANN001, ANN202
    # a kernel because it stands before the tags of each feature
    length = 0
    for tag in tags:
        if tag >= 0:
            length += _length(tag)
    return length


@njit(cache=True, nogil=True)
def _head(out, at, number, tags, size):  # type: ignore[no-untyped-def]  # numba types it  # noqa: ANN001, ANN202
    """Write what stands before the ``size`` bytes of a feature's geometry; return where they go."""
    # a kernel because it is called once per feature
    tagged = _tags_length(tags)
    body = 2 + 1 + _length(size) + size
    body += 1 + _length(tagged) + tagged if tagged else 0
    body += 1 + _length(number) if number >= 0 else 0
    at = _varint(out, at, np.int64(18))
    at = _varint(out, at, body)
    if number >= 0:
        at = _varint(out, at, np.int64(8))
        at = _varint(out, at, number)
    if tagged:
        at = _varint(out, at, np.int64(18))
        at = _varint(out, at, tagged)
        for tag in tags:
            if tag >= 0:
                at = _varint(out, at, tag)
    at = _varint(out, at, np.int64(24))
    at = _varint(out, at, np.int64(3))
    at = _varint(out, at, np.int64(34))
    return _varint(out, at, size)


@njit(cache=True, nogil=True)
def _features(outlines, chosen, numbers, tags, frame):  # type: ignore[no-untyped-def]  # numba types it  # noqa: ANN001, ANN202
    """Return the bytes of the features of a layer; those of which nothing is left are not there."""
    # a kernel because it is the loop over features, with bytes of no length known before
    most = 0
    total = 0
    for k in chosen:
        first = outlines.rings[outlines.parts[outlines.features[k]]]
        size = outlines.rings[outlines.parts[outlines.features[k + 1]]] - first
        most = max(most, size)
        total += size
    # each of the four lines of the reach adds a point to every second one at most: 5.1 times as
    # many, of six bytes each
    rings = np.empty((2, 6 * most + 1, 2), np.int64)
    shape = np.empty(most * 36 + 64, np.uint8)
    out = np.empty(total * 36 + len(chosen) * (80 + 12 * tags.shape[1]), np.uint8)
    at = np.int64(0)
    for n in range(len(chosen)):
        size = _geometry(outlines, chosen[n], frame, rings, shape)
        if size > 0:
            at = _head(out, at, numbers[n], tags[n], size)
            for k in range(size):  # to assign a slice takes numba seconds to compile
                out[at + k] = shape[k]
            at += size
    return out[:at].copy()
