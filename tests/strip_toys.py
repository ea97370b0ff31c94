"""Images and models that worker processes can import, for the tests of plans that runners do."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from predict_toys import Procedural, Toy, utm_grid
from selion.errors import UnreadableFile
from selion.grid import overlap


@dataclass
class Broken(Procedural):
    """An image of which a region cannot be read, as long as a file says so."""

    hole: tuple = (slice(0, 1), slice(0, 1))
    mark: str = ""

    def read(self, roi):
        if overlap(roi, self.hole) and Path(self.mark).exists():
            raise UnreadableFile("The image cannot be read there: write it again.")
        return super().read(roi)


@dataclass
class Slow(Toy):
    """A toy that takes its time for each window, and dies where it is told to, once."""

    pause: float = 0.0
    die_at: str = ""

    def __call__(self, views):
        time.sleep(self.pause * len(views))
        if self.die_at and Path(self.die_at).exists():
            Path(self.die_at).unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(views)


@dataclass
class Waiting(Toy):
    """A toy that answers until a first block is done, and then waits for a file."""

    folder: str = ""
    go: str = ""

    def __call__(self, views):
        while any(Path(self.folder).glob("*.block")) and not Path(self.go).exists():
            time.sleep(0.02)
        return super().__call__(views)


def network():
    """Name the network namespace of this process."""
    return Path("/proc/self/ns/net").readlink().name


@dataclass
class Signing(Slow):
    """A slow toy that leaves the name of its network in a folder."""

    folder: str = ""

    def __call__(self, views):
        (Path(self.folder) / network()).touch()
        return super().__call__(views)


def dying(mark):
    """Load a toy, in a worker that dies when it does so for the first time."""
    if Path(mark).exists():
        Path(mark).unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    return Toy()


def image(edge=300):
    return Procedural(utm_grid((edge, edge)), holes=40)
