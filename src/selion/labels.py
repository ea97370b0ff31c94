"""LabelMap and Instances: truth, or a prediction, per pixel and per object."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from odc.geo.geobox import GeoBox
from scipy import ndimage

from selion.classes import FTW3, IGNORE, ClassScheme
from selion.errors import BadInput, GridMismatch
from selion.grid import Roi

MIN_AREA = 500.0
"""Area below which objects are not looked for unless told otherwise; m2, px2 for a photograph."""
MIN_PIXELS = 20
"""Pixels of the image below which an object has no shape that could be drawn."""


@dataclass(frozen=True, eq=False, slots=True)
class LabelMap:
    """One class per pixel."""

    ids: np.ndarray
    """(y, x) uint8 class ids; 255 (IGNORE) is not known."""
    grid: GeoBox
    classes: ClassScheme

    def __post_init__(self) -> None:
        _check_ids(self.ids, self.grid)
        if self.ids.dtype != np.uint8:
            raise BadInput(f"Class ids came as {self.ids.dtype}; wanted is uint8.")

    def __repr__(self) -> str:
        return (
            f"<LabelMap {self.ids.shape[0]} x {self.ids.shape[1]}, "
            f"{', '.join(self.classes.names)}, {self.grid.crs or 'a photograph'}>"
        )

    def read(self, roi: Roi) -> LabelMap:
        """Cut out a region."""
        return LabelMap(self.ids[roi], self.grid[roi], self.classes)


def _no_table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "id": pd.Series(dtype="int64"),
            "class": pd.Series(dtype="string"),
            "score": pd.Series(dtype="float32"),
        }
    )


@dataclass(frozen=True, eq=False, slots=True)
class Instances:
    """One object id per pixel, and a row per object."""

    ids: np.ndarray
    """(y, x) int32; 0 is no object."""
    grid: GeoBox
    table: pd.DataFrame = field(default_factory=_no_table)
    """Columns ``id``, ``class``, ``score`` (0..1); may be empty, and may have more columns."""
    min_area: float = 0.0
    """Area of the smallest object that was looked for, in m2; px2 for a photograph.  What its
    outline makes smaller than this is no field either."""

    def __post_init__(self) -> None:
        _check_ids(self.ids, self.grid)

    def __repr__(self) -> str:
        return (
            f"<Instances {self.ids.shape[0]} x {self.ids.shape[1]}, {len(self.table):,} objects in "
            f"the table, {self.grid.crs or 'a photograph'}>"
        )

    def read(self, roi: Roi) -> Instances:
        """Cut out a region; the table stays whole."""
        return Instances(self.ids[roi], self.grid[roi], self.table, self.min_area)


def default_min_area(gsd: float | None) -> float:
    """Return the area of the smallest object to look for where nobody says otherwise.

    Parameters
    ----------
    gsd : float, optional
        Ground sampling distance of the image in metres (:func:`selion.raster.image_gsd`), not of
        the finer grid on which its probabilities may lie: what they show was seen in the image's
        pixels.  None: a photograph, whose unit is the pixel.

    Returns
    -------
    float
        500 or 20 pixels of the image, whichever is more; m2, px2 for a photograph.

    Examples
    --------
    >>> default_min_area(1.0), default_min_area(10.0), default_min_area(None)
    (500.0, 2000.0, 500.0)
    """
    return MIN_AREA if gsd is None else max(MIN_AREA, MIN_PIXELS * gsd**2)


def least_areas(classes: ClassScheme, given: float | None, gsd: float | None) -> dict[str, float]:
    """Return the least area of an object of each thing class, m2 (px2 for a photograph).

    What is given holds for all; else the scheme's own, where an object of :data:`MIN_PIXELS` pixels
    still has a shape; else :func:`default_min_area`.

    Parameters
    ----------
    classes : ClassScheme
    given : float, optional
        What was asked for.
    gsd : float, optional
        Edge of a pixel of the image in metres; None: a photograph.
    """
    if given is not None or not classes.least_area or gsd is None:
        least = default_min_area(gsd) if given is None else given
        return dict.fromkeys(classes.things, least)
    shape = MIN_PIXELS * gsd**2
    return {name: max(classes.least_area[classes.index(name)], shape) for name in classes.things}


def _check_ids(ids: np.ndarray, grid: GeoBox) -> None:
    if ids.shape != tuple(grid.shape):
        raise GridMismatch(
            f"Ids of shape {ids.shape} do not fit a grid of {tuple(grid.shape)}: wanted (y, x)."
        )


def class_labels(
    instances: Instances, width: int = 1, ignore: np.ndarray | None = None
) -> LabelMap:
    """Turn object ids into background, field and boundary.

    The boundary is the outermost ``width`` pixels *inside* each object, so that field and boundary
    together are exactly the object.  (Fields of The World burns a line over both sides instead;
    there field and boundary together are half a line too wide.)

    Parameters
    ----------
    instances : Instances
        (y, x) ids.
    width : int
        Boundary width in pixels, counted in 8-neighbour steps; 0 gives no boundary.
    ignore : (y, x) bool ndarray, optional
        Pixels that become IGNORE.  They do not count as another object for the boundary of their
        neighbours.

    Returns
    -------
    LabelMap
        Classes of :data:`selion.classes.FTW3`.
    """
    ids = instances.ids
    labels = (ids > 0).astype(np.uint8)
    if width > 0:
        size = 2 * width + 1
        known = np.ones(ids.shape, bool) if ignore is None else ~ignore
        top = ndimage.maximum_filter(np.where(known, ids, 0), size, mode="nearest")
        # not the largest int64: the filter computes in float64, where that becomes the smallest one
        most = ids.max(initial=0)
        bottom = ndimage.minimum_filter(np.where(known, ids, most), size, mode="nearest")
        labels[(ids > 0) & (top != bottom)] = 2
    if ignore is not None:
        labels[ignore] = IGNORE
    return LabelMap(labels, instances.grid, FTW3)
