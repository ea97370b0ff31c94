"""Functions that worker processes can import, for the tests of runners; it imports nothing
heavy.
"""

from __future__ import annotations

import os
import signal
import subprocess
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
    if block == "bug":
        raise TypeError("a bug")
    return block, os.getpid(), os.environ.get("OMP_NUM_THREADS")


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
