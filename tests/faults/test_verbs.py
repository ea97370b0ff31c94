"""A few faults of each kind for a few verbs; all of them: ``python bench/fault_verbs.py``."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import option_modes
from fault_runs import Fault, FaultRuns, ready_inputs, spread
from option_inputs import Quick
from option_walk import Mode

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="children are forked")
HERE = Path(__file__).parent
SAMPLE = {
    "predict": ("kill", "ENOSPC"),
    "map": ("EIO", "ahead", "input"),
    "query": ("EMFILE", "size", "moved", "lost", "pipe"),
    "simulate": ("kill", "ENOSPC"),
}
NAMED = ("out.scores.tif", "out.parquet")
"""What ``map`` publishes, one after the other: it is killed before and after each step from the one
that names the first to the one that names the last."""
SCORES = Mode(
    "map {image} -o out.parquet --scores out.scores.tif",
    {"selion.pipeline.maps.load_refined": lambda *_a, **_k: Quick()},
)
WORK = """
import json, pathlib, sys, warnings
import test_verbs
warnings.simplefilter("ignore")
print(json.dumps(test_verbs.sampled(pathlib.Path(sys.argv[1]))))
"""


def sampled(folder):
    """Put the first command of each verb through its faults; say how many, and what went wrong."""
    found = {}
    for verb, kinds in SAMPLE.items():
        mode = SCORES if verb == "map" else option_modes.MODES[verb][0]
        inputs = ready_inputs(folder / verb / "inputs", mode.words, mode.copies)
        runs = FaultRuns(verb, 0, mode, folder / verb / "runs", inputs)
        found[verb] = runs.examine(lambda calls, kinds=kinds: faults(calls, kinds))
    return found


def faults(calls, kinds):
    return [*spread(calls, kinds, 1), *(Fault("kill", call) for call in between(calls))]


def between(calls):
    """Return the calls at which to kill: renames and links between two files of a result."""
    steps = [n for n, call in enumerate(calls, 1) if call.startswith(("rename", "link"))]
    named = [n for n in steps if calls[n - 1].partition(" ")[2] in NAMED]
    inner = [n for n in steps if named and named[0] <= n <= named[-1]]
    return sorted({call for n in inner for call in (n, n + 1)} - {*inner[:1]})


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """In a process of its own: what tests before this one left in threads is not forked with it."""
    run = subprocess.run(
        [sys.executable, "-c", WORK, str(tmp_path_factory.mktemp("verbs"))],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, (*sys.path, HERE))),
            "JE_ARROW_MALLOC_CONF": "background_thread:false",  # Arrow starts no thread
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


def test_verbs_survive_faults(found):
    assert [wrong for verb, (_, wrong) in found.items() if wrong and verb != "map"] == []
    for verb, kinds in SAMPLE.items():
        assert set(found[verb][0]) >= set(kinds), verb


def test_a_map_killed_between_its_scores_and_its_table_goes_on_to_the_same_bytes(found):
    counts, wrong = found["map"]
    assert wrong == []
    assert counts["kill"] >= 6, "after the scores, before and after what lies between, after all"
