"""Elevation and slope: planes whose slope is known on paper, and any blocks."""

from __future__ import annotations

import geopandas
import numpy as np
import pytest
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox

from selion import store
from selion.errors import GridMismatch
from selion.grid import whole
from selion.pipeline import terrain

UTM = GeoBox((60, 80), Affine(30, 0, 600_000, 0, -30, 5_300_000), "EPSG:32633")


def write(path, values, grid):
    with store.create_cog(path, grid, ["elevation"], np.float32, nodata=-9999) as sink:
        sink.write(whole(grid), values[None].astype(np.float32))
    return path


def boxes(grid, *given):
    """Polygons from (top, left, bottom, right) in pixels."""
    shapes = [
        shapely.box(*(grid.transform * (left, bottom)), *(grid.transform * (right, top)))
        for top, left, bottom, right in given
    ]
    return geopandas.GeoDataFrame(geometry=shapes, crs=grid.crs.to_wkt())


def test_a_plane_has_its_slope(tmp_path):
    y, x = np.mgrid[:60, :80]
    # 9 m up a pixel east and 12 m a pixel south: 15 m in 30 m, 26.57 degrees
    path = write(tmp_path / "plane.tif", 100 + 9.0 * x + 12.0 * y, UTM)
    found = terrain.terrain_of(boxes(UTM, (10, 10, 20, 30)), [path])
    assert found["elev_mean"] == pytest.approx(100 + 9 * 19.5 + 12 * 14.5)
    assert found["slope_mean"] == pytest.approx(np.degrees(np.arctan(0.5)), abs=0.03)
    assert found["frac_slope_gt30"] == 0
    steep = write(tmp_path / "steep.tif", np.where(x < 40, 0.0, (x - 39) * 30.0), UTM)
    found = terrain.terrain_of(boxes(UTM, (10, 41, 20, 51), (10, 0, 20, 10)), [steep])
    assert found["slope_mean"] == pytest.approx([45, 0], abs=0.05)
    assert found["frac_slope_gt30"].tolist() == [1, 0]


def test_fields_that_share_a_pixel_all_have_its_height(tmp_path):
    path = write(tmp_path / "plane.tif", np.full((60, 80), 250.0), UTM)
    frame = boxes(UTM, (10.1, 10.1, 10.3, 10.3), (10.4, 10.4, 10.6, 10.6), (10.7, 10.7, 10.9, 10.9))
    assert terrain.terrain_of(frame, [path])["elev_mean"].tolist() == [250, 250, 250]


def test_degrees_are_measured_on_the_ellipsoid(tmp_path):
    grid = GeoBox((40, 40), Affine(1 / 3600, 0, 10, 0, -1 / 3600, 60), "EPSG:4326")
    x = np.mgrid[:40, :40][1]
    path = write(tmp_path / "north.tif", 10.0 * x, grid)
    found = terrain.terrain_of(boxes(grid, (10, 10, 30, 30)), [path])
    # a degree of longitude at 60 degrees north has 111412.84 cos 60 - 93.5 cos 180 = 55800 m
    assert found["slope_mean"] == pytest.approx(np.degrees(np.arctan(10 / 15.5)), abs=0.05)


@pytest.mark.parametrize("left", [170.0, 350.0])
def test_a_raster_that_runs_on_beyond_180_degrees_has_what_lies_there(tmp_path, left):
    """Fields whose numbers are those of the raster were cut, and half of them lay nowhere."""
    grid = GeoBox((40, 40), Affine(0.5, 0, left, 0, -0.5, 10), "EPSG:4326")
    x = np.mgrid[:40, :40][1]
    path = write(tmp_path / "far.tif", np.where(x < 20, 100.0, 300.0), grid)
    found = terrain.terrain_of(boxes(grid, (10, 10, 20, 30), (22, 22, 30, 30)), [path])
    assert found["elev_mean"].tolist() == [200, 300]


def test_blocks_decide_nothing_and_holes_are_left_out(tmp_path, monkeypatch):
    values = np.random.default_rng(1).normal(500, 20, (60, 80))
    values[5:9, 5:30] = -9999
    path = write(tmp_path / "rough.tif", values, UTM)
    fields = boxes(UTM, (2, 2, 40, 50), (5, 6, 8, 10), (41, 60, 41.3, 60.3))
    one = terrain.terrain_of(fields, [path])
    monkeypatch.setattr(terrain, "BLOCK", 16)
    other = terrain.terrain_of(fields, [path])
    for name, found in one.items():
        assert np.allclose(found, other[name], equal_nan=True)
    assert np.isnan(one["elev_mean"][1])
    assert one["elev_mean"][2] == pytest.approx(values[41, 60], abs=1e-3)
    with pytest.raises(GridMismatch, match="no CRS"):
        terrain.terrain_of(fields.set_crs(None, allow_override=True), [path])
