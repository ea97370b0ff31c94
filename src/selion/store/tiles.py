"""A plain tiled BigTIFF that takes blocks in any order: what a COG is made from.

We write it ourselves, and not through GDAL, because GDAL keeps blocks in a cache and only logs when
they cannot be written later: on a full disk a file of nothing but nodata can come out, and nobody
is told.  Here each failure is an :class:`OSError` at the place where it happens.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import numpy as np

from selion.grid import Roi, inside, overlap

SAMPLE_FORMAT = {"u": 1, "i": 2, "f": 3}
"""TIFF 6.0, tag 339."""
SHORT, LONG8, ASCII = 3, 16, 2


class TileFile:
    """(band, y, x) pixels in uncompressed tiles, bands interleaved by pixel.

    Tiles that are never written take no space.

    Use it as a context manager: the directory of the file is written at the end of the block.
    """

    def __init__(
        self,
        path: Path,
        shape: tuple[int, int, int],
        dtype: np.dtype,
        fill: float | None,
        tile: int,
    ) -> None:
        self.shape = shape
        self.dtype = np.dtype(dtype).newbyteorder("<")
        self.fill = fill
        self.tile = tile
        self.across = -(-shape[2] // tile)
        self.down = -(-shape[1] // tile)
        self._written = np.zeros(self.across * self.down, bool)
        self._size = tile * tile * shape[0] * self.dtype.itemsize
        self._base = 0
        self._base = len(self._directory())
        self._lock = threading.Lock()
        self._file = path.open("w+b")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._lock, self._file:
            if kind is None:
                self._file.seek(0)
                self._file.write(self._directory())

    def write(self, roi: Roi, values: np.ndarray) -> None:
        """Write (band, y, x) values at a region inside the file."""
        with self._lock:
            for number, place in self._touched(roi):
                common = overlap(place, roi)
                if common is not None:
                    pixels = self._begun(number, covered=common == self._clipped(place))
                    pixels[inside(common, place)] = values[:, *inside(common, roi)].transpose(
                        1, 2, 0
                    )
                    self._put(number, pixels)

    def _touched(self, roi: Roi) -> Iterator[tuple[int, Roi]]:
        rows, columns = (
            range(part.start // self.tile, (part.stop - 1) // self.tile + 1) for part in roi
        )
        for row in rows:
            for column in columns:
                top, left = row * self.tile, column * self.tile
                yield (
                    row * self.across + column,
                    (slice(top, top + self.tile), slice(left, left + self.tile)),
                )

    def _clipped(self, place: Roi) -> Roi:
        return slice(place[0].start, min(place[0].stop, self.shape[1])), slice(
            place[1].start, min(place[1].stop, self.shape[2])
        )

    def _begun(self, number: int, *, covered: bool) -> np.ndarray:
        """Return (y, x, band) pixels of a tile as they are so far."""
        shape = self.tile, self.tile, self.shape[0]
        if covered or not self._written[number]:
            return np.full(shape, 0 if self.fill is None else self.fill, self.dtype)
        self._file.seek(self._base + number * self._size)
        return np.frombuffer(self._file.read(self._size), self.dtype).reshape(shape).copy()

    def _put(self, number: int, pixels: np.ndarray) -> None:
        self._file.seek(self._base + number * self._size)
        self._file.write(pixels.data)
        self._written[number] = True

    def _directory(self) -> bytes:
        """Return header, directory and the values that do not fit into it.

        Its length does not depend on what was written.
        """
        bands, height, width = self.shape
        written, base = self._written, self._base
        entries: list[tuple[int, int, np.ndarray | bytes]] = [
            (256, LONG8, np.array([width])),
            (257, LONG8, np.array([height])),
            (258, SHORT, np.full(bands, self.dtype.itemsize * 8)),
            (259, SHORT, np.array([1])),  # not compressed
            (262, SHORT, np.array([1])),  # black is zero
            (277, SHORT, np.array([bands])),
            (284, SHORT, np.array([1])),  # bands interleaved by pixel
            (322, LONG8, np.array([self.tile])),
            (323, LONG8, np.array([self.tile])),
            (324, LONG8, np.where(written, base + np.arange(written.size) * self._size, 0)),
            (325, LONG8, np.where(written, self._size, 0)),
            *([(338, SHORT, np.zeros(bands - 1))] if bands > 1 else []),
            (339, SHORT, np.full(bands, SAMPLE_FORMAT[self.dtype.kind])),
            # GDAL's nodata
            *([] if self.fill is None else [(42113, ASCII, f"{float(self.fill)!r}\0".encode())]),
        ]
        return _packed(entries)


def _packed(entries: list[tuple[int, int, np.ndarray | bytes]]) -> bytes:
    head = struct.pack("<2sHHHQQ", b"II", 43, 8, 0, 16, len(entries))
    end = len(head) + 20 * len(entries) + 8
    directory, values = b"", b""
    for tag, kind, numbers in entries:
        data = (
            numbers
            if isinstance(numbers, bytes)
            else numbers.astype("<u2" if kind == SHORT else "<u8").tobytes()
        )
        count = len(numbers)
        if len(data) <= 8:
            place = data.ljust(8, b"\0")
        else:
            place = struct.pack("<Q", end + len(values))
            values += data + b"\0" * (-len(data) % 8)
        directory += struct.pack("<HHQ", tag, kind, count) + place
    return head + directory + struct.pack("<Q", 0) + values
