"""What was made and may be wanted again, in bounded memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class LruCache(Generic[K, V]):
    """The least recently used goes first; safe for several threads.

    Parameters
    ----------
    limit : int
        Sum of the sizes that are held at most; the newest is held whatever its size.
    size : callable, optional
        ``size(value) -> int``, bytes for example; 1 each by default, so that ``limit`` counts.
    """

    def __init__(self, limit: int, size: Callable[[V], int] = lambda _value: 1) -> None:
        self.limit, self.held = limit, 0
        self._size = size
        self._lock = threading.Lock()
        self._values: OrderedDict[K, V] = OrderedDict()
        self._making: dict[K, threading.Lock] = {}

    def find(self, name: K) -> V | None:
        """Return what is held; None if it is not."""
        with self._lock:
            if name in self._values:
                self._values.move_to_end(name)
            return self._values.get(name)

    def put(self, name: K, value: V) -> None:
        """Hold a value, and let go of others where there are too many."""
        with self._lock:
            if name in self._values:
                self.held -= self._size(self._values.pop(name))
            self._values[name] = value
            self.held += self._size(value)
            while self.held > self.limit and len(self._values) > 1:
                _, old = self._values.popitem(last=False)
                self.held -= self._size(old)

    def get(self, name: K, make: Callable[[], V]) -> V:
        """Return what is held, or make it.

        Where two ask at once, one makes it and the other waits.
        """
        with self._lock:
            if name in self._values:
                self._values.move_to_end(name)
                return self._values[name]
            gate = self._making.setdefault(name, threading.Lock())
        with gate:
            with self._lock:
                if name in self._values:
                    return self._values[name]
            try:
                made = make()
                self.put(name, made)
            finally:
                with self._lock:
                    self._making.pop(name, None)
        return made
