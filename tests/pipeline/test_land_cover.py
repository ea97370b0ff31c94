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


def test_fields_that_share_a_pixel_all_have_it(cover):
    """On coarse land cover the last of them had it alone: the others, also one that holds the
    pixel's centre, were said to lie where there is no data, and stayed.
    """
    path, _ = cover
    boxes = [(0.1, 0.1, 0.3, 0.3), (0.4, 0.4, 0.55, 0.55), (0.6, 0.6, 0.8, 0.8)]
    frame = fields(*((at + a, 10 + b, at + c, 10 + d) for at in (10, 70) for a, b, c, d in boxes))
    cover_40 = LandCover((path,), frozenset({40}))
    np.testing.assert_array_equal(crop_shares(frame, cover_40), [1, 1, 1, 0, 0, 0])
    kept, note = keep_cropland(frame, cover_40)
    assert list(kept["id"]) == ["0", "1", "2"]
    assert "3 of 6" in note
    assert "no data" not in note


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
