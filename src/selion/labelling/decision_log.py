"""The log of decisions while people work.

Appended under a lock, on the disk before it is acknowledged, shared by several servers.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from selion.errors import OutputFailed
from selion.labelling.decisions import Entry, History, parse_line


class DecisionLog:
    """One append-only file; several threads, processes and servers may write it at the same time.

    An entry counts when :meth:`append` has returned: then it is on the disk.  The same id is
    written once, however often it is sent.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.history = History()
        self._read = 0  # bytes of the file that are in the history
        self._inode = 0
        self._lock = threading.RLock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with self._opened() as file:
                self._catch_up(file)
        except OSError as error:
            raise _failed(path, error) from error

    def sync(self) -> History:
        """Take in what other servers have written since."""
        with self._lock:
            try:
                found = self.path.stat()
            except OSError:
                return self.history
            if found.st_size != self._read or found.st_ino != self._inode:
                with self._opened() as file:
                    self._catch_up(file)
            return self.history

    def append(self, make: Callable[[History], Sequence[Entry]]) -> list[Entry]:
        """Write the entries that ``make`` returns once all others' are known.

        Those whose id is there already are left out.

        Raises
        ------
        OutputFailed
            If they did not reach the disk; then none of them is in the file.
        """
        with self._lock:
            try:
                with self._opened() as file:
                    self._catch_up(file)
                    fresh = [
                        entry for entry in make(self.history) if entry.id not in self.history.ids
                    ]
                    if fresh:
                        self._write(file, fresh)
            except OSError as error:
                raise _failed(self.path, error) from error
            return fresh

    def _write(self, file: int, entries: Sequence[Entry]) -> None:
        end = os.fstat(file).st_size
        os.lseek(file, max(end - 1, 0), os.SEEK_SET)
        torn = os.read(file, 1) not in (b"", b"\n")
        data = (b"\n" if torn else b"") + "".join(
            entry.to_line() + "\n" for entry in entries
        ).encode()
        try:
            while data:
                data = data[os.write(file, data) :]
            os.fsync(file)
        except OSError:
            os.ftruncate(file, end)  # nobody else writes while the lock is held
            raise
        self._catch_up(file)

    def _catch_up(self, file: int) -> None:
        found = os.fstat(file)
        # somebody put another file in its place: start again
        if found.st_ino != self._inode or found.st_size < self._read:
            self.history, self._read, self._inode = History(), 0, found.st_ino
        os.lseek(file, self._read, os.SEEK_SET)
        pieces = []
        while piece := os.read(file, 1 << 20):
            pieces.append(piece)
        whole, end, _ = b"".join(pieces).rpartition(b"\n")
        if end:
            for line in whole.split(b"\n"):
                if line.strip():
                    self.history.add(parse_line(line))
            self._read += len(whole) + 1

    @contextmanager
    def _opened(self) -> Iterator[int]:
        fresh = not self.path.exists()
        file = os.open(
            self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666
        )
        try:
            if fresh:
                keep_name(self.path.parent)
            with locked(file):
                yield file
        finally:
            os.close(file)


@contextmanager
def locked(file: int) -> Iterator[None]:
    """Let one process at a time write.

    Where the platform has no file locks, each line still arrives whole by O_APPEND.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


def keep_name(folder: Path) -> None:
    """Bring the name of a new file to the disk too, where folders can be opened."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _failed(path: Path, error: OSError) -> OutputFailed:
    return OutputFailed(
        f"{path} cannot be written ({error.strerror}): decisions are kept there, so make room or "
        "choose a folder that you may write to."
    )


def now() -> str:
    """Return the time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
