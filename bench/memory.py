"""Peak memory of ``selion map`` on a whole Sentinel-2 tile, and what a raster of twice the height
adds.

    python bench/memory.py SHORT_RASTER TALL_RASTER MODEL_FOLDER --json rows.json

The short raster is 10980 x 10980 px, the tall one 21960 x 10980.  The peak is the kernel's
high-water mark of the process, page cache not counted; it runs under the same limit of 2 GB.

    python bench/memory.py --page docs/reliability.md --work FOLDER [--verbs query fields]

measures verbs at growing sizes instead, each under a limit of 2 GB (see ``memory_of_verbs.py``),
and puts the table on the page; what was measured before stays in FOLDER/memory.json.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import limited
from map import ours
from memory_of_verbs import LIMIT_MB as MOST_MB
from memory_of_verbs import VERBS, run, write_page
from table import Row, save

LIMIT_MB = 1200.0


def peak(raster: Path, model: Path, *options: str) -> limited.Limited:
    """Run ``selion map`` once, which must succeed."""
    with tempfile.TemporaryDirectory(dir=raster.parents[1]) as folder:
        words = ours(raster, model, Path(folder) / "fields.parquet", *options)
        done = limited.run(words, MOST_MB)
    if done.code:
        raise SystemExit(f"Failed with {done.code} {done.ended}: {done.output[-3000:]}")
    print(
        f"  {raster.parent.name} {' '.join(options)}: {done.peak_mb:.0f} MB in {done.wall:.0f} s",
        file=sys.stderr,
    )
    return done


def measure(short: Path, tall: Path, model: Path, *, float32: bool) -> list[Row]:
    """Return the rows; float32 on the tall raster is left out, because the growth is the same and
    takes four times as long.
    """
    section = "Memory of the whole command, 8 bands, B3"
    low, high = (peak(path, model, "--fast") for path in (short, tall))
    names = [path.parent.name.rpartition("_")[2].replace("x", " x ") for path in (short, tall)]
    rows = [_row(section, f"`--fast`, {names[0]}", low, short)]
    if float32:
        rows.insert(0, _row(section, f"float32, {names[0]}", peak(short, model), short))
    rows.append(_row(section, f"`--fast`, {names[1]}", high, tall, None))
    rows.append(
        Row(
            section,
            "growth when the height doubles",
            high.peak_mb / low.peak_mb,
            "x",
            1.1,
            at_most=True,
        )
    )
    return rows


def _row(
    section: str, what: str, done: limited.Limited, raster: Path, goal: float | None = LIMIT_MB
) -> Row:
    height, width = (int(size) for size in raster.parent.name.rpartition("_")[2].split("x"))
    return Row(
        section,
        what,
        done.peak_mb,
        "MB",
        goal,
        at_most=True,
        note=f"{done.wall:.0f} s, {height * width * 1e-4 / done.wall:,.0f} km2/s",
    )


def main() -> None:
    """Measure and save the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("short", "tall", "model"):
        parser.add_argument(name, type=Path, nargs="?")
    parser.add_argument("--no-float32", action="store_true", help="Leave out the float32 run.")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--page", type=Path, help="Measure verbs; put their table on this page.")
    parser.add_argument("--work", type=Path, help="Folder of inputs and of what was measured.")
    parser.add_argument("--verbs", nargs="+", default=(), choices=[one.name for one in VERBS])
    parser.add_argument("--sizes", type=int, nargs="+", default=(), help="Only these.")
    given = parser.parse_args()
    if given.page is not None:
        if given.work is None:
            parser.error("--page wants --work")
        points = run(given.work, given.verbs, given.sizes, given.work / "memory.json")
        write_page(given.page, points)
        return
    if given.model is None or given.json is None:
        parser.error("give two rasters, a model and --json, or --page")
    save(measure(given.short, given.tall, given.model, float32=not given.no_float32), given.json)


if __name__ == "__main__":
    main()
