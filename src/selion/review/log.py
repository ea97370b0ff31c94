"""The log of a review while people work.

The file is ``NAME.review.jsonl`` beside the map.  Its first line says which map it is about; see
:mod:`selion.review.actions` for the others.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from selion.errors import BadInput, UnreadableFile
from selion.review.actions import UNDO, Action, Header, parse_line
from selion.review.state import ReviewedMap, ReviewOutcome, ReviewState
from selion.store.address import Place, RemotePath
from selion.store.append_log import Append, AppendLog

if TYPE_CHECKING:
    import geopandas


class ReviewLog:
    """A map and the file of what was done to it; see :class:`~selion.store.append_log.AppendLog`.

    An action counts when :meth:`act` has returned: then it is on the disk.  The same id is written
    once, however often it is sent.
    """

    def __init__(self, path: Path, mapped: ReviewedMap, name: str) -> None:
        self.path, self.mapped = path, mapped
        self.state = ReviewState(mapped)
        self.header = Header(name, len(mapped.ids), mapped.fingerprint())
        self._begun = False  # whether the header was read
        self._log = AppendLog(path, "what people do is", self._restart, self._take)
        with self._opened():
            pass

    @property
    def lock(self) -> threading.RLock:
        """Held by whoever looks at the state while others may change it."""
        return self._log.lock

    def sync(self) -> ReviewState:
        """Take in what other servers have written since."""
        with self.lock:
            if self._log.behind:
                with self._opened():
                    pass
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
        with self._opened() as write:
            known = self.state.applied.get(action.id)
            if known is not None:
                return ReviewOutcome(tuple(known.before) or self._undone_by(known.action))
            if action.kind == UNDO and not action.undo:
                action = replace(action, undo=self.state.last_of(action.person))
            outcome, _ = self.state.judge(action)
            if outcome.done:
                write([action.to_line()])  # it is done when it is read from there
            return outcome

    def _undone_by(self, action: Action) -> tuple[str, ...]:
        target = self.state.applied.get(action.undo)
        return tuple(target.before) if target else ()

    @contextmanager
    def _opened(self) -> Iterator[Append]:
        with self._log.opened() as write:
            if not self._begun:
                write([self.header.to_line()])
            yield write

    def _restart(self) -> None:
        self.state, self._begun = ReviewState(self.mapped), False

    def _take(self, line: bytes) -> None:
        entry = parse_line(line)
        if not self._begun:
            self._check_header(entry)
            self._begun = True
        elif isinstance(entry, Action):
            self.state.take(entry)
        elif line.strip():
            self.state.skipped += 1

    def _check_header(self, entry: Action | Header | None) -> None:
        if not isinstance(entry, Header):
            raise UnreadableFile(
                f"{self.path} is not the log of a review: move it away, or give "
                "the map another name."
            )
        if entry.fingerprint != self.header.fingerprint:
            raise BadInput(
                f"{self.path} belongs to a map of {entry.fields:,} fields that is not this one "
                f"({self.header.fields:,} fields, other outlines): put that map back, or move the "
                "log away to start over."
            )


def log_of(path: Place) -> Path:
    """Return where the log of a map lies: beside it; in this folder, if it is on a server."""
    if isinstance(path, RemotePath):
        return Path(f"{path.stem}.review.jsonl")
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
        raise UnreadableFile(
            f"{path} cannot be read as the log of a review ({error.strerror}): check the file and "
            "its permissions."
        ) from error
    lines = whole.split(b"\n") if whole else []
    for number, line in enumerate(lines):
        entry = parse_line(line)
        if number == 0 and isinstance(entry, Header) and entry.fingerprint != mapped.fingerprint():
            raise BadInput(
                f"{path} belongs to another map ({entry.fields:,} fields, other outlines): put "
                "that map back, or move the log away."
            )
        if isinstance(entry, Action):
            state.take(entry)
        elif entry is None and line.strip():
            state.skipped += 1
    return state


def as_of(state: ReviewState, count: int) -> ReviewState:
    """Return a map as it was after so many actions; as it is now, where there are no more."""
    if count >= state.count:
        return state
    earlier = ReviewState(state.mapped)
    for applied in state.applied.values():
        if earlier.count >= count:
            break
        earlier.take(applied.action)
    return earlier


def people(state: ReviewState) -> dict[str, dict[str, float]]:
    """Return what each person did.

    Actions by kind that stand, all of them as ``actions``, and the minutes that they took.
    """
    found: dict[str, dict[str, float]] = {}
    for name, applied in state.applied.items():
        action = applied.action
        mine = found.setdefault(action.person, {"actions": 0, "minutes": 0.0})
        mine["actions"] += 1
        mine["minutes"] = round(mine["minutes"] + action.seconds / 60, 4)
        if name not in state.undone:
            mine[action.kind] = mine.get(action.kind, 0) + 1
    return found
