"""The processes of one run feel each other's pulse, so that none waits for one that is gone."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from selion.errors import SelionError
from selion.training.processes import Team

BEAT, GRACE = 0.5, 5.0
"""Seconds between two beats, and that a process has to say itself what it met."""
ENDED = 2
"""Exit code, as of every failure that is said in a sentence."""


class PeerLost(SelionError):
    """Another process of the run ended, or does not answer."""


@contextmanager
def watched(team: Team, patience: float) -> Iterator[None]:
    """Watch the other processes of a run while it lasts.

    A process whose peer died, or was stopped, would wait in the libraries for hours, or end with
    their words.  All must leave together; one that leaves by an error leaves alone.

    Parameters
    ----------
    team : Team
    patience : float
        Seconds after which a process that does not answer counts as lost.

    Raises
    ------
    PeerLost
        If another process is lost while this one waits for it.  One that is busy, or waits where
        no exception reaches it, says the same sentence and ends with exit code 2.
    """
    if team.world == 1:
        yield
        return
    pulse = _Pulse(team, patience)
    pulse.start()
    try:
        yield
    except BaseException as error:
        pulse.leaving.set()
        if _is_loss(error):
            raise PeerLost(pulse.sentence) from error
        raise
    pulse.end()


def _is_loss(error: BaseException) -> bool:
    """Say whether an error of the libraries means that another process is gone."""
    import torch.distributed as dist

    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and "gloo/transport" in str(error)
    )


class _Pulse:
    """A thread that meets those of the other processes every half second, in a group of its own."""

    def __init__(self, team: Team, patience: float) -> None:
        import torch.distributed as dist

        self.leaving = threading.Event()
        """Whether this process is on its way out, for better or worse."""
        self.done = threading.Event()
        self.sentence = (
            f"Another of the {team.world} processes of this run ended, or did not answer for "
            f"{patience:g} s (hardware.patience): see what it said last, and go on from the last "
            "checkpoint with --resume."
        )
        self._world = team.world
        self._group: Any = dist.new_group(timeout=timedelta(seconds=patience), backend="gloo")
        self._thread = threading.Thread(target=self._beat, name="pulse", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def end(self) -> None:
        """Wait until all have done their work."""
        self.done.set()
        self._thread.join()
        if self.leaving.is_set():
            raise PeerLost(self.sentence)

    def _beat(self) -> None:
        import torch
        import torch.distributed as dist

        while True:
            said = torch.tensor([float(self.done.is_set())])
            try:
                dist.all_reduce(said, group=self._group)
            except RuntimeError:
                self._lost()
                return
            if said.item() == self._world:
                return
            self.done.wait(BEAT)

    def _lost(self) -> None:
        """End this process, unless it has met the loss itself by now."""
        if self.done.is_set() and not self.leaving.is_set():
            self.leaving.set()  # who waits for this thread says it
        elif not self.leaving.wait(GRACE):
            sys.stderr.write(f"Error: {self.sentence}\n")
            sys.stderr.flush()
            os._exit(ENDED)
