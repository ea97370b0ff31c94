"""What holds for every test: a slow machine is no failure, so Hypothesis has no deadline.

Where pytest-xdist runs several workers, each keeps to its share of the cores. Left to themselves
the libraries start a thread per core in each worker, and those wait for one another in busy loops:
a forward pass of a toy network then takes three times its work.
"""

import os

from hypothesis import settings

from selion.cores import usable_cores
from selion.runners.worker import limit_threads

settings.register_profile("selion", deadline=None)
settings.load_profile("selion")

if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")):
    limit_threads(max(usable_cores() // workers, 1))  # before numpy and torch are imported
