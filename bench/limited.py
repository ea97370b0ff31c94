"""Run a command under a limit of memory that is always in force, and measure its own peak.

A small process of this file starts the command, so that neither the size of the caller nor its
inherited pages count: on Linux a child's high-water mark starts at its parent's.  The limit is a
control group where the kernel lets this user make one (Linux, both versions): beyond it the kernel
ends the command.  Elsewhere a watcher ends all processes of the command as soon as their resident
memory together is larger, ten times a second; pages that they share then count for each of them.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

GROUPS, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
FILES = (
    ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.oom_control"),
    ("memory.max", "memory.swap.max", "memory.events"),
)
"""Of a control group, first and second version: its limit, that of memory and swap, what it has
ended."""
KERNEL, WATCHER = "control group", "watcher"
CHOSEN = "SELION_BENCH_LIMIT"
"""Variable of the environment that asks for the watcher where the kernel could do it."""
STEP = 0.1
"""Seconds between two looks at the memory of the processes."""
SUBREAPER = 36
"""What ``prctl`` calls a process that is given the orphans among its descendants."""


@dataclass(frozen=True)
class Limited:
    """A command that has ended, or was ended."""

    wall: float
    """Seconds."""
    processor: float
    """Seconds of user and system time, children included."""
    peak_mb: float
    """Resident memory of all its processes together, sampled, or the kernel's mark of the largest
    one where that is more."""
    code: int
    """Exit code; less than nothing: the signal that ended it."""
    limit: str
    """``KERNEL`` or ``WATCHER``: who holds the limit."""
    ended: str
    """Who ended it, or a process of it, for its memory or its time; nothing where nobody did."""
    output: str = ""
    """Both streams."""


def run(
    argv: Sequence[str], megabytes: int, seconds: float = 1e9, env: Mapping[str, str] | None = None
) -> Limited:
    """Run a command to its end, or to that of its memory or its time on the clock."""
    with tempfile.TemporaryDirectory() as folder:
        answer, log = Path(folder, "answer.json"), Path(folder, "log")
        words = [sys.executable, str(Path(__file__).resolve()), str(answer), str(megabytes)]
        with log.open("wb") as file:
            subprocess.run(
                [*words, str(seconds), *argv], stdin=subprocess.DEVNULL, stdout=file,
                stderr=subprocess.STDOUT, env=env, check=True,
            )  # fmt: skip
        return Limited(**json.loads(answer.read_text()), output=log.read_text(errors="replace"))


def main() -> None:
    """Be the small process: start the command, watch it, say what it took."""
    answer, megabytes, seconds, *argv = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    with group(int(megabytes)) as folder:
        found = _measure(argv, int(megabytes), float(seconds), folder)
    Path(answer).write_text(json.dumps(found))


@contextmanager
def group(megabytes: int) -> Iterator[Path | None]:
    """Yield the folder of a new control group with that limit; None where none can be made."""
    places = () if os.environ.get(CHOSEN) == WATCHER else _above()
    made = next((path for above in places if (path := _make(above, megabytes))), None)
    try:
        yield made
    finally:
        if made is not None:
            made.rmdir()


def _above() -> Iterator[Path]:
    """Yield the groups that a new one may be made in: this process's own, then the outermost."""
    lines = OWN.read_text().splitlines() if OWN.is_file() else []
    for line in lines:
        kinds, _, name = line.partition(":")[2].partition(":")
        if kinds in ("", "memory"):
            yield from (GROUPS / kinds / name.strip("/"), GROUPS / kinds)


def _make(above: Path, megabytes: int) -> Path | None:
    folder = above / f"selion-bench-{os.getpid()}"
    files = next((found for found in FILES if (above / found[0]).is_file()), None)
    # the outermost group of the second version has no limit of its own
    files = files or (FILES[1] if (above / "cgroup.controllers").is_file() else None)
    if files is None:
        return None
    try:
        folder.mkdir()
    except OSError:
        return None
    try:
        if not (folder / files[0]).is_file():
            raise FileNotFoundError  # a folder that is no control group, or one without a limit
        (folder / files[0]).write_text(str(megabytes * 2**20))
        with suppress(OSError):
            (folder / files[1]).write_text("0" if files is FILES[1] else str(megabytes * 2**20))
    except OSError:
        folder.rmdir()
        return None
    return folder


def _ended_by_kernel(folder: Path) -> int:
    """Return how many processes the kernel has ended in a group."""
    for _, _, name in FILES:
        if (folder / name).is_file():
            told = dict(line.split() for line in (folder / name).read_text().splitlines())
            return int(told.get("oom_kill", 0))
    return 0


def _measure(argv: list[str], megabytes: int, seconds: float, folder: Path | None) -> dict:
    def join() -> None:
        if folder is not None:
            (folder / "cgroup.procs").write_text("0")

    began, peak, ended, caller = time.perf_counter(), 0.0, "", os.getppid()
    child = subprocess.Popen(argv, preexec_fn=join)  # noqa: PLW1509 (no thread here)
    while not (waited := os.wait4(child.pid, os.WNOHANG))[0]:
        now = resident_mb()
        peak = max(peak, now)
        if folder is None and now > megabytes:
            ended = WATCHER
        elif time.perf_counter() - began > seconds:
            ended = "clock"
        elif os.getppid() != caller:
            ended = "end of its caller"
        if ended:
            _signal_all()
        time.sleep(STEP)
    wall = time.perf_counter() - began
    _end_left()
    if folder is not None and not ended and _ended_by_kernel(folder):
        ended = KERNEL
    usage = waited[2]
    return {
        "wall": wall,
        "processor": usage.ru_utime + usage.ru_stime,
        "peak_mb": max(peak, usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)),
        "code": os.waitstatus_to_exitcode(waited[1]),
        "limit": WATCHER if folder is None else KERNEL,
        "ended": ended,
    }


def resident_mb() -> float:
    """Return the resident memory of all processes that this one has begun, in MB."""
    total = 0
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            total += process.memory_info().rss
    return total / 2**20


def _signal_all() -> None:
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)


def _end_left() -> None:
    """End what the command has left behind, and wait until it is gone."""
    with suppress(ChildProcessError):  # where none is left
        while True:
            _signal_all()
            if not os.waitpid(-1, os.WNOHANG)[0]:
                time.sleep(STEP / 10)


if __name__ == "__main__":
    main()
