"""Mosaic of two UTM zones and two seasons against GDAL's warp: time, processor time, memory, and
the step that is left where tiles meet.

    python bench/mosaic.py [--edge 2048] [--rounds 5] [--json rows.json]

Both read the same composites (real Sentinel-2 pixels, mirrored), warp bilinearly to EPSG:3857 and
give the same eight bands of one block.  GDAL's way is a ``WarpedVRT`` per composite and the later
one on top, as a tile index does it: nothing is blended there.  Rounds are interleaved; one thread
each.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.vrt import WarpedVRT

from scene import mirrored, pair
from selion.grid import whole
from selion.imagery import mosaic as room
from selion.imagery.mosaic import Mosaic
from selion.imagery.mosaic_file import write_mosaic
from selion.store import GeoTiffSource, create_cog
from table import Row, markdown, ratio, save

NAME = "Mosaic"
MIDDLE = (12.0, 48.0)
ZONES = (("EPSG:32632", -0.3), ("EPSG:32633", 0.3))
"""CRS of a composite, and by how many of its edges it lies to the east of the middle."""
BANDS = ("red", "green", "blue", "nir", "count")


def grid_at(crs: str, edge: int, east: float = 0) -> GeoBox:
    x, y = Transformer.from_crs("OGC:CRS84", crs, always_xy=True).transform(*MIDDLE)
    left, top = round(x / 10 + east) - edge // 2, round(y / 10) + edge // 2
    return GeoBox((edge, edge), Affine(10, 0, left * 10, 0, -10, top * 10), crs)


def write_composites(folder: Path, edge: int, level: int | None = None) -> list[Path]:
    """Write one composite per zone and season; with ``level``, a flat one that is 4 % brighter in
    the second zone.
    """
    pixels, _ = pair()
    rows, columns = mirrored(pixels.shape[1], edge), mirrored(pixels.shape[2], edge)
    paths = []
    for number, season in enumerate(("window_a", "window_b")):
        image = np.maximum(pixels[4 * number : 4 * number + 4, rows][:, :, columns], 1)
        for k, (crs, east) in enumerate(ZONES):
            path = folder / f"{season}-{k}-{level}.tif"
            told = {
                "tile": f"T{k}",
                "season": {"name": season},
                "scenes": [{"id": "x", "time": "2024-05-01T00:00:00Z"}],
            }
            values = image if level is None else np.full_like(image, level * (1 + 0.04 * k))
            about = {"SELION_COMPOSITE": json.dumps(told)}
            with create_cog(
                path,
                grid_at(crs, edge, east * edge),
                BANDS,
                np.uint16,
                nodata=0,
                tags=about,
                block=1024,
                force=True,
            ) as sink:
                sink.write(
                    whole(sink.grid),
                    np.concatenate([values, np.full((1, edge, edge), 5, np.uint16)]),
                )
            paths.append(path)
    return paths


def by_gdal(paths: list[Path], grid: GeoBox, **more: float) -> np.ndarray:
    """Warp each composite, the later one on top."""
    out = np.zeros((8, *grid.shape), np.uint16)
    for number in (0, 1):
        for path in paths[2 * number : 2 * number + 2]:
            with (
                rasterio.open(path) as file,
                WarpedVRT(
                    file,
                    crs=str(grid.crs),
                    transform=grid.transform,
                    height=grid.shape[0],
                    width=grid.shape[1],
                    resampling=rasterio.enums.Resampling.bilinear,
                    **more,
                ) as warped,
            ):
                values = warped.read([1, 2, 3, 4])
            np.copyto(out[4 * number : 4 * number + 4], values, where=(values > 0).all(0))
    return out


class Clock:
    """Processor time spent inside of some functions."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}

    def on(self, owner: object, name: str, what: str) -> None:
        inner = getattr(owner, name)

        def timed(*given, **more):
            start = time.thread_time()
            try:
                return inner(*given, **more)
            finally:
                self.spent[what] = self.spent.get(what, 0) + time.thread_time() - start

        setattr(owner, name, timed)


def timed(work) -> tuple[float, float, np.ndarray]:
    wall, processor = time.perf_counter(), time.process_time()
    out = work()
    return time.perf_counter() - wall, time.process_time() - processor, out


def speed(folder: Path, edge: int, rounds: int) -> list[Row]:
    paths = write_composites(folder, edge + edge // 2)
    grid = grid_at("EPSG:3857", edge)
    clock = Clock()
    for name in ("add", "seen_depth", "finish"):
        clock.on(room, name, "kernel")
    clock.on(GeoTiffSource, "read", "reading")
    Mosaic(paths, grid).read((slice(0, 64), slice(0, 64)))  # compile
    ours, theirs = [], []
    clock.spent.clear()
    for _ in range(rounds):
        theirs.append(timed(lambda: by_gdal(paths, grid)))
        ours.append(timed(lambda: Mosaic(paths, grid).read(whole(grid)).values))
    off = np.abs(ours[-1][2].astype(int) - by_gdal(paths, grid, tolerance=0.001))
    only = (Mosaic(paths[:1], grid).read(whole(grid)).values > 0).all(0) & ~(
        Mosaic(paths[1:2], grid).read(whole(grid)).values > 0
    ).all(0)
    megapixels = edge * edge / 1e6
    processor = [cpu for _, cpu, _ in ours]
    shares = "; ".join(
        f"{what} {100 * spent / sum(processor):.0f} %"
        for what, spent in sorted(clock.spent.items())
    )
    return [
        ratio(
            NAME,
            f"GDAL's warp against ours, {edge} px, wall",
            [wall for wall, _, _ in theirs],
            [wall for wall, _, _ in ours],
        ),
        ratio(NAME, "the same, processor time", [cpu for _, cpu, _ in theirs], processor),
        Row(
            NAME,
            "ours, processor time per megapixel of 8 bands",
            statistics.median(processor) / megapixels,
            "s",
            note=shares,
        ),
        Row(
            NAME,
            "same values where one composite is alone",
            100 * float((off[:4, only] <= 1).mean()),
            "%",
            95.0,
            note=f"to 1 in {only.sum()} px; GDAL without its tolerance of an eighth of a pixel",
        ),
    ]


def step(folder: Path, edge: int) -> list[Row]:
    """Largest difference of neighbours where one zone is 4 % brighter than the other."""
    paths = write_composites(folder, edge, level=2000)
    grid = grid_at("EPSG:3857", edge)
    ours, theirs = Mosaic(paths, grid).read(whole(grid)).values, by_gdal(paths, grid)
    found = [
        max(int(np.abs(np.diff(values[:4].astype(int), axis=axis)).max()) for axis in (1, 2))
        for values in (ours, theirs)
    ]
    return [
        Row(
            NAME,
            "largest step between neighbours, zones 80 apart, ours",
            found[0],
            "",
            2,
            at_most=True,
        ),
        Row(NAME, "the same, GDAL's", found[1], ""),
    ]


def memory(folder: Path, edge: int) -> list[Row]:
    """Peak memory of writing a Zarr with one thread: twice the mosaic must not take more."""
    write_composites(folder, edge)
    peaks = [
        float(
            subprocess.run(
                [sys.executable, __file__, "--child", folder, "--edge", str(size)],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
        for size in (edge, 2 * edge)
    ]
    return [
        Row(
            NAME,
            f"memory of writing, {2 * edge} rows against {edge}",
            peaks[1] / peaks[0],
            "x",
            1.15,
            at_most=True,
            note=f"{peaks[1]:.0f} MB against {peaks[0]:.0f} MB",
        )
    ]


def child(folder: Path, edge: int) -> None:
    """Write a mosaic and print the peak of resident memory in MB."""
    grid = grid_at("EPSG:3857", edge)
    paths = sorted(folder.glob("window_*-None.tif"))
    write_mosaic(Mosaic(paths, grid), folder / f"{edge}.zarr", threads=1, force=True)
    # getrusage's mark starts at the parent's
    marks = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    print(int(marks["VmHWM"].split()[0]) / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--edge", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(given.child, given.edge)
        return
    with tempfile.TemporaryDirectory(prefix="selion-bench-") as folder:
        rows = [
            *step(Path(folder), min(given.edge, 1024)),
            *speed(Path(folder), given.edge, given.rounds),
            *memory(Path(folder), 2 * given.edge),
        ]
    if given.json:
        save(rows, given.json)
    print(markdown(rows))


if __name__ == "__main__":
    main()
