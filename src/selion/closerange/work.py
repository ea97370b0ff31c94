"""Many photographs at once.  One that fails, or kills its process, is told; the others go on."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selion.closerange.measure import CropOptions, Measured, measure_photo
from selion.closerange.model import PhotoModel, open_model
from selion.cores import usable_cores
from selion.data.photos import PhotoFile
from selion.errors import BadInput, OutputExists, OutputFailed, SelionError
from selion.runners import Serial
from selion.runners.processes import Processes, WorkerDied

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


@dataclass(eq=False)
class PhotoWork:
    """Measure a photograph; what a runner is given.

    What is wrong with a photograph is an answer, what is wrong with the output (OutputFailed,
    OutputExists) is raised: no other photograph could be written, either.
    """

    name: str
    """Of the model."""
    compute: ComputeOptions
    options: CropOptions
    out: Path
    model: PhotoModel | None = None
    """The model, open; other processes open their own."""

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"model": None}

    def __call__(self, photo: PhotoFile) -> Outcome:
        """Measure it, and write its mask and overlay."""
        if self.model is None:
            compute = self.compute
            self.model = open_model(
                self.name, compute.engine, fast=compute.fast, threads=compute.threads
            )
        try:
            return measure_photo(photo, self.model, self.options, self.out)
        except (OutputFailed, OutputExists):
            raise
        except FAILURES as error:
            return FailedPhoto(_sentence(error, photo))


def _sentence(error: BaseException, photo: PhotoFile) -> str:
    if isinstance(error, SelionError):
        return str(error).replace(str(photo.path), photo.file)
    if isinstance(error, MemoryError):
        return "There was not enough memory for it: use fewer --workers, or make it smaller."
    if isinstance(error, WorkerDied):
        return (
            "It ended the process that measured it: there was not enough memory (use fewer "
            "--workers), or the file breaks its decoder."
        )
    return (
        f"It could not be measured ({type(error).__name__}: "
        f"{str(error).strip() or 'no reason given'}): check that it opens elsewhere, and report it."
    )


def measure_all(
    photos: Sequence[PhotoFile], work: PhotoWork
) -> Generator[tuple[PhotoFile, Outcome], None, None]:
    """Measure photographs and yield each as it is done, in no particular order.

    Parameters
    ----------
    photos : sequence of PhotoFile
    work : PhotoWork
        One worker stays in this process.

    Notes
    -----
    A photograph that was begun is finished, whenever the caller stops.  A script that calls this
    with several workers needs the usual ``if __name__ == "__main__"``.
    """
    workers = choose_workers(work.compute.workers, len(photos))
    threads = work.compute.threads or max(1, usable_cores() // workers)
    with (
        nullcontext(Serial())
        if workers == 1
        else Processes(workers, threads, finish=True) as runner
    ):
        for done in runner(work, photos):
            why = done.error
            yield (
                done.block,
                done.result if why is None else FailedPhoto(_sentence(why, done.block)),
            )
