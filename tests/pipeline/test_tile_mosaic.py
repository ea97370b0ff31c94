"""A mosaic that stays: whole tiles made once, shared, and never taken for others; and the seasons
of each tile.
"""

from __future__ import annotations

import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio
import shapely

from faulty_store import FaultyStore
from selion import imagery, store
from selion.cli.imagery import composite_command
from selion.cli.sealed import named_inputs
from selion.country import cut_area
from selion.country.lattice import to_feature
from selion.errors import BadInput, OutputFailed
from selion.grid import whole
from selion.imagery.stac_items import box_of, write_collection
from selion.pipeline import areas, composites, searching, tile_mosaic, tile_records
from selion.pipeline.mosaic_ready import ready_areas
from selion.pipeline.searching import seasons_at
from selion.pipeline.tile_mosaic import TileMosaic
from selion.progress import silent
from selion.simulation.archive import simulate_archive
from stac_server import StacServer


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Four tiles around 45 degrees north, where PRUE's rule changes."""
    return simulate_archive(
        tmp_path_factory.mktemp("archive") / "a",
        seed=3,
        centre=(13.0, 45.0),
        size_km=(1.0, 0.4),
        tile_px=96,
        n_dates=1,
        clouds=(0.0, 0.1),
        orbits=1,
        patch_px=128,
    )


@pytest.fixture(scope="module")
def area(archive):
    return imagery.read_area(dict(archive.area), name="valley")


@pytest.fixture(scope="module")
def server(archive):
    with StacServer(list(archive.items), archive.folder) as running:
        yield running


@pytest.fixture(scope="module")
def made(server, area, tmp_path_factory):
    """A mosaic that one run has filled, and what that run made."""
    folder = tmp_path_factory.mktemp("shared")
    options = areas.AreaOptions(provider=server.url, mosaic=folder / "mosaic")
    survey = areas.survey_area(area, 2024, options, work=folder / "work")
    written = composites.write_composite(survey, folder / "first.tif", work=folder / "work")
    return options, survey, written


@pytest.fixture(scope="module")
def plain(made, area):
    """The same area without a mosaic."""
    return areas.survey_area(area, 2024, replace(made[0], mosaic=None))


def asked(server):
    return sum(server.asked.values()), sum(server.sent.values())


def pixels(path):
    source = store.open_raster(path)
    return source.read(whole(source.grid)).values


def part_of(area):
    west, south, east, north = area.geometry.bounds
    box = (west + 0.45 * (east - west), south + 0.45 * (north - south))
    return imagery.read_area((*box, box[0] + 0.3 * (east - west), box[1] + 0.3 * (north - south)))


def test_what_is_there_is_not_asked_for_again(made, server, area, tmp_path):
    """Neither by the same area for another model, nor by another area in the same tiles."""
    options, survey, written = made
    before, stamps = asked(server), written_in(options)
    assert before[0] > 0
    again = areas.survey_area(area, 2024, options, work=tmp_path / "w")
    second = composites.write_composite(again, tmp_path / "second.tif")
    assert again.rows() == survey.rows()
    assert (tmp_path / "second.tif").read_bytes() == written.path.read_bytes()
    job = areas.survey_area(part_of(area), 2024, options, work=tmp_path / "w")
    other = replace(job, options=replace(options, resampling="cubic"))
    assert composites.write_composite(other, tmp_path / "job.tif").count == len(job.plans)
    assert second.count == written.count == len(list(folder_of(options).glob("*.tif")))
    assert asked(server) == before
    assert written_in(options) == stamps, "who only reads writes nothing"


def test_jobs_that_were_searched_for_are_known_wherever_they_meet(tmp_path):
    """The union of what jobs of a country look at misses some of them by its rounded corners."""
    country_ = imagery.read_area((11.97, 49.98, 12.03, 50.02))
    jobs = [imagery.read_area(to_feature(cell)) for cell in cut_area(country_, 2000.0, 300.0)]
    union = shapely.union_all([job.geometry for job in jobs])
    assert sum(not union.covers(job.geometry) for job in jobs) > 3
    gone = areas.AreaOptions(provider=str(tmp_path / "gone.json"), mosaic=tmp_path / "m")
    edition = TileMosaic.of(2024, gone)
    for job in jobs:
        edition._remember(job, {})
    assert all(edition._around(job, silent) == ({}, []) for job in jobs)
    west, south, east, north = jobs[-1].geometry.bounds
    for beyond in ((west, south, east + 1e-4, north), (20.0, 49.0, 20.1, 49.1)):
        with pytest.raises(BadInput, match="does not exist"):
            edition._around(imagery.read_area(beyond), silent)
    with pytest.raises(BadInput, match="does not exist"):
        TileMosaic.of(2023, gone)._around(jobs[0], silent)


def test_what_is_there_is_known_before_it_is_taken(made, server, area, tmp_path):
    """Of each area whether it has to be searched, read and composed: no request, no file."""
    options, survey, _ = made
    before, stamps = asked(server), written_in(options)
    west, south, east, north = area.geometry.bounds
    beyond = imagery.read_area((west, south, east + 0.01, north))
    edition = TileMosaic.of(2024, options, keep=False)
    assert ready_areas(edition, [area, part_of(area), beyond]) == [True, True, False]
    assert ready_areas(TileMosaic.of(2023, options, keep=False), [area]) == [False]
    assert (asked(server), written_in(options)) == (before, stamps)
    shutil.copytree(options.mosaic, tmp_path / "m")
    other = replace(options, mosaic=tmp_path / "m")
    edition = TileMosaic.of(2024, other, keep=False)
    assert ready_areas(edition, [area, part_of(area)]) == [True, True]
    part = areas.survey_area(part_of(area), 2024, options, work=tmp_path / "w")
    outside = [plan for plan in survey.plans if plan.tile not in {one.tile for one in part.plans}]
    taken = outside or survey.plans
    (edition.folder / f"{taken[0].tile}_{taken[0].season.name}.tif").unlink()
    assert ready_areas(edition, [area, part_of(area)]) == [False, bool(outside)]


def written_in(options):
    files = sorted(folder_of(options).rglob("*"))
    return {path: path.stat().st_mtime_ns for path in files}


def folder_of(options):
    return TileMosaic.of(2024, options).folder


def test_the_mosaic_changes_no_pixel_where_the_same_scenes_are_taken(made, plain, tmp_path):
    """Without one the scenes are chosen for the part of a tile that the area needs."""
    _, survey, written = made
    assert [set(row["scenes"]) for row in plain.rows()] == [
        set(row["scenes"]) for row in survey.rows()
    ]
    alone = composites.write_composite(plain, tmp_path / "alone.tif")
    assert np.array_equal(pixels(alone.path), pixels(written.path))


def test_other_wishes_have_other_tiles(made, tmp_path):
    options, *_ = made
    place = folder_of(options)
    for other in (
        replace(options, cloud=50.0),
        replace(options, target=3),
        replace(options, limit=4),
        replace(options, excluded=frozenset({0, 9})),
        replace(options, balance=False),
        replace(
            options,
            seasons=imagery.given_seasons("2024-03-01/2024-05-31", "2024-08-01/2024-10-15"),
        ),
    ):
        assert TileMosaic.of(2024, other, keep=False).folder != place
    assert TileMosaic.of(2023, options, keep=False).folder != place
    grids = replace(options, crs="EPSG:3857", gsd=20.0, resampling="cubic")
    assert TileMosaic.of(2024, grids, keep=False).folder == place
    (tmp_path / "file").write_text("mine")
    with pytest.raises(BadInput, match="is a file"):
        TileMosaic.of(2024, replace(options, mosaic=tmp_path / "file"))
    recipe = tile_records.recipe_of(2024, options) | {"views": 4}
    twin = TileMosaic(tmp_path / place.name, 2024, options)
    twin.check(recipe)
    with pytest.raises(BadInput, match="otherwise"):
        TileMosaic.of(2024, replace(options, mosaic=tmp_path))


def test_a_foreign_tile_is_refused_and_stays(made, tmp_path):
    options, survey, _ = made
    ours = TileMosaic.of(2024, replace(options, mosaic=tmp_path / "m"))
    theirs, plan = TileMosaic.of(2024, options), survey.plans[0]
    another = next(one for one in survey.plans if one.tile != plan.tile)
    for ending in (".tif", ".json"):
        content = theirs.place(another).with_suffix(ending).read_bytes()
        ours.place(plan).with_suffix(ending).write_bytes(content)
    with pytest.raises(BadInput, match="other scenes"):
        ours.has(plan)
    assert ours.place(plan).read_bytes() == theirs.place(another).read_bytes()


def test_after_a_kill_runs_at_once_make_what_is_missing_once(
    made, archive, area, tmp_path, monkeypatch
):
    options = areas.AreaOptions(provider=str(archive.catalogue), mosaic=tmp_path / "m")
    survey = areas.survey_area(area, 2024, options, work=tmp_path / "w0")
    place, planned = folder_of(options), sorted(place_of(plan) for plan in survey.plans)

    def die(stage, done, of, _note=""):
        if stage == "compose" and done > 0.4 * of:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        composites.join_composites(survey, tmp_path / "w0", on_step=die)
    there = list(place.glob("*.tif"))
    assert 0 < len(there) < len(planned)
    for path in there:  # a whole one, or none
        assert imagery.read_provenance(path)["scenes"]
    stamps = {path: path.stat().st_mtime_ns for path in there}

    compose, composed = imagery.compose, []

    def counted(plan, path, **more):
        composed.append(path.name)
        return compose(plan, path, **more)

    monkeypatch.setattr(imagery, "compose", counted)
    monkeypatch.setattr(tile_mosaic, "WAIT", 0.01)
    found, errors = [], []

    def run(number):
        try:
            own = areas.survey_area(area, 2024, options, work=tmp_path / f"w{number}")
            found.append(composites.join_composites(own, tmp_path / f"w{number}"))
        except Exception as error:  # noqa: BLE001 - a thread's error is the test's
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert sorted(composed) == sorted({*planned} - {path.name for path in there})
    assert {path: path.stat().st_mtime_ns for path in there} == stamps
    assert not list(place.glob(".locks/*"))
    for path in found:
        assert np.array_equal(pixels(path), pixels(made[2].path))


def place_of(plan):
    return f"{plan.tile}_{plan.season.name}.tif"


def test_items_name_their_scenes_and_the_index_opens(made):
    options, survey, _ = made
    place = folder_of(options)
    collection = pystac.Collection.from_file(str(place / "collection.json"))
    items = {item.id: item for item in collection.get_items()}
    assert len(items) == len(survey.plans)
    for plan in survey.plans:
        item = items[f"{plan.tile}_{plan.season.name}_{place.name}"]
        named = {scene["id"] for scene in item.properties["selion:scenes"]}
        assert named == {scene.id for scene in plan.scenes}
        linked = [link.href for link in item.links if link.rel == "derived_from"]
        assert {href.rpartition("/")[2] for href in linked} == named
        assert item.common_metadata.start_datetime.date() == plan.season.start
        assert store.open_raster(item.assets["composite"].get_absolute_href()).grid == plan.grid
    for season in ("window_a", "window_b"):
        index = store.open_raster(place / f"{season}.gti.gpkg")
        assert index.read((slice(0, 64), slice(0, 64))).values.any()


def test_a_dry_look_writes_nothing(made, area, tmp_path):
    options = replace(made[0], mosaic=tmp_path / "m")
    rows = areas.survey_area(part_of(area), 2024, options).rows()
    assert all(row in made[1].rows() for row in rows)
    assert not (tmp_path / "m").exists()


def test_a_mosaic_is_no_input_that_has_to_stay_as_it_is(tmp_path):
    """Other runs add tiles to it all the time."""
    place = tmp_path / "area.geojson"
    place.write_text("{}")
    words = [str(place), "2024", "-o", str(tmp_path / "x.tif"), "--mosaic", str(tmp_path)]
    with composite_command.make_context("composite", words) as context:
        watched = {found for _, _, found in named_inputs(context)}
    assert watched == {place}


# seasons


def test_each_tile_has_its_own_seasons(made, plain):
    """By the middle of the tile, whatever part of it is needed: by hand from PRUE's table."""
    north = {("2024-03-31", "2024-05-30"), ("2024-08-31", "2024-10-30")}  # days 91-151, 244-304
    south = {("2024-02-29", "2024-04-29"), ("2024-07-31", "2024-10-30")}  # 60-120, 213-304
    survey = made[1]
    for rows in (survey.rows(), plain.rows()):
        seen = {}
        for row in rows:
            seen.setdefault(row["tile"], set()).add((row["start"], row["end"]))
        grids = {plan.tile: plan.grid for plan in survey.plans}
        for tile, spans in seen.items():
            middle = imagery.middle(grids[tile])[1]
            assert spans <= (north if middle > 45 else south), (tile, middle)
        assert len({frozenset(spans) for spans in seen.values()}) == 2


def test_both_sides_of_the_equator_have_their_own_seasons():
    usual = areas.AreaOptions()
    north, south = (seasons_at((30.0, lat), 2024, usual) for lat in (8.0, -8.0))
    assert [(one.start.isoformat(), one.end.isoformat()) for one in (*north, *south)] == [
        ("2024-04-30", "2024-07-30"),  # days 121-212
        ("2024-09-30", "2024-12-30"),  # 274-365
        ("2023-11-01", "2023-12-31"),  # 305-365 of the year before
        ("2024-03-31", "2024-06-29"),  # 91-181
    ]
    given = imagery.given_seasons("2024-03-01/2024-05-31", "2024-08-01/2024-10-15")
    fixed = replace(usual, seasons=given)
    assert seasons_at((30.0, 8.0), 2024, fixed) == seasons_at((30.0, -8.0), 2024, fixed) == given


def test_the_collection_says_how_its_tiles_were_made(made):
    place = folder_of(made[0])
    told = json.loads((place / "collection.json").read_text())["selion:recipe"]
    assert told == tile_records.recipe_of(2024, made[0])


def test_a_tile_of_a_season_that_was_not_over_is_made_anew_when_it_is(
    archive, area, tmp_path, monkeypatch
):
    """The archive gets the scenes of the harvest late: by then the season is over."""
    options = areas.AreaOptions(provider=str(archive.catalogue), mosaic=tmp_path / "m")
    search, job = tile_mosaic.search_archive, part_of(area)

    def until(day):
        def answer(*given):
            found = search(*given)
            kept = {name: one for name, one in found.scenes.items() if one.time.date() <= day}
            return replace(found, scenes=kept)

        monkeypatch.setattr(searching, "today", lambda: day)
        monkeypatch.setattr(areas, "today", lambda: day)
        monkeypatch.setattr(tile_mosaic, "search_archive", answer)
        return areas.survey_area(job, 2024, options, work=tmp_path / "work")

    early = until(date(2024, 8, 5))  # before any harvest, after the planting
    first, second = (
        [plan for plan in early.plans if plan.season.name == name]
        for name in ("window_a", "window_b")
    )
    assert all(plan.scenes for plan in first)
    assert not any(plan.scenes for plan in second)
    assert any("later scenes are not in it" in note for note in early.notes)
    place = folder_of(options)
    kept, stale = (place / f"{first[0].tile}_{name}.tif" for name in ("window_a", "window_b"))
    for path in (kept, stale):  # the second as if one early scene had been there
        path.write_bytes(b"pixels")
    (stale.with_suffix(".zarr") / "c").mkdir(parents=True)
    for name in ("zarr.json", "c/0"):
        (stale.with_suffix(".zarr") / name).write_text(name)
    assert until(date(2024, 10, 1)).rows() == early.rows()  # not over: all jobs see the same
    late = until(date(2024, 11, 2))
    assert all(plan.scenes for plan in late.plans)
    assert kept.read_bytes() == b"pixels"
    assert not stale.exists()
    former = place / "former" / "2024-08-05"
    assert (former / stale.name).read_bytes() == b"pixels"
    assert (former / stale.with_suffix(".zarr").name / "c" / "0").read_text() == "c/0"
    assert not any(path.is_file() for path in stale.with_suffix(".zarr").rglob("*"))
    assert any("2024-08-05, before window_b ended, and is planned anew" in n for n in late.notes)
    assert until(date(2025, 1, 1)).rows() == late.rows()
    assert not any("planned anew" in note for note in areas.survey_area(job, 2024, options).notes)


def test_a_run_that_goes_on_after_the_season_does_not_take_up_what_lacks_its_end(archive, area):
    options = areas.AreaOptions(provider=str(archive.catalogue))
    keys = [
        areas.Survey(area, 2024, options, (), asked=date(2024, month, 31)).key
        for month in (5, 8, 10, 12)
    ]
    assert keys[0] == keys[1] != keys[3]
    assert keys[2] == keys[3]  # the harvest ends on 30 October


# on an object store


@pytest.fixture(scope="module")
def shop():
    """An object store that fails when it is told to."""
    with FaultyStore() as running:
        yield running


@pytest.fixture
def bucket(shop, monkeypatch):
    shop.faults.clear()
    for name, value in shop.environment.items():
        monkeypatch.setenv(name, value)
    return shop


def test_a_store_holds_what_a_folder_does(made, bucket, server, area, tmp_path, monkeypatch):
    """The same bytes; of two runs at once one makes each tile, and a third one only reads."""
    options = replace(made[0], mosaic=store.locate("s3://bucket/shared"))
    job, compose, composed = part_of(area), imagery.compose, []

    def counted(plan, path, **more):
        composed.append(path.name)
        return compose(plan, path, **more)

    def run(number):
        own = areas.survey_area(job, 2024, options, work=tmp_path / f"w{number}")
        return composites.join_composites(own, tmp_path / f"w{number}")

    monkeypatch.setattr(imagery, "compose", counted)
    monkeypatch.setattr(tile_mosaic, "WAIT", 0.005)
    bucket.fault("PUT", "_window_a.tif", "503")
    bucket.fault("PUT", "_window_a.json", "lost")
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(run, range(2))
    assert len(composed) == len(set(composed)), "each tile by one of them"
    assert np.array_equal(pixels(first), pixels(second))
    place, theirs = store.ObjectFolder(folder_of(options)), folder_of(made[0])
    names = place.names()
    assert not [name for name in names if name.startswith(".locks")]
    tiles = [name for name in names if "_window_" in name]
    assert len(tiles) == 2 * len(composed) > 0
    for name in (*tiles, "edition.json"):
        assert place.get(name) == (theirs / name).read_bytes()
    before, puts = asked(server), bucket.asked["PUT"]
    assert np.array_equal(pixels(run(2)), pixels(first))
    assert asked(server) == before
    assert bucket.asked["PUT"] == puts, "who only reads writes nothing"
    (tmp_path / "a.gti.gpkg").write_bytes(place.get("window_a.gti.gpkg"))
    with rasterio.open(tmp_path / "a.gti.gpkg") as index:  # GDAL finds the tiles on the store
        assert index.read(1).any()


def test_what_a_store_does_not_do_is_said_in_a_sentence(made, bucket, area, tmp_path):
    options = replace(made[0], mosaic=store.locate("s3://bucket/faults"))
    bucket.fault("PUT", ".tif", "expired", 100)
    with pytest.raises(OutputFailed, match=r"_window_.\.tif cannot be written .*privileges"):
        composites.join_composites(
            areas.survey_area(part_of(area), 2024, options, work=tmp_path / "w"), tmp_path / "w"
        )
    bucket.faults.clear()
    names = store.ObjectFolder(folder_of(options)).names()
    assert not [name for name in names if "_window_" in name], "none, not half of one"
    far = replace(options, mosaic=store.locate("https://example.org/tiles"))
    with pytest.raises(BadInput, match="cannot be written to: give a folder, or a prefix"):
        areas.survey_area(area, 2024, far)


# as Zarr


@pytest.fixture(scope="module")
def with_zarr(made, area, tmp_path_factory):
    """A copy of the mosaic whose composites another run has asked for as Zarr, too."""
    folder = tmp_path_factory.mktemp("zarr")
    shutil.copytree(made[0].mosaic, folder / "mosaic")
    options = replace(made[0], mosaic=folder / "mosaic", mosaic_zarr=True)
    stamps = {path.name: path.stat().st_mtime_ns for path in folder_of(options).glob("*.tif")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(imagery, "compose", None)  # nothing is composed again
        survey = areas.survey_area(area, 2024, options, work=folder / "work")
        written = composites.write_composite(survey, folder / "map.tif", work=folder / "work")
    assert written.path.read_bytes() == made[2].path.read_bytes()
    assert stamps == {
        path.name: path.stat().st_mtime_ns for path in folder_of(options).glob("*.tif")
    }
    return options, survey


def test_xarray_opens_each_tile_as_what_the_composite_is(with_zarr):
    """GDAL's reading of the COG is the truth, odc-geo's of the Zarr tells the place."""
    xarray = pytest.importorskip("xarray")
    from odc.geo.xr import xr_coords  # noqa: F401  # the accessor .odc

    options, survey = with_zarr
    for plan in survey.plans:
        path = folder_of(options) / f"{plan.tile}_{plan.season.name}.zarr"
        with (
            xarray.open_zarr(path) as found,
            rasterio.open(path.with_suffix(".tif")) as true,
        ):
            image = found["composite"]
            assert image.dims == ("time", "band", "y", "x")
            assert image.dtype == np.uint16
            assert np.array_equal(image.values[0], true.read())
            assert list(image["band"].values) == [*plan.sensor.bands, "count"]
            assert image.odc.geobox == plan.grid
            assert image["spatial_ref"].attrs["grid_mapping_name"] == "transverse_mercator"
            assert tuple(map(float, image["spatial_ref"].attrs["GeoTransform"].split())) == (
                true.transform.to_gdal()
            )
            start, end = (found["time_bnds"].values[0] + np.array([0, -1], "m8[D]")).astype("M8[D]")
            assert (start, end) == (plan.season.start, plan.season.end)
            assert start < image["time"].values[0] < end
            scenes = image.attrs["SELION_COMPOSITE"]["scenes"]
            assert {one["id"] for one in scenes} == {scene.id for scene in plan.scenes}
            x, y = true.xy(5, 7)
            number = list(plan.sensor.bands).index("nir") + 1
            assert image.sel(band="nir", x=x, y=y).values[0] == true.read(number)[5, 7]


def test_tiles_of_a_season_lie_on_one_axis_of_time(with_zarr):
    xarray = pytest.importorskip("xarray")
    options, survey = with_zarr
    tile = survey.plans[0].tile
    paths = sorted(folder_of(options).glob(f"{tile}_*.zarr"))
    with xarray.open_mfdataset(paths, engine="zarr", combine="by_coords") as year:
        assert year["composite"].sizes["time"] == 2
        assert (np.diff(year["time"].values) > np.timedelta64(30, "D")).all()


def test_items_name_the_zarr_where_there_is_one(made, with_zarr):
    for options, wanted in ((made[0], {"composite"}), (with_zarr[0], {"composite", "zarr"})):
        collection = pystac.Collection.from_file(str(folder_of(options) / "collection.json"))
        for item in collection.get_items():
            assert item.assets.keys() == wanted
            for asset in item.assets.values():
                assert Path(asset.get_absolute_href()).exists()


def test_a_store_holds_the_zarr_of_a_folder(with_zarr, bucket, area, tmp_path):
    options = replace(with_zarr[0], mosaic=store.locate("s3://bucket/zarr"))
    survey = areas.survey_area(part_of(area), 2024, options, work=tmp_path / "w")
    composites.join_composites(survey, tmp_path / "w")
    place, theirs = store.ObjectFolder(folder_of(options)), folder_of(with_zarr[0])
    ours = {name for name in place.names() if ".zarr/" in name}
    tiles = {f"{plan.tile}_{plan.season.name}.zarr" for plan in survey.plans}
    files = {
        path.relative_to(theirs).as_posix()
        for tile in tiles
        for path in (theirs / tile).rglob("*")
        if path.is_file()
    }
    assert ours == files
    for name in files:
        assert place.get(name) == (theirs / name).read_bytes()


def test_without_a_mosaic_there_is_no_zarr_of_it():
    with pytest.raises(BadInput, match="add --mosaic FOLDER"):
        areas.AreaOptions(mosaic_zarr=True)


@pytest.mark.parametrize("given", ["catalog.json", "."])
def test_a_whole_mosaic_needs_no_catalogue_any_more(archive, area, tmp_path, given):
    """A catalogue on the disk may be moved away; what is missing is asked for in vain."""
    here = tmp_path / "archive"
    shutil.copytree(archive.catalogue.parent, here)
    options = areas.AreaOptions(provider=str(here / given), mosaic=tmp_path / "m")
    survey = areas.survey_area(part_of(area), 2024, options, work=tmp_path / "w")
    written = composites.write_composite(survey, tmp_path / "first.tif", work=tmp_path / "w")
    here.rename(tmp_path / "elsewhere")
    again = areas.survey_area(part_of(area), 2024, options, work=tmp_path / "other")
    assert again.rows() == survey.rows()
    second = composites.write_composite(again, tmp_path / "second.tif")
    assert second.path.read_bytes() == written.path.read_bytes()
    with pytest.raises(BadInput, match="does not exist"):
        areas.survey_area(area, 2023, options)
    with pytest.raises(BadInput, match="does not exist"):
        areas.survey_area(part_of(area), 2024, replace(options, mosaic=None))


def test_the_box_of_tiles_over_the_antimeridian_is_not_that_of_the_world(tmp_path):
    """West is larger than east then (RFC 7946, 5.2); it was -180 to 180."""
    east, west = shapely.box(179.5, -17, 180, -16), shapely.box(-180, -17, -179.25, -16)
    shapes = {"one": shapely.multipolygons([east, west]), "other": shapely.box(178, -18, 179, -17)}
    times = {"start_datetime": "2024-01-01T00:00:00Z", "end_datetime": "2024-02-01T23:59:59Z"}
    paths = []
    for name, shape in shapes.items():
        plain = {"properties": times, "geometry": shapely.geometry.mapping(shape)}
        paths.append(tmp_path / f"{name}.json")
        paths[-1].write_text(json.dumps(plain))
    assert box_of(shapely.geometry.mapping(shapes["one"])) == [179.5, -17, -179.25, -16]
    assert box_of(shapely.geometry.mapping(shapes["other"])) == [178, -18, 179, -17]
    told = json.loads(write_collection(tmp_path, "fiji", paths, {}, "Fiji").read_text())
    assert told["extent"]["spatial"]["bbox"] == [[178, -18, -179.25, -16]]
