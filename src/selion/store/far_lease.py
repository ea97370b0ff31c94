"""One command at a time for an output on an object store.

A small object beside it says who writes and until when; only one can put it there, and whoever
holds it renews it.  What a process that died left is taken over at once on its own machine, and
elsewhere when its time is over.  It also says that a command has begun to send its output, so that
the same command goes on where it was killed between two files of one result.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selion.errors import BadInput, FetchFailed, OutputFailed
from selion.store.object_store import ObjectFolder

LEASE, RENEW = 120.0, 30.0
"""Seconds for which a lease holds, and after which it is renewed."""
ENDING = ".lease"
MOST = 4096
"""Bytes that a lease may have."""
DEAD = ("Z", "X")
"""States of a process that has ended, and that nobody has asked how."""
LOOKS = 3
"""How often a lease is read of which half an answer comes."""


@dataclass
class FarLease:
    """The lease of one output; see :func:`far_leased`."""

    folder: ObjectFolder
    output: str
    """Name of the output in the folder."""
    asked: str = ""
    """What tells the command from others; "": nothing does."""
    sends: bool = False
    """Whether this command, or an earlier start of it, may have sent what has the output's name."""
    lost: bool = False
    """Whether another command has taken it over."""
    _token: str = field(default_factory=lambda: secrets.token_hex(8))
    _ended: threading.Event = field(default_factory=threading.Event)
    _lock: Any = field(default_factory=threading.Lock, repr=False)

    @property
    def name(self) -> str:
        """Name of the object."""
        return f".{self.output}{ENDING}"

    def take(self) -> None:
        """Be the one who writes the output.

        Raises
        ------
        BadInput
            If another command does.
        FetchFailed, OutputFailed
            If the store does not answer.
        """
        mine = self._said()
        left = 0.0
        for _ in range(3):
            if self.folder.put(self.name, mine):
                return
            found = self.folder.get_range(self.name, 0, MOST)
            if found is None:  # it has just gone
                continue
            told = _read(found[0])
            if found[0] == mine:
                return
            left = _left(self.folder, self.name, told, found[1])
            if left <= 0:
                self.sends = _sends(told, self.asked)
                mine = self._said()
                if self.folder.put_over(self.name, mine, found[1]):
                    return
        raise BadInput(
            f"{self.folder}/{self.output} is being written by another command at present: wait "
            f"until it has ended, or choose another name. If it was killed on another machine, the "
            f"name is free in {left:.0f} s, or once {self.name} beside it is deleted."
        )

    def keep(self) -> None:
        """Renew it until it is given back."""
        while not self._ended.wait(RENEW):
            with self._lock, contextlib.suppress(FetchFailed, OutputFailed):  # the output says so
                if self._ended.is_set():
                    return
                if not self._is_mine():
                    self.lost = True
                    return
                self.folder.put(self.name, self._said(), replace=True)

    def check(self) -> None:
        """Refuse to write where another command has taken over.

        Raises
        ------
        OutputFailed
            If one has.
        FetchFailed
            If the store does not answer.
        """
        if self.lost or not self._is_mine():
            raise OutputFailed(
                f"{self.folder}/{self.output} is being written by another command now, which took "
                "over after this one was not heard of for too long: nothing was sent."
            )

    def send(self) -> None:
        """Say that the output is about to be sent where there was none.

        Raises
        ------
        OutputFailed
            If the store does not take that.
        """
        with self._lock:
            self.sends = True
            self.folder.put(self.name, self._said(), replace=True)

    def give_back(self, *, failed: bool = False) -> None:
        """Let others write; where the store does not answer they wait until the time is over.

        If the command failed while it sent its output it stays, over, for the same command.
        """
        self._ended.set()
        with self._lock, contextlib.suppress(FetchFailed, OutputFailed):
            if self.lost or not self._is_mine():
                return
            if failed and self.sends:
                self.folder.put(self.name, self._said(over=True), replace=True)
            else:
                self.folder.delete(self.name)

    def _is_mine(self) -> bool:
        for _ in range(LOOKS):
            found = self.folder.get(self.name)
            if found is None:
                return False
            if "token" in (told := _read(found)):
                return bool(told["token"] == self._token)
        return False

    def _said(self, *, over: bool = False) -> bytes:
        said: dict[str, Any] = {
            "token": self._token,
            "where": _where(),
            "process": [os.getpid(), _born(os.getpid())],
            "until": 0.0 if over else round(time.time() + LEASE, 1),
        }
        if self.sends and self.asked:
            said["sends"] = self.asked
        return json.dumps(said).encode()


@contextmanager
def far_leased(folder: ObjectFolder, output: str, asked: str = "") -> Iterator[FarLease]:
    """Be the only one who writes an output on a store within the block.

    Whether a process of this machine lives is known; of others the store's clock says when they
    were last heard of, so the clocks of machines may be wrong.

    Raises
    ------
    BadInput
        If another command writes it.
    FetchFailed, OutputFailed
        If the store does not answer.
    """
    lease = FarLease(folder, output, asked)
    lease.take()
    keeper = threading.Thread(target=lease.keep, daemon=True)
    keeper.start()
    try:
        yield lease
    except BaseException:
        lease.give_back(failed=True)
        raise
    lease.give_back()


def is_sent_by(folder: ObjectFolder, output: str, asked: str) -> bool:
    """Say whether what lies on a store was sent by a command that did not come to its end.

    Parameters
    ----------
    folder, output
        As for :func:`far_leased`.
    asked : str
        What tells the command from others.

    Raises
    ------
    FetchFailed
        If the store does not answer.
    """
    found = folder.get_range(FarLease(folder, output).name, 0, MOST)
    return found is not None and _sends(_read(found[0]), asked)


def _sends(told: dict[str, Any], asked: str) -> bool:
    return bool(asked) and told.get("sends") == asked


def far_busy(folder: ObjectFolder, output: str) -> bool:
    """Say whether a command writes an output just now.

    Raises
    ------
    FetchFailed
        If the store does not answer.
    """
    name = FarLease(folder, output).name
    found = folder.get_range(name, 0, MOST)
    return found is not None and _left(folder, name, _read(found[0]), found[1]) > 0


def _read(content: bytes) -> dict[str, Any]:
    try:
        told = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _left(folder: ObjectFolder, name: str, told: dict[str, Any], about: Mapping[str, Any]) -> float:
    """Return the seconds that a lease holds still; 0 if whoever wrote it is not there any more."""
    try:
        until = float(told.get("until", 0))
        number, born = told.get("process") or (0, "")
    except (TypeError, ValueError):
        return 0.0
    if until <= 0:  # given back
        return 0.0
    left = until - time.time()
    if told.get("where") == _where() and isinstance(number, int):
        now = _born(number)
        if now != "?":  # it lives or not, whatever the clock was set to
            return min(max(left, 1.0), LEASE) if now == born else 0.0
    if 0 < left <= LEASE:
        return left
    return max(LEASE - _age(folder, name, about), 0.0)


def _age(folder: ObjectFolder, name: str, about: Mapping[str, Any]) -> float:
    """Return the seconds since a lease was written, all by the store's clock.

    0 where the store does not tell: then it counts as held.
    """
    probe = f"{name}.{secrets.token_hex(4)}"
    with contextlib.suppress(FetchFailed, OutputFailed):
        folder.put(probe, b"now", replace=True)
        now = folder.about(probe)
        folder.delete(probe)
        if now is not None:
            return float((now["last_modified"] - about["last_modified"]).total_seconds())
    return 0.0


def _where() -> str:
    """Return what tells machines, and containers on one, apart; not what they are called."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text("utf-8").strip())
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _born(process: int) -> str:
    """Return when a process began; "" if there is none, "?" if that cannot be known here."""
    try:
        if not Path("/proc/self/stat").exists():
            os.kill(process, 0)
            return "?"
        text = Path(f"/proc/{process}/stat").read_text("utf-8", "replace")
    except PermissionError:
        return "?"
    except OSError:
        return ""
    state = text.rpartition(")")[2].split()
    return "" if state[0] in DEAD else state[19]
