"""Secrets: every verb is given signed addresses, passwords and keys, and none may come out.

    python bench/planted.py --verbs map merge --json rows.json

Each file of each small command of a verb (``tests/option_modes.py``), and each of its options that
takes a value, is given as an address with a secret in it, in eight forms; the environment and the
files of credentials hold fifteen more.  What is said, warned, logged, written (hidden folders and
caches too) or shown in the list of processes is looked through.  CI runs a sample.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import pytest

from table import Row, save

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import option_modes
from counting_host import counting_host
from option_walk import Inputs
from secret_walk import ADDRESS, ENVIRONMENT, FILES, SecretWalk

SECTION = "Secrets: planted in all that verbs are given"


def main() -> None:
    """Run and count."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--verbs", nargs="+", choices=option_modes.MODES, metavar="VERB")
    parser.add_argument("--forms", nargs="+", choices=ADDRESS, default=list(ADDRESS))
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows, bad = [], 0
    planted = len(ADDRESS) + len(ENVIRONMENT) + len(FILES)
    for verb in given.verbs or option_modes.MODES:
        began = time.monotonic()
        with (
            tempfile.TemporaryDirectory(prefix="selion-planted-") as work,
            pytest.MonkeyPatch.context() as patch,
        ):
            inputs = Inputs(Path(work, "inputs"), option_modes.INPUTS)
            with counting_host(inputs.folder) as host:
                walk = SecretWalk(Path(work), inputs, host.host, patch)
                count, wrong = walk.examine(verb, tuple(given.forms))
        bad += len(wrong)
        print(
            f"{verb}: {count} commands, {len(wrong)} leaks ({time.monotonic() - began:.0f} s)",
            flush=True,
        )
        print(*(f"    {one}\n" for one in wrong), sep="", end="", flush=True)
        note = f"{count} commands, {planted} secrets"
        rows.append(Row(SECTION, f"{verb}: leaks", len(wrong), "", 0, at_most=True, note=note))
    if given.json:
        save(rows, given.json)
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
