"""Where an edition of a mosaic lies: a folder, or a prefix on an object store.

Both hold the same files with the same bytes; what only one may do at a time is done by whoever has
the turn of it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from selion import store
from selion.errors import BadInput, OutputFailed, UnreadableFile
from selion.store.far_lease import FarLease, far_busy, far_leased
from selion.store.lock import leased

LOCKS = ".locks"


class MosaicShelf(Protocol):
    """Files by their names, with "/" between folders."""

    @property
    def pace(self) -> int:
        """How many times longer than on a disk one waits before one looks again."""
        ...

    def __str__(self) -> str: ...

    def place(self, name: str) -> Path | str:
        """Return where a file lies, for whoever reads rasters."""
        ...

    def has(self, name: str) -> bool:
        """Say whether a file is there."""
        ...

    def read(self, name: str) -> bytes | None:
        """Return what a file holds; None if there is none."""
        ...

    def write(self, name: str, content: bytes) -> None:
        """Write a file, whole or not at all."""
        ...

    def names(self, under: str = "") -> list[str]:
        """Return the names of the files in a folder, not of those below, in order."""
        ...

    def tree(self, under: str) -> list[str]:
        """Return the names of the files in a folder and below, in order."""
        ...

    def move(self, name: str, to: str) -> None:
        """Give a file another name."""
        ...

    @contextmanager
    def desk(self, needs: Sequence[str] = ()) -> Iterator[Path]:
        """Lend a folder of this machine to write files into, in which some of them lie.

        What is new there when the block ends well is on the shelf, in the order of writing.
        """
        ...

    @contextmanager
    def turn(self, name: str) -> Iterator[bool]:
        """Try to be the only one who makes something; say whether that is so."""
        ...

    def busy(self, name: str) -> bool:
        """Say whether somebody makes something just now."""
        ...


@dataclass(frozen=True)
class FolderShelf:
    """A folder that all runs see; see :class:`MosaicShelf`."""

    folder: Path

    @property
    def pace(self) -> int:
        """1: a look costs nothing."""
        return 1

    def __str__(self) -> str:
        return str(self.folder)

    def place(self, name: str) -> Path:
        """Return where a file lies."""
        return self.folder / name

    def has(self, name: str) -> bool:
        """Say whether a file is there."""
        return (self.folder / name).is_file()

    def read(self, name: str) -> bytes | None:
        """Return what a file holds; None if there is none.

        Raises
        ------
        UnreadableFile
            If it cannot be read.
        """
        try:
            return (self.folder / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UnreadableFile(
                f"{self.folder / name} of a mosaic cannot be read ({error}): move it away, and it "
                "is made again."
            ) from error

    def write(self, name: str, content: bytes) -> None:
        """Write a file, and the folder that it lies in; never half of it.

        Raises
        ------
        OutputFailed
            If it cannot be written.
        """
        path = self.folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputFailed(
                f"The mosaic's folder {path.parent} cannot be made ({error.strerror}): give one "
                "that can be written."
            ) from error
        store.write_text(path, content.decode(), force=True)

    def names(self, under: str = "") -> list[str]:
        """Return the names of the files in a folder."""
        found = (self.folder / under).glob("*")
        return sorted(path.relative_to(self.folder).as_posix() for path in found if path.is_file())

    def tree(self, under: str) -> list[str]:
        """Return the names of the files in a folder and below."""
        found = (self.folder / under).rglob("*")
        return sorted(path.relative_to(self.folder).as_posix() for path in found if path.is_file())

    def move(self, name: str, to: str) -> None:
        """Give a file another name."""
        (self.folder / to).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).rename(self.folder / to)

    @contextmanager
    def desk(self, needs: Sequence[str] = ()) -> Iterator[Path]:
        """Lend the folder itself, in which what is ``needs`` lies."""
        del needs
        yield self.folder

    @contextmanager
    def turn(self, name: str) -> Iterator[bool]:
        """Hold the lock of a name, if nobody else does; a process that dies gives it back.

        Raises
        ------
        OutputFailed
            If the folder cannot be written.
        """
        path = self.folder / LOCKS / f"{name}.lock"
        with ExitStack() as held:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                free = held.enter_context(leased(path))
            except OSError as error:
                raise OutputFailed(
                    f"The mosaic {self.folder} cannot be written ({error.strerror}): give a folder "
                    "that can."
                ) from error
            try:
                yield free
            finally:
                if free:
                    path.unlink(missing_ok=True)

    def busy(self, name: str) -> bool:
        """Say whether another run is making something just now."""
        path = self.folder / LOCKS / f"{name}.lock"
        if not path.is_file():
            return False
        with leased(path) as free:
            return not free


@dataclass(frozen=True)
class StoreShelf:
    """A prefix on an object store, for machines that share no disk; see :class:`MosaicShelf`."""

    url: str
    _held: list[FarLease] = field(default_factory=list, compare=False, repr=False)
    """Leases of the turns that are held."""

    def __getstate__(self) -> dict[str, object]:
        return {"url": self.url, "_held": []}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)

    def __str__(self) -> str:
        return self.url

    @property
    def pace(self) -> int:
        """10: each look is a request."""
        return 10

    @property
    def _folder(self) -> store.ObjectFolder:
        return store.ObjectFolder(self.url)

    def place(self, name: str) -> str:
        """Return the address of a file."""
        return f"{self.url}/{name}"

    def has(self, name: str) -> bool:
        """Say whether a file is there; FetchFailed if the store does not answer."""
        return self._folder.has(name)

    def read(self, name: str) -> bytes | None:
        """Return what a file holds; None if there is none; FetchFailed if nobody answers."""
        return self._folder.get(name)

    def write(self, name: str, content: bytes) -> None:
        """Put a file there; OutputFailed if the store does not take it."""
        self._folder.put(name, content, replace=True)

    def names(self, under: str = "") -> list[str]:
        """Return the names of the files in a folder."""
        place = f"{self.url}/{under}".rstrip("/")
        found = [name for name in store.ObjectFolder(place).names() if "/" not in name]
        return sorted(f"{under}/{name}" if under else name for name in found)

    def tree(self, under: str) -> list[str]:
        """Return the names of the files in a folder and below."""
        names = store.ObjectFolder(f"{self.url}/{under}").names()
        return sorted(f"{under}/{name}" for name in names)

    def move(self, name: str, to: str) -> None:
        """Give a file another name: it is copied by the store, then deleted."""
        self._folder.copy(name, to)
        self._folder.delete(name)

    @contextmanager
    def desk(self, needs: Sequence[str] = ()) -> Iterator[Path]:
        """Lend a passing folder with copies of some files; what is new in it is sent.

        Raises
        ------
        OutputFailed
            If another run has taken over, or the store does not take it.
        """
        with tempfile.TemporaryDirectory(prefix="selion-") as passing:
            folder = Path(passing)
            for name in needs:
                content = self.read(name)
                if content is None:
                    raise UnreadableFile(
                        f"{self.place(name)} vanished while it was in use: run the same command "
                        "again."
                    )
                (folder / name).write_bytes(content)
            yield folder
            made = [
                path
                for path in folder.rglob("*")
                if path.is_file() and path.relative_to(folder).as_posix() not in needs
            ]
            for lease in tuple(self._held):
                lease.check()
            for path in sorted(made, key=lambda path: path.stat().st_mtime_ns):
                self._folder.upload(path, path.relative_to(folder).as_posix(), force=True)

    @contextmanager
    def turn(self, name: str) -> Iterator[bool]:
        """Hold the lease of a name, if nobody else does; of who dies it ends by itself."""
        if self.busy(name):
            yield False
            return
        with ExitStack() as held:
            try:
                lease = held.enter_context(far_leased(store.ObjectFolder(self._locks), name))
            except BadInput:  # somebody has it
                yield False
                return
            self._held.append(lease)
            held.callback(self._held.remove, lease)
            yield True

    @property
    def _locks(self) -> str:
        return f"{self.url}/{LOCKS}"

    def busy(self, name: str) -> bool:
        """Say whether another run is making something just now."""
        return far_busy(store.ObjectFolder(self._locks), name)


def shelf_of(place: Path | str) -> MosaicShelf:
    """Return the shelf of an edition: a folder's, or an address's."""
    return FolderShelf(place) if isinstance(place, Path) else StoreShelf(place.rstrip("/"))
