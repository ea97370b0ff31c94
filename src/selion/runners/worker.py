"""The far end of a worker process.

It imports nothing heavy before it knows how many threads it may use.
"""

from __future__ import annotations

import functools
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any

POOLS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)
"""Variables by which libraries are told how many threads they may start; they are read when a
library is imported."""


def limit_threads(threads: int) -> None:
    """Tell libraries that are imported from now on how many threads they may use.

    What the user set stays.
    """
    for name in POOLS:
        os.environ.setdefault(name, str(threads))


@functools.lru_cache(maxsize=4)
def unpacked(payload: bytes) -> Callable[[Any], Any]:
    """Return the function that a payload holds.

    One and the same for the same payload, so that what it has loaded stays loaded.
    """
    function: Callable[[Any], Any] = pickle.loads(payload)  # noqa: S301 - it comes from the process that started us
    return function


def serve(pipe: Connection, threads: int) -> None:
    """Do what comes through a pipe until nothing comes any more.

    ``(payload or None, block)`` in, ``(result, error)`` out.
    """
    from selion.runners.work_queue import FAULTS

    # Ctrl-C goes to all processes of a terminal; the driver stops us when it wants
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    limit_threads(threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    payload = b""
    while True:
        try:
            given = pipe.recv_bytes()
        except (EOFError, OSError):
            return
        fresh, block = pickle.loads(given)  # noqa: S301
        payload = fresh or payload
        try:
            answer: tuple[Any, Any] = (unpacked(payload)(block), None)
        except FAULTS as error:
            answer = (None, portable(error))
        pipe.send(answer)


def portable(error: BaseException) -> BaseException:
    """Return an error that can be sent: itself, or one sentence where it cannot be packed."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301
    except (TypeError, AttributeError, ValueError, pickle.PickleError):
        return RuntimeError("".join(traceback.format_exception_only(error)).strip())
    return error


def _end_with_parent() -> None:
    """End this process at once when the one that started it has died.

    Nobody waits for its answers, and it must not write beside a new run.
    """
    from multiprocessing import parent_process

    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
