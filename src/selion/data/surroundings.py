"""Where labels are known, when nobody said so: in what is outlined, and between it.

Who outlines a field has seen that field, not the whole image.  A gap between outlined fields in
which no field of usual size fits was looked at; land away from them was not, and is not known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from odc.geo.geobox import GeoBox

if TYPE_CHECKING:
    import geopandas

RIM = 3
"""Pixels around what is outlined that count as looked at: where a field ends was said."""
SAID = 0.02
"""Share of the images from which on it is said that land is not known."""


def looked_at(shapes: geopandas.GeoSeries, grid: GeoBox) -> geopandas.GeoSeries:
    """Return the land that whoever drew these outlines has looked at.

    Gaps are closed that are narrower than the side of a square with the median field's area, and a
    rim of :data:`RIM` pixels is added.

    Parameters
    ----------
    shapes : GeoSeries
        Outlines in the CRS of the grid; may be empty.
    grid : GeoBox
        The image's.

    Returns
    -------
    GeoSeries
        Polygons in the same CRS, within the image; empty where nothing is outlined.
    """
    import geopandas
    import shapely

    fields = np.asarray(shapes.array, dtype=object)
    if not len(fields):
        return geopandas.GeoSeries([], crs=shapes.crs)
    rim = RIM * abs(grid.transform.a * grid.transform.e) ** 0.5
    reach = max(float(np.sqrt(np.median(shapely.area(fields)))) / 2, rim)
    wide = shapely.union_all(shapely.buffer(fields, reach, quad_segs=4))
    closed = shapely.buffer(wide, rim - reach, quad_segs=4)
    found = shapely.union_all([closed, *shapely.buffer(fields, rim, quad_segs=2)])
    within = shapely.intersection(found, shapely.box(*grid.extent.boundingbox))
    parts = shapely.get_parts(within)
    return geopandas.GeoSeries(parts[shapely.get_dimensions(parts) == 2], crs=shapes.crs)


def unknown_share(known: geopandas.GeoSeries | None, grid: GeoBox) -> float:
    """Return which share of an image is not known, 0 to 1; None knows everything."""
    if known is None:
        return 0.0
    import shapely

    area = shapely.area(np.asarray(known.array, dtype=object)).sum()
    return max(0.0, 1 - float(area) / float(grid.extent.area))
