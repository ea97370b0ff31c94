"""What the pages of a Parquet file come to once they are read, found without reading them.

A page of zeros is packed a thousand times smaller, one long value in a dictionary is named by a
million rows in a few bytes, and a row that repeats is a number: a file of some kilobytes may come
to terabytes.  Each page says in its head how many bytes and values it holds, and a dictionary how
long its values are.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from selion.cores import check_memory
from selion.errors import UnreadableFile

if TYPE_CHECKING:
    import pyarrow.parquet as pq

LEAST = 256_000_000
"""Bytes to which a row group may come, however small it is in the file."""
RATIO, DENSE = 400, 100
"""Times that it may be larger than in the file, and above which memory must hold it; tables of
fields come to two or three times, a regular grid of a million squares to fifty."""
HEAD = 1 << 16
"""Bytes that the head of a page may have."""
DICTIONARY = 2
"""Type of a page that holds a dictionary."""
BY_DICTIONARY = (2, 8)
"""Encodings whose values are places in a dictionary."""
WIDTHS = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4, "INT64": 8, "DOUBLE": 8, "INT96": 12}
"""Bytes of a value in memory."""
OFFSET = 4
"""Bytes that each text takes beside its own."""
_VARINTS, _FIXED = (4, 5, 6), {3: 1, 7: 8}
"""Kinds of values of Thrift's compact protocol: whole numbers, and others with their bytes."""
_TRUE, _FALSE, _BINARY, _STRUCT = 1, 2, 8, 12
DEEPEST = 16


@dataclass(frozen=True, slots=True)
class TablePage:
    """The head of a page."""

    kind: int
    size: int
    """Bytes once unpacked."""
    packed: int
    """Bytes in the file, behind the head."""
    values: int
    encoding: int
    begin: int
    """Place in the file behind the head."""


def check_pages(path: Path, metadata: pq.FileMetaData) -> None:
    """Refuse a Parquet file that comes to far more than it has.

    Raises
    ------
    UnreadableFile
        If a row group comes to more than :data:`LEAST` bytes, and :data:`RATIO` times those that it
        has in the file.
    BadInput
        If it is :data:`DENSE` times as large, and memory cannot hold it.
    """
    for group, (held, comes_to) in enumerate(row_group_sizes(path, metadata)):
        if comes_to > max(LEAST, RATIO * held):
            raise UnreadableFile(
                f"{path} has {held:,} bytes for the {metadata.row_group(group).num_rows:,} rows of "
                f"row group {group}, which come to {comes_to / 1e9:,.1f} GB in memory, as no table "
                "of fields does: it is damaged, or made to fill the memory; do not trust where it "
                "came from."
            )
        if comes_to > max(LEAST, DENSE * held):
            check_memory(
                comes_to,
                f"{path} packs a row group {comes_to // max(held, 1)} times, and reading it",
                "write it in smaller row groups, or use a machine with more memory",
            )


def row_group_sizes(path: Path, metadata: pq.FileMetaData) -> tuple[tuple[int, int], ...]:
    """Return what each row group has in the file, and what it comes to at most, in bytes."""
    about = path.stat()
    return _sizes(_Key(path, about.st_size, about.st_mtime_ns, metadata))


@dataclass(frozen=True)
class _Key:
    """A file as it is now; its footer does not tell it apart."""

    path: Path
    size: int
    changed: int
    metadata: Any

    def __hash__(self) -> int:
        return hash((self.path, self.size, self.changed))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and (
            (self.path, self.size, self.changed) == (other.path, other.size, other.changed)
        )


@lru_cache(256)
def _sizes(key: _Key) -> tuple[tuple[int, int], ...]:
    found = []
    with key.path.open("rb") as file:
        for number in range(key.metadata.num_row_groups):
            group = key.metadata.row_group(number)
            columns = [group.column(k) for k in range(group.num_columns)]
            held = sum(max(column.total_compressed_size, 0) for column in columns)
            widths = [key.metadata.schema.column(k).length for k in range(group.num_columns)]
            comes_to = sum(
                _comes_to(file, column, width)
                for column, width in zip(columns, widths, strict=True)
            )
            # what the file has not cannot be held in it
            found.append((min(held, key.size), comes_to))
    return tuple(found)


def _comes_to(file: BinaryIO, column: pq.ColumnChunkMetaData, width: int) -> int:
    """Return the bytes that a column of a row group takes in memory, at most."""
    wide = WIDTHS.get(column.physical_type, width if width > 0 else OFFSET)
    total, longest = 0, 0
    for page in _pages(file, column):
        if page.kind == DICTIONARY:
            longest = _longest(file, page, column)
        elif column.physical_type != "BYTE_ARRAY":
            total += wide * page.values
        elif page.encoding in BY_DICTIONARY:
            total += (longest + OFFSET) * page.values
        else:
            total += page.size + OFFSET * page.values
    return total


def _pages(file: BinaryIO, column: pq.ColumnChunkMetaData) -> Iterator[TablePage]:
    """Yield the heads of a column's pages; a head that cannot be read is the last one."""
    begin = column.data_page_offset
    if column.has_dictionary_page and column.dictionary_page_offset:
        begin = min(begin, column.dictionary_page_offset)
    end = begin + column.total_compressed_size
    while 0 <= begin < end:
        file.seek(begin)
        head = file.read(HEAD)
        try:
            fields, length = _struct(head, 0, DEEPEST)
            page = _page(fields, begin + length)
        except (IndexError, KeyError, TypeError, ValueError, AttributeError):
            return  # whoever reads it says so
        if min(page.packed, page.size, page.values) < 0:
            return
        yield page
        begin = page.begin + page.packed


def _page(fields: dict[int, Any], begin: int) -> TablePage:
    about = fields.get(5) or fields.get(7) or fields.get(8) or {}
    encoding = about.get(4 if 8 in fields else 2, 0)
    return TablePage(fields[1], fields[2], fields[3], about.get(1, 0), encoding, begin)


def _longest(file: BinaryIO, page: TablePage, column: pq.ColumnChunkMetaData) -> int:
    """Return the bytes of the longest text in a dictionary, or those of all where nobody can tell.

    What may come to more than it should is unpacked for it.
    """
    import pyarrow as pa

    if column.physical_type != "BYTE_ARRAY" or page.size * column.num_values < LEAST:
        return page.size
    if page.size > LEAST:
        return page.size
    file.seek(page.begin)
    data = file.read(page.packed)
    try:
        if column.compression != "UNCOMPRESSED":
            codec = "lz4_raw" if column.compression == "LZ4" else column.compression.lower()
            data = pa.Codec(codec).decompress(data, page.size, asbytes=True)
        at = longest = 0
        for _ in range(page.values):
            (length,) = struct.unpack_from("<I", data, at)
            at, longest = at + 4 + length, max(longest, length)
    except (pa.ArrowException, OSError, ValueError, struct.error):
        return page.size
    return min(longest, page.size)


def _struct(data: bytes, at: int, deep: int) -> tuple[dict[int, Any], int]:
    """Read a struct of Thrift's compact protocol: its values by number, and where it ends."""
    found: dict[int, Any] = {}
    number = 0
    while kind := data[at] & 15:
        step = data[at] >> 4
        at += 1
        if step:
            number += step
        else:
            coded, at = _varint(data, at)
            number = _signed(coded)
        found[number], at = _value(data, at, kind, deep)
    return found, at + 1


def _value(data: bytes, at: int, kind: int, deep: int) -> tuple[Any, int]:
    """Read a value; texts, lists and others that nobody asks for are passed over."""
    if kind in (_TRUE, _FALSE):
        return kind == _TRUE, at
    if kind in _VARINTS:
        coded, at = _varint(data, at)
        return _signed(coded), at
    if kind in _FIXED:
        return None, at + _FIXED[kind]
    if kind == _BINARY:
        length, at = _varint(data, at)
        return None, at + length
    if kind == _STRUCT and deep:
        return _struct(data, at, deep - 1)
    raise ValueError(f"a head of a page holds a value of the kind {kind}")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
    raise ValueError("a number without an end")


def _signed(coded: int) -> int:
    return (coded >> 1) ^ -(coded & 1)
