"""Photographs: turned, in plain bands, without a place."""

import io
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from PIL import Image, ImageOps

from selion.errors import UnreadableFile
from selion.grid import photo_grid, tiles, whole
from selion.store import GeoTiffSource, PhotoSource, open_raster

# affine 3 through odc-geo
pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")


def picture(height=40, width=56):
    """Smooth, so that JPEG keeps it, and different in each corner."""
    yy, xx = np.mgrid[:height, :width]
    return np.stack([yy * 4, xx * 4, (yy + xx) * 2], axis=-1).astype("uint8")


def all_of(path):
    source = open_raster(path)
    return source, source.read(whole(source.grid))


def with_orientation(number):
    exif = Image.Exif()
    exif[274] = number
    exif[271] = "Maker"
    return exif


@pytest.mark.parametrize("kind", ["png", "jpg", "tif"])
@pytest.mark.parametrize("number", range(1, 9))
def test_orientation(tmp_path, number, kind):
    path = tmp_path / f"a.{kind}"
    Image.fromarray(picture()).save(path, exif=with_orientation(number))
    source, raster = all_of(path)
    with Image.open(path) as image:
        wanted = np.asarray(ImageOps.exif_transpose(image))
    assert source.grid == photo_grid(wanted.shape[:2])
    assert np.array_equal(raster.values, wanted.transpose(2, 0, 1))
    assert raster.bands == ("red", "green", "blue")
    assert number == 1 or source.tags.get("Make", "Maker") == "Maker"
    part = source.read((slice(3, 20), slice(5, 31)))
    assert np.array_equal(part.values, raster.values[:, 3:20, 5:31])


def test_orientation_turns_as_eyes_do(tmp_path):
    """A camera held upright: the sky, stored at the left, belongs to the top (orientation 6 stores
    the top at the right).
    """
    seen = np.zeros((30, 20, 3), "uint8")
    seen[:5] = 250
    stored = np.rot90(seen, 1)
    Image.fromarray(stored).save(tmp_path / "a.png", exif=with_orientation(6))
    assert np.array_equal(all_of(tmp_path / "a.png")[1].values, seen.transpose(2, 0, 1))


@pytest.mark.parametrize("value", [0, 9, 77])
def test_orientation_that_means_nothing(tmp_path, value):
    Image.fromarray(picture()).save(tmp_path / "a.png", exif=with_orientation(value))
    assert np.array_equal(all_of(tmp_path / "a.png")[1].values, picture().transpose(2, 0, 1))


def test_gray_alpha_palette_and_bits(tmp_path):
    colours = picture()
    Image.fromarray(colours[..., 0]).save(tmp_path / "gray.png")
    source, raster = all_of(tmp_path / "gray.png")
    assert (raster.bands, source.dtype) == (("gray",), np.uint8)
    assert np.array_equal(raster.values[0], colours[..., 0])

    alpha = np.full(colours.shape[:2], 255, "uint8")
    alpha[4:6, 7] = 0
    Image.fromarray(np.dstack([colours, alpha])).save(tmp_path / "alpha.png")
    raster = all_of(tmp_path / "alpha.png")[1]
    assert raster.values.shape[0] == 3
    assert np.array_equal(raster.valid, alpha > 0)

    small = np.zeros((8, 8, 3), "uint8")
    small[2:4], small[5] = (10, 200, 30), (255, 0, 0)
    Image.fromarray(small).quantize(4).save(tmp_path / "palette.png")
    assert np.array_equal(all_of(tmp_path / "palette.png")[1].values, small.transpose(2, 0, 1))

    Image.fromarray(small[..., 0] > 0).save(tmp_path / "bits.png")
    assert np.array_equal(
        all_of(tmp_path / "bits.png")[1].values[0], (small[..., 0] > 0) * np.uint8(255)
    )


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("count", [1, 3, 4])
def test_sixteen_bits_are_kept(tmp_path, count):
    values = np.random.default_rng(0).integers(0, 65536, (count, 20, 30)).astype("uint16")
    values[3:] = 65535
    with rasterio.open(
        tmp_path / "a.png", "w", driver="PNG", count=count, height=20, width=30, dtype="uint16"
    ) as dataset:
        dataset.write(values)
    source, raster = all_of(tmp_path / "a.png")
    assert source.dtype == np.uint16
    assert isinstance(source, PhotoSource)
    assert np.array_equal(raster.values, values[:3])
    assert raster.valid is None


@pytest.mark.parametrize("kind", ["jpg", "tif"])
def test_printing_colours_become_red_green_blue(tmp_path, kind):
    image = Image.fromarray(picture()).convert("CMYK")
    image.save(tmp_path / f"a.{kind}")
    source, raster = all_of(tmp_path / f"a.{kind}")
    assert raster.bands == source.bands == ("red", "green", "blue")
    assert np.abs(raster.values.astype(int) - picture().transpose(2, 0, 1)).mean() < 4


def test_tiff_without_place_is_read_by_window(tmp_path):
    Image.fromarray(picture()).save(tmp_path / "a.tif")
    source, raster = all_of(tmp_path / "a.tif")
    assert isinstance(source, GeoTiffSource)
    assert source.grid == photo_grid((40, 56))
    assert np.array_equal(raster.values, picture().transpose(2, 0, 1))


def test_world_file_makes_a_map_of_it(tmp_path):
    Image.fromarray(picture()).save(tmp_path / "a.png")
    (tmp_path / "a.pgw").write_text("2\n0\n0\n-2\n1001\n1999\n")
    source, raster = all_of(tmp_path / "a.png")
    assert isinstance(source, GeoTiffSource)
    assert source.grid.transform == Affine(2, 0, 1000, 0, -2, 2000)
    assert source.grid.crs is None
    assert np.array_equal(raster.values, picture().transpose(2, 0, 1))


def test_wrong_ending_is_no_obstacle(tmp_path):
    Image.fromarray(picture()).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert isinstance(open_raster(tmp_path / "a.jpg"), PhotoSource)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_truncated_photo(tmp_path, kind, share):
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 90, 3)).astype("uint8")).save(
        buffer, kind
    )
    path = tmp_path / "a.jpg"
    path.write_bytes(buffer.getvalue()[: int(len(buffer.getvalue()) * share)])
    with pytest.raises(UnreadableFile, match=r"a\.jpg cannot be read as a photograph"):
        all_of(path)


def test_garbage_and_too_many_pixels(tmp_path, monkeypatch):
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff" + bytes(100))
    with pytest.raises(UnreadableFile, match="corrupt"):
        open_raster(tmp_path / "a.jpg")
    Image.fromarray(picture()).save(tmp_path / "b.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(UnreadableFile, match="gdal_translate"):
        open_raster(tmp_path / "b.png")
    (tmp_path / "c.heic").write_bytes(b"x")
    with pytest.raises(UnreadableFile, match="copy it again"):
        open_raster(tmp_path / "c.heic")


def test_threads_and_pickles(tmp_path):
    Image.fromarray(picture()).save(tmp_path / "a.png", exif=with_orientation(8))
    source, raster = all_of(tmp_path / "a.png")
    rois = tiles(tuple(source.grid.shape), 9)
    fresh = pickle.loads(pickle.dumps(source))
    with ThreadPoolExecutor(4) as pool:
        for roi, part in zip(rois, pool.map(fresh.read, rois), strict=True):
            assert np.array_equal(part.values, raster.values[:, *roi])


def test_folder_of_photos_keeps_its_files(tmp_path):
    Image.fromarray(picture()).save(tmp_path / "a.jpg")
    all_of(tmp_path / "a.jpg")
    assert [entry.name for entry in Path(tmp_path).iterdir()] == ["a.jpg"]


def test_a_photograph_that_memory_cannot_hold_is_a_sentence(tmp_path, monkeypatch):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")

    def full(*_):
        raise MemoryError

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", full)
    with pytest.raises(UnreadableFile, match="takes more memory to be decoded than there is"):
        open_raster(tmp_path / "a.png")
