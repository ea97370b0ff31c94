"""Small pictures made ahead by threads, kept in memory and in a hidden folder.

Large ones made when they are asked for.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from selion.cores import usable_cores
from selion.labelling.queue import Item
from selion.labelling.screen import hash_files, version
from selion.store.atomic import replace_bytes
from selion.store.cache import LruCache
from selion.web.pictures import Large, SmallPicture, make_large, make_small

FOLDER = ".screen"
"""Hidden folder beside the log; it may be deleted at any time."""
MEMORY = 96 << 20
"""Bytes of small pictures that are kept in memory."""
LARGE = 12
"""Large pictures that are kept in memory."""


class Gallery:
    """Pictures of items, by item and version; safe to be used by several threads."""

    def __init__(self, folder: Path | None, threads: int | None = None) -> None:
        self.folder = folder
        self._pool = ThreadPoolExecutor(threads or max(2, usable_cores()), "pictures")
        self._lock = threading.Lock()
        self._small: LruCache[tuple[str, str], SmallPicture] = LruCache(
            MEMORY, lambda made: len(made.overlay) + len(made.photo)
        )
        self._making: dict[tuple[str, str], Future[SmallPicture]] = {}
        self._large: LruCache[tuple[str, str, int], Future[Large]] = LruCache(LARGE)

    def ahead(self, items: Sequence[Item]) -> None:
        """Begin to make small pictures.

        What was begun before and is in nobody's hands yet is let go.
        """
        wanted = {(item.id, version(item)): item for item in items}
        with self._lock:
            stale = [(name, future) for name, future in self._making.items() if name not in wanted]
        for name, future in stale:
            if future.cancel():
                with self._lock:
                    self._making.pop(name, None)
        for item in wanted.values():
            self._begin(item)

    def small(self, item: Item) -> SmallPicture:
        """Return the small pictures of an item.

        Raises
        ------
        OSError
            If a file is gone.
        """
        found = self._begin(item)
        if isinstance(found, SmallPicture):
            return found
        try:
            return found.result()
        except CancelledError:  # let go in the same moment
            return self._make(item, version(item))

    def _begin(self, item: Item) -> SmallPicture | Future[SmallPicture]:
        name = (item.id, version(item))
        with self._lock:
            made = self._small.find(name)
            if made is not None:
                return made
            if name not in self._making:
                self._making[name] = self._pool.submit(self._make, item, name[1])
            return self._making[name]

    def _make(self, item: Item, seen: str) -> SmallPicture:
        name = (item.id, seen)
        try:
            made = self._read(item, seen)
            if made is None:
                made = make_small(Path(item.photo), Path(item.mask), seen)
                self._write(item, made)
            self._small.put(name, made)
            return made
        finally:
            with self._lock:
                self._making.pop(name, None)

    def _place(self, item: Item) -> Path | None:
        return self.folder / item.id[:2] / f"{item.id}.bin" if self.folder else None

    def _read(self, item: Item, seen: str) -> SmallPicture | None:
        place = self._place(item)
        try:
            made = SmallPicture.from_bytes(place.read_bytes()) if place else None
        except OSError:
            return None
        return made if made is not None and made.version == seen else None

    def _write(self, item: Item, made: SmallPicture) -> None:
        """Keep on disk; where that cannot be done the picture is made again next time."""
        place = self._place(item)
        if place is None:
            return
        with suppress(OSError):
            place.parent.mkdir(parents=True, exist_ok=True)
            replace_bytes(place, made.to_bytes())

    def hashes(self, item: Item) -> tuple[str, str]:
        """Return the hashes of photograph and mask.

        They are from the pictures that were shown if they are still known.

        Raises
        ------
        OSError
            If a file is gone.
        """
        seen = version(item)
        made = self._small.find((item.id, seen)) or self._read(item, seen)
        return (made.image, made.mask) if made else hash_files(item)

    def large(self, item: Item, edge: int) -> Large:
        """Return the layers of an item for looking closely."""
        name = (item.id, version(item), edge)
        files = Path(item.photo), Path(item.mask)
        made = self._large.get(name, lambda: self._pool.submit(make_large, *files, edge))
        return made.result()

    def close(self) -> None:
        """Stop the threads; what they have begun is not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)
