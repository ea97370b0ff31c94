"""Reading the GGUF files of llama.cpp: names, tokens and tensors, without its libraries.

Only what a small Llama needs: plain numbers, and the block formats ``Q8_0`` and ``Q4_1``.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from selion.errors import UnreadableFile

_PLAIN = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TEXT, _LIST = 8, 9
_FORMATS = {0: "F32", 1: "F16", 3: "Q4_1", 8: "Q8_0"}
_BLOCK = 32
"""Numbers that share a scale."""
_BYTES = {"F32": 4 * _BLOCK, "F16": 2 * _BLOCK, "Q4_1": 20, "Q8_0": 34}
"""Of so many numbers."""


@dataclass(frozen=True, slots=True)
class Packed:
    """A tensor as it lies in the file."""

    kind: str
    """F32, F16, Q8_0 or Q4_1."""
    shape: tuple[int, ...]
    """Rows first, as in torch; the last one is what blocks run along."""
    raw: np.ndarray
    """uint8."""

    def unpacked(self) -> np.ndarray:
        """Return the tensor in float32."""
        return unpack(self.kind, self.raw).reshape(self.shape)


def unpack(kind: str, raw: np.ndarray) -> np.ndarray:
    """Return the numbers of a format's bytes.

    Parameters
    ----------
    kind : {"F32", "F16", "Q8_0", "Q4_1"}
    raw : (n,) uint8 ndarray

    Returns
    -------
    (m,) float32 ndarray

    Notes
    -----
    ``Q8_0`` is a float16 scale and 32 signed bytes.  ``Q4_1`` is a float16 scale, a float16 least
    value, and 16 bytes: the low halves are the first sixteen numbers, the high halves the others.
    """
    if kind in ("F32", "F16"):
        return raw.view(np.float32 if kind == "F32" else np.float16).astype(np.float32)
    blocks = raw.reshape(-1, _BYTES[kind])
    scale = np.ascontiguousarray(blocks[:, :2]).view(np.float16).astype(np.float32)
    if kind == "Q8_0":
        return (scale * np.ascontiguousarray(blocks[:, 2:]).view(np.int8)).ravel()
    least = np.ascontiguousarray(blocks[:, 2:4]).view(np.float16).astype(np.float32)
    halves = np.concatenate([blocks[:, 4:] & 15, blocks[:, 4:] >> 4], 1)
    return (scale * halves.astype(np.float32) + least).ravel()


class GgufFile:
    """A GGUF file: :attr:`facts` at once, tensors when they are asked for.

    Parameters
    ----------
    path : Path

    Raises
    ------
    UnreadableFile
        If it is no GGUF file of version 2 or 3, or a tensor has another format.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.facts: dict[str, Any] = {}
        """What the file says of its model."""
        try:
            self._held = np.memmap(path, np.uint8, "r")
            self._read()
        except (OSError, ValueError, KeyError, IndexError, struct.error, RecursionError) as error:
            raise UnreadableFile(
                f"{path} cannot be read as GGUF ({error}): it is damaged; fetch it again."
            ) from error

    def _read(self) -> None:
        path = self.path
        if bytes(self._held[:4]) != b"GGUF":
            raise UnreadableFile(f"{path} is no GGUF file: give one of llama.cpp's.")
        self._at = 4
        version, tensors, facts = self._number(4), self._number(10), self._number(10)
        if version not in (2, 3):
            raise UnreadableFile(f"{path} is GGUF of version {version}; wanted is 2 or 3.")
        if max(facts, tensors) > len(self._held):
            raise ValueError(f"{max(facts, tensors):,} entries are announced")
        for _ in range(facts):
            name = self._text()
            self.facts[name] = self._value(self._number(4))
        self._listed = {}
        for _ in range(tensors):
            name = self._text()
            shape = tuple(self._number(10) for _ in range(self._number(4)))[::-1]
            self._listed[name] = (shape, self._number(4), self._number(10))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Tensors."""
        return tuple(self._listed)

    def tensor(self, name: str) -> Packed:
        """Return a tensor by its name.

        Raises
        ------
        UnreadableFile
            If it is packed in a format that is not read.
        KeyError
            If the file holds none of that name; see :attr:`names`.
        """
        shape, number, offset = self._listed[name]
        if number not in _FORMATS:
            raise UnreadableFile(
                f"{self.path} holds {name} in the format {number}; wanted is one of "
                f"{', '.join(_FORMATS.values())}."
            )
        kind, step = _FORMATS[number], self._alignment
        first = -(-self._at // step) * step + offset
        size, rest = divmod(math.prod(shape) * _BYTES[kind], _BLOCK)
        held = len(self._held)
        if rest or first + size > held or max(shape, default=0) > 2 * held:
            raise UnreadableFile(f"{self.path} is truncated: {name} is not whole; fetch it again.")
        return Packed(kind, shape, np.array(self._held[first : first + size]))

    @property
    def _alignment(self) -> int:
        said = self.facts.get("general.alignment", 32)
        if not isinstance(said, int) or not 0 < said <= 2**20:
            raise UnreadableFile(f"{self.path} is aligned to {said!r} bytes: fetch it again.")
        return said

    def _number(self, kind: int) -> Any:
        code = _PLAIN[kind]
        size = struct.calcsize(code)
        self._at += size
        return struct.unpack(f"<{code}", bytes(self._held[self._at - size : self._at]))[0]

    def _text(self) -> str:
        size = self._number(10)
        if self._at + size > len(self._held):
            raise ValueError(f"a text of {size:,} bytes is announced")
        self._at += size
        return bytes(self._held[self._at - size : self._at]).decode()

    def _value(self, kind: int) -> Any:
        if kind == _TEXT:
            return self._text()
        if kind != _LIST:
            return self._number(kind)
        inner, count = self._number(4), self._number(10)
        if self._at + count > len(self._held):
            raise ValueError(f"a list of {count:,} values is announced")
        return [self._value(inner) for _ in range(count)]
