"""Maps of a copy of the published world, beside the fields that were planted in it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import geopandas as gpd
import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
import shapely
from affine import Affine
from click.testing import CliRunner
from odc.geo.geobox import GeoBox

from published_server import PublishedServer
from selion.cli.main import cli
from selion.errors import BadInput, Incomplete
from selion.fields import FieldOptions
from selion.grid import whole
from selion.pipeline import MapOptions
from selion.pipeline.maps import published_options
from selion.runners import RunnerOptions
from selion.simulation.published import simulate_published
from selion.store import open_raster
from selion.world import map_published, map_published_fields, mapping, open_probabilities
from selion.world.gathering import BlockReading, blocks_at
from selion.world.years import map_years
from world_maps import TILE, Copies, area, matched, name


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    return Copies(tmp_path_factory)


def test_the_table_says_where_it_comes_from(copies, tmp_path):
    copy = copies("seam")
    out = tmp_path / "fields.parquet"
    made = map_published(name(copy), copy.area, 2025, out)
    told = json.loads(pq.read_metadata(out).metadata[b"collection"])
    assert told["determination:datetime"] == "2025-12-31T23:59:59Z"
    assert told["determination:details"].startswith("ftw-2e, watershed, selion ")
    source = told["selion:provenance"]
    assert source["edition"] == "ftw-2e"
    assert source["licence"] == "CC-BY-4.0"
    assert "Fields of The World" in source["citation"]
    assert source["tiles"] == [tile.key for tile in made.scores.scores.tiles]
    looked = gpd.read_parquet(out)
    assert len(looked) == len(made.frame)
    # the copy's area reaches beyond its tiles
    assert source["not_looked_at_km2"] > 0
    assert made.facts()["not_looked_at_share"] == pytest.approx(
        source["not_looked_at_share"], abs=1e-4
    )


def test_lines_that_cannot_move_so_far_are_refused_before_a_pixel_is_read(tmp_path, monkeypatch):
    grid = GeoBox((96, 96), Affine(10, 0, 5e5, 0, -10, 5e6), "EPSG:32633")
    monkeypatch.setattr(mapping, "open_probabilities", lambda *_, **__: SimpleNamespace(grid=grid))
    options = MapOptions(outlines=FieldOptions(regularise=200.0))
    with pytest.raises(BadInput, match="half a pixel to ten"):
        map_published("ftw-2e", [14, 45, 15, 46], 2025, tmp_path / "f.fgb", options)


def test_no_file_holds_the_password_of_an_address(copies, tmp_path):
    copy = copies("zones")
    with PublishedServer(copy.folder) as server:
        address = server.url.replace("http://", "http://me:secretword@") + "/ftw-2e?sig=secretkey"
        scores = tmp_path / "scores.tif"
        map_published(
            f"ftw-2e@{address}", copy.area, 2025, tmp_path / "a.parquet", MapOptions(scores=scores)
        )
        map_published_fields(f"ftw-2e:fields@{address}", copy.area, 2025, tmp_path / "b.parquet")
        map_years(f"ftw-2e@{address}", copy.area, (2025,), tmp_path / "years")
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) >= 6
    for path in written:
        assert b"secret" not in path.read_bytes(), path.name


def test_fields_of_the_area_are_those_that_touch_it(copies, tmp_path):
    copy = copies("zones")
    west, south, east, north = copy.area
    x, y = (west + east) / 2, (south + north) / 2
    triangle = {
        "type": "Polygon",
        "coordinates": [[(west, south), (x, south), (x, y), (west, south)]],
    }
    made = map_published(name(copy), triangle, 2025, tmp_path / "fields.parquet")
    drawn = gpd.GeoSeries([shapely.geometry.shape(triangle)], crs=4326).to_crs(made.frame.crs)[0]
    assert made.frame.intersects(drawn.buffer(1)).all()
    assert not made.frame.within(drawn).all()


def test_processes_give_the_same_bytes(copies, tmp_path):
    copy = copies("zones")
    wanted = tmp_path / "serial.parquet"
    map_published(name(copy), copy.area, 2025, wanted, MapOptions(collection="a"))
    options = MapOptions(collection="a", runner=RunnerOptions("processes", 2))
    again = tmp_path / "processes.parquet"
    map_published(name(copy), copy.area, 2025, again, options)
    assert again.read_bytes() == wanted.read_bytes()


def test_a_second_run_asks_for_no_pixel_again(copies, tmp_path, monkeypatch):
    monkeypatch.setenv("SELION_CACHE", str(tmp_path / "cache"))
    copy = copies("zones")
    with PublishedServer(copy.folder) as server:
        far = f"ftw-2e@{server.url}/{_below(copy)}"
        options = MapOptions(work=tmp_path / "work")
        server.fault(".tif", "503", times=2)
        first = map_published(far, copy.area, 2025, tmp_path / "a.parquet", options)
        pixels = server.total
        server.forget()
        options = MapOptions(work=tmp_path / "work", min_area=20_000.0)
        second = map_published(far, copy.area, 2025, tmp_path / "b.parquet", options)
        assert len(second.frame) < len(first.frame)
        # heads at most, and those only where GDAL does not remember them
        assert server.total < 0.2 * pixels


def test_an_interrupted_run_goes_on(copies, tmp_path):
    copy = copies("seam")
    wanted = map_published(name(copy), copy.area, 2025, tmp_path / "fields.parquet").path
    other = tmp_path / "other" / "fields.parquet"
    other.parent.mkdir()

    def stop(stage, done, _total, _detail=""):
        if stage == "read" and done >= 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        map_published(name(copy), copy.area, 2025, other, on_step=stop)
    assert not other.exists()
    assert list(other.parent.rglob("*.block"))
    map_published(name(copy), copy.area, 2025, other)
    assert other.read_bytes() == wanted.read_bytes()
    assert [path.name for path in other.parent.iterdir()] == ["fields.parquet"]


def test_what_cannot_be_read_is_listed_and_not_called_empty(tmp_path):
    copy = simulate_published(tmp_path / "world", "zones", years=(2025,), tile=TILE)
    (tile, *_) = sorted(Path(copy.address).rglob("*.tif"))
    whole_file = tile.read_bytes()
    tile.write_bytes(whole_file[: int(0.9 * len(whole_file))])
    out = tmp_path / "fields.parquet"
    with pytest.raises(Incomplete, match="could not be done"):
        map_published(name(copy), copy.area, 2025, out)
    listed = json.loads((tmp_path / "fields.parquet.aside.json").read_text())
    assert listed["missing"]
    tile.write_bytes(whole_file)
    map_published(name(copy), copy.area, 2025, out)
    assert not (tmp_path / "fields.parquet.aside.json").exists()


def _below(copy):
    return Path(copy.address).relative_to(copy.folder).as_posix()


@pytest.mark.parametrize("gsd", [None, 10.0])
def test_the_plan_is_honest_about_bytes(copies, tmp_path, monkeypatch, gsd):
    monkeypatch.setenv("SELION_CACHE", str(tmp_path / "cache"))
    copy = copies("seam")
    asked = ["--gsd", str(gsd)] if gsd else []
    with PublishedServer(copy.folder) as server:
        far = f"ftw-2e@{server.url}/{_below(copy)}"
        base = ["map", area(copy), "--year", "2025", "--from", far, *asked]
        out = tmp_path / "fields.parquet"
        plan = run(*base, "-o", str(out), "--dry-run", "--json")
        told = json.loads(plan.stdout.splitlines()[-1])
        assert not list(tmp_path.glob("*.parquet"))
        assert len(told["reads"]) == told["tiles"] == 4
        run(*base, "-o", str(out), "-q", "--no-preview")
        sent = sum(size for path, size in server.sent.items() if path.endswith(".tif"))
    # heads of tiles are not counted: the copy's tiles are small beside them
    heads = 4 * 160_000
    assert 0.7 * told["megabytes_read"] * 1e6 < sent < 1.5 * told["megabytes_read"] * 1e6 + heads


def run(*arguments, code=0):
    result = CliRunner().invoke(cli, list(arguments), catch_exceptions=True)
    if code == 0 and result.exception is not None:
        raise result.exception
    assert result.exit_code == code or result.exception is not None, result.output
    return result


def test_scores_are_written_as_ours(copies, tmp_path):
    copy = copies("zones")
    scores = tmp_path / "scores.tif"
    out = tmp_path / "fields.parquet"
    run(
        "map", area(copy), "--year", "2025", "--from", name(copy),
        "-o", str(out), "--scores", str(scores), "--page", "-q",
    )  # fmt: skip
    assert (tmp_path / "fields.report.html").is_file()
    assert (tmp_path / "fields.preview.png").is_file()
    assert "CC-BY-4.0" in (tmp_path / "fields.report.html").read_text()
    read = open_probabilities(name(copy), copy.area, 2025)
    stored, _ = read.stored(whole(read.grid))
    with rasterio.open(scores) as file:
        assert file.nodata == 255
        assert file.descriptions == ("background", "field", "boundary")
        written = file.read()
    assert np.abs(written[1] / 254 - stored[0] / 255).max() <= 0.5 / 254 + 1e-6
    again = tmp_path / "again.parquet"
    run("fields", str(scores), "-o", str(again), "-q")
    # by the same rules, only rounded to v / 254; there are more, because the grid is no area
    one, other = (gpd.read_parquet(path).to_crs(32632) for path in (out, again))
    rows, near = other.sindex.query(one.geometry, predicate="intersects")
    mine, theirs = one.geometry.to_numpy()[rows], other.geometry.to_numpy()[near]
    common = shapely.area(shapely.intersection(mine, theirs))
    share = common / (shapely.area(mine) + shapely.area(theirs) - common)
    best = np.zeros(len(one))
    np.maximum.at(best, rows, share)
    assert (best > 0.98).mean() > 0.95


def test_fields_of_a_tile_are_those_of_its_map(copies, tmp_path):
    copy = copies("plain")
    made = map_published(name(copy), copy.area, 2025, tmp_path / "fields.parquet")
    (tile,) = made.scores.scores.tiles
    run("fields", tile.href, "-o", str(tmp_path / "tile.parquet"), "-q")
    found = gpd.read_parquet(tmp_path / "tile.parquet").to_crs(made.frame.crs)
    frame = shapely.box(*made.scores.grid.boundingbox.bbox).buffer(-60)
    inner = made.frame[made.frame.within(frame)].reset_index(drop=True)
    best, _ = matched(inner, found)
    assert len(inner) > 10
    assert (best > 0.98).mean() > 0.95
    assert open_raster(tile.href).nodata is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--from", "ftw-2e", "-m", "x"], "-m has no effect"),
        (["--from", "ftw-2e", "--engine", "torch", "--window", "256"], "--window, --engine has no"),
        (["--from", "ftw-2e", "--provider", "cdse"], "--provider has no effect"),
        (["--from", "ftw-2e:fields", "--method", "vote"], "--method has no effect"),
        (["--from", "ftw-2e:fields", "--gsd", "10"], "--gsd has no effect"),
        (["--from", "ftw-2e:fields", "--regularise", "5"], "--regularise has no effect"),
        (["--from", "ftw-2e", "--min-confidence", "50"], "--min-confidence has no effect"),
        (["--min-confidence", "50"], "--min-confidence has no effect"),
        (["--from", "ftw-mosaics"], "--imagery ftw-mosaics"),
        (["--from", "ftw-2"], "did you mean 'ftw-2e'?"),
        (["--from", "ftw-2e", "--method", "cut"], "needs a model's learnt score"),
        (["--from", "ftw-2e", "--gsd", "0.1"], "Pixels of 0.1 m were asked for"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(tmp_path, given, said):
    result = run(
        "map", "10,48,10.1,48.1", "--year", "2025", "-o", str(tmp_path / "a.parquet"), *given,
        code=2,
    )  # fmt: skip
    assert said in f"{result.output}{result.exception}"
    assert not list(tmp_path.iterdir())


def test_a_year_is_needed(tmp_path):
    result = run(
        "map", "10,48,10.1,48.1", "--from", "ftw-2e", "-o", str(tmp_path / "a.parquet"), code=2
    )
    assert "--year 2025" in result.output


def test_an_area_outside_the_gate_is_no_table(copies, tmp_path):
    copy = copies("zones")
    out = tmp_path / "fields.parquet"
    result = run(
        "map", "0,0,0.1,0.1", "--year", "2025", "--from", name(copy), "-o", str(out), code=2
    )
    assert "it is not known whether there are fields" in str(result.exception)
    assert not list(tmp_path.iterdir())


def test_nothing_of_a_model_is_loaded(copies, tmp_path):
    copy = copies("zones")
    code = (
        "import sys; from selion.cli.main import main\n"
        "try:\n"
        f"    main(['map', {area(copy)!r}, '--year', '2025', '--from', {name(copy)!r}, '-q', '-o', "
        f"{str(tmp_path / 'fields.parquet')!r}])\n"
        "except SystemExit as end:\n"
        "    assert not end.code, end.code\n"
        "found = {'torch', 'onnxruntime', 'openvino', 'transformers'} & set(sys.modules)\n"
        "sys.exit(str(found) if found else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_world_is_listed():
    told = json.loads(run("world", "--json").stdout)
    names = [one["edition"] for one in told]
    assert names == [
        "ftw-2e", "ftw-2e:fields", "ftw-1e", "ftw-1e:fields", "ftw-mosaics", "cdse-mosaics",
    ]  # fmt: skip
    for one in told:
        assert one["licence"]
        assert one["citation"]
        assert one["years"]
    text = run("world").stdout
    assert all(f"{name}" in text for name in names)


def test_other_rules_hold_where_they_are_asked_for():
    from selion.fields import InstanceOptions

    assert published_options(MapOptions()).instances.smoothing == 0
    asked = MapOptions(instances=InstanceOptions(smoothing=5.0))
    assert published_options(asked) is asked
    # to ask for larger holes said nothing about smoothing, and brought back that of 10 m images
    holes = MapOptions(instances=InstanceOptions(max_hole=2000.0))
    assert published_options(holes).instances == InstanceOptions(max_hole=2000.0, smoothing=0.0)


def test_what_lies_between_far_parts_of_an_area_is_not_read(copies, tmp_path, monkeypatch):
    """Two corners of the copy, and blocks so small that most of them are near neither."""
    monkeypatch.setattr("selion.world.gathering.BLOCK", 64)
    copy = copies("seam")
    west, south, east, north = copy.area
    x, y = (east - west) / 20, (north - south) / 20
    corners = shapely.union_all(
        [
            shapely.box(west + 2 * x, south + 2 * y, west + 3 * x, south + 3 * y),
            shapely.box(west + 14 * x, north - 4 * y, west + 15 * x, north - 3 * y),
        ]
    )
    place = json.loads(shapely.to_geojson(corners))
    seen = []
    monkeypatch.setattr(
        "selion.world.gathering.BlockReading.__call__",
        lambda self, roi, keep=BlockReading.__call__: (seen.append(roi), keep(self, roi))[1],
    )
    made = map_published(name(copy), place, 2025, tmp_path / "corners.parquet")
    blocks = len(blocks_at(made.scores.scores, whole(made.scores.grid)))
    assert 0 < len(seen) < blocks / 2
    whole_map = map_published(name(copy), copy.area, 2025, tmp_path / "all.parquet")
    there = whole_map.frame.to_crs(4326)
    mine = made.frame.to_crs(4326)
    inside = there[there.geometry.within(corners)]
    assert len(mine) >= len(inside)
    assert mine.geometry.intersects(corners).all()


def test_an_area_in_parts_on_two_continents_is_refused_at_once(copies):
    copy = copies("seam")
    west, south, east, north = copy.area
    far = shapely.union_all(
        [shapely.box(west, south, east, north), shapely.box(west + 60, south, east + 60, north)]
    )
    with pytest.raises(BadInput, match="one by one"):
        open_probabilities(name(copy), json.loads(shapely.to_geojson(far)), 2025)
