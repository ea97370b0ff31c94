"""Hostile inputs: sound files are changed by their format, and each reader has to answer rightly or
refuse in one sentence.

    python bench/fuzz.py --count 10000 --seed 0 --json rows.json
    python bench/fuzz.py --reader geotiff --count 200

Each input is judged in a forked child with 1.5 GB of memory and 20 seconds.  A traceback, a hang, a
death, memory without an end, something written outside of the output, or an answer that a checksum
could have told to be wrong is counted, with the numbers of the inputs: the same number and seed
make the same input again (``--only NUMBER`` prints its traceback and keeps it in ``--work``).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "ARROW_NUM_THREADS"):
    os.environ.setdefault(name, "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from fuzz_pool import Counts, Reader, fuzz, make_input, warmed  # noqa: E402
from fuzz_readers import READERS  # noqa: E402

KINDS = ("answer", "refused", "traceback", "no sentence", "crash", "hang", "memory", "outside",
         "wrong", "harness")  # fmt: skip


def line(name: str, counts: Counts, seconds: float) -> str:
    numbers = " | ".join(f"{counts.kinds[kind]:,}" for kind in KINDS)
    return f"| {name} | {sum(counts.kinds.values()):,} | {numbers} | {seconds:.0f} |"


def show(name: str, counts: Counts) -> None:
    for what, numbers in sorted(counts.found.items(), key=lambda one: -len(one[1])):
        print(f"  {name}: {len(numbers)} x {what} (inputs {', '.join(map(str, numbers[:3]))})")


def again(reader: Reader, number: int, seed: int, work: Path) -> None:
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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--reader", default="all", help=f"all, or some of {', '.join(READERS)}")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="make this input again, and show what it does")
    parser.add_argument("--work", type=Path, help="keep the inputs here")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    names = list(READERS) if given.reader == "all" else given.reader.split(",")
    unknown = sorted({*names} - {*READERS})
    if unknown:
        parser.error(f"there is no reader {unknown[0]}; known: {', '.join(READERS)}")
    if given.only is not None:
        work = given.work or Path(tempfile.mkdtemp())
        again(READERS[names[0]], given.only, given.seed, work)
        return 0
    rows, bad = [], 0
    print(f"| reader | inputs | {' | '.join(KINDS)} | s |", flush=True)
    print("|---|" + "---:|" * (len(KINDS) + 2), flush=True)
    for name in names:
        begin = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            counts = fuzz(READERS[name], given.count, given.seed, given.work or Path(folder))
        print(line(name, counts, time.monotonic() - begin), flush=True)
        show(name, counts)
        sys.stdout.flush()
        rows.append(
            {"reader": name, **{kind: counts.kinds[kind] for kind in KINDS}, "found": counts.found}
        )
        bad += sum(map(len, counts.found.values()))
        if given.json:
            given.json.write_text(json.dumps(rows, indent=1))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
