"""Published polygons of an area, read by range: their fields, not ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from selion.errors import BadInput, FetchFailed, NoScenes, UnreadableFile, counted
from selion.imagery import Area, AreaLike, read_area
from selion.progress import OnStep, silent
from selion.store.address import Place, RemotePath, locate
from selion.store.parquet import SIDES, find_parts, parquet_file
from selion.store.urls import shown
from selion.store.vectors import Bbox, read_parquet
from selion.world.editions import Edition, wanted_edition

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

CONFIDENT = 69.0
"""Confidence, of 100, that the first edition's publishers advise."""
FIRST_FOLDER = ("predictions", "vectors", "alpha", "results-by-admin-conf")
SAME = 0.5
"""Share of the smaller polygon that two have in common if they are the same field twice."""


@dataclass(frozen=True, eq=False)
class PublishedFields:
    """Published polygons that touch an area."""

    frame: GeoDataFrame
    """Their columns, and ``confidence`` from 0 to 1; longitudes and latitudes."""
    notes: tuple[str, ...]
    """Sentences that the user should read."""
    provenance: dict[str, Any]
    """Plain values for the table's metadata."""


def read_published_fields(
    edition: Edition | str,
    area: AreaLike | Area,
    year: int,
    *,
    least_confidence: float | None = None,
    on_step: OnStep = silent,
) -> PublishedFields:
    """Read the published polygons that touch an area.

    Parameters
    ----------
    edition : Edition or str
        Of fields: ``ftw-2e:fields``, ``ftw-1e:fields``, or ``NAME@ADDRESS``.
    area : path, bbox, GeoJSON or Area
        See :func:`selion.imagery.read_area`.
    year : int
    least_confidence : float, optional
        Of 100, for the first edition; None: 69, as its publishers advise.
    on_step : callable, optional

    Returns
    -------
    PublishedFields
        Polygons as they are, uncut.  ``confidence`` is what the publisher calls score or
        confidence, over 100; neither is calibrated.

    Raises
    ------
    NoScenes
        If nothing was published near the area.
    BadInput
        If edition, area, year or confidence cannot be used.
    UnreadableFile, FetchFailed
        If an index or a file cannot be read.

    Notes
    -----
    Of each file only the row groups are read whose box touches the area's.
    """
    import pandas as pd

    edition = wanted_edition(edition, "fields")
    edition.check_year(year)
    area = area if isinstance(area, Area) else read_area(area)
    first = edition.name.startswith("ftw-1e")
    if least_confidence is not None and not first:
        raise BadInput(f"{edition.name} has scores, not confidences: leave the confidence out.")
    places = list(_files(edition, area, year))
    if not places:
        raise NoScenes(
            f"Nothing of {area.name} was looked at by {edition.name} in {year}: none of its files "
            "reaches there, so it is not known whether there are fields."
        )
    parts = []
    for number, place in enumerate(places, 1):
        for box in area.boxes:
            part = read_parquet(place, box)
            if len(part):
                parts.append(part)
        on_step("read", number, len(places), place.name)
    frame = pd.concat(parts, ignore_index=True) if parts else read_parquet(places[0], (0, 0, 0, 0))
    frame = frame.set_crs("OGC:CRS84", allow_override=True)
    frame = frame[frame.geometry.intersects(area.geometry)].reset_index(drop=True)
    made = f"{edition.title} ({edition.licence}), {year}.  Cite: {edition.citation}"
    notes = [*area.notes, made]
    if first:
        frame, said = _first(
            frame, year, CONFIDENT if least_confidence is None else least_confidence
        )
        notes.append(said)
    else:
        # read once for each box of the area; ids of two zones may be alike
        same = pd.DataFrame({"id": frame["id"], "shape": frame.geometry.to_wkb()}).duplicated()
        frame = frame[~same].reset_index(drop=True)
        frame["confidence"] = (frame["score"].astype(float) / 100).astype("float32")
        notes.append("Confidence is their score over 100: a mean probability, not calibrated.")
    weak = edition.weak(year)
    notes += [weak] if weak else []
    doubles = _doubles(np.asarray(frame.geometry.to_numpy()))
    if doubles:
        notes.append(
            f"Doubles: {doubles:,} of {len(frame):,} polygons lie by half or more on another one, "
            "as at seams of tiles; from probabilities they come once."
        )
    told = {**edition.about(), "year": year, "area": area.name, "doubles": doubles}
    told["files"] = [place.name for place in places]
    if first:
        told["least_confidence"] = CONFIDENT if least_confidence is None else least_confidence
    return PublishedFields(frame, tuple(notes), told)


def fields_cost(edition: Edition | str, area: AreaLike | Area, year: int) -> tuple[int, int]:
    """Say what :func:`read_published_fields` would read, told from heads alone.

    Returns
    -------
    (int, int)
        Compressed bytes of the row groups that touch the area, and the number of files.
    """
    from selion.store.covering import group_box

    edition = wanted_edition(edition, "fields")
    edition.check_year(year)
    area = area if isinstance(area, Area) else read_area(area)
    size, count = 0, 0
    for place in _files(edition, area, year):
        count += 1
        with parquet_file(place) as file:
            for group in range(file.num_row_groups):
                box = group_box(file.metadata, group, "bbox")
                if any(_touch(box, one) for one in area.boxes):
                    about = file.metadata.row_group(group)
                    size += sum(
                        about.column(k).total_compressed_size for k in range(about.num_columns)
                    )
    return size, count


def _files(edition: Edition, area: Area, year: int) -> Iterator[Place]:
    """Return the files that may hold polygons near an area."""
    if edition.name.startswith("ftw-1e"):
        yield from _first_files(edition, area)
        return
    for zone, box in _zones(edition, year):
        if any(_touch(box, one) for one in area.boxes):
            yield locate(edition.place("vector", str(year), f"zone={zone}", f"utm{zone}.parquet"))


def _zones(edition: Edition, year: int) -> Iterator[tuple[str, Bbox]]:
    """Return the zones of a year and the boxes around their polygons, as the index has them."""
    import pyarrow as pa

    address = edition.place("index", "vector.parquet")
    place = locate(address)
    if isinstance(place, Path) and not place.is_file():
        raise UnreadableFile(
            f"There is no file {address}: {edition.address} holds no copy of {edition.name}."
        )
    try:
        with parquet_file(place) as file:
            rows = file.read(columns=["year", "zone", "bbox", *SIDES]).to_pylist()
        # a column of boxes, or one a side
        found = [(int(row["year"]), int(row["zone"]), _box(row)) for row in rows]
    except (OSError, KeyError, pa.ArrowException) as error:
        said = str(error).strip().partition("\n")[0]
        raise UnreadableFile(f"{shown(address)} is no index of {edition.name} ({said}).") from error
    if not any(one == year for one, _, _ in found):
        known = ", ".join(map(str, sorted({one for one, _, _ in found}))) or "nothing"
        raise BadInput(f"The index of {shown(edition.address)} has no {year}: it has {known}.")
    yield from ((f"{zone:02}", box) for one, zone, box in found if one == year)


def _box(row: Mapping[str, Any]) -> Bbox:
    sides = row.get("bbox") or row
    west, south, east, north = (float(sides[side]) for side in SIDES)
    return west, south, east, north


def _first_files(edition: Edition, area: Area) -> Iterator[Place]:
    """Return the first edition's files near an area, by the boxes of their row groups.

    What a file says of itself as a whole is wrong in some.
    """
    from selion.store.covering import group_box

    given = locate(edition.address)
    folder = given
    if FIRST_FOLDER[-1] not in edition.address:
        for name in FIRST_FOLDER:
            folder = folder / name
    if isinstance(folder, RemotePath) and not folder.listable:
        raise FetchFailed(
            f"{folder} is on a web server, which does not say what is in a folder: give an s3:// "
            f"address after {edition.name}@, or a folder of this machine."
        )
    for part in find_parts(folder):
        with parquet_file(part.place) as file:
            groups = range(file.num_row_groups)
            boxes = [group_box(file.metadata, group, "bbox") for group in groups]
        if any(_touch(box, one) for box in boxes for one in area.boxes):
            yield part.place


def _first(frame: GeoDataFrame, year: int, least: float) -> tuple[GeoDataFrame, str]:
    """Choose a year and the confident ones; a field on a border stands in two files."""
    import shapely

    from selion.fields.table import geohash

    frame = frame[frame["determination:datetime"].dt.year == year]
    frame = frame[~frame.geometry.to_wkb().duplicated()]
    sure = frame["confidence"] >= least
    unknown = int(frame["confidence"].isna().sum())
    dropped = int((~sure).sum()) - unknown
    said = (
        f"Confidence {least:g} of 100 or more: {counted(dropped, 'polygon')} below and "
        f"{counted(unknown, 'polygon')} without one were left out."
    )
    frame = frame[sure].reset_index(drop=True)
    frame["ftw:confidence"] = frame["confidence"].astype("float32")
    frame["confidence"] = (frame["confidence"] / 100).astype("float32")
    # theirs begin anew with each file and year
    points = shapely.point_on_surface(frame.geometry.to_numpy())
    frame["ftw:id"] = frame["id"]
    frame["id"] = geohash(shapely.get_x(points), shapely.get_y(points))
    return frame, said


def _touch(one: Bbox, other: Bbox) -> bool:
    """Whether boxes touch; the first may pass the antimeridian, so that its west is east."""
    west, south, east, north = one
    if west > east:
        halves = (west, south, 180.0, north), (-180.0, south, east, north)
        return any(_touch(half, other) for half in halves)
    return one[0] <= other[2] and one[2] >= other[0] and one[1] <= other[3] and one[3] >= other[1]


def _doubles(shapes: np.ndarray) -> int:
    """Return how many polygons lie by half or more on another one."""
    import shapely

    broken = ~shapely.is_valid(shapes)  # outlines that cross themselves have no common ground
    shapes = shapes.copy()
    shapes[broken] = shapely.make_valid(shapes[broken], method="structure", keep_collapsed=False)
    tree = shapely.STRtree(shapes)
    first, second = tree.query(shapes, predicate="intersects")
    pairs = first < second
    first, second = first[pairs], second[pairs]
    common = shapely.area(shapely.intersection(shapes[first], shapes[second]))
    sizes = shapely.area(shapes)
    smaller = np.minimum(sizes[first], sizes[second])
    same = common > SAME * smaller
    less = np.where(sizes[first] <= sizes[second], first, second)
    return len(set(less[same].tolist()))
