"""Asking a map: the same answer as reading all of it, little read; statistics; vector tiles that
other readers understand.
"""

import gzip
import io
import json

import duckdb
import geopandas
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
import pyarrow.parquet as pq
import pyogrio
import pytest
import shapely
from click.testing import CliRunner
from geopandas.testing import assert_geodataframe_equal
from hypothesis import given, settings
from hypothesis import strategies as st
from pmtiles.reader import MemorySource, Reader

from command_line import run_here as selion
from country_partitions import CRS84, write_table
from selion import cores, fields, imagery
from selion.cli.country import stats_command
from selion.country import (
    count_fields,
    extract,
    find_field,
    merge_maps,
    open_maps,
    partitions,
    pyramid,
    query,
    read_units,
    row_groups,
    scan,
    shown,
    write_query,
    write_tiles,
    write_units,
)
from selion.country.lookup import Reading
from selion.country.statistics import mercator_km2
from selion.errors import BadInput, OutputExists, UnknownName, UnreadableFile
from selion.fields.schema import Origin
from selion.fields.table import geohash
from selion.imagery.globe import square_kilometres
from selion.store import pmtiles
from selion.store.vectors import read_metadata
from selion.world.attributes import districts_of

ACROSS = 120


@pytest.fixture(scope="module")
def frame():
    """14,400 fields in rows and columns over 1.2 by 0.8 degrees, in two partitions."""
    rng = np.random.default_rng(0)
    x, y = (
        v.ravel()
        for v in np.meshgrid(10.0 + np.arange(ACROSS) * 0.01, 49.0 + np.arange(ACROSS) * 0.007)
    )
    size = rng.uniform(0.002, 0.0045, (2, x.size))
    boxes = shapely.box(x - size[0], y - size[1] * 0.7, x + size[0], y + size[1] * 0.7, ccw=True)
    columns = {
        "id": geohash(x, y),
        "class": np.where(rng.random(x.size) < 0.1, "pond", "field"),
        "confidence": rng.uniform(0.3, 1, x.size).astype(np.float32),
    }
    return geopandas.GeoDataFrame(columns, geometry=boxes, crs=CRS84)


@pytest.fixture(scope="module")
def maps(frame, tmp_path_factory):
    folder = tmp_path_factory.mktemp("query")
    patch = pytest.MonkeyPatch()
    patch.setattr(row_groups, "ROWS", 256)
    made = merge_maps(
        [write_table(frame, folder / "all.parquet", Origin("plain", details="squares"))],
        folder / "maps",
    )
    patch.undo()
    return made


@settings(max_examples=10, deadline=None)
@given(st.floats(9.9, 12.1), st.floats(48.9, 50.5), st.floats(0.001, 0.6), st.floats(0.001, 0.4))
def test_a_query_finds_what_reading_all_finds(frame, maps, west, south, width, height):
    box = (west, south, west + width, south + height)
    found = query(maps, box).frame
    there = frame.geometry.to_numpy()
    wanted = shapely.intersects(shapely.box(*box), there) & ~shapely.touches(
        shapely.box(*box), there
    )
    assert sorted(found["id"]) == sorted(frame["id"][wanted])
    cut = query(maps, box, clip=True).frame
    assert set(cut["id"]) <= set(found["id"])
    assert cut.geometry.within(shapely.box(*box).buffer(1e-9)).all()
    assert shapely.area(cut.geometry.to_numpy()).sum() == pytest.approx(
        shapely.area(shapely.intersection(there, shapely.box(*box))).sum(), rel=1e-6
    )


class Counting(io.BytesIO):
    """A file that counts what is read from it."""

    def __init__(self, data):
        super().__init__(data)
        self.taken = 0

    def read(self, *arguments):
        found = super().read(*arguments)
        self.taken += len(found)
        return found


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("columns", [None, ["confidence"]])
def test_many_fields_are_written_as_they_are_read(maps, tmp_path, monkeypatch, clip, columns):
    """The same rows as with all of them in memory, which the ordinary way has."""
    area = imagery.read_area((10.113, 49.111, 10.717, 49.613))
    wanted = query(maps, area, columns, clip=clip)
    write_query(maps, area, tmp_path / "held.parquet", columns, clip=clip)
    monkeypatch.setattr(extract, "MANY", 10)
    monkeypatch.setattr(extract, "query", None)
    found = write_query(maps, area, tmp_path / "streamed.parquet", columns, clip=clip)
    assert len(found.frame) == len(wanted.frame) > 1000
    assert found.reading == wanted.reading
    held, streamed = (
        geopandas.read_parquet(tmp_path / f"{name}.parquet").sort_values("id", ignore_index=True)
        for name in ("held", "streamed")
    )
    assert_geodataframe_equal(streamed[held.columns], held, check_dtype=False)
    assert list(found.frame.columns)[:-1] == [
        name for name in ("metrics:area", "confidence") if columns is None or name in columns
    ]
    assert found.frame["confidence"].sum() == pytest.approx(held["confidence"].sum())
    about = pyogrio.read_info(tmp_path / "streamed.parquet") if has_parquet() else None
    assert about is None or about["features"] == len(held)
    geo = read_metadata(tmp_path / "streamed.parquet")["geo"]["columns"]["geometry"]
    assert geo["bbox"] == pytest.approx(held.total_bounds.tolist())
    assert geo["geometry_types"] == ["Polygon"]
    held_schema, schema = (
        pq.read_schema(tmp_path / f"{name}.parquet") for name in ("held", "streamed")
    )
    assert set(held_schema.metadata) == set(schema.metadata) == {b"geo", b"collection"}
    assert {one.name: one.type for one in schema} == {one.name: one.type for one in held_schema}
    again = query(tmp_path / "streamed.parquet", (10.3, 49.3, 10.4, 49.4)).frame
    assert set(again["id"]) == set(query(maps, (10.3, 49.3, 10.4, 49.4)).frame["id"])


def has_parquet():
    return "Parquet" in pyogrio.list_drivers()


def test_many_fields_in_a_format_that_is_held_are_refused_with_the_figure(
    maps, tmp_path, monkeypatch
):
    monkeypatch.setattr(extract, "MANY", 10)
    monkeypatch.setattr(cores, "SMALL", 0)
    monkeypatch.setattr(cores, "usable_memory", lambda: 2**20)
    area = imagery.read_area((9, 48, 13, 51))
    with pytest.raises(BadInput, match=r"\.gpkg of the 14,400 fields .*0\.0 GB.*write \.parquet"):
        write_query(maps, area, tmp_path / "all.gpkg")
    write_query(maps, area, tmp_path / "all.parquet")
    with pytest.raises(BadInput, match="holds 14,400 polygons, and reading them takes"):
        fields.read_fields(tmp_path / "all.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["all.parquet"]


def test_a_village_of_a_large_map_is_not_refused_for_the_fields_elsewhere_in_it(
    maps, tmp_path, monkeypatch
):
    """What is held is what lies in row groups near it, not all of the tables that these are in."""
    box = (10.3, 49.3, 10.32, 49.32)
    monkeypatch.setattr(extract, "MANY", 10)
    monkeypatch.setattr(cores, "SMALL", 0)
    near = query(maps, box).reading.groups * max(
        pq.read_metadata(part.path).row_group(0).num_rows for part in maps.parts
    )
    monkeypatch.setattr(cores, "usable_memory", lambda: 2 * 700 * near)
    assert len(write_query(maps, imagery.read_area(box), tmp_path / "a.gpkg").frame) > 0
    with pytest.raises(BadInput, match="14,400 fields"):
        write_query(maps, imagery.read_area((9, 48, 13, 51)), tmp_path / "all.gpkg")


def test_a_district_reads_few_row_groups_and_few_bytes(maps):
    found = query(maps, (10.5, 49.5, 10.6, 49.57))
    assert len(found.frame) > 50
    reading = found.reading
    assert reading.parts < len(maps.parts)
    assert reading.groups <= 0.2 * sum(
        pq.read_metadata(part.path).num_row_groups for part in maps.parts
    )
    assert reading.bytes < 0.2 * reading.of_bytes
    narrow = query(maps, (10.5, 49.5, 10.6, 49.57), ["confidence"])
    assert list(narrow.frame.columns) == ["id", "confidence", "geometry"]
    assert narrow.reading.bytes < reading.bytes


def test_others_prune_row_groups_by_the_bbox_column(maps):
    part = max(maps.parts, key=lambda one: one.rows)
    file = Counting(part.path.read_bytes())
    box = (10.5, 49.5, 10.55, 49.53)
    near = (
        (pc.field("bbox", "xmin") <= box[2])
        & (pc.field("bbox", "xmax") >= box[0])
        & (pc.field("bbox", "ymin") <= box[3])
        & (pc.field("bbox", "ymax") >= box[1])
    )
    table = pq.read_table(pa.PythonFile(file, mode="r"), filters=near)
    assert len(table) == len(query(maps, box).frame) > 10
    assert file.taken < 0.4 * part.bytes, "pyarrow skips row groups"
    where = (
        f"bbox.xmin <= {box[2]} AND bbox.xmax >= {box[0]} AND bbox.ymin <= {box[3]} AND bbox.ymax "
        f">= {box[1]}"
    )
    plan = duckdb.sql(f"SELECT count(*) FROM '{maps.folder}/*/*.parquet' WHERE {where}")
    assert plan.fetchall()[0][0] == len(table)
    assert len(geopandas.read_parquet(maps.folder, bbox=box)) == len(table)


def test_readers_take_the_folder_as_one_table(frame, maps):
    dataset = pyarrow.dataset.dataset(maps.folder, format="parquet", partitioning="hive")
    assert dataset.count_rows() == len(frame)
    assert "cell" in dataset.schema.names
    rows = duckdb.sql(
        f"SELECT cell, count(*) FROM read_parquet('{maps.folder}/*/*.parquet', hive_partitioning "
        "= true) GROUP BY cell ORDER BY cell"
    ).fetchall()
    assert rows == [(part.name, part.rows) for part in maps.parts]
    assert len(geopandas.read_parquet(maps.folder)) == len(frame)


def test_one_table_is_a_map_of_one_partition(frame, tmp_path):
    path = write_table(frame.head(500), tmp_path / "one.parquet")
    assert len(query(path, (9, 48, 13, 52)).frame) == 500
    utm = fields.write_fields(
        fields.read_fields(path).to_crs(32632), tmp_path / "utm.parquet", crs="keep"
    )
    with pytest.raises(UnreadableFile, match="longitude and latitude"):
        open_maps(utm)
    with pytest.raises(UnreadableFile, match="not a merged map"):
        open_maps(tmp_path)
    (tmp_path / partitions.INDEX).write_text('{"kind": "selion maps 9"}')
    with pytest.raises(UnreadableFile, match="selion maps 9"):
        open_maps(tmp_path)
    (tmp_path / partitions.INDEX).write_text('{"kind": "selion maps 1"}')
    with pytest.raises(UnreadableFile, match="cannot be read"):
        open_maps(tmp_path)


@pytest.mark.parametrize("statistics", [True, False])
def test_a_table_that_does_not_say_where_it_lies_is_looked_at(frame, tmp_path, statistics):
    """Not taken to be the whole world, of which 'selion tiles' would draw 262,144 chunks."""
    path = write_table(frame.head(500), tmp_path / "one.parquet")
    said = open_maps(path).box
    table = pq.read_table(path)
    geo = json.loads(table.schema.metadata[b"geo"])
    del geo["columns"]["geometry"]["bbox"]
    table = table.replace_schema_metadata({b"geo": json.dumps(geo).encode()})
    pq.write_table(table, path, row_group_size=200, write_statistics=statistics)
    maps = open_maps(path)
    assert maps.box == pytest.approx(said, abs=1e-9)
    assert len(pyramid._chunks(maps)) < 100
    geo["columns"]["geometry"]["bbox"] = [*said[:2], -7.0, *said[2:], 90.0]
    pq.write_table(table.replace_schema_metadata({b"geo": json.dumps(geo).encode()}), path)
    assert open_maps(path).box == said, "heights are left out"


def test_a_small_place_of_a_table_in_no_order_is_held_not_the_table(frame, tmp_path, monkeypatch):
    """Each of its row groups lies near, and of each a few rows are kept."""
    path = write_table(frame.head(4000), tmp_path / "one.parquet")
    table = pq.read_table(path)
    mixed = table.take(np.random.default_rng(1).permutation(len(table)))
    pq.write_table(mixed, path, row_group_size=200)
    shapes = frame.head(4000).to_crs(4326).geometry
    west, south, *_ = shapes.total_bounds
    box = (west, south, west + 0.02, south + 0.02)
    monkeypatch.setattr(cores, "SMALL", 0)
    monkeypatch.setattr(cores, "usable_memory", lambda: 1_000_000)
    found = fields.read_fields(path, box)
    wanted = shapes[shapes.bounds.minx.le(box[2]) & shapes.bounds.miny.le(box[3])]
    assert len(found) == len(wanted) > 0
    with pytest.raises(BadInput, match=r"one\.parquet holds 4,000 polygons"):
        fields.read_fields(path)
    with pytest.raises(BadInput, match=r"one\.parquet holds [\d,]+ polygons"):
        fields.read_fields(path, (west, south, 180, 90))


@pytest.mark.parametrize(
    "damage",
    [lambda path: path.unlink(), lambda path: path.write_bytes(path.read_bytes()[:5000])],
    ids=["gone", "cut short"],
)
def test_a_damaged_partition_is_named_by_whoever_reads_it(frame, tmp_path, damage):
    table = write_table(frame.head(100), tmp_path / "few.parquet")
    made = merge_maps([table], tmp_path / "maps")
    damage(made.parts[0].path)
    for read in (
        lambda: query(made, made.box),
        lambda: query(made, (0, 0, 1, 1)),
        lambda: count_fields(made),
        lambda: write_tiles(made, tmp_path / "x.pmtiles"),
    ):
        with pytest.raises(UnreadableFile, match=r"part\.parquet cannot be read"):
            read()
    assert not (tmp_path / "x.pmtiles").exists()


def test_an_area_without_fields_is_an_empty_table_with_the_same_columns(maps):
    empty, some = query(maps, (0, 0, 1, 1)), query(maps, (10.5, 49.5, 10.6, 49.57))
    assert len(empty.frame) == 0
    assert list(empty.frame.columns) == list(some.frame.columns)
    assert empty.reading.bytes == 0
    with pytest.raises(UnknownName, match="confidence"):
        query(maps, (10.5, 49.5, 10.6, 49.57), ["confidense"])


def test_a_field_is_found_by_its_id(frame, maps):
    one = frame.iloc[12345]
    assert find_field(maps, one["id"]).geometry.iloc[0].equals(one.geometry)
    with pytest.raises(BadInput, match="no field 'zzzz'"):
        find_field(maps, "zzzz")


def test_scanning_by_two_boxes_gives_each_row_once(maps):
    tables = list(
        scan(
            maps,
            [(10.5, 49.5, 10.6, 49.57), (10.55, 49.5, 10.7, 49.57)],
            ["confidence"],
            reading := Reading(),
        )
    )
    ids = pa.concat_tables(tables)["id"].to_pylist()
    assert len(ids) == len(set(ids)) > 50
    assert reading.rows >= len(ids)


# statistics


@pytest.fixture(scope="module")
def units(tmp_path_factory):
    path = tmp_path_factory.mktemp("units") / "admin.geojson"
    shapes = [
        shapely.box(10.003, 49.0033, 11.003, 50.0033),
        shapely.box(11.003, 49.0033, 11.503, 50.0033),
        shapely.box(0, 0, 1, 1),
    ]
    geopandas.GeoDataFrame(
        {"name": ["west", "east", "sea|side"]}, geometry=shapes, crs=4326
    ).to_file(path)
    return path


def test_statistics_are_those_of_the_fields_inside(frame, maps, units):
    rows = count_fields(maps, units)
    assert [row.unit for row in rows] == ["west", "east", "sea|side"]
    inside = frame[
        shapely.within(
            shapely.centroid(frame.geometry.to_numpy()),
            shapely.box(10.003, 49.0033, 11.003, 50.0033),
        )
    ]
    area = fields.measure(inside.geometry.to_numpy(), CRS84)[0] / 1e4
    west = rows[0]
    assert west.fields == len(inside)
    assert west.total_ha == pytest.approx(area.sum(), rel=1e-5)
    assert west.median_ha == pytest.approx(np.median(area), abs=1e-3)
    assert west.mean_ha == pytest.approx(area.mean(), abs=1e-3)
    assert west.land_km2 == pytest.approx(8052.6, rel=2e-3), (
        "one degree by one at 49.5 degrees north"
    )
    assert west.share == pytest.approx(area.sum() / 100 / west.land_km2, rel=1e-3)
    assert west.mercator_km2 / west.land_km2 == pytest.approx(
        1 / np.cos(np.radians(49.5)) ** 2, rel=1e-2
    ), "the inflation of published tables"
    assert (rows[2].fields, rows[2].median_ha) == (0, None)
    (whole,) = count_fields(maps)
    assert whole.fields == len(frame)
    assert whole.land_km2 is None


def test_the_table_comes_as_csv_json_and_markdown(maps, units, tmp_path):
    rows = count_fields(maps, units)
    table = pd.read_csv(write_units(rows, tmp_path / "t.csv"))
    assert (
        table["fields"].tolist()
        == [row["fields"] for row in json.loads(shown(rows, ".json"))]
        == [row.fields for row in rows]
    )
    markdown = write_units(rows, tmp_path / "t.md").read_text().splitlines()
    assert len(markdown) == 5
    assert len({line.count("|") for line in markdown}) == 1, (
        "a bar in a name does not open a column"
    )
    with pytest.raises(OutputExists):
        write_units(rows, tmp_path / "t.csv")
    with pytest.raises(UnknownName, match="format"):
        write_units(rows, tmp_path / "t.txt")
    with pytest.raises(UnknownName, match="name"):
        read_units(units, "nam")


def test_districts_are_called_as_in_their_file_though_one_lacks_its_number_or_its_outline(tmp_path):
    squares = [shapely.box(k, 0, k + 1, 1) for k in range(4)]
    squares[1] = None
    codes = pd.array([9162, 9163, None, 9184], "Int64")
    path = tmp_path / "districts.gpkg"
    geopandas.GeoDataFrame({"code": codes}, geometry=squares, crs=CRS84).to_file(path)
    assert [name for name in read_units(path, "code").names if name.isdigit()] == ["9162", "9184"]
    assert read_units(path).names == ("1", "3", "4"), "rows are numbered as they lie in the file"
    points = geopandas.GeoDataFrame(geometry=[shapely.box(3.2, 0.2, 3.3, 0.3)], crs=CRS84)
    assert districts_of(points, path, "code").tolist() == ["9184"]
    assert districts_of(points, path, None).tolist() == ["4"]


def test_a_unit_over_the_antimeridian_in_metres_does_not_go_around_the_globe(tmp_path):
    """100 by 50 km of Fiji in UTM 1, which begins at 180 degrees: it was all of its latitudes."""
    around = shapely.box(130_000, 8_100_000, 230_000, 8_150_000)
    path = tmp_path / "fiji.gpkg"
    geopandas.GeoDataFrame({"name": ["fiji"]}, geometry=[around], crs="EPSG:32701").to_file(path)
    (unit,) = read_units(path).shapes
    assert [part.geom_type for part in unit.geoms] == ["Polygon", "Polygon"]
    assert shapely.box(-180, -90, -179, 90).intersects(unit)
    assert not shapely.box(-179, -90, 179, 90).intersects(unit)
    # scale 1.0009 at 330 km from the middle of the zone
    assert square_kilometres(unit) == pytest.approx(5000, rel=4e-3)


@pytest.mark.parametrize("crs", ["EPSG:6933", "EPSG:3857", "EPSG:3031"])
def test_a_unit_around_a_pole_costs_no_other_its_place(tmp_path, crs):
    """A ring as wide as the world ends at 179.99999999999997 degrees once it was projected."""
    south = (
        shapely.Point(0, 0).buffer(2e6)
        if crs == "EPSG:3031"
        else geopandas.GeoSeries([shapely.box(-180, -80, 180, -70)], crs=4326).to_crs(crs)[0]
    )
    here = geopandas.GeoSeries([shapely.box(8, 46, 9, 47)], crs=4326).to_crs(crs)[0]
    path = tmp_path / "world.gpkg"
    shapes = [shapely.set_precision(south, 0.01), here]
    geopandas.GeoDataFrame({"name": ["s", "h"]}, geometry=shapes, crs=crs).to_file(path)
    found = dict(zip(read_units(path).names, read_units(path).shapes, strict=True))
    assert found["h"].bounds == pytest.approx((8, 46, 9, 47), abs=1e-4)
    if crs != "EPSG:3031":
        assert found["s"].contains(shapely.Point(100, -75))


def test_mercator_area_grows_with_latitude():
    box = shapely.box(8, 46, 9, 47)
    assert mercator_km2(box) == pytest.approx(111.32 * 111.32 / np.cos(np.radians(46.5)), rel=2e-3)


# tiles


@pytest.fixture(scope="module")
def tiled(maps, tmp_path_factory):
    return write_tiles(maps, tmp_path_factory.mktemp("tiles") / "fields.pmtiles", finest=10)


def test_all_fields_are_in_the_finest_tiles_and_others_read_them(frame, tiled):
    assert pyogrio.list_layers(tiled)[:, 0].tolist() == ["density", "fields"]
    found = pyogrio.read_dataframe(tiled, layer="fields")
    assert set(found["id"]) == set(frame["id"])
    assert set(found.columns) >= {"id", "hectares", "confidence", "class"}
    truth = frame.to_crs(3857).set_index("id")
    # GDAL cuts at the tiles' edges
    sides = found.geometry.bounds.groupby(found["id"]).agg(
        {"minx": "min", "miny": "min", "maxx": "max", "maxy": "max"}
    )
    away = np.abs(
        sides.to_numpy() - shapely.bounds(truth.geometry.loc[sides.index].to_numpy())
    ).max()
    assert away < 40_075_016.686 / 2**10 / 4096 * 1.01, "one step of the finest tiles"
    assert found["hectares"].max() == pytest.approx(
        fields.measure(frame.geometry.to_numpy(), CRS84)[0].max() / 1e4, abs=0.01
    )


def test_far_out_squares_hold_the_sums(frame, tiled):
    for zoom in (0, 5, 8):
        squares = pyogrio.read_dataframe(tiled, layer="density", ZOOM_LEVEL=zoom)
        assert squares["fields"].sum() == len(frame)
        assert squares["share"].between(0, 1).all()
    near = pyogrio.read_dataframe(tiled, layer="density", ZOOM_LEVEL=8)
    middle = near[
        near.intersects(
            shapely.Point(
                *geopandas.GeoSeries([shapely.Point(11, 49.7)], crs=CRS84).to_crs(3857)[0].coords[0]
            )
        )
    ]
    assert 0.2 < middle["share"].iloc[0] < 0.7


def test_the_archive_is_what_the_reference_reader_expects(maps, tiled, tmp_path):
    data = tiled.read_bytes()
    reader = Reader(MemorySource(data))
    header, said = reader.header(), reader.metadata()
    assert (header["min_zoom"], header["max_zoom"], header["clustered"]) == (0, 10, True)
    assert header["addressed_tiles_count"] == header["tile_entries_count"]
    assert [layer["id"] for layer in said["vector_layers"]] == ["density", "fields"]
    assert reader.get(0, 0, 0) is not None
    assert reader.get(10, 0, 0) is None
    again = write_tiles(maps, tmp_path / "again.pmtiles", finest=10)
    assert again.read_bytes() == data
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.pmtiles"]


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 14), st.data())
def test_tiles_are_found_by_their_place(tmp_path_factory, zoom, data):
    """Written in any order, and read by our reader and by the reference's."""
    number = st.integers(0, 2**zoom - 1)
    places = data.draw(st.lists(st.tuples(number, number), min_size=1, max_size=30, unique=True))
    path = tmp_path_factory.mktemp("tiles") / "some.pmtiles"
    layers = {"vector_layers": [{"id": "fields", "fields": {}}]}
    with pmtiles.ArchiveWriter(path.parent) as tiles:
        for x, y in places:
            tiles.add(zoom, x, y, f"{x},{y}".encode())
        tiles.write(path, layers, (-180, -85, 180, 85), (zoom, zoom))
    archive, reader = pmtiles.open_archive(path), Reader(MemorySource(path.read_bytes()))
    for x, y in places:
        assert archive.tile(zoom, x, y).decode() == f"{x},{y}"
        assert gzip.decompress(reader.get(zoom, x, y)).decode() == f"{x},{y}"
    x, y = data.draw(st.tuples(number, number))
    assert bool(archive.tile(zoom, x, y)) == ((x, y) in places)
    assert reader.header()["clustered"]
    assert [path.name for path in path.parent.iterdir()] == ["some.pmtiles"]


def test_an_archive_of_many_tiles_has_leaves(tmp_path):
    rng = np.random.default_rng(0)
    places = sorted({(int(x), int(y)) for x, y in rng.integers(0, 4096, (9_000, 2))})
    path = tmp_path / "many.pmtiles"
    with pmtiles.ArchiveWriter(tmp_path) as tiles:
        for x, y in places:
            tiles.add(12, x, y, f"{x},{y}".encode())
        tiles.write(path, {}, (-180, -85, 180, 85), (12, 12))
    reader = Reader(MemorySource(path.read_bytes()))
    assert reader.header()["leaf_directory_length"] > 0
    assert reader.header()["root_length"] <= pmtiles.ROOT
    for x, y in places[::997]:
        assert gzip.decompress(reader.get(12, x, y)).decode() == f"{x},{y}"


def test_a_chunk_whose_fields_are_too_small_to_be_seen_far_out_is_drawn_near(tmp_path):
    small = shapely.box(10.01, 49.0, 10.0102, 49.0002)
    frame = geopandas.GeoDataFrame(
        {"id": geohash(np.array([10.0101]), np.array([49.0001])), "metrics:area": [300.0]},
        geometry=[small],
        crs=CRS84,
    )
    path = write_tiles(write_table(frame, tmp_path / "1.parquet"), tmp_path / "1.pmtiles")
    assert len(pyogrio.read_dataframe(path, layer="fields", ZOOM_LEVEL=12)) == 1
    assert Reader(MemorySource(path.read_bytes())).get(8, 135, 87) is not None


def test_crowded_tiles_are_bounded(maps, tmp_path, monkeypatch):
    monkeypatch.setattr(pyramid, "LIMIT", 100)
    path = write_tiles(maps, tmp_path / "few.pmtiles", finest=10)
    reader = Reader(MemorySource(path.read_bytes()))
    coarse = pyogrio.read_dataframe(path, layer="fields", ZOOM_LEVEL=9)
    chunks = len(pyramid._chunks(maps))
    assert 0 < len(coarse) <= 100 * chunks
    assert reader.header()["max_zoom"] == 10
    assert (
        len(set(pyogrio.read_dataframe(path, layer="fields", ZOOM_LEVEL=10)["id"])) == maps.rows
    ), "the finest zoom has them all"


def test_what_cannot_be_drawn_is_said(frame, maps, tmp_path):
    with pytest.raises(BadInput, match="pmtiles"):
        write_tiles(maps, tmp_path / "x.gpkg")
    with pytest.raises(BadInput, match="zoom 3"):
        write_tiles(maps, tmp_path / "x.pmtiles", finest=3)
    empty = write_table(frame.head(0), tmp_path / "0.parquet")
    with pytest.raises(BadInput, match="no fields"):
        write_tiles(empty, tmp_path / "x.pmtiles")


def test_the_commands_answer(maps, units, tmp_path):
    done = selion(
        "query",
        "10.5,49.5,10.6,49.57",
        maps.folder,
        "-o",
        tmp_path / "some.gpkg",
        "--clip",
        "--columns",
        "confidence,metrics:area",
        "--json",
    )
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert (
        len(pyogrio.read_dataframe(tmp_path / "some.gpkg", layer="fields")) == facts["fields"] > 50
    )
    assert facts["bytes_read"] < facts["bytes_of_map"]
    refused = CliRunner().invoke(stats_command, [str(maps.folder), "--district-column", "district"])
    assert refused.exit_code == 2
    assert "--districts" in refused.output
    done = selion("stats", maps.folder, "--districts", units, "--format", "csv")
    assert done.stdout.splitlines()[1].startswith("west,")
    done = selion("stats", maps.folder, "--districts", tmp_path / "none.geojson")
    assert done.returncode == 2
    assert "There is no file" in done.stderr
