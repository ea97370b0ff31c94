"""Changes of files that change nothing of what a command reads.

A database that is open elsewhere is tidied up by whoever closes it last, which may be this process;
and what this process prints may go into a file through a pipe (``| tee``).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import stat
from pathlib import Path
from urllib.parse import quote

DATABASES = (".gpkg", ".sqlite", ".db")
LARGEST = 2**28
"""Bytes of a database that is read for this."""
_MODE, _LOG = slice(18, 20), b"\x02\x02"
"""Bytes of a database's head, and what they are where changes go into a log beside it first."""
_COUNTED = (_MODE, slice(24, 28), slice(92, 100))
"""Those that say how it is kept, and by whom, and not what it holds."""
PROC = Path("/proc")


def has_log(path: Path) -> bool:
    """Say whether a file is a database whose changes go into a log first, as an open GeoPackage."""
    if path.suffix.lower() not in DATABASES:
        return False
    try:
        with path.open("rb") as file:
            return file.read(20)[_MODE] == _LOG and path.stat().st_size <= LARGEST
    except OSError:
        return False


def database_sum(path: Path) -> str:
    """Return the sum of what a database holds, its log included; "" where it cannot be read.

    A log is worked into its database by whoever closes that last: the file is another one then, and
    holds the same.
    """
    try:
        address = f"file:{quote(str(path))}?mode=ro"
        with contextlib.closing(sqlite3.connect(address, uri=True, timeout=5)) as base:
            content = bytearray(base.serialize())
    except (sqlite3.Error, OSError, MemoryError):
        return ""
    for part in _COUNTED:
        content[part] = bytes(part.stop - part.start)
    return hashlib.sha256(content).hexdigest()


def printed_into() -> set[Path]:
    """Return the files that whoever reads what this process prints has open to write, by name.

    Asked where the system says it (Linux); else none is known.
    """
    pipes = set()
    for number in (1, 2):
        with contextlib.suppress(OSError):
            about = os.fstat(number)
            if stat.S_ISFIFO(about.st_mode):
                pipes.add((about.st_dev, about.st_ino))
    found: set[Path] = set()
    for process in PROC.glob("[0-9]*") if pipes else ():
        with contextlib.suppress(OSError):
            if process.name == str(os.getpid()):
                continue
            opened = {one: one.stat() for one in (process / "fd").iterdir()}
            if any((about.st_dev, about.st_ino) in pipes for about in opened.values()):
                found |= {
                    one.readlink() for one, about in opened.items() if _is_written(one, about)
                }
    return found


def _is_written(handle: Path, about: os.stat_result) -> bool:
    if not stat.S_ISREG(about.st_mode):
        return False
    told = (handle.parent.parent / "fdinfo" / handle.name).read_text("ascii")
    flags = next(line for line in told.splitlines() if line.startswith("flags:"))
    return bool(int(flags.split()[1], 8) & (os.O_WRONLY | os.O_RDWR))
