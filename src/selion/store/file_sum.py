"""A file by its content."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class FileSum:
    """A file by its content."""

    bytes: int
    sha256: str


def sum_file(path: Path) -> FileSum:
    """Read a file whole.

    Raises
    ------
    OSError
        As it comes.
    """
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256")
        return FileSum(stream.tell(), digest.hexdigest())
