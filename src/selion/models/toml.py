"""Plain values to TOML text: the standard library reads TOML but does not write it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def to_toml(table: Mapping[str, object]) -> str:
    """Write a table so that ``tomllib.loads`` gives it back.

    Parameters
    ----------
    table : mapping
        Values may be str, bool, int, float, mappings, and lists or tuples of those.  None is left
        out, as TOML has none.  The order is kept, but plain values of a table come before its
        subtables, as TOML wants it.

    Raises
    ------
    TypeError
        If a value is of another type: a mistake of the caller, never of the user.

    Examples
    --------
    >>> print(to_toml({"name": "a", "files": {"model.onnx": "12"}}), end="")
    name = "a"
    <BLANKLINE>
    [files]
    "model.onnx" = "12"
    """
    return "\n".join(_lines(table, ())).lstrip("\n") + "\n"


def _lines(table: Mapping[str, object], path: tuple[str, ...]) -> Iterator[str]:
    for key, value in table.items():
        if value is not None and not isinstance(value, Mapping):
            yield f"{_key(key)} = {_value(value)}"
    for key, value in table.items():
        if isinstance(value, Mapping):
            inner = (*path, key)
            yield f"\n[{'.'.join(_key(part) for part in inner)}]"
            yield from _lines(value, inner)


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _text(key)


def _text(value: str) -> str:
    # JSON's escapes are TOML's, but JSON lets DEL stand as it is.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")


def _value(value: object) -> str:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):  # within a list, where a table of its own has no name
        return (
            "{ "
            f"{', '.join(f'{_key(key)} = {_value(item)}' for key, item in value.items() if item is not None)} }}"
        )
    if isinstance(value, list | tuple):
        return f"[{', '.join(_value(item) for item in value)}]"
    message = f"{type(value).__name__} has no TOML form."
    raise TypeError(message)
