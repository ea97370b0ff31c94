"""The log of a review while people work.

Appended under a lock, on the disk before it is acknowledged, shared by several servers.

The file is ``NAME.review.jsonl`` beside the map.  Its first line says which map it is about; see
:mod:`selion.review.actions` for the others.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from selion.errors import BadInput, OutputFailed, UnreadableFile
from selion.labelling.decision_log import keep_name, locked
from selion.review.actions import UNDO, Action, Header, parse_line
from selion.review.state import ReviewedMap, ReviewOutcome, ReviewState

if TYPE_CHECKING:
    import geopandas


class ReviewLog:
    """A map and the file of what was done to it.

    Several threads, processes and servers may write it at the same time.

    An action counts when :meth:`act` has returned: then it is on the disk.  The same id is written
    once, however often it is sent.
    """

    def __init__(self, path: Path, mapped: ReviewedMap, name: str) -> None:
        self.path, self.mapped = path, mapped
        self.state = ReviewState(mapped)
        self.header = Header(name, len(mapped.ids), mapped.fingerprint())
        self._read = 0  # bytes of the file that are in the state
        self._inode = 0
        self.lock = threading.RLock()
        """Held by whoever looks at the state while others may change it."""
        with self.lock, self._opened() as file:
            self._catch_up(file)

    def sync(self) -> ReviewState:
        """Take in what other servers have written since."""
        with self.lock:
            try:
                found = self.path.stat()
            except OSError:
                return self.state
            if found.st_size != self._read or found.st_ino != self._inode:
                with self._opened() as file:
                    self._catch_up(file)
            return self.state

    def act(self, action: Action) -> ReviewOutcome:
        """Do an action and write it down; one that is known already is answered as before.

        Raises
        ------
        BadInput
            If it makes no sense.
        OutputFailed
            If it did not reach the disk; then nothing was done.
        """
        with self.lock, self._opened() as file:
            self._catch_up(file)
            known = self.state.applied.get(action.id)
            if known is not None:
                return ReviewOutcome(tuple(known.before) or self._undone_by(known.action))
            if action.kind == UNDO and not action.undo:
                action = replace(action, undo=self.state.last_of(action.person))
            outcome, after = self.state.judge(action)
            if outcome.done:
                self._write(file, action.to_line())
                self.state.commit(action, after)
            return outcome

    def _undone_by(self, action: Action) -> tuple[str, ...]:
        target = self.state.applied.get(action.undo)
        return tuple(target.before) if target else ()

    def _write(self, file: int, *lines: str) -> None:
        end = os.fstat(file).st_size
        data = "".join(line + "\n" for line in lines).encode()
        self._read += len(data)
        try:
            while data:
                data = data[os.write(file, data) :]
            os.fsync(file)
        except OSError as error:
            self._read = end
            os.ftruncate(file, end)  # nobody else writes while the lock is held
            raise _failed(self.path, error) from error

    def _catch_up(self, file: int) -> None:
        """Read what is new.

        A torn end is cut off, because whoever wrote it never said that it was done.
        """
        found = os.fstat(file)
        # somebody put another file in its place: start again
        if found.st_ino != self._inode or found.st_size < self._read:
            self.state, self._read, self._inode = ReviewState(self.mapped), 0, found.st_ino
        os.lseek(file, self._read, os.SEEK_SET)
        pieces = []
        while piece := os.read(file, 1 << 20):
            pieces.append(piece)
        data = b"".join(pieces)
        whole, end, torn = data.rpartition(b"\n")
        if torn:
            os.ftruncate(file, self._read + len(data) - len(torn))
        if not self._read and not whole:
            self._write(file, self.header.to_line())
            return
        for number, line in enumerate(whole.split(b"\n")):
            self._take(line, first=number == 0 and self._read == 0)
        self._read += len(whole) + len(end)

    def _take(self, line: bytes, *, first: bool) -> None:
        entry = parse_line(line)
        if first:
            self._check_header(entry)
        elif isinstance(entry, Action):
            self.state.take(entry)
        elif line.strip():
            self.state.skipped += 1

    def _check_header(self, entry: Action | Header | None) -> None:
        if not isinstance(entry, Header):
            message = (
                f"{self.path} is no log of a review: move it away, or give the map another name."
            )
            raise UnreadableFile(message)
        if entry.fingerprint != self.header.fingerprint:
            message = (
                f"{self.path} belongs to a map of {entry.fields:,} fields that is not this one "
                f"({self.header.fields:,} fields, other outlines): put that map back, or move the "
                "log away to begin anew."
            )
            raise BadInput(message)

    @contextmanager
    def _opened(self) -> Iterator[int]:
        try:
            fresh = not self.path.exists()
            file = os.open(
                self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666
            )
            if fresh:
                keep_name(self.path.parent)
        except OSError as error:
            raise _failed(self.path, error) from error
        try:
            with locked(file):
                yield file
        finally:
            os.close(file)


def _failed(path: Path, error: OSError) -> OutputFailed:
    return OutputFailed(
        f"{path} cannot be written ({error.strerror}): what people do is kept there, so make room "
        "or choose a folder that you may write to."
    )


def log_of(path: Path) -> Path:
    """Return where the log of a map lies."""
    return path.with_name(f"{path.stem}.review.jsonl")


def replay(frame: geopandas.GeoDataFrame, path: Path) -> ReviewState:
    """Do to a map all that its log says, without writing anything.

    What is torn or does not fit is left out and counted.

    Raises
    ------
    BadInput
        If the log belongs to another map.
    UnreadableFile
        If it cannot be read.
    """
    mapped = ReviewedMap.of(frame)
    state = ReviewState(mapped)
    try:
        whole = path.read_bytes().rpartition(b"\n")[0] if path.exists() else b""
    except OSError as error:
        message = (
            f"{path} cannot be read as the log of a review ({error.strerror}): check the file and "
            "its permissions."
        )
        raise UnreadableFile(message) from error
    lines = whole.split(b"\n") if whole else []
    for number, line in enumerate(lines):
        entry = parse_line(line)
        if number == 0 and isinstance(entry, Header) and entry.fingerprint != mapped.fingerprint():
            message = (
                f"{path} belongs to another map ({entry.fields:,} fields, other outlines): put "
                "that map back, or move the log away."
            )
            raise BadInput(message)
        if isinstance(entry, Action):
            state.take(entry)
        elif entry is None and line.strip():
            state.skipped += 1
    return state
