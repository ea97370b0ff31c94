"""Whether what a manifest says is of the kinds that manifests say.

A digest that holds tells nothing of that: whoever edits a manifest can write it anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Test = Callable[[Any], bool]
LONGEST, LONGEST_PATH = 255, 4096
"""Bytes of a name, and of a path with all of its folders."""
LARGEST = 2**63
"""Bytes that no file has."""


def misfit(table: Mapping[str, Any]) -> str:
    """Return the name of the first entry that cannot be what it says; nothing if all can.

    Parameters
    ----------
    table : mapping
        Of a manifest that was read, without its digest.
    """
    return next(
        (name for name, fits in FORM.items() if name in table and not fits(table[name])), ""
    )


def _text(value: Any) -> bool:
    """Say whether it is text that may be, or name, a file."""
    return isinstance(value, str) and "\0" not in value


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < LARGEST


def _name(value: Any) -> bool:
    """Say whether it names something beside the manifest, and nothing anywhere else."""
    return _text(value) and value not in ("", ".", "..") and "/" not in value


def _path(value: str) -> bool:
    """Say whether systems can have a file of that name."""
    parts = [part.encode("utf-8", "surrogatepass") for part in value.split("/")]
    return sum(map(len, parts)) + len(parts) <= LONGEST_PATH and max(map(len, parts)) <= LONGEST


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_text, value))


def _table(value: Any, fits: Test) -> bool:
    return isinstance(value, dict) and all(map(_text, value)) and all(map(fits, value.values()))


def _sums(value: Any) -> bool:
    kinds: Mapping[str, Test] = {"bytes": _whole, "sha256": _text}
    return _table(value, lambda one: _fits(one, kinds)) and all(map(_path, value))


def _inputs(value: Any) -> bool:
    return isinstance(value, list) and all(_fits(one, INPUT) for one in value)


def _models(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(one, dict)
        and _text(one.get("name") or "")
        and _table(one.get("files") or {}, _text)
        for one in value
    )


def _fits(value: Any, kinds: Mapping[str, Test]) -> bool:
    return isinstance(value, dict) and all(
        fits(value[name]) for name, fits in kinds.items() if name in value
    )


INPUT: Mapping[str, Test] = {
    **dict.fromkeys(("name", "kind", "sha256", "etag", "path"), _text),
    "bytes": lambda value: value is None or _whole(value),
    "sampled": lambda value: isinstance(value, bool),
}
FORM: Mapping[str, Test] = {
    "result": _name,
    "command": _texts,
    **dict.fromkeys(("call", "where"), _text),
    **dict.fromkeys(("secret", "complete"), lambda value: isinstance(value, bool)),
    "files": _sums,
    "inputs": _inputs,
    "models": _models,
    **dict.fromkeys(("options", "versions"), lambda value: _table(value, _text)),
}
"""Entry of a manifest -> whether a value can be its."""
