"""Whether anybody opens a file of a folder, in whatever language: the kernel says so."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

OPENED = 0x20
"""``IN_OPEN`` of inotify(7)."""
HEAD = 16
"""Bytes of an event before its name: three numbers, and how long that is."""


@contextmanager
def opened_in(folder: Path) -> Iterator[Callable[[], list[str]]]:
    """Yield what returns the names of the files of a folder that were opened; Linux alone tells."""
    if not sys.platform.startswith("linux"):
        yield list
        return
    system = ctypes.CDLL(None, use_errno=True)
    heard = system.inotify_init1(os.O_NONBLOCK)
    if heard < 0 or system.inotify_add_watch(heard, os.fsencode(folder), OPENED) < 0:
        raise OSError(ctypes.get_errno(), "inotify")
    try:
        yield lambda: sorted({*_names(heard)})
    finally:
        os.close(heard)


def _names(heard: int) -> Iterator[str]:
    try:
        told = os.read(heard, 1 << 16)
    except BlockingIOError:
        return
    while told:
        length = int.from_bytes(told[12:HEAD], sys.byteorder)
        name = told[HEAD : HEAD + length].rstrip(b"\0")
        if name:  # the folder itself is opened when it is listed
            yield os.fsdecode(name)
        told = told[HEAD + length :]
