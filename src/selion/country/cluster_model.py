"""A cluster that does not exist.

Jobs with measured times on 1 to 256 workers, with a queue at the archive, stragglers, failures and
lost workers.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from selion.country.prices import Faults
from selion.errors import BadInput, counted

HOPELESS = 100
"""Losses per job, on the mean, after which jobs are given up: workers that live shorter than a job
never end."""


@dataclass(frozen=True, slots=True)
class Work:
    """The jobs, as the probe times them."""

    reading: np.ndarray
    """(n,) seconds that each job reads from the archive."""
    computing: np.ndarray
    """(n,) seconds of all else."""
    startup: float
    """Seconds that starting selion and loading the model takes, before each job."""
    spread: np.ndarray
    """(k,) what the same work took in the probe, over its mean: drawn from for each attempt."""
    readers: int
    """Workers that the archive serves at full speed at once; others wait."""


@dataclass(frozen=True, slots=True)
class SimulatedRun:
    """One simulated run."""

    workers: int
    seconds: float
    """From the start of the first worker to the end of the last job."""
    efficiency: float
    """Work of one faultless attempt at each finished job, over workers times seconds."""
    waited: float
    """Seconds that workers waited for the archive, all together."""
    retried: int
    lost: int
    """Workers."""
    set_aside: int
    """Jobs that failed too often."""
    busy_hours: float
    """Hours that workers were held: what is paid."""


@dataclass
class _Cluster:
    work: Work
    faults: Faults
    random: np.random.Generator
    queue: deque[int]
    tries: np.ndarray
    events: list[tuple[float, int, str, int, int]] = field(default_factory=list)
    """(time, number, what, worker, job)."""
    waiting: deque[tuple[float, int, int, float, float, str]] = field(default_factory=deque)
    """(since, worker, job, seconds of reading, of computing, how it ends)."""
    free: int = 0
    count: int = 0
    idle: list[int] = field(default_factory=list)
    left: int = 0
    """Jobs that are neither done nor given up."""
    waited: float = 0.0
    retried: int = 0
    lost: int = 0
    aside: int = 0
    ended: float = 0.0

    def at(self, moment: float, what: str, worker: int, job: int) -> None:
        self.count += 1
        heapq.heappush(self.events, (moment, self.count, what, worker, job))


def simulate(work: Work, workers: int, faults: Faults, seed: int = 0) -> SimulatedRun:
    """Run jobs on a simulated cluster, the longest first.

    Parameters
    ----------
    work : Work
    workers : int
    faults : Faults
        From a price sheet.
    seed : int
        Equal seeds give equal runs.

    Returns
    -------
    SimulatedRun

    Raises
    ------
    BadInput
        If there is no worker or no job.

    Notes
    -----
    An event at a time: a worker starts selion, waits until the archive has a place, reads, lets go
    of the place, computes.  An attempt fails half-way with a given probability and goes to the end
    of the queue, or is given up after so many tries; a worker vanishes after an exponential time,
    its job goes back to the front, and another worker comes after the boot time.
    """
    jobs = len(work.reading)
    if workers < 1 or jobs < 1:
        raise BadInput(
            f"{counted(workers, 'worker')} and {counted(jobs, 'job')} were given; wanted are one "
            "of each at least."
        )
    order = np.argsort(-(work.reading + work.computing), kind="stable")
    cluster = _Cluster(
        work,
        faults,
        np.random.default_rng([seed, workers]),
        deque(order.tolist()),
        np.zeros(jobs, int),
        free=work.readers,
        left=jobs,
    )
    for worker in range(workers):
        cluster.at(faults.boot_seconds, "ready", worker, -1)
    while cluster.events and cluster.left:
        moment, _, what, worker, job = heapq.heappop(cluster.events)
        _HAPPEN[what](cluster, moment, worker, job)
    done = jobs - cluster.aside
    ideal = float((work.reading + work.computing).sum() / jobs * done + work.startup * done)
    held = workers * cluster.ended
    return SimulatedRun(
        workers,
        cluster.ended,
        ideal / held if held else 0.0,
        cluster.waited,
        cluster.retried,
        cluster.lost,
        cluster.aside,
        held / 3600,
    )


def _ready(cluster: _Cluster, moment: float, worker: int, _job: int) -> None:
    """Take the next job, or wait until one comes back."""
    if not cluster.queue:
        cluster.idle.append(worker)
        return
    job = cluster.queue.popleft()
    cluster.at(moment + cluster.work.startup, "started", worker, job)


def _started(cluster: _Cluster, moment: float, worker: int, job: int) -> None:
    """Draw how long this attempt will take and how it ends, then ask for a place at the archive."""
    work, faults, random = cluster.work, cluster.faults, cluster.random
    slow = random.choice(work.spread, 2) * (
        faults.straggler_factor if random.random() < faults.stragglers_per_job else 1.0
    )
    reading, computing = work.reading[job] * slow[0], work.computing[job] * slow[1]
    fails = random.random() < faults.failures_per_job
    rate = faults.losses_per_worker_hour / 3600
    life = random.exponential(1 / rate) if rate else np.inf
    if life < reading + computing:
        reading, computing, end = min(reading, life), max(life - reading, 0.0), "vanished"
    else:
        end = "failed" if fails else "done"
        computing *= 0.5 if fails else 1.0
    if cluster.free:
        cluster.free -= 1
        _read(cluster, moment, worker, job, reading, computing, end)
    else:
        cluster.waiting.append((moment, worker, job, reading, computing, end))


def _read(
    cluster: _Cluster,
    moment: float,
    worker: int,
    job: int,
    reading: float,
    computing: float,
    end: str,
) -> None:
    cluster.at(moment + reading, "freed", worker, job)
    cluster.at(moment + reading + computing, end, worker, job)


def _freed(cluster: _Cluster, moment: float, _worker: int, _job: int) -> None:
    """Give the place at the archive to who waits longest."""
    if not cluster.waiting:
        cluster.free += 1
        return
    since, worker, job, reading, computing, end = cluster.waiting.popleft()
    cluster.waited += moment - since
    _read(cluster, moment, worker, job, reading, computing, end)


def _done(cluster: _Cluster, moment: float, worker: int, _job: int) -> None:
    cluster.left -= 1
    cluster.ended = moment
    _ready(cluster, moment, worker, -1)


def _failed(cluster: _Cluster, moment: float, worker: int, job: int) -> None:
    cluster.tries[job] += 1
    if cluster.tries[job] >= cluster.faults.tries:
        cluster.aside += 1
        cluster.left -= 1
        cluster.ended = moment
    else:
        cluster.retried += 1
        cluster.queue.append(job)
        _wake(cluster, moment)
    _ready(cluster, moment, worker, -1)


def _vanished(cluster: _Cluster, moment: float, worker: int, job: int) -> None:
    """Bring the job back to the front of the queue: it is not its fault."""
    cluster.lost += 1
    if cluster.lost > HOPELESS * len(cluster.tries):
        cluster.aside += 1
        cluster.left -= 1
        cluster.ended = moment
    else:
        cluster.queue.appendleft(job)
        _wake(cluster, moment)
    cluster.at(moment + cluster.faults.boot_seconds, "ready", worker, -1)


def _wake(cluster: _Cluster, moment: float) -> None:
    if cluster.idle:
        cluster.at(moment, "ready", cluster.idle.pop(), -1)


_HAPPEN = {
    "ready": _ready,
    "started": _started,
    "freed": _freed,
    "done": _done,
    "failed": _failed,
    "vanished": _vanished,
}


def sweep(work: Work, faults: Faults, most: int = 256, seed: int = 0) -> list[SimulatedRun]:
    """Simulate 1, 2, 4 ... workers up to ``most``."""
    counts: Sequence[int] = sorted({*(2**k for k in range(20) if 2**k <= most), most})
    return [simulate(work, workers, faults, seed) for workers in counts]
