"""One run at a time at each job of a plan, wherever it was started.

A run holds the lock of a hidden file in the job's folder while it does it, and a process that dies
gives it back.  What ``job.sh`` does is known by the note of its ``selion map``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from selion.country.job_tables import TABLE
from selion.store.leftovers import JOB_LEASE, NOTE
from selion.store.lock import busy, leased


@contextmanager
def job_leased(place: Path) -> Iterator[bool]:
    """Be the only one who does a job; say whether nobody else is at it.

    Where a file system has no locks nobody is kept out.

    Parameters
    ----------
    place : Path
        The job's folder.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    lease = place / JOB_LEASE
    with leased(lease) as free:
        if not free:
            yield False
            return
        try:
            yield not busy(_note(place))
        finally:
            lease.unlink(missing_ok=True)


def is_at_work(place: Path) -> bool:
    """Say whether somebody is at a job.

    Parameters
    ----------
    place : Path
        The job's folder.
    """
    return busy(place / JOB_LEASE) or busy(_note(place))


def is_ended(place: Path) -> bool:
    """Say whether whoever wrote the table of a job came to the end, or nobody has begun.

    Parameters
    ----------
    place : Path
        The job's folder.
    """
    return not _note(place).exists()


def tidy_lease(place: Path) -> None:
    """Remove the lease of a run that was killed when the job was done.

    Parameters
    ----------
    place : Path
        The job's folder.
    """
    if (place / JOB_LEASE).exists():
        with suppress(OSError), job_leased(place):  # it goes at the end
            pass


def _note(place: Path) -> Path:
    """Return what ``selion map`` holds while it writes the table of a job."""
    return place / f".{TABLE}{NOTE}"
