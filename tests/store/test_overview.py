"""Overviews instead of the full image, and how long a server is waited for."""

import os

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from PIL import Image

from selion.grid import whole
from selion.store import RetryPolicy, create_cog, create_cube, open_raster
from selion.store.gdal import gdal_settings

# affine 3 through odc-geo
pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
GRID = GeoBox((512, 768), Affine(10, 0, 500000, 0, -10, 5000000), "EPSG:32633")
VALUES = np.random.default_rng(0).integers(1, 255, (3, 512, 768)).astype("uint8")


@pytest.fixture(scope="module")
def cog(tmp_path_factory):
    path = tmp_path_factory.mktemp("cog") / "a.tif"
    with create_cog(
        path, GRID, ("red", "green", "nir"), "uint8", nodata=0, block=128, tags={"what": "test"}
    ) as sink:
        sink.write(whole(GRID), VALUES)
    return path


@pytest.mark.parametrize(
    ("coarse", "step"), [(None, 1), (5, 1), (10, 1), (19, 1), (20, 2), (79, 4), (80, 8), (1e9, 8)]
)
def test_smallest_overview_that_is_fine_enough(cog, coarse, step):
    source = open_raster(cog, coarse=coarse)
    assert source.grid.shape == (512 // step, 768 // step)
    assert source.grid.transform == GRID.transform * Affine.scale(step)
    assert source.bands == ("red", "green", "nir")
    assert source.nodata == 0
    found = source.read(whole(source.grid)).values
    blocks = VALUES.reshape(3, 512 // step, step, 768 // step, step)
    # nearest: each pixel is one of those that it covers
    assert (blocks == found[:, :, None, :, None]).any((2, 4)).all()
    roi = slice(3, 21), slice(5, 66)
    assert np.array_equal(source.read(roi).values, found[:, *roi])


def test_rows_that_run_northwards(tmp_path):
    turned = Affine(10, 0, 500000, 0, 10, 5000000)
    with rasterio.open(
        tmp_path / "n.tif",
        "w",
        driver="GTiff",
        count=1,
        height=512,
        width=512,
        dtype="uint8",
        tiled=True,
        crs="EPSG:32633",
        transform=turned,
    ) as file:
        file.write(np.arange(512, dtype=np.uint16).repeat(512).reshape(1, 512, 512).astype("uint8"))
        file.build_overviews([2, 4])
    full, half = open_raster(tmp_path / "n.tif"), open_raster(tmp_path / "n.tif", coarse=20)
    assert half.grid.transform == full.grid.transform * Affine.scale(2)
    assert (
        np.abs(
            half.read(whole(half.grid)).values[0, :, 0].astype(int)
            - full.read(whole(full.grid)).values[0, ::2, 0]
        ).max()
        <= 1
    )


def test_without_overviews_the_full_image_is_read(tmp_path):
    with rasterio.open(
        tmp_path / "p.tif",
        "w",
        driver="GTiff",
        count=1,
        height=64,
        width=64,
        dtype="uint8",
        crs="EPSG:32633",
        transform=GRID.transform,
    ) as file:
        file.write(VALUES[:1, :64, :64])
    assert open_raster(tmp_path / "p.tif", coarse=1000).grid.shape == (64, 64)
    Image.fromarray(VALUES[0]).save(tmp_path / "p.png")
    assert open_raster(tmp_path / "p.png", coarse=1000).grid.shape == (512, 768)
    with create_cube(tmp_path / "c.zarr", GRID, ("red",), "uint8") as sink:
        sink.write(whole(GRID), VALUES[:1])
    assert open_raster(tmp_path / "c.zarr", coarse=1000).grid == GRID


def test_retries_reach_gdal(monkeypatch):
    for name in ("GDAL_HTTP_MAX_RETRY", "GDAL_HTTP_CONNECTTIMEOUT"):
        monkeypatch.delenv(name, raising=False)
    with gdal_settings(remote=True, retry=RetryPolicy(tries=2, backoff=0.1, connect=0.2, answer=7)):
        held = rasterio.env.getenv()
        assert (
            held["GDAL_HTTP_MAX_RETRY"],
            held["GDAL_HTTP_CONNECTTIMEOUT"],
            held["GDAL_HTTP_LOW_SPEED_TIME"],
        ) == ("1", "1", "7")
    with gdal_settings(remote=True):
        assert rasterio.env.getenv()["GDAL_HTTP_MAX_RETRY"] == "4"
    monkeypatch.setitem(os.environ, "GDAL_HTTP_MAX_RETRY", "9")
    with gdal_settings(remote=True):
        assert "GDAL_HTTP_MAX_RETRY" not in rasterio.env.getenv()  # the user's own word holds
