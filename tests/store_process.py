"""A store that fails, in a process of its own: who forks children has no thread of a server, whose
locks a child would hold for ever.
"""

from __future__ import annotations

import logging
import multiprocessing
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self

from faulty_store import FaultyStore

Opens = Callable[[], AbstractContextManager[FaultyStore]]
"""What opens the store; it is called by its name in the other process."""


class StoreProcess:
    """``with StoreProcess(FaultyStore) as store``: what is used of the store, from afar."""

    def __init__(self, opens: Opens) -> None:
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(opens, theirs), daemon=True)
        self.host, self.environment = "", {}

    def __enter__(self) -> Self:
        self._process.start()
        self.host, self.environment = self._answer()
        return self

    def __exit__(self, *_: object) -> None:
        self._ours.send(None)
        self._process.join(30)
        if self._process.is_alive():
            self._process.kill()

    def fault(self, *given: Any) -> None:
        """Let requests fail from now on; see :class:`FaultyStore`."""
        self._ask("fault", *given)

    def mend(self) -> None:
        """Let nothing fail any more."""
        self._ask("mend")

    def kill_who(self, client: Path) -> None:
        """Say in which file the number of the process will stand that may be killed."""
        self._ask("kill_who", client)

    def counted(self) -> Counter[str]:
        """Return the requests since the last look, by method."""
        return Counter(self._ask("counted"))

    def _ask(self, *said: Any) -> Any:
        self._ours.send(said)
        return self._answer()

    def _answer(self) -> Any:
        if not self._ours.poll(120):
            raise TimeoutError("the process of the store says nothing")
        return self._ours.recv()


def _serve(opens: Opens, pipe: Connection) -> None:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it says each request
    with opens() as store:
        pipe.send((store.host, store.environment))
        while (said := pipe.recv()) is not None:
            what, *given = said
            pipe.send(getattr(store, what)(*given))
