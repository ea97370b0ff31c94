"""Giving memory back between stages."""

from __future__ import annotations

import ctypes
import time
from functools import cache

SHARE = 0.05
"""Of the time, at most this is spent on giving back."""
_resting = 0.0
"""Until when, of the monotonic clock, what a last time took is still more than that share."""


@cache
def _trim() -> object:
    """Return glibc's malloc_trim, or None where there is none."""
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return None


def give_back() -> None:
    """Return to the system what was freed.

    The allocator keeps what small objects leave behind, millions of points and rings among them,
    and the next stage would come on top of it: 200 MB for the 300,000 fields of a Sentinel-2 tile.
    It costs milliseconds, but a tenth of a second where a process holds gigabytes, which is more
    than a small map takes.
    """
    global _resting  # noqa: PLW0603 - the allocator is the whole process' too
    trim = _trim()
    if callable(trim) and time.monotonic() >= _resting:
        began = time.thread_time()  # of the processor: a busy machine makes it no dearer
        trim(0)
        _resting = time.monotonic() + (time.thread_time() - began) / SHARE
