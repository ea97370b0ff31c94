"""GeoParquet 2.0: Parquet's own geometry type beside the same rows as 1.1, read by ours and by
others.
"""

import duckdb
import geopandas
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from change_scenes import boxes, write_year
from command_line import run_here
from country_partitions import write_table
from plan_scenes import named
from selion import change, country, fields, store
from selion.errors import BadInput
from selion.fields.check import check_fiboa
from selion.store import geoparquet


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    folder = tmp_path_factory.mktemp("native")
    shapes = shapely.box(*[[12.0, 12.01, 12.03], [50.0] * 3, [12.005, 12.02, 12.035], [50.01] * 3])
    tables = [
        write_table(named(part), folder / f"{k}.parquet")
        for k, part in enumerate((shapes, shapes[[0, 2]]))
    ]
    usual = country.merge_maps(tables[:1], folder / "1.1" / "maps")
    native = country.merge_maps(
        tables[:1], folder / "2.0" / "maps", country.MergeOptions(geoparquet="2.0")
    )
    return usual, native, tables


def geometry_type(path):
    schema = pq.ParquetFile(path).schema
    return str(schema.column(len(schema) - 1).logical_type)


def same_rows(one, other):
    a, b = geopandas.read_parquet(one), geopandas.read_parquet(other)
    pd.testing.assert_frame_equal(pd.DataFrame(a), pd.DataFrame(b))
    assert a.crs == b.crs


def test_a_merged_map_has_the_same_rows_and_says_its_bounds(maps):
    usual, native, _ = maps
    for one, other in zip(usual.parts, native.parts, strict=True):
        same_rows(one.path, other.path)
        assert geometry_type(one.path) == "None"
        assert geometry_type(other.path).startswith("Geometry")
        file = pq.ParquetFile(other.path)
        said = file.metadata.row_group(0).column(file.metadata.num_columns - 1).geo_statistics
        assert (said.xmin, said.ymin, said.xmax, said.ymax) == pytest.approx(other.box)
        assert other.bytes == other.path.stat().st_size
        assert check_fiboa(other.path) == check_fiboa(one.path) == []
        assert pq.read_schema(one.path).names == pq.read_schema(other.path).names


def test_duckdb_and_our_own_verbs_read_it(maps, tmp_path):
    usual, native, _ = maps
    found = [
        duckdb.sql(
            f"SELECT id, bbox.xmin FROM '{folder}/*/*.parquet' WHERE bbox.xmax > 12.01 ORDER BY 1"
        ).fetchall()
        for folder in (usual.folder, native.folder)
    ]
    assert found[0] == found[1]
    assert len(found[0]) == 2
    assert country.count_fields(usual) == country.count_fields(native)
    box = (12.0, 50.0, 12.02, 50.01)
    asked = [country.query(one, box).frame for one in (usual, native)]
    pd.testing.assert_frame_equal(*map(pd.DataFrame, asked))
    out = tmp_path / "some.parquet"
    done = run_here("query", "12,50,12.02,50.01", native.folder, "-o", out, "--geoparquet", "2.0")
    assert done.returncode == 0, done.stderr
    assert geometry_type(out).startswith("Geometry")
    assert sorted(geopandas.read_parquet(out)["id"]) == sorted(asked[0]["id"])
    done = run_here(
        "query", "12,50,13,51", native.folder, "-o", tmp_path / "a.gpkg", "--geoparquet", "2.0"
    )
    assert done.returncode == 2
    assert "no GeoParquet" in done.stderr


@pytest.mark.slow
def test_change_of_maps_and_of_rasters(maps, tmp_path):
    usual, native, tables = maps
    later = country.merge_maps(tables[1:], tmp_path / "later").folder
    found = [
        country.compare_maps(
            one.folder, later, tmp_path / version, country.MapChangeOptions(geoparquet=version)
        )
        for one, version in ((usual, "1.1"), (native, "2.0"))
    ]
    for one, other in zip(*(each.maps.parts for each in found), strict=True):
        a, b = (geopandas.read_parquet(part.path) for part in (one, other))
        pd.testing.assert_frame_equal(
            pd.DataFrame(a.drop(columns="change:since")),
            pd.DataFrame(b.drop(columns="change:since")),
        )
        assert geometry_type(other.path).startswith("Geometry")
    ids = boxes((1, 10, 10, 50, 60))
    years = [write_year(tmp_path / name, ids) for name in ("2023", "2024")]
    made = [
        change.compare_years(
            years, tmp_path / f"rasters-{version}", change.ChangeOptions(geoparquet=version)
        )
        for version in ("1.1", "2.0")
    ]
    same_rows(*(one.steps[0].fields for one in made))
    assert geometry_type(made[1].steps[0].fields).startswith("Geometry")


def test_it_is_2_once_and_for_all(maps, tmp_path):
    path = tmp_path / "a.parquet"
    path.write_bytes(maps[1].parts[0].path.read_bytes())
    before = path.read_bytes()
    store.make_native(path)
    assert path.read_bytes() == before


def test_what_cannot_be_written_is_said(maps, tmp_path, monkeypatch):
    frame = geopandas.read_parquet(maps[0].parts[0].path)
    far = fields.write_fields(frame.to_crs("EPSG:32633"), tmp_path / "utm.parquet", crs="keep")
    with pytest.raises(BadInput, match="longitude and latitude"):
        store.make_native(far)
    with pytest.raises(BadInput, match=r"1\.1, 2\.0"):
        country.MergeOptions(geoparquet="3.0")
    monkeypatch.setattr(pa, "__version__", "20.0.0")
    with pytest.raises(BadInput, match=r"needs pyarrow 21\.0"):
        geoparquet.check_geoparquet("2.0")
    geoparquet.check_geoparquet("1.1")
