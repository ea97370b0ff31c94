import numpy as np
import pytest

from selion.errors import BadInput
from selion.metrics import area_bias, error_kinds, overlap_table, segmentation_errors, size_classes
from selion.metrics.partition import PREDICTION_KINDS, TRUTH_KINDS

# truth 1 is found, 2 is split in two, 3 and 4 are merged, 5 is missed, 6 is half found; prediction
# 70 is invented
TRUTH = np.zeros((6, 24), int)
PREDICTION = np.zeros((6, 24), int)
TRUTH[0:4, 0:4], PREDICTION[0:4, 0:4] = 1, 10
TRUTH[0:4, 4:8], PREDICTION[0:2, 4:8], PREDICTION[2:4, 4:8] = 2, 20, 21
TRUTH[0:4, 8:12], TRUTH[0:4, 12:16], PREDICTION[0:4, 8:16] = 3, 4, 30
TRUTH[0:4, 16:20] = 5
TRUTH[0:4, 20:24], PREDICTION[3:6, 20:24] = 6, 60
PREDICTION[5, 0:3] = 70


def test_kinds_of_error():
    table = overlap_table(TRUTH, PREDICTION)
    kinds = error_kinds(table, iou=0.6)
    truth = {int(i): TRUTH_KINDS[k] for i, k in zip(table.truth_ids, kinds.truth, strict=True)}
    prediction = {
        int(i): PREDICTION_KINDS[k]
        for i, k in zip(table.prediction_ids, kinds.prediction, strict=True)
    }
    assert truth == {1: "matched", 2: "split", 3: "merged", 4: "merged", 5: "missed", 6: "partial"}
    assert prediction == {
        10: "matched",
        20: "fragment",
        21: "fragment",
        30: "merger",
        60: "partial",
        70: "false",
    }
    assert kinds.counts()["truth"] == {
        "matched": 1,
        "split": 1,
        "merged": 2,
        "partial": 1,
        "missed": 1,
    }


def test_over_and_under_segmentation():
    found = segmentation_errors(overlap_table(TRUTH, PREDICTION))
    assert found.over == pytest.approx((0 + 0.5 + 0 + 0 + 1 + 0.75) / 6)
    assert found.under == pytest.approx((0 + 0 + 0.5 + 0.5 + 2 / 3) / 5)
    assert found.fragments == pytest.approx((1 + 2) / 2)
    perfect = segmentation_errors(overlap_table(TRUTH, TRUTH))
    assert (perfect.over, perfect.under, perfect.fragments) == (0, 0, 1)
    assert np.isnan(segmentation_errors(overlap_table(TRUTH * 0, TRUTH)).over)


def test_size_classes_count_truth_by_truth_and_guess_by_prediction():
    found = size_classes(
        overlap_table(TRUTH, PREDICTION), (0, 10, 20, 100), ("a", "b", "c"), iou=0.6
    )
    assert found.truth.tolist() == [0, 6, 0]
    assert found.found.tolist() == [0, 1, 0]
    assert found.prediction.tolist() == [3, 2, 1]
    assert found.loc["b", "recall"] == pytest.approx(1 / 6)
    assert found.loc["b", "precision"] == pytest.approx(1 / 2)
    assert np.isnan(found.loc["a", "recall"])
    hectares = size_classes(overlap_table(TRUTH, PREDICTION), pixel_area=1000.0, iou=0.6)
    assert hectares.truth.tolist() == [0, 6, 0, 0, 0]
    with pytest.raises(BadInput, match="edges"):
        size_classes(overlap_table(TRUTH, PREDICTION), (0, 1), ("a", "b"))


def test_what_lies_where_nothing_is_known_is_of_no_size():
    """A found field of 16 px, one of 12 px beside it that is wrong, and two on unknown ground."""
    truth, prediction, ignore = (np.zeros((8, 12), kind) for kind in (int, int, bool))
    truth[:4, :4], prediction[:4, :4], prediction[:4, 5:8] = 1, 1, 2
    prediction[5:, :6], prediction[5:, 7:], ignore[5:] = 3, 4, True
    prediction[4, 7:9] = 4  # 2 of its 17 px are known
    table = overlap_table(truth, prediction, ignore)
    found = size_classes(table, (0, 10, 20), ("a", "b"))
    assert found.prediction.tolist() == [0, 2]
    assert found.loc["b", "precision"] == 0.5
    assert np.isnan(found.loc["a", "precision"])


def test_area_bias():
    truth, prediction = np.zeros((10, 20), int), np.zeros((10, 20), int)
    truth[:8, :5], prediction[:10, :5] = 1, 1
    truth[:, 10:18], prediction[:, 10:18] = 2, 2
    bias = area_bias(overlap_table(truth, prediction))
    assert bias.total == pytest.approx(130 / 120 - 1)
    assert bias.matched == pytest.approx(130 / 120 - 1)
    assert bias.median == pytest.approx(0.125)
    assert np.isnan(area_bias(overlap_table(truth, prediction * 0)).median)
