"""How many processor cores, and how much memory, there are for this process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from selion.errors import BadInput

PROC, GROUPS = Path("/proc"), Path("/sys/fs/cgroup")
"""Where Linux says what there is."""
LIMITS = (
    ("memory.max", "memory.current", ""),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
)
"""Files of a control group, second and first version: limit, use, and how the parts of the use
begin that count the groups below too."""
CACHE = ("inactive_file", "active_file")
"""Parts of the use that are files' pages, read once and more than once: they go when memory is
wanted, and the machine's own ``MemAvailable`` counts them as well."""
SMALL = 64e6
"""Bytes that are taken without asking."""


def usable_cores() -> int:
    """Return the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def usable_memory() -> int | None:
    """Return the bytes of memory that this process may still take; None where nobody says it.

    What the machine has left, or a control group that the process is in, whichever is less.
    """
    facts = [_free_of(folder, *names) for folder in _groups() for names in LIMITS]
    return min((free for free in (_free_of_machine(), *facts) if free is not None), default=None)


def check_memory(needed: float, what: str, cure: str) -> None:
    """Refuse what does not fit into memory before it is begun.

    Parameters
    ----------
    needed : float
        Bytes; rather too few, for what is refused here might have worked.
    what, cure : str
        Subject of a sentence that goes on with "takes", and what to do instead.

    Raises
    ------
    BadInput
        If there is less.
    """
    free = usable_memory() if needed > SMALL else None
    if free is not None and needed > free:
        raise BadInput(
            f"{what} takes about {needed / 1e9:.1f} GB of memory, and {max(free, 0) / 1e9:.1f} GB "
            f"are there: {cure}."
        )


def _free_of_machine() -> int | None:
    for line in _text(PROC / "meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _groups() -> Iterator[Path]:
    """Yield the folders of the control groups that this process is in, and of those above them."""
    for line in _text(PROC / "self" / "cgroup").splitlines():
        kinds, _, name = line.partition(":")[2].partition(":")
        if kinds in ("", "memory"):
            inner = GROUPS / kinds / name.strip("/")
            yield from (inner, *(up for up in inner.parents if up.is_relative_to(GROUPS / kinds)))


def _free_of(folder: Path, limit: str, use: str, begin: str) -> int | None:
    allowed = _text(folder / limit).strip()
    if not allowed.isdecimal() or not (used := _text(folder / use).strip()).isdecimal():
        return None  # no limit, or no such folder
    stat = dict(line.split() for line in _text(folder / "memory.stat").splitlines())
    return int(allowed) - int(used) + sum(int(stat.get(begin + name, 0)) for name in CACHE)


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError:
        return ""
