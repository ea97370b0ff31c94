"""The limit of memory that the benches hold is always in force, and a peak is the command's own."""

import importlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

psutil = pytest.importorskip("psutil")
BENCH = Path(__file__).resolve().parents[1] / "bench"
GROWS = "b = bytearray(b'x') * ({} * 2**20); print(len(b))"


@pytest.fixture(params=["as the kernel lets", "watcher"])
def limited(request, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    if request.param == "watcher":
        monkeypatch.setenv("SELION_BENCH_LIMIT", "watcher")
    return importlib.import_module("limited")


def run(limited, code, megabytes=150, seconds=60):
    return limited.run([sys.executable, "-c", code], megabytes, seconds)


def test_a_peak_is_the_commands_own_whatever_its_callers_size(limited):
    """A forked child begins with its parent's pages, and the kernel counts them."""
    ours = bytearray(b"x") * (300 * 2**20)
    done = run(limited, GROWS.format(60))
    assert (done.code, done.ended, done.output) == (0, "", f"{60 * 2**20}\n")
    assert 60 < done.peak_mb < 100 < len(ours) / 2**20


def test_what_takes_more_is_ended_and_it_is_said_by_whom(limited):
    # the watcher looks ten times a second
    done = run(limited, "import time\n" + GROWS.format(400) + "\ntime.sleep(30)")
    assert done.code == -9
    assert done.ended == done.limit in (limited.KERNEL, limited.WATCHER)
    if "SELION_BENCH_LIMIT" in os.environ:
        assert done.limit == limited.WATCHER


def test_children_count_and_none_is_left_behind(limited, tmp_path):
    """One in a session of its own is found as well."""
    child = (
        "import os, time; open('pid', 'w').write(str(os.getpid())); "
        "b = bytearray(b'x') * (60 * 2**20); open('done', 'w'); time.sleep(99)"
    )
    code = f"""
import os, subprocess, sys, time
os.chdir({str(tmp_path)!r})
subprocess.Popen([sys.executable, "-c", {child!r}], start_new_session=True)
while not os.path.exists("done"):
    time.sleep(.05)
time.sleep(.4)
"""
    done = run(limited, code)
    assert (done.code, done.ended) == (0, "")
    assert done.peak_mb > 70
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_what_takes_too_long_is_ended(limited):
    began = time.monotonic()
    done = run(limited, "import time; time.sleep(600)", seconds=0.5)
    assert (done.code, done.ended) == (-9, "clock")
    assert time.monotonic() - began < 300


def test_nothing_runs_on_when_its_caller_is_killed(limited, tmp_path):
    code = f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); "
    ask = f"import sys; sys.path.insert(0, {str(BENCH)!r}); import limited; limited.run({{}}, 150)"
    words = [sys.executable, "-c", code + "time.sleep(600)"]
    caller = subprocess.Popen([sys.executable, "-c", ask.format(words)])
    began = time.monotonic()
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        time.sleep(0.05)
        assert time.monotonic() - began < 300
    caller.kill()
    caller.wait()
    child = int((tmp_path / "pid").read_text())
    while psutil.pid_exists(child):
        time.sleep(0.05)
        assert time.monotonic() - began < 300
