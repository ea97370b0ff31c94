"""Fields as outlines on pictures, in pixels, as tools for drawing know them.

A picture is a box of the map's image, and its name says which: ``NAME_x00512_y01024_n7.png`` begins
at column 512 and row 1024, and shows the fields after seven actions of the log, so that what others
do later is not taken for the work of who draws.  What has a name of its own and the image's size is
the whole image.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from selion.errors import BadInput
from selion.fields.polygonise import polygonise
from selion.grid import tiles
from selion.labels import Instances

if TYPE_CHECKING:
    import geopandas
    from odc.geo.geobox import GeoBox

    from selion.review.state import ReviewState

PLACE = re.compile(r"_x(\d{1,7})_y(\d{1,7})(?:_n(\d{1,9}))?\.[A-Za-z]{2,5}$")
LABEL = "field"
FARTHEST = 1e7
"""Pixels from a picture's corner within which all of an outline lies."""
PARTED = "~"
"""Between a field's id and the number of its part, where parts need names of their own."""


@dataclass(frozen=True, slots=True)
class Outline:
    """What was drawn around one thing, or around one part of it."""

    shape: Any
    """Polygon or MultiPolygon in pixels of the picture, from its upper left corner."""
    field: str = ""
    """Id of the field that it is; empty where the file does not say."""
    status: str = ""
    """What was decided of it so far."""
    masked: bool = False
    """Whether it was drawn as a mask, along pixels."""
    label: str = ""
    """What the tool calls it; empty where it does not say."""


@dataclass(frozen=True, slots=True)
class AnnotatedPicture:
    """A box of the map's image with what is drawn on it."""

    name: str
    left: int
    top: int
    width: int
    height: int
    outlines: tuple[Outline, ...] = ()
    count: int | None = None
    """Actions of the log that it shows; None where its name does not say."""
    labels: tuple[str, ...] = ()
    """All names for outlines that its file has."""

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, right, bottom in pixels of the image."""
        return self.left, self.top, self.left + self.width, self.top + self.height

    @property
    def area(self) -> Any:
        """The picture as a polygon in pixels of the image."""
        import shapely

        return shapely.box(*self.box)


def picture_at(name: str, size: tuple[int, int], image: tuple[int, int]) -> AnnotatedPicture:
    """Find where a picture lies on the image.

    Parameters
    ----------
    name : str
        Of its file, with or without folders; what tools put in front of it does not matter.
    size : (int, int)
        Its width and height in pixels.
    image : (int, int)
        Width and height of the map's image.

    Raises
    ------
    BadInput
        If the name does not say, or the picture does not fit into the image.
    """
    short = PurePosixPath(name.replace("\\", "/")).name.partition("?")[0]
    found = PLACE.search(short)
    if found is None and size == image:
        return AnnotatedPicture(short, 0, 0, *size)
    if found is None:
        raise BadInput(
            f"{short!r} of {size[0]} x {size[1]} pixels is not the map's image of {image[0]} x "
            f"{image[1]}, and its name does not say where it lies: keep the names that 'selion "
            "review annotations' gave (..._x512_y0.png)."
        )
    left, top = int(found[1]), int(found[2])
    if left + size[0] > image[0] or top + size[1] > image[1] or min(size) < 1:
        raise BadInput(
            f"{short!r} has {size[0]} x {size[1]} pixels and would lie beyond the map's image of "
            f"{image[0]} x {image[1]}: it was made of another image, or changed in size."
        )
    count = None if found[3] is None else int(found[3])
    return AnnotatedPicture(short, left, top, *size, count=count)


def cut(name: str, state: ReviewState, frame: PixelFrame, size: int) -> Iterator[AnnotatedPicture]:
    """Cut an image into pictures with the fields on them, as they are now.

    Parameters
    ----------
    name : str
        What the pictures' names begin with.
    size : int
        Edge in pixels at most.
    """
    import shapely

    current = [one for one in frame.fields(state) if one[1].area > 0]
    tree = shapely.STRtree([shape for _, shape, _ in current])
    for rows, columns in tiles(frame.shape, size):
        box = shapely.box(columns.start, rows.start, columns.stop, rows.stop)
        found = []
        for k in sorted(tree.query(box, predicate="intersects").tolist()):
            name_of, shape, status = current[k]
            whole = shapely.contains_properly(box, shape)
            part = polygonal(shape if whole else shapely.intersection(shape, box))
            if part.area > 0:
                moved = shifted(part, -columns.start, -rows.start)
                found.append(Outline(moved, name_of, status))
        yield AnnotatedPicture(
            f"{name}_x{columns.start:05}_y{rows.start:05}_n{state.count}.png",
            columns.start,
            rows.start,
            columns.stop - columns.start,
            rows.stop - rows.start,
            tuple(found),
            state.count,
        )


def shifted(shape: Any, x: float, y: float) -> Any:
    """Move a shape."""
    import shapely

    return shapely.transform(shape, lambda xy: np.column_stack([xy[:, 0] + x, xy[:, 1] + y]))


def polygonal(shape: Any) -> Any:
    """Return what of a shape is land."""
    import shapely

    kept = [
        part
        for part in shapely.get_parts(shape).tolist()
        if shapely.get_type_id(part) == 3 and part.area > 0
    ]
    return kept[0] if len(kept) == 1 else shapely.MultiPolygon(kept)


class PixelFrame:
    """The way from a map's coordinates to pixels of its image and back, exact to rounding."""

    def __init__(self, grid: GeoBox, crs: Any) -> None:
        self.grid, self.crs = grid, crs
        self.shape = (int(grid.shape[0]), int(grid.shape[1]))
        if (crs is None) != (grid.crs is None):
            raise BadInput(
                "The map cannot be laid on the image: one of them has a CRS and the other has "
                "none; name another with --image."
            )

    def fields(self, state: ReviewState) -> list[tuple[str, Any, str]]:
        """Return id, outline in pixels, and status of all fields that are there."""
        names = [str(name) for name in state.mapped.ids]
        names += [name for name in state.changed if state.mapped.row(name) is None]
        there = [one for name in names if (one := state.get(name)) is not None and one.there]
        shapes = self.to_pixels([one.shape for one in there])
        return [(one.id, shape, one.status) for one, shape in zip(there, shapes, strict=True)]

    def to_pixels(self, shapes: Sequence[Any]) -> np.ndarray:
        """Turn shapes of the map into pixels of the image."""
        import shapely

        inverse = ~self.grid.transform
        placed = self._series(shapes, self.crs, self.grid.crs)
        return np.asarray(shapely.transform(placed, lambda xy: _affine(inverse, xy)), object)

    def to_map(self, shapes: Sequence[Any]) -> np.ndarray:
        """Turn shapes in pixels of the image into the map's coordinates."""
        import shapely

        place = self.grid.transform
        made = shapely.transform(np.asarray(shapes, object), lambda xy: _affine(place, xy))
        return self._series(made, self.grid.crs, self.crs)

    def _series(self, shapes: Sequence[Any], crs: Any, to: Any) -> np.ndarray:
        import geopandas

        if crs is None or not len(shapes):
            return np.asarray(shapes, object)
        named: geopandas.GeoSeries = geopandas.GeoSeries(list(shapes), crs=_named(crs))
        return np.asarray(named.to_crs(_named(to)).to_numpy(), object)


def _named(crs: Any) -> Any:
    return crs.to_wkt() if hasattr(crs, "to_wkt") else crs


def _affine(place: Any, xy: np.ndarray) -> np.ndarray:
    x, y = xy[:, 0], xy[:, 1]
    return np.column_stack(
        [place.a * x + place.b * y + place.c, place.d * x + place.e * y + place.f]
    )


def outline_of(mask: np.ndarray) -> Any:
    """Draw the outline of a (y, x) bool mask along its pixels; empty where it is."""
    import shapely
    from affine import Affine
    from odc.geo.geobox import GeoBox

    grid = GeoBox(mask.shape, Affine.identity(), None)
    _, parts = polygonise(Instances(mask.astype(np.int32), grid))
    return polygonal(shapely.MultiPolygon(parts.tolist())) if len(parts) else shapely.MultiPolygon()


def sound_outline(rings: Sequence[Any]) -> Any:
    """Make land of rings of one thing as they were drawn; what crosses itself is put right.

    Raises
    ------
    BadInput
        If a ring is none.
    """
    import shapely

    made = []
    for ring in rings:
        points = np.asarray(ring, np.float64).reshape(-1, 2)
        if len(points) < 3 or not np.isfinite(points).all():
            raise BadInput(f"An outline of {len(points)} points is none: wanted are three or more.")
        if np.abs(points).max() > FARTHEST:
            raise BadInput(
                f"An outline goes to {np.abs(points).max():.3g} pixels, far beyond any picture: "
                "the file is damaged, or has other units."
            )
        made.append(shapely.Polygon(points))
    whole = [shape if shape.is_valid else shapely.make_valid(shape) for shape in made]
    return polygonal(shapely.union_all(whole) if len(whole) > 1 else whole[0])
