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


def unborn(name: str) -> str:
    """Return the name of a lock that nobody holds yet."""
    return f"{name}.new"


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Make a file, and hold its lock as long as the block, or this process, lives.

    It gets its name when it is held already: nobody ever sees it free while its process lives.

    Raises
    ------
    FileNotFoundError
        If somebody has taken it away before it had its name.
    """
    early = path.with_name(unborn(path.name))
    file = os.open(early, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if LOCKS:
            with suppress(OSError):  # some network file systems have none: nobody holds it then
                fcntl.flock(file, fcntl.LOCK_EX)
        early.replace(path)
        yield
    finally:
        os.close(file)


@contextmanager
def leased(path: Path) -> Iterator[bool]:
    """Make or open a file, and hold its lock within the block; say whether nobody else does.

    Whoever holds it may remove it.  Where there are no locks nobody holds any.

    Raises
    ------
    OSError
        If the file cannot be made.
    """
    while True:
        with _made(path) as file:
            free = _lease(file)
            if not free or _is_named(file, path):
                yield free
                return


@contextmanager
def in_turn(path: Path) -> Iterator[None]:
    """Make or open a file, and wait until its lock is held; it goes when the block ends.

    Who waited for a file that went waits for the one that others have made since.

    Raises
    ------
    OSError
        If the file cannot be made.
    """
    while True:
        with _made(path) as file, locked(file):
            if not _is_named(file, path):
                continue
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return


@contextmanager
def _made(path: Path) -> Iterator[int]:
    """Make or open a file; it is closed when the block ends."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        yield file
    finally:
        os.close(file)


def _is_named(file: int, path: Path) -> bool:
    """Say whether an open file has its name still."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _lease(file: int) -> bool:
    if LOCKS:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # some network file systems have none
            return True
    return True


@contextmanager
def seized(path: Path) -> Iterator[bool]:
    """Hold the lock of a file within the block if nobody holds it; say whether that is so.

    Where there are no locks it is not.

    Raises
    ------
    OSError
        If the file cannot be opened.
    """
    if not LOCKS:
        yield False
        return
    file = os.open(path, os.O_RDWR)
    try:
        yield _seize(file)
    finally:
        os.close(file)


def _seize(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def try_hold(path: Path) -> bool:
    """Say whether nobody holds the lock of a file; False where there are no locks."""
    with seized(path) as free:
        return free


def busy(path: Path) -> bool:
    """Say whether somebody holds the lock of a file.

    Nobody does where there are no locks, or where there is no such file.
    """
    if not LOCKS:
        return False
    try:
        file = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        return not _lease(file)
    finally:
        os.close(file)
