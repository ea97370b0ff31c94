"""NumPy's files, opened by one thread at a time.

NumPy reads a file's head with :func:`ast.literal_eval`, and CPython 3.11 counts how deep a tree is
in one number for all threads: two that open a file at once may be told ``SystemError: AST
constructor recursion depth mismatch``.  The blocks of a map are threads' work, each of which opens
the same file.
"""

from __future__ import annotations

import os
from pathlib import Path
from threading import RLock
from typing import Literal

import numpy as np

HEADS = RLock()
"""Held while a head is read; who opens an ``.npz`` in a server's thread holds it, too."""
if hasattr(os, "register_at_fork"):  # a child must not inherit it locked by a thread it has not
    os.register_at_fork(
        before=HEADS.acquire, after_in_parent=HEADS.release, after_in_child=HEADS.release
    )


def open_npy(path: Path, mode: Literal["r", "r+"] = "r") -> np.ndarray:
    """Map a ``.npy`` file into memory; any number of threads may.

    Parameters
    ----------
    path
        The file, of any shape and dtype but objects.
    mode
        ``r`` to read, ``r+`` to write into it.

    Raises
    ------
    OSError, ValueError
        As :func:`numpy.load`.
    """
    with HEADS:
        array: np.ndarray = np.load(path, mmap_mode=mode, allow_pickle=False)
    return array
