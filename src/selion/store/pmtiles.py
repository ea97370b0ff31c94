"""PMTiles 3: one file of tiles that is read by ranges.

Headers, directories and tile numbers are written by the package ``pmtiles``.  Its reader is not
used: it unpacks and believes whatever a file says, while this one looks at every length first, and
keeps directories (the package decodes them again for each tile).

References
----------
Protomaps (2022): PMTiles Version 3 Specification.
"""

from __future__ import annotations

import gzip
import json
import tempfile
import zlib
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

from pmtiles.tile import (
    Compression,
    Entry,
    MagicNumberNotFound,
    SpecVersionUnsupported,
    TileType,
    deserialize_header,
    serialize_header,
    zxy_to_tileid,
)
from pmtiles.writer import optimize_directories

from selion.errors import UnreadableFile
from selion.store.address import Place, open_bytes, place_state

HEADER = 127
ROOT = 16_384 - HEADER
"""Bytes that the first directory may have."""
LARGEST_DIRECTORY = 4 << 20
"""Bytes of a directory or of the metadata as stored."""
LARGEST_UNPACKED = 32 << 20
"""Bytes of a part once unpacked: what a damaged or hostile file can make us hold."""
LARGEST_TILE = 8 << 20
"""Bytes of a tile as stored."""
DEEPEST_DIRECTORY = 4
"""Directories that are followed to a tile at most, so that none can point at itself for ever."""

LonLatBox = tuple[float, float, float, float]
"""West, south, east, north in degrees."""


def tile_number(z: int, x: int, y: int) -> int:
    """Return the number of a tile: zoom after zoom, each along its Hilbert curve.

    Examples
    --------
    >>> [tile_number(1, x, y) for x, y in ((0, 0), (0, 1), (1, 1), (1, 0))]
    [1, 2, 3, 4]
    """
    return zxy_to_tileid(z, x, y)


class ArchiveWriter:
    """Collects tiles in any order; they lie in a temporary file until :meth:`write`."""

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  # closed by __exit__
        self.entries: list[Entry] = []
        self._end = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, z: int, x: int, y: int, tile: bytes) -> None:
        """Take a tile, and compress it; the same bytes give the same bytes."""
        packed = gzip.compress(tile, 6, mtime=0)
        self._file.write(packed)
        self.entries.append(Entry(tile_number(z, x, y), self._end, len(packed), 1))
        self._end += len(packed)

    def write(
        self, path: Path, metadata: Mapping[str, Any], box: LonLatBox, zooms: tuple[int, int]
    ) -> None:
        """Write the archive: header, directories, metadata, tiles in the order of their numbers.

        Parameters
        ----------
        path : Path
            Written in place; give a temporary name.
        metadata : mapping
            With ``vector_layers``.
        box : (west, south, east, north)
        zooms : (int, int)
            Lowest and highest.
        """
        found = sorted(self.entries, key=lambda entry: entry.tile_id)
        placed, end = [], 0
        for entry in found:
            placed.append(Entry(entry.tile_id, end, entry.length, 1))
            end += entry.length
        root, leaves, _ = optimize_directories(placed, ROOT)
        packed = gzip.compress(json.dumps(metadata, sort_keys=True).encode(), 6, mtime=0)
        with path.open("wb") as out:
            out.write(_header((root, packed, leaves), end, len(found), box, zooms))
            for part in (root, packed, leaves):
                out.write(part)
            for entry in found:
                self._file.seek(entry.offset)
                out.write(self._file.read(entry.length))


def _header(
    parts: tuple[bytes, bytes, bytes],
    tile_bytes: int,
    count: int,
    box: LonLatBox,
    zooms: tuple[int, int],
) -> bytes:
    west, south, east, north = (round(value * 1e7) for value in box)
    root, metadata, leaves = map(len, parts)
    return bytes(
        serialize_header(
            {
                "version": 3,
                "root_offset": HEADER,
                "root_length": root,
                "metadata_offset": HEADER + root,
                "metadata_length": metadata,
                "leaf_directory_offset": HEADER + root + metadata,
                "leaf_directory_length": leaves,
                "tile_data_offset": HEADER + root + metadata + leaves,
                "tile_data_length": tile_bytes,
                "addressed_tiles_count": count,
                "tile_entries_count": count,
                "tile_contents_count": count,
                "clustered": True,
                "internal_compression": Compression.GZIP,
                "tile_compression": Compression.GZIP,
                "tile_type": TileType.MVT,
                "min_zoom": zooms[0],
                "max_zoom": zooms[1],
                "min_lon_e7": west,
                "min_lat_e7": south,
                "max_lon_e7": east,
                "max_lat_e7": north,
                "center_zoom": zooms[0],
                "center_lon_e7": (west + east) // 2,
                "center_lat_e7": (south + north) // 2,
            }
        )
    )


@dataclass(frozen=True, slots=True)
class Directory:
    """Entries of a directory, by rising tile number."""

    ids: tuple[int, ...]
    runs: tuple[int, ...]
    lengths: tuple[int, ...]
    offsets: tuple[int, ...]


@dataclass(frozen=True)
class PMTilesFile:
    """A PMTiles file of vector tiles, by its header."""

    path: Place
    header: Mapping[str, Any]
    layers: tuple[str, ...]
    columns: Mapping[str, str]
    """Property -> "number" or "text", of the layer of fields."""
    state: tuple[int, str]
    """Bytes of the file, and what changes when it does."""

    @property
    def fields_layer(self) -> str:
        """The layer of fields."""
        return _fields_layer(self.layers)

    @property
    def density_layer(self) -> str:
        """The layer of squares far out that ``selion tiles`` writes; empty where there is none."""
        return "density" if "density" in self.layers and self.fields_layer != "density" else ""

    @property
    def zooms(self) -> tuple[int, int]:
        """Lowest and highest zoom that is in the file."""
        return self.header["min_zoom"], self.header["max_zoom"]

    @property
    def box(self) -> LonLatBox:
        """Where its tiles lie, as its header says."""
        west, south, east, north = (
            self.header[f"{side}_e7"] / 1e7 for side in ("min_lon", "min_lat", "max_lon", "max_lat")
        )
        return west, south, east, north

    def tile(self, z: int, x: int, y: int) -> bytes:
        """Return a tile, unpacked; empty where there is none.

        Raises
        ------
        UnreadableFile
            If the file is corrupt there, or was replaced.
        """
        self._check_state()
        if not self.zooms[0] <= z <= self.zooms[1]:
            return b""
        number, header = tile_number(z, x, y), self.header
        offset, length = header["root_offset"], header["root_length"]
        for _ in range(DEEPEST_DIRECTORY):
            directory = _read_directory(
                self.path, self.state, offset, length, header["internal_compression"]
            )
            at = bisect_right(directory.ids, number) - 1
            if at < 0 or (directory.runs[at] and number >= directory.ids[at] + directory.runs[at]):
                return b""
            offset, length = directory.offsets[at], directory.lengths[at]
            if directory.runs[at]:
                offset += header["tile_data_offset"]
                data = _read_range(self.path, self.state[0], offset, length, LARGEST_TILE)
                return unpack(data, header["tile_compression"], self.path)
            offset += header["leaf_directory_offset"]
        return b""

    def _check_state(self) -> None:
        """Refuse another file in the place of the one that was opened, whose offsets these are."""
        try:
            now = place_state(self.path)
        except OSError as error:
            raise UnreadableFile(
                f"{self.path.name} cannot be opened ({error.strerror}): it existed before."
            ) from error
        if now != self.state:
            raise UnreadableFile(
                f"{self.path.name} was replaced since it was opened: open it again (selion view: "
                "stop it, and start it again)."
            )


def open_archive(path: Place) -> PMTilesFile:
    """Open a file by its header.

    Raises
    ------
    UnreadableFile
        If it is no PMTiles file of vector tiles.
    """
    state = place_state(path)
    size = state[0]
    try:
        header: dict[str, Any] = dict(
            deserialize_header(_read_range(path, size, 0, HEADER, HEADER))
        )
    except (MagicNumberNotFound, SpecVersionUnsupported, ValueError, IndexError) as error:
        raise UnreadableFile(
            f"{path.name} is not a PMTiles file of version 3: write it again, for "
            "example with selion."
        ) from error
    packings = (header["tile_compression"], header["internal_compression"])
    if header["tile_type"] != TileType.MVT or not {*packings} <= {
        Compression.NONE,
        Compression.GZIP,
    }:
        raise UnreadableFile(
            f"{path.name} holds no vector tiles that are packed by gzip or not at all: write it "
            "again, for example with selion."
        )
    packed = _read_range(
        path, size, header["metadata_offset"], header["metadata_length"], LARGEST_DIRECTORY
    )
    layers, columns = _described(unpack(packed, header["internal_compression"], path), path)
    return PMTilesFile(path, header, layers, columns, state)


def _fields_layer(layers: tuple[str, ...]) -> str:
    """Return the layer of fields, the first where none is called so."""
    return "fields" if "fields" in layers else layers[0]


def _described(metadata: bytes, path: Place) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return the layers that the metadata name, and the properties of the layer of fields."""
    try:
        table = json.loads(metadata)
        layers = table.get("vector_layers") or json.loads(table["json"])["vector_layers"]
        names = tuple(str(layer["id"])[:80] for layer in layers)
        drawn = layers[names.index(_fields_layer(names))]
        columns = {
            str(name)[:80]: "number" if kind == "Number" else "text"
            for name, kind in drawn.get("fields", {}).items()
        }
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise UnreadableFile(
            f"{path.name} does not say which layers it holds: write it again, for example with "
            "selion."
        ) from error
    return names, columns


def _read_range(path: Place, size: int, offset: int, length: int, most: int) -> bytes:
    """Read some bytes, if they are in the file and not too many."""
    if not 0 <= length <= most or offset < 0 or offset + length > size:
        raise UnreadableFile(
            f"{path.name} points at {length:,} bytes from {offset:,}, and has {size:,}: it is "
            "truncated or corrupt; copy it again."
        )
    with open_bytes(path) as file:
        file.seek(offset)
        return file.read(length)


def unpack(data: bytes, compression: Compression, path: Place) -> bytes:
    """Undo gzip, up to a bound.

    Raises
    ------
    UnreadableFile
        If it is none, ends too early, or is too large.
    """
    if compression == Compression.NONE:
        return data
    unpacking = zlib.decompressobj(31)
    try:
        out = unpacking.decompress(data, LARGEST_UNPACKED)
    except zlib.error as error:
        raise UnreadableFile(f"{path.name} is corrupt ({error}): copy it again.") from error
    if unpacking.unconsumed_tail:
        raise UnreadableFile(
            f"{path.name} holds a part of more than {LARGEST_UNPACKED:,} bytes: write it again "
            "with smaller tiles."
        )
    if data and not unpacking.eof:
        raise UnreadableFile(
            f"{path.name} has a part that ends too early: it is truncated or corrupt; copy it "
            "again."
        )
    return out


@lru_cache(maxsize=256)
def _read_directory(
    path: Place, state: tuple[int, str], offset: int, length: int, compression: Compression
) -> Directory:
    data = unpack(_read_range(path, state[0], offset, length, LARGEST_DIRECTORY), compression, path)
    numbers = _read_varints(data)
    count = numbers[0] if numbers else 0
    if not 0 < count <= (len(numbers) - 1) // 4:
        raise UnreadableFile(
            f"{path.name} has a directory that ends too early: it is truncated or corrupt; copy it "
            "again."
        )
    parts = [numbers[1 + k * count : 1 + (k + 1) * count] for k in range(4)]
    ids, offsets, last = [], list[int](), 0
    for k in range(count):
        last += parts[0][k]
        ids.append(last)
        offsets.append(offsets[-1] + parts[2][k - 1] if k and not parts[3][k] else parts[3][k] - 1)
    return Directory(tuple(ids), tuple(parts[1]), tuple(parts[2]), tuple(offsets))


def _read_varints(data: bytes) -> list[int]:
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
