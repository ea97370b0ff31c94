"""Runners: who does a list of independent blocks.

This process, processes of this machine, or a Ray cluster; the answers are the same.

A runner is called as ``run(function, blocks)`` and gives :class:`Done` as blocks are done.  It
knows nothing of what a block is: what must outlive a killed process is kept by the function itself
(:class:`selion.prediction.BlockJournal`).
"""

from selion.runners.choose import open_runner as open_runner
from selion.runners.options import RunnerOptions as RunnerOptions
from selion.runners.work_queue import Done as Done
from selion.runners.work_queue import Runner as Runner
from selion.runners.work_queue import Serial as Serial
from selion.runners.work_queue import in_order as in_order
