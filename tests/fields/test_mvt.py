"""The encoder of vector tiles: what is read again is what was written."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
import shapely.affinity
from hypothesis import given, settings
from hypothesis import strategies as st

from selion.fields import mvt
from view_scenes import read_tile

SIZE = st.integers(3, 400)
PLACE = st.tuples(st.integers(-500, 4000), st.integers(-500, 4000), SIZE, SIZE)


def polygon(x, y, width, height):
    """A box with a hole where there is room for one."""
    box = shapely.box(x, y, x + width, y + height)
    hole = shapely.box(x + 1, y + 1, x + width // 2, y + height // 2)
    return box if width < 6 or height < 6 else box.difference(hole)


def decoded(data):
    """The features of a layer, as shapely draws their rings: outer ones add, holes take away."""
    layer = read_tile(data)["fields"]
    shapes = []
    for feature in layer:
        rings = [shapely.Polygon(ring) for ring in feature["rings"]]
        outer = [shapely.LinearRing(ring).is_ccw for ring in feature["rings"]]
        whole = shapely.union_all([r for r, out in zip(rings, outer, strict=True) if out])
        holes = shapely.union_all([r for r, out in zip(rings, outer, strict=True) if not out])
        shapes.append(shapely.difference(whole, holes))
    return layer, shapes


@settings(max_examples=25, deadline=None)
@given(st.lists(PLACE, min_size=1, max_size=12), st.data())
def test_what_is_read_again_is_what_was_written(places, data):
    shapes = shapely.orient_polygons(np.array([polygon(*place) for place in places]))
    count = len(shapes)
    words = data.draw(st.lists(st.sampled_from([None, "a", "b"]), min_size=count, max_size=count))
    sizes = data.draw(
        st.lists(st.sampled_from([np.nan, 1.5, 2.0, -3.0]), min_size=count, max_size=count)
    )
    columns = {
        "word": np.array(words, object),
        "size": np.array(sizes),
        "single": np.arange(count, dtype=np.float32) / 4,
        "whole": np.arange(count) * 1000,
    }
    outlines = mvt.flatten(shapes, np.arange(count), count)
    numbers = np.arange(count) * 77
    layer, found = decoded(
        mvt.encode_layer("fields", mvt.TileLayer(outlines, columns, numbers=numbers))
    )
    assert [feature["id"] for feature in layer] == numbers.tolist()
    assert shapely.equals(found, shapes).all()
    for k, feature in enumerate(layer):
        known = {name: column[k] for name, column in columns.items()}
        expected = {n: v for n, v in known.items() if v is not None and v == v}  # noqa: PLR0124
        assert feature["properties"] == expected


@settings(max_examples=20, deadline=None)
@given(st.lists(PLACE, min_size=2, max_size=12), st.integers(0, 50), st.integers(0, 50))
def test_some_features_at_a_corner_are_those_moved(places, column, row):
    shapes = shapely.orient_polygons(np.array([polygon(*place) for place in places]))
    outlines = mvt.flatten(shapes, np.arange(len(shapes)), len(shapes))
    chosen = np.arange(0, len(shapes), 2)
    corner = (column * mvt.EXTENT, row * mvt.EXTENT)
    moved = outlines._replace(points=outlines.points + corner)
    near = mvt.encode_layer("fields", mvt.TileLayer(moved, {}, chosen), corner)
    part = mvt.flatten(shapes[chosen], np.arange(len(chosen)), len(chosen))
    assert near == mvt.encode_layer("fields", mvt.TileLayer(part, {}))


@pytest.mark.parametrize(("keep", "count"), [(False, 1), (True, 2)])
def test_a_field_without_area_is_there_only_where_its_outline_is_wanted(keep, count):
    flat = shapely.Polygon([(0, 0), (10, 0), (20, 0), (0, 0)])
    shapes = np.array([flat, shapely.orient_polygons(shapely.box(0, 0, 9, 9))])
    layer = mvt.TileLayer(mvt.flatten(shapes, np.arange(2), 2), {})
    assert len(read_tile(mvt.encode_layer("fields", layer, keep_flat=keep))["fields"]) == count


def test_a_layer_of_nothing_is_no_layer():
    assert (
        mvt.encode_layer("fields", mvt.TileLayer(mvt.flatten(np.array([]), np.array([]), 0), {}))
        == b""
    )


def test_points_stay_within_reach_of_the_tile():
    shapes = shapely.orient_polygons(np.array([shapely.box(-(10**9), -(10**9), 10**9, 10**9)]))
    layer = mvt.TileLayer(mvt.flatten(shapes, np.arange(1), 1), {})
    (feature,) = read_tile(mvt.encode_layer("fields", layer))["fields"]
    low, high = np.min(feature["rings"][0], axis=0), np.max(feature["rings"][0], axis=0)
    assert (low == mvt.REACH[0]).all()
    assert (high == mvt.REACH[1]).all()


@pytest.mark.parametrize(("column", "row"), [(0, 0), (3, 2), (5, 5), (7, 4), (9, 9)])
def test_an_edge_of_many_tiles_is_straight_in_each(column, row):
    """A field of ten tiles, as a station of 12 km at zoom 15: its edges bent where it was cut."""
    units = np.array([(0.0, 3.4), (6.2, 0.0), (10.0, 9.1), (4.1, 10.0)]) * mvt.EXTENT
    field = shapely.orient_polygons(shapely.Polygon(np.rint(units)))
    hole = shapely.orient_polygons(shapely.Polygon(np.rint(units * 0.2 + 4 * mvt.EXTENT)))
    whole = shapely.orient_polygons(field.difference(hole))
    corner = (column * mvt.EXTENT, row * mvt.EXTENT)
    layer = mvt.TileLayer(mvt.flatten(np.array([whole]), np.arange(1), 1), {})
    data = mvt.encode_layer("fields", layer, corner)
    tile = shapely.box(0, 0, mvt.EXTENT, mvt.EXTENT)
    truth = shapely.affinity.translate(whole, -corner[0], -corner[1]).intersection(tile)
    drawn = decoded(data)[1][0].intersection(tile) if data else shapely.Polygon()
    assert drawn.symmetric_difference(truth).area <= 4 * mvt.EXTENT, "a unit along each side"
    assert data or truth.is_empty
