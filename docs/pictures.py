"""Make the pictures of the pages anew, from real imagery beside the checkout and simulations.

python docs/pictures.py ../shared/data                                # all of them
python docs/pictures.py ../shared/data inn evaluating --work FOLDER   # some; FOLDER keeps the maps

Imagery is Sentinel-2 (contains modified Copernicus Sentinel data), NAIP (USDA, public domain) and
wheat (Zenkl and others 2022, CC BY-SA 4.0: so are its pictures); labelling and country are
simulated.  The folder docs/pictures holds what this writes, and what runs/gallery.py photographs
of pages.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from PIL import Image, ImageDraw, ImageFont

from selion import store
from selion.pipeline import maps
from selion.reports import picture

TARGET = Path(__file__).resolve().with_name("pictures")
LARGEST = 72_000
"""Bytes of a picture."""
PAIR = Path("satellite/s2_unlabelled/ftw_inn_pair/s2_pair_8band.tif")
CHIPS = Path("satellite/vhr_naip_usa")
WHEAT = Path("closerange/ews_wheat")
UNSEEN = "naip_39.6679_-95.4288"
"""One of the seven chips that the training of SMALL did not see: every fourth by name, from the
third."""
SMALL = "fields-rgb-vhr"


def save(image: np.ndarray, name: str, longest: int = 900, quality: int = 72) -> None:
    """Write (y, x, 3) uint8 as WebP of at most LARGEST bytes."""
    TARGET.mkdir(exist_ok=True)
    shown = Image.fromarray(np.ascontiguousarray(image))
    shown.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    for less in range(quality, 20, -6):
        shown.save(TARGET / f"{name}.webp", quality=less, method=6)
        if (TARGET / f"{name}.webp").stat().st_size <= LARGEST:
            break
    print(f"{name}.webp {shown.size} {(TARGET / f'{name}.webp').stat().st_size // 1024} KiB")


def beside(*parts: np.ndarray, gap: int = 8) -> np.ndarray:
    """Put pictures of one height side by side."""
    white = np.full((parts[0].shape[0], gap, 3), 255, np.uint8)
    row = [each for part in parts for each in (white, part)]
    return np.concatenate(row[1:], 1)


def mapped(image: Path, folder: Path, model: str | None = None) -> Any:
    """Map an image, unless that was done; return its table."""
    out = folder / f"{image.stem}.parquet"
    if out.exists():
        return gpd.read_parquet(out)
    options = maps.MapOptions()
    return maps.map_image(maps.prepare(str(image), model, options), out, options, force=True)[1]


def seen(path: Path, factor: int = 1) -> tuple[np.ndarray, Any]:
    """Return an image stretched for the eye, enlarged, and the grid of that picture."""
    source = store.open_raster(path)
    shown, _ = picture.thumbnail(source, max(source.grid.shape))
    return picture.enlarge(shown, factor), picture.zoomed(source.grid, factor)


# ---- one function a picture, named like the page that shows it


def inn(data: Path, work: Path) -> None:
    """Draw before and after of the slider, and the first picture of the README."""
    plain, grid = seen(data / PAIR, 2)
    save(plain, "inn", 1000)
    save(picture.draw_outlines(plain, mapped(data / PAIR, work), grid), "inn_fields", 1000)


def mapping(data: Path, work: Path) -> None:
    """Draw an aerial image, its outlines, and its fields by confidence: dark is doubtful."""
    path = data / CHIPS / "images" / f"{UNSEEN}.tif"
    plain, grid = seen(path)
    fields = mapped(path, work, SMALL)
    sure = np.clip((fields["confidence"].to_numpy() - 0.4) / 0.6, 0, 1)
    ramp = [_ramp(float(value)) for value in sure]
    filled = picture.fill_fields(plain, fields, grid, ramp, opacity=0.7)
    part = (slice(420, 860), slice(480, 920))  # one pixel of the chip is one of the picture
    lined = picture.draw_outlines(_dimmed(plain, 0.8), fields, grid)
    save(beside(plain[part], lined[part], filled[part]), "mapping", 1340)


def _ramp(value: float) -> str:
    """Return a colour between purple (0) and yellow (1), of equal steps for the eye."""
    low, middle, high = (68, 1, 84), (33, 145, 140), (253, 231, 37)
    a, b, t = (low, middle, 2 * value) if value < 0.5 else (middle, high, 2 * value - 1)
    return "#" + "".join(f"{round(x + (y - x) * t):02x}" for x, y in zip(a, b, strict=True))


def _dimmed(image: np.ndarray, share: float = 0.65) -> np.ndarray:
    return (image * share).astype(np.uint8)


def _truth(data: Path) -> tuple[Any, Any]:
    """Return the drawn fields of the chip that is shown, as ids and as outlines."""
    ids = store.open_raster(data / CHIPS / "instances" / f"{UNSEEN}.tif")
    values = ids.read((slice(0, ids.grid.shape[0]), slice(0, ids.grid.shape[1]))).values[0]
    table = gpd.read_parquet(data / CHIPS / "fields.parquet")
    west, south, east, north = ids.grid.extent.to_crs("EPSG:4326").boundingbox
    return values, table.to_crs("EPSG:4326").cx[west:east, south:north]


def evaluating(data: Path, work: Path) -> None:
    """Draw what people drew, missed in red, and what was found, what nobody drew in orange."""
    path = data / CHIPS / "images" / f"{UNSEEN}.tif"
    plain, grid = seen(path)
    fields = mapped(path, work, SMALL).to_crs("EPSG:32615")
    _, drawn = _truth(data)
    drawn = drawn.to_crs("EPSG:32615")
    best = [_best_iou(shape, fields.geometry) for shape in drawn.geometry]
    ours = [_best_iou(shape, drawn.geometry) for shape in fields.geometry]
    truth = picture.fill_fields(
        plain, drawn, grid, ["#1fbf5f" if one > 0.5 else "#e04040" for one in best], opacity=0.5
    )
    found = picture.fill_fields(
        plain, fields, grid, ["#1fbf5f" if one > 0.5 else "#f0a020" for one in ours], opacity=0.5
    )
    hits = sum(one > 0.5 for one in best)
    print(f"evaluating: {hits} of {len(best)} drawn fields found, {len(ours) - hits} others")
    save(beside(plain, truth, found), "evaluating")


def _best_iou(shape: Any, others: Any) -> float:
    near = others.iloc[others.sindex.query(shape, predicate="intersects")]
    shared = near.intersection(shape).area
    return float((shared / (near.area + shape.area - shared)).max()) if len(near) else 0.0


def accuracy(data: Path, work: Path) -> None:
    """Draw the units of a sample, by stratum, on the Inn valley."""
    plain, grid = seen(data / PAIR, 2)
    fields = mapped(data / PAIR, work)
    where, drawn = grid.extent.to_crs("EPSG:4326").boundingbox, work / "sample"
    if not drawn.exists():
        area = ",".join(str(side) for side in where)
        words = ["sample", area, str(work / f"{PAIR.stem}.parquet"), "-o", str(drawn)]
        _command(*words, "--count", "300", "-q")
    queue = gpd.read_parquet(drawn / "queue.parquet").to_crs(str(grid.crs))
    key = pd.read_csv(drawn / "key.csv").set_index("id")["stratum"]
    image = Image.fromarray(picture.draw_outlines(_dimmed(plain), fields, grid))
    pen = ImageDraw.Draw(image)
    for name, shape in zip(queue["id"], queue.geometry, strict=True):
        x, y = ~grid.transform * (shape.centroid.x, shape.centroid.y)
        pen.ellipse((x - 7, y - 7, x + 7, y + 7), _kind(str(key[name])), "black")
    save(np.asarray(image), "accuracy")


def _kind(stratum: str) -> str:
    """Return the colour of a stratum: in a field, near one, or away from all."""
    return (
        "#ffd21f"
        if "near" not in stratum and "other" not in stratum
        else ("#ff7a45" if "near" in stratum else "#6ecbff")
    )


def _command(*words: str) -> None:
    from selion.cli.main import main as command

    command(list(words))


def scale(data: Path, work: Path) -> None:
    """Draw what blocks by themselves would cut (left, red), and what is drawn here (right)."""
    path = data / PAIR
    plain, grid = seen(path, 2)
    fields = mapped(path, work).to_crs(str(grid.crs))
    block, (height, width) = 256, grid.shape
    corners = [(x, y) for y in range(0, height, block) for x in range(0, width, block)]
    each = [_square(grid, x, y, block) for x, y in corners]
    squares = gpd.GeoDataFrame(geometry=each, crs=fields.crs)
    cut = gpd.overlay(fields[["geometry"]], squares, how="intersection").explode()
    crossing = fields[~fields.geometry.apply(lambda one: bool(squares.contains(one).any()))]
    base = _dimmed(plain)
    left = picture.fill_fields(base, crossing, grid, ["#d63031"] * len(crossing), opacity=0.55)
    left = picture.draw_outlines(left, cut, grid)
    right = picture.fill_fields(base, crossing, grid, ["#1fbf5f"] * len(crossing), opacity=0.55)
    right = picture.draw_outlines(right, fields, grid)
    print(f"scale: {len(crossing)} of {len(fields)} fields lie across squares of 1.28 km")
    part = (slice(0, 2 * block + 100), slice(0, 2 * block + 60))
    save(beside(_ruled(left, block)[part], _ruled(right, block)[part]), "scale")


def _square(grid: Any, x: int, y: int, edge: int) -> Any:
    west, north = grid.transform * (x, y)
    east, south = grid.transform * (x + edge, y + edge)
    return shapely.box(west, south, east, north)


def _ruled(image: np.ndarray, step: int) -> np.ndarray:
    """Draw a lattice of white lines."""
    image = image.copy()
    image[::step], image[:, ::step] = 255, 255
    return image


def country(_data: Path, work: Path) -> None:
    """Draw the jobs of a simulated country, and the one map that they were merged to."""
    example = _example("country")
    if not (work / "country" / "maps").exists():
        example.main(["-o", str(work / "country")])
    pieces = sorted((work / "country" / "plan" / "jobs").glob("*/fields.parquet"))
    merged = gpd.read_parquet(next((work / "country" / "maps").rglob("*.parquet")))
    utm = merged.estimate_utm_crs()
    merged = merged.to_crs(utm)
    tint = ["#4c78a8", "#f58518", "#54a24b", "#e45756", "#b279a2", "#9d755d", "#72b7b2", "#eeca3b"]
    parts = [gpd.read_parquet(path).to_crs(utm) for path in pieces]
    coloured = [(part, [tint[k % len(tint)]] * len(part)) for k, part in enumerate(parts)]
    halves = [_plain(merged.total_bounds, coloured, 110)]
    halves.append(_plain(merged.total_bounds, [(merged, ["#3f7d4a"] * len(merged))], 255))
    save(beside(*halves)[:330], "country")


def _example(name: str) -> Any:
    """Import a program of the folder examples."""
    sys.path.insert(0, str(TARGET.parents[1] / "examples"))
    return importlib.import_module(name)


def qgis(data: Path, work: Path) -> None:
    """Have QGIS draw the GeoPackage of an aerial image, by the style that it finds there."""
    path = (data / CHIPS / "images" / "naip_40.1638_-89.9943.tif").resolve()
    (work / "qgis").mkdir(exist_ok=True)
    with contextlib.chdir(work / "qgis"):
        if not Path("fields.gpkg").exists():
            _command("map", str(path), "-o", "fields.gpkg", "-q")
        example = _example("gis")
        if not example.drawn(example.PYTHON, path):
            raise SystemExit(f"{example.PYTHON} knows no QGIS: apt-get install qgis.")
        save(np.asarray(Image.open("qgis.png").convert("RGB")), "qgis", 680)


def _plain(bounds: Any, layers: list[Any], alpha: int, wide: int = 440) -> np.ndarray:
    """Draw tables of polygons on white."""
    west, south, east, north = bounds
    scale_ = wide / (east - west)
    image = Image.new("RGB", (wide, round((north - south) * scale_)), "white")
    pen = ImageDraw.Draw(image, "RGBA")
    for table, colours in layers:
        for shape, colour in zip(table.geometry, colours, strict=True):
            for part in getattr(shape, "geoms", (shape,)):
                ring = np.asarray(part.exterior.coords)[:, :2]
                where = [((x - west) * scale_, (north - y) * scale_) for x, y in ring]
                pen.polygon(where, (*bytes.fromhex(colour[1:]), alpha), (40, 40, 40, 255))
    return np.asarray(image)


def crops(data: Path, work: Path) -> None:
    """Draw one plot of wheat on four dates, with the crop's outline and its cover."""
    names = ("20180207_120354", "20180305_114520", "20180323_143114", "20180411_113950")
    photos = work / "wheat"
    photos.mkdir(exist_ok=True)
    for name in names:
        file = f"FPWW0220032_RGB1_{name}_6.jpg"
        (photos / file).write_bytes((data / WHEAT / "images" / file).read_bytes())
    from selion.closerange import measure_folder

    run = measure_folder(photos, work / "wheat-out", "crops-rgb", force=True)
    tops, overlays = [], []
    for row in run.rows:
        stem = Path(str(row["file"])).stem
        tops.append(np.asarray(Image.open(photos / str(row["file"])).convert("RGB")))
        over = Image.open(next((run.folder / "overlays").glob(f"{stem}*"))).convert("RGB")
        over = over.resize(tops[-1].shape[1::-1], Image.Resampling.LANCZOS)
        overlays.append(_captioned(over, f"{stem[17:25]}  {row['cover']:.0%}"))
    save(np.concatenate([beside(*tops), beside(*overlays)], 0), "crops")


def _captioned(image: Image.Image, text: str) -> np.ndarray:
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, image.height - 30, image.width, image.height), "black")
    pen.text((8, image.height - 28), text, "white", ImageFont.load_default(24))
    return np.asarray(image)


def encoders(data: Path, _work: Path) -> None:
    """Draw what one token sees of fields at 10 m: 4, 8 and 16 pixels."""
    plain, _ = seen(data / PAIR, 4)
    part = plain[700:1092, 900:1292]
    save(beside(*(_ruled(part, 4 * token) for token in (4, 8, 16))), "encoders")


def labelling(_data: Path, work: Path) -> None:
    """Draw a simulated photograph, its depth, and the mask that depth gives."""
    from selion.labelling import ComputedDepths, DepthOptions, label_photos
    from selion.simulation.landscape import simulate_photo

    photo = simulate_photo(7010, (330, 440))
    pixels = np.moveaxis(photo.image.values, 0, -1)
    (work / "photos").mkdir(exist_ok=True)
    Image.fromarray(pixels).save(work / "photos" / "a.png")
    depth = ComputedDepths(lambda _: photo.depth, "simulated")
    label_photos(work / "photos", work / "pseudo", depth, DepthOptions(find_full=False), force=True)
    mask = np.asarray(Image.open(next((work / "pseudo" / "masks").glob("*.png"))))
    grey = np.repeat(np.round(255 * photo.depth)[..., None].astype(np.uint8), 3, 2)
    kept = np.where(mask[..., None] == 1, pixels, (pixels * 0.25).astype(np.uint8))
    save(beside(pixels, grey, kept), "labelling")


def language(data: Path, _work: Path) -> None:
    """Draw a patch, its true mask in rows of 32, and the text that says it."""
    from selion.models.language.rrle import CODECS, encode

    plain, _ = seen(data / CHIPS / "images" / f"{UNSEEN}.tif")
    ids, _ = _truth(data)
    patch = (slice(384, 512), slice(384, 512))
    coarse = (ids[patch][2::4, 2::4] > 0).astype(np.uint8)
    text = encode(coarse, ("others", "field"), CODECS["rrle-places"])
    shown = np.repeat(np.repeat(plain[patch], 3, 0), 3, 1)
    mask = np.where(coarse.repeat(12, 0).repeat(12, 1)[..., None] == 1, (255, 222, 0), (60, 60, 60))
    page = Image.new("RGB", (384, 384), "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(15)
    lines = text.split("\n")
    for k, line in enumerate(lines[:20]):
        pen.text((10, 8 + 18 * k), line[:46], "black", font)
    save(beside(shown, mask.astype(np.uint8), np.asarray(page)), "language")


def adapter(data: Path, _work: Path) -> None:
    """Draw wheat, its mask, and what a coarse answer blown up bilinearly leaves of it."""
    name = "FPWW0220032_RGB1_20180305_114520_6"
    photo = Image.open(data / WHEAT / "images" / f"{name}.jpg").convert("RGB")
    mask = Image.open(data / WHEAT / "masks" / f"{name}.png").convert("L")
    small = mask.resize((mask.width // 8, mask.height // 8), Image.Resampling.BOX)
    back = np.asarray(small.resize(mask.size, Image.Resampling.BILINEAR)) > 127
    kept = (back & (np.asarray(mask) > 127)).sum() / (back | (np.asarray(mask) > 127)).sum()
    print(f"adapter: intersection over union {kept:.2f}")
    parts = [np.asarray(photo), np.asarray(mask.convert("RGB"))]
    save(beside(*parts, np.repeat(back[..., None] * np.uint8(255), 3, 2)), "adapter")


def prompts(data: Path, _work: Path) -> None:
    """Draw the points that a prompted model is asked about, on half a window."""
    from selion.models.sam.segmenter import point_grid

    plain, _ = seen(data / CHIPS / "images" / f"{UNSEEN}.tif")
    image = Image.fromarray(plain)
    pen = ImageDraw.Draw(image)
    for x, y in point_grid(32, plain.shape[:2]):
        pen.ellipse((x - 4, y - 4, x + 4, y + 4), "#ffde00", "black")
    save(np.asarray(image)[:512], "prompts", 640)


PICTURES: dict[str, Callable[[Path, Path], None]] = {
    each.__name__: each
    for each in (
        *(inn, mapping, evaluating, accuracy, scale, country, crops, encoders, labelling),
        *(language, adapter, prompts, qgis),
    )
}


def main() -> None:
    """Make what is asked for."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("names", nargs="*", metavar="PICTURE", help=f"Of {', '.join(PICTURES)}.")
    parser.add_argument("--work", type=Path, help="Keep the maps.")
    given = parser.parse_args()
    with contextlib.ExitStack() as stack:
        work = given.work or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        work.mkdir(parents=True, exist_ok=True)
        for name in given.names or PICTURES:
            PICTURES[name](given.data, work)


if __name__ == "__main__":
    main()
