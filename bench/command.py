"""Run a command and measure it: wall time, processor time, and the peak memory of all its
processes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import psutil

TUNED = {
    "MALLOC_MMAP_THRESHOLD_": "4000000000",
    "MALLOC_TRIM_THRESHOLD_": "8000000000",
    "MALLOC_TOP_PAD_": "500000000",
}
"""glibc's malloc told to keep big blocks: torch then does not fault its activations in again for
every batch."""
_SAMPLE = 0.2
"""Seconds between two looks at the memory of the process tree."""


def find_chromium() -> str | None:
    """Return the path of a Chromium that playwright can drive; None where either is missing."""
    if find_spec("playwright") is None:
        return None
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if (path := shutil.which(name))), None)


@dataclass(frozen=True)
class Finished:
    """A command that has ended."""

    wall: float
    """Seconds."""
    processor: float
    """Seconds of user and system time, children included."""
    peak_mb: float
    """Largest resident memory in MB of the biggest process, or of all processes together where a
    sample caught more (shared pages count once per process, which is only right for commands of one
    process)."""
    biggest_mb: float
    """Largest resident memory of any single process, from the kernel's own mark."""
    output: str
    """Both streams."""
    code: int


def run(argv: Sequence[str], env: Mapping[str, str] | None = None) -> Finished:
    """Run a command to its end, without a limit on its time.

    The caller should be a small process: on Linux a child's high-water mark starts at its parent's.
    """
    with tempfile.TemporaryFile() as log:
        start = time.perf_counter()
        child = subprocess.Popen(
            argv,
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=_environment(env),
        )
        seen: list[float] = [0.0]
        stop = threading.Event()
        watcher = threading.Thread(target=_watch, args=(child.pid, seen, stop), daemon=True)
        watcher.start()
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        stop.set()
        watcher.join()
        log.seek(0)
        output = log.read().decode(errors="replace")
    biggest = usage.ru_maxrss / 1024
    return Finished(
        wall,
        usage.ru_utime + usage.ru_stime,
        max(biggest, seen[0]),
        biggest,
        output,
        child.returncode,
    )


def checked(argv: Sequence[str], env: Mapping[str, str] | None = None) -> Finished:
    """Run a command that must succeed."""
    done = run(argv, env)
    if done.code:
        raise SystemExit(f"Failed with {done.code}: {' '.join(argv)}\n{done.output[-3000:]}")
    return done


def _environment(extra: Mapping[str, str] | None) -> dict[str, str]:
    """The caller's environment without what would help one side: no cache of compiled graphs, no
    malloc settings of an outer run.
    """
    kept = {
        key: value
        for key, value in os.environ.items()
        if key != "SELION_CACHE" and not key.startswith("MALLOC_")
    }
    return kept | dict(extra or {})


def _watch(pid: int, seen: list[float], stop: threading.Event) -> None:
    while not stop.wait(_SAMPLE):
        seen[0] = max(seen[0], _tree_mb(pid))


def _tree_mb(pid: int) -> float:
    total = 0
    try:
        root = psutil.Process(pid)
        for process in [root, *root.children(recursive=True)]:
            total += process.memory_info().rss
    except psutil.NoSuchProcess:
        return 0.0
    return total / 2**20
