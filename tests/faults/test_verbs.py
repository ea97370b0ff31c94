"""A few faults of each kind for a few verbs; all of them: ``python bench/faults.py --verbs``."""

import sys

import pytest

import option_modes
from fault_runs import FaultRuns, ready_inputs, spread

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="children are forked")
SAMPLE = {
    "predict": ("kill", "ENOSPC"),
    "map": ("kill", "EIO"),
    "query": ("EMFILE", "size"),
    "simulate": ("kill", "ENOSPC"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("verb", SAMPLE)
def test_a_verb_survives_faults(verb, tmp_path):
    mode = option_modes.MODES[verb][0]
    inputs = ready_inputs(tmp_path / "inputs", mode.words, mode.copies)
    runs = FaultRuns(verb, 0, mode, tmp_path / "runs", inputs)
    counts, wrong = runs.examine(lambda calls: spread(calls, SAMPLE[verb], 1, 7))
    assert set(counts) == set(SAMPLE[verb])
    if wrong:
        pytest.fail("\n".join(wrong), pytrace=False)
