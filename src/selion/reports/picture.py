"""Pictures of a result: imagery with outlines, truth beside prediction, class maps.

Pixels only; nothing here decides anything.
"""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from selion.classes import ClassScheme
from selion.grid import Roi, tiles, whole
from selion.raster import Raster, Source, colour_bands
from selion.store.beside import MAKER

if TYPE_CHECKING:
    from geopandas import GeoDataFrame, GeoSeries
    from odc.geo.geobox import GeoBox

DRAWN = 4096
"""Polygons whose points are taken out at once."""
LINES = 300
"""Widths of an outline along the longer edge of a picture, so that it is seen."""
COLOURS = {"fields": (255, 222, 0), "truth": (0, 229, 255)}
"""Outline colours: bright on crops, soil and forest alike."""


def thumbnail(
    source: Source, longest: int = 1400, bands: tuple[int, int, int] | None = None
) -> tuple[np.ndarray, int]:
    """Read a Source decimated, block by block, and stretch it for the eye.

    Returns
    -------
    image : (y, x, 3) uint8 ndarray
        Stretched from the 2nd to the 98th percentile of all valid pixels.
    step : int
        One pixel of the picture is ``step`` pixels of the source.
    """
    return Glimpse(source, longest, bands).picture()


class Glimpse:
    """A Source that remembers, of what is read through it, the pixels that a thumbnail needs.

    Whoever reads the whole image anyway has its picture for nothing.

    Parameters
    ----------
    source : Source
    longest : int
        Longest edge of the picture in pixels.
    bands : (int, int, int), optional
        Red, green and blue.
    """

    def __init__(
        self, source: Source, longest: int = 1400, bands: tuple[int, int, int] | None = None
    ) -> None:
        self.source, self.grid, self.bands, self.dtype = (
            source,
            source.grid,
            source.bands,
            source.dtype,
        )
        self.tags = source.tags
        height, width = source.grid.shape
        self._step = max(1, -(-max(height, width) // longest))
        self._pick = list(bands or colour_bands(source.bands))
        self._kept = np.full(
            (-(-height // self._step), -(-width // self._step), 3), np.nan, np.float32
        )
        self._seen = np.zeros(self._kept.shape[:2], bool)

    def read(self, roi: Roi) -> Raster:
        """Read a region."""
        part = self.source.read(roi)
        rows, columns = (slice(-side.start % self._step, None, self._step) for side in roi)
        with np.errstate(over="ignore"):  # what no float32 can hold is infinite
            values = part.values[self._pick, rows, columns].astype(np.float32)
        if part.valid is not None:
            values[:, ~part.valid[rows, columns]] = np.nan
        place = self._place(roi)
        self._kept[place], self._seen[place] = np.moveaxis(values, 0, -1), True
        return part

    def picture(self) -> tuple[np.ndarray, int]:
        """Return what :func:`thumbnail` does; what nobody has read yet is read now."""
        height, width = self.grid.shape
        # on the tiles of usual files, so that none is decoded twice
        for roi in tiles((height, width), 1024):
            if not self._seen[self._place(roi)].all():
                self.read(roi)
        return stretch(self._kept), self._step

    def _place(self, roi: Roi) -> Roi:
        """Return the pixels of the picture that are pixels of a region."""
        rows, columns = (
            slice(-(-side.start // self._step), -(-side.stop // self._step)) for side in roi
        )
        return rows, columns


_: type[Source] = Glimpse


def stretch(picture: np.ndarray) -> np.ndarray:
    """Map (y, x, band) numbers to uint8.

    2nd percentile to black, 98th to white, per band, NaN to a flat grey.
    """
    hole = ~np.isfinite(picture).all(-1)
    known = picture[~hole] if hole.any() else picture.reshape(-1, picture.shape[-1])
    if not known.size:
        return np.full(picture.shape, 128, np.uint8)
    low, high = np.percentile(known, [2, 98], axis=0)
    shown = np.empty(picture.shape, np.uint8)
    # one after the other, in place: this comes where a map has the most in memory
    for band in range(picture.shape[-1]):
        plane = picture[..., band] - low[band]
        plane /= max(high[band] - low[band], 1e-6)
        np.clip(plane, 0, 1, out=plane)
        plane **= 0.9
        plane[hole] = 0.5
        plane *= 255
        shown[..., band] = plane.round(out=plane)
    return shown


def draw_outlines(
    image: np.ndarray,
    frame: GeoDataFrame,
    grid: GeoBox,
    step: int = 1,
    colour: tuple[int, int, int] = COLOURS["fields"],
) -> np.ndarray:
    """Draw the rings of polygons over a picture.

    Parameters
    ----------
    image : (y, x, 3) uint8 ndarray
        A picture of ``grid`` in which one pixel is ``step`` pixels of the grid.
    frame : GeoDataFrame
        Polygons in any CRS; they are brought to the grid's.
    """
    canvas = image.copy()
    for start in range(0, len(frame), DRAWN):
        rows, columns = _traced(*_edges_of(frame.geometry.iloc[start : start + DRAWN], grid, step))
        seen = (rows >= 0) & (columns >= 0) & (rows < canvas.shape[0]) & (columns < canvas.shape[1])
        canvas[rows[seen], columns[seen]] = colour
    return canvas


def fill_fields(
    image: np.ndarray,
    frame: GeoDataFrame,
    grid: GeoBox,
    colours: Sequence[str],
    step: int = 1,
    opacity: float = 0.75,
) -> np.ndarray:
    """Fill polygons over a picture, each in its colour, with a dark outline.

    Parameters
    ----------
    image : (y, x, 3) uint8 ndarray
        A picture of ``grid`` in which one pixel is ``step`` pixels of the grid.
    frame : GeoDataFrame
        Polygons in any CRS; they are brought to the grid's.
    colours : sequence of str
        ``#rrggbb``, one per polygon.
    opacity : float
        How much of the colour there is, 0 to 1.
    """
    from affine import Affine
    from odc.geo.geobox import GeoBox as Box

    from selion.store.burn import burn

    # a pixel of the picture is the first of each step pixels of the grid
    small = Box(image.shape[:2], grid.transform * Affine.scale(step), grid.crs)
    placed = frame if grid.crs is None or frame.crs is None else frame.to_crs(str(grid.crs))
    outlines = list(placed.geometry.to_numpy())
    ids = burn(outlines, range(1, len(outlines) + 1), small)
    palette = [(0, 0, 0), *(tuple(bytes.fromhex(colour[1:])) for colour in colours)]
    found = np.array(palette, np.float32)[ids]
    canvas = image.astype(np.float32)
    here = ids > 0
    canvas[here] = (1 - opacity) * canvas[here] + opacity * found[here]
    return draw_outlines(canvas.round().astype(np.uint8), frame, grid, step, (24, 24, 24))


def _edges_of(geometry: GeoSeries, grid: GeoBox, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (n, 2) begins and ends of all edges of all rings, (x, y) in pixels of the picture."""
    import shapely

    if grid.crs is not None and geometry.crs is not None:
        geometry = geometry.to_crs(str(grid.crs))
    rings = shapely.get_rings(shapely.get_parts(geometry.to_numpy()))
    points, owner = shapely.get_coordinates(rings, return_index=True)
    inverse = ~grid.transform
    x, y = (
        inverse.a * points[:, 0] + inverse.b * points[:, 1] + inverse.c,
        inverse.d * points[:, 0] + inverse.e * points[:, 1] + inverse.f,
    )
    places = np.column_stack([x, y]) / step
    # a corner may lie where the grid's projection ends
    finite = np.isfinite(places[:, 0]) & np.isfinite(places[:, 1])
    same = (owner[1:] == owner[:-1]) & finite[1:] & finite[:-1]
    return places[:-1][same], places[1:][same]


def _traced(begins: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows and columns of the pixels that straight lines pass.

    There is one per row or column that they cross.
    """
    steps = np.ceil(np.abs(ends - begins).max(axis=1, initial=0)).astype(np.int64) + 1
    line = np.repeat(np.arange(len(steps)), steps)
    at = np.arange(len(line)) - np.repeat(np.cumsum(steps) - steps, steps)
    share = at / np.maximum(steps - 1, 1)[line]
    places = np.floor(begins[line] + (ends - begins)[line] * share[:, None]).astype(np.int64)
    return places[:, 1], places[:, 0]


def compared(
    source: Source, truth: np.ndarray, prediction: np.ndarray, longest: int = 448
) -> np.ndarray:
    """Draw the outlines of true and predicted objects over an image.

    Parameters
    ----------
    truth, prediction : (y, x) int ndarray
        Object ids on the image's grid, or on one that is a whole number of times finer.
    longest : int
        Small images are enlarged by a whole number up to this edge in pixels; those of more than
        twice as much are thinned.

    Returns
    -------
    (y, x, 3) uint8 ndarray
        Truth in :data:`COLOURS` ``truth``, prediction in ``fields``, both in white.
    """
    from scipy import ndimage

    part = source.read(whole(source.grid))
    values = np.moveaxis(part.values[list(colour_bands(part.bands))].astype(np.float32), 0, -1)
    if part.valid is not None:
        values[~part.valid] = np.nan
    drawn = enlarge(stretch(values), max(1, truth.shape[0] // values.shape[0]))
    factor = max(1, longest // max(drawn.shape[:2]))
    image = enlarge(drawn, factor)
    step = max(1, -(-max(image.shape[:2]) // (2 * longest)))
    wide = step * max(1, round(max(image.shape[:2]) / step / LINES))
    lines = [
        ndimage.maximum_filter(edges(enlarge(ids, factor)), wide) for ids in (truth, prediction)
    ]
    image[lines[0]] = COLOURS["truth"]
    image[lines[1]] = COLOURS["fields"]
    image[lines[0] & lines[1]] = (255, 255, 255)
    return np.ascontiguousarray(image[::step, ::step])


def edges(ids: np.ndarray) -> np.ndarray:
    """Mark pixels whose right or lower neighbour has another id."""
    edges = np.zeros(ids.shape, bool)
    edges[:, :-1] |= ids[:, 1:] != ids[:, :-1]
    edges[:-1] |= ids[1:] != ids[:-1]
    return edges


def enlarge(image: np.ndarray, factor: int) -> np.ndarray:
    """Repeat pixels, so that a small picture can be looked at."""
    return image.repeat(factor, 0).repeat(factor, 1)


def zoomed(grid: GeoBox, factor: int) -> GeoBox:
    """Return the grid of a picture that was enlarged."""
    from affine import Affine
    from odc.geo.geobox import GeoBox as Box

    return Box(
        (grid.shape[0] * factor, grid.shape[1] * factor),
        grid.transform * Affine.scale(1 / factor),
        grid.crs,
    )


def class_picture(ids: np.ndarray, classes: ClassScheme) -> np.ndarray:
    """Colour (y, x) class ids by their scheme; what is not a class is grey."""
    return classes.palette(128)[ids]


def save_png(image: np.ndarray, path: Path) -> None:
    """Write a (y, x, 3) uint8 picture, with who made it; the caller hands in a temporary name."""
    from PIL import Image, PngImagePlugin

    about = PngImagePlugin.PngInfo()
    about.add_text("Software", MAKER)
    encoded = io.BytesIO()  # Pillow does not look how much of what it wrote a full disk has taken
    Image.fromarray(image).save(encoded, "PNG", compress_level=4, pnginfo=about)
    path.write_bytes(encoded.getbuffer())


def data_uri(image: np.ndarray, quality: int = 88) -> str:
    """Encode a (y, x, 3) uint8 picture for a self-contained page."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return "data:image/jpeg;base64," + b64encode(buffer.getvalue()).decode()
