"""Peak memory of verbs against the size of what they are given, each under a limit of 2 GB.

``memory.py --page`` is the command.  A verb runs in processes of its own under a limit that is
always in force (``limited.py``), and the table says who held it.  What is given as its peak is the
resident memory of all its processes together, sampled ten times a second, or the kernel's own mark
of the largest.  A limit on address space (``ulimit -v``) would say something else: torch, GDAL and
Arrow reserve much more than they touch.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import limited
from memory_hostile import announced, outline
from memory_inputs import (
    DATES,
    archive,
    change_tables,
    identified,
    jobs,
    orthomosaic,
    plan_area,
    planned,
    planned_empty,
    probabilities,
    sparse_image,
    table,
)
from memory_photographs import chips, labelled, measured, photographs

LIMIT_MB = 2000
BEGIN, END = "<!-- table of memory -->\n", "<!-- end of the table of memory -->"
"""Between which the table stands on a page."""
WORLD = "5,45,20,60"
TABLES = (180_000, 810_000, 3_240_000)
REVIEWED = (125_000, 500_000)
REFUSED, LONGEST = 2, 3600
"""Exit code of a refusal; seconds on the clock after which a command is ended."""
SELION = (sys.executable, "-m", "selion")
SMALL = (sys.executable, str(Path(__file__).with_name("small_windows.py")))
OPEN = (sys.executable, str(Path(__file__).with_name("open_page.py")))

Make = Callable[[Path, int], Path]


@dataclass(frozen=True)
class Verb:
    """A command whose input grows."""

    name: str
    unit: str
    sizes: tuple[int, ...]
    make: Make
    """``make(folder, size)`` writes the input, once, and says where it is."""
    arguments: tuple[str, ...]
    """``{input}`` and ``{out}`` stand for paths."""
    program: tuple[str, ...] = SELION
    fine: tuple[int, ...] = (0,)
    """Exit codes of a command that has done its work."""


@dataclass(frozen=True)
class Point:
    """What one size took."""

    verb: str
    unit: str
    size: int
    mb: float
    wall: float
    cpu: float
    said: str
    """Nothing where it ended well; else what became of it."""
    limit: str = "not noted"
    """Who held the limit of memory."""


JOBS = (1_250, 5_000, 20_000)
EDGES = (7_500, 30_000)
PHOTOGRAPHS = (1250, 5000, 20_000)
COLOUR = ("-m", "colour", "--workers", "1")
SHORT = (
    *("--set", "data.dataset={input}", "--set", "schedule.epochs=1", "--set", "input.window=64"),
    *("--set", "hardware.workers=0", "--set", "schedule.batch=8"),
)


def hostile(what: str, unit: str, sizes: tuple[int, ...], make: Make) -> tuple[Verb, ...]:
    """Return the verbs that read tables of fields, for tables that no honest map is."""
    early, late = "{input}/2023/fields.parquet", "{input}/2024/fields.parquet"
    opened = Verb(f"review, {what}", unit, sizes, make, ("review", late), program=OPEN)
    return (
        *(
            Verb(f"{words[0]}, {what}", unit, sizes, make, words, fine=(0, 1))
            for words in (
                ("stats", late, "-o", "{out}.csv"),
                ("query", "12,50,12.1,50.1", late, "-o", "{out}.parquet"),
                ("tiles", late, "-o", "{out}.pmtiles"),
                ("merge", late, "-o", "{out}"),
                ("change", early, late, "-o", "{out}", "--tables"),
                ("verify", late),
            )
        ),
        opened,
    )


VERBS = (
    Verb("stats", "fields", TABLES, table, ("stats", "{input}", "-o", "{out}.csv")),
    Verb("query, .parquet", "fields", TABLES, table,
         ("query", WORLD, "{input}", "-o", "{out}.parquet")),
    Verb("query, .gpkg", "fields", TABLES, table, ("query", WORLD, "{input}", "-o", "{out}.gpkg")),
    Verb("sample", "fields", TABLES, table,
         ("sample", "6.1,46.1,6.9,46.5", "{input}", "-o", "{out}")),
    Verb("review, opened", "fields", REVIEWED, table, ("review", "{input}"), program=OPEN),
    Verb("review status", "fields", REVIEWED, table, ("review", "status", "{input}")),
    Verb("review export", "fields", REVIEWED, table,
         ("review", "export", "{input}", "-o", "{out}", "--no-labels")),
    Verb("change", "fields", (180_000, 1_000_000, 3_240_000), change_tables,
         ("change", "{input}/2023.parquet", "{input}/2024.parquet", "-o", "{out}", "--tables")),
    Verb("merge", "fields", TABLES, jobs, ("merge", "{input}", "-o", "{out}")),
    Verb("plan", "jobs", JOBS, plan_area,
         ("plan", "{input}/area.geojson", "--probe-file", "{input}/probe.json", "--year", "2024",
          "--edge", "4", "--dates", *DATES, "-o", "{out}")),
    Verb("watch --once", "jobs", JOBS, planned_empty, ("watch", "{input}", "--once")),
    Verb("merge of a plan", "jobs", JOBS, planned, ("merge", "{input}", "-o", "{out}")),
    Verb("tiles", "fields", TABLES, table, ("tiles", "{input}", "-o", "{out}.pmtiles")),
    Verb("fields", "px along an edge", (1875, 7500, 30_000), probabilities,
         ("fields", "{input}", "-o", "{out}.parquet")),
    Verb("predict", "px along an edge", EDGES, sparse_image,
         ("predict", "{input}", "-o", "{out}.tif", "-m", "fields-rgb-vhr")),
    Verb("map", "px along an edge", EDGES, sparse_image,
         ("map", "{input}", "-o", "{out}.parquet", "-m", "fields-rgb-vhr")),
    Verb("composite", "px along an edge", EDGES, archive,
         ("composite", "{input}/area.geojson", "2024", "--provider", "{input}", "--pixel", "1",
          "-o", "{out}.tif")),
    Verb("crops plots", "px along an edge", EDGES, orthomosaic,
         ("crops", "plots", "{input}/image.tif", "{input}/plots.geojson", "-o", "{out}")),
    Verb("evaluate", "px along an edge", EDGES, identified,
         ("evaluate", "--pred", "{input}/map.tif", "--truth", "{input}/truth.tif", "-o", "{out}")),
    Verb("data make", "px along an edge", EDGES, orthomosaic,
         ("data", "make", "{input}/image.tif", "-p", "{input}/plots.geojson", "-o", "{out}")),
    Verb("crops photos", "photographs", PHOTOGRAPHS, photographs,
         ("crops", "photos", "{input}", "-o", "{out}", "--no-overlays", *COLOUR), program=SMALL),
    Verb("crops photos, goes on", "photographs", PHOTOGRAPHS, measured,
         ("crops", "photos", "{input}/photos", "-o", "{input}/run", *COLOUR)),
    Verb("label depth", "photographs", PHOTOGRAPHS, labelled,
         ("label", "depth", "{input}/photos", "--depth", "{input}/depth", "-o", "{out}")),
    Verb("label pseudo", "photographs", PHOTOGRAPHS, labelled,
         ("label", "pseudo", "{input}/photos", "-m", "crops-rgb", "--no-flips",
          "--window", "64", "-o", "{out}")),
    Verb("label trimap", "photographs", PHOTOGRAPHS, labelled,
         ("label", "trimap", "{input}/pseudo/masks", "{input}/other", "-o", "{out}")),
    Verb("label screen, opened", "photographs", PHOTOGRAPHS, labelled,
         ("screen", "{input}/photos", "{input}/pseudo"), program=OPEN),
    Verb("label screen, opened, all decided", "photographs", PHOTOGRAPHS, labelled,
         ("screen", "{input}/photos", "{input}/decided"), program=OPEN),
    Verb("label report", "photographs", PHOTOGRAPHS, labelled,
         ("label", "report", "{input}/decided", "-o", "{out}.html")),
    Verb("train", "chips", PHOTOGRAPHS, chips,
         ("train", "crops-rgb", "-o", "{out}", *SHORT)),
    *hostile("one outline", "corners of a field", (100_000, 10_000_000), outline),
    *hostile("only announced", "fields announced", (10**9,), announced),
)  # fmt: skip


def measure(verb: Verb, size: int, work: Path) -> Point:
    """Run a verb on one size."""
    given, out = verb.make(work, size), work / "out" / f"{verb.name.replace(' ', '-')}{size}"
    out.parent.mkdir(exist_ok=True)
    arguments = [part.format(input=given, out=out) for part in verb.arguments]
    if verb.name == "merge":
        arguments[1:2] = map(str, sorted(given.glob("*/fields.parquet")))
    if "-o" in arguments:
        silent = verb.arguments[0] == "review" or verb.name == "label report"
        arguments += [] if silent else ["--quiet"]
        arguments += ["--force"] * (
            "{input}/run" not in verb.arguments and verb.name != "label report"
        )
    done = limited.run([*verb.program, *arguments], LIMIT_MB, LONGEST)
    said = ""
    if done.ended:
        said = f"ended by the {done.ended}"
    elif done.code == REFUSED:
        said = "refused: " + done.output.strip().splitlines()[-1].removeprefix("Error: ")
    elif done.code not in verb.fine:
        raise SystemExit(f"{verb.name} of {size}: {done.code}\n{done.output[-2000:]}")
    return Point(
        verb.name, verb.unit, size, done.peak_mb, done.wall, done.processor, said, done.limit
    )


def markdown(points: Sequence[Point]) -> str:
    """Return the table: one row per verb, its sizes in their order."""
    lines = [
        "| verb | grows | peak memory (processor time) | growth | limit held by |",
        "|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(one.verb for one in points):
        own = sorted((one for one in points if one.verb == name), key=lambda one: one.size)
        cells = ", ".join(_cell(one) for one in own)
        ran = [one for one in own if not one.said]
        growth = _growth(ran[0], ran[-1]) if len(ran) > 1 else ""
        limits = ", ".join(dict.fromkeys(one.limit for one in own))
        lines.append(f"| `{name}` | {own[0].unit} | {cells} | {growth} | {limits} |")
    return "\n".join(lines) + "\n"


def _growth(low: Point, high: Point) -> str:
    """Return how memory and time grow with what is given: pixels, not those along an edge."""
    more = (high.size / low.size) ** (2 if low.unit.startswith("px") else 1)
    return f"{more:.3g} x: {high.mb / low.mb:.2f} x memory, {high.cpu / low.cpu:.1f} x time"


def _cell(one: Point) -> str:
    took = f" ({one.mb:,.0f} MB, {one.cpu:,.0f} s)" if one.cpu else ""
    if one.said.startswith("refused"):
        return f"{one.size:,}: refused with the figure{took}"
    if one.said:
        return f"{one.size:,}: {one.said}{took}"
    return f"{one.size:,}: {one.mb:,.0f} MB ({one.cpu:,.0f} s)"


def run(work: Path, names: Sequence[str], sizes: Sequence[int], kept: Path) -> list[Point]:
    """Measure verbs, each size in turn, and keep what was found beside what is known."""
    known = [Point(**one) for one in json.loads(kept.read_text())] if kept.exists() else []
    found = {(one.verb, one.size): one for one in known}
    work.mkdir(parents=True, exist_ok=True)
    for verb in VERBS:
        if names and verb.name not in names:
            continue
        for size in verb.sizes:
            if not sizes or size in sizes:
                point = measure(verb, size, work)
                found[verb.name, size] = point
                print(f"  {point}", file=sys.stderr, flush=True)
                kept.write_text(json.dumps([asdict(one) for one in found.values()], indent=1))
    order = {verb.name: number for number, verb in enumerate(VERBS)}
    return sorted(found.values(), key=lambda one: (order.get(one.verb, 99), one.size))


def write_page(page: Path, points: Sequence[Point]) -> None:
    """Put the table between its marks on a page."""
    before, begin, rest = page.read_text("utf-8").partition(BEGIN)
    if not begin:
        raise SystemExit(f"{page} has no line {BEGIN.strip()!r}.")
    text = before + begin + "\n" + markdown(points) + "\n" + END + rest.partition(END)[2]
    page.write_text(text, "utf-8")
