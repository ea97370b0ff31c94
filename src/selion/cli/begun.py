"""A command that was killed, and is given again, goes on, whatever of its outputs is there already.

A result may have several files, and a process may die between any two of them, or after the last
one and before it has tidied up.  While a command runs a hidden note beside its output holds what it
was asked for; who finds the note of the same command may replace what that one left.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from selion.errors import BadInput, OutputExists

ENDING = ".begun"
UNMARKED = frozenset(
    ("force", "resume", "quiet", "as_json", "runner", "workers", "threads", "profile")
)
"""Options that do not make another command."""


def guarded(command: click.Command, path: str) -> click.Command:
    """Return a command, or a group with all of its commands, that goes on after it was killed.

    Commands without ``--out`` and ``--force`` stay as they are.  One with ``--resume`` goes on
    where it is asked to, also where it was killed before there was anything to go on from.
    """
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            guarded(inner, f"{path} {name}")
        return command
    names = {param.name for param in command.params}
    if {"out", "force"} <= names and not _is_guarded(command):
        command.callback = _guarding(command.callback, path)  # type: ignore[arg-type]
    return command


def _is_guarded(command: click.Command) -> bool:
    return getattr(command.callback, "guards", False)


def _guarding(act: Callable[..., Any], name: str) -> Callable[..., Any]:
    @functools.wraps(act)
    def call(**values: Any) -> Any:
        out = values.get("out")
        if not isinstance(out, Path) or values.get("dry_run"):
            return act(**values)
        note = Note(out, _key(name, values), values)
        note.begin(forced=bool(values["force"]))
        try:
            done = _going_on(act, note, values)
        except BaseException:
            note.end(failed=True)
            raise
        note.end(failed=False)
        return done

    call.guards = True  # type: ignore[attr-defined]
    return call


def _going_on(act: Callable[..., Any], note: Note, values: dict[str, Any]) -> Any:
    try:
        return act(**values)
    except OutputExists:
        if not note.earlier or values["force"] or "resume" in values:
            raise
    except BadInput:
        if not (note.earlier and values.get("resume") and note.nothing_there()):
            raise
        return act(**(values | {"resume": False}))
    return act(**(values | {"force": True}))


def _key(name: str, values: Mapping[str, Any]) -> str:
    asked = sorted((key, repr(value)) for key, value in values.items() if key not in UNMARKED)
    return hashlib.sha256(repr((name, os.getcwd(), asked)).encode()).hexdigest()  # noqa: PTH109 - only its name counts


@dataclass
class Note:
    """The note of one command."""

    out: Path
    key: str
    values: Mapping[str, Any]
    earlier: bool = False
    """Whether the same command was begun before, and not ended."""
    _since: float = field(default_factory=time.time)
    _made: list[Path] = field(default_factory=list)
    """Folders that were made for the note."""
    _written: bool = False

    @property
    def path(self) -> Path:
        """Where it lies."""
        out = self.out.expanduser()
        return out.with_name(f".{out.name}{ENDING}")

    def begin(self, *, forced: bool) -> None:
        """Look for the note of an earlier start, and write one unless a result is there already."""
        with contextlib.suppress(OSError, ValueError):
            self.earlier = self.path.is_file() and self.path.read_text("utf-8") == self.key
            if self.earlier or forced or not os.path.lexists(self.out.expanduser()):
                self._written = True
                self._make_folder()
                self.path.write_text(self.key, "utf-8")

    def end(self, *, failed: bool) -> None:
        """Take the note away; it stays where a failed command left one of its outputs."""
        if not self._written or (failed and self._left_something()):
            return
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)
            for folder in reversed(self._made):
                folder.rmdir()  # only an empty one can go so

    def nothing_there(self) -> bool:
        """Say whether no file that a person sees is in the folder of the output."""
        out = self.out.expanduser()
        return not out.is_dir() or all(path.name.startswith(".") for path in out.iterdir())

    def _make_folder(self) -> None:
        folder = self.path.parent
        missing = [one for one in (folder, *folder.parents) if not one.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        self._made += reversed(missing)

    def _left_something(self) -> bool:
        scores = self.values.get("scores")
        if os.path.lexists(self.out) or (isinstance(scores, Path) and scores.exists()):
            return True
        with contextlib.suppress(OSError):
            return any(
                path.name.startswith(f"{self.out.stem}.")
                and path.stat().st_mtime >= self._since - 2
                for path in self.out.expanduser().parent.iterdir()
            )
        return False
