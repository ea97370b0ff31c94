"""Products and files of several dates: opened as one image, first date first."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine

from product_toys import PLACE, write_landsat, write_raster, write_safe
from selion.errors import GridMismatch
from selion.grid import whole
from selion.pipeline.opening import open_dates

RNG = np.random.default_rng(5)
FIRST, LAST = (RNG.integers(1100, 5000, (4, 48, 64)).astype(np.uint16) for _ in range(2))


def moved(rows, columns):
    return PLACE["transform"] * Affine.translation(columns, rows)


def test_products_are_dates_in_the_order_of_their_days(tmp_path):
    spring = write_safe(tmp_path, FIRST, "2023-04-20")
    summer = write_safe(tmp_path, LAST, "2023-08-03")
    opened = open_dates([summer, spring])
    values = opened.source.read(whole(opened.source.grid)).values
    np.testing.assert_array_equal(values, np.concatenate([FIRST, LAST]).astype(np.float32) - 1000)
    assert opened.source.bands[:4] == tuple(
        f"window_a:{colour}" for colour in ("red", "green", "blue", "nir")
    )
    assert opened.source.tags["datetime"].startswith("2023-08-03")  # of the last image
    assert "2 dates" in opened.said[0]
    assert "baseline 05.09" in opened.said[1]
    before = opened.fingerprint
    text = summer / "MTD_MSIL2A.xml"
    text.write_text(text.read_text().replace(">-1000<", ">-900<"))
    again = open_dates([summer, spring])
    assert again.fingerprint != before  # other numbers, another key of kept work
    assert again.source.read(whole(again.source.grid)).values[4, 0, 0] == LAST[0, 0, 0] - 900.0


def test_what_a_product_says_of_its_numbers_is_not_concluded_again_from_a_haze(tmp_path):
    """Its metadata took 1000 away; haze over a crop looks as if it had yet to be done."""
    kinds = np.array([[1200, 1300, 1500, 5000], [2600, 2200, 2000, 3300]])  # crop and soil
    hazy = kinds.T[:, RNG.integers(0, 2, (48, 64))] + RNG.integers(-40, 40, (4, 48, 64))
    product = write_safe(tmp_path, hazy + 1000, "2023-08-03")
    look = open_dates([product]).look
    assert [(kind.gain, kind.shift) for kind in look.kinds] == [(1, 0)]
    assert "haze" in look.kinds[0].doubt
    bare = write_raster(tmp_path / "a_2023-04-20.tif", (hazy + 2).astype(np.uint16), "GTiff")
    look = open_dates([bare, product]).look
    assert [kind.shift for kind in look.kinds] == [-1000, 0]  # of a file nobody says anything
    night = open_dates([write_landsat(tmp_path, np.full((4, 48, 64), 7600) + RNG.integers(0, 90))])
    assert [(kind.gain, kind.shift) for kind in night.look.kinds] == [(1, 0)]


def test_clouds_that_are_left_out_are_a_warning(tmp_path):
    scl = np.full((24, 32), 4)
    scl[:12] = 9
    opened = open_dates([write_safe(tmp_path, FIRST, scl=scl)])
    assert "About 50% of the Sentinel-2 L2A of 2023-08-03" in " ".join(opened.look.warnings)


def test_clouds_of_one_product_hide_the_ground_on_its_own_date_alone(tmp_path):
    """A model of any number of dates is told by numbers what a date lacks; all dates lacked it."""
    scl = np.full((24, 32), 4)
    scl[:12] = 9
    cloudy = write_safe(tmp_path, FIRST, "2023-04-20", scl=scl)
    clear = write_raster(tmp_path / "b_2023-08-03.tif", LAST, "GTiff")
    source = open_dates([cloudy, clear]).source
    assert source.nodatas == (0.0,) * 4 + (None,) * 4
    found = source.read(whole(source.grid))
    assert (found.values[:4, :24] == 0).all()
    np.testing.assert_array_equal(found.values[:4, 24:], FIRST[:, 24:].astype(np.float32) - 1000)
    np.testing.assert_array_equal(found.values[4:], LAST.astype(np.float32))
    np.testing.assert_array_equal(found.valid, np.arange(48)[:, None] >= np.full((1, 64), 24))


def test_images_that_begin_some_pixels_apart_are_cut_to_what_they_share(tmp_path):
    first = write_raster(tmp_path / "a_2023-04-20.tif", FIRST, "GTiff")
    last = write_raster(tmp_path / "b_2023-08-03.tif", LAST, "GTiff", transform=moved(-8, 5))
    opened = open_dates([first, last])
    values = opened.source.read(whole(opened.source.grid)).values
    np.testing.assert_array_equal(values[:4], FIRST[:, :40, 5:])
    np.testing.assert_array_equal(values[4:], LAST[:, 8:, :59])
    assert opened.source.grid.transform == moved(0, 5)
    assert "59 x 40 pixels of all" in " ".join(opened.said)
    for shift, said in ((moved(0, 100), "no place in common"), (moved(0, 0.5), "gdalwarp")):
        other = write_raster(tmp_path / "c.tif", LAST, "GTiff", transform=shift)
        with pytest.raises(GridMismatch, match=said):
            open_dates([first, other])


def test_a_date_without_a_crs_is_told_how_to_get_one(tmp_path):
    first = write_raster(tmp_path / "a.tif", FIRST, "GTiff")
    bare = write_raster(tmp_path / "b.tif", LAST, "GTiff", crs=None)
    with pytest.raises(GridMismatch, match="gdal_translate -a_srs EPSG:32632"):
        open_dates([first, bare])


@pytest.mark.parametrize("name", ["tile_2048_{}_34", "2023_{}_00", "plots_2020{}31"])
def test_numbers_in_names_that_are_no_days_are_none(tmp_path, name):
    paths = [
        write_raster(tmp_path / f"{name.format(part)}.tif", values, "GTiff")
        for part, values in (("06", FIRST), ("09", LAST))
    ]
    opened = open_dates(paths)
    assert "when they were taken" in " ".join(opened.doubts)


@pytest.mark.parametrize("name", ["2023_{}_20", "2023.{}.20", "2023-{}-20", "2023{}20T100559"])
def test_days_in_names_are_read_however_they_are_parted(tmp_path, name):
    last, first = (
        write_raster(tmp_path / f"s2_{name.format(month)}.tif", values, "GTiff")
        for month, values in (("08", LAST), ("04", FIRST))
    )
    opened = open_dates([last, first])
    assert "2023-04-20" in opened.said[0].split("2023-08-20")[0]
    assert "when they were taken" not in " ".join(opened.doubts)
