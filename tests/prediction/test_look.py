"""What a look finds: the same reflectances in any numbers, bands in any order, or a warning."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from selion.errors import BadInput
from selion.grid import whole
from selion.prediction import judged, look_at, understood
from selion.raster import Raster
from selion.segmenter import InputSpec, Scaling

COLOURS = ("red", "green", "blue", "nir")
NAMES = tuple(f"{date}:{colour}" for date in ("window_a", "window_b") for colour in COLOURS)
INPUTS = InputSpec(NAMES, Scaling((3000.0,), (0.0,), (0.0, 3.0)), (5.0, 5.0))


def date(seed):
    """Vegetation, soil and water in digital numbers, by the books: (4, 96, 96) int32."""
    rng = np.random.default_rng(seed)
    kinds = np.array([[300, 600, 250, 4000], [2000, 1500, 1000, 2700], [200, 300, 350, 80]])
    cover = np.kron(rng.choice(3, (12, 12), p=[0.5, 0.4, 0.1]), np.ones((8, 8), int))
    light = rng.normal(1, 0.08, cover.shape)
    return np.round(kinds.T[:, cover] * light + rng.normal(0, 15, (4, 96, 96))).astype(np.int32)


PAIR = np.concatenate([date(1), date(2)])


def raster(values, names=NAMES, metres=10.0):
    grid = GeoBox(values.shape[1:], Affine(metres, 0, 5e5, 0, -metres, 5e6), "EPSG:32633")
    return Raster(values, grid, names)


def shown(source):
    """What a model of two dates gets, and the look."""
    made, look = understood(source, look_at(source), INPUTS)
    return made.read(whole(made.grid)).values, made, look


@pytest.mark.parametrize(
    ("gain", "shift"),
    [
        (1, 0),
        (0.0001, 0),
        (0.01, 0),
        (1, 1000),
        (1, -1000),
        (1, -2000),
        (0.0001, -0.2),
        (0.0001, 0.1),
        (0.0001 / 2.75e-05, 0.2 / 2.75e-05),
    ],
)
def test_numbers_become_digital(gain, shift):
    found, _, look = shown(raster((PAIR * gain + shift).astype(np.float32)))
    np.testing.assert_allclose(found, PAIR, atol=2.0)
    assert not look.warnings
    assert (gain, shift) == (1, 0) or "brought to digital numbers" in " ".join(look.said)


def test_each_date_has_its_own_numbers_and_strays_decide_nothing():
    values = PAIR.astype(np.float64)
    values[:4] /= 10_000
    values[4:] += 1000
    values[:4, 3, 3] = 2.1
    found, *_ = shown(raster(values))
    np.testing.assert_allclose(np.delete(found, 3, axis=1), np.delete(PAIR, 3, axis=1), atol=2.0)


@pytest.mark.parametrize("case", [PAIR / 14, np.clip(PAIR - 1000, 0, None), PAIR // 10, PAIR * 6])
def test_what_cannot_be_known_is_a_warning(case):
    assert shown(raster(np.asarray(case).astype(np.uint16)))[2].warnings


@pytest.mark.parametrize(
    "order", [[2, 1, 0, 3, 6, 5, 4, 7], [0, 4, 1, 5, 2, 6, 3, 7], [3, 0, 1, 2, 7, 4, 5, 6]]
)
def test_bands_without_names_are_known_by_their_values(order):
    _, made, look = shown(raster(PAIR[order], tuple(f"band{k}" for k in range(1, 9))))
    wanted = [f"{1 + k // 4}:{COLOURS[k % 4]}" for k in order]
    assert list(made.bands) == wanted
    assert look.warnings


def test_the_right_image_is_left_alone():
    source = raster(PAIR.astype(np.uint16))
    made, look = understood(source, look_at(source), INPUTS)
    assert made is source
    assert not look.said
    assert not look.warnings + judged(look, INPUTS, chosen=False)


def test_exchanged_names_coarse_pixels_and_bytes_are_told():
    exchanged = raster(PAIR[[3, 1, 2, 0, 7, 5, 6, 4]])
    assert "exchanged" in " ".join(look_at(exchanged).warnings)
    coarse = look_at(raster(PAIR, metres=30.0))
    assert "6.0 times" in " ".join(judged(coarse, INPUTS, chosen=False))
    with pytest.raises(BadInput, match="--gsd 5"):
        judged(look_at(raster(PAIR, metres=100.0)), INPUTS, chosen=False)


def test_numbers_that_stand_for_nothing():
    values = PAIR.astype(np.int16)
    values[:, :, :9] = -9999
    _, made, _ = shown(raster(values))
    np.testing.assert_array_equal(made.read(whole(made.grid)).valid[:, :12].all(0)[8:10], [0, 1])
