"""Masks as runs of equal pixels: those of COCO, and those of Label Studio's brush.

COCO's runs go down the columns, outside first; as text each is written in steps of five bits, from
the third on as its difference to the run before the last.  Label Studio's go along the rows of a
picture of four equal channels, in a stream of bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from selion.errors import BadInput

LARGEST = 1 << 26
"""Pixels of a mask at most."""
SIZES = (3, 4, 8, 16)
"""Bits in which Label Studio writes how long a run is: the least that hold it."""
CHANNELS = 4


def coco_runs(mask: np.ndarray) -> list[int]:
    """Count the runs of a (y, x) bool mask down its columns; the first is outside, and may be 0."""
    flat = np.concatenate([[False], np.asarray(mask, bool).ravel(order="F")])
    change = np.flatnonzero(flat[1:] != flat[:-1])
    ends = np.concatenate([[0], change, [mask.size]])
    return [int(run) for run in np.diff(ends)]


def coco_mask(runs: Sequence[int], shape: Sequence[int]) -> np.ndarray:
    """Draw runs as a (y, x) bool mask.

    Raises
    ------
    BadInput
        If they are not those of a mask of that shape.
    """
    height, width = _shape(shape)
    if any(run < 0 for run in runs) or sum(runs) != height * width:  # ints that cannot overflow
        raise BadInput(
            f"A mask of {height} x {width} pixels has runs of another number in all: its 'counts' "
            "are damaged."
        )
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, np.array(runs, np.int64)).reshape((height, width), order="F")


def coco_text(runs: Sequence[int]) -> str:
    """Write runs as COCO's tools do (``rleToString`` of its ``maskApi.c``)."""
    said = []
    for k, run in enumerate(runs):
        left = run - runs[k - 2] if k > 2 else run
        more = True
        while more:
            bits = left & 0x1F
            left >>= 5
            more = left != (-1 if bits & 0x10 else 0)
            said.append(chr(48 + (bits | (0x20 if more else 0))))
    return "".join(said)


def coco_runs_of(text: str) -> list[int]:
    """Read what :func:`coco_text` writes.

    Raises
    ------
    BadInput
        If it is no such text.
    """
    runs: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64 or shift > 50:
            raise BadInput("The 'counts' of a mask are no runs: they are damaged.")
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        value -= (bits & 0x10) << (shift - 4) if bits & 0x10 else 0
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return runs


def read_coco(segmentation: Any) -> np.ndarray:
    """Draw the mask of an annotation, ``{"size": [y, x], "counts": runs or text}``.

    Raises
    ------
    BadInput
        If it is none.
    """
    try:
        size, counts = segmentation["size"], segmentation["counts"]
    except (KeyError, TypeError) as error:
        raise BadInput("A mask has 'size' and 'counts': this one lacks one of them.") from error
    if isinstance(counts, str):
        return coco_mask(coco_runs_of(counts), size)
    if not isinstance(counts, list) or not all(type(run) is int for run in counts):
        raise BadInput("The 'counts' of a mask are a list of whole numbers, or a text.")
    return coco_mask(counts, size)


def brush_stream(mask: np.ndarray) -> list[int]:
    """Write a (y, x) bool mask as the ``rle`` of Label Studio's brush: bytes, 0 to 255."""
    flat = np.asarray(mask, bool).ravel()
    starts = np.flatnonzero(np.concatenate([[True], flat[1:] != flat[:-1]]))
    lengths = np.diff(np.concatenate([starts, [flat.size]])) * CHANNELS
    bits = [f"{flat.size * CHANNELS:032b}{7:05b}", *(f"{size - 1:04b}" for size in SIZES)]
    for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
        word = f"{255 * int(flat[start]):08b}"
        for run in _pieces(length):
            which = next(k for k, size in enumerate(SIZES) if run <= 1 << size)
            bits.append(f"1{which:02b}{run - 1:0{SIZES[which]}b}{word}")
    stream = "".join(bits)
    stream += "0" * (-len(stream) % 8)
    return list(int(stream, 2).to_bytes(len(stream) // 8, "big"))


def _pieces(length: int) -> Iterable[int]:
    most = 1 << SIZES[-1]
    while length > 0:
        yield min(length, most)
        length -= most


def read_brush(stream: Sequence[int], shape: Sequence[int]) -> np.ndarray:
    """Draw what Label Studio's brush wrote as a (y, x) bool mask.

    Raises
    ------
    BadInput
        If it is damaged, or of another shape.
    """
    height, width = _shape(shape)
    try:
        bits = _Bits(bytes(stream))
    except (TypeError, ValueError) as error:
        raise BadInput("The 'rle' of a brush is a list of bytes, 0 to 255.") from error
    count, word = bits.take(32), bits.take(5) + 1
    if count != height * width * CHANNELS:
        raise BadInput(
            f"The brush of a picture of {width} x {height} pixels has {count:,} values; wanted are "
            f"{height * width * CHANNELS:,}."
        )
    sizes = [bits.take(4) + 1 for _ in range(4)]
    values, lengths, done = [], [], 0
    while done < count:
        same = bits.take(1)
        run = bits.take(sizes[bits.take(2)]) + 1
        if same:
            values.append(bits.take(word))
            lengths.append(run)
        else:
            values += [bits.take(word) for _ in range(run)]
            lengths += [1] * run
        done += run
    flat = np.repeat(np.array(values, np.int64), lengths)[:count]
    return np.asarray(flat.reshape(height, width, CHANNELS)[..., CHANNELS - 1] > 0)


class _Bits:
    """Bytes that are read by bits."""

    def __init__(self, data: bytes) -> None:
        self.text, self.at = "".join(f"{byte:08b}" for byte in data), 0

    def take(self, count: int) -> int:
        """Return the next bits as a number."""
        if self.at + count > len(self.text):
            raise BadInput("The 'rle' of a brush ends in the middle: the file is cut off.")
        self.at += count
        return int(self.text[self.at - count : self.at], 2)


def _shape(shape: Sequence[int]) -> tuple[int, int]:
    good = isinstance(shape, list | tuple) and len(shape) == 2
    if not good or not all(type(n) is int and n > 0 for n in shape):
        raise BadInput("The size of a mask is two whole numbers above 0.")
    height, width = shape
    if height * width > LARGEST:
        raise BadInput(f"A mask of {height} x {width} pixels is larger than any picture of ours.")
    return int(height), int(width)
