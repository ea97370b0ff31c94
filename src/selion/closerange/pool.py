"""Many photographs at once, in processes of their own.

One that fails, or that kills its process, is told and the others go on.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path

from selion.closerange.measure import CropOptions, Measured, measure_photo
from selion.closerange.model import PhotoModel, open_model
from selion.data.photos import PhotoFile
from selion.errors import BadInput, OutputExists, OutputFailed, SelionError
from selion.runners import usable_cores

FAILURES = (
    SelionError,
    OSError,
    ValueError,
    ArithmeticError,
    LookupError,
    SyntaxError,
    MemoryError,
)
"""What a photograph may do to a decoder or to a measurement."""
MOST_WORKERS = 8
"""By default: a photograph of 20 megapixels takes 0.6 GB while it is measured, beside the 0.3 GB of
a process."""


@dataclass(frozen=True, slots=True)
class FailedPhoto:
    """A photograph that could not be measured."""

    why: str


Outcome = Measured | FailedPhoto


@dataclass(frozen=True, slots=True)
class ComputeOptions:
    """Who measures photographs, and with what."""

    workers: int | None = None
    """Processes; None: one per core, at most 8."""
    engine: str = "auto"
    """See :func:`selion.models.load_model`."""
    fast: bool = False
    """Whether the engine may round to fewer bits."""
    threads: int | None = None
    """Threads of each worker; None: the cores are shared out among the workers."""


@dataclass(frozen=True, slots=True)
class PhotoJob:
    """What is done to each photograph; goes to other processes."""

    model: str
    engine: str
    fast: bool
    threads: int | None
    options: CropOptions
    out: Path


def choose_workers(given: int | None, photos: int) -> int:
    """Return how many processes measure photographs.

    As given, else one per core, and never more than there are photographs.

    Raises
    ------
    BadInput
        If the number is not positive.
    """
    if given is not None and given < 1:
        raise BadInput(f"{given} workers were asked for; wanted is 1 or more.")
    return max(1, min(given or min(usable_cores(), MOST_WORKERS), photos))


def attempt(photo: PhotoFile, model: PhotoModel, job: PhotoJob) -> Outcome:
    """Measure a photograph.

    What is wrong with it is an answer, what is wrong with the output is raised.

    Raises
    ------
    OutputFailed, OutputExists
        If the output cannot be written: no other photograph could be, either.
    """
    try:
        return measure_photo(photo, model, job.options, job.out)
    except (OutputFailed, OutputExists):
        raise
    except FAILURES as error:
        return FailedPhoto(_sentence(error, photo))


def _sentence(error: BaseException, photo: PhotoFile) -> str:
    if isinstance(error, SelionError):
        return str(error).replace(str(photo.path), photo.file)
    if isinstance(error, MemoryError):
        return "There was not enough memory for it: use fewer --workers, or make it smaller."
    return (
        f"It could not be measured ({type(error).__name__}: "
        f"{str(error).strip() or 'no reason given'}): check that it opens elsewhere, and report it."
    )


def measure_all(
    photos: Sequence[PhotoFile], job: PhotoJob, model: PhotoModel, workers: int
) -> Generator[tuple[PhotoFile, Outcome], None, None]:
    """Measure photographs and yield each as it is done, in no particular order.

    Parameters
    ----------
    photos : sequence of PhotoFile
    job : PhotoJob
    model : PhotoModel
        That of the job, opened; other processes open their own.
    workers : int
        Processes; 1 stays in this one.

    Notes
    -----
    Processes are spawned and not forked, as engines hold threads.  A script that calls this with
    several workers needs the usual ``if __name__ == "__main__"``.
    """
    if workers == 1:
        yield from ((photo, attempt(photo, model, job)) for photo in photos)
        return
    waiting = deque(photos)
    while waiting:
        lost: list[PhotoFile] = []
        yield from _one_pool(waiting, job, workers, lost)
        for photo in lost:  # a process died; which of these killed it is found by trying each alone
            yield photo, _alone(photo, job)


def _executor(job: PhotoJob, workers: int, stop: Event) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _begin, (job, stop))


def _one_pool(
    waiting: deque[PhotoFile], job: PhotoJob, workers: int, lost: list[PhotoFile]
) -> Generator[tuple[PhotoFile, Outcome], None, None]:
    """Work until nothing waits, or until a process dies.

    Then ``lost`` holds the photographs that it may have been.
    """
    stop = multiprocessing.get_context("spawn").Event()
    pool = _executor(job, workers, stop)
    running: dict[Future[Outcome], PhotoFile] = {}
    try:
        while (waiting or running) and not lost:
            while waiting and len(running) < 2 * workers:
                photo = waiting.popleft()
                running[_submit(pool, photo)] = photo
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                photo = running.pop(done)
                if isinstance(done.exception(), BrokenProcessPool):
                    lost.append(photo)
                else:
                    yield photo, done.result()
        lost += running.values()
    finally:
        stop.set()  # a pool hands out more than its processes work on, which cannot be cancelled
        pool.shutdown(wait=True, cancel_futures=True)


def _submit(pool: ProcessPoolExecutor, photo: PhotoFile) -> Future[Outcome]:
    """Hand a photograph to a pool.

    One that is broken already answers so by the future, as it would a moment later.
    """
    try:
        return pool.submit(_work, photo)
    except BrokenProcessPool as error:
        refused: Future[Outcome] = Future()
        refused.set_exception(error)
        return refused


def _alone(photo: PhotoFile, job: PhotoJob) -> Outcome:
    pool = _executor(job, 1, multiprocessing.get_context("spawn").Event())
    try:
        _check_alive(pool)
        return pool.submit(_work, photo).result()
    except BrokenProcessPool:
        return FailedPhoto(
            "It ended the process that measured it: there was not enough memory (use fewer "
            "--workers), or the file breaks its decoder."
        )
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _check_alive(pool: ProcessPoolExecutor) -> None:
    try:
        pool.submit(os.getpid).result()
    except BrokenProcessPool as error:
        message = (
            "Processes that measure photographs cannot start here (a script without 'if __name__ "
            '== "__main__"\', or no memory): use 1 worker.'
        )
        raise BadInput(message) from error


_here: list[tuple[PhotoModel, PhotoJob, Event]] = []
"""In a process of the pool: its model, what it does, and whether the run was stopped."""


def _begin(job: PhotoJob, stop: Event) -> None:
    # the parent decides: a photograph that was begun is finished
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _here.append((open_model(job.model, job.engine, fast=job.fast, threads=job.threads), job, stop))


def _work(photo: PhotoFile) -> Outcome:
    model, job, stop = _here[0]
    return FailedPhoto("The run was stopped.") if stop.is_set() else attempt(photo, model, job)
