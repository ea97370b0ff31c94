"""What the small commands of ``option_modes`` work on, and a model that answers at once."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

import geopandas
import numpy as np
import pandas as pd
import shapely
from scipy import ndimage

import plan_scenes
from change_scenes import boxes, write_year
from country_partitions import write_table
from data_folders import field_ids, ftw, masks_of, png, tif
from review_scenes import Hand, open_log
from review_scenes import write_map as write_reviewed
from screening_scenes import write_scene
from selion import country, fields, store
from selion.classes import FTW3, OUTLINE, ClassScheme
from selion.country.probe import Probe, write_probe
from selion.grid import photo_grid, whole
from selion.labels import Instances
from selion.segmenter import InputSpec, Scaling

IDS = boxes((1, 10, 10, 50, 60), (2, 10, 70, 50, 140), (3, 60, 20, 110, 120))
IDS[60:110, 20:40] *= np.tri(50, 20, -5, dtype=np.int32)  # a slanted edge
IDS[50:53, 25:30] = 1  # a bulge
LATER = boxes((1, 10, 10, 50, 60), (2, 10, 74, 50, 140), (3, 60, 20, 100, 120))
LAST = boxes((1, 10, 10, 50, 64), (3, 60, 20, 100, 120))
BANDS = ("red", "green", "blue", "nir")
PROBE = Probe(
    when="2026-11-21T00:00:00Z",
    machine="a processor",
    cores=2,
    engine="OpenVINO",
    model="fields-s2-2season",
    gpu=False,
    provider="earth-search",
    place=(12.0, 50.0),
    km2=25.0,
    startup=3.0,
    choosing=20.0,
    scenes=4.0,
    bytes_per_block={"red": 1.5e6, "green": 1.5e6, "blue": 1.5e6, "nir": 1.7e6, "scl": 0.1e6},
    megabytes_per_second=40.0,
    composing=60.0,
    km2_per_second=10.0,
    drawing=0.01,
    fields_per_km2=12.0,
    spread=(0.8, 1.0, 1.2),
)


@dataclass(frozen=True)
class Quick:
    """Answers at once: field where the first band is bright, surer towards the right of a window,
    boundary where it is in between.
    """

    engine: str = "by hand"
    batch: int = 4
    at_once: int = 0
    gives: str = "probabilities"
    classes: ClassScheme = FTW3
    inputs: InputSpec = field(
        default_factory=lambda: InputSpec(BANDS, Scaling((1.0,)), None, 64, 0.25, 8)
    )
    card: SimpleNamespace = field(
        default_factory=lambda: SimpleNamespace(
            name="quick",
            summary="for tests",
            licence="CC0-1.0",
            files={},
            scores={},
            start={},
            notes="",
            calibration=None,
            architecture={},
            folder=None,
            to_dict=lambda: {"name": "quick", "files": {}},
        ),
        repr=False,
    )
    identity: dict = field(default_factory=lambda: {"type": "quick"})

    def rest(self) -> None:
        """Nothing was kept."""

    def __call__(self, views):
        answers = []
        for view in views:
            ramp = np.linspace(0.0, 0.2, view.pixels.shape[-1], dtype=np.float32)
            sure = np.clip(view.pixels[0] / 1000 - 0.25 + ramp, 0.02, 0.9)
            line = np.full_like(sure, 0.05) + 0.02 * view.pixels[1] / 1000
            answers.append(np.stack([1 - sure - line, sure, line]))
        return np.stack(answers).astype(np.float32)


@dataclass(frozen=True)
class QuickObjects(Quick):
    """Answers with objects of its own: what is bright, as sure as the window happens to be."""

    gives: str = "objects"

    def __call__(self, views):
        found = []
        for view in views:
            ids, count = ndimage.label(view.pixels[0] > 500, output=np.int32)
            mixed = float(view.pixels[0].mean()) + sum(part.start for part in view.roi)
            table = pd.DataFrame({"id": np.arange(1, count + 1), "class": "field"})
            table["score"] = 0.5 + mixed / 7 % 1 / 2
            found.append(Instances(ids, photo_grid(ids.shape), table))
        return found


def frame(crs="EPSG:32633"):
    """Two fields as a map has them."""
    shapes = [shapely.box(0, 0, 100, 100), shapely.box(100, 0, 300, 100)]
    table = geopandas.GeoDataFrame({"id": ["1", "2"], "class": "field"}, geometry=shapes, crs=crs)
    table["confidence"] = np.array([0.8, 0.6], np.float32)
    table["metrics:area"] = np.array([10_000.0, 20_000.0], np.float32)
    return table


def job(*_args, **_kwargs):
    """A map that could begin."""
    model = SimpleNamespace(card=Quick().card, engine="by hand", inputs=Quick().inputs)
    grid = store.open_raster
    return SimpleNamespace(
        model=model, notes=("Model quick.",), chosen="", image="image.tif",
        source=SimpleNamespace(), plan=SimpleNamespace(grid=grid),
    )  # fmt: skip


def year(folder, _, ids=IDS, when=2023):
    """A map of one year, of which one field is split by a weak line."""
    made = write_year(folder, ids, year=when)
    table = fields.read_fields(made / "fields.parquet")
    table["confidence"] = np.linspace(0.5, 0.9, len(table)).astype(np.float32)
    origin = fields.read_origin(made / "fields.parquet")
    fields.write_fields(table, made / "fields.parquet", origin, force=True)
    path = made / "fields.scores.tif"
    source = store.open_raster(path)
    grid, bands, tags = source.grid, source.bands, source.tags
    values = source.read(whole(grid)).values
    uneven = np.random.default_rng(0).integers(0, 40, values.shape[1:])
    values = np.where(values > 200, values - uneven, values).astype(np.uint8)
    # a line of two minds through the largest field
    values[1, 60:110, 70:72], values[2, 60:110, 70:72] = 130, 115
    with store.create_cog(path, grid, bands, np.uint8, nodata=255, tags=tags, force=True) as sink:
        sink.write(whole(grid), values)
    return made


def raster(path, grid, values, kind=np.uint8, bands=("code",)):
    with store.create_cog(path, grid, list(bands), kind, force=True) as sink:
        sink.write(whole(grid), np.asarray(values, kind).reshape(-1, *grid.shape))
    return path


def like_scores(folder, inputs, name, values, kind=np.uint8):
    """A raster on the grid of the maps."""
    grid = store.open_raster(inputs["scores"]).grid
    y, x = np.mgrid[: grid.shape[0], : grid.shape[1]]
    return raster(folder / f"{name}.tif", grid, values(y, x), kind)


def refined(folder, inputs):
    """Probabilities of a boundary model, whose outlines lie outside of all objects."""
    source = store.open_raster(inputs["scores"])
    scheme = ClassScheme(("background", "field", "boundary", OUTLINE), ("field",), "boundary")
    values = source.read(whole(source.grid)).values
    values = np.concatenate([values, np.full_like(values[:1], 5)])
    tags = {"classes": json.dumps(scheme.to_dict()), "image_gsd": repr(10.0)}
    path = folder / "refined.tif"
    with store.create_cog(path, source.grid, scheme.names, np.uint8, nodata=255, tags=tags) as sink:
        sink.write(whole(source.grid), values)
    return path


def image(folder, inputs):
    """Bright fields in four bands, another number in each."""
    grid = store.open_raster(inputs["scores"]).grid
    noise = np.random.default_rng(1).integers(0, 60, (4, *grid.shape))
    bright = np.where(IDS > 0, 800, 200)[None] * np.array([1, 0.9, 0.7, 0.8])[:, None, None]
    return raster(folder / "image.tif", grid, bright + noise, np.uint16, BANDS)


def orthomosaic(folder, inputs):
    """The same fields in bytes, green on brown."""
    grid = store.open_raster(inputs["scores"]).grid
    green, brown = (np.array(colour)[:, None, None] for colour in ((60, 160, 50), (140, 110, 80)))
    colours = ("red", "green", "blue")
    return raster(folder / "ortho.tif", grid, np.where(IDS > 0, green, brown), np.uint8, colours)


def plots(folder, inputs):
    """The fields as plots of a trial, with names in two columns."""
    made = geopandas.read_parquet(inputs["year"] / "fields.parquet")[["geometry"]]
    made["plot"], made["place"] = range(len(made)), [f"p{k}" for k in range(len(made))]
    made.to_file(folder / "plots.gpkg")
    return folder / "plots.gpkg"


def table_of(folder, name, west, *, east=12.02):
    """A table of square fields, as a job leaves it."""
    lon = np.arange(west, east, 0.002)
    shapes = [shapely.box(x, y, x + 0.0015, y + 0.0015) for x in lon for y in (50.0, 50.002)]
    shapes.append(shapely.box(west, 50.005, west + 0.0003, 50.0053))
    made = geopandas.GeoDataFrame(
        {"id": [f"f{k}" for k in range(len(shapes))], "class": "field"},
        geometry=shapes,
        crs="OGC:CRS84",
    )
    made["confidence"] = np.linspace(0.3, 0.9, len(made)).astype(np.float32)
    folder.mkdir(parents=True, exist_ok=True)
    origin = fields.Origin(name, geopandas.pd.Timestamp("2024-07-01T00:00:00Z").to_pydatetime())
    write_table(made, folder / f"{name}.parquet", origin)
    return folder / f"{name}.parquet"


def plan(folder, inputs):
    """A plan whose jobs are done, its tables in it."""
    from selion import imagery

    place = imagery.read_area("11.99,49.99,12.03,50.02")
    made = country.make_plan(
        place, 2024, PROBE, country.read_prices(None), edge=51_200, halo=1000, words=[], most=4
    )
    country.write_plan(made, folder / "plan")
    for job_folder in sorted((folder / "plan" / "jobs").iterdir()):
        table_of(job_folder, "fields", 12.0)
    return folder / "plan"


def plan_year(folder, name, year):
    """A plan of one job that kept its probabilities."""
    place = (11.99, 50.0, 11.997, 50.004)
    shapes = shapely.box([11.991, 11.994], [50.001] * 2, [11.993, 11.996], [50.003] * 2)
    shapes = shapes[: 2025 - year]
    return plan_scenes.write_plan(folder / name, shapes, plan_scenes.cells_of(area=place), year)


def cut(folder, _):
    """A table of the same fields, seen by another job."""
    return table_of(folder, "again", 12.0, east=12.01)


def prices(folder, _):
    """The packaged prices, one of them another."""
    from selion.country import prices as packaged

    text = (Path(packaged.__file__).parent / "prices.toml").read_text("utf-8")
    (folder / "prices.toml").write_text(text.replace("0.0893", "0.1"), "utf-8")
    return folder / "prices.toml"


def maps(folder, inputs):
    """A merged map."""
    return country.merge_maps([inputs["table"]], folder / "maps").folder


def units(folder, _, middle=12.01):
    """Two districts, named in two columns."""
    made = geopandas.GeoDataFrame(
        {"name": ["west", "east"], "code": ["A", "B"]},
        geometry=[shapely.box(11.9, 49.9, middle, 50.1), shapely.box(middle, 49.9, 12.1, 50.1)],
        crs="OGC:CRS84",
    )
    made.to_file(folder / "units.gpkg")
    return folder / "units.gpkg"


def districts(folder, inputs):
    """Two halves of the maps of years."""
    grid = store.open_raster(inputs["scores"]).grid
    halves = [grid[:, :80].extent.geom, grid[:, 80:].extent.geom]
    made = geopandas.GeoDataFrame(
        {"name": ["west", "east"]}, geometry=halves, crs=grid.crs.to_wkt()
    )
    made.to_file(folder / "districts.gpkg")
    return folder / "districts.gpkg"


def reference(folder, inputs):
    """Of the fields of a year, which are fields in truth."""
    table = geopandas.read_parquet(inputs["last"] / "fields.parquet")
    again = geopandas.pd.concat([table] * 10, ignore_index=True)
    again["right"] = np.where(np.arange(len(again)) % 2 == 0, "yes", "no")
    again[["right", "geometry"]].to_parquet(folder / "reference.parquet")
    return folder / "reference.parquet"


def photos(folder, _):
    """Photographs of crop on soil, depth maps and masks of the same names."""
    rng = np.random.default_rng(0)
    for k in range(2):
        ids = np.zeros((60, 80), np.uint8)
        ids[10:40, 10 + 10 * k : 60] = 1
        noise = rng.integers(0, 20, (60, 80, 3))
        png(folder / "photos" / f"{k}.png",
            np.where(ids[..., None] == 1, (40, 150, 40), (140, 100, 70)) + noise)  # fmt: skip
        depth = np.where(ids == 1, 180, 60) + rng.integers(0, 25, ids.shape)
        depth[0, :6], depth[-1, -6:] = 255, 0
        png(folder / "depths" / f"{k}.png", depth)
        png(folder / "masks" / f"{k}.png", ids)
        png(folder / "other" / f"{k}.png", np.roll(ids, 3, 1))
    return folder


def measured(folder, _):
    """What was measured in photographs of two plots on six days, a few of them in doubt."""
    head = "file,time,latitude,longitude,trust,reasons,cover,components,overlay\n"
    lines = [
        f"{plot}_2024050{day}_{k}.jpg,,50.00{plot[1]},12.0,{'no' if k else 'yes'},,"
        f"{1 / (1 + 2.0 ** (3 - day)) - 0.02 * k},{day},overlays/{plot}{day}{k}.jpg\n"
        for plot in ("p1", "p2")
        for day in range(1, 7)
        for k in range(2)
    ]
    lines.append("IMG_1.jpg,2024-05-03T10:00:00,50.001,12.0,yes,,0.4,3,overlays/i.jpg\n")
    (folder / "crops.csv").write_text(head + "".join(lines), "utf-8")
    (folder / "run.json").write_text(json.dumps({"photographs from": str(folder)}), "utf-8")
    rows = "".join(f"p1_2024050{day}_0.jpg,q,2024-06-0{day}\n" for day in range(1, 7))
    (folder / "table.csv").write_text("file,plot,date\n" + rows, "utf-8")
    boxes = [shapely.box(11.9, 50.0005, 12.1, 50.0015), shapely.box(11.9, 50.0015, 12.1, 50.0025)]
    named = {"plot": ["a", "b"], "place": ["c", "d"]}
    places = geopandas.GeoDataFrame(named, geometry=boxes, crs=4326)
    places.to_file(folder / "places.gpkg")
    places.iloc[:1].assign(plot="e").to_file(folder / "fewer.gpkg")
    return folder


def pixels(folder, inputs):
    """A plain folder of photographs with masks."""
    shutil.copytree(inputs["photos"] / "photos", folder / "set" / "images")
    shutil.copytree(inputs["photos"] / "masks", folder / "set" / "labels")
    return folder / "set"


def dataset(folder, _):
    """A plain folder of fields with two groups."""
    rng = np.random.default_rng(0)
    for group, size in (("north", 48), ("south", 64)):
        ids = field_ids(size)
        picture = np.where(ids > 0, 800, 200)[None] + rng.integers(0, 300, (4, size, size))
        tif(folder / "set" / group / "images" / "a.tif", picture.astype(np.uint16),
            descriptions=BANDS)  # fmt: skip
        tif(folder / "set" / group / "instances" / "a.tif", ids)
    return folder / "set"


def published(folder, _):
    """Fields of The World's layout: two countries."""
    ftw(folder / "ftw", "austria")
    ftw(folder / "ftw", "kenya", chips=(("k1", "train"), ("k2", "test")), seed=1)
    return folder / "ftw"


def squares_of(every):
    """Thirty squares; of ``every`` second one the half is left."""
    ids = np.zeros((120, 160), np.int32)
    for k in range(30):
        row, column = divmod(k, 6)
        width = 8 if every and k % 2 else 20
        ids[4 + 23 * row : 24 + 23 * row, 4 + 25 * column : 4 + 25 * column + width] = k + 1
    return ids


def prediction(folder, _):
    """A map of the truth below, with confidences: every second field is half of one."""
    made = write_year(folder, squares_of(every=True))
    table = fields.read_fields(made / "fields.parquet")
    table["confidence"] = np.linspace(0.3, 0.9, len(table)).astype(np.float32)
    origin = fields.read_origin(made / "fields.parquet")
    fields.write_fields(table, made / "fields.parquet", origin, force=True)
    return made


def truth(folder, _, crs=None):
    """A truth with a column."""
    made = fields.read_fields(write_year(folder, squares_of(every=False)) / "fields.parquet")
    made["kind"] = [f"k{k % 2}" for k in range(len(made))]
    made = made if crs is None else made.to_crs(crs)
    made[["id", "kind", "geometry"]].to_parquet(folder / "truth.parquet")
    return folder / "truth.parquet"


def polygons(folder, inputs):
    """Outlines of fields with a column that says which count."""
    made = geopandas.read_parquet(inputs["year"] / "fields.parquet")
    made["kind"] = [k % 2 for k in range(len(made))]
    made[["kind", "geometry"]].to_file(folder / "polygons.gpkg")
    return folder / "polygons.gpkg"


def reviewed(folder, _):
    """A map of which a few fields were decided on."""
    made = write_reviewed(folder / "map")
    hand = Hand(open_log(made))
    for number, row in enumerate(fields.read_fields(made / "fields.parquet")["id"]):
        if number < 12:
            hand.act("accept" if number % 3 else "reject", str(row))
    return made


def annotated(folder, inputs):
    """What a tool exported of that map: an outline is gone."""
    from selion import review

    files = review.find_map(inputs["reviewed"])

    def draw(box):
        return np.full((box[3] - box[1], box[2] - box[0], 3), 99, np.uint8)

    table = review.send_annotations(files, folder / "coco", "coco", draw).table
    text = json.loads(table.read_text())
    text["annotations"].pop()
    table.write_text(json.dumps(text))
    return table


def screened(folder, _):
    """Photographs and pseudo-labels to screen."""
    write_scene(folder, 3)
    (folder / "pseudo" / "decisions.jsonl").unlink(missing_ok=True)
    return folder


def places(folder, _):
    """Names of a person's own."""
    (folder / "places.csv").write_text("name,lat,lon\nfarm,48.3,13.1\n", "utf-8")
    return folder / "places.csv"


def left(folder, _):
    """What killed runs left: a half-written output, a note, and finished parts."""
    for name, text in {
        ".selion-0123abcd/lock": "",
        ".selion-0123abcd/made/out.tif": "half",
        ".map.begun": "0a" * 32 + "\n",
        ".map.selion/scores/0-1_0-1.block": "done",
    }.items():
        (folder / "left" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "left" / name).write_text(text)
    return folder / "left"


INPUTS = {
    "left": left,
    "year": year,
    "later": lambda folder, inputs: year(folder, inputs, LATER, 2024),
    "last": lambda folder, inputs: year(folder, inputs, LAST, 2025),
    "scores": lambda _, inputs: inputs["year"] / "fields.scores.tif",
    "refined": refined,
    "cover": lambda folder, inputs: like_scores(
        folder, inputs, "cover", lambda y, x: np.where(y < 55, 40, np.where(x < 60, 80, 10))
    ),
    "dem": lambda folder, inputs: like_scores(
        folder, inputs, "dem", lambda _, x: 100.0 + 9.0 * x, np.float32
    ),
    "image": image,
    "ortho": orthomosaic,
    "plots": plots,
    "districts": districts,
    "reference": reference,
    "table": lambda folder, _: table_of(folder, "fields", 12.0),
    "plan": plan,
    "plan_year": lambda folder, _: plan_year(folder, "plan-2023", 2023),
    "plan_later": lambda folder, _: plan_year(folder, "plan-2024", 2024),
    "maps": maps,
    "units": units,
    "more_units": lambda folder, _: units(folder, _, 12.005),
    "cut": cut,
    "prices": prices,
    "slow": lambda folder, _: write_probe(replace(PROBE, scenes=8.0), folder / "probe.json"),
    "one_country": lambda folder, _: ftw(folder / "ftw", "austria").parent,
    "probe": lambda folder, _: write_probe(PROBE, folder / "probe.json"),
    "photos": photos,
    "places": places,
    "measured": measured,
    "pixels": pixels,
    "dataset": dataset,
    "ftw": published,
    "prediction": prediction,
    "truth": truth,
    "far_truth": lambda folder, inputs: truth(folder, inputs, "EPSG:32633"),
    "polygons": polygons,
    "reviewed": reviewed,
    "annotated": annotated,
    "screened": screened,
}
__all__ = ["INPUTS", "Quick", "frame", "job", "masks_of", "replace"]
