"""Plain values to TOML text, for cards and recipes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tomli_w


def to_toml(table: Mapping[str, object]) -> str:
    """Write a table so that ``tomllib.loads`` gives it back.

    Parameters
    ----------
    table : mapping
        Values may be str, bool, int, float, mappings, and lists or tuples of those.  None is left
        out, as TOML has none.

    Raises
    ------
    TypeError
        If a value is of another type: a mistake of the caller, never of the user.

    Examples
    --------
    >>> print(to_toml({"name": "a", "gsd": None, "files": {"model.onnx": "12"}}), end="")
    name = "a"
    <BLANKLINE>
    [files]
    "model.onnx" = "12"
    """
    return tomli_w.dumps(_without_none(table))


def _without_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_without_none(item) for item in value]
    return value
