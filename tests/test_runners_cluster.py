"""Ray: one that is started here, a cluster of two nodes of which one is killed, and a cluster's address."""

from __future__ import annotations

import os
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from predict_toys import Toy
from strip_toys import Slow, image
from tilth.errors import BadInput
from tilth.predict import Journal, PredictOptions, StripWork, plan, run_blocks
from tilth.runners import RunnerOptions, Serial, open_runner

ray = pytest.importorskip("ray", reason="Ray is not installed (extra 'cluster')")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(
        "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
    ),
]

TESTS = Path(__file__).resolve().parent
NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}


@pytest.fixture(autouse=True)
def _settings(monkeypatch):
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_health_check_period_ms", "500")
    monkeypatch.setenv("RAY_health_check_failure_threshold", "3")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")])))


def work(folder, pause=0.0):
    decided = plan(image(), Toy(), PredictOptions(block=100))
    return StripWork(image(), decided, Journal(folder, decided.key), partial(Slow, pause=pause) if pause else Toy, Toy())


def blocks(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.block")}


def test_two_nodes_of_which_one_is_killed_come_to_the_same_bytes(tmp_path):
    from ray.cluster_utils import Cluster

    truth = work(tmp_path / "alone")
    assert run_blocks(truth, Serial()) == ()
    cluster = Cluster()
    try:
        second = _two_nodes(cluster)
        cluster.wait_for_nodes()
        with open_runner(RunnerOptions(f"ray://{cluster.address}", threads=1)) as run:
            assert run.workers == 2
            assert run.place == "cluster"
            job = work(tmp_path / "cluster", pause=0.1)
            seen = []

            def kill():
                deadline = time.monotonic() + 60
                while not list((tmp_path / "cluster").glob("*.block")) and time.monotonic() < deadline:
                    time.sleep(0.02)
                cluster.remove_node(second, allow_graceful=False)
                seen.append(len(list((tmp_path / "cluster").glob("*.block"))))

            killer = threading.Thread(target=kill)
            killer.start()
            assert run_blocks(job, run) == ()
            killer.join()
            assert 0 < seen[0] < 9, "the node was killed in the middle"
            assert blocks(tmp_path / "cluster") == blocks(tmp_path / "alone")
    finally:
        cluster.shutdown()


def _two_nodes(cluster):
    try:
        cluster.add_node(**NODE)
        return cluster.add_node(**NODE)
    except Exception as error:
        if "timed out during startup" not in str(error):
            raise
        pytest.skip("Ray did not start within its own 30 seconds: the machine is too busy")


def test_a_ray_that_does_not_start_is_one_sentence(monkeypatch):
    tried = []

    def init(**_):
        tried.append(1)
        raise Exception("The current node timed out during startup.")  # noqa: TRY002 - as Ray does

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(BadInput, match="use --runner processes"), open_runner(RunnerOptions("ray", 2)):
        pass
    assert len(tried) == 2


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.0.0.1", "nowhere.invalid:6379"])
def test_an_address_without_a_cluster_is_one_sentence(address):
    with pytest.raises(BadInput, match="There is no Ray cluster at"), open_runner(RunnerOptions(f"ray://{address}")):
        pass
