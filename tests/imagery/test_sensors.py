"""Another sensor is a table of ``sensors.toml`` and a row of ``providers.toml``, and nothing else:
Landsat 8 and 9 with a fifth band, numbers of their own, a mask of bits and scenes that do not share
a grid, from the command line to the composite.
"""

import json
import tomllib
from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import pytest
from affine import Affine
from click.testing import CliRunner
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from selion import imagery, store
from selion.cli.main import cli
from selion.errors import BadInput, NoScenes, UnknownName
from selion.grid import whole
from selion.imagery import composite as composite_module
from selion.imagery import providers, sensors
from selion.imagery.clouds import clear, parse_excluded
from selion.imagery.scene import Scene, Season, TilePlan, sensor_of
from selion.imagery.views import ClearRule
from selion.pipeline import areas
from selion.pipeline.tile_records import recipe_of

SENSOR = r"""
[landsat]
title = "Landsat 5 to 9"
first_year = 1984
gsd = 30.0
scale = 2.75e-5
offset = -0.2
tiling = "WRS-2"
tile = '(?:^|_)(\d{6})(?=_|$)'
tile_width = 6
tile_step = 150
tile_edge = 185
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


def _compose(archive):
    out = archive / "made" / "valley.tif"
    out.parent.mkdir()
    middle = GeoBox((60, 60), Affine(30, 0, LEFT + 900, 0, -30, TOP - 900), CRS)
    box = ",".join(str(value) for value in _corners(middle))
    words = f"composite {box} 2024 -o {out} --provider landsat-here --crs {CRS} --dates"
    words = [*words.split(), "2024-04-01/2024-04-30", "2024-09-01/2024-09-30"]
    done = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return out


def test_another_sensor_from_the_command_line_to_the_composite(archive):
    source = store.open_raster(_compose(archive))
    assert source.grid.transform[:5:4] == (30, -30)
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
    area = imagery.read_area([15.0, 50.5, 15.05, 50.54])
    season = imagery.given_seasons("2024-04-01/2024-04-30", "2024-09-01/2024-09-30")[0]
    scenes = list(imagery.find_scenes(area, season, imagery.find_provider("landsat-here")))
    assert {scene.tile for scene in scenes} == {"193026"}
    with pytest.raises(BadInput, match="one sensor"):
        sensor_of([scenes[0], replace(scenes[1], sensor="sentinel-2")])


def _landsat(**changed):
    return sensors.read_sensor("landsat", tomllib.loads(SENSOR)["landsat"] | changed)


def test_the_classes_left_out_by_default_are_those_of_the_mask():
    quality = np.array([1 << 6, 1 << 3, 1, 1 << 7], np.uint16)
    assert clear(quality, mask=_landsat().mask).tolist() == [True, False, False, True]


def test_bits_are_read_from_signed_numbers_too():
    mask = _landsat().mask
    mask = replace(mask, classes={**mask.classes, 15: "cirrus of high confidence", 17: "none"})
    quality = np.array([-(1 << 15), 1 << 6, -1], np.int16)
    for excluded in ({15}, {15, 17}):
        assert clear(quality, excluded, mask=mask).tolist() == [False, True, False]
    assert clear(quality, {17}, mask=mask).all()
    assert clear(quality[:2].astype(">i2"), {15}, mask=mask).tolist() == [False, True]


def test_years_begin_with_the_sensor(archive):
    landsat = sensors.find_sensor("landsat")
    dates = ("2005-04-01/2005-04-30", "2005-09-01/2005-09-30")
    assert imagery.given_seasons(*dates, landsat)[0].start == date(2005, 4, 1)
    area = imagery.read_area([15.0, 50.5, 15.05, 50.54])
    assert imagery.find_seasons(area, 2005, sensor=landsat)[1].end.year == 2005
    with pytest.raises(BadInput, match="1984 on, when Landsat 5 to 9 began"):
        imagery.find_seasons(area, 1983, sensor=landsat)
    with pytest.raises(BadInput, match=r"2015 on, when Sentinel-2 began\.$"):
        imagery.given_seasons(*dates)
    provider = imagery.find_provider("landsat-here")
    season = imagery.given_seasons(*dates, landsat)[0]
    with pytest.raises(NoScenes, match="check that the area is on land"):
        imagery.find_scenes(area, season, provider)
    season = replace(season, start=date(1983, 4, 1), end=date(1983, 4, 30))
    with pytest.raises(NoScenes, match="Landsat 5 to 9 sees since 1984"):
        imagery.find_scenes(area, season, provider)


def test_dates_and_years_before_sentinel_2_from_the_command_line(archive):
    words = ["scenes", "15,50.5,15.05,50.54", "2005", "--provider", "landsat-here"]
    given = ["--dates", "2005-04-01/2005-04-30", "2005-09-01/2005-09-30"]
    for more in (given, []):
        with pytest.raises(NoScenes, match="landsat-here has no scene") as caught:
            CliRunner().invoke(cli, [*words, *more], catch_exceptions=False)
        assert "2015" not in str(caught.value)


def _key(sensor):
    """The key of a composite's blocks, where the sensor is as given."""
    scene = Scene(
        "S2A_1",
        "33UUP",
        datetime(2024, 4, 5, 10, tzinfo=UTC),
        "disk",
        {band: f"/{band}.tif" for band in ("red", "green", "blue", "nir", "scl")},
        {},
        sensor=sensor,
    )
    plan = TilePlan(
        "33UUP",
        Season("window_a", date(2024, 4, 1), date(2024, 5, 30)),
        GeoBox((60, 60), Affine(10, 0, 300000, 0, -10, 5700000), "EPSG:32633"),
        (slice(0, 60), slice(0, 60)),
        (scene,),
        (imagery.Radiometry(-1000.0),),
    )
    mask = plan.sensor.mask
    rule = ClearRule(mask.excluded, 0.0, mask)
    options = composite_module.ComposeOptions()
    return composite_module._Work(plan, rule, None, options, None).key


def _survey_key(provider):
    area = imagery.read_area([15.0, 50.5, 15.05, 50.54])
    return areas.Survey(area, 2024, areas.AreaOptions(provider), ()).key


def test_keys_of_sentinel_2_are_what_they_were():
    assert _key("sentinel-2") == "6a141844966a78c2dd8837b29316cf9f2a6634f0c42587128981bc4c6d4f17ff"
    assert _survey_key("earth-search") == "b06790c0b26361f3"


def test_a_folder_called_as_a_provider_does_not_change_what_its_scenes_are_known_by(
    tmp_path, monkeypatch
):
    """Begun work was begun anew once there was such a folder where the command was given."""
    monkeypatch.chdir(tmp_path)
    before = _survey_key("earth-search"), recipe_of(2023, areas.AreaOptions())
    (tmp_path / "earth-search").mkdir()
    assert (_survey_key("earth-search"), recipe_of(2023, areas.AreaOptions())) == before


@pytest.mark.parametrize("name", ["landsat", "sentinel-2"])
def test_an_edited_table_takes_up_nothing_that_was_kept(archive, monkeypatch, name):
    """The order of bands, the kind, the classes and the fill of the mask, and the numbers."""
    provider = {"landsat": "landsat-here", "sentinel-2": "earth-search"}[name]
    table = sensors._table()[name]
    mask, bands = table["mask"], table["bands"]
    edits = [
        {},
        {"bands": dict(reversed(bands.items()))},
        {"mask": mask | {"kind": "codes" if mask["kind"] == "bits" else "bits"}},
        {"mask": mask | {"classes": mask["classes"] | {"12": "haze"}}},
        {"mask": mask | {"cloudy": [3]}},
        {"mask": mask | {"fill": 255}},
        {"scale": 1e-3},
    ]
    keys, surveys = set(), set()
    for edit in edits:
        every = sensors._table() | {name: table | edit}
        monkeypatch.setattr(sensors, "_table", lambda every=every: every)
        sensors.find_sensor.cache_clear()
        keys.add(_key(name))
        surveys.add(_survey_key(provider))
    assert len(keys) == len(surveys) == len(edits)
    every = sensors._table() | {name: table | {"title": "Another", "first_year": 1999}}
    monkeypatch.setattr(sensors, "_table", lambda: every)
    sensors.find_sensor.cache_clear()
    assert _key(name) in keys
    assert _survey_key(provider) in surveys


def test_a_sensor_without_red_nir_and_blue_is_composed(archive, monkeypatch):
    bands = {"green": "B3", "swir16": "B6"}
    every = sensors._table() | {"landsat": sensors._table()["landsat"] | {"bands": bands}}
    monkeypatch.setattr(sensors, "_table", lambda: every)
    sensors.find_sensor.cache_clear()
    source = store.open_raster(_compose(archive))
    found = source.read(whole(source.grid)).values
    assert len(found) == 4
    wanted = np.tile([REFLECTANCE[band] for band in bands], 2)[:, None]
    assert np.abs(found[:, found.min(axis=0) > 0].astype(int) - wanted).max() <= 1


def test_what_is_said_of_pixels_names_the_sensor(archive):
    with pytest.raises(BadInput, match=r"\(Landsat 5 to 9 has 30 m\)"):
        areas.AreaOptions("landsat-here", gsd=0.1)
    with pytest.raises(BadInput, match=r"\(Sentinel-2 has 10 m\)"):
        areas.AreaOptions(gsd=0.1)
    with pytest.raises(BadInput) as caught:
        imagery.Radiometry()(np.zeros(3))
    assert "Sentinel" not in str(caught.value)
    with pytest.raises(BadInput, match=r"larger than 100 m2\.$"):
        imagery.read_area([15.0, 50.5, 15.00001, 50.50001])


def test_tiles_and_their_overlap_are_the_sensors():
    assert sensors.find_sensor().tile_step == 100
    assert sensors.find_sensor().overlap == (109.8 / 100.0) ** 2
    assert _landsat().overlap == (185 / 150) ** 2
