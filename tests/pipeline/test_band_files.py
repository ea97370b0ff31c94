"""Files as people bring them: a file for each band, a palette, an alpha without its name."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp

from selion import store
from selion.errors import UnreadableFile
from selion.grid import whole
from selion.pipeline.opening import open_dates

RNG = np.random.default_rng(2)
PLACE = {"crs": "EPSG:32633", "transform": Affine(10, 0, 5e5, 0, -10, 5e6)}
VALUES = RNG.integers(200, 4000, (8, 48, 64)).astype(np.uint16)


def write(path, values, **more):
    profile = {"driver": "GTiff", "count": len(values), "height": 48, "width": 64, **PLACE, **more}
    with rasterio.open(path, "w", dtype=values.dtype, **profile) as file:
        file.write(values)
    return path


@pytest.mark.parametrize(
    ("form", "codes"),
    [
        ("T33UVP_{day}T100559_{code}_10m.tif", ("B02", "B03", "B04", "B08")),
        (
            "2023-{month}-20-00:00_2023-{month}-20-23:59_S2_L2A_{code}_(Raw).tif",
            ("B02", "B03", "B04", "B08"),
        ),
        ("LC09_L2SP_190026_{day}_02_T1_{code}.TIF", ("SR_B2", "SR_B3", "SR_B4", "SR_B5")),
        ("{day}.{code}.tif", ("blue", "green", "red", "nir")),
    ],
)
def test_a_file_for_each_band_of_two_dates(tmp_path, form, codes):
    paths = [
        write(
            tmp_path / form.format(day=f"2023{month}20", month=month, code=code),
            VALUES[4 * k + b][None],
        )
        for k, month in ((1, "08"), (0, "04"))
        for b, code in enumerate(codes)
    ]
    opened = open_dates(paths)
    colours = ("blue", "green", "red", "nir")
    assert opened.source.bands == tuple(
        f"{date}:{colour}" for date in ("window_a", "window_b") for colour in colours
    )
    np.testing.assert_array_equal(opened.source.read(whole(opened.source.grid)).values, VALUES)
    assert "8 files are the bands of 2 dates (2023-04-20, 2023-08-20)" in opened.said[0]
    one = open_dates(paths[4:])
    assert one.source.bands == colours
    assert one.fingerprint != opened.fingerprint


def test_files_that_do_not_say_their_band_stay_dates(tmp_path):
    opened = open_dates([write(tmp_path / f"{name}.tif", VALUES[:1]) for name in "xy"])
    assert "2 files are 2 dates" in opened.said[0]


def test_days_far_or_near_are_said(tmp_path):
    def doubts(*days):
        paths = [
            write(tmp_path / f"{day}.tif", VALUES[4 * k : 4 * k + 4]) for k, day in enumerate(days)
        ]
        return " ".join(open_dates(paths).doubts)

    assert "3 days apart" in doubts("20230420", "20230423")
    assert "1200 days apart" in doubts("20200420", "20230803")
    assert "days apart" not in doubts("20230420", "20230803")


def test_a_palette_becomes_its_colours(tmp_path):
    path = write(
        tmp_path / "p.tif", RNG.integers(0, 3, (1, 48, 64)).astype(np.uint8), photometric="palette"
    )
    with rasterio.open(path, "r+") as file:
        file.write_colormap(1, {0: (9, 8, 7, 255), 1: (50, 60, 70, 255), 2: (1, 200, 3, 255)})
        numbers = file.read(1)
    opened = open_dates([path])
    seen = opened.source.read((slice(3, 20), slice(5, 9))).values
    table = np.array([[9, 8, 7], [50, 60, 70], [1, 200, 3]], np.uint8)
    np.testing.assert_array_equal(np.moveaxis(seen, 0, 2), table[numbers[3:20, 5:9]])
    assert opened.source.bands == ("red", "green", "blue")
    assert "stand for colours" in " ".join(opened.look.said)


@pytest.mark.parametrize(
    ("fourth", "bands"), [([0, 255], 3), ([255], 3), ([0, 90, 255], 4), ([0], 4)]
)
def test_an_alpha_that_is_not_called_so(tmp_path, fourth, bands):
    values = RNG.integers(0, 255, (4, 48, 64)).astype(np.uint8)
    values[3] = RNG.choice(fourth, (48, 64))
    path = write(tmp_path / "a.tif", values)
    with rasterio.open(path, "r+") as file:
        file.colorinterp = (ColorInterp.gray, *(ColorInterp.undefined,) * 3)
    source = store.open_raster(path)
    assert len(source.bands) == bands
    part = source.read(whole(source.grid))
    hidden = values[3] == 0 if bands == 3 else np.zeros((48, 64), bool)
    np.testing.assert_array_equal(
        part.valid if part.valid is not None else np.ones_like(hidden), ~hidden
    )


def test_the_header_of_an_image_is_not_the_image(tmp_path):
    write(tmp_path / "pair.img", VALUES, driver="ENVI")
    with pytest.raises(UnreadableFile, match=r"header of an ENVI image: give the image itself"):
        store.open_raster(tmp_path / "pair.hdr")
