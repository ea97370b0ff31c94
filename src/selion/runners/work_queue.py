"""What has to be done, what is being done, and what did not work.

The book that all runners keep, and the runner that needs nobody else.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from selion.errors import FetchFailed, SelionError, ServerLost, UnreadableFile

TRIES = 3
"""Times that a block is tried before it has failed."""
PAUSE = 0.25
"""Seconds before the second try; each further one waits twice as long.  What comes over a network
has been patient on its own before it fails."""
FAULTS = (SelionError, OSError, ValueError, RuntimeError, MemoryError, ArithmeticError, LookupError)
"""What a block may raise without taking its worker along.  Whatever else it raises is a bug: it
ends a worker as a crash would, its traceback is printed."""


def is_fatal(error: BaseException) -> bool:
    """Say whether an error concerns the whole run and not one block.

    A model that does not fit, a full disk, a missing library, a model whose server is gone.
    """
    of_one = isinstance(error, UnreadableFile | FetchFailed) and not isinstance(error, ServerLost)
    return isinstance(error, SelionError) and not of_one


def is_starved(error: BaseException) -> bool:
    """Say whether memory was short, or may have been: a worker killed without a word."""
    return isinstance(error, MemoryError) or getattr(error, "starved", False)


@dataclass(frozen=True, eq=False, slots=True)
class Done:
    """A block that is done, or has failed."""

    number: int
    """Its place among the blocks that were given."""
    block: Any
    result: Any = None
    error: BaseException | None = None
    """Why it failed; None: it is done."""
    tries: int = 1


class Runner(Protocol):
    """Whoever does blocks."""

    @property
    def workers(self) -> int:
        """Blocks that are in work at once."""
        ...

    @property
    def threads(self) -> int | None:
        """Threads that each worker should use; None: all cores."""
        ...

    @property
    def place(self) -> str:
        """Where workers are.

        ``here`` (this process), ``machine`` (other processes that see its files) or ``cluster``
        (they may not).
        """
        ...

    def __call__(
        self, function: Callable[[Any], Any], blocks: Iterable[Any], *, tries: int = TRIES
    ) -> Iterator[Done]:
        """Do all blocks, in any order.

        Parameters
        ----------
        function : callable
            ``function(block) -> result``; it may be called more than once for a block, also at the
            same time, and must not mind.  Beyond this process it must be picklable, and so must
            blocks and results.
        blocks : iterable
            Taken as workers become free.
        tries : int
            Times that a block is tried: one that raises (:data:`FAULTS`) or whose worker dies is
            tried again.

        Yields
        ------
        Done
            Each block once.

        Raises
        ------
        SelionError
            At once, where an error concerns all blocks (:func:`is_fatal`).
        """
        ...


@dataclass(eq=False, slots=True)
class Job:
    """A block on its way."""

    number: int
    block: Any
    tries: int = 0
    not_before: float = 0.0
    """Time (monotonic) of its next try."""
    alone: bool = False
    """Whether nothing else is done beside it: there was not enough memory for several."""


@dataclass(eq=False)
class WorkQueue:
    """Blocks that wait, and blocks that are to be tried again."""

    blocks: Iterable[Any]
    tries: int = TRIES
    again: deque[Job] = field(default_factory=deque)
    open: int = 0
    """Jobs that were taken and are neither done nor waiting."""
    _alone: Job | None = None
    """The one of them beside which nothing is done."""
    _coming: Iterator[tuple[int, Any]] = field(init=False)
    _exhausted: bool = False

    def __post_init__(self) -> None:
        self._coming = enumerate(self.blocks)

    def take(self) -> Job | None:
        """Return the next job, its try counted; None: there is none at present."""
        if self._alone is not None:
            return None
        job = self._fresh() or self._due()
        if job is not None:
            job.tries += 1
            self.open += 1
            self._alone = job if job.alone else None
        return job

    def _fresh(self) -> Job | None:
        if self._exhausted:
            return None
        for number, block in self._coming:
            return Job(number, block)
        self._exhausted = True
        return None

    def _due(self) -> Job | None:
        ready = bool(self.again) and self.again[0].not_before <= time.monotonic()
        return self.again.popleft() if ready and not self._held_up else None

    @property
    def _held_up(self) -> bool:
        """Whether the next job waits until all others have ended."""
        return bool(self.again) and self.again[0].alone and self.open > 0

    def _ended(self, job: Job) -> None:
        self.open -= 1
        self._alone = None if self._alone is job else self._alone

    def done(self, job: Job, result: Any) -> Done:
        """Take a result."""
        self._ended(job)
        return Done(job.number, job.block, result, tries=job.tries)

    def failed(self, job: Job, error: BaseException) -> Done | None:
        """Take a failure: None while the block is to be tried again, else the block that failed.

        One for which memory was short is tried again with nothing beside it.

        Raises
        ------
        SelionError
            If the error concerns all blocks.
        """
        self._ended(job)
        if is_fatal(error):
            raise error
        if job.tries >= self.tries:
            return Done(job.number, job.block, error=error, tries=job.tries)
        job.alone = is_starved(error)
        job.not_before = time.monotonic() + PAUSE * 2 ** (job.tries - 1)
        self.again.append(job)
        return None

    @property
    def waiting(self) -> float | None:
        """Seconds until a block may be tried again, if it waits for nothing else."""
        if not self.again or self._held_up:
            return None
        return max(self.again[0].not_before - time.monotonic(), 0.0)

    @property
    def over(self) -> bool:
        """Whether there is nothing left; true only after :meth:`take` had nothing to give."""
        return self._exhausted and not self.again and not self.open


@dataclass(frozen=True)
class Serial:
    """One block after the other, in this process."""

    threads: int | None = None
    workers: int = 1
    place: str = "here"

    def __call__(
        self, function: Callable[[Any], Any], blocks: Iterable[Any], *, tries: int = TRIES
    ) -> Iterator[Done]:
        """Do all blocks in their order; those that failed come last."""
        queue = WorkQueue(blocks, tries)
        while True:
            job = queue.take()
            if job is not None:
                done = self._one(queue, job, function)
                if done is not None:
                    yield done
            elif queue.over:
                return
            else:
                time.sleep(queue.waiting or 0.0)

    @staticmethod
    def _one(queue: WorkQueue, job: Job, function: Callable[[Any], Any]) -> Done | None:
        try:
            result = function(job.block)
        except FAULTS as error:
            return queue.failed(job, error)
        return queue.done(job, result)


def in_order(
    run: Runner, *, tries: int = TRIES
) -> Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]:
    """Return what can be called like ``map``.

    Results in the order of the blocks, and the first block that failed raises.

    Examples
    --------
    >>> list(in_order(Serial())(abs, [-1, 2, -3]))
    [1, 2, 3]
    """

    def mapped(function: Callable[[Any], Any], blocks: Iterable[Any]) -> Iterator[Any]:
        early: dict[int, Any] = {}
        following = 0
        for done in run(function, blocks, tries=tries):
            if done.error is not None:
                raise done.error
            early[done.number] = done.result
            while following in early:
                yield early.pop(following)
                following += 1

    return mapped


_: type[Runner] = Serial
