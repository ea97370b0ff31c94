"""Bands of several files side by side: their numbers stay what their files say they are."""

import numpy as np
import pytest
from affine import Affine

from data_folders import tif
from selion.data.polygons import open_picture
from selion.data.stacked import BandSubset, stack
from selion.grid import photo_grid, whole
from selion.prediction.declared_numbers import as_declared
from selion.raster import OFFSETS, SCALES, STATED, Raster
from selion.store import open_raster

GAIN, SHIFT = 2.75e-5, -0.2
"""Of Landsat's Collection 2."""


def landsat(path, reflectance):
    """Four bands as USGS writes them: reflectance = number * 2.75e-5 - 0.2."""
    import rasterio

    shape = (4, 16, 16)
    values = np.full(shape, round((reflectance - SHIFT) / GAIN), np.uint16)
    names = ("red", "green", "blue", "nir")
    tif(path, values, transform=Affine(30, 0, 5e5, 0, -30, 5.3e6), descriptions=names)
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets = (GAIN,) * 4, (SHIFT,) * 4
    return path


def test_two_dates_keep_the_scale_and_offset_of_their_files(tmp_path):
    """0.1 and 0.3 of reflectance are 1000 and 3000, as the files by themselves are read."""
    first, second = (landsat(tmp_path / f"{k}.tif", k / 10) for k in (1, 3))
    read = as_declared(open_picture((("window_a", first), ("window_b", second))))
    values = read.read(whole(read.grid)).values
    assert values[:, 3, 3] == pytest.approx([1000] * 4 + [3000] * 4, abs=0.2)
    alone = as_declared(open_raster(second))
    assert np.array_equal(values[4:], alone.read(whole(alone.grid)).values)


def told(names, **tags):
    return Raster(np.ones((len(names), 4, 4), np.uint16), photo_grid((4, 4)), names, None, tags)


def test_what_is_said_of_numbers_follows_the_bands():
    one = told(("r", "n"), **{SCALES: "0.5,0.25", OFFSETS: "1,2", STATED: "n", "else": "x"})
    other = told(("r", "n"))
    both = stack([one, other], ("a:r", "a:n", "b:r", "b:n"))
    said = {SCALES: "0.5,0.25,0.0001,0.0001", OFFSETS: "1,2,0,0", STATED: "a:n"}
    assert both.tags == said
    some = BandSubset(both, (3, 1), ("nir b", "nir a"))
    assert some.tags == {SCALES: "0.0001,0.25", OFFSETS: "0,2", STATED: "nir a"}
    assert stack([other], ("x", "y")).tags == {}
