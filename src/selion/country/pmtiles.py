"""PMTiles 3: one file of tiles that a browser reads by ranges.

Tiles come in any order and lie on the disk until the end.
"""

from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path
from typing import IO, Any

import numpy as np

from selion.country.cells import BITS, hilbert
from selion.country.vectortile import varint

HEAD = 127
ROOT = 16_384 - HEAD
"""Bytes that the first directory may have."""
LEAF = 4096
"""Entries per leaf of the directory, to begin with."""
GZIP, MVT = 2, 1


def tile_ids(zoom: int, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the numbers of tiles: zoom after zoom, each along its Hilbert curve.

    Examples
    --------
    >>> tile_ids(1, np.array([0, 0, 1, 1]), np.array([0, 1, 1, 0]))
    array([1, 2, 3, 4])
    """
    shift = np.uint64(BITS - zoom)
    places = hilbert(np.asarray(x, np.uint64) << shift, np.asarray(y, np.uint64) << shift, zoom)
    return places + (4**zoom - 1) // 3


class TileStore:
    """Tiles in the order in which they are made, in a file beside the archive."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file: IO[bytes] = path.open("w+b")
        self.ids: list[int] = []
        self.offsets: list[int] = []
        self.sizes: list[int] = []
        self.at = 0

    def add(self, number: int, tile: bytes) -> None:
        """Keep a tile, compressed; the same bytes give the same bytes."""
        packed = gzip.compress(tile, 6, mtime=0)
        self.file.write(packed)
        self.ids.append(number)
        self.offsets.append(self.at)
        self.sizes.append(len(packed))
        self.at += len(packed)

    def close(self) -> None:
        """Let go of the file, and of its bytes."""
        self.file.close()
        self.path.unlink(missing_ok=True)


def write_archive(
    path: Path,
    tiles: TileStore,
    metadata: dict[str, Any],
    box: tuple[float, float, float, float],
    zooms: tuple[int, int],
) -> None:
    """Write the archive: header, directories, metadata, tiles in the order of their numbers.

    Parameters
    ----------
    path : Path
        Written in place; give a temporary name.
    tiles : TileStore
    metadata : dict
        With ``vector_layers``.
    box : (west, south, east, north)
    zooms : (int, int)
        Lowest and highest.
    """
    order = np.argsort(np.array(tiles.ids, np.int64), kind="stable")
    ids, sizes = np.array(tiles.ids, np.int64)[order], np.array(tiles.sizes, np.int64)[order]
    offsets = np.cumsum(sizes) - sizes
    root, leaves = _directories(ids, offsets, sizes)
    said = gzip.compress(json.dumps(metadata, sort_keys=True).encode(), 6, mtime=0)
    starts = np.cumsum([HEAD, len(root), len(said), len(leaves)]).tolist()
    with path.open("wb") as out:
        out.write(
            _header(
                starts, (len(root), len(said), len(leaves), int(sizes.sum())), len(ids), box, zooms
            )
        )
        for part in (root, said, leaves):
            out.write(part)
        for k in order.tolist():
            tiles.file.seek(tiles.offsets[k])
            out.write(tiles.file.read(tiles.sizes[k]))


def _header(
    starts: list[int],
    sizes: tuple[int, ...],
    count: int,
    box: tuple[float, ...],
    zooms: tuple[int, int],
) -> bytes:
    west, south, east, north = (round(value * 1e7) for value in box)
    middle = (zooms[0], (west + east) // 2, (south + north) // 2)
    pairs = [value for pair in zip(starts, sizes, strict=True) for value in pair]
    return struct.pack(
        "<7sB8Q3Q6B4iBii",
        b"PMTiles",
        3,
        *pairs,
        count,
        count,
        count,
        1,
        GZIP,
        GZIP,
        MVT,
        *zooms,
        west,
        south,
        east,
        north,
        *middle,
    )


def _directories(ids: np.ndarray, offsets: np.ndarray, sizes: np.ndarray) -> tuple[bytes, bytes]:
    """Return the first directory and its leaves; there are none where all entries fit into it."""
    whole = _directory(ids, np.ones_like(ids), sizes, offsets)
    if len(whole) <= ROOT:
        return whole, b""
    step = LEAF
    while True:
        starts = np.arange(0, len(ids), step)
        leaves = [
            _directory(
                ids[s : s + step],
                np.ones_like(ids[s : s + step]),
                sizes[s : s + step],
                offsets[s : s + step],
            )
            for s in starts
        ]
        lengths = np.array([len(leaf) for leaf in leaves], np.int64)
        root = _directory(ids[starts], np.zeros_like(starts), lengths, np.cumsum(lengths) - lengths)
        if len(root) <= ROOT:
            return root, b"".join(leaves)
        step *= 2


def _directory(ids: np.ndarray, runs: np.ndarray, sizes: np.ndarray, offsets: np.ndarray) -> bytes:
    out = [varint(len(ids))]
    out += [varint(int(step)) for step in np.diff(ids, prepend=0)]
    out += [varint(int(run)) for run in runs]
    out += [varint(int(size)) for size in sizes]
    follows = np.append(False, offsets[1:] == (offsets + sizes)[:-1])
    out += [
        varint(0 if after else int(offset) + 1)
        for after, offset in zip(follows, offsets, strict=True)
    ]
    return gzip.compress(b"".join(out), 6, mtime=0)
