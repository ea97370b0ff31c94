"""Patterns of file names.

``{split}/images/{key}.png`` finds files, and finds what belongs to them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from selion.errors import BadInput

_PART = re.compile(r"\{(\w+)(?::((?:[^{}]|\{\d[\d,]*\})+))?\}|\*")
"""A name in braces, perhaps with a regular expression (which may count, as in ``\\d{3}``), or a
star."""


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file that fits a pattern."""

    path: Path
    parts: Mapping[str, str]
    """What stood for each name."""


def _regex(pattern: str) -> re.Pattern[str]:
    text, end, seen = "", 0, set[str]()
    for match in _PART.finditer(pattern):
        text += re.escape(pattern[end : match.start()])
        name, inner = match[1], match[2]
        if name is None:
            text += "[^/]*"
        elif name in seen:
            text += f"(?P={name})"
        else:
            text += f"(?P<{name}>{inner or '[^/]+?'})"
            seen.add(name)
        end = match.end()
    try:
        return re.compile(text + re.escape(pattern[end:]))
    except re.error as error:
        raise BadInput(
            f"The pattern {pattern!r} cannot be understood ({error}): write parts as {{name}} or "
            "{name:regex}."
        ) from error


def find(root: Path, pattern: str) -> list[FoundFile]:
    """Find the files below ``root`` that fit, sorted by path.

    Raises
    ------
    BadInput
        If the pattern cannot be understood.
    """
    regex = _regex(pattern)
    crosses = any("/" in (match[2] or "").replace("[^/]", "") for match in _PART.finditer(pattern))
    depth = None if crosses else _PART.sub("x", pattern).count("/")
    start = _fixed(pattern)
    found = []
    for path in _walk(
        root / start, None if depth is None else depth - start.count("/") - (1 if start else 0)
    ):
        match = regex.fullmatch(path.relative_to(root).as_posix())
        if match is not None:
            found.append(
                FoundFile(
                    path,
                    {name: text for name, text in match.groupdict().items() if text is not None},
                )
            )
    return sorted(found, key=lambda f: f.path.relative_to(root).as_posix())


def _fixed(pattern: str) -> str:
    """Return the folders at the beginning of a pattern that are fixed."""
    first = _PART.search(pattern)
    head = pattern[: first.start()] if first else pattern
    return head.rpartition("/")[0]


def _walk(folder: Path, depth: int | None) -> Iterator[Path]:
    """Give the files of a folder, down to a depth.

    Hidden ones and those of our own unfinished outputs are not seen.
    """
    if not folder.is_dir():
        return
    with os.scandir(folder) as entries:
        names = sorted(
            (entry.name, entry.is_dir()) for entry in entries if not entry.name.startswith(".")
        )
    for name, is_folder in names:
        if is_folder and not name.endswith(".zarr"):
            if depth is None or depth > 0:
                yield from _walk(folder / name, None if depth is None else depth - 1)
        else:
            yield folder / name


def partner(root: Path, pattern: str, parts: Mapping[str, str]) -> Path | None:
    """Return the file that a pattern names when its parts are known.

    A star takes the first that is there.
    """
    filled = fill(pattern, parts)
    if "*" not in filled:
        path = root / filled
        return path if path.exists() else None
    folder, _, name = filled.rpartition("/")
    regex = re.compile(".*".join(re.escape(piece) for piece in name.split("*")))
    if not (root / folder).is_dir():
        return None
    return next(
        (path for path in sorted((root / folder).iterdir()) if regex.fullmatch(path.name)), None
    )


def fill(pattern: str, parts: Mapping[str, str]) -> str:
    """Put what is known into a pattern; names that are not known become stars."""
    return _PART.sub(lambda match: parts.get(match[1], "*") if match[1] else "*", pattern)
