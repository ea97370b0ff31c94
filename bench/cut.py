"""Objects by the learnt cut beside objects by the watershed: time and memory of both.

    python bench/cut.py --edge 10980 --rounds 3 --json rows.json

The probabilities are those of a packaged model on a simulated scene (512 px of 10 m, on the model's
working grid), turned and mirrored side by side until the edge is reached, so that fields are as
many and as large as in a real map of that size.  Each run is a process of its own; methods take
turns; blocks go to as many threads as there are cores, as in `selion map`.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from table import Row, ratio, save, seconds

SECTION = "Objects by the cut"
MODEL = "fields-s2-2season"
METHODS = ("watershed", "cut")


def make(path: Path, edge: int) -> None:
    """Write (3, edge, edge) uint8 probabilities."""
    from affine import Affine
    from odc.geo.geobox import GeoBox

    from selion import prediction, store
    from selion.classes import FTW3
    from selion.grid import tiles
    from selion.models import load_model
    from selion.simulation.landscape import simulate

    said = prediction.predict(simulate(7, (512, 512), 10.0, "europe").image, load_model(MODEL))
    tile = (said.values * 255).round().astype(np.uint8)
    pair = np.concatenate([tile, tile[:, :, ::-1]], axis=2)
    four = np.concatenate([pair, pair[:, ::-1]], axis=1)
    metres = abs(said.grid.resolution.x)
    grid = GeoBox((edge, edge), Affine(metres, 0, 5e5, 0, -metres, 5e6), "EPSG:32631")
    with store.create_cog(path, grid, FTW3.names, np.uint8) as sink:
        for roi in tiles((edge, edge), 2048):
            rows, columns = (np.arange(s.start, s.stop) % four.shape[1] for s in roi)
            sink.write(roi, four[:, rows][:, :, columns])


def find(path: Path, method: str, workspace: Path) -> dict[str, float]:
    """Find the objects of a raster; what it took."""
    from selion import store
    from selion.classes import FTW3
    from selion.cores import usable_cores
    from selion.fields import InstanceOptions, choose_method, find_instances, map_instances
    from selion.models import find_card

    method, options = choose_method(method, InstanceOptions(), FTW3, find_card(MODEL))
    probs = store.open_raster(path)
    # what numba compiles is compiled before the clock runs
    find_instances(probs.read((slice(0, 128), slice(0, 128))), FTW3, method, options)
    began = time.perf_counter()
    with ThreadPoolExecutor(usable_cores()) as pool:
        found = map_instances(probs, FTW3, workspace / "objects", method, options, run=pool.map)
    return {
        "seconds": time.perf_counter() - began,
        "objects": len(found.table),
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> None:
    """Print one row per figure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--edge", type=int, default=10980)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--find", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.find:
        path, method, workspace = args.find
        print(json.dumps(find(Path(path), method, Path(workspace))))
        return
    taken: dict[str, list[dict[str, float]]] = {method: [] for method in METHODS}
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "probabilities.tif"
        make(path, args.edge)
        for k in range(args.rounds):
            for method in METHODS if k % 2 else METHODS[::-1]:
                command = [sys.executable, __file__, "--find", str(path), method, scratch]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                taken[method].append(json.loads(done.stdout))
    walls = {method: [run["seconds"] for run in runs] for method, runs in taken.items()}
    rows = [seconds(SECTION, f"{method}, {args.edge} px", walls[method]) for method in METHODS]
    rows.append(ratio(SECTION, "cut / watershed, time", walls["cut"], walls["watershed"], 1.3))
    rows[-1] = replace(rows[-1], at_most=True)
    for method, runs in taken.items():
        most = max(run["megabytes"] for run in runs)
        note = f"{runs[0]['objects']:,.0f} objects"
        rows.append(Row(SECTION, f"{method}, memory at most", most, "MB", note=note))
    for row in rows:
        print(f"{row.what:<40} {row.value:>10.2f} {row.unit:<3} {row.note}")
    if args.json:
        save(rows, args.json)


if __name__ == "__main__":
    main()
