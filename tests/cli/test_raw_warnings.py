"""What libraries tell programmers stands in no sentence for users."""

import warnings

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine

from command_line import run_here as selion
from selion import store
from selion.grid import whole
from train_toys import grid


@pytest.mark.parametrize("size", [1e300, 1e30, 3e38])
def test_numbers_that_no_float_can_square(tmp_path, size):
    values = np.random.default_rng(0).normal(size=(4, 64, 64)) * size
    place = Affine(10, 0, 5e5, 0, -10, 5.5e6)
    with rasterio.open(
        tmp_path / "big.tif", "w", driver="GTiff", width=64, height=64, count=4,
        dtype="float64", crs="EPSG:32633", transform=place,
    ) as file:  # fmt: skip
        file.write(values)
    for verb in (["look"], ["map", "-o", tmp_path / "m.gpkg"]):
        done = selion(verb[0], tmp_path / "big.tif", *verb[1:])
        assert done.returncode in (0, 2)
        assert "RuntimeWarning" not in done.stderr


def test_a_shape_without_a_point_covers_no_pixel():
    place = grid(16)
    west, south, east, north = place.boundingbox
    half = shapely.box(west, south, (west + east) / 2, north)
    with warnings.catch_warnings(action="error"):
        found = store.burn([shapely.Polygon(), half, shapely.MultiPolygon()], [1, 2, 3], place)
    assert found.shape == tuple(place.shape)
    assert (found[whole(place)][:, :8] == 2).all()
    assert not found[:, 8:].any()


def test_a_district_that_is_a_point_is_no_warning(tmp_path):
    """Its sample is drawn, or refused in a sentence."""
    fields = geopandas.GeoDataFrame(
        {"id": ["a"], "confidence": [0.7]}, geometry=[shapely.box(12, 50, 12.002, 50.002)], crs=4326
    )
    fields.to_file(tmp_path / "fields.gpkg")
    shapes = [shapely.Point(12, 50), shapely.box(11.99, 49.99, 12.01, 50.01)]
    units = geopandas.GeoDataFrame({"name": ["p", "q"]}, geometry=shapes, crs=4326)
    units.to_file(tmp_path / "units.gpkg")
    done = selion(
        "sample", "12,50,12.004,50.004", tmp_path / "fields.gpkg", "-o", tmp_path / "s",
        "--districts", tmp_path / "units.gpkg", "--count", "200", "--least-count", "2",
    )  # fmt: skip
    assert done.returncode in (0, 2)
    assert "ShapeSkipWarning" not in done.stderr
    assert "site-packages" not in done.stderr
