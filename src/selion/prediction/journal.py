"""Finished blocks on disk or on an object store, so that an interrupted run goes on where it was.

A block of another run, or a broken one, is never taken.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np

from selion import store
from selion.errors import OutputFailed
from selion.grid import Roi, roi_shape
from selion.store.former import note

MAGIC = b"selionb2"
FORMER_MAGIC = b"tilthbl2"
"""What blocks began with under the former name; such are read, and never written."""
HEAD = struct.Struct("<8s32s4q3q")
"""Magic, SHA-256 of the key, bounds of the region, shape; then a BLAKE2b digest of 16 bytes over
head and payload, then the payload."""
DIGEST = 16
BLOCK = ".block"
PART = ".part"
MANIFEST = "journal.json"
READS = 3
"""Times that an object is read whose bytes are not what its checksum says: a transfer may have been
cut."""


class BlobStore(Protocol):
    """Where the files of a journal lie."""

    def get(self, name: str) -> bytes | None:
        """Return what a file holds; None if there is none."""
        ...

    def put(self, name: str, content: bytes, *, replace: bool = False) -> bool:
        """Write a file whole or not at all, without ``replace`` only where there is none.

        Say whether it was written.
        """
        ...

    def names(self) -> dict[str, int]:
        """Return the names and sizes of all files."""
        ...

    def delete(self, *names: str) -> None:
        """Delete files, if they are there."""
        ...


class FolderStore:
    """A folder.  Several processes may write to it at once.

    Each writes under a name of its own, and renames.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __str__(self) -> str:
        return str(self.folder)

    def get(self, name: str) -> bytes | None:
        """Read a file; one that cannot be read counts as not there."""
        try:
            return (self.folder / name).read_bytes()
        except OSError:
            return None

    def put(self, name: str, content: bytes, *, replace: bool = True) -> bool:  # noqa: ARG002 - equal blocks have equal bytes: it does not matter whose stays
        """Write a file in one step.

        A killed process leaves the old file, or the new one, or a ``.part`` that nobody reads.

        Raises
        ------
        OutputFailed
            If there is no space left, or no permission.
        """
        part = self.folder / f"{name}.{secrets.token_hex(6)}{PART}"
        try:
            part.write_bytes(content)
            part.replace(self.folder / name)
        except OSError as error:
            # on a full disk it would hold the space that the next try needs
            part.unlink(missing_ok=True)
            raise self._failed(error) from error
        return True

    def names(self) -> dict[str, int]:
        """List the folder."""
        return (
            {path.name: path.stat().st_size for path in self.folder.iterdir() if path.is_file()}
            if self.folder.is_dir()
            else {}
        )

    def delete(self, *names: str) -> None:
        """Delete files."""
        for name in names:
            (self.folder / name).unlink(missing_ok=True)

    def prepare(self) -> None:
        """Make the folder."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> OutputFailed:
        return OutputFailed(
            f"The journal of finished blocks in {self.folder} cannot be written "
            f"({error.strerror}): free some space, or choose another place."
        )


class BlockJournal:
    """A folder, or a prefix on an object store, with one file per finished block.

    Each file is written in one step, holds the key and a checksum, and is named by its region: a
    file of another key or region, a truncated or a changed one counts as not there.  Nothing else
    depends on it: without the folder the run gives the same bytes.  On an object store a block is
    put there only if there is none (a conditional write): of two workers that made the same block,
    one finds it done.  A journal can be pickled: what comes out in another process writes to the
    same place, and clears nothing.

    Parameters
    ----------
    folder : path or URL
        Made if missing.  If it holds the blocks of another key they are removed.
    key : str
        ``Plan.key``.
    former_key : str, optional
        ``Plan.former_key``: blocks that were written under the project's former name are read too.

    Raises
    ------
    OutputFailed
        If the place cannot be written to.
    """

    def __init__(
        self, folder: str | os.PathLike[str], key: str, former_key: str | None = None
    ) -> None:
        self.key, self._former_key = key, former_key
        self.shelf: BlobStore = (
            store.ObjectFolder(os.fspath(folder))
            if store.is_object_url(folder)
            else FolderStore(Path(folder))
        )
        if isinstance(self.shelf, FolderStore):
            self.shelf.prepare()
        self._open()

    @property
    def folder(self) -> str:
        """Where it is, for messages."""
        return str(self.shelf)

    def _open(self) -> None:
        before = self._manifest()
        if before == (FORMER_MAGIC.decode(), self._former_key):
            note(f"The journal in {self.folder}")
        elif before != (MAGIC.decode(), self.key):
            self._clear(BLOCK)
        self._clear(PART)
        said = {
            "what": "finished blocks of an interrupted selion run",
            "key": self.key,
            "form": MAGIC.decode(),
        }
        self.shelf.put(MANIFEST, json.dumps(said).encode(), replace=True)

    def _manifest(self) -> tuple[str, str]:
        """Return form and key of the blocks that are there.

        On a store blocks of another form would count as finished.
        """
        try:
            said = json.loads(self.shelf.get(MANIFEST) or b"")
            return str(said["form"]), str(said["key"])
        except (ValueError, KeyError, TypeError):
            return "", ""

    def save(self, roi: Roi, stored: np.ndarray) -> bool:
        """Keep a finished block.

        Parameters
        ----------
        roi : Roi
            Region of the working grid.
        stored : (class, y, x) uint8 ndarray
            Quantised scores.

        Returns
        -------
        bool
            Whether it is ours; on an object store somebody else may have put a sound one there
            first.

        Raises
        ------
        OutputFailed
            If there is no space left, or no permission.
        """
        head = self._head(roi, stored.shape)
        payload = store.pack(np.ascontiguousarray(stored))
        content = head + _digest(head, payload) + payload
        if self.shelf.put(_name(roi), content):
            return True
        shape = (stored.shape[0], *roi_shape(roi))
        return not self.has(roi, shape) and self.shelf.put(_name(roi), content, replace=True)

    def load(self, roi: Roi, shape: tuple[int, int, int]) -> np.ndarray | None:
        """Return the (class, y, x) uint8 scores of a block.

        None if there is no whole and unchanged one of this key.
        """
        payload = self._payload(roi, shape)
        return (
            None
            if payload is None
            else np.frombuffer(store.unpack(payload), np.uint8).reshape(shape)
        )

    def has(self, roi: Roi, shape: tuple[int, int, int]) -> bool:
        """Say whether :meth:`load` returns a block; every byte is checked."""
        return self._payload(roi, shape) is not None

    def finished(self, of: Callable[[Roi], tuple[int, int, int]], rois: list[Roi]) -> list[bool]:
        """Say for each region whether it is there.

        In a folder every byte is checked, on an object store one listing is asked for.

        What is on a store was put there whole; its bytes are checked when they are read.
        """
        if isinstance(self.shelf, FolderStore):
            return [self.has(roi, of(roi)) for roi in rois]
        there = self.shelf.names()
        return [there.get(_name(roi), 0) > HEAD.size + DIGEST for roi in rois]

    def _payload(self, roi: Roi, shape: tuple[int, int, int]) -> bytes | None:
        for _ in range(1 if isinstance(self.shelf, FolderStore) else READS):
            content = self.shelf.get(_name(roi))
            if content is None:
                return None
            head, digest, payload = (
                content[: HEAD.size],
                content[HEAD.size : HEAD.size + DIGEST],
                content[HEAD.size + DIGEST :],
            )
            if head in self._heads(roi, shape) and digest == _digest(head, payload):
                return payload
        return None

    def drop(self, roi: Roi) -> None:
        """Forget a block."""
        self.shelf.delete(_name(roi))

    def remove(self) -> None:
        """Remove what the journal wrote, and the folder if that was all it held.

        Call it when the final output is whole.
        """
        self._clear(BLOCK)
        self._clear(PART)
        self.shelf.delete(MANIFEST)
        if (
            isinstance(self.shelf, FolderStore)
            and self.shelf.folder.is_dir()
            and not any(self.shelf.folder.iterdir())
        ):
            self.shelf.folder.rmdir()

    def _head(self, roi: Roi, shape: tuple[int, ...]) -> bytes:
        return _head(MAGIC, self.key, roi, shape)

    def _heads(self, roi: Roi, shape: tuple[int, ...]) -> tuple[bytes, ...]:
        """Return how a sound block may begin."""
        before = (
            () if self._former_key is None else (_head(FORMER_MAGIC, self._former_key, roi, shape),)
        )
        return (self._head(roi, shape), *before)

    def _clear(self, ending: str) -> None:
        self.shelf.delete(
            *(name for name in self.shelf.names() if name.endswith(ending) and "/" not in name)
        )


def _head(magic: bytes, key: str, roi: Roi, shape: tuple[int, ...]) -> bytes:
    bounds = (roi[0].start, roi[0].stop, roi[1].start, roi[1].stop)
    return HEAD.pack(magic, hashlib.sha256(key.encode()).digest(), *bounds, *shape)


def _digest(head: bytes, payload: bytes) -> bytes:
    state = hashlib.blake2b(head, digest_size=DIGEST)
    state.update(payload)
    return state.digest()


def _name(roi: Roi) -> str:
    return f"{roi[0].start}-{roi[0].stop}_{roi[1].start}-{roi[1].stop}{BLOCK}"
