"""Finished scores of a model in a country: kept, and taken while what decides them is the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import selion
from selion.data.dataset import Dataset
from selion.prediction.number_kinds import wanted_numbers
from selion.segmenter import LoadedModel, as_model
from selion.store import atomic, fingerprint

FOLDER = "scores"
"""Of an output folder."""
EDITION = 2
"""Of the counting: with another one, scores are made again."""


def model_identity(model: LoadedModel[Any]) -> dict[str, Any]:
    """Return all that decides a model's answers, as plain values for JSON.

    Its ``identity``, the inputs on its card, and for each file of its folder that the card names no
    checksum of (the card itself is one): size, time of change and sampled bytes.
    """
    known = as_model(model)
    found = dict(known.identity) | {"card": known.card.to_dict().get("inputs")}
    if wanted_numbers(known.inputs) == "bytes":
        found["shown"] = "bytes"  # before, chips came as they are stored
    folder = known.card.folder
    if folder is not None:
        found["unlisted"] = {
            name: fingerprint(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file()
            and (name := path.relative_to(folder).as_posix()) not in known.card.files
        }
    return found


def keep_key(model: Mapping[str, Any], data: Dataset, **options: object) -> str:
    """Return a short text that changes whenever scores would.

    Parameters
    ----------
    model : mapping
        :func:`model_identity`.
    data : Dataset
        The chips: their names, and size and time of change of each of their files.
    **options
        What else decides the scores.
    """
    files = [
        [str(path.name), (about := path.stat()).st_size, about.st_mtime_ns]
        for entry in data.entries
        for path in entry.files
    ]
    decided = {
        "edition": EDITION,
        "selion": selion.__version__,
        "model": model,
        "chips": list(data.keys),
        "files": files,
        "options": options,
    }
    text = json.dumps(decided, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


class KeptScores:
    """Scores in a folder, one file for each model, country and kind of score."""

    def __init__(self, out: Path) -> None:
        self.folder = out / FOLDER

    def path(self, name: str, key: str) -> Path:
        """Return where scores lie; the name is for people, the key decides."""
        readable = "".join(c if c.isalnum() or c in "-_." else "-" for c in name)
        return self.folder / f"{readable}-{key[:16]}.json"

    def read(self, name: str, key: str) -> dict[str, Any] | None:
        """Return finished scores; None where there are none, or not of this key."""
        path = self.path(name, key)
        try:
            table = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError, RecursionError):
            return None
        if not isinstance(table, dict) or table.get("key") != key:
            return None
        return table

    def write(self, name: str, key: str, table: Mapping[str, Any]) -> None:
        """Keep scores; what lies there of another run of the same key is the same."""
        path = self.path(name, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_text(path, json.dumps({"key": key, **table}), force=True)
