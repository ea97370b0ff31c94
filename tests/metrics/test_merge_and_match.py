import numpy as np
import pytest
from skimage.segmentation import watershed

from selion.errors import UnknownName
from selion.metrics import constant, merged_scores, object_scores, overlap_table, regular_grid


def mosaic(fields=40, size=512, seed=5):
    """Forty fields with 4 px of hedge between them, as in the reference's measurement."""
    rng = np.random.default_rng(seed)
    seeds = np.zeros((size, size), np.int32)
    places = rng.choice(size * size, fields, replace=False)
    seeds.ravel()[places] = np.arange(1, fields + 1)
    distance = np.full((size, size), 0.0)
    ids = watershed(distance, seeds)
    edge = (np.diff(ids, axis=0, append=ids[-1:]) != 0) | (
        np.diff(ids, axis=1, append=ids[:, -1:]) != 0
    )
    from scipy import ndimage

    return np.where(ndimage.binary_dilation(edge, iterations=2), 0, ids)


def test_hand_counted_case():
    truth = np.array([[1, 1, 1, 1, 2, 2, 0, 0]])
    prediction = np.array([[7, 7, 8, 8, 8, 0, 0, 9]])
    table = overlap_table(truth, prediction)
    any_ = merged_scores(table)
    assert any_.iou.tolist() == pytest.approx([4 / 5, 1 / 4])
    assert (any_.missed, any_.false, any_.predictions) == (0, 1, 3)
    largest = merged_scores(table, "largest")
    assert largest.iou.tolist() == pytest.approx([4 / 5, 0])
    assert largest.fnr == 0.5
    assert largest.fpr == pytest.approx(1 / 3)
    assert largest.median_iou == pytest.approx(0.4)


def test_perfect_is_one_and_nothing_is_missed():
    truth = mosaic(10, 96)
    for reading in ("any", "largest"):
        scores = merged_scores(overlap_table(truth, truth), reading)
        assert (scores.mean_iou, scores.fnr, scores.fpr) == (1, 0, 0)
    nothing = merged_scores(overlap_table(truth, np.zeros_like(truth)))
    assert (nothing.mean_iou, nothing.fnr) == (0, 1)
    assert np.isnan(nothing.fpr)


@pytest.mark.parametrize(
    ("step", "any_", "largest"),
    [(64, 0.26, 0.40), (32, 0.44, 0.63), (16, 0.63, 0.74), (8, 0.78, 0.80)],
)
def test_a_grid_that_saw_nothing_scores_what_the_reference_says(step, any_, largest):
    """text-as-mask.md, section 1: measured on another 40-field mosaic, so within 0.1."""
    truth = mosaic()
    table = overlap_table(truth, regular_grid(truth.shape, step))
    assert merged_scores(table).mean_iou == pytest.approx(any_, abs=0.1)
    assert merged_scores(table, "largest").mean_iou == pytest.approx(largest, abs=0.1)
    assert merged_scores(table).fnr == 0
    assert merged_scores(table).fpr <= 0.06
    assert object_scores(table).f1 <= 0.2
    if step <= 32:
        assert object_scores(table).tp == 0


def test_one_blob_scores_nothing_in_either_reading():
    truth = mosaic()
    table = overlap_table(truth, constant(truth.shape))
    assert merged_scores(table).mean_iou == pytest.approx(0.02, abs=0.02)
    assert merged_scores(table).fnr == 0
    assert merged_scores(table, "largest").fnr == pytest.approx(0.97, abs=0.01)


def test_unknown_reading_is_refused():
    with pytest.raises(UnknownName, match="largest"):
        merged_scores(overlap_table(np.ones((2, 2), int), np.ones((2, 2), int)), "largst")


def test_what_lies_where_nothing_is_known_is_no_prediction():
    """One found, one invented, and two on unknown ground: half of what is judged is false."""
    truth = np.array([[1, 1, 1, 0, 0, 0, 0, 0, 0, 0]])
    prediction = np.array([[7, 7, 7, 0, 8, 8, 9, 9, 5, 5]])
    ignore = np.arange(10)[None] > 5
    scores = merged_scores(overlap_table(truth, prediction, ignore))
    assert (scores.false, scores.predictions, scores.fpr) == (1, 2, 0.5)
