"""How far the resident memory of the process of a test grows while something is done."""

import ctypes
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

STATUS, MARKS = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def most_held() -> int:
    """Return the most that this process has held, in kB."""
    status = STATUS.read_text() if STATUS.is_file() else ""
    if "VmHWM:" not in status:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(status.split("VmHWM:")[1].split()[0])


def hand_back() -> None:
    """Hand what is free back to the system: what comes next would be made in it unseen."""
    with suppress(AttributeError, OSError, TypeError):  # musl, macOS, Windows
        ctypes.CDLL(None).malloc_trim(0)


@contextmanager
def growth_below(kilobytes: int) -> Iterator[None]:
    """Hold that what is done inside takes less than that at any moment.

    Where the system lets it, the mark of the most starts from what is held now: what an earlier
    test had taken would hide it.
    """
    hand_back()
    with suppress(OSError):
        MARKS.write_text("5")
    before = most_held()
    yield
    assert most_held() - before < kilobytes
