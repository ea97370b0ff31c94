"""What a run has published, told apart from what others put in the same place.

A file that gets its final name keeps its inode, size and time of change, so the run that made it,
or one that goes on after it, knows it again, and knows when somebody else has changed it since.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selion.store.scratch import PREFIX

Identity = tuple[int, int, int]
"""Inode, bytes, and nanoseconds of the last change of a file."""


def identities(path: Path, *, hidden: bool = True) -> set[Identity]:
    """Return what a file, or the files below a folder, can be known by; links are not followed.

    What is being made in scratch folders is left out, and all hidden files too unless ``hidden``.

    Raises
    ------
    OSError
        As it comes.
    """
    files = [path]
    if path.is_dir() and not path.is_symlink():
        files = []
        for inner, folders, names in os.walk(path):
            skipped = PREFIX if hidden else "."
            folders[:] = [name for name in folders if not name.startswith(skipped)]
            files += [Path(inner, name) for name in names if hidden or not name.startswith(".")]
    found = (file.lstat() for file in files)
    return {(state.st_ino, state.st_size, state.st_mtime_ns) for state in found}


@dataclass
class Witness:
    """Who sees what a run publishes."""

    tell: Callable[[set[Identity], Path], None]
    """Called with what it is known by and its final name, before anything gets it."""
    known: set[Identity] = field(default_factory=set)
    """What this run, and the one that it goes on after, have published."""
    strict: bool = False
    """Whether what others put in place may not be replaced, forced or not."""
    models: list[tuple[Mapping[str, Any], Path | None]] = field(default_factory=list)
    """What decides the answers of the models that were loaded, and where they lie."""
    folders: set[Path] = field(default_factory=set)
    """Datasets that were opened."""


_present: list[Witness] = []


@contextmanager
def witnessed(witness: Witness) -> Iterator[None]:
    """Let a witness see what this process publishes within the block."""
    _present.append(witness)
    try:
        yield
    finally:
        _present.remove(witness)


def used_model(identity: Mapping[str, Any], folder: Path | None) -> None:
    """Say what decides the answers of a model that has been loaded, and where it lies."""
    for witness in _present:
        if (identity, folder) not in witness.models:
            witness.models.append((identity, folder))


def used_folder(folder: Path) -> None:
    """Say that a dataset has been opened."""
    for witness in _present:
        witness.folders.add(folder)


def told(made: Path, path: Path) -> None:
    """Say that a file or folder is about to get its final name, ``path``."""
    for witness in _present:
        found = identities(made)
        witness.tell(found, path.absolute())
        witness.known |= found


def may_replace(path: Path) -> bool:
    """Say whether what lies in a place was put there by this run, where a witness minds that."""
    return all(identities(path) <= witness.known for witness in _present if witness.strict)
