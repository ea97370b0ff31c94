"""One process at a time, where the platform has file locks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

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


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Make a file, and hold its lock as long as the block, or this process, lives.

    It gets its name when it is held already: nobody ever sees it free while its process lives.
    """
    unborn = path.with_name(f"{path.name}.new")
    file = os.open(unborn, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if LOCKS:
            with suppress(OSError):  # some network file systems have none: nobody holds it then
                fcntl.flock(file, fcntl.LOCK_EX)
        unborn.replace(path)
        yield
    finally:
        os.close(file)


def try_hold(path: Path) -> bool:
    """Say whether nobody holds the lock of a file; False where there are no locks."""
    if not LOCKS:
        return False
    file = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(file)
    return True
