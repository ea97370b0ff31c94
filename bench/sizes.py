"""What two sizes of one model cost: start, seconds per megapixel, and what 0.01 of object F1 more
costs by the size of an image.

    python bench/sizes.py fields-rgb-vhr fields-base --f1 0.787 0.810
    python bench/sizes.py fields-s2-2season fields-base --dates 2 --gsd 10 --f1 0.647 0.742

Prints the entry of ``src/selion/models/sizes.toml``, by which ``selion map`` chooses between them.
Seconds are those of the processor, each model in processes of its own on one thread and in turn,
the median over rounds: the network alone, as it is called for a map, on noise of as many bands as
the small one looks at.  Megapixels are those of the small one: of an image of ``--gsd`` metres the
base one looks at as many more as its pixels are finer.  ``--f1`` gives the object F1 of both on
data that neither has seen (``bench/weights.py``).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

import numpy as np

EDGE = 1024
"""Pixels along the noise that is timed."""
SHOWN = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 16.0, 64.0)
"""Megapixels of images whose cost is printed."""
DEARER = 3.0
"""How many times as much 0.01 of object F1 may cost where the larger model is first taken as it
costs on a large image, where starting is nothing."""
COLOURS = ("red", "green", "blue", "nir")


def timed(name: str, dates: int) -> dict[str, float]:
    """Load a model and let it look, in this process; return seconds of the processor.

    A model of any number of dates is shown so many, one of them in colour alone.
    """
    from selion import prediction
    from selion.grid import photo_grid
    from selion.models import load_model
    from selion.raster import Raster

    begin = time.process_time()
    model = load_model(name, threads=1)
    bands = model.inputs.bands
    if model.inputs.dates:
        seasons = [f"window_{'abcdefgh'[k]}:{band}" for k in range(dates) for band in COLOURS]
        bands = COLOURS[:3] if dates == 1 else tuple(seasons)
    top = model.inputs.scaling.divide
    high = min(top) / 2 if max(top) > 255 and len(bands) > 3 else 255
    kind = np.uint16 if len(bands) > 3 else np.uint8
    noise = np.random.default_rng(1).uniform(0, high, (len(bands), EDGE, EDGE)).astype(kind)
    window = model.inputs.window
    whole = prediction.PredictOptions(scale=1.0)
    first = Raster(noise[:, :window, :window], photo_grid((window, window)), bands)
    prediction.predict(first, model, options=whole)
    start = time.process_time() - begin
    source = Raster(noise, photo_grid((EDGE, EDGE)), bands)
    begin = time.process_time()
    prediction.predict(source, model, options=whole)
    return {"start": start, "seconds": (time.process_time() - begin) / (EDGE**2 / 1e6)}


def measure(names: Sequence[str], rounds: int, dates: int) -> dict[str, dict[str, float]]:
    """Time models in turn, each time in a fresh process, and return the medians."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    for _ in range(rounds):
        for name in names:
            done = subprocess.run(
                [sys.executable, __file__, "--one", name, "--dates", str(dates)],
                capture_output=True,
                text=True,
                check=True,
                env=env,
            )
            found[name].append(json.loads(done.stdout.splitlines()[-1]))
            print(f"  {name}: {found[name][-1]}", file=sys.stderr)
    return {
        name: {
            what: round(statistics.median(one[what] for one in ones), 2)
            for what in ("start", "seconds")
        }
        for name, ones in found.items()
    }


def times_finer(names: Sequence[str], gsd: float) -> float:
    """Return how many times as many pixels the second model looks at as the first."""
    from selion.models import find_card

    small, base = (find_card(name).inputs.working_gsd(gsd) or gsd for name in names)
    return (small / base) ** 2


def entry(names: Sequence[str], cost: dict[str, dict[str, float]], f1: Sequence[float]) -> str:
    """Return the lines of ``sizes.toml``; the size is the first even one that is large enough."""
    small, large = (cost[name] for name in names)
    more = large["seconds"] - small["seconds"]
    least = max(0.0, large["start"] - small["start"]) / more / (DEARER - 1)
    megapixels = next(one for one in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0) if one >= least)
    return "\n".join(
        [
            "[[pair]]",
            f'small = "{names[0]}"',
            f'base = "{names[1]}"',
            f"megapixels = {megapixels}",
            f"start = {{ small = {small['start']}, base = {large['start']} }}",
            f"seconds = {{ small = {small['seconds']}, base = {large['seconds']} }}",
            f"object_f1 = {{ small = {f1[0]}, base = {f1[1]} }}",
        ]
    )


def main() -> None:
    """Print the entry, and what accuracy costs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", help="the small and the base model: names or folders")
    parser.add_argument("--f1", nargs=2, type=float, help="object F1 of both")
    parser.add_argument("--dates", type=int, default=1, help="that a model of any number is shown")
    parser.add_argument("--gsd", type=float, default=1.0, help="metres of a pixel of the image")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(timed(args.one, args.dates)))
        return
    if len(args.models) != 2 or not args.f1:
        parser.error("name the small and the base model, and give --f1 of both")
    cost = measure(args.models, args.rounds, args.dates)
    finer = times_finer(args.models, args.gsd)
    print(f"at {args.gsd:g} m {args.models[1]} looks at {finer:.2f} times as many pixels")
    cost[args.models[1]]["seconds"] = round(cost[args.models[1]]["seconds"] * finer, 2)
    small, base = (cost[name] for name in args.models)
    points = 100 * (args.f1[1] - args.f1[0])
    print("| megapixels | small, s | base, s | s per megapixel for 0.01 of object F1 more |")
    print("|---:|---:|---:|---:|")
    for size in SHOWN:
        one, other = (each["start"] + size * each["seconds"] for each in (small, base))
        print(f"| {size:g} | {one:.2f} | {other:.2f} | {(other - one) / size / points:.2f} |")
    print(f"\n{entry(args.models, cost, args.f1)}")


if __name__ == "__main__":
    main()
