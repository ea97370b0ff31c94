"""Quarterly mosaics as an image: what it should be is read by rasterio, file by file."""

import json
import pickle
from dataclasses import replace

import geopandas as gpd
import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
import shapely
from click.testing import CliRunner
from pyproj import Geod, Transformer
from rasterio.windows import Window

from published_server import PublishedServer
from quarterly_toys import BANDS, write_network, write_stack
from selion import models
from selion.cli.main import cli
from selion.errors import BadInput, NoScenes, UnreadableFile
from selion.grid import tiles, whole
from selion.prediction.filling import QuarterFilled, quarters_of
from selion.simulation.published import simulate_published
from selion.world import open_mosaics
from selion.world.mosaics import NODATA, open_quarter

YEAR = 2023


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """Four tiles of one zone, and nothing beside them."""
    folder = tmp_path_factory.mktemp("copied") / "world"
    return simulate_published(folder, "seam", years=(YEAR,), tile=512, overlap_m=40)


@pytest.fixture(scope="module")
def inputs():
    return {name: models.find_card(name).inputs for name in ("ftw-2e", "fields-s2-2season")}


def name_of(copy):
    return f"ftw-mosaics@{copy.mosaics}"


def box_in(tile, west, south, east, north):
    """Longitudes and latitudes of a box within a tile, in shares of its edge."""
    left, bottom, right, top = tile.grid.boundingbox.bbox
    width, height = right - left, top - bottom
    corners = (left + west * width, bottom + south * height)
    corners += (left + east * width, bottom + north * height)
    to_degrees = Transformer.from_crs(tile.epsg, 4326, always_xy=True)
    return to_degrees.transform_bounds(*corners)


def read_file(copy, tile, quarter, band, grid):
    path = copy.mosaics / f"{YEAR}/{quarter}/{tile.key}/{band}.tif"
    with rasterio.open(path) as file:
        column = (grid.transform.c - file.transform.c) / 10
        row = (file.transform.f - grid.transform.f) / 10
        assert (column, row) == (round(column), round(row))
        height, width = grid.shape
        return file.read(1, window=Window(round(column), round(row), width, height))


def test_it_is_the_files_pixel_by_pixel(copy, inputs):
    tile = copy.tiles[0]
    area = box_in(tile, 0.15, 0.3, 0.6, 0.7)
    found = open_mosaics(name_of(copy), area, YEAR, inputs["ftw-2e"])
    assert found.bands == BANDS
    part = found.read(whole(found.grid))
    assert {one.key for one in found.tiles} == {tile.key}
    wanted = np.stack([read_file(copy, tile, *band.split("_"), found.grid) for band in BANDS])
    np.testing.assert_array_equal(part.values, wanted)
    np.testing.assert_array_equal(part.valid, (wanted != NODATA).all(0))
    assert part.values.dtype == np.int16
    assert not part.valid.all()  # the first quarter has clouds
    assert len(found.nodatas) == 16


def test_two_dates_are_two_quarters(copy, inputs):
    tile = copy.tiles[0]
    area = box_in(tile, 0.15, 0.3, 0.6, 0.7)
    found = open_mosaics(name_of(copy), area, YEAR, inputs["fields-s2-2season"])
    planting, harvest = ("Q2", "Q4") if area[1] > 45 else ("Q1", "Q3")
    part = found.read(whole(found.grid))
    for season, quarter in (("window_a", planting), ("window_b", harvest)):
        for colour, band in (("red", "B04"), ("nir", "B08")):
            plane = part.values[found.bands.index(f"{season}:{colour}")]
            np.testing.assert_array_equal(plane, read_file(copy, tile, quarter, band, found.grid))
    assert any(f"{planting} {YEAR}" in note for note in found.notes)
    assert json.loads(found.tags["provenance"])["bands"]["window_b:red"] == f"{harvest} {YEAR} B04"
    assert found.tags["datetime"].startswith(f"{YEAR}-{'12-31' if harvest == 'Q4' else '09-30'}")


def test_any_region_equals_the_whole_and_it_travels(copy, inputs):
    found = open_mosaics(name_of(copy), copy.area, YEAR, inputs["ftw-2e"])
    assert len({one.key for one in found.tiles}) == len(copy.tiles)
    all_of_it = found.read(whole(found.grid))
    again = pickle.loads(pickle.dumps(found))
    assert again.key == found.key
    for roi in tiles(tuple(found.grid.shape), 97):
        part = again.read(roi)
        np.testing.assert_array_equal(part.values, all_of_it.values[:, *roi])
        np.testing.assert_array_equal(part.valid, all_of_it.valid[roi])


def test_two_zones_are_one_image(tmp_path, inputs):
    """Blocks equal the whole over the border of two zones, holes filled from other quarters."""
    copy = simulate_published(tmp_path / "world", "zones", years=(YEAR,), tile=256, overlap_m=20)
    found = open_mosaics(name_of(copy), copy.area, YEAR, inputs["ftw-2e"])
    assert len({layer.grid.crs for layer in found.mosaic.layers}) == 2
    filled = QuarterFilled(found, found.nodatas, quarters_of(found.bands))
    all_of_it = filled.read(whole(found.grid))
    raw = found.read(whole(found.grid))
    assert raw.valid.sum() < all_of_it.valid.sum()
    for roi in tiles(tuple(found.grid.shape), 31):
        part = filled.read(roi)
        np.testing.assert_array_equal(part.values, all_of_it.values[:, *roi])
        np.testing.assert_array_equal(part.valid, all_of_it.valid[roi])


def test_what_has_no_tile_was_not_looked_at(copy, inputs):
    found = open_mosaics(name_of(copy), copy.area, YEAR, inputs["ftw-2e"])
    west, south, east, north = copy.area
    km2 = abs(Geod(ellps="WGS84").geometry_area_perimeter(_box(copy.area))[0]) / 1e6
    missing = found.provenance["not_looked_at_km2"]
    assert 0 < missing < km2
    assert sum("were not looked at" in note for note in found.notes) == 4  # each quarter
    beside = (east + 1, south, east + 1.01, north)
    with pytest.raises(NoScenes, match="not known whether there are fields"):
        open_mosaics(name_of(copy), beside, YEAR, inputs["ftw-2e"])
    assert west < east


def _box(area):
    return shapely.segmentize(shapely.box(*area), 0.001)


def without(copy, folder, quarter):
    """The copy, whose manifest does not list a quarter's tiles."""
    import shutil

    shutil.copytree(copy.folder, folder)
    path = folder / f"ftw-mosaics/manifest/manifest_{YEAR}_{quarter}.parquet"
    pq.write_table(pq.read_table(path).slice(0, 0), path)
    return f"ftw-mosaics@{folder}/ftw-mosaics"


def test_a_quarter_that_is_not_there(copy, inputs, tmp_path):
    area = box_in(copy.tiles[0], 0.15, 0.3, 0.6, 0.7)
    planting = "Q2" if area[1] > 45 else "Q1"
    name = without(copy, tmp_path / "less", planting)
    with pytest.raises(NoScenes, match=f"{planting} {YEAR}"):
        open_mosaics(name, area, YEAR, inputs["fields-s2-2season"])
    found = open_mosaics(name, area, YEAR, inputs["ftw-2e"])  # filled from the others
    values = found.read(whole(found.grid)).values
    gone = [k for k, band in enumerate(BANDS) if band.startswith(planting)]
    assert (values[gone] == NODATA).all()
    assert found.notes[-1].startswith(f"{found.area.km2:,.2f} km2 (100.0%)")


def test_years_and_copies_that_are_not_there(copy, inputs, tmp_path):
    area = box_in(copy.tiles[0], 0.2, 0.3, 0.4, 0.5)
    with pytest.raises(BadInput, match="2017 to 2025"):
        open_mosaics(name_of(copy), area, 2016, inputs["ftw-2e"])
    with pytest.raises(BadInput, match="wanted is one of ftw-mosaics"):
        open_mosaics(f"ftw-2e@{copy.address}", area, YEAR, inputs["ftw-2e"])
    manifest = copy.mosaics / f"manifest/manifest_{YEAR}_Q3.parquet"
    hidden = manifest.rename(manifest.with_suffix(".away"))
    try:
        with pytest.raises(UnreadableFile, match="manifest of Q3 2023"):
            open_mosaics(name_of(copy), area, YEAR, inputs["ftw-2e"])
    finally:
        hidden.rename(manifest)


def test_negative_numbers_stay_and_other_files_are_refused(tmp_path):
    values = np.array([[[-40, 0, 12000, NODATA, 32767, -32767]]], np.int16).repeat(4, 1)
    path = write_stack(tmp_path / "b.tif", values, described=None)
    stack = open_quarter(str(path), (str(path),))
    stored = stack.read(whole(stack.grid)).values.astype(int)
    np.testing.assert_array_equal(stored[0, 0], [32728, 32768, 44768, 0, 65535, 1])
    bytes_ = write_stack(tmp_path / "u.tif", values.astype(np.int32), described=None)
    with pytest.raises(BadInput, match="wanted is one band of int16"):
        open_quarter(str(bytes_), (str(bytes_),))


def test_over_http_it_is_the_same(copy, inputs, monkeypatch, tmp_path):
    monkeypatch.setenv("SELION_CACHE", str(tmp_path / "cache"))
    area = box_in(copy.tiles[0], 0.2, 0.3, 0.4, 0.5)
    local = open_mosaics(name_of(copy), area, YEAR, inputs["fields-s2-2season"])
    with PublishedServer(copy.folder) as server:
        far = open_mosaics(
            f"ftw-mosaics@{server.url}/ftw-mosaics", area, YEAR, inputs["fields-s2-2season"]
        )
        part = far.read(whole(far.grid))
    np.testing.assert_array_equal(part.values, local.read(whole(local.grid)).values)


def catalogue(copy, folder, href):
    """The same tiles as items of a catalogue, as the Copernicus Data Space has them."""
    folder.mkdir()
    for tile in copy.tiles:
        box = box_in(tile, 0, 0, 1, 1)
        for number in (1, 2, 3, 4):
            name = f"Sentinel-2_mosaic_{YEAR}_Q{number}_{tile.key}"
            west, south, east, north = box
            ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
            item = {
                "type": "Feature",
                "stac_version": "1.1.0",
                "id": name,
                "collection": "sentinel-2-global-mosaics",
                "bbox": list(box),
                "geometry": {"type": "Polygon", "coordinates": [ring]},
                "properties": {"datetime": f"{YEAR}-{3 * number - 2:02}-01T00:00:00Z"},
                "links": [],
                "assets": {
                    band: {"href": href(tile, number, band), "file:size": 1000}
                    for band in ("B02", "B03", "B04", "B08", "observations")
                },
            }
            (folder / f"{name}.json").write_text(json.dumps(item))
    return f"cdse-mosaics@{folder}"


def test_a_catalogue_gives_the_same(copy, inputs, tmp_path):
    def href(tile, number, band):
        return str(copy.mosaics / f"{YEAR}/Q{number}/{tile.key}/{band}.tif")

    name = catalogue(copy, tmp_path / "items", href)
    area = box_in(copy.tiles[0], 0.2, 0.3, 0.4, 0.5)
    one = open_mosaics(name, area, YEAR, inputs["ftw-2e"])
    other = open_mosaics(name_of(copy), area, YEAR, inputs["ftw-2e"])
    np.testing.assert_array_equal(
        one.read(whole(one.grid)).values, other.read(whole(other.grid)).values
    )


def test_keys_that_are_missing_are_named(copy, inputs, tmp_path, monkeypatch):
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_S3_ENDPOINT"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    name = catalogue(copy, tmp_path / "items", lambda *_: "s3://eodata/B04.tif")
    area = box_in(copy.tiles[0], 0.2, 0.3, 0.4, 0.5)
    with pytest.raises(BadInput, match="AWS_ACCESS_KEY_ID"):
        open_mosaics(name, area, YEAR, inputs["ftw-2e"])


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    folder = tmp_path_factory.mktemp("network")
    onnx = write_network(folder / "n.onnx")
    models.import_checkpoint(onnx, folder / "m", models.find_card("ftw-2e"))
    return str(folder / "m")


def told(*words):
    return CliRunner().invoke(cli, [str(word) for word in words])


def test_a_map_is_that_of_the_stack(copy, inputs, network, tmp_path):
    """The scores of the area are those of a stack that rasterio cut out of the files."""
    tile = copy.tiles[0]
    area = box_in(tile, 0.15, 0.3, 0.6, 0.7)
    where = ",".join(map(repr, area))
    common = ("--year", YEAR, "--imagery", name_of(copy), "-m", network, "-q")
    scores, out = tmp_path / "scores.tif", tmp_path / "fields.parquet"
    done = told("map", where, *common, "-o", out, "--scores", scores, "--page")
    assert done.exit_code == 0, done.output
    grid = open_mosaics(name_of(copy), area, YEAR, inputs["ftw-2e"]).grid
    stack = np.stack([read_file(copy, tile, *band.split("_"), grid) for band in BANDS])
    corner = (grid.transform.c, grid.transform.f)
    image = write_stack(tmp_path / "stack.tif", stack, corner=corner, crs=f"EPSG:{tile.epsg}")
    done = told("predict", image, "-m", network, "-o", tmp_path / "other.tif", "-q")
    assert done.exit_code == 0, done.output
    again = tmp_path / "again.parquet"  # drawn anew from the scores: the same fields
    assert told("fields", scores, "-o", again, "-q").exit_code == 0
    mapped, drawn = (gpd.read_parquet(path) for path in (out, again))
    inside = drawn[drawn.intersects(shapely.box(*area))]
    assert len(mapped) == len(inside) > 0
    np.testing.assert_allclose(
        np.sort(mapped["metrics:area"]), np.sort(inside["metrics:area"]), rtol=1e-6
    )
    with rasterio.open(scores) as one, rasterio.open(tmp_path / "other.tif") as other:
        np.testing.assert_array_equal(one.read(), other.read())
        assert one.transform == other.transform
    assert (tmp_path / "fields.report.html").is_file()
    said = json.loads(pq.read_schema(out).metadata[b"collection"])
    image = said["selion:provenance"]["image"]
    assert image["edition"] == "ftw-mosaics"
    assert image["tiles"] == [tile.key]
    assert image["bands"]["Q1_B04"] == f"Q1 {YEAR} B04"
    assert said["determination:datetime"] == f"{YEAR}-12-31T23:59:59Z"


def test_a_dry_run_and_options_without_effect(copy, network, tmp_path):
    where = ",".join(map(repr, box_in(copy.tiles[0], 0.2, 0.3, 0.4, 0.5)))
    common = ("map", where, "--year", YEAR, "--imagery", name_of(copy), "-o", tmp_path / "x.fgb")
    done = told(*common, "-m", network, "--dry-run", "--json")
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout.splitlines()[-1])
    assert facts["working_gsd_m"] == pytest.approx(2.5, rel=0.01)
    assert 0 < facts["compressed_bytes"] < 10e6
    assert not list(tmp_path.iterdir())
    for words, why in (
        (("--provider", "cdse"), "--provider"),
        (("--max-cloud", 20), "--max-cloud"),
        (("--no-balance",), "--balance"),
        (("--from", "ftw-2e"), "--imagery has no effect"),
        (("-m", network, "--season-rule", "latitude"), "looks at all quarters"),
    ):
        done = told(*common, *words)
        assert done.exit_code == 2, done.output
        assert why in done.output
    done = told("map", "image.tif", "--imagery", "ftw-mosaics", "-o", tmp_path / "x.fgb")
    assert done.exit_code == 2
    assert "needs the year" in done.output


def test_a_calendar_that_would_decide_no_quarter_is_refused(copy, tmp_path):
    """The latitude decided, and the calendar that was named was not opened."""
    calendar = tmp_path / "calendar.geojson"
    calendar.write_text("{}")
    where = ",".join(map(repr, box_in(copy.tiles[0], 0.2, 0.3, 0.4, 0.5)))
    common = ("map", where, "--year", YEAR, "--imagery", name_of(copy), "-o", tmp_path / "x.fgb")
    dates = ("--dates", f"{YEAR}-03-01/{YEAR}-05-31", f"{YEAR}-08-01/{YEAR}-10-15")
    for words, why in (
        (("--calendar", calendar), "the season rule is latitude"),
        (("--crop", "winter"), "the season rule is latitude"),
        ((*dates, "--season-rule", "calendar", "--calendar", calendar), "dates are given"),
    ):
        refused = told(*common, *words).exception
        assert isinstance(refused, BadInput), words
        assert f"{why}, so it has no effect" in str(refused)
    refused = told(*common, *dates, "--season-rule", "calendar").exception
    assert "leave out --season-rule or --dates" in str(refused)
    read = told(*common, "--season-rule", "calendar", "--calendar", calendar).exception
    assert "holds no regions" in str(read)


def test_given_dates_choose_the_quarters(copy, inputs):
    from datetime import date

    from selion.imagery import Season
    from selion.world import MosaicOptions

    dates = (
        Season("window_a", date(YEAR, 1, 5), date(YEAR, 2, 5)),
        Season("window_b", date(YEAR, 7, 1), date(YEAR, 9, 1)),
    )
    area = box_in(copy.tiles[0], 0.2, 0.3, 0.4, 0.5)
    options = MosaicOptions(seasons=dates)
    found = open_mosaics(name_of(copy), area, YEAR, inputs["fields-s2-2season"], options)
    assert [str(one) for one in found.choice.quarters] == [f"Q1 {YEAR}", f"Q3 {YEAR}"]
    coarse = replace(options, gsd=20.0)
    found = open_mosaics(name_of(copy), area, YEAR, inputs["fields-s2-2season"], coarse)
    assert found.grid.transform.a == 20
