"""Tables that are damaged, or hold something else, are refused in a sentence or read rightly."""

import json

import geopandas
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from click.testing import CliRunner

from option_inputs import table_of
from selion import fields
from selion.cli.main import cli
from selion.errors import SelionError
from selion.store.parquet import parquet_metadata, parquet_schema

pytestmark = pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
VERBS = {
    "merge": "merge {table} {other} -o out",
    "query": "query 12,50,12.01,50.01 {table} -o out.parquet",
    "tiles": "tiles {table} -o out.pmtiles",
    "review": "review status {table}",
}


def said(**about):
    """Change what GeoParquet's metadata say of the geometry."""

    def change(table):
        metadata = dict(table.schema.metadata)
        geo = json.loads(metadata[b"geo"])
        geo["columns"]["geometry"].update(about)
        return table.replace_schema_metadata(metadata | {b"geo": json.dumps(geo).encode()})

    return change


def shaped(act):
    """Change the second geometry."""

    def change(table):
        wkb = table["geometry"].to_pylist()
        wkb[1] = act(shapely.from_wkb(wkb[1]))
        number = table.schema.get_field_index("geometry")
        column = pa.array(wkb, pa.binary())
        return table.set_column(number, pa.field("geometry", pa.binary()), column)

    return change


def with_text_boxes(table):
    number = table.schema.get_field_index("bbox")
    return table.set_column(number, "bbox", pa.array(["x"] * len(table)))


def other_type(table, name, values):
    return table.set_column(table.schema.get_field_index(name), name, pa.array(values))


HOSTILE = {
    "crs text": said(crs="EPSG:banana"),
    "crs dict": said(crs={"a": 1}),
    "crs number": said(crs=5),
    "bbox short": said(bbox=[1, 2]),
    "bbox text": said(bbox=["a", "b", "c", "d"]),
    "bbox nan": said(bbox=[float("nan")] * 4),
    "bbox column": with_text_boxes,
    "bbox nothing": lambda table: table.set_column(
        table.schema.get_field_index("bbox"), "bbox", pa.nulls(len(table))
    ),
    "point": shaped(lambda shape: shapely.to_wkb(shape.centroid)),
    "line": shaped(lambda shape: shapely.to_wkb(shape.boundary)),
    "collection": shaped(lambda shape: shapely.to_wkb(shapely.GeometryCollection([shape]))),
    "null": shaped(lambda _: None),
    "no wkb": shaped(lambda _: b"\x01\x03garbage"),
    "short wkb": shaped(lambda shape: shapely.to_wkb(shape)[:30]),
    "nan": shaped(
        lambda _: shapely.to_wkb(
            shapely.Polygon([(12, 50), (12.001, np.nan), (12.002, 50), (12, 50)])
        )
    ),
    "empty": shaped(lambda _: shapely.to_wkb(shapely.Polygon())),
    "ids of nothing": lambda table: other_type(
        table, "id", pa.array([None] * len(table), pa.string())
    ),
    "ids in lists": lambda table: other_type(table, "id", [["a"]] * len(table)),
    "area as text": lambda table: other_type(table, "metrics:area", ["x"] * len(table)),
    "class in lists": lambda table: other_type(table, "class", [[1.0]] * len(table)),
    "no id": lambda table: table.drop_columns(["id"]),
}
HARMLESS = {"bbox short", "bbox text", "bbox nan"}
"""A box is told by the rows too."""


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    good = table_of(folder / "good", "good", 12.0)
    other = table_of(folder / "other", "other", 12.02, east=12.04)
    return good, other


def run(verb, table, other, folder, monkeypatch):
    monkeypatch.chdir(folder)
    words = VERBS[verb].format(table=table, other=other).split()
    done = CliRunner().invoke(cli, words)
    kind = type(done.exception)
    assert done.exception is None or issubclass(kind, SelionError | SystemExit), done.exc_info
    if done.exception is not None:
        assert [path.name for path in folder.iterdir()] == ["fields.parquet"]
    return done


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_tables(name, verb, tables, tmp_path, monkeypatch):
    path = tmp_path / "fields.parquet"
    pq.write_table(HOSTILE[name](pq.read_table(tables[0])), path)
    done = run(verb, path, tables[1], tmp_path, monkeypatch)
    if name in HARMLESS:
        assert done.exit_code == 0, done.exception
    elif verb == "merge" and name not in ("no id", "ids of nothing"):
        assert done.exception is not None, "it would be in the map"
        if name in ("nan", "empty"):
            assert "holds 1 field without an outline, or with corners" in str(done.exception)


@pytest.mark.parametrize("verb", VERBS)
def test_a_damaged_page_is_said(verb, tables, tmp_path, monkeypatch):
    body = bytearray(tables[0].read_bytes())
    body[60:200] = bytes(value ^ 0x5A for value in body[60:200])
    path = tmp_path / "fields.parquet"
    path.write_bytes(body)
    done = run(verb, path, tables[1], tmp_path, monkeypatch)
    assert "cannot be read" in str(done.exception)
    with pytest.raises(SelionError, match="damaged"):
        fields.read_fields(path)


def test_shapes_alone_are_merged(tmp_path):
    """A GeoParquet of another program has neither ids nor anything else of ours."""
    shapes = [shapely.box(12, 50, 12.01, 50.01), shapely.box(12.02, 50, 12.03, 50.01)]
    geopandas.GeoDataFrame(geometry=shapes, crs="EPSG:4326").to_parquet(tmp_path / "x.parquet")
    done = CliRunner().invoke(
        cli, ["merge", str(tmp_path / "x.parquet"), "-o", str(tmp_path / "m")]
    )
    assert done.exit_code == 0, done.exception
    read = fields.read_fields(tmp_path / "m")
    assert sorted(read.geometry.bounds["minx"]) == [12, 12.02]
    assert read["id"].is_unique


def test_a_column_whose_name_is_no_text_is_said(tables, tmp_path):
    """The bytes of the footer are changed where they name a column."""
    path = tmp_path / "fields.parquet"
    table = pq.read_table(tables[0])
    table = table.append_column("extra_name", table["id"])
    pq.write_table(table, path, store_schema=False)
    path.write_bytes(path.read_bytes().replace(b"extra_name", b"extra_\xffame"))
    for read in (fields.read_fields, parquet_schema, parquet_metadata):
        with pytest.raises(SelionError, match="damaged"):
            read(path)
