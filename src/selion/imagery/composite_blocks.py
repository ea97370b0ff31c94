"""Finished blocks of a composite on disk, and the scenes that broke.

So an interrupted composite goes on to the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from selion.errors import OutputFailed
from selion.grid import Roi, roi_shape

HEAD = struct.Struct("<8s16sI")
"""Magic, BLAKE2b digest of what follows the head, length of the JSON text; then that text, then the
pixels (little-endian uint16)."""
MAGIC = b"selioncp"
FORMER_MAGIC = b"tilthcmp"
"""What blocks began with under the former name; such are read, and never written."""
BLOCK = ".block"
PART = ".part"
MANIFEST = "composite.json"


@dataclass(frozen=True, eq=False, slots=True)
class Block:
    """A finished piece of a composite."""

    values: np.ndarray
    """(band, y, x) uint16; the last band is the number of views."""
    clear: Mapping[str, int]
    """Id of each scene that took part -> its clear pixels here."""


@dataclass(eq=False)
class KeptBlocks:
    """A folder with one file per finished block of one composite.

    A file of another key, region or shape, a truncated or changed one, one in which a scene took
    part that is set aside, and one that was made while a scene was set aside that is not so any
    more, count as not there.  Pixels are not compressed: noise gains little, and the folder lives
    only until the composite is whole.

    Parameters
    ----------
    folder : path
        Made by :meth:`open` if missing.
    key : str
        Stands for all that decides the result; blocks of another key are removed.
    bands : int
        Bands of a block.
    """

    folder: Path
    key: str
    bands: int
    lost: dict[str, str] = field(default_factory=dict)
    """Id of each scene that was set aside -> why."""
    _known: dict[str, tuple[frozenset[str], frozenset[str]]] = field(default_factory=dict)
    """Name of each file that was checked or written in this run -> scenes that took part, scenes
    that were set aside then."""

    @classmethod
    def open(cls, folder: str | os.PathLike[str], key: str, bands: int) -> KeptBlocks:
        """Open the folder, with what an earlier run of the same key left in it.

        Raises
        ------
        OutputFailed
            If it cannot be written to.
        """
        kept = cls(Path(folder), key, bands)
        try:
            kept.folder.mkdir(parents=True, exist_ok=True)
            kept.lost = kept._lost_before()
            kept._clear(PART)
            kept._write_manifest()
        except OSError as error:
            raise kept._failed(error) from error
        return kept

    def _lost_before(self) -> dict[str, str]:
        """Return what the manifest says is lost.

        Without a manifest of this key nothing in the folder is ours.
        """
        try:
            manifest = json.loads((self.folder / MANIFEST).read_text("utf-8"))
            if manifest["key"] == self.key:
                return {str(scene): str(why) for scene, why in manifest["lost"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            pass
        self._clear(BLOCK)
        return {}

    def set_aside(self, lost: Mapping[str, str]) -> None:
        """Remember scenes that broke; blocks in which they took part are finished no longer."""
        self._now_lost(self.lost | dict(lost))

    def forgive(self, scenes: Collection[str]) -> None:
        """Take scenes back in; blocks that were made without them are finished no longer."""
        self._now_lost({scene: why for scene, why in self.lost.items() if scene not in scenes})

    def _now_lost(self, lost: dict[str, str]) -> None:
        self.lost = lost
        try:
            self._write_manifest()
        except OSError as error:
            raise self._failed(error) from error

    def save(self, roi: Roi, block: Block) -> None:
        """Keep a finished block.

        Raises
        ------
        OutputFailed
            If there is no space left, or no permission.
        """
        about = json.dumps(
            {**self._about(roi), "clear": dict(block.clear), "without": sorted(self.lost)},
            sort_keys=True,
        ).encode()
        pixels = np.ascontiguousarray(block.values, "<u2").data
        head = HEAD.pack(MAGIC, _digest(about, pixels), len(about))
        try:
            self._write(_name(roi), head, about, pixels)
        except OSError as error:
            raise self._failed(error) from error
        self._known[_name(roi)] = frozenset(block.clear), frozenset(self.lost)

    def load(self, roi: Roi) -> Block | None:
        """Return a block, or None if there is no whole and valid one; every byte is checked."""
        try:
            content = (self.folder / _name(roi)).read_bytes()
        except OSError:
            return None
        if len(content) < HEAD.size:
            return None
        magic, digest, length = HEAD.unpack_from(content)
        about, pixels = (
            memoryview(content)[HEAD.size : HEAD.size + length],
            memoryview(content)[HEAD.size + length :],
        )
        if magic not in (MAGIC, FORMER_MAGIC) or digest != _digest(about, pixels):
            return None
        said = json.loads(bytes(about))
        clear, without = said.pop("clear"), said.pop("without")
        if said != self._about(roi):
            return None
        self._known[_name(roi)] = frozenset(clear), frozenset(without)
        if not self._stands(roi):
            return None
        return Block(np.frombuffer(pixels, "<u2").reshape(self.bands, *roi_shape(roi)), clear)

    def has(self, roi: Roi) -> bool:
        """Say whether :meth:`load` returns a block.

        What this run has seen once is not read again.
        """
        return self._stands(roi) if _name(roi) in self._known else self.load(roi) is not None

    def _stands(self, roi: Roi) -> bool:
        """Say whether a block that is there would come out the same now."""
        took_part, without = self._known[_name(roi)]
        return not took_part & self.lost.keys() and without <= self.lost.keys()

    def remove(self) -> None:
        """Remove what was kept, and the folder if that was all it held.

        Call it when the composite is whole.
        """
        self._clear(BLOCK)
        self._clear(PART)
        (self.folder / MANIFEST).unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _about(self, roi: Roi) -> dict[str, object]:
        return {
            "key": self.key,
            "roi": [roi[0].start, roi[0].stop, roi[1].start, roi[1].stop],
            "bands": self.bands,
        }

    def _write_manifest(self) -> None:
        about = {
            "what": "finished blocks of an interrupted selion composite",
            "key": self.key,
            "lost": self.lost,
        }
        self._write(MANIFEST, json.dumps(about, indent=1).encode())

    def _write(self, name: str, *parts: bytes | memoryview) -> None:
        """Write a file in one step.

        A killed process leaves the old file, or the new one, or a ``.part`` that nobody reads.
        """
        part = self.folder / f"{name}.{os.getpid()}{PART}"
        try:
            with part.open("wb") as file:
                for content in parts:
                    file.write(content)
            part.replace(self.folder / name)
        except OSError:
            # on a full disk it would hold the space that the next try needs
            part.unlink(missing_ok=True)
            raise

    def _clear(self, ending: str) -> None:
        for path in self.folder.glob(f"*{ending}"):
            path.unlink(missing_ok=True)

    def _failed(self, error: OSError) -> OutputFailed:
        message = (
            f"Finished blocks cannot be kept in {self.folder} ({error.strerror}): free some space, "
            "or choose another place; what is there is not lost."
        )
        return OutputFailed(message)


def _digest(*parts: bytes | memoryview) -> bytes:
    state = hashlib.blake2b(digest_size=16)
    for part in parts:
        state.update(part)
    return state.digest()


def _name(roi: Roi) -> str:
    return f"{roi[0].start}-{roi[0].stop}_{roi[1].start}-{roi[1].stop}{BLOCK}"
