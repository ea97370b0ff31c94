"""The seasonal composite: the median alone, and end to end from the archive's files, beside what
users of today's tools have.

    python bench/composite.py --json rows.json
        20 dates, 4096 px, from disk and from a server (half an hour on two cores)
    python bench/composite.py --json rows.json --quick                 1024 px: does it run
    python bench/composite.py --json rows.json --kernel 20x10980 --every 10 --edge 10980 --rounds 1
        a whole tile

* Kernel: four bands of random clouds (45 %) in memory, one thread each, block by block in turn: the
  network on uint16 against bottleneck's nanmedian and dask/xarray's of the same stack masked with
  NaN (making that stack is not counted).  Every block is compared pixel by pixel.  numbagg, which
  would change what xarray does, must not be installed.  ``--every K`` gives the peers each K-th
  block only.
* End to end: ``seasonal.py`` makes an archive and runs each way in a process of its own: start-up,
  reading, masking, median, writing.  Ours keeps its finished blocks and writes a COG with overviews
  and provenance; the peer writes a plain tiled file.  Their pixels are compared.  The server is the
  tests' own.
"""

from __future__ import annotations

import argparse
import importlib.util
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np

import command
from table import Row, markdown, ratio, save, seconds

HERE = Path(__file__).resolve().parent
KERNEL = "Median composite, kernel alone, one thread"
WHOLE = "Median composite, end to end with reading"
BLOCK = 1024


def kernel(dates: int, edge: int, rounds: int, every: int) -> list[Row]:
    """Return the rows of one size: four bands of ``edge`` px square."""
    if importlib.util.find_spec("numbagg"):
        raise SystemExit(
            "numbagg is installed: it changes what xarray does, so the peer would be another one."
        )
    import bottleneck
    import dask
    import xarray

    from selion.imagery.median import masked_median

    def of_dask(masked: np.ndarray) -> np.ndarray:
        with dask.config.set(scheduler="single-threaded"):
            return (
                xarray.DataArray(masked, dims=("time", "y", "x"))
                .chunk({"time": -1, "y": 512, "x": 512})
                .median("time")
                .values
            )

    ways = {
        "ours": masked_median,
        "bottleneck": lambda masked: bottleneck.nanmedian(masked, axis=0),
        "dask": of_dask,
    }
    walls: dict[str, list[float]] = {name: [] for name in ways}
    everything = []
    checksum = 0
    masked_median(np.ones((dates, 2, 2), np.uint16))
    for turn in range(rounds):
        spent, all_blocks = dict.fromkeys(ways, 0.0), 0.0
        for number, shape in enumerate(4 * blocks(edge)):
            stack = cloudy(dates, shape, number)
            compared = number % every == 0
            masked = (
                np.where(stack == 0, np.float32(np.nan), stack.astype(np.float32))
                if compared
                else None
            )
            found = {}
            for name in order(ways, turn) if compared else ["ours"]:
                start = time.perf_counter()
                found[name] = ways[name](stack if name == "ours" else masked)
                wall = time.perf_counter() - start
                spent[name] += wall if compared else 0
                all_blocks += wall if name == "ours" else 0
            checksum += compare(found, f"block {number}") if turn == 0 else 0
        everything.append(all_blocks)
        for name in ways:
            walls[name].append(spent[name])
    size = f"{dates} dates, 4 x {edge} x {edge} px"
    goals = {"bottleneck": 10.0, "dask": 30.0}
    rows = [
        ratio(
            KERNEL, f"against {name}'s nanmedian, {size}", walls[name], walls["ours"], goals[name]
        )
        for name in goals
    ]
    return [
        *rows,
        seconds(
            KERNEL,
            f"ours, {size}",
            everything,
            f"equal pixels, checksum {checksum}"
            + (f"; peers on every {every}th block" if every > 1 else ""),
        ),
    ]


def blocks(edge: int) -> list[tuple[int, int]]:
    """Return the shapes of the blocks of a raster; a small one is one block, as a user would have
    it.
    """
    sides = (
        [edge] if edge <= 2048 else [min(BLOCK, edge - start) for start in range(0, edge, BLOCK)]
    )
    return [(height, width) for height in sides for width in sides]


def cloudy(dates: int, shape: tuple[int, int], seed: int) -> np.ndarray:
    """Return a (t, y, x) uint16 stack of which 45 % is not seen."""
    rng = np.random.default_rng(seed)
    stack = rng.integers(1, 10001, (dates, *shape), np.uint16)
    stack[rng.random(stack.shape, np.float32) < 0.45] = 0
    return stack


def compare(found: dict, what: str) -> int:
    """Check that all ways agree, and return the sum of the medians."""
    ours = found["ours"][0]
    for name, median in found.items():
        if name != "ours" and not np.array_equal(np.floor(np.nan_to_num(median) + 0.5), ours):
            raise SystemExit(f"{name} and ours differ in {what}.")
    return int(ours.sum(dtype=np.int64))


def order(ways, turn: int) -> list[str]:
    """Return the contestants, beginning with another one in each round."""
    names = list(ways)
    return names[turn % len(names) :] + names[: turn % len(names)]


def whole(
    work: Path,
    edge: int,
    dates: int,
    rounds: int,
    chunk: int,
    peers: tuple[str, ...],
    url: str | None = None,
) -> list[Row]:
    """Return the rows of composites of an archive on disk, or behind ``url``."""
    archive = work / f"{edge}x{dates}"
    contestants = ("ours", *peers)
    done: dict[str, list[command.Finished]] = {name: [] for name in contestants}
    for turn in range(rounds):
        for name in order(contestants, turn):
            argv = [
                sys.executable,
                "-W",
                "ignore",
                str(HERE / "seasonal.py"),
                name,
                str(archive),
                str(work / f"{name}.tif"),
                "--chunk",
                str(chunk),
            ]
            done[name].append(command.checked([*argv, *(["--url", url] if url else [])]))
            print(
                (
                    f"  {name} {'http' if url else 'disk'}: {done[name][-1].wall:.1f} s, "
                    f"{done[name][-1].biggest_mb:.0f} MB"
                ),
                file=sys.stderr,
                flush=True,
            )
    size = f"{dates} dates, {edge} x {edge} px, {'server' if url else 'disk'}"
    rows = []
    for name in peers:
        same = share_equal(work / "ours.tif", work / f"{name}.tif")
        wanted = (3.0, 0.1) if name == "odc" else (None, None)
        walls = [[one.wall for one in done[who]] for who in (name, "ours")]
        rows.append(ratio(WHOLE, f"time against {name}, {size}", *walls, wanted[0]))
        peak, theirs = (max(one.biggest_mb for one in done[who]) for who in ("ours", name))
        note = f"{peak:.0f} MB against {theirs:.0f} MB; {100 * same:.4f} % of the pixels equal"
        rows.append(
            Row(
                WHOLE,
                f"memory against {name}, {size}",
                peak / theirs,
                "x",
                wanted[1],
                at_most=True,
                note=note,
            )
        )
    peak = max(one.biggest_mb for one in done["ours"])
    return [
        *rows,
        seconds(WHOLE, f"ours, {size}", [one.wall for one in done["ours"]], f"{peak:.0f} MB"),
    ]


def share_equal(one: Path, other: Path) -> float:
    """Return the share of equal pixels of two rasters, read strip by strip."""
    import rasterio
    from rasterio.windows import Window

    equal = total = 0
    with rasterio.open(one) as first, rasterio.open(other) as second:
        for top in range(0, first.height, BLOCK):
            window = Window(0, top, first.width, min(BLOCK, first.height - top))
            same = first.read(window=window) == second.read(window=window)
            equal, total = equal + int(same.sum()), total + same.size
    return equal / total


@contextmanager
def served(folder: Path):
    """Serve a folder with HTTP ranges from a process of its own; gives the address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, str(HERE.parent / "tests" / "stac_server.py"), str(folder), str(port)],
        stdout=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + 30
        while time.monotonic() < until:
            with socket.socket() as knock:
                if knock.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/cogs"
    finally:
        server.terminate()
        server.wait()


def main() -> None:
    """Measure, print and save the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--kernel", default="12x1536,20x4096", help="Sizes of the kernel, DATESxEDGE; empty: none."
    )
    parser.add_argument(
        "--every", type=int, default=1, help="Give the kernel's peers each K-th block only."
    )
    parser.add_argument(
        "--edge", type=int, default=4096, help="Pixels of the archive's edge; 0: no archive."
    )
    parser.add_argument("--dates", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--chunk", type=int, default=2048, help="Pixels of the peer's chunks.")
    parser.add_argument("--peers", default="odc", help="Of odc, odc-bottleneck; empty: ours alone.")
    parser.add_argument("--no-server", action="store_true", help="From disk only.")
    parser.add_argument("--quick", action="store_true", help="Small sizes, one round.")
    parser.add_argument(
        "--work",
        type=Path,
        help=(
            "Folder for the archive (2 GB at 4096 px, 14 GB at 10980 px), kept; without it a "
            "temporary one."
        ),
    )
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if given.quick:
        given.kernel, given.edge, given.dates, given.rounds = "12x512", 1024, 6, 1
    peers = tuple(name for name in given.peers.split(",") if name)
    rows = []
    with tempfile.TemporaryDirectory(prefix="selion-bench-") as temporary:
        work = given.work or Path(temporary)
        if given.edge:
            archive = work / f"{given.edge}x{given.dates}"
            size = ["--edge", str(given.edge), "--dates", str(given.dates)]
            command.checked(
                [sys.executable, str(HERE / "seasonal.py"), "make", str(archive), *size]
            )
            rows += whole(work, given.edge, given.dates, given.rounds, given.chunk, peers)
            if not given.no_server:
                with served(archive) as url:
                    rows += whole(
                        work, given.edge, given.dates, given.rounds, given.chunk, peers, url
                    )
    # last: a child's high-water mark starts at its parent's
    for size in filter(None, given.kernel.split(",")):
        rows += kernel(*(int(part) for part in size.split("x")), given.rounds, given.every)
    if given.json:
        save(rows, given.json)
    print(markdown(rows))


if __name__ == "__main__":
    main()
