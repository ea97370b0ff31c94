"""Photographs as phones and cameras write them: HEIC, AVIF, JPEG 2000 and raw files, upright, with
the colours and the time that they were taken with.
"""

from __future__ import annotations

import csv

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from command_line import run_here
from raw_photos import write_dng
from selion import extras
from selion.closerange.exif import read_exif
from selion.data.photos import find_photos, read_photo
from selion.errors import MissingExtra, UnreadableFile

heif = pytest.importorskip("pillow_heif", reason="the extra 'photos' is not installed")
pytest.importorskip("rawpy", reason="the extra 'photos' is not installed")
PLANT, SOIL = (40, 160, 60), (120, 90, 60)


def scene(height=60, width=96):
    """A plant that fills the upper left quarter."""
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[:] = SOIL
    pixels[: height // 2, : width // 2] = PLANT
    return pixels


def save(path, **how):
    heif.register_heif_opener()
    Image.fromarray(scene()).save(path, **how)
    return path


@pytest.mark.parametrize(
    ("name", "how", "most"),
    [
        ("a.heic", {"quality": -1, "chroma": 444}, 2),
        ("a.HEIF", {"format": "HEIF", "quality": 95}, 6),
        ("a.avif", {"quality": 100, "subsampling": "4:4:4"}, 3),
        ("a.jp2", {}, 0),
        ("a.j2k", {}, 0),
    ],
)
def test_colours_are_those_that_were_written(tmp_path, name, how, most):
    path = save(tmp_path / name, **how)
    assert [photo.file for photo in find_photos(tmp_path)] == [name]
    found = read_photo(path).image.values.astype(int)
    wanted = scene().transpose(2, 0, 1)
    assert found.shape == wanted.shape
    assert np.median(np.abs(found - wanted)) <= most
    assert np.abs(found - wanted)[:, :20, :40].max() <= max(most, 3)


def test_a_phone_held_upright(tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation], exif[ExifTags.Base.Model] = 6, "Phone"
    exif[ExifTags.Base.DateTime] = "2026:06:01 09:30:00"
    path = save(tmp_path / "a.heic", exif=exif.tobytes(), quality=-1, chroma=444)
    stored = Image.fromarray(scene())
    stored.getexif()[ExifTags.Base.Orientation] = 6
    wanted = np.asarray(ImageOps.exif_transpose(stored)).transpose(2, 0, 1).astype(int)
    found = read_photo(path).image.values.astype(int)
    assert found.shape == wanted.shape == (3, 96, 60)
    assert np.median(np.abs(found - wanted)) <= 2
    assert (read_exif(path).time, read_exif(path).camera) == ("2026-06-01T09:30:00", "Phone")


def shown(linear):
    """Return bytes of sRGB by its own formula (IEC 61966-2-1)."""
    high = 1.055 * linear ** (1 / 2.4) - 0.055
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, high)


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_light_becomes_colours_by_the_formula(tmp_path, orientation, turns):
    light = np.empty((64, 96, 3))
    light[:] = (0.25, 0.15, 0.08)
    light[:32, :48] = (0.05, 0.30, 0.06)
    path = write_dng(tmp_path / "IMG_1.DNG", light, orientation)
    found = read_photo(path).image.values.transpose(1, 2, 0).astype(int)
    wanted = np.rot90(shown(light), turns)
    assert found.shape == wanted.shape
    # beside edges the mosaic is mixed, and that is the reader's affair
    assert np.quantile(np.abs(found - wanted), 0.85) <= 2
    assert read_exif(path).time == "2026-06-01T09:30:00"
    assert read_exif(path).camera == "Selion Hand"


def test_a_dark_photograph_stays_darker(tmp_path):
    """Twice the light is twice the light: a photograph is not brightened by what is in it."""
    light = np.broadcast_to((0.25, 0.30, 0.20), (64, 96, 3))
    dim, bright = (
        read_photo(write_dng(tmp_path / f"{k}.dng", k * light / 2)).image.values[:, 30, 40]
        for k in (1, 2)
    )
    assert np.allclose(bright, shown(light[0, 0]), atol=2)
    assert np.allclose(dim, shown(light[0, 0] / 2), atol=2)


def test_cover_of_a_folder_of_all_kinds(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a.heic", "b.avif", "c.jp2", "d.png"):
        save(folder / name)
    light = np.where(
        (scene() == PLANT).all(-1, keepdims=True), (0.02, 0.35, 0.05), (0.2, 0.1, 0.04)
    )
    write_dng(folder / "e.dng", light)
    (folder / "f.cr2").write_bytes(b"II*\0 no photograph")
    Image.fromarray(scene() * 0).save(folder / "g.png")
    done = run_here("crops", folder, "-o", tmp_path / "out", "-m", "colour", "-q")
    assert done.returncode in (0, 3), done.stderr
    with (tmp_path / "out" / "crops.csv").open() as stream:
        cover = {row["file"]: float(row["cover"]) for row in csv.DictReader(stream)}
    assert set(cover) == {"a.heic", "b.avif", "c.jp2", "d.png", "e.dng", "g.png"}
    assert cover.pop("g.png") == 0, "a black photograph is a row"
    assert all(abs(share - 0.25) < 0.03 for share in cover.values()), cover
    failed = (tmp_path / "out" / "failed.csv").read_text()
    assert "f.cr2" in failed
    assert "raw file" in failed


def test_pages_show_them(tmp_path):
    from selion.web.pictures import read_photo as shown_at
    from selion.web.view.photos import size_of

    save(tmp_path / "a.heic", quality=95)
    write_dng(tmp_path / "b.dng", np.full((64, 96, 3), 0.2), orientation=6)
    assert (size_of(tmp_path / "a.heic"), size_of(tmp_path / "b.dng")) == ((96, 60), (64, 96))
    assert shown_at(tmp_path / "a.heic", 48).shape == (30, 48, 3)
    small = shown_at(tmp_path / "b.dng", 48)
    assert small.shape == (48, 32, 3)
    assert np.abs(small.astype(int) - shown(0.2)).max() <= 2
    (tmp_path / "c.dng").write_bytes(b"II*\0")
    assert size_of(tmp_path / "c.dng") is None


def test_a_folder_from_a_phone_is_seen(tmp_path, monkeypatch):
    from selion.web.view.discovery import find

    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    save(tmp_path / "a.HEIC", exif=exif.tobytes(), quality=95)
    save(tmp_path / "b.avif")
    write_dng(tmp_path / "c.dng", np.full((64, 96, 3), 0.2))
    (album,) = find([tmp_path]).albums.values()
    assert [photo.size for photo in album.photos] == [(60, 96), (96, 60), (96, 64)]
    monkeypatch.setattr(extras, "available", lambda module: module not in ("pillow_heif", "rawpy"))
    found = find([tmp_path])
    assert [len(one.photos) for one in found.albums.values()] == [1]
    assert "a.HEIC and 1 more cannot be read" in found.problems[0]
    assert "pip install 'selion[photos]'" in found.problems[0]


@pytest.mark.parametrize("name", ["a.heic", "a.dng"])
def test_without_the_extra_the_line_that_brings_it(tmp_path, monkeypatch, name):
    if name == "a.heic":
        save(tmp_path / name)
    else:
        write_dng(tmp_path / name, np.full((64, 96, 3), 0.2))
    monkeypatch.setattr(extras, "available", lambda module: module not in ("pillow_heif", "rawpy"))
    with pytest.raises(MissingExtra, match=r"pip install 'selion\[photos\]'"):
        read_photo(tmp_path / name)


def test_another_image_that_is_called_as_a_raw_file_is_told_so(tmp_path):
    Image.fromarray(scene()).save(tmp_path / "a.tif")
    (tmp_path / "a.tif").rename(tmp_path / "a.dng")
    with pytest.raises(UnreadableFile, match=r"file \(Unsupported file format.*its own ending"):
        read_photo(tmp_path / "a.dng")


def test_damaged_ones_are_a_sentence(tmp_path):
    whole = save(tmp_path / "a.heic").read_bytes()
    (tmp_path / "a.heic").write_bytes(whole[: len(whole) // 2])
    raw = write_dng(tmp_path / "a.dng", np.full((64, 96, 3), 0.2)).read_bytes()
    (tmp_path / "a.dng").write_bytes(raw[:200])
    for name in ("a.heic", "a.dng"):
        with pytest.raises(UnreadableFile, match="copy it") as caught:
            read_photo(tmp_path / name)
        assert "\n" not in str(caught.value)
