"""Bytes made small, fast.

Zstd at its lowest level packs ten times as fast as zlib at its own, and scores no worse.
"""

from __future__ import annotations

import numpy as np


def pack(content: np.ndarray) -> bytes:
    """Pack the bytes of an array that lies in one piece."""
    from numcodecs.zstd import Zstd

    return bytes(Zstd(level=1).encode(content))


def unpack(packed: bytes | memoryview) -> bytes:
    """Return what :func:`pack` was given."""
    from numcodecs.zstd import Zstd

    return bytes(Zstd().decode(packed))
