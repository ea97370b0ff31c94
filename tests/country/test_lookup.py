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
import pyproj
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


def drawn_tiles(folder, shapes, **columns):
    """The tiles of a table that no verb of ours has written."""
    frame = geopandas.GeoDataFrame(columns, geometry=shapes, crs=CRS84)
    frame.to_parquet(folder / "own.parquet", write_covering_bbox=True)
    return write_tiles(folder / "own.parquet", folder / "own.pmtiles", finest=9)


@pytest.mark.parametrize("zoom", [0, 2, 6])
def test_the_share_of_a_square_is_of_its_ground_by_geodesics(tmp_path, zoom):
    """Rows of a tile are even in metres of the map and not in degrees: of the globe's squares at
    64 degrees north a third of the share was told.
    """

    def ground(lon, lat):
        step = 40_075_016.686 / 2**zoom / pyramid.GRID
        x, y = geopandas.GeoSeries([shapely.Point(lon, lat)], crs=CRS84).to_crs(3857)[0].coords[0]
        west, south = np.floor(np.array([x, y]) / step) * step
        square = geopandas.GeoSeries([shapely.box(west, south, west + step, south + step)])
        outline = square.set_crs(3857).to_crs(CRS84).segmentize(0.02)[0]
        return abs(pyproj.Geod(ellps="WGS84").geometry_area_perimeter(outline)[0])

    places = [(-20.5, 64.3), (30.2, 40.1), (151.3, -31.4), (8.1, 2.3)]
    frame = geopandas.GeoDataFrame(
        {"id": list("abcd"), "metrics:area": [ground(*place) / 2 for place in places]},
        geometry=[shapely.Point(place).buffer(0.01, 1) for place in places],
        crs=CRS84,
    )
    fields.write_fields(frame, tmp_path / "own.parquet")  # whose sizes are believed
    path = write_tiles(tmp_path / "own.parquet", tmp_path / "own.pmtiles", finest=9)
    squares = pyogrio.read_dataframe(path, layer="density", ZOOM_LEVEL=zoom)
    assert squares["share"].to_numpy() == pytest.approx(0.5, abs=0.0101)
    assert len(squares) == len(places)


def test_ids_of_ones_own_that_look_like_ours_are_counted_where_the_fields_lie(tmp_path):
    """Twelve digits of a register are a geohash in form; the map was empty from afar."""
    path = drawn_tiles(tmp_path, [shapely.box(10, 49, 10.01, 49.01)], id=["200912345678"])
    (square,) = pyogrio.read_dataframe(path, layer="density", ZOOM_LEVEL=5).to_crs(CRS84).geometry
    assert square.contains(shapely.Point(10.005, 49.005))


def test_a_box_that_ends_west_of_its_beginning_is_no_box_of_nothing(tmp_path):
    """Over the antimeridian GeoParquet's metadata say 179, 0, -179, 1; a query found no fields."""
    shapes = [shapely.box(179, -17, 179.01, -16.99), shapely.box(-179.01, -17, -179, -16.99)]
    frame = geopandas.GeoDataFrame({"id": ["a", "b"]}, geometry=shapes, crs=CRS84)
    frame.to_parquet(tmp_path / "fiji.parquet", write_covering_bbox=True)
    table = pq.read_table(tmp_path / "fiji.parquet")
    geo = json.loads(table.schema.metadata[b"geo"])
    geo["columns"]["geometry"]["bbox"] = [179, -17, -179, -16.99]
    about = {**table.schema.metadata, b"geo": json.dumps(geo).encode()}
    pq.write_table(table.replace_schema_metadata(about), tmp_path / "own.parquet")
    found = query(tmp_path / "own.parquet", (178.9, -18, 179.5, -16)).frame
    assert found["id"].tolist() == ["a"]


def test_a_field_on_both_sides_of_the_antimeridian_is_counted_there(tmp_path):
    """The middle of its box lies in the Gulf of Guinea, where nobody looked for it."""
    sides = [shapely.box(179.99, -17, 180, -16.99), shapely.box(-180, -17, -179.995, -16.99)]
    path = drawn_tiles(tmp_path, [shapely.MultiPolygon(sides)], id=["a"])
    (square,) = pyogrio.read_dataframe(path, layer="density", ZOOM_LEVEL=5).to_crs(CRS84).geometry
    assert 179 < abs(square.centroid.x) < 180


def test_what_nobody_knows_of_a_field_is_not_nought(tmp_path):
    """A field drawn by hand has neither a size nor a confidence."""
    shapes = [shapely.box(10.01, 49, 10.02, 49.01), shapely.box(10.021, 49, 10.03, 49.01)]
    hectares = fields.measure(np.array(shapes), CRS84)[0] / 1e4
    path = drawn_tiles(
        tmp_path,
        shapes,
        id=["a", "b"],
        confidence=[0.8, None],
        **{"metrics:area": [hectares[0] * 1e4, None]},
    )
    near = pyogrio.read_dataframe(path, layer="fields", ZOOM_LEVEL=9).set_index("id").sort_index()
    assert near["hectares"].tolist() == pytest.approx(hectares, abs=0.005)
    assert near["confidence"]["a"] == pytest.approx(0.8)
    assert np.isnan(near["confidence"]["b"])
    far = pyogrio.read_dataframe(path, layer="density", ZOOM_LEVEL=5).iloc[0]
    assert far["confidence"] == pytest.approx(0.8), "of those that say how sure they are"
    assert far["hectares"] == pytest.approx(hectares.sum(), abs=0.06)
    bare = tmp_path / "bare"
    bare.mkdir()
    path = drawn_tiles(bare, shapes, id=["a", "b"])
    far = pyogrio.read_dataframe(path, layer="density", ZOOM_LEVEL=5).iloc[0]
    assert far["hectares"] == pytest.approx(hectares.sum(), abs=0.06)
    assert "confidence" not in far or np.isnan(far["confidence"])


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


@pytest.mark.parametrize("edge", [179.9, -179.9])
def test_a_box_over_the_antimeridian_is_found_from_both_sides(tmp_path, edge):
    """GeoParquet writes its west as greater than its east, and it touched nothing."""
    halves = [shapely.box(179.8, -17, 180, -16.9), shapely.box(-180, -17, -179.8, -16.9)]
    fiji = geopandas.GeoDataFrame(
        {"id": ["fiji"], "metrics:area": [1e8]}, geometry=[shapely.MultiPolygon(halves)], crs=CRS84
    )
    table = pq.read_table(write_table(fiji, tmp_path / "1.parquet"))
    geo = json.loads(table.schema.metadata[b"geo"])
    geo["columns"]["geometry"]["bbox"] = [179.8, -17.0, -179.8, -16.9]
    box = [{"xmin": 179.8, "ymin": -17.0, "xmax": -179.8, "ymax": -16.9}]
    place = table.schema.get_field_index("bbox")
    table = table.set_column(place, "bbox", pa.array(box, table.schema.field("bbox").type))
    kept = dict(table.schema.metadata) | {b"geo": json.dumps(geo).encode()}
    pq.write_table(table.replace_schema_metadata(kept), tmp_path / "2.parquet")
    near = imagery.read_area([edge - 0.05, -16.98, edge + 0.05, -16.92])
    assert query(tmp_path / "2.parquet", near).frame["id"].tolist() == ["fiji"]
    far = imagery.read_area([170, -16.98, 171, -16.92])
    assert query(tmp_path / "2.parquet", far).frame.empty


@pytest.mark.parametrize("rows", [1, 2])
def test_a_box_over_the_antimeridian_is_found_beside_others(tmp_path, rows):
    """Least west and greatest east of a group, or of a file, are those of its other boxes."""
    halves = [shapely.box(179.8, -17, 180, -16.9), shapely.box(-180, -17, -179.8, -16.9)]
    plain = shapely.box(10, -17, 10.1, -16.9)
    fiji = geopandas.GeoDataFrame(
        {"id": ["fiji", "plain"]}, geometry=[shapely.MultiPolygon(halves), plain], crs=CRS84
    )
    fiji.to_parquet(tmp_path / "1.parquet", write_covering_bbox=True)
    table = pq.read_table(tmp_path / "1.parquet")
    geo = json.loads(table.schema.metadata[b"geo"])
    del geo["columns"]["geometry"]["bbox"]
    sides = ("xmin", "ymin", "xmax", "ymax")
    boxes = [(179.8, -17.0, -179.8, -16.9), plain.bounds]
    boxes = [dict(zip(sides, box, strict=True)) for box in boxes]
    place = table.schema.get_field_index("bbox")
    table = table.set_column(place, "bbox", pa.array(boxes, table.schema.field("bbox").type))
    about = {**table.schema.metadata, b"geo": json.dumps(geo).encode()}
    path = tmp_path / "2.parquet"
    pq.write_table(table.replace_schema_metadata(about), path, row_group_size=rows)
    for west, wanted in ((179.9, ["fiji"]), (-179.95, ["fiji"]), (10.02, ["plain"]), (50, [])):
        box = (west, -16.98, west + 0.05, -16.92)
        assert query(path, box).frame["id"].tolist() == wanted
        assert fields.read_fields(path, bbox=box)["id"].tolist() == wanted


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
