"""Polygons against polygons: the same overlap table, measured in m2 instead of pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from selion.errors import BadInput, GridMismatch, UnknownName
from selion.fields.crossing import check_crossing
from selion.fields.schema import confidences_of
from selion.fields.tidy import polygonal
from selion.grid import is_lonlat
from selion.metrics.image import ImageScores
from selion.metrics.objects import match_objects
from selion.metrics.overlap import OverlapTable, table_from_pairs

if TYPE_CHECKING:
    from geopandas import GeoDataFrame, GeoSeries
    from shapely.geometry.base import BaseGeometry

MATCHES = 1 << 11
"""Matches whose outlines are measured at once: at 5 m, a point of an outline takes 150 bytes."""


@dataclass(frozen=True, eq=False)
class FieldComparison:
    """Two sets of polygons, compared."""

    scores: ImageScores
    problems: tuple[str, ...]
    """Repaired, dropped and overlapping polygons."""
    sides: tuple[GeoDataFrame, GeoDataFrame]
    """Truth and prediction as they were compared: repaired, in metres of equal area; the rows are
    the ids of the overlap table from 1."""


def score_fields(
    truth: GeoDataFrame,
    prediction: GeoDataFrame,
    *,
    key: str = "map",
    group: str = "",
    reproject: bool = False,
    step: float | None = None,
    iou: float = 0.5,
    extent: BaseGeometry | None = None,
    by: Sequence[str] = (),
) -> FieldComparison:
    """Compare polygons with polygons.

    Parameters
    ----------
    truth, prediction : GeoDataFrame
        Polygons; a column ``confidence`` (0..1) of the prediction is used if it is there, or
        ``score`` (whole numbers, 0..100).
    key, group : str
        Name of the place.
    reproject : bool
        Bring the prediction to the CRS of the truth if they differ.
    step : float, optional
        Distance in metres between the points of an outline whose distance is measured; None
        measures none.
    iou : float
        IoU of a match, for the distances.
    extent : shapely geometry, optional
        Where the truth was mapped, in the CRS of the truth; only area inside counts, and
        predictions that lie outside for more than half are ignored.
    by : sequence of str
        Columns of the truth that scores are also given by.

    Raises
    ------
    GridMismatch
        If the CRSs differ and ``reproject`` is not set, or only one has one.
    BadInput
        If no polygon is left in either.
    UnknownName
        If the truth has no such column.
    """
    for column in by:
        fields_column(truth, column)
    prediction = _same_crs(truth, prediction, reproject=reproject)
    parts, problems = [], []
    truth_m, prediction_m, extent = _equal_area(truth, prediction, extent)
    for name, frame in (("truth", truth_m), ("prediction", prediction_m)):
        repaired, found = tidy(frame, name)
        parts.append(repaired)
        problems += found
    if not any(map(len, parts)):
        raise BadInput("Neither truth nor prediction holds a polygon: there is nothing to compare.")
    if extent is not None:
        parts[0], lost = _within(parts[0], extent)
        problems += lost
    real, said = parts[0].geometry, parts[1].geometry
    problems += [
        line
        for name, shapes in (("truth", real), ("prediction", said))
        for line in overlaps(name, shapes)
    ]
    if extent is None:
        problems += apart("truth", real, said) + apart("prediction", said, real)
    table = overlap_of(real, said, extent)
    both = float(table.shared.sum())
    area = (
        both,
        max(float(table.prediction_area.sum()) - both, 0.0),
        max(float(table.truth_area.sum()) - both, 0.0),
    )
    distances = None if step is None else outline_distances(real, said, table, step, iou)
    sure = confidences_of(parts[1])
    unit = None if truth.crs is None else 1.0
    labels = {
        c: (parts[0][c].to_numpy(object), parts[1][c].to_numpy(object) if c in parts[1] else None)
        for c in by
    }
    return FieldComparison(
        ImageScores(key, group, table, area, unit, sure, distances=distances, labels=labels),
        tuple(problems),
        (parts[0], parts[1]),
    )


def fields_column(frame: Any, column: str) -> Any:
    """Return a column, or raise UnknownName with the nearest one that there is."""
    if column not in frame or column == frame.geometry.name:
        raise UnknownName.among(
            "column of the truth",
            column,
            [str(c) for c in frame.columns if c != frame.geometry.name],
        )
    return frame[column]


def _same_crs(truth: GeoDataFrame, prediction: GeoDataFrame, *, reproject: bool) -> GeoDataFrame:
    if truth.crs == prediction.crs:
        return prediction
    if truth.crs is None or prediction.crs is None:
        raise GridMismatch(
            f"The truth has CRS {crs_name(truth)} and the prediction {crs_name(prediction)}: "
            "without both they cannot be overlaid; set the missing one."
        )
    if is_lonlat(truth.crs.to_wkt()) and is_lonlat(prediction.crs.to_wkt()):
        return prediction.set_crs(truth.crs, allow_override=True)  # one CRS by two names
    if not reproject:
        raise GridMismatch(
            f"The truth is in {crs_name(truth)} and the prediction in {crs_name(prediction)}: add "
            "--reproject (reproject=True) to bring the prediction to the truth's CRS."
        )
    return prediction.to_crs(truth.crs)


def crs_name(frame: GeoDataFrame) -> str:
    """Return the short name of a table's CRS."""
    if frame.crs is None:
        return "none"
    authority = frame.crs.to_authority()
    return ":".join(authority) if authority else str(frame.crs.name)


def tidy(frame: GeoDataFrame, name: str) -> tuple[GeoDataFrame, list[str]]:
    """Repair invalid polygons, and drop what is no polygon; say how many of each.

    What of a repaired one is a line, such as a spike, is dropped too: it has no outline.
    """
    shapes = frame.geometry
    broken = (~shapes.is_valid & shapes.notna() & ~shapes.is_empty).to_numpy()
    if broken.any():
        whole = shapes.to_numpy().copy()
        whole[broken] = [polygonal(shape) for shape in shapes[broken].make_valid()]
        frame = frame.set_geometry(whole, crs=shapes.crs)
    # areas are compared with 0 alone, so degrees will do
    wide = frame.geometry.set_crs(None, allow_override=True).area > 0
    usable = frame.geometry.notna() & ~frame.geometry.is_empty & wide
    counted = {
        "invalid polygons were repaired": int(broken.sum()),
        "rows without an area were left out": int((~usable).sum()),
    }
    return frame[usable.to_numpy()].reset_index(drop=True), [
        f"{name}: {count:,} {what}." for what, count in counted.items() if count
    ]


def _equal_area(
    truth: GeoDataFrame, prediction: GeoDataFrame, extent: BaseGeometry | None
) -> tuple[GeoDataFrame, GeoDataFrame, BaseGeometry | None]:
    """Project all to an equal-area CRS around them (metres); photographs stay as they are."""
    from geopandas import GeoSeries

    if truth.crs is None:
        return truth, prediction, extent
    lon, lat = _middle(truth, prediction)
    crs = f"+proj=laea +lat_0={lat:.6f} +lon_0={lon:.6f} +datum=WGS84 +units=m"
    area = None if extent is None else GeoSeries([extent], crs=truth.crs).to_crs(crs).iloc[0]
    return truth.to_crs(crs), prediction.to_crs(crs), area


def _middle(*frames: GeoDataFrame) -> tuple[float, float]:
    """Return longitude and latitude of the middle of tables, also across the antimeridian."""
    sides = [frame.to_crs("OGC:CRS84").bounds.to_numpy() for frame in frames]
    bounds = np.concatenate(sides)
    bounds = bounds[np.isfinite(bounds).all(1)]
    if not len(bounds):
        return 0.0, 0.0
    lon, lat = bounds[:, ::2], bounds[:, 1::2]
    if np.ptp(lon) > 180 and np.ptp(lon % 360) < np.ptp(lon):
        lon = lon % 360
    return float((lon.min() + lon.max()) / 2), float((lat.min() + lat.max()) / 2)


def _within(frame: GeoDataFrame, extent: BaseGeometry) -> tuple[GeoDataFrame, list[str]]:
    """Leave out true polygons of which less than a thousandth lies in the extent.

    Slivers of the projection are no fields.
    """
    inside = (frame.geometry.intersection(extent).area > 1e-3 * frame.geometry.area).to_numpy()
    lost = int((~inside).sum())
    return frame[inside].reset_index(drop=True), [
        f"truth: {lost:,} polygons lie outside the extent and were left out."
    ] if lost else []


def overlaps(
    name: str, shapes: GeoSeries, what: str = "their common area counts once for each"
) -> list[str]:
    """Say if polygons of one side lie on each other by more than a thousandth of the smaller."""
    check_crossing(shapes.to_numpy(), shapes.to_numpy(), f"the {name}")
    one, other = shapes.sindex.query(shapes, predicate="intersects")
    keep = one < other
    one, other = one[keep], other[keep]
    shapes = shapes.set_crs(None, allow_override=True)  # only compared: degrees will do
    common = (
        shapes.iloc[one]
        .reset_index(drop=True)
        .intersection(shapes.iloc[other].reset_index(drop=True), align=False)
        .area.to_numpy()
    )
    smaller = np.minimum(shapes.area.to_numpy()[one], shapes.area.to_numpy()[other])
    pairs = int((common > 1e-3 * smaller).sum())
    return [f"{name}: {pairs:,} pairs of polygons overlap; {what}."] if pairs else []


APART = 0.1
"""Share of one side's polygons that may lie beyond the other side before it is said."""


def apart(name: str, shapes: GeoSeries, other: GeoSeries) -> list[str]:
    """Say how many polygons of a side lie beyond the rectangle around the other side.

    They count as missed or as false, although perhaps nobody mapped or looked there.
    """
    if not len(shapes) or not len(other):
        return []
    west, south, east, north = other.total_bounds
    edges = shapes.bounds.to_numpy().T
    beyond = (edges[0] > east) | (edges[2] < west) | (edges[1] > north) | (edges[3] < south)
    count = int(beyond.sum())
    if count <= APART * len(shapes):
        return []
    those, what = (
        ("what the map found", "as missed: if only a part was mapped")
        if name == "truth"
        else ("the truth", "as false: if nobody looked there")
    )
    return [
        (
            f"{name}: {count:,} of {len(shapes):,} polygons lie beyond the rectangle around "
            f"{those} and count {what}, name the area of both with --extent."
        )
    ]


def overlap_of(
    truth: GeoSeries, prediction: GeoSeries, extent: BaseGeometry | None = None
) -> OverlapTable:
    """Measure the common area of every pair of polygons that touch; ids are positions from 1.

    With an ``extent`` only area inside it counts, and ``prediction_ignored`` holds what of each
    prediction lies outside.
    """
    seen = [side if extent is None else side.intersection(extent) for side in (truth, prediction)]
    check_crossing(seen[0].to_numpy(), seen[1].to_numpy(), "truth and prediction")
    columns, rows = seen[0].sindex.query(seen[1], predicate="intersects")
    one, other = (
        seen[0].iloc[rows].reset_index(drop=True),
        seen[1].iloc[columns].reset_index(drop=True),
    )
    shared = one.intersection(other, align=False).area.to_numpy()
    sides = [(np.arange(1, len(side) + 1), side.area.to_numpy()) for side in seen]
    table = table_from_pairs(sides[0], sides[1], (rows, columns, shared))
    return replace(
        table,
        prediction_ignored=np.maximum(prediction.area.to_numpy() - table.prediction_area, 0.0),
    )


def outline_distances(
    truth: GeoSeries, prediction: GeoSeries, table: OverlapTable, step: float, iou: float = 0.5
) -> pd.DataFrame:
    """Measure distances between the outlines of matches, in both directions.

    They are measured at points every ``step`` metres.

    Returns
    -------
    DataFrame
        Columns truth, prediction (ids), distance (average symmetric), hausdorff_95.
    """
    matches = match_objects(table, iou)
    real = truth.iloc[matches.truth_index].reset_index(drop=True).boundary
    said = prediction.iloc[matches.prediction_index].reset_index(drop=True).boundary
    parts = [
        _distances(real.iloc[k : k + MATCHES], said.iloc[k : k + MATCHES], step)
        for k in range(0, max(len(real), 1), MATCHES)
    ]
    return pd.DataFrame(
        {
            "truth": table.truth_ids[matches.truth_index],
            "prediction": table.prediction_ids[matches.prediction_index],
            **pd.concat(parts, ignore_index=True).to_dict("series"),
        }
    )


def _distances(real: GeoSeries, said: GeoSeries, step: float) -> pd.DataFrame:
    """Return the mean distance of each match and the 95th percentile, over both directions."""
    real, said = real.reset_index(drop=True), said.reset_index(drop=True)
    both = pd.concat([_point_distances(real, said, step), _point_distances(said, real, step)])
    found = both.groupby("match")["distance"]
    return pd.DataFrame({"distance": found.mean(), "hausdorff_95": found.quantile(0.95)})


def _point_distances(one: GeoSeries, other: GeoSeries, step: float) -> pd.DataFrame:
    from geopandas import GeoSeries, points_from_xy

    points = one.segmentize(step).get_coordinates()
    places = GeoSeries(points_from_xy(points["x"], points["y"]), crs=one.crs)
    lines = other.iloc[points.index.to_numpy()].reset_index(drop=True)
    return pd.DataFrame(
        {
            "match": points.index.to_numpy(),
            "distance": places.distance(lines, align=False).to_numpy(),
        }
    )
