"""Previews: the image with its fields.

Of a map, the image is looked at while it is read for the network, and never read twice for it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from odc.geo.geobox import GeoBox

from selion import store
from selion.errors import UnreadableFile
from selion.pipeline.watcher import MapWatcher
from selion.raster import Source
from selion.reports import picture
from selion.store.beside import beside

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

SMALL = 700
"""Images of up to so many pixels along an edge are shown twice as large."""


def preview_of(out: Path) -> Path:
    """Return the name of the preview of an output."""
    return beside(out, ".preview.png")


def write_preview(source: Source, frame: GeoDataFrame, path: Path) -> Path:
    """Draw the fields over the image; a large image is shown whole, thinned out."""
    return _draw(picture.thumbnail(source), source.grid, frame, path)


def write_score_preview(path: Path) -> Path:
    """Draw the probabilities of a score raster as colours.

    The first three classes are red, green and blue.
    """
    source = store.open_raster(path)
    last = len(source.bands) - 1
    image, _ = picture.thumbnail(source, bands=(0, min(1, last), min(2, last)))
    return _save(image, preview_of(path))


def _draw(seen: tuple[np.ndarray, int], grid: GeoBox, frame: GeoDataFrame, path: Path) -> Path:
    image, step = seen
    if step == 1 and max(image.shape[:2]) <= SMALL:
        return _save(
            picture.draw_outlines(picture.enlarge(image, 2), frame, picture.zoomed(grid, 2)), path
        )
    return _save(picture.draw_outlines(image, frame, grid, step), path)


def _save(image: np.ndarray, path: Path) -> Path:
    with store.atomic_write(path, force=True) as temporary:
        picture.save_png(image, temporary)
    return path


class Preview:
    """The preview of a map that is being made.

    The image is looked at while it is read for the map, and drawn on when the outlines are known.

    Parameters
    ----------
    path : path
        The PNG; what is there is replaced.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._glimpse: picture.Glimpse | None = None

    def watch(self, source: Source) -> picture.Glimpse:
        """Return what the map reads the image through."""
        self._glimpse = picture.Glimpse(source)
        return self._glimpse

    def finish(self, frame: GeoDataFrame) -> str:
        """Draw the fields and write the picture.

        What is returned is a sentence where the image could not be read, which is no reason to lose
        a map.
        """
        if self._glimpse is None:
            raise ValueError("There is no image yet: call watch() before finish().")
        try:
            _draw(self._glimpse.picture(), self._glimpse.grid, frame, self.path)
        except UnreadableFile as error:
            self.path.unlink(missing_ok=True)  # that of an older map
            return f"There is no preview: {error}"
        return ""


_: type[MapWatcher] = Preview
