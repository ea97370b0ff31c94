"""Polygons as masks: outlines of any origin become objects and classes on an image's grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from odc.geo.geobox import GeoBox

from selion import store
from selion.classes import FTW2, FTW3, IGNORE, ClassScheme
from selion.data.place import footprint
from selion.errors import BadInput, GridMismatch, SelionError, UnknownName
from selion.grid import Roi, ground_sampling_distance, inside, pad_roi, whole
from selion.labels import Instances, LabelMap, class_labels
from selion.store.vectors import touching

if TYPE_CHECKING:
    import geopandas

SLIVER = 0.01
"""Share of a pixel below which what is left of a repaired polygon is dropped."""


@dataclass(frozen=True, slots=True)
class Burning:
    """How outlines become pixels."""

    width: int = 1
    """Boundary width in pixels, where ``metres`` does not say it."""
    metres: float | None = None
    """Boundary width in metres; rounded to pixels, at least one."""
    boundary: Literal["inside", "line"] = "inside"
    """``inside``: the outermost pixels inside each field, so that field and boundary together are
    the field (ours; a pixel belongs to the field that holds its centre).  ``line``: every pixel
    that the outline touches, on both sides of it, as Fields of The World is made; there those
    pixels are no object, and background with two classes."""

    def __post_init__(self) -> None:
        if (
            self.width < 0
            or (self.metres is not None and not self.metres > 0)
            or self.boundary not in ("inside", "line")
        ):
            raise BadInput(
                f"A boundary {self.boundary!r} of {self.metres or self.width} was asked for; "
                "wanted is inside or line, and a width of 0 pixels or more."
            )

    def pixels(self, grid: GeoBox) -> int:
        """Return the boundary's width in pixels of a grid.

        Raises
        ------
        GridMismatch
            If it is given in metres and the image has no place.
        """
        if self.metres is None:
            return self.width
        size = ground_sampling_distance(grid)
        if size is None:
            raise GridMismatch(
                f"A boundary of {self.metres} m was asked for, but the image has no CRS: give its "
                "width in pixels."
            )
        return max(1, round(self.metres / size))


@dataclass(frozen=True, eq=False)
class Outlines:
    """Polygons of fields in the CRS of an image, repaired, one row per connected part.

    The larger first, so that the smaller stands where two overlap.
    """

    frame: geopandas.GeoDataFrame
    """Column ``id`` (from 1) and the polygons."""
    area: geopandas.GeoSeries | None = None
    """Where the labels are complete; None: everywhere."""
    notes: tuple[str, ...] = field(default=())
    """Repaired, parted, dropped and overlapping polygons."""


def read_outlines(
    path: Path | str,
    grid: GeoBox,
    *,
    area: Path | str | None = None,
    keep: tuple[str, str] | None = None,
    roi: Roi | None = None,
) -> Outlines:
    """Read a table of polygons for an image.

    Parameters
    ----------
    path : path
        GeoPackage, GeoParquet, GeoJSON, FlatGeobuf, shapefile ... in any CRS.
    grid : GeoBox
        The image's; decides the CRS.
    area : path, optional
        Polygons outside of which nothing is known.
    keep : (column, value), optional
        Only rows that hold this value are fields.
    roi : Roi, optional
        Only what touches this region of the grid is read.

    Raises
    ------
    GridMismatch
        If polygons or image have no CRS, and the other has one.
    UnknownName
        If there is no such column.
    BadInput
        If there are lines or points where polygons are wanted.
    """
    bbox = _bounds(grid if roi is None else grid[roi])
    frame = _areas(store.read_polygons(path, bbox), Path(path).name)
    if keep is not None:
        frame = _kept(frame, keep, str(path))
    frame = _near(_on(frame, grid, Path(path).name), grid if roi is None else grid[roi])
    known = (
        None
        if area is None
        else _on(
            _areas(store.read_polygons(area, bbox), Path(area).name), grid, Path(area).name
        ).geometry
    )
    return outlines_of(frame, grid, known, whole_table=roi is None)


def _areas(frame: geopandas.GeoDataFrame, name: str) -> geopandas.GeoDataFrame:
    """Refuse what holds no area at all: burnt, it would say that there is no field."""
    import shapely

    shapes = np.asarray(frame.geometry.array, dtype=object)
    bare = shapely.get_dimensions(shapes)
    if ((bare == 0) | (bare == 1)).any() and (bare < 2).all():
        kind = frame.geometry.geom_type[bare >= 0].iloc[0]
        raise BadInput(
            f"{name} holds no polygon here but {kind} and the like: wanted are areas; make "
            "polygons of closed lines first, as with QGIS's 'Lines to polygons'."
        )
    return frame


def _bounds(grid: GeoBox) -> tuple[float, float, float, float]:
    """Return the box that is read, in degrees (or pixels where there is no CRS).

    A little wider, as edges bend between projections.
    """
    left, bottom, right, top = grid.extent.boundingbox if grid.crs is None else footprint(grid)
    wide, high = 0.02 * (right - left), 0.02 * (top - bottom)
    return left - wide, bottom - high, right + wide, top + high


def _near(frame: geopandas.GeoDataFrame, grid: GeoBox) -> geopandas.GeoDataFrame:
    """Leave out what does not touch the grid: not every format can be read by a box."""
    return frame[touching(frame.bounds.to_numpy(), grid.extent.boundingbox.bbox)]


def places_apart(path: Path | str, grid: GeoBox) -> str:
    """Say where polygons and an image lie, if they have a CRS and are apart; else nothing."""
    try:
        found = store.read_polygons(path)
    except SelionError:
        return ""
    if grid.crs is None or found.crs is None or found.empty:
        return ""
    west, south, east, north = found.total_bounds
    if found.crs.is_geographic and (max(-west, east) > 361 or max(-south, north) > 91):
        return (
            f" (the polygons begin at {west:.0f}, {south:.0f}, which are no degrees though their "
            "CRS says so, as a GeoJSON without one does: assign the CRS that they are in)"
        )
    ours = found.to_crs("EPSG:4326").total_bounds
    image = footprint(grid)
    if not np.isfinite(ours).all() or touching(ours[None], image)[0]:
        return ""
    return (
        f" (the polygons lie at {_place(ours)}, the image at {_place(image)}: is the CRS of both "
        "right?)"
    )


def _place(box: Sequence[float] | np.ndarray) -> str:
    """Return the middle of a box in degrees, as people write it."""
    east, north = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    sides = ("S" if north < 0 else "N", "W" if east < 0 else "E")
    return f"{abs(north):.2f} {sides[0]} {abs(east):.2f} {sides[1]}"


def _kept(
    frame: geopandas.GeoDataFrame, keep: tuple[str, str], name: str
) -> geopandas.GeoDataFrame:
    column, value = keep
    if column not in frame.columns:
        raise UnknownName.among(
            f"column of {name}", column, [str(c) for c in frame.columns if c != frame.geometry.name]
        )
    # whole numbers become ones with a point where a row has none
    texts = frame[column].map(lambda cell: f"{cell:.15g}" if isinstance(cell, float) else str(cell))
    return frame[(texts == value).to_numpy()]


def _on(frame: geopandas.GeoDataFrame, grid: GeoBox, name: str) -> geopandas.GeoDataFrame:
    """Bring polygons into the CRS of a grid."""
    if (frame.crs is None) != (grid.crs is None):
        bare, other = (
            ("the polygons have", "the image")
            if frame.crs is None
            else ("the image has", "the polygons")
        )
        raise GridMismatch(
            f"{name} cannot be overlaid on the image: {bare} no CRS, and {other} one; assign the "
            "CRS that the coordinates are in first, as with QGIS or 'ogr2ogr -a_srs' and "
            "'gdal_edit.py -a_srs'."
        )
    return frame if grid.crs is None or frame.empty else frame.to_crs(str(grid.crs))


def outlines_of(
    frame: geopandas.GeoDataFrame,
    grid: GeoBox,
    area: geopandas.GeoSeries | None = None,
    *,
    whole_table: bool = True,
) -> Outlines:
    """Repair polygons that are in the CRS of a grid already, and part what is not connected.

    Ids are positions in the table from 1 (multipolygons: of their parts), so that they do not
    depend on what else is read with ``whole_table``.
    """
    import geopandas
    import shapely

    shapes = np.asarray(frame.geometry.array, dtype=object)
    there = ~(shapely.is_missing(shapes) | shapely.is_empty(shapes))
    broken = there & ~shapely.is_valid(shapes)
    repaired = shapes.copy()
    repaired[broken] = shapely.make_valid(shapes[broken], method="structure", keep_collapsed=False)
    parts, owner = shapely.get_parts(repaired[there], return_index=True)
    polygons = shapely.get_type_id(parts) == 3
    pixel = abs(grid.transform.a * grid.transform.e)
    large = polygons & (shapely.area(parts) > SLIVER * pixel)
    parts, owner = parts[large], owner[large]
    order = np.lexsort((np.arange(len(parts)), -shapely.area(parts)))
    counted = {
        "polygons are not valid and were repaired": int(broken.sum()),
        "rows hold no area and were left out": int((~there).sum())
        + int((np.bincount(owner, minlength=int(there.sum())) == 0).sum()),
        "polygons have several parts, each of which is a field of its own": int(
            (np.bincount(owner, minlength=1) > 1).sum()
        ),
        "pairs of fields overlap; the smaller stands": _overlapping(parts) if whole_table else 0,
    }
    table = pd.DataFrame({"id": (np.arange(len(parts)) + 1)[order]})
    made = geopandas.GeoDataFrame(table, geometry=parts[order], crs=frame.crs)
    return Outlines(
        made, area, tuple(f"{count:,} {what}." for what, count in counted.items() if count)
    )


def _overlapping(parts: np.ndarray) -> int:
    """Count the pairs that share more than a hundredth of the smaller."""
    import shapely

    if len(parts) < 2:
        return 0
    tree = shapely.STRtree(parts)
    one, other = tree.query(parts, predicate="intersects")
    keep = one < other
    one, other = one[keep], other[keep]
    common = shapely.area(shapely.intersection(parts[one], parts[other]))
    smaller = np.minimum(shapely.area(parts[one]), shapely.area(parts[other]))
    return int((common > 0.01 * smaller).sum())


def burn_fields(
    outlines: Outlines,
    grid: GeoBox,
    burning: Burning | None = None,
    classes: ClassScheme = FTW3,
    roi: Roi | None = None,
) -> tuple[LabelMap, Instances]:
    """Burn outlines onto a grid, or onto a region of it.

    A region burnt alone equals the same region cut from the whole.

    Parameters
    ----------
    outlines : Outlines
    grid : GeoBox
        The image's.
    burning : Burning, optional
        Boundary: width and way.
    classes : ClassScheme
        FTW2 or FTW3.
    roi : Roi, optional
        The region; all without it.

    Returns
    -------
    labels : LabelMap
        0 background, 1 field, 2 boundary (three classes), 255 outside the area of labels.
    instances : Instances
        Ids of ``outlines``.
    """
    burning = burning or Burning()
    roi = roi or whole(grid)
    width = burning.pixels(grid)
    frame = pad_roi(roi, width + 1, (grid.shape[0], grid.shape[1]))
    ids = _ids(outlines, grid[frame])
    unknown = (
        None
        if outlines.area is None
        else store.burn(list(outlines.area), np.ones(len(outlines.area), int), grid[frame]) == 0
    )
    labels = _labels(outlines, ids, grid[frame], unknown, burning, width, classes)
    if burning.boundary == "line" or unknown is not None:
        ids = np.where(labels == 1 if burning.boundary == "line" else labels != IGNORE, ids, 0)
    cut = inside(roi, frame)
    return LabelMap(labels[cut], grid[roi], classes), Instances(
        ids[cut].astype(np.int32), grid[roi]
    )


def _ids(outlines: Outlines, grid: GeoBox) -> np.ndarray:
    """Burn ids of what touches a grid: a table of a country is not gone through for each chip."""
    touched = outlines.frame.iloc[
        np.sort(outlines.frame.sindex.query(_box(grid), predicate="intersects"))
    ]
    return store.burn(list(touched.geometry), touched["id"].tolist(), grid)


def _box(grid: GeoBox) -> object:
    import shapely

    return shapely.box(*grid.extent.boundingbox)


def _labels(
    outlines: Outlines,
    ids: np.ndarray,
    grid: GeoBox,
    unknown: np.ndarray | None,
    burning: Burning,
    width: int,
    classes: ClassScheme,
) -> np.ndarray:
    three = classes.names == FTW3.names
    if not three and classes.names != FTW2.names:
        raise UnknownName.among(
            "class scheme for polygons",
            ", ".join(classes.names),
            [", ".join(FTW2.names), ", ".join(FTW3.names)],
        )
    if burning.boundary == "inside":
        # a field that was cut off at the area's edge has no boundary there
        empty = None if unknown is None else unknown & (ids == 0)
        labels: np.ndarray = class_labels(
            Instances(ids.astype(np.int32), grid), width if three else 0, empty
        ).ids
    else:
        labels = (ids > 0).astype(np.uint8)
        if width > 0:
            labels[_lines(outlines, grid, width)] = 2 if three else 0
    if unknown is not None:
        labels[unknown] = IGNORE
    return labels


def _lines(outlines: Outlines, grid: GeoBox, width: int) -> np.ndarray:
    """(y, x) bool: the pixels that the outlines touch, as wide as asked for."""
    import shapely

    size = abs(grid.transform.a)
    touched = outlines.frame.geometry.iloc[
        np.sort(outlines.frame.sindex.query(_box(grid), predicate="intersects"))
    ]
    lines = shapely.boundary(np.asarray(touched.array, dtype=object))
    shapes = lines if width == 1 else shapely.buffer(lines, (width - 1) / 2 * size)
    return store.burn(list(shapes), np.ones(len(shapes), int), grid, all_touched=True) > 0
