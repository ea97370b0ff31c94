"""Runners: the same answers from all of them, and what happens when workers or blocks fail."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import warnings
from multiprocessing.connection import wait as connection_wait
from pathlib import Path
from types import SimpleNamespace

import pytest

from runner_toys import Greedy, SecondTime, double, moody
from selion.errors import BadInput, BandMismatch, MissingExtra, UnknownName, UnreadableFile
from selion.runners import RunnerOptions, Serial, cluster, in_order, open_runner, processes
from selion.runners.cluster import AHEAD, Cluster
from selion.runners.options import SCHEME
from selion.runners.processes import Processes, WorkerDied

TESTS = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def crew():
    with Processes(2, 1) as runner:
        yield runner


@pytest.fixture(params=["serial", "processes"])
def runner(request, crew):
    return Serial() if request.param == "serial" else crew


def test_all_blocks_come_back_once_and_in_order_if_wanted(runner):
    found = list(runner(double, range(20)))
    assert sorted(done.number for done in found) == list(range(20))
    assert all(
        done.result == 2 * done.block and done.error is None and done.tries == 1 for done in found
    )
    assert list(in_order(runner)(double, iter(range(7)))) == [0, 2, 4, 6, 8, 10, 12]
    assert list(runner(double, [])) == []


def test_a_poisoned_block_is_set_aside_after_three_tries_and_the_rest_is_done(runner):
    found = {done.number: done for done in runner(moody, ["a", "poison", "b", "c"])}
    assert sorted(found) == [0, 1, 2, 3]
    assert isinstance(found[1].error, UnreadableFile)
    assert found[1].tries == 3
    assert [found[k].result[0] for k in (0, 2, 3)] == ["a", "b", "c"]
    with pytest.raises(UnreadableFile, match="broken"):
        list(in_order(runner)(moody, ["a", "poison"]))


def test_what_fails_once_is_done_the_second_time(runner, tmp_path):
    found = list(runner(SecondTime(tmp_path), range(4)))
    assert sorted((done.block, done.result, done.tries) for done in found) == [
        (k, k, 2) for k in range(4)
    ]


def test_a_driver_sleeps_while_a_failed_block_waits_for_busy_workers(crew, monkeypatch):
    looks = []

    def wait(pipes, seconds):
        looks.append(seconds)
        return connection_wait(pipes, seconds)

    monkeypatch.setattr(processes, "wait", wait)
    found = list(crew(moody, ["poison", *["long"] * 3]))
    assert len(found) == 4
    assert len(looks) < 30, "not again and again, as fast as a core can"


def test_a_cluster_is_not_asked_without_pause_while_a_failed_block_waits_for_it():
    said: dict[object, str] = {}
    looks = []

    def begun(_payload, _threads, _folder, block):
        said[reference := object()] = block
        return reference

    def wait(flying, num_returns, timeout):
        looks.append((len(flying), timeout))
        if len(looks) == 2:
            time.sleep(0.3)  # both are at work, and the one that failed may be tried again
            return [], flying
        return flying[:num_returns], flying[num_returns:]

    def answer(reference):
        block = said[reference]
        return (block, OSError(5, "broken") if block == "poison" else None)

    toy = SimpleNamespace(
        cluster_resources=lambda: {"CPU": 1},
        remote=lambda **_: lambda _: SimpleNamespace(remote=begun),
        wait=wait,
        get=answer,
        cancel=lambda *_, **__: None,
    )
    found = list(Cluster(toy, None, 1, "cluster")(len, ["poison", "a", "b", "c"]))
    assert sorted(done.block for done in found) == ["a", "b", "c", "poison"]
    assert all(timeout > 0 for full, timeout in looks if full == AHEAD)


def test_no_more_blocks_than_workers_are_given_to_a_cluster_that_has_room_for_more():
    flights = []

    def wait(flying, num_returns, **_):
        flights.append(len(flying))
        return flying[:num_returns], flying[num_returns:]

    toy = SimpleNamespace(
        cluster_resources=lambda: {"CPU": 16.0},
        remote=lambda **_: lambda _: SimpleNamespace(remote=lambda *_: object()),
        wait=wait,
        get=lambda _: (1, None),
        cancel=lambda *_, **__: None,
    )
    asked = Cluster(toy, 3, 2, "cluster")
    assert asked.workers == 3
    assert len(list(asked(len, "abcdefgh"))) == 8
    assert max(flights) == 3, "whatever is given out begins at once"
    flights.clear()
    assert len(list(Cluster(toy, None, 2, "cluster")(len, "a" * 40))) == 40
    assert max(flights) == AHEAD * 8


def test_blocks_that_fit_on_no_node_of_a_cluster_are_told_of_once(monkeypatch):
    monkeypatch.setattr(cluster, "LOOK", 0.0)
    monkeypatch.setattr(cluster, "PATIENCE", 0.0)
    looks = []

    def wait(flying, **_):
        looks.append(len(looks))
        return (flying, []) if len(looks) > 3 else ([], flying)

    nodes = [
        {"Alive": True, "Resources": {"CPU": 2.0}},
        {"Alive": True, "Resources": {"memory": 1.0}},  # a head without cores
        {"Alive": False, "Resources": {"CPU": 16.0}},
    ]
    toy = SimpleNamespace(
        cluster_resources=lambda: {"CPU": 2.0},
        nodes=lambda: nodes,
        remote=lambda **_: lambda _: SimpleNamespace(remote=lambda *_: object()),
        wait=wait,
        get=lambda _: (1, None),
        cancel=lambda *_, **__: None,
    )
    with pytest.warns(UserWarning, match=r"takes 4 cores .* has 2: .*fewer --threads") as said:
        assert len(list(Cluster(toy, None, 4, "cluster")(len, ["a"]))) == 1
    assert len(said) == 1
    looks.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(list(Cluster(toy, None, 2, "cluster")(len, ["a"]))) == 1


def test_an_error_of_the_whole_run_ends_it_at_once(runner):
    with pytest.raises(BandMismatch, match="No block"):
        list(runner(moody, ["fatal", "a", "b"]))
    assert next(iter(runner(double, [4]))).result == 8, "the runner can be used again"


def test_a_worker_that_dies_is_replaced_and_its_block_done_again(crew, tmp_path):
    found = list(crew(SecondTime(tmp_path, how=signal.SIGKILL), range(3)))
    assert sorted((done.result, done.tries) for done in found) == [(0, 2), (1, 2), (2, 2)]


def test_a_block_that_kills_its_worker_three_times_is_set_aside(crew):
    found = {done.number: done for done in crew(moody, ["a", "die", "b", "c"])}
    assert isinstance(found[1].error, WorkerDied)
    assert "SIGKILL" in str(found[1].error)
    assert [found[k].result[0] for k in (0, 2, 3)] == ["a", "b", "c"]


def test_a_bug_ends_its_worker_but_not_the_run(crew):
    found = {done.number: done for done in crew(moody, ["bug", "a"], tries=1)}
    assert isinstance(found[0].error, WorkerDied)
    assert found[1].result[0] == "a"


def test_workers_killed_while_they_wait_are_replaced(crew):
    pids = {done.result[1] for done in crew(moody, list("abcdef"))}
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    again = {done.result[1] for done in crew(moody, list("abcdef"))}
    assert not pids & again


@pytest.mark.skipif(sys.platform != "linux", reason="its memory cannot be bounded so")
def test_a_block_for_which_memory_is_short_is_set_aside_and_named(crew):
    found = {done.number: done for done in crew(moody, ["a", "memory", "b"])}
    assert isinstance(found[1].error, MemoryError)
    assert found[1].tries == 3
    assert [found[k].result[0] for k in (0, 2)] == ["a", "b"]


@pytest.mark.parametrize("how", [0, signal.SIGKILL])
def test_blocks_for_which_memory_is_short_together_are_done_alone(crew, tmp_path, how):
    list(crew(moody, list("ab")))  # both are there
    found = list(crew(Greedy(tmp_path, how), range(3)))
    assert sorted((done.result, done.error) for done in found) == [(k, None) for k in range(3)]


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(processes, "LOOK", 0.1)
    monkeypatch.setattr(processes, "STOPPED_SECONDS", 0.5)


@pytest.mark.skipif(not hasattr(os, "waitid"), reason="the system does not tell")
@pytest.mark.usefixtures("impatient")
def test_the_block_of_a_stopped_worker_is_done_by_another(crew, tmp_path):
    began = time.monotonic()
    with pytest.warns(UserWarning, match="another one does the block"):
        found = list(crew(SecondTime(tmp_path, how=signal.SIGSTOP), range(2)))
    assert sorted((done.result, done.tries) for done in found) == [(0, 2), (1, 2)]
    assert time.monotonic() - began < 30
    with pytest.warns(UserWarning, match="SIGSTOP"):
        found = {done.number: done for done in crew(moody, ["stop", "a"], tries=1)}
    assert "was stopped (SIGSTOP)" in str(found[0].error)
    assert found[1].error is None


@pytest.mark.skipif(not hasattr(os, "waitid"), reason="the system does not tell")
@pytest.mark.usefixtures("impatient")
def test_workers_stopped_while_they_wait_are_replaced(crew):
    pids = {done.result[1] for done in crew(moody, list("abcdef"))}
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(0.2)
    again = {done.result[1] for done in crew(moody, list("abcdef"))}
    assert not pids & again


@pytest.mark.skipif(not hasattr(os, "waitid"), reason="the system does not tell")
def test_a_worker_that_goes_on_in_time_keeps_its_block(crew, monkeypatch):
    monkeypatch.setattr(processes, "LOOK", 0.05)
    run = crew(moody, ["nap", "a"])
    found = {done.number: done for done in run}
    assert found[0].tries == 1
    assert found[0].error is None


def test_workers_share_the_cores(crew):
    assert {done.result[2] for done in crew(moody, list("ab"))} <= {
        "1",
        os.environ.get("OMP_NUM_THREADS"),
    }
    cores = RunnerOptions("processes", 1).share
    assert RunnerOptions("processes", 2).share == max(cores // 2, 1)
    assert RunnerOptions("processes", 2, 3).share == 3
    assert RunnerOptions("processes").share == 1


def test_blocks_are_taken_only_as_workers_are_free(runner):
    taken = []

    def endless():
        k = 0
        while True:
            taken.append(k)
            yield k
            k += 1

    run = runner(double, endless())
    assert next(run).result in (0, 2)
    run.close()
    assert len(taken) <= 6


def test_workers_end_with_a_driver_that_is_killed(tmp_path):
    code = (
        f"import sys, time\nsys.path.insert(0, {str(TESTS)!r})\nfrom runner_toys import moody\n"
        "from selion.runners.processes import Processes\n"
        "if __name__ == '__main__':\n    run = Processes(1, 1)\n"
        "    print(next(run(moody, ['a'])).result[1], flush=True)\n    time.sleep(60)\n"
    )
    script = tmp_path / "driver.py"
    script.write_text(code)
    driver = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    worker = int(driver.stdout.readline())
    os.kill(worker, 0)
    driver.kill()
    driver.wait()
    driver.stdout.close()
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and _lives(worker):
        time.sleep(0.05)
    assert not _lives(worker)


def _lives(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_wrong_names_and_numbers_are_one_sentence():
    with pytest.raises(UnknownName, match="did you mean 'processes'"):
        RunnerOptions("process")
    with pytest.raises(UnknownName):
        RunnerOptions(SCHEME)
    with pytest.raises(BadInput, match="1 or more"):
        RunnerOptions("processes", 0)
    with pytest.raises(BadInput, match="add --runner processes"):
        RunnerOptions("serial", 2)
    assert RunnerOptions("ray://10.0.0.1:10001").name == "ray://10.0.0.1:10001"


def test_ray_that_is_not_installed_is_one_sentence(monkeypatch):
    monkeypatch.setattr("selion.extras.available", lambda module: False)
    with (
        pytest.raises(MissingExtra, match=r"selion\[cluster\]"),
        open_runner(RunnerOptions("ray", 2)),
    ):
        pass
