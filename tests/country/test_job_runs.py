"""Jobs of a plan on a runner: limits that hold, logs of their own, one sentence where one is over.

The jobs are small programs in the place of ``selion map``: what they take is known.
"""

from __future__ import annotations

import contextlib
import json
import pickle
import sys
import time
from pathlib import Path

import pytest

from command_line import run_here
from selion import country
from selion.country import JobLimits, run_plan
from selion.country.job_runs import JobWork
from selion.errors import BadInput, Incomplete, UnreadableFile
from selion.runners import RunnerOptions

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits are watched by /proc")

DOES = {
    "good": "open(table, 'w').write('fields'); print('mapped')",
    "hungry": "held = bytearray(300_000_000); held[::4096] = b'x' * len(held[::4096]); sleep(60)",
    "wide": "open(tempfile.mkstemp()[1], 'wb').write(b'x' * 60_000_000); sleep(60)",
    "broken": "print('no scene'); sys.exit(2)",
    "forks": "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(61)']); sleep(60)",
    "threads": "open(table, 'w').write(' '.join(sys.argv) + os.environ['OMP_NUM_THREADS'])",
}


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """Make a plan of named jobs; the command ``selion`` is a program that does what DOES says."""
    package = tmp_path / "path" / "selion"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    text = "import os, subprocess, sys, tempfile\nfrom time import sleep\n"
    text += "name = sys.argv[2].split('/')[1]\n"
    text += "table = f'jobs/{name}/fields.parquet'\n"
    for name, what in DOES.items():
        text += f"if name == {name!r}:\n    {what}\n"
    (package / "__main__.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))

    def make(*names):
        folder = tmp_path / "plan"
        for name in names:
            (folder / "jobs" / name).mkdir(parents=True)
        jobs = [{"name": n, "command": ["selion", "map", f"jobs/{n}/area.geojson"]} for n in names]
        (folder / "jobs.json").write_text(json.dumps(jobs))
        return folder

    return make


def test_finished_jobs_are_left_alone_and_each_has_its_log(plan):
    folder = plan("good")
    assert run_plan(folder).done == ("good",)
    place = folder / "jobs" / "good"
    assert (place / "job.log").read_text() == "mapped\n"
    assert sorted(path.name for path in place.iterdir()) == [
        "fields.parquet", "job.log", "job.times",
    ]  # fmt: skip
    standing = country.plan_standing(folder)
    assert standing.counts["finished"] == 1
    assert standing.jobs[0].code == 0
    again = run_plan(folder)
    assert (again.done, again.there) == ((), ("good",))


@pytest.mark.parametrize(
    ("job", "limits", "said"),
    [
        ("hungry", JobLimits(memory=0.2, look=0.05), "GB of memory, and its limit is 0.2 GB"),
        ("wide", JobLimits(scratch=0.05, look=0.05), "its limit is 0.05 GB"),
        # the good one has to begin and end in these seconds, however busy the machine
        ("forks", JobLimits(hours=4 / 3600, look=0.05), "hours, and its limit is 0.0011"),
    ],
)
def test_a_job_over_its_limit_is_ended_and_says_so_once(plan, job, limits, said):
    folder, began = plan(job, "good"), time.monotonic()
    with pytest.raises(Incomplete, match=r"1 job of 2 .*did not finish") as told:
        run_plan(folder, limits=limits)
    assert time.monotonic() - began < 55  # they would sleep for a minute
    assert said in str(told.value)
    place = folder / "jobs" / job
    assert (place / "job.log").read_text().count(said) == 1
    assert not (place / "scratch").exists()
    standing = {one.name: one for one in country.plan_standing(folder).jobs}
    assert (standing[job].state, standing[job].code) == ("failed", 137)
    assert any(said in line for line in standing[job].last)
    assert standing["good"].state == "finished"
    assert not alive("time.sleep(61)")  # what it began ended with it


def alive(word):
    """Processes whose command line holds a word."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found += [path] if word.encode() in path.read_bytes() else []
    return found


def test_a_job_that_fails_is_named_and_tried_again_by_the_next_call(plan):
    folder = plan("broken")
    for tries in (1, 2):
        with pytest.raises(Incomplete, match=r"broken.*ended with code 2, see .*job\.log"):
            run_plan(folder)
        assert (folder / "jobs" / "broken" / "job.log").read_text() == "no scene\n" * tries
        assert len(country.plan_standing(folder).jobs[0].spans) == tries


def test_cores_are_those_of_the_runner(plan):
    folder = plan("threads")
    run_plan(folder, RunnerOptions(threads=3))
    said = (folder / "jobs" / "threads" / "fields.parquet").read_text()
    assert said.endswith("--threads 33")


def test_a_job_is_done_by_the_python_of_its_worker(plan, monkeypatch, tmp_path):
    """A driver outside of the cluster has another one, at a place that no node knows."""
    folder, node = plan("good"), tmp_path / "python"
    commands = {"good": ["selion", "map", "jobs/good/area.geojson"]}
    work = pickle.dumps(JobWork(folder, commands, JobLimits()))
    node.write_text(f'#!/bin/sh\ntouch "$0.used"\nexec {sys.executable} "$@"\n')
    node.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(node))
    assert pickle.loads(work)("good") == ""
    assert node.with_name("python.used").exists()


def test_limits_that_are_none_and_folders_that_hold_no_plan_are_refused(tmp_path):
    for bad in ({"memory": 0.0}, {"scratch": -1.0}, {"hours": float("inf")}):
        with pytest.raises(BadInput, match="wanted is a number above 0"):
            JobLimits(**bad)
    with pytest.raises(UnreadableFile, match="make the plan again"):
        run_plan(tmp_path)


def test_a_worker_that_cannot_see_memory_refuses_its_jobs(plan, monkeypatch, tmp_path):
    """It held no limit, in silence; who begins the run may be another system than the workers."""
    folder = plan("good")
    monkeypatch.setattr("selion.country.job_runs.PROCESSES", tmp_path / "no proc")
    with pytest.raises(Incomplete, match=r"memory cannot be seen on .* \(no /proc\)"):
        run_plan(folder, limits=JobLimits(memory=1.0))
    assert not (folder / "jobs" / "good" / "job.times").exists()
    assert run_plan(folder, limits=JobLimits(scratch=1.0)).done == ("good",)


def test_the_command_does_the_jobs_and_ends_in_a_sentence_where_it_cannot(plan, monkeypatch):
    folder = plan("good", "broken", "wide")
    limits = ("--scratch", 0.05, "--hours", 1)
    done = run_here("run", folder, "-q", *limits)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("Incomplete: 2 jobs of 3 in ")
    assert done.stderr.count("\n") == 1
    assert "its limit is 0.05 GB" in (folder / "jobs" / "wide" / "job.log").read_text()
    for name in ("broken", "wide"):
        (folder / "jobs" / name / "fields.parquet").touch()
    again = run_here("run", folder, "--json")
    assert json.loads(again.stdout.splitlines()[-1]) == {
        "event": "done", "done": [], "there": ["good", "broken", "wide"], "elsewhere": [],
    }  # fmt: skip
    assert run_here("run", folder).stdout == "0 jobs done, 3 were finished before\n"
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    for address, told in ((None, "which is not set here"), ("http://a:8265", "is http://a:8265")):
        more = {} if address is None else {"RAY_ADDRESS": address}
        lost = run_here("run", folder, "--runner", "ray://auto", **more)
        assert (lost.returncode, lost.stderr.count("\n")) == (2, 1)
        assert lost.stderr.startswith("Error: --runner ray://auto takes the cluster's HOST:PORT")
        assert told in lost.stderr
    nobody = run_here("run", folder, "--runner", "ray://auto", RAY_ADDRESS="127.0.0.1:1")
    assert (nobody.returncode, nobody.stderr.count("\n")) == (2, 1)
    assert "There is no Ray cluster at 127.0.0.1:1" in nobody.stderr
