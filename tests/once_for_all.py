"""What every worker of pytest-xdist needs and one of them is enough to make.

Each worker collects all test modules, in the same order and at the same speed, so in a fresh
checkout each would rewrite the assertions of all of them; and each would compile the loops of
numba that its tests come to while another compiles them too.
"""

import compileall
import fcntl
import types
from contextlib import contextmanager
from importlib.util import spec_from_file_location
from pathlib import Path

TESTS = Path(__file__).parent


def write_bytecode(config, worker: int, workers: int) -> None:
    """Write a worker's share of the bytecode of tests and package, before all read the whole."""
    written = sorted([*TESTS.rglob("*.py"), *(TESTS.parent / "src").rglob("*.py")])
    for path in written[worker::workers]:
        if path.name.startswith("test_"):
            rewrite(config, path)
        else:
            compileall.compile_file(path, quiet=2)


def rewrite(config, path: Path) -> None:
    """Write the bytecode of a test module as pytest's own loader does, and do not run it."""
    from _pytest.assertion import rewrite as assertions

    loader = config.pluginmanager.rewrite_hook
    module = types.ModuleType(f"rewritten.{path.stem}")
    module.__spec__ = spec_from_file_location(module.__name__, path)
    assertions.exec = lambda *_: None
    try:
        loader.exec_module(module)
    finally:
        del assertions.exec


def compile_loops_once() -> None:
    """Let one worker compile a loop of numba; who wants the same waits, and reads what it wrote."""
    from numba.core.compiler_lock import global_compiler_lock
    from numba.core.dispatcher import Dispatcher

    alone = Dispatcher.compile
    held = set()

    @contextmanager
    def lock(loop):
        code = loop.py_func.__code__
        path = loop._cache.cache_path and (
            Path(loop._cache.cache_path) / f"{code.co_name}-{code.co_firstlineno}.lock"
        )
        if path is None or path in held or not path.parent.is_dir():
            yield
            return
        with path.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            held.add(path)
            try:
                yield
            finally:
                held.remove(path)

    def compile_(self, sig):
        with global_compiler_lock, lock(self):
            return alone(self, sig)

    Dispatcher.compile = compile_
