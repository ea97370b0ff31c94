"""What a run has finished.

One line per photograph, so that the same command goes on after a break and does nothing twice.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import selion
from selion import store
from selion.closerange.measure import MASKS, OVERLAYS, THUMBS, Measured
from selion.closerange.tables import COMPONENTS, FAILED, PHOTOS
from selion.data.photos import PhotoFile
from selion.errors import OutputExists, OutputFailed, UnreadableFile
from selion.store.append_log import AppendLog
from selion.store.atomic import explained
from selion.store.former import value_of
from selion.store.scratch import is_bare

RUN, LINES = "run.json", ".finished.jsonl"
OUTPUTS = ("mask", "overlay", "thumb")
WRITTEN = (MASKS, OVERLAYS, THUMBS, PHOTOS, COMPONENTS, FAILED)
"""What else a run writes into its folder."""
"""Columns of a row that name files below the output folder."""


@dataclass(frozen=True, eq=False, slots=True)
class FinishedPhoto:
    """A photograph that was measured, without its components: thousands have millions of these."""

    row: dict[str, Any]
    """A row of ``crops.csv``."""
    count: int
    """How many components there are."""
    start: int
    """First byte of its line in the list."""
    size: int
    """Bytes of that line."""


@dataclass
class PhotoJournal:
    """The folder of a run and what is finished in it."""

    folder: Path
    decided: dict[str, Any]
    """All that decides the numbers: model, options, version."""
    finished: dict[str, FinishedPhoto] = field(default_factory=dict)
    """By fingerprint of the photograph and its name."""
    _end: int = 0
    """Bytes of the list that were read."""

    @property
    def key(self) -> str:
        """Name of all that decides the numbers."""
        return key_of(self.decided)

    def find(self, photo: PhotoFile) -> FinishedPhoto | None:
        """Return what was found in a photograph before, if it is the same file still.

        It must have the same name in the output, and its mask must be there.
        """
        found = self.finished.get(stamp_of(photo))
        if found is None or any(
            name in found.row and not (self.folder / found.row[name]).is_file() for name in OUTPUTS
        ):
            return None
        return found

    @property
    def lines(self) -> Path:
        """The list of finished photographs."""
        return self.folder / LINES

    def __post_init__(self) -> None:
        self._log = AppendLog(self.lines, "finished photographs are", self._forget, self._take)

    def begin(self) -> None:
        """Make the list of finished photographs, or go on with the one that is there.

        Until version 0.1.0 a line began with its newline, and the last one had no end.
        """
        with explained(self.lines):
            last = _last_line(self.lines)
            if last and _parsed(last) is not None:
                with self.lines.open("ab") as file:
                    file.write(b"\n")
        with self._log.opened():
            pass

    def add(self, stamp: str, found: Measured) -> FinishedPhoto:
        """Write down a finished photograph, once its mask lies on disk.

        ``stamp`` is what :func:`stamp_of` said of it before it was read.
        """
        line = {"stamp": stamp, "row": found.row, "components": found.components}
        line["sum"] = _sum(line)
        with self._log.opened() as write:
            write([json.dumps(line)])
        return self.finished[stamp]

    def components(self, photos: Iterable[FinishedPhoto]) -> Iterator[dict[str, Any]]:
        """Read the rows of ``components.csv`` of some photographs back, one line at a time."""
        with explained(self.lines), self.lines.open("rb") as file:
            for photo in photos:
                if photo.count:
                    file.seek(photo.start)
                    yield from json.loads(file.read(photo.size))["components"]

    def _forget(self) -> None:
        self.finished.clear()
        self._end = 0

    def _take(self, line: bytes) -> None:
        start, self._end = self._end, self._end + len(line) + 1
        plain = _parsed(line)
        if plain is not None:
            row = {sys.intern(name): value for name, value in plain["row"].items()}
            count = len(plain["components"])
            self.finished[plain["stamp"]] = FinishedPhoto(row, count, start, len(line))


def _parsed(line: bytes) -> dict[str, Any] | None:
    """Return what a line says; None for one that is torn or was changed since.

    Its photograph is then measured again.
    """
    try:
        plain: dict[str, Any] = json.loads(line)
        return plain if _sum(plain) == plain.get("sum") else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _last_line(path: Path) -> bytes:
    """Return what stands after the last newline of a file."""
    last = b""
    try:
        with path.open("rb") as file:
            for line in file:
                last = line
    except FileNotFoundError:
        return b""
    return b"" if last.endswith(b"\n") else last


def key_of(decided: Mapping[str, Any]) -> str:
    """Return 16 hexadecimal digits for what decides a run."""
    return hashlib.sha256(json.dumps(decided, sort_keys=True, default=str).encode()).hexdigest()[
        :16
    ]


def _sum(line: Mapping[str, Any]) -> str:
    """Return what tells whether a line is as it was written."""
    plain = json.dumps({name: line[name] for name in ("stamp", "row", "components")})
    return hashlib.blake2b(plain.encode(), digest_size=8).hexdigest()


def stamp_of(photo: PhotoFile) -> str:
    """Return what changes when a photograph is replaced or has another name; "" if it is gone."""
    try:
        about = photo.path.stat()
    except FileNotFoundError:
        return ""
    return f"{photo.file}|{photo.key}|{about.st_size}|{about.st_mtime_ns}"


def open_journal(folder: Path, decided: Mapping[str, Any], *, force: bool = False) -> PhotoJournal:
    """Begin a run in a folder, or go on with the one that is there.

    Parameters
    ----------
    folder : path
    decided : mapping
        Plain values: all that decides the numbers.
    force : bool
        Start anew where another run is: its masks, overlays and tables are removed; other files
        stay.

    Raises
    ------
    OutputExists
        If the folder holds another run, or something else; by force only if something has the name
        of what a run writes.
    OutputFailed
        If it cannot be written to.
    """
    plain: dict[str, Any] = json.loads(json.dumps(dict(decided), default=str))
    folder = store.check_output(folder, force=True)
    if folder.exists() and not folder.is_dir():
        raise OutputFailed(
            f"{folder} is a file; wanted is a folder for masks, overlays and tables."
        )
    journal = PhotoJournal(folder, plain)
    if folder.is_dir():
        _check_writable(folder)
        _look(journal, force=force)
    note_run(journal)
    journal.begin()
    return journal


def note_run(journal: PhotoJournal) -> None:
    """Write ``run.json``, by which the same command knows the run again."""
    text = json.dumps(run_facts(journal), indent=1) + "\n"
    store.write_text(journal.folder / RUN, text, force=True)


def run_facts(journal: PhotoJournal) -> dict[str, Any]:
    """Return what ``run.json`` holds when a run begins."""
    return {
        "selion crops": selion.__version__,
        "key": journal.key,
        "begun": _now(),
        "finished": None,
        "decided": journal.decided,
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def close_journal(journal: PhotoJournal, facts: Mapping[str, Any]) -> None:
    """Write into ``run.json`` that the run is finished, and what it gave."""
    known = _known(journal.folder) or run_facts(journal)
    store.write_text(
        journal.folder / RUN,
        json.dumps(known | {"finished": _now()} | dict(facts), indent=1) + "\n",
        force=True,
    )


def _check_writable(folder: Path) -> None:
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputFailed(
            f"{folder} cannot be written to: there is no permission; choose another folder."
        )


def _look(journal: PhotoJournal, *, force: bool) -> None:
    """Take up what is finished, or refuse, or by force clear away."""
    known = _known(journal.folder)
    if known is None:
        if not is_bare(journal.folder) and not force:
            raise OutputExists(
                f"{journal.folder} is there already and holds no run of selion crops: choose a "
                "new folder, or write into it with --force."
            )
        _check_foreign(journal.folder)
        if force:
            _clear(journal.folder)
        return
    if not force and known.get("key") == journal.key:
        return
    if not force:
        raise OutputExists(
            f"{journal.folder} holds a run with "
            f"{_difference(known.get('decided'), journal.decided)}: choose another folder, or "
            "start over with --force."
        )
    _clear(journal.folder)


def _check_foreign(folder: Path) -> None:
    """Refuse (OutputExists) a folder without a run that has names of what a run writes.

    Where a list of finished photographs lies, its ``run.json`` alone is gone.
    """
    names = (RUN,) if (folder / LINES).is_file() else (RUN, *WRITTEN)
    taken = [name for name in names if (folder / name).exists()]
    if taken:
        raise OutputExists(
            f"{folder} holds {taken[0]}, which is of no run of selion crops and would be lost, so "
            "--force does not replace it: choose another folder, or move it away."
        )


def _known(folder: Path) -> dict[str, Any] | None:
    try:
        known = json.loads((folder / RUN).read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise UnreadableFile(
            f"{folder / RUN} cannot be read ({error}): delete it, or choose another folder."
        ) from error
    return known if isinstance(known, dict) and value_of(known, "selion crops", folder) else None


def _difference(before: Any, now: Mapping[str, Any]) -> str:
    """Say in words what differs between two runs."""
    before = before if isinstance(before, dict) else {}
    parts = [
        f"{name} {_short(before.get(name))} instead of {_short(value)}"
        for name, value in now.items()
        if before.get(name) != value
    ]
    return "another " + ", ".join(parts) if parts else "other options"


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return str(value.get("name") or value.get("rule") or "")
    return "none" if value is None else str(value)


def _written(path: Path) -> Iterator[str]:
    """Yield the names of the files that a list of finished photographs knows."""
    try:
        with path.open("rb") as file:
            for line in file:
                plain = _parsed(line) or {"row": {}}
                yield from (str(plain["row"][name]) for name in OUTPUTS if plain["row"].get(name))
    except FileNotFoundError:
        return


def _clear(folder: Path) -> None:
    """Remove what a run wrote, as its journal lists it, and nothing else."""
    for name in _written(folder / LINES):
        target = folder / name
        if target.is_file() and target.resolve().is_relative_to(folder.resolve()):
            target.unlink()
    (folder / LINES).unlink(missing_ok=True)
