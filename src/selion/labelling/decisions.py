"""What people decided about masks.

One line of JSON per decision, only ever appended, each with the hashes of what was seen.

A line is a decision or the undoing of a batch of them (a page of the coarse pass, one image of the
fine pass)::

    {"id": "k3-0", "batch": "k3", "key": "plot7/IMG_1", "decision": "keep", "person": "Ada",
     "pass": "coarse", "seconds": 0.161, "time": "2025-06-01T09:30:12Z", "image": "9f86d0...",
     "mask": "60303a...", "stat": [1834, 1748770212000000000]}
    {"id": "k9", "batch": "k9", "key": "plot7/IMG_1", "decision": "keep", ..., "before": "a41c..."}
    {"id": "k4", "undo": "k3", "person": "Ada", "pass": "coarse", "time": "2025-06-01T09:30:20Z"}

The last word on a key wins.  ``before`` stands where the person corrected the mask: the hash of the
one that was there first, which is kept (:mod:`selion.labelling.corrections`).  A line that is torn
(the machine stopped while it was written) counts as not written.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selion.errors import UnknownName, UnreadableFile

LOG = "decisions.jsonl"
KEEP, REJECT, FULL, UNSURE = "keep", "reject", "full", "unsure"
WORDS = (KEEP, REJECT, FULL, UNSURE)
"""Keep the mask; throw it away; the whole image is crop (keep it as all ones); cannot say."""
STAGES = ("coarse", "fine", "settle")
"""Contact sheets; one at a time; one at a time over what people disagree on.  A later pass outranks
an earlier one when it is asked whether people disagree."""


@dataclass(frozen=True, slots=True)
class Decision:
    """One person's word on one mask."""

    id: str
    """Made by the page: what is sent twice is written once."""
    batch: str
    """Decisions that were made, and are undone, together."""
    key: str
    """Path of the mask below its folder, without its ending."""
    decision: str
    """One of ``keep``, ``reject``, ``full``, ``unsure``."""
    person: str
    stage: str
    """One of ``coarse``, ``fine``, ``settle``; ``pass`` in the file."""
    seconds: float
    """Time that it took; on a contact sheet an equal part of the page's."""
    time: str
    """When it was written, ISO 8601 in UTC."""
    image: str
    """Hash of the photograph's bytes."""
    mask: str
    """Hash of the mask's bytes."""
    stat: tuple[int, int] = (0, 0)
    """Size in bytes and time of change in ns of the mask, so that an unchanged one need not be
    hashed again."""
    before: str = ""
    """Hash of the mask that this person corrected; empty: it is as it was."""

    def __post_init__(self) -> None:
        if self.decision not in WORDS:
            raise UnknownName.among("decision", self.decision, WORDS)
        if self.stage not in STAGES:
            raise UnknownName.among("pass", self.stage, STAGES)

    def to_line(self) -> str:
        """Return the line of the log, without its end."""
        table = {name: getattr(self, name) for name in self.__slots__}
        table["pass"] = table.pop("stage")
        if not self.before:
            del table["before"]
        return json.dumps(table, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Undo:
    """A batch is taken back."""

    id: str
    undo: str
    """Batch that no longer counts."""
    person: str
    stage: str
    time: str

    def to_line(self) -> str:
        """Return the line of the log, without its end."""
        return json.dumps(
            {
                "id": self.id,
                "undo": self.undo,
                "person": self.person,
                "pass": self.stage,
                "time": self.time,
            },
            ensure_ascii=False,
        )


Entry = Decision | Undo


def parse_line(line: bytes) -> Entry | None:
    """Read one line of the log; None for what is torn or was never one of ours."""
    try:
        table = json.loads(line)
        table["stage"] = table.pop("pass")
        if "undo" in table:
            return Undo(**{name: _text(table[name]) for name in Undo.__slots__})
        texts = {
            name: _text(table[name])
            for name in (
                "id",
                "batch",
                "key",
                "decision",
                "person",
                "stage",
                "time",
                "image",
                "mask",
            )
        }
        size, changed = table.get("stat", (0, 0))
        return Decision(
            **texts,
            seconds=_seconds(table["seconds"]),
            stat=(int(size), int(changed)),
            before=_text(table.get("before", "")),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, UnknownName):
        return None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _seconds(value: Any) -> float:
    seconds = float(value)
    return seconds if math.isfinite(seconds) and seconds >= 0 else 0.0


@dataclass
class History:
    """Entries in the order in which they were written.

    What was undone is known but does not count.
    """

    ids: set[str] = field(default_factory=set)
    undos: dict[str, Undo] = field(default_factory=dict)
    """Undo entries by their id."""
    batches: dict[str, list[Decision]] = field(default_factory=dict)
    """Decisions by batch, in order."""
    keys: dict[str, list[Decision]] = field(default_factory=dict)
    """Decisions that count, by key, in order."""
    undone: set[str] = field(default_factory=set)
    corrected: dict[str, set[str]] = field(default_factory=dict)
    """Hashes of masks that people made by correcting one, by key; also where that was undone."""
    skipped: int = 0
    """Lines that were none of ours, or torn."""

    def add(self, entry: Entry | None) -> None:
        """Take in the next entry."""
        if entry is None:
            self.skipped += 1
        elif entry.id not in self.ids:
            self.ids.add(entry.id)
            if isinstance(entry, Undo):
                self._take_back(entry)
            else:
                self.batches.setdefault(entry.batch, []).append(entry)
                if entry.before:
                    self.corrected.setdefault(entry.key, set()).add(entry.mask)
                if entry.batch not in self.undone:
                    self.keys.setdefault(entry.key, []).append(entry)

    def _take_back(self, entry: Undo) -> None:
        self.undos[entry.id] = entry
        self.undone.add(entry.undo)
        for key in {decision.key for decision in self.batches.get(entry.undo, [])}:
            left = [decision for decision in self.keys.pop(key, []) if decision.batch != entry.undo]
            if left:
                self.keys[key] = left

    def last_batch(self, person: str, stages: tuple[str, ...]) -> str | None:
        """Return the latest batch of a person in some passes that still counts."""
        for name in reversed(self.batches):
            first = self.batches[name][0]
            if name not in self.undone and first.person == person and first.stage in stages:
                return name
        return None


def read_history(path: Path) -> History:
    """Read a whole log.

    Raises
    ------
    UnreadableFile
        If it is there but cannot be read.
    """
    history = History()
    for line in _lines(path):
        history.add(parse_line(line))
    return history


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            yield from (line for line in file if line.strip())
    except FileNotFoundError:
        return
    except OSError as error:
        raise UnreadableFile(
            f"{path} cannot be read as a log of decisions ({error.strerror}): check the file and "
            "its permissions."
        ) from error


def read_decisions(
    path: str | os.PathLike[str], masks: str | os.PathLike[str] | None = None
) -> Mapping[str, Decision]:
    """Return the last word on every mask.

    Parameters
    ----------
    path : str or path
        ``decisions.jsonl``, or the folder in which it lies.
    masks : str or path, optional
        Folder of the masks; by default ``masks`` beside the log, or the log's own folder where
        there is none.

    Returns
    -------
    mapping of str to Decision
        By key.  What was undone is not in it, nor is a mask that is gone or has other bytes than
        those that were looked at.

    Raises
    ------
    UnreadableFile
        If the log cannot be read.
    """
    path = Path(path)
    path = path / LOG if path.is_dir() else path
    folder = Path(masks) if masks is not None else mask_folder(path.parent)
    history = read_history(path)
    last = {key: decisions[-1] for key, decisions in history.keys.items()}
    return {
        key: decision
        for key, decision in last.items()
        if is_current(decision, mask_file(folder, key))
    }


def mask_file(folder: Path, key: str) -> Path:
    """Return the mask of a key; some programs write its ending in capitals."""
    named = [folder / f"{key}{ending}" for ending in (".png", ".PNG")]
    return next((path for path in named if path.is_file()), named[0])


def mask_folder(pseudo: Path) -> Path:
    """Return where the masks lie in a folder of pseudo-labels.

    ``masks`` in it, or the folder itself.
    """
    return pseudo / "masks" if (pseudo / "masks").is_dir() else pseudo


def is_current(decision: Decision, mask: Path) -> bool:
    """Say whether a decision was made on the mask as it is now."""
    try:
        found = mask.stat()
        return (
            decision.stat == (found.st_size, found.st_mtime_ns)
            or content_hash(mask) == decision.mask
        )
    except OSError:
        return False


def content_hash(path: Path) -> str:
    """Return a hash of a file's bytes (BLAKE2b, 128 bits, hexadecimal)."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
