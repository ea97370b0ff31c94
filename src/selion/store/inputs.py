"""What a command reads, as it was when the command began, against what it is in the end.

A file is known by its bytes and its time of change, so one that is only touched counts as changed:
nobody could tell without reading all of it twice.  Of a folder the files count that were listed at
the start, and not what is added to it meanwhile; hidden files, logs that grow, what libraries
write beside the files that they read, programs and what the command prints are no inputs.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from selion.errors import InputChanged
from selion.store.quiet_changes import database_sum, has_log, printed_into

GROWING = (".jsonl", ".log")
"""Endings of files to which lines are added: they may become larger."""
NO_DATA = (
    *(".aux.xml", "-wal", "-shm", "-journal", ".tmp", ".part", ".lock", ".out", ".err", ".log"),
    *(".ipynb", ".py", ".pyc", ".sh", ".bat", ".ps1", ".qgz", ".qgs", "~"),
    *("thumbs.db", "desktop.ini"),
)
"""Endings of files in a folder that are no data: of libraries and logs, programs and projects that
are saved while they run, and what file managers keep."""
MOST = 50_000
"""Files of a folder that are looked at, the first ones by their names."""
SIDES = {".shp": (".dbf", ".shx", ".prj", ".cpg")}
"""Files that belong to one of another ending."""


@dataclass
class WatchedInputs:
    """Files and folders that a command reads; it looks at times and sizes only."""

    left_out: tuple[Path, ...] = ()
    """Files and folders that the command writes."""
    _seen: dict[Path, tuple[int, int]] = field(default_factory=dict)
    """Bytes, and nanoseconds of the last change, of each file."""
    _held: dict[Path, str] = field(default_factory=dict)
    """What databases hold whose file changes while that stays."""

    def __post_init__(self) -> None:
        self.left_out = tuple(map(_plain, self.left_out))

    def add(self, path: Path) -> None:
        """Look at a file, or at all in a folder; what is not there does not count."""
        # what is written into a folder behind a link is known by its own name
        path = path.resolve() if path.is_dir() else _plain(path)
        files = _below(path, self.left_out) if path.is_dir() else _with_others(path)
        for file in files:
            if file not in self._seen and not self._is_written(file):
                state = _state(file)
                if state is not None:
                    self._seen[file] = state
                    if has_log(file) and (held := database_sum(file)):
                        self._held[file] = held

    def drop(self, path: Path) -> None:
        """Forget a file or folder that the command itself replaces."""
        path = _plain(path)
        if path in self._seen:
            del self._seen[path]
        elif path.is_dir():
            path = path.resolve()
            for file in [one for one in self._seen if one.is_relative_to(path)]:
                del self._seen[file]

    def check(self) -> None:
        """Refuse to go on with what was read of files that were changed since.

        Raises
        ------
        InputChanged
            If one is another one now, or gone.
        """
        for file, before in self._seen.items():
            now = _state(file)
            if now == before:
                continue
            if now is None:
                if not os.path.lexists(file):
                    raise InputChanged.of(_said(file), "removed")
            elif file in self._held and database_sum(file) == self._held[file]:
                self._seen[file] = now
            elif not (file.suffix.lower() in GROWING and now[0] >= before[0]) and (
                file.resolve() not in printed_into()
            ):
                raise InputChanged.of(_said(file), "changed")

    def _is_written(self, file: Path) -> bool:
        return any(file == one or one in file.parents for one in self.left_out)


def _plain(path: Path) -> Path:
    """Return the one name of a place, though it may be a link."""
    return path.parent.resolve() / path.name if path.name not in ("", "..") else path.resolve()


def _said(file: Path) -> str:
    here = Path.cwd().resolve()
    return str(file.relative_to(here) if file.is_relative_to(here) else file)


def _state(file: Path) -> tuple[int, int] | None:
    try:
        about = file.stat()
    except OSError:  # a folder that is away for a moment is no other file
        return None
    return about.st_size, about.st_mtime_ns


def _with_others(path: Path) -> Iterator[Path]:
    """Yield a file and the files that it cannot be read without."""
    yield path
    yield from (path.with_suffix(one) for one in SIDES.get(path.suffix.lower(), ()))


def _below(folder: Path, left_out: tuple[Path, ...]) -> Iterator[Path]:
    count, said = 0, _said_into()
    for inner, folders, names in os.walk(folder):
        folders[:] = sorted(
            one for one in folders if one[0] != "." and Path(inner, one) not in left_out
        )
        for name in sorted(names):
            if name[0] == "." or name.lower().endswith(NO_DATA):
                continue
            place = Path(inner, name)
            if not said or _file_of(place) not in said:
                yield place
                count += 1
        if count >= MOST:
            return


def _said_into() -> set[tuple[int, int]]:
    """Return the files that this process prints into, if any: a shell may have been told so."""
    found = set()
    for number in (1, 2):
        with contextlib.suppress(OSError):
            about = os.fstat(number)
            if stat.S_ISREG(about.st_mode):
                found.add((about.st_dev, about.st_ino))
    return found


def _file_of(path: Path) -> tuple[int, int] | None:
    with contextlib.suppress(OSError):
        about = path.stat()
        return about.st_dev, about.st_ino
    return None
