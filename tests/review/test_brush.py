"""Brushes and words about many fields: areas by hand, undo, what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import shapely

from review_scenes import CELL, Hand, open_log, write_map
from selion import review
from selion.errors import BadInput
from selion.review import shapes
from selion.review.actions import parse_line, read_action

REACH = 0.01


def square(x, y, edge=100.0):
    return shapely.box(x, y, x + edge, y + edge)


def test_a_brush_gives_free_land_only():
    """Two squares with a lane of 20 between them: half of a disc of 30 over the lane."""
    mine, other = square(0, 0), square(120, 0)
    under = shapes.stroke(np.array([[100.0, 50.0]]), (30.0, 30.0))
    assert under.area == pytest.approx(np.pi * 900, rel=0.03)
    made = shapes.painted(mine, under, [other], REACH)
    # the strip of the half disc up to the other field: by arithmetic
    lane = 20 * np.sqrt(900 - 400) + 900 * np.arcsin(20 / 30)
    assert made.area - mine.area == pytest.approx(lane, rel=0.03)
    assert shapely.intersection(made, other).area == pytest.approx(0, abs=1e-6)
    assert shapely.is_valid(made)
    taken = shapes.erased(mine, under, REACH)
    assert mine.area - taken.area == pytest.approx(np.pi * 900 / 2, rel=0.03)


def test_a_brush_is_round_on_the_ground_in_degrees():
    metres = 111_320 * np.cos(np.deg2rad(60))
    under = shapes.stroke(np.array([[25.0, 60.0]]), (10 / metres, 10 / 111_320))
    west, south, east, north = under.bounds
    assert (east - west) * metres == pytest.approx(20, rel=0.01)
    assert (north - south) * 111_320 == pytest.approx(20, rel=0.01)


def test_what_a_brush_may_not():
    mine, other = square(0, 0), square(100, 0)
    for line, message in (
        ([[200.0, 50.0]], "did not touch"),
        ([[105.0, 50.0]], "Nothing new"),
    ):
        with pytest.raises(BadInput, match=message):
            shapes.painted(mine, shapes.stroke(np.array(line), (15.0, 15.0)), [other], REACH)
    with pytest.raises(BadInput, match="Nothing new"):
        shapes.painted(mine, shapes.stroke(np.array([[50.0, 50.0]]), (9.0, 9.0)), [], REACH)
    everything = shapes.stroke(np.array([[0.0, 50.0], [100.0, 50.0]]), (90.0, 90.0))
    with pytest.raises(BadInput, match="none"):
        shapes.erased(mine, everything, REACH)
    with pytest.raises(BadInput, match="did not touch"):
        shapes.erased(mine, shapes.stroke(np.array([[300.0, 0.0]]), (5.0, 5.0)), REACH)


def test_erasing_through_the_middle_keeps_both_parts():
    cut = shapes.stroke(np.array([[50.0, -20.0], [50.0, 120.0]]), (10.0, 10.0))
    made = shapes.erased(square(0, 0), cut, REACH)
    assert shapely.get_num_geometries(made) == 2
    assert made.area == pytest.approx(8000, rel=0.02)


@pytest.fixture
def log(tmp_path):
    return open_log(write_map(tmp_path / "map", crs=None))


def test_strokes_words_and_undo_come_back_from_the_log(log, tmp_path):
    ids = list(log.mapped.ids)
    ids.sort(key=lambda name: log.state.get(name).shape.bounds[:2])
    hand = Hand(log)
    x0, y0, x1, y1 = log.state.get(ids[1]).shape.bounds
    # along the edge at the rim of the map, between the round ends
    rim = [(x0, y0 + 2), (x0, y1 - 2)]
    assert hand.act("paint", ids[1], rim, width=(2.0, 2.0)).done
    grown = log.state.get(ids[1])
    assert grown.status == "corrected"
    assert grown.shape.area - CELL**2 == pytest.approx(2 * (CELL - 4) + np.pi * 2, rel=0.02)
    assert hand.act("erase", ids[1], [(x1 - 4, y0 + 6)], width=(2.0, 2.0)).done
    assert grown.shape.area - log.state.get(ids[1]).shape.area == pytest.approx(4 * np.pi, rel=0.03)
    seen = {name: log.state.get(name).version for name in ids[3:13]}
    assert hand.act("accept", on=seen).done
    assert log.state.counts()["accepted"] == 10
    again = review.replay(review.find_map(tmp_path / "map").read(), log.path)
    assert again.counts() == log.state.counts()
    assert again.get(ids[1]).shape.equals(log.state.get(ids[1]).shape)
    assert hand.act("undo").done  # all ten at once
    assert log.state.counts()["accepted"] == 0
    assert hand.act("undo").done
    assert log.state.get(ids[1]).shape.area == pytest.approx(grown.shape.area)


def test_many_fields_are_refused_together_if_one_is_another(log):
    ids = list(log.mapped.ids)
    ada, ben = Hand(log), Hand(log, "Ben")
    seen = dict.fromkeys(ids[:5], 0)
    assert ben.act("reject", ids[2]).done
    told = ada.act("accept", on=seen)
    assert (told.done, told.stale) == (False, (ids[2],))
    assert "Ben" in told.why
    assert log.state.counts()["accepted"] == 0


def test_an_outline_of_parts_with_holes(log):
    ids = list(log.mapped.ids)
    x0, y0, x1, y1 = log.state.get(ids[7]).shape.bounds
    points = [(x0, y0), (x0, y1), (x1, y1), (x1, y0)]
    hole = [(x0 + 2, y0 + 2), (x0 + 2, y0 + 6), (x0 + 6, y0 + 6), (x0 + 6, y0 + 2)]
    assert Hand(log).act("reshape", ids[7], points + hole, rings=((4, 4),)).done
    made = log.state.get(ids[7]).shape
    assert made.area == pytest.approx(CELL**2 - 4**2)
    entry = parse_line(log.path.read_bytes().splitlines()[-1])
    assert entry.rings == ((4, 4),)
    assert parse_line(entry.to_line().encode()) == entry


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kind": "paint", "points": [[0, 0]]}, "0 widths"),
        ({"kind": "paint", "points": [[0, 0]], "width": [1]}, "1 widths"),
        ({"kind": "paint", "points": [[0, 0]], "width": [1, -1]}, "above 0"),
        ({"kind": "paint", "points": [[0, 0]], "width": "1"}, "above 0"),
        ({"kind": "accept", "width": [1, 1]}, "2 widths"),
        ({"kind": "reshape", "points": [[0, 0]] * 4, "rings": [[3]]}, "do not fit"),
        ({"kind": "reshape", "points": [[0, 0]] * 4, "rings": [[2, 2]]}, "do not fit"),
        ({"kind": "reshape", "points": [[0, 0]] * 3, "rings": [[3], []]}, "do not fit"),
        ({"kind": "reshape", "points": [[0, 0]] * 3, "rings": [3]}, "lists of whole"),
        ({"kind": "reshape", "points": [[0, 0]] * 3, "rings": [[3.0]]}, "lists of whole"),
        ({"kind": "accept", "rings": [[3]]}, "do not fit"),
        ({"kind": "accept", "on": {}}, "names 0 fields"),
    ],
)
def test_what_is_no_action(given, message):
    table = {"id": "k1", "person": "Ada", "on": {"f": 0}, **given}
    with pytest.raises(BadInput, match=message):
        read_action(json.loads(json.dumps(table)), "2025-01-01T00:00:00Z")
