"""What a manifest costs: the same map with and without it, in turn, and bytes a second of its sums.

    python bench/seal_cost.py [--size 1024] [--rounds 3] [--megabytes 512]

Processor time, because it holds on a busy machine; start-up is left out, so the share is that of
the work.  The manifest reads image, result and model; the larger they are for the work that was
done on them, the more it costs: a raster that is only copied is the worst case, and what its sums
cost is the last line.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

from click.testing import CliRunner

from selion.cli import sealed
from selion.cli.main import cli
from selion.store.file_sum import sum_file


def run(*words: str) -> float:
    """Run a command here; return its seconds of processor time."""
    began = time.process_time()
    found = CliRunner().invoke(cli, list(words))
    if found.exit_code:
        raise SystemExit(f"{' '.join(words)}: {found.output}")
    return time.process_time() - began


def main() -> None:
    """Print what it costs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=1024, help="edge of the image in pixels")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--megabytes", type=int, default=512, help="of the file that is summed")
    given = parser.parse_args()
    usual = sealed.seal
    with tempfile.TemporaryDirectory(prefix="selion-seal-") as name:
        folder = Path(name)
        scene, out = folder / "scene", folder / "map" / "fields.parquet"
        run("simulate", "-o", str(scene), "--kind", "rgb", "--pixel", "3",
            "--size", str(given.size))  # fmt: skip
        words = ("map", str(scene / "image.tif"), "-o", str(out), "--force", "--no-preview")
        run(*words)  # warm
        seconds: dict[str, list[float]] = {"with": [], "without": []}
        for _ in range(given.rounds):
            for kind, seal in (("with", usual), ("without", lambda *_, **__: None)):
                sealed.seal = seal
                seconds[kind].append(run(*words))
        sealed.seal = usual
        ratios = [one / other for one, other in zip(*seconds.values(), strict=True)]
        for kind, found in seconds.items():
            print(f"{kind:>8}: {', '.join(f'{one:.2f}' for one in found)} s")
        print(
            f"with / without: {statistics.median(ratios):.3f} "
            f"({min(ratios):.3f} to {max(ratios):.3f})"
        )
        large = folder / "large.bin"
        with large.open("wb") as file:
            for _ in range(given.megabytes):
                file.write(os.urandom(10**6))
        began = time.process_time()
        sum_file(large)
        rate = given.megabytes / (time.process_time() - began)
        print(f"sums: {rate:,.0f} MB a second of processor time")


if __name__ == "__main__":
    main()
