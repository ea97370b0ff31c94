import numpy as np
import pytest

from selion.errors import BadInput
from selion.metrics import Correction, fit_correction, object_outcomes, overlap_table, reliability


def sample(n=20000, seed=0):
    rng = np.random.default_rng(seed)
    honest = rng.uniform(0.02, 0.98, n)
    right = (rng.random(n) < honest).astype(float)
    logit = np.log(honest / (1 - honest))
    return honest, 1 / (1 + np.exp(-(2 * logit + 0.7))), right


def test_honest_confidence_has_no_error():
    honest, proud, right = sample()
    good, bad = reliability(honest, right), reliability(proud, right)
    assert good.ece < 0.01
    assert bad.ece > 0.1
    assert bad.brier > good.brier
    assert (good.table.low95 < good.table.right).all()
    assert good.table.n.sum() == good.n == 20000


def test_hand_counted_error():
    found = reliability(np.array([0.9, 0.9, 0.9, 0.9, 0.3]), np.array([1, 1, 0, np.nan, 0]), bins=5)
    assert found.n == 4
    assert found.ece == pytest.approx((3 * abs(0.9 - 2 / 3) + 1 * 0.3) / 4)
    assert found.mce == pytest.approx(0.3)
    assert reliability(np.zeros(0), np.zeros(0)).n == 0


def test_equal_mass_bins_hold_equally_many():
    honest, _, right = sample(1000)
    assert reliability(honest, right, 10, equal_mass=True).table.n.tolist() == [100] * 10


def test_fitted_correction_undoes_what_was_done():
    honest, proud, right = sample()
    fixed = fit_correction(proud, right)
    assert (fixed.slope, fixed.offset) == pytest.approx((0.5, -0.35), abs=0.05)
    assert reliability(fixed(proud), right).ece < 0.015
    assert np.abs(fixed(proud) - honest).max() < 0.05
    assert Correction.from_dict(fixed.to_dict()) == fixed
    np.testing.assert_allclose(Correction()(honest), honest)
    assert (np.diff(fixed(np.linspace(0, 1, 50))) >= 0).all()


def test_separable_sample_stays_finite():
    found = fit_correction(
        np.linspace(0.05, 0.95, 20), (np.linspace(0.05, 0.95, 20) > 0.5).astype(float)
    )
    assert 1 < found.slope < 100


def test_outcomes_of_objects():
    truth, prediction = np.array([[1, 1, 0, 2, 2]]), np.array([[5, 5, 7, 0, 9]])
    assert object_outcomes(overlap_table(truth, prediction)).tolist() == [1, 0, 1]
    hidden = object_outcomes(
        overlap_table(truth * 0, prediction, np.array([[True, True, False, False, False]]))
    )
    assert np.isnan(hidden[0])
    assert hidden[1:].tolist() == [0, 0]


def test_bad_input_is_refused():
    with pytest.raises(BadInput, match="0 to 1"):
        reliability(np.array([1.2]), np.array([1.0]))
    with pytest.raises(BadInput, match="outcome"):
        reliability(np.zeros(3), np.zeros(2))
    with pytest.raises(BadInput, match="ten outcomes"):
        fit_correction(np.full(20, 0.5), np.ones(20))
