"""What the pages of a Parquet file come to once they are read, found without reading them.

A page of zeros is packed a thousand times smaller, one long value in a dictionary is named by a
million rows in a few bytes, and a row that repeats is a number: a file of some kilobytes may come
to terabytes.  Each page says in its head how many bytes and values it holds, and a dictionary how
long its values are.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from selion.cores import check_memory
from selion.errors import UnreadableFile
from selion.store.parquet_prefixes import shared_bytes, signed, varint

if TYPE_CHECKING:
    import pyarrow.parquet as pq

LEAST = 256_000_000
"""Bytes to which a row group may come, however small it is in the file."""
RATIO, DENSE = 400, 100
"""Times that it may be larger than in the file, and above which memory must hold it; tables of
fields come to two or three times, a regular grid of a million squares to fifty."""
HEAD = 1 << 16
"""Bytes that the head of a page may have."""
DATA, DICTIONARY = (0, 3), 2
"""Types of a page that holds values, and of one that holds a dictionary."""
BY_DICTIONARY = (2, 8)
"""Encodings whose values are places in a dictionary."""
BY_PREFIX = 7
"""Encoding whose texts begin as those before them."""
WIDTHS = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4, "INT64": 8, "DOUBLE": 8, "INT96": 12}
"""Bytes of a value in memory."""
OFFSET = 4
"""Bytes that each text takes beside its own."""
_VARINTS, _FIXED = (4, 5, 6), {3: 1, 7: 8}
"""Kinds of values of Thrift's compact protocol: whole numbers, and others with their bytes."""
_TRUE, _FALSE, _BINARY, _STRUCT = 1, 2, 8, 12
DEEPEST = 16
_BROKEN = (OSError, ValueError, IndexError, OverflowError, struct.error)
"""What a page raises that is none."""


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
    before: int | None = None
    """Bytes of levels that stand before the values, never packed; None: they are a part of them
    (pages of version 1)."""
    plain: bool = False
    """Whether the values are not packed, whatever the column is."""


def check_pages(path: Path, metadata: pq.FileMetaData) -> None:
    """Refuse a Parquet file that comes to far more than it has.

    Raises
    ------
    UnreadableFile
        If a row group comes to more than :data:`LEAST` bytes, and :data:`RATIO` times those that it
        has in the file; or if its pages hold other rows than it announces.
    BadInput
        If it is :data:`DENSE` times as large, and memory cannot hold it.
    """
    for group, rows in enumerate(_examined(path, metadata).rows):
        if rows is not None and rows != (told := metadata.row_group(group).num_rows):
            raise UnreadableFile(
                f"{path} announces {told:,} rows in row group {group} and holds {rows:,}: it is "
                "damaged; copy or write it again."
            )
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
    return _examined(path, metadata).sizes


@dataclass(frozen=True)
class _Examined:
    """What the heads of a file's pages say, row group by row group."""

    sizes: tuple[tuple[int, int], ...]
    """As :func:`row_group_sizes` has them."""
    rows: tuple[int | None, ...]
    """Of the column that holds fewest; None where no column tells."""


def _examined(path: Path, metadata: pq.FileMetaData) -> _Examined:
    about = path.stat()
    return _examine(_Key(path, about.st_size, about.st_mtime_ns, metadata))


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
def _examine(key: _Key) -> _Examined:
    sizes, rows = [], []
    with key.path.open("rb") as file:
        for number in range(key.metadata.num_row_groups):
            group = key.metadata.row_group(number)
            columns = [group.column(k) for k in range(group.num_columns)]
            held = sum(max(column.total_compressed_size, 0) for column in columns)
            told = [key.metadata.schema.column(k) for k in range(group.num_columns)]
            found = [
                _column(file, column, about) for column, about in zip(columns, told, strict=True)
            ]
            # what the file has not cannot be held in it
            sizes.append((min(held, key.size), sum(comes_to for comes_to, _ in found)))
            rows.append(min((one for _, one in found if one is not None), default=None))
    return _Examined(tuple(sizes), tuple(rows))


def _column(
    file: BinaryIO, column: pq.ColumnChunkMetaData, about: pq.ColumnSchema
) -> tuple[int, int | None]:
    """Return the bytes that a column of a row group takes in memory, at most, and its rows.

    None where it does not tell them: values that repeat, pages that cannot be read to the end.
    """
    wide = WIDTHS.get(column.physical_type, about.length if about.length > 0 else OFFSET)
    levels = (about.max_repetition_level > 0) + (about.max_definition_level > 0)
    begin, length = _span(column)
    total, longest, rows, end = 0, 0, 0, begin
    for page in _pages(file, column):
        end = page.begin + page.packed
        rows += page.values if page.kind in DATA else 0
        if page.kind == DICTIONARY:
            longest = _longest(file, page, column)
        elif column.physical_type != "BYTE_ARRAY":
            total += wide * page.values
        elif page.encoding in BY_DICTIONARY:
            total += (longest + OFFSET) * page.values
        elif page.encoding == BY_PREFIX:
            total += _joined(file, page, column, levels) + OFFSET * page.values
        else:
            total += page.size + OFFSET * page.values
    whole = end == begin + length and about.max_repetition_level == 0
    return total, rows if whole else None


def _span(column: pq.ColumnChunkMetaData) -> tuple[int, int]:
    """Return where the pages of a column begin, and their bytes."""
    begin = column.data_page_offset
    if column.has_dictionary_page and column.dictionary_page_offset:
        begin = min(begin, column.dictionary_page_offset)
    return begin, column.total_compressed_size


def _pages(file: BinaryIO, column: pq.ColumnChunkMetaData) -> Iterator[TablePage]:
    """Yield the heads of a column's pages; a head that cannot be read is the last one."""
    begin, length = _span(column)
    end = begin + length
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
    second = 8 in fields
    before = about.get(5, 0) + about.get(6, 0) if second else None
    return TablePage(
        fields[1], fields[2], fields[3], about.get(1, 0), about.get(4 if second else 2, 0), begin,
        before, second and about.get(7) is False,
    )  # fmt: skip


def _joined(file: BinaryIO, page: TablePage, column: pq.ColumnChunkMetaData, levels: int) -> int:
    """Return the bytes of texts that begin as those before them.

    Where nobody can tell, as many as if all were as long as the page.
    """
    most = page.size * page.values
    if page.size > LEAST:
        return most
    try:
        if page.before is None:
            return page.size + max(shared_bytes(_body(file, page, column), levels), 0)
        apart = replace(
            page, begin=page.begin + page.before, packed=page.packed - page.before,
            size=page.size - page.before,
        )  # fmt: skip
        return page.size + max(shared_bytes(_body(file, apart, column), 0), 0)
    except _BROKEN:
        return most


def _body(file: BinaryIO, page: TablePage, column: pq.ColumnChunkMetaData) -> bytes:
    """Return what a page holds, unpacked."""
    import pyarrow as pa

    file.seek(page.begin)
    data = file.read(page.packed)
    if column.compression == "UNCOMPRESSED" or page.plain:
        return data
    codec = "lz4_raw" if column.compression == "LZ4" else column.compression.lower()
    try:
        return bytes(pa.Codec(codec).decompress(data, page.size, asbytes=True))
    except (pa.ArrowException, OSError) as error:
        raise ValueError(str(error)) from error


def _longest(file: BinaryIO, page: TablePage, column: pq.ColumnChunkMetaData) -> int:
    """Return the bytes of the longest text in a dictionary, or those of all where nobody can tell.

    What may come to more than it should is unpacked for it.
    """
    if column.physical_type != "BYTE_ARRAY" or page.size * column.num_values < LEAST:
        return page.size
    if page.size > LEAST:
        return page.size
    try:
        data = _body(file, page, column)
        at = longest = 0
        for _ in range(page.values):
            (length,) = struct.unpack_from("<I", data, at)
            at, longest = at + 4 + length, max(longest, length)
    except _BROKEN:
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
            coded, at = varint(data, at)
            number = signed(coded)
        found[number], at = _value(data, at, kind, deep)
    return found, at + 1


def _value(data: bytes, at: int, kind: int, deep: int) -> tuple[Any, int]:
    """Read a value; texts, lists and others that nobody asks for are passed over."""
    if kind in (_TRUE, _FALSE):
        return kind == _TRUE, at
    if kind in _VARINTS:
        coded, at = varint(data, at)
        return signed(coded), at
    if kind in _FIXED:
        return None, at + _FIXED[kind]
    if kind == _BINARY:
        length, at = varint(data, at)
        return None, at + length
    if kind == _STRUCT and deep:
        return _struct(data, at, deep - 1)
    raise ValueError(f"a head of a page holds a value of the kind {kind}")
