"""Cells and the curve: what an id says about where, and the order of rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selion.country import cells
from selion.errors import BadInput
from selion.fields.table import geohash

places = st.tuples(st.floats(-180, 179.999), st.floats(-89.999, 89.999))


@settings(max_examples=60, deadline=None)
@given(st.lists(places, min_size=1, max_size=20))
def test_an_id_says_where(points):
    lon, lat = np.array(points).T
    x, y, known = cells.places_of(geohash(lon, lat))
    back = cells.degrees(x, y)
    assert known.all()
    assert np.abs(back[0] - lon).max() < 3e-7
    assert np.abs(back[1] - lat).max() < 2e-7
    again = cells.steps(*back)
    assert np.array_equal(again[0], x)
    assert np.array_equal(again[1], y)


@settings(max_examples=40, deadline=None)
@given(st.lists(places, min_size=1, max_size=20), st.integers(1, 20))
def test_a_coarser_curve_is_the_finer_one_without_its_last_bits(points, order):
    x, y = cells.steps(*np.array(points).T)
    fine = cells.hilbert(x, y)
    assert np.array_equal(cells.hilbert(x, y, order), fine >> 2 * (cells.ORDER - order))


def test_the_curve_steps_from_neighbour_to_neighbour_through_every_cell():
    side = np.arange(32, dtype=np.uint64)
    x, y = (v.ravel() for v in np.meshgrid(side, side))
    shift = np.uint64(cells.BITS - 5)
    place = cells.hilbert(x << shift, y << shift, 5)
    order = np.argsort(place)
    assert np.array_equal(place[order], np.arange(1024))
    steps = np.abs(np.diff(x[order].astype(int))) + np.abs(np.diff(y[order].astype(int)))
    assert (steps == 1).all()


@settings(max_examples=40, deadline=None)
@given(places, st.sampled_from(cells.LEVELS))
def test_rows_of_one_partition_lie_in_its_box_and_in_one_fine_cell_each(point, level):
    lon, lat = np.array([point[0]]), np.array([point[1]])
    name = geohash(lon, lat)[0]
    west, south, east, north = cells.cell_box(name[:level])
    assert west - 1e-9 <= point[0] <= east + 1e-9
    assert south - 1e-9 <= point[1] <= north + 1e-9
    x, y = cells.steps(lon, lat)
    corners = cells.steps(*np.array([cells.cell_box(name[:4])[:2]]).T + 1e-9)
    assert cells.fine_cell(cells.hilbert(x, y)) == cells.fine_cell(cells.hilbert(*corners))


@pytest.mark.parametrize(
    "name",
    [
        "",
        "u4pruydqqvj",
        "u4pruydqqvja",
        "U4PRUYDQQVJ8",
        "x10.5y20.0",
        "u4pruydqqvj8-",
        "u4pruydqqvj8é",
    ],
)
def test_other_names_say_nothing(name):
    assert not cells.places_of([name])[2][0]


def test_a_number_behind_the_id_does_not_move_it():
    one, other = (cells.places_of([name]) for name in ("u4pruydqqvj8", "u4pruydqqvj8-2"))
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_levels_that_are_none_are_refused():
    with pytest.raises(BadInput, match="5 characters"):
        cells.check_level(5)
