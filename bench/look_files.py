"""Files as people bring them, and what 'selion map' makes of each: right, refused or warned.

    python bench/look_files.py DATA [--only WORD] [--say]

DATA is the folder with the Inn pair, the NAIP chips and the NAIP years.  Each case is written from
them as somebody's program would have written it, and mapped; a map that differs from the right one
without a word is "WRONG".  --say only looks, and prints all that is said.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, Resampling
from rasterio.warp import calculate_default_transform, reproject

from selion.errors import SelionError
from selion.pipeline import maps, opening

EXACT, NEAR = 0.02, 0.15
"""Shares by which the number and the area of fields may differ: of the same pixels, and of pixels
that were drawn anew."""
PAIR = "satellite/s2_unlabelled/ftw_inn_pair/s2_pair_8band.tif"
CHIP = "satellite/vhr_naip_usa/images/naip_41.8049_-89.9462.tif"
FOUR = "satellite/vhr_naip_timeseries_nd/naip_2014-07-20.tif"
WHEAT = "closerange/ews_wheat/images"
SIZE = 1024
"""Edge of what is taken of an aerial image, in pixels."""
CODES = ("B2", "B3", "B4", "B8")
COLOURS = ("red", "green", "blue", "nir")
BLUE_FIRST = [2, 1, 0, 3]
Files = list[Path]


@dataclass(frozen=True)
class Image:
    """Pixels on a grid, and what is written with them."""

    values: np.ndarray
    """(band, y, x)."""
    transform: Affine | None
    crs: Any
    names: tuple[str, ...] = ()
    colours: tuple[ColorInterp, ...] = ()
    more: dict[str, Any] = field(default_factory=dict)
    """Of the profile."""
    scales: tuple[float, float] | None = None
    """Scale and offset in the tags."""

    def write(self, path: Path, mask: np.ndarray | None = None) -> Path:
        """Write it; the ending chooses nothing, ``more`` does."""
        count, height, width = self.values.shape
        place = {"crs": self.crs, "transform": self.transform} if self.transform else {}
        profile = {
            "driver": "GTiff",
            "count": count,
            "height": height,
            "width": width,
            "dtype": self.values.dtype,
            **place,
            **self.more,
        }
        with rasterio.open(path, "w", **profile) as file:
            file.write(self.values)
            for k, name in enumerate(self.names, 1):
                file.set_band_description(k, name)
            if self.colours:
                file.colorinterp = self.colours
            if self.scales:
                file.scales, file.offsets = ([one] * count for one in self.scales)
            if mask is not None:
                file.write_mask(mask)
        return path

    def with_(self, values: np.ndarray, **other: Any) -> Image:
        """Return it with other pixels, and whatever else is given."""
        told = {"transform": self.transform, "crs": self.crs, "names": self.names}
        return Image(values, **(told | other))


@dataclass(frozen=True)
class Brought:
    """A case."""

    name: str
    make: Callable[[Path], Files]
    """Writes the files into a folder and returns what is given to ``map``."""
    like: str
    """Of which image the right map is: ``pair``, ``chip``, ``four``, or nothing, where none is."""
    tolerance: float = EXACT


def _read(path: Path, size: int, names: tuple[str, ...] = ()) -> Image:
    with rasterio.open(path) as file:
        values = file.read()[:, :size, :size]
        return Image(values, file.transform, file.crs, names)


def _one(image: Image, name: str = "image.tif") -> Callable[[Path], Files]:
    return lambda folder: [image.write(folder / name)]


def _some(*images: tuple[str, Image]) -> Callable[[Path], Files]:
    return lambda folder: [image.write(folder / name) for name, image in images]


def _warped(image: Image, crs: str) -> Image:
    count, height, width = image.values.shape
    bounds = rasterio.transform.array_bounds(height, width, image.transform)
    transform, wide, high = calculate_default_transform(image.crs, crs, width, height, *bounds)
    values = np.zeros((count, high, wide), image.values.dtype)
    reproject(
        image.values,
        values,
        src_transform=image.transform,
        src_crs=image.crs,
        dst_transform=transform,
        dst_crs=crs,
        resampling=Resampling.nearest,
    )
    return image.with_(values, transform=transform, crs=crs)


def _turned(image: Image) -> Image:
    """Return it with its rows running eastwards: the same pixels at the same places."""
    height = image.values.shape[1]
    t = image.transform
    turned = np.rot90(image.values, -1, (1, 2)).copy()
    corner = Affine(0.0, t.a, t.c, -t.e, 0.0, t.f + height * t.e)
    return image.with_(turned, transform=corner)


def of_pair(pair: Image) -> Iterator[Brought]:
    """Yield the two-date image as other programs would have written it."""
    v = pair.values
    height, width = v.shape[1:]
    half = v.copy()
    half[:, :, width // 2 :] = 0
    yield Brought("scale of 1e-4 in tags", _one(pair.with_(v, scales=(1e-4, 0.0))), "pair")
    yield Brought(
        "scale 1e-4 and offset -0.1 in tags",
        _one(pair.with_(v + 1000, scales=(1e-4, -0.1))),
        "pair",
    )
    yield Brought(
        "scale 2e-5 in tags, numbers of 5 times",
        _one(
            pair.with_(
                (v.astype(np.uint32) * 5).clip(0, 65535).astype(np.uint16), scales=(2e-5, 0.0)
            )
        ),
        "pair",
    )
    landsat = ((v / 10_000 + 0.2) / 2.75e-5).round().clip(1, 65535).astype(np.uint16)
    yield Brought(
        "scale 2.75e-5 and offset -0.2 in tags",
        _one(pair.with_(landsat, scales=(2.75e-5, -0.2))),
        "pair",
    )
    yield Brought(
        "scale 2e-5 and offset 0.3 in tags, signed",
        _one(pair.with_(((v / 10_000 - 0.3) / 2e-5).round().astype(np.int16), scales=(2e-5, 0.3))),
        "pair",
    )
    yield Brought(
        "reflectances, a scale left in the tags",
        _one(pair.with_((v / 10_000).astype(np.float32), scales=(2.75e-5, -0.2))),
        "pair",
    )
    yield Brought(
        "a scale of heights in the tags", _one(pair.with_(v, scales=(0.5, -100.0))), "pair"
    )
    degrees = _warped(pair, "EPSG:4326")
    yield Brought(
        "BigTIFF in degrees",
        _one(degrees.with_(degrees.values, more={"BIGTIFF": "YES"})),
        "pair",
        NEAR,
    )
    yield Brought("Web Mercator", _one(_warped(pair, "EPSG:3857")), "pair", NEAR)
    up = pair.transform * Affine.translation(0, height) * Affine.scale(1, -1)
    yield Brought("south up", _one(pair.with_(v[:, ::-1].copy(), transform=up)), "pair")
    yield Brought("turned by 90 degrees", _one(_turned(pair)), "pair", NEAR)
    skewed = pair.transform * Affine.rotation(15)
    yield Brought("turned by 15 degrees", _one(pair.with_(v, transform=skewed)), "pair")
    yield Brought("half of it 0, undeclared", _one(pair.with_(half)), "half", NEAR)
    yield Brought(
        "half of it 0, declared", _one(pair.with_(half, more={"nodata": 0})), "half", NEAR
    )
    yield Brought(
        "half of it masked inside the file",
        lambda folder: [pair.write(folder / "i.tif", (half[0] > 0).astype(np.uint8) * 255)],
        "half",
        NEAR,
    )
    wild = half.astype(np.float32)
    wild[:, :, width // 2 :] = -3.4028234663852886e38
    yield Brought("half of it the least float32", _one(pair.with_(wild)), "half", NEAR)
    fine = pair.with_(v.repeat(4, 1).repeat(4, 2), transform=pair.transform * Affine.scale(0.25))
    yield Brought("exported at 2.5 m", _one(fine), "pair", NEAR)
    yield Brought("place of UTM, CRS of degrees", _one(pair.with_(v, crs="EPSG:4326")), "")
    yield Brought("no CRS, pixels of 10", _one(pair.with_(v, crs=None)), "")
    yield Brought(
        "points of control only", lambda folder: [_with_points(pair, folder)], "pair", NEAR
    )
    yield Brought("complex numbers", _one(pair.with_(v.astype(np.complex64))), "")
    yield Brought("ENVI, its .hdr given", lambda folder: [_envi(pair, folder)], "pair")
    yield from of_dates(pair)
    yield from of_names(pair)


def _with_points(image: Image, folder: Path) -> Path:
    _, height, width = image.values.shape
    points = [
        GroundControlPoint(row, column, *(image.transform * (column, row)))
        for row in (0, height)
        for column in (0, width)
    ]
    path = image.with_(image.values, transform=None).write(folder / "points.tif")
    with rasterio.open(path, "r+") as file:
        file.gcps = (points, image.crs)
    return path


def _envi(image: Image, folder: Path) -> Path:
    image.with_(image.values, more={"driver": "ENVI"}).write(folder / "pair.img")
    return folder / "pair.hdr"


def of_dates(pair: Image) -> Iterator[Brought]:
    """Yield dates as files, and dates that are not what they should be."""
    v = pair.values
    first, last = (pair.with_(part, names=COLOURS) for part in (v[:4], v[4:]))
    apart = pair.transform * Affine.translation(7.3, 2.2)
    cloud = last.values.copy()
    rng = np.random.default_rng(7)
    cloud[:, : cloud.shape[1] * 2 // 3] = rng.normal(7500, 300, (1, cloud.shape[1] * 2 // 3, 1))
    shifted = np.roll(last.values, (5, 5), (1, 2))
    yield Brought(
        "2 files, dates in their names, late one first",
        _some(("s2_20230803.tif", last), ("s2_20230420.tif", first)),
        "pair",
    )
    yield Brought("2 files without dates", _some(("a.tif", first), ("b.tif", last)), "pair")
    yield Brought(
        "2 files without dates, late one first", _some(("a.tif", last), ("b.tif", first)), "pair"
    )
    yield Brought(
        "3 dates",
        _some(("20230420.tif", first), ("20230603.tif", first), ("20230803.tif", last)),
        "pair",
    )
    yield Brought(
        "5 dates",
        _some(
            *((f"2023{m:02}01.tif", first) for m in (3, 4, 5)),
            *((f"2023{m:02}01.tif", last) for m in (7, 8)),
        ),
        "pair",
    )
    yield Brought("one file twice", _some(("a.tif", first), ("b.tif", first)), "pair")
    yield Brought(
        "dates of 3 days apart", _some(("20230420.tif", first), ("20230423.tif", last)), ""
    )
    yield Brought(
        "dates of 3 years apart", _some(("20200420.tif", first), ("20230803.tif", last)), ""
    )
    yield Brought(
        "second date on another grid",
        _some(("20230420.tif", first), ("20230803.tif", last.with_(last.values, transform=apart))),
        "",
    )
    yield Brought(
        "second date in degrees",
        _some(("20230420.tif", first), ("20230803.tif", _warped(last, "EPSG:4326"))),
        "",
    )
    yield Brought(
        "second date of 3 bands",
        _some(
            ("20230420.tif", first),
            ("20230803.tif", last.with_(last.values[:3], names=COLOURS[:3])),
        ),
        "",
    )
    yield Brought(
        "second date under cloud", _one(pair.with_(np.concatenate([v[:4], cloud]))), "pair"
    )
    part = v.copy()
    part[4:, :, : part.shape[2] // 2] = 0
    yield Brought("second date half 0, undeclared", _one(pair.with_(part)), "other half", NEAR)
    yield Brought(
        "second date half 0, declared",
        _one(pair.with_(part, more={"nodata": 0})),
        "other half",
        NEAR,
    )
    yield Brought("second date black", _one(pair.with_(np.concatenate([v[:4], v[4:] * 0]))), "pair")
    yield Brought(
        "second date 5 pixels off", _one(pair.with_(np.concatenate([v[:4], shifted]))), "pair"
    )
    bands = [
        (f"{c}.tif", pair.with_(one[None], names=()))
        for c, one in zip(("B02", "B03", "B04", "B08"), first.values[BLUE_FIRST], strict=True)
    ]
    yield Brought("one date, a file for each band", _some(*bands), "first")
    both = [
        (f"T33_2023{d}_{c}_10m.tif", pair.with_(one[None], names=()))
        for d, of in (("0420", first), ("0803", last))
        for c, one in zip(("B02", "B03", "B04", "B08"), of.values[BLUE_FIRST], strict=True)
    ]
    yield Brought("two dates, a file for each band", _some(*both), "pair")


def of_names(pair: Image) -> Iterator[Brought]:
    """Yield what other programs call bands."""
    v = pair.values
    order = [2, 1, 0, 3, 6, 5, 4, 7]
    yield Brought(
        "B2 ... B8, B2_1 ... B8_1",
        _one(pair.with_(v[order], names=(*CODES, *(f"{c}_1" for c in CODES)))),
        "pair",
    )
    yield Brought(
        "0_B2 ... 1_B8",
        _one(pair.with_(v[order], names=tuple(f"{d}_{c}" for d in (0, 1) for c in CODES))),
        "pair",
    )
    scene = ("20230420T100559_20230420T100711_T33UVP", "20230803T100601_20230803T101021_T33UVP")
    yield Brought(
        "Earth Engine's toBands",
        _one(pair.with_(v[order], names=tuple(f"{d}_{c}" for d in scene for c in CODES))),
        "pair",
    )
    ndvi = [
        (1e4 * (d[3].astype(float) - d[0]) / (d[3].astype(float) + d[0] + 1)).clip(0)
        for d in (v[:4], v[4:])
    ]
    ten = np.concatenate([v[:4], ndvi[0][None], v[4:], ndvi[1][None]]).astype(np.uint16)
    yield Brought(
        "with an NDVI behind each date",
        _one(pair.with_(ten, names=(*COLOURS, "NDVI", *COLOURS, "NDVI"))),
        "pair",
    )
    yield Brought(
        "with an NDVI behind each date, no names", _one(pair.with_(ten, names=())), "pair"
    )
    twelve = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
    place = [2, 2, 1, 0, 3, 3, 3, 3, 3, 3, 0, 0]
    many = np.concatenate([v[:4][place], v[4:][place]])
    yield Brought(
        "two products of 12 bands in one file", _one(pair.with_(many, names=twelve * 2)), "pair"
    )
    yield Brought(
        "two products of 12 bands in one file, no names", _one(pair.with_(many, names=())), "pair"
    )
    steps = [np.quantile(band, np.linspace(0, 1, 256)) for band in v]
    own = np.stack([np.interp(band, s, np.arange(256)) for band, s in zip(v, steps, strict=True)])
    yield Brought("each band equalised to bytes", _one(pair.with_(own.astype(np.uint8))), "pair")


def of_chip(chip: Image, four: Image) -> Iterator[Brought]:
    """Yield the aerial image as other programs would have written it."""
    v = chip.values
    full = np.full_like(v[:1], 255)
    rgba = (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha)
    plain = (ColorInterp.gray, *(ColorInterp.undefined,) * 3)
    edged = full.copy()
    edged[:, :, SIZE // 2 :] = 0
    cut = np.where(edged > 0, v, 0)
    alpha = np.concatenate([v, full])
    yield Brought("with an alpha", _one(chip.with_(alpha, colours=rgba)), "chip")
    yield Brought(
        "with an alpha that is not called so", _one(chip.with_(alpha, colours=plain)), "chip"
    )
    hidden = chip.with_(np.concatenate([v, edged]), colours=rgba)
    yield Brought("alpha hides one half", _one(hidden), "chip half", NEAR)
    yield Brought(
        "alpha hides one half, not called so",
        _one(chip.with_(np.concatenate([v, edged]), colours=plain)),
        "chip half",
        NEAR,
    )
    yield Brought("half black, undeclared", _one(chip.with_(cut)), "chip half", NEAR)
    yield Brought(
        "half white, undeclared",
        _one(chip.with_(np.where(edged > 0, v, 255).astype(np.uint8))),
        "chip half",
        NEAR,
    )
    yield Brought(
        "half white, declared",
        _one(chip.with_(np.where(edged > 0, v, 255).astype(np.uint8), more={"nodata": 255})),
        "chip half",
        NEAR,
    )
    nowhere = {"transform": None, "crs": None}
    png, jpeg = {"driver": "PNG"}, {"driver": "JPEG", "QUALITY": 20}
    yield Brought(
        "PNG of 16 bits, nowhere",
        _one(chip.with_(v.astype(np.uint16) * 257, more=png, **nowhere), "i.png"),
        "",
    )
    yield Brought("JPEG, nowhere", _one(chip.with_(v, more=jpeg, **nowhere), "i.jpg"), "")
    yield Brought("PNG with a world file, no CRS", lambda folder: [_world(chip, folder)], "")
    yield Brought(
        "JPEG of quality 20 in a TIFF",
        _one(
            chip.with_(
                v,
                more={
                    "compress": "JPEG",
                    "JPEG_QUALITY": 20,
                    "photometric": "YCBCR",
                    "interleave": "pixel",
                },
            )
        ),
        "chip",
        0.4,
    )
    yield Brought(
        "blue first, called red first", _one(chip.with_(v[::-1].copy(), colours=rgba[:3])), "chip"
    )
    yield Brought(
        "blue first, not called anything",
        _one(chip.with_(v[::-1].copy(), colours=plain[:3])),
        "chip",
    )
    grey = v.mean(0, keepdims=True).astype(np.uint8)
    yield Brought("grey", _one(chip.with_(grey)), "chip")
    yield Brought("grey three times", _one(chip.with_(grey.repeat(3, 0), colours=rgba[:3])), "chip")
    yield Brought("palette of 256 colours", lambda folder: [_palette(chip, folder)], "chip", 0.4)
    for name, values in {
        "11 bits": (v.astype(np.uint16) * 8),
        "0 to 1": (v / 255).astype(np.float32),
        "0 to 255 in floats": v.astype(np.float32),
        "16 bits of 257 times": v.astype(np.uint16) * 257,
        "signed bytes": (v.astype(np.int16) - 128).astype(np.int16),
    }.items():
        yield Brought(name, _one(chip.with_(values, colours=rgba[:3])), "chip")
    yield Brought(
        "flat colours, a drawn map", _one(chip.with_((v // 128) * 127, colours=rgba[:3])), "chip"
    )
    small = v[:, ::10, ::10].repeat(10, 1).repeat(10, 2)[:, :SIZE, :SIZE]
    yield Brought("10 m exported at 1 m", _one(chip.with_(small, colours=rgba[:3])), "chip")
    smooth = np.stack([_smooth(b[::10, ::10], 10)[:SIZE, :SIZE] for b in v])
    yield Brought(
        "10 m exported at 1 m, smoothly", _one(chip.with_(smooth, colours=rgba[:3])), "chip"
    )
    yield Brought(
        "pixels of 5 cm",
        _one(chip.with_(v, transform=chip.transform * Affine.scale(0.05), colours=rgba[:3])),
        "",
    )
    yield Brought("8 by 8 pixels", _one(chip.with_(v[:, :8, :8], colours=rgba[:3])), "")
    yield Brought("classes of a map", _one(chip.with_((v[:1] // 86).astype(np.uint8))), "")
    f = four.values
    yield Brought(
        "near infrared, red, green (CIR) called red, green, blue",
        _one(four.with_(f[[3, 0, 1]], names=(), colours=rgba[:3])),
        "four rgb",
    )
    yield Brought(
        "near infrared, red, green, not called anything",
        _one(four.with_(f[[3, 0, 1]], names=(), colours=plain[:3])),
        "four rgb",
    )
    yield Brought(
        "red, green, blue, near infrared, called alpha",
        _one(four.with_(f, names=(), colours=rgba)),
        "four",
    )
    yield Brought(
        "infrared in 16 bits, colours in bytes",
        _one(four.with_(np.concatenate([f[:3].astype(np.uint16), f[3:].astype(np.uint16) * 20]))),
        "",
    )


def _smooth(band: np.ndarray, times: int) -> np.ndarray:
    from scipy import ndimage

    return np.clip(ndimage.zoom(band.astype(float), times, order=1), 0, 255).astype(np.uint8)


def _world(image: Image, folder: Path) -> Path:
    t = image.transform
    plain = image.with_(image.values, transform=None, crs=None, more={"driver": "PNG"})
    path = plain.write(folder / "i.png")
    lines = (t.a, t.d, t.b, t.e, t.c + t.a / 2, t.f + t.e / 2)
    path.with_suffix(".pgw").write_text("\n".join(f"{one:.12f}" for one in lines))
    return path


def _palette(image: Image, folder: Path) -> Path:
    from PIL import Image as Picture

    seen = Picture.fromarray(np.moveaxis(image.values, 0, 2)).quantize(256)
    path = image.with_(np.asarray(seen)[None], more={"photometric": "palette"}).write(
        folder / "p.tif"
    )
    colours = np.array(seen.getpalette()).reshape(-1, 3)
    with rasterio.open(path, "r+") as file:
        file.write_colormap(1, {k: (*map(int, c), 255) for k, c in enumerate(colours)})
    return path


def others(data: Path) -> Iterator[Brought]:
    """Yield what is no image of fields at all."""
    photo = min((data / WHEAT).glob("*.jpg"))
    yield Brought("a photograph of wheat", lambda _: [photo], "")
    rng = np.random.default_rng(1)
    height = np.cumsum(rng.normal(0, 1, (1, 300, 300)), 2).astype(np.float32) + 400
    utm = Affine(10, 0, 359130, 0, -10, 5352340)
    yield Brought("heights", _one(Image(height, utm, CRS.from_epsg(32633))), "")
    yield Brought(
        "an index from -1 to 1", _one(Image(np.sin(height), utm, CRS.from_epsg(32633))), ""
    )
    one = np.full((8, 300, 300), 1200, np.uint16)
    yield Brought("one number everywhere", _one(Image(one, utm, CRS.from_epsg(32633))), "")


def references(pair: Image, chip: Image, four: Image) -> dict[str, Image]:
    """Return images whose maps are right."""
    half, wide = pair.values.copy(), pair.values.shape[2] // 2
    return {
        "pair": pair,
        "half": pair.with_(half[:, :, :wide]),
        "other half": Image(
            half[:, :, wide:], pair.transform * Affine.translation(wide, 0), pair.crs, pair.names
        ),
        "first": pair.with_(pair.values[:4], names=COLOURS),
        "chip": chip,
        "chip half": chip.with_(chip.values[:, :, : SIZE // 2]),
        "four": four,
        "four rgb": four.with_(four.values[:3], names=COLOURS[:3]),
    }


def mapped(files: Files, out: Path) -> tuple[maps.MapJob, int, float, bool]:
    """Map files; return the job, the number and area of fields, and whether the table warns."""
    options = maps.MapOptions()
    job = maps.prepare(list(files), None, options)
    path, frame = maps.map_image(job, out, options, force=True)
    said = b"warnings" in path.read_bytes()
    return job, len(frame), float(frame["metrics:area"].sum()), said


def outcome(
    case: Brought, folder: Path, right: dict[str, tuple[int, float]]
) -> tuple[str, str, int]:
    """Return what came of a case, what is said first, and its fields."""
    try:
        job, count, area, said = mapped(case.make(folder), folder / "out.parquet")
    except SelionError as error:
        return "refused", str(error), 0
    wanted = right.get(case.like)
    warning = next(iter(job.warnings), "")
    alike = wanted is not None and all(
        abs(new / max(old, 1) - 1) <= case.tolerance
        for new, old in zip((count, area), wanted, strict=True)
    )
    if alike:
        return "right", warning or next(iter(job.look.said if job.look else ()), ""), count
    return ("warned" if said and warning else "WRONG"), warning, count


def say(case: Brought, folder: Path) -> None:
    """Print all that a look says, without a map."""
    try:
        model, said, warnings = opening.advice_of(opening.open_dates(case.make(folder)), None)
    except SelionError as error:
        model, said, warnings = "refused", [], [str(error)]
    print(f"\n{case.name}: {model}")
    for text in (*said, *(f"Warning: {one}" for one in warnings)):
        print(f"    {text}")


def compared(
    doc: str | None, cases: Callable[[Path, Image, Image, Image], Iterable[Brought]]
) -> None:
    """Map what ``cases`` yields of DATA, the pair, the chip and the four bands; print the table."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", default="", help="of cases whose name has this word")
    parser.add_argument("--say", action="store_true")
    given = parser.parse_args()
    names = tuple(f"{date}:{colour}" for date in ("window_a", "window_b") for colour in COLOURS)
    pair = _read(given.data / PAIR, 300, names)
    chip, four = _read(given.data / CHIP, SIZE), _read(given.data / FOUR, SIZE, COLOURS)
    found = [case for case in cases(given.data, pair, chip, four) if given.only in case.name]
    right: dict[str, tuple[int, float]] = {}
    totals: Counter[str] = Counter()
    for name, image in {} if given.say else references(pair, chip, four).items():
        if name in {case.like for case in found}:
            with tempfile.TemporaryDirectory() as folder:
                _, count, area, _ = mapped(_one(image)(Path(folder)), Path(folder) / "out.parquet")
            right[name] = (count, area)
            print(f"right map of {name}: {count} fields, {area / 1e4:.1f} ha")
    print("\n| files | outcome | fields | right | what is said |\n|---|---|---:|---:|---|")
    for case in found:
        with tempfile.TemporaryDirectory() as folder:
            if given.say:
                say(case, Path(folder))
                continue
            what, sentence, count = outcome(case, Path(folder), right)
        totals[what] += 1
        wanted = right.get(case.like, ("",))[0]
        print(f"| {case.name} | {what} | {count or ''} | {wanted} | {sentence[:140]} |", flush=True)
    print(f"\n{sum(totals.values())} inputs: {dict(totals)}", file=sys.stdout)


def cases(data: Path, pair: Image, chip: Image, four: Image) -> Iterator[Brought]:
    """Yield all of them."""
    yield from of_pair(pair)
    yield from of_chip(chip, four)
    yield from others(data)


if __name__ == "__main__":
    compared(__doc__, cases)
