import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from selion.grid import Lattice
from selion.prediction.blend import LatticeWeights, gaussian


@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 40), st.floats(0, 0.75))
def test_weights_are_a_partition_of_unity(height, width, window, share):
    lattice = Lattice((height, width), window, share)
    weights = LatticeWeights(lattice)
    total = np.zeros((height + window, width + window), np.float32)
    for row in range(len(lattice.starts[0])):
        for column in range(len(lattice.starts[1])):
            part = weights.of(row, column)
            assert part.dtype == np.float32
            assert (part > 0).all()
            top, left = lattice.starts[0][row], lattice.starts[1][column]
            total[top : top + part.shape[0], left : left + part.shape[1]] += part
    assert np.abs(total[:height, :width] - 1).max() < 2e-6
    assert not total[height:].any()
    assert not total[:, width:].any()


def test_profile_is_symmetric_and_never_zero():
    profile = gaussian(256)
    assert np.array_equal(profile, profile[::-1])
    assert 3e-4 < profile[0] < 4e-4
    assert profile.argmax() in (127, 128)


@given(st.sampled_from([256, 512, 1024]), st.floats(0.1, 0.75))
def test_a_window_border_is_below_one_step_of_the_scores(window, share):
    """The choice of sigma, whatever the overlap: at the border of a window its neighbours have all
    but 1/254 of the score.
    """
    weights = LatticeWeights(Lattice((window, 4 * window), window, share))
    shares = weights.of(0, 1)[0]
    assert 0 < shares[0] < 1 / 254
    assert shares.max() > 0.33
