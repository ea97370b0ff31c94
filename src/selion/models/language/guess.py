"""What a mask's text will say next: rows mostly go on as the ones above did.

A guess is checked by the model in one pass, so that what is written never depends on it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from selion.errors import BadInput
from selion.models.language.rrle import OPEN, Codec, encode

HISTORY = 32
"""Rows from which it is seen whether an edge leans."""


class Run(NamedTuple):
    """A run of a row: its class, and where it ends."""

    label: int
    end: int


Row = tuple[Run, ...]


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
        self._run = re.compile(rf"({either}){mark}([0-9]*)")

    def __call__(self, text: str) -> str:
        """Return what may follow a text; empty where nothing can be guessed."""
        if OPEN.startswith(text):
            return OPEN[len(text) :]
        opened = text.find(OPEN)
        if opened < 0 or self.codec.boxes:
            return ""
        lines = text[opened + len(OPEN) :].split("\n")
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
                if not rows or not line[1:].isdigit():
                    return None
                rows += [rows[-1]] * int(line[1:])
                continue
            if self.codec.places:
                number = re.match(r"[0-9]*", line)[0]  # type: ignore[index]  # it always matches
                if not number or int(number) < len(rows) or (not rows and int(number)):
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
        above = self._further(rows)[:1] or list(rows[-1:])
        if not line:
            return [[]]
        if self.codec.repeat and line.startswith("="):
            return [[]]
        if self.codec.places:
            number = re.match(r"[0-9]*", line)[0]  # type: ignore[index]  # it always matches
            line = line[len(number) :]
            if not line or not number or int(number) < len(rows):
                return [[]]
            between = list(rows[-1:]) * (int(number) - len(rows))
        else:
            between = []
        known, _ = self._read(line)
        typed = self._typed(line, known)
        tries = []
        # the last run may be whole, or lack digits
        for count in dict.fromkeys((len(known), max(len(known) - 1, 0))):
            begun = known[:count]
            tries.append(self._completed(begun, above[0] if above else (), typed[count:]))
        return [[*between, row] for row in tries if row] or [[]]

    def _typed(self, line: str, known: Row) -> list[int]:
        """Return the classes of a line's runs, that of one without a number too."""
        labels = [self._ids[match[1]] for match in self._run.finditer(line)]
        return labels[: len(known) + 1]

    def _completed(self, begun: Row, above: Row, typed: Sequence[int]) -> Row:
        """Go on with a row as the one above does from there."""
        width = self.shape[1]
        row = list(begun)
        place = row[-1].end if row else 0
        if place >= width:
            return tuple(row) if place == width else ()
        ahead = [run for run in above if run.end > place]
        if row and ahead and ahead[0].label == row[-1].label:
            ahead = ahead[1:]  # this run ended before the one above it
        if typed:
            same = [k for k, run in enumerate(ahead) if run.label == typed[0]]
            end = ahead[same[0]].end if same else (ahead[0].end if ahead else width)
            ahead = [Run(typed[0], end), *(run for run in ahead if run.end > end)]
        for run in ahead:
            if row and row[-1].label == run.label:
                row[-1] = run
            else:
                row.append(run)
        if not row:
            return ()
        row[-1] = row[-1]._replace(end=width)
        return tuple(row)

    def _further(self, rows: Sequence[Row]) -> list[Row]:
        """Let the edges of the last rows go on as they lean."""
        left = self.shape[0] - len(rows)
        if not rows or left <= 0:
            return []
        labels = [run.label for run in rows[-1]]
        alike = 1
        while alike < min(HISTORY, len(rows)) and labels == [r.label for r in rows[-alike - 1]]:
            alike += 1
        ends = np.array([[run.end for run in row] for row in rows[len(rows) - alike :]])
        return self._leaning(labels, ends, left)

    def _leaning(self, labels: Sequence[int], ends: np.ndarray, left: int) -> list[Row]:
        """Return ``left`` rows below (row, edge) ends."""
        count = len(ends)
        rows = np.arange(count) - (count - 1) / 2
        slope = rows @ ends / max(rows @ rows, 1.0)
        below = (count + 1) / 2 + np.arange(left)[:, None]
        fitted = np.rint(ends.mean(0) + slope * below).astype(int)
        fitted[:, -1] = self.shape[1]
        found: list[Row] = []
        last = tuple(Run(k, int(end)) for k, end in zip(labels, ends[-1], strict=True))
        for row in fitted:
            if row[0] > 0 and (np.diff(row) > 0).all():
                last = tuple(Run(k, int(end)) for k, end in zip(labels, row, strict=True))
            found.append(last)
        return found

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
