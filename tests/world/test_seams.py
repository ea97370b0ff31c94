"""Wide fields across seams, zones, the equator, 31V/32V and the strip that nobody owns."""

from __future__ import annotations

import geopandas as gpd
import pytest
import shapely

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
