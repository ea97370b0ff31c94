"""Faults of every verb: a command is killed, stopped, refused a call or cut off in a write, at
places spread over all its calls that change files, and given again.

    python bench/fault_verbs.py --verbs map query --kinds kill ENOSPC --places 5 --json rows.json
    python bench/fault_verbs.py --jobs 2 --all --table faults.md
    python bench/fault_verbs.py --verbs map merge --random 50 --page docs/reliability.md
    python bench/fault_verbs.py --verbs train "label selftrain" --kills 50

Wanted is that the command ends in a sentence or is killed, leaves nothing half-written under a
final name, and that the same command afterwards comes to the bytes of a run that nobody disturbed.
The commands are those of the walk of options (``tests/option_modes.py``); CI runs a sample.  With
``--kills`` those for which that walk has answers ready (learning, catalogues) do all of their work.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from table import Row, save

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
# a thread of Arrow's memory in the process that is forked may hold what its children wait for
os.environ.setdefault("JE_ARROW_MALLOC_CONF", "background_thread:false")

import option_modes
import real_modes
from fault_runs import KINDS, Fault, FaultRuns, can_mount, ready_inputs, spread

SECTION = "Faults: every verb, killed and refused"
BEGIN, END = "<!-- table of faults -->\n", "\n<!-- end of the table -->"
"""Between which the table stands on a page."""
HEADS = {
    "kill": "killed", "steps": "killed at a rename", "tidying": "killed tidying up",
    "random": "killed at any time",
    "size": "cut write", "tmpfs": "small disk",
    "full": "full disk", "readonly": "read-only", "INT": "Ctrl-C", "TERM": "TERM", "HUP": "HUP",
    "gone": "folder gone", "moved": "folder renamed", "input": "input cut", "clock": "clock back",
    "ahead": "clock ahead", "lost": "clock lost", "pipe": "stdout closed",
    "terminal": "terminal gone", "twice": "two at once", "names": "odd names",
}  # fmt: skip


def main() -> None:
    """Run and count."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--verbs", nargs="+", choices=option_modes.MODES, metavar="VERB")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=["kill", "ENOSPC", "size"])
    parser.add_argument("--all", action="store_true", help="all kinds")
    parser.add_argument("--places", type=int, default=3, help="of each kind, for each command")
    parser.add_argument("--random", type=int, default=0, help="kills at so many random times")
    parser.add_argument(
        "--kills", type=int, default=0, help="only kills, at so many times, of one real command"
    )
    parser.add_argument("--start", type=int, default=0, help="where the first place is")
    parser.add_argument("--first", action="store_true", help="only the first command of each verb")
    parser.add_argument("--jobs", type=int, default=1, help="verbs at once, each in a process")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--table", type=Path, help="Markdown: verbs x kinds")
    parser.add_argument("--page", type=Path, help="page in whose table the rows are replaced")
    parser.add_argument("--counts", type=Path, help="JSON: what one process found")
    given = parser.parse_args()
    given.kinds = list(KINDS) if given.all else given.kinds
    if given.kills:
        given.kinds, given.random, given.first = ["random"], given.kills, True
    if given.random and "random" not in given.kinds:
        given.kinds = [kind for kind in KINDS if kind in (*given.kinds, "random")]
    verbs = given.verbs or list(option_modes.MODES)
    began = time.monotonic()
    if len(verbs) > 1:
        with ThreadPoolExecutor(given.jobs) as pool:
            found = dict(
                zip(verbs, pool.map(lambda verb: elsewhere(verb, given), verbs), strict=True)
            )
    else:
        found = {verb: examine(verb, given) for verb in verbs}
    if given.counts:
        given.counts.write_text(json.dumps(found))
        return
    table = drawn(found, given.kinds)
    print(f"\n{table}\n{time.monotonic() - began:.0f} s")
    if given.table:
        given.table.write_text(table)
    if given.page:
        before, begin, rest = given.page.read_text("utf-8").partition(BEGIN)
        old, end, after = rest.partition(END)
        known = joined(read(old), found, given.kinds)
        table = drawn({verb: known[verb] for verb in option_modes.MODES if verb in known}, KINDS)
        given.page.write_text(before + begin + "\n" + table + end + after, "utf-8")
    if given.json:
        save([row(verb, counts, wrong) for verb, (counts, wrong) in found.items()], given.json)
    sys.exit(any(wrong for _, wrong in found.values()))


def row(verb: str, counts: dict[str, int], wrong: list[str]) -> Row:
    """Return the row of the table of benches."""
    note = f"{sum(counts.values())} faults"
    return Row(SECTION, f"{verb}: wrong", len(wrong), "", 0, at_most=True, note=note)


def elsewhere(verb: str, given: argparse.Namespace) -> tuple[dict[str, int], list[str]]:
    """Examine a verb in a process of its own."""
    with tempfile.TemporaryDirectory() as work:
        counts = Path(work, "counts.json")
        command = [sys.executable, __file__, "--verbs", verb, "--places", str(given.places)]
        command += ["--start", str(given.start), "--random", str(given.random)]
        command += ["--counts", str(counts), "--kinds", *given.kinds]
        command += ["--kills", str(given.kills)]
        done = subprocess.run(
            command + ["--first"] * given.first, capture_output=True, text=True, check=False
        )
        if done.returncode or not counts.exists():
            return {}, [f"selion {verb}: {done.stderr[-500:]}"]
        print(done.stdout, end="", flush=True)
        counted, wrong = json.loads(counts.read_text())[verb]
        return counted, wrong


def examine(verb: str, given: argparse.Namespace) -> tuple[dict[str, int], list[str]]:
    """Put all commands of a verb through faults."""
    warnings.simplefilter("ignore")
    counts: Counter[str] = Counter()
    wrong: list[str] = []
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="selion-faults-") as work:
        kinds = tuple(
            kind for kind in given.kinds if kind != "tmpfs" or can_mount(Path(work, "disk"))
        )
        modes = real_modes.modes(verb) if given.kills else option_modes.MODES[verb]
        for number, mode in enumerate(modes[:1] if given.first else modes):
            here = Path(work) / f"{verb.replace(' ', '_')}-{number}"
            inputs = ready_inputs(here / "inputs", mode.words, mode.copies)
            runs = FaultRuns(verb, number, mode, here / "runs", inputs)
            counted, failed = runs.examine(lambda calls: chosen(calls, kinds, given))
            counts.update(counted)
            wrong += failed
            shutil.rmtree(here, ignore_errors=True)
    head = f"{verb}: {counts.total()} faults, {len(wrong)} wrong"
    print(head, f"({time.monotonic() - began:.0f} s)", end="\n", flush=True)
    print(*(f"    {one}\n" for one in wrong), sep="", end="", flush=True)
    return dict(counts), wrong


def chosen(calls: list[str], kinds: tuple[str, ...], given: argparse.Namespace) -> list[Fault]:
    """Choose the faults of a command."""
    others = tuple(kind for kind in kinds if kind != "random" or not given.random)
    faults = spread(calls, others, given.places, given.start)
    return faults + spread(calls, ("random",), given.random, given.start) * bool(given.random)


Found = dict[str, tuple[dict[str, int], list[str]]]
"""Verb -> faults tried of each kind, and what went wrong."""


def read(table: str) -> Found:
    """Read the rows of a table that :func:`drawn` drew, whatever kinds it has."""
    head, _, *rows = [line.strip("| ") for line in table.strip().splitlines()] or ["", ""]
    known = {HEADS.get(kind, kind): kind for kind in KINDS}
    kinds = [known.get(one, "") for one in head.split(" | ")[1:-1]]
    found = {}
    for row in rows[:-1]:
        verb, *cells, wrong = (cell.strip() for cell in row.split("|"))
        counts = {kind: int(cell or 0) for kind, cell in zip(kinds, cells, strict=True) if kind}
        found[verb.strip("`")] = counts, ["as before"] * int(wrong)
    return found


def joined(old: Found, new: Found, kinds: Sequence[str]) -> Found:
    """Replace the kinds that were counted again; what went wrong in others stays said."""
    known = dict(old)
    for verb, (counts, wrong) in new.items():
        before, was = old.get(verb, ({}, []))
        others = {kind: number for kind, number in before.items() if kind not in kinds}
        known[verb] = others | counts, wrong + was * any(others.values())
    return known


def drawn(found: Found, kinds: Sequence[str]) -> str:
    """Draw verbs x kinds in Markdown: faults tried, and how many went wrong if any did."""
    lines = [
        "| verb | " + " | ".join(HEADS.get(kind, kind) for kind in kinds) + " | wrong |",
        "|---" + "|---:" * (len(kinds) + 1) + "|",
    ]
    for verb, (counts, wrong) in found.items():
        cells = [str(counts.get(kind, "") or "") for kind in kinds]
        lines.append(f"| `{verb}` | " + " | ".join(cells) + f" | {len(wrong)} |")
    sums = [str(sum(counts.get(kind, 0) for counts, _ in found.values())) for kind in kinds]
    bad = sum(len(wrong) for _, wrong in found.values())
    return "\n".join([*lines, "| all | " + " | ".join(sums) + f" | {bad} |", ""])


if __name__ == "__main__":
    main()
