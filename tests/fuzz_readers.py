"""What selion reads, each with sound inputs and with the functions or verbs that read it."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from fuzz_mutators import only_tags
from fuzz_pool import Reader, run_verb
from selion.errors import BadInput

CLASSES = ("background", "field", "boundary")


def inputs(folder: Path):
    """Return the inputs of the options' tests, made in a folder beside the seeds."""
    from option_inputs import INPUTS
    from option_walk import Inputs

    return Inputs(folder.parent.parent / "inputs" / folder.name, INPUTS)


def seed(folder: Path, name: str, *given: Path) -> Path:
    """Make a seed of files."""
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    for path in given:
        if path.is_dir():
            shutil.copytree(path, place / path.name)
        else:
            shutil.copy(path, place / path.name)
    return place


def only(place: Path, pattern: str = "*") -> Path:
    return min(path for path in place.glob(pattern) if not path.name.startswith("."))


def digest(*arrays) -> str:
    return hashlib.sha256(
        b"".join(np.ascontiguousarray(one).tobytes() for one in arrays)
    ).hexdigest()


# rasters


def geotiffs(folder: Path) -> None:
    import rasterio
    import rasterio.shutil

    image = inputs(folder)["image"]
    seed(folder, "cog", image)
    for name, options in {
        "strips": {"compress": "lzw", "predictor": 2},
        "tiles": {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate"},
        "big": {"bigtiff": "yes", "interleave": "band"},
    }.items():
        place = seed(folder, name)
        rasterio.shutil.copy(image, place / "image.tif", driver="GTiff", **options)
    with rasterio.open(
        seed(folder, "bytes") / "image.tif", "w", driver="GTiff", width=64, height=64, count=3,
        dtype="uint8", compress="jpeg", crs="EPSG:32633",
        transform=rasterio.transform.from_origin(500_000, 5_500_000, 10, 10),
    ) as file:  # fmt: skip
        file.write(np.random.default_rng(0).integers(0, 255, (3, 64, 64)).astype(np.uint8))


def read_raster(place: Path, _out: Path):
    from selion import store

    source = store.open_raster(only(place))
    height, width = source.grid.shape
    store.fingerprint(only(place))
    return digest(source.read((slice(0, min(256, height)), slice(0, min(256, width)))).values)


def map_image(place: Path, out: Path):
    from option_inputs import Quick
    from selion.pipeline import maps

    maps.load_refined = lambda *_a, **_k: Quick()
    return run_verb(
        ["map", str(only(place)), "-o", str(out / "f.parquet"), "--bands", "1,2,3,1", "--quiet"]
    )


def plan_map(place: Path, out: Path):
    return run_verb(["fields", str(only(place)), "-o", str(out / "f.parquet"), "--quiet"])


def scores(folder: Path) -> None:
    made = inputs(folder)
    seed(folder, "scores", made["scores"])
    seed(folder, "refined", made["refined"])


def read_scores(place: Path, _out: Path):
    from selion import store
    from selion.prediction.scores import score_classes

    return str(score_classes(store.open_raster(only(place)), "x"))


def products(folder: Path) -> None:
    from product_toys import packed, write_safe

    numbers = np.random.default_rng(0).integers(1000, 4000, (4, 24, 24)).astype(np.uint16)
    for level in ("2A", "1C"):
        write_safe(seed(folder, f"folder-{level}"), numbers, level=level)
    place = write_safe(folder.parent / "packing", numbers)
    seed(folder, "zip", packed(place))


def cubes(folder: Path) -> None:
    from affine import Affine
    from odc.geo.geobox import GeoBox

    from selion import store
    from selion.grid import whole

    grid = GeoBox((100, 120), Affine(10, 0, 500_000, 0, -10, 5_500_000), "EPSG:32633")
    values = np.random.default_rng(0).integers(0, 200, (3, 100, 120)).astype(np.uint8)
    place = seed(folder, "cube")
    with store.create_cube(place / "x.zarr", grid, CLASSES, "uint8", chunk=32, shard=64) as sink:
        sink.write(whole(grid), values)


def vrts(folder: Path) -> None:
    import rasterio.shutil

    image = inputs(folder)["image"]
    place = seed(folder, "vrt", image)
    rasterio.shutil.copy(place / "image.tif", place / "a.vrt", driver="VRT")
    text = (place / "a.vrt").read_text()
    (place / "a.vrt").write_text(text.replace(str(place) + "/", ""))


# tables


def tables(ending: str):
    def write(folder: Path) -> None:
        import geopandas

        from selion import fields

        made = inputs(folder)
        frame = fields.read_fields(made["table"])
        fields.write_fields(frame, seed(folder, "ours") / f"x{ending}")
        if ending != ".pmtiles":
            plain = geopandas.GeoDataFrame({"name": ["a"] * len(frame)}, geometry=frame.geometry)
            plain = plain.set_crs(frame.crs)
            place = seed(folder, "plain") / f"x{ending}"
            plain.to_parquet(place) if ending == ".parquet" else plain.to_file(place)

    return write


def read_table(place: Path, _out: Path):
    from selion import fields

    return len(fields.read_fields(only(place)))


def read_polygons(place: Path, _out: Path):
    from selion import store

    return len(store.read_polygons(only(place), (12, 50, 12.01, 50.01)))


def read_place(place: Path, _out: Path):
    from selion import imagery

    return imagery.read_area(only(place)).geometry.geom_type


def query(place: Path, out: Path):
    return run_verb(["query", "12,50,12.01,50.01", str(only(place)), "-o", str(out / "q.parquet")])


def tiles(place: Path, out: Path):
    return run_verb(["tiles", str(only(place)), "-o", str(out / "q.pmtiles"), "--max-zoom", "9"])


def merge(place: Path, out: Path):
    return run_verb(["merge", str(only(place)), "-o", str(out / "m")])


def review_status(place: Path, _out: Path):
    return run_verb(["review", "status", str(only(place))])


def view_table(place: Path, _out: Path):
    from selion.web.view.chunks import open_parquet

    found = open_parquet([only(place)])
    return type(found).__name__


def read_archive(place: Path, _out: Path):
    from selion.store import pmtiles

    archive = pmtiles.open_archive(only(place))
    low, high = archive.zooms
    return [
        len(archive.tile(z, x, x))
        for z in range(low, min(high, low + 3) + 1)
        for x in (0, 2**z // 2)
    ]


# texts


def items(folder: Path) -> None:
    from stac_items import item

    found = [
        item(tile="32UPC", box=(11.9, 49.9, 12.9, 50.9), time=f"2024-05-{day:02}T10:00:00Z")
        for day in (1, 5)
    ]
    for one in found:
        for asset in one["assets"].values():
            asset["href"] = "https://example.org/" + asset["href"]
    (seed(folder, "feature") / "x.json").write_text(json.dumps(found[0]))
    (seed(folder, "features") / "x.json").write_text(
        json.dumps({"type": "FeatureCollection", "features": found})
    )
    place = seed(folder, "catalogue")
    for number, one in enumerate(found):
        (place / f"item{number}.json").write_text(json.dumps(one))
    links = [{"rel": "item", "href": f"./item{k}.json"} for k in range(2)]
    about = {"stac_version": "1.0.0", "description": "x", "license": "x"}
    extent = {
        "spatial": {"bbox": [[11, 49, 13, 51]]},
        "temporal": {"interval": [["2024-01-01T00:00:00Z", None]]},
    }
    collection = {
        **about, "type": "Collection", "id": "sentinel-2-l2a", "extent": extent,
        "links": [*links, {"rel": "child", "href": "./catalog.json"}],
    }  # fmt: skip
    (place / "collection.json").write_text(json.dumps(collection))
    catalog = {"type": "Catalog", "id": "c", "stac_version": "1.0.0", "description": "x",
               "links": [{"rel": "child", "href": "./collection.json"}]}  # fmt: skip
    (place / "catalog.json").write_text(json.dumps(catalog))


def find_items(place: Path, _out: Path):
    from datetime import date

    from selion import imagery
    from selion.imagery.providers import find_provider
    from selion.imagery.search import find_scenes
    from selion.store import RetryPolicy

    given = place if (place / "catalog.json").exists() else only(place)
    season = SimpleNamespace(start=date(2024, 4, 1), end=date(2024, 6, 30), name="spring")
    area = imagery.read_area("12,50,12.05,50.05")
    retry = RetryPolicy(tries=1, connect=0.3)
    try:
        return len(find_scenes(area, season, find_provider(given), retry=retry).scenes)
    except AttributeError as error:
        if "SimpleNamespace" in str(error):
            raise BadInput("nothing was found.") from error
        raise


def recipes(folder: Path) -> None:
    from selion.training import reading

    known = Path(reading.__file__).parents[1] / "recipes"
    for path in sorted(known.rglob("*.toml"))[:12]:
        seed(folder, path.stem, path)


def read_recipe(place: Path, _out: Path):
    from selion.training.reading import read_recipe

    return read_recipe(only(place)).name


def train_dry(place: Path, _out: Path):
    return run_verb(["train", str(only(place)), "--dry-run", "--set", "data.path=nowhere"])


def declarations(folder: Path) -> None:
    dataset = inputs(folder)["dataset"]
    place = seed(folder, "set", dataset)
    text = 'name = "set"\nformat = "folder"\n'
    (place / "x.toml").write_text(text)


def cards(folder: Path) -> None:
    from selion.models import registry

    found = sorted(Path(registry.__file__).parents[1].joinpath("weights").rglob("*.toml"))
    for path in found[:6]:
        (seed(folder, f"{path.parent.name}-{path.stem}") / "card.toml").write_bytes(
            path.read_bytes()
        )


def read_card(place: Path, _out: Path):
    from selion.models.card import read_card

    return read_card(only(place)).name


def show_card(place: Path, _out: Path):
    return run_verb(["models", "show", str(place)])


# what runs leave


def journals(folder: Path) -> None:
    from selion.prediction.journal import BlockJournal

    place = seed(folder, "blocks") / "journal"
    held = BlockJournal(place, "key")
    rng = np.random.default_rng(0)
    for k in range(3):
        held.save(
            (slice(0, 20), slice(20 * k, 20 * k + 20)),
            rng.integers(0, 255, (3, 20, 20)).astype(np.uint8),
        )


def read_blocks(place: Path, _out: Path):
    from selion.prediction.journal import BlockJournal

    held = BlockJournal(place / "journal", "key")
    rng, found = np.random.default_rng(0), []
    for k in range(3):
        truth = rng.integers(0, 255, (3, 20, 20)).astype(np.uint8)
        block = held.load((slice(0, 20), slice(20 * k, 20 * k + 20)), (3, 20, 20))
        found.append(block is None or (block == truth).all())
    return bool(all(found))


def photographed(folder: Path) -> None:
    made = inputs(folder)
    crops_again(seed(folder, "run", made["photos"] / "photos"), folder)


def crops_again(place: Path, _out: Path):
    from selion.closerange import rule

    rule.WINDOW = 64  # not 512 with 60 x 80 pixels in it: most of the time of an input
    run_verb(
        [
            "crops",
            str(place / "photos"),
            "-o",
            str(place / "out"),
            "-m",
            "colour",
            "--workers",
            "1",
            "--no-overlays",
            "--quiet",
        ]
    )
    return (place / "out" / "crops.csv").read_text()


def plans(folder: Path) -> None:
    seed(folder, "plan", inputs(folder)["plan"])


def merge_plan(place: Path, out: Path):
    return run_verb(["merge", str(place / "plan"), "-o", str(out / "m")])


def reviews(folder: Path) -> None:
    seed(folder, "map", inputs(folder)["reviewed"])


def review_state(place: Path, _out: Path):
    return run_verb(["review", "status", str(only(place))])


def review_export(place: Path, out: Path):
    return run_verb(["review", "export", str(only(place)), "-o", str(out / "x")])


def annotations(form: str):
    def write(folder: Path) -> None:
        from selion import review

        reviewed = inputs(folder)["reviewed"]
        files = review.find_map(reviewed)
        for masks in (False, True):
            place = seed(folder, f"masks-{masks}", reviewed)
            told = folder.parent.parent / f"{form}-{masks}"
            review.send_annotations(files, told, form, grey, masks=masks, size=40)
            table = json.loads(next(told.glob("*s.json")).read_text())
            if form == "coco":
                table["annotations"][0]["bbox"] = [0, 0, 2, 2]
            for task in table if isinstance(table, list) else ():
                task["annotations"] = task.pop("predictions")
            (place / "drawn.json").write_text(json.dumps(table))

    return write


def grey(box):
    return np.zeros((box[3] - box[1], box[2] - box[0], 3), np.uint8)


def import_drawn(place: Path, _out: Path):
    return run_verb(
        ["review", "import", str(place / "map"), str(place / "drawn.json"), "--person", "Ada",
         "--dry-run"]
    )  # fmt: skip


# weights


def onnx_graphs(folder: Path) -> None:
    from quarterly_toys import write_network

    write_network(seed(folder, "q") / "x.onnx")


def read_onnx(place: Path, _out: Path):
    from selion.models.onnx_file import read_onnx

    return str(read_onnx(only(place)))[:60]


def tensors(folder: Path) -> None:
    import torch

    from selion.training.checkpoint import save_state

    save_state(
        seed(folder, "s") / "x.safetensors",
        {"a": torch.ones(3, 4), "b": torch.zeros(2)},
        {"epoch": 1},
    )


def read_tensors(place: Path, _out: Path):
    from selion.training.checkpoint import load_state

    held, facts = load_state(only(place))
    return len(held), len(facts)


def checkpoints(folder: Path) -> None:
    import torch

    state = {"model.a": torch.ones(3, 4), "model.b": torch.arange(5)}
    torch.save({"state_dict": state, "hyper_parameters": {"model": "unet", "num_classes": 3}},
               seed(folder, "c") / "x.ckpt")  # fmt: skip


def read_checkpoint(place: Path, _out: Path):
    from selion.models.checkpoint import StoredTensor
    from selion.models.convert import read_checkpoint

    held = read_checkpoint(only(place))
    waiting, found = [held.content], 0
    while waiting and found < 10**7:
        one = waiting.pop()
        if isinstance(one, StoredTensor):
            found += held.array(one).size
        elif isinstance(one, dict):
            waiting += list(one.values())
    return found


def import_model(place: Path, out: Path):
    return run_verb(["models", "import", str(only(place)), "-o", str(out / "m")])


def ggufs(folder: Path) -> None:
    from joined_toys import write_llama

    write_llama(seed(folder, "g") / "x.gguf")


def read_gguf(place: Path, _out: Path):
    from selion.models.language.gguf import GgufFile

    file = GgufFile(only(place))
    names = list(file.names)[:5]
    return [file.tensor(name).unpacked().size for name in names]


# photographs, masks and small tables


def photographs(folder: Path) -> None:
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 3)).astype(np.uint8)
    exif = Image.Exif()
    exif[274], exif[271], exif[306] = 6, "maker", "2024:05:01 10:00:00"
    exif.get_ifd(34665)[36867] = "2024:05:01 10:00:00"
    exif.get_ifd(34853).update({1: "N", 2: (50.0, 1.0, 2.0), 3: "E", 4: (12.0, 1.0, 2.0)})
    Image.fromarray(pixels).save(seed(folder, "jpg") / "x.jpg", exif=exif)
    Image.fromarray(pixels).save(seed(folder, "png") / "x.png")
    Image.fromarray(pixels[..., 0]).convert("P").save(seed(folder, "palette") / "x.png")


def read_photograph(place: Path, _out: Path):
    from selion.closerange.exif import read_exif
    from selion.data.photos import read_photo

    read_exif(only(place))
    return digest(read_photo(only(place)).image.values)


def show_photograph(place: Path, _out: Path):
    from selion.web.view.photos import jpeg

    return len(jpeg(only(place), 64)) > 0


def masks(folder: Path) -> None:
    ids = np.random.default_rng(0).integers(0, 2, (30, 40)).astype(np.uint8)
    np.save(seed(folder, "npy") / "x.npy", ids)
    np.save(seed(folder, "float") / "x.npy", ids.astype(np.float32))


def read_mask(place: Path, _out: Path):
    from selion.data.values import read_mask

    return read_mask(only(place)).shape


def csvs(folder: Path) -> None:
    (seed(folder, "answers") / "points.csv").write_text(
        "id,reference,x\na,field,1\nb,other,2\nc,,3\n"
    )
    (seed(folder, "splits") / "splits.csv").write_text("key,split\na,train\nb,val\nc,test\n")


def read_answers(place: Path, _out: Path):
    from selion.survey.answers import read_answers

    path = only(place)
    if path.name != "points.csv":
        return len(splits(path))
    return len(read_answers(place, [path]).labels)


def splits(path: Path):
    from selion.data.splits import read_table

    return read_table(path)


def quality(folder: Path) -> None:
    seed(folder, "screened", inputs(folder)["screened"] / "pseudo")


def read_quality(place: Path, _out: Path):
    from selion.labelling.queue import read_quality

    return len(read_quality(place / "pseudo" / "quality.csv"))


# what is read of verbs, and what servers answer


def verbs(folder: Path) -> None:
    """Each command of a verb that is given texts which selion, or another tool, wrote."""
    import re

    from option_modes import MODES

    made = inputs(folder)
    for verb, modes in MODES.items():
        for number, mode in enumerate(modes):
            names = re.findall(r"(?<!\{)\{(\w+)\}(?!\})", mode.words)
            given = {name: Path(str(made[name])) for name in (*names, *mode.copies)}
            files = [file for one in given.values() for file in (one, *one.rglob("*"))]
            if not any(file.suffix in (".json", ".jsonl", ".csv", ".toml") for file in files):
                continue
            place = seed(folder, f"{verb.replace(' ', '-')}-{number}")
            for name, one in given.items():
                seed(place, name, one)
            (place / "verb.txt").write_text(f"{verb}\n{number}")


def run_mode(place: Path, out: Path):
    """Give the command, with its costly parts answered as in the test of options."""
    import os

    import pytest

    from option_modes import MODES
    from option_walk import ONCE, _answering, _replace

    verb, number = (place / "verb.txt").read_text().split("\n")
    mode = MODES[verb][int(number)]
    given = {one.name: only(one) for one in place.iterdir() if one.is_dir()}
    for name in mode.copies:
        copy = shutil.copytree if given[name].is_dir() else shutil.copy
        copy(given[name], out / name)
    home = Path.cwd()
    with pytest.MonkeyPatch.context() as patch:
        for name, answer in mode.answers.items():
            if answer is not ONCE:
                _replace(patch, name, _answering(name, answer, []))
        os.chdir(out)
        try:
            return run_verb(mode.words.format_map(given).split())
        finally:
            os.chdir(home)


def completions(folder: Path) -> None:
    """What a server of chat completions answers, with and without how sure it was."""
    sure = {"token": "f", "logprob": -0.1, "top_logprobs": [{"token": "o", "logprob": -2.0}]}
    for name, odds in (("plain", None), ("sure", {"content": [sure] * 3})):
        choice = {"index": 0, "message": {"role": "assistant", "content": "<seg>f32\n</seg>"}}
        told = {"id": "x", "model": "eyes", "choices": [choice | {"logprobs": odds}]}
        (seed(folder, name) / "x.json").write_text(json.dumps(told))


def hear(place: Path, _out: Path):
    """Read an answer as that of a server."""
    from dataclasses import replace

    from selion.models import load_model
    from selion.store.endpoint import ChatServer
    from selion.store.retry import RetryPolicy

    body = only(place).read_bytes()

    class Answer:
        status_code, ok, is_redirect = 200, True, False
        __enter__, __exit__ = (lambda self: self), (lambda *_: None)

        def iter_content(self, _size):
            return iter((body,))

    generator = load_model("openai:http://127.0.0.1:9/v1#eyes").generator
    server = ChatServer(generator.server.address, RetryPolicy(tries=1))
    server._local.session = SimpleNamespace(post=lambda *_a, **_k: Answer())
    generator.server, generator.options = server, replace(generator.options, scores="labels")
    text, words = generator._said({"messages": [{"content": [{"type": "text", "text": ""}]}]})
    return len(text), words is not None


READERS = {
    reader.name: reader
    for reader in (
        Reader("geotiff", geotiffs, ("*.tif",), (read_raster,)),
        Reader("map", geotiffs, ("*.tif",), (map_image,)),
        Reader("scores", scores, ("*.tif",), (plan_map,)),
        Reader("scores-tags", scores, ("*.tif",), (read_scores, plan_map), change=only_tags),
        Reader("sentinel-2", products, ("MTD*.xml", "*.zip"), (read_raster,)),
        Reader("zarr", cubes, ("zarr.json", "c/*/*/*", "*"), (read_raster,)),
        Reader("vrt", vrts, ("*.vrt",), (read_raster,)),
        Reader("geoparquet", tables(".parquet"), ("*.parquet",),
               (read_table, read_polygons, query, tiles, merge, review_status, view_table)),
        Reader("geopackage", tables(".gpkg"), ("*.gpkg",), (read_table, read_polygons, read_place)),
        Reader("flatgeobuf", tables(".fgb"), ("*.fgb",), (read_table, read_polygons, read_place)),
        Reader("geojson", tables(".geojson"), ("*.geojson",),
               (read_table, read_polygons, read_place)),
        Reader("pmtiles", tables(".pmtiles"), ("*.pmtiles",), (read_archive,)),
        Reader("stac", items, ("*.json",), (find_items,)),
        Reader("recipe", recipes, ("*.toml",), (read_recipe,)),
        Reader("card", cards, ("*.toml",), (read_card, show_card)),
        Reader("journal", journals, ("*.block", "*.json"), (read_blocks,), checked=True),
        Reader("photo-journal", photographed, (".finished.jsonl",), (crops_again,), checked=True),
        Reader("plan", plans, ("*.json", "*.geojson"), (merge_plan,)),
        Reader("review", reviews, ("*.jsonl",), (review_state, review_export)),
        Reader("coco", annotations("coco"), ("drawn.json",), (import_drawn,)),
        Reader("label-studio", annotations("label-studio"), ("drawn.json",), (import_drawn,)),
        Reader("onnx", onnx_graphs, ("*.onnx",), (read_onnx,)),
        Reader("safetensors", tensors, ("*.safetensors",), (read_tensors,)),
        Reader("checkpoint", checkpoints, ("*.ckpt",), (read_checkpoint,)),
        Reader("gguf", ggufs, ("*.gguf",), (read_gguf,)),
        Reader("photograph", photographs, ("*.jpg", "*.png"), (read_photograph, show_photograph)),
        Reader("array", masks, ("*.npy",), (read_mask,)),
        Reader("csv", csvs, ("*.csv",), (read_answers,)),
        Reader("texts of verbs", verbs, ("*.json", "*.jsonl", "*.csv", "*.toml", "*.geojson"),
               (run_mode,)),
        Reader("served answers", completions, ("*.json",), (hear,)),
        Reader("quality", quality, ("quality.csv",), (read_quality,)),
    )
}  # fmt: skip
