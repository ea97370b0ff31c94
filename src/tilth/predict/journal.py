"""Finished blocks on disk, so that an interrupted run goes on where it was; a block of another run, or a broken one, is never taken."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zlib
from pathlib import Path

import numpy as np

from tilth.errors import OutputFailed
from tilth.grid import Roi

MAGIC = b"tilthblk"
HEAD = struct.Struct("<8s32s4q3q")
"""Magic, SHA-256 of the key, bounds of the region, shape; then a BLAKE2b digest of 16 bytes over head and payload, then the payload."""
DIGEST = 16
BLOCK = ".block"
PART = ".part"
MANIFEST = "journal.json"


class Journal:
    """A folder with one file per finished block.

    Each file is written under a passing name and renamed, holds the key and a checksum, and is named by its region: a file of another key or
    region, a truncated or a changed one counts as not there.  Nothing else depends on it: without the folder the run gives the same bytes.

    Parameters
    ----------
    folder : path
        Made if missing.  If it holds the blocks of another key they are removed.
    key : str
        ``Plan.key``.

    Raises
    ------
    OutputFailed
        If the folder cannot be written to.
    """

    def __init__(self, folder: str | os.PathLike[str], key: str) -> None:
        self.folder = Path(folder)
        self.key = key
        try:
            self._open()
        except OSError as error:
            raise self._failed(error) from error

    def _open(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._manifest_key() != self.key:
            self._clear(BLOCK)
        self._clear(PART)
        self._write(MANIFEST, json.dumps({"what": "finished blocks of an interrupted tilth run", "key": self.key}).encode())

    def _manifest_key(self) -> str:
        try:
            return str(json.loads((self.folder / MANIFEST).read_text())["key"])
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    def save(self, roi: Roi, stored: np.ndarray) -> None:
        """Keep a finished block.

        Parameters
        ----------
        roi : Roi
            Region of the working grid.
        stored : (class, y, x) uint8 ndarray
            Quantised scores.

        Raises
        ------
        OutputFailed
            If there is no space left, or no permission.
        """
        head = self._head(roi, stored.shape)
        payload = zlib.compress(np.ascontiguousarray(stored).data, level=1)
        try:
            self._write(_name(roi), head + _digest(head, payload) + payload)
        except OSError as error:
            raise self._failed(error) from error

    def load(self, roi: Roi, shape: tuple[int, int, int]) -> np.ndarray | None:
        """Return the (class, y, x) uint8 scores of a block, or None if there is no whole and unchanged one of this key."""
        payload = self._payload(roi, shape)
        return None if payload is None else np.frombuffer(zlib.decompress(payload), np.uint8).reshape(shape)

    def has(self, roi: Roi, shape: tuple[int, int, int]) -> bool:
        """Say whether :meth:`load` returns a block; every byte is checked."""
        return self._payload(roi, shape) is not None

    def _payload(self, roi: Roi, shape: tuple[int, int, int]) -> bytes | None:
        try:
            content = (self.folder / _name(roi)).read_bytes()
        except OSError:
            return None
        head, digest, payload = content[: HEAD.size], content[HEAD.size : HEAD.size + DIGEST], content[HEAD.size + DIGEST :]
        return payload if head == self._head(roi, shape) and digest == _digest(head, payload) else None

    def remove(self) -> None:
        """Remove what the journal wrote, and the folder if that was all it held.  Call it when the final output is whole."""
        self._clear(BLOCK)
        self._clear(PART)
        (self.folder / MANIFEST).unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _head(self, roi: Roi, shape: tuple[int, ...]) -> bytes:
        bounds = (roi[0].start, roi[0].stop, roi[1].start, roi[1].stop)
        return HEAD.pack(MAGIC, hashlib.sha256(self.key.encode()).digest(), *bounds, *shape)

    def _write(self, name: str, content: bytes) -> None:
        """Write a file in one step: a killed process leaves the old file, or the new one, or a ``.part`` that nobody reads."""
        part = self.folder / f"{name}.{os.getpid()}{PART}"
        part.write_bytes(content)
        part.replace(self.folder / name)

    def _clear(self, ending: str) -> None:
        for path in self.folder.glob(f"*{ending}"):
            path.unlink(missing_ok=True)

    def _failed(self, error: OSError) -> OutputFailed:
        return OutputFailed(f"The journal of finished blocks in {self.folder} cannot be written ({error.strerror}): free some space, or choose another place.")


def _digest(head: bytes, payload: bytes) -> bytes:
    state = hashlib.blake2b(head, digest_size=DIGEST)
    state.update(payload)
    return state.digest()


def _name(roi: Roi) -> str:
    return f"{roi[0].start}-{roi[0].stop}_{roi[1].start}-{roi[1].stop}{BLOCK}"
