"""What became of each field: drawn cases, and laws on any two maps."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from change_scenes import boxes
from selion.change import OUTCOMES, OutcomeOptions, Side, judge
from selion.change.lineage import first_names, next_names, outcome_names
from selion.errors import BadInput
from selion.metrics import overlap_table

OPPOSITE = {"split": "merged", "merged": "split", "appeared": "gone", "gone": "appeared"}


def perimeters(ids, count):
    """Pixel edges between each object and what is not it."""
    wide = np.pad(ids, 1)
    out = np.zeros(count + 1)
    for one, other in ((wide[:, 1:], wide[:, :-1]), (wide[1:], wide[:-1])):
        edge = one != other
        out += np.bincount(one[edge], minlength=count + 1) + np.bincount(
            other[edge], minlength=count + 1
        )
    return out[1:]


def told(before, after, ignore=None, **options):
    sides = []
    for ids in (before, after):
        count = int(ids.max())
        known = ids if ignore is None else ids[~ignore]
        sides.append(Side(counts(ids, count), perimeters(ids, count), counts(known, count)))
    return judge(overlap_table(before, after, ignore), *sides, OutcomeOptions(**options))


def counts(ids, count):
    return np.bincount(ids.ravel(), minlength=count + 1)[1:].astype(float)


def names(outcome):
    return outcome_names(outcome).tolist()


BEFORE = boxes(
    (1, 5, 5, 25, 25),
    (2, 5, 30, 25, 50),
    (3, 5, 55, 15, 75),
    (4, 15, 55, 25, 75),
    (5, 5, 80, 25, 100),
    (6, 40, 5, 60, 25),
    (7, 40, 30, 60, 60),
)
AFTER = boxes(
    (1, 5, 5, 25, 25),
    (2, 5, 30, 25, 40),
    (3, 5, 40, 25, 50),
    (4, 5, 55, 25, 75),
    (5, 40, 5, 60, 32),
    (6, 40, 32, 60, 60),
    (7, 80, 80, 100, 100),
)


def test_each_outcome_on_a_drawn_map():
    found = told(BEFORE, AFTER)
    assert names(found.before) == ["kept", "split", "merged", "merged", "gone", "moved", "kept"]
    assert names(found.after) == ["kept", "split", "split", "merged", "moved", "kept", "appeared"]


def test_many_to_many_is_redrawn():
    before = boxes((1, 0, 0, 10, 40), (2, 10, 0, 40, 40))
    after = boxes((1, 0, 0, 40, 9), (2, 0, 9, 40, 40))
    assert names(told(before, after).before)[1:] == ["redrawn"]
    chain = told(
        boxes((1, 0, 0, 30, 30), (2, 0, 30, 30, 50)), boxes((1, 0, 0, 30, 12), (2, 0, 12, 30, 55))
    )
    assert names(chain.before) == ["redrawn", "redrawn"]
    assert names(chain.after) == ["redrawn", "redrawn"]


def test_a_field_shared_out_among_neighbours_is_redrawn_not_gone():
    before = boxes((1, 0, 0, 30, 40), (2, 0, 40, 30, 50), (3, 0, 50, 30, 90))
    after = boxes((1, 0, 0, 30, 45), (2, 0, 45, 30, 90))
    assert names(told(before, after).before) == ["moved", "redrawn", "moved"]
    assert names(told(after, before).after) == ["moved", "redrawn", "moved"]


def test_what_was_not_seen_is_unknown():
    cloud = np.zeros(BEFORE.shape, bool)
    cloud[0:28, 78:102] = True
    found = told(BEFORE, AFTER, cloud)
    assert names(found.before)[4] == "unknown"
    assert names(found.before)[:4] == ["kept", "split", "merged", "merged"]
    corner = np.zeros(BEFORE.shape, bool)
    corner[0:28, 78:88] = True
    assert names(told(BEFORE, AFTER, corner).before)[4] == "gone", (
        "more than half of it was seen, and is no field"
    )


def test_an_outline_that_trembles_has_not_moved():
    after = boxes((1, 6, 5, 26, 25))
    assert names(told(boxes((1, 5, 5, 25, 25)), after).before) == ["kept"]
    assert names(told(boxes((1, 5, 5, 25, 25)), after, tolerance=0.25).before) == ["moved"]


@pytest.mark.parametrize("wrong", [{"related": 0.3}, {"known": 2}, {"tolerance": -1}])
def test_options_that_make_no_sense_are_refused(wrong):
    with pytest.raises(BadInput, match="wanted are"):
        OutcomeOptions(**wrong)


MAPS = hnp.arrays(
    np.int32, st.tuples(st.integers(3, 12), st.integers(3, 12)), elements=st.integers(0, 6)
)


@st.composite
def two_maps(draw):
    one = draw(MAPS)
    other = draw(hnp.arrays(np.int32, one.shape, elements=st.integers(0, 6)))
    return one, other, draw(hnp.arrays(bool, one.shape))


@given(MAPS)
def test_a_map_against_itself_is_kept(ids):
    ids = np.unique(ids, return_inverse=True)[1].reshape(ids.shape).astype(np.int32)
    found = told(ids, ids)
    assert set(names(found.before)) <= {"kept"}
    assert np.array_equal(found.before, found.after)
    assert (found.pairs.iou == 1).all()
    assert (found.pairs.edge == 0).all()
    assert found.pairs.same.all()


@given(two_maps())
def test_exchanged_years_exchange_the_outcomes(maps):
    one, other, cloud = maps
    forth, back = told(one, other, cloud), told(other, one, cloud)
    assert [OPPOSITE.get(name, name) for name in names(forth.before)] == names(back.after)
    assert [OPPOSITE.get(name, name) for name in names(forth.after)] == names(back.before)
    there, here = ({(a, b): rest for a, b, *rest in _rows(found.pairs)} for found in (forth, back))
    assert there == {(b, a): rest for (a, b), rest in here.items()}


def _rows(pairs):
    return zip(pairs.one, pairs.other, pairs.iou, pairs.edge, pairs.same, strict=True)


@given(two_maps())
def test_outcomes_fit_each_other(maps):
    one, other, cloud = maps
    found = told(one, other, cloud)
    assert set(found.before.tolist()) | set(found.after.tolist()) <= {*range(1, len(OUTCOMES)), 255}
    assert "appeared" not in names(found.before)
    assert "gone" not in names(found.after)
    before, after = Counter(names(found.before)), Counter(names(found.after))
    assert (before["kept"], before["moved"]) == (after["kept"], after["moved"]), "one to one"
    assert before["split"] * 2 <= after["split"]
    assert after["merged"] * 2 <= before["merged"]
    same = found.pairs.same
    for side in (found.pairs.one, found.pairs.other):
        assert len(np.unique(side[same])) == same.sum(), (
            "an id goes to one field, and comes from one"
        )


@given(two_maps())
def test_ids_are_unique_and_never_given_twice(maps):
    one, other, cloud = maps
    first = first_names([f"f{k % 4}" for k in range(int(one.max()))], "a")
    assert len(set(first.ids)) == len(first.ids)
    found = told(one, other, cloud)
    second = next_names(first, [f"f{k % 3}" for k in range(int(other.max()))], found, "b")
    assert len(set(second.ids)) == len(second.ids)
    carried = {
        first.ids[a - 1]: second.ids[b - 1]
        for a, b, same in zip(found.pairs.one, found.pairs.other, found.pairs.same, strict=True)
        if same
    }
    assert all(a == b for a, b in carried.items())
    assert not (set(first.ids) - set(carried)) & set(second.ids), (
        "the id of a field that ended names nobody else"
    )
