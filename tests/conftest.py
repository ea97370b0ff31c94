"""What holds for every test: a slow machine is no failure, so Hypothesis looks at no clock.

Nor does a verdict hang on the draw of a day: the cases of a test are the same in every run, until
the test is changed.  ``make test-search`` draws new ones; a case that fails there becomes an
``@example``.

Where pytest-xdist runs several workers, each keeps to its share of the cores. Left to themselves
the libraries start a thread per core in each worker, and those wait for one another in busy loops:
a forward pass of a toy network then takes three times its work.

Nothing that a test writes need outlive a power cut: workers do not wait for the disk.  Processes
that tests start do, and a test that looks at ``os.fsync`` sees it called.

What one worker makes for all, such as bytecode, is in :mod:`once_for_all`; what they take first in
:mod:`long_first`.

What is imported while tests are collected stays to the end, so that the garbage collector need not
look at it: not while it is imported, and in no later round.  Its rounds are rarer than Python's,
too: each looks at all that tests have imported since.

A shell that starts the tests in the background has their interrupts ignored, and so would be those
of the processes that tests start and interrupt.

``make test`` leaves out what is marked ``long``, and says how many; ``make test-slow`` runs it.
"""

import gc
import os
import signal
import sys
import threading

import pytest
from hypothesis import HealthCheck, settings

from long_first import long_first
from once_for_all import compile_loops_once, write_bytecode
from selion.cores import usable_cores
from selion.runners.worker import limit_threads

gc.disable()
gc.set_threshold(50_000, 20, 20)

NO_CLOCK = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("selion", **NO_CLOCK, derandomize=True)
settings.register_profile("search", **NO_CLOCK)
settings.load_profile("selion")

in_main_thread = threading.current_thread() is threading.main_thread()
if in_main_thread and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def asked_to_sync(handle):
    os.fstat(handle)  # raises for what is no open file, as fsync does


if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")):
    limit_threads(max(usable_cores() // workers, 1))  # before numpy and torch are imported
    os.fsync = asked_to_sync


def pytest_configure(config):
    rewritten = config.getoption("assertmode") == "rewrite"
    if workers and rewritten and not sys.dont_write_bytecode:
        write_bytecode(config, int(config.workerinput["workerid"].removeprefix("gw")), workers)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    if workers:
        items[:] = long_first(items, workers)


def pytest_collection_finish():
    gc.freeze()
    gc.enable()
    if workers and "numba" in sys.modules:
        compile_loops_once()
