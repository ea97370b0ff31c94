"""Products as agencies deliver them: reflectances by arithmetic on what was written by hand."""

from __future__ import annotations

import pickle
import zipfile

import numpy as np
import pytest

from product_toys import packed, write_safe
from selion.errors import UnreadableFile
from selion.grid import whole
from selion.store import fingerprint, open_raster

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
