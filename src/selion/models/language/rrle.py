r"""Masks as text, row by row, and back: run-length codecs with a decoder that can read anything.

::

    rrle           <seg>others *7| field *9\n field *16\n</seg>      Text4Seg and MAgSeg, to the
                   letter
    rrle-compact   <seg>o7f9\nf16\n</seg>                            one letter for each class
    rrle-delta     <seg>o7f9\nf16\n=3\n</seg>                       and "=3": the row above three
                   times more
    rrle-places    <seg>0o7f\n1f\n</seg>                            only rows that differ from the
                   one above: the row's number, then where each run ends, the last one at the edge
    boxes          <seg>f0,7,2x9\nx9\n=1\n</seg>                 each object's box, and its mask in
                   there (:mod:`selion.models.language.boxes`)

The first three are one form with other separators (:class:`Codec`).  The fourth says the same
with places instead of lengths: a model need not add up what it wrote to know where it is.
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from selion.classes import IGNORE
from selion.errors import BadInput, UnknownName
from selion.models.language.boxes import blank_page, read_boxes, spell_boxes

OPEN, CLOSE = "<seg>", "</seg>"
"""Ordinary text around a mask, no special tokens."""
_DIGITS = 6
"""Longer counts than this many digits are taken as "more than any row"."""
_PLACED = re.compile(r"\s*([A-Za-z])[ \t]*([0-9]*)\s*[|,;]?")
_NUMBERED = re.compile(r"([0-9]+)\s*:?")
_LETTERED = re.compile(r"\s*([A-Za-z])\s*([0-9]+)\s*[|,;]?\s*")
_NAMED = re.compile(r"\s*+([^*|\n]*[^*|\s])\s*+\*\s*([0-9]+)\s*(?:[|,;]|$)", re.ASCII)
_REPEAT = re.compile(r"=\s*([0-9]+)\s*")


@dataclass(frozen=True, slots=True)
class Codec:
    """How a mask is spelled."""

    name: str
    mark: str
    """Between a label and its count."""
    join: str
    """Between the runs of a row."""
    indent: str
    """Before each row but the first."""
    letters: bool
    """Whether a class is written as one letter instead of its name."""
    repeat: bool
    """Whether "=k" stands for the row above k times more."""
    places: bool = False
    """Whether numbers are places: that of the row, and where in it each run ends.  Rows that equal
    the one above are left out."""
    boxes: bool = False
    """Whether each object is said by itself: its box, and the rows of its mask in there."""

    @property
    def counts_rows(self) -> bool:
        """Whether what may come depends on how many rows there were."""
        return self.repeat or self.places or self.boxes

    def labels(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return how each class is spelled.

        Raises
        ------
        BadInput
            If a name holds what parts runs and rows, or there are more classes than letters.
        """
        if self.letters:
            return _letters(names)
        for name in names:
            collisions = [sign for sign in ("*", "|", "\n", "\r", OPEN, CLOSE) if sign in name]
            if collisions or not name.strip() or name != name.strip():
                why = (
                    f"holds {collisions[0]!r}, which parts the runs of a mask"
                    if collisions
                    else "is empty, or begins or ends with a space"
                )
                raise BadInput(
                    f"The class name {name!r} {why}: rename the class, or take the codec "
                    "rrle-compact, which writes letters."
                )
        return tuple(names)


def _letters(names: Sequence[str]) -> tuple[str, ...]:
    """Give each class its first letter that is still free, or any free one."""
    found: list[str] = []
    for name in names:
        wishes = [c for c in name.lower() if c in string.ascii_lowercase] + list(
            string.ascii_letters
        )
        free = next((letter for letter in wishes if letter not in found), None)
        if free is None:
            raise BadInput(
                f"{len(names)} classes were given, but there are letters for "
                f"{len(string.ascii_letters)} only: take the codec rrle, which writes names."
            )
        found.append(free)
    return tuple(found)


CODECS: Mapping[str, Codec] = {
    codec.name: codec
    for codec in (
        Codec("rrle", " *", "| ", " ", letters=False, repeat=False),
        Codec("rrle-compact", "", "", "", letters=True, repeat=False),
        Codec("rrle-delta", "", "", "", letters=True, repeat=True),
        Codec("rrle-places", "", "", "", letters=True, repeat=False, places=True),
        Codec("boxes", "", "", "", letters=True, repeat=True, boxes=True),
    )
}
"""By name."""


def find_codec(name: str) -> Codec:
    """Return a codec by its name.

    Raises
    ------
    UnknownName
        If there is none of that name.
    """
    if name not in CODECS:
        raise UnknownName.among("codec", name, CODECS)
    return CODECS[name]


def encode(mask: np.ndarray, names: Sequence[str], codec: Codec = CODECS["rrle"]) -> str:
    r"""Spell a mask.

    Parameters
    ----------
    mask : (y, x) integer ndarray
        Class ids, each an index of ``names``.
    names : sequence of str
    codec : Codec

    Raises
    ------
    BadInput
        If the mask is empty, holds another id (255 too: what is not known cannot be spelled), or
        the names collide with the codec.

    Notes
    -----
    Text4Seg (arXiv 2410.09855), row-wise run-length encoding; MAgSeg (arXiv 2605.16179), appendix
    A.

    Examples
    --------
    >>> encode(np.array([[0, 0, 1], [1, 1, 1]]), ("others", "field"))
    '<seg>others *2| field *1\n field *3\n</seg>'
    """
    labels = codec.labels(names)
    if mask.ndim != 2 or not mask.size:
        raise BadInput(
            f"A mask of shape {mask.shape} was given; wanted is (y, x) with at least one pixel."
        )
    if mask.min() < 0 or mask.max() >= len(labels):
        wrong = int(mask.min() if mask.min() < 0 else mask.max())
        raise BadInput(
            f"The mask holds the id {wrong}; wanted are 0 to {len(labels) - 1}: what is not known "
            f"({IGNORE}) cannot be spelled."
        )
    if codec.places or codec.boxes:
        spelled = spell_boxes(mask, labels) if codec.boxes else _placed_lines(mask, labels)
        return OPEN + "".join(f"{line}\n" for line in spelled) + CLOSE
    rows = [_row(row, labels, codec) for row in mask]
    lines = _folded(rows) if codec.repeat else rows
    body = f"\n{codec.indent}".join(lines)
    return f"{OPEN}{body}\n{CLOSE}"


def _row(row: np.ndarray, labels: Sequence[str], codec: Codec) -> str:
    starts = np.flatnonzero(np.concatenate([[True], row[1:] != row[:-1]]))
    counts = np.diff(np.append(starts, len(row)))
    return codec.join.join(
        f"{labels[k]}{codec.mark}{n}"
        for k, n in zip(row[starts].tolist(), counts.tolist(), strict=True)
    )


def _placed_lines(mask: np.ndarray, labels: Sequence[str]) -> list[str]:
    """Spell the rows that differ from the one above: their number, and where each run ends."""
    changed = np.flatnonzero(np.concatenate([[True], (mask[1:] != mask[:-1]).any(1)]))
    lines = []
    for number in changed.tolist():
        row = mask[number]
        ends = [*(np.flatnonzero(row[1:] != row[:-1]) + 1).tolist(), ""]
        starts = [0, *ends[:-1]]
        runs = (f"{labels[row[a]]}{b}" for a, b in zip(starts, ends, strict=True))
        lines.append(f"{number}{''.join(runs)}")
    return lines


def _folded(rows: Sequence[str]) -> list[str]:
    """Replace rows that equal the one above by "=k"."""
    lines: list[str] = []
    last, count = None, 0
    for row in [*rows, None]:
        if row is not None and row == last:
            count += 1
            continue
        if count:
            lines.append(f"={count}")
        if row is not None:
            lines.append(row)
        last, count = row, 0
    return lines


@dataclass(frozen=True, slots=True)
class Misread:
    """What was wrong with a text; all 0 and False: nothing."""

    rows_missing: int = 0
    """Rows of which nothing was said."""
    rows_short: int = 0
    """Rows that end early, or cannot be read from some place on."""
    rows_long: int = 0
    """Rows that are longer than the mask is wide; what is beyond was dropped."""
    rows_extra: int = 0
    """Rows below the mask, dropped; and repetitions where there is no row above."""
    unknown: int = 0
    """Runs of no known class."""
    truncated: bool = False
    """The text has no end: the model was cut off, or wrote no mask at all."""

    @property
    def clean(self) -> bool:
        """Whether there was nothing wrong."""
        return self == Misread()

    def __str__(self) -> str:
        """One sentence."""
        parts = [
            (self.truncated, "the text was cut off before its end"),
            (self.rows_missing, f"{self.rows_missing} rows are missing"),
            (self.rows_short, f"{self.rows_short} rows are too short or not readable"),
            (self.rows_long, f"{self.rows_long} rows are too long"),
            (self.rows_extra, f"{self.rows_extra} rows are too many"),
            (self.unknown, f"{self.unknown} runs are of no known class"),
        ]
        return "; ".join(text for wrong, text in parts if wrong) or "nothing was wrong"


def decode(
    text: str, shape: tuple[int, int], names: Sequence[str], codec: Codec = CODECS["rrle"]
) -> tuple[np.ndarray, Misread]:
    """Read a mask out of any text; it never raises for what the text holds.

    Parameters
    ----------
    text : str
        Whatever a model wrote: words before the mask, other spaces (``*8``, ``* 8``, ``|``, ``| ``)
        and capitals are taken as they are meant.
    shape : (y, x)
        Size of the mask.
    names : sequence of str
    codec : Codec

    Returns
    -------
    mask : (y, x) uint8 ndarray
        Class ids; 255 where the text cannot be read.  Each row stands for itself: a fault costs the
        rest of its row, not what is below.
    misread : Misread
        What was wrong.
    """
    mask, _, misread = decode_labels(text, shape, names, codec)
    return mask, misread


def decode_labels(
    text: str, shape: tuple[int, int], names: Sequence[str], codec: Codec = CODECS["rrle"]
) -> tuple[np.ndarray, np.ndarray, Misread]:
    """Read a mask out of any text, and where in the text the label of each cell stands.

    Parameters and the rest as :func:`decode`.

    Returns
    -------
    mask : (y, x) uint8 ndarray
    places : (y, x) int32 ndarray
        Number of the character at which the label begins that a cell has its class from; -1 where
        none says it.
    misread : Misread
    """
    page, misread = _decoded(text, shape, _meanings(codec.labels(names), codec), codec)
    return page[0].astype(np.uint8), page[1], misread


def _decoded(
    text: str, shape: tuple[int, int], labels: Mapping[str, int], codec: Codec
) -> tuple[np.ndarray, Misread]:
    """Return the (2, y, x) int32 page of a text, classes and places of their labels."""
    lines, truncated = _lines(text, shape[0] * (shape[1] if codec.boxes else 1))
    if codec.boxes:
        page, faults = read_boxes(lines, shape, labels, truncated=truncated)
        return page, Misread(**faults, truncated=truncated)
    if codec.places:
        return _read_places(lines, shape, labels, truncated=truncated)
    page = blank_page(shape, IGNORE)
    found = Misread(truncated=truncated)
    row = 0
    for number, (line, start) in enumerate(lines):
        times = _times(line) if codec.repeat else None
        if row >= shape[0]:
            found = replace(found, rows_extra=found.rows_extra + 1)
            continue
        if times is not None:
            fitting = min(times, shape[0] - row) if row else 0
            page[:, row : row + fitting] = page[:, row - 1 : row]
            row += fitting
            found = replace(found, rows_extra=found.rows_extra + times - fitting)
            continue
        cut = truncated and number == len(lines) - 1
        found = _read_row(line, start, page[:, row], labels, codec, found, cut=cut)
        row += 1
    return page, replace(found, rows_missing=shape[0] - row)


def _meanings(labels: Sequence[str], codec: Codec) -> dict[str, int]:
    """Return the class that each spelling means.

    The exact one before one with other capitals, and that before its plural or singular, because
    classes may differ in these alone.
    """
    exact = {label: k for k, label in enumerate(labels)}
    if codec.letters:
        return {label.swapcase(): k for label, k in exact.items()} | exact
    plain = {label.casefold(): k for label, k in exact.items()}
    counted = {name[:-1] if name.endswith("s") else f"{name}s": k for name, k in plain.items()}
    return counted | plain | exact


def _lines(text: str, rows: int) -> tuple[list[tuple[str, int]], bool]:
    """Return the lines of a mask that hold something, and where in the text each begins.

    They are a few more than rows at most; with them comes whether the text has no end.
    """
    before, opened, body = text.partition(OPEN)
    body, closed, _ = (body if opened else text).partition(CLOSE)
    start = len(before) + len(OPEN) if opened else 0
    whole = []
    for line in body.split("\n", 2 * rows + 8):
        if line.strip():
            whole.append((line.strip(), start + len(line) - len(line.lstrip())))
        start += len(line) + 1
    return whole[: 2 * rows + 8], not closed


def _times(line: str) -> int | None:
    """Return how often a line repeats the row above, or None if it is a row."""
    match = _REPEAT.fullmatch(line)
    return _count(match[1]) if match else None


def _count(digits: str) -> int:
    return int(digits) if len(digits) <= _DIGITS else 10**_DIGITS


def _read_places(
    lines: Sequence[tuple[str, int]],
    shape: tuple[int, int],
    labels: Mapping[str, int],
    *,
    truncated: bool,
) -> tuple[np.ndarray, Misread]:
    """Read rows that are said by their number; each stands for those below up to the next one.

    What has no end speaks of its last row alone.
    """
    page, found, last = blank_page(shape, IGNORE), Misread(truncated=truncated), -1
    nothing = blank_page((1, 1), IGNORE)
    missing = 0
    for k, (line, start) in enumerate(lines):
        number = _NUMBERED.match(line)
        row = _count(number[1]) if number else shape[0]
        if number is None:
            found = replace(found, rows_short=found.rows_short + 1)
            continue
        if row <= last or row >= shape[0]:
            found = replace(found, rows_extra=found.rows_extra + 1)
            continue
        missing += row if last < 0 else 0
        cut = truncated and k == len(lines) - 1
        end = number.end()
        found = _read_placed(line[end:], start + end, page[:, row], labels, found, cut=cut)
        page[:, row + 1 :] = nothing if cut else page[:, row : row + 1]
        last = row
    if truncated or last < 0:
        page[:, last + 1 :] = nothing
        missing += shape[0] - 1 - last
    return page, replace(found, rows_missing=missing)


def _read_placed(
    line: str,
    start: int,
    into: np.ndarray,
    labels: Mapping[str, int],
    found: Misread,
    *,
    cut: bool,
) -> Misread:
    """Write into a (2, x) row what a line says behind its number.

    ``cut``: the last run may lack digits, and is not believed.
    """
    place, end, width = 0, 0, into.shape[1]
    into[:] = [[IGNORE], [-1]]
    long = unknown = 0
    while place < width and (match := _PLACED.match(line, end)):
        end = match.end()
        after = line[end:].strip()
        if cut and not after:
            break
        if not match[2] and after:
            break  # a run without an end, and more behind it
        stop = _count(match[2]) if match[2] else width
        if stop <= place:
            break
        known = labels.get(match[1], IGNORE)
        unknown += known == IGNORE
        into[:, place:stop] = [[known], [start + match.start(1)]]
        long = long or stop > width
        place = stop
    long = long or (place >= width and bool(line[end:].strip()))
    return replace(
        found,
        rows_short=found.rows_short + (place < width),
        rows_long=found.rows_long + bool(long),
        unknown=found.unknown + unknown,
    )


def _read_row(
    line: str,
    start: int,
    into: np.ndarray,
    labels: Mapping[str, int],
    codec: Codec,
    found: Misread,
    *,
    cut: bool,
) -> Misread:
    """Write what a line says into a (2, x) row of the page.

    ``cut``: its last count may lack digits, and is believed only if it ends the row.
    """
    width = into.shape[1]
    runs, readable = _lettered(line, width) if codec.letters else _named(line, width)
    place, unknown = 0, 0
    for number, (label, count, said) in enumerate(runs):
        doubtful = cut and number == len(runs) - 1 and place + count != width
        if doubtful:
            break
        known = labels.get(label, labels.get(label if codec.letters else label.casefold(), IGNORE))
        unknown += known == IGNORE
        into[:, place : place + count] = [[known], [start + said]]
        place += count
    return replace(
        found,
        rows_short=found.rows_short + (place < width),
        rows_long=found.rows_long + (place > width or (place == width and not readable)),
        unknown=found.unknown + unknown,
    )


def _lettered(line: str, width: int) -> tuple[list[tuple[str, int, int]], bool]:
    """Split ``f12b4``; stop where it cannot be read, or the row is full."""
    runs: list[tuple[str, int, int]] = []
    place, end = 0, 0
    while end < len(line) and place <= width:
        match = _LETTERED.match(line, end)
        if not match:
            return runs, False
        runs.append((match[1], _count(match[2]), match.start(1)))
        place, end = place + runs[-1][1], match.end()
    return runs, True


def _named(line: str, width: int) -> tuple[list[tuple[str, int, int]], bool]:
    """Split ``field *12| tree *4``; stop where it cannot be read, or the row is full."""
    runs: list[tuple[str, int, int]] = []
    place, end = 0, 0
    while end < len(line) and place <= width:
        match = _NAMED.match(line, end)
        if not match:
            return runs, False
        runs.append((match[1], _count(match[2]), match.start(1)))
        place, end = place + runs[-1][1], match.end()
    return runs, True


def count_tokens(
    tokenizer: Any, masks: Sequence[np.ndarray], names: Sequence[str], codec: Codec
) -> list[int]:
    """Count the tokens of masks in the words of a model, special ones left out.

    Parameters
    ----------
    tokenizer
        Of the model that will write them.
    masks : sequence of (y, x) integer ndarray
        Class ids.
    names : sequence of str
    codec : Codec

    Raises
    ------
    BadInput
        As :func:`encode`.
    """
    texts = [encode(mask, names, codec) for mask in masks]
    return [len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]
