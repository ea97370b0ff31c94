"""An area and a year, end to end over a simulated archive: choice, composite, mosaic, map; stopped
and gone on; and what cannot be done is said.
"""

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import shapely

from command_line import run_here as selion
from selion import fields, imagery, store
from selion.cli.main import main
from selion.errors import BadInput, NoScenes, OutputExists, SearchFailed, UnreadableFile
from selion.grid import whole
from selion.pipeline import areas, composites, maps, run, searching
from selion.simulation.archive import simulate_archive
from selion.store.manifest import manifest_of, read_manifest
from selion.verification import verify as selion_verify
from stac_server import StacServer

pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Tiles in two UTM zones, cloudy."""
    return simulate_archive(
        tmp_path_factory.mktemp("archive") / "a",
        seed=3,
        centre=(12.0, 50.0),
        size_km=(1.6, 4.2),
        n_dates=4,
        clouds=(0.1, 0.3),
        patch_px=640,
    )


@pytest.fixture(scope="module")
def area(archive):
    return imagery.read_area(dict(archive.area), name="valley")


@pytest.fixture(scope="module")
def options(archive):
    return areas.AreaOptions(provider=str(archive.catalogue))


@pytest.fixture(scope="module")
def survey(area, options):
    return areas.survey_area(area, 2024, options)


@pytest.fixture(scope="module")
def mosaic(survey, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mosaic")
    return composites.write_composite(survey, folder / "valley.zarr", tiles=folder / "tiles")


def here(capsys, *arguments):
    """The same without a process of its own, for what is refused before anything is mapped."""
    with pytest.raises(SystemExit) as ended:
        main([str(one) for one in arguments])
    said = capsys.readouterr()
    return subprocess.CompletedProcess(arguments, ended.value.code, said.out, said.err)


def refused(done, *words):
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1, done.stderr
    for word in words:
        assert word.lower() in errors[0].lower(), errors[0]


@pytest.fixture(scope="module")
def called(archive, options):
    """The composite of a call, beside the archive."""
    path = archive.folder.parent / "valley.zarr"
    run.composite(dict(archive.area), path, year=2024, area_options=options)
    return path


FORMS = "file://{0}", "{0}", "/vsisubfile/0_,{0}", "/vsitar/{0}"


def test_a_catalogue_of_a_server_reads_no_file_of_this_machine(archive, tmp_path):
    """Of the forms of its hrefs those of GDAL made a composite, with exit code 0; a scene each."""
    items = archive.items_at(str(archive.folder))  # all of them are there, on this machine
    assert len(items) >= len(FORMS)
    for number, item in enumerate(items):
        for asset in item["assets"].values():
            asset["href"] = FORMS[number % len(FORMS)].format(asset["href"])
    near = archive.folder.parent / f"{tmp_path.name}.geojson"
    near.write_text(json.dumps(dict(archive.area)))
    with StacServer(items) as server:
        words = ("composite", near, 2024, "--provider", server.url, "-o", tmp_path / "out.tif")
        command = [sys.executable, "-m", "selion", *map(str, words)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
        refused(done, "scene")
    assert not list(tmp_path.iterdir())


def test_a_composite_in_one_call_is_that_of_the_verb(archive, options, mosaic, called):
    image = store.open_raster(called)
    same = store.open_raster(mosaic.path)
    assert (image.grid, image.bands) == (same.grid, same.bands)
    roi = (slice(0, 64), slice(0, 64))
    assert np.array_equal(image.read(roi).values, same.read(roi).values, equal_nan=True)
    with pytest.raises(OutputExists):
        run.composite(dict(archive.area), called, year=2024, area_options=options)


def test_every_scene_of_a_composite_is_an_input_with_its_sum(archive, called, survey):
    inputs = read_manifest(manifest_of(called)).inputs
    known = {one.path: one.sha256 for one in inputs if one.kind == "file"}
    home = archive.folder.parent
    files = {
        Path(asset["href"]): name
        for item in archive.items_at(str(archive.folder))
        for name, asset in item["assets"].items()
    }
    chosen = {scene.id for plan in survey.plans for scene in plan.scenes}
    assert len(known) == 5 * len(chosen)  # four bands and the mask
    for place, told in known.items():
        assert (home / place) in files
        assert hashlib.sha256((home / place).read_bytes()).hexdigest() == told


def test_a_scene_that_is_gone_or_another_is_named(called, tmp_path):
    shutil.copytree(called.parent, tmp_path / "home")
    gone, other = [one for one in read_manifest(manifest_of(called)).inputs if one.path][:2]
    (tmp_path / "home" / gone.path).unlink()
    content = bytearray((tmp_path / "home" / other.path).read_bytes())
    content[len(content) // 2] ^= 4
    (tmp_path / "home" / other.path).write_bytes(content)
    found = selion_verify(tmp_path / "home" / called.name)
    assert found.holds  # the composite is what it was
    said = "\n".join(next(one.said for one in found.checks if one.name == "repeatable"))
    assert f"The input {gone.name} is not there any more" in said
    assert f"The input {other.name} is another one than when the result was made" in said
    assert said.count("The input S2A") == 2


def test_the_survey_says_what_is_taken_and_why(survey, archive):
    rows = survey.rows()
    used = {row["tile"] for row in rows}
    assert used <= set(archive.tiles)
    assert {name[:2] for name in used} == {"32", "33"}, "two zones are needed"
    assert {row["season"] for row in rows} == {"window_a", "window_b"}
    for row in rows:
        assert 0 < row["taken"] <= row["candidates"] <= 4
        assert 0.5 < row["seen"] <= 1
        assert "latitude rule" in row["why"]
        assert len(row["radiometry"]) == row["taken"]


def test_a_choice_once_made_is_taken_up(survey, area, options, tmp_path):
    first = areas.survey_area(area, 2024, options, work=tmp_path)
    gone = replace(options, provider=options.provider)
    again = areas.survey_area(area, 2024, gone, work=tmp_path)
    assert again.rows() == first.rows() == survey.rows()
    assert again.key == survey.key
    assert areas.survey_area(area, 2024, replace(options, limit=1), work=tmp_path).key != survey.key
    kept = next(tmp_path.glob(f"area-{survey.key}/survey.json"))
    kept.write_text("{}")
    with pytest.raises(UnreadableFile, match="delete it"):
        areas.survey_area(area, 2024, options, work=tmp_path)


def test_a_calendar_that_was_edited_is_another_choice(tmp_path):
    """Kept scenes of the old days were taken up, because the file had the same name."""

    def write(path, planting):
        region = {
            "type": "Feature",
            "properties": {"planting": planting, "harvest": "08-01/09-15"},
            "geometry": {
                "type": "Polygon",
                "coordinates": [[[10, 45], [20, 45], [20, 50], [10, 50], [10, 45]]],
            },
        }
        path.write_text(json.dumps({"type": "FeatureCollection", "features": [region]}))
        calendar = areas.AreaOptions(rule="calendar", calendar=path)
        return areas.Survey(imagery.read_area((14.0, 47.0, 14.1, 47.1)), 2024, calendar, ()).key

    path = tmp_path / "days.geojson"
    first = write(path, "03-15/05-31")
    assert write(path, "04-15/05-31") != first
    assert write(path, "03-15/05-31") == first
    (tmp_path / "moved").mkdir()
    assert write(tmp_path / "moved" / path.name, "03-15/05-31") == first


def test_a_choice_is_not_whole_before_both_seasons_are_over():
    """Days that are given may let planting end after the harvest: its last scenes were lacking."""
    days = imagery.given_seasons("2024-03-01/2024-09-30", "2024-05-01/2024-06-30")
    area = imagery.read_area((14.0, 47.0, 14.1, 47.1))
    july, september, october = (
        areas.Survey(area, 2024, areas.AreaOptions(seasons=days), (), asked=asked).key
        for asked in (date(2024, 7, 10), date(2024, 9, 30), date(2024, 10, 1))
    )
    assert july == september
    assert september != october


def test_the_mosaic_is_the_countryside_without_clouds(mosaic, archive):
    """Where a pixel was seen, tiles of two zones joined differ from the truth by resampling
    alone.
    """
    source = store.open_raster(mosaic.path)
    image = source.read(whole(source.grid))
    assert image.bands == tuple(
        f"window_{w}:{b}" for w in "ab" for b in ("red", "green", "blue", "nir")
    )
    assert 0.5 < image.valid.mean() <= 1
    truth = imagery.Mosaic(
        [_truth_sheet(archive, season) for season in ("window_a", "window_b")], source.grid
    ).read(whole(source.grid))
    both = image.valid if truth.valid is None else image.valid & truth.valid
    error = np.abs(image.values[:, both].astype(float) - truth.values[:, both])
    contrast = truth.values[:, both].std()
    assert np.median(error) < 0.02 * contrast
    assert np.percentile(error, 95) < 0.5 * contrast
    assert json.loads(source.tags["provenance"])["scenes"][0]["baseline"] in ("05.11", "03.01")


def _truth_sheet(archive, season):
    from selion.imagery.mosaic import MosaicLayer

    source = store.open_raster(archive.truth.seasons[season])
    return MosaicLayer(source.path, source.grid, "world", season, tuple(range(len(source.bands))))


def test_tiles_and_their_index_are_kept(mosaic, survey):
    assert len(mosaic.tiles) == 2 * len({row["tile"] for row in survey.rows()}) >= 6
    assert len(mosaic.indices) == 2
    for path in mosaic.indices:
        assert store.open_raster(path).read((slice(0, 8), slice(0, 8))).values.shape[0] == 5


@pytest.fixture(scope="module")
def cloudless(archive, tmp_path_factory):
    """The same land without clouds: its archive and survey, where maps of it keep what they made,
    and where its mosaic without tiles is written.
    """
    folder = tmp_path_factory.mktemp("cloudless")
    clear = simulate_archive(
        folder / "clear",
        archive.options,
        n_dates=2,
        clouds=(0.0, 0.0),
        cirrus=0.0,
        defects=False,
        orbits=1,
    )
    plain = areas.survey_area(
        dict(clear.area), 2024, areas.AreaOptions(provider=str(clear.catalogue))
    )
    return clear, plain, folder / "work", folder / "truth.zarr"


@pytest.mark.parametrize(("method", "least"), [("watershed", 0.01), ("auto", 0.03)])
def test_the_map_has_no_seam(cloudless, tmp_path, method, least):
    """Fields over tile and zone edges are one polygon each, as in the map of an image that never
    was in tiles.

    The cut takes an object or leaves it, so a little noise moves whole fields in and out: the area
    of all is as noisy as its least sure fields.
    """
    clear, plain, work, truth = cloudless
    options = maps.MapOptions(work=work, method=method)
    found = run.map_area(plain, tmp_path / "found.parquet", options=options).frame
    grid = store.open_raster(next(work.glob("area-*/mosaic-*.zarr"))).grid
    if not truth.exists():
        sheets = [_truth_sheet(clear, season) for season in ("window_a", "window_b")]
        imagery.write_mosaic(imagery.Mosaic(sheets, grid), truth)
    wanted = run.map_fields(
        truth,
        tmp_path / "wanted.parquet",
        options=maps.MapOptions(work=work.with_name("wanted"), method=method),
    )
    wanted = wanted[wanted.geometry.intersects(shapely.union_all(plain.area.on(grid)))]
    edges = _tile_edges(clear, found.crs)
    crossing = wanted[wanted.geometry.intersects(edges)]
    assert len(crossing) > 10
    same, area = _best_match(crossing, found)
    assert np.median(same) > 0.97
    assert (same > 0.5).mean() > 0.9
    assert np.median(np.abs(area[same > 0.5] - 1)) < 0.01
    assert found["metrics:area"].sum() == pytest.approx(wanted["metrics:area"].sum(), rel=least)


def _best_match(frame, others):
    """IoU of each field with the one of the others that it is most like, and how large that is
    beside it.
    """
    same, area = np.zeros(len(frame)), np.zeros(len(frame))
    for mine, theirs in others.sindex.query(frame.geometry.to_numpy(), predicate="intersects").T:
        one, other = frame.geometry.iloc[mine], others.geometry.iloc[theirs]
        iou = one.intersection(other).area / one.union(other).area
        if iou > same[mine]:
            same[mine], area[mine] = iou, other.area / one.area
    return same, area


def _tile_edges(archive, crs):
    import geopandas

    lines = [
        geopandas.GeoSeries([grid.extent.geom.boundary.segmentize(200)], crs=str(grid.crs))
        .to_crs(crs)
        .iloc[0]
        for grid in archive.tiles.values()
    ]
    return shapely.unary_union(lines)


def test_commands_from_area_to_fields(archive, area, tmp_path):
    """scenes, composite and map say the same; a map that is killed goes on to the same bytes; other
    outlines need no new prediction.
    """
    place = tmp_path / "area.geojson"
    place.write_text(json.dumps(archive.area))
    given = (place, "--year", 2024, "--provider", archive.catalogue, "--no-preview")
    listed = selion(
        "scenes",
        place,
        2024,
        "--provider",
        archive.catalogue,
        "--json",
        "-o",
        tmp_path / "scenes.json",
    )
    assert listed.returncode == 0, listed.stderr
    rows = next(json.loads(line) for line in listed.stdout.splitlines() if '"rows"' in line)["rows"]
    assert json.loads((tmp_path / "scenes.json").read_text())["choice"] == rows

    cost = selion("map", *given, "-o", tmp_path / "x.parquet", "--dry-run")
    assert cost.returncode == 0, cost.stderr
    assert "dollars per km2" in cost.stdout
    assert not list(tmp_path.glob(".x*"))

    whole_run = selion("map", *given, "-o", tmp_path / "a.parquet", "--work", tmp_path / "work")
    assert whole_run.returncode == 0, whole_run.stderr
    frame = fields.read_fields(tmp_path / "a.parquet")
    assert fields.check_fiboa(tmp_path / "a.parquet") == []
    assert frame["determination:datetime"].dt.year.eq(2024).all()
    origin = fields.read_origin(tmp_path / "a.parquet")
    assert {scene["id"] for scene in origin.provenance["image"]["scenes"]} <= {
        item["id"] for item in archive.items
    }

    command = [
        sys.executable,
        "-m",
        "selion.cli.main",
        "map",
        *map(str, given),
        "-o",
        str(tmp_path / "b.parquet"),
        "--collection",
        "a",
    ]
    for moment in (2.5, 4.5):
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            time.sleep(moment)
            process.send_signal(signal.SIGKILL)
            process.wait()
    (tmp_path / "b.parquet").unlink(missing_ok=True)
    assert selion(*command[3:]).returncode == 0
    assert (tmp_path / "b.parquet").read_bytes() == (tmp_path / "a.parquet").read_bytes()
    assert not list(tmp_path.glob(".b*"))

    scores = {path: path.stat().st_mtime_ns for path in (tmp_path / "work" / "scores").iterdir()}
    again = selion(
        "map",
        *given,
        "-o",
        tmp_path / "c.parquet",
        "--work",
        tmp_path / "work",
        "--min-area",
        20_000,
    )
    assert again.returncode == 0, again.stderr
    assert {
        path: path.stat().st_mtime_ns
        for path in (tmp_path / "work" / "scores").iterdir()
        if path.suffix == ".block"
    } == {path: moment for path, moment in scores.items() if path.suffix == ".block"}
    assert len(fields.read_fields(tmp_path / "c.parquet")) < len(frame)
    refused(selion("map", *given, "-o", tmp_path / "a.parquet"), "exists", "--force")


def test_bad_areas_and_years_are_one_sentence(archive, tmp_path, capsys, monkeypatch):
    quick = store.RetryPolicy(tries=2, backoff=0.01)
    monkeypatch.setattr("selion.imagery.search.RetryPolicy", lambda: quick)
    catalogue = ("--provider", archive.catalogue, "-o", tmp_path / "x.parquet")
    refused(here(capsys, "map", "0,0,1,1", "--year", 2024, *catalogue), "no scene")
    refused(here(capsys, "map", "5,5,5,5", "--year", 2024, *catalogue), "size")
    refused(here(capsys, "map", "11.9,49.9,12.1,50.1", "--year", 1999, *catalogue), "year", "1999")
    refused(
        here(capsys, "map", tmp_path / "nowhere.geojson", "--year", 2024, *catalogue),
        "nowhere.geojson",
    )
    refused(
        here(
            capsys, "scenes", "11.9,49.9,12.1,50.1", 2024, "--provider", "http://127.0.0.1:9/stac"
        ),
        "127.0.0.1:9",
    )
    refused(
        here(
            capsys,
            "composite",
            "11.9,49.9,12.1,50.1",
            2024,
            "--provider",
            archive.catalogue,
            "-o",
            tmp_path / "x.jpg",
        ),
        ".jpg",
    )
    refused(
        here(
            capsys,
            "scenes",
            "11.9,49.9,12.1,50.1",
            2024,
            "--provider",
            archive.catalogue,
            "--mask",
            "0,99",
        ),
        "99",
    )
    refused(
        here(
            capsys,
            "scenes",
            "11.9,49.9,12.1,50.1",
            2024,
            "--dates",
            "2024-03-01/2024-02-01",
            "2024-08-01/2024-09-01",
        ),
        "2024-03-01",
    )
    assert not (tmp_path / "x.parquet").exists()


def test_an_output_that_exists_is_not_touched(survey, tmp_path):
    (tmp_path / "x.zarr").mkdir()
    with pytest.raises(OutputExists):
        composites.write_composite(survey, tmp_path / "x.zarr")


def test_one_season_without_scenes_is_told(area, options):
    seasons = imagery.given_seasons("2024-03-31/2024-05-30", "2024-12-01/2024-12-20")
    survey = areas.survey_area(area, 2024, replace(options, seasons=seasons))
    assert any("window_b" in note or "2024-12" in note for note in survey.notes)
    with pytest.raises(NoScenes, match="window_b"):
        composites.write_composite(survey, area_path(options))


def area_path(options):
    from pathlib import Path

    return Path(options.provider).parent / "never.zarr"


def test_served_archive_with_a_bad_hour(archive, area, tmp_path):
    """The same over HTTP: a busy server, signatures that run out, and one file that breaks off are
    lived with, and told.
    """
    with StacServer(list(archive.items), archive.folder) as server:
        server.inject("/search", times=2, status=503)
        served = areas.survey_area(area, 2024, areas.AreaOptions(provider=server.url))
        local = areas.survey_area(area, 2024, areas.AreaOptions(provider=str(archive.catalogue)))
        assert [row["scenes"] for row in served.rows()] == [row["scenes"] for row in local.rows()]
        one = composites.write_composite(served, tmp_path / "served.zarr")
        other = composites.write_composite(local, tmp_path / "local.zarr")
        first, second = (store.open_raster(path.path) for path in (one, other))
        assert np.array_equal(
            first.read(whole(first.grid)).values, second.read(whole(second.grid)).values
        )
        server.stop()
        with pytest.raises(SearchFailed):
            areas.survey_area(
                area,
                2024,
                areas.AreaOptions(
                    provider=server.url, retry=store.RetryPolicy(connect=1, answer=1, tries=1)
                ),
            )


def test_map_options_reach_the_table(survey, tmp_path):
    result = run.map_area(survey, tmp_path / "f.gpkg", options=maps.MapOptions(min_area=10_000.0))
    assert result.frame["metrics:area"].min() >= 9_000
    with pytest.raises(BadInput):
        run.map_area(survey, tmp_path / "f.xyz")


def test_what_would_not_be_looked_at_is_refused(archive, tmp_path, capsys):
    """An area without a year, wishes for scenes beside an image, codes without a raster, a calendar
    beside the latitude rule.
    """
    out = ("-o", tmp_path / "x.parquet")
    refused(here(capsys, "map", "-60,-33,-59,-32", *out), "--year")
    refused(here(capsys, "map", tmp_path / "a.geojson", *out), "--year")
    refused(here(capsys, "map", tmp_path / "image.tif", "--crs", "utm", *out), "--crs", "--year")
    refused(
        here(capsys, "map", tmp_path / "image.tif", "--land-cover-crops", "40", *out),
        "--land-cover raster",
    )
    refused(
        here(
            capsys, "map", "-60,-33,-59,-32", "--year", 2024, "--provider", archive.catalogue, *out
        ),
        "no scene",
    )
    with pytest.raises(BadInput, match="calendar"):
        areas.AreaOptions(crop="winter")
    with pytest.raises(BadInput, match="year"):
        run.map_fields(
            tmp_path / "image.tif", tmp_path / "x.parquet", area_options=areas.AreaOptions()
        )
    with pytest.raises(BadInput, match=r"is an area.*year=2024"):
        run.map_fields((-60, -33, -59, -32), tmp_path / "x.parquet")


def test_what_cannot_be_written_is_told_before_any_work(area, options, survey, tmp_path):
    with pytest.raises(BadInput, match="EPSG:99999"):
        areas.survey_area(
            area, 2024, replace(options, crs="EPSG:99999", provider="http://127.0.0.1:9/stac")
        )
    with pytest.raises(BadInput, match=r"\.jpg"):
        composites.write_composite(survey, tmp_path / "x.jpg")
    (tmp_path / "tiles").mkdir()
    (tmp_path / "tiles" / "index.window_a.gti.gpkg").write_text("")
    with pytest.raises(OutputExists, match="index"):
        composites.write_composite(survey, tmp_path / "x.zarr", tiles=tmp_path / "tiles")
    assert {path.name for path in tmp_path.iterdir()} == {"tiles"}


def test_a_dry_composite_leaves_nothing_and_speaks_json(archive, tmp_path):
    place = tmp_path / "area.geojson"
    place.write_text(json.dumps(archive.area))
    done = selion(
        "composite",
        place,
        2024,
        "--provider",
        archive.catalogue,
        "-o",
        tmp_path / "x.tif",
        "--dry-run",
        "--json",
    )
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[-1]["event"] == "cost"
    assert events[-1]["seconds_predicting"] == 0
    assert {path.name for path in tmp_path.iterdir()} == {"area.geojson"}
    done = selion(
        "scenes", place, 2024, "--provider", archive.catalogue, "-o", tmp_path / "s.json", "--json"
    )
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "event": "done",
        "path": str(tmp_path / "s.json"),
    }


def test_a_calendar_is_asked_from_west_to_east():
    wide = imagery.read_area((10.0, 45.5, 14.0, 46.0))
    places = searching.places(wide, 0.0, across=True)
    assert {lon for lon, _ in places} >= {10.0, 14.0}
    assert np.diff(sorted({lon for lon, _ in places})).max() <= searching.STEP
    assert len({lon for lon, _ in searching.places(wide, 0.0, across=False)}) == 1
    part = wide.within(imagery.read_area((9.0, 45.0, 10.5, 47.0)))
    assert part.boxes[0] == pytest.approx((10.0, 45.5, 10.5, 46.0))
    assert wide.within(imagery.read_area((0.0, 0.0, 1.0, 1.0))) is None


def test_seasons_of_a_region_that_no_other_place_has_are_searched(tmp_path, monkeypatch):
    """Of what is within half a degree of a tile's middle, 12.5, a strip 0.4 degrees wide holds 40
    percent and its neighbours 30 each; at 12.64, 12.22 and 13.05, where was asked, one of these
    holds the most, and nothing of the days of the strip was searched.
    """
    days = {
        (5.0, 12.3): ("03-01/03-31", "07-01/07-31"),
        (12.3, 12.7): ("05-01/05-31", "10-01/10-31"),
        (12.7, 20.0): ("03-01/03-31", "07-01/07-31"),
    }
    regions = [
        {
            "type": "Feature",
            "properties": {"planting": planting, "harvest": harvest},
            "geometry": shapely.geometry.mapping(shapely.box(west, 40, east, 60)),
        }
        for (west, east), (planting, harvest) in days.items()
    ]
    path = tmp_path / "calendar.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": regions}))
    searched, chosen = [], []

    def search(_area, spans, _options, _on_step):
        searched.append(searching._hull(spans))
        return searching.ArchiveAnswer({}, (), ())

    def choose(_area, seasons, *_, **__):
        chosen.append(seasons(12.5, 50.0))
        return []

    monkeypatch.setattr(areas, "search_archive", search)
    monkeypatch.setattr(imagery, "plan_tiles", choose)
    options = areas.AreaOptions(rule="calendar", calendar=path)
    areas.survey_area((13.0, 49.95, 13.1, 50.05), 2024, options)
    planting, harvest = searched[-1]
    assert [(one.start.month, one.end.month) for one in chosen[-1]] == [(5, 5), (10, 10)]
    assert (planting.start, planting.end) == (date(2024, 3, 1), date(2024, 5, 31))
    assert (harvest.start, harvest.end) == (date(2024, 7, 1), date(2024, 10, 31))
