"""A small picture of one field in one rendering of a raster, with its outline."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np

from selion.errors import BadInput
from selion.store.vectors import readable_shapes
from selion.web.view.chunks import Fields, place_of, row_box
from selion.web.view.paint import encode, paint
from selion.web.view.place import EARTH, Box
from selion.web.view.rasters import EDGE, RasterFile, meets, opened, read_warped
from selion.web.view.renderings import Rendering

SIDE = 224
"""Edge of the picture in pixels."""
MORE = 1.6
"""Edge of what is shown, by the longer edge of the field."""
LEAST = 12
"""Pixels of the raster that are shown at least along an edge."""


def chip(fields: Fields, row: int, raster: RasterFile, rendering: Rendering) -> tuple[bytes, str]:
    """Draw a field.

    Raises
    ------
    BadInput
        If the raster does not lie there, has no place, or would have to be read too far.
    UnreadableFile
        If there is no such row, or the file is corrupt.
    """
    index = place_of(fields.places, row)
    chunk = fields.chunk(index)
    at = row - fields.places[index].first
    box = row_box(chunk, at)
    if box is None or raster.crs is None or fields.flat:
        raise BadInput(f"{raster.path.name} and this field have no common place on the map.")
    shown = around_field(box, raster)
    if not any(meets(shown, side) for side in raster.sides):
        raise BadInput(f"{raster.path.name} does not cover this field.")
    if math.log2(2 * EARTH / (shown[2] - shown[0]) * SIDE / EDGE) < raster.minzoom - 1:
        raise BadInput(f"The field is too large to be cut out of {raster.path.name}.")
    with opened(raster.path) as dataset:
        values, valid = read_warped(dataset, rendering.bands, shown, (SIDE, SIDE), smooth=True)
    body, _ = paint(rendering, values, valid, raster.stretch(rendering))
    return outlined(body, rings(fields, chunk.shapes[at].as_py(), shown)), "image/jpeg"


def around_field(box: Box, raster: RasterFile) -> Box:
    """Return the square that is shown around a field, in metres of web mercator."""
    half = max(MORE * max(box[2] - box[0], box[3] - box[1]), LEAST * raster.pixel) / 2
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return x - half, y - half, x + half, y + half


def rings(fields: Fields, wkb: bytes, shown: Box) -> list[list[tuple[float, float]]]:
    """Return the outlines of a field in pixels of the picture."""
    import shapely

    shape = readable_shapes(np.array([wkb], object))[0]
    if shape is None:
        return []
    west, _, east, north = shown
    scale = np.array([SIDE, -SIDE]) / (east - west)
    found = []
    for ring in shapely.get_rings(shapely.get_parts(shapely.force_2d(shape))):
        with np.errstate(invalid="ignore", over="ignore"):
            points = (fields.project(shapely.get_coordinates(ring)) - [west, north]) * scale
        if np.isfinite(points).all():
            found.append([(float(x), float(y)) for x, y in np.clip(points, -SIDE, 2 * SIDE)])
    return found


def outlined(body: bytes, drawn: list[list[tuple[float, float]]]) -> bytes:
    """Draw outlines over a picture: yellow on dark, so that they are seen on any ground."""
    from PIL import Image, ImageDraw

    with Image.open(io.BytesIO(body)) as image:
        picture: Any = image.convert("RGB")
    pen = ImageDraw.Draw(picture)
    for colour, width in (((20, 28, 22), 4), ((255, 213, 0), 2)):
        for ring in drawn:
            pen.line(ring, fill=colour, width=width, joint="curve")
    return encode(np.asarray(picture), "RGB", "JPEG", quality=88)
