"""Which files are photographs, what they are called in the output, and every odd one: read right,
or told in one sentence.
"""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from selion.closerange.exif import Exif, read_exif
from selion.data.photos import find_photos, named, read_photo, unread_images
from selion.errors import BandMismatch, UnreadableFile

HEIC = b"\0\0\0\x18ftypheic" + bytes(50)


def colours(height=40, width=56):
    yy, xx = np.mgrid[:height, :width]
    return np.stack([yy * 4, xx * 4, (yy + xx) * 2], axis=-1).astype("uint8")


def save(path, values=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(colours() if values is None else values).save(path, **options)
    return path


def tiff(path, values, **options):
    with rasterio.open(
        path,
        "w",
        count=len(values),
        height=values.shape[1],
        width=values.shape[2],
        dtype=values.dtype,
        **options,
    ) as dataset:
        dataset.write(values)
    return path


def png_head(path, height, width):
    def chunk(kind, content):
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + head
        + chunk(b"IDAT", zlib.compress(bytes(1000)))
        + chunk(b"IEND", b"")
    )
    return path


# ------------------------------------------------------------------------------------------ finding


def test_what_is_a_photograph(tmp_path):
    for name in ("a.JPG", "b/c.Jpeg", "b/d.png", "b/e.TIF", "e.webp", "f.bmp", "deep/er/g.jpg"):
        save(
            tmp_path / name,
            format={"jpeg": "JPEG", "jpg": "JPEG", "tif": "TIFF"}.get(
                name.rpartition(".")[2].lower()
            ),
        )
    (tmp_path / "no ending").write_bytes((tmp_path / "a.JPG").read_bytes())
    (tmp_path / "wrong.dat").write_bytes((tmp_path / "b" / "d.png").read_bytes())
    (tmp_path / "phone.HEIC").write_bytes(HEIC)
    (tmp_path / "phone.bin").write_bytes(HEIC)
    for name in ("notes.txt", "._a.JPG", ".hidden/h.jpg", "out/masks/a.png", "table.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(
            (tmp_path / "a.JPG").read_bytes()
            if name.endswith(("jpg", "png", "JPG"))
            else b"BM is no bitmap"
        )
    found = [photo.file for photo in find_photos(tmp_path, skip=(tmp_path / "out",))]
    assert found == sorted(
        [
            "a.JPG",
            "b/c.Jpeg",
            "b/d.png",
            "b/e.TIF",
            "deep/er/g.jpg",
            "e.webp",
            "f.bmp",
            "no ending",
            "phone.HEIC",
            "phone.bin",
            "wrong.dat",
        ],
        key=Path,
    )


def test_names_in_the_output():
    photos = named(
        ["a.jpg", "b/a.jpg", "b/a.PNG", "B/c.jpg", "b/C.tif", "d.v1.jpg", "plain"], Path("in")
    )
    assert [photo.key for photo in photos] == [
        "a",
        "b/a.jpg",
        "b/a.PNG",
        "B/c.jpg",
        "b/C.tif",
        "d.v1",
        "plain",
    ]
    assert photos[1].path == Path("in/b/a.jpg")


@given(
    st.lists(
        st.from_regex(r"[aA]{1,2}(/[aA])?(\.jpg)?(\.(jpg|png|JPG))?", fullmatch=True),
        unique_by=str.casefold,
        max_size=12,
    )
)
def test_no_two_photographs_share_a_name(files):
    keys = [photo.key.casefold() for photo in named(files, Path("in"))]
    assert len(set(keys)) == len(keys)


def test_one_file_empty_folder_no_folder(tmp_path):
    path = save(tmp_path / "one.jpg")
    assert [(photo.file, photo.key) for photo in find_photos(path)] == [("one.jpg", "one")]
    (tmp_path / "empty").mkdir()
    with pytest.raises(UnreadableFile, match="There is no photograph in"):
        find_photos(tmp_path / "empty")
    with pytest.raises(UnreadableFile, match="does not exist"):
        find_photos(tmp_path / "nowhere")


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the super-user may read everything"
)
def test_folder_without_permission(tmp_path):
    (tmp_path / "closed").mkdir(mode=0)
    with pytest.raises(UnreadableFile, match="no permission"):
        find_photos(tmp_path / "closed")


# ------------------------------------------------------------------------------------------ reading


def same(path, wanted=None, tolerance=0, note=""):
    picture = read_photo(path)
    wanted = colours() if wanted is None else wanted
    assert picture.image.bands == ("red", "green", "blue")
    assert picture.image.values.dtype == np.uint8
    assert picture.image.grid.crs is None
    assert np.abs(picture.image.values.astype(int) - wanted.transpose(2, 0, 1)).max() <= tolerance
    assert note in "; ".join(picture.notes)
    return picture


def test_numbers_of_every_kind_become_bytes(tmp_path):
    image = colours().transpose(2, 0, 1)
    same(save(tmp_path / "a.png"))
    same(
        tiff(tmp_path / "b.tif", image.astype("uint16") * 257, photometric="RGB"),
        note="16-bit numbers",
    )
    same(
        tiff(tmp_path / "c.png", (image.astype("uint16") * 16 + 15).clip(0, 4095), driver="PNG"),
        tolerance=1,
        note="12-bit numbers",
    )
    same(
        tiff(tmp_path / "d.tif", image.astype("float32") / 255, photometric="RGB"),
        note="numbers from 0 to 1",
    )
    glint = image.astype("float32") / 255  # a mirror reflects more than white paper does
    glint[:, -1, -1] = 1.3
    white = colours()
    white[-1, -1] = 255
    same(tiff(tmp_path / "f.tif", glint, photometric="RGB"), white, note="numbers from 0 to 1")
    same(tiff(tmp_path / "e.tif", image.astype("uint16"), photometric="RGB"), note="8-bit numbers")


def test_printing_colours_palette_alpha(tmp_path):
    Image.fromarray(colours()).convert("CMYK").save(tmp_path / "a.jpg", quality=98)
    assert (
        np.abs(
            read_photo(tmp_path / "a.jpg").image.values.astype(int) - colours().transpose(2, 0, 1)
        ).mean()
        < 4
    )
    Image.fromarray(colours() // 128 * 200).quantize(8).save(tmp_path / "b.png")
    same(tmp_path / "b.png", colours() // 128 * 200)
    # GDAL reads a TIFF, and gives the numbers of its colours: they were taken for shades of gray
    few = Image.fromarray(colours() // 128 * 200).quantize(8)
    few.save(tmp_path / "b.tif")
    for gray in (False, True):
        found = read_photo(tmp_path / "b.tif", gray=gray).image.values
        assert np.array_equal(found, np.moveaxis(np.asarray(few.convert("RGB")), -1, 0))
    exif = Image.Exif()
    exif[274] = 6
    few.save(tmp_path / "b.tif", exif=exif)
    same(tmp_path / "b.tif", np.rot90(np.asarray(few.convert("RGB")), -1))
    alpha = np.full((40, 56, 1), 255, "uint8")
    alpha[:10] = 0
    picture = same(save(tmp_path / "c.png", np.dstack([colours(), alpha])))
    assert np.array_equal(picture.image.valid, alpha[..., 0] > 0)


def test_turned_and_wrongly_named(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    save(tmp_path / "a.png", exif=exif)
    same(tmp_path / "a.png", np.rot90(colours(), -1))
    (tmp_path / "b.jpg").write_bytes((tmp_path / "a.png").read_bytes())
    same(tmp_path / "b.jpg", np.rot90(colours(), -1))


def test_sizes(tmp_path):
    for size in (1, 5):
        same(save(tmp_path / "a.png", colours(size, size)), colours(size, size))


def test_place_on_the_globe_gives_the_pixel_size(tmp_path):
    image = colours().transpose(2, 0, 1)
    path = tiff(
        tmp_path / "ortho.tif",
        image,
        photometric="RGB",
        crs="EPSG:32633",
        transform=Affine(0.002, 0, 5e5, 0, -0.002, 5.4e6),
    )
    assert same(path).gsd == pytest.approx(2.0, rel=1e-3)
    assert read_photo(save(tmp_path / "plain.png")).gsd is None


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda p: p.write_bytes(b""), UnreadableFile, "is empty"),
        (
            lambda p: p.write_bytes(HEIC),
            UnreadableFile,
            "truncated or corrupt",
        ),
        (lambda p: p.write_text("hello"), UnreadableFile, "copy it again"),
        (
            lambda p: save(p, format="JPEG", quality=95) and p.write_bytes(p.read_bytes()[:900]),
            UnreadableFile,
            "truncated or corrupt",
        ),
        (
            lambda p: save(p, colours()[..., 0]),
            BandMismatch,
            "is gray; wanted are red, green and blue",
        ),
        (lambda p: png_head(p, 100_000, 100_000), UnreadableFile, "too many pixels"),
        (
            lambda p: tiff(p, colours().transpose(2, 0, 1).astype("int16") * -1, driver="GTiff"),
            UnreadableFile,
            "which are not colours",
        ),
        (
            lambda p: tiff(p, np.zeros((5, 8, 8), "uint8"), driver="GTiff"),
            BandMismatch,
            r"has 5 bands \(band1, band2",
        ),
    ],
    ids=["empty", "heic", "text", "cut", "gray", "huge", "negative", "bands"],
)
def test_told_in_one_sentence(tmp_path, make, error, words):
    path = tmp_path / "photo.jpg"
    make(path)
    with pytest.raises(error, match=words) as caught:
        read_photo(path)
    assert "photo.jpg" in str(caught.value)
    assert str(caught.value).count("\n") == 0


def test_huge_tiff_is_refused_by_its_head(tmp_path):
    path = tmp_path / "huge.tif"
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=3,
        height=100_000,
        width=100_000,
        dtype="uint8",
        tiled=True,
        sparse_ok=True,
        BIGTIFF="YES",
    ):
        pass
    with pytest.raises(UnreadableFile, match=r"10,000 megapixels; a photograph has at most 179"):
        read_photo(path)


@pytest.mark.parametrize("ending", [".heic", ".HEIF", ".cr2", ".DNG"])
def test_formats_of_phones_and_cameras(tmp_path, ending):
    path = tmp_path / f"IMG{ending}"
    path.write_bytes(b"II*\0" + bytes(60))
    with pytest.raises(UnreadableFile, match=r"copy it again"):
        read_photo(path)
    assert [photo.path for photo in find_photos(tmp_path)] == [path], (
        "it is a photograph, and it is told"
    )


def mosaic(path, colour, shape=(200, 240)):
    """A raw file: one of red, green and blue a pixel, 14 bits, linear, of one colour."""
    tifffile = pytest.importorskip("tifffile")
    linear = 16383 * (np.array(colour) / 255) ** 2.2
    stored = np.empty(shape, np.uint16)
    for row, column, band in ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 2)):
        stored[row::2, column::2] = round(linear[band])
    to_camera = [3.2406, -1.5372, -0.4986, -0.9689, 1.8758, 0.0415, 0.0557, -0.204, 1.057]
    ratios = [number for value in to_camera for number in (round(value * 10000), 10000)]
    tags = [
        (50706, "B", 4, (1, 4, 0, 0), True), (50708, "s", 0, "Test", True),
        (33421, "H", 2, (2, 2), True), (33422, "B", 4, (0, 1, 1, 2), True),
        (50717, "I", 1, 16383, True), (50714, "I", 1, 0, True),
        (50721, "2i", 9, tuple(ratios), True), (50728, "2I", 3, (1, 1) * 3, True),
        (50778, "H", 1, 21, True),
    ]  # fmt: skip
    tifffile.imwrite(path, stored, photometric=32803, extratags=tags, metadata=None)
    return path


def test_a_raw_file_is_developed_to_its_colours(tmp_path):
    pytest.importorskip("rawpy")
    values = read_photo(mosaic(tmp_path / "IMG.DNG", (120, 160, 80))).image.values
    assert values.shape == (3, 200, 240)
    red, green, blue = values[:, 20:-20, 20:-20].reshape(3, -1).astype(float)
    assert max(band.std() for band in (red, green, blue)) < 3
    assert green.mean() > red.mean() > blue.mean()
    assert 1.2 < green.mean() / red.mean() < 1.45  # 1.33 as it was
    assert 1.3 < red.mean() / blue.mean() < 1.7  # 1.5


def test_a_phones_photograph_is_read(tmp_path):
    heif = pytest.importorskip("pillow_heif")
    flat = np.full((64, 96, 3), (120, 160, 80), np.uint8)
    heif.from_pillow(Image.fromarray(flat)).save(tmp_path / "IMG.HEIC", quality=95)
    values = read_photo(tmp_path / "IMG.HEIC").image.values
    assert values.shape == (3, 64, 96)
    assert np.abs(values.reshape(3, -1).mean(1) - (120, 160, 80)).max() < 4


def test_what_looks_like_an_image_and_is_not_read_is_told(tmp_path):
    gif = save(tmp_path / "a.gif")
    gif.rename(gif.with_name("b.dat"))
    save(tmp_path / "c.gif")
    save(tmp_path / "plot" / "d.ppm")
    save(tmp_path / "e.png").rename(tmp_path / "e.psd")  # by its beginning it is a photograph
    (tmp_path / "f.JXL").write_bytes(b"\xff\x0a")
    (tmp_path / "notes.txt").write_text("no image")
    save(tmp_path / "out" / "g.tga")
    assert [photo.file for photo in find_photos(tmp_path)] == ["b.dat", "c.gif", "e.psd"]
    assert [why for file, why in unread_images(tmp_path, skip=[tmp_path / "out"])] == [
        "It is JPEG XL by its name, which is not read: save it as JPEG, PNG or TIFF.",
        "It is a Netpbm format by its name, which is not read: save it as JPEG, PNG or TIFF.",
    ]
    values = read_photo(tmp_path / "c.gif").image.values
    assert np.abs(values.transpose(1, 2, 0).astype(int) - colours()).mean() < 6  # 256 colours


# --------------------------------------------------------------------------------------------- EXIF


def test_exif(tmp_path):
    exif = Image.Exif()
    exif[271], exif[272], exif[306] = "Canon", "EOS 5D\0", "2020:01:01 00:00:00"
    exif.get_ifd(0x8769).update({36867: "2021:06:05 10:11:12", 36881: "+02:00"})
    exif.get_ifd(0x8825).update({1: "S", 2: (10.0, 30.0, 0.0), 3: "W", 4: (70.0, 0.0, 36.0)})
    assert read_exif(save(tmp_path / "a.jpg", exif=exif)) == Exif(
        "2021-06-05T10:11:12+02:00", -10.5, -70.01, "Canon EOS 5D"
    )


@pytest.mark.parametrize(
    "clock",
    [
        *("0000:00:00 00:00:00", "    :  :     :  :  ", "yesterday", ""),
        *("2000:00:00 00:00:00", "2021:13:05 10:11:12", "2021:02:30 10:11:12"),  # no days
        "2021:06:05 24:61:00",
    ],
)
def test_odd_exif_is_left_out(tmp_path, clock):
    exif = Image.Exif()
    exif[306] = clock
    exif.get_ifd(0x8825).update({1: "N", 2: (510.0, 0.0, 0.0), 3: "E", 4: (7.0, 0.0, 0.0)})
    assert read_exif(save(tmp_path / "a.jpg", exif=exif)) == Exif()
    assert read_exif(save(tmp_path / "b.png")) == Exif()
    told = Image.Exif()
    told[306] = "2021:06:05 10:11:12"  # what is no time does not hide one
    told.get_ifd(0x8769)[36867] = clock
    assert read_exif(save(tmp_path / "d.jpg", exif=told)).time == "2021-06-05T10:11:12"
    (tmp_path / "c.jpg").write_bytes(b"junk")
    assert read_exif(tmp_path / "c.jpg") == Exif()
