"""One plan started twice, from two places: its jobs are leased one by one, so both share the work,
none is done twice, and each run ends when the whole plan is done.

The jobs are small programs in the place of ``selion map`` that write down when they work.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from selion import country
from selion.country import run_plan
from selion.errors import Incomplete
from selion.runners import RunnerOptions
from selion.store.leftovers import JOB_LEASE
from selion.store.lock import leased

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="children die with their parent")
WORK = """
import os, pathlib, sys, time
place = pathlib.Path(sys.argv[2]).parent
with open(place / "told", "a") as told:
    told.write("begin\\n")
    told.flush()
    time.sleep(float(os.environ["PAUSE"]))
    told.write("end\\n")
assert pathlib.Path(os.environ["TMPDIR"]).is_dir(), "somebody took the temporary files away"
if place.name == "broken":
    sys.exit("no scene")
(place / "fields.parquet").write_text(place.name)
"""
RUN = "import sys; from selion.country import run_plan; run_plan(sys.argv[1])"


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """Make a plan of named jobs."""
    package = tmp_path / "path" / "selion"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(WORK)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))
    monkeypatch.setenv("PAUSE", "0.2")

    def make(*names):
        folder = tmp_path / "plan"
        for name in names:
            (folder / "jobs" / name).mkdir(parents=True)
        jobs = [{"name": n, "command": ["selion", "map", f"jobs/{n}/area.geojson"]} for n in names]
        (folder / "jobs.json").write_text(json.dumps(jobs))
        return folder

    return make


def told(folder, name):
    return (folder / "jobs" / name / "told").read_text().split()


def wait_for(condition):
    deadline = time.monotonic() + 600
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_two_runs_of_one_plan_share_its_jobs_and_do_none_twice(plan):
    names = [f"job{k}" for k in range(5)]
    folder = plan(*names)
    with ThreadPoolExecutor(2) as both:
        runs = list(both.map(lambda _: run_plan(folder), range(2)))
    assert [told(folder, name) for name in names] == [["begin", "end"]] * 5
    for run in runs:
        assert sorted((*run.done, *run.elsewhere, *run.there)) == names, "it ended when all is done"
    assert sorted((*runs[0].done, *runs[1].done)) == names, "each by one of them"
    assert all(run.done for run in runs), "they shared them"
    assert not list(folder.rglob(".*")), "no lease is left"
    assert country.plan_standing(folder).counts["finished"] == 5


def test_what_a_killed_run_was_at_is_taken_over_by_the_one_that_waits(plan, monkeypatch):
    folder = plan("slow")
    monkeypatch.setenv("PAUSE", "60")
    ours = [part for part in sys.path if part]  # the toy stands before what is tested
    first = subprocess.Popen(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {ours!r}\n{RUN}", str(folder)]
    )
    wait_for((folder / "jobs" / "slow" / "told").exists)
    monkeypatch.setenv("PAUSE", "0")
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(run_plan, folder)
        time.sleep(0.3)
        assert not second.done(), "it waits"
        first.send_signal(signal.SIGKILL)
        first.wait(60)
        assert second.result(60).done == ("slow",)
    assert told(folder, "slow") == ["begin", "begin", "end"]


def test_a_job_that_fails_elsewhere_is_tried_here(plan):
    folder = plan("broken")
    with ThreadPoolExecutor(2) as both:
        runs = [both.submit(run_plan, folder) for _ in range(2)]
        for run in runs:
            with pytest.raises(Incomplete, match="broken"):
                run.result(60)
    assert told(folder, "broken") == ["begin", "end"] * 2, "one after the other"


def test_a_job_that_run_sh_is_at_is_waited_for(plan):
    """It holds no lease of a job, but its ``selion map`` that of its output."""
    folder = plan("other", "good")
    place = folder / "jobs" / "other"
    with ThreadPoolExecutor(1) as pool, leased(place / ".fields.parquet.begun"):
        run = pool.submit(run_plan, folder)
        wait_for((folder / "jobs" / "good" / "fields.parquet").exists)
        time.sleep(0.2)
        assert not run.done()
        assert not (place / "told").exists()
        (place / "fields.parquet").write_text("other")
        (place / ".fields.parquet.begun").unlink()
    assert (run.result().done, run.result().elsewhere) == (("good",), ("other",))


def test_a_job_whose_table_is_there_and_whose_manifest_is_not_is_waited_for(plan):
    folder = plan("a")
    with ThreadPoolExecutor(1) as pool, leased(folder / "jobs" / "a" / JOB_LEASE):
        (folder / "jobs" / "a" / "fields.parquet").write_text("a")
        run = pool.submit(run_plan, folder)
        time.sleep(0.3)
        assert not run.done()
    assert run.result().elsewhere == ("a",)
    assert run_plan(folder).there == ("a",)


@pytest.mark.parametrize("left", [JOB_LEASE, ".fields.parquet.begun"])
def test_what_a_killed_run_left_beside_a_table_is_tidied_up(plan, left):
    """Killed after the table had its name: before its manifest, or before the lease went."""
    folder = plan("a")
    place = folder / "jobs" / "a"
    (place / "fields.parquet").write_text("a")
    (place / left).touch()
    run = run_plan(folder)
    assert (place / "told").exists() == (left != JOB_LEASE), "without its note the map was ended"
    assert (run.done or run.there) == ("a",)
    assert not (place / JOB_LEASE).exists()


def test_who_waits_says_so_once(plan):
    folder, said = plan("a", "b"), []
    with ThreadPoolExecutor(1) as pool, leased(folder / "jobs" / "a" / JOB_LEASE):
        run = pool.submit(
            run_plan, folder, RunnerOptions(), on_step=lambda *step: said.append(step)
        )
        wait_for(lambda: len(said) > 1)
        (folder / "jobs" / "a" / "fields.parquet").write_text("a")
    run.result()
    assert said == [
        ("run", 1, 2, "b"),
        ("run", 1, 2, "waiting for 1 job that another run is at (a)"),
        ("run", 2, 2, "a"),
    ]


def test_a_try_of_run_sh_that_another_run_sent_away_ends_no_job(plan, tmp_path):
    """Two ``run.sh``: the second one's ``selion map`` is refused while the first one works."""
    folder = plan("a")
    host, now = os.uname().nodename, int(time.time())
    (folder / "jobs" / "a" / "job.times").write_text(
        f"begin {now - 9} {host} {os.getpid()}\nbegin {now - 5} {host} 999999\n"
        f"end {now - 4} {host} 999999 2\n"
    )
    job = country.plan_standing(folder, now).jobs[0]
    assert (job.state, job.code, len(job.spans)) == ("running", None, 2)
    with (folder / "jobs" / "a" / "job.times").open("a") as times:
        times.write(f"end {now} {host} {os.getpid()} 0\n")
    (folder / "jobs" / "a" / "fields.parquet").write_text("a")
    job = country.plan_standing(folder, now).jobs[0]
    assert (job.state, job.code) == ("finished", 0)
    assert job.spans[-1] == (now - 9, now)
