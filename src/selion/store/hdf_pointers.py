"""Whether an HDF5 file (netCDF 4 is one too) takes its numbers out of other files.

The library for HDF5 opens them as it reads, any file of this machine as raw bytes, and has no
setting against it.  Where other files are named is known: in messages and collections whose form
is fixed, which are never packed.  They are looked for in all bytes of the file, wherever they hang.

References
----------
HDF5 File Format Specification 3.0, IV.A.2.h (external data files), IV.A.2.g (links), IV.A.2.i
(layout of virtual storage), III.E (global heap), III.G (fractal heap).
"""

from __future__ import annotations

import mmap
import re
from pathlib import Path

from selion.errors import UnreadableFile

SIGNATURE = b"\x89HDF\r\n\x1a\n"
_BEGINNINGS = (0, *(512 << k for k in range(16)))
"""Where it may stand: a block of the user's may come first."""
_FILES = re.compile(
    rb"\x07(?:\x00(?P<old>..).\x00{3}|(?P<new>..).(?:..)?)\x01\x00{3}(?P<slots>....)", re.DOTALL
)
"""A message that names files of raw bytes: its type, size and flags, then its version."""
_LINK = re.compile(rb"\x01[\x08-\x1f]\x40", re.DOTALL)
"""A link to another file: version, flags, kind."""
_VIRTUAL = re.compile(rb"[\x03-\x05]\x03(?=.{8})", re.DOTALL)
"""Storage put together from other files: version of the message, class."""
_PACKED = re.compile(rb"FRHP\x00..(?!\x00\x00)", re.DOTALL)
"""A heap whose blocks are packed, in which links could hide."""


def check_hdf(path: Path, name: str) -> None:
    """Refuse an HDF5 file that names others; any other file passes.

    Parameters
    ----------
    path : Path
    name : str
        For the message.

    Raises
    ------
    UnreadableFile
        If it does.
    """
    with path.open("rb") as file:
        if not any(file.seek(at) == at and file.read(8) == SIGNATURE for at in _BEGINNINGS):
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as body:
            if _names_files(body):
                raise UnreadableFile(
                    f"{name} takes its numbers out of other files, which are not looked at: write "
                    "it anew as one file (h5repack, nccopy), or as GeoTIFF."
                )


def _names_files(body: mmap.mmap) -> bool:
    return (
        any(_is_list_of_files(body, found) for found in _FILES.finditer(body))
        or any(
            _is_link(body, found.end(), body[found.start() + 1]) for found in _LINK.finditer(body)
        )
        or any(_is_heap(body, found.end()) for found in _VIRTUAL.finditer(body))
        or _PACKED.search(body) is not None
    )


def _is_list_of_files(body: mmap.mmap, found: re.Match[bytes]) -> bool:
    """Whether the sizes fit each other, and the names lie in a heap."""
    size = int.from_bytes(found["old"] or found["new"], "little")
    there, used = (int.from_bytes(found["slots"][k : k + 2], "little") for k in (0, 2))
    if not 0 < used <= there or not 8 + 12 * there < size <= 16 + 24 * there + 8:
        return False
    return any(_begins(body, found.end(), width, b"HEAP") for width in (8, 4))


def _is_heap(body: mmap.mmap, start: int) -> bool:
    return any(_begins(body, start, width, b"GCOL") for width in (8, 4))


def _begins(body: mmap.mmap, start: int, width: int, mark: bytes) -> bool:
    """Whether an address leads to a mark; the file may begin after a block of the user's."""
    place = int.from_bytes(body[start : start + width], "little")
    base = next(at for at in _BEGINNINGS if body[at : at + 8] == SIGNATURE)
    return any(body[at : at + 4] == mark for at in (place, place + base))


def _is_link(body: mmap.mmap, start: int, flags: int) -> bool:
    """Whether a name follows, and then the length and the text of a file and of a place in it."""
    start += 8 * bool(flags & 4) + bool(flags & 16)
    width = 1 << (flags & 3)
    length = int.from_bytes(body[start : start + width], "little")
    if not 0 < length < 2**16:
        return False
    start += width + length
    size = int.from_bytes(body[start : start + 2], "little")
    text = body[start + 2 : start + 2 + size]
    return (
        len(text) == size > 3
        and text[:1] == b"\0"
        and text[-1:] == b"\0"
        and text.count(b"\0") == 3
    )
