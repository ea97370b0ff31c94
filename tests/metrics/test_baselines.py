import numpy as np
import pytest

from selion.errors import BadInput
from selion.metrics import (
    constant,
    excess_green,
    gradient_watershed,
    object_scores,
    overlap_table,
    regular_grid,
)


def mosaic(rng, size=192, step=48):
    truth = regular_grid((size, size), step)
    tone = rng.uniform(0, 1, (3, truth.max() + 1))
    return tone[:, truth] + rng.normal(0, 0.01, (3, size, size)), truth


def test_watershed_finds_a_clean_mosaic_and_is_repeatable():
    image, truth = mosaic(np.random.default_rng(1))
    prediction = gradient_watershed(image)
    scores = object_scores(overlap_table(truth, prediction), 0.7)
    assert scores.f1 > 0.8
    np.testing.assert_array_equal(prediction, gradient_watershed(image))
    assert np.unique(prediction[prediction > 0]).tolist() == list(
        range(1, int(prediction.max()) + 1)
    )


def test_watershed_takes_other_ranges_and_keeps_out_of_the_invalid():
    image, _ = mosaic(np.random.default_rng(1))
    valid = np.ones(image.shape[1:], bool)
    valid[:, 60:] = False
    prediction = gradient_watershed((image * 10000).astype(np.uint16), valid)
    assert not prediction[:, 60:].any()
    assert prediction[:, :60].any()


def test_watershed_of_nothing():
    assert gradient_watershed(np.full((2, 40, 40), 7)).max() == 1
    assert gradient_watershed(np.full((2, 40, 40), 7), np.zeros((40, 40), bool)).max() == 0


def test_grid_and_constant():
    grid = regular_grid((10, 7), 4)
    assert grid.max() == 6
    assert (grid[:4, :4] == 1).all()
    assert (constant((3, 3), 0) == 0).all()
    with pytest.raises(BadInput):
        regular_grid((4, 4), 0)


def test_excess_green_splits_plants_from_soil():
    image = np.zeros((3, 20, 20), np.uint8)
    image[:] = np.array([120, 90, 60])[:, None, None]
    image[:, 5:10, 5:10] = np.array([40, 160, 30])[:, None, None]
    crop = excess_green(image)
    assert crop[5:10, 5:10].all()
    assert crop.sum() == 25
    with pytest.raises(BadInput, match="red, green, blue"):
        excess_green(image[:2])
