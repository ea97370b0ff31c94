"""Land cover by folder and by its published name: which tiles are read, and what is sea."""

import geopandas
import numpy as np
import pytest
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox

from published_server import PublishedServer
from selion import store
from selion.cli.map_choices import FieldChoice
from selion.errors import BadInput, GridMismatch, UnreadableFile
from selion.pipeline import cover_tiles
from selion.pipeline.cover_tiles import check_cover, covers_near, tile_names
from selion.pipeline.land_cover import LandCover, crop_shares, keep_cropland


def tile(folder, lon, lat, code, name=None, pixels=60):
    """A tile of three degrees by its south-western corner, all of one code."""
    step = 3 / pixels
    grid = GeoBox((pixels, pixels), Affine(step, 0, lon, 0, -step, lat + 3), "EPSG:4326")
    side = f"{'N' if lat >= 0 else 'S'}{abs(lat):02d}{'E' if lon >= 0 else 'W'}{abs(lon):03d}"
    path = folder / (name or f"ESA_WorldCover_10m_2021_v200_{side}_Map.tif")
    with store.create_cog(path, grid, ("Map",), np.uint8, nodata=0) as sink:
        sink.write((slice(0, pixels), slice(0, pixels)), np.full((1, pixels, pixels), code, "u1"))
    return path


def boxes(*corners, size=0.4):
    shapes = [shapely.box(x, y, x + size, y + size) for x, y in corners]
    return geopandas.GeoDataFrame({"id": list("abcdef"[: len(shapes)])}, geometry=shapes, crs=4326)


def test_names_of_tiles():
    """By hand: corners are multiples of three, south and west of the place."""
    assert tile_names((11.3, 47.3, 11.9, 47.9)) == {"N45E009"}
    assert tile_names((-0.2, -0.2, 0.2, 0.2)) == {"S03W003", "S03E000", "N00W003", "N00E000"}
    assert tile_names((179.5, 70, 180, 71)) == {"N69E177"}
    assert tile_names((-180, -1, -179.9, -0.5)) == {"S03W180"}


def test_the_published_name(tmp_path):
    tile(tmp_path, 9, 45, 40)
    tile(tmp_path, 12, 45, 10)
    frame = boxes((11.0, 46.0), (13.0, 46.0), (11.8, 46.0), (16.0, 46.0))
    name = f"worldcover@{tmp_path}"
    shares = crop_shares(frame, LandCover((name,), frozenset({40})))
    np.testing.assert_allclose(shares, [1, 0, 0.5, np.nan])  # the fourth has no tile: sea
    kept, note = keep_cropland(frame, LandCover((name,), frozenset({40})))
    assert list(kept["id"]) == ["a", "c", "d"]
    assert "CC-BY-4.0" in note
    assert "1 of 4" in note
    # by itself, cropland is what WorldCover calls so
    assert FieldChoice(land_cover=(name,)).land_cover_options().crops == {40}
    assert FieldChoice(land_cover=(name,), crop_codes="10").land_cover_options().crops == {10}


def test_only_near_tiles_are_asked_for(tmp_path):
    tile(tmp_path, 9, 45, 40)
    tile(tmp_path, 12, 45, 10)
    with PublishedServer(tmp_path) as server:
        found = covers_near((f"worldcover@{server.url}",), [(11.0, 46.0, 11.4, 46.4)])
        assert [source.read((slice(0, 1), slice(0, 1))).values[0, 0, 0] for _, source in found] == [
            40
        ]
        assert not any("N45E012" in path for path in server.asked)
        far = covers_near((f"worldcover@{server.url}",), [(20.0, 46.0, 20.4, 46.4)])
        assert far == []


def test_a_folder_of_rasters(tmp_path, monkeypatch):
    tile(tmp_path, 9, 45, 40, "west.tif")
    tile(tmp_path, 12, 45, 10, "east.tif")
    (tmp_path / "readme.txt").write_text("not a raster")
    frame = boxes((11.0, 46.0), (13.0, 46.0))
    shares = crop_shares(frame, LandCover((tmp_path,), frozenset({40})))
    np.testing.assert_allclose(shares, [1, 0])
    found = covers_near((tmp_path,), [(13.0, 46.0, 13.1, 46.1)])
    assert [path.name for path, _ in found] == ["east.tif"]
    monkeypatch.setattr(cover_tiles, "MOST", 2)
    with pytest.raises(BadInput, match="smaller area"):
        covers_near((f"worldcover@{tmp_path}",), [(0, 0, 10, 10)])


def test_refused_at_the_start(tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UnreadableFile, match="without a raster"):
        check_cover(empty)
    with pytest.raises(UnreadableFile, match="no tile of ESA WorldCover"):
        check_cover(f"worldcover@{empty}")
    with pytest.raises(UnreadableFile):
        FieldChoice(land_cover=(str(tmp_path / "no.tif"),), crop_codes="40").land_cover_options()
    nowhere = GeoBox((4, 4), Affine.identity(), None)
    with store.create_cog(tmp_path / "photo.tif", nowhere, ("x",), np.uint8) as sink:
        sink.write((slice(0, 4), slice(0, 4)), np.zeros((1, 4, 4), "u1"))
    with pytest.raises(GridMismatch, match="no CRS"):
        check_cover(tmp_path / "photo.tif")
