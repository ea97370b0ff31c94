"""What a run has published, told apart from what others put in the same place.

A file that gets its final name keeps its inode, size and time of change, so the run that made it,
or one that goes on after it, knows it again, and knows when somebody else has changed it since.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selion.store.file_sum import FileSum, sum_file
from selion.store.inputs import WatchedInputs
from selion.store.scratch import PREFIX
from selion.store.urls import remote_scheme

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


@dataclass(frozen=True, slots=True)
class UsedScene:
    """A scene of an archive that was chosen."""

    bands: Mapping[str, str]
    """Band -> file, or address that is not signed."""
    said: Mapping[str, object]
    """What the catalogue said by which it is known again, where its files are on a server."""

    @property
    def near(self) -> dict[str, Path]:
        """Its files on this machine."""
        return {
            band: Path(place).expanduser().absolute()
            for band, place in sorted(self.bands.items())
            if remote_scheme(place) is None
        }


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
    scenes: dict[str, UsedScene] = field(default_factory=dict)
    """Scenes of an archive that were chosen, by name."""
    sent: dict[str, FileSum] = field(default_factory=dict)
    """What was sent to object stores, by address."""
    inputs: WatchedInputs | None = None
    """What is read, where it is looked at whether it stays as it is."""
    reads: set[Path] = field(default_factory=set)
    """Files and folders that are read, which nothing that is written may replace."""
    _process: int = field(default_factory=os.getpid)
    _spent: float = 0.0
    _since: float = field(default_factory=time.monotonic)

    def check_inputs(self, path: Path | None = None) -> None:
        """Look whether the inputs are what they were, before ``path`` gets its name.

        Small parts of a large result are many: no more than a twentieth of the time goes into it.

        Raises
        ------
        InputChanged
            If one is not.
        """
        if self.inputs is None or os.getpid() != self._process:
            return
        began = time.monotonic()
        if path is not None:
            self.inputs.drop(path)
            if self._spent > FREE + SHARE * (began - self._since):
                return
        self.inputs.check()
        self._spent += time.monotonic() - began


FREE, SHARE = 0.5, 0.05
"""Seconds, and part of the time, that looking at inputs may take between the start and the end."""
_present: list[Witness] = []
_within: ContextVar[bool] = ContextVar("witnessed", default=False)


@contextmanager
def witnessed(witness: Witness) -> Iterator[None]:
    """Let a witness see what this process publishes within the block."""
    _present.append(witness)
    before = _within.set(True)
    try:
        yield
    finally:
        _within.reset(before)
        _present.remove(witness)


def is_witnessed() -> bool:
    """Say whether whoever asks was itself called within such a block."""
    return _within.get()


def places_read() -> set[Path]:
    """Return the files and folders that what runs at present reads, as far as witnesses know."""
    return {path for witness in _present for path in witness.reads}


def used_model(identity: Mapping[str, Any], folder: Path | None) -> None:
    """Say what decides the answers of a model that has been loaded, and where it lies."""
    for witness in _present:
        if (identity, folder) not in witness.models:
            witness.models.append((identity, folder))


def used_folder(folder: Path) -> None:
    """Say that a dataset has been opened."""
    for witness in _present:
        witness.folders.add(folder)
        witness.reads.add(folder.absolute())
        if witness.inputs is not None:
            witness.inputs.add(folder)


def used_scene(name: str, scene: UsedScene) -> None:
    """Say that a scene of an archive was chosen."""
    for witness in _present:
        witness.scenes[name] = scene
        witness.reads.update(scene.near.values())
        if witness.inputs is not None:
            for path in scene.near.values():
                witness.inputs.add(path)


def was_sent(address: str, path: Path) -> None:
    """Say that a file is on an object store now; it is read for its sum if anybody wants that."""
    if _present:
        found = sum_file(path)
        for witness in _present:
            witness.sent[address] = found


def told(made: Path, path: Path) -> None:
    """Say that a file or folder is about to get its final name, ``path``."""
    for witness in _present:
        if not any(part.startswith(".") for part in path.parts[-2:]):
            witness.check_inputs(path)
        found = identities(made)
        witness.tell(found, path.absolute())
        witness.known |= found


def inputs_unchanged() -> None:
    """Look whether all that is read is what it was; see :meth:`Witness.check_inputs`."""
    for witness in _present:
        witness.check_inputs()


def may_replace(path: Path) -> bool:
    """Say whether what lies in a place was put there by this run, where a witness minds that."""
    return all(identities(path) <= witness.known for witness in _present if witness.strict)
