"""Where the page of a review draws: everything it sees and sends is in pixels of the map's image.

Chips are cut from it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from selion import store
from selion.errors import BadInput, GridMismatch
from selion.prediction.look_sample import sample_of
from selion.store.cache import LruCache
from selion.web.pictures import png_bytes
from selion.web.view.colours import find_colours

if TYPE_CHECKING:
    import geopandas
    from odc.geo.geobox import GeoBox

    from selion.raster import Source
    from selion.store import Place

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels of the image."""
LARGEST = 8192
"""Edge in pixels of the largest chip that can be asked for; what is larger than SHARP is read
coarser."""
SHARP = 768
"""Pixels of the longer side of a chip at most; a wider one is read coarser."""
CACHED_CHIPS = 256
"""Chips that are cached in memory."""
FAR = 2.0
"""A point lies at most so many image sizes away from the image."""
PLAIN = 10.0
"""Metres of a pixel of the grid under fields that have no image."""
ROOM = 1.1
"""Around a field stay so many times its own size, on each side ..."""
LEAST = 40.0
"""... and so many pixels at least: a small field is judged by what lies around it."""
EDGE = 0.06
"""Share of a box that stays free around a field at the rim of the image."""
NARROW = 0.4
"""A chip's darkest and brightest lie at least so much of the image's own range apart: noise on bare
soil is not shown as a pattern."""
GAMMA, HOLE = 0.9, 128
"""Of brightness, and the grey of what the image does not show."""
SEEN = 128
"""Pixels of the sides of the piece that tells which bands are which, where names do not."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One way to look at the image."""

    name: str
    title: str
    path: Place
    bands: tuple[int, int, int]
    fixed: bool = False
    """Whether numbers are shown as they are (probabilities), and not stretched."""


class Frame:
    """The grid of the page, its way to the map's coordinates and back, and its chips.

    Safe to be used by several threads.
    """

    def __init__(
        self, frame: geopandas.GeoDataFrame, image: Place | None, scores: Place | None
    ) -> None:
        self._lock = threading.Lock()
        self._chips: LruCache[tuple[str, Box], bytes] = LruCache(CACHED_CHIPS)
        self._sources: dict[tuple[Place, int], Source] = {}
        self._ranges: dict[Layer, np.ndarray] = {}
        self.layers: tuple[Layer, ...] = ()
        if image is not None:
            source = store.open_raster(image)
            self.grid: GeoBox = source.grid
            self.layers = tuple(layers_of(image, source))
        else:
            self.grid = _plain_grid(frame)
        if scores is not None:
            self.layers += tuple(_of_scores(scores))
        if (frame.crs is None) != (self.grid.crs is None):
            raise GridMismatch(
                "The map cannot be overlaid on the image: one of them has a CRS and the other has "
                "none; name another with --image."
            )
        self._there, self._back = _ways(frame.crs, self.grid)
        self._globe = _globe(frame.crs)

    def to_pixels(self, points: np.ndarray) -> np.ndarray:
        """Turn (n, 2) x, y of the map into column, row of the image."""
        with self._lock:
            x, y = self._there(points[:, 0], points[:, 1])
        inverse = ~self.grid.transform
        return np.column_stack(
            [inverse.a * x + inverse.b * y + inverse.c, inverse.d * x + inverse.e * y + inverse.f]
        )

    def to_map(self, pixels: np.ndarray) -> np.ndarray:
        """Turn (n, 2) column, row of the image into x, y of the map.

        Raises
        ------
        BadInput
            If a point lies far away from the image.
        """
        height, width = self.grid.shape
        size = np.array([width, height], float)
        if not (
            np.isfinite(pixels).all()
            and (pixels >= -FAR * size - 64).all()
            and (pixels <= (1 + FAR) * size + 64).all()
        ):
            raise BadInput("A point lies far away from the image: draw it again.")
        place = self.grid.transform
        x = place.a * pixels[:, 0] + place.b * pixels[:, 1] + place.c
        y = place.d * pixels[:, 0] + place.e * pixels[:, 1] + place.f
        with self._lock:
            made = np.column_stack(self._back(x, y))
        if not np.isfinite(made).all():
            raise BadInput("A point cannot be placed on the globe: draw it again.")
        return made

    def degrees(self, bounds: tuple[float, float, float, float]) -> tuple[float, ...] | None:
        """Return west, south, east, north of bounds of the map; None where it has no place."""
        if self._globe is None:
            return None
        with self._lock:
            x, y = self._globe(np.array(bounds[::2]), np.array(bounds[1::2]))
        return float(x[0]), float(y[0]), float(x[1]), float(y[1])

    def box_of(self, pixels: np.ndarray, wide: int = 1, aspect: float = 1.0) -> Box:
        """Return what to show around points.

        Their box with its surroundings, so many times as wide as high, in whole pixels.  At the
        rim of the image it is pushed inside, where there is something to see.
        """
        low, high = pixels.min(0), pixels.max(0)
        shape = np.array([aspect, 1.0])
        reach = shape * max(float(((high - low) / shape).max()) * ROOM, LEAST) * 2.0 ** (wide - 1)
        middle = (low + high) / 2
        step = _step(2 * float(reach.max()))
        corners = (
            np.concatenate([np.floor((middle - reach) / step), np.ceil((middle + reach) / step)])
            * step
        )
        size = np.array(self.grid.shape[::-1], float)
        corners += np.tile(_push(corners[:2], corners[2:], size, (low, high), step), 2)
        left, top, right, bottom = (int(v) for v in np.clip(corners, -(2**31), 2**31))
        return left, top, right, bottom

    def chip(self, name: str, box: Box) -> bytes:
        """Draw a piece of the image as a PNG.

        Raises
        ------
        BadInput
            If there is no such layer, or the box is none.
        """
        layer = self._checked(name, box)
        left, top, right, bottom = box

        def make() -> bytes:
            with self._lock:
                return png_bytes(self._drawn(layer, box, _step(max(right - left, bottom - top))))

        return self._chips.get((name, box), make)

    def picture(self, name: str, box: Box) -> np.ndarray:
        """Draw a piece in the image's own pixels, (y, x, 3) uint8; errors as of :meth:`chip`."""
        layer = self._checked(name, box)
        with self._lock:
            return self._drawn(layer, box, 1)

    def _checked(self, name: str, box: Box) -> Layer:
        left, top, right, bottom = box
        if not (0 < right - left <= LARGEST and 0 < bottom - top <= LARGEST):
            raise BadInput(
                f"A chip of {right - left} x {bottom - top} pixels was asked for; wanted are 1 to "
                f"{LARGEST}."
            )
        layer = next((each for each in self.layers if each.name == name), None)
        if layer is None:
            raise BadInput(f"There is no layer {name[:20]!r}.")
        return layer

    def _drawn(self, layer: Layer, box: Box, step: int) -> np.ndarray:
        """Read and stretch a box of the image's pixels; grey outside of the image."""
        left, top, right, bottom = box
        source = self._source(layer.path, step)
        # probabilities may be finer than the image
        scale = source.grid.shape[1] / self.grid.shape[1]
        edges = np.round(np.array([left, right, top, bottom]) * scale).astype(int)
        height, width = source.grid.shape
        columns, rows = (
            slice(int(np.clip(a, 0, most)), int(np.clip(b, 0, most)))
            for a, b, most in ((edges[0], edges[1], width), (edges[2], edges[3], height))
        )
        shown = np.full(
            (max(int(edges[3] - edges[2]), 1), max(int(edges[1] - edges[0]), 1), 3),
            np.nan,
            np.float32,
        )
        if rows.start < rows.stop and columns.start < columns.stop:
            part = source.read((rows, columns))
            values = np.moveaxis(part.values[list(layer.bands)].astype(np.float32), 0, -1)
            if part.valid is not None:
                values[~part.valid] = np.nan
            shown[
                rows.start - edges[2] : rows.stop - edges[2],
                columns.start - edges[0] : columns.stop - edges[0],
            ] = values
        if layer.fixed:
            if source.dtype.kind == "f":  # 0 to 1
                shown *= 255
            return np.nan_to_num(shown, nan=128).clip(0, 255).astype(np.uint8)
        return stretched(shown, self._range(layer))

    def _range(self, layer: Layer) -> np.ndarray:
        """Return (2, 3), the 2nd and the 98th percentile of each colour over the whole image."""
        if layer not in self._ranges:
            sample = sample_of(self._source(layer.path, 1)).values[list(layer.bands)]
            self._ranges[layer] = (
                np.percentile(sample, [2, 98], axis=1)
                if sample.size
                else np.array([[0.0] * 3, [1.0] * 3])
            )
        return self._ranges[layer]

    def _source(self, path: Place, step: int) -> Source:
        if (path, step) not in self._sources:
            source: Source = store.open_raster(path)
            if step > 1:
                source = store.open_raster(path, coarse=abs(source.grid.transform.a) * step * 1.01)
            self._sources[path, step] = source
        return self._sources[path, step]


def stretched(shown: np.ndarray, span: np.ndarray) -> np.ndarray:
    """Map (y, x, 3) numbers of a chip to uint8: in the colours of the whole image, as bright as it.

    Each colour by itself would make bare soil violet, and one field another colour in each chip.

    Parameters
    ----------
    shown : (y, x, 3) float32 ndarray
        NaN where there is no image: flat grey.
    span : (2, 3) ndarray
        What is dark and bright in the whole image, of each colour.
    """
    even = (shown - span[0]) / np.maximum(span[1] - span[0], 1e-6)
    there = np.isfinite(even).all(-1)
    if not there.any():
        return np.full(shown.shape, HOLE, np.uint8)
    low, high = np.percentile(even[there], [2, 98])
    room = max(NARROW - (high - low), 0.0) / 2
    low, high = low - room, high + room
    out: np.ndarray = 255 * np.clip((even - low) / (high - low), 0, 1) ** GAMMA
    return np.where(there[..., None], out.round(), HOLE).astype(np.uint8)


def _push(
    low: np.ndarray,
    high: np.ndarray,
    size: np.ndarray,
    kept: tuple[np.ndarray, np.ndarray],
    step: int,
) -> np.ndarray:
    """Return (x, y) by which a box moves so that it shows an image and not what lies beside it.

    Points from ``kept[0]`` to ``kept[1]`` stay in it.
    """
    free = size - (high - low)
    moved = np.clip(low, np.minimum(free, 0), np.maximum(free, 0))
    rim = EDGE * (high - low)  # what is looked at does not stand at the very rim, nor under it
    moved = np.clip(moved, np.ceil(kept[1] + rim) - (high - low), np.floor(kept[0] - rim))
    return np.floor(moved / step) * step - low


def _step(edge: float) -> int:
    """Return how many pixels of the image become one where a box is large."""
    step = 1
    while edge / step > SHARP:
        step *= 2
    return step


def layers_of(image: Place, source: Source) -> list[Layer]:
    """Return the ways to look at an image.

    True colour of each date, and false colour of the last that has near infrared.
    """

    def glimpse() -> np.ndarray:
        return _middle(source)

    dates = find_colours(source.bands, glimpse)
    if not dates:
        return [Layer("colour1", "Image", image, (0, 0, 0))]
    found = []
    for k, date in enumerate(dates, 1):
        title = "Colour" if len(dates) == 1 else f"Colour, date {k}"
        red, green, blue = (date.bands[colour] - 1 for colour in ("red", "green", "blue"))
        found.append(Layer(f"colour{k}", title, image, (red, green, blue)))
    near = [date.bands for date in dates if "nir" in date.bands]
    if near:
        nir, red, green = (near[-1][colour] - 1 for colour in ("nir", "red", "green"))
        found.append(Layer("infrared", "Infrared", image, (nir, red, green)))
    return found


def _middle(source: Source) -> np.ndarray:
    """Read (band, pixel) float values of the middle of an image; none where it is empty."""
    rows, columns = (
        slice(max(0, size // 2 - SEEN // 2), min(size, size // 2 + SEEN // 2))
        for size in source.grid.shape
    )
    part = source.read((rows, columns))
    values = part.values.reshape(len(part.values), -1).astype(np.float64)
    known = np.isfinite(values).all(0)
    return values[:, known if part.valid is None else known & part.valid.ravel()]


def _of_scores(scores: Place) -> list[Layer]:
    source = store.open_raster(scores)
    last = len(source.bands) - 1
    return [Layer("scores", "Probabilities", scores, (0, min(1, last), min(2, last)), fixed=True)]


def _plain_grid(frame: geopandas.GeoDataFrame) -> GeoBox:
    """Lay a grid under fields that have no image."""
    from affine import Affine
    from odc.geo.geobox import GeoBox

    placed = frame if frame.crs is None else frame.to_crs(frame.estimate_utm_crs())
    left, bottom, right, top = placed.total_bounds
    pixel = 1.0 if frame.crs is None else PLAIN
    shape = (
        max(1, int(np.ceil((top - bottom) / pixel))),
        max(1, int(np.ceil((right - left) / pixel))),
    )
    if frame.crs is None:
        return GeoBox(shape, Affine.translation(left, bottom), None)
    return GeoBox(shape, Affine(pixel, 0, left, 0, -pixel, top), placed.crs.to_wkt())


Way = Callable[[np.ndarray, np.ndarray], tuple[Any, Any]]


def _ways(crs: Any, grid: GeoBox) -> tuple[Way, Way]:
    """Return how x, y of the map become x, y of the image's CRS, and back."""
    if grid.crs is None or crs is None:
        return _same, _same
    from pyproj import Transformer

    there = Transformer.from_crs(crs, grid.crs.to_wkt(), always_xy=True)
    back = Transformer.from_crs(grid.crs.to_wkt(), crs, always_xy=True)
    return there.transform, back.transform


def _globe(crs: Any) -> Way | None:
    if crs is None:
        return None
    from pyproj import Transformer

    return Transformer.from_crs(crs, "OGC:CRS84", always_xy=True).transform


def _same(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return x, y
