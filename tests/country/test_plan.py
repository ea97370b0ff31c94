"""Plans: squares that tile a country, what it takes, clusters that do not exist, and the probe that
all of it hangs on.
"""

import json
import subprocess
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from pyproj import Geod

import selion
from command_line import run_here
from option_inputs import PROBE
from selion import country, imagery, store
from selion.country import (
    cut_area,
    make_plan,
    planning,
    read_prices,
    read_probe,
    simulate,
    sweep,
    write_plan,
    write_probe,
)
from selion.country.cluster_model import Work
from selion.country.job_tables import read_job
from selion.country.paper_table import TABLE_3
from selion.country.planning import table_3
from selion.errors import BadInput, OutputExists, SelionError, UnknownName, UnreadableFile
from selion.imagery import sensors
from selion.pipeline import AreaOptions, areas

CALM = replace(
    read_prices().faults,
    boot_seconds=0.0,
    failures_per_job=0.0,
    losses_per_worker_hour=0.0,
    stragglers_per_job=0.0,
)


@pytest.fixture(scope="module")
def valley():
    """Around 12 degrees east: two zones; and over the equator, far away, a piece more."""
    return imagery.read_area(
        {
            "type": "MultiPolygon",
            "coordinates": [
                shapely.geometry.mapping(shapely.box(11.2, 47.3, 12.9, 48.4))["coordinates"]
            ],
        },
        "valley",
    )


# the lattice


def test_squares_tile_an_area_over_two_zones_without_gap_or_overlap(valley):
    cells = cut_area(valley)
    assert {cell.crs for cell in cells} == {"EPSG:32632", "EPSG:32633"}
    assert len({cell.name for cell in cells}) == len(cells)
    assert sum(cell.km2 for cell in cells) == pytest.approx(valley.km2, rel=1e-6)
    union = shapely.union_all([cell.core for cell in cells])
    assert shapely.difference(valley.geometry, union).area < 1e-9
    cores = [cell.core for cell in cells]
    assert sum(shapely.area(cores)) == pytest.approx(union.area, rel=1e-9)


def test_neighbours_see_each_other_by_the_halo(valley):
    cells = cut_area(valley, halo=2000.0)
    geod = Geod(ellps="WGS84")
    for cell in cells:
        assert shapely.covers(
            shapely.buffer(cell.seen, 1e-9), shapely.intersection(valley.geometry, cell.core)
        )
        x0, y0, x1, y1 = cell.bounds
        assert max(x1 - x0, y1 - y0) <= 51_200 + 2 * 2000 + 60
    one = next(
        cell for cell in cells if cell.crs == "EPSG:32632" and shapely.bounds(cell.core)[2] == 12.0
    )
    beyond = shapely.bounds(one.seen)[2]
    assert geod.line_length([12.0, beyond], [48.0, 48.0]) == pytest.approx(2000, rel=0.02)


def test_the_equator_and_the_antimeridian_are_borders_too():
    fiji = imagery.read_area((179.7, -17.0, -179.8, -16.6))
    assert {cell.crs for cell in cut_area(fiji)} == {"EPSG:32760", "EPSG:32701"}
    assert sum(cell.km2 for cell in cut_area(fiji)) == pytest.approx(fiji.km2, rel=1e-6)
    line = imagery.read_area((32.0, -0.2, 32.3, 0.2))
    assert {cell.crs for cell in cut_area(line)} == {"EPSG:32636", "EPSG:32736"}
    assert sum(cell.km2 for cell in cut_area(line)) == pytest.approx(line.km2, rel=1e-6)


def test_sizes_that_make_no_sense_are_refused(valley):
    for edge, halo in ((10.0, 100.0), (51_200.0, 0.0), (2000.0, 900.0)):
        with pytest.raises(BadInput, match="halo"):
            cut_area(valley, edge, halo)


# the simulation


def work(jobs=40, seed=0, readers=1000, spread=(1.0,)):
    rng = np.random.default_rng(seed)
    return Work(
        rng.uniform(5, 50, jobs), rng.uniform(50, 500, jobs), 2.0, np.array(spread), readers
    )


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 60), st.integers(1, 80), st.integers(0, 9))
def test_without_faults_a_cluster_takes_what_its_jobs_take(jobs, workers, seed):
    one = work(jobs, seed)
    outcome = simulate(one, workers, CALM)
    each = one.reading + one.computing + one.startup
    assert outcome.seconds >= max(each.sum() / workers, each.max()) * (1 - 1e-9)
    assert outcome.seconds <= each.sum() / workers + each.max() + 1e-6, (
        "no worker idles while there are jobs (Graham)"
    )
    assert outcome.efficiency <= 1 + 1e-9
    assert (outcome.retried, outcome.lost, outcome.set_aside, outcome.waited) == (0, 0, 0, 0)
    if workers == 1:
        assert outcome.seconds == pytest.approx(each.sum())


def test_a_narrow_archive_makes_workers_wait():
    free, narrow = (simulate(work(readers=readers), 40, CALM) for readers in (1000, 2))
    assert free.waited == 0
    assert narrow.waited > 0
    assert narrow.seconds >= work().reading.sum() / 2


def test_faults_cost_time_and_lose_no_job():
    faults = replace(
        CALM,
        boot_seconds=60.0,
        failures_per_job=0.2,
        tries=30,
        losses_per_worker_hour=2.0,
        stragglers_per_job=0.1,
    )
    calm, rough = simulate(work(200), 16, CALM), simulate(work(200), 16, faults)
    assert rough.seconds > calm.seconds
    assert rough.efficiency < calm.efficiency
    assert rough.retried > 10
    assert rough.lost > 3
    assert rough.set_aside == 0
    assert simulate(work(200), 16, faults) == rough, "equal seeds, equal runs"
    assert simulate(work(200), 16, faults, seed=1) != rough


def test_jobs_that_fail_too_often_are_set_aside_and_workers_that_live_too_short_end_the_run():
    hopeless = simulate(work(20), 4, replace(CALM, failures_per_job=1.0))
    assert hopeless.set_aside == 20
    assert hopeless.efficiency == 0
    doomed = simulate(work(5), 2, replace(CALM, losses_per_worker_hour=1e6))
    assert doomed.set_aside == 5


def test_more_workers_are_quicker_until_the_longest_job_rules():
    outcomes = sweep(work(300), CALM, 256)
    assert [one.workers for one in outcomes] == [1, 2, 4, 8, 16, 32, 64, 128, 256]
    assert all(a.seconds > b.seconds for a, b in pairwise(outcomes[:-2]))
    assert outcomes[-1].seconds >= (work(300).reading + work(300).computing).max()
    assert [one.workers for one in sweep(work(3), CALM, 6)] == [1, 2, 4, 6]
    with pytest.raises(BadInput, match="0 workers"):
        simulate(work(3), 0, CALM)


# prices


def test_a_price_sheet_changes_what_it_names_and_nothing_else(tmp_path):
    sheet = tmp_path / "prices.toml"
    sheet.write_text("[cpu]\ndollars_per_hour = 0.5\ncores = 8\n")
    found, packaged = read_prices(sheet), read_prices()
    assert (found.cpu.dollars_per_hour, found.cpu.cores) == (0.5, 8)
    assert found.gpu == packaged.gpu
    assert found.source == str(sheet)


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("[cpus]\n", UnknownName, "'cpu'"),
        ("[cpu]\ndollar_per_hour = 1\n", UnknownName, "dollars_per_hour"),
        ("[cpu]\ncores = 0\n", BadInput, "above 0"),
        ("[cpu]\nwatts = -3\n", BadInput, "from 0 up"),
        ("[cpu]\nwatts = true\n", BadInput, "from 0 up"),
        ("[faults]\nfailures_per_job = 0.99\n", BadInput, "share"),
        ("cpu = 3\n", BadInput, "table"),
        ("[cpu\n", UnreadableFile, "price sheet"),
    ],
)
def test_a_price_sheet_that_is_wrong_is_refused(tmp_path, text, error, words):
    (tmp_path / "prices.toml").write_text(text)
    with pytest.raises(error, match=words):
        read_prices(tmp_path / "prices.toml")


def test_files_that_are_not_there_are_named(tmp_path):
    with pytest.raises(UnreadableFile, match=r"no price sheet .*none\.toml"):
        read_prices(tmp_path / "none.toml")
    with pytest.raises(UnreadableFile, match=r"no file .*probe\.json"):
        read_probe(tmp_path / "probe.json")


def test_the_paper_areas_are_web_mercators():
    for name, latitude in (
        ("Switzerland", 46.8),
        ("Japan", 37.6),
        ("South Africa", -29.0),
        ("Mexico", 23.9),
    ):
        row = next(one for one in TABLE_3 if one.name == name)
        assert row.factor == pytest.approx(1 / np.cos(np.radians(latitude)) ** 2, rel=0.08), name


# the plan


@pytest.fixture(scope="module")
def plan(valley):
    return make_plan(
        valley, 2024, PROBE, read_prices(), words=("--model", "fields-s2-2season"), most=16
    )


def test_costs_follow_from_probe_and_prices(plan, valley):
    costs = plan.costs()
    assert costs["area_km2"] == pytest.approx(valley.km2, abs=0.1)
    assert costs["jobs"] == len(plan.cells)
    looked = plan.looked.sum()
    assert looked > valley.km2
    assert costs["of_which_network_core_hours"] == pytest.approx(2 * looked / 10 / 3600, abs=1e-3)
    assert costs["gpu_rate"].startswith("ASSUMED")
    assert costs["dollars"] == pytest.approx(
        costs["worker_hours"] * plan.prices.cpu.dollars_per_hour, rel=1e-2
    )
    measured = make_plan(valley, 2024, replace(PROBE, gpu=True), read_prices())
    assert measured.costs()["gpu_rate"] == "measured by the probe"
    twice = make_plan(valley, 2024, replace(PROBE, km2_per_second=5.0), read_prices()).costs()
    assert twice["of_which_network_core_hours"] == pytest.approx(
        2 * costs["of_which_network_core_hours"], rel=1e-3
    )
    dear = replace(plan.prices, archive=replace(plan.prices.archive, dollars_per_gigabyte=0.09))
    extra = make_plan(valley, 2024, PROBE, dear).costs()["dollars"] - costs["dollars"]
    assert extra == pytest.approx(0.09 * costs["gigabytes"], rel=1e-2)


def test_what_a_mosaic_holds_already_is_not_billed_again(valley, tmp_path, monkeypatch):
    """A second model reads composites: nothing is searched or read of scenes, all is mapped."""
    options = AreaOptions(mosaic=tmp_path / "mosaic")

    def planned(*held):
        monkeypatch.setattr(
            planning, "ready_areas", lambda _, areas: [k in held for k in range(len(areas))]
        )
        return make_plan(valley, 2024, PROBE, read_prices(), options=options)

    first, some, whole = planned(), planned(0, 2), planned(*range(100))
    share = float((first.looked[[0, 2]]).sum() / first.looked.sum())
    gigabytes = [float(str(one.costs()["gigabytes"])) for one in (first, some, whole)]
    assert gigabytes == pytest.approx([gigabytes[0], (1 - share) * gigabytes[0], 0], rel=1e-3)
    assert (some.gigabytes == 0).sum() == 2
    assert whole.costs()["scenes"] == 0
    assert "jobs_whose_composites_are_there" not in first.costs()
    assert some.costs()["jobs_whose_composites_are_there"] == 2
    # by hand: what is left is the network, the outlines and the start of each job
    share_of_cores = read_prices().cpu.cores / PROBE.cores
    left = whole.looked * (1 / PROBE.km2_per_second + PROBE.drawing) / share_of_cores
    hours = (left.sum() + len(whole.cells) * PROBE.startup) / 3600
    assert whole.costs()["worker_hours"] == pytest.approx(hours, rel=1e-3)
    # the paper's countries are in no mosaic
    assert table_3(whole) == table_3(first)
    assert not (tmp_path / "mosaic").exists()


def test_a_plan_on_disk_holds_jobs_that_can_be_run(plan, tmp_path):
    folder = write_plan(plan, tmp_path / "plan")
    jobs = json.loads((folder / "jobs.json").read_text())
    assert len(jobs) == len(plan.cells)
    for job, cell in zip(jobs, plan.cells, strict=True):
        read = read_job(folder / "jobs" / cell.name / "area.geojson")
        assert all(
            getattr(read, name).equals(getattr(cell, name)) for name in ("core", "seen", "area")
        )
        area = imagery.read_area(folder / "jobs" / cell.name / "area.geojson")
        assert area.km2 >= cell.km2 - 1e-3
        assert job["command"][:4] == ["selion", "map", f"jobs/{cell.name}/area.geojson", "--year"]
        assert job["command"][-2:] == ["--model", "fields-s2-2season"]
    text = (folder / "plan.md").read_text()
    assert "| 16 |" in text
    assert "Switzerland" in text
    assert read_probe(folder / "probe.json") == PROBE
    assert "mosaic" not in json.loads((folder / "plan.json").read_text())
    edition = tmp_path / "2024-latitude-0"
    write_plan(replace(plan, mosaic=edition), tmp_path / "shared")
    assert json.loads((tmp_path / "shared" / "plan.json").read_text())["mosaic"] == str(edition)
    with pytest.raises(OutputExists):
        write_plan(plan, folder)
    write_plan(plan, folder, force=True)
    (folder / "jobs" / plan.cells[0].name / "fields.parquet").write_bytes(b"hours of work")
    with pytest.raises(OutputExists, match="1 finished job"):
        write_plan(plan, folder, force=True)


def test_the_script_does_what_is_not_done_and_notes_what_failed(plan, tmp_path):
    folder = write_plan(plan, tmp_path / "plan")
    program = tmp_path / "bin" / "selion"
    program.parent.mkdir()
    program.write_text(
        '#!/bin/sh\ncase "$2" in *n104*) exit 2;; esac\nwhile [ "$1" != -o ]; do shift; done\n'
        '[ -e "$2" ] && echo twice >> "$2"\necho done >> "$2"\n'
    )
    program.chmod(0o755)
    for _ in range(2):
        subprocess.run(
            ["sh", str(folder / "run.sh"), "3"],
            check=False,
            env={"PATH": f"{program.parent}:/usr/bin:/bin", "SELION_PYTHON": "none"},
        )
    failed = (folder / "failed.txt").read_text().split()
    assert failed
    assert all("n104" in name for name in failed)
    done = list(folder.glob("jobs/*/fields.parquet"))
    assert len(done) + len(failed) == len(plan.cells)
    times = [(folder / "jobs" / name / "job.times").read_text().splitlines() for name in failed]
    kinds = [[(line.split()[0], line.split()[4:]) for line in lines] for lines in times]
    assert kinds == [[("begin", []), ("end", ["2"])] * 2] * len(failed)
    assert {path.read_text() for path in done} == {"done\n"}
    done[0].with_name("fields.parquet.aside.json").write_text("{}")
    subprocess.run(
        ["sh", str(folder / "run.sh"), "3"],
        check=False,
        env={"PATH": f"{program.parent}:/usr/bin:/bin", "SELION_PYTHON": "none"},
    )
    assert [path.read_text() for path in done] == ["done\ntwice\ndone\n"] + ["done\n"] * (
        len(done) - 1
    ), "only a table that lacks blocks is made again"


def test_a_job_finds_selion_where_the_plan_was_made_and_says_where_there_is_none(plan, tmp_path):
    folder = write_plan(plan, tmp_path / "a plan")
    job = next(folder.glob("jobs/*/job.sh"))
    finding = job.read_text().partition("\nselion map")[0]
    path = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(selion.__file__).parents[1])}
    (job.parent / "try.sh").write_text(f"{finding}\nselion --version\n")
    command = ["sh", str(job.parent / "try.sh")]
    done = subprocess.run(command, check=False, env=path, capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()[0]) == (0, "selion,"), done.stderr
    nowhere = path | {"SELION_PYTHON": "none"}
    done = subprocess.run(command, check=False, env=nowhere, capture_output=True, text=True)
    assert done.returncode == 127
    assert "SELION_PYTHON" in done.stderr


def test_a_probe_that_is_none_is_refused(tmp_path):
    write_probe(PROBE, tmp_path / "probe.json")
    assert read_probe(tmp_path / "probe.json") == PROBE
    for text in ("{}", "[]", '{"kind": "selion probe 1", "selion": "0"}', "not json"):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(UnreadableFile, match="not a probe"):
            read_probe(tmp_path / "bad.json")


def test_without_measured_times_there_is_no_plan(tmp_path):
    command = ["plan", "11,47,12,48", "--year", 2024, "-o", tmp_path / "plan"]
    done = run_here(*command)
    assert done.returncode == 2
    assert "--probe" in done.stderr
    write_probe(PROBE, tmp_path / "probe.json")
    probe = ["--probe-file", tmp_path / "probe.json"]
    done = run_here(*command, *probe, "--max-cloud", 40, "--no-balance", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["jobs"] > 3
    words = json.loads((tmp_path / "plan" / "jobs.json").read_text())[0]["command"]
    assert words[words.index("--max-cloud") + 1] == "40.0"
    assert "--no-balance" in words


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_a_probe_runs_the_road_and_times_it(tmp_path):
    from selion.simulation.archive import simulate_archive

    archive = simulate_archive(
        tmp_path / "archive",
        seed=3,
        centre=(12.0, 50.0),
        size_km=(1.2, 1.2),
        n_dates=2,
        patch_px=192,
    )
    area = imagery.read_area(dict(archive.area), name="valley")
    probe = country.probe_pipeline(
        area, 2024, areas.AreaOptions(provider=str(archive.catalogue)), km=1.0
    )
    assert probe.km2 == pytest.approx(1.0, rel=0.1)
    assert not probe.gpu
    assert 1 <= probe.scenes <= 10
    for name in (
        "startup",
        "choosing",
        "megabytes_per_second",
        "composing",
        "km2_per_second",
        "drawing",
    ):
        assert 0 < getattr(probe, name) < 1e6, name
    assert np.mean(probe.spread) == pytest.approx(1, abs=1e-3)
    assert len(probe.spread) > 3
    assert (
        make_plan(area, 2024, probe, read_prices(), edge=1000.0, halo=200.0).costs()["dollars"] > 0
    )


def test_tiles_of_another_sensor_are_counted_and_overlap_as_its_table_says(valley, monkeypatch):
    """With smaller steps there are more, and each place is read from four of them."""
    plain = make_plan(valley, 2024, PROBE, read_prices())
    table = sensors._table()["sentinel-2"]
    assert plain.tiles == len(cut_area(valley, 100_000.0, 100.0))
    every = {"dense": table | {"tile_step": 25.0, "tile_edge": 50.0}, "sentinel-2": table}
    monkeypatch.setattr(sensors, "_table", lambda: every)
    dense = make_plan(valley, 2024, replace(PROBE, sensor="dense"), read_prices())
    assert dense.tiles == len(cut_area(valley, 25_000.0, 100.0)) > plain.tiles
    assert dense.gigabytes == pytest.approx(plain.gigabytes * 4 / 1.098**2)


def test_what_a_plan_does_not_take_of_map_has_a_reason_and_is_refused_with_it(tmp_path):
    """An option that 'selion map' gets is one of the plan, or stands here with a reason."""
    from selion.cli.mapping import map_command
    from selion.cli.plan import NOT_TAKEN, plan_command

    def words(command):
        every = (one for one in command.params if one.param_type_name == "option")
        return {word for one in every for word in (*one.opts, *one.secondary_opts)}

    former = {"--workers"}  # what --cluster-workers was called, and is still understood as
    assert words(map_command) - words(plan_command) - former == NOT_TAKEN.keys()
    for word, why in NOT_TAKEN.items():
        for said in ([word, "x"], [f"{word}=x"]):
            done = run_here("plan", "1,1,2,2", "--year", 2024, "-o", tmp_path / "plan", *said)
            assert done.returncode == 2
            assert f"A plan takes no {word}: {why}." in done.stderr
    assert not (tmp_path / "plan").exists()


def test_a_plan_takes_what_map_takes(tmp_path, monkeypatch):
    """Each job's words are read again by 'selion map', and mean what was said of the plan."""
    from click.testing import CliRunner

    from selion.cli.mapping import map_command
    from selion.cli.plan import plan_command

    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiles").mkdir()
    (tmp_path / "tiles" / "ESA_WorldCover_10m_2021_v200_N45E009_Map.tif").touch()
    for name in (
        "vote",
        "cubic",
        "own",
        "fields-s2-2season",
    ):  # folders called as words are no places
        (tmp_path / name).mkdir()
    country.write_probe(PROBE, tmp_path / "probe.json")
    words = [
        "11.2,47.3,11.3,47.4",
        "--year",
        "2024",
        "--probe-file",
        "probe.json",
        "-o",
        "plan",
        "-q",
        "--edge",
        "5",
        "--scores",
        "p.tif",
        "--land-cover",
        "worldcover@tiles",
        "--land-cover-share",
        "0.3",
        "--method",
        "vote",
        "--vote",
        "min_line_support=0.3",
        "--min-area",
        "900",
        "--refine",
        "own",
        "--fast",
        "--overlap",
        "0.3",
        "--page",
        "--simplify",
        "5",
        "--window",
        "256",
        "--flips",
        "--gsd",
        "10",
        "--resampling",
        "cubic",
        "--model",
        "fields-s2-2season",
        "--threads",
        "1",
    ]
    done = CliRunner().invoke(plan_command, words)
    assert done.exit_code == 0, done.output
    jobs = json.loads((tmp_path / "plan" / "jobs.json").read_text())
    assert len(jobs) > 1
    for job in jobs:
        name, *given = job["command"][1:]
        assert name == "map"
        read = map_command.make_context("map", list(given)).params
        assert read["scores"].as_posix() == f"jobs/{job['name']}/p.tif"
        assert read["land_cover"] == (f"worldcover@{tmp_path / 'tiles'}",)
        expected = {
            "crop_share": 0.3,
            "method": "vote",
            "vote": "min_line_support=0.3",
            "min_area": 900,
            "refiner": "own",
            "model": "fields-s2-2season",
            "fast": True,
            "overlap": 0.3,
            "page": True,
            "simplify": 5,
            "window": 256,
            "flips": True,
            "gsd": 10,
            "resampling": "cubic",
            "threads": 1,
            "preview": False,
        }
        assert {key: read[key] for key in expected} == expected
    for bad, sentence in (
        (["--scores", "a/b.tif"], "name of a file alone"),
        (["--scores", "fields.parquet"], "name of a file alone"),
        (["--vote", "min_line_support=0.3"], "add --method vote"),
        (["--land-cover-crops", "40"], "add --land-cover"),
        (["--min-area", "100", "--max-area", "50"], "leave no field"),
        (["--model", "nomodel"], ""),
        (["--season-rule", "calendar", "--calendar", "nofolder"], ""),
    ):
        done = CliRunner().invoke(
            plan_command,
            [
                *[
                    "11.2,47.3,11.3,47.4",
                    "--year",
                    "2024",
                    "--probe-file",
                    "probe.json",
                    "-o",
                    "p2",
                    "-q",
                ],
                *bad,
            ],
        )
        assert done.exit_code == 2 or isinstance(done.exception, SelionError), (bad, done.output)
        assert sentence in " ".join(done.output.split())
        assert not (tmp_path / "p2").exists()


def test_jobs_get_options_as_often_as_the_plan_and_names_stay_names(tmp_path, monkeypatch):
    """Of two land covers the second was an image to map for each job, and the name of the published
    one, or of an archive, a folder of the same name: 'selion map' takes the name.
    """
    from click.testing import CliRunner

    from selion.cli.mapping import map_command
    from selion.cli.plan import plan_command

    monkeypatch.chdir(tmp_path)
    with store.create_cog("b.tif", whole_globe(), ("code",), np.uint8):
        pass
    for name in ("worldcover", "earth-search"):
        (tmp_path / name).mkdir()
    country.write_probe(PROBE, tmp_path / "probe.json")
    words = ["11.2,47.3,11.3,47.4", "--year", "2024", "--probe-file", "probe.json", "-o", "plan"]
    words += ["--land-cover", "worldcover", "--land-cover", "b.tif", "--land-cover-crops", "40"]
    words += ["--provider", "earth-search", "--dates", "2024-03-01/2024-05-31"]
    words += ["2024-08-01/2024-10-15", "-q"]
    done = CliRunner().invoke(plan_command, words)
    assert done.exit_code == 0, done.output
    job = json.loads((tmp_path / "plan" / "jobs.json").read_text())[0]
    read = map_command.make_context("map", list(job["command"][2:])).params
    assert read["land_cover"] == ("worldcover", str(tmp_path / "b.tif"))
    assert read["provider"] == "earth-search"
    assert read["dates"] == ("2024-03-01/2024-05-31", "2024-08-01/2024-10-15")


def whole_globe():
    """A grid of degrees."""
    return GeoBox((180, 360), Affine(1, 0, -180, 0, -1, 90), "EPSG:4326")


def test_a_probe_without_its_archive_says_so_in_one_sentence(tmp_path, capsys, monkeypatch):
    """With a mosaic the archive may be gone; a probe times what only it can tell."""
    monkeypatch.chdir(tmp_path)
    command = ["plan", "12.0,50.0,12.1,50.1", "--year", 2024, "-o", "plan", "--probe"]
    command += ["--provider", tmp_path / "gone" / "catalog.json", "--season-rule", "latitude"]
    done = run_here(*command, "--mosaic", tmp_path / "mosaic", "--quiet")
    assert done.returncode == 2
    (said,) = [line for line in done.stderr.splitlines() if line.startswith("Error")]
    assert "cannot tell, and the archive cannot be asked (" in said
    assert "take --probe-file with the probe.json of an earlier plan" in said
    done = run_here(*command, "--quiet")
    assert done.returncode == 2
    assert "does not exist: give the path of a catalog.json" in done.stderr
