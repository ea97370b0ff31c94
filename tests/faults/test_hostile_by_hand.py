"""Hostile inputs thought of by hand: what announces too much, is too deep, or lies at the ends."""

import json
import math
import os
import pickle
import sqlite3
import struct

import geopandas
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rasterio
import shapely
from odc.geo.geobox import GeoBox

from fuzz_pool import Refused, run_verb
from option_inputs import table_of
from selion import country, errors, fields, imagery, store
from selion.closerange.naming import read_pattern
from selion.data.photos import read_photo
from selion.data.plots import read_plots
from selion.errors import SelionError, UnreadableFile
from selion.fields.check import check_fiboa
from selion.web.view.chunks import open_parquet

BOX = shapely.box(12.02, 50, 12.03, 50.01)
BILLION = 10**9


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return fields.read_fields(table_of(tmp_path_factory.mktemp("base"), "x", 12.0))


def written(base, shapes, path):
    """Write a table of ours with other outlines."""
    rows = base.iloc[[0] * len(shapes)].reset_index(drop=True)
    rows["id"] = [str(number) for number in range(len(shapes))]
    fields.write_fields(rows.set_geometry(geopandas.GeoSeries(shapes, crs=base.crs)), path)
    return path


def test_fields_at_both_ends_of_the_world_are_not_looked_for_in_all_of_it(base, tmp_path):
    """They were looked for in each of 262,144 squares, for ten minutes."""
    ends = [shapely.box(-179.9, -84.9, -179.8, -84.8), shapely.box(179.8, 84.8, 179.9, 84.9)]
    steps = []
    country.write_tiles(
        written(base, ends, tmp_path / "x.parquet"), tmp_path / "x.pmtiles", finest=9,
        on_step=lambda *said: steps.append(said[2]),
    )  # fmt: skip
    assert max(steps) <= 8


def test_a_field_on_both_sides_of_the_antimeridian_is_drawn_where_it_is(base, tmp_path):
    """Its box reaches around the globe: it was looked for in 512 squares."""
    both = shapely.MultiPolygon(
        [shapely.box(179.9, 10, 180, 10.1), shapely.box(-180, 10, -179.9, 10.1)]
    )
    steps = []
    country.write_tiles(
        written(base, [both, BOX], tmp_path / "x.parquet"), tmp_path / "x.pmtiles", finest=9,
        on_step=lambda *said: steps.append(said[2]),
    )  # fmt: skip
    assert max(steps) == 3


@pytest.mark.parametrize(
    "shape", [shapely.box(-180, -85, 180, 85), shapely.box(-179, 20, 179, 20.1)]
)
def test_tiles_of_a_field_as_wide_as_the_world_are_refused(shape, base, tmp_path):
    """Its tiles at zoom 12 are sixteen million."""
    with pytest.raises(SelionError, match="and is no field: leave it out"):
        country.write_tiles(
            written(base, [BOX, shape], tmp_path / "x.parquet"), tmp_path / "x.pmtiles"
        )
    assert not (tmp_path / "x.pmtiles").exists()


@pytest.mark.parametrize(
    "shape",
    [
        shapely.Polygon([(12, 50), (12.01, 50.01), (12.01, 50), (12, 50.01), (12, 50)]),
        shapely.box(179.9, 10, 180, 10.1),
        shapely.box(0, 89.9, 1, 90),
        shapely.box(0, -90, 1, -89.9),
        shapely.Polygon(),
    ],
    ids=["bow-tie", "antimeridian", "north pole", "south pole", "empty"],
)
def test_odd_places_and_outlines_are_read(shape, base, tmp_path):
    path = written(base, [shape, BOX], tmp_path / "x.parquet")
    assert len(fields.read_fields(path)) == 2
    run_verb(["query", "12,50,12.05,50.01", str(path), "-o", str(tmp_path / "q.parquet")])
    assert BOX in list(fields.read_fields(tmp_path / "q.parquet").geometry)
    run_verb(["tiles", str(path), "-o", str(tmp_path / "x.pmtiles"), "--max-zoom", "9"])
    assert bool(check_fiboa(path)) == (shape.is_empty or not shape.is_valid)


def announcing(path, kind, many):
    """Write one field in a file that says that it holds many."""
    geopandas.GeoDataFrame({"id": ["a"]}, geometry=[BOX], crs="EPSG:4326").to_file(path)
    if kind == "geopackage":
        with sqlite3.connect(path) as held:
            held.execute(f"UPDATE gpkg_ogr_contents SET feature_count = {many}")
    else:
        data = bytearray(path.read_bytes())
        at = data.find(struct.pack("<Q", 1), 12)
        data[at : at + 8] = struct.pack("<Q", many)
        path.write_bytes(data)
    return path


@pytest.mark.parametrize("many", [10_000, BILLION])
@pytest.mark.parametrize("box", [None, (12, 50, 13, 51)])
def test_polygons_that_are_only_announced(many, box, tmp_path):
    """FlatGeobuf of one field was read as none, without a word."""
    with pytest.raises(SelionError, match="holds"):
        store.read_polygons(announcing(tmp_path / "x.fgb", "flatgeobuf", many), box)
    path = announcing(tmp_path / "x.gpkg", "geopackage", many)
    if many < BILLION:  # above, the memory may not suffice
        assert list(store.read_polygons(path, box).geometry) == [BOX]


def test_an_outline_that_announces_a_billion_corners(base, tmp_path):
    path = written(base, [BOX], tmp_path / "x.parquet")
    table = pq.read_table(path)
    wkb = struct.pack("<BIIBII", 1, 6, 2**31, 1, 3, 2**31)
    at = table.schema.get_field_index("geometry")
    pq.write_table(table.set_column(at, "geometry", pa.array([wkb], pa.binary())), path)
    for read in (fields.read_fields, store.read_polygons):
        with pytest.raises(UnreadableFile, match="damaged"):
            read(path)


@pytest.mark.parametrize(("head", "tail"), [("[", ""), ('{"a":', ""), ("[", "]"), ('{"a":', "}")])
def test_json_nested_without_end(head, tail, tmp_path):
    text = head * 100_000 + ("1" + tail * 100_000 if tail else "")
    for name in ("area.geojson", "item.json", "drawn.json"):
        (tmp_path / name).write_text(text)
    for read in (fields.read_fields, imagery.read_area):
        with pytest.raises(SelionError):
            read(tmp_path / "area.geojson")
    for words in (["look", "item.json"], ["review", "import", ".", "drawn.json", "--person", "A"]):
        with pytest.raises(Refused):
            run_verb([str(tmp_path / word) if "." in word else word for word in words])


@pytest.mark.parametrize("deep", [False, True])
def test_catalogues_that_name_each_other(deep, tmp_path):
    """In a circle, or five hundred within each other."""
    from fuzz_readers import find_items

    many = 500 if deep else 3
    for number in range(many):
        after = number + 1 if deep else (number + 1) % many
        links = [{"rel": "child", "href": f"./c{after}.json" if after else "./catalog.json"}]
        (tmp_path / (f"c{number}.json" if number else "catalog.json")).write_text(
            json.dumps({"type": "Catalog", "id": str(number), "stac_version": "1.0.0",
                        "description": "x", "links": links})
        )  # fmt: skip
    with pytest.raises(SelionError):
        find_items(tmp_path, tmp_path)


def test_a_pickle_as_the_type_of_a_column_is_not_opened(base, tmp_path):
    """Older pyarrow opened it to learn the type."""
    mark = tmp_path / "opened"

    class Touch:
        def __reduce__(self):
            return os.mkdir, (str(mark),)

    path = written(base, [BOX], tmp_path / "x.parquet")
    table = pq.read_table(path)
    about = {"ARROW:extension:name": "arrow.py_extension_type",
             "ARROW:extension:metadata": pickle.dumps(Touch())}  # fmt: skip
    schema = pa.schema([table.schema.field(0).with_metadata(about), *list(table.schema)[1:]])
    pq.write_table(table.cast(schema.with_metadata(table.schema.metadata)), path)
    assert len(fields.read_fields(path)) == 1
    open_parquet([path])
    assert not mark.exists()


@pytest.mark.parametrize("codec", ["numcodecs.pickle", "pickle"])
def test_a_cube_packed_as_a_pickle_is_refused(codec, tmp_path):
    grid = {"name": "regular", "configuration": {"chunk_shape": [1, 4, 4]}}
    keys = {"name": "default", "configuration": {"separator": "/"}}
    about = {
        "zarr_format": 3, "node_type": "array", "shape": [1, 4, 4], "data_type": "uint8",
        "chunk_grid": grid, "chunk_key_encoding": keys, "fill_value": 0,
        "codecs": [{"name": codec, "configuration": {}}],
        "attributes": {"spatial:transform": [10, 0, 5e5, 0, -10, 5.5e6]},
    }  # fmt: skip
    (tmp_path / "x.zarr").mkdir()
    (tmp_path / "x.zarr" / "zarr.json").write_text(json.dumps(about))
    with pytest.raises(UnreadableFile):
        store.open_raster(tmp_path / "x.zarr")


def test_a_photograph_of_two_thousand_million_pixels(tmp_path):
    side = math.isqrt(2**31) + 1
    about = {"width": side, "height": side, "count": 3, "dtype": "uint8", "sparse_ok": True}
    with rasterio.open(tmp_path / "x.tif", "w", driver="GTiff", tiled=True, bigtiff="yes", **about):
        pass
    with pytest.raises(SelionError, match="megapixels"):
        read_photo(tmp_path / "x.tif")


def sparse(path, side, block, count=1, **more):
    """Write a TIFF that holds nothing, and says that it is large."""
    about = {"width": side, "height": side, "count": count, "dtype": "uint8", "sparse_ok": True}
    place = rasterio.transform.from_origin(500_000, 5_500_000, 1, 1)
    blocks = {"tiled": True, "blockxsize": block, "blockysize": block, "bigtiff": "yes"}
    about |= {"driver": "GTiff", "crs": "EPSG:32633", "transform": place}
    with rasterio.open(path, "w", **about, **blocks, **more):
        pass
    return path


@pytest.mark.parametrize(
    ("side", "block"),
    [(60_000, 49_152), (2**20, 16_384), (40_000, 512)],
    ids=["one block of 2.4 GB", "2^40 pixels", "a small file of small blocks"],
)
def test_a_raster_that_announces_more_than_it_can_hold(side, block, tmp_path):
    """The first took 2.4 GB, the second and third were worked at without an end."""
    path = sparse(tmp_path / "x.tif", side, block, compress="deflate")
    with pytest.raises(UnreadableFile, match="nearly all of its blocks are missing") as refused:
        store.open_raster(path)
    assert f"{side:,} x {side:,} pixels" in str(refused.value)


def test_a_block_that_memory_cannot_hold_is_refused_before_it_is_read(tmp_path, monkeypatch):
    path = sparse(tmp_path / "x.tif", 16_384, 16_384, 3)
    monkeypatch.setattr("selion.cores.usable_memory", lambda: 4_000_000_000)
    assert store.open_raster(path).grid.shape == (16_384, 16_384)
    monkeypatch.setattr("selion.cores.usable_memory", lambda: 500_000_000)
    with pytest.raises(SelionError, match=r"16,384 x 16,384 pixels, and reading one takes about 0"):
        store.open_raster(path)


def test_a_raster_of_more_bands_than_anybody_has(tmp_path):
    """Their texts were asked for each of them, and GDAL's time grows with their square."""
    for many in (5_000, 5_001):
        sparse(tmp_path / "x.tif", 16, 16, many, photometric="minisblack", interleave="band")
        if many == 5_000:
            assert len(store.open_raster(tmp_path / "x.tif").bands) == many
    with pytest.raises(UnreadableFile, match="has 5,001 bands, and at most 5,000 are read"):
        store.open_raster(tmp_path / "x.tif")


def test_names_of_bands_that_are_no_text_are_a_sentence(tmp_path):
    path = sparse(tmp_path / "x.tif", 64, 64)
    with rasterio.open(path, "r+") as made:
        made.descriptions = ("xxGRUENxx",)
    path.write_bytes(path.read_bytes().replace(b"xxGRUENxx", b"xxGR\xdcNxxx"))
    with pytest.raises(UnreadableFile, match="no UTF-8"):
        store.open_raster(path)


@pytest.mark.parametrize(
    "text", ["a" * 200_000, "a." * 100_000, "://" * 70_000, ("w" * 900 + " ") * 300]
)
def test_a_message_of_any_length_takes_no_time(text):
    """It took 21 s where a file held a hundred thousand letters in a row."""
    assert len(str(errors.BadInput(text))) <= errors.LONGEST


def test_a_long_address_in_a_long_message_keeps_its_secret():
    text = "x " * 20_000 + f"https://me:word@example.org/{'a' * 5000}?sig=SECRET"
    said = str(errors.BadInput(text)) + str(errors.BadInput(text + " y" * 20_000))
    assert "SECRET" not in said
    assert "word" not in said


def test_memory_that_does_not_suffice_is_a_sentence(tmp_path, monkeypatch):
    def read(*_given, **_more):
        return np.empty(2**62, np.uint8)

    monkeypatch.setattr("selion.imagery.read_area", read)
    monkeypatch.setattr("selion.store.open_raster", read)
    (tmp_path / "x.tif").write_bytes(b"")
    with pytest.raises(Refused, match="memory does not suffice"):
        run_verb(["fields", str(tmp_path / "x.tif"), "-o", str(tmp_path / "f.parquet")])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("classes", "{"), ("classes", "[" * 100_000), ("classes", "5"), ("classes", '"field"'),
        ("classes", '{"names": 3}'), ("classes", '{"names": ["a", "a", "b"]}'),
        ("classes", '{"names": ["field"]}'), ("classes", "\udcff"), ("image_gsd", "wide"),
        ("image_gsd", "nan"), ("image_gsd", "-1"), ("image_gsd", "1e999"),
    ],
)  # fmt: skip
def test_probabilities_whose_tags_are_damaged(name, said, tmp_path):
    """The first was a traceback of ``json``."""
    from change_scenes import boxes, write_year

    path = write_year(tmp_path, boxes((1, 10, 10, 40, 40))) / "fields.scores.tif"
    (tmp_path / "fields.parquet").unlink()
    with rasterio.open(path, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as made:
        made.update_tags(**{name: said.encode("utf-8", "surrogateescape").decode("latin-1")})
    with pytest.raises(Refused, match=rf"(?i){name}|fields\.scores\.tif"):
        run_verb(["fields", str(path), "-o", str(tmp_path / "f.parquet")])
    assert not (tmp_path / "f.parquet").exists()


def test_numbers_of_four_hundred_digits(tmp_path):
    """Python reads them, and no float holds them: in a card, an item, and a log of a review."""
    from selion.imagery.item import _number as of_item
    from selion.models.card import _number as of_card
    from selion.review.actions import read_action

    assert of_item(10**400) is None
    with pytest.raises(TypeError):
        of_card(10**400)
    said = {"id": "a", "kind": "accept", "person": "Ada", "on": ["f"], "seconds": 10**400}
    with pytest.raises(SelionError, match="seconds of an action"):
        read_action(said, "2024-05-01T10:00:00Z")


def test_a_job_whose_probabilities_have_no_name(tmp_path):
    """Found by the fuzzer among the texts of verbs: they are those beside the table."""
    from selion.country.plan_scores import _beside, _named

    jobs = [{"name": "a", "command": ["selion", "map", "--scores", ""]}]
    (tmp_path / "jobs.json").write_text(json.dumps(jobs))
    beside = _beside(tmp_path / "a" / "fields.parquet", _named(tmp_path))
    assert beside == tmp_path / "a" / "fields.scores.tif"


def test_four_bands_of_bytes_whose_names_are_no_text(tmp_path):
    path = tmp_path / "four.tif"
    profile = {"driver": "GTiff", "count": 4, "height": 8, "width": 8, "dtype": "uint8"}
    with rasterio.open(path, "w", **profile, crs="EPSG:32633", photometric="MINISBLACK") as out:
        out.write(np.full((4, 8, 8), 7, np.uint8))
        out.descriptions = ("XQXQ", "a", "b", "c")
    path.write_bytes(path.read_bytes().replace(b"XQXQ", b"\xed\xedXQ"))
    with pytest.raises(UnreadableFile, match="no UTF-8"):
        store.open_raster(path)


@pytest.mark.parametrize("file", ["", "/", "."])
def test_a_photograph_without_a_name_says_nothing(file):
    assert read_pattern("{plot}_{date}").read(file) == {}


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # of shapely
@pytest.mark.parametrize("corner", [(math.nan, 50.005), (math.inf, 50.005)])
def test_polygons_with_corners_without_a_place_are_refused_as_area_and_as_plots(corner, tmp_path):
    """As areas (query, sample, plan ...) and as plots they were tracebacks, of NaN and of GEOS."""
    path = tmp_path / "x.gpkg"
    lost = shapely.Polygon([(12.02, 50), corner, (12.03, 50.01)])
    geopandas.GeoDataFrame(geometry=[BOX, lost], crs="EPSG:4326").to_file(path)
    grid = GeoBox((100, 100), rasterio.Affine(1e-4, 0, 12.02, 0, -1e-4, 50.01), "EPSG:4326")
    for read in (imagery.read_area, lambda path: read_plots(path, grid)):
        with pytest.raises(errors.BadInput, match=r"corners without a place \(NaN\): repair it"):
            read(path)
