import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from odc.geo.geobox import GeoBox

from selion.errors import BadInput, GridMismatch
from selion.grid import photo_grid
from selion.labels import Instances
from selion.metrics import (
    join_tables,
    match_objects,
    object_scores,
    overlap_table,
    table_from_pairs,
)
from selion.metrics import overlap as overlap_module

IDS = arrays(np.int32, (7, 8), elements=st.sampled_from([0, 1, 2, 5, 9]))


def pairs(table):
    return {
        (int(table.truth_ids[t]), int(table.prediction_ids[g])): float(s)
        for t, g, s in zip(table.truth_index, table.prediction_index, table.shared, strict=True)
    }


def test_table_against_counting_by_hand():
    truth = np.array([[1, 1, 0], [7, 7, 7], [0, 0, 7]])
    prediction = np.array([[3, 3, 3], [3, 2, 2], [0, 2, 2]])
    table = overlap_table(truth, prediction)
    assert table.truth_ids.tolist() == [1, 7]
    assert table.truth_area.tolist() == [2, 4]
    assert table.prediction_area.tolist() == [4, 4]
    assert pairs(table) == {(1, 3): 2, (7, 3): 1, (7, 2): 3}
    assert table.iou.tolist() == pytest.approx([2 / 4, 3 / 5, 1 / 7])


@given(IDS, IDS, arrays(bool, (7, 8)))
def test_table_equals_brute_force_and_blocks_equal_the_whole(truth, prediction, ignore):
    table = overlap_table(truth, prediction, ignore)
    expected = {}
    for t in (1, 2, 5, 9):
        for g in (1, 2, 5, 9):
            n = int(((truth == t) & (prediction == g) & ~ignore).sum())
            if n:
                expected[t, g] = n
    assert pairs(table) == expected
    assert dict(zip(table.truth_ids.tolist(), table.truth_area.tolist(), strict=True)) == {
        t: ((truth == t) & ~ignore).sum() for t in (1, 2, 5, 9) if ((truth == t) & ~ignore).any()
    }
    for g, known, hidden in zip(
        table.prediction_ids, table.prediction_area, table.prediction_ignored, strict=True
    ):
        assert known == ((prediction == g) & ~ignore).sum()
        assert hidden == ((prediction == g) & ignore).sum()
    rows, overlap_module.ROWS = overlap_module.ROWS, 2
    try:
        cut = overlap_table(truth, prediction, ignore)
    finally:
        overlap_module.ROWS = rows
    assert pairs(cut) == pairs(table)
    np.testing.assert_array_equal(cut.prediction_ignored, table.prediction_ignored)


@given(IDS, IDS, st.sampled_from([0.1, 0.3, 0.5, 0.75]))
def test_laws_of_matching(truth, prediction, iou):
    table = overlap_table(truth, prediction)
    turned = overlap_table(prediction, truth)
    one, other = object_scores(table, iou), object_scores(turned, iou)
    assert one.fp == other.fn or iou < 0.5  # greedy ties may differ below one half
    assert one.tp + one.fn == len(np.unique(truth[truth > 0]))
    assert one.tp + one.fp == len(np.unique(prediction[prediction > 0]))
    renamed = object_scores(
        overlap_table(
            np.where(truth > 0, truth.astype(np.int64) + 10**10, 0),
            np.where(prediction > 0, prediction * 3, 0),
        ),
        iou,
    )
    assert renamed == one
    perfect = object_scores(overlap_table(truth, truth), 1.0)
    assert (perfect.fp, perfect.fn) == (0, 0)


def test_threshold_is_inclusive_unless_strict():
    truth, prediction = np.array([[1, 1, 0]]), np.array([[1, 0, 0]])
    table = overlap_table(truth, prediction)
    assert object_scores(table, 0.5).tp == 1
    assert object_scores(table, 0.5, strict=True).tp == 0


def test_low_thresholds_still_match_one_to_one():
    truth = np.array([[1, 1, 1, 1, 2, 2]])
    prediction = np.array([[8, 8, 9, 9, 9, 9]])
    matches = match_objects(overlap_table(truth, prediction), 0.2)
    assert len(set(matches.truth_index)) == len(matches.truth_index) == 2
    assert sorted(matches.iou) == pytest.approx([0.5, 0.5])


def test_scores_and_their_sum():
    scores = object_scores(
        overlap_table(np.array([[1, 1, 2, 2, 0, 3]]), np.array([[1, 1, 2, 0, 4, 0]]))
    )
    assert (scores.tp, scores.fp, scores.fn) == (2, 1, 1)
    assert scores.f1 == pytest.approx(2 / 3)
    assert scores.mean_iou == pytest.approx(0.75)
    assert scores.panoptic_quality == pytest.approx(1.5 / 3)
    double = scores + scores
    assert (double.tp, double.f1) == (4, scores.f1)


def test_nothing_there_is_nan_not_zero():
    nothing = np.zeros((3, 3), int)
    scores = object_scores(overlap_table(nothing, nothing))
    assert np.isnan(scores.f1)
    assert object_scores(overlap_table(nothing, nothing + 1)).precision == 0
    assert object_scores(overlap_table(nothing + 1, nothing)).recall == 0


def test_guesses_on_unknown_ground_are_no_false_alarms():
    truth, prediction = np.zeros((4, 4), int), np.zeros((4, 4), int)
    ignore = np.zeros((4, 4), bool)
    ignore[:3] = True
    prediction[:, 0], prediction[3, 1:] = 1, 2
    scores = object_scores(overlap_table(truth, prediction, ignore))
    assert (scores.fp, scores.ignored) == (1, 1)


def test_joined_tables_score_as_summed_counts():
    rng = np.random.default_rng(3)
    tables = [
        overlap_table(*(np.kron(rng.integers(0, 5, (2, 4, 4)), np.ones((1, 3, 3), int))))
        for _ in range(4)
    ]
    total = object_scores(tables[0])
    for table in tables[1:]:
        total += object_scores(table)
    joined = object_scores(join_tables(tables))
    assert (joined.tp, joined.fp, joined.fn) == (total.tp, total.fp, total.fn)
    assert len(join_tables([]).truth_ids) == 0


def test_table_from_measured_areas():
    table = table_from_pairs(
        (np.array([1, 2]), np.array([4.0, 2.0])),
        (np.array([1]), np.array([5.0])),
        (np.array([1, 0]), np.array([0, 0]), np.array([0.0, 3.5])),
    )
    assert pairs(table) == {(1, 1): 3.5}
    assert table.iou[0] == pytest.approx(3.5 / 5.5)


def test_bad_input_is_refused():
    with pytest.raises(GridMismatch, match="share a shape"):
        overlap_table(np.zeros((2, 2), int), np.zeros((2, 3), int))
    with pytest.raises(BadInput, match="integers"):
        overlap_table(np.zeros((2, 2)), np.zeros((2, 2), int))
    with pytest.raises(BadInput, match="below 0"):
        overlap_table(np.full((2, 2), -1), np.zeros((2, 2), int))
    with pytest.raises(BadInput, match="threshold"):
        match_objects(overlap_table(np.ones((2, 2), int), np.ones((2, 2), int)), 0)
    one = Instances(np.ones((2, 2), np.int32), photo_grid((2, 2)))
    far = Instances(np.ones((2, 2), np.int32), GeoBox((2, 2), Affine.translation(2, 2), None))
    with pytest.raises(GridMismatch, match="different grids"):
        overlap_table(one, far)
