"""Hostile inputs: sound files are changed by their format, and each reader has to answer rightly or
refuse in one sentence.

    python bench/fuzz.py --count 10000 --seed 0 --json rows.json
    python bench/fuzz.py --reader geotiff --count 200
    python bench/fuzz.py --count 0 --json rows.json --page docs/reliability.md

With ``--json`` what was judged is kept after every 250 inputs, and the same command, stopped and
given again, goes on behind them (with one job; with more a reader is kept when it is done).

Each input is judged in a forked child with 1.5 GB of memory and 20 seconds.  A traceback, a hang, a
death, memory without an end, something written outside of the output, or an answer that a checksum
could have told to be wrong is counted, with the numbers of the inputs: the same number and seed
make the same input again (``--only NUMBER`` prints its traceback and keeps it in ``--work``).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "ARROW_NUM_THREADS"):
    os.environ.setdefault(name, "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from fuzz_pool import Counts, Reader, fuzz, make_input, warmed  # noqa: E402
from fuzz_readers import READERS  # noqa: E402

KINDS = ("answer", "refused", "traceback", "no sentence", "crash", "hang", "memory", "outside",
         "wrong", "harness")  # fmt: skip


Found = dict[str, Any]
"""A row: a reader, a seed, how many inputs of each kind, and the numbers of those that failed."""
HEADS = {
    "answer": "read", "refused": "refused in a sentence", "outside": "file elsewhere",
    "wrong": "wrong answer", "memory": "out of memory",
}  # fmt: skip
BEGIN, END = "<!-- table of hostile inputs -->\n", "\n<!-- end of hostile inputs -->"
"""Between which the table stands on a page."""


def show(row: Found) -> None:
    """Print a row, and what was found in it."""
    numbers = " | ".join(f"{row[kind]:,}" for kind in KINDS)
    print(f"| {row['reader']} | {sum(row[kind] for kind in KINDS):,} | {numbers} |")
    for what, found in sorted(row["found"].items(), key=lambda one: -len(one[1])):
        print(f"  {len(found)} x {what} (seed {row['seed']}, inputs {str(found[:3])[1:-1]})")
    sys.stdout.flush()


def _waiting(name: str, given: argparse.Namespace, rows: Sequence[Found]) -> Found:
    """Return what is still to be judged of a reader: all, or what a stopped run left."""
    mine = [row for row in rows if (row["reader"], row["seed"]) == (name, given.seed)]
    before = sum(row[kind] for row in mine for kind in KINDS)
    numbers = range(min(before, given.count), given.count)
    return {"reader": name, "seed": given.seed, "numbers": numbers, "work": given.work}


def judged(asked: Found, tell: Callable[[Found], None] = lambda _: None) -> Found:
    """Judge inputs of a reader; return a row, and ``tell`` it after each batch."""
    name, seed = asked["reader"], asked["seed"]

    def row(counts: Counts) -> Found:
        kinds = {kind: counts.kinds[kind] for kind in KINDS}
        return {"reader": name, "seed": seed, **kinds, "found": counts.found}

    with tempfile.TemporaryDirectory() as folder:
        place = asked.get("work") or Path(folder)
        return row(fuzz(READERS[name], asked["numbers"], seed, place, lambda c: tell(row(c))))


def joined(rows: Sequence[Found]) -> list[Found]:
    """Make one row of all of a reader and a seed."""
    made: dict[tuple[str, int], Found] = {}
    for row in rows:
        key = row["reader"], row["seed"]
        old = made.get(key, dict.fromkeys(KINDS, 0) | {"found": {}})
        found = {
            what: [*old["found"].get(what, []), *row["found"].get(what, [])]
            for what in {**old["found"], **row["found"]}
        }
        made[key] = row | {kind: old[kind] + row[kind] for kind in KINDS} | {"found": found}
    return list(made.values())


def _each(act: Any, given: Sequence[Any], jobs: int) -> Iterator[Any]:
    if jobs == 1:
        yield from map(act, given)
        return
    with multiprocessing.get_context("spawn").Pool(jobs, maxtasksperchild=1) as pool:
        yield from pool.imap_unordered(act, given)


def again(row: Found) -> Found:
    """Judge once more what something was found in, and count it as what it is now."""
    numbers = sorted(number for found in row["found"].values() for number in found)
    if not numbers:
        return row
    new = judged({"reader": row["reader"], "seed": row["seed"], "numbers": numbers})
    kept = {kind: row[kind] if kind in ("answer", "refused") else 0 for kind in KINDS}
    return new | {kind: kept[kind] + new[kind] for kind in KINDS}


def only(reader: Reader, number: int, seed: int, work: Path) -> None:
    """Make one input again, here, and show what it does."""
    seeds = work / "seeds" / reader.name
    if not seeds.exists():
        warmed(reader, seeds, work / "place")
    place, out = work / "input", work / "out"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    act = make_input(reader, seeds, number, seed, place).choice(list(reader.judges))
    print(f"{act.__name__}({place})")
    try:
        print("answer:", act(place, out))
    except Exception:  # noqa: BLE001 - it is shown
        traceback.print_exc()


def drawn(rows: Sequence[Found]) -> str:
    """Return the table of all rows: one line for each reader."""
    kinds = KINDS[:-1]
    heads = ["reader", "inputs", *(HEADS.get(kind, kind) for kind in kinds)]
    lines = [f"| {' | '.join(heads)} |", f"|---|{'---:|' * (len(kinds) + 1)}"]
    for name in READERS:
        mine = [row for row in rows if row["reader"] == name]
        numbers = [sum(row[kind] for row in mine) for kind in kinds]
        lines.append(f"| {name} | {' | '.join(f'{n:,}' for n in (sum(numbers), *numbers))} |")
    return "\n".join(lines) + "\n"


def asked() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--reader", default="all", help=f"all, or some of {', '.join(READERS)}")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="readers at once")
    parser.add_argument("--only", type=int, help="make this input again, and show what it does")
    parser.add_argument("--work", type=Path, help="keep the inputs here")
    parser.add_argument("--json", type=Path, help="rows are added to those of this file")
    parser.add_argument("--again", action="store_true", help="judge what was found in --json again")
    parser.add_argument("--page", type=Path, help="page whose table is made of the rows of --json")
    given = parser.parse_args()
    given.names = list(READERS) if given.reader == "all" else given.reader.split(",")
    unknown = sorted({*given.names} - {*READERS})
    if unknown:
        parser.error(f"there is no reader {unknown[0]}; known: {', '.join(READERS)}")
    return given


def main() -> int:
    """Run and count."""
    given = asked()
    if given.only is not None:
        work = given.work or Path(tempfile.mkdtemp())
        only(READERS[given.names[0]], given.only, given.seed, work)
        return 0
    told = given.json and given.json.exists()
    rows = joined(json.loads(given.json.read_text("utf-8"))) if told else []
    print(f"| reader | inputs | {' | '.join(KINDS)} |", flush=True)
    names = given.names if given.count else []
    kept = [] if given.again else rows
    waiting = rows if given.again else [_waiting(name, given, rows) for name in names]
    new: list[Found] = []

    def keep(row: Found | None = None) -> None:
        if given.json and not (given.again and row is not None):
            whole = joined([*kept, *new, *([row] if row else [])])
            given.json.write_text(json.dumps(whole, indent=1), "utf-8")

    act = again if given.again else partial(judged, tell=keep) if given.jobs == 1 else judged
    for row in _each(act, waiting, given.jobs):
        new.append(row)
        show(row)
        if not given.again:
            keep()
    keep()
    if given.page:
        before, begin, rest = given.page.read_text("utf-8").partition(BEGIN)
        text = before + begin + "\n" + drawn([*kept, *new]) + END + rest.partition(END)[2]
        given.page.write_text(text, "utf-8")
    return 1 if any(row["found"] for row in new) else 0


if __name__ == "__main__":
    sys.exit(main())
