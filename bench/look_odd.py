"""Files that a walk as new users brought, and what 'selion map' makes of each.

    python bench/look_odd.py DATA [--only WORD] [--say]

As ``bench/look_files.py``, whose references and table these are; the cases are others.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from rasterio.drivers import raster_driver_extensions
from rasterio.enums import ColorInterp

sys.path.insert(0, str(Path(__file__).resolve().parent))

from look_files import (
    BLUE_FIRST,
    COLOURS,
    NEAR,
    Brought,
    Files,
    Image,
    _one,
    _some,
    _warped,
    compared,
)

CODES = ("B02", "B03", "B04", "B08")
ORDER = [2, 1, 0, 3, 6, 5, 4, 7]
RGB = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
FOOT = 0.3048006096012192
"""Metres of a US survey foot."""


def of_numbers(pair: Image) -> Iterator[Brought]:
    """Yield the pair in other numbers and types."""
    v = pair.values
    f = v.astype(np.float64)
    yield Brought(
        "reflectance times 255, float", _one(pair.with_((f / 10_000 * 255).astype("f4"))), "pair"
    )
    yield Brought(
        "big-endian int32",
        _one(pair.with_(v.astype(np.int32), more={"ENDIANNESS": "BIG"})),
        "pair",
    )
    yield Brought("uint32", _one(pair.with_(v.astype(np.uint32))), "pair")
    yield Brought("int64", _one(pair.with_(v.astype(np.int64))), "pair")
    yield Brought(
        "signed bytes of 3500",
        _one(pair.with_((np.clip(f / 3500 * 255, 0, 255) - 128).astype(np.int8))),
        "pair",
    )
    mean, spread = f.mean((1, 2), keepdims=True), f.std((1, 2), keepdims=True)
    yield Brought("each band's z-scores", _one(pair.with_(((f - mean) / spread).astype("f4"))), "")
    yield Brought(
        "z-scores, no names", _one(pair.with_(((f - mean) / spread).astype("f4"), names=())), ""
    )
    haze = np.array([600, 900, 1300, 200] * 2)[:, None, None]
    yield Brought("top of atmosphere", _one(pair.with_((v + haze).astype(np.uint16))), "pair")
    low, high = f.min((1, 2), keepdims=True), f.max((1, 2), keepdims=True)
    yield Brought(
        "each band from 0 to 1", _one(pair.with_(((f - low) / (high - low)).astype("f4"))), "pair"
    )
    yield Brought(
        "square roots of reflectance", _one(pair.with_(np.sqrt(f / 10_000).astype("f4"))), "pair"
    )
    yield Brought(
        "radiances in W/m2/sr/um",
        _one(
            pair.with_(
                (f / 10_000 * np.array([1512, 1823, 1941, 1036] * 2)[:, None, None] * 0.27).astype(
                    "f4"
                )
            )
        ),
        "pair",
    )
    snow = np.random.default_rng(3).normal(8200, 500, f.shape).clip(1, 12_000)
    yield Brought("winter pair under snow", _one(pair.with_(snow.astype(np.uint16))), "")
    half = f.copy()
    half[:4] *= 0.25
    yield Brought("first date in low sun (a quarter)", _one(pair.with_(half.astype("u2"))), "pair")


def of_nothing(pair: Image) -> Iterator[Brought]:
    """Yield the pair with holes that are told in odd ways."""
    v = pair.values
    wide = v.shape[2] // 2
    for name, number, kind in (
        ("-32768", -32_768, np.int16),
        ("-1", -1, np.int16),
        ("65535", 65_535, np.uint16),
        ("-10000", -10_000, np.float32),
        ("-99", -99, np.int32),
    ):
        half = v.astype(kind)
        half[:, :, wide:] = number
        yield Brought(f"half of it {name}, undeclared", _one(pair.with_(half)), "half", NEAR)
    wrong = v.copy()
    wrong[:, :, wide:] = 0
    yield Brought(
        "half of it 0, 65535 declared",
        _one(pair.with_(wrong, more={"nodata": 65_535})),
        "half",
        NEAR,
    )
    both = v.astype(np.float32) / 10_000
    both[:4, :, wide:] = np.nan
    both[4:, :, wide:] = 0
    yield Brought("NaN in the first date, 0 in the second", _one(pair.with_(both)), "half", NEAR)
    half = v.astype(np.float32) / 10_000
    half[:, :, wide:] = -9999 / 10_000
    yield Brought("reflectance, -9999 scaled with it", _one(pair.with_(half)), "half", NEAR)
    half = v.astype(np.float32)
    half[:, :, wide:] = np.inf
    yield Brought("half of it infinite", _one(pair.with_(half)), "half", NEAR)
    rows, columns = np.mgrid[: v.shape[1], : v.shape[2]]
    striped = v.copy()
    striped[:, (rows + columns // 4) % 20 < 4] = 0
    yield Brought("stripes of 0 (SLC off)", _one(pair.with_(striped)), "")
    cloud = v.copy()
    cloud[:4, : v.shape[1] // 2] = 9000
    cloud[4:, v.shape[1] // 2 :] = 9000
    yield Brought("one half of each date under cloud", _one(pair.with_(cloud)), "")
    first = v.copy()
    first[:4] = np.random.default_rng(2).normal(7500, 300, (1, *v.shape[1:])).astype(np.uint16)
    yield Brought("first date all cloud", _one(pair.with_(first)), "pair")


def of_orders(pair: Image) -> Iterator[Brought]:
    """Yield the pair with bands that are not what they seem."""
    v = pair.values
    yield Brought(
        "B, G, R, N twice", _one(pair.with_(v[ORDER], names=("B", "G", "R", "N") * 2)), "pair"
    )
    yield Brought(
        "blue_1 ... nir_2",
        _one(
            pair.with_(
                v[ORDER],
                names=tuple(f"{c}_{k}" for k in (1, 2) for c in ("blue", "green", "red", "nir")),
            )
        ),
        "pair",
    )
    late = tuple(f"{c}_20230803" for c in CODES) + tuple(f"{c}_20230420" for c in CODES)
    swapped = v[[6, 5, 4, 7, 2, 1, 0, 3]]
    yield Brought("B02_20230803 ... B08_20230420", _one(pair.with_(swapped, names=late)), "pair")
    months = tuple(f"{m}_{c}" for m in ("Aug", "Apr") for c in CODES)
    yield Brought("Aug_B02 ... Apr_B08", _one(pair.with_(swapped, names=months)), "pair")
    words = tuple(f"{m} {c}" for m in ("summer", "spring") for c in CODES)
    yield Brought("summer B02 ... spring B08", _one(pair.with_(swapped, names=words)), "pair")
    numbered = tuple(f"{c}_{k}" for k in ("t2", "t1") for c in CODES)
    yield Brought("B02_t2 ... B08_t1", _one(pair.with_(swapped, names=numbered)), "pair")
    one = v[[0, 1, 2, 3, 7, 5, 6, 4]]
    yield Brought("red and nir exchanged in the second date", _one(pair.with_(one)), "pair")
    one = v[[0, 3, 2, 1, 4, 7, 6, 5]]
    yield Brought("green and nir exchanged", _one(pair.with_(one)), "pair")
    one = v[[2, 1, 0, 3, 4, 5, 6, 7]]
    yield Brought("red and blue exchanged in the first date", _one(pair.with_(one)), "pair")
    yield Brought(
        "no names, near infrared first, then blue",
        _one(pair.with_(v[[3, 2, 1, 0, 7, 6, 5, 4]], names=())),
        "pair",
    )
    ndvi = [(d[3].astype(float) - d[0]) / (d[3].astype(float) + d[0] + 1) for d in (v[:4], v[4:])]
    rng = np.random.default_rng(5)
    series = np.stack([ndvi[k % 2] + rng.normal(0, 0.02, ndvi[0].shape) for k in range(8)])
    yield Brought("NDVI of 8 dates, no names", _one(pair.with_(series.astype("f4"), names=())), "")
    yield Brought(
        "NDVI of 8 dates times 10000, no names",
        _one(pair.with_((series * 10_000).astype(np.int16), names=())),
        "",
    )
    radar = rng.normal(-12, 3, (8, *v.shape[1:])).astype("f4")
    yield Brought("8 bands of radar in dB, no names", _one(pair.with_(radar, names=())), "")
    yield Brought("VV, VH in dB", _one(pair.with_(radar[:2], names=("VV", "VH"))), "")
    ten = [2, 1, 0, 0, 3, 3, 3, 3, 0, 0]
    gee = ("B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B11", "B12")
    both = np.concatenate([v[:4][ten], v[4:][ten]])
    yield Brought("10 bands twice, no names", _one(pair.with_(both, names=())), "pair")
    yield Brought(
        "10 bands twice, the second with _1",
        _one(pair.with_(both, names=(*gee, *(f"{c}_1" for c in gee)))),
        "pair",
    )
    eight = v[:4][[2, 2, 1, 1, 1, 0, 3, 3]]
    planet = ("coastal_blue", "blue", "green_i", "green", "yellow", "red", "rededge", "nir")
    yield Brought("8 bands of PlanetScope, named", _one(pair.with_(eight, names=planet)), "first")
    yield Brought("8 bands of PlanetScope, no names", _one(pair.with_(eight, names=())), "first")
    yield Brought(
        "nir, red, green, named", _one(pair.with_(v[[3, 0, 1]], names=("nir", "red", "green"))), ""
    )
    tci = np.clip(v[:3] / 3558 * 255, 0, 255).astype(np.uint16) * 257
    yield Brought("true colour in 16 bits at 10 m", _one(pair.with_(tci, names=COLOURS[:3])), "")
    yield Brought(
        "16 bands of four dates, no names",
        _one(pair.with_(np.concatenate([v, v]), names=())),
        "pair",
    )


def of_places(pair: Image) -> Iterator[Brought]:
    """Yield the pair at odd places."""
    v = pair.values
    width = v.shape[2]
    t = pair.transform
    mirrored = t * Affine.translation(width, 0) * Affine.scale(-1, 1)
    yield Brought(
        "columns that run westwards",
        _one(pair.with_(v[:, :, ::-1].copy(), transform=mirrored)),
        "pair",
    )
    own = "+proj=tmerc +lat_0=0 +lon_0=15 +k=0.9996 +x_0=500000 +y_0=0 +ellps=WGS84 +units=m"
    yield Brought("CRS without an EPSG code", _one(pair.with_(v, crs=own)), "pair")
    feet = Affine.scale(1 / FOOT) * t
    yield Brought(
        "CRS in US feet",
        _one(pair.with_(v, crs="+proj=utm +zone=33 +datum=WGS84 +units=us-ft", transform=feet)),
        "pair",
    )
    local = 'LOCAL_CS["local",UNIT["metre",1]]'
    yield Brought("a local CRS", _one(pair.with_(v, crs=local)), "")
    yield Brought("the grid of Lambert, EPSG:3035", _one(_warped(pair, "EPSG:3035")), "pair", NEAR)
    tall = t * Affine.scale(1, 2)
    yield Brought(
        "pixels of 10 by 20 m", _one(pair.with_(v[:, ::2].copy(), transform=tall)), "pair", NEAR
    )
    yield Brought(
        "turned by 45 degrees", _one(pair.with_(v, transform=t * Affine.rotation(45))), "pair"
    )
    zero = Affine(10, 0, 0, 0, -10, 0)
    yield Brought("corner at 0, 0 of UTM", _one(pair.with_(v, transform=zero)), "pair")
    yield Brought(
        "exact degrees as metres",
        _one(pair.with_(v, crs="EPSG:32633", transform=Affine(9e-5, 0, 13.1, 0, -9e-5, 48.3))),
        "",
    )


def of_files(pair: Image) -> Iterator[Brought]:
    """Yield the pair in odd files."""
    v = pair.values
    for ending, driver, kind in (
        ("img", "HFA", "u2"), ("bil", "EHdr", "u2"), ("jp2", "JP2OpenJPEG", "u2"),
    ):  # fmt: skip
        if driver in raster_driver_extensions().values():
            writes = _one(pair.with_(v.astype(kind), more={"driver": driver}), f"i.{ending}")
            yield Brought(f"a .{ending} ({driver})", writes, "pair")
    yield Brought("a .vrt over the file", lambda folder: [_vrt(pair, folder)], "pair")
    yield Brought(
        "lossy JPEG 2000",
        _one(pair.with_(v, more={"driver": "JP2OpenJPEG", "QUALITY": "10"}), "i.jp2"),
        "pair",
        0.4,
    )
    yield Brought("a TIFF of two pages", lambda folder: [_pages(pair, folder)], "pair")
    yield Brought("a .tif that is a zip", lambda folder: [_text(folder, b"PK\x03\x04zip")], "")
    yield Brought("an empty .tif", lambda folder: [_text(folder, b"")], "")
    yield Brought("a folder of two dates", lambda folder: [_folder(pair, folder)], "pair")
    yield Brought("a zip of the image", lambda folder: [_zip(pair, folder)], "pair")


def _vrt(image: Image, folder: Path) -> Path:
    import rasterio.shutil

    source = image.write(folder / "image.tif")
    rasterio.shutil.copy(source, folder / "image.vrt", driver="VRT")
    return folder / "image.vrt"


def _pages(image: Image, folder: Path) -> Path:
    first, last = (image.with_(part, names=COLOURS) for part in np.split(image.values, 2))
    path = first.write(folder / "pages.tif")
    last.with_(last.values, more={"APPEND_SUBDATASET": "YES"}).write(path)
    return path


def _text(folder: Path, text: bytes) -> Path:
    (folder / "i.tif").write_bytes(text)
    return folder / "i.tif"


def _folder(image: Image, folder: Path) -> Path:
    (folder / "dates").mkdir()
    for day, part in zip(("20230420", "20230803"), np.split(image.values, 2), strict=True):
        image.with_(part, names=COLOURS).write(folder / "dates" / f"{day}.tif")
    return folder / "dates"


def _zip(image: Image, folder: Path) -> Path:
    import zipfile

    path = image.write(folder / "image.tif")
    with zipfile.ZipFile(folder / "image.zip", "w") as file:
        file.write(path, path.name)
    return folder / "image.zip"


def of_dates(pair: Image) -> Iterator[Brought]:
    """Yield dates as files whose names, order, grid or bands are odd."""
    first, last = (pair.with_(part, names=COLOURS) for part in np.split(pair.values, 2))
    for name, (one, other) in {
        "months only": ("S2_202304.tif", "S2_202308.tif"),
        "day first": ("20-04-2023.tif", "03-08-2023.tif"),
        "day of the year": ("S2_2023110.tif", "S2_2023215.tif"),
        "spring and autumn": ("spring.tif", "autumn.tif"),
        "April and August": ("april.tif", "august.tif"),
        "before and after": ("before.tif", "after.tif"),
        "1 and 2": ("date1.tif", "date2.tif"),
        "underscores": ("s2_2023_04_20.tif", "s2_2023_08_03.tif"),
        "two years in one name": ("p20230101_20230420.tif", "p20230101_20230803.tif"),
    }.items():
        yield Brought(
            f"files named by {name}, late first", _some((other, last), (one, first)), "pair"
        )
    turned = last.with_(last.values[BLUE_FIRST], names=())
    yield Brought(
        "second file blue first, no names",
        _some(("20230420.tif", first), ("20230803.tif", turned)),
        "pair",
    )
    yield Brought(
        "second file near infrared first, no names",
        _some(
            ("20230420.tif", first),
            ("20230803.tif", last.with_(last.values[[3, 0, 1, 2]], names=())),
        ),
        "pair",
    )
    yield Brought(
        "second file in another UTM zone",
        _some(("20230420.tif", first), ("20230803.tif", _warped(last, "EPSG:32632"))),
        "",
    )
    coarse = last.with_(last.values[:, ::2, ::2].copy(), transform=last.transform * Affine.scale(2))
    yield Brought(
        "second file at 20 m", _some(("20230420.tif", first), ("20230803.tif", coarse)), ""
    )
    yield Brought(
        "second file without a CRS",
        _some(("20230420.tif", first), ("20230803.tif", last.with_(last.values, crs=None))),
        "",
    )
    yield Brought(
        "the same path twice", lambda folder: [first.write(folder / "20230420.tif")] * 2, "pair"
    )
    yield Brought(
        "second file bytes, first digital",
        _some(
            ("20230420.tif", first),
            (
                "20230803.tif",
                last.with_(np.clip(last.values / 3500 * 255, 0, 255).astype(np.uint8)),
            ),
        ),
        "pair",
    )
    yield Brought(
        "second file reflectance, no names",
        _some(
            ("20230420.tif", first),
            ("20230803.tif", last.with_((last.values / 10_000).astype("f4"), names=())),
        ),
        "pair",
    )
    yield Brought(
        "a pair and a date", _some(("20230420.tif", pair), ("20230803.tif", last)), "pair"
    )
    yield Brought(
        "both the wrong way round, dated by tags",
        lambda folder: _tagged(first, last, folder),
        "pair",
    )
    yield Brought(
        "a mask as the second file",
        _some(
            ("20230420.tif", first),
            (
                "20230803_scl.tif",
                last.with_((last.values[:1] % 11).astype(np.uint8), names=("SCL",)),
            ),
        ),
        "",
    )


def _tagged(first: Image, last: Image, folder: Path) -> Files:
    files = [last.write(folder / "a.tif"), first.write(folder / "b.tif")]
    for path, day in zip(files, ("2023:08:03 10:00:00", "2023:04:20 10:00:00"), strict=True):
        with rasterio.open(path, "r+") as file:
            file.update_tags(TIFFTAG_DATETIME=day)
    return files


def of_chip(chip: Image, four: Image) -> Iterator[Brought]:
    """Yield the aerial image as other programs would have written it."""
    v, f = chip.values, four.values
    full = np.full_like(f[:1], 255)
    if "GPKG" in raster_driver_extensions().values():
        picture = chip.with_(v, more={"driver": "GPKG"})
        yield Brought("a .gpkg of a picture", _one(picture, "i.gpkg"), "chip")
    yield Brought(
        "near infrared, red, green, alpha",
        _one(
            four.with_(
                np.concatenate([f[[3, 0, 1]], full]), names=(), colours=(*RGB, ColorInterp.alpha)
            )
        ),
        "four rgb",
    )
    yield Brought(
        "near infrared, red, green, blue, no names",
        _one(four.with_(f[[3, 0, 1, 2]], names=())),
        "four",
    )
    yield Brought(
        "IR, R, G, B", _one(four.with_(f[[3, 0, 1, 2]], names=("IR", "R", "G", "B"))), "four"
    )
    yield Brought(
        "grey and alpha",
        _one(
            chip.with_(
                np.concatenate([v.mean(0, keepdims=True).astype("u1"), np.full_like(v[:1], 255)]),
                colours=(ColorInterp.gray, ColorInterp.alpha),
            )
        ),
        "chip",
    )
    yield Brought("inverted", _one(chip.with_(255 - v, colours=RGB)), "chip")
    yield Brought("very dark", _one(chip.with_(v // 8, colours=RGB)), "chip")
    yield Brought(
        "overexposed",
        _one(chip.with_(np.clip(v.astype(int) * 3, 0, 255).astype("u1"), colours=RGB)),
        "chip",
    )
    yield Brought("12 bits", _one(chip.with_(v.astype("u2") * 16, colours=RGB)), "chip")
    yield Brought(
        "from -1 to 1", _one(chip.with_((v / 127.5 - 1).astype("f4"), colours=RGB)), "chip"
    )
    yield Brought(
        "percent in floats", _one(chip.with_((v / 2.55).astype("f4"), colours=RGB)), "chip"
    )
    mirrored = chip.transform * Affine.translation(v.shape[2], 0) * Affine.scale(-1, 1)
    yield Brought(
        "columns that run westwards, aerial",
        _one(chip.with_(v[:, :, ::-1].copy(), transform=mirrored, colours=RGB)),
        "chip",
    )
    yield Brought(
        "in degrees",
        _one(
            _warped(chip, "EPSG:4326").with_(
                _warped(chip, "EPSG:4326").values,
                transform=_warped(chip, "EPSG:4326").transform,
                crs="EPSG:4326",
                colours=RGB,
            )
        ),
        "chip",
        NEAR,
    )
    zone = _warped(chip, "+proj=utm +zone=16 +datum=NAD83 +units=us-ft")
    yield Brought("in US feet", _one(zone.with_(zone.values, colours=RGB)), "chip", NEAR)
    averaged = v[:, :1000, :1000].reshape(3, 100, 10, 100, 10).mean((2, 4)).astype("u1")
    yield Brought(
        "averaged to 10 m",
        _one(chip.with_(averaged, transform=chip.transform * Affine.scale(10), colours=RGB)),
        "",
    )
    yield Brought("hue, saturation, value", lambda folder: [_modes(chip, folder)], "")
    webp = {"compress": "WEBP", "WEBP_LEVEL": 30, "interleave": "pixel"}
    yield Brought("WebP in a TIFF", _one(chip.with_(v, colours=RGB, more=webp)), "chip", 0.4)
    yield Brought("16-bit PNG with a world file", lambda folder: [_world16(chip, folder)], "")
    yield Brought(
        "five bands: blue, green, red, red edge, near infrared, no names",
        _one(four.with_(f[[2, 1, 0, 3, 3]], names=())),
        "four",
    )
    yield Brought("near infrared alone", _one(four.with_(f[3:], names=("nir",))), "")
    yield Brought(
        "two dates in colour, 6 bands, no names",
        _one(chip.with_(np.concatenate([v, v[:, ::-1]]))),
        "chip",
    )
    yield Brought(
        "two files of aerial colours",
        _some(
            ("2014.tif", chip.with_(v, colours=RGB)),
            ("2016.tif", chip.with_(np.clip(v.astype(int) + 9, 0, 255).astype("u1"), colours=RGB)),
        ),
        "chip",
    )


def _modes(image: Image, folder: Path) -> Path:
    from PIL import Image as Picture

    seen = Picture.fromarray(np.moveaxis(image.values, 0, 2)).convert("HSV")
    return image.with_(np.moveaxis(np.asarray(seen), 2, 0).copy(), colours=RGB).write(
        folder / "hsv.tif"
    )


def _world16(image: Image, folder: Path) -> Path:
    t = image.transform
    plain = image.with_(
        image.values.astype("u2") * 257, transform=None, crs=None, more={"driver": "PNG"}
    )
    path = plain.write(folder / "i.png")
    lines = (t.a, t.d, t.b, t.e, t.c + t.a / 2, t.f + t.e / 2)
    path.with_suffix(".pgw").write_text("\n".join(f"{one:.12f}" for one in lines))
    return path


def cases(pair: Image, chip: Image, four: Image) -> Iterator[Brought]:
    """Yield all of them."""
    kinds: tuple[Callable[[Image], Iterator[Brought]], ...] = (
        of_numbers, of_nothing, of_orders, of_places, of_files, of_dates,
    )  # fmt: skip
    for kind in kinds:
        yield from kind(pair)
    yield from of_chip(chip, four)


if __name__ == "__main__":
    compared(__doc__, lambda _, pair, chip, four: cases(pair, chip, four))
