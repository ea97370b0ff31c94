"""Faults: a run is killed at random moments, and must come to the same bytes, with nothing lost and
nothing doubled.

    python bench/faults.py --moments 50 --json rows.json
    python bench/faults.py --moments 10 --victim driver

Each moment is a run of its own: 16 blocks of a small model in two worker processes, which a quiet
run does in about three seconds.  At a random moment of that time the driver, or one of its workers,
gets ``kill -9``; a driver that died is started again until the run ends, as a user would, and a
second moment may hit that one too.  In the end the finished blocks are compared, byte for byte,
with those of a run that nobody disturbed.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from table import Row, save

SECTION = "Faults: kill -9 at random moments"
TESTS = Path(__file__).resolve().parents[1] / "tests"
DRIVER = """
import sys
sys.path.insert(0, {tests!r})
from functools import partial
from predict_toys import Toy
from strip_toys import Slow, image
from selion.prediction import BlockJournal, PredictOptions, StripWork, plan, run_blocks
from selion.runners.processes import Processes

if __name__ == "__main__":
    source = image(400)
    decided = plan(source, Toy(), PredictOptions(block=100))
    with Processes(2, 1) as run:
        journal = BlockJournal(sys.argv[1], decided.key)
        work = StripWork(source, decided, journal, partial(Slow, pause=0.03), Toy())
        failed = run_blocks(work, run)
    sys.exit(3 if failed else 0)
"""
SEVENTY = 0.7
"""Share of the moments at which a worker is killed; else it is the driver."""


def contents(folder: Path) -> dict[str, str]:
    """Name and hash of all finished blocks."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.block")
    }


def undisturbed(script: Path, folder: Path) -> tuple[dict[str, str], float]:
    """Return the truth, and how long it takes."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, str(script), str(folder)], check=True)
    return contents(folder), time.perf_counter() - begin


def disturbed(
    script: Path, folder: Path, takes: float, chance: random.Random, victim: str | None
) -> tuple[str, int]:
    """Run to the end, with one kill; return whom it hit and how often the driver was started."""
    starts, hit = 0, ""
    while True:
        driver = subprocess.Popen([sys.executable, str(script), str(folder)])
        starts += 1
        if not hit:
            time.sleep(chance.uniform(0.1, 1.0) * takes)
            hit = kill(
                driver, victim or ("worker" if chance.random() < SEVENTY else "driver"), chance
            )
        if driver.wait() == 0:
            return hit, starts


def kill(driver: subprocess.Popen[bytes], victim: str, chance: random.Random) -> str:
    """Kill -9 the driver or one of its workers, if they still live; say whom it hit."""
    try:
        workers = [
            child
            for child in psutil.Process(driver.pid).children()
            if "spawn_main" in " ".join(child.cmdline())
        ]
        if victim == "worker" and workers:
            chance.choice(workers).kill()
            return "worker"
        if driver.poll() is None:
            driver.kill()
            return "driver"
    except psutil.NoSuchProcess:
        pass
    return "nobody"


def main() -> None:
    """Kill, compare, count."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--moments", type=int, default=50)
    parser.add_argument(
        "--victim",
        choices=["driver", "worker"],
        default=None,
        help="Always this one [default: drawn].",
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--seconds",
        type=float,
        default=1e9,
        help="Stop after the moment in which this time is over.",
    )
    parser.add_argument("--json", type=Path, default=None)
    given = parser.parse_args()
    chance, counts, wrong, starts = (
        random.Random(given.seed),
        {"driver": 0, "worker": 0, "nobody": 0},
        0,
        0,
    )
    with tempfile.TemporaryDirectory(prefix="selion-faults-") as work:
        script = Path(work) / "driver.py"
        script.write_text(DRIVER.format(tests=str(TESTS)), "utf-8")
        truth, takes = undisturbed(script, Path(work) / "truth")
        begin = time.perf_counter()
        for moment in range(given.moments):
            folder = Path(work) / f"moment-{moment}"
            hit, times = disturbed(script, folder, takes, chance, given.victim)
            counts[hit] += 1
            starts += times
            wrong += contents(folder) != truth
            print(
                (
                    f"  moment {moment + 1}: {hit} killed, {times} start(s), "
                    f"{'equal' if contents(folder) == truth else 'DIFFERENT'}"
                ),
                file=sys.stderr,
                flush=True,
            )
            if time.perf_counter() - begin > given.seconds:
                break
    done = sum(counts.values())
    note = (
        f"{done} moments: {counts['driver']} drivers, {counts['worker']} workers, "
        f"{counts['nobody']} too late; {starts} starts; {len(truth)} blocks each"
    )
    rows = [
        Row(
            SECTION,
            "runs that did not come to the same bytes",
            wrong,
            "",
            0,
            at_most=True,
            note=note,
        )
    ]
    print(f"{rows[0].what}: {wrong} ({note})")
    if given.json:
        save(rows, given.json)


if __name__ == "__main__":
    main()
