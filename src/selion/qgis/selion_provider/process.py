"""Runs a command beside QGIS.

Hands on what it says, stops it when asked, kills it when it does not stop.  Nothing of QGIS here.
"""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .command import Listener, Said, environment

POLL = 0.1
"""Seconds between two looks at the cancel button."""
STOP_SIGNALS = ((getattr(signal, "SIGINT", None), 20.0), (getattr(signal, "SIGTERM", None), 5.0))
"""Signals that ask a process to stop, and the seconds that each gets before the next; after the
last the process is killed.  An inference step is finished first."""
INCOMPLETE = 3
"""The code with which selion ends where a part of an image could not be worked on; the result is
written all the same."""
TAIL = 20
"""Lines of standard error that an error shows."""


class CommandFailed(Exception):
    """The command ended badly; the message is what it said last."""


class Cancelled(Exception):
    """The command was stopped because the person asked for it."""


@dataclass(frozen=True)
class Ears:
    """How a run is followed."""

    said: Callable[[Said], None]
    warned: Callable[[str], None]
    cancelled: Callable[[], bool]


def run(command: Sequence[str], ears: Ears, listener: Listener | None = None) -> dict[str, Any]:
    """Run a command to its end.

    Returns
    -------
    dict
        The last line of ``--json``: ``path`` and facts; empty if there was none.

    Raises
    ------
    CommandFailed
        If it cannot be started or ends with another code than 0.
    Cancelled
        If ``ears.cancelled()`` came true; the process and its children have ended.
    """
    listener = listener or Listener()
    process = _start(command)
    lines: queue.Queue[tuple[str, str | None]] = queue.Queue()
    for name in ("stdout", "stderr"):
        threading.Thread(
            target=_read, args=(getattr(process, name), name, lines), daemon=True
        ).start()
    errors: list[str] = []
    closed = 0
    try:
        while closed < 2:
            _stop_if(ears)
            try:
                name, line = lines.get(timeout=POLL)
            except queue.Empty:
                continue
            closed += line is None
            if line is not None:
                _hand_on(name, line, ears, listener, errors)
    except BaseException:
        stop(process)
        raise
    # the result is there, and what it lacks was said
    incomplete = process.wait() == INCOMPLETE and listener.result
    if process.returncode != 0 and not incomplete:
        raise CommandFailed(_message(errors, process.returncode))
    return listener.result


def _stop_if(ears: Ears) -> None:
    if ears.cancelled():
        raise Cancelled("Stopped.")


def _start(command: Sequence[str]) -> subprocess.Popen[str]:
    """Start a process in a group of its own.

    So its workers are stopped with it, and there is no console window.
    """
    own: dict[str, Any] = {"start_new_session": True}
    if os.name == "nt":
        own = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}  # type: ignore[attr-defined]
    own.update(
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    )
    try:
        return subprocess.Popen(  # noqa: S603  # the person's own setting
            list(command), text=True, encoding="utf-8", errors="replace", bufsize=1, **own
        )
    except OSError as error:
        raise CommandFailed(
            f"{command[0]} cannot be started ({error.strerror}): check the command of selion in "
            "the settings of Processing."
        ) from error


def _read(stream: Any, name: str, lines: queue.Queue[tuple[str, str | None]]) -> None:
    with stream:
        for line in stream:
            lines.put((name, line.rstrip("\n")))
    lines.put((name, None))


def _hand_on(name: str, line: str, ears: Ears, listener: Listener, errors: list[str]) -> None:
    if name == "stdout":
        ears.said(listener.hear(line))
    elif line.strip():
        errors.append(line)
        ears.warned(line)


def _message(errors: Sequence[str], code: int) -> str:
    for line in reversed(errors):
        if line.startswith("Error: "):
            return line[len("Error: ") :]
    return "\n".join(errors[-TAIL:]) or f"selion ended with code {code} and said nothing."


def stop(process: subprocess.Popen[str]) -> None:
    """Ask a process and its children to stop, then kill them; returns when they are gone."""
    for ask, seconds in STOP_SIGNALS:
        if process.poll() is not None:
            break
        _tell(process, ask)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            continue
    _kill(process)
    process.wait()


def _tell(process: subprocess.Popen[str], what: Any) -> None:
    if os.name == "nt":
        process.send_signal(signal.CTRL_BREAK_EVENT)  # type: ignore[attr-defined]
        return
    try:
        os.killpg(process.pid, what)
    except ProcessLookupError:
        return


def _kill(process: subprocess.Popen[str]) -> None:
    """Kill what is left of the group: a worker may outlive the one that started it."""
    if os.name == "nt":
        process.kill()
    else:
        _tell(process, signal.SIGKILL)
