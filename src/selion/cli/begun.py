"""A command that was killed, and is given again, goes on, whatever of its outputs is there already.

A result may have several files, and a process may die between any two of them, or after the last
one and before it has tidied up.  While a command runs a hidden note beside its output holds what it
was asked for, and by what the files that it published are known (:mod:`selion.store.witness`).  Who
finds the note of the same command may replace these, and nothing that others put there or changed.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from selion.cli.watching import read_places, sending, unchanged, watched_inputs
from selion.errors import (
    BadInput,
    Incomplete,
    InputChanged,
    OutputExists,
    OutputFailed,
)
from selion.store.apart import check_not_read
from selion.store.leftovers import NOTE, WORKS
from selion.store.lock import leased
from selion.store.scratch import clear_dead, put_away
from selion.store.witness import Identity, Witness, identities, witnessed

WORDS = "selion.words"
"""Where the context of a command keeps the words that it was given."""
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
        _keep_words(command)
        command.callback = _guarding(command.callback, path)  # type: ignore[arg-type]
    return command


def _keep_words(command: click.Command) -> None:
    """Let the context of a command keep the words that it was given."""
    usual = command.parse_args

    def parse(ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[WORDS] = list(args)
        return list(usual(ctx, args))

    command.parse_args = parse  # type: ignore[method-assign]


def _is_guarded(command: click.Command) -> bool:
    return getattr(command.callback, "guards", False)


def _guarding(act: Callable[..., Any], name: str) -> Callable[..., Any]:
    @functools.wraps(act)
    def call(**values: Any) -> Any:
        out = values.get("out")
        if values.get("dry_run"):
            return act(**values)
        if not isinstance(out, Path):
            context = click.get_current_context(silent=True)
            words = [] if context is None else context.meta.get(WORDS, [])
            return sending(act, (name, words), values, _key(name, values))
        if not out.name:
            raise BadInput(f"The output was said to be {out}: give its folder's name, as ../NAME.")
        note = Note(out, _key(name, values), name)
        with note.leased():
            note.begin(forced=bool(values["force"]))
            if note.earlier and out.expanduser().is_dir():
                clear_dead(out.expanduser())
            places = read_places(name)
            note.witness.inputs = watched_inputs(values, places)
            note.witness.reads.update(places)
            try:
                with witnessed(note.witness), unchanged(note.witness), _noticed(out):
                    done = _going_on(act, note, values)
                with _noticed(out):
                    note.seal(complete=True)
            except InputChanged:
                note.take_back()
                note.end(failed=True)
                raise
            except Incomplete:
                with _noticed(out):
                    note.seal(complete=False)
                note.end(failed=True)
                raise
            except BaseException:
                note.end(failed=True)
                raise
            note.end(failed=False)
            return done

    call.guards = True  # type: ignore[attr-defined]
    return call


@contextlib.contextmanager
def _noticed(out: Path) -> Iterator[None]:
    """Say in a sentence that somebody else removes or renames what a command writes.

    Raises
    ------
    OutputFailed
        Instead of an error of the system.
    """
    home = out.expanduser().absolute().parent
    try:
        yield
    except FileNotFoundError as error:
        gone = home if error.filename is None and not home.is_dir() else error.filename
        if gone is None or not _inside(gone, home):
            raise
        raise OutputFailed(
            f"{os.fsdecode(gone)} is gone: something else removed it, or renamed "
            f"its folder, while {out} was being written. Give the same command again."
        ) from error


def _inside(name: str | bytes | Path, home: Path) -> bool:
    return Path(os.fsdecode(name)).absolute().is_relative_to(home)


def _going_on(act: Callable[..., Any], note: Note, values: dict[str, Any]) -> Any:
    try:
        if values["force"] and not note.out.expanduser().is_dir():
            check_not_read(note.out.expanduser())
        return act(**values)
    except InputChanged:
        raise
    except OutputExists:
        if values["force"] or "resume" in values or not note.left_untouched():
            raise
    except BadInput:
        if not (note.earlier and values.get("resume") and note.nothing_there()):
            raise
        return act(**(values | {"resume": False}))
    note.witness.strict = True
    return act(**(values | {"force": True}))


def _key(name: str, values: Mapping[str, Any]) -> str:
    asked = sorted((key, repr(value)) for key, value in values.items() if key not in UNMARKED)
    return hashlib.sha256(repr((name, os.getcwd(), asked)).encode()).hexdigest()  # noqa: PTH109 - only its name counts


@dataclass
class Note:
    """The note of one command."""

    out: Path
    key: str
    verb: str = ""
    earlier: bool = False
    """Whether the same command was begun before, and not ended."""
    witness: Witness = field(init=False)
    """Who knows what this run and the earlier one published."""
    _places: set[Path] = field(default_factory=set)
    """Where they did."""
    _mine: dict[Path, set[Identity]] = field(default_factory=dict)
    """Where this run did, and by what that is known."""
    _made: list[Path] = field(default_factory=list)
    """Folders that were made for the note."""
    _written: bool = False
    _home: Path = field(init=False)
    """The folder that it lay in at first; what is published there moves with it."""

    def __post_init__(self) -> None:
        self.witness = Witness(self._record)
        self._home = self.path.parent.absolute()

    @property
    def path(self) -> Path:
        """Where it lies."""
        out = self.out.expanduser()
        return out.with_name(f".{out.name}{NOTE}")

    @contextlib.contextmanager
    def leased(self) -> Iterator[None]:
        """Be the only one who writes this output: the note is locked while the command runs.

        Processes that a launcher starts together for one run are one (``RANK``).

        Raises
        ------
        BadInput
            If another process does.
        """
        with contextlib.ExitStack() as stack:
            free = True
            with contextlib.suppress(OSError, ValueError):  # what cannot be written is said later
                self._make_folder()
                if os.environ.get("RANK", "0") == "0":
                    free = stack.enter_context(leased(self.path))
                if free:
                    stack.callback(self._remove_empty)
            if not free:
                raise BadInput(
                    f"{self.out} is being written by another command at present: wait until it has "
                    "ended, or choose another name."
                )
            yield

    def _remove_empty(self) -> None:
        """Take away a note that nobody has written into."""
        with contextlib.suppress(OSError):
            if not self.path.stat().st_size:
                self._tidy()

    def _tidy(self) -> None:
        self.path.unlink(missing_ok=True)
        for folder in reversed(self._made):
            folder.rmdir()  # only an empty one can go so

    def begin(self, *, forced: bool) -> None:
        """Look for the note of an earlier start, and write one unless a result is there already."""
        with contextlib.suppress(OSError, ValueError):
            text = self.path.read_text("utf-8") if self.path.is_file() else ""
            key, *lines = text.splitlines() or [""]
            self.earlier = key == self.key
            if self.earlier:
                self.witness.known |= set(filter(None, map(_identity, lines)))
                self._places |= set(filter(None, map(_place, lines)))
            if self.earlier or forced or not os.path.lexists(self.out.expanduser()):
                self._written = True
                if not self.earlier:
                    self.path.write_text(f"{self.key}\n", "utf-8")

    def end(self, *, failed: bool) -> None:
        """Take the note away; it stays where what a failed command has published can be seen."""
        if not self._written or (failed and self._is_seen()):
            return
        with contextlib.suppress(OSError):
            self._tidy()

    def seal(self, *, complete: bool) -> None:
        """Write the manifest of what was made, unless somebody has removed of it meanwhile."""
        from selion.cli.sealed import seal

        context = click.get_current_context(silent=True)
        words = [] if context is None else context.meta.get(WORDS, [])
        if self._lost():
            return
        asked, places = (self.verb, words), set(map(self._now, self._places))
        target = seal(self.out, asked, places, self.witness, complete=complete)
        if target is not None and self._lost():
            target.unlink(missing_ok=True)

    def _lost(self) -> bool:
        """Say whether the output, or what this run published in it, is not there any more."""
        out = self.out.expanduser().absolute()
        within = {self._now(place): files for place, files in self._mine.items()}
        seen = {
            place: files
            for place, files in within.items()
            if place.is_relative_to(out)
            and not any(part.startswith(".") for part in place.relative_to(out).parts)
        }
        if not all(map(os.path.lexists, (out, *seen))):
            return True
        return any(  # a folder that was made anew, by what was added to the one that went
            files and files.isdisjoint(identities(place))
            for place, files in seen.items()
            if place.is_dir()
        )

    def take_back(self) -> None:
        """Remove what this run has published of an input that became another one, and its parts.

        What a command writes into its folder one by one knows what it was made from, and stays.
        """
        out = self.out.expanduser().absolute()
        for ending in WORKS:
            parts = out.with_name(f".{out.name}{ending}")
            if not put_away(parts):
                shutil.rmtree(parts, ignore_errors=True)
        for place in map(self._now, self._mine):
            if out in place.parents:
                continue
            with contextlib.suppress(OSError):
                if not identities(place) <= self.witness.known:
                    continue  # somebody else's
                if place.is_dir() and not place.is_symlink():
                    shutil.rmtree(place)
                else:
                    place.unlink()

    def nothing_there(self) -> bool:
        """Say whether no file that a person sees is in the folder of the output."""
        out = self.out.expanduser()
        return not out.is_dir() or all(path.name.startswith(".") for path in out.iterdir())

    def _now(self, place: Path) -> Path:
        """Return where what was published lies, should the folder have another name by now."""
        home = self.out.expanduser().absolute().parent
        return home / place.relative_to(self._home) if place.is_relative_to(self._home) else place

    def _is_seen(self) -> bool:
        """Say whether anything that was published is to be seen, where it was put or in the output.

        What was made in a work folder may have been moved from there by itself.
        """
        if any(map(self._seen, self._places)):
            return True
        with contextlib.suppress(OSError):
            there = identities(self.out.expanduser(), hidden=False)
            return bool(there & self.witness.known)
        return False

    def _seen(self, place: Path) -> bool:
        """Say whether what was published in a place is there, and not in a work folder."""
        out, place = self.out.expanduser().absolute(), self._now(place)
        homes = (home for home in (out, out.parent) if place.is_relative_to(home))
        below = place.relative_to(next(homes, place.parent))
        if any(part.startswith(".") for part in below.parts):
            return False
        try:
            return bool(identities(place, hidden=False) & self.witness.known)
        except OSError:
            return False

    def _make_folder(self) -> None:
        folder = self.path.parent
        missing = [one for one in (folder, *folder.parents) if not one.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        self._made += reversed(missing)

    def left_untouched(self) -> bool:
        """Say whether what lies in the place of the output is what the earlier run published."""
        try:
            there = identities(self.out.expanduser(), hidden=False)
        except OSError:
            there = set()  # another output is in the way, which the store looks at
        return self.earlier and bool(self.witness.known) and there <= self.witness.known

    def _record(self, found: set[Identity], place: Path) -> None:
        """Write down by what files are known that are about to be published, and where."""
        self._places.add(place)
        self._mine[place] = found
        if self._written:
            lines = "".join(f"{inode} {size} {changed}\n" for inode, size, changed in found)
            lines += f"{json.dumps(str(place))}\n"
            with contextlib.suppress(OSError), self.path.open("a", encoding="utf-8") as note:
                if not note.tell():  # somebody removed it
                    note.write(f"{self.key}\n")
                note.write(lines)


def _identity(line: str) -> Identity | None:
    """Read a line of a note; a line that a killed process left half is none."""
    numbers = line.split()
    if len(numbers) != 3 or not all(number.isdigit() for number in numbers):
        return None
    inode, size, changed = map(int, numbers)
    return inode, size, changed


def _place(line: str) -> Path | None:
    """Read a line that names a place."""
    try:
        place = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return Path(place) if isinstance(place, str) else None
