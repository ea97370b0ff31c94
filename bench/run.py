"""``make bench``: ratios measured in one run, printed as one table.

    python bench/run.py                    everything, at full sizes (about an hour on two cores)
    python bench/run.py --quick            small sizes, within a minute or two: does it run, not
                                           what is it worth; what is left out is named
    python bench/run.py --only model,map   some sections
    SELION_BENCH_FTW=.../bin/ftw python bench/run.py      beside the real ftw-tools instead of its
                                                          way of working rebuilt

A section that cannot run here (a library or data that are not there) says so and is left out.
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
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from table import Row, load, markdown, save

HERE = Path(__file__).resolve().parent
SKIPPED = 77
"""Exit status of a script that cannot run here; its last line says why."""


@dataclass(frozen=True)
class Section:
    """A script of this folder, its options by size, and what has to be installed for it."""

    full: str = ""
    quick: str = ""
    """Options of ``--quick``."""
    costs: int = 0
    """Seconds of processor time that ``--quick`` takes at least, where that is more than
    :data:`PATIENT`."""
    needs: tuple[str, ...] = ()
    """Modules that selion itself does not require."""
    prints: bool = False
    """The script prints what it found; else it writes its rows as JSON."""


PATIENT = 13
"""Sections that cost more seconds than this at any size are left out of ``--quick``, which then
takes about a minute of processor time; ``--quick --only NAME`` runs them small."""
TORCH = ("torch", "segmentation_models_pytorch", "onnx")
PAGES = ("starlette", "uvicorn")
SECTIONS = {
    "model": Section(
        "{model} {ckpt} --rounds {rounds} --area 2048",
        "{model} {ckpt} --rounds {rounds} --area 512",
        costs=60,
        needs=TORCH,
    ),
    "map": Section(
        "{scene_4096} {model} {ckpt} --rounds {rounds} --rebuilt-rounds {rebuilt}",
        "{scene_1024} {model} {ckpt} --rounds {rounds} --rebuilt-rounds {rebuilt}",
        costs=60,
        needs=TORCH,
    ),
    "memory": Section(
        "{scene_10980} {scene_21960x10980} {model}",
        "{scene_1024} {scene_2048x1024} {model}",
        costs=60,
        needs=TORCH,
    ),
    "polygons": Section("--size 10980 --rounds {few}", "--size 384 --rounds 1", prints=True),
    "objects": Section(
        "--edge 10980 --peer-edge 1024 --tree-edge 4096 --chips 1000 --rounds {few}",
        "--edge 512 --peer-edge 192 --tree-edge 256 --chips 4 --rounds 1",
    ),
    "cut": Section("--edge 10980 --rounds {few}", "--edge 768 --rounds 1", costs=20),
    "dates": Section("", "--edge 128 --styles europe", costs=40),
    "outlines": Section(
        "--edge 16384 --peer-edge 4096 --rounds 1 --work {work}",
        "--edge 1024 --peer-edge 256 --rounds 1 --work {work}",
        costs=25,
    ),
    "offline": Section(
        "{scene_1024} {model} {ckpt}", "{scene_1024} {model} {ckpt}", costs=60, needs=TORCH
    ),
    "composite": Section(
        "", "--quick", costs=30, needs=("bottleneck", "dask", "xarray", "odc.stac")
    ),
    "mosaic": Section("", "--edge 512 --rounds 1", costs=30),
    "areas": Section("", "--tile 264", costs=25),
    "choose": Section("", "--size 256 --dates 6", prints=True),
    "training": Section(
        "",
        "--steps 2 --rounds 1 --window 64 --batch 2",
        costs=30,
        needs=(*TORCH, "torchvision"),
        prints=True,
    ),
    "crops": Section("", "--count 3 --large 0", costs=20),
    "adapter": Section("", "--quick", costs=30, needs=("torch", "transformers")),
    "screening": Section("", "--images 200 --sheets 2", needs=PAGES),
    "view": Section(
        "", "--fields 20000 --tiles 2 --pans 1", needs=(*PAGES, "rio_tiler", "pmtiles")
    ),
    "tiles": Section("", "--quick", costs=15, needs=("duckdb",)),
    "review": Section("", "--fields 500 --actions 8", needs=PAGES),
    "families": Section(
        "--rounds {few}",
        "--rounds 1 --window 256 --only U-Net,FCN,UPerNet",
        costs=20,
        needs=(*TORCH, "timm", "transformers"),
    ),
    "language": Section("", "--quick", costs=30, needs=("torch", "transformers", "xgrammar")),
    "pseudo_masks": Section("", "--photos 3 --edge 128", prints=True),
    "scale": Section(
        "--work {work}",
        "--work {work} --edge 512 --block 256 --sizes 512,1024 --blocks 200",
        costs=60,
        needs=("ray",),
    ),
    "faults": Section("", "--moments 2", costs=15),
    "fault_verbs": Section("", "--verbs query --places 1", costs=10),
    "planted": Section("", "--verbs scenes --forms SAS", costs=5),
    "pointing": Section("", "", costs=10),
    "pages": Section("--spellings 9", "--idle 20 --slow 5 --asks 8", needs=PAGES),
    "country": Section("", "--fields 20000 --tiles 20000", costs=17, needs=("duckdb",)),
    "change": Section("{work}/change", "{work}/change_quick --quick"),
}


@dataclass(frozen=True)
class Effort:
    """How much is done in a run of the table."""

    quick: bool
    named: bool
    """Whether the sections were asked for by name."""
    rounds: int
    rebuilt: int
    edge: int
    """Of the raster of the whole command, px."""


def missing(name: str, effort: Effort) -> str:
    """Return why a section is not run here; empty where it is."""
    section = SECTIONS[name]
    if effort.quick and not effort.named and section.costs > PATIENT:
        return f"takes {section.costs} s at any size; run it with --quick --only {name}"
    absent = [module for module in section.needs if not importable(module)]
    return f"not installed: {', '.join(absent)}" if absent else ""


def importable(module: str) -> bool:
    """Return whether a module, or one inside a package, can be imported."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def run_script(script: str, *arguments: object) -> str:
    """Run one script of this folder to its end, its log going to the terminal; return what it
    printed.

    Raises
    ------
    Skip
        If the script says that it cannot run here.
    """
    print(f"== {script} {' '.join(str(a) for a in arguments)}", file=sys.stderr, flush=True)
    done = subprocess.run(
        [sys.executable, str(HERE / script), *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode == SKIPPED:
        raise Skip(done.stdout.strip().splitlines()[-1])
    if done.returncode:
        raise SystemExit(f"{script} failed with {done.returncode}.\n{done.stdout[-2000:]}")
    return done.stdout


class Skip(Exception):
    """A section cannot run here."""


class Material(dict[str, object]):
    """What stands in braces in a section's options: weights and rasters, made when asked for."""

    def __init__(self, work: Path, effort: Effort) -> None:
        few = min(effort.rounds, 3)
        super().__init__(work=work, rounds=effort.rounds, rebuilt=effort.rebuilt, few=few)
        self.edge = effort.edge

    def __missing__(self, name: str) -> object:
        if name in ("ckpt", "model"):
            lines = run_script("network.py", self["work"]).strip().splitlines()
            self["ckpt"], self["model"] = lines[-2:]
            return self[name]
        height, _, width = name.removeprefix("scene_").partition("x")
        size = (height, width or height) if height != "4096" else (self.edge, self.edge)
        self[name] = run_script("scene.py", self["work"], *size).strip().splitlines()[-1]
        return self[name]


def measure(wanted: list[str], work: Path, effort: Effort) -> list[Row]:
    """Run the wanted sections, keeping the rows of each in ``work`` as soon as they are there."""
    material = Material(work, effort)
    found: list[Row] = []
    for name in wanted:
        reason = missing(name, effort)
        if not reason:
            try:
                found += rows_of(name, material, quick=effort.quick)
            except Skip as skip:
                reason = str(skip)
        if reason:
            print(f"{name}: skipped, {reason}", flush=True)
        save(found, work / "bench.json")
    return found


def rows_of(name: str, material: Material, *, quick: bool) -> list[Row]:
    """Run one section and return its rows."""
    section = SECTIONS[name]
    options = [o.format_map(material) for o in (section.quick if quick else section.full).split()]
    if section.prints:
        printed = run_script(f"{name}.py", *options)
        if name == "polygons":
            return polygon_rows(printed)
        print(printed)
        return []
    rows = Path(str(material["work"])) / "rows.json"
    found: list[Row] = []
    for malloc in ([], ["--tuned"]) if name == "model" else ([],):
        run_script(f"{name}.py", *options, "--json", rows, *malloc)
        found += load(rows)
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
    parser.add_argument("--only", default="", help=f"Sections, of {','.join(SECTIONS)}.")
    parser.add_argument(
        "--edge",
        type=int,
        default=4096,
        help="Edge in pixels of the raster of the whole command [default: 4096].",
    )
    parser.add_argument(
        "--work",
        type=Path,
        default=None,
        help="Folder for rasters and weights (4 GB), kept; without it a temporary one.",
    )
    given = parser.parse_args()
    wanted = given.only.split(",") if given.only else list(SECTIONS)
    if set(wanted) - set(SECTIONS):
        parser.error(f"--only {given.only}: the sections are {', '.join(SECTIONS)}")
    rounds = given.rounds or (1 if given.quick else 5)
    effort = Effort(given.quick, bool(given.only), rounds, given.rebuilt_rounds, given.edge)
    with tempfile.TemporaryDirectory(prefix="selion-bench-") as temporary:
        work = given.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        rows = measure(wanted, work.resolve(), effort)
    print(f"{machine()}.  {peer_line()}\n")
    print(markdown(rows))
    missed = [row for row in rows if row.reached is False]
    print(f"{sum(row.reached is True for row in rows)} goals reached, {len(missed)} missed.")
    if given.quick:
        print("Sizes are --quick: the numbers say only that it runs.")


if __name__ == "__main__":
    main()
