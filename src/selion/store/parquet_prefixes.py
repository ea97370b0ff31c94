"""Texts of a Parquet page that share how they begin: what they come to, found without making them.

``DELTA_BYTE_ARRAY`` keeps of each text how many bytes it shares with the one before, and the rest:
a long one that repeats a million times takes a few bytes of the file.  The counts are packed as
``DELTA_BINARY_PACKED``; both are as the format's specification, Encodings, tells.
"""

from __future__ import annotations

import numpy as np

MOST_BITS = 32
"""Of a count of bytes."""


def shared_bytes(body: bytes, levels: int) -> int:
    """Return how many bytes the texts of a page share with those before them, all together.

    Parameters
    ----------
    body : bytes
        Of a page, unpacked.
    levels : int
        How many runs of levels stand before the texts, each behind its length (pages of version
        1).

    Raises
    ------
    ValueError, IndexError
        If they are none.
    """
    at = 0
    for _ in range(levels):
        at += 4 + int.from_bytes(body[at : at + 4], "little")
    size, at = varint(body, at)
    parts, at = varint(body, at)
    count, at = varint(body, at)
    coded, at = varint(body, at)
    if not parts or size % (8 * parts):
        raise ValueError(f"{size} numbers in {parts} parts")
    last, left = signed(coded), max(count - 1, 0)
    total = last
    while left:
        coded, at = varint(body, at)
        least, bits, at = signed(coded), body[at : at + parts], at + parts
        if len(bits) < parts:
            raise IndexError("a block is cut")
        for wide in bits:
            some = min(left, size // parts)
            more, last, at = _run(body, at, wide, size // parts, (last, least, some))
            total, left = total + more, left - some
            if not left:
                break
    return total


def _run(
    body: bytes, at: int, wide: int, held: int, told: tuple[int, int, int]
) -> tuple[int, int, int]:
    """Return the sum of a run of numbers, the last of them, and where the run ends.

    ``told`` are the number before, the least step, and how many numbers count.
    """
    last, least, some = told
    if not wide:
        return some * last + least * some * (some + 1) // 2, last + least * some, at
    if wide > MOST_BITS:
        raise ValueError(f"a count of {wide} bits")
    end = at + held * wide // 8
    if end > len(body):
        raise IndexError("a run is cut")
    bits = np.unpackbits(np.frombuffer(body[at:end], np.uint8), bitorder="little")
    steps = bits.reshape(held, wide)[:some].astype(np.float64) @ (2.0 ** np.arange(wide)) + least
    numbers = last + np.cumsum(steps)
    return int(numbers.sum()), int(numbers[-1]), end


def varint(data: bytes, at: int) -> tuple[int, int]:
    """Read a whole number of seven bits a byte; return it and where it ends."""
    value = shift = 0
    while shift < 70:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
    raise ValueError("a number without an end")


def signed(coded: int) -> int:
    """Undo the zigzag of a number that may be negative."""
    return (coded >> 1) ^ -(coded & 1)
