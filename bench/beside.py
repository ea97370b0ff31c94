"""What of a map is hidden behind the network: one run of ``selion map --profile``, two threads.

python bench/beside.py FOLDER [--edge 4096] [--threads 2] [--fast] [--block 2048]

Prints the seconds of work by stage, those that passed after the last scores (which nothing hides),
their share of the whole, and the SHA-256 of the table, the scores and the preview.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path

import command
import scene

AFTER = ("instances", "polygons", "table", "preview")
"""Stages that make objects of scores, and draw them."""


def main() -> None:
    """Run it once and print."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("folder", type=Path)
    asked.add_argument("--edge", type=int, default=4096)
    asked.add_argument("--threads", type=int, default=2)
    asked.add_argument("--block", type=int, default=2048)
    asked.add_argument("--fast", action="store_true")
    asked.add_argument("--model", default="fields-s2-2season")
    given = asked.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    raster = given.folder / f"scene_{given.edge}.tif"
    if not raster.is_file():
        scene.write(raster, given.edge, given.edge)
    out, scores = given.folder / "fields.parquet", given.folder / "scores.tif"
    done = command.checked(
        [
            *(sys.executable, "-m", "selion.cli.main", "map", str(raster), "-o", str(out)),
            *("--model", given.model, "--scale", "1", "--scores", str(scores), "--profile"),
            *("--threads", str(given.threads), "--block", str(given.block), "--force", "--quiet"),
            *(["--fast"] if given.fast else []),
        ]
    )
    told = json.loads(out.with_name(f"{out.name}.profile.json").read_text("utf-8"))
    stages = told["stages"]
    after = sum(stages.get(name, 0.0) for name in AFTER)
    print(
        f"wall {done.wall:.1f} s, {done.processor:.1f} s of processor, peak {done.peak_mb:.0f} MB, "
        f"run {told['seconds']:.1f} s"
    )
    print(", ".join(f"{name} {spent:.2f}" for name, spent in stages.items()))
    print(
        f"after the scores {told.get('after_scores', float('nan')):.2f} s passed; objects, "
        f"outlines, table and preview are {after:.2f} s of work, "
        f"{after / stages['network']:.0%} of the network's {stages['network']:.2f} s"
    )
    for path in (out, scores, out.with_name("fields.preview.png")):
        if path.is_file():
            print(path.name, hashlib.sha256(path.read_bytes()).hexdigest()[:16])


if __name__ == "__main__":
    main()
