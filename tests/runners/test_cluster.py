"""Ray: one that is started here, a cluster of two nodes of which one is killed, and a cluster's
address.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from predict_toys import Toy
from selion import store
from selion.errors import BadInput, MissingExtra
from selion.grid import whole
from selion.pipeline.probabilities import RunReport, score_blocks, write_scores
from selion.prediction import (
    BlockJournal,
    JournalSource,
    PredictOptions,
    StripWork,
    plan,
    run_blocks,
)
from selion.runners import RunnerOptions, Serial, open_runner
from selion.runners.cluster import Cluster
from strip_toys import Slow, Waiting, dying, image

ray = pytest.importorskip("ray", reason="Ray is not installed (extra 'cluster')")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(
        "ignore::DeprecationWarning",
        "ignore::FutureWarning",
        "ignore::ResourceWarning",
        "ignore::pytest.PytestUnraisableExceptionWarning",
    ),
]

TESTS = Path(__file__).resolve().parents[1]
NOTICED = 1.5
"""Seconds after which a node is given up, by the settings below."""
NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}


@pytest.fixture(scope="module")
def far():
    """An object store that is there before the nodes are: they have its keys from their
    environment.
    """
    pytest.importorskip("moto.server", reason="moto[server] stands in for an object store")
    from faulty_store import FaultyStore

    with FaultyStore() as there, pytest.MonkeyPatch.context() as patch:
        for name, value in there.environment.items():
            patch.setenv(name, value)
        yield there


@pytest.fixture(scope="module", autouse=True)
def _settings(far):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_health_check_period_ms", "500")
        patch.setenv("RAY_health_check_failure_threshold", "3")
        patch.setenv(
            "PYTHONPATH", os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")]))
        )
        yield


@pytest.fixture(scope="module")
def cluster(_settings):
    """Two nodes; the first one takes Ray Client in, too."""
    from ray.cluster_utils import Cluster as Nodes

    with socket.create_server(("127.0.0.1", 0)) as line:
        door = line.getsockname()[1]
    both = Nodes()
    try:
        _add(both, ray_client_server_port=door)
        both.second, both.door = _add(both), door
        both.wait_for_nodes()
        yield both
    finally:
        both.shutdown()


def _add(cluster, **more):
    try:
        return cluster.add_node(**NODE, **more)
    except Exception as error:
        if "timed out during startup" not in str(error):
            raise
        pytest.skip("Ray did not start within its own 30 seconds: the machine is too busy")


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    assert run_blocks(work(folder), Serial()) == ()
    return blocks(folder)


def work(folder, pause=0.0):
    decided = plan(image(), Toy(), PredictOptions(block=100))
    return StripWork(
        image(),
        decided,
        BlockJournal(folder, decided.key),
        partial(Slow, pause=pause) if pause else Toy,
        Toy(),
    )


def wait_for_blocks(folder):
    """Wait until a block is done; ten minutes mean that none ever will be."""
    deadline = time.monotonic() + 600
    while not list(folder.glob("*.block")) and time.monotonic() < deadline:
        time.sleep(0.02)


def blocks(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.block")}


def test_two_nodes_of_which_one_is_killed_come_to_the_same_bytes(cluster, truth, tmp_path, capfd):
    capfd.readouterr()
    with open_runner(RunnerOptions(f"ray://{cluster.address}", threads=1)) as run:
        assert run.workers == 2
        assert run.place == "cluster"
        folder, go = tmp_path / "cluster", tmp_path / "go"
        job = work(folder)
        job.load = partial(Waiting, folder=str(folder), go=str(go))
        seen = []

        def kill():
            wait_for_blocks(folder)
            cluster.remove_node(cluster.second, allow_graceful=False)
            seen.append(len(blocks(folder)))
            go.touch()

        killer = threading.Thread(target=kill)
        killer.start()
        assert run_blocks(job, run) == ()
        killer.join()
        assert 0 < seen[0] < 9, "the node was killed in the middle"
        assert blocks(tmp_path / "cluster") == truth
        time.sleep(2 * NOTICED)
    assert capfd.readouterr().out == "", "of a lost node Ray would print a page"


DRIVER = """
import sys
import time
from pathlib import Path
from selion.errors import BadInput
from selion.prediction import run_blocks
from selion.runners import RunnerOptions, open_runner
from selion.runners.cluster import Cluster
from test_cluster import work
check, (checked, killed) = Cluster._check_head, map(Path, sys.argv[3:] or ("", ""))
def check_and_wait(self):
    check(self)
    checked.touch()
    while not killed.exists():
        time.sleep(0.05)
if sys.argv[3:]:
    Cluster._check_head = check_and_wait
try:
    with open_runner(RunnerOptions(f"ray://{sys.argv[1]}", threads=1)) as run:
        run_blocks(work(Path(sys.argv[2]), 1.0), run)
except BadInput as error:
    print(error)
    sys.exit(2)
"""


@pytest.mark.parametrize("just_asked", [False, True])
def test_a_head_that_is_killed_is_one_sentence_and_the_same_run_goes_on(
    just_asked, truth, tmp_path
):
    """Ray itself ends the process of a driver after a minute, with a page of its own.

    Also where the head had just answered that it is there, and is asked how large the cluster is.
    """
    from ray.cluster_utils import Cluster as Nodes

    both = Nodes()
    checked, killed = tmp_path / "checked", tmp_path / "killed"
    try:
        head = _add(both)
        _add(both)
        both.wait_for_nodes()
        path = os.pathsep.join((str(Path(__file__).parent), os.environ["PYTHONPATH"]))
        driver = subprocess.Popen(
            [sys.executable, "-c", DRIVER, both.address, str(tmp_path / "blocks")]
            + [str(checked), str(killed)] * just_asked,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": path},
        )
        wait_for_blocks(tmp_path / "blocks")
        while just_asked and not checked.exists() and driver.poll() is None:
            time.sleep(0.02)
        for one in (one for several in head.all_processes.values() for one in several):
            with contextlib.suppress(OSError):
                os.kill(one.process.pid, signal.SIGKILL)
        killed.touch()
        said, _ = driver.communicate(timeout=600)
    finally:
        both.shutdown()
    assert driver.returncode == 2, said
    assert "its head" in said
    assert "run the same command again" in said
    assert 0 < len(blocks(tmp_path / "blocks")) < len(truth)
    assert run_blocks(work(tmp_path / "blocks"), Serial()) == ()
    assert blocks(tmp_path / "blocks") == truth


def test_ray_client_comes_to_the_same_bytes_though_a_worker_dies_and_paths_are_relative(
    cluster, truth, tmp_path, monkeypatch
):
    monkeypatch.setattr("selion.runners.cluster.CLIENT", cluster.door)
    monkeypatch.chdir(tmp_path)
    mark = tmp_path / "die"
    mark.touch()
    with open_runner(RunnerOptions(f"ray://127.0.0.1:{cluster.door}", threads=1)) as run:
        assert run.ray.util.client.ray.is_connected()
        job = work("blocks")
        job.load = partial(dying, str(mark))
        assert run_blocks(job, run) == ()
    assert not mark.exists(), "a worker was killed"
    assert blocks(tmp_path / "blocks") == truth


@pytest.mark.parametrize("failures", [1, 3])
def test_a_client_server_that_dies_as_it_starts_has_two_more_chances_and_leaves_nothing(
    cluster, monkeypatch, failures
):
    from ray.util.client.worker import Worker

    real, tried = Worker._server_init, []

    def dies(self, *args):
        tried.append(1)
        if len(tried) <= failures:
            raise ConnectionAbortedError("Initialization failure from server:\nZombieProcess")
        return real(self, *args)

    monkeypatch.setattr(Worker, "_server_init", dies)
    monkeypatch.setattr("selion.runners.cluster.CLIENT", cluster.door)
    door = RunnerOptions(f"ray://127.0.0.1:{cluster.door}", threads=1)
    if failures == 3:
        with pytest.raises(BadInput, match="Initialization failure"), open_runner(door):
            pass
        door = RunnerOptions(f"ray://{cluster.address}", threads=1)  # not by the client any more
    with open_runner(door) as run:
        assert [done.result for done in run(len, ["ab"])] == [2]
    # the one that is not planned: where two clusters of one machine take the same port
    assert len(tried) in {1: (2, 3), 3: (3,)}[failures]


def test_image_journal_and_output_on_an_object_store_need_no_shared_disk(cluster, far, tmp_path):
    here = image()
    with store.create_cog(
        tmp_path / "image.tif", here.grid, here.bands, "uint16", block=128
    ) as sink:
        sink.write(whole(here.grid), here.read(whole(here.grid)).values)
    address = store.ObjectFolder("s3://bucket").upload(
        tmp_path / "image.tif", "image.tif", force=True
    )

    def job(place, journal, load=Toy):
        source = store.open_raster(place)
        decided = plan(source, Toy(), PredictOptions(block=100))
        return StripWork(source, decided, BlockJournal(journal, decided.key), load, Toy())

    alone, mark = job(tmp_path / "image.tif", tmp_path / "alone"), tmp_path / "die"
    assert run_blocks(alone, Serial()) == ()
    mark.touch()
    for method, kind in (("PUT", "503"), ("GET", "cut")):
        far.fault(method, ".block", kind, 2)
    with open_runner(RunnerOptions(f"ray://{cluster.address}", threads=1)) as run:
        there = job(address, "s3://bucket/run/journal", partial(dying, str(mark)))
        report = RunReport()
        scores = score_blocks(there, run, report)
        write_scores(scores, tmp_path / "far.tif", {}, report, force=False, on_step=lambda *_: None)
    assert not mark.exists(), "a worker was killed"
    assert report.failed == []
    assert far.asked["503"] == 2
    assert {
        name: store.ObjectFolder("s3://bucket/run/journal").get(name)
        for name in blocks(tmp_path / "alone")
    } == blocks(tmp_path / "alone")
    write_scores(
        JournalSource(alone.journal, alone.plan),
        tmp_path / "near.tif",
        {},
        report,
        force=False,
        on_step=lambda *_: None,
    )
    store.ObjectFolder("s3://bucket/maps").upload(tmp_path / "far.tif", "far.tif", force=True)
    assert (
        store.ObjectFolder("s3://bucket/maps").get("far.tif")
        == (tmp_path / "near.tif").read_bytes()
    )


def test_a_ray_that_does_not_start_is_one_sentence(monkeypatch):
    tried = []

    def init(**_):
        tried.append(1)
        raise Exception("The current node timed out during startup.")  # noqa: TRY002 - as Ray does

    monkeypatch.setattr(ray, "init", init)
    with (
        pytest.raises(BadInput, match="use --runner processes"),
        open_runner(RunnerOptions("ray", 2)),
    ):
        pass
    assert len(tried) == 2


def test_ray_client_without_grpc_names_the_line_that_brings_it(monkeypatch):
    def init(**_):
        raise ImportError("Ray Client requires pip package `ray[client]`")

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr("selion.runners.cluster._knock", lambda *_: None)
    with (
        pytest.raises(MissingExtra, match=r"pip install 'ray\[client\]'"),
        open_runner(RunnerOptions("ray://127.0.0.1:10001")),
    ):
        pass


def test_a_connection_that_is_lost_ends_the_run_in_one_sentence():
    def gone(*_, **__):
        raise ConnectionError("Client is shutting down.")

    away = SimpleNamespace(
        cluster_resources=lambda: {"CPU": 1},
        remote=lambda **_: lambda function: SimpleNamespace(remote=lambda *_: object()),
        wait=gone,
        cancel=gone,
    )
    with pytest.raises(BadInput, match="finished blocks are kept"):
        list(Cluster(away, None, 1, "cluster")(len, ["a"]))


def test_a_door_behind_which_is_no_ray_is_one_sentence_at_once():
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        with (
            pytest.raises(BadInput, match="what listens there is not Ray"),
            open_runner(RunnerOptions(f"ray://127.0.0.1:{server.server_port}")),
        ):
            pass


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.0.0.1", "nowhere.invalid:6379"])
def test_an_address_without_a_cluster_is_one_sentence(address):
    with (
        pytest.raises(BadInput, match="There is no Ray cluster at"),
        open_runner(RunnerOptions(f"ray://{address}")),
    ):
        pass
