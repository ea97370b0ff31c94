"""Messages of Protocol Buffers, read and written without their library: ONNX files are such.

A message is a row of fields: number and kind, then a varint or a length and so many bytes.  What
the bytes are, a text or a message of its own, the reader has to know.
"""

from __future__ import annotations

from collections.abc import Iterator

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_SIGN = 1 << 64
Fields = dict[int, list[int | memoryview]]


def fields_of(message: memoryview) -> Fields:
    """Read one message: field number -> its values.

    Raises
    ------
    ValueError, IndexError
        If it is no message, or is truncated.
    """
    found: Fields = {}
    for number, value, _ in _walk(message):
        found.setdefault(number, []).append(value)
    return found


def messages(found: Fields, number: int) -> list[memoryview]:
    """Return a field's values that are bytes."""
    return [value for value in found.get(number, ()) if isinstance(value, memoryview)]


def numbers(found: Fields, number: int) -> list[int]:
    """Return a field's whole numbers, written one by one or packed, with their sign."""
    values: list[int] = []
    for value in found.get(number, ()):
        if isinstance(value, int):
            values.append(value)
            continue
        at = 0
        while at < len(value):
            one, at = _varint(value, at)
            values.append(one)
    return [value - _SIGN if value >= _SIGN >> 1 else value for value in values]


def text_of(found: Fields, number: int) -> str:
    """Return a field's text; empty if there is none."""
    return "".join(bytes(value).decode() for value in messages(found, number)[:1])


def write_field(number: int, value: int | str | bytes | memoryview) -> bytes:
    """Return a field as bytes: a whole number as a varint, anything else with its length.

    Examples
    --------
    >>> write_field(1, 150).hex(), write_field(2, "testing").hex()
    ('089601', '120774657374696e67')
    """
    if isinstance(value, int):
        return _write_varint(number << 3 | _VARINT) + _write_varint(value % _SIGN)
    content = value.encode() if isinstance(value, str) else bytes(value)
    return _write_varint(number << 3 | _BYTES) + _write_varint(len(content)) + content


def raw_fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield a message's fields as they stand, each with its number.

    Raises as :func:`fields_of`.
    """
    for number, _, raw in _walk(message):
        yield number, raw


def _walk(message: memoryview) -> Iterator[tuple[int, int | memoryview, memoryview]]:
    at = 0
    while at < len(message):
        start = at
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield number, value, message[start:at]
            continue
        if kind == _BYTES:
            length, at = _varint(message, at)
        elif kind in (_FIXED64, _FIXED32):
            length = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(kind)
        if at + length > len(message) or number == 0:
            raise ValueError(number)
        yield number, message[at : at + length], message[start : at + length]
        at += length


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError(at)


def _write_varint(value: int) -> bytes:
    content = bytearray()
    while value >= 0x80:
        content.append(value & 0x7F | 0x80)
        value >>= 7
    content.append(value)
    return bytes(content)
