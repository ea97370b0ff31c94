"""Texts of plain values that came from outside, read within bounds."""

from __future__ import annotations

import re
import tomllib
from typing import Any

DEEPEST = 50
"""Tables and lists within each other."""
LARGEST = 8 * 2**20
"""Characters of a text; the largest of ours has a few thousand."""
_PART = r"""(?>[A-Za-z0-9_-]+|'[^'\n]{0,2000}'|"(?:[^"\\\n]|\\.){0,2000}")"""
_LONG_KEY = re.compile(rf"(?<![\w\\-])(?:{_PART}[ \t]*\.[ \t]*){{{DEEPEST}}}")


def toml_table(text: str) -> dict[str, Any]:
    """Read TOML.

    Raises
    ------
    tomllib.TOMLDecodeError
        If it is none, is too large, or is nested more deeply than anything that is meant: Python's
        reader ends with its stack, and takes hours over a key of a million parts.
    """
    if len(text) > LARGEST:
        raise tomllib.TOMLDecodeError(f"{len(text):,} characters are too many")
    if _LONG_KEY.search(text):
        raise tomllib.TOMLDecodeError("a key has too many parts")
    try:
        table = tomllib.loads(text)
    except (RecursionError, ValueError) as error:  # also a number of too many digits
        raise tomllib.TOMLDecodeError(str(error) or "it is nested too deeply") from error
    waiting: list[tuple[Any, int]] = [(table, 0)]
    while waiting:
        held, depth = waiting.pop()
        if depth > DEEPEST:
            raise tomllib.TOMLDecodeError("it is nested too deeply")
        if isinstance(held, int) and abs(held) >= 2**63:
            raise tomllib.TOMLDecodeError("a number has more than 64 bits")
        inner = held.values() if isinstance(held, dict) else held if isinstance(held, list) else ()
        waiting += [(one, depth + 1) for one in inner]
    return table
