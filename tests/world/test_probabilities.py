"""Tiles joined on one grid; what it should be is computed by rasterio, numpy and pyproj."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import rasterio
from pyproj import Geod, Transformer
from rasterio.warp import Resampling, reproject
from scipy.ndimage import gaussian_filter

from faulty_store import FaultyStore
from selion.errors import BadInput, GridMismatch, NoScenes, UnreadableFile
from selion.grid import tiles, whole
from selion.world import find_edition, open_probabilities
from stac_server import StacServer
from world_tiles import Planted, write_copy, write_tile

WEST, NORTH, SIZE, STEP = 600000, 4300020, 512, 480
"""Tiles of 512 px overlap their neighbours by 32 px, 80 m."""


def noise(seed, shape=(SIZE, SIZE), smooth=0.0):
    values = np.random.default_rng(seed).uniform(0, 1, (2, *shape))
    if smooth:
        values = np.stack([gaussian_filter(one, smooth) for one in values])
        values = (values - values.min()) / (values.max() - values.min())
    return (values * 200).astype(np.uint8)


def degrees(epsg, *bounds):
    return Transformer.from_crs(epsg, 4326, always_xy=True).transform_bounds(*bounds)


@pytest.fixture(scope="module")
def row(tmp_path_factory):
    """Two tiles beside each other in zone 10, and the area within both."""
    planted = [
        Planted("10SFH_0_0", 32610, WEST, NORTH, noise(1)),
        Planted("10SFH_1_0", 32610, WEST + 2.5 * STEP, NORTH, noise(2)),
    ]
    folder = write_copy(tmp_path_factory.mktemp("row"), planted)
    area = degrees(32610, WEST + 400, NORTH - 900, WEST + 2200, NORTH - 300)
    return f"ftw-2e@{folder}", area, planted


def offset(scores, tile):
    """The tile's row in the grid's first row, and the grid's column of the tile's first column."""
    at = scores.grid.transform
    rows, columns = (tile.north - at.f) / 2.5, (tile.west - at.c) / 2.5
    assert rows == round(rows)
    assert columns == round(columns)
    return round(rows), round(columns)


def test_pixels_of_one_tile_are_its_bytes(row):
    name, area, (left, right) = row
    scores = open_probabilities(name, area, 2020)
    stored, valid = scores.stored(whole(scores.grid))
    assert valid.all()
    height, width = valid.shape
    down, over = offset(scores, right)
    _, before = offset(scores, left)
    assert (
        stored[:, :, :over] == left.values[:, down : down + height, -before : over - before]
    ).all()
    beyond = over + SIZE - STEP
    assert (
        stored[:, :, beyond:] == right.values[:, down : down + height, SIZE - STEP : width - over]
    ).all()


def test_in_an_overlap_each_fades_with_the_distance_to_its_edge(row):
    name, area, (left, right) = row
    scores = open_probabilities(name, area, 2020)
    stored, _ = scores.stored(whole(scores.grid))
    down, over = offset(scores, right)
    shared = SIZE - STEP
    inside = np.arange(shared) + 0.5  # pixels from the right tile's edge
    share = inside / shared
    rows = slice(down, down + stored.shape[1])
    wanted = (1 - share) * left.values[:, rows, -shared:] + share * right.values[:, rows, :shared]
    off = np.abs(stored[:, :, over : over + shared] - wanted)
    assert off.max() <= 0.501  # rounded, in float32


def test_background_is_what_is_left(row):
    name, area, _ = row
    scores = open_probabilities(name, area, 2020)
    stored, _ = scores.stored(whole(scores.grid))
    read = scores.read(whole(scores.grid))
    assert read.bands == scores.bands == ("background", "field", "boundary")
    assert read.dtype == scores.dtype == np.float32
    field, boundary = stored.astype(float) / 255
    assert np.abs(read.values[1] - field).max() < 1e-7
    assert np.abs(read.values[2] - boundary).max() < 1e-7
    assert np.abs(read.values[0] - np.maximum(1 - field - boundary, 0)).max() < 1e-6
    assert (read.values[0] == 0).any()
    assert json.loads(scores.tags["classes"])["boundary"] == "boundary"


@pytest.fixture(scope="module")
def corner(tmp_path_factory):
    """Tiles of zones 10 and 11 around 120 degrees west, with a hole: smooth, so that resampling
    may be compared.
    """
    to_ten, to_eleven = (
        Transformer.from_crs(4326, epsg, always_xy=True) for epsg in (32610, 32611)
    )
    x, y = (round(v / 20) * 20 for v in to_ten.transform(-120.0, 38.0))
    u, v = (round(v / 20) * 20 for v in to_eleven.transform(-120.0, 38.0))
    planted = [
        Planted("10SGH_0_0", 32610, x - 1200, y + 700, noise(3, smooth=6)),
        Planted("11SKC_0_0", 32611, u - 60, v + 500, noise(4, smooth=6)),
    ]
    folder = write_copy(tmp_path_factory.mktemp("corner"), planted)
    area = degrees(32610, x - 900, y - 900, x + 900, y + 600)
    return f"ftw-2e@{folder}", area, planted


@pytest.mark.parametrize("gsd", [2.5, 4.0, 10.0])
@pytest.mark.parametrize("edge", [64, 177, 512])
def test_blocks_equal_the_whole(corner, gsd, edge):
    name, area, _ = corner
    scores = open_probabilities(name, area, 2020, gsd=gsd)
    assert len(scores.tiles) == 2
    stored, valid = scores.stored(whole(scores.grid))
    assert 0 < valid.mean() < 1
    again = open_probabilities(name, area, 2020, gsd=gsd)
    with ThreadPoolExecutor(2) as pool:
        rois = tiles(valid.shape, edge)
        for roi, (part, seen) in zip(rois, pool.map(again.stored, rois), strict=True):
            assert (part == stored[:, *roi]).all()
            assert (seen == valid[roi]).all()


def test_another_zone_is_resampled_as_gdal_does(corner):
    name, area, (here, there) = corner
    scores = open_probabilities(name, area, 2020)
    stored, valid = scores.stored(whole(scores.grid))
    warped = []
    for tile in (here, there):
        layers = np.zeros((2, *valid.shape), np.float32)
        for band in (0, 1):
            reproject(
                tile.values[band].astype(np.float32),
                layers[band],
                src_transform=tile.transform,
                src_crs=f"EPSG:{tile.epsg}",
                dst_transform=scores.grid.transform,
                dst_crs="EPSG:32610",
                resampling=Resampling.cubic,
                src_nodata=-1,
                init_dest_nodata=True,
                dst_nodata=-1,
                tolerance=0,
            )
        warped.append(layers)
    mine, theirs = (layers[0] >= 0 for layers in warped)
    assert (valid >= (mine | theirs)).all()
    assert (valid ^ (mine | theirs)).mean() < 0.01
    alone = theirs & ~mine
    assert alone.sum() > 10_000
    off = np.abs(stored.astype(float) - warped[1])[:, alone]
    assert off.mean() < 0.3
    assert np.percentile(off, 99.9) < 2.5
    both = mine & theirs
    low = np.minimum(*warped)[:, both] - 3
    high = np.maximum(*warped)[:, both] + 3
    assert ((stored[:, both] >= low) & (stored[:, both] <= high)).mean() > 0.999


def test_no_step_where_one_tile_ends(corner):
    """Along each row, the change from pixel to pixel is nowhere larger at a tile's edge."""
    name, area, _ = corner
    scores = open_probabilities(name, area, 2020)
    stored, valid = scores.stored(whole(scores.grid))
    steps = np.abs(np.diff(stored.astype(int), axis=2)) * (valid[:, 1:] & valid[:, :-1])
    # 12 within a tile; of two such tiles without weights up to 190 along the whole edge.  Where two
    # corners meet both weights end at one point, and a few pixels have to choose.
    assert (steps > 12).sum() <= 16


def test_south_and_north_of_the_equator_are_one_lattice(tmp_path):
    north = Planted("32NNF_0_0", 32632, 500000, 600, noise(5, (400, 256)))
    south = Planted("32MNE_0_0", 32732, 500000, 10000000, noise(6, (300, 256)))
    name = f"ftw-2e@{write_copy(tmp_path, [north, south])}"
    area = degrees(32632, 500050, -500, 500550, 500)
    scores = open_probabilities(name, area, 2020)
    assert {tile.key for tile in scores.tiles} == {"32NNF_0_0", "32MNE_0_0"}
    assert all(placed.shift is not None for placed in scores.mosaic.placements)
    stored, valid = scores.stored(whole(scores.grid))
    assert valid.all()
    at = scores.grid.transform
    row = (0 - at.f if scores.grid.crs.epsg == 32632 else 10000000 - at.f) / -2.5
    left = round((at.c - 500000) / 2.5)
    below = round(row) + 160  # 400 m south of the equator, where the northern tile has ended
    wanted = south.values[:, 160 : 160 + stored.shape[1] - below, left : left + stored.shape[2]]
    assert (stored[:, below:] == wanted).all()


def test_coarser_pixels_are_the_files_overview(row):
    name, area, (left, _) = row
    scores = open_probabilities(name, area, 2020, gsd=10)
    assert scores.read_gsd == 10
    with rasterio.open(scores.tiles[0].href, overview_level=0) as file:
        assert file.res == (10, 10)
        overview = file.read()
    stored, _ = scores.stored(whole(scores.grid))
    at = scores.grid.transform
    down, over = round((left.north - at.f) / 10), round((at.c - left.west) / 10)
    width = STEP // 4 - over  # where the left tile is alone
    assert (
        stored[:, :, :width] == overview[:, down : down + stored.shape[1], over : over + width]
    ).all()
    (said,) = [note for note in scores.notes if "fade" in note]
    assert said.startswith("Read at 10 m instead of 2.5 m, from overviews")
    middle = open_probabilities(name, area, 2020, gsd=5)
    assert middle.read_gsd == 2.5  # there is no level of 5 m
    assert any("as means of finer pixels" in note for note in middle.notes)
    assert not any("fade" in note for note in open_probabilities(name, area, 2020).notes)


def test_what_was_not_looked_at_is_said(row):
    name, _, (left, _) = row
    x0, x1, y0, y1 = WEST - 1000, WEST + 1000, NORTH - 700, NORTH - 300
    area = degrees(32610, x0, y0, x1, y1)
    scores = open_probabilities(name, area, 2020)
    _, valid = scores.stored(whole(scores.grid))
    at = scores.grid.transform
    edge = round((WEST - at.c) / 2.5)
    assert not valid[:, :edge].any()
    assert valid[:, edge:].all()
    # the part of the box west of the tile, on the ellipsoid
    to_utm = Transformer.from_crs(4326, 32610, always_xy=True)
    west, south, _, north = area
    back = Transformer.from_crs(32610, 4326, always_xy=True)
    lower, upper = (
        back.transform(left.west, to_utm.transform(west, y)[1])[0] for y in (south, north)
    )
    ring = [(west, south), (lower, south), (upper, north), (west, north)]
    missing = abs(Geod(ellps="WGS84").polygon_area_perimeter(*zip(*ring, strict=True))[0]) / 1e6
    assert scores.missing_km2 == pytest.approx(missing, rel=0.01)
    (said,) = [note for note in scores.notes if "not looked at" in note]
    assert f"{scores.missing_km2:,.2f} km2" in said
    told = json.loads(scores.tags["provenance"])
    assert told["not_looked_at_km2"] == pytest.approx(missing, rel=0.01)
    assert told["not_looked_at_share"] == pytest.approx(missing / scores.area.km2, rel=0.01)
    assert told["licence"] == "CC-BY-4.0"
    assert told["tiles"] == ["10SFH_0_0"]


def test_an_area_without_tiles_is_refused(row):
    name, _, _ = row
    with pytest.raises(NoScenes, match=r"^Nothing of [^\n]*was looked at by ftw-2e in 2020"):
        open_probabilities(name, (0.0, 0.0, 0.01, 0.01), 2020)
    # the index's box is rounded outward: it touches, the tile does not
    west, south, _, north = degrees(32610, WEST - 500, NORTH - 700, WEST - 0.3, NORTH - 300)
    beside = {
        "type": "Polygon",
        "coordinates": [
            [
                (west, south),
                (west + 1e-3, south),
                (west + 1e-3, north),
                (west, north),
                (west, south),
            ]
        ],
    }
    with pytest.raises(NoScenes):
        open_probabilities(name, beside, 2020)


def test_weak_years_are_said(tmp_path):
    planted = Planted("10SFH_0_0", 32610, WEST, NORTH, noise(1, (64, 64)), year=2024)
    name = f"ftw-2e@{write_copy(tmp_path, [planted])}"
    area = degrees(32610, WEST + 20, NORTH - 120, WEST + 120, NORTH - 20)
    assert any("under-detected" in note for note in open_probabilities(name, area, 2024).notes)


def test_a_damaged_copy_is_one_sentence(tmp_path):
    planted = Planted("10SFH_0_0", 32610, WEST, NORTH, noise(1, (64, 64)))
    folder = write_copy(tmp_path, [planted])
    area = degrees(32610, WEST + 20, NORTH - 120, WEST + 120, NORTH - 20)
    place = planted.place(folder)
    write_tile(Planted("10SFH_0_0", 32611, WEST, NORTH, planted.values), place)
    with pytest.raises(GridMismatch, match="but the index says EPSG:32610"):
        open_probabilities(f"ftw-2e@{folder}", area, 2020)
    write_tile(planted, place, tags={})
    with pytest.raises(BadInput, match="wanted is a tile of Fields of The World"):
        open_probabilities(f"ftw-2e@{folder}", area, 2020)
    place.unlink()
    with pytest.raises(UnreadableFile, match="does not exist"):
        open_probabilities(f"ftw-2e@{folder}", area, 2020)


def test_it_goes_to_other_processes(corner):
    name, area, _ = corner
    scores = open_probabilities(name, area, 2020)
    again = pickle.loads(pickle.dumps(scores))
    roi = slice(100, 300), slice(50, 400)
    assert (again.stored(roi)[0] == scores.stored(roi)[0]).all()
    assert again.key == scores.key


def test_the_key_follows_the_content(tmp_path):
    planted = Planted("10SFH_0_0", 32610, WEST, NORTH, noise(1, (64, 64)))
    folder = write_copy(tmp_path, [planted])
    area = degrees(32610, WEST + 20, NORTH - 120, WEST + 120, NORTH - 20)
    key = open_probabilities(f"ftw-2e@{folder}", area, 2020).key
    assert open_probabilities(f"ftw-2e@{folder}", area, 2020).key == key
    assert open_probabilities(f"ftw-2e@{folder}", area, 2020, gsd=5).key != key
    write_tile(Planted("10SFH_0_0", 32610, WEST, NORTH, noise(2, (64, 64))), planted.place(folder))
    assert open_probabilities(f"ftw-2e@{folder}", area, 2020).key != key


def test_a_flaky_server_is_outlived(corner, tmp_path, monkeypatch):
    monkeypatch.setenv("SELION_CACHE", str(tmp_path))
    name, area, _ = corner
    folder = find_edition(name).address
    scores = open_probabilities(name, area, 2020)
    wanted, _ = scores.stored(whole(scores.grid))
    with StacServer([], folder) as server:
        server.inject("/cogs/raster", times=2, status=503)
        far = open_probabilities(f"ftw-2e@{server.url}/cogs", area, 2020)
        server.inject("/cogs/raster", times=2, status=429, retry_after="0.1")
        assert (far.stored(whole(far.grid))[0] == wanted).all()


def test_from_s3(row, tmp_path, monkeypatch):
    monkeypatch.setenv("SELION_CACHE", str(tmp_path))
    name, area, planted = row
    scores = open_probabilities(name, area, 2020)
    wanted, _ = scores.stored(whole(scores.grid))
    with FaultyStore() as store:
        for variable, value in store.environment.items():
            monkeypatch.setenv(variable, value)
        from selion.store import ObjectFolder

        bucket = ObjectFolder("s3://bucket/mirror")
        folder = planted[0].place(planted_folder := _folder(name))
        for path in (*planted_folder.rglob("*.tif"), *planted_folder.rglob("*.parquet")):
            bucket.put(path.relative_to(planted_folder).as_posix(), path.read_bytes())
        assert folder.exists()
        store.fault("GET", ".tif", "503", 2)
        far = open_probabilities("ftw-2e@s3://bucket/mirror", area, 2020)
        assert (far.stored(whole(far.grid))[0] == wanted).all()


def _folder(name):
    from pathlib import Path

    return Path(find_edition(name).address)


def test_no_network_is_loaded(row):
    name, area, _ = row
    code = (
        "import sys; from selion.world import open_probabilities; from selion.grid import whole\n"
        f"s = open_probabilities({name!r}, {area!r}, 2020); s.read(whole(s.grid))\n"
        "found = {'torch', 'onnxruntime', 'openvino', 'transformers'} & set(sys.modules)\n"
        "sys.exit(str(found) if found else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_over_the_antimeridian(tmp_path):
    """Zones 60 and 1 on one grid: west of the line and east of it, nothing lost in between."""
    edges = {
        epsg: Transformer.from_crs(4326, epsg, always_xy=True).transform(180.0, -18.0)
        for epsg in (32760, 32701)
    }
    planted = []
    for key, epsg, shift, seed in (("60KZF_0_0", 32760, -900, 7), ("01KAB_0_0", 32701, -300, 8)):
        x, y = (round(v / 20) * 20 for v in edges[epsg])
        planted.append(Planted(key, epsg, x + shift, y + 600, noise(seed, (480, 480), smooth=6)))
    name = f"ftw-2e@{write_copy(tmp_path, planted)}"
    scores = open_probabilities(name, (179.994, -18.004, -179.994, -17.997), 2020)
    assert len(scores.tiles) == 2
    stored, valid = scores.stored(whole(scores.grid))
    assert valid.all()
    assert scores.missing_km2 == 0
    own = next(tile for tile in planted if tile.epsg == scores.grid.crs.epsg)
    down, over = offset(scores, own)
    # far enough from the other tile's reach the bytes are the tile's own
    side = slice(0, 40) if own.epsg == 32760 else slice(-40, None)
    columns = np.arange(stored.shape[2])[side] - over
    rows = np.arange(stored.shape[1]) + down
    assert (stored[:, :, side] == own.values[:, rows[:, None], columns]).all()
