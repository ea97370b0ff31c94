import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from selion.errors import GridMismatch
from selion.metrics import (
    boundary_distances,
    boundary_iou,
    boundary_width,
    class_boundary_iou,
    match_objects,
    overlap_table,
    score_ids,
)
from selion.metrics.boundary import boundary_band


def test_hand_cases():
    square, moved = np.zeros((12, 12), bool), np.zeros((12, 12), bool)
    square[2:8, 2:8], moved[2:8, 3:9] = True, True
    assert boundary_iou(square, square, 1) == 1
    # bands of 20 px each; they share the five columns 3 to 7 above and below
    one, other = boundary_band(square, 1), boundary_band(moved, 1)
    assert (one.sum(), other.sum()) == (20, 20)
    assert (
        boundary_iou(square, moved, 1)
        == pytest.approx((one & other).sum() / 30)
        == pytest.approx(10 / 30)
    )
    assert np.isnan(boundary_iou(square & False, square & False))


def test_the_border_of_the_image_is_a_boundary_and_of_the_unknown_is_not():
    full = np.ones((10, 10), bool)
    assert boundary_band(full, 1).sum() == 36
    known = np.ones((10, 10), bool)
    known[:, 5:] = False
    mask = full & known
    # left, top and bottom of the known part
    assert boundary_band(mask, 1, known).sum() == 10 + 4 + 4


def test_width_is_two_per_cent_of_the_diagonal():
    assert boundary_width((1024, 1024)) == 29
    assert boundary_width((10, 10)) == 1


@given(arrays(bool, (9, 11)), st.integers(1, 3))
def test_band_is_what_repeated_erosion_removes(mask, width):
    eroded = ndimage.binary_erosion(np.pad(mask, 1), np.ones((3, 3)), iterations=width)[1:-1, 1:-1]
    np.testing.assert_array_equal(boundary_band(mask, width), mask & ~eroded)


@given(arrays(bool, (9, 11)), arrays(bool, (9, 11)))
def test_symmetric(one, other):
    np.testing.assert_equal(boundary_iou(one, other, 2), boundary_iou(other, one, 2))


def test_by_class_with_ignored_pixels():
    truth = np.zeros((20, 20), np.uint8)
    truth[5:15, 5:15] = 1
    prediction = truth.copy()
    prediction[0, 0] = 1
    truth[0, 0] = 255
    assert class_boundary_iou(truth, prediction, 2, width=2).tolist() == [1, 1]
    prediction[5, 5:15] = 0
    assert class_boundary_iou(truth, prediction, 2, width=2)[1] < 1
    with pytest.raises(GridMismatch):
        boundary_iou(np.ones((2, 2), bool), np.ones((3, 2), bool))


def test_distances_in_metres():
    truth, prediction = np.zeros((40, 60), int), np.zeros((40, 60), int)
    truth[10:20, 10:20], prediction[9:21, 9:21] = 4, 8  # one pixel too large all round
    truth[10:30, 30:50], prediction[10:30, 30:50] = 9, 2
    table = overlap_table(truth, prediction)
    summary, each = boundary_distances(truth, prediction, table, match_objects(table), (10.0, 10.0))
    assert summary.matches == 2
    assert each.set_index("truth").loc[9, "distance"] == 0
    # the corners are sqrt(2) away
    assert each.set_index("truth").loc[4, "distance"] == pytest.approx(10, abs=0.5)
    assert summary.mean == pytest.approx(each.distance.mean())
    pixels, _ = boundary_distances(truth, prediction, table, match_objects(table))
    assert summary.mean == pytest.approx(10 * pixels.mean)
    nothing, _ = boundary_distances(
        truth,
        prediction * 0,
        overlap_table(truth, prediction * 0),
        match_objects(overlap_table(truth, prediction * 0)),
    )
    assert nothing.matches == 0
    assert np.isnan(nothing.mean)


def test_the_border_of_the_image_is_no_outline():
    truth, prediction = np.zeros((10, 10), int), np.zeros((10, 10), int)
    truth[:, :5], prediction[:, :6] = 1, 1
    table = overlap_table(truth, prediction)
    summary, _ = boundary_distances(truth, prediction, table, match_objects(table))
    assert summary.mean == 1


def test_where_the_truth_was_cut_off_is_no_outline():
    """A field that runs on where nobody mapped: the map that draws it whole is right."""
    prediction = np.zeros((20, 30), int)
    prediction[5:15, 5:25] = 7
    known = np.zeros(prediction.shape, bool)
    known[:, :15] = True
    truth = np.where(known, prediction, 0)
    found = score_ids("x", truth, prediction, ignore=~known)
    assert found.edge == (28, 28)  # three sides: 10 px each, less two corners
    assert found.distances["distance"].tolist() == [0]
    grown = np.zeros_like(prediction)
    grown[5:15, 4:27] = 7  # a column too far where it is known, two where it is not
    off = score_ids("x", truth, grown, ignore=~known)
    assert off.edge == (20, 38)  # the two long sides; both short ones, 8 px and 8 + 2 px
    assert off.distances["hausdorff_95"].item() == 1


def test_distances_equal_distance_transforms_of_each_pair():
    rng = np.random.default_rng(4)
    truth = np.kron(rng.integers(0, 6, (5, 6)), np.ones((9, 9), int))
    prediction = np.where(rng.random(truth.shape) < 0.1, 0, np.roll(truth, (1, 2), (0, 1)))
    table = overlap_table(truth, prediction)
    matches = match_objects(table, 0.3)
    _, each = boundary_distances(truth, prediction, table, matches, (2.0, 3.0))
    assert len(each) > 2
    for row in each.itertuples():
        edges = [
            (ids == key) & ~ndimage.binary_erosion(ids == key, border_value=1)
            for ids, key in ((truth, row.truth), (prediction, row.prediction))
        ]
        away = [ndimage.distance_transform_edt(~edge, (2.0, 3.0)) for edge in edges]
        both = np.concatenate([away[1][edges[0]], away[0][edges[1]]])
        assert row.distance == pytest.approx(both.mean())
        assert row.hausdorff_95 == pytest.approx(np.percentile(both, 95))
