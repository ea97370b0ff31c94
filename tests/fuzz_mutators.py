"""Files changed by their format: fields, offsets, counts, lengths, types, nesting and references.

Each function takes the bytes of a sound file and a source of chance, and returns those of a file
that lies somewhere.
"""

from __future__ import annotations

import gzip
import html
import io
import json
import random
import re
import sqlite3
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import tomli_w

from selion.store.plain import toml_table

Mutator = Callable[[bytes, random.Random], bytes]
NUMBERS = (0, 1, 2, 3, 7, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1,
           2**53, 2**63 - 1, 2**64 - 1)  # fmt: skip
DEEP = 100_000
WORDS = (
    "", " ", "x", "../../../../etc/passwd", "/etc/passwd", "file:///etc/passwd", "\0",
    "/vsisubfile/0_,/etc/passwd", "/vsizip//etc/passwd", "http://127.0.0.1:9/x.tif", "NaN", "1e999",
    "<img src=x onerror=alert(1)>", "\ud800", "\u202e\u0000", "%s%n%x", "{}", "-1", "a" * 70_000,
    "True", "null", "2024-13-45T99:99:99Z", "0000-00-00", "EPSG:999999", "UTM", "é\n\r\t", "$HOME",
)  # fmt: skip
_DEEP = "deeply nested"
PASSWD = b"cos\nsystem\n(S'touch CANARY'\ntR."
"""A pickle that leaves a file where it is opened."""


def number(chance: random.Random) -> int:
    kind = chance.randrange(4)
    if kind == 0:
        return chance.choice(NUMBERS)
    if kind == 1:
        return -chance.choice(NUMBERS)
    return chance.randrange(2 ** chance.choice((3, 8, 16, 33)))


def value(chance: random.Random) -> Any:
    """Return what nobody expects in a text."""
    kinds: tuple[Callable[[], Any], ...] = (
        lambda: None,
        lambda: chance.random() < 0.5,
        lambda: number(chance),
        lambda: chance.choice((0.5, -0.0, 1e308, float("nan"), float("inf"), -float("inf"))),
        lambda: 10 ** chance.choice((30, 400, 5000)),
        lambda: chance.choice(WORDS),
        list,
        dict,
        lambda: [[value(chance)]],
        lambda: {chance.choice(WORDS): value(chance)},
        lambda: _DEEP,
    )
    return chance.choice(kinds)()


def noise(data: bytes, chance: random.Random) -> bytes:
    """Change bytes without knowing what they mean."""
    out = bytearray(data)
    kind = chance.randrange(6)
    at = chance.randrange(len(out) + 1)
    if kind == 0:
        return bytes(out[:at])
    if kind == 1:
        out[at:at] = chance.randbytes(chance.choice((1, 4, 100)))
    elif kind == 2:
        del out[at : at + chance.choice((1, 4, 100))]
    elif kind == 3:
        piece = out[at : at + chance.choice((4, 64))]
        where = chance.randrange(len(out) + 1)
        out[where:where] = piece
    else:
        ends = min(len(out), 2000)
        for _ in range(chance.choice((1, 3, 20))):
            near = chance.randrange(ends) if ends else 0
            place = chance.choice((near, len(out) - 1 - near, chance.randrange(max(1, len(out)))))
            if 0 <= place < len(out):
                out[place] = chance.randrange(256)
    return bytes(out)


def put(data: bytearray, at: int, form: str, what: int) -> None:
    """Write a whole number somewhere, cut to its size."""
    size = struct.calcsize(form)
    if 0 <= at <= len(data) - size:
        order = "big" if form[0] == ">" else "little"
        data[at : at + size] = (what % (1 << 8 * size)).to_bytes(size, order)


# texts


def places(tree: Any) -> list[tuple[Any, Any]]:
    """Return the holder and key of every value in a tree."""
    waiting, found = [tree], []
    while waiting:
        holder = waiting.pop()
        keys = (
            list(holder)
            if isinstance(holder, dict)
            else range(len(holder))
            if isinstance(holder, list)
            else ()
        )
        for key in keys:
            found.append((holder, key))
            waiting.append(holder[key])
    return found


def tree(root: Any, chance: random.Random) -> Any:
    """Change a tree of plain values."""
    for _ in range(chance.choice((1, 1, 1, 2, 5))):
        found = places(root)
        if not found:
            return value(chance)
        holder, key = chance.choice(found)
        _change(holder, key, found, chance)
    return root


def _change(holder: Any, key: Any, found: list[tuple[Any, Any]], chance: random.Random) -> None:
    other, there = chance.choice(found)
    held = holder[key]
    acts: tuple[Callable[[], Any], ...] = (
        lambda: holder.__setitem__(key, value(chance)),
        lambda: holder.__setitem__(key, value(chance)),
        lambda: holder.__delitem__(key),
        lambda: holder.__setitem__(key, json.loads(json.dumps(other[there]))),
        lambda: holder.__setitem__(key, [held]),
        lambda: holder.__setitem__(key, {"x": held}),
        lambda: holder.__setitem__(key, str(held)),
        lambda: (
            holder.__setitem__(key, held * chance.choice((2, 50, -1)))
            if isinstance(held, list | str | int | float) and not isinstance(held, bool)
            else None
        ),
        lambda: (
            holder.__setitem__(chance.choice(WORDS), value(chance))
            if isinstance(holder, dict)
            else holder.append(value(chance))
        ),
        lambda: holder.__setitem__(key, number(chance)),
    )
    try:
        chance.choice(acts)()
    except (TypeError, ValueError, RecursionError):
        holder[key] = value(chance)


def _nested(text: str, chance: random.Random) -> str:
    deep = DEEP if chance.random() < 0.3 else chance.choice((300, 900, 3000))
    opened, closed = chance.choice((("[", "]"), ('{"a":', "}")))
    return text.replace(f'"{_DEEP}"', opened * deep + "1" + closed * deep)


def json_text(data: bytes, chance: random.Random) -> bytes:
    """Change a JSON document, or one line of many."""
    if chance.random() < 0.1:
        return noise(data, chance)
    lines = data.decode().splitlines()
    try:
        whole, at = json.loads(data), None
    except json.JSONDecodeError:
        at = chance.randrange(len(lines))
        try:
            whole = json.loads(lines[at])
        except json.JSONDecodeError:
            return noise(data, chance)
    text = _nested(json.dumps(tree(whole, chance)), chance)
    if chance.random() < 0.05:
        text = chance.choice(("\ufeff", "", " ")) + text.replace('"', "'", 1)
    if at is not None:
        lines[at] = text
        kind = chance.randrange(6)
        if kind == 0:
            lines.insert(chance.randrange(len(lines)), chance.choice(lines))
        elif kind == 1:
            del lines[chance.randrange(len(lines))]
        elif kind == 2:
            chance.shuffle(lines)
        text = "\n".join(lines) + chance.choice(("\n", "\n", "", '\n{"a'))
    return text.encode("utf-8", "surrogatepass")


def toml_text(data: bytes, chance: random.Random) -> bytes:
    """Change a TOML document."""
    if chance.random() < 0.15:
        return noise(data, chance)
    root = _without_none(tree(toml_table(data.decode()), chance))
    if not isinstance(root, dict):
        return str(root).encode("utf-8", "surrogatepass")
    try:
        text = tomli_w.dumps(root)
    except (TypeError, ValueError, RecursionError, AttributeError):
        return noise(data, chance)
    deep = chance.choice((500, DEEP))
    nested = chance.choice((f"[{'a.' * deep}a]\n", "x = " + "[" * deep + "]" * deep + "\n"))
    text = text.replace(f'"{_DEEP}"', "[" * deep + "]" * deep)
    return (text + (nested if chance.random() < 0.02 else "")).encode("utf-8", "surrogatepass")


def _without_none(root: Any) -> Any:
    if isinstance(root, dict):
        return {str(key): _without_none(held) for key, held in root.items() if held is not None}
    if isinstance(root, list):
        return [_without_none(held) for held in root if held is not None]
    return root


def csv_text(data: bytes, chance: random.Random) -> bytes:
    """Change cells, rows, the header or the quoting of a table."""
    if chance.random() < 0.15:
        return noise(data, chance)
    mark = ";" if data.partition(b"\n")[0].count(b";") else ","
    rows = [line.split(mark) for line in data.decode().splitlines()]
    for _ in range(chance.choice((1, 1, 3))):
        row = chance.choice(rows)
        at = chance.randrange(len(row)) if row else 0
        kind = chance.randrange(6)
        if kind == 0:
            row[at : at + 1] = []
        elif kind == 1:
            row.insert(at, str(chance.choice(WORDS)))
        elif kind == 2:
            rows.insert(chance.randrange(len(rows) + 1), list(row))
        elif kind == 3:
            row[at : at + 1] = ['"' + chance.choice(("", "\n", '""'))]
        else:
            row[at : at + 1] = [str(chance.choice((value(chance), number(chance))))]
    if chance.random() < 0.05:
        rows = rows[1:]
    return "\n".join(mark.join(row) for row in rows).encode("utf-8", "surrogatepass")


def xml_text(data: bytes, chance: random.Random) -> bytes:
    """Change elements, attributes and texts."""
    kind = chance.random()
    if kind < 0.1:
        return noise(data, chance)
    if kind < 0.15:
        bomb = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
        return bomb.encode() + data.replace(b"</", b"&b;</", 1)
    root = ET.fromstring(data)
    for _ in range(chance.choice((1, 1, 2, 4))):
        elements = list(root.iter())
        one, other = chance.choice(elements), chance.choice(elements)
        act = chance.randrange(6)
        said = str(chance.choice((chance.choice(WORDS), number(chance)))).replace("\0", "")
        said = said.replace("\ud800", "")
        if act == 0 and one.attrib:
            one.attrib[chance.choice(list(one.attrib))] = said
        elif act == 1:
            one.text = said
        elif act == 2 and len(one):
            del one[chance.randrange(len(one))]
        elif act == 3 and other is not root and one not in list(other.iter()):
            one.append(other)
        elif act == 4:
            one.tag = other.tag
        else:
            one.text = other.text
    return ET.tostring(root)


# rasters and photographs

TIFF_SIZES = (1, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8)


def _entries(data: bytes, base: int = 0) -> tuple[str, bool, list[tuple[int, int]]]:
    """Return the order, if offsets have 64 bits, and where directories lie, with counts."""
    order = "<" if data[base : base + 2] == b"II" else ">"
    big = data[base + 2 : base + 4] in (b"+\0", b"\0+")
    form, size, first = (order + "Q", 20, base + 8) if big else (order + "I", 12, base + 4)
    count_form = order + ("Q" if big else "H")
    found: list[tuple[int, int]] = []
    at = struct.unpack_from(form, data, first)[0] + base
    while at != base and len(found) < 20 and at + 8 < len(data):
        count = struct.unpack_from(count_form, data, at)[0]
        found.append((at, count))
        after = at + struct.calcsize(count_form) + size * count
        if after + 8 > len(data):
            break
        at = struct.unpack_from(form, data, after)[0] + base
    return order, big, found


def tiff(data: bytes, chance: random.Random) -> bytes:
    """Change directories: tags, types, counts, offsets, chains, and what the tags hold."""
    if chance.random() < 0.15:
        return noise(data, chance)
    out = bytearray(data)
    try:
        for _ in range(chance.choice((1, 1, 2, 4))):
            _tiff_step(out, chance)
    except (struct.error, IndexError, ValueError):
        return noise(data, chance)
    return bytes(out)


def _tiff_step(out: bytearray, chance: random.Random, base: int = 0) -> None:
    order, big, directories = _entries(bytes(out), base)
    at, count = chance.choice(directories)
    head, size = (8, 20) if big else (2, 12)
    wide = order + ("Q" if big else "I")
    entry = at + head + size * chance.randrange(count)
    kind = struct.unpack_from(order + "H", out, entry + 2)[0]
    many = struct.unpack_from(wide, out, entry + 4)[0]
    place = entry + (12 if big else 8)
    width = TIFF_SIZES[kind] if kind < len(TIFF_SIZES) else 1
    away = width * many > (8 if big else 4)
    held = struct.unpack_from(wide, out, place)[0] + base if away else place
    hostile = chance.choice((number(chance), len(out), at, held, len(out) - 4))
    act = chance.randrange(9)
    if act == 0:
        put(out, entry, order + "H", chance.choice((number(chance), 256, 257, 273, 324, 34735)))
    elif act == 1:
        put(out, entry + 2, order + "H", chance.randrange(20))
    elif act == 2:
        put(out, entry + 4, wide, hostile)
    elif act == 3:
        put(out, place, wide, hostile)
    elif act == 4:
        put(out, at + head + size * count, wide, chance.choice((at, 8, hostile)))
    elif act == 5:
        put(out, at, order + ("Q" if big else "H"), hostile)
    elif act == 6 and kind == 2 and many > 8:
        _retell(out, place, entry + 4, wide, bytes(out[held : held + many]), chance)
    else:
        form = {1: "B", 2: "H", 4: "I", 8: "Q"}.get(width, "B")
        put(out, held + width * chance.randrange(max(1, min(many, 500))), order + form, hostile)


def _retell(
    out: bytearray, place: int, count_at: int, wide: str, text: bytes, chance: random.Random
) -> None:
    """Change a tag's text, whatever its length becomes."""
    items = re.findall(rb'(<Item name="[^"]*"[^>]*>)([^<]*)(</Item>)', text)
    if items and chance.random() < 0.9:
        start, held, end = chance.choice(items)
        plain = html.unescape(held.decode("utf-8", "replace"))
        said = json_text(plain.encode(), chance) if plain else noise(held, chance)
        said = html.escape(said.decode("utf-8", "replace").replace("\0", "")).encode()
        text = text.replace(start + held + end, start + said + end)
    else:
        text = noise(text, chance)
    put(out, place, wide, len(out))
    put(out, count_at, wide, len(text))
    out += text


def only_tags(data: bytes, chance: random.Random) -> bytes:
    """Change what the tags of GDAL say, and nothing else."""
    order, big, directories = _entries(data)
    out = bytearray(data)
    at, count = directories[0]
    head, size = (8, 20) if big else (2, 12)
    wide = order + ("Q" if big else "I")
    for number_ in range(count):
        entry = at + head + size * number_
        if struct.unpack_from(order + "H", out, entry)[0] == 42112:
            many = struct.unpack_from(wide, out, entry + 4)[0]
            place = entry + (12 if big else 8)
            held = struct.unpack_from(wide, out, place)[0]
            _retell(out, place, entry + 4, wide, bytes(out[held : held + many]), chance)
    return bytes(out)


def png(data: bytes, chance: random.Random) -> bytes:
    """Change chunks; mostly their checksums are right."""
    if chance.random() < 0.2:
        return noise(data, chance)
    chunks, at = [], 8
    while at + 8 <= len(data):
        size = struct.unpack_from(">I", data, at)[0]
        chunks.append([data[at + 4 : at + 8], bytearray(data[at + 8 : at + 8 + size])])
        at += 12 + size
    for _ in range(chance.choice((1, 1, 3))):
        name, body = one = chance.choice(chunks)
        act = chance.randrange(5)
        if act == 0 and body:
            put(body, chance.randrange(max(1, len(body))), ">I", number(chance))
        elif act == 1:
            chunks.remove(one)
        elif act == 2:
            chunks.insert(chance.randrange(len(chunks) + 1), [name, bytearray(body)])
        elif act == 3:
            head = chunks[0][1]
            put(head, chance.choice((0, 4)), ">I", number(chance))
        else:
            one[1] = bytearray(noise(bytes(body), chance))
        if not chunks:
            break
    return data[:8] + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )


def jpeg(data: bytes, chance: random.Random) -> bytes:
    """Change segments: sizes, order, lengths, and EXIF as the TIFF that it is."""
    if chance.random() < 0.2:
        return noise(data, chance)
    segments, at = [], 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
        size = struct.unpack_from(">H", data, at + 2)[0]
        segments.append([data[at : at + 2], bytearray(data[at + 4 : at + 2 + size])])
        at += 2 + size
    rest = data[at:]
    for _ in range(chance.choice((1, 1, 3))):
        if not segments:
            break
        mark, body = one = chance.choice(segments)
        exif = next((found for found in segments if found[1][:6] == b"Exif\0\0"), None)
        act = chance.randrange(7)
        if act < 3 and exif:
            inner = bytearray(exif[1][6:])
            try:
                _tiff_step(inner, chance)
            except (struct.error, IndexError, ValueError):
                inner = bytearray(noise(bytes(inner), chance))
            exif[1] = bytearray(b"Exif\0\0") + inner[:65000]
        elif act == 3 and body:
            put(body, chance.randrange(len(body)), ">H", number(chance))
        elif act == 4:
            segments.remove(one)
        elif act == 5:
            segments.insert(chance.randrange(len(segments) + 1), [mark, bytearray(body)])
        else:
            one[1] = bytearray(noise(bytes(body), chance))[:65000]
    return (
        data[:2]
        + b"".join(mark + struct.pack(">H", len(body) + 2) + body for mark, body in segments)
        + rest
    )


def npy(data: bytes, chance: random.Random) -> bytes:
    """Change the header of an array, also to one of pickled objects."""
    size = struct.unpack_from("<H", data, 8)[0]
    head, body = data[10 : 10 + size].decode("latin-1"), data[10 + size :]
    act = chance.randrange(6)
    if act == 0:
        head = re.sub(r"\([^)]*\)", str((number(chance), chance.randrange(9))), head)
    elif act == 1:
        head = re.sub(r"'descr': '[^']*'", f"'descr': '{chance.choice(('|O', '<f8', 'V99', '<M8', '|S0', '<U9', 'x'))}'", head)  # fmt: skip  # noqa: E501
        body = chance.choice((body, PASSWD))
    elif act == 2:
        head = head.replace("False", chance.choice(("True", "__import__('os')", "(" * 200)))
    elif act == 3:
        return chance.choice((b"", PASSWD, data[:6] + b"\3\0" + data[8:]))
    else:
        return noise(data, chance)
    text = head.encode("latin-1")
    return data[:8] + struct.pack("<H", len(text) % 65536) + text + body


# tables


def sqlite(data: bytes, chance: random.Random) -> bytes:
    """Change cells and the schema of a GeoPackage, or its pages."""
    if chance.random() < 0.3:
        out = bytearray(data)
        put(
            out, chance.choice((16, 28, 32, 36, 52, 56, 100, 103, 4096, 4099)), ">H", number(chance)
        )
        return bytes(out) if chance.random() < 0.5 else noise(data, chance)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.gpkg"
        path.write_bytes(data)
        held = sqlite3.connect(path)
        try:
            for _ in range(chance.choice((1, 1, 3))):
                _sqlite_step(held, chance)
            held.commit()
        except (sqlite3.Error, OverflowError, UnicodeEncodeError, ValueError):
            held.close()
            return noise(data, chance)
        held.close()
        return path.read_bytes()


def _sqlite_step(held: sqlite3.Connection, chance: random.Random) -> None:
    names = [row[0] for row in held.execute("SELECT name FROM sqlite_master WHERE type='table'")]
    for (trigger,) in held.execute(
        "SELECT name FROM sqlite_master WHERE type='trigger'"
    ).fetchall():
        held.execute(f'DROP TRIGGER "{trigger}"')
    name = chance.choice([one for one in names if not one.startswith(("sqlite", "rtree"))])
    columns = [row[1] for row in held.execute(f'PRAGMA table_info("{name}")')]
    column = chance.choice(columns)
    act = chance.randrange(7)
    if act == 0:
        held.execute(f'DROP TABLE "{name}"')
    elif act == 1:
        held.execute(f'ALTER TABLE "{name}" RENAME COLUMN "{column}" TO "x{chance.randrange(9)}"')
    elif act == 2:
        held.execute("PRAGMA writable_schema=1")
        held.execute(
            "UPDATE sqlite_master SET sql = ? WHERE name = ?", (chance.choice(WORDS), name)
        )
    elif act == 3:
        held.execute(
            f'CREATE TRIGGER t{chance.randrange(99)} AFTER INSERT ON "{name}" BEGIN '
            "SELECT load_extension('/etc/passwd'); END"
        )
    else:
        row = held.execute(f'SELECT rowid, "{column}" FROM "{name}" ORDER BY random() LIMIT 1')
        at, was = row.fetchone() or (0, None)
        new = noise(was, chance) if isinstance(was, bytes) else value(chance)
        if isinstance(was, bytes) and chance.random() < 0.5:
            new = was[:8] + wkb(was[40:], chance) if len(was) > 45 else was
        new = new if isinstance(new, bytes | str | int | float | None) else str(new)
        held.execute(f'UPDATE "{name}" SET "{column}" = ? WHERE rowid = ?', (new, at))


def wkb(data: bytes, chance: random.Random) -> bytes:
    """Change a geometry: its kind, counts and coordinates."""
    out = bytearray(data)
    act = chance.randrange(5)
    if act == 0:
        put(out, 1, "<I", chance.choice((0, 1, 2, 3, 4, 5, 6, 7, 15, 1003, 3003, number(chance))))
    elif act == 1:
        put(out, chance.choice((5, 9)), "<I", number(chance))
    elif act == 2:
        odd = chance.choice((float("nan"), float("inf"), 1e308, -1e9, 181.0, 90.0, -180.0))
        at = 13 + 8 * chance.randrange(max(1, (len(out) - 13) // 8))
        out[at : at + 8] = struct.pack("<d", odd)
    elif act == 3:
        nested = b"\1" + struct.pack("<II", 7, 1)
        out[:0] = nested * chance.choice((1, 3, 500, 20_000))
    else:
        return noise(data, chance)
    return bytes(out)


def parquet(data: bytes, chance: random.Random) -> bytes:
    """Change columns, geometries and metadata of a GeoParquet, its footer, or its pages."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    size = struct.unpack_from("<I", data, len(data) - 8)[0]
    if chance.random() < 0.35:
        out = bytearray(data)
        foot = len(out) - 8 - size
        act = chance.randrange(4)
        if act == 0:
            put(out, len(out) - 8, "<I", number(chance))
        elif act == 1:
            out[foot : len(out) - 8] = noise(bytes(out[foot : len(out) - 8]), chance)
        elif act == 2:
            for _ in range(chance.choice((1, 4))):
                out[foot + chance.randrange(size)] = chance.choice(
                    (0, 0x7F, 0xFF, 0x18, 0x15, 0x1C)
                )
        else:
            out[4:foot] = noise(bytes(out[4:foot]), chance)
        return bytes(out)
    table = pq.read_table(pa.BufferReader(data))
    metadata = dict(table.schema.metadata or {})
    act = chance.randrange(5)
    if act == 0:
        at = chance.randrange(len(table.schema))
        table = table.remove_column(at)
    elif act == 1:
        names = list(table.schema.names)
        names[chance.randrange(len(names))] = chance.choice(("", "id", "geometry", "bbox", "x"))
        table = table.rename_columns(names)
    elif act == 2:
        at = chance.randrange(len(table.schema))
        odd = chance.choice(
            (
                pa.nulls(len(table)),
                pa.array([chance.choice(WORDS[:3])] * len(table)),
                pa.array([number(chance) % 2**62] * len(table)),
                pa.array([[1.0]] * len(table)),
                pa.array([float("nan")] * len(table)),
            )
        )
        table = table.set_column(at, table.schema.names[at], odd)
    elif act == 3 and "geometry" in table.schema.names:
        at = table.schema.get_field_index("geometry")
        held = table["geometry"].to_pylist()
        row = chance.randrange(len(held))
        held[row] = chance.choice((wkb(held[row] or b"", chance), None, b""))
        table = table.set_column(at, pa.field("geometry", pa.binary()), pa.array(held, pa.binary()))
    elif metadata:
        key = chance.choice(sorted(metadata))
        text = metadata[key]
        metadata[key] = json_text(text, chance) if text[:1] in b"{[" else noise(text, chance)
    out_file = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(metadata), out_file)
    return out_file.getvalue()


def flatgeobuf(data: bytes, chance: random.Random) -> bytes:
    """Change the header's length, its tables and vectors, and the features' lengths."""
    out = bytearray(data)
    size = struct.unpack_from("<I", out, 8)[0]
    for _ in range(chance.choice((1, 1, 2, 5))):
        act = chance.randrange(4)
        if act == 0:
            put(out, chance.choice((8, 12, 12 + size)), "<I", number(chance))
        elif act == 1:
            put(out, 12 + 4 * chance.randrange(max(1, size // 4)), "<I", number(chance))
        elif act == 2:
            put(out, 12 + 4 * chance.randrange(max(1, (len(out) - 12) // 4)), "<I", number(chance))
        else:
            return noise(bytes(out), chance)
    return bytes(out)


def pmtiles(data: bytes, chance: random.Random) -> bytes:
    """Change the header's offsets and lengths, the directories and what the archive says."""
    out = bytearray(data)
    act = chance.randrange(5)
    if act < 2:
        for _ in range(chance.choice((1, 2))):
            put(out, 8 + 8 * chance.randrange(11), "<Q", chance.choice((number(chance), len(out))))
        put(out, chance.randrange(96, 127), "<B", chance.randrange(256))
        return bytes(out)
    if act == 4:
        return noise(data, chance)
    slot = 8 if act == 2 else 24  # the root directory, or the metadata
    at, size = struct.unpack_from("<QQ", out, slot)
    try:
        plain = gzip.decompress(bytes(out[at : at + size]))
    except (OSError, EOFError, zlib.error):
        return noise(data, chance)
    plain = json_text(plain, chance) if act == 3 else noise(plain, chance)
    if chance.random() < 0.03:
        plain = bytes(60 * 2**20)
    packed = gzip.compress(plain, 1)
    put(out, slot, "<Q", len(out))
    put(out, slot + 8, "<Q", len(packed))
    return bytes(out) + packed


# weights


def safetensors(data: bytes, chance: random.Random) -> bytes:
    """Change the header: offsets, shapes, types, names, and its length."""
    size = struct.unpack_from("<Q", data)[0]
    act = chance.randrange(5)
    if act == 0:
        return struct.pack("<Q", number(chance) % 2**64) + data[8:]
    if act == 1:
        return noise(data, chance)
    head = json_text(data[8 : 8 + size].rstrip(), chance)
    return struct.pack("<Q", len(head)) + head + data[8 + size :]


def protobuf(data: bytes, chance: random.Random) -> bytes:
    """Change the fields of a message, or of one within it."""
    if chance.random() < 0.15:
        return noise(data, chance)
    return _message(data, chance, 0)


def _varint(held: int) -> bytes:
    out = bytearray()
    held %= 2**64
    while held > 127:
        out.append(held & 127 | 128)
        held >>= 7
    return bytes([*out, held])


def _fields(data: bytes) -> list[tuple[int, int, Any]] | None:
    """Return number, kind and content of the fields of a message; None if it is none."""
    at, found = 0, []
    while at < len(data):
        key, at = _read_varint(data, at)
        kind = key & 7
        if at < 0 or kind not in (0, 1, 2, 5) or not key >> 3:
            return None
        if kind == 0:
            held, at = _read_varint(data, at)
        else:
            size = {1: 8, 5: 4}.get(kind, 0)
            if kind == 2:
                size, at = _read_varint(data, at)
            if at < 0 or at + size > len(data):
                return None
            held, at = data[at : at + size], at + size
        if at < 0:
            return None
        found.append((key >> 3, kind, held))
    return found


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    held = shift = 0
    while at < len(data) and shift < 70:
        held |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 128:
            return held, at
    return 0, -1


def _written(fields: list[tuple[int, int, Any]]) -> bytes:
    return b"".join(
        _varint(number_ << 3 | kind)
        + (_varint(held) if kind == 0 else (_varint(len(held)) if kind == 2 else b"") + held)
        for number_, kind, held in fields
    )


def _message(data: bytes, chance: random.Random, depth: int) -> bytes:
    fields = _fields(data)
    if not fields or depth > 8:
        return noise(data, chance)
    at = chance.randrange(len(fields))
    number_, kind, held = fields[at]
    act = chance.randrange(10)
    if kind == 2 and held and act < 7:
        texts = [word.encode("utf-8", "surrogatepass") for word in WORDS]
        new = _message(held, chance, depth + 1) if act < 6 else chance.choice(texts)
        fields[at] = (number_, kind, new)
    elif kind == 0 and act < 7:
        fields[at] = (number_, kind, number(chance))
    elif act == 7:
        del fields[at]
    elif act == 8:
        fields.insert(chance.randrange(len(fields) + 1), fields[at])
    else:
        fields[at] = (chance.randrange(1, 30), kind, held)
    return _written(fields)


def gguf(data: bytes, chance: random.Random) -> bytes:
    """Change versions, counts, types, lengths and names."""
    out = bytearray(data)
    for _ in range(chance.choice((1, 1, 2))):
        act = chance.randrange(5)
        if act == 0:
            put(out, chance.choice((4, 8, 16)), "<Q", number(chance))
        elif act == 4:
            return noise(bytes(out), chance)
        else:
            at = chance.randrange(24, max(25, min(len(out), 1500)))
            put(out, at, chance.choice(("<I", "<Q", "<B")), number(chance))
    return bytes(out)


def checkpoint(data: bytes, chance: random.Random) -> bytes:
    """Change the members of a torch file: its pickle's operations, its storages, its list."""
    if chance.random() < 0.15:
        return noise(data, chance)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    name = chance.choice([*members, *[one for one in members if one.endswith("data.pkl")] * 6])
    act = chance.randrange(8)
    new = name
    if act == 0:
        members[name] = PASSWD
    elif act == 1:
        del members[name]
    elif act == 2:
        new = chance.choice(("../../escaped", "/tmp/escaped", name + "x"))
        members[new] = members.pop(name)
    elif act == 3 and chance.random() < 0.1:
        members[name] = bytes(300 * 2**20)
    elif act == 4:
        at = chance.randrange(len(members[name]) + 1)
        operations = (b"cos\nsystem\n", b"R", b"(", b"0" * 50, b"2" * 1000, b"]" * 10_000,
                      b"\x8c\x03abc", b"\x93", b"\x81", b"b", b"I999999999999\n",
                      b"j\xff\xff\xff\xff")  # fmt: skip
        members[name] = members[name][:at] + chance.choice(operations) + members[name][at:]
    else:
        members[name] = noise(members[name], chance)
    out = io.BytesIO()
    kind = zipfile.ZIP_DEFLATED if chance.random() < 0.3 else zipfile.ZIP_STORED
    with zipfile.ZipFile(out, "w", kind) as archive:
        for held, body in members.items():
            archive.writestr(held, body)
    return out.getvalue()


def zipped(data: bytes, chance: random.Random) -> bytes:
    """Change a member of an archive by its ending, its name, or what the archive says of it."""
    if chance.random() < 0.2:
        return noise(data, chance)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    texts = [name for name in members if name.endswith((".xml", ".json", ".txt"))]
    name = chance.choice([*members, *texts * len(members)])
    act = chance.randrange(8)
    if act == 0:
        del members[name]
    elif act == 1:
        new = chance.choice(("../../escaped", "/tmp/escaped", name + "/x", name.lower(), "{x}\\.."))
        members[new] = members.pop(name)
    elif act == 2 and chance.random() < 0.2:
        members[name] = bytes(100 * 2**20)
    else:
        ending = name[name.rfind(".") :]
        members[name] = BY_ENDING.get(ending, noise)(members[name], chance)
    out = io.BytesIO()
    kind = chance.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED, zipfile.ZIP_LZMA))
    with zipfile.ZipFile(out, "w", kind) as archive:
        for held, body in members.items():
            archive.writestr(held, body)
    changed = bytearray(out.getvalue())
    if act == 3:  # sizes, checksums, methods and offsets of the list of members
        at = bytes(changed).rfind(b"PK\1\2")
        put(changed, at + chance.choice((8, 10, 16, 20, 24, 28, 30, 42)), "<I", number(chance))
    return bytes(changed)


BY_ENDING: dict[str, Mutator] = {
    ".json": json_text, ".jsonl": json_text, ".geojson": json_text, ".toml": toml_text,
    ".csv": csv_text, ".vrt": xml_text, ".gti": xml_text, ".xml": xml_text, ".tif": tiff,
    ".png": png, ".jpg": jpeg, ".npy": npy, ".gpkg": sqlite, ".parquet": parquet,
    ".fgb": flatgeobuf, ".pmtiles": pmtiles, ".safetensors": safetensors, ".onnx": protobuf,
    ".gguf": gguf, ".ckpt": checkpoint, ".zip": zipped,
}  # fmt: skip
"""By the ending of a file; others get :func:`noise`."""


def mutated(path: Path, chance: random.Random, change: Mutator | None = None) -> None:
    """Change a file in its place, by default by its ending."""
    data = path.read_bytes()
    try:
        changed = (change or BY_ENDING.get(path.suffix, noise))(data, chance)
    except Exception:  # noqa: BLE001 - it was changed before, and is not of its format any more
        changed = noise(data, chance)
    path.write_bytes(changed)
