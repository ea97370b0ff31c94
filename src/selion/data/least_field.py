"""Which smallest field of a map fits the outlines that somebody drew."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from selion.errors import counted
from selion.labels import default_min_area

if TYPE_CHECKING:
    import geopandas
    from odc.geo.geobox import GeoBox

FEWEST = 10
"""Outlines below which their smallest says nothing of what its drawer leaves out."""
LARGER = 4.0
"""So many times the smallest field of a map, at least, has the smallest outline, or it is left
alone: who outlines everything has few fields that small, too."""
LEFT_OUT = 0.05
"""Share of the outlines that a map would leave out, from which on it is said."""
BELOW = 0.8
"""Of the smallest outline: among fields not drawn yet there are somewhat smaller ones."""


def outlined_areas(shapes: geopandas.GeoSeries, grid: GeoBox) -> np.ndarray:
    """Return the areas on the ground of the outlines that an image holds whole, (n,) m2.

    Parameters
    ----------
    shapes : GeoSeries
        Polygons in the CRS of the grid.
    grid : GeoBox
        The image's; without a CRS the unit is the pixel.
    """
    import geopandas
    import shapely

    polygons = np.asarray(shapes.array, dtype=object)
    whole = polygons[shapely.within(polygons, shapely.box(*grid.extent.boundingbox))]
    if grid.crs is None:
        return np.asarray(shapely.area(whole)) / abs(grid.transform.a * grid.transform.e)
    placed = geopandas.GeoSeries(whole, crs=shapes.crs)
    areas: np.ndarray = placed.to_crs("EPSG:6933").area.to_numpy()  # equal area, worldwide
    return areas


def fitting_least(areas: Sequence[float] | np.ndarray, gsd: float | None) -> str:
    """Say which ``--min-area`` fits outlines; empty where that of a map does, or they are few.

    Parameters
    ----------
    areas : (n,) m2
    gsd : float or None
        Metres of a pixel of the images, on which the default of a map depends; None: areas are in
        pixels.

    Examples
    --------
    >>> fitting_least([12_000.0] * 20 + [9_000.0], 1.0)
    'The smallest of 21 outlines has 9,000 m2, and maps keep fields from 500 m2: if smaller ones \
are not wanted, map with --min-area 7200.'
    >>> fitting_least([300.0] * 5 + [900.0] * 20, 1.0)
    '5 of 25 outlines are smaller than 500 m2, which maps leave out: map with --min-area 240 to \
keep them.'
    >>> fitting_least([600.0, 5_000.0, 9_000.0] * 5, 1.0)
    ''
    """
    usual, sizes = default_min_area(gsd), np.asarray(areas, float)
    if len(sizes) < FEWEST:
        return ""
    unit, smallest = "px" if gsd is None else "m2", float(sizes.min())
    small = int((sizes < usual).sum())
    fitting = _rounded(BELOW * (smallest if small == 0 else float(np.percentile(sizes, 1))))
    if small == 0 and smallest >= LARGER * usual:
        return (
            f"The smallest of {counted(len(sizes), 'outline')} has {smallest:,.0f} {unit}, and "
            f"maps keep fields from {usual:g} {unit}: if smaller ones are not wanted, map with "
            f"--min-area {fitting}."
        )
    if small >= LEFT_OUT * len(sizes) and fitting > 0:
        return (
            f"{small:,} of {counted(len(sizes), 'outline')} are smaller than {usual:g} {unit}, "
            f"which maps leave out: map with --min-area {fitting} to keep them."
        )
    return ""


def _rounded(area: float) -> int:
    """Return an area in two figures, rounded down."""
    step = 10 ** max(math.floor(math.log10(max(area, 1.0))) - 1, 0)
    return int(area // step * step)
