"""``make bench``: ratios measured in one run, printed as one table.

    python bench/run.py                    everything, at the sizes of the issue (about an hour on
                                           two cores)
    python bench/run.py --quick            everything, small: does it run, not what is it worth
    python bench/run.py --only model,map   some sections
    SELION_BENCH_FTW=.../bin/ftw python bench/run.py      beside the real ftw-tools instead of its
                                                          way of working rebuilt

This process stays small, because a child's memory mark starts at its parent's: each section is a
process of its own and leaves its rows as JSON.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from table import Row, load, markdown, save

HERE = Path(__file__).resolve().parent
SECTIONS = (
    "model",
    "map",
    "memory",
    "polygons",
    "objects",
    "offline",
    "composite",
    "mosaic",
    "areas",
    "choose",
    "training",
    "crops",
    "adapter",
)
SECTIONS += (
    "screening",
    "view",
    "tiles",
    "review",
    "language",
    "pseudo_masks",
    "scale",
    "faults",
    "country",
    "change",
)


@dataclass(frozen=True)
class Size:
    """How much is done."""

    rounds: int
    model_area: int
    """Edge in pixels of the square that the network alone is given."""
    map_edge: int
    memory_edge: int
    polygon_edge: int
    polygon_rounds: int
    object_edge: int
    peer_edge: int
    """Where pairwise polygon matching still ends."""
    tree_edge: int
    chips: int
    steps: int
    """Steps of training of the benchmark's weights."""
    smaller: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Options of the scripts that know their own sizes."""


FULL = Size(
    rounds=5,
    model_area=2048,
    map_edge=4096,
    memory_edge=10980,
    polygon_edge=10980,
    polygon_rounds=3,
    object_edge=10980,
    peer_edge=1024,
    tree_edge=4096,
    chips=1000,
    steps=120,
)
QUICK = Size(
    rounds=1,
    model_area=512,
    map_edge=1024,
    memory_edge=1024,
    polygon_edge=2560,
    polygon_rounds=1,
    object_edge=2048,
    peer_edge=512,
    tree_edge=1024,
    chips=50,
    steps=0,
    smaller={
        "composite": ("--quick",),
        "mosaic": ("--edge", "512", "--rounds", "1"),
        "areas": ("--tile", "264"),
        "language": ("--quick",),
        "choose": ("--size", "549", "--dates", "8"),
        "adapter": ("--quick",),
        "crops": ("--count", "3", "--large", "0"),
        "screening": ("--images", "500", "--sheets", "4"),
        "review": ("--fields", "2000", "--actions", "20"),
        "view": ("--fields", "100000", "--tiles", "3", "--pans", "2"),
        "tiles": ("--quick",),
        "country": ("--fields", "20000", "--tiles", "20000"),
        "pseudo_masks": ("--photos", "6", "--edge", "160"),
        "scale": ("--edge", "512", "--block", "256", "--sizes", "512,1024", "--blocks", "200"),
        "faults": ("--moments", "2"),
        "change": ("--quick",),
        "training": ("--steps", "2", "--rounds", "1", "--window", "64", "--batch", "2"),
    },
)


def section(script: str, *arguments: object) -> str:
    """Run one script of this folder to its end, its log going to the terminal; return what it
    printed.
    """
    print(f"== {script} {' '.join(str(a) for a in arguments)}", file=sys.stderr, flush=True)
    done = subprocess.run(
        [sys.executable, str(HERE / script), *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{script} failed with {done.returncode}.\n{done.stdout[-2000:]}")
    return done.stdout


def raster(work: Path, height: int, width: int) -> str:
    """Return the path of a raster of that size, made once."""
    return section("scene.py", work, height, width).strip().splitlines()[-1]


def measure(
    wanted: list[str], work: Path, size: Size, rounds: int, rebuilt_rounds: int
) -> list[Row]:
    """Run the wanted sections, keeping the rows of each in ``work`` as soon as they are there."""
    rows = work / "rows.json"
    ckpt, model = (
        section("network.py", work, "--steps", size.steps).strip().splitlines()[-2:]
        if set(wanted) & {"model", "map", "memory", "offline"}
        else ("", "")
    )
    found: list[Row] = []
    for name in wanted:
        if name == "model":
            for malloc in ([], ["--tuned"]):
                section(
                    "model.py",
                    model,
                    ckpt,
                    "--rounds",
                    rounds,
                    "--area",
                    size.model_area,
                    "--json",
                    rows,
                    *malloc,
                )
                found += load(rows)
        elif name == "polygons":
            found += polygon_rows(
                section(
                    "polygons.py",
                    "--size",
                    size.polygon_edge,
                    "--rounds",
                    min(rounds, size.polygon_rounds),
                )
            )
        elif name == "objects":
            sizes = (
                "--edge",
                size.object_edge,
                "--peer-edge",
                size.peer_edge,
                "--tree-edge",
                size.tree_edge,
                "--chips",
                size.chips,
            )
            section("objects.py", *sizes, "--rounds", min(rounds, 3), "--json", rows)
            found += load(rows)
        elif name == "memory":
            short, tall = (
                raster(work, height, size.memory_edge)
                for height in (size.memory_edge, 2 * size.memory_edge)
            )
            section("memory.py", short, tall, model, "--json", rows)
            found += load(rows)
        elif name == "map":
            scene = raster(work, size.map_edge, size.map_edge)
            section(
                "map.py",
                scene,
                model,
                ckpt,
                "--rounds",
                rounds,
                "--rebuilt-rounds",
                rebuilt_rounds,
                "--json",
                rows,
            )
            found += load(rows)
        elif name == "change":
            section(
                "change.py",
                work / ("change_quick" if size.smaller else "change"),
                *size.smaller.get(name, ()),
                "--json",
                rows,
            )
            found += load(rows)
        elif name == "scale":
            section("scale.py", "--work", work, *size.smaller.get(name, ()), "--json", rows)
            found += load(rows)
        elif name in (
            "faults",
            "country",
            "composite",
            "mosaic",
            "areas",
            "language",
            "crops",
            "adapter",
            "screening",
            "view",
            "review",
        ):
            section(f"{name}.py", *size.smaller.get(name, ()), "--json", rows)
            found += load(rows)
        elif name in ("choose", "training", "pseudo_masks"):
            print(section(f"{name}.py", *size.smaller.get(name, ())))
        elif name == "offline":
            section("offline.py", raster(work, 1024, 1024), model, ckpt, "--json", rows)
            found += load(rows)
        save(found, work / "bench.json")
    return found


def polygon_rows(printed: str) -> list[Row]:
    """Read what ``polygons.py`` prints."""
    name = "Polygon stage, ids to a simplified file, like for like"
    what = re.search(r"(\d+) px, (\d+) objects, (\d+) of 500 m2", printed)
    median = re.search(r"ratio \(median of (\d+)\): ([0-9.]+)", printed)
    rings = re.search(r"rings equal to GDAL's: (\d+) of (\d+)", printed)
    seams = re.search(r"seam: (\d+); split by theirs (\d+), by ours (\d+)", printed)
    if not (what and median and rings and seams):
        raise SystemExit(f"polygons.py printed what is not understood here:\n{printed[-2000:]}")
    rounds = "; ".join(
        line.partition(": ")[2].strip()
        for line in printed.splitlines()
        if line.startswith("round ")
    )
    edge, objects, large = what.groups()
    scene = f"{objects} objects, {large} of 500 m2 or more; {rounds}"
    return [
        Row(name, f"against ftw-tools' way, {edge} px", float(median[2]), "x", 8.0, note=scene),
        Row(
            name,
            "rings equal to GDAL's",
            100 * int(rings[1]) / int(rings[2]),
            "%",
            100.0,
            note=f"{rings[1]} of {rings[2]}",
        ),
        Row(
            name,
            "fields split at a seam, ours",
            float(seams[3]),
            "",
            0.0,
            at_most=True,
            note=f"of {seams[1]} that cross one",
        ),
        Row(
            name,
            "fields split at a seam, ftw-tools' way",
            float(seams[2]),
            "",
            note=f"of {seams[1]} that cross one",
        ),
    ]


def machine() -> str:
    """Return one line on what this was measured on."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    flags = set(
        re.findall(r"\w+", next(iter(re.findall(r"^flags\s*:(.*)$", text, re.MULTILINE)), ""))
    )
    name = next(
        iter(re.findall(r"^model name\s*: (.*)$", text, re.MULTILINE)),
        platform.processor() or platform.machine(),
    )
    fast = (
        "AMX"
        if "amx_bf16" in flags
        else "AVX512-BF16, no AMX"
        if "avx512_bf16" in flags
        else "no bfloat16"
        if flags
        else "features unknown"
    )
    load_now = f", load {os.getloadavg()[0]:.1f} at the end" if hasattr(os, "getloadavg") else ""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name.strip()}, {cores} cores ({fast}){load_now}"


def peer_line() -> str:
    """Return one line on who the peer is."""
    if os.environ.get("SELION_BENCH_FTW"):
        return "The peer is ftw-tools, run from its own source."
    return (
        "The peer is ftw-tools' way of working, rebuilt in bench/peer.py (SELION_BENCH_FTW names "
        "the real one)."
    )


def main() -> None:
    """Run the sections and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="Small sizes, one round.")
    parser.add_argument(
        "--rounds", type=int, default=None, help="Interleaved rounds [default: 5; quick: 1]."
    )
    parser.add_argument(
        "--rebuilt-rounds",
        type=int,
        default=1,
        help="Rounds in which the rebuilt peer runs beside the real one [default: 1].",
    )
    parser.add_argument(
        "--only", default=",".join(SECTIONS), help=f"Sections, of {','.join(SECTIONS)}."
    )
    parser.add_argument(
        "--edge",
        type=int,
        default=None,
        help="Edge in pixels of the raster of the whole command [default: 4096; quick: 1024].",
    )
    parser.add_argument(
        "--work",
        type=Path,
        default=None,
        help="Folder for rasters and weights (4 GB), kept; without it a temporary one.",
    )
    given = parser.parse_args()
    wanted = given.only.split(",")
    if set(wanted) - set(SECTIONS):
        parser.error(f"--only {given.only}: the sections are {', '.join(SECTIONS)}")
    size = QUICK if given.quick else FULL
    if given.edge:
        size = replace(size, map_edge=given.edge)
    with tempfile.TemporaryDirectory(prefix="selion-bench-") as temporary:
        work = given.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        rows = measure(
            wanted, work.resolve(), size, given.rounds or size.rounds, given.rebuilt_rounds
        )
    print(f"{machine()}.  {peer_line()}\n")
    print(markdown(rows))
    missed = [row for row in rows if row.reached is False]
    print(f"{sum(row.reached is True for row in rows)} goals reached, {len(missed)} missed.")
    if given.quick:
        print("Sizes are --quick: the numbers say only that it runs.")


if __name__ == "__main__":
    main()
