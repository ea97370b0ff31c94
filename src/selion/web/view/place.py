"""Where things lie on the page.

Web mercator, its tiles, and the flat ground that things without a place are laid on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np

from selion.errors import BadInput

Box = tuple[float, float, float, float]
"""West, south, east, north; degrees or metres, as said."""
EARTH = math.pi * 6378137.0
"""Half the width of web mercator in metres."""
TOP = 85.051129
"""Latitude at which web mercator ends."""
DEEPEST = 24
"""Zoom beyond which no tile is answered."""
PIXEL = 2 * EARTH / (256 << 20)
"""Metres of web mercator that one pixel of a flat image is laid on: 15 cm, so that 100,000 pixels
stay near the equator, where the map is true."""

SLACK = 20.0
"""Metres that columns may run on beyond the antimeridian by rounding."""


@dataclass(frozen=True, slots=True)
class WebTile:
    """A square of web mercator."""

    z: int
    x: int
    y: int

    @property
    def box(self) -> Box:
        """Its edges in metres of web mercator."""
        edge = 2 * EARTH / (1 << self.z)
        west, north = self.x * edge - EARTH, EARTH - self.y * edge
        return west, north - edge, west + edge, north

    @property
    def edge(self) -> float:
        """Its width in metres of web mercator."""
        return 2 * EARTH / (1 << self.z)


def read_tile(z: str, x: str, y: str) -> WebTile:
    """Return the tile that a request names.

    Raises
    ------
    BadInput
        If there is no such tile.
    """
    numbers = [
        int(text) if text.isascii() and text.isdigit() and len(text) < 9 else -1
        for text in (z, x, y)
    ]
    if not 0 <= numbers[0] <= DEEPEST or not all(0 <= k < 1 << numbers[0] for k in numbers[1:]):
        raise BadInput(
            f"There is no tile {z[:12]}/{x[:12]}/{y[:12]}: zoom is 0 to {DEEPEST}, x and y are 0 "
            "to 2^zoom - 1."
        )
    return WebTile(*numbers)


Projection = Callable[[np.ndarray], np.ndarray]
"""(n, 2) coordinates of a file -> (n, 2) metres of web mercator; what cannot be projected becomes
infinite."""


def from_degrees(points: np.ndarray) -> np.ndarray:
    """Project longitude and latitude; latitudes beyond the map are laid on its edge."""
    latitude = np.radians(np.clip(points[:, 1], -TOP, TOP))
    return np.column_stack(
        [points[:, 0] * (EARTH / 180), np.arcsinh(np.tan(latitude)) * (EARTH / math.pi)]
    )


def from_pixels(points: np.ndarray) -> np.ndarray:
    """Lay pixels, y down, on the flat ground."""
    return points * np.array([PIXEL, -PIXEL])


def to_degrees(box: Box) -> Box:
    """Turn edges in metres of web mercator into degrees, within the map."""
    west, south, east, north = np.clip(box, -EARTH, EARTH)
    degrees = [
        math.degrees(math.atan(math.sinh(float(y) * math.pi / EARTH))) for y in (south, north)
    ]
    return float(west) * 180 / EARTH, degrees[0], float(east) * 180 / EARTH, degrees[1]


@lru_cache(maxsize=64)
def projection(crs: str | None) -> Projection:
    """Return how coordinates of a CRS come to web mercator; None is the flat ground.

    Raises
    ------
    BadInput
        If PROJ does not know the CRS.
    """
    if crs is None:
        return from_pixels
    import pyproj

    try:
        source = pyproj.CRS.from_user_input(crs)
        if source.equals(pyproj.CRS.from_user_input("OGC:CRS84"), ignore_axis_order=True):
            return from_degrees
        transformer = pyproj.Transformer.from_crs(source, "EPSG:3857", always_xy=True)
    except pyproj.exceptions.ProjError as error:
        raise BadInput(
            f"The coordinate system {crs[:80]!r} is not known to PROJ: write the file again with "
            "another."
        ) from error

    def project(points: np.ndarray) -> np.ndarray:
        return np.column_stack(transformer.transform(points[:, 0], points[:, 1], errcheck=False))

    return project


def project_boxes(boxes: np.ndarray, project: Projection) -> np.ndarray:
    """Project (n, 4) west, south, east, north.

    The four corners of each are taken, and what is not finite stays so.
    """
    west, south, east, north = boxes.T
    corners = np.stack(
        [
            np.column_stack(pair)
            for pair in ((west, south), (west, north), (east, south), (east, north))
        ]
    )
    with np.errstate(invalid="ignore", over="ignore"):
        there = project(corners.reshape(-1, 2)).reshape(4, -1, 2)
    return np.concatenate([there.min(0), there.max(0)], axis=1)


def is_across(boxes: np.ndarray) -> np.ndarray:
    """Say which of (n, 4) boxes lie on both sides of the antimeridian, (n,) bool.

    They reach from one end of the map to the other.  What is as wide as the map is no field.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        wide = boxes[:, 2] - boxes[:, 0]
        across: np.ndarray = (wide > EARTH) & (wide < 2 * EARTH * (1 - 1e-9))
    return across


def around(boxes: np.ndarray) -> Box | None:
    """Return the box around the finite ones of (n, 4) boxes, within the map."""
    sound = boxes[np.isfinite(boxes).all(1)]
    if not len(sound):
        return None
    west, south, east, north = np.clip([*sound[:, :2].min(0), *sound[:, 2:].max(0)], -EARTH, EARTH)
    return float(west), float(south), float(east), float(north)


def sides_of(bounds: Box, project: Projection) -> tuple[Box, ...]:
    """Return the boxes in which a raster lies: two where it crosses the antimeridian, none nowhere.

    A box around both sides would be as wide as the world, and tell of pixels as wide.
    """
    strips = edge_boxes(bounds, project)
    strips = strips[np.isfinite(strips).all(1)]
    box = around(strips)
    if box is None:
        return ()
    first, last = float(strips[:, 0].min()), float(strips[:, 2].max())
    if min(first + EARTH, EARTH - last) < -SLACK:
        return _wrapped(first, last - first, box)
    if not (strips[:, 2] - strips[:, 0] > EARTH).any():
        return (box,)
    x, y = np.meshgrid(*lattice(bounds))
    x = project(np.column_stack([x.ravel(), y.ravel()]))[:, 0]
    west, east = float(x[(x > 0) & np.isfinite(x)].min()), float(x[x <= 0].max())
    if west - east < EARTH:  # it holds a pole, or all of the world
        return (box,)
    return (west, box[1], EARTH, box[3]), (-EARTH, box[1], east, box[3])


def _wrapped(first: float, width: float, box: Box) -> tuple[Box, ...]:
    """Return the boxes of columns that run on beyond the antimeridian, as those of 0 to 360 do."""
    west = (first + EARTH) % (2 * EARTH) - EARTH
    east = west + width
    if east <= EARTH:
        return ((west, box[1], east, box[3]),)
    return (west, box[1], EARTH, box[3]), (-EARTH, box[1], east - 2 * EARTH, box[3])


def lattice(bounds: Box) -> tuple[np.ndarray, np.ndarray]:
    """Return columns and rows of points that tell where a box lies whose edges may bend."""
    west, south, east, north = bounds
    return np.linspace(west, east, 9), np.linspace(south, north, 9)


def edge_boxes(bounds: Box, project: Projection) -> np.ndarray:
    """Return projected boxes that together hold a box whose edges may bend."""
    x, y = lattice(bounds)
    strips = [
        np.column_stack(np.broadcast_arrays(x[:-1], low, x[1:], high)) for low, high in pairwise(y)
    ]
    return project_boxes(np.concatenate(strips), project)
