"""Chunks of a Zarr that unpack to far more than a chunk: refused before memory holds them.

A zstd of 20 kB may hold 600 MB of zeros, and zarr's codecs unpack whatever comes before they
compare it with the chunk's shape.  Here each one knows what its chunk may come to.
"""

from __future__ import annotations

import bz2
import lzma
import math
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import zarr
from zarr.codecs import numcodecs as others
from zarr.codecs.blosc import BloscCodec
from zarr.codecs.gzip import GzipCodec
from zarr.codecs.zstd import ZstdCodec
from zarr.registry import register_codec

ROOM = 1 << 16
"""Bytes that a chunk may have beside twice its values: what a packer within another one adds."""
DAMAGED = (zlib.error, lzma.LZMAError, EOFError)
"""What packers raise that is none of Python's usual errors."""
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_opening = threading.RLock()

Check = Callable[[bytes, int], None]
"""``check(packed, most)`` raises ValueError if it comes to more bytes."""


def _refuse(comes_to: int, most: int) -> None:
    if comes_to > most:
        raise ValueError(
            f"a chunk unpacks to more than {most:,} bytes: it is damaged, or made to fill memory"
        )


def _announced(form: str, packed: bytes, most: int) -> None:
    """Believe the head: whoever unpacks takes as much memory as it says."""
    if len(packed) >= struct.calcsize(form):
        _refuse(struct.unpack_from(form, packed)[0], most)


def _streamed(begin: Callable[[], Any], packed: bytes, most: int) -> None:
    """Unpack piece by piece and keep nothing, where a head says no size or may lie."""
    comes_to, left = 0, packed
    while left:
        unpacking = begin()
        while not unpacking.eof:
            piece = unpacking.decompress(left, ROOM)
            comes_to += len(piece)
            _refuse(comes_to, most)
            left = getattr(unpacking, "unconsumed_tail", b"")
            if not piece and not left:
                return  # it is cut, which whoever unpacks it says
        left = unpacking.unused_data.lstrip(b"\0")


def _zstd(packed: bytes, most: int) -> None:
    """Believe the head of the first frame, which decides; without a size in it, unpack."""
    size = _zstd_size(packed)
    if size is not None:
        _refuse(size, most)
        return
    import pyarrow as pa

    comes_to = 0
    with pa.CompressedInputStream(pa.BufferReader(packed), "zstd") as stream:
        while piece := len(stream.read(ROOM)):
            comes_to += piece
            _refuse(comes_to, most)


def _zstd_size(packed: bytes) -> int | None:
    """Return what the head of a frame says that it comes to (RFC 8878, 3.1.1.1)."""
    if packed[:4] != _ZSTD_MAGIC or len(packed) < 18:
        return None
    said = packed[4]
    single, wide = bool(said & 32), (0, 2, 4, 8)[said >> 6]
    wide = wide or single
    at = 5 + (not single) + (0, 1, 2, 4)[said & 3]
    size = int.from_bytes(packed[at : at + wide], "little") + (256 if wide == 2 else 0)
    return size if wide else None


class _Bounded:
    """Looks at a chunk before it is unpacked."""

    check: Check

    async def _decode_single(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
        values = math.prod(chunk_spec.shape) * chunk_spec.dtype.to_native_dtype().itemsize
        try:
            type(self).check(chunk_bytes.to_bytes(), 2 * values + ROOM)
            return await super()._decode_single(chunk_bytes, chunk_spec)  # type: ignore[misc]
        except DAMAGED as error:
            raise ValueError(str(error) or type(error).__name__) from error


_GZIP = partial(_streamed, partial(zlib.decompressobj, 31))
_BLOSC = partial(_announced, "<4xI")
_CODECS: dict[str, tuple[type, Check]] = {
    "zstd": (ZstdCodec, _zstd),
    "gzip": (GzipCodec, _GZIP),
    "blosc": (BloscCodec, _BLOSC),
    "numcodecs.zstd": (others.Zstd, _zstd),
    "numcodecs.gzip": (others.GZip, _GZIP),
    "numcodecs.blosc": (others.Blosc, _BLOSC),
    "numcodecs.lz4": (others.LZ4, partial(_announced, "<I")),
    "numcodecs.zlib": (others.Zlib, partial(_streamed, zlib.decompressobj)),
    "numcodecs.bz2": (others.BZ2, partial(_streamed, bz2.BZ2Decompressor)),
    "numcodecs.lzma": (others.LZMA, partial(_streamed, lzma.LZMADecompressor)),
}
"""Zarr's packers by the names that they have in a file, and how each is looked at."""


def _named(name: str, base: type, check: Check) -> str:
    made = type(f"Bounded{base.__name__}", (_Bounded, base), {"check": staticmethod(check)})
    place = f"{__name__}.{name}"
    register_codec(name, made, qualname=place)
    return place


_PLACES = {name: _named(name, *of) for name, of in _CODECS.items()}


@contextmanager
def bounded_codecs() -> Iterator[None]:
    """Let arrays that are opened here unpack a chunk only to what it may come to.

    Zarr's settings are those of the whole process, and are put back.
    """
    with _opening, zarr.config.set({"codecs": {**zarr.config.get("codecs"), **_PLACES}}):
        yield
