"""The same plan started twice from two places: real jobs of a simulated country.

    python bench/two_runs.py [--json rows.json]

``one folder``: two ``selion run`` of the plan's folder, as on two machines that share it, and a
``run.sh`` beside a ``selion run``.  ``two copies``: the plan's folder is copied, and each copy is
run; what they share is the mosaic, in a folder and on an object store (moto).  Then the first of
two runs is killed in its first job.  Counted is how often each job and each tile was made, and
whether each table has the bytes of a run alone.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from table import Row, markdown, save

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from cluster_kit import sums, write_plan
from faulty_store import FaultyStore

NAME = "The same plan started twice"
SELION = [sys.executable, "-m", "selion"]


class Puts(FaultyStore):
    """A store that counts how often each tile is put there."""

    def __init__(self) -> None:
        super().__init__()
        self.tiles: Counter[str] = Counter()

    def _next_fault(self, method: str, path: str) -> str | None:
        name = path.partition("?")[0]
        if method == "PUT" and is_tile(name):
            self.tiles[name] += 1
        return super()._next_fault(method, path)


def is_tile(name: str) -> bool:
    """Say whether a file is a tile of a mosaic."""
    return "_window_" in name and name.endswith(".tif")


class Made(threading.Thread):
    """Looks again and again which files of tiles there are in a folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self.folder, self.seen, self.over = folder, set(), threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.01):
            for path in self.folder.rglob("*_window_*.tif"):
                with contextlib.suppress(OSError):
                    if not any(part.startswith(".") for part in path.parts):
                        self.seen.add((path.name, path.stat().st_ino))

    def tiles(self) -> Counter[str]:
        """Return how often each tile got its name."""
        self.over.set()
        self.join()
        return Counter(name for name, _ in self.seen)


def begun(words: list[str], **more: str) -> subprocess.Popen[str]:
    """Start a command."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(words, env={**os.environ, **more}, text=True, **pipes)


def run(plan: Path) -> subprocess.Popen[str]:
    """Start a run of a plan."""
    return begun([*SELION, "run", str(plan), "--threads", "1"])


def ended(*processes: subprocess.Popen[str]) -> list[tuple[int, str]]:
    """Wait for commands; return exit codes and what they said last."""
    said = [process.communicate(timeout=900)[0].strip() for process in processes]
    return [
        (process.returncode, text.splitlines()[-1] if text else "")
        for process, text in zip(processes, said, strict=True)
    ]


def tries(plan: Path) -> list[int]:
    """Return how often each job was begun."""
    return [path.read_text().count("begin") for path in sorted(plan.glob("jobs/*/job.times"))]


def rows_of(what: str, plans: list[Path], alone: dict, codes: list, tiles: Counter) -> list[Row]:
    """Return what is wanted of a pair of runs."""
    wrong = sum(sums(plan).get(name) != one for plan in plans for name, one in alone.items())
    told = f"exit codes {[code for code, _ in codes]}; tries {[tries(plan) for plan in plans]}"
    left = [str(path.relative_to(plan)) for plan in plans for path in plan.rglob(".*")]
    rows = [
        Row(NAME, f"{what}: tables that are not those of a run alone", wrong, "", 0, at_most=True,
            note=told),
        Row(NAME, f"{what}: hidden files left", len(left), "", 0, at_most=True),
    ]  # fmt: skip
    if tiles:
        most = max(tiles.values())
        told = f"{len(tiles)} tiles"
        rows.append(
            Row(NAME, f"{what}: most often a tile was made", most, "", 1, at_most=True, note=told)
        )
    return rows


def one_folder(folder: Path, alone: dict[str, str]) -> Iterator[Row]:
    """Two runs of one folder; one that is killed; ``run.sh`` beside a run."""
    plan = write_plan(folder, "one")
    codes = ended(run(plan), run(plan))
    print(*codes, sep="\n", flush=True)
    yield from rows_of("one folder", [plan], alone, codes, Counter())
    yield Row(NAME, "one folder: most often a job was done", max(tries(plan)), "", 1, at_most=True)
    plan = write_plan(folder, "killed")
    first, second = run(plan), run(plan)
    while len(list(plan.glob("jobs/*/job.times"))) < 2:  # each is at one
        time.sleep(0.02)
    first.send_signal(signal.SIGKILL)
    codes = ended(first, second)
    print(*codes, sep="\n", flush=True)
    yield from rows_of("one of two is killed", [plan], alone, codes, Counter())
    plan = write_plan(folder, "shell")
    shell = begun(["sh", str(plan / "run.sh")], SELION_PYTHON=sys.executable)
    codes = ended(shell, run(plan))
    print(*codes, sep="\n", flush=True)
    yield from rows_of("run.sh beside a run", [plan], alone, codes, Counter())


def two_copies(folder: Path, alone: dict[str, str], mosaic: str, seen: Made | Puts) -> list[Row]:
    """Two copies of a plan whose jobs share a mosaic."""
    name = mosaic.partition(":")[0] if "://" in mosaic else "folder"
    first = write_plan(folder, f"first-{name}", mosaic)
    second = folder / f"second-{name}"
    shutil.copytree(first, second)
    codes = ended(run(first), run(second))
    print(*codes, sep="\n", flush=True)
    tiles = seen.tiles() if isinstance(seen, Made) else seen.tiles
    return rows_of(f"two copies, mosaic on {name}", [first, second], alone, codes, tiles)


def rows(folder: Path) -> Iterator[Row]:
    """Yield all rows."""
    alone = write_plan(folder, "alone")
    print(ended(run(alone)), flush=True)
    yield from one_folder(folder, sums(alone))
    shared = write_plan(folder, "shared", str(folder / "mosaic-of-one"))
    print(ended(run(shared)), flush=True)
    watch = Made(folder / "mosaic")
    watch.start()
    yield from two_copies(folder, sums(shared), str(folder / "mosaic"), watch)
    with Puts() as store:
        os.environ.update(store.environment)
        yield from two_copies(folder, sums(shared), "s3://bucket/mosaic", store)


def main() -> None:
    """Run, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it says each request
    with tempfile.TemporaryDirectory(prefix="selion-twice-") as folder:
        found = list(rows(Path(folder)))
    if given.json:
        save(found, given.json)
    print(markdown(found))


if __name__ == "__main__":
    main()
