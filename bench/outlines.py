"""Published probabilities to polygons: time, memory, and the reference beside it.

    python bench/outlines.py --edge 16384 --peer-edge 4096 --rounds 1 --json rows.json
    SELION_BENCH_FBP=/path/to/bin/python python bench/outlines.py       with ftw-fbp beside it

The raster is as Fields of The World publishes its tiles: a COG of 2.5 m with the uint8 bands
``field`` and ``boundary``, p = v / 255, no value for no data.  Its probabilities are those of a
packaged model on a real Sentinel-2 pair (a simulated one where there is none), upsampled to 2.5 m
and mirrored side by side.  ``selion fields`` is run from the shell to the GeoParquet, start-up
included.  A whole published tile is ``--edge 40032``.

``SELION_BENCH_FBP`` names a Python (3.12 or newer) that has ``ftw-fbp[fast]``: its
``run_windowed`` with the setting of the second edition gets the same probabilities in memory, no
file read or written, no polygons, and its objects are compared with ours pixel by pixel.
scikit-image's watershed alone, from the same seeds, is timed in that process, too, or in this one.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import command
from scene import mirrored, pair
from table import Row, ratio, save, seconds

SECTION = "Probabilities to polygons"
METHODS = ("watershed", "vote")
TILE = 40032
"""Edge of a published tile, px."""
GOALS = {"wall": 150.0, "megabytes": 1200.0}
"""Of a published tile on two cores: seconds and MB."""
PEER = Path(__file__).with_name("outlines_peer.py")


def levels() -> tuple[np.ndarray, str]:
    """Return (2, y, x) uint8 field and boundary at 2.5 m, and what they show."""
    from affine import Affine
    from odc.geo.geobox import GeoBox
    from scipy import ndimage

    from selion import prediction
    from selion.models import load_model
    from selion.raster import Raster

    pixels, what = pair()
    model = load_model("fields-s2-2season")
    grid = GeoBox(pixels.shape[1:], Affine(10, 0, 359130, 0, -10, 5352340), "EPSG:32633")
    said = prediction.predict(Raster(pixels, grid, model.card.inputs.bands), model)
    times = float(said.grid.resolution.x) / 2.5
    fine = [
        ndimage.zoom(band, times, order=1, grid_mode=True, mode="nearest")
        for band in said.values[1:]
    ]
    return np.rint(255 * np.stack(fine)).clip(0, 255).astype(np.uint8), what


def make(folder: Path, edge: int, peer_edge: int) -> None:
    """Write ``tile.tif`` and, for the peers, ``peer.tif`` and ``peer.npy``; print what they show.

    In a process of its own: the memory mark of those that are measured starts at their parent's.
    """
    from affine import Affine
    from odc.geo.geobox import GeoBox

    from selion import store
    from selion.grid import tiles

    field, what = levels()
    tags = {"tile_key": "10SFH_0_0", "quantization": "uint8 = round(255 p)"}
    for name, size in (("tile", edge), ("peer", peer_edge)):
        rows, columns = mirrored(field.shape[1], size), mirrored(field.shape[2], size)
        grid = GeoBox((size, size), Affine(2.5, 0, 600000, 0, -2.5, 4300020), "EPSG:32610")
        path = folder / f"{name}.tif"
        with store.create_cog(path, grid, ("field", "boundary"), np.uint8, tags=tags) as sink:
            for roi in tiles((size, size), 2048):
                sink.write(roi, field[:, rows[roi[0]]][:, :, columns[roi[1]]])
    np.save(folder / "peer.npy", field[:, rows][:, :, columns])
    print(what)


def run_fields(folder: Path, name: str, method: str) -> tuple[command.Finished, dict[str, object]]:
    """Run ``selion fields``; return what it took and its summary."""
    argv = [sys.executable, "-m", "selion", "fields", str(folder / f"{name}.tif"), "--json"]
    argv += ["-o", str(folder / f"{name}-{method}.parquet"), "--method", method, "--force"]
    done = command.run(argv)
    if done.code:
        raise SystemExit(done.output[-3000:])
    return done, json.loads(done.output.strip().splitlines()[-1])


def equal_objects(folder: Path) -> tuple[int, int]:
    """Return how many objects the peer found, and how many of them ours has pixel by pixel.

    Called last: it is not small.
    """
    from selion import fields, prediction, store
    from selion.classes import FTW3

    probs = prediction.ScoreSource(store.open_raster(folder / "peer.tif"))
    found = fields.map_instances(probs, FTW3, folder / "objects", "vote")
    ours = found.read((slice(0, None), slice(0, None))).ids.ravel()
    theirs = np.load(folder / "peer_labels.npy").ravel()
    pairs, shared = np.unique(
        ours.astype(np.int64) * (int(theirs.max()) + 1) + theirs, return_counts=True
    )
    one, other = np.divmod(pairs, int(theirs.max()) + 1)
    size, wanted = np.bincount(ours), np.bincount(theirs)
    same = (one > 0) & (other > 0) & (shared == size[one]) & (shared == wanted[other])
    return int((wanted[1:] > 0).sum()), int(same.sum())


def measure_ours(folder: Path, edge: int, rounds: int, what: str) -> list[Row]:
    """Both methods from the shell to the file."""
    rows = []
    for method in METHODS:
        done = [run_fields(folder, "tile", method) for _ in range(rounds)]
        note = f"{done[0][1].get('fields', 0):,} fields; {what}"
        at = f"{method}, {edge} px"
        walls = [one.wall for one, _ in done]
        row = seconds(SECTION, f"{at}, wall", walls, note)
        peak = max(one.peak_mb for one, _ in done)
        goal = GOALS if edge == TILE and method == "watershed" else {}
        rows += [
            Row(SECTION, row.what, row.value, "s", goal.get("wall"), at_most=True, note=row.note),
            seconds(SECTION, f"{at}, processor", [one.processor for one, _ in done]),
            Row(SECTION, f"{at}, memory", peak, "MB", goal.get("megabytes"), at_most=True),
        ]
    return rows


def measure_peers(folder: Path, edge: int, rounds: int) -> list[Row]:
    """The reference and scikit-image's watershed beside ours, in turns."""
    reference = os.environ.get("SELION_BENCH_FBP")
    if reference is None and find_spec("skimage") is None:
        return [Row(SECTION, "peers", None, note="neither scikit-image nor SELION_BENCH_FBP")]
    ours, theirs, watershed = [], [], []
    for _ in range(rounds):
        ours.append(run_fields(folder, "peer", "vote")[0])
        argv = [reference or sys.executable, str(PEER), str(folder)]
        theirs.append(command.run(argv))
        if theirs[-1].code:
            raise SystemExit(theirs[-1].output[-3000:])
        watershed.append(json.loads(theirs[-1].output.strip().splitlines()[-1]))
    used = [one.processor for one in ours]
    rows = [
        ratio(
            SECTION,
            f"scikit-image's watershed alone / selion fields --method vote, processor, {edge} px",
            [one["watershed"] for one in watershed],
            used,
        )
    ]
    if reference is None:
        return [*rows, Row(SECTION, "ftw-fbp", None, note="SELION_BENCH_FBP names no Python")]
    rows.append(
        ratio(
            SECTION,
            f"ftw-fbp, run_windowed / selion fields --method vote, processor, {edge} px",
            [one["fbp"] for one in watershed],
            used,
        )
    )
    more = max(one.peak_mb for one in theirs) / max(one.peak_mb for one in ours)
    return [
        *rows,
        Row(SECTION, f"ftw-fbp / selion, memory, {edge} px", more, "x"),
    ]


def main() -> None:
    """Print one row per figure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--edge", type=int, default=16384)
    parser.add_argument("--peer-edge", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--work", type=Path, help="keep the rasters here for the next run")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.make:
        make(args.make, args.edge, args.peer_edge)
        return
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=args.work) as scratch:
        sizes = ["--edge", str(args.edge), "--peer-edge", str(args.peer_edge)]
        made = command.run([sys.executable, __file__, "--make", scratch, *sizes])
        if made.code:
            raise SystemExit(made.output[-3000:])
        what = made.output.strip().splitlines()[-1]
        print(f"made in {time.monotonic() - began:.0f} s", file=sys.stderr)
        rows = measure_peers(Path(scratch), args.peer_edge, args.rounds)
        rows += measure_ours(Path(scratch), args.edge, args.rounds, what)
        if (Path(scratch) / "peer_labels.npy").is_file():
            count, same = equal_objects(Path(scratch))
            note = f"{same:,} of {count:,} objects pixel by pixel"
            share = same / max(count, 1)
            rows.append(Row(SECTION, "objects that are ftw-fbp's", share, "share", 1, note=note))
    for row in rows:
        value = "-" if row.value is None else f"{row.value:.2f}"
        print(f"{row.what:<76} {value:>10} {row.unit:<5} {row.note}")
    if args.json:
        save(rows, args.json)


if __name__ == "__main__":
    main()
