"""What a text of boxes and bricks will say next: the rows of an object go on as those above."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from selion.models.language.boxes import INSIDE, OUTSIDE
from selion.models.language.edges import Row, Run, changed, completed, further

_HEAD = re.compile("[A-Za-z]" + ",".join([r"([0-9]{1,6})"] * 3) + r"x([0-9]{1,6})")
_BRICK = re.compile(rf"([{INSIDE}{OUTSIDE}])([0-9]{{1,6}})")
_REPEAT = re.compile(r"=([0-9]{1,6})")
_BEGUN = re.compile(r"[A-Za-z]?[0-9]*(,[0-9]*){0,2}")


class OpenBox(NamedTuple):
    """An object that is being said."""

    height: int
    width: int
    rows: list[Row]
    """Said so far."""
    repeated: bool
    """Whether the last line said the row above it once more: then the next row is another one."""

    @property
    def left(self) -> int:
        """Rows that are not said yet."""
        return self.height - len(self.rows)


def guess_boxes(lines: Sequence[str], labels: Sequence[str], shape: tuple[int, int]) -> str:
    """Return what may follow the lines of an answer, the last of which is not whole; or nothing."""
    box = _last_box(lines[:-1])
    if box is not None and (box.height > shape[0] or box.width > shape[1]):
        return ""
    line = lines[-1].strip()
    if box is not None and box.left > 0:
        return _guess_rows(box, line)
    return _guess_head(lines[:-1], line, labels)


def _last_box(lines: Sequence[str]) -> OpenBox | None:
    """Return the last object of whole lines; None if there is none, or it cannot be read."""
    first = next((k for k in range(len(lines) - 1, -1, -1) if _HEAD.fullmatch(lines[k])), None)
    if first is None:
        return None
    height, width = map(int, _HEAD.fullmatch(lines[first]).group(3, 4))  # type: ignore[union-attr]  # it was found by it
    rows: list[Row] = []
    repeated = False
    for line in lines[first + 1 :]:
        again = _REPEAT.fullmatch(line)
        repeated = again is not None
        if again and rows:
            rows += rows[-1:] * min(int(again[1]), max(height - len(rows), 0))
            continue
        row, rest = _read(line)
        if rest or not row or row[-1].end != width:
            return None
        rows.append(row)
    return OpenBox(height, width, rows, repeated)


def _read(line: str) -> tuple[Row, str]:
    """Return the runs of bricks, and what is behind them."""
    row: list[Run] = []
    place = end = 0
    while match := _BRICK.match(line, end):
        place, end = place + int(match[2]), match.end()
        row.append(Run(int(match[1] == INSIDE), place))
    return tuple(row), line[end:]


def _guess_rows(box: OpenBox, line: str) -> str:
    """Go on with the rows of an object."""
    if line.startswith("="):
        return _guess_count(box, line)
    if not line:
        return _spell(box.rows, _expected(box), repeated=box.repeated)
    known, rest = _read(line)
    typed = [int(rest[0] == INSIDE)] if rest[:1] in {INSIDE, OUTSIDE} else []
    above = _next_row(box) if box.rows else (Run(1, box.width),)
    # the last run may be whole, or lack digits
    for count in dict.fromkeys((len(known), max(len(known) - 1, 0))):
        doubted = [run.label for run in known[count : count + 1]]
        row = completed(known[:count], above, typed or doubted, box.width)
        below = OpenBox(box.height, box.width, [*box.rows, row], repeated=False)
        guessed = _bricks(row) + "\n" + _spell(below.rows, _expected(below), repeated=False)
        if row and guessed.startswith(line):
            return guessed[len(line) :]
    return ""


def _guess_count(box: OpenBox, line: str) -> str:
    """Say how often the last row comes again, and go on."""
    whole = _spell(box.rows, _expected(box), repeated=False)
    if whole.startswith(line):
        return whole[len(line) :]
    again = _REPEAT.fullmatch(line)
    times = int(again[1]) if again else 1
    rows = [*box.rows, *box.rows[-1:] * min(times, box.left)]
    below = OpenBox(box.height, box.width, rows, repeated=True)
    ending = "" if line[1:] else "1"
    return f"{ending}\n" + _spell(rows, _expected(below), repeated=True)


def _next_row(box: OpenBox) -> Row:
    """Return the row that is expected where it is said as a row of its own."""
    return changed(box.rows, box.width)


def _expected(box: OpenBox) -> list[Row]:
    """Return the rows that are expected below."""
    if not box.rows:
        return [(Run(1, box.width),)] * box.left
    if not box.repeated or box.left <= 0:
        return further(box.rows, box.left, box.width)
    row = changed(box.rows, box.width)
    return [row, *further([*box.rows, row], box.left - 1, box.width)] if row else []


def _spell(rows: Sequence[Row], expected: Sequence[Row], *, repeated: bool) -> str:
    """Spell expected rows as they follow others."""
    said = "" if repeated or not rows else _bricks(rows[-1])
    lines: list[str] = []
    for row, same in groupby(map(_bricks, expected)):
        count = len([*same])
        if not lines and row == said:
            lines.append(f"={count}")
        else:
            lines += [row, f"={count - 1}"] if count > 1 else [row]
    return "".join(f"{line}\n" for line in lines)


def _bricks(row: Row) -> str:
    starts = [0, *(run.end for run in row)]
    return "".join(
        f"{INSIDE if run.label else OUTSIDE}{run.end - start}"
        for run, start in zip(row, starts, strict=False)
    )


def _guess_head(lines: Sequence[str], line: str, labels: Sequence[str]) -> str:
    """Begin an object as the last one began, or say what parts the numbers of its box."""
    if not line:
        last = next((one for one in reversed(lines) if _HEAD.fullmatch(one)), None)
        return last.split(",")[0] if last else labels[-1]
    if _BEGUN.fullmatch(line) and line[-2:].isdigit() and len(line[1:]) > 1:
        return "x" if line.count(",") == 2 else ","  # behind row, column, height
    return ""
