"""Blocks of remote files: some in memory, more on the disk, both up to a limit.

A block on the disk is a file of its own, named after the version of the remote file that it is of
and its number, so that what changes on the server is never mixed up with what it was.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import threading
import time
import zlib
from functools import cache
from pathlib import Path

from selion.errors import BadInput
from selion.store.cache import LruCache
from selion.store.download import cache_folder

BLOCK = 128 * 1024
"""Bytes of a block: what is asked of a server and kept."""
MEMORY = 64 * 2**20
"""Bytes of blocks that a process holds in memory, over all files."""
LIMIT = 2 * 10**9
"""Bytes of blocks on the disk, unless ``SELION_CACHE_LIMIT`` says otherwise."""
UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
TOUCHED = 3600.0
"""Seconds for which a block that was used counts as just used: its time is not set for each
reading."""
SUM = 4
"""Bytes of the checksum before a block on the disk."""

_memory: LruCache[tuple[str, int], bytes] = LruCache(MEMORY, len)


def cache_limit() -> int:
    """Return the bytes of remote files that are kept on the disk.

    Raises
    ------
    BadInput
        If ``SELION_CACHE_LIMIT`` is no size.
    """
    text = os.environ.get("SELION_CACHE_LIMIT", "").strip()
    if not text:
        return LIMIT
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?b)?", text.lower())
    if found is None:
        raise BadInput(
            f"SELION_CACHE_LIMIT is {text!r}; wanted is a size such as 500MB or 2GB, or 0 to keep "
            "nothing on the disk."
        )
    return int(float(found[1]) * UNITS[found[2] or ""])


class BlockCache:
    """Blocks on the disk, the least recently used of which go first; of use to many processes.

    A cache that cannot be written or read is as good as none: nothing is raised.

    Parameters
    ----------
    folder : Path
    limit : int
        Bytes at most, about: what is put is counted, and the folder looked through when a
        sixteenth of the limit is new.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self.limit = folder, limit
        self._lock = threading.Lock()
        self._new: int | None = None

    def find(self, version: str, number: int) -> bytes | None:
        """Return a block; None if it is not there, or not whole."""
        path = self.folder / version / str(number)
        try:
            held = path.read_bytes()
            if time.time() - path.stat().st_mtime > TOUCHED:
                os.utime(path)
        except OSError:
            return None
        block = held[SUM:]
        return block if zlib.crc32(block).to_bytes(SUM, "little") == held[:SUM] else None

    def put(self, version: str, number: int, block: bytes) -> None:
        """Keep a block."""
        if len(block) > self.limit:
            return
        folder = self.folder / version
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(prefix=".", dir=folder)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(zlib.crc32(block).to_bytes(SUM, "little"))
                    file.write(block)
                Path(name).replace(folder / str(number))
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
        except OSError:
            return
        with self._lock:
            full = self._new is None or self._new + len(block) > self.limit // 16
            self._new = 0 if full else (self._new or 0) + len(block)
        if full:
            self.trim()

    def trim(self) -> None:
        """Delete the blocks that were not used for longest until the limit holds."""
        found = []
        for entry in self.folder.glob("*/*"):
            with contextlib.suppress(OSError):
                about = entry.stat()
                found.append((about.st_mtime_ns, about.st_size, entry))
        held = sum(size for _, size, _ in found)
        for _, size, entry in sorted(found, key=lambda one: (one[0], str(one[2]))):
            if held <= self.limit * 15 // 16:
                break
            with contextlib.suppress(OSError):
                entry.unlink()
                entry.parent.rmdir()  # only if it was the last
            held -= size


@cache
def _on_disk(folder: Path, limit: int) -> BlockCache:
    return BlockCache(folder, limit)


def disk_cache() -> BlockCache | None:
    """Return the cache on the disk; None if it may hold nothing."""
    limit = cache_limit()
    return _on_disk(cache_folder() / "ranges", limit) if limit else None


def find_block(version: str, number: int, *, kept: bool) -> bytes | None:
    """Return a block from memory or, if such are ``kept`` there, from the disk."""
    block = _memory.find((version, number))
    if block is None and kept and (disk := disk_cache()) is not None:
        block = disk.find(version, number)
        if block is not None:
            _memory.put((version, number), block)
    return block


def put_block(version: str, number: int, block: bytes, *, kept: bool) -> None:
    """Hold a block in memory and, if it may be ``kept``, on the disk."""
    _memory.put((version, number), block)
    if kept and (disk := disk_cache()) is not None:
        disk.put(version, number, block)
