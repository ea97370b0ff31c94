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
from collections.abc import Iterator
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
        told: dict[str, Any] = {}
        for _ in range(3):
            if self.folder.put(self.name, mine):
                return
            found = self.folder.get_range(self.name, 0, MOST)
            if found is None:  # it has just gone
                continue
            told = _read(found[0])
            if found[0] == mine:
                return
            if _is_over(told):
                self.sends = _sends(told, self.asked)
                mine = self._said()
                if self.folder.put_over(self.name, mine, found[1]):
                    return
        left = max(float(told.get("until", 0)) - time.time(), 0.0)
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

    Clocks of two machines may differ by less than :data:`LEASE` seconds.

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
    found = folder.get(FarLease(folder, output).name)
    return found is not None and not _is_over(_read(found))


def _read(content: bytes) -> dict[str, Any]:
    try:
        told = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _is_over(told: dict[str, Any]) -> bool:
    """Say whether whoever wrote a lease is not there any more."""
    try:
        until = float(told.get("until", 0))
        number, born = told.get("process") or (0, "")
    except (TypeError, ValueError):
        return True
    here = told.get("where") == _where() and isinstance(number, int)
    return until < time.time() or (here and _born(number) != born)


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
    return text.rpartition(")")[2].split()[19]
