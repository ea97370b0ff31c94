"""A map by two Ray nodes in two network namespaces whose link is cut in the middle.  Run by
test_runners_cut.py in namespaces of its own, as their root.

Usage: python two_nets.py FOLDER.  Prints one JSON object: what there was before the cut, what came
of it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

HERE, THERE, PORT = "10.77.0.1", "10.77.0.2", "6379"
RAY = [
    sys.executable,
    "-m",
    "ray.scripts.scripts",
    "start",
    "--num-cpus",
    "1",
    "--object-store-memory",
    str(80 * 2**20),
    "--disable-usage-stats",
]
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_failure_threshold": "3",
}


def ip(words):
    subprocess.run(["ip", *words.split()], check=True, stdout=subprocess.DEVNULL)


def lay_the_link():
    """Make a second namespace, and a pair of interfaces from here to there."""
    subprocess.run(["mount", "-t", "tmpfs", "none", "/run"], check=True)
    ip("netns add far")
    ip("link set lo up")
    ip("link add here type veth peer name there netns far")
    ip(f"addr add {HERE}/24 dev here")
    ip("link set here up")
    ip(f"-n far addr add {THERE}/24 dev there")
    for what in ("lo", "there"):
        ip(f"-n far link set {what} up")
    ip(f"route add default via {THERE}")  # by their way out programs find their own address
    ip(f"-n far route add default via {HERE}")


def start_nodes(folder):
    head = [
        *RAY,
        "--head",
        "--port",
        PORT,
        "--node-ip-address",
        HERE,
        "--include-dashboard=false",
        "--temp-dir",
        "/run/ray",
    ]  # in a folder with a short name: sockets lie there
    node = [
        "ip",
        "netns",
        "exec",
        "far",
        *RAY,
        "--address",
        f"{HERE}:{PORT}",
        "--node-ip-address",
        THERE,
    ]
    for command in (head, node):
        with (folder / "ray.log").open("a") as log:
            subprocess.run(command, check=True, stdout=log, stderr=log, timeout=120)


def main(folder):
    from faulty_store import FaultyStore
    from predict_toys import Toy
    from selion import store
    from selion.prediction import BlockJournal, PredictOptions, StripWork, plan, run_blocks
    from selion.runners import RunnerOptions, Serial, cluster, open_runner
    from strip_toys import Signing, image, network

    lay_the_link()
    # half of it, to be quicker
    cluster.SETTINGS |= {
        "RAY_grpc_client_keepalive_time_ms": "10000",
        "RAY_grpc_client_keepalive_timeout_ms": "5000",
    }
    os.environ.update(SETTINGS)
    decided = plan(image(), Toy(), PredictOptions(block=100))
    alone = BlockJournal(folder / "alone", decided.key)
    run_blocks(StripWork(image(), decided, alone, Toy, Toy()), Serial())
    with FaultyStore(host=HERE) as far:
        os.environ.update(far.environment)
        start_nodes(folder)
        signs = folder / "signs"
        signs.mkdir()
        place, seen = store.ObjectFolder("s3://bucket/journal"), {}

        def cut():
            deadline = time.monotonic() + 600
            while time.monotonic() < deadline and not {path.name for path in signs.iterdir()} - {
                network()
            }:
                time.sleep(0.02)  # the far node has begun its first block, and never puts it there
            ip("link set here down")
            seen["before"] = done(place)

        with open_runner(RunnerOptions(f"ray://{HERE}:{PORT}", threads=1)) as run:
            seen["workers"] = run.workers
            scissors = threading.Thread(target=cut)
            scissors.start()
            work = StripWork(
                image(),
                decided,
                BlockJournal("s3://bucket/journal", decided.key),
                partial(Signing, pause=0.2, folder=str(signs)),
                Toy(),
            )
            seen["aside"] = len(run_blocks(work, run))
            scissors.join()
        names = sorted(path.name for path in (folder / "alone").glob("*.block"))
        seen["same"] = all(
            place.get(name) == (folder / "alone" / name).read_bytes() for name in names
        )
        seen["blocks"] = done(place)
    sys.stdout.write(json.dumps(seen) + "\n")


def done(place):
    return sum(name.endswith(".block") for name in place.names())


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    main(Path(sys.argv[1]))
