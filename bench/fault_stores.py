"""Faults of object stores: commands that read from one, or write to it, while it fails.

    python bench/fault_stores.py --places 3 --page docs/reliability.md

Wanted is that a command comes to the same bytes, or ends in one sentence with nothing half under a
visible name, and that the same command goes on once the store works again.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import time
import warnings
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
os.environ.setdefault("JE_ARROW_MALLOC_CONF", "background_thread:false")  # no thread to be forked

from faulty_store import FaultyStore
from store_runs import COMMANDS, KINDS, StoreRuns

BEGIN, END = "<!-- table of stores -->\n", "\n<!-- end of the table of stores -->"
"""Between which the table stands on a page."""
HEADS = {
    "429": "429, Retry-After", "cut": "cut body", "short": "wrong length", "lost": "lost answer",
    "stale": "stale listing", "expired": "token expires", "vanished": "bucket vanishes",
}  # fmt: skip


def main() -> None:
    """Run and count."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--commands", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--places", type=int, default=3, help="requests at which a fault begins")
    parser.add_argument("--page", type=Path, help="page whose table is replaced")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it says each request
    began = time.monotonic()
    rows, bad = [], 0
    with (
        tempfile.TemporaryDirectory(prefix="selion-stores-") as work,
        FaultyStore() as store,
        pytest.MonkeyPatch.context() as patch,
    ):
        runs = StoreRuns(Path(work), store, patch)
        for name in given.commands:
            found = {kind: runs.examine(name, kind, given.places) for kind in given.kinds}
            wrong = [one for _, said in found.values() for one in said]
            print(f"{name}: {sum(n for n, _ in found.values())} faults, {len(wrong)} wrong")
            print(*(f"    {one}\n" for one in wrong), sep="", end="", flush=True)
            counts = " | ".join(str(n) for n, _ in found.values())
            rows.append(f"| {name} | {counts} | {len(wrong)} |")
            bad += len(wrong)
    heads = " | ".join(HEADS.get(kind, kind) for kind in given.kinds)
    rule = "|---" + "|---:" * (len(given.kinds) + 1) + "|"
    table = "\n".join([f"| command | {heads} | wrong |", rule, *rows, ""])
    print(f"\n{table}\n{time.monotonic() - began:.0f} s")
    if given.page:
        before, begin, rest = given.page.read_text("utf-8").partition(BEGIN)
        given.page.write_text(before + begin + "\n" + table + END + rest.partition(END)[2], "utf-8")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
