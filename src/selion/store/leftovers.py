"""What runs that were killed have left behind, found by what it is and never by its name alone."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from selion.store.lock import seized
from selion.store.scratch import is_scratch, lock_of, removed

NOTE = ".begun"
"""Ending of the hidden note of a command that has begun to write ``NAME``: ``.NAME.begun``."""
PARTIAL = ".part"
"""Ending of the hidden file of what has arrived of a download."""
WORKS = (".selion", ".selion-merge", ".selion-change")
"""Endings of hidden folders that hold finished parts of a result."""
JOB_LEASE = ".selion-job.lease"
"""In the folder of a job of a plan: who holds its lock is at it."""
LEASES = (JOB_LEASE, ".journal.lease")
"""Names of hidden files, with nothing in them, by which a run keeps others away."""
KINDS = {
    "scratch": "a half-written output",
    "note": "the note of a command that was killed",
    "download": "what has arrived of a download",
    "manifest": "the manifest of a result that is gone",
    "lease": "what kept others away from the work of a run that was killed",
    "work": "finished parts, from which the same command goes on",
}
"""Kinds of leftovers, and what they are."""
OLD = 3600.0
"""Seconds after which finished parts beside which there is no note are nobody's."""
_KEY = re.compile(r"[0-9a-f]{64}")
_IDENTITY = re.compile(r"\d+ \d+ \d+")
_DOWNLOAD = re.compile(rf"\.[0-9a-f]{{12}}-.+{re.escape(PARTIAL)}(\.version)?")


@dataclass(frozen=True)
class Leftover:
    """Something that a run has left."""

    kind: str
    """One of :data:`KINDS`."""
    path: Path
    size: int
    """Bytes."""

    def remove(self) -> bool:
        """Remove it unless somebody has begun to use it; say whether it is gone.

        A scratch folder first gives back what was moved aside.

        Raises
        ------
        OSError
            As it comes.
        """
        if self.kind == "scratch":
            return removed(self.path)
        with _free(self.path, self.kind) as free:
            if free and self.kind == "work":
                shutil.rmtree(self.path)
            elif free:
                self.path.unlink(missing_ok=True)
            return free


def find_leftovers(folder: Path) -> Iterator[Leftover]:
    """Yield what nobody uses any more in a folder and all folders below it.

    Links are not followed.  Where the platform has no file locks nothing is known to be free, and
    nothing is found.

    Parameters
    ----------
    folder : Path

    Yields
    ------
    Leftover
        In the order of their names.
    """
    for inner, folders, names in os.walk(folder):
        folders.sort()
        for name in list(folders):
            kind = _kind_of_folder(Path(inner, name))
            if kind:
                folders.remove(name)
                yield from _found(Path(inner, name), kind)
        for name in sorted(names):
            kind = _kind_of_file(Path(inner, name))
            if kind:
                yield from _found(Path(inner, name), kind)


def _found(path: Path, kind: str) -> Iterator[Leftover]:
    with _free(path, kind) as free:
        if free:
            yield Leftover(kind, path, sum(one.lstat().st_size for one in _files(path)))


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else [one for one in path.rglob("*") if not one.is_dir()]


@contextmanager
def _free(path: Path, kind: str) -> Iterator[bool]:
    """Say whether nobody uses something, and let nobody begin to within the block."""
    lock = {
        "scratch": lambda: lock_of(path),
        "note": lambda: path,
        "lease": lambda: path,
        "download": lambda: path.with_name(f"{path.name.partition(PARTIAL)[0]}.lock"),
        "manifest": lambda: path.with_name(f".{path.name.rsplit('.', 2)[0]}{NOTE}"),
        "work": lambda: path.with_name(f"{path.name.rpartition('.')[0]}{NOTE}"),
    }[kind]()
    if lock is not None and lock.exists():
        with seized(lock) as free:
            yield free
    elif kind == "work":
        changes = [one.lstat().st_mtime for one in (path, *_files(path))]
        yield time.time() - max(changes) > OLD
    else:
        yield True


def _kind_of_folder(path: Path) -> str:
    if is_scratch(path):
        return "scratch"
    hidden = path.name.startswith(".") and path.name.endswith(WORKS)
    return "work" if hidden and path.name not in WORKS and not path.is_symlink() else ""


def _kind_of_file(path: Path) -> str:
    if path.is_symlink():
        return ""
    if _DOWNLOAD.fullmatch(path.name):
        return "download"
    if path.name in LEASES:
        return "" if path.stat().st_size else "lease"
    if _is_orphan(path):
        return "manifest"
    return "note" if path.name.startswith(".") and path.name.endswith(NOTE) and _noted(path) else ""


def _is_orphan(path: Path) -> bool:
    from selion.store.manifest import is_orphan

    return is_orphan(path)


def _noted(path: Path) -> bool:
    """Say whether a file is a note in all of its lines but the last, which may be cut."""
    try:
        key, *lines = path.read_text("utf-8").splitlines() or [""]
    except (OSError, ValueError):
        return False
    return bool(_KEY.fullmatch(key)) and all(map(_known, lines[:-1]))


def _known(line: str) -> bool:
    try:
        return bool(_IDENTITY.fullmatch(line)) or isinstance(json.loads(line), str)
    except (ValueError, RecursionError):
        return False
