"""The files of the cluster kit, run: three machines that are network namespaces of this one, joined
by a bridge.  One of the two workers dies in the middle of a job.

    python bench/cluster_kit.py rayjob [--keep FOLDER]     # cluster/rayjob.yaml
    python bench/cluster_kit.py cluster [--keep FOLDER]    # cluster/ray-cluster.yaml

A plan of a simulated country is done by the file's own commands, and its jobs alone: the tables
must have the same bytes.  Of the RayJob the head and the workers start with its rayStartParams, and
its entrypoint is handed to the head as KubeRay's submitter does ("ray job submit"); of the cluster
file "ray up" starts head and workers, and "ray exec" does the jobs as the file's head says.  What
is not run: images (there is no container here: the section "docker" is taken out) and Kubernetes
itself; "ssh" is a stand-in that enters the namespace of an address.  "/data/plan" is the plan's
folder.  Wanted: Linux, namespaces of users, util-linux, iproute2, 'ray[default]'.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib.util
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
HEAD, WORKERS = "10.77.0.1", {"10.77.0.2": "first", "10.77.0.3": "second"}
INSIDE = "SELION_KIT_INSIDE"
ALONE = "unshare --user --map-root-user --net --mount --pid --fork --mount-proc --kill-child"
TRIED = "mount -t tmpfs none /run && ip netns add first && ip link add middle type bridge"
SMALL = ["--object-store-memory", str(80 * 2**20)]
"""Of each node: a machine for many has little of it."""
SSH = """#!{python}
import os, sys
words, options, word = sys.argv[1:], [], ""
while words and words[0].startswith("-"):
    word = words.pop(0)
    if word in ("-i", "-o", "-p", "-L", "-R", "-l", "-S", "-F"):
        words.pop(0)
place = words.pop(0).rpartition("@")[2]
pid = {machines}.get(place)
enter = [] if pid is None else ["nsenter", "-t", pid, "--net", "--mount", "--pid"]
words = [*enter, "sh", "-c", " ".join(words) or "true"]
os.execvp(words[0], words)
"""
"""A stand-in for ssh: no shell of another machine, but the namespaces that have its address."""
RSYNC = """#!{python}
import pathlib, shutil, sys
source, target = (pathlib.Path(word.rpartition(":")[2]).expanduser() for word in sys.argv[-2:])
target.parent.mkdir(parents=True, exist_ok=True)
if source.is_file():
    shutil.copy(source, target / source.name if target.is_dir() else target)
"""
"""A stand-in for rsync: all machines have this disk."""


def why_not() -> str:
    """Say why the files cannot be run here, if so."""
    for tool in ("unshare", "nsenter", "ip", "mount"):
        if shutil.which(tool) is None:
            return f"network namespaces need {tool} (util-linux, iproute2), which is not installed"
    for module in ("ray", "aiohttp", "aiohttp_cors", "opencensus"):
        if importlib.util.find_spec(module) is None:
            return "what takes jobs in is not installed: pip install 'ray[default]'"
    words = [*ALONE.split(), "sh", "-c", TRIED]
    tried = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    said = (tried.stderr.strip() or "no reason given").splitlines()[0]
    return "" if tried.returncode == 0 else f"this machine allows no network namespaces ({said})"


def main() -> None:
    """Check what is needed, go into namespaces of our own, and run a file there."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("file", choices=("rayjob", "cluster"))
    parser.add_argument("--keep", type=Path, help="Keep plans and logs in this folder.")
    parser.add_argument("--no-loss", action="store_true", help="No worker dies.")
    given = parser.parse_args()
    if os.environ.get(INSIDE):
        run(given.file, given.keep, lose=not given.no_loss)
        return
    reason = why_not()
    if reason:
        print(f"skipped: {reason}")
        return
    with tempfile.TemporaryDirectory(prefix="kit-") as passing:
        keep = given.keep or Path(passing)
        keep.mkdir(parents=True, exist_ok=True)
        words = [sys.executable, __file__, given.file, "--keep", str(keep.resolve())]
        words += ["--no-loss"] if given.no_loss else []
        ended = subprocess.run(
            [*ALONE.split(), *words], env={**os.environ, INSIDE: "1"}, check=False
        )
    sys.exit(ended.returncode)


def run(file: str, folder: Path, *, lose: bool) -> None:
    """Lay the network, do a plan by the file's commands, and its jobs alone."""
    machines = lay_the_network()
    settle(folder, machines)
    plan = write_plan(folder, "plan")
    since = time.monotonic()
    job = (start_rayjob if file == "rayjob" else start_cluster)(folder, plan, machines)
    seen = lose_one(plan, machines[next(reversed(WORKERS))], job) if lose else {}
    said, _ = job.communicate(timeout=1200)
    (folder / "said.txt").write_text(said)
    seen |= {"code": job.returncode, "seconds": round(time.monotonic() - since)}
    stop(folder, machines)
    alone = write_plan(folder, "alone")
    subprocess.run(["selion", "run", str(alone), "--threads", "1", "-q"], check=True)
    ours, theirs = sums(plan), sums(alone)
    tries = [place.read_text().count("begin") for place in sorted(plan.glob("jobs/*/job.times"))]
    seen |= {"jobs": len(theirs), "tries": tries, "same": ours == theirs, "last": said[-300:]}
    print(json.dumps(seen))
    if job.returncode or not seen["same"] or (lose and max(tries) < 2):
        sys.exit(1)


def ip(words: str) -> None:
    """Call ip."""
    subprocess.run(["ip", *words.split()], check=True)


def lay_the_network() -> dict[str, int]:
    """Make a machine for each worker and a bridge of all; this process is on the head.

    Return the address of each worker with the number of its first process here.
    """
    for place in ("/run", "/tmp/ray"):
        Path(place).mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "none", place], check=True)
    ip("link set lo up")
    ip("link add middle type bridge")
    ip(f"addr add {HEAD}/24 dev middle")
    ip("link set middle up")
    # programs find their own address by their way out
    ip(f"route add default via {HEAD}")
    machines = {}
    for address, name in WORKERS.items():
        ip(f"netns add {name}")
        ip(f"link add to-{name} type veth peer name there netns {name}")
        ip(f"link set to-{name} master middle")
        ip(f"link set to-{name} up")
        ip(f"-n {name} addr add {address}/24 dev there")
        for what in ("lo", "there"):
            ip(f"-n {name} link set {what} up")
        ip(f"-n {name} route add default via {HEAD}")
        machines[address] = begin_machine(name)
    return machines


def begin_machine(name: str) -> int:
    """Begin a machine, which sees no process and no Ray but its own."""
    words = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c"]
    first = "mount -t tmpfs none /tmp/ray && exec sleep infinity"
    outer = subprocess.Popen(["ip", "netns", "exec", name, *words, first])
    children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
    while not children.read_text().split():
        time.sleep(0.05)
    pid = int(children.read_text().split()[0])
    while b"sleep" not in Path(f"/proc/{pid}/cmdline").read_bytes():
        time.sleep(0.05)
    return pid


def settle(folder: Path, machines: dict[str, int]) -> None:
    """Set what all nodes are told by their environment: a machine of many small ones."""
    bin_ = folder / "bin"
    bin_.mkdir(exist_ok=True)
    for name, text in (("ssh", SSH), ("rsync", RSYNC)):
        place = bin_ / name
        pids = {address: str(pid) for address, pid in machines.items()}
        place.write_text(text.format(python=sys.executable, machines=pids))
        place.chmod(0o755)
    (folder / "home").mkdir(exist_ok=True)
    path = [str(bin_), str(Path(sys.executable).parent), os.environ["PATH"]]
    # a shell of login, which Ray asks for, forgets the path that it was begun with
    (folder / "home" / ".bashrc").write_text(f"export PATH={shlex.quote(os.pathsep.join(path))}\n")
    os.environ |= {
        "HOME": str(folder / "home"),
        "PATH": os.pathsep.join(path),
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_health_check_period_ms": "1000",
        "RAY_health_check_failure_threshold": "3",
        "RAY_DISABLE_IMPORT_WARNING": "1",
    }


def write_plan(folder: Path, name: str, mosaic: str = "") -> Path:
    """Plan a simulated country of a few jobs; nothing is measured."""
    from selion import country
    from selion.country.prices import read_prices
    from selion.imagery import read_area
    from selion.pipeline import AreaOptions
    from selion.simulation.archive import simulate_archive
    from selion.store import locate

    sys.path.insert(0, str(ROOT / "tests"))
    from option_inputs import PROBE

    archive = folder / "archive"
    if not archive.exists():
        made = simulate_archive(
            archive, seed=3, centre=(12.0, 50.0), size_km=(1.6, 1.2), tile_px=256, n_dates=1,
            clouds=(0.0, 0.02), cirrus=0.0, orbits=1, patch_px=192,
        )  # fmt: skip
        (folder / "area.geojson").write_text(json.dumps(dict(made.area)))
        (folder / "catalogue").write_text(str(made.catalogue))
    catalogue = (folder / "catalogue").read_text()
    words = ["--provider", catalogue, "--model", "fields-s2-2season"]
    area = read_area(folder / "area.geojson")
    options = AreaOptions(provider=catalogue, mosaic=locate(mosaic) if mosaic else None)
    words += ["--mosaic", mosaic] * bool(mosaic)
    plan = country.make_plan(
        area, 2024, PROBE, read_prices(), edge=1000.0, halo=200.0, words=words, options=options
    )
    return country.write_plan(plan, folder / name, force=True)


def sums(plan: Path) -> dict[str, str]:
    """Return the hash of each job's table."""
    return {
        path.parent.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(plan.glob("jobs/*/fields.parquet"))
    }


def enter(machine: int | None, command: str, folder: Path) -> None:
    """Run a command of a shell on a worker, or on the head (None)."""
    before = f"nsenter -t {machine} --net --mount --pid".split() if machine else []
    with (folder / "ray.log").open("a") as log:
        log.write(f"\n$ {command}\n")
        log.flush()
        subprocess.run(
            [*before, "sh", "-c", command], check=True, stdout=log, stderr=log, timeout=180
        )


def start_rayjob(folder: Path, plan: Path, machines: dict[str, int]) -> subprocess.Popen[str]:
    """Start what KubeRay makes of a RayJob, and hand in its entrypoint as its submitter does."""
    spec = yaml.safe_load((ROOT / "cluster" / "rayjob.yaml").read_text())["spec"]
    cluster = spec["rayClusterSpec"]
    head = flags(cluster["headGroupSpec"]["rayStartParams"])
    few = shlex.join(SMALL)
    enter(
        None,
        f"ray start --head --port 6379 --dashboard-host 0.0.0.0 --node-ip-address {HEAD} "
        f"{head} {few}",
        folder,
    )
    (group,) = cluster["workerGroupSpecs"]
    cores = group["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"]
    given = flags({"num-cpus": cores} | group["rayStartParams"])
    for address, machine in machines.items():
        enter(
            machine,
            f"ray start --address {HEAD}:6379 --node-ip-address {address} {given} {few}",
            folder,
        )
    entrypoint = spec["entrypoint"].strip().replace("/data/plan", str(plan))
    server = f"--address http://{HEAD}:8265"
    command = (
        f"ray job submit {server} --submission-id one --no-wait -- {entrypoint} ; "
        f"ray job logs {server} --follow one ; "
        f"ray job status {server} one | grep -qi succeeded"
    )
    return begun(command, folder)


def flags(parameters: dict[str, str]) -> str:
    """Return rayStartParams as the options of 'ray start'."""
    return " ".join(f"--{name}={value}" for name, value in parameters.items())


def start_cluster(folder: Path, plan: Path, machines: dict[str, int]) -> subprocess.Popen[str]:
    """Call 'ray up' and 'ray exec' as the cluster file says."""
    text = (ROOT / "cluster" / "ray-cluster.yaml").read_text()
    for number, address in enumerate((HEAD, *WORKERS), 1):
        text = text.replace(f"10.0.0.{number}", address)
    file = yaml.safe_load(text)
    del file["docker"]
    path = folder / "ray-cluster.yaml"
    path.write_text(yaml.safe_dump(file))
    told = text.replace("cluster/ray-cluster.yaml", str(path)).replace("/data/plan", str(plan))
    up, exec_ = (line[1:].strip() for line in told.splitlines() if line.startswith("#     "))
    enter(None, up, folder)
    deadline = time.monotonic() + 300  # the head calls its workers one after the other
    while not all(count_of(b"raylet", machine) for machine in machines.values()):
        if time.monotonic() > deadline:
            raise SystemExit("not all workers came within five minutes")
        time.sleep(0.5)
    return begun(exec_, folder)


def begun(command: str, folder: Path) -> subprocess.Popen[str]:
    """Begin a command, with all that it says in one stream."""
    with (folder / "ray.log").open("a") as log:
        log.write(f"\n$ {command}\n")
    return subprocess.Popen(
        ["sh", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def lose_one(plan: Path, machine: int, job: subprocess.Popen[str]) -> dict[str, object]:
    """Let a worker's machine die while it has a job in work: all that runs there, at once."""
    while job.poll() is None and not count_of(b"map", machine):
        time.sleep(0.1)
    time.sleep(1.0)
    seen = {"lost_in_work": count_of(b"map", machine), "finished_before": len(sums(plan))}
    os.kill(machine, signal.SIGKILL)  # it is the first process of its machine: none outlives it
    return seen


def count_of(word: bytes, machine: int) -> int:
    """Count the processes of a machine that have a word, or a program of that name."""
    inside = Path(f"/proc/{machine}/ns/pid").readlink()
    count = 0
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = {
                one.rpartition(b"/")[2] for one in (place / "cmdline").read_bytes().split(b"\0")
            }
            count += word in words and (place / "ns" / "pid").readlink() == inside
    return count


def stop(folder: Path, machines: dict[str, int]) -> None:
    """End what is left of the machines, and of Ray on the head."""
    for machine in machines.values():
        with contextlib.suppress(ProcessLookupError):
            os.kill(machine, signal.SIGKILL)
    enter(None, "ray stop --force || true", folder)


if __name__ == "__main__":
    main()
