"""Hostile inputs: sound files are changed by their format, and each reader has to answer rightly or
refuse in one sentence.

    python bench/fuzz.py --count 10000 --seed 0 --json rows.json
    python bench/fuzz.py --reader geotiff --count 200
    python bench/fuzz.py --count 0 --json rows.json --page docs/reliability.md

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
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "ARROW_NUM_THREADS"):
    os.environ.setdefault(name, "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from fuzz_pool import Reader, fuzz, make_input, warmed  # noqa: E402
from fuzz_readers import READERS  # noqa: E402

KINDS = ("answer", "refused", "traceback", "no sentence", "crash", "hang", "memory", "outside",
         "wrong", "harness")  # fmt: skip


HEADS = {
    "answer": "read", "refused": "refused in a sentence", "outside": "file elsewhere",
    "wrong": "wrong answer", "memory": "out of memory",
}  # fmt: skip
BEGIN, END = "<!-- table of hostile inputs -->\n", "\n<!-- end of hostile inputs -->"
"""Between which the table stands on a page."""


def show(row: dict[str, Any]) -> None:
    """Print a row, and what was found in it."""
    numbers = " | ".join(f"{row[kind]:,}" for kind in KINDS)
    print(f"| {row['reader']} | {sum(row[kind] for kind in KINDS):,} | {numbers} |")
    for what, found in sorted(row["found"].items(), key=lambda one: -len(one[1])):
        print(f"  {len(found)} x {what} (seed {row['seed']}, inputs {str(found[:3])[1:-1]})")
    sys.stdout.flush()


def _empty(name: str, given: argparse.Namespace) -> dict[str, Any]:
    return {"reader": name, "seed": given.seed, "numbers": range(given.count), "work": given.work}


def judged(asked: dict[str, Any]) -> dict[str, Any]:
    """Judge inputs of a reader; return a row."""
    name, seed = asked["reader"], asked["seed"]
    with tempfile.TemporaryDirectory() as folder:
        counts = fuzz(READERS[name], asked["numbers"], seed, asked.get("work") or Path(folder))
    kinds = {kind: counts.kinds[kind] for kind in KINDS}
    return {"reader": name, "seed": seed, **kinds, "found": counts.found}


def _each(act: Any, given: Sequence[Any], jobs: int) -> Iterator[Any]:
    if jobs == 1:
        yield from map(act, given)
        return
    with multiprocessing.get_context("spawn").Pool(jobs, maxtasksperchild=1) as pool:
        yield from pool.imap_unordered(act, given)


def again(row: dict[str, Any]) -> dict[str, Any]:
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


def drawn(rows: Sequence[dict[str, Any]]) -> str:
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
    rows = json.loads(given.json.read_text("utf-8")) if told else []
    print(f"| reader | inputs | {' | '.join(KINDS)} |", flush=True)
    names = given.names if given.count else []
    kept, waiting = ([], rows) if given.again else (rows, [_empty(name, given) for name in names])
    new: list[dict[str, Any]] = []
    for row in _each(again if given.again else judged, waiting, given.jobs):
        new.append(row)
        show(row)
        if given.json and not given.again:
            given.json.write_text(json.dumps([*kept, *new], indent=1), "utf-8")
    rows = [*kept, *new]
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1), "utf-8")
    if given.page:
        before, begin, rest = given.page.read_text("utf-8").partition(BEGIN)
        text = before + begin + "\n" + drawn(rows) + END + rest.partition(END)[2]
        given.page.write_text(text, "utf-8")
    return 1 if any(row["found"] for row in new) else 0


if __name__ == "__main__":
    sys.exit(main())
