"""What a mask's text will say next: rows mostly go on as the ones above did.

A guess is checked by the model in one pass, so that what is written never depends on it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from selion.errors import BadInput
from selion.models.language.box_guess import guess_boxes
from selion.models.language.edges import Row, Run, changed, completed, further
from selion.models.language.rrle import OPEN, Codec, encode

_NUMBER = re.compile(r"[0-9]{0,6}")
_REPEAT = re.compile(r"=([0-9]{1,6})")


class RowGuess:
    """Guesses of how a text of one codec goes on.

    Parameters
    ----------
    codec : Codec
    names : tuple of str
    shape : (y, x)
        Of the mask.
    """

    def __init__(self, codec: Codec, names: tuple[str, ...], shape: tuple[int, int]) -> None:
        self.codec, self.names, self.shape = codec, names, shape
        labels = codec.labels(names)
        self._ids = {label: k for k, label in enumerate(labels)}
        either = "|".join(re.escape(label) for label in sorted(labels, key=len, reverse=True))
        mark = "" if codec.places else re.escape(codec.mark)
        self._run = re.compile(rf"({either}){mark}([0-9]{{0,6}})")

    def __call__(self, text: str) -> str:
        """Return what may follow a text; empty where nothing can be guessed."""
        if OPEN.startswith(text):
            return OPEN[len(text) :]
        opened = text.find(OPEN)
        if opened < 0:
            return ""
        lines = text[opened + len(OPEN) :].split("\n")
        if self.codec.boxes:
            return guess_boxes(lines, self.codec.labels(self.names), self.shape)
        rows = self._rows(lines[:-1])
        if rows is None or len(rows) > self.shape[0]:
            return ""
        for present in self._present(rows, lines[-1].strip()):
            whole = [*rows, *present]
            guessed = self._text(whole + self._further(whole))
            if len(whole) <= self.shape[0] and guessed.startswith(text[opened:]):
                return guessed[len(text) - opened :]
        return ""

    def _rows(self, lines: Sequence[str]) -> list[Row] | None:
        """Return the rows that lines say; None if they cannot be read."""
        rows: list[Row] = []
        for line in map(str.strip, lines):
            if self.codec.repeat and line.startswith("="):
                again = _REPEAT.fullmatch(line)
                if not rows or again is None:
                    return None
                # one more than there are is as wrong as a million, and fills no memory
                rows += rows[-1:] * min(int(again[1]), self.shape[0] + 1 - len(rows))
                continue
            if self.codec.places:
                number = _NUMBER.match(line)[0]  # type: ignore[index]  # it always matches
                if not number or int(number) < len(rows) or (not rows and int(number)):
                    return None
                if int(number) >= self.shape[0]:
                    return None
                rows += rows[-1:] * (int(number) - len(rows))
                line = line[len(number) :]  # noqa: PLW2901
            row, rest = self._read(line)
            if rest or not row or row[-1].end != self.shape[1]:
                return None
            rows.append(row)
        return rows

    @lru_cache(maxsize=4096)  # noqa: B019  # the lines of the answers of one model
    def _read(self, line: str) -> tuple[Row, str]:
        """Return the runs of a line, and what is behind the last one that is whole."""
        row: list[Run] = []
        place, end = 0, 0
        while match := self._run.match(line, end):
            open_end = not match[2]
            if open_end and not (self.codec.places and match.end() == len(line)):
                break
            stop = self.shape[1] if open_end else int(match[2])
            stop = stop if self.codec.places else place + stop
            row.append(Run(self._ids[match[1]], stop))
            place, end = stop, match.end()
            if not line.startswith(self.codec.join, end):
                break
            end += len(self.codec.join)
        return tuple(row), line[end:]

    def _present(self, rows: Sequence[Row], line: str) -> list[list[Row]]:
        """Return what the row that is being written may become; the likeliest first."""
        if not line or (self.codec.repeat and line.startswith("=")):
            return [[]]
        between: list[Row] = []
        if self.codec.places:
            number = _NUMBER.match(line)[0]  # type: ignore[index]  # it always matches
            line = line[len(number) :]
            row = self._numbered(rows, number, whole=bool(line))
            if row is None:
                return [[]]
            between = list(rows[-1:]) * (row - len(rows))
        if self.codec.places or self.codec.repeat:
            above = changed([*rows, *between], self.shape[1])
        else:
            above = next(iter(further(rows, 1, self.shape[1])), ())
        known, _ = self._read(line)
        typed = self._typed(line, known)
        tries = []
        # the last run may be whole, or lack digits
        for count in dict.fromkeys((len(known), max(len(known) - 1, 0))):
            begun = known[:count]
            tries.append(completed(begun, above, typed[count:], self.shape[1]))
        return [[*between, row] for row in tries if row] or [[]]

    def _numbered(self, rows: Sequence[Row], number: str, *, whole: bool) -> int | None:
        """Return which row a number says that may lack digits; None if it can be none."""
        if whole or not rows:
            row = int(number) if number else -1
            return row if len(rows) <= row < self.shape[0] else None
        fitting = [k for k in range(len(rows), self.shape[0]) if str(k).startswith(number)]
        ahead = further(rows, self.shape[0] - len(rows), self.shape[1])
        steps = [k for k in fitting if ahead[k - len(rows)] != rows[-1]]
        return next(iter([*steps, *fitting]), None)

    def _typed(self, line: str, known: Row) -> list[int]:
        """Return the classes of a line's runs, that of one without a number too."""
        labels = [self._ids[match[1]] for match in self._run.finditer(line)]
        return labels[: len(known) + 1]

    def _further(self, rows: Sequence[Row]) -> list[Row]:
        """Let the edges of the last rows go on as they lean."""
        return further(rows, self.shape[0] - len(rows), self.shape[1])

    def _text(self, rows: Sequence[Row]) -> str:
        """Spell guessed rows."""
        if not rows:
            return ""
        mask = np.empty((len(rows), self.shape[1]), np.uint8)
        for line, row in zip(mask, rows, strict=True):
            start = 0
            for run in row:
                line[start : run.end] = run.label
                start = run.end
        try:
            return encode(mask, self.names, self.codec)
        except BadInput:
            return ""


def repeated(tokens: Sequence[int], room: int, longest: int = 6) -> list[int]:
    """Return what followed the last tokens where they were written before.

    Parameters
    ----------
    tokens : sequence of int
        Written so far.
    room : int
        Tokens at most.
    longest : int
        Tokens that are looked up first; then fewer.
    """
    for size in range(min(longest, len(tokens) - 1), 1, -1):
        tail = list(tokens[-size:])
        for start in range(len(tokens) - size - 1, -1, -1):
            if list(tokens[start : start + size]) == tail:
                return list(tokens[start + size : start + size + room])
    return []
