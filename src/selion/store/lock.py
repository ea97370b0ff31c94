"""One process at a time, where the platform has file locks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # mypy knows it as a module only
LOCKS = fcntl is not None


@contextmanager
def locked(file: int) -> Iterator[None]:
    """Hold the lock of an open file; without file locks nothing happens.

    Parameters
    ----------
    file : int
        Its descriptor.
    """
    if not LOCKS:
        yield
        return
    fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)
