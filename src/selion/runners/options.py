"""What can be asked of a runner."""

from __future__ import annotations

from dataclasses import dataclass

from selion.cores import usable_cores
from selion.errors import BadInput, UnknownName

NAMES = ("serial", "processes", "ray")
SCHEME = "ray://"


@dataclass(frozen=True, slots=True)
class RunnerOptions:
    """Who does the blocks of a run; it decides time, never the result."""

    name: str = "serial"
    """``serial``, ``processes``, ``ray`` (one that is started on this machine) or
    ``ray://HOST:PORT`` (a cluster that is there; ``ray://auto``: the one that the environment's
    ``RAY_ADDRESS`` names, as ``ray job submit`` sets it)."""
    workers: int | None = None
    """Blocks in work at once; None: one per core, and on a cluster as many as it has room for."""
    threads: int | None = None
    """Threads of each worker; None: this machine's cores are shared out among its workers."""

    def __post_init__(self) -> None:
        if self.name not in NAMES and not (
            self.name.startswith(SCHEME) and len(self.name) > len(SCHEME)
        ):
            raise UnknownName.among("runner", self.name, [*NAMES, "ray://HOST:PORT"])
        for what in ("workers", "threads"):
            value = getattr(self, what)
            if value is not None and value < 1:
                raise BadInput(f"{value} {what} were asked for; wanted is 1 or more.")
        if self.name == "serial" and (self.workers or 1) > 1:
            raise BadInput(
                f"{self.workers} workers were asked for, but the --runner is 'serial': add "
                "--runner processes, or ray."
            )

    @property
    def share(self) -> int:
        """Threads of each worker on this machine.

        As asked, or what is left of the cores for each.
        """
        return self.threads or max(usable_cores() // (self.workers or usable_cores()), 1)
