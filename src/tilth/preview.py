"""Previews: the image with its fields.  Of a map, the image is read in a thread of its own while objects are found, and drawn on when outlines are known."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Self

import numpy as np
from odc.geo.geobox import GeoBox

from tilth import picture, store
from tilth.errors import UnreadableFile
from tilth.grid import Roi
from tilth.raster import Raster, Source

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

SMALL = 700
"""Images of up to so many pixels along an edge are shown twice as large."""


def preview_of(out: Path) -> Path:
    """Return the name of the preview of an output."""
    return out.with_name(f"{out.stem}.preview.png")


def write_preview(source: Source, frame: GeoDataFrame, path: Path) -> Path:
    """Draw the fields over the image; a large image is shown whole, thinned out."""
    return _draw(picture.thumbnail(source), source.grid, frame, path)


def write_score_preview(path: Path) -> Path:
    """Draw the probabilities of a score raster as colours: the first three classes are red, green and blue."""
    source = store.open_raster(path)
    last = len(source.bands) - 1
    image, _ = picture.thumbnail(source, bands=(0, min(1, last), min(2, last)))
    return _save(image, preview_of(path))


def _draw(seen: tuple[np.ndarray, int], grid: GeoBox, frame: GeoDataFrame, path: Path) -> Path:
    image, step = seen
    if step == 1 and max(image.shape[:2]) <= SMALL:
        return _save(picture.draw_outlines(picture.enlarge(image, 2), frame, picture.zoomed(grid, 2)), path)
    return _save(picture.draw_outlines(image, frame, grid, step), path)


def _save(image: np.ndarray, path: Path) -> Path:
    with store.whole_file(path, force=True) as temporary:
        picture.save_png(image, temporary)
    return path


@dataclass(eq=False)
class Sketch:
    """The preview of a map that is being made: ``begin`` reads the image in the background, ``finish`` draws.

    As a context manager it ends the thread with the block, whatever happened.
    """

    source: Source
    path: Path | None
    """Where; None: there is none to make."""
    _stop: Event = field(default_factory=Event, repr=False)
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="tilth-preview"), repr=False)
    _seen: Future[tuple[np.ndarray, int]] | None = field(default=None, repr=False)

    def begin(self) -> None:
        """Start to read, where there is something to make."""
        if self.path is not None:
            self._seen = self._pool.submit(picture.thumbnail, _Interruptible(self.source, self._stop))

    def finish(self, frame: GeoDataFrame) -> str:
        """Draw the fields and write the picture; what is returned is a sentence where the image could not be read, which is no reason to lose a map."""
        if self._seen is None or self.path is None:
            return ""
        try:
            _draw(self._seen.result(), self.source.grid, frame, self.path)
        except UnreadableFile as error:
            self.path.unlink(missing_ok=True)  # that of an older map
            return f"There is no preview: {error}"
        return ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._pool.shutdown(wait=True, cancel_futures=True)


@dataclass(frozen=True, eq=False)
class _Interruptible:
    """A source that stops to answer."""

    source: Source
    stop: Event

    @property
    def grid(self) -> GeoBox:
        """The source's grid."""
        return self.source.grid

    @property
    def bands(self) -> tuple[str, ...]:
        """The source's bands."""
        return self.source.bands

    @property
    def dtype(self) -> np.dtype:
        """The source's number type."""
        return self.source.dtype

    def read(self, roi: Roi) -> Raster:
        """Read a region, or end the thread."""
        if self.stop.is_set():
            raise InterruptedError
        return self.source.read(roi)


_: type[Source] = _Interruptible
