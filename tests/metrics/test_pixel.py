import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from selion.classes import ALU, FTW3, IGNORE
from selion.errors import BadInput, GridMismatch, UnknownName
from selion.metrics import confusion, mean_dice, pixel_scores

LABELS = arrays(np.uint8, (8, 9), elements=st.sampled_from([0, 1, 2, IGNORE]))


def test_hand_counted_case():
    truth = np.array([[0, 0, 1, 1], [1, 2, 255, 2]], np.uint8)
    prediction = np.array([[0, 1, 1, 1], [0, 2, 2, 255]], np.uint8)
    counts = confusion(truth, prediction, FTW3)
    assert counts.counts.tolist() == [[1, 1, 0, 0], [1, 2, 0, 0], [0, 0, 1, 1]]
    assert (counts.counted, counts.ignored, counts.unanswered) == (7, 1, 1)
    scores = pixel_scores(counts)
    field = scores.table.loc["field"]
    assert field.iou == pytest.approx(2 / 4)
    assert field.precision == pytest.approx(2 / 3)
    assert field.recall == pytest.approx(2 / 3)
    assert field.dice == field.f1 == pytest.approx(2 * 2 / 6)
    assert field.accuracy == pytest.approx(5 / 7)
    assert scores.accuracy == pytest.approx(4 / 7)
    assert scores.mean["iou"] == pytest.approx((1 / 3 + 2 / 4 + 1 / 2) / 3)


def test_absent_class_policies():
    truth, prediction = np.ones((4, 4), np.uint8), np.ones((4, 4), np.uint8)
    assert pixel_scores(confusion(truth, prediction, 3)).mean["iou"] == 1
    assert pixel_scores(confusion(truth, prediction, 3), absent="zero").mean[
        "iou"
    ] == pytest.approx(1 / 3)
    assert pixel_scores(confusion(truth, prediction, 3), absent="one").mean["iou"] == 1
    # one false background pixel where the truth has none: the full-cover case of DepthCropSeg++
    prediction[0, 0] = 0
    assert pixel_scores(confusion(truth, prediction, 2)).mean["iou"] == pytest.approx((15 / 16) / 2)
    assert pixel_scores(confusion(truth, prediction, 2), absent_from="truth").mean[
        "iou"
    ] == pytest.approx(15 / 16)
    assert pixel_scores(confusion(truth, prediction, 2), "one", "truth").mean[
        "iou"
    ] == pytest.approx((15 / 16 + 1) / 2)


def test_nothing_known_is_nan_and_counted():
    scores = pixel_scores(
        confusion(np.full((3, 3), IGNORE, np.uint8), np.zeros((3, 3), np.uint8), 2)
    )
    assert np.isnan(scores.accuracy)
    assert np.isnan(scores.mean["iou"])
    assert (scores.counted, scores.ignored) == (0, 9)


@given(LABELS, LABELS)
def test_laws(truth, prediction):
    counts = confusion(truth, prediction, 3)
    halves = confusion(truth[:3], prediction[:3], 3) + confusion(truth[3:], prediction[3:], 3)
    assert (halves.counts == counts.counts).all()
    assert halves.ignored == counts.ignored
    perfect = pixel_scores(confusion(truth, truth, 3))
    assert perfect.table[["iou", "f1", "precision", "recall"]].stack().dropna().eq(1).all()
    both = (truth != IGNORE) & (prediction != IGNORE)
    one, other = (
        pixel_scores(confusion(a, b, 3, both)).table
        for a, b in ((truth, prediction), (prediction, truth))
    )
    for symmetric in ("iou", "dice", "accuracy"):
        np.testing.assert_allclose(one[symmetric], other[symmetric])
    np.testing.assert_allclose(one.precision, other.recall)


def test_equal_to_scikit_style_formulas_on_random_maps():
    rng = np.random.default_rng(0)
    truth, prediction = rng.integers(0, 4, (2, 50, 50)).astype(np.uint8)
    scores = pixel_scores(confusion(truth, prediction, 4)).table
    for c in range(4):
        assert scores.iou.iloc[c] == pytest.approx(
            ((truth == c) & (prediction == c)).sum() / ((truth == c) | (prediction == c)).sum()
        )
        assert scores.accuracy.iloc[c] == pytest.approx(((truth == c) == (prediction == c)).mean())


def test_mean_dice_readings_pay_constants_differently():
    truth = np.ones((10, 10), np.uint8)
    truth[:3] = 0
    field = np.ones_like(truth)
    assert mean_dice(truth, truth, 5) == 1
    assert mean_dice(truth, field, 5, "all") > mean_dice(truth, field, 5, "union")
    assert mean_dice(truth, field, 5, "all", smooth=0) == pytest.approx((2 * 70 / 170) / 5)
    assert mean_dice(truth, field, 2, "truth", smooth=1) == pytest.approx(
        ((2 * 70 + 1) / 171 + 1 / 31) / 2
    )


def test_one_stray_pixel_of_an_absent_class_costs_little_and_the_background_is_no_class():
    """64 x 64: half background, half field; one pixel of it is called a tree (by hand)."""
    truth = np.zeros((64, 64), np.uint8)
    truth[:, 32:] = 1
    stray = truth.copy()
    stray[5, 40] = 2
    assert mean_dice(truth, truth, ALU) - mean_dice(truth, stray, ALU) > 0.16
    field, share = (2 * 2047 + 1) / (2048 + 2047 + 1), 1 / 40.96
    found = mean_dice(truth, stray, ALU, "foreground")
    assert found == pytest.approx((field + share / 2) / (1 + share))
    assert found > 0.98
    assert mean_dice(truth, truth, ALU, "foreground") == 1.0
    # background that is called field shows in the field: 2048 right of 4096
    all_field = np.ones_like(truth)
    assert mean_dice(truth, all_field, ALU, "foreground") == pytest.approx(4097 / 6145)
    assert mean_dice(truth, all_field, ALU, "paper") == pytest.approx((4097 / 6145 + 4) / 5)
    nothing = np.zeros_like(truth)
    assert mean_dice(nothing, nothing, ALU, "foreground") == 1.0
    assert mean_dice(nothing, all_field, ALU, "foreground") < 1e-3
    # a fifth of the patch said to be trees that are not there: a class more, and lost
    wrong = truth.copy()
    wrong[:26, 32:] = 2
    assert mean_dice(truth, wrong, ALU, "foreground") < 0.4


def test_bad_input_is_refused():
    with pytest.raises(GridMismatch, match="one grid"):
        confusion(np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8), 2)
    with pytest.raises(BadInput, match="prediction holds class ids"):
        confusion(np.zeros((2, 2), np.uint8), np.full((2, 2), 7, np.uint8), 2)
    with pytest.raises(UnknownName, match="skip"):
        pixel_scores(
            confusion(np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.uint8), 2), absent="skp"
        )
    with pytest.raises(BadInput, match="cannot be added"):
        confusion(np.zeros((1, 1), np.uint8), np.zeros((1, 1), np.uint8), 2) + confusion(
            np.zeros((1, 1), np.uint8), np.zeros((1, 1), np.uint8), 3
        )


@pytest.mark.parametrize("masked", [False, True])
def test_pixels_counted_in_pieces_are_those_of_a_loop(masked, monkeypatch):
    monkeypatch.setattr("selion.metrics.pixel.PIECE", 7)
    rng = np.random.default_rng(3)
    truth, prediction = rng.choice([0, 1, 2, IGNORE], (2, 5, 19)).astype(np.uint8)
    mask = rng.random((5, 19)) > 0.3 if masked else None
    counts, ignored = np.zeros((3, 4), int), 0
    for row in range(5):
        for column in range(19):
            t, p = int(truth[row, column]), int(prediction[row, column])
            if t == IGNORE or (mask is not None and not mask[row, column]):
                ignored += 1
            else:
                counts[t, 3 if p == IGNORE else p] += 1
    found = confusion(truth, prediction, 3, mask)
    assert found.counts.tolist() == counts.tolist()
    assert found.ignored == ignored
    truth[4, 18] = 9
    with pytest.raises(BadInput, match=r"class ids \[9\]"):
        confusion(truth, prediction, 3, mask)
