import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from selion.errors import BadInput
from selion.metrics import (
    bootstrap,
    group_mean,
    holm,
    paired_bootstrap,
    paired_t_test,
    pooled_t_test,
    wilcoxon_test,
)
from selion.metrics.report import comparison_table
from selion.metrics.statistics import (
    detectable_difference,
    f1_from_counts,
    iou_from_counts,
    mean_from_rows,
)

PAPER = Path(__file__).resolve().parents[3] / "shared" / "papers" / "prue.txt"
PRUE_IOU = ".78 .82 .66 .51 .77 .86 .84 .87 .83 .79 .85 .79 .85 .81 .10 .94 .68 .82 .83 .85 .67"
PRUE_F1 = ".50 .66 .36 .24 .45 .65 .54 .64 .63 .47 .56 .50 .56 .57 .03 .65 .33 .54 .33 .55 .22"
"""PRUE's columns of Table 6, Austria to Vietnam; the 15th is Portugal."""


def column(text):
    return np.array([float(v) for v in text.split()])


def test_table_6_gives_table_1():
    iou, f1 = group_mean(column(PRUE_IOU)), group_mean(column(PRUE_F1))
    assert (iou.n, f1.n) == (21, 21)
    assert iou.value == pytest.approx(0.758, abs=5e-4)
    assert f1.value == pytest.approx(0.475, abs=5e-4)
    assert iou.half_width == pytest.approx(0.076, abs=5e-4)
    assert f1.half_width == pytest.approx(0.072, abs=5e-4)
    assert group_mean(np.delete(column(PRUE_IOU), 14)).value == pytest.approx(0.791, abs=5e-4)
    assert group_mean(np.delete(column(PRUE_F1), 14)).value == pytest.approx(0.498, abs=5e-4)


def test_table_6_is_copied_rightly():
    if not PAPER.exists():
        pytest.skip("the paper's text lies in ../shared/papers, which is not here")
    rows = re.findall(r"^[A-Z][A-Za-z ]+ ((?:0\.\d\d ?){10})$", PAPER.read_text(), re.MULTILINE)
    table = np.array([[float(v) for v in row.split()] for row in rows])
    np.testing.assert_array_equal(table[:, 4], column(PRUE_IOU))
    np.testing.assert_array_equal(table[:, 9], column(PRUE_F1))
    assert group_mean(table[:, 0]).value == pytest.approx(0.692, abs=5e-4)
    assert group_mean(table[:, 5]).value == pytest.approx(0.384, abs=5e-4)


def test_table_vi_of_depthcropseg():
    found = pooled_t_test((93.47, 93.43, 93.47), (93.02, 93.01, 93.07))
    assert found.statistic == pytest.approx(18.525, abs=5e-4)
    assert (found.low, found.high) == pytest.approx((0.360, 0.487), abs=5e-4)
    assert found.p_value < 0.001


def test_equal_to_scipy():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.6, 0.1, 30), rng.normal(0.55, 0.1, 30)
    theirs = stats.ttest_ind(a, b)
    ours = pooled_t_test(a, b)
    assert (ours.statistic, ours.p_value) == pytest.approx((theirs.statistic, theirs.pvalue))
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs.confidence_interval()))
    theirs, ours = stats.ttest_rel(a, b), paired_t_test(a, b)
    assert (ours.statistic, ours.p_value) == pytest.approx((theirs.statistic, theirs.pvalue))
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs.confidence_interval()))
    assert wilcoxon_test(a, b).p_value == pytest.approx(stats.wilcoxon(a - b).pvalue)
    ours = group_mean(a, method="t")
    assert (ours.low, ours.high) == pytest.approx(
        stats.t.interval(0.95, 29, a.mean(), stats.sem(a))
    )


def test_nan_groups_are_left_out_and_counted():
    found = group_mean({"a": 0.5, "b": 0.7, "c": float("nan")})
    assert (found.value, found.n) == (pytest.approx(0.6), 2)
    assert np.isnan(group_mean([0.4]).low)
    assert np.isnan(group_mean([]).value)


def test_bootstrap_of_counts():
    rng = np.random.default_rng(1)
    counts = np.column_stack(
        [rng.integers(3, 9, 60), rng.integers(0, 5, 60), rng.integers(0, 5, 60)]
    )
    found = bootstrap(counts, f1_from_counts)
    assert found.value == pytest.approx(
        2 * counts[:, 0].sum() / (2 * counts[:, 0].sum() + counts[:, 1:].sum())
    )
    assert found.low < found.value < found.high
    assert bootstrap(counts, f1_from_counts) == found
    assert iou_from_counts(np.array([[1, 1, 2], [0, 0, 0]]))[0] == 0.25
    rows = np.column_stack([rng.normal(0.7, 0.1, 400), np.ones(400)])
    mean = bootstrap(rows, mean_from_rows)
    assert mean.half_width == pytest.approx(1.96 * rows[:, 0].std(ddof=1) / 20, rel=0.1)


def test_pairing_shows_what_two_intervals_hide():
    rng = np.random.default_rng(2)
    hard = rng.beta(2, 2, 80)
    a = np.column_stack([hard + 0.02 + rng.normal(0, 0.01, 80), np.ones(80)])
    b = np.column_stack([hard, np.ones(80)])
    paired = paired_bootstrap(a, b, mean_from_rows)
    assert paired.low > 0
    assert paired.p_value < 0.01
    assert paired.detectable < 0.01
    assert bootstrap(b, mean_from_rows).high > bootstrap(a, mean_from_rows).low
    assert paired_t_test(a[:, 0], b[:, 0]).detectable == pytest.approx(paired.detectable, rel=0.3)


def test_detectable_difference_has_the_power_it_claims():
    error, n = 0.1 / np.sqrt(20), 20
    shift = detectable_difference(error, n - 1)
    rng = np.random.default_rng(3)
    draws = rng.normal(shift, 0.1, (4000, n))
    power = (stats.ttest_1samp(draws, 0, axis=1).pvalue < 0.05).mean()
    assert power == pytest.approx(0.8, abs=0.03)


def test_equal_models_differ_by_nothing():
    same = np.column_stack([np.linspace(0, 1, 9), np.ones(9)])
    found = paired_bootstrap(same, same, mean_from_rows)
    assert (found.difference, found.p_value) == (0, 1)
    assert paired_t_test(same[:, 0], same[:, 0]).p_value == 1
    assert wilcoxon_test(same[:, 0], same[:, 0]).p_value == 1


def test_holm():
    assert holm([0.01, 0.04, 0.03]).tolist() == pytest.approx([0.03, 0.06, 0.06])


def test_bad_input_is_refused():
    with pytest.raises(BadInput, match="same images"):
        paired_t_test([1, 2], [1, 2, 3])
    with pytest.raises(BadInput, match="two"):
        pooled_t_test([1], [1, 2])
    with pytest.raises(BadInput, match="image"):
        bootstrap(np.zeros((0, 3)), f1_from_counts)
    with pytest.raises(BadInput, match="Interval method"):
        group_mean([1, 2], method="magic")


def test_one_image_tells_no_interval():
    found = paired_bootstrap(
        np.array([[3.0, 4.0]]), np.array([[1.0, 4.0]]), lambda c: c[:, 0] / c[:, 1]
    )
    assert found.difference == pytest.approx(0.5)
    assert all(np.isnan([found.low, found.high, found.p_value, found.detectable]))
    _, rows = comparison_table({"object_f1": found})
    assert rows == [["object_f1", "+0.500", "-", "-", "-", "one image tells no interval"]]
    assert (found.bounds, found.sure) == ("-", False)
    alone = bootstrap(np.array([[3.0, 4.0]]), mean_from_rows)
    assert (str(alone), alone.bounds, alone.n) == ("0.750", "-", 1)


def test_no_pair_that_is_known_on_both_sides_is_no_result():
    """Nothing to compare was a difference of 0 with a p of 1."""
    with pytest.raises(BadInput, match="0 pairs"):
        wilcoxon_test([np.nan, 0.5], [0.5, np.nan])
