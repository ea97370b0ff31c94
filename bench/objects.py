"""Object matching: one table of overlaps, beside pairwise polygons and an STRtree of polygons; and
the scoring of many chips.

    python bench/objects.py --edge 10980 --peer-edge 1024 --tree-edge 4096 --chips 1000 \
        --rounds 3 --json rows.json

* The large map is a Voronoi diagram with cells of 23 px (some 200,000 fields at 10980 px) as truth;
  the prediction is the same map moved by (3, 2) px in which each eleventh field is lost and each
  seventh is one with its neighbour.  A process of its own reads both from disk, block by block; its
  high-water mark is the kernel's.  The same table is made once more from arrays in memory, and must
  be equal.
* The peers' way is rebuilt here from how ftw-tools counts objects: masks to polygons
  (rasterio.features.shapes), each true polygon against each predicted one until one has an IoU of
  more than 0.5.  The STRtree does the same with an index and vectorised shapely 2.  All three start
  from the same masks and must give the same counts; ours makes its components (4-connected) within
  the time.
* Chips: truth and a moved prediction of 256 x 256 px, with every measure, boundary distances and
  1000 bootstrap draws among them, as ``selion evaluate`` scores them; predicting is not counted.
  ``--workers`` processes share the chips.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np

from table import Row, ratio, save, seconds

CELL = 21
SECTION = "Object matching and scoring"
Counts = tuple[int, int, int]


def large_pair(edge: int) -> tuple[np.ndarray, np.ndarray]:
    """Make the (y, x) int32 truth and prediction of the large map."""
    from polygons import voronoi

    truth = voronoi(edge, CELL, 0.0, 0)
    names = np.arange(truth.max() + 1, dtype=np.int32)
    names[names % 7 == 5] += 1
    names[names % 11 == 4] = 0
    return truth, names[np.roll(truth, (3, 2), (0, 1))]


def make(folder: Path, edge: int) -> None:
    """Write the maps; a process of its own, as are the two below: a child's high-water mark starts
    at its parent's, so the parent holds no map.
    """
    for name, ids in zip(("truth", "prediction"), large_pair(edge), strict=True):
        np.save(folder / f"{name}.npy", ids)


def stream(folder: Path) -> None:
    """Match the maps of ``folder`` block by block; print counts, seconds and the high-water mark
    before and after.
    """
    import pandas as pd

    from selion.grid import photo_grid
    from selion.metrics import overlap_of_sources
    from selion.store import InstanceMap

    grid = photo_grid(np.load(folder / "truth.npy", mmap_mode="r").shape)
    truth, prediction = (
        InstanceMap(folder / f"{name}.npy", grid, pd.DataFrame())
        for name in ("truth", "prediction")
    )
    _match(lambda: overlap_of_sources(truth, prediction))


def hold(folder: Path) -> None:
    """Match the maps of ``folder`` as arrays in memory."""
    from selion.metrics import overlap_table

    truth, prediction = (np.load(folder / f"{name}.npy") for name in ("truth", "prediction"))
    _match(lambda: overlap_table(truth, prediction))


def _match(table_of: Callable) -> None:
    from selion.metrics import object_scores

    before = _peak_mb()
    start = time.perf_counter()
    table = table_of()
    found = object_scores(table)
    wall = time.perf_counter() - start
    print(
        found.tp,
        found.fp,
        found.fn,
        len(table.truth_ids),
        len(table.prediction_ids),
        wall,
        before,
        _peak_mb(),
    )


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        1024 if sys.platform != "darwin" else 2**20
    )


def _child(*arguments: object) -> list[float]:
    done = subprocess.run(
        [sys.executable, __file__, *map(str, arguments)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return [float(word) for word in done.stdout.split()]


def large_rows(edge: int, rounds: int) -> list[Row]:
    """Match the large map from disk and from memory."""
    with tempfile.TemporaryDirectory() as folder:
        _child("--make", folder, "--edge", edge)
        found = [(_child("--stream", folder), _child("--hold", folder)) for _ in range(rounds)]
    disk, memory = zip(*found, strict=True)
    if len({tuple(run[:5]) for run in (*disk, *memory)}) != 1:
        raise SystemExit(
            f"From disk {disk[0][:5]}, from memory {memory[0][:5]}: the counts differ."
        )
    tp, _, _, truths, predictions = (int(v) for v in disk[0][:5])
    scene = f"{truths:,} x {predictions:,} objects, {tp:,} matched"
    rows = []
    for name, runs in (("read from disk by block", disk), ("arrays in memory", memory)):
        rows.append(
            seconds(
                SECTION,
                f"table and matching, {edge} x {edge} px, {name}",
                [run[5] for run in runs],
                scene,
            )
        )
        base = max(run[6] for run in runs)
        note = f"kernel's high-water mark; {base:.0f} MB before it began"
        rows.append(
            Row(
                SECTION,
                f"peak memory, {edge} x {edge} px, {name}",
                max(run[7] for run in runs),
                "MB",
                note=note,
            )
        )
    return rows


def masks(edge: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Make two (y, x) uint8 masks of blobs that are alike."""
    from scipy import ndimage

    rng = np.random.default_rng(seed)
    one, other = (ndimage.gaussian_filter(rng.normal(size=(edge, edge)), 3) for _ in range(2))
    return (one > 0.3 * one.std()).astype(np.uint8), (one + 0.1 * other > 0.3 * one.std()).astype(
        np.uint8
    )


def _polygons(mask: np.ndarray) -> list:
    import rasterio.features
    from shapely.geometry import shape

    return [shape(geometry) for geometry, value in rasterio.features.shapes(mask) if value == 1]


def pairwise(truth: np.ndarray, prediction: np.ndarray) -> Counts:
    """Count as the peers do: each true polygon walks the predictions until one is its match."""
    real, said = _polygons(truth), _polygons(prediction)
    used = set()
    for one in real:
        for k, other in enumerate(said):
            if one.intersects(other) and one.intersection(other).area / one.union(other).area > 0.5:
                used.add(k)
                break
    return len(used), len(said) - len(used), len(real) - len(used)


def strtree(truth: np.ndarray, prediction: np.ndarray) -> Counts:
    """Count with an index over polygons, vectorised."""
    import shapely

    real, said = np.array(_polygons(truth)), np.array(_polygons(prediction))
    rows, columns = shapely.STRtree(said).query(real, predicate="intersects")
    shared = shapely.area(shapely.intersection(real[rows], said[columns]))
    union = shapely.area(real)[rows] + shapely.area(said)[columns] - shared
    hits = int((shared / union > 0.5).sum())
    return hits, len(said) - hits, len(real) - hits


def ours(truth: np.ndarray, prediction: np.ndarray) -> Counts:
    """Count from one table of overlaps."""
    from selion.metrics import object_scores, overlap_table
    from selion.metrics.protocol import mask_objects

    found = object_scores(
        overlap_table(mask_objects(truth), mask_objects(prediction)), 0.5, strict=True
    )
    return found.tp, found.fp, found.fn


def against(
    way: Callable[[np.ndarray, np.ndarray], Counts], name: str, edge: int, rounds: int, goal: float
) -> list[Row]:
    """Interleave another way with ours; counts must be equal."""
    pair = masks(edge)
    small = masks(128)
    way(*small)  # imported and compiled
    ours(*small)
    slow, quick = [], []
    for _ in range(rounds):
        start = time.perf_counter()
        theirs = way(*pair)
        slow.append(time.perf_counter() - start)
        quick.append(statistics.median(_time(pair) for _ in range(3)))
    mine = ours(*pair)
    row = ratio(
        SECTION,
        f"against {name}, {edge} px, {mine[0] + mine[2]:,} x {mine[0] + mine[1]:,} objects",
        slow,
        quick,
        goal,
    )
    equal = Row(
        SECTION,
        f"counts (TP, FP, FN) that differ, {name}",
        sum(a != b for a, b in zip(mine, theirs, strict=True)),
        "",
        0.0,
        at_most=True,
        note=f"{theirs}",
    )
    return [row, equal]


def _time(pair: tuple[np.ndarray, np.ndarray]) -> float:
    start = time.perf_counter()
    ours(*pair)
    return time.perf_counter() - start


def score_chips(numbers: range) -> list:
    """Score the chips of those numbers; a chip's number decides it."""
    from polygons import voronoi
    from selion.metrics import score_ids

    found = []
    for k in numbers:
        truth = voronoi(256, CELL, 0.0, k)
        prediction = np.roll(truth, (1 + k % 3, 2), (0, 1))
        confidence = np.random.default_rng(k).random(len(np.unique(prediction[prediction > 0])))
        found.append(
            score_ids(
                f"chip {k}",
                truth,
                prediction,
                group=f"country {k % 20}",
                confidence=confidence,
                pixel=(10.0, 10.0),
            )
        )
    return found


def _warm(ready: Barrier) -> None:
    """Import and compile in a worker, and wait until all have."""
    score_chips(range(1))
    ready.wait()


def chip_row(chips: int, workers: int) -> Row:
    """Time the scoring of all chips and their summing up."""
    from selion.metrics import Report, summarise

    spawn = get_context("spawn")
    with ProcessPoolExecutor(workers, spawn, _warm, (spawn.Barrier(workers),)) as pool:
        list(pool.map(abs, range(workers)))
        start = time.perf_counter()
        step = -(-chips // (4 * workers))
        images = [
            image
            for part in pool.map(
                score_chips, [range(k, min(k + step, chips)) for k in range(0, chips, step)]
            )
            for image in part
        ]
    summed = time.perf_counter()
    text = Report("chips", (summarise("moved", images),)).to_markdown()
    wall = time.perf_counter() - start
    note = (
        f"{workers} processes, {wall - (summed - start):.1f} s of it to sum up; "
        f"{len(text.splitlines())} lines of report; chips are made within the time"
    )
    return Row(
        SECTION,
        f"scoring {chips:,} chips of 256 x 256 px",
        wall,
        "s",
        60.0,
        at_most=True,
        note=note,
    )


def main() -> None:
    """Measure and save the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--edge", type=int, default=10980, help="Of the large map, px.")
    parser.add_argument(
        "--peer-edge", type=int, default=1024, help="Where the pairwise way still ends, px."
    )
    parser.add_argument("--tree-edge", type=int, default=4096, help="For the STRtree, px.")
    parser.add_argument("--chips", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, default=None)
    for step in ("--make", "--stream", "--hold"):
        parser.add_argument(step, type=Path, default=None, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.make:
        return make(given.make, given.edge)
    if given.stream or given.hold:
        return stream(given.stream) if given.stream else hold(given.hold)
    rows = large_rows(given.edge, given.rounds)
    rows += against(pairwise, "pairwise polygons", given.peer_edge, given.rounds, 80.0)
    rows += against(strtree, "an STRtree of polygons", given.tree_edge, given.rounds, 15.0)
    rows.append(chip_row(given.chips, given.workers))
    for row in rows:
        print(f"{row.what}: {row.value:.4g} {row.unit} ({row.note})", flush=True)
    if given.json:
        save(rows, given.json)
    return None


if __name__ == "__main__":
    main()
