"""The log of decisions while people work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from selion.labelling.decisions import Entry, History, parse_line
from selion.store.append_log import AppendLog


class DecisionLog:
    """The decisions in one :class:`~selion.store.append_log.AppendLog`.

    An entry counts when :meth:`append` has returned: then it is on the disk.  The same id is
    written once, however often it is sent.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.history = History()
        self._log = AppendLog(path, "decisions are", self._restart, self._take)
        with self._log.opened():
            pass

    def _restart(self) -> None:
        self.history = History()

    def _take(self, line: bytes) -> None:
        if line.strip():
            self.history.add(parse_line(line))

    def sync(self) -> History:
        """Take in what other servers have written since."""
        with self._log.lock:
            if self._log.behind:
                with self._log.opened():
                    pass
            return self.history

    def append(self, make: Callable[[History], Sequence[Entry]]) -> list[Entry]:
        """Write the entries that ``make`` returns once all others' are known.

        Those whose id is there already are left out.

        Raises
        ------
        OutputFailed
            If they did not reach the disk; then none of them is in the file.
        """
        with self._log.opened() as write:
            fresh = [entry for entry in make(self.history) if entry.id not in self.history.ids]
            if fresh:
                write([entry.to_line() for entry in fresh])
            return fresh
