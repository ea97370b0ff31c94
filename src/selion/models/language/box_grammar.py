"""The grammar of masks as boxes and bricks, character by character."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from selion.models.language.boxes import INSIDE, OUTSIDE
from selion.models.language.numerals import may_become

if TYPE_CHECKING:
    from selion.models.language.grammar_state import GrammarState

HEAD, BRICK, AGAIN, DONE = "head", "brick", "again", "done"
"""The line of a box, a row in it, "=k", and the end."""
_BEHIND = (",", ",", "x", "\n")
"""What ends each number of a box."""


def step_box(
    state: GrammarState, char: str, labels: Sequence[str], shape: tuple[int, int], close: str
) -> GrammarState | None:
    """Return the state after one more character, or None if it may not come.

    In the line of a box ``rows`` is the first row that an object may begin in: objects come from
    the top.
    """
    if state.phase == HEAD:
        return _head(state, char, labels, shape, close)
    return _again(state, char) if state.phase == AGAIN else _brick(state, char)


def _head(
    state: GrammarState, char: str, labels: Sequence[str], shape: tuple[int, int], close: str
) -> GrammarState | None:
    if state.last < 0:
        if char == close[0]:
            return state._replace(literal=close[1:], phase=DONE)
        return state._replace(last=labels.index(char)) if char in labels[1:] else None
    least, bound = _limits(state, shape)
    if char in "0123456789":
        typed = state.typed + char
        fits = least == 0 if typed == "0" else may_become(typed, least, bound)
        return state._replace(typed=typed) if fits else None
    if not state.typed or int(state.typed) < least or char != _BEHIND[len(state.box)]:
        return None
    box = (*state.box, int(state.typed))
    if len(box) < len(_BEHIND):
        return state._replace(box=box, typed="")
    return state._replace(phase=BRICK, typed="", box=box, rows=box[2], cells=box[3], last=-1)


def _limits(state: GrammarState, shape: tuple[int, int]) -> tuple[int, int]:
    """Return the least value of a box's next number, and what it must be below."""
    number = len(state.box)
    if number < 2:
        return ((state.rows, shape[0]), (0, shape[1]))[number]
    return 1, shape[number - 2] - state.box[number - 2] + 1


def _brick(state: GrammarState, char: str) -> GrammarState | None:
    number = int(state.typed or 0)
    if state.last >= 0 and char in "0123456789":
        longer = number * 10 + int(char)
        return state._replace(typed=str(longer)) if 1 <= longer <= state.cells else None
    if state.last < 0 and char == "=" and state.above:
        return state._replace(phase=AGAIN, typed="")
    if number == state.cells:
        return _row_end(state, 1, above=True) if char == "\n" else None
    sign = (OUTSIDE + INSIDE).find(char)
    if sign < 0 or sign == state.last or (state.last >= 0 and not number):
        return None
    return state._replace(typed="", cells=state.cells - number, last=sign)


def _again(state: GrammarState, char: str) -> GrammarState | None:
    number = int(state.typed or 0)
    if char in "0123456789":
        longer = number * 10 + int(char)
        return state._replace(typed=str(longer)) if 1 <= longer <= state.rows else None
    return _row_end(state, number, above=False) if number and char == "\n" else None


def _row_end(state: GrammarState, rows: int, *, above: bool) -> GrammarState:
    left = state.rows - rows
    if left:
        return state._replace(
            phase=BRICK, typed="", rows=left, cells=state.box[3], last=-1, above=above
        )
    return state._replace(
        phase=HEAD, typed="", rows=state.box[0], cells=0, last=-1, above=False, box=()
    )
