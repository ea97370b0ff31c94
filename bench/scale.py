"""Scale: the same bytes from every runner, what Ray costs per block, and how time and memory grow
with the size of the raster.

    python bench/scale.py --work FOLDER --json rows.json  everything, 2048 and 4096 px
    python bench/scale.py --part hash --edge 1024 --runners serial,processes:1,processes:2,ray:2
    python bench/scale.py --part overhead --blocks 4096
    python bench/scale.py --part growth --sizes 2048,4096,8192,10980

Growth is wall time and peak memory of the whole command (``selion map --fast``, serial runner),
start-up included, on mirrored copies of one scene, so that all sizes show the same country; the
slope is that of a straight line through the logarithms of pixels, seconds and megabytes.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import command
import scene
from table import Row, save

SECTION = "Scale: runners, growth"
SELION = [sys.executable, "-m", "selion.cli.main"]
COMMON = (
    "--model",
    "fields-s2-2season",
    "--scale",
    "1",
    "--fast",
    "--force",
    "--quiet",
    "--no-preview",
)


def runner_arguments(name: str) -> list[str]:
    """``processes:2`` -> the options of the command line."""
    kind, _, workers = name.partition(":")
    return ["--runner", kind, *(["--workers", workers] if workers else [])]


def same_bytes(raster: Path, runners: list[str], block: int) -> list[Row]:
    """Predict and map with every runner; all outputs must have one hash."""
    hashes, walls = {}, []
    with tempfile.TemporaryDirectory(dir=raster.parents[1]) as folder:
        for name in runners:
            out, scores = Path(folder) / "fields.parquet", Path(folder) / "scores.tif"
            arguments = [
                str(raster),
                "-o",
                str(out),
                "--scores",
                str(scores),
                "--block",
                str(block),
                *COMMON,
                *runner_arguments(name),
            ]
            done = command.checked([*SELION, "map", *arguments])
            hashes[name] = tuple(
                hashlib.sha256(path.read_bytes()).hexdigest() for path in (out, scores)
            )
            scores.unlink()
            walls.append(f"{name} {done.wall:.0f} s, {done.peak_mb:.0f} MB")
            print(
                f"  {walls[-1]}, {hashes[name][0][:12]} {hashes[name][1][:12]}",
                file=sys.stderr,
                flush=True,
            )
    note = f"{raster.parent.name.rpartition('_')[2]} px, blocks of {block}; {'; '.join(walls)}"
    return [
        Row(
            SECTION,
            f"different outputs of {len(runners)} runners",
            len(set(hashes.values())),
            "",
            1,
            at_most=True,
            note=note,
        )
    ]


def block_seconds(raster: Path, block: int) -> float:
    """Return what one block of the packaged model takes on one core, from a few windows of it."""
    from selion import models, prediction, store

    source, model = (
        store.open_raster(raster),
        models.load_model("fields-s2-2season", fast=True, threads=1),
    )
    plan = prediction.plan(source, model, prediction.PredictOptions(scale=1.0, block=block))
    roi = slice(0, plan.lattice.stride * 2), slice(0, plan.lattice.stride * 3)
    prediction.predict_block(source, model, plan, roi)  # the engine compiles
    begin = time.perf_counter()
    prediction.predict_block(source, model, plan, roi)
    windows = len(set(plan.lattice.touching(roi)))
    return (time.perf_counter() - begin) / windows * (block / plan.lattice.stride) ** 2


def overhead(raster: Path, blocks: int, block: int, workers: int, runners: list[str]) -> list[Row]:
    """Time blocks that do nothing: all that is left is what a runner costs."""
    from selion.runners import RunnerOptions, open_runner

    each, rows = block_seconds(raster, block), []
    for name in runners:
        with open_runner(RunnerOptions(name, workers)) as run:
            list(run(abs, range(64)))  # workers start
            begin = time.perf_counter()
            found = sum(done.result for done in run(abs, range(blocks)))
            spent = time.perf_counter() - begin
        if found != blocks * (blocks - 1) // 2:
            raise SystemExit(f"{name} lost blocks or did some twice.")
        cost = spent / blocks * workers
        note = (
            f"{cost * 1e3:.2f} ms of a worker per block, {blocks} blocks, {workers} workers; a "
            f"block of {block} px takes {each:.1f} s on one core (--fast)"
        )
        rows.append(
            Row(
                SECTION,
                f"{name}: overhead per block",
                100 * cost / each,
                "%",
                5.0,
                at_most=True,
                note=note,
            )
        )
    return rows


def growth(work: Path, sizes: list[int]) -> list[Row]:
    """Map rasters of several sizes; fit straight lines."""
    runs = []
    with tempfile.TemporaryDirectory(dir=work) as folder:
        for edge in sizes:
            raster = scene.ensure(work, edge, edge)
            runs.append(
                command.checked(
                    [*SELION, "map", str(raster), "-o", str(Path(folder) / "f.parquet"), *COMMON]
                )
            )
            print(
                f"  {edge} px: {runs[-1].wall:.1f} s, {runs[-1].peak_mb:.0f} MB",
                file=sys.stderr,
                flush=True,
            )
    pixels = np.log([float(edge) ** 2 for edge in sizes])
    note = "; ".join(
        f"{edge} px {run.wall:.1f} s, {run.peak_mb:.0f} MB"
        for edge, run in zip(sizes, runs, strict=True)
    )
    slopes = [
        float(np.polyfit(pixels, np.log(values), 1)[0])
        for values in ([run.wall for run in runs], [run.peak_mb for run in runs])
    ]
    return [
        Row(
            SECTION,
            "slope of time over pixels, log-log",
            slopes[0],
            "",
            1.05,
            at_most=True,
            note=note,
        ),
        Row(
            SECTION,
            "slope of memory over pixels, log-log",
            slopes[1],
            "",
            0.05,
            at_most=True,
            note=note,
        ),
    ]


def main() -> None:
    """Measure and save the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--part",
        action="append",
        choices=["hash", "overhead", "growth"],
        help="Only this part; repeat for more.",
    )
    parser.add_argument("--work", type=Path, default=None, help="Folder for rasters, kept.")
    parser.add_argument("--edge", type=int, default=2048)
    parser.add_argument("--block", type=int, default=512, help="Edge of blocks of the part 'hash'.")
    parser.add_argument("--runners", default="serial,processes:1,processes:2,ray:2")
    parser.add_argument("--blocks", type=int, default=4096)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--sizes", default="2048,4096")
    parser.add_argument("--json", type=Path, default=None)
    given = parser.parse_args()
    parts, runners = given.part or ["hash", "overhead", "growth"], given.runners.split(",")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="selion-bench-") as temporary:
        work = (given.work or Path(temporary)).resolve()
        work.mkdir(parents=True, exist_ok=True)
        if "hash" in parts:
            rows += same_bytes(scene.ensure(work, given.edge, given.edge), runners, given.block)
        if "overhead" in parts:
            names = dict.fromkeys(
                name.partition(":")[0] for name in runners if not name.startswith("serial")
            )
            rows += overhead(
                scene.ensure(work, 1024, 1024), given.blocks, 2048, given.workers, list(names)
            )
        if "growth" in parts:
            rows += growth(work, [int(size) for size in given.sizes.split(",")])
    for row in rows:
        print(f"{row.what}: {row.value:.3g} {row.unit} ({row.note})")
    if given.json:
        save(rows, given.json)


if __name__ == "__main__":
    main()
