"""Faults of object stores: commands that read from one, or write to it, while it fails.

    python bench/fault_stores.py --places 3 --page docs/reliability.md

Wanted is that a command comes to the same bytes, or ends in one sentence with nothing half under a
visible name, and that the same command goes on once the store works again.  Stores and servers are
processes of their own: this one, which forks the commands, has no threads of theirs.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
import warnings
from functools import partial
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
os.environ.setdefault("JE_ARROW_MALLOC_CONF", "background_thread:false")  # no thread to be forked
os.environ.update(
    dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
)

from faulty_store import FaultyStore
from store_process import StoreProcess
from store_runs import (
    ARCHIVE,
    ARCHIVE_KINDS,
    COMMANDS,
    KINDS,
    SERVED,
    ArchiveRuns,
    ServedRuns,
    StoreRuns,
    served_archive,
    served_model,
)

BEGIN, END = "<!-- table of stores -->\n", "\n<!-- end of the table of stores -->"
"""Between which the table stands on a page."""
HEADS = {
    "429": "429, Retry-After", "cut": "cut body", "short": "wrong length", "lost": "lost answer",
    "stale": "stale listing", "expired": "token expires", "vanished": "bucket vanishes",
    "gone": "server gone", "killed": "command killed",
}  # fmt: skip


EVERY, EACH = [*COMMANDS, *ARCHIVE, *SERVED], [*KINDS, *(set(ARCHIVE_KINDS) - set(KINDS))]


def examine(
    name: str, given: argparse.Namespace, work: Path, store: StoreProcess
) -> dict[str, tuple[int, list[str]]]:
    """Put a command through the kinds of faults that its store can have."""
    with contextlib.ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        folder = Path(tempfile.mkdtemp(dir=work))
        runs: StoreRuns
        if name in ARCHIVE:
            served = stack.enter_context(StoreProcess(partial(served_archive, folder)))
            runs = ArchiveRuns(folder, served, patch)
        elif name in SERVED:
            runs = ServedRuns(folder, stack.enter_context(StoreProcess(served_model)), patch)
        else:
            runs = StoreRuns(folder, store, patch)
        return {
            kind: runs.examine(name, kind, given.places) if kind in runs.kinds else (0, [])
            for kind in given.kinds
        }


def main() -> None:
    """Run and count."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--commands", nargs="+", choices=EVERY, default=list(EVERY))
    parser.add_argument("--kinds", nargs="+", choices=EACH, default=list(EACH))
    parser.add_argument("--places", type=int, default=3, help="requests at which a fault begins")
    parser.add_argument("--page", type=Path, help="page whose table is replaced")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    began = time.monotonic()
    rows, bad = {}, 0
    with (
        tempfile.TemporaryDirectory(prefix="selion-stores-") as work,
        StoreProcess(FaultyStore) as store,
    ):
        for name in given.commands:
            found = examine(name, given, Path(work), store)
            wrong = [one for _, said in found.values() for one in said]
            print(f"{name}: {sum(n for n, _ in found.values())} faults, {len(wrong)} wrong")
            print(*(f"    {one}\n" for one in wrong), sep="", end="", flush=True)
            counts = " | ".join(str(n) for n, _ in found.values())
            rows[name] = f"| {name} | {counts} | {len(wrong)} |"
            bad += len(wrong)
    heads = " | ".join(HEADS.get(kind, kind) for kind in given.kinds)
    rule = "|---" + "|---:" * (len(given.kinds) + 1) + "|"
    table = "\n".join([f"| command | {heads} | wrong |", rule, *rows.values(), ""])
    threads = [(one / "comm").read_text().strip() for one in Path("/proc/self/task").iterdir()]
    print(f"\n{table}\n{time.monotonic() - began:.0f} s; threads that were forked: {threads[1:]}")
    if given.page:
        before, begin, rest = given.page.read_text("utf-8").partition(BEGIN)
        old, end, after = rest.partition(END)
        if f"| command | {heads} | wrong |" in old:  # rows that were not counted again stay
            known = {line.split("|")[1].strip(): line for line in old.splitlines()[3:]} | rows
            kept = [known[name] for name in EVERY if name in known]
            table = "\n".join([f"| command | {heads} | wrong |", rule, *kept, ""])
        given.page.write_text(before + begin + "\n" + table + end + after, "utf-8")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
