"""The part of a tile that an area needs, and which tiles an area can do without."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from selion.grid import Roi, whole
from selion.imagery.area import Area

STEP = 6
"""Pixels: a cut on multiples of it keeps the 20 m and 60 m pixels of Sentinel-2 whole."""
FINEST, COARSEST = 2.0, 32.0
"""Edge of the pixels on which scenes are chosen, in pixels of the tile: 20 to 320 m of
Sentinel-2."""
ENOUGH = 256
"""Pixels along the longer edge of a part that are enough to choose by."""


@dataclass(frozen=True, eq=False, slots=True)
class TilePart:
    """What an area needs of one tile."""

    tile: str
    full: GeoBox
    """The tile at the bands' resolution."""
    roi: Roi
    """Where the part lies in it."""
    overview: GeoBox
    """The part in the coarse pixels on which scenes are chosen."""
    inside: np.ndarray
    """(y, x) bool: which of those the area touches; not those of which the middle lies beyond the
    tile, which no scene of it can show."""

    @property
    def grid(self) -> GeoBox:
        """The part at the bands' resolution."""
        return self.full[self.roi]

    @property
    def coarse(self) -> float:
        """Edge of a coarse pixel in metres."""
        return float(self.overview.transform.a)

    @property
    def centre(self) -> tuple[float, float]:
        """Longitude and latitude of the part's middle."""
        return middle(self.grid)


def middle(grid: GeoBox) -> tuple[float, float]:
    """Return the longitude and latitude of a grid's middle."""
    height, width = grid.shape
    lon, lat = _moved(
        grid, "EPSG:4326", *(np.array([v]) for v in grid.transform * (width / 2, height / 2))
    )
    return float(lon[0]), float(lat[0])


def tile_grid(grid: GeoBox, gsd: float = 10.0) -> GeoBox:
    """Return a tile's grid at ``gsd`` metres from that of any of its bands, or of an overview.

    They share their corners.
    """
    left, bottom, right, top = _bounds(grid)
    shape = round((top - bottom) / gsd), round((right - left) / gsd)
    return GeoBox(shape, Affine(gsd, 0, left, 0, -gsd, top), grid.crs)


def same_place(grid: GeoBox, full: GeoBox, *, fixed: bool = True) -> bool:
    """Say whether a band lies where its tile does.

    Parameters
    ----------
    grid, full : GeoBox
        The band's and the tile's.
    fixed : bool
        Whether all scenes of the tile share one grid, here to two pixels of the tile; else it is
        enough that they overlap.
    """
    if grid.crs != full.crs:
        return False
    ours, theirs = _bounds(grid), _bounds(full)
    if fixed:
        return all(abs(a - b) <= 2 * full.transform.a for a, b in zip(ours, theirs, strict=True))
    return all(ours[k] < theirs[k + 2] and theirs[k] < ours[k + 2] for k in (0, 1))


def cut(
    tile: str, full: GeoBox, area: Area, around: float = 0.0, coarse: float | None = None
) -> TilePart | None:
    """Cut the box around an area out of a tile.

    Parameters
    ----------
    tile : str
    full : GeoBox
        The tile at the bands' resolution.
    area : Area
    around : float
        Metres that are added on each side, as far as the tile goes: models look around.
    coarse : float, optional
        Edge in metres of the pixels on which scenes are chosen; by default two pixels of the tile
        doubled, up to 32 (20 to 320 m of Sentinel-2), while 256 remain along the longer edge.

    Returns
    -------
    TilePart or None
        None if the area does not touch the tile.
    """
    height, width = full.shape
    blocks = GeoBox(
        (-(-height // STEP), -(-width // STEP)), full.transform * Affine.scale(STEP), full.crs
    )
    touched = area.mask(blocks)
    if not touched.any():
        return None
    pad = math.ceil(around / (full.transform.a * STEP))
    roi = (
        _spanned(np.nonzero(touched.any(1))[0], pad, height),
        _spanned(np.nonzero(touched.any(0))[0], pad, width),
    )
    overview = overview_grid(full[roi], coarse or fine_enough(full[roi]))
    inside = area.mask(overview)
    shown = inside & _on_tile(full, roi, overview)
    # of a strip along the tile's edge all may lie beyond: they say where it is, for its neighbours
    return TilePart(tile, full, roi, overview, shown if shown.any() else inside)


def whole_part(tile: str, full: GeoBox) -> TilePart:
    """Return all of a tile as its part."""
    overview = overview_grid(full, fine_enough(full))
    return TilePart(tile, full, whole(full), overview, _on_tile(full, whole(full), overview))


def _on_tile(full: GeoBox, roi: Roi, overview: GeoBox) -> np.ndarray:
    """Say which coarse pixels of a part have their middle on its tile, (y, x) bool."""
    coarse = overview.transform.a / full.transform.a
    rows, columns = (
        part.start + (np.arange(count) + 0.5) * coarse < size
        for part, count, size in zip(roi, overview.shape, full.shape, strict=True)
    )
    on_tile: np.ndarray = rows[:, None] & columns
    return on_tile


def fine_enough(grid: GeoBox) -> float:
    """Return the edge of a coarse pixel, in metres.

    It is one of which enough lie along the longer edge of a grid.
    """
    doublings = math.floor(math.log2(max(max(grid.shape) / (FINEST * ENOUGH), 1)))
    return float(grid.transform.a * min(FINEST * 2**doublings, COARSEST))


def overview_grid(grid: GeoBox, coarse: float) -> GeoBox:
    """Return the coarse grid over a fine one, from its upper left corner.

    The last pixels may reach over its edge.
    """
    height, width = (math.ceil(size * grid.transform.a / coarse) for size in grid.shape)
    return GeoBox(
        (height, width), Affine(coarse, 0, grid.transform.c, 0, -coarse, grid.transform.f), grid.crs
    )


def sampled(values: np.ndarray, grid: GeoBox, target: GeoBox, fill: int = 0) -> np.ndarray:
    """Return (y, x) values at the centres of another grid of the same CRS, nearest neighbour.

    ``fill`` outside.
    """
    rows, inside_rows = _nearest(
        target.transform.f,
        target.transform.e,
        target.shape[0],
        grid.transform.f,
        grid.transform.e,
        values.shape[0],
    )
    columns, inside_columns = _nearest(
        target.transform.c,
        target.transform.a,
        target.shape[1],
        grid.transform.c,
        grid.transform.a,
        values.shape[1],
    )
    found = values[np.ix_(rows, columns)]
    return np.where(inside_rows[:, None] & inside_columns, found, np.asarray(fill, values.dtype))


def window_of(grid: GeoBox, target: GeoBox) -> Roi | None:
    """Return the region of ``grid`` with all pixels that :func:`sampled` takes for ``target``.

    None if there are none.
    """
    parts = []
    for size, start, step, other, pitch, count in (
        (
            target.shape[0],
            target.transform.f,
            target.transform.e,
            grid.transform.f,
            grid.transform.e,
            grid.shape[0],
        ),
        (
            target.shape[1],
            target.transform.c,
            target.transform.a,
            grid.transform.c,
            grid.transform.a,
            grid.shape[1],
        ),
    ):
        place, inside = _nearest(start, step, size, other, pitch, count)
        if not inside.any():
            return None
        parts.append(slice(int(place[inside].min()), int(place[inside].max()) + 1))
    return parts[0], parts[1]


def needless(parts: Sequence[TilePart]) -> dict[str, str]:
    """Say which parts can be left out because other tiles cover all that the area needs of them.

    Neighbouring tiles overlap by 9.8 km, and tiles of neighbouring UTM zones by more; an overpass
    is cut into all of them, so that the same views would be read twice.  The part with the fewest
    pixels of the area goes first (of equal ones the first by name), and what it leans on stays.

    Returns
    -------
    dict of str to str
        Tile -> one clause that says which tiles cover it.
    """
    left = {part.tile: part for part in parts}
    found: dict[str, str] = {}
    for part in sorted(parts, key=lambda part: (_size(part), part.tile)):
        others = [other for tile, other in sorted(left.items()) if tile != part.tile]
        leans_on = covering(part, others)
        if leans_on:
            del left[part.tile]
            found[part.tile] = f"all that the area needs of it lies in {', '.join(leans_on)} too"
    return found


def needed(seeing: Sequence[TilePart], blind: Sequence[TilePart]) -> list[TilePart]:
    """Return the parts that an area needs.

    Those that see it and that others do not cover, and of the blind ones those that nothing that
    sees it covers.
    """
    spare = needless(seeing)
    return [part for part in seeing if part.tile not in spare] + [
        part for part in blind if not covering(part, seeing)
    ]


def _size(part: TilePart) -> float:
    return float(part.inside.sum()) * part.coarse**2


def covering(part: TilePart, others: Sequence[TilePart]) -> list[str]:
    """Return the tiles that together cover all pixels of the area in a part, or an empty list."""
    rows, columns = np.nonzero(part.inside)
    place = part.overview.transform
    x, y = place.c + (columns + 0.5) * place.a, place.f + (rows + 0.5) * place.e
    open_ = np.ones(len(rows), bool)
    names = []
    for other in others:
        if not _near(part, other):
            continue
        left, bottom, right, top = _bounds(other.full)
        east, north = _moved(part.overview, str(other.full.crs), x[open_], y[open_])
        reach = part.coarse  # a pixel's centre stands for all of it
        held = (
            (east > left + reach)
            & (east < right - reach)
            & (north > bottom + reach)
            & (north < top - reach)
        )
        if held.any():
            names.append(other.tile)
            open_[np.nonzero(open_)[0][held]] = False
        if not open_.any():
            return names
    return []


def _near(part: TilePart, other: TilePart) -> bool:
    """Say whether two tiles may overlap: their middles lie less than a diagonal apart."""
    from pyproj import Geod

    reach = max(math.hypot(*each.full.shape) * each.full.transform.a for each in (part, other))
    return float(Geod(ellps="WGS84").inv(*part.centre, *other.centre)[2]) < 1.05 * reach


def _moved(grid: GeoBox, crs: str, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from pyproj import Transformer

    if str(grid.crs) == crs:
        return x, y
    east, north = Transformer.from_crs(str(grid.crs), crs, always_xy=True).transform(x, y)
    return np.asarray(east), np.asarray(north)


def _bounds(grid: GeoBox) -> tuple[float, float, float, float]:
    """Return left, bottom, right, top."""
    transform, (height, width) = grid.transform, grid.shape
    return (
        transform.c,
        transform.f + height * transform.e,
        transform.c + width * transform.a,
        transform.f,
    )


def _spanned(touched: np.ndarray, pad: int, size: int) -> slice:
    """Return the pixels from the first to the last of the touched blocks.

    They are padded by blocks and cut to the tile.
    """
    return slice(int(max(touched[0] - pad, 0)) * STEP, min(int(touched[-1] + 1 + pad) * STEP, size))


def _nearest(
    start: float, step: float, size: int, other: float, pitch: float, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels of another axis that the centres of ``size`` pixels lie in.

    They are indices, with whether there is one.
    """
    place = np.floor((start + (np.arange(size) + 0.5) * step - other) / pitch).astype(int)
    return np.clip(place, 0, count - 1), (place >= 0) & (place < count)
