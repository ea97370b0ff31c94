"""Arrays in memory as rasters: where their axes, places, names and missing values come from."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
import xarray as xr
from affine import Affine

from selion import SelionError, as_raster, open_raster, to_dict
from selion.grid import whole
from selion.raster import OFFSETS, SCALES

PLACE = {"crs": "EPSG:32633", "transform": (10, 0, 3e5, 0, -10, 5.4e6)}
VALUES = np.arange(2 * 4 * 6, dtype=np.uint16).reshape(2, 4, 6)


def labelled(values=VALUES, *, names=("red", "nir"), crs=32633, **attrs):
    """As rioxarray writes it: centres of pixels, spatial_ref, long_name."""
    wkt = rasterio.CRS.from_epsg(crs).to_wkt()
    return xr.DataArray(
        values,
        dims=("band", "y", "x"),
        coords={
            "band": np.arange(1, len(values) + 1),
            "y": 5.4e6 - 10 * (np.arange(values.shape[1]) + 0.5),
            "x": 3e5 + 10 * (np.arange(values.shape[2]) + 0.5),
            "spatial_ref": ((), 0, {"crs_wkt": wkt}),
        },
        attrs={"long_name": tuple(names), **attrs},
    )


def same(one, other):
    assert one.bands == other.bands
    assert one.grid.crs == other.grid.crs
    assert tuple(one.grid.transform) == pytest.approx(tuple(other.grid.transform))
    np.testing.assert_array_equal(one.values, other.values)


def test_numpy_and_xarray_are_the_file_that_they_were_read_from(tmp_path):
    path = tmp_path / "a.tif"
    with rasterio.open(
        path, "w", "GTiff", 6, 4, 2, PLACE["crs"], Affine(*PLACE["transform"]), "uint16", nodata=5
    ) as file:
        file.write(VALUES)
        file.descriptions = ("red", "nir")
    source = open_raster(path)
    read = source.read(whole(source.grid))
    placed = as_raster(VALUES, bands=("red", "nir"), nodata=5, **PLACE)
    for raster in (placed, as_raster(labelled(_FillValue=5))):
        same(raster, read)
        np.testing.assert_array_equal(raster.valid, read.valid)
        assert not raster.valid[0, 5]


def test_scale_and_offset_of_an_array_are_those_of_its_file(tmp_path):
    """rioxarray says them as attributes; they were lost, so that the array's map was another than
    the file's.
    """
    path, scale = tmp_path / "a.tif", {"scale_factor": 1e-4, "add_offset": -0.1}
    with rasterio.open(
        path, "w", "GTiff", 6, 4, 2, PLACE["crs"], Affine(*PLACE["transform"]), "uint16"
    ) as file:
        file.write(VALUES)
        file.scales, file.offsets = (1e-4, 1e-4), (-0.1, -0.1)
    tags = {key: open_raster(path).tags[key] for key in (SCALES, OFFSETS)}
    assert tags == {SCALES: "0.0001,0.0001", OFFSETS: "-0.1,-0.1"}
    masked = np.where(VALUES == 5, np.nan, VALUES.astype(np.float32))
    for values in (VALUES, masked):
        assert as_raster(labelled(values, **scale)).tags == tags
    each = {"scales": (1e-4, 2e-4), "offsets": (0.0, -0.1)}
    assert as_raster(labelled(**each)).tags == {SCALES: "0.0001,0.0002", OFFSETS: "0,-0.1"}
    # what was scaled by hand may have kept its attributes
    assert not as_raster(labelled(VALUES * 1e-4 - 0.1, **scale)).tags
    assert not as_raster(labelled(scale_factor=1.0, add_offset=0.0)).tags


def test_axes_are_found_by_name_and_rows_run_southwards():
    array = labelled()
    turned = array.transpose("x", "band", "y").isel(y=slice(None, None, -1))
    same(as_raster(turned), as_raster(array))
    one = array.isel(band=0, drop=True)
    one.attrs["long_name"] = "red"
    assert as_raster(one).bands == ("red",)
    named = array.assign_coords(band=["a", "b"])
    named.attrs.clear()
    assert as_raster(named).bands == ("a", "b")
    with pytest.raises(SelionError, match="choose a date"):
        as_raster(array.expand_dims("time"))
    with pytest.raises(SelionError, match="not evenly spaced"):
        as_raster(array.assign_coords(x=[0, 1, 2, 3, 4, 9]))


def test_a_photograph_is_turned_and_what_cannot_be_told_is_refused():
    photo = np.zeros((70, 90, 3), np.uint8)
    assert as_raster(photo).values.shape == (3, 70, 90)
    assert as_raster(photo).bands == ("red", "green", "blue")
    assert as_raster(photo).grid.crs is None
    assert as_raster(np.zeros((70, 90))).values.shape == (1, 70, 90)
    holes = np.ones((1, 3, 3))
    holes[0, 1, 1] = np.nan
    assert as_raster(holes).valid.sum() == 8
    for wrong, said in (
        ((np.zeros((20, 5, 3)),), "numpy.moveaxis"),
        ((np.zeros(5),), "wanted is"),
        ((np.zeros((2, 2), complex),), "wanted are numbers"),
        ((VALUES, None, "EPSG:32633"), "no transform"),
        ((VALUES, None, "nonsense", PLACE["transform"]), "no CRS that PROJ knows"),
        ((VALUES, None, "EPSG:32633", (7, 7, 0, 7, -7, 0)), "rotated"),
        ((VALUES, ("red",)), "1 band names were given for 2 bands"),
        (("text.tif",), "wanted is a numpy array"),
    ):
        keys = ("image", "bands", "crs", "transform")
        with pytest.raises(SelionError, match=said):
            as_raster(**dict(zip(keys, wrong, strict=False)))


def test_there_and_back():
    first = as_raster(VALUES.astype("f4"), bands=("red", "nir"), nodata=7, **PLACE)
    array = xr.DataArray.from_dict(to_dict(first))
    assert np.isnan(array.values[:, ~first.valid]).all()
    back = as_raster(array)
    np.testing.assert_array_equal(back.valid, first.valid)
    assert (back.bands, back.grid) == (first.bands, first.grid)
    np.testing.assert_array_equal(back.values[:, first.valid], first.values[:, first.valid])
    assert float(array.x[0]) == 3e5 + 5
    assert float(array.y[-1]) == 5.4e6 - 35
