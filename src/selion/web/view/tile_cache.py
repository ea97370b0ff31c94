"""Tiles that were made, the least asked for of which go first."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

MEMORY = 96 << 20
"""Bytes of tiles that are kept."""


class TileCache:
    """Bounded memory of bytes and their media types; safe for several threads."""

    def __init__(self, memory: int = MEMORY) -> None:
        self.memory, self.held = memory, 0
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, tuple[bytes, str]] = OrderedDict()

    def get(self, name: Hashable, make: Callable[[], tuple[bytes, str]]) -> tuple[bytes, str]:
        """Return what is kept, or make it."""
        with self._lock:
            if name in self._kept:
                self._kept.move_to_end(name)
                return self._kept[name]
        made = make()
        with self._lock:
            if name not in self._kept:
                self.held += len(made[0])
            self._kept[name] = made
            while self.held > self.memory and len(self._kept) > 1:
                _, (old, _kind) = self._kept.popitem(last=False)
                self.held -= len(old)
        return made
