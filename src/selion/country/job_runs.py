"""The jobs of a plan, done by a runner: on this machine or on the nodes of a cluster.

Each job is a process of its own, with its own log and limits.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TextIO

from selion.country.job_leases import is_at_work, is_ended, job_leased, tidy_lease
from selion.country.job_tables import TABLE, plan_jobs
from selion.country.planning import LOG, TIMES
from selion.errors import BadInput, Incomplete, counted
from selion.pipeline.probabilities import FAILED
from selion.progress import OnStep, silent
from selion.runners import RunnerOptions, open_runner
from selion.runners.worker import POOLS

GIGABYTE = 1e9
SCRATCH = "scratch"
"""In the folder of a job while it runs: its temporary files."""
OVER = 137
"""Exit code of a job that was over a limit: what a shell says of one that was killed."""
NAMED = 5
"""Jobs that a sentence names."""
AGAIN = 10.0
"""Seconds after which a run that waits for another one says so again."""
BUSY, THERE = "busy", "there"
"""What a worker says of a job that another run is at, or has finished meanwhile."""
PROCESSES = Path("/proc")
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
"""Loaded here: a child of a process with threads must not load anything before it runs."""


@dataclass(frozen=True, kw_only=True)
class JobLimits:
    """What a job may take; one that is over is ended, and says so in one sentence."""

    memory: float | None = None
    """Gigabytes (1e9 bytes) of all its processes together; None: no limit.  A worker that is no
    Linux refuses its jobs, as it cannot see what they take."""
    scratch: float | None = None
    """Gigabytes of its folder on the disk, temporary files and results together."""
    hours: float | None = None
    """From its start."""
    look: float = 0.5
    """Seconds between two looks; what comes and goes in between is not seen."""

    def __post_init__(self) -> None:
        for name in ("memory", "scratch", "hours", "look"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise BadInput(f"A limit of {value} {name} was given; wanted is a number above 0.")


@dataclass(frozen=True)
class PlanRun:
    """What became of the jobs of a plan."""

    done: tuple[str, ...]
    """Jobs that were finished now."""
    there: tuple[str, ...]
    """Jobs that were finished before."""
    failed: Mapping[str, str]
    """Job -> why it is not finished."""
    elsewhere: tuple[str, ...] = ()
    """Jobs that another run finished meanwhile."""


def run_plan(
    folder: Path | str,
    runner: RunnerOptions | None = None,
    limits: JobLimits | None = None,
    *,
    on_step: OnStep = silent,
) -> PlanRun:
    """Do the jobs of a plan that are not finished.

    Parameters
    ----------
    folder : path
        Of ``selion plan``; on a cluster one that all nodes see.
    runner : RunnerOptions, optional
        Who does them, ``ray://HOST:PORT`` for a cluster, with ``threads`` cores for each job; None:
        one after the other, here.
    limits : JobLimits, optional
    on_step : callable, optional

    Returns
    -------
    PlanRun

    Raises
    ------
    UnreadableFile
        If the folder holds no plan.
    Incomplete
        If some jobs are not finished at the end; it names them, their logs say why, and the same
        call tries them again.

    Notes
    -----
    A job whose worker or node is lost is begun again by another one.  Jobs are leased one by one,
    by locks of files: of two runs of one plan each does what the other one is not at, and waits
    in the end for what the other one is at, so each ends when the whole plan is done.  ``selion
    watch`` shows how the jobs stand, whoever does them.
    """
    folder = Path(folder).expanduser().absolute()
    listed = {str(job["name"]): [str(word) for word in job["command"]] for job in plan_jobs(folder)}
    there = tuple(name for name in listed if _is_over(folder / "jobs" / name))
    for name in there:
        tidy_lease(folder / "jobs" / name)
    wanted = [name for name in listed if name not in there]
    told: dict[str, str] = {}
    limits = limits or JobLimits()
    with open_runner(runner or RunnerOptions()) as crew:
        work, names = JobWork(folder, listed, limits, crew.threads), wanted
        while names:
            for one in crew(work, names):
                why = one.result if one.error is None else str(one.error)
                if why != BUSY:
                    told[one.block] = why
                    on_step("run", len(told), len(wanted), one.block)
            names = [name for name in wanted if name not in told]
            waiting = counted(len(names), "job")
            where = f"waiting for {waiting} that another run is at ({', '.join(names[:NAMED])})"
            say = partial(on_step, "run", len(told), len(wanted), where)
            names = _awaited([folder / "jobs" / name for name in names], limits.look, say)
    failed = {name: why for name, why in told.items() if why not in ("", THERE)}
    if failed:
        raise _unfinished(folder, failed, len(listed))
    done, elsewhere = (tuple(name for name in wanted if told[name] == how) for how in ("", THERE))
    return PlanRun(done, there, failed, elsewhere)


def _awaited(places: Sequence[Path], look: float, say: Callable[[], None]) -> list[str]:
    """Wait until nobody is at one of these jobs any more; return which that holds for."""
    said = -math.inf
    while places:
        free = [place.name for place in places if not is_at_work(place)]
        if free:
            return free
        if time.monotonic() - said >= AGAIN:
            say()
            said = time.monotonic()
        time.sleep(look)
    return []


def _unfinished(folder: Path, failed: Mapping[str, str], jobs: int) -> Incomplete:
    names = sorted(failed)
    told = ", ".join(names[:NAMED]) + (" ..." if len(names) > NAMED else "")
    return Incomplete(
        f"{counted(len(failed), 'job')} of {jobs} in {folder} did not finish ({told}). The first: "
        f"{failed[names[0]]} The same call tries them again."
    )


def _is_over(place: Path) -> bool:
    """Say whether a job is done, and nobody writes what comes after its table."""
    return _is_done(place) and not is_at_work(place)


def _is_done(place: Path) -> bool:
    """Say whether the table is there, whole, and its manifest beside it."""
    lacking = (place / f"{TABLE}{FAILED}").is_file()
    return (place / TABLE).is_file() and not lacking and is_ended(place)


@dataclass(frozen=True)
class JobWork:
    """Do a job; what a worker is given."""

    folder: Path
    commands: Mapping[str, Sequence[str]]
    limits: JobLimits
    threads: int | None = None
    """Cores; None: all."""
    python: str = ""
    """Empty: that of the worker, wherever it lies there."""

    def __call__(self, name: str) -> str:
        """Do a job; return why it failed, empty if it did not, or what of it is done elsewhere."""
        place = self.folder / "jobs" / name
        if _is_over(place):  # by another run, or by a worker that was taken for lost
            return THERE
        if self.limits.memory is not None and not PROCESSES.is_dir():
            return (
                f"What a job takes of memory cannot be seen on {platform.node()} (no /proc): leave "
                "out the limit, or set it for the container."
            )
        with job_leased(place) as free:
            if not free:
                return BUSY
            return THERE if _is_done(place) else self._logged(name, place)

    def _logged(self, name: str, place: Path) -> str:
        scratch = place / SCRATCH
        scratch.mkdir(exist_ok=True)
        try:
            with (place / LOG).open("a", encoding="utf-8") as log:
                return self._watched(name, place, log)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _watched(self, name: str, place: Path, log: TextIO) -> str:
        with self._started(name, place, log) as process:
            _note(place, "begin", process.pid)
            why = self._wait(process, place)
            if why:
                log.write(f"{why}\n")
            code = OVER if why else process.returncode
            _note(place, "end", process.pid, str(code))
        return why or (f"it ended with code {code}, see {place / LOG}." if code else "")

    @contextlib.contextmanager
    def _started(self, name: str, place: Path, log: TextIO) -> Iterator[subprocess.Popen[bytes]]:
        words = [self.python or sys.executable, "-m", "selion", *self.commands[name][1:]]
        own = os.environ | {"TMPDIR": str(place / SCRATCH)}
        if self.threads is not None:
            own |= dict.fromkeys(POOLS, str(self.threads))
            words += [] if "--threads" in words else ["--threads", str(self.threads)]
        process = subprocess.Popen(  # noqa: S603 - the plan's own command, no shell
            words,
            cwd=self.folder,
            env=own,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_end_with_parent if LIBC is not None else None,  # noqa: PLW1509 - the child sets one flag and runs
        )
        try:
            yield process
        finally:
            _end(process)

    def _wait(self, process: subprocess.Popen[bytes], place: Path) -> str:
        """Wait for the end, or until a limit is passed; return which, in a sentence."""
        began = time.monotonic()
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(self.limits.look)
                return ""
            if why := self._over(process.pid, place, (time.monotonic() - began) / 3600):
                _end(process)
                return why

    def _over(self, session: int, place: Path, hours: float) -> str:
        limits = self.limits
        taken = None if limits.memory is None else memory_of(session) / GIGABYTE
        if taken is not None and limits.memory is not None and taken > limits.memory:
            return (
                f"It took {taken:.2f} GB of memory, and its limit is {limits.memory:g} GB: give it "
                "more, or plan with smaller --block or --edge."
            )
        kept = None if limits.scratch is None else size_of(place) / GIGABYTE
        if kept is not None and limits.scratch is not None and kept > limits.scratch:
            return (
                f"It wrote {kept:.2f} GB to {place}, and its limit is {limits.scratch:g} GB: give "
                "it more, or plan with a smaller --edge."
            )
        if limits.hours is not None and hours > limits.hours:
            return (
                f"It ran for {hours:.2f} hours, and its limit is {limits.hours:g}: give it more, "
                "or plan with a smaller --edge."
            )
        return ""


def _note(place: Path, what: str, process: int, code: str = "") -> None:
    """Write down when a job began or ended, as its ``job.sh`` does."""
    line = f"{what} {int(time.time())} {platform.node()} {process} {code}".rstrip()
    with (place / TIMES).open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


def _end_with_parent() -> None:
    """Have the kernel end this process when the worker that began it is gone (Linux)."""
    if LIBC is not None:
        LIBC.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a job and all that it began, if it has not ended."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def memory_of(session: int) -> int:
    """Return the bytes of memory that the processes of a session hold (resident, Linux)."""
    total = 0
    for place in PROCESSES.glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError, ValueError):
            # after the name, which may hold anything: state, parent, group, session
            words = (place / "stat").read_text().rpartition(")")[2].split()
            if int(words[3]) == session:
                total += int((place / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return total


def size_of(folder: Path) -> int:
    """Return the bytes that the files of a folder take on the disk."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += Path(path, name).lstat().st_blocks * 512
    return total
