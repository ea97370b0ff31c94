"""Wide fields across seams, zones, the equator, 31V/32V and the strip that nobody owns."""

from __future__ import annotations

import shutil

import geopandas as gpd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from selion.imagery import read_area
from selion.world import map_published, read_published_fields
from world_maps import Copies, matched, name


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    return Copies(tmp_path_factory)


@pytest.mark.parametrize("scene", ["seam", "zones", "equator", "norway", "strip"])
def test_each_wide_field_is_one_field(copies, tmp_path, scene):
    copy = copies(scene)
    made = map_published(name(copy), copy.area, 2025, tmp_path / "fields.parquet")
    found = made.frame.reset_index(drop=True)
    truth = gpd.read_parquet(copy.truth[2025]).to_crs(found.crs)
    frame = shapely.box(*made.scores.grid.boundingbox.bbox).buffer(-20)
    truth = truth[truth.looked & truth.within(frame)].reset_index(drop=True)
    best, inside = matched(truth, found)
    wide = (truth["seam"] != "").to_numpy()
    assert wide.any()
    assert best[wide].min() > 0.85
    assert (inside[wide] == 1).all()  # neither halves nor doubles
    assert (best > 0.5).mean() > 0.85
    assert found.sindex.query(found.geometry.values, predicate="overlaps").shape[1] == 0


def test_published_polygons_have_what_ours_have_not(copies):
    """The copy has the published defects: halves that overlap, or nothing, at the same places."""
    copy = copies("seam")
    found = read_published_fields(name(copy, ":fields"), copy.area, 2025)
    frame = found.frame.to_crs(32632)
    truth = gpd.read_parquet(copy.truth[2025]).to_crs(32632)
    wide = truth[(truth["seam"] != "") & truth.looked].reset_index(drop=True)
    best, inside = matched(wide, frame)
    assert ((best < 0.85) | (inside != 1)).any()


def test_doubles_at_seams_are_said(copies):
    copy = copies("seam")
    found = read_published_fields(name(copy, ":fields"), copy.area, 2025)
    shapes = found.frame.geometry
    pairs = shapes.sindex.query(shapes, predicate="intersects")
    twice = {
        int(min(a, b, key=lambda k: shapes.iloc[k].area))
        for a, b in pairs.T
        if a < b
        and shapes.iloc[a].intersection(shapes.iloc[b]).area
        > 0.5 * min(shapes.iloc[a].area, shapes.iloc[b].area)
    }
    assert found.provenance["doubles"] == len(twice)
    assert any(note.startswith("Doubles:") for note in found.notes) == bool(twice)


def test_a_published_polygon_that_crosses_itself_stops_nobody(copies, tmp_path):
    copy = copies("seam")
    shutil.copytree(copy.address, tmp_path / "ftw-2e")
    path = next((tmp_path / "ftw-2e").glob("vector/2025/**/*.parquet"))
    table = pq.read_table(path)
    shapes = shapely.from_wkb(table["geometry"].to_pylist())
    row = shapely.STRtree(shapes).nearest(shapely.box(*copy.area).centroid)
    west, south, east, north = shapes[row].bounds  # so that it reaches over its neighbours
    shapes[row] = shapely.Polygon([(west, south), (east, north), (east, south), (west, north)])
    place = table.schema.get_field_index("geometry")
    crossed = pa.array(shapely.to_wkb(shapes).tolist(), table.schema.field(place).type)
    pq.write_table(table.set_column(place, table.schema.field(place), crossed), path)
    found = read_published_fields(f"ftw-2e:fields@{tmp_path / 'ftw-2e'}", copy.area, 2025)
    assert not found.frame.geometry.is_valid.all(), "it is given as it was published"


def test_two_published_fields_of_one_id_are_two_fields(copies, tmp_path):
    """Nobody promises that ids of two zones differ: the second was left out without a word."""
    copy = copies("seam")
    shutil.copytree(copy.address, tmp_path / "ftw-2e")
    place = f"ftw-2e:fields@{tmp_path / 'ftw-2e'}"
    before = read_published_fields(place, copy.area, 2025).frame
    path = next((tmp_path / "ftw-2e").glob("vector/2025/**/*.parquet"))
    table = pq.read_table(path)
    at, one, other = table.schema.get_field_index("id"), *before["id"].iloc[:2]
    names = [one if name == other else name for name in table["id"].to_pylist()]
    alike = pa.array(names, table.schema.field(at).type)
    pq.write_table(table.set_column(at, table.schema.field(at), alike), path)
    found = read_published_fields(place, copy.area, 2025).frame
    assert found.geometry.to_wkb().tolist() == before.geometry.to_wkb().tolist()
    # an area of two boxes, in both of which all lies, has it once
    area = read_area(copy.area)
    area.__dict__["boxes"] = area.boxes * 2
    assert len(read_published_fields(place, area, 2025).frame) == len(before)
