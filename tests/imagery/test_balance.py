"""Orbits of different brightness are found, and what is no orbit's is left alone."""

import numpy as np
import pytest

from selion.imagery.balance import DEAD, MOST, Glance, orbit_gains


def looks(gains, dates, growth=0.0, noise=0.0, seed=0):
    """Orbits in turn over one ground; each sees its own part, and they overlap; growth brightens it
    with time.
    """
    rng = np.random.default_rng(seed)
    ground = rng.uniform(300, 4000, (3, 20, 30))
    found = []
    for date in range(dates):
        orbit = sorted(gains)[date % len(gains)]
        values = (
            ground
            * gains[orbit]
            * (1 + growth * date / dates)
            * np.exp(noise * rng.normal(size=ground.shape))
        )
        position = sorted(gains).index(orbit)
        values[:, :, : 5 * position] = np.nan
        values[:, :, 30 - 5 * (len(gains) - 1 - position) :] = (
            np.nan if position < len(gains) - 1 else values[:, :, 30:]
        )
        found.append(Glance(orbit, values.astype(np.float32)))
    return found


@pytest.mark.parametrize("gains", [{22: 1.03, 65: 0.97}, {22: 1.04, 65: 1.0, 122: 0.96}])
def test_the_ratio_of_orbits_is_found(gains):
    found = orbit_gains(looks(gains, 12))
    for one in gains:
        for other in gains:
            assert found[one] / found[other] == pytest.approx(gains[one] / gains[other], rel=2e-3)


def test_growth_and_noise_do_not_look_like_an_orbit():
    found = orbit_gains(looks({22: 1.05, 65: 1.0}, 12, growth=0.15, noise=0.05))
    assert found[22] / found[65] == pytest.approx(1.05, abs=0.015)


def test_equal_orbits_are_not_touched():
    assert orbit_gains(looks({1: 1.0, 2: 1.0, 3: 1.0}, 6)) == {1: 1.0, 2: 1.0, 3: 1.0}
    assert orbit_gains(looks({1: 1.0 + DEAD / 3, 2: 1.0}, 6)) == {1: 1.0, 2: 1.0}


def test_large_differences_are_no_orbits():
    assert orbit_gains(looks({1: 1.6, 2: 1.0}, 6)) == {1: 1.0, 2: 1.0}
    assert orbit_gains(looks({1: (1 + MOST) ** 1.8, 2: 1.0}, 6))[1] > 1 + 0.8 * MOST


def test_what_cannot_be_compared_stays():
    one, other = looks({1: 1.1, 2: 1.0}, 2)
    apart = Glance(2, np.full_like(other.values, np.nan))
    assert orbit_gains([one, apart]) == {1: 1.0, 2: 1.0}
    assert orbit_gains([Glance(None, one.values), Glance(None, other.values)]) == {}
    assert orbit_gains([]) == {}
