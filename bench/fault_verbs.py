"""Faults of every verb: a command is killed, refused a call or cut off in a write, at places spread
over all its calls that change files, and given again.

    python bench/fault_verbs.py --verbs map query --kinds kill ENOSPC --places 5 --json rows.json

Wanted is that the command ends in a sentence or is killed, leaves nothing half-written under a
final name, and that the same command afterwards comes to the bytes of a run that nobody disturbed.
The commands are those of the walk of options (``tests/option_modes.py``); CI runs a sample.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

from table import Row, save

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import option_modes
from fault_runs import ERRORS, FaultRuns, ready_inputs, spread

SECTION = "Faults: every verb, killed and refused"
KINDS = ("kill", *ERRORS, "size")


def main() -> None:
    """Run and count."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--verbs", nargs="+", choices=option_modes.MODES, metavar="VERB")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=["kill", "ENOSPC", "size"])
    parser.add_argument("--places", type=int, default=3, help="of each kind, for each command")
    parser.add_argument("--first", action="store_true", help="only the first command of each verb")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = []
    with tempfile.TemporaryDirectory(prefix="selion-faults-") as work:
        for verb in given.verbs or option_modes.MODES:
            done, wrong = 0, []
            modes = option_modes.MODES[verb]
            for number, mode in enumerate(modes[:1] if given.first else modes):
                here = Path(work) / f"{verb.replace(' ', '_')}-{number}"
                inputs = ready_inputs(here / "inputs", mode.words, mode.copies)
                runs = FaultRuns(verb, number, mode, here / "runs", inputs)
                counts, failed = runs.examine(
                    lambda calls: spread(calls, tuple(given.kinds), given.places)
                )
                done += sum(counts.values())
                wrong += failed
                shutil.rmtree(here, ignore_errors=True)
            print(f"{verb}: {done} faults, {len(wrong)} wrong", *wrong, sep="\n    ", flush=True)
            note = f"{done} faults"
            rows.append(Row(SECTION, f"{verb}: wrong", len(wrong), "", 0, at_most=True, note=note))
    if given.json:
        save(rows, given.json)


if __name__ == "__main__":
    main()
