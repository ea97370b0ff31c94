"""A curve that never falls: by hand, and judged where it was not fitted."""

from __future__ import annotations

import numpy as np
import pytest

from selion.errors import BadInput
from selion.metrics.isotonic import cross_fit, fit_isotonic


def test_violators_are_pooled_by_hand():
    # shares right at five scores, ten outcomes each: .1 .5 .3 .3 .9; the middle three pool to 11/30
    score = np.repeat([0.1, 0.3, 0.5, 0.7, 0.9], 10)
    right = np.concatenate([np.arange(10) < k for k in (1, 5, 3, 3, 9)]).astype(float)
    curve = fit_isotonic(score, right)
    assert curve(np.array([0.1, 0.3, 0.5, 0.7, 0.9])) == pytest.approx(
        [0.1, 11 / 30, 11 / 30, 11 / 30, 0.9]
    )
    assert curve(np.array([0.0, 1.0])) == pytest.approx([0.1, 0.9])
    assert curve(np.array([0.2])) == pytest.approx([(0.1 + 11 / 30) / 2])
    assert np.isnan(curve(np.array([np.nan]))).all()


def test_it_never_falls_and_keeps_the_mean():
    draw = np.random.default_rng(0)
    score = draw.random(400)
    right = (draw.random(400) < score**3).astype(float)
    curve = fit_isotonic(score, right)
    assert (np.diff(curve(np.linspace(0, 1, 500))) >= 0).all()
    assert curve(score).mean() == pytest.approx(right.mean())


def test_it_is_judged_where_it_was_not_fitted():
    draw = np.random.default_rng(1)
    score = draw.random(4000)
    right = (draw.random(4000) < score**3).astype(float)
    right[::50] = np.nan
    found = cross_fit(score, right)
    assert found.before.ece > 0.2
    assert found.after.ece < 0.05
    assert np.isnan(found.probability[::50]).all()
    # pure noise: a curve that is judged on itself would seem to know something
    noise = (draw.random(4000) < 0.5).astype(float)
    fitted = cross_fit(score, noise)
    assert fitted.after.brier >= 0.25 - 1e-3


def test_too_few_are_refused():
    with pytest.raises(BadInput, match="20 outcomes"):
        fit_isotonic(np.linspace(0, 1, 10), np.arange(10) % 2)
    with pytest.raises(BadInput, match="right and wrong"):
        fit_isotonic(np.linspace(0, 1, 30), np.ones(30))
    with pytest.raises(BadInput, match="one outcome per score"):
        fit_isotonic(np.zeros(3), np.zeros(4))
