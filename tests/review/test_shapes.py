"""What may be done to outlines, and what is refused: areas are kept, nothing lies over anything,
shared edges stay shared.
"""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from selion.errors import BadInput
from selion.review import rings, shapes

REACH = 0.01
SQUARES = {
    f"{r}{c}": shapely.box(c * 10, r * 10, c * 10 + 10, r * 10 + 10)
    for r in range(3)
    for c in range(3)
}
inside = st.floats(1, 9)


def sound(found):
    """No shape is broken, and no two lie over each other."""
    all_shapes = list(found.values())
    assert shapely.is_valid(all_shapes).all()
    for k, one in enumerate(all_shapes):
        for other in all_shapes[:k]:
            assert one.intersection(other).area < 1e-6
    return sum(shape.area for shape in all_shapes)


@settings(max_examples=25, deadline=None)
@given(inside, inside, st.floats(0.1, 0.9))
def test_a_split_keeps_the_land_and_a_merge_gives_it_back(left, right, bend):
    square = SQUARES["11"]
    line = np.array([(5, 10 + left), (10 + 10 * bend, 10 + (left + right) / 2), (25, 10 + right)])
    parts = shapes.split(square, line, REACH)
    assert len(parts) == 2
    assert parts[0].area >= parts[1].area
    assert sum(part.area for part in parts) == pytest.approx(square.area)
    assert shapes.merge(parts[1], parts[0], REACH).symmetric_difference(square).area < 1e-9


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(sorted(SQUARES)), st.integers(0, 3), st.floats(-4, 4), st.floats(-4, 4))
def test_a_moved_vertex_moves_in_all_fields_that_share_it(name, corner, dx, dy):
    at = rings.rings_of(SQUARES[name])[0][0][corner]
    changed = shapes.move(SQUARES, name, at, at + np.array([dx, dy]), REACH)
    owners = {
        other
        for other, shape in SQUARES.items()
        if (shapely.get_coordinates(shape) == at).all(1).any()
    }
    assert set(changed) == owners
    after = {**SQUARES, **changed}
    total = sound(after)
    if len(owners) == 4:
        assert total == pytest.approx(900)
        assert shapely.coverage_is_valid(np.array(list(after.values())))


@settings(max_examples=25, deadline=None)
@given(inside, inside)
def test_a_bent_edge_bends_for_both(x, y):
    changed = shapes.insert(
        SQUARES,
        "11",
        np.array([(10.0, 10.0), (10.0, 20.0)]),
        np.array([10 + (x - 5) / 2, 10 + y]),
        REACH,
    )
    assert set(changed) == {"11", "10"}
    after = {**SQUARES, **changed}
    assert sound(after) == pytest.approx(900)
    assert shapely.coverage_is_valid(np.array(list(after.values())))
    back = shapes.drop(after, "10", np.array([10 + (x - 5) / 2, 10 + y]), REACH)
    assert sound({**after, **back}) == pytest.approx(900)


def test_a_vertex_on_the_edge_of_a_neighbour_takes_the_neighbour_along():
    # the neighbours have no vertex where the line ends
    parts = shapes.split(SQUARES["11"], np.array([(5, 15), (25, 15)]), REACH)
    fields = {name: shape for name, shape in SQUARES.items() if name != "11"} | {
        "a": parts[0],
        "b": parts[1],
    }
    changed = shapes.move(fields, "a", np.array([20.0, 15.0]), np.array([22.0, 16.0]), REACH)
    assert set(changed) == {"a", "b", "12"}
    after = {**fields, **changed}
    assert sound(after) == pytest.approx(900)
    assert (
        shapely.difference(shapely.box(0, 0, 30, 30), shapely.union_all(list(after.values()))).area
        < 1e-6
    )


@pytest.mark.parametrize(
    ("act", "why"),
    [
        (
            lambda: shapes.split(SQUARES["11"], np.array([(12, 12), (18, 18)]), REACH),
            "does not cut",
        ),
        (
            lambda: shapes.split(SQUARES["11"], np.array([(40, 40), (50, 50)]), REACH),
            "does not cut",
        ),
        (
            lambda: shapes.split(SQUARES["11"], np.array([(5, 10.001), (25, 10.001)]), REACH),
            "sliver",
        ),
        (
            lambda: shapes.split(
                SQUARES["11"], np.array([(5, 12), (25, 12), (25, 18), (15, 5)]), REACH
            ),
            "crosses itself",
        ),
        (lambda: shapes.merge(SQUARES["00"], SQUARES["22"], REACH), "do not touch"),
        # in a point only
        (lambda: shapes.merge(SQUARES["00"], SQUARES["11"], REACH), "do not touch"),
        (lambda: shapes.drawn(np.array([(0, 0), (10, 10), (10, 0), (0, 10)]), [], REACH), "cross"),
        (lambda: shapes.drawn(np.array([(0, 0), (10, 10)]), [], REACH), "three or more"),
        (lambda: shapes.drawn(np.array([(0, 0), (5, 5), (10, 10)]), [], REACH), "no area"),
        (
            lambda: shapes.drawn(
                np.array([(1, 1), (9, 1), (9, 9), (1, 9)]), list(SQUARES.values()), REACH
            ),
            "lies there already",
        ),
        (
            lambda: shapes.move(
                SQUARES, "11", np.array([13.0, 13.0]), np.array([14.0, 14.0]), REACH
            ),
            "no vertex",
        ),
        (
            lambda: shapes.move(
                SQUARES, "11", np.array([10.0, 10.0]), np.array([28.0, 28.0]), REACH
            ),
            "cross|lie over",
        ),
        (
            lambda: shapes.move(
                {"a": SQUARES["00"], "b": shapely.box(11, 0, 20, 10)},
                "a",
                np.array([10.0, 0.0]),
                np.array([14.0, 2.0]),
                REACH,
            ),
            "lie over",
        ),
        (
            lambda: shapes.drop(
                {"t": shapely.Polygon([(0, 0), (9, 0), (0, 9)])}, "t", np.array([0.0, 0.0]), REACH
            ),
            "three vertices",
        ),
        (
            lambda: shapes.insert(
                SQUARES, "11", np.array([(0.0, 0.0), (0.0, 10.0)]), np.array([5.0, 5.0]), REACH
            ),
            "no such edge",
        ),
    ],
)
def test_refused_with_a_sentence(act, why):
    with pytest.raises(BadInput, match=why):
        act()


def test_a_drawn_outline_keeps_off_other_fields():
    made = shapes.drawn(
        np.array([(5, 5), (15, 5), (15, 15), (5, 15)]), [SQUARES["00"], SQUARES["11"]], REACH
    )
    assert made.area == pytest.approx(25)  # of the two corners that are left, one
    assert made.intersection(SQUARES["00"]).area == 0


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(-1, 11), st.floats(-1, 11)), max_size=12))
def test_vertices_that_lie_on_an_outline_do_not_change_it(points):
    square = SQUARES["00"]
    found = rings.add_vertices(square, np.array(points).reshape(-1, 2), REACH)
    assert found.is_valid
    assert found.symmetric_difference(square).area < 40 * REACH


def test_holes_and_parts():
    ring = SQUARES["11"].difference(shapely.box(13, 13, 17, 17))
    parts = shapes.split(ring, np.array([(5, 15), (25, 15)]), REACH)
    assert [part.area for part in parts] == pytest.approx([42, 42])
    two = shapely.MultiPolygon([SQUARES["00"], SQUARES["22"]])
    assert len(shapes.split(two, np.array([(-1, 5), (11, 5)]), REACH)) == 3
    moved = shapes.move({"r": ring}, "r", np.array([13.0, 13.0]), np.array([12.0, 12.0]), REACH)[
        "r"
    ]
    assert len(moved.interiors) == 1
    assert moved.area < ring.area
