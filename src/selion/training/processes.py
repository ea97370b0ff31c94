"""Several processes of one run: which of them writes, and that all of them hear the same."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from selion.errors import BadInput, SelionError
from selion.extras import require

T = TypeVar("T")
PATIENCE = timedelta(hours=6)
"""How long the others wait while one inspects or writes."""
LAUNCHED = {
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
}
"""What accelerate says in the environment where its launcher is to split a model."""


def count_processes() -> int:
    """Return how many processes share this run: as the launcher says in ``WORLD_SIZE``, else 1."""
    said = os.environ.get("WORLD_SIZE", "1")
    return int(said) if said.isdigit() and int(said) > 0 else 1


@dataclass(frozen=True)
class Team:
    """The place of this process among those of a run."""

    rank: int = 0
    world: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the one that writes and speaks."""
        return self.rank == 0

    def led(self, work: Callable[[], T]) -> T:
        """Do something in the first process only; its result, or its error, is everyone's.

        Parameters
        ----------
        work : callable
            Returns what can be pickled.

        Raises
        ------
        SelionError
            The same in all processes, if it is one of ours.
        RuntimeError
            In the others, if it is another.
        """
        if self.world == 1:
            return work()
        from accelerate.utils import broadcast_object_list

        said: list[tuple[T | None, Exception | None]] = [(None, None)]
        if self.leads:
            try:
                said = [(work(), None)]
            except SelionError as error:
                said = [(None, error)]
            except Exception as error:
                broadcast_object_list([(None, RuntimeError(f"The first process failed: {error}"))])
                raise
        broadcast_object_list(said)
        found, problem = said[0]
        if problem is not None:
            raise problem
        return found  # type: ignore[return-value]  # None only if the work returned it

    def meet(self) -> None:
        """Wait until all processes are here."""
        if self.world > 1:
            from accelerate.utils import wait_for_everyone

            wait_for_everyone()


def check_launcher() -> None:
    """Refuse a launcher that was told to split the model: the recipe says whether and how.

    Raises
    ------
    BadInput
    """
    for name, title in LAUNCHED.items():
        if os.environ.get(name, "").lower() in {"1", "true", "yes"}:
            raise BadInput(
                f"The launcher was told to split the model by {title}: launch without that, and "
                "set hardware.split = true instead, which splits by FSDP2; or hold the base in "
                "4 bits (language.quantise = 'nf4')."
            )


def join_processes(device: str) -> Team:
    """Find the other processes of a run that ``accelerate launch`` or ``torchrun`` began.

    Parameters
    ----------
    device : str
        "cpu", "cuda" or "mps".
    """
    world = count_processes()
    if world == 1:
        return Team()
    accelerate = require("accelerate", "train")
    state = accelerate.PartialState(cpu=device == "cpu", timeout=PATIENCE)
    return Team(int(state.process_index), int(state.num_processes))


def check_same_count(checkpoint: Path) -> None:
    """Refuse to go on with another number of processes than a checkpoint was written by.

    Raises
    ------
    BadInput
    """
    was, now = len([*checkpoint.glob("rng_state_*.pth")]) or 1, count_processes()
    if was != now:
        raise BadInput(
            f"{checkpoint} was written by a run of {was} processes, and this is one of {now}: "
            f"resume with --num_processes {was}, or start in another folder."
        )
