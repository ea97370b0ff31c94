"""A few faults of each kind for a few verbs; all of them: ``python bench/fault_verbs.py``."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="children are forked")
BENCH = Path(__file__).parents[2] / "bench"
SAMPLE = {
    "predict": ("kill", "ENOSPC"),
    "map": ("kill", "EIO"),
    "query": ("EMFILE", "size"),
    "simulate": ("kill", "ENOSPC"),
}


@pytest.mark.parametrize("verb", SAMPLE)
def test_a_verb_survives_faults(verb):
    """In a process of its own: what tests before this one left in threads is not forked with it."""
    command = (sys.executable, "fault_verbs.py", "--first", "--places", "1", "--verbs", verb)
    run = subprocess.run(
        [*command, "--kinds", *SAMPLE[verb]],
        cwd=BENCH,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    first = run.stdout.splitlines()[0]
    assert " faults, 0 wrong" in first, run.stdout
    assert int(first.split()[1]) >= 2
