"""Which runner: from its options to one that can be called."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from selion.cores import usable_cores
from selion.runners.options import RunnerOptions
from selion.runners.work_queue import Runner, Serial


@contextmanager
def open_runner(options: RunnerOptions) -> Iterator[Runner]:
    """Give the runner of some options; its workers end with the block.

    Raises
    ------
    MissingExtra
        If Ray is wanted and not installed.
    BadInput
        If a cluster does not answer.
    """
    if options.name == "serial":
        yield Serial(options.threads)
    elif options.name == "processes":
        from selion.runners.processes import Processes

        with Processes(options.workers or usable_cores(), options.share) as runner:
            yield runner
    else:
        from selion.runners.cluster import open_cluster

        with open_cluster(options) as cluster:
            yield cluster
