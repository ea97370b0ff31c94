"""Functions that worker processes can import, for the tests of runners; it imports nothing
heavy.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from selion.errors import BandMismatch, UnreadableFile


def double(block):
    return 2 * block


def moody(block):
    """Fails, dies or ends the run, as it is told."""
    if block == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if block == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    if block == "nap":
        waker = f"sleep 1; kill -CONT {os.getpid()}"
        with subprocess.Popen(["/bin/sh", "-c", waker]):
            os.kill(os.getpid(), signal.SIGSTOP)
    if block == "poison":
        raise UnreadableFile("The tile is broken.")
    if block == "fatal":
        raise BandMismatch("No block can be done.")
    if block == "long":
        time.sleep(0.6)
    if block == "memory":
        return exhausted()
    if block == "bug":
        raise TypeError("a bug")
    return block, os.getpid(), os.environ.get("OMP_NUM_THREADS")


def exhausted():
    """Ask for more memory than this process may have."""
    import resource

    limits = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    room = pages * resource.getpagesize() + 2**26
    try:
        resource.setrlimit(resource.RLIMIT_AS, (room, limits[1]))
        return len(bytearray(2**30))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


@dataclass(frozen=True)
class Greedy:
    """Works only with nothing beside it: then there is memory enough."""

    folder: Path
    how: int = 0
    """The signal that ends it otherwise; 0: it fails."""

    def __call__(self, block):
        mark = self.folder / str(block)
        mark.touch()
        time.sleep(0.2)
        alone = len(list(self.folder.iterdir())) == 1
        mark.unlink()
        if not alone and self.how:
            os.kill(os.getpid(), self.how)
        if not alone:
            raise MemoryError
        return block


@dataclass(frozen=True)
class SecondTime:
    """Works the second time only: a file remembers the first."""

    folder: Path
    how: int = 0
    """The signal that ends or stops it the first time; 0: it fails."""

    def __call__(self, block):
        mark = self.folder / str(block)
        if not mark.exists():
            mark.touch()
            if self.how:
                os.kill(os.getpid(), self.how)
            raise OSError(5, "once")
        return block
