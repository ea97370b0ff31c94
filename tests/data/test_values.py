"""Masks of odd kinds: read as they are, or refused in a sentence, in bounded memory."""

import tracemalloc

import numpy as np
import pytest
import rasterio
from PIL import Image

from selion.classes import CROP
from selion.data.files import object_ids
from selion.data.photos import read_photo
from selion.data.values import ROWS, read_mask, to_classes
from selion.errors import BadInput, BandMismatch, SelionError, UnreadableFile
from selion.grid import whole
from selion.store import open_raster
from selion.store.painted import painted

PLAIN = (np.indices((ROWS + 40, 30)).sum(0) % 2).astype(np.uint8)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.99])
@pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA"])
def test_a_png_that_was_cut_off_is_refused(mode, share, tmp_path):
    """GDAL's way for whole images left what had been in memory, and said nothing."""
    noise = np.random.default_rng(0).integers(0, 2, (300, 300)).astype(np.uint8)
    path = tmp_path / "a.png"
    image = Image.fromarray(noise, "P") if mode == "P" else Image.fromarray(noise).convert(mode)
    if mode == "P":
        image.putpalette([255, 0, 0, 0, 255, 0])
    image.save(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(UnreadableFile, match="cannot be"):
        read_mask(path)


@pytest.mark.parametrize("bands", [2, 5, 1300])
def test_bands_that_are_neither_ids_nor_colours_are_refused(bands, tmp_path):
    values = np.random.default_rng(0).integers(0, 2, (bands, 20, 30)).astype(np.uint8)
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(BadInput, match=rf"a\.npy has {bands} bands"):
        read_mask(tmp_path / "a.npy")
    if bands < 9:
        with rasterio.open(
            tmp_path / "a.tif", "w", driver="GTiff", height=20, width=30, count=bands, dtype="uint8"
        ) as file:
            file.write(values)
        with pytest.raises(BadInput, match=rf"a\.tif has {bands} bands"):
            read_mask(tmp_path / "a.tif")


@pytest.mark.parametrize(
    "values",
    [
        np.uint8(1),
        np.zeros(5, np.uint8),
        np.zeros((1, 1, 5, 5), np.uint8),
        np.zeros((0, 5, 5), np.uint8),
        PLAIN.astype(str),
        PLAIN.astype(complex),
        PLAIN.astype("datetime64[s]"),
        np.zeros((4, 4), [("a", "u1")]),
        np.stack([PLAIN, PLAIN * np.uint16(300), PLAIN]),
        np.stack([PLAIN, PLAIN * np.nan, PLAIN]),
    ],
    ids=lambda values: f"{values.dtype}-{values.shape}",
)
def test_arrays_that_are_no_mask_are_refused(values, tmp_path):
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(SelionError):
        read_mask(tmp_path / "a.npy")


def test_several_arrays_called_one_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", PLAIN, PLAIN)
    (tmp_path / "a.npz").rename(tmp_path / "a.npy")
    with pytest.raises(BadInput, match="cannot be read as an array"):
        read_mask(tmp_path / "a.npy")


def test_an_array_that_is_too_large_is_not_read(tmp_path):
    array = np.lib.format.open_memmap(tmp_path / "a.npy", "w+", np.uint8, (30_000, 30_000))
    del array  # a file with a hole, of 900 MB
    tracemalloc.start()
    try:
        with pytest.raises(UnreadableFile, match="900 megapixels"):
            read_mask(tmp_path / "a.npy")
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("strange", "dtype"),
    [
        (-3, np.int8),
        (2**31 - 1, np.int32),
        (2**32 - 1, np.uint32),
        (-(2**62), np.int64),
        (2**63 + 1, np.uint64),
        (1e30, np.float64),
        (-1e18, np.float32),
    ],
)
def test_one_value_far_away_takes_no_memory(strange, dtype):
    mask = PLAIN.astype(dtype)[None]
    mask[0, ROWS + 3, 5] = strange
    tracemalloc.start()
    try:
        with pytest.raises(BadInput, match=r"a\.png holds the value"):
            to_classes(mask, {}, CROP, "a.png")
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()


def test_a_range_of_all_numbers_is_one():
    mask = np.array([[[0, 1, 4_000_000_000, 7]]], np.uint32)
    ids = to_classes(mask, {"0": "soil", "1-4294967295": "crop"}, CROP, "a.tif")
    assert ids.tolist() == [[0, 1, 1, 1]]
    later = {"0-9": "crop", "7": "unknown", "10-4294967295": "soil"}  # the last word counts
    assert to_classes(mask, later, CROP, "a.tif").tolist() == [[1, 1, 0, 255]]


def test_values_of_all_pieces_are_said_in_order():
    mask = PLAIN.astype(np.uint16)[None]
    mask[0, ROWS + 1, :4] = (2, 9, 4, 3)
    mask[0, 1, :4] = (500, 9, 600, 700)
    with pytest.raises(BadInput, match=r"the values 2, 3, 4, 9, 500, 600 \.\.\., known"):
        to_classes(mask, {}, CROP, "a.png")


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.uint16, np.float16, np.float64])
def test_classes_are_those_of_each_pixel(dtype, tmp_path):
    np.save(tmp_path / "a.npy", PLAIN.astype(dtype))
    mask = read_mask(tmp_path / "a.npy")
    assert np.array_equal(to_classes(mask, {}, CROP, "a.npy"), PLAIN)
    assert np.array_equal(object_ids(mask, "a.npy"), PLAIN)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_negative_is_no_mask_and_a_photograph_as_other_readers_see_it(bits, tmp_path):
    """Of a mask whose 0 is white (fax, scanners) white soil was crop; Pillow turns it."""
    drawn = np.array([[0, 255, 255], [0, 0, 255]], np.uint8)
    path = tmp_path / "mask.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=3, height=2, count=1, dtype="uint8", nbits=bits,
        photometric="MINISWHITE",
    ) as file:  # fmt: skip
        file.write(np.uint8(drawn == 0) * np.uint8(2**bits - 1), 1)
    with pytest.raises(BadInput, match="is a negative"):
        read_mask(path)
    with Image.open(path) as seen:
        np.testing.assert_array_equal(np.asarray(seen.convert("L")), drawn)
    assert (read_photo(path, gray=True).image.values == drawn).all()
    with pytest.raises(BandMismatch, match="is gray"):
        read_photo(path)


@pytest.mark.parametrize("bits", [12, 16])
def test_a_negative_of_sixteen_bits_is_turned_as_one_of_eight_is(bits, tmp_path):
    """TIFF 6.0, WhiteIsZero: 0 is imaged as white.  The photograph came as its negative."""
    drawn = np.array([[0, 2**bits - 1, 2**bits - 1], [0, 2 ** (bits - 1), 16]], np.uint16)
    path = tmp_path / "scan.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=3, height=2, count=1, dtype="uint16", nbits=bits,
        photometric="MINISWHITE",
    ) as file:  # fmt: skip
        file.write(np.uint16(2**bits - 1) - drawn, 1)
    turned = painted(open_raster(path))
    assert (turned.read(whole(turned.grid)).values == drawn).all()
    assert turned.dtype == np.uint16
    values = read_photo(path, gray=True).image.values[0]
    assert values[0].tolist() == [0, 255, 255]
    with pytest.raises(BadInput, match="is a negative"):
        read_mask(path)


def test_a_negative_that_a_scanner_says_how_to_turn_is_gray_too(tmp_path):
    """A TIFF with an orientation is read as a photograph, and came as one of three colours."""
    drawn = np.array([[0, 200, 255], [10, 0, 90]], np.uint8)
    path = tmp_path / "scan.tif"
    Image.fromarray(drawn).save(path, tiffinfo={262: 0, 274: 3})  # min-is-white, upside down
    assert (read_photo(path, gray=True).image.values == drawn[::-1, ::-1]).all()
    with pytest.raises(BandMismatch, match="is gray"):
        read_photo(path)
