"""Finished blocks of an interrupted run, in a folder or on an object store.

One file per block, whole or absent, with a checksum and all that decides its pixels: a block of
another run, or a broken one, is never taken.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from selion.errors import OutputFailed
from selion.grid import Roi
from selion.store.atomic import PART, replace_bytes
from selion.store.compression import pack, unpack
from selion.store.former import note
from selion.store.object_store import ObjectFolder, is_object_url

Shape = tuple[int, int, int]
Buffer = bytes | memoryview
MAGIC = b"selionbk"
FORM = MAGIC.decode()
HEAD = struct.Struct("<8s16sI")
"""Magic, BLAKE2b digest of all that follows it, length of the JSON text; then that text, then the
payload."""
LENGTH_AT = 24
"""Where the length begins, and with it what the digest covers."""
BLOCK = ".block"
READS = 3
"""Times that an object is read whose bytes are not what its checksum says: a transfer may have been
cut."""


class BlobStore(Protocol):
    """Where files lie: a folder, or a prefix on an object store."""

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


@dataclass(frozen=True, slots=True)
class FolderStore:
    """A folder.  Several processes may write to it at once.

    Each writes under a name of its own, and renames.
    """

    folder: Path

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

        Raises
        ------
        OutputFailed
            If there is no space left, or no permission.
        """
        try:
            replace_bytes(self.folder / name, content)
        except OSError as error:
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

    def make(self) -> None:
        """Make the folder."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._failed(error) from error

    def remove_if_empty(self) -> None:
        """Remove the folder if it holds nothing."""
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _failed(self, error: OSError) -> OutputFailed:
        return OutputFailed(
            f"Finished blocks cannot be written to {self.folder} ({error.strerror}): free some "
            "space, or choose another place; what is there is not lost."
        )


@dataclass(frozen=True, slots=True)
class BlockKind:
    """What the blocks of a store are."""

    what: str
    """For people who open the manifest."""
    manifest: str
    """Name of the file that says whose blocks these are."""
    dtype: str
    """Of the pixels, as NumPy writes it; little-endian."""
    packed: bool
    """Whether pixels are compressed (zstd)."""


@dataclass(frozen=True, slots=True)
class FormerBlocks:
    """Blocks in the form of an earlier version; such are read, and never written."""

    form: str
    """What the manifest called the form; empty if it did not."""
    key: str
    decode: Callable[[bytes, str, Roi, Shape], tuple[Mapping[str, Any], Buffer] | None]
    """``decode(content, key, roi, shape) -> (facts, payload)``, None if it is not that block."""


@dataclass(frozen=True, eq=False, slots=True)
class StoredBlock:
    """A block whose checksum is right."""

    facts: Mapping[str, Any]
    """What :meth:`BlockStore.save` was given beside the pixels."""
    payload: Buffer
    shape: Shape
    kind: BlockKind

    @property
    def values(self) -> np.ndarray:
        """The (band, y, x) pixels."""
        content = unpack(self.payload) if self.kind.packed else self.payload
        return np.frombuffer(content, self.kind.dtype).reshape(self.shape)


class BlockStore:
    """A folder, or a prefix on an object store, with one file per finished block.

    Each file is written in one step, holds the key and a checksum, and is named by its region: a
    file of another key or region, a truncated or a changed one counts as not there.  Nothing else
    depends on it: without the folder the run gives the same bytes.  On an object store a block is
    put there only if there is none (a conditional write): of two workers that made the same block,
    one finds it done.  A store can be pickled: what comes out in another process writes to the same
    place, and clears nothing.

    Parameters
    ----------
    folder : path or URL
        Made if missing.  If it holds the blocks of another key they are removed.
    key : str
        Stands for all that decides the pixels.
    kind : BlockKind
    former : FormerBlocks, optional
        Blocks of an earlier version that are read too.
    facts : mapping, optional
        What the manifest says beside the key where no earlier run of the same key has said it.

    Raises
    ------
    OutputFailed
        If the place cannot be written to.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        key: str,
        kind: BlockKind,
        former: FormerBlocks | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        self.key, self.kind, self._former = key, kind, former
        self.local = not is_object_url(folder)
        self.files: BlobStore
        if self.local:
            self.files = FolderStore(Path(folder))
            self.files.make()
        else:
            self.files = ObjectFolder(os.fspath(folder))
        self.facts: dict[str, Any] = dict(facts or {})
        self._open()

    @property
    def folder(self) -> str:
        """Where it is, for messages."""
        return str(self.files)

    def _open(self) -> None:
        said = self._manifest()
        before = said.get("form", ""), said.get("key")
        ours = before == (FORM, self.key)
        taken_over = self._former is not None and before == (self._former.form, self._former.key)
        if taken_over:
            note(f"The journal in {self.folder}")
        if ours or taken_over:
            self.facts |= {k: v for k, v in said.items() if k not in ("what", "key", "form")}
        else:  # on an object store blocks of another form would count as finished
            self._clear(BLOCK)
        self._clear(PART)
        self.remember()

    def _manifest(self) -> dict[str, Any]:
        try:
            said = json.loads(self.files.get(self.kind.manifest) or b"")
        except (ValueError, RecursionError):
            return {}
        return said if isinstance(said, dict) else {}

    def remember(self, **facts: Any) -> None:
        """Write facts into the manifest, beside those that are there.

        Raises
        ------
        OutputFailed
            If it cannot be written.
        """
        self.facts |= facts
        said = {"what": self.kind.what, "key": self.key, "form": FORM} | self.facts
        self.files.put(self.kind.manifest, json.dumps(said, indent=1).encode(), replace=True)

    def save(self, roi: Roi, values: np.ndarray, facts: Mapping[str, Any] | None = None) -> bool:
        """Keep a finished block.

        Parameters
        ----------
        roi : Roi
            Region of the working grid.
        values : (band, y, x) ndarray
            Of the kind's dtype.
        facts : mapping, optional
            Plain values for JSON that belong to the block.

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
        shape = (values.shape[0], values.shape[1], values.shape[2])
        plain = np.ascontiguousarray(values, self.kind.dtype)
        about = self._about(roi, shape) | {"facts": dict(facts or {})}
        content = _encode(about, pack(plain) if self.kind.packed else plain.data.cast("B"))
        if self.files.put(_name(roi), content):
            return True
        return not self.has(roi, shape) and self.files.put(_name(roi), content, replace=True)

    def find(self, roi: Roi, shape: Shape) -> StoredBlock | None:
        """Return a block; None if there is no whole and unchanged one of this key.

        Every byte is checked.
        """
        for _ in range(1 if self.local else READS):
            content = self.files.get(_name(roi))
            if content is None:
                return None
            found = self._decoded(content, roi, shape)
            if found is not None:
                return StoredBlock(*found, shape, self.kind)
        return None

    def _decoded(
        self, content: bytes, roi: Roi, shape: Shape
    ) -> tuple[Mapping[str, Any], Buffer] | None:
        found = decode_block(content, MAGIC, LENGTH_AT)
        if found is not None:
            facts = found[0].pop("facts", {})
            return (facts, found[1]) if found[0] == self._about(roi, shape) else None
        former = self._former
        return None if former is None else former.decode(content, former.key, roi, shape)

    def _about(self, roi: Roi, shape: Shape) -> dict[str, Any]:
        bounds = [roi[0].start, roi[0].stop, roi[1].start, roi[1].stop]
        return {"key": self.key, "roi": [int(edge) for edge in bounds], "shape": list(shape)}

    def load(self, roi: Roi, shape: Shape) -> np.ndarray | None:
        """Return the (band, y, x) pixels of a block, or None as :meth:`find` does."""
        found = self.find(roi, shape)
        return None if found is None else found.values

    def has(self, roi: Roi, shape: Shape) -> bool:
        """Say whether :meth:`load` returns a block; every byte is checked."""
        return self.find(roi, shape) is not None

    def finished(self, shape_of: Callable[[Roi], Shape], rois: list[Roi]) -> list[bool]:
        """Say for each region whether it is there.

        In a folder every byte is checked, on an object store one listing is asked for.

        What is on a store was put there whole; its bytes are checked when they are read.
        """
        if self.local:
            return [self.has(roi, shape_of(roi)) for roi in rois]
        there = self.files.names()
        return [there.get(_name(roi), 0) > HEAD.size for roi in rois]

    def drop(self, roi: Roi) -> None:
        """Forget a block."""
        self.files.delete(_name(roi))

    def remove(self) -> None:
        """Remove what the store wrote, and the folder if that was all it held.

        Call it when the final output is whole.
        """
        self._clear(BLOCK)
        self._clear(PART)
        self.files.delete(self.kind.manifest)
        if isinstance(self.files, FolderStore):
            self.files.remove_if_empty()

    def _clear(self, ending: str) -> None:
        self.files.delete(
            *(name for name in self.files.names() if name.endswith(ending) and "/" not in name)
        )


def decode_block(
    content: bytes, magic: bytes, checked_from: int
) -> tuple[dict[str, Any], memoryview] | None:
    """Return the JSON text and the payload of a block's file, None if a byte of it is wrong.

    Parameters
    ----------
    content : bytes
    magic : bytes
        With which it must begin.
    checked_from : int
        First byte that its digest covers.
    """
    if len(content) < HEAD.size:
        return None
    found, digest, length = HEAD.unpack_from(content)
    view = memoryview(content)
    if found != magic or digest != _digest(view[checked_from:]):
        return None
    try:
        said = json.loads(bytes(view[HEAD.size : HEAD.size + length]))
    except (ValueError, RecursionError):
        return None
    return said, view[HEAD.size + length :]


def _encode(about: Mapping[str, Any], payload: Buffer) -> bytes:
    text = json.dumps(about, sort_keys=True).encode()
    length = struct.pack("<I", len(text))
    return b"".join((MAGIC, _digest(length, text, payload), length, text, payload))


def _digest(*parts: Buffer) -> bytes:
    state = hashlib.blake2b(digest_size=16)
    for part in parts:
        state.update(part)
    return state.digest()


def _name(roi: Roi) -> str:
    return f"{roi[0].start}-{roi[0].stop}_{roi[1].start}-{roi[1].stop}{BLOCK}"
