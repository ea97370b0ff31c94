"""Runners: who does a list of independent blocks.  This process, processes of this machine, or a Ray cluster; the answers are the same.

A runner is called as ``run(function, blocks)`` and gives :class:`Done` as blocks are done.  It knows nothing of what a block is: what must outlive a killed
process is kept by the function itself (:class:`selion.predict.Journal`).
"""

from selion.runners.agenda import Done as Done
from selion.runners.agenda import Runner as Runner
from selion.runners.agenda import Serial as Serial
from selion.runners.agenda import in_order as in_order
from selion.runners.choose import RunnerOptions as RunnerOptions
from selion.runners.choose import open_runner as open_runner
from selion.runners.choose import usable_cores as usable_cores
