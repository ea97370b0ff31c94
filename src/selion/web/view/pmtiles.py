"""Vector tiles out of a PMTiles file, version 3, by ranges.

The head when it is opened, a directory and a tile when one is asked for.
"""

from __future__ import annotations

import json
import zlib
from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from selion.errors import UnreadableFile
from selion.extras import require
from selion.web.view.place import TOP, Box, WebTile, from_degrees

LARGEST_DIRECTORY = 4 << 20
"""Bytes of a directory or of the metadata as stored."""
LARGEST_UNPACKED = 32 << 20
LARGEST_TILE = 8 << 20
DEEPEST_DIRECTORY = 4
HEAD = 127
NONE, GZIP, MVT = 1, 2, 1
"""Numbers of the format: no compression, gzip; vector tiles."""


@dataclass(frozen=True, slots=True)
class Directory:
    """Entries of a directory, by rising tile number."""

    ids: tuple[int, ...]
    runs: tuple[int, ...]
    lengths: tuple[int, ...]
    offsets: tuple[int, ...]


@dataclass(frozen=True)
class PMTilesFile:
    """A PMTiles file, by its head."""

    path: Path
    head: dict[str, Any]
    layers: tuple[str, ...]
    columns: dict[str, str]
    """Property -> "number" or "text", of the layer that is drawn."""
    size: int

    @property
    def inner(self) -> str:
        """The layer that is drawn."""
        return inner_of(self.layers)

    @property
    def cells(self) -> str:
        """The layer of many fields from afar, as ``selion tiles`` writes it.

        Empty where there is none.
        """
        return "density" if "density" in self.layers and self.inner != "density" else ""

    @property
    def zooms(self) -> tuple[int, int]:
        """Lowest and highest zoom that is in the file."""
        return self.head["min_zoom"], self.head["max_zoom"]

    @property
    def box(self) -> Box:
        """Where it lies, in metres of web mercator."""
        import numpy as np

        corners = np.array(
            [
                [
                    self.head[f"{m}_lon_e7"] / 1e7,
                    max(-TOP, min(TOP, self.head[f"{m}_lat_e7"] / 1e7)),
                ]
                for m in ("min", "max")
            ]
        )
        (west, south), (east, north) = from_degrees(corners).tolist()
        return west, south, east, north

    def tile(self, tile: WebTile) -> bytes:
        """Return a tile, unpacked; empty where there is none.

        Raises
        ------
        UnreadableFile
            If the file is corrupt there.
        """
        from pmtiles.tile import zxy_to_tileid

        if not self.zooms[0] <= tile.z <= self.zooms[1]:
            return b""
        number, offset, length = (
            zxy_to_tileid(tile.z, tile.x, tile.y),
            self.head["root_offset"],
            self.head["root_length"],
        )
        for _ in range(DEEPEST_DIRECTORY):
            directory = directory_of(
                self.path, self.size, offset, length, self.head["internal_compression"].value
            )
            at = bisect_right(directory.ids, number) - 1
            if at < 0 or (directory.runs[at] and number >= directory.ids[at] + directory.runs[at]):
                return b""
            if directory.runs[at]:
                data = read_range(
                    self.path,
                    self.size,
                    self.head["tile_data_offset"] + directory.offsets[at],
                    directory.lengths[at],
                    LARGEST_TILE,
                )
                return unpacked(data, self.head["tile_compression"].value, self.path)
            offset, length = (
                self.head["leaf_directory_offset"] + directory.offsets[at],
                directory.lengths[at],
            )
        return b""


def open_archive(path: Path) -> PMTilesFile:
    """Open a file by its head.

    Raises
    ------
    UnreadableFile
        If it is no PMTiles file of vector tiles.
    """
    require("pmtiles", "web")
    from pmtiles.tile import MagicNumberNotFound, SpecVersionUnsupported, deserialize_header

    size = path.stat().st_size
    try:
        head: dict[str, Any] = dict(deserialize_header(read_range(path, size, 0, HEAD, HEAD)))
    except (MagicNumberNotFound, SpecVersionUnsupported, ValueError, IndexError) as error:
        message = (
            f"{path.name} is no PMTiles file of version 3: write it again, for example with selion."
        )
        raise UnreadableFile(message) from error
    if (
        head["tile_type"].value != MVT
        or head["tile_compression"].value not in (NONE, GZIP)
        or head["internal_compression"].value not in (NONE, GZIP)
    ):
        message = (
            f"{path.name} holds no vector tiles that are packed by gzip or not at all: write it "
            "again, for example with selion."
        )
        raise UnreadableFile(message)
    packed = read_range(
        path, size, head["metadata_offset"], head["metadata_length"], LARGEST_DIRECTORY
    )
    layers, columns = described(unpacked(packed, head["internal_compression"].value, path), path)
    return PMTilesFile(path, head, layers, columns, size)


def inner_of(layers: tuple[str, ...]) -> str:
    """Return the layer of fields, the first where none is called so."""
    return "fields" if "fields" in layers else layers[0]


def described(metadata: bytes, path: Path) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return the layers that the metadata tell of, and the properties of the one that is drawn.

    Raises
    ------
    UnreadableFile
        If they tell of none.
    """
    try:
        table = json.loads(metadata)
        layers = table.get("vector_layers") or json.loads(table["json"])["vector_layers"]
        names = tuple(str(layer["id"])[:80] for layer in layers)
        drawn = layers[names.index(inner_of(names))]
        columns = {
            str(k)[:80]: "number" if v == "Number" else "text"
            for k, v in drawn.get("fields", {}).items()
        }
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        message = (
            f"{path.name} does not say which layers it holds: write it again, for example with "
            "selion."
        )
        raise UnreadableFile(message) from error
    return names, columns


def read_range(path: Path, size: int, offset: int, length: int, most: int) -> bytes:
    """Read some bytes.

    Raises
    ------
    UnreadableFile
        If they are not in the file, or too many.
    """
    if not 0 <= length <= most or offset < 0 or offset + length > size:
        message = (
            f"{path.name} points at {length:,} bytes from {offset:,}, and has {size:,}: it is "
            "truncated or corrupt; copy it again."
        )
        raise UnreadableFile(message)
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(length)


def unpacked(data: bytes, compression: int, path: Path) -> bytes:
    """Undo gzip, up to a bound.

    Raises
    ------
    UnreadableFile
        If it is none, or too large.
    """
    if compression == NONE:
        return data
    unpacking = zlib.decompressobj(31)
    try:
        out = unpacking.decompress(data, LARGEST_UNPACKED)
    except zlib.error as error:
        message = f"{path.name} is corrupt ({error}): copy it again."
        raise UnreadableFile(message) from error
    if unpacking.unconsumed_tail:
        message = (
            f"{path.name} holds a part of more than {LARGEST_UNPACKED:,} bytes: write it again "
            "with smaller tiles."
        )
        raise UnreadableFile(message)
    return out


@lru_cache(maxsize=256)
def directory_of(path: Path, size: int, offset: int, length: int, compression: int) -> Directory:
    """Read a directory.

    Raises
    ------
    UnreadableFile
        If it is corrupt.
    """
    data = unpacked(read_range(path, size, offset, length, LARGEST_DIRECTORY), compression, path)
    numbers = read_varints(data)
    count = numbers[0] if numbers else 0
    if not 0 < count <= (len(numbers) - 1) // 4:
        message = (
            f"{path.name} has a directory that ends too early: it is truncated or corrupt; copy it "
            "again."
        )
        raise UnreadableFile(message)
    parts = [numbers[1 + k * count : 1 + (k + 1) * count] for k in range(4)]
    ids, offsets, last = [], list[int](), 0
    for k in range(count):
        last += parts[0][k]
        ids.append(last)
        offsets.append(offsets[-1] + parts[2][k - 1] if k and not parts[3][k] else parts[3][k] - 1)
    return Directory(tuple(ids), tuple(parts[1]), tuple(parts[2]), tuple(offsets))


def read_varints(data: bytes) -> list[int]:
    """Decode all whole numbers; one that is cut off at the end is left out."""
    out, number, shift = [], 0, 0
    for byte in data:
        number |= (byte & 127) << shift
        if byte & 128:
            shift = min(shift + 7, 70)
        else:
            out.append(number)
            number = shift = 0
    return out
