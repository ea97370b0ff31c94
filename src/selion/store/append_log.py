"""A file of lines that is only ever appended to.

Under a lock, on the disk before it is acknowledged, shared by several threads, processes and
servers.  What a line means is its owner's business.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from selion.errors import OutputFailed
from selion.store.atomic import sync_folder
from selion.store.lock import LOCKS, locked

Append = Callable[[Sequence[str]], None]
PIECE = 1 << 20
"""Bytes that are read at once."""


@dataclass(eq=False)
class AppendLog:
    """One append-only file.

    Parameters
    ----------
    path : Path
        Made, with its folder, when the log is first opened.
    holds : str
        What is kept there, for messages: "decisions are".
    restart : callable
        Called before the first line, and when another file was put in the place of the one that was
        read: forget all lines.
    take : callable
        Called with each whole line, without its end, whoever wrote it.
    """

    path: Path
    holds: str
    restart: Callable[[], None]
    take: Callable[[bytes], None]
    lock: threading.RLock = field(default_factory=threading.RLock)
    """Held by whoever looks at what :attr:`take` made while others may write."""
    _read: int = 0
    """Bytes of the file that were taken."""
    _inode: int = 0

    @property
    def behind(self) -> bool:
        """Whether somebody has written, or put another file there, since the last look."""
        try:
            found = self.path.stat()
        except OSError:
            return False
        return found.st_size != self._read or found.st_ino != self._inode

    @contextmanager
    def opened(self) -> Iterator[Append]:
        """Hold the file alone, once all others' lines are taken.

        Yields
        ------
        callable
            Writes lines; they are taken, and count, when it has returned.

        Raises
        ------
        OutputFailed
            If the file cannot be opened, or lines did not reach the disk; then none of them is in
            it.
        """
        with self.lock:
            with self._explained():
                file = self._open()
            try:
                with locked(file):
                    with self._explained():
                        self._catch_up(file)
                    yield partial(self._append, file)
            finally:
                os.close(file)

    def _open(self) -> int:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = not self.path.exists()
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT
        if sys.platform == "win32":
            flags |= os.O_BINARY
        file = os.open(self.path, flags, 0o666)
        if fresh:
            sync_folder(self.path.parent)
        return file

    def _append(self, file: int, lines: Sequence[str]) -> None:
        end = os.fstat(file).st_size
        torn = b"" if end == self._read else b"\n"
        data = torn + "".join(line + "\n" for line in lines).encode()
        with self._explained():
            try:
                while data:
                    data = data[os.write(file, data) :]
                os.fsync(file)
            except OSError:
                os.ftruncate(file, end)  # nobody else writes while the lock is held
                raise
            self._catch_up(file)

    def _catch_up(self, file: int) -> None:
        """Take what is new.

        A torn end is cut off, because whoever wrote it never said that it was done; not so where
        there are no locks, for it may be somebody who is still writing.
        """
        found = os.fstat(file)
        if found.st_ino != self._inode or found.st_size < self._read:
            self._read, self._inode = 0, found.st_ino
            self.restart()
        os.lseek(file, self._read, os.SEEK_SET)
        rest = b""
        while piece := os.read(file, PIECE):
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                self.take(line)
                self._read += len(line) + 1
        if rest and LOCKS:
            os.ftruncate(file, self._read)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputFailed(
                f"{self.path} cannot be written ({error.strerror}): {self.holds} kept there, so "
                "free some space or choose a folder that can be written."
            ) from error


def now() -> str:
    """Return the time in UTC, ISO 8601, for a line of a log."""
    return written(datetime.now(UTC))


def written(time: datetime) -> str:
    """Return a time as :func:`now` does; one that names no zone is UTC."""
    known = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    return known.isoformat(timespec="milliseconds").replace("+00:00", "Z")
