"""Functions that worker processes can import, for the tests of runners; it imports nothing
heavy.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from selion.errors import BandMismatch, UnreadableFile


def double(block):
    return 2 * block


def moody(block):
    """Fails, dies or ends the run, as it is told."""
    if block == "die":
        os.kill(os.getpid(), signal.SIGKILL)
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
    die: bool = False

    def __call__(self, block):
        mark = self.folder / str(block)
        if not mark.exists():
            mark.touch()
            if self.die:
                os.kill(os.getpid(), signal.SIGKILL)
            raise OSError(5, "once")
        return block
