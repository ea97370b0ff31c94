"""Another sensor is a table of ``sensors.toml`` and a row of ``providers.toml``, and nothing else:
Landsat 8 and 9 with a fifth band, numbers of their own, a mask of bits and scenes that do not share
a grid, from the command line to the composite.
"""

import json
import tomllib
from dataclasses import replace

import numpy as np
import pytest
from affine import Affine
from click.testing import CliRunner
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from selion import store
from selion.cli.main import cli
from selion.errors import BadInput, UnknownName
from selion.grid import whole
from selion.imagery import providers, sensors
from selion.imagery.clouds import clear, parse_excluded
from selion.imagery.scene import sensor_of

SENSOR = r"""
[landsat]
title = "Landsat 8 and 9, Collection 2 Level-2"
gsd = 30.0
scale = 2.75e-5
offset = -0.2
tiling = "WRS-2"
tile = '(?:^|_)(\d{6})(?=_|$)'
tile_width = 6
tile_properties = ["landsat:wrs_path", "landsat:wrs_row"]
fixed_tiles = false
bands = { red = "B4", green = "B3", blue = "B2", nir = "B5", swir16 = "B6" }

[landsat.mask]
band = "qa_pixel"
name = "QA_PIXEL"
title = "pixel quality"
kind = "bits"
gsd = 30.0
fill = 1
excluded = [0, 1, 2, 3, 4]
cloudy = [1, 3, 4]

[landsat.mask.classes]
0 = "fill"
1 = "dilated cloud"
2 = "cirrus"
3 = "cloud"
4 = "cloud shadow"
5 = "snow"
7 = "water"
"""
PROVIDER = """
[landsat-here]
title = "Landsat on disk"
url = "{url}"
sensor = "landsat"
collections = []
signing = "none"
properties = {{ tile = [], cloud = ["eo:cloud_cover"] }}

[landsat-here.assets]
red = ["red"]
green = ["green"]
blue = ["blue"]
nir = ["nir08"]
qa_pixel = ["qa_pixel"]
"""
SIZE = 120
CRS = "EPSG:32633"
LEFT, TOP = 500_010.0, 5_600_010.0
REFLECTANCE = {"red": 900, "green": 800, "blue": 500, "nir08": 3100, "swir16": 2200}
"""Times 10000; of each band where the ground is even."""


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """Two scenes per season, each shifted against the tile, each with a cloud in another half."""
    for number, day in enumerate(("0405", "0421", "0905", "0921")):
        _scene(tmp_path, f"LC08_L2SP_193026_2024{day}_02_T1", number)
    known = providers._table() | tomllib.loads(PROVIDER.format(url=tmp_path))
    every = sensors._table() | tomllib.loads(SENSOR)
    monkeypatch.setattr(sensors, "_table", lambda: every)
    monkeypatch.setattr(providers, "_table", lambda: known)
    providers.known_providers.cache_clear()
    yield tmp_path
    for cached in (providers.known_providers, providers._template, sensors.find_sensor):
        cached.cache_clear()


def _scene(folder, name, number):
    shift = 3 * number
    grid = GeoBox((SIZE, SIZE), Affine(30, 0, LEFT + 30 * shift, 0, -30, TOP), CRS)
    seen = np.zeros((SIZE, SIZE), bool)
    seen[:, : SIZE // 2 - shift] = number % 2
    seen[:, SIZE // 2 - shift :] = 1 - number % 2
    assets = {}
    for band, value in REFLECTANCE.items():
        numbers = np.where(seen, round((value / 1e4 + 0.2) / 2.75e-5), 40_000).astype(np.uint16)
        assets[band] = {"href": _write(folder / f"{name}_{band}.tif", grid, numbers)}
    assets["swir16"]["eo:bands"] = [{"name": "B6", "common_name": "swir16"}]
    quality = np.where(seen, 1 << 6, 1 << 3).astype(np.uint16)
    assets["qa_pixel"] = {"href": _write(folder / f"{name}_qa.tif", grid, quality)}
    corners = _corners(grid)
    west, south, east, north = corners
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    item = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "bbox": list(corners),
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {
            "datetime": f"{name[17:21]}-{name[21:23]}-{name[23:25]}T10:00:00Z",
            "eo:cloud_cover": 50.0,
            "platform": "landsat-8",
        },
        "assets": assets,
        "links": [],
    }
    (folder / f"{name}.json").write_text(json.dumps(item))


def _corners(grid):
    """West, south, east, north."""
    height, width = grid.shape
    left, top = grid.transform * (0, 0)
    right, bottom = grid.transform * (width, height)
    return Transformer.from_crs(CRS, 4326, always_xy=True).transform_bounds(
        left, bottom, right, top
    )


def _write(path, grid, values):
    with store.create_cog(path, grid, ("band",), values.dtype, nodata=0, block=128) as sink:
        sink.write(whole(grid), values[None])
    return str(path)


def test_another_sensor_from_the_command_line_to_the_composite(archive):
    out = archive / "made" / "valley.tif"
    out.parent.mkdir()
    middle = GeoBox((60, 60), Affine(30, 0, LEFT + 900, 0, -30, TOP - 900), CRS)
    box = ",".join(str(value) for value in _corners(middle))
    words = f"composite {box} 2024 -o {out} --provider landsat-here --crs {CRS} --dates"
    words = [*words.split(), "2024-04-01/2024-04-30", "2024-09-01/2024-09-30"]
    done = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    source = store.open_raster(out)
    bands = ("red", "green", "blue", "nir", "swir16")
    assert source.bands == tuple(f"{s}:{b}" for s in ("window_a", "window_b") for b in bands)
    found = source.read(whole(source.grid))
    seen = found.values[:, found.values.min(axis=0) > 0]
    assert seen.shape[1] > 0.9 * 60 * 60
    wanted = np.tile(list(REFLECTANCE.values()), 2)[:, None]
    assert np.abs(seen.astype(int) - wanted).max() <= 1


def test_a_mask_of_bits_is_clear_where_none_of_its_excluded_bits_is_set():
    mask = sensors.read_sensor("landsat", tomllib.loads(SENSOR)["landsat"]).mask
    quality = np.array([[1 << 6, 1 << 3, 1 << 6 | 1 << 4, 1, 1 << 7]], np.uint16)
    assert clear(quality, mask.excluded, mask=mask).tolist() == [[True, False, False, False, True]]
    assert clear(quality, {7}, mask=mask).tolist() == [[True, True, True, True, False]]
    assert clear(quality, mask.excluded, 30, 30, mask).tolist() == [[False] * 4 + [True]]
    assert parse_excluded(None, mask) == mask.excluded
    with pytest.raises(BadInput, match="'6' is not a class of the pixel quality"):
        parse_excluded("6", mask)


def test_sensors_are_found_by_name_and_are_not_mixed(archive):
    assert sensors.find_sensor("landsat").coarser("qa_pixel") == 1
    assert sensors.find_sensor().coarser("scl") == 2
    with pytest.raises(UnknownName, match="landsat"):
        sensors.find_sensor("landsad")
    from selion import imagery

    area = imagery.read_area([15.0, 50.5, 15.05, 50.54])
    season = imagery.given_seasons("2024-04-01/2024-04-30", "2024-09-01/2024-09-30")[0]
    scenes = list(imagery.find_scenes(area, season, imagery.find_provider("landsat-here")))
    assert {scene.tile for scene in scenes} == {"193026"}
    with pytest.raises(BadInput, match="one sensor"):
        sensor_of([scenes[0], replace(scenes[1], sensor="sentinel-2")])
