"""How a plan stands, from what lies in its folder: states, pace, cost, what others left there."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys

import pytest

from command_line import run_here
from selion.country import plan_squares, plan_standing, shown_standing
from selion.errors import UnreadableFile
from selion.web.standing import WatchedPlan

NOW = 1_700_010_000.0
HERE = platform.node()
NAMES = ("done", "half", "runs", "gone", "bad", "next", "far")


def times(folder, name, *lines):
    (folder / "jobs" / name / "job.times").write_text("".join(f"{line}\n" for line in lines))


@pytest.fixture(scope="module")
def gone():
    """A process of this machine that is no more."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


@pytest.fixture
def plan(tmp_path, gone):
    folder = tmp_path / "plan"
    for k, name in enumerate(NAMES):
        place = folder / "jobs" / name
        place.mkdir(parents=True)
        ring = [[11 + k, 48], [12 + k, 48], [12 + k, 49], [11 + k, 49], [11 + k, 48]]
        core = {"type": "Polygon", "coordinates": [ring]}
        (place / "area.geojson").write_text(json.dumps({"properties": {"core": core}}))
    jobs = [{"name": n, "km2": 100.0, "seconds": 1000.0, "gigabytes": 2.0} for n in NAMES]
    (folder / "jobs.json").write_text(json.dumps(jobs))
    prices = {"cpu": {"dollars_per_hour": 3.6}, "archive": {"dollars_per_gigabyte": 0.25}}
    about = {"area": "Valley", "year": 2024, "costs": {"dollars": 20.0}, "prices": prices}
    (folder / "plan.json").write_text(json.dumps(about))
    start = int(NOW) - 4000
    times(folder, "done", f"begin {start} {HERE} 9 ", f"end {start + 2000} {HERE} 9 0")
    (folder / "jobs/done/fields.parquet").touch()
    times(folder, "half", f"begin {start + 1000} far 9 ", f"end {start + 3000} far 9 3")
    (folder / "jobs/half/fields.parquet").touch()
    (folder / "jobs/half/fields.parquet.aside.json").touch()
    times(folder, "runs", f"begin {start + 3500} {HERE} {os.getpid()} ")
    times(folder, "far", f"begin {start + 3000} far 9 ")
    times(folder, "gone", f"begin {start + 3000} {HERE} {gone} ", "beg")
    for name, when in (("runs", NOW - 5), ("far", NOW - 960), ("gone", start + 3100)):
        log = folder / "jobs" / name / "job.log"
        log.write_text(
            "read\nat https://x.org/a.tif?sig=secret\npredict:  40%\x1b[31m\rpredict: 50%\n"
        )
        os.utime(log, (when, when))
    times(
        folder,
        "bad",
        f"begin {start} {HERE} 9 ",
        f"end {start + 100} {HERE} 9 2",
        f"begin {start + 200} {HERE} 9 ",
        f"end {start + 300} {HERE} 9 2",
    )
    (folder / "jobs/bad/job.log").write_text("Error: no scene\n")
    return folder


def test_each_job_has_its_state(plan):
    standing = plan_standing(plan, NOW)
    assert {job.name: job.state for job in standing.jobs} == {
        "done": "finished",
        "half": "incomplete",
        "runs": "running",
        "far": "running",
        "gone": "stopped",
        "bad": "failed",
        "next": "waiting",
    }
    jobs = {job.name: job for job in standing.jobs}
    assert jobs["bad"].last == ("Error: no scene",)
    assert (jobs["bad"].code, len(jobs["bad"].spans), jobs["bad"].seconds) == (2, 2, 200)
    assert jobs["gone"].seconds == 100, "until it last said something"
    assert (jobs["far"].host, jobs["far"].silent, jobs["runs"].silent) == ("far", 960, 5)
    assert jobs["runs"].last[-1] == "predict: 50%"
    assert "secret" not in str(jobs["runs"].last)
    assert "\x1b" not in str(jobs["runs"].last)


def test_figures_by_hand(plan):
    standing = plan_standing(plan, NOW)
    facts = standing.facts()
    assert (facts["km2_done"], facts["km2"], facts["share"]) == (
        200,
        700,
        pytest.approx(2 / 7, abs=1e-4),
    )
    # jobs ran from start to start + 3000 without a gap, and on from there to now (the far one)
    assert standing.busy == 4000
    assert facts["km2_per_hour"] == 180
    assert facts["pace"] == 2
    # 2000 s a job: two run (500 and 1000 s so far), three more have to be done, two at once
    assert facts["seconds_left"] == (1500 + 1000 + 3 * 2000) / 2
    hours = (2000 + 2000 + 500 + 1000 + 100 + 200) / 3600
    assert standing.dollars == pytest.approx(hours * 3.6 + (6 + 1) * 2 * 0.25)


def test_what_is_said_in_the_terminal(plan):
    text = shown_standing(plan_standing(plan, NOW))
    assert "Valley, 2024: 7 jobs, 1 finished, 1 incomplete, 2 running, 1 stopped, 1 failed" in text
    assert "180.0 km2 an hour, 2 at once" in text
    assert "1:10:50" in text
    assert "of 20.00 planned" in text
    assert "bad  0:01:40, exit code 2, try 2" in text
    assert "      Error: no scene" in text
    assert "far  0:16:40, silent for 0:16:00, far" in text
    once = run_here("watch", plan, "--once")
    assert once.returncode == 0
    assert "Valley, 2024" in once.stdout
    told = json.loads(run_here("watch", plan, "--json").stdout)
    assert (told["event"], told["failed"], told["jobs"]) == ("standing", 1, 7)


def test_a_plan_that_nobody_began_and_one_that_is_done(plan):
    for place in (plan / "jobs").iterdir():
        (place / "job.times").unlink(missing_ok=True)
    standing = plan_standing(plan, NOW)
    assert standing.counts["waiting"] == 5
    assert (standing.dollars, standing.seconds_left, standing.km2_per_hour) == (0, None, None)
    assert standing.facts()["finished_without_times"] == 2
    for name in NAMES:
        (plan / "jobs" / name / "fields.parquet").touch()
    assert plan_standing(plan, NOW).facts()["share"] == 1


def test_a_plan_of_before_has_its_prices_from_its_total(plan):
    (plan / "plan.json").write_text(json.dumps({"costs": {"dollars": 14.0}}))
    standing = plan_standing(plan, NOW)
    assert standing.hourly == pytest.approx(14.0 / 7000 * 3600)
    (plan / "plan.json").write_text("{")
    assert plan_standing(plan, NOW).dollars == 0


def test_what_lies_in_the_folder_harms_nobody(plan, tmp_path):
    (tmp_path / "secret").write_text("key")
    log = plan / "jobs" / "bad" / "job.log"
    log.unlink()
    log.symlink_to(tmp_path / "secret")
    (plan / "jobs" / "runs" / "job.log").unlink()
    os.mkfifo(plan / "jobs" / "runs" / "job.log")  # a reader would wait for ever
    times(
        plan,
        "far",
        "begin 1e400 x y",
        "end",
        "begin nan a 1",
        f"begin {NOW + 1e9} far 1",
        "x" * 9999,
    )
    (plan / "jobs" / "next" / "area.geojson").write_text("[" * 5000)
    jobs = {job.name: job for job in plan_standing(plan, NOW).jobs}
    assert jobs["bad"].last == jobs["runs"].last == ()
    assert jobs["far"].state == "waiting"
    assert set(plan_squares(plan, NAMES)) == set(NAMES) - {"next"}
    (plan / "jobs.json").write_text('[{"name": "../../secret"}]')
    with pytest.raises(UnreadableFile, match="lie elsewhere"):
        plan_standing(plan, NOW)
    (plan / "jobs.json").unlink()
    done = run_here("watch", plan, "--once")
    assert (done.returncode, "is not a list of jobs" in done.stderr) == (2, True)


def test_numbers_of_four_hundred_digits_are_none(plan):
    """Found by the fuzzer among the texts of verbs."""
    long = 10**400
    jobs = json.loads((plan / "jobs.json").read_text())
    jobs[0] |= {"km2": long, "seconds": long, "gigabytes": long}
    (plan / "jobs.json").write_text(json.dumps(jobs))
    about = {"costs": {"dollars": long}, "prices": {"cpu": {"dollars_per_hour": long}}}
    (plan / "plan.json").write_text(json.dumps(about))
    standing = plan_standing(plan, NOW)
    assert (standing.jobs[0].km2, standing.jobs[0].planned, standing.hourly) == (0, 0, 0)
    assert standing.facts()["dollars_planned"] is None


def test_the_page_is_told_of_failures_first(plan):
    watched = WatchedPlan(plan)
    state = watched.state()
    assert [job["name"] for job in state["told"]][:2] == ["bad", "gone"]
    assert state["states"]["done"] == "finished"
    assert "next" not in state["states"], "it waits"
    ring = watched.squares()["done"][0]
    assert sorted(set(map(tuple, ring))) == [(11, 48), (11, 49), (12, 48), (12, 49)]
    json.dumps(state, allow_nan=False)


def test_a_job_that_was_lost_and_begun_again_is_not_charged_for_the_time_between(plan):
    """A node is lost after minutes, the command comes again after a night: 1,000 s were planned."""
    night = int(NOW) - 40_000
    end = int(NOW) - 500
    times(
        plan,
        "next",
        f"begin {night} {HERE} 9 ",
        f"begin {end - 600} {HERE} 9 ",
        f"end {end} {HERE} 9 0",
    )
    found = {job.name: job for job in plan_standing(plan, NOW).jobs}["next"]
    assert [upto - begun for begun, upto in found.spans] == [1000, 600]
    times(
        plan,
        "next",
        f"begin {end - 900} {HERE} 9 ",
        f"begin {end - 600} {HERE} 9 ",
        f"end {end} {HERE} 9 0",
    )
    found = {job.name: job for job in plan_standing(plan, NOW).jobs}["next"]
    assert [upto - begun for begun, upto in found.spans] == [300, 600]
