"""Processes of this machine.  One that dies is replaced, and its block is done again."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any, Self

from selion.errors import BadInput
from selion.runners.work_queue import TRIES, Done, Job, Runner, WorkQueue
from selion.runners.worker import serve

GRACE_SECONDS = 5.0
"""Seconds that a worker without work gets to end by itself."""
LOOK = 2.0
"""Seconds after which busy workers are looked at again."""
STOPPED_SECONDS = 30.0
"""Seconds that a worker may be stopped (SIGSTOP) before another one does its block."""


class WorkerDied(RuntimeError):
    """A worker ended in the middle of a block: killed, stopped, out of memory, or crashed."""

    starved = False
    """Whether it was killed, as a system does that runs out of memory."""


@dataclass(eq=False)
class _Worker:
    """A worker process and what it works on."""

    process: Any
    pipe: Connection
    payload: bytes = b""
    """The function that it knows."""
    job: Job | None = None
    stopped_for: float = 0.0
    """Seconds for which it was seen stopped, this process awake."""
    looked: float = 0.0
    """Time (monotonic) of the last look."""

    @classmethod
    def started(cls, threads: int) -> _Worker:
        # spawned, not forked: engines and GDAL keep threads and locks that do not survive a fork
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=serve, args=(theirs, threads), daemon=True, name="selion-worker"
        )
        process.start()
        theirs.close()
        return cls(process, ours)

    def give(self, payload: bytes, job: Job) -> bool:
        """Give it a block; say whether it is alive to take it."""
        try:
            self.pipe.send_bytes(
                pickle.dumps((None if payload == self.payload else payload, job.block))
            )
        except OSError:
            return False
        self.payload, self.job = payload, job
        self.stopped_for, self.looked = 0.0, time.monotonic()
        return True

    def answer(self) -> tuple[Any, BaseException | None]:
        """Return (result, error); a worker that died, or is stopped for long, is an error."""
        while not self.pipe.poll(LOOK):
            if self.is_stuck():
                self.process.kill()  # it would hold its memory, and go on beside another one
                self.process.join(GRACE_SECONDS)
                said = (
                    "A worker was stopped (SIGSTOP) in the middle of a block, for more than "
                    f"{STOPPED_SECONDS:g} s, and was ended"
                )
                warnings.warn(f"{said}: another one does the block.", stacklevel=2)
                return None, WorkerDied(f"{said}.")
        try:
            result, error = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join(GRACE_SECONDS)
            died = WorkerDied(
                f"A worker died in the middle of a block ({_fate(self.process.exitcode)})."
            )
            died.starved = self.process.exitcode == -getattr(signal, "SIGKILL", 9)
            return None, died
        return result, error

    def is_stuck(self) -> bool:
        """Say whether it was stopped at every look for longer than it may be.

        A time in which this process did not look, as when both were stopped, does not count.
        """
        now = time.monotonic()
        if self.is_stopped():
            self.stopped_for += min(now - self.looked, 2 * LOOK)
        else:
            self.stopped_for = 0.0
        self.looked = now
        return self.stopped_for > STOPPED_SECONDS

    def is_stopped(self) -> bool:
        """Say whether it is stopped now, where the system tells."""
        if not hasattr(os, "waitid"):
            return False
        how = os.WSTOPPED | os.WNOHANG | os.WNOWAIT
        try:
            return os.waitid(os.P_PID, self.process.pid, how) is not None
        except ChildProcessError:  # it has ended
            return False

    def leave(self) -> None:
        self.pipe.close()
        if self.job is not None or self.is_stopped():
            self.process.kill()
        self.process.join(GRACE_SECONDS)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def _fate(code: int | None) -> str:
    if code is None:
        return "it does not answer"
    if code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    return f"{name}: out of memory, or killed" if -code == getattr(signal, "SIGKILL", 9) else name


@dataclass(eq=False)
class Processes:
    """Worker processes of this machine.

    They are started when they are first needed, and kept until :meth:`close`.
    """

    workers: int
    threads: int
    """Threads of each."""
    finish: bool = False
    """Whether blocks that were begun are finished when the caller stops; else their workers are
    killed."""
    place: str = "machine"
    _running: list[_Worker] = field(default_factory=list, repr=False)
    _started: bool = field(default=False, repr=False)
    """Whether a worker has ever answered."""

    def __call__(
        self, function: Callable[[Any], Any], blocks: Iterable[Any], *, tries: int = TRIES
    ) -> Iterator[Done]:
        """Do all blocks."""
        payload, queue = pickle.dumps(function), WorkQueue(blocks, tries)
        try:
            while True:
                self._hand_out(queue, payload)
                busy = [worker for worker in self._running if worker.job is not None]
                if not busy and queue.over:
                    return
                for worker in _ready(busy, self._pause(busy, queue)) if busy else _slept(queue):
                    done = self._taken(queue, worker)
                    if done is not None:
                        yield done
        finally:
            self._dismiss_busy()

    def _hand_out(self, queue: WorkQueue, payload: bytes) -> None:
        """Give every free worker a block, as long as there are any."""
        while sum(worker.job is not None for worker in self._running) < self.workers:
            job = queue.take()
            if job is None:
                return
            while not self._free().give(payload, job):
                self._dismiss([worker for worker in self._running if not worker.process.is_alive()])

    def _pause(self, busy: list[_Worker], queue: WorkQueue) -> float:
        """Return the seconds after which there is something to do even if no worker answers.

        A block that may be tried again waits for a worker, however long its time has come.
        """
        full = len(busy) >= self.workers
        return LOOK if full or queue.waiting is None else min(queue.waiting, LOOK)

    def _free(self) -> _Worker:
        """Return a worker without work; start one if there is none."""
        for worker in self._running:
            if worker.job is None and worker.process.is_alive() and not worker.is_stopped():
                return worker
        self._dismiss([worker for worker in self._running if worker.job is None])
        self._running.append(_Worker.started(self.threads))
        return self._running[-1]

    def _taken(self, queue: WorkQueue, worker: _Worker) -> Done | None:
        job, (result, error) = worker.job, worker.answer()
        worker.job = None
        if isinstance(error, WorkerDied):
            self._dismiss([worker])
            self._check_start()
        self._started = True
        if job is None:
            return None
        return queue.done(job, result) if error is None else queue.failed(job, error)

    def _check_start(self) -> None:
        """Tell a block that kills its worker from workers that cannot start.

        Raises
        ------
        BadInput
            If none has ever answered, and one that has nothing to do does not either.
        """
        if self._started:
            return
        probe = _Worker.started(self.threads)
        probe.give(pickle.dumps(abs), Job(0, 0))
        _, error = probe.answer()
        probe.leave()
        if error is not None:
            raise BadInput(
                "Worker processes cannot start here (a script without 'if __name__ == "
                '"__main__"\', or no memory): use 1 worker.'
            ) from error

    def _dismiss(self, gone: list[_Worker]) -> None:
        for worker in gone:
            self._running.remove(worker)
            worker.leave()

    def _dismiss_busy(self) -> None:
        """Stop those whose work nobody wants any more."""
        busy = [worker for worker in self._running if worker.job is not None]
        for worker in busy if self.finish else ():
            worker.answer()
            worker.job = None
        self._dismiss(busy)

    def close(self) -> None:
        """Let all workers go."""
        self._dismiss(list(self._running))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _ready(busy: list[_Worker], seconds: float) -> list[_Worker]:
    """Wait until workers have answered or are stuck, or for so long."""
    answered = wait([worker.pipe for worker in busy], seconds)
    return [worker for worker in busy if worker.pipe in answered or worker.is_stuck()]


def _slept(queue: WorkQueue) -> list[_Worker]:
    """Wait until a block may be tried again; nobody works."""
    time.sleep(queue.waiting or 0.0)
    return []


_: type[Runner] = Processes
