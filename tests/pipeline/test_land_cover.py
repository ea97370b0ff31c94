"""Fields and land cover: shares against a count by hand, tiles, gaps, tiny fields, other CRS."""

import geopandas
import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from shapely.geometry import box

from selion import store
from selion.errors import BadInput, GridMismatch
from selion.pipeline.land_cover import SHARE, LandCover, crop_shares, keep_cropland

GRID = GeoBox((60, 80), Affine(10, 0, 500_000, 0, -10, 5_000_000), "EPSG:32633")


def write(path, values, grid=GRID, nodata=0):
    with store.create_cog(path, grid, ("cover",), np.uint8, nodata=nodata) as sink:
        sink.write((slice(0, grid.shape[0]), slice(0, grid.shape[1])), values[None])
    return path


@pytest.fixture
def cover(tmp_path):
    values = np.full((60, 80), 10, np.uint8)
    values[:, :40] = 40
    values[50:, :] = 0
    return write(tmp_path / "cover.tif", values), values


def fields(*boxes, crs="EPSG:32633"):
    """Boxes in pixels (left, top, right, bottom)."""
    shapes = [
        box(
            500_000 + 10 * left, 5_000_000 - 10 * bottom, 500_000 + 10 * right, 5_000_000 - 10 * top
        )
        for left, top, right, bottom in boxes
    ]
    return geopandas.GeoDataFrame(
        {"id": [str(k) for k in range(len(shapes))]}, geometry=shapes, crs=crs
    )


def test_shares_by_hand(cover):
    path, _ = cover
    frame = fields(
        (0, 0, 10, 10), (30, 0, 50, 10), (60, 0, 70, 10), (0, 52, 10, 58), (35, 45, 45, 55)
    )
    shares = crop_shares(frame, LandCover((path,), frozenset({40})))
    np.testing.assert_allclose(shares, [1.0, 0.5, 0.0, np.nan, 0.5])


def test_filter_says_what_it_drops_and_keeps_the_unknown(cover):
    path, _ = cover
    frame = fields((0, 0, 10, 10), (60, 0, 70, 10), (0, 52, 10, 58))
    kept, note = keep_cropland(frame, LandCover((path,), frozenset({40})))
    assert list(kept["id"]) == ["0", "2"]
    assert "1 of 3" in note
    assert "1 fields lie where it has no data" in note
    assert np.isnan(kept[SHARE].iloc[1])
    assert len(keep_cropland(frame, LandCover((path,), frozenset({40}), least=0.0))[0]) == 3


def test_all_tiles_count(tmp_path, cover):
    """A peer read the first tile only and erased the fields of the others."""
    _, values = cover
    left = write(tmp_path / "left.tif", values[:, :40], GRID[:, :40])
    right = write(tmp_path / "right.tif", values[:, 40:], GRID[:, 40:])
    frame = fields((0, 0, 10, 10), (30, 0, 50, 10), (60, 0, 70, 10))
    shares = crop_shares(frame, LandCover((left, right), frozenset({40, 10})))
    np.testing.assert_allclose(shares, [1.0, 1.0, 1.0])


def test_a_field_smaller_than_a_pixel_is_judged_by_the_pixel_under_it(cover):
    path, _ = cover
    shares = crop_shares(
        fields((10.1, 10.1, 10.3, 10.3), (70.1, 10.1, 70.3, 10.3)),
        LandCover((path,), frozenset({40})),
    )
    np.testing.assert_allclose(shares, [1.0, 0.0])


def test_fields_that_share_a_pixel_each_have_it(cover):
    """Smallholders on a coarse map: only the last of each pixel had a share, and the field whose
    pixel it is lost it."""
    path, _ = cover
    frame = fields(
        (10.1, 10.1, 10.3, 10.3),
        (10.4, 10.1, 10.45, 10.3),
        (10.6, 10.6, 10.8, 10.8),
        (70.1, 10.1, 70.3, 10.3),
        (70.4, 10.4, 71.0, 11.0),  # holds the centre of the pixel of the one before
    )
    shares = crop_shares(frame, LandCover((path,), frozenset({40})))
    np.testing.assert_allclose(shares, [1, 1, 1, 0, 0])
    kept, note = keep_cropland(frame, LandCover((path,), frozenset({40})))
    assert list(kept["id"]) == ["0", "1", "2"]
    assert "no data" not in note


def test_fields_that_lie_on_one_another_each_have_all_of_their_pixels(cover):
    """A history has fields that are gone, under those that came."""
    path, _ = cover
    frame = fields(
        (30, 0, 50, 10),  # half of it crop
        (30, 0, 40, 10),
        (40, 0, 50, 10),
        (38, 2, 42, 4),
        (0, 0, 80, 50),
    )
    shares = crop_shares(frame, LandCover((path,), frozenset({40})))
    np.testing.assert_allclose(shares, [0.5, 1, 0, 0.5, 0.5])
    again = crop_shares(frame[::-1], LandCover((path,), frozenset({40})))
    np.testing.assert_array_equal(again, shares[::-1])


def test_blocks_decide_nothing(tmp_path, monkeypatch):
    """A field holds the centre of a pixel of one block, and its point lies in the next one."""
    values = np.full((60, 80), 10, np.uint8)
    values[:, 7] = 40
    path = write(tmp_path / "stripe.tif", values)
    body, arm = fields((6.9, 0.55, 7.95, 0.95), (7.9, 0.45, 8.6, 0.6)).geometry
    frame = geopandas.GeoDataFrame({"id": ["a"]}, geometry=[body.union(arm)], crs="EPSG:32633")
    assert frame.geometry[0].representative_point().x < 500_080
    for block in (2048, 8, 3):
        monkeypatch.setattr("selion.pipeline.land_cover.BLOCK", block)
        assert crop_shares(frame, LandCover((path,), frozenset({40}))) == [0]


@pytest.mark.parametrize("order", [1, -1])
def test_what_one_raster_does_not_know_another_one_does(tmp_path, order):
    """A fine map holds nothing but the pixel's centre, and a coarse one has only a point there."""
    fine = write(tmp_path / "fine.tif", np.zeros((60, 80), np.uint8))
    grid = GeoBox((20, 26), Affine(30, 0, 500_000, 0, -30, 5_000_000), "EPSG:32633")
    coarse = write(tmp_path / "coarse.tif", np.full((20, 26), 40, np.uint8), grid)
    frame = fields((9.2, 9.2, 9.8, 9.8), (10, 10, 16, 16))
    shares = crop_shares(frame, LandCover((fine, coarse)[::order], frozenset({40})))
    np.testing.assert_array_equal(shares, [1, 1])


def test_another_crs_gives_nearly_the_same(cover):
    path, _ = cover
    frame = fields((5, 5, 35, 40), (45, 5, 75, 40))
    np.testing.assert_allclose(
        crop_shares(frame.to_crs("EPSG:4326"), LandCover((path,), frozenset({40}))),
        [1.0, 0.0],
        atol=0.02,
    )


def test_bad_input(cover):
    path, _ = cover
    with pytest.raises(BadInput, match="codes of its crops"):
        LandCover((path,), frozenset())
    with pytest.raises(GridMismatch, match="no CRS"):
        crop_shares(fields((0, 0, 10, 10), crs=None), LandCover((path,), frozenset({40})))


def test_a_field_over_the_antimeridian_has_the_cover_under_it_alone(tmp_path):
    """Drawn around the globe, it also took the pixels of every field of its latitude."""
    values = np.full((40, 40), 10, np.uint8)
    values[:, 20:] = 40
    path = write(
        tmp_path / "east.tif",
        values,
        GeoBox((40, 40), Affine(0.001, 0, -180, 0, -0.001, 0.02), 4326),
    )
    # 0.001 degrees of the equator are 111.3 m; the first field is half west of 180 degrees
    x = 166_021.44  # 180 degrees at the equator in UTM 1
    shapes = [box(x - 1000, -1000, x + 1000, 1000), box(x + 3000, -1000, x + 4000, 1000)]
    frame = geopandas.GeoDataFrame({"id": ["0", "1"]}, geometry=shapes, crs="EPSG:32601")
    shares = crop_shares(frame, LandCover((path,), frozenset({40})))
    np.testing.assert_allclose(shares, [0, 1])
