"""Bands that a model is not shown: what they lack is no hole of the map."""

from dataclasses import dataclass

import numpy as np
import pytest

from predict_toys import utm_grid
from selion import store
from selion.classes import FTW2
from selion.grid import whole
from selion.prediction import PredictOptions, predict
from selion.raster import Raster
from selion.segmenter import InputSpec

COLOURS = ("red", "green", "blue")


@dataclass
class Shares:
    """Answers pixel by pixel, by its first band."""

    inputs = InputSpec(COLOURS, window=64)
    classes = FTW2

    def __call__(self, views):
        red = np.stack([view.pixels[0] for view in views]) / 6000
        return np.stack([1 - red, red], 1).astype(np.float32)


def image(dtype, nothing, shape=(30, 40)):
    """Five bands: red lacks one square, what is not looked at lacks others."""
    values = np.random.default_rng(0).integers(500, 5000, (5, *shape)).astype(dtype)
    values[1, 2:6, 2:6] = nothing  # red
    values[0, 10:20, 10:20] = nothing  # swir, in a part
    values[4] = nothing  # a band that holds nothing at all
    return Raster(values, utm_grid(shape), ("swir16", "red", "green", "blue", "B10"))


def written(folder, raster, nodata):
    path = folder / "image.tif"
    with store.create_cog(path, raster.grid, raster.bands, raster.dtype, nodata=nodata) as sink:
        sink.write(whole(raster.grid), raster.values)
    return store.open_raster(path)


@pytest.mark.parametrize(("dtype", "nothing"), [("int16", -9999), ("float32", np.nan)])
@pytest.mark.parametrize("scale", [1.0, 2.0, 0.5])
@pytest.mark.parametrize("bands", [None, (2, 3, 4)])
def test_holes_of_bands_that_are_not_shown_are_none_of_the_map(
    tmp_path, dtype, nothing, scale, bands
):
    raster = image(dtype, nothing)
    three = Raster(raster.values[1:4], raster.grid, COLOURS)
    options = PredictOptions(scale=scale, bands=bands)
    found = predict(written(tmp_path, raster, nothing), Shares(), options=options)
    (tmp_path / "image.tif").unlink()
    alone = predict(
        written(tmp_path, three, nothing), Shares(), options=PredictOptions(scale=scale)
    )
    assert 0 < (~alone.valid).sum() <= 16 * max(scale, 1) ** 2
    np.testing.assert_array_equal(found.valid, alone.valid)
    np.testing.assert_array_equal(found.values, alone.values)


def test_what_a_mask_hides_stays_hidden():
    raster = image("int16", 700)
    seen = np.broadcast_to(np.arange(40) < 30, (30, 40))
    masked = Raster(raster.values, raster.grid, raster.bands, seen)
    found = predict(masked, Shares(), options=PredictOptions(scale=1.0))
    np.testing.assert_array_equal(found.valid, masked.valid)
