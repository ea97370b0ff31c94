"""Products as agencies deliver them: reflectances by arithmetic on what was written by hand."""

from __future__ import annotations

import pickle
import zipfile

import numpy as np
import pytest
import rasterio

from product_toys import in_tar, packed, write_landsat, write_planet, write_raster, write_safe
from selion.errors import UnreadableFile
from selion.grid import whole
from selion.store import fingerprint, known_image, open_raster

NUMBERS = np.arange(4 * 40 * 50, dtype=np.uint16).reshape(4, 40, 50) + 1200
SCL = np.full((20, 25), 4)
SCL[3, 5] = 9


def values_of(source):
    return source.read(whole(source.grid))


@pytest.fixture(scope="module")
def safe(tmp_path_factory):
    return write_safe(tmp_path_factory.mktemp("safe"), NUMBERS, scl=SCL)


def test_a_safe_folder_and_its_zip_are_reflectances(safe):
    for path in (safe, safe / "MTD_MSIL2A.xml", safe.parent, packed(safe)):
        source = open_raster(path)
        assert source.bands == ("red", "green", "blue", "nir")
        part = values_of(pickle.loads(pickle.dumps(source)))
        np.testing.assert_array_equal(part.values, NUMBERS.astype(np.float32) - 1000)
        wanted = np.ones((40, 50), bool)
        wanted[6:8, 10:12] = False  # the cloud, of 20 m
        np.testing.assert_array_equal(part.valid, wanted)
        some = source.read((slice(5, 9), slice(7, 14)))
        np.testing.assert_array_equal(some.valid, wanted[5:9, 7:14])
        assert source.tags["datetime"].startswith("2023-08-03")
        assert "baseline 05.09" in source.tags["recognised"]
        assert "32TQT" in source.tags["recognised"]


def test_each_band_has_its_own_offset_and_old_ones_have_none(tmp_path):
    offsets = [-1000, -900, -800, -700, 0, 0, 0, -600, 0, 0, 0, 0, 0]  # of B01, B02, B03 ...
    source = open_raster(write_safe(tmp_path, NUMBERS, offsets=offsets, quantification=5000))
    wanted = (NUMBERS - np.array([700, 800, 900, 600])[:, None, None]) / 5000 * 10_000
    np.testing.assert_allclose(values_of(source).values, wanted)
    old = open_raster(write_safe(tmp_path / "old", NUMBERS, baseline="02.05", offsets=()))
    assert old.dtype == np.uint16
    np.testing.assert_array_equal(values_of(old).values, NUMBERS)


def test_l1c_is_read_and_told(tmp_path):
    source = open_raster(write_safe(tmp_path, NUMBERS, level="1C"))
    np.testing.assert_array_equal(values_of(source).values, NUMBERS.astype(np.float32) - 1000)
    assert "top of the atmosphere" in source.tags["doubt"]


def test_numbers_of_0_are_nothing_and_fingerprints_tell_products_apart(safe, tmp_path):
    empty = NUMBERS.copy()
    empty[:, :4] = 0
    source = open_raster(write_safe(tmp_path, empty))
    assert not values_of(source).valid[:4].any()
    assert fingerprint(safe) != fingerprint(tmp_path)


def test_a_map_may_be_written_into_the_folder_of_its_product(tmp_path):
    """It counted as a change of the product, and the map was thrown away after the run."""
    products = [write_safe(tmp_path / "safe", NUMBERS, scl=SCL), write_landsat(tmp_path, NUMBERS)]
    for product in products:
        before = known_image(product)[2]
        (product / "fields.parquet").write_bytes(b"a map")
        (product / "notes.txt").write_text("mine")
        assert known_image(product)[2] == before
        for band in ("*B04*.jp2", "*SR_B4*", "*MTD*.xml", "*MTL*", "*SCL*"):
            for file in list(product.rglob(band))[:1]:
                told = known_image(product)[2]
                file.touch()
                assert known_image(product)[2] != told, band


def test_broken_products_are_refused(safe, tmp_path):
    two = tmp_path / "two"
    write_safe(two, NUMBERS)
    write_safe(two, NUMBERS, "2023-04-20")
    with pytest.raises(UnreadableFile, match=r"2 products .*as two dates"):
        open_raster(two)
    lacking = write_safe(tmp_path / "lacking", NUMBERS)
    next(lacking.rglob("*B08*")).unlink()
    with pytest.raises(UnreadableFile, match="lacks the images of B08"):
        open_raster(lacking)
    mute = write_safe(tmp_path / "mute", NUMBERS)
    text = (mute / "MTD_MSIL2A.xml").read_text()
    (mute / "MTD_MSIL2A.xml").write_text(text.replace("QUANTIFICATION", "X"))
    with pytest.raises(UnreadableFile, match="does not say how its numbers"):
        open_raster(mute)
    (mute / "MTD_MSIL2A.xml").write_text("<!DOCTYPE x [<!ENTITY a 'b'>]>" + text)
    with pytest.raises(UnreadableFile, match="entities"):
        open_raster(mute)


def test_archives_that_lead_out_grow_or_hold_something_else_are_refused(safe, tmp_path):
    for name, content, said in (
        ("../S.SAFE/MTD_MSIL2A.xml", b"<a/>", "leads out"),
        ("S.SAFE/MTD_MSIL2A.xml", b"0" * 40_000_000, "become 40,000,000"),
        ("notes.txt", b"hello", "no product that is known"),
    ):
        path = tmp_path / "bad.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr(name, content)
        with pytest.raises(UnreadableFile, match=said):
            open_raster(path)
    path.write_bytes(b"PK\3\4 and no more")
    with pytest.raises(UnreadableFile, match="archive"):
        open_raster(path)
    (tmp_path / "x.tar.gz").write_bytes(b"\x1f\x8b")
    with pytest.raises(UnreadableFile, match="unpack it"):
        open_raster(tmp_path / "x.tar.gz")


@pytest.mark.parametrize(("number", "form"), [(8, "txt"), (9, "json"), (5, "xml"), (7, "")])
def test_a_landsat_scene_is_reflectances(number, form, tmp_path):
    qa = np.full((40, 50), 0b1000000)
    qa[2, 3] |= 0b1000  # a cloud
    root = write_landsat(tmp_path, NUMBERS + 7000, form=form, number=number, qa=qa)
    wanted = ((NUMBERS + 7000.0) * 0.0000275 - 0.2) * 10_000
    given = [root, in_tar(root)] + [root / f"{root.name}_MTL.{form}"] * bool(form)
    for path in given:
        source = open_raster(path)
        part = values_of(source)
        np.testing.assert_allclose(part.values, wanted, atol=0.01)
        assert source.bands == ("red", "green", "blue", "nir")
        assert (~part.valid).nonzero() == ([2], [3])
        assert source.tags["datetime"][:10] == "2023-08-03"
        assert f"Landsat {number}" in source.tags["recognised"]


def test_landsat_scenes_that_are_two_of_level_1_or_incomplete_are_refused(tmp_path):
    root = write_landsat(tmp_path / "a", NUMBERS)
    write_landsat(tmp_path / "a", NUMBERS, "2023-04-20")
    with pytest.raises(UnreadableFile, match="_MTL"):
        open_raster(tmp_path / "a")
    (root / f"{root.name}_SR_B5.TIF").unlink()
    with pytest.raises(UnreadableFile, match="lacks SR_B5"):
        open_raster(root)
    first = tmp_path / "level" / "LC08_L1TP_192027_20230803_20230915_02_T1_B4.TIF"
    first.parent.mkdir()
    first.write_bytes(b"II*")
    with pytest.raises(UnreadableFile, match="level 1"):
        open_raster(first.parent)
    other = write_landsat(tmp_path / "b", NUMBERS)
    text = other / f"{other.name}_MTL.txt"
    text.write_text(text.read_text().replace("2.75e-05", "two"))
    with pytest.raises(UnreadableFile, match="no number"):
        open_raster(other)


EIGHT = np.arange(8 * 30 * 20, dtype=np.uint16).reshape(8, 30, 20) + 1


def test_planetscope_names_say_the_bands(tmp_path):
    clear = np.ones((30, 20))
    clear[4, 5] = 0
    source = open_raster(write_planet(tmp_path, EIGHT, udm2=clear))
    assert source.bands[1] == "blue"
    assert source.bands[5:] == ("red", "rededge", "nir")
    part = values_of(source)
    np.testing.assert_array_equal(part.values, EIGHT)
    assert (~part.valid).nonzero() == ([4], [5])
    assert source.tags["datetime"] == "2023-07-20T10:15:30+00:00"
    four = open_raster(write_planet(tmp_path, EIGHT[:4], "AnalyticMS_SR_harmonized_clip"))
    assert four.bands == ("blue", "green", "red", "nir")
    assert not four.tags["doubt"]


def test_planetscope_radiances_want_their_metadata(tmp_path):
    factors = (2.1e-05, 2.2e-05, 2.4e-05, 3.6e-05)
    path = write_planet(tmp_path, EIGHT[:4], "AnalyticMS", factors)
    source = open_raster(path)
    wanted = EIGHT[:4] * np.array(factors)[:, None, None] * 10_000
    np.testing.assert_allclose(values_of(source).values, wanted, rtol=1e-5)
    assert "not corrected for the atmosphere" in source.tags["doubt"]
    (tmp_path / "20230720_101530_12_2461_3B_AnalyticMS_metadata.xml").unlink()
    assert "put it there" in open_raster(path).tags["doubt"]


def test_wavelengths_in_the_bands_metadata_are_known(tmp_path):
    four = EIGHT[:4]
    path = write_raster(tmp_path / "gdal.tif", four, "GTiff")
    with rasterio.open(path, "r+") as file:
        for k, length in enumerate((0.842, 0.665, 0.56), 1):
            file.update_tags(k, ns="IMAGERY", CENTRAL_WAVELENGTH_UM=length)
    assert open_raster(path).tags["wavelengths"] == "842,665,560,"
    write_raster(tmp_path / "envi.img", four, "ENVI")
    header = tmp_path / "envi.hdr"
    told = "wavelength units = Nanometers\nwavelength = {490, 560, 665, 842}\n"
    header.write_text(f"{header.read_text()}\n{told}")
    (tmp_path / "envi.img.aux.xml").unlink(missing_ok=True)
    assert open_raster(tmp_path / "envi.img").tags["wavelengths"] == "490,560,665,842"
