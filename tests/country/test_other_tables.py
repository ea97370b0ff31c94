"""Tables of fields in other formats than GeoParquet are asked as maps are: the truth is what
geopandas and shapely say of the same squares.
"""

import json
import warnings

import geopandas
import numpy as np
import pandas as pd
import pyogrio
import pytest
import shapely
from pyproj import Geod
from shapely import affinity

from command_line import run_here as selion
from selion.country import count_fields
from selion.fields import Origin, write_fields
from selion.fields.table import geohash

FORMATS = (".gpkg", ".geojson", ".fgb")
BOX = (12.0041, 50.0041, 12.0309, 50.0309)
"""Cuts fields, and holds others."""


@pytest.fixture(scope="module")
def frame():
    """400 squares of about 100 m, half of them ponds."""
    x, y = (v.ravel() for v in np.meshgrid(12 + np.arange(20) * 0.003, 50 + np.arange(20) * 0.003))
    shapes = shapely.box(x, y, x + 0.0014, y + 0.0009, ccw=True)
    made = geopandas.GeoDataFrame({"id": geohash(x, y)}, geometry=shapes, crs="OGC:CRS84")
    made["class"] = np.where(np.arange(len(x)) % 2, "pond", "field")
    sizes = [Geod(ellps="WGS84").geometry_area_perimeter(one) for one in shapes]
    made["metrics:area"] = np.array([area for area, _ in sizes], np.float32)
    made["metrics:perimeter"] = np.array([length for _, length in sizes], np.float32)
    made["confidence"] = np.linspace(0.3, 1, len(x)).astype(np.float32)
    return made


def written(frame, ending, folder):
    """Write a table as GDAL does by itself, the GeoPackage in metres beside another layer."""
    path = folder / f"own{ending}"
    if ending == ".gpkg":
        pyogrio.write_dataframe(frame.head(3), path, layer="a note")
        pyogrio.write_dataframe(frame.to_crs("EPSG:32633"), path, layer="fields", append=True)
    else:
        pyogrio.write_dataframe(frame, path)
    return path


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("more", [(), ("--clip",), ("--columns", "class"), ("--geoparquet", "2.0")])
def test_a_query_takes_fields_of_any_format_with_all_its_options(frame, tmp_path, ending, more):
    box = shapely.box(*BOX)
    path, out = written(frame, ending, tmp_path), tmp_path / "found.parquet"
    done = selion("query", ",".join(map(str, BOX)), path, "-o", out, *more)
    assert done.returncode == 0, done.stderr
    assert "bytes_read" not in done.stderr, "all of it was read"
    found = geopandas.read_parquet(out).set_index("id")
    wanted = frame[frame.intersects(box)].set_index("id").loc[found.index]
    assert len(found) == frame.intersects(box).sum() > 50
    shapes = wanted.intersection(box) if "--clip" in more else wanted.geometry
    apart = shapely.hausdorff_distance(found.geometry.to_numpy(), shapes.to_numpy())
    assert apart.max() < 2e-7  # GeoJSON has seven places
    columns = {"class", "geometry"} if "--columns" in more else set(frame) - {"id"}
    assert set(found) - {"bbox"} == columns
    assert (found["class"] == wanted["class"]).all()


@pytest.mark.parametrize("ending", FORMATS)
def test_statistics_and_tiles_take_fields_of_any_format(frame, tmp_path, ending):
    path = written(frame, ending, tmp_path)
    west, east = shapely.box(11.9, 49.9, 12.0295, 50.1), shapely.box(12.0295, 49.9, 12.1, 50.1)
    units = geopandas.GeoDataFrame({"name": ["W", "E"]}, geometry=[west, east], crs="OGC:CRS84")
    units.to_file(tmp_path / "units.geojson")
    done = selion("stats", path, "--districts", tmp_path / "units.geojson", "--format", "json")
    assert done.returncode == 0, done.stderr
    rows = pd.DataFrame(json.loads(done.stdout)).set_index("unit")
    assert rows["fields"].to_dict() == {"W": 200, "E": 200}
    hectares = frame["metrics:area"].astype(float).sum() / 1e4
    assert rows["total_ha"].sum() == pytest.approx(hectares, abs=0.002)
    done = selion("tiles", path, "-o", tmp_path / "own.pmtiles", "-q")
    assert done.returncode == 0, done.stderr
    tiles = pyogrio.read_dataframe(tmp_path / "own.pmtiles", layer="fields").to_crs("EPSG:4326")
    squares = shapely.union_all(tiles.geometry.to_numpy()).area
    assert squares == pytest.approx(400 * 0.0014 * 0.0009, rel=0.1)
    told = json.loads((tmp_path / "own.pmtiles.manifest.json").read_text("utf-8"))
    assert [one["name"] for one in told["inputs"]] == [str(path)], "and no copy of it"


@pytest.mark.parametrize(
    ("spoilt", "said"),
    [
        (lambda one: one.drop(columns="id"), "has no column 'id'"),
        (lambda one: one.set_crs(None, allow_override=True), "has no CRS"),
        (lambda one: one.set_geometry(one.geometry.where(one.index > 1)), "2 rows without geom"),
    ],
)
def test_a_table_that_cannot_be_asked_is_refused_by_its_name(frame, tmp_path, spoilt, said):
    path = tmp_path / "own.gpkg"
    with warnings.catch_warnings(action="ignore"):  # of pyogrio, that there is no CRS
        pyogrio.write_dataframe(spoilt(frame), path, layer="fields")
    for verb in (["query", "12,50,12.1,50.1"], ["stats"], ["tiles"]):
        out = [] if verb == ["stats"] else ["-o", tmp_path / "out.pmtiles"]
        done = selion(*verb, path, *out)
        assert done.returncode == 2, done.stderr
        assert f"{path} " in done.stderr
        assert said in done.stderr
    assert [one.name for one in tmp_path.iterdir()] == ["own.gpkg"]


def test_a_column_that_is_not_there_is_named_with_the_table(frame, tmp_path):
    path = written(frame, ".gpkg", tmp_path)
    done = selion("query", "12,50,12.1,50.1", path, "-o", tmp_path / "q.gpkg", "--columns", "clas")
    assert done.returncode == 2
    assert "column in own.gpkg" in done.stderr
    assert "class" in done.stderr


def test_a_shapefile_is_read_and_a_file_of_another_kind_refused_as_such(frame, tmp_path):
    plain = frame[["id", "geometry"]].assign(id=frame["id"].astype(str))
    plain.to_file(tmp_path / "own.shp")
    done = selion("query", ",".join(map(str, BOX)), tmp_path / "own.shp", "-o", tmp_path / "q.fgb")
    assert done.returncode == 0, done.stderr
    found = geopandas.read_file(tmp_path / "q.fgb")
    assert set(found["id"]) == set(frame["id"][frame.intersects(shapely.box(*BOX))])
    (tmp_path / "own.csv").write_text("id,area\na,1\n")
    for verb in (["query", "12,50,12.1,50.1"], ["stats"], ["tiles"]):
        out = [] if verb == ["stats"] else ["-o", tmp_path / "out.pmtiles"]
        done = selion(*verb, tmp_path / "own.csv", *out)
        assert done.returncode == 2
        assert "own.csv ends with .csv and is no Parquet: wanted is a folder of" in done.stderr
    done = selion("sample", "12,50,12.1,50.1", tmp_path / "own.csv", "-o", tmp_path / "s")
    assert done.returncode == 2
    assert "own.csv is a table without geometry" in done.stderr


def test_a_table_that_is_not_what_its_ending_says_is_refused_by_its_name(tmp_path):
    for ending in FORMATS:
        path = tmp_path / f"own{ending}"
        path.write_bytes(b"PAR1 something else")
        done = selion("stats", path)
        assert done.returncode == 2, done.stderr
        assert f"{path} cannot be read as fields" in done.stderr


@pytest.mark.parametrize("words", ["maps {box}", "maps {box} --json", "--columns id maps {box}"])
def test_the_wrong_order_is_said_before_a_missing_output(words, tmp_path):
    done = selion("query", *words.format(box="12,50,12.1,50.1").split(), cwd=tmp_path)
    assert done.returncode == 2
    assert "selion query 12,50,12.1,50.1 maps -o fields.parquet" in done.stderr


def test_a_folder_where_the_area_stands_is_a_map(tmp_path):
    (tmp_path / "maps").mkdir()
    done = selion("query", "maps", "my area.geojson", "-o", "q.gpkg", cwd=tmp_path)
    assert done.returncode == 2
    assert "selion query 'my area.geojson' maps -o q.gpkg" in done.stderr


@pytest.mark.parametrize("ending", FORMATS)
def test_merge_takes_fields_of_any_format_beside_geoparquet(frame, tmp_path, ending):
    west, east = frame[frame.index % 20 < 9], frame[frame.index % 20 >= 9]
    own = written(west, ending, tmp_path)
    east.to_parquet(tmp_path / "east.parquet")
    done = selion("merge", own, tmp_path / "east.parquet", "-o", tmp_path / "maps", "-q")
    assert done.returncode == 0, done.stderr
    found = pd.concat(
        geopandas.read_parquet(one) for one in sorted((tmp_path / "maps").glob("*/*.parquet"))
    ).set_index("id")
    wanted = frame.set_index("id").loc[found.index]
    assert len(found) == len(frame) == 400
    assert (found["class"] == wanted["class"]).all()
    assert found["confidence"].to_numpy() == pytest.approx(wanted["confidence"].to_numpy())
    apart = shapely.hausdorff_distance(found.geometry.to_numpy(), wanted.geometry.to_numpy())
    assert apart.max() < 2e-7
    again = selion("merge", tmp_path / "east.parquet", own, "-o", tmp_path / "again", "-q")
    assert again.returncode == 0, again.stderr
    for one in (tmp_path / "maps").glob("*/*.parquet"):
        same = tmp_path / "again" / one.relative_to(tmp_path / "maps")
        read = geopandas.read_parquet(same)
        assert read.equals(geopandas.read_parquet(one)), "whatever the order"


def test_merge_publishes_fields_of_a_geopackage(frame, tmp_path):
    path = written(frame, ".gpkg", tmp_path)
    words = ("--layout", "ftw-2e", "--year", 2024, "-q")
    done = selion("merge", path, "-o", tmp_path / "world", *words)
    assert done.returncode == 0, done.stderr
    (zone,) = (tmp_path / "world").glob("vector/2024/*/*.parquet")
    assert len(geopandas.read_parquet(zone)) == 400


@pytest.mark.parametrize(
    ("spoilt", "said"),
    [
        (lambda one: one.drop(columns="id"), "has no column 'id'"),
        (lambda one: one.set_crs(None, allow_override=True), "has no CRS"),
        (lambda one: one.set_geometry(one.geometry.where(one.index > 1)), "2 rows without geom"),
    ],
)
def test_merge_refuses_a_table_by_its_own_name(frame, tmp_path, spoilt, said):
    path = tmp_path / "own.gpkg"
    with warnings.catch_warnings(action="ignore"):  # of pyogrio, that there is no CRS
        pyogrio.write_dataframe(spoilt(frame), path, layer="fields")
    (tmp_path / "own.csv").write_text("id,area\na,1\n")
    for table, words in ((path, said), (tmp_path / "own.csv", "is no Parquet: wanted is the fol")):
        done = selion("merge", table, "-o", tmp_path / "maps")
        assert done.returncode == 2, done.stderr
        assert f"{table} " in done.stderr
        assert words in done.stderr
    assert sorted(one.name for one in tmp_path.iterdir()) == ["own.csv", "own.gpkg"]


def test_a_field_that_nobody_measured_is_counted_with_its_area(frame, tmp_path):
    """Drawn by hand in QGIS it has an id and no area: it was neither counted nor summed."""
    own = frame.head(3).copy()
    own.loc[own.index[1], ["metrics:area", "metrics:perimeter"]] = np.nan
    path = written(own, ".gpkg", tmp_path)
    (whole,) = count_fields(path)
    areas = [abs(Geod(ellps="WGS84").geometry_area_perimeter(one)[0]) for one in own.geometry]
    assert whole.fields == 3
    assert whole.total_ha == pytest.approx(sum(areas) / 1e4, rel=1e-3)
    assert whole.median_ha == pytest.approx(np.median(areas) / 1e4, rel=1e-2)


def test_a_field_that_was_redrawn_is_counted_with_the_area_it_has(frame, tmp_path):
    """QGIS moves a corner and leaves the columns: the sum was that of the outlines of before."""
    own = frame.head(3)
    halves = own.set_geometry(own.geometry.map(lambda one: affinity.scale(one, 0.5, 1)))
    (whole,) = count_fields(written(halves, ".gpkg", tmp_path))
    areas = [abs(Geod(ellps="WGS84").geometry_area_perimeter(one)[0]) for one in halves.geometry]
    assert whole.total_ha == pytest.approx(sum(areas) / 1e4, rel=1e-3)


def test_a_field_that_was_redrawn_in_a_geoparquet_has_the_area_it_has(frame, tmp_path):
    """Any program but this one writes the columns as they were: the hectares were those of before.

    What this one wrote is believed, and not measured again.
    """
    own = frame.head(3)
    halves = own.set_geometry(own.geometry.map(lambda one: affinity.scale(one, 0.5, 1)))
    path = tmp_path / "own.parquet"
    halves.to_parquet(path, write_covering_bbox=True, schema_version="1.1.0")
    areas = [abs(Geod(ellps="WGS84").geometry_area_perimeter(one)[0]) for one in halves.geometry]
    (whole,) = count_fields(path)
    assert whole.total_ha == pytest.approx(sum(areas) / 1e4, rel=1e-3)
    out = tmp_path / "found.parquet"
    done = selion("query", "11.9,49.9,12.2,50.2", path, "-o", out)
    assert done.returncode == 0, done.stderr
    found = geopandas.read_parquet(out).set_index("id").loc[halves["id"]]
    assert found["metrics:area"].to_numpy() == pytest.approx(areas, rel=1e-3)
    write_fields(halves, tmp_path / "ours.parquet", Origin("ours"))
    (whole,) = count_fields(tmp_path / "ours.parquet")
    assert whole.total_ha == pytest.approx(own["metrics:area"].sum() / 1e4, abs=1e-3)
