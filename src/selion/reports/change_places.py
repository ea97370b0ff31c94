"""Where most has changed in a country: the whole, and a few places from near, in both years."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from selion.country import query, scan
from selion.grid import LONLAT
from selion.reports import page
from selion.reports.change_imagery import CALM, ORDER, YearImages, find_images, swipe

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

    from selion.country import MapChange
    from selion.store.address import Place

LONGEST = 1000
"""Edge of a picture in pixels."""
WINDOW = 300
"""Pixels of the images along the edge of a place that is shown from near."""
PLACES = 4
"""Places that are shown from near, at most."""
DRAWN = 20_000
"""Fields that the picture of the whole has at most; of a map with more only places are shown."""
SMALLEST = 5.0
"""Pixels of the picture of the whole along the edge of a usual field, at least: with less its
outlines are all that is seen."""


def imagery_section(change: MapChange, images: Sequence[Place | str]) -> str:
    """Lay the imagery of both years over each other, under the outcomes of the fields.

    Parameters
    ----------
    change : MapChange
        With a field at least.
    images : sequence of path or address
        Of both years, see :func:`selion.reports.change_imagery.find_images`.
    """
    years = find_images(images, change.years)
    pixel = max(year.pixel for year in years)
    found = []
    grid = _whole(change, pixel)
    edge = (change.maps.parts and _usual_edge(change)) or 0.0
    if change.maps.rows <= DRAWN and edge >= SMALLEST * abs(grid.transform.a):
        about = "Fields of both years, coloured by what became of them."
        found.append(_shown(change, years, grid, about))
    if max(grid.shape) * abs(grid.transform.a) > 1.5 * WINDOW * pixel or not found:
        found += [_shown(change, years, place, about) for place, about in _busiest(change, pixel)]
    if not found:
        found.append(page.paragraph("No field has changed: there is no place to be shown."))
    return page.section("Both years from above", *found)


def _shown(change: MapChange, years: Sequence[YearImages], grid: GeoBox, about: str) -> str:
    box = Transformer.from_crs(str(grid.crs), LONLAT, always_xy=True).transform_bounds(
        *grid.extent.geom.bounds
    )
    frame = _fields(change, box)
    return swipe(years, frame, grid, about, max(1, LONGEST // max(grid.shape)))


def _fields(change: MapChange, box: tuple[float, float, float, float]) -> GeoDataFrame:
    """Read the fields of a box with their outcomes."""
    return query(change.maps, box, columns=("change:outcome",)).frame


def _usual_edge(change: MapChange) -> float:
    """Return the edge in metres of a field of the mean size."""
    return float(np.sqrt(sum(part.area for part in change.maps.parts) / change.maps.rows))


def _whole(change: MapChange, pixel: float) -> GeoBox:
    """Return a grid over the map, in the UTM zone of its middle, not finer than the images."""
    assert change.maps.box is not None
    west, south, east, north = change.maps.box
    return _grid(((west + east) / 2, (south + north) / 2), change.maps.box, pixel)


def _grid(
    middle: tuple[float, float], box: tuple[float, float, float, float], pixel: float
) -> GeoBox:
    crs = _utm(*middle)
    x0, y0, x1, y1 = Transformer.from_crs(LONLAT, crs, always_xy=True).transform_bounds(*box)
    pixel = max(pixel, max(x1 - x0, y1 - y0) / LONGEST)
    height, width = (max(1, int(np.ceil(size / pixel))) for size in (y1 - y0, x1 - x0))
    return GeoBox((height, width), Affine(pixel, 0, x0, 0, -pixel, y1), crs)


def _utm(longitude: float, latitude: float) -> str:
    zone = min(int((longitude + 180) // 6) + 1, 60)
    return f"EPSG:{(32700 if latitude < 0 else 32600) + zone}"


def _busiest(change: MapChange, pixel: float) -> list[tuple[GeoBox, str]]:
    """Return squares in which most fields changed, and a sentence on each; none touches another."""
    points, codes = _changed(change)
    if not len(points):
        return []
    edge = WINDOW * pixel
    high = edge / 111_320.0
    wide = high / np.maximum(np.cos(np.deg2rad(points[:, 1])), 0.05)
    # squares on a lattice of half their size, so that the best are not cut by it
    found: dict[tuple[int, int], np.ndarray] = {}
    for at_x, at_y in ((0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.5, 0.5)):
        keys = np.stack([points[:, 0] / wide + at_x, points[:, 1] / high + at_y], axis=1)
        cells, owner = np.unique(np.floor(keys).astype(np.int64), axis=0, return_inverse=True)
        best = np.argsort(-np.bincount(owner.ravel()), kind="stable")[:PLACES]
        for number in best.tolist():
            mine = np.flatnonzero(owner.ravel() == number)
            x, y = (2 * cells[number] - 2 * np.array([at_x, at_y])).round().astype(int).tolist()
            found[x, y] = mine
    chosen: list[tuple[GeoBox, str]] = []
    taken = np.zeros(len(points), bool)
    for mine in sorted(found.values(), key=len, reverse=True):
        if taken[mine].any() or len(chosen) == PLACES:
            continue
        taken[mine] = True
        middle = (points[mine].min(axis=0) + points[mine].max(axis=0)) / 2
        middle = _held(middle, change.maps.box, edge)
        chosen.append((_square(middle.tolist(), edge, pixel), _sentence(middle, codes[mine])))
    return chosen


def _held(
    middle: np.ndarray, box: tuple[float, float, float, float] | None, edge: float
) -> np.ndarray:
    """Move the middle of a square so far that the square lies on the map, if it has room there."""
    assert box is not None
    high = edge / 2 / 111_320.0
    half = np.array([high / max(np.cos(np.deg2rad(middle[1])), 0.05), high])
    low, top = np.array(box[:2]) + half, np.array(box[2:]) - half
    return np.where(low < top, np.clip(middle, low, top), (low + top) / 2)


def _changed(change: MapChange) -> tuple[np.ndarray, np.ndarray]:
    """Return the (n, 2) middles of all fields that changed, and the numbers of their outcomes."""
    points, codes = [np.zeros((0, 2))], [np.zeros(0, np.int64)]
    number = {name: k for k, name in enumerate(ORDER)}
    for table in scan(change.maps, None, ("change:outcome",)):
        bounds = np.array([list(row.values()) for row in table["bbox"].to_pylist()])
        told = np.array([number[name] for name in table["change:outcome"].to_pylist()], np.int64)
        here = ~np.isin(told, [number[name] for name in CALM])
        points.append(((bounds[:, :2] + bounds[:, 2:]) / 2)[here])
        codes.append(told[here])
    return np.concatenate(points), np.concatenate(codes)


def _square(middle: Sequence[float], edge: float, pixel: float) -> GeoBox:
    crs = _utm(middle[0], middle[1])
    x, y = Transformer.from_crs(LONLAT, crs, always_xy=True).transform(middle[0], middle[1])
    count = round(edge / pixel)
    return GeoBox((count, count), Affine(pixel, 0, x - edge / 2, 0, -pixel, y + edge / 2), crs)


def _sentence(middle: np.ndarray, codes: np.ndarray) -> str:
    counts = np.bincount(codes, minlength=len(ORDER))
    told = ", ".join(f"{counts[k]} {name}" for k, name in enumerate(ORDER) if counts[k])
    return f"Around {middle[1]:.4f}, {middle[0]:.4f} (latitude, longitude): {told}."
