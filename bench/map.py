"""The whole command, raster to polygons: ``selion map`` beside ftw-tools, same weights, same
pixels, interleaved.

    python bench/map.py RASTER MODEL_FOLDER CHECKPOINT --rounds 5 --json rows.json

Wall time of everything from the shell: start-up, reading, network, polygons, file.  Ours does what
a user gets by default (blended windows with 25 % overlap, watershed, shared lines simplified
together, fiboa GeoParquet, a preview); theirs hard-stitches patches, takes components and writes
FlatGeobuf.  Neither resamples (``--resize_factor 1``).  The order turns by one in each round.
"""

from __future__ import annotations

import argparse
import math
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import command
import peer
from table import Row, ratio, save, seconds

OURS = [sys.executable, "-m", "selion.cli.main", "map"]


@dataclass(frozen=True)
class Done:
    """One contestant's run."""

    wall: float
    processor: float
    peak_mb: float
    working: float
    """Seconds without start-up, where the contestant says them; NaN: it does not."""
    fields: int


def ours(raster: Path, model: Path, out: Path, *options: str) -> list[str]:
    """Return our command."""
    return [
        *OURS,
        str(raster),
        "--out",
        str(out),
        "--model",
        str(model),
        "--scale",
        "1",
        "--simplify",
        "15",
        "--min-area",
        "500",
        "--force",
        *options,
    ]


def run_ours(raster: Path, model: Path, *options: str) -> Done:
    """Run ``selion map`` once."""
    with tempfile.TemporaryDirectory(dir=raster.parents[1]) as folder:
        out = Path(folder) / "fields.parquet"
        done = command.checked(ours(raster, model, out, *options))
        return Done(done.wall, done.processor, done.peak_mb, math.nan, _count(out))


def run_peer(raster: Path, checkpoint: Path, ftw: str | None, *, tuned: bool) -> Done:
    """Run the peer's two commands once."""
    with tempfile.TemporaryDirectory(dir=raster.parents[1]) as folder:
        steps = peer.steps(raster, checkpoint, Path(folder), command=ftw)
        done = [command.checked(step, command.TUNED if tuned else None) for step in steps]
        own = sum(peer.own_seconds(step.output) for step in done)
        return Done(
            sum(d.wall for d in done),
            sum(d.processor for d in done),
            max(d.biggest_mb for d in done),
            own,
            _count(Path(folder) / "fields.fgb"),
        )


def _count(path: Path) -> int:
    if path.suffix == ".parquet":
        import pyarrow.parquet

        return int(pyarrow.parquet.read_metadata(path).num_rows)
    import pyogrio

    return int(pyogrio.read_info(path)["features"])


def contestants(
    raster: Path, model: Path, checkpoint: Path, *, rebuilt: bool
) -> dict[str, Callable[[], Done]]:
    """Return name -> run.  The peer is the real one where there is one; ``rebuilt`` adds the
    rebuilt one beside it.
    """
    ftw = peer.real()
    name = "ftw-tools" if ftw else "ftw-tools' way rebuilt"
    found: dict[str, Callable[[], Done]] = {
        "float32": lambda: run_ours(raster, model),
        name: lambda: run_peer(raster, checkpoint, ftw, tuned=False),
        "fast": lambda: run_ours(raster, model, "--fast"),
        f"{name}, tuned malloc": lambda: run_peer(raster, checkpoint, ftw, tuned=True),
    }
    if ftw and rebuilt:
        found["its way rebuilt"] = lambda: run_peer(raster, checkpoint, None, tuned=False)
        found["its way rebuilt, tuned malloc"] = lambda: run_peer(
            raster, checkpoint, None, tuned=True
        )
    return found


def measure(
    raster: Path, model: Path, checkpoint: Path, rounds: int, rebuilt_rounds: int
) -> dict[str, list[Done]]:
    """Run all contestants in turn."""
    done: dict[str, list[Done]] = {}
    for k in range(rounds):
        runs = contestants(raster, model, checkpoint, rebuilt=k < rebuilt_rounds)
        names = list(runs)
        for name in names[k % len(names) :] + names[: k % len(names)]:
            done.setdefault(name, []).append(runs[name]())
            last = done[name][-1]
            print(f"  round {k + 1}, {name}: {last.wall:.1f} s, {_detail([last])}", file=sys.stderr)
    return done


def rows(done: dict[str, list[Done]], size: str) -> list[Row]:
    """Turn runs into ratios."""
    section = f"Whole command, raster to polygons, {size} px, 8 bands, B3"
    walls = {name: [d.wall for d in each] for name, each in done.items()}
    name = next(key for key in done if key.startswith("ftw-tools") and "malloc" not in key)
    goals = {("float32", name): 3.0, ("fast", name): 10.0, ("fast", f"{name}, tuned malloc"): 5.0}
    table = [seconds(section, key, walls[key], _detail(done[key])) for key in done]
    peers = (name, f"{name}, tuned malloc")
    pairs = [(mine, theirs) for mine in ("float32", "fast") for theirs in peers]
    table += [
        ratio(
            section,
            f"{_shown(mine)} against {theirs}",
            walls[theirs],
            walls[mine],
            goals.get((mine, theirs)),
        )
        for mine, theirs in pairs
    ]
    for theirs in peers:
        own = [d.working for d in done[theirs]]
        if all(math.isfinite(v) for v in own):
            table.append(
                ratio(
                    section,
                    f"`--fast`, start-up included, against {theirs}, start-up left out",
                    own,
                    walls["fast"],
                )
            )
    for theirs in [key for key in done if key.startswith("its way")]:
        twin = theirs.replace("its way rebuilt", name)
        count = len(walls[theirs])
        table.append(
            ratio(
                section,
                f"{theirs}: {twin} takes this many times as long",
                walls[twin][:count],
                walls[theirs],
            )
        )
    return table


def _shown(mine: str) -> str:
    return "`--fast`" if mine == "fast" else mine


def _detail(each: list[Done]) -> str:
    middle = sorted(each, key=lambda d: d.wall)[len(each) // 2]
    own = f", {middle.working:.1f} s by its own clock" if math.isfinite(middle.working) else ""
    return (
        f"{middle.processor:.0f} s of processor{own}, {middle.peak_mb:,.0f} MB in the biggest "
        f"process, {middle.fields:,} fields"
    )


def main() -> None:
    """Measure and save the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("raster", "model", "checkpoint"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--rebuilt-rounds",
        type=int,
        default=1,
        help="Rounds in which the rebuilt peer runs beside the real one.",
    )
    parser.add_argument("--json", type=Path, required=True)
    given = parser.parse_args()
    if shutil.disk_usage(given.raster.parent).free < 2e9:
        raise SystemExit(
            f"Less than 2 GB are free beside {given.raster}: choose another folder with --work."
        )
    done = measure(given.raster, given.model, given.checkpoint, given.rounds, given.rebuilt_rounds)
    save(rows(done, given.raster.parent.name.rpartition("_")[2].replace("x", " x ")), given.json)


if __name__ == "__main__":
    main()
