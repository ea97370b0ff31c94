"""Wrong and odd inputs, and what 'selion map' makes of each: the right map, a refusal or a warning.

    python bench/look.py PAIR.tif [--size PIXELS] [--only products]

PAIR.tif is a two-date image of red, green, blue and near infrared, in digital numbers.  Each case
is made from it, written, and mapped; "wrong" would be another map without a word.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine

from selion.errors import SelionError
from selion.pipeline import maps

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import product_toys as toys
import stac_items

COLOURS = ("red", "green", "blue", "nir")
NAMES = tuple(f"{date}:{colour}" for date in ("window_a", "window_b") for colour in COLOURS)
TOLERANCE = 0.02
"""A map is the right one if its fields' number and area differ by no more than this share."""


@dataclass(frozen=True)
class Case:
    """An input made of the right one."""

    name: str
    values: np.ndarray
    """(band, y, x)."""
    names: tuple[str, ...] | None = NAMES
    zoom: float = 1.0
    """Times that pixels are larger."""
    more: dict[str, Any] = field(default_factory=dict)
    """Of the file: nodata."""
    model: str | None = "fields-s2-2season"


def cases(pair: np.ndarray) -> Iterator[Case]:
    """Yield wrong and odd inputs made of (8, y, x) digital numbers."""
    yield from numbers(pair)
    yield from mixed(pair)
    yield from orders(pair)
    yield from odd(pair)


def numbers(pair: np.ndarray) -> Iterator[Case]:
    """Yield the same reflectances in other numbers."""
    exact, whole = pair.astype(np.float64), pair.astype(np.int32)
    cloud = exact / 10_000
    cloud[:, :3, :3] = 2.1
    for name, values in {
        "reflectance, float32": (exact / 10_000).astype(np.float32),
        "reflectance, float64": exact / 10_000,
        "reflectance, some above 2": cloud.astype(np.float32),
        "percent, float32": (exact / 100).astype(np.float32),
        "percent, float64": exact / 100,
        "digital, int16": whole.astype(np.int16),
        "digital, int32": whole,
        "digital, float32": exact.astype(np.float32),
        "digital plus 1000": (whole + 1000).astype(np.uint16),
        "digital plus 1000, float32": (exact + 1000).astype(np.float32),
        "digital plus 2000": (whole + 2000).astype(np.uint16),
        "digital minus 1000, int16": (whole - 1000).astype(np.int16),
        "digital minus 2000, int16": (whole - 2000).astype(np.int16),
        "digital minus 1000, cut at 0": np.clip(whole - 1000, 0, None).astype(np.uint16),
        "digital minus 2000, cut at 0": np.clip(whole - 2000, 0, None).astype(np.uint16),
        "reflectance plus 0.1": (exact / 10_000 + 0.1).astype(np.float32),
        "reflectance minus 0.1": (exact / 10_000 - 0.1).astype(np.float32),
        "reflectance minus 0.2": (exact / 10_000 - 0.2).astype(np.float32),
        "Landsat's numbers": np.round((exact / 10_000 + 0.2) / 2.75e-5).astype(np.uint16),
        "Landsat's numbers, float32": ((exact / 10_000 + 0.2) / 2.75e-5).astype(np.float32),
        "bytes of 3500": np.clip(exact / 3500 * 255, 0, 255).astype(np.uint8),
        "bytes of 10000": np.clip(exact / 10_000 * 255, 0, 255).astype(np.uint8),
        "bytes in uint16": np.clip(exact / 3500 * 255, 0, 255).astype(np.uint16),
        "bytes cut off": np.clip(pair, 0, 255).astype(np.uint8),
        "percent in bytes": (exact / 100).round().astype(np.uint8),
        "per mille": (exact / 10).round().astype(np.uint16),
        "16 bits in full": np.clip(exact * 6.5535, 0, 65_535).astype(np.uint16),
        "logarithms": np.log(np.maximum(exact, 1)).astype(np.float32),
    }.items():
        yield Case(name, values)


def mixed(pair: np.ndarray) -> Iterator[Case]:
    """Yield dates of unlike numbers, and stray pixels."""
    whole, first = pair.astype(np.float64), pair[:4].astype(np.float64)
    last = whole[4:]
    stray = np.clip(whole / 3500 * 255, 0, 255).astype(np.uint16)
    stray[:, 5, 5] = 256
    bright = stray.copy()
    bright[:, 5, 5] = 65_535
    for name, values in {
        "digital and reflectance": np.concatenate([first, last / 10_000]),
        "reflectance and digital": np.concatenate([first / 10_000, last]),
        "digital and percent": np.concatenate([first, last / 100]),
        "plus 1000 and digital": np.concatenate([first + 1000, last]),
        "digital and plus 1000": np.concatenate([first, last + 1000]),
        "percent and reflectance": np.concatenate([first / 100, last / 10_000]),
        "minus 2000 and plus 1000": np.concatenate([first - 2000, last + 1000]),
        "bytes and digital": np.concatenate([np.clip(first / 3500 * 255, 0, 255).round(), last]),
    }.items():
        yield Case(name, values.astype(np.float32))
    yield Case("bytes, one pixel 256", stray)
    yield Case("bytes, one pixel 65535", bright)


def orders(pair: np.ndarray) -> Iterator[Case]:
    """Yield other orders and names of bands."""
    bgrn, swapped = [2, 1, 0, 3, 6, 5, 4, 7], [4, 5, 6, 7, 0, 1, 2, 3]
    woven, first = [0, 4, 1, 5, 2, 6, 3, 7], [3, 0, 1, 2, 7, 4, 5, 6]
    codes = ("B02", "B03", "B04", "B08")
    yield Case("no names", pair, None)
    yield Case("no names, blue first", pair[bgrn], None)
    yield Case("no names, near infrared first", pair[first], None)
    yield Case("no names, interleaved", pair[woven], None)
    yield Case("no names, interleaved, blue first", pair[bgrn][woven], None)
    yield Case("no names, reflectance", (pair / 10_000).astype(np.float32), None)
    yield Case("no names, blue first, plus 1000", pair[bgrn] + 1000, None)
    yield Case("B02,B03,B04,B08 twice", pair[bgrn], codes * 2)
    yield Case("B02,B03,B04,B08 twice, dates reordered", pair[bgrn][swapped], codes * 2)
    yield Case("B02,B02,B03,B03 ...", pair[bgrn][woven], tuple(np.repeat(codes, 2).tolist()))
    yield Case("red,green,blue,nir twice", pair, COLOURS * 2)
    yield Case("R_a ... NIR_b", pair, tuple(f"{c}_{d}" for d in "ab" for c in ("R", "G", "B", "N")))
    yield Case("dated names, reordered", pair[swapped], NAMES[4:] + NAMES[:4])
    yield Case("planting and harvest", pair[swapped], _season("harvest") + _season("planting"))
    yield Case("days as dates", pair, _season("2023-04-20") + _season("2023-08-03"))
    yield Case("red and near infrared exchanged", pair[[3, 1, 2, 0, 7, 5, 6, 4]])
    yield Case("near infrared called red, no names else", pair[first], COLOURS * 2)
    yield Case("extra bands without a name", np.concatenate([pair, pair[:2]]), (*NAMES, "x", "y"))
    yield Case("one band too few", pair[:7], NAMES[:7])


def _season(name: str) -> tuple[str, ...]:
    return tuple(f"{name}:{colour}" for colour in COLOURS)


def odd(pair: np.ndarray) -> Iterator[Case]:
    """Yield other pixels, single dates, and holes that nobody declares."""
    border = pair.astype(np.int16)
    border[:, :, :30] = -9999
    yield Case("border of -9999, undeclared", border)
    yield Case("border of -9999, declared", border, more={"nodata": -9999})
    holes = (pair / 10_000).astype(np.float32)
    holes[:, :, :30] = np.nan
    yield Case("border of NaN", holes)
    for metres in (20, 30, 100):
        step = metres // 10
        yield Case(f"pixels of {metres} m", pair[:, ::step, ::step], zoom=step)
    for name, values in {
        "one date": pair[:4],
        "one date, reflectance": (pair[:4] / 10_000).astype(np.float32),
        "one date, plus 1000": pair[:4] + 1000,
        "one date, bytes": np.clip(pair[:4] / 3500 * 255, 0, 255).astype(np.uint8),
    }.items():
        yield Case(name, values, COLOURS, model=None)
    yield Case("one date for the model of two", pair[:4], COLOURS)
    yield Case("one date, no names", pair[:4], None, model=None)
    yield Case("colours of one date", pair[:3], COLOURS[:3], model=None)
    yield Case("the same date twice", np.concatenate([pair[:4], pair[:4]]))


DAYS = ("2023-04-20", "2023-08-03")
Writer = Callable[[Path, np.ndarray, str], Path]
"""Writes (4, y, x) digital numbers of a day as a product below a folder, and returns its path."""


def products(place: dict[str, Any]) -> Iterator[tuple[str, tuple[Writer, Writer], bool]]:
    """Yield names of products, their writers for both dates, and whether a warning is wanted."""

    def safe(folder: Path, values: np.ndarray, day: str, **more: Any) -> Path:
        height, width = values.shape[1:]
        scl = np.full((-(-height // 2), -(-width // 2)), 4)
        more = {"scl": scl, **more}
        return toys.write_safe(folder, values + 1000, day, **more, **place)

    def zipped(folder: Path, values: np.ndarray, day: str) -> Path:
        return toys.packed(safe(folder, values, day))

    def metadata(folder: Path, values: np.ndarray, day: str) -> Path:
        return safe(folder, values, day) / "MTD_MSIL2A.xml"

    def old(folder: Path, values: np.ndarray, day: str) -> Path:
        told = {"offsets": (), "baseline": "02.14"}
        return safe(folder, np.asarray(values.astype(int) - 1000), day, **told)

    def top(folder: Path, values: np.ndarray, day: str) -> Path:
        return safe(folder, values, day, level="1C", scl=None)

    def cloudy(folder: Path, values: np.ndarray, day: str) -> Path:
        height, width = values.shape[1:]
        scl = np.full((-(-height // 2), -(-width // 2)), 4)
        scl[: len(scl) // 3] = 9
        return safe(folder, values, day, scl=scl)

    def landsat(folder: Path, values: np.ndarray, day: str, **more: Any) -> Path:
        numbers = np.round((values / 10_000 + 0.2) / 2.75e-5)
        return toys.write_landsat(folder, numbers, day, **more, **place)

    def tar(folder: Path, values: np.ndarray, day: str) -> Path:
        return toys.in_tar(landsat(folder, values, day, form="xml", number=9))

    def bare(folder: Path, values: np.ndarray, day: str) -> Path:
        return landsat(folder, values, day, form="", number=7)

    def planet(folder: Path, values: np.ndarray, day: str) -> Path:
        kind = "AnalyticMS_SR_harmonized_clip"
        return toys.write_planet(folder / day, values[[2, 1, 0, 3]], kind, day=day, **place)

    def eight(folder: Path, values: np.ndarray, day: str) -> Path:
        order = [2, 2, 1, 1, 1, 0, 3, 3]
        return toys.write_planet(folder / day, values[order], day=day, **place)

    def radiance(folder: Path, values: np.ndarray, day: str) -> Path:
        numbers, factors = values[[2, 1, 0, 3]] * 4, (2.5e-5,) * 4
        return toys.write_planet(folder / day, numbers, "AnalyticMS", factors, day=day, **place)

    def item(style: str, added: int) -> Writer:
        def wrote(folder: Path, values: np.ndarray, day: str) -> Path:
            height, width = values.shape[1:]
            scl = np.full((-(-height // 2), -(-width // 2)), 4, np.uint8)
            hrefs = {band: f"{band}.tif" for band in stac_items.BANDS}
            told = stac_items.item(style=style, time=f"{day}T10:00:31Z", hrefs=hrefs)
            for band, part in zip(COLOURS, values, strict=True):
                toys.write_raster(
                    folder / day / f"{band}.tif", (part + added).astype(np.uint16), "GTiff", **place
                )
            toys.write_raster(folder / day / "scl.tif", scl, "GTiff", zoom=2, **place)
            path = folder / day / "item.json"
            path.write_text(json.dumps(told))
            return path

        return wrote

    yield "two .SAFE folders", (safe, safe), False
    yield "two .SAFE, zipped", (zipped, zipped), False
    yield "two MTD_MSIL2A.xml", (metadata, metadata), False
    yield "a .SAFE and an older baseline", (safe, old), False
    yield "a .SAFE and its zip, one cloudy", (safe, cloudy), True
    yield "two .SAFE of L1C", (top, top), True
    yield "two Landsat folders", (landsat, landsat), False
    yield "two Landsat .tar", (tar, tar), False
    yield "two Landsat folders without metadata", (bare, bare), False
    yield "Landsat and Sentinel-2", (landsat, safe), False
    yield "two PlanetScope images of 4 bands", (planet, planet), False
    yield "two PlanetScope images of 8 bands", (eight, eight), False
    yield "two PlanetScope radiances", (radiance, radiance), True
    for style, added in (
        ("earth-search", 0), ("c1", 1000), ("planetary-computer", 1000), ("cdse", 1000),
    ):  # fmt: skip
        yield f"two STAC items, {style}", (item(style, added), item(style, added)), False


def write(case: Case, path: Path, like: dict[str, Any]) -> Path:
    """Write a case as a GeoTIFF."""
    count, height, width = case.values.shape
    profile = like | {"count": count, "height": height, "width": width, "nodata": None}
    profile |= {
        "dtype": case.values.dtype,
        "transform": like["transform"] * Affine.scale(case.zoom),
    }
    with rasterio.open(path, "w", **(profile | case.more)) as file:
        file.write(case.values)
        for k, name in enumerate(case.names or (), 1):
            file.set_band_description(k, name)
    return path


def outcome(
    path: Path | list[Path], model: str | None, right: tuple[int, float] | None
) -> tuple[str, str, int]:
    """Map a file, or one for each date; return what came of it, what is said, and the fields."""
    options = maps.MapOptions()
    try:
        job = maps.prepare(path, model, options)
        first = path[0].parent / "both" if isinstance(path, list) else path
        out, frame = maps.map_image(job, first.with_suffix(".parquet"), options, force=True)
    except SelionError as error:
        return "refused", str(error), 0
    count, area = len(frame), float(frame["metrics:area"].sum())
    if right is not None and all(
        abs(new / max(old, 1) - 1) <= TOLERANCE
        for new, old in zip((count, area), right, strict=True)
    ):
        return "right", next(iter(job.look.said), ""), count
    said = b"warnings" in out.read_bytes()
    if right is None:
        return f"{count} {area}", "", count
    return ("warned", job.warnings[0], count) if said and job.warnings else ("WRONG", "", count)


def main() -> None:
    """Print the matrix."""
    parser = argparse.ArgumentParser()
    parser.add_argument("pair", type=Path)
    parser.add_argument("--size", type=int, default=10_000)
    parser.add_argument("--only", choices=["files", "products"])
    given = parser.parse_args()
    with rasterio.open(given.pair) as file:
        pair, like = file.read()[:, : given.size, : given.size], file.profile
    like |= {"tiled": False, "driver": "GTiff"}
    for key in ("blockxsize", "blockysize"):
        like.pop(key, None)
    totals: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        said, _, _ = outcome(
            write(Case("right", pair), Path(folder) / "right.tif", like), "fields-s2-2season", None
        )
        count, area = said.split()
        whole = (int(count), float(area))
        border = next(case for case in odd(pair) if case.more)
        said, _, _ = outcome(
            write(border, Path(folder) / "border.tif", like), "fields-s2-2season", None
        )
        cut = (int(said.split()[0]), float(said.split()[1]))
        print(f"the right input: {count} fields, {float(area) / 1e4:.0f} ha\n")
        print("| input | outcome | fields | what is said |\n|---|---|---:|---|")
        for k, case in enumerate([] if given.only == "products" else cases(pair)):
            path = write(case, Path(folder) / f"{k}.tif", like)
            bordered = case.name.startswith("border")
            what, sentence, found = outcome(path, case.model, cut if bordered else whole)
            totals[what] += 1
            print(f"| {case.name} | {what} | {found or ''} | {sentence[:110]} |", flush=True)
        if not given.only or given.only == "products":
            place = {"crs": like["crs"], "transform": like["transform"]}
            for name, writers, warned in products(place):
                with tempfile.TemporaryDirectory() as inner:
                    parts = zip(writers, (pair[:4], pair[4:]), DAYS, strict=True)
                    paths = [one(Path(inner), values, day) for one, values, day in parts]
                    what, sentence, found = outcome(paths[::-1], None, whole)
                what = "right, warned" if what == "right" and warned else what
                totals[what] += 1
                print(f"| {name} | {what} | {found or ''} | {sentence[:110]} |", flush=True)
    print(f"\n{sum(totals.values())} inputs: {dict(totals)}")


if __name__ == "__main__":
    main()
