"""A country: merging millions of fields in bounded memory, a district out of them, vector tiles,
and what a cluster would do with the jobs.

    python bench/country.py [--fields 500000,1000000,2000000] [--tiles 500000] [--json rows.json]

The fields are simulated: wavy rings of 24 points, 20 to the square kilometre, on parts of 51.2 km
with a halo of 1 km as ``selion plan`` makes them, in one UTM zone.  Each size runs in processes of
its own, so that the memory mark is its own; sizes beyond those named were not run.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from table import Row, save, seconds

NAME = "Country"
SPACING = 0.2236
"""km between fields: 20 to the square kilometre."""
POINTS = 24
HALO = 1000.0


def write_partitions(folder: Path, count: int) -> list[Path]:
    """Write the sheets of a square country of about ``count`` fields around 9 E, 50 N."""
    import geopandas
    import shapely
    from pyproj import Transformer

    from selion import fields, imagery
    from selion.country import lattice
    from selion.fields.table import geohash

    side = math.sqrt(count) * SPACING * 1000
    crs, origin = "EPSG:32632", np.array([500_000.0 - side / 2, 5_539_000.0 - side / 2])
    back = Transformer.from_crs(crs, "OGC:CRS84", always_xy=True)
    west, south, east, north = back.transform_bounds(*origin, *(origin + side))
    cells = [
        cell
        for cell in lattice.cut_area(imagery.read_area((west, south, east, north), "square"))
        if cell.crs == crs
    ]
    angle = np.linspace(0, 2 * np.pi, POINTS, endpoint=False)
    paths = []
    for cell in cells:
        x0, y0, x1, y1 = cell.bounds
        low = np.floor((np.array([x0, y0]) - origin) / (SPACING * 1000)).astype(int)
        high = np.ceil((np.array([x1, y1]) - origin) / (SPACING * 1000)).astype(int)
        column, row = (
            v.ravel()
            for v in np.meshgrid(
                np.arange(max(low[0], 0), high[0]), np.arange(max(low[1], 0), high[1])
            )
        )
        keep = (column * SPACING * 1000 < side) & (row * SPACING * 1000 < side)
        column, row = column[keep], row[keep]
        middle = origin + np.stack([column, row], axis=1) * SPACING * 1000 + SPACING * 500
        inside = (
            (middle[:, 0] > x0 - 80)
            & (middle[:, 0] < x1 + 80)
            & (middle[:, 1] > y0 - 80)
            & (middle[:, 1] < y1 + 80)
        )
        column, row, middle = column[inside], row[inside], middle[inside]
        # the same field in every partition that sees it
        seed = (column * 7919 + row * 104_729) % 1000 / 1000
        radius = 100 * (0.8 + 0.15 * np.sin(angle * 3 + 6 * seed[:, None]))
        ring = middle[:, None] + np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)
        lon, lat = back.transform(ring[..., 0], ring[..., 1])
        shapes = shapely.polygons(np.stack([lon, lat], axis=-1))
        area, perimeter = fields.measure(shapes, "OGC:CRS84")
        names = geohash(*shapely.get_coordinates(shapely.centroid(shapes)).T)
        columns = {
            "id": names,
            "class": "field",
            "metrics:area": area.astype("f4"),
            "metrics:perimeter": perimeter.astype("f4"),
            "confidence": seed.astype("f4"),
        }
        path = folder / "jobs" / cell.name / "fields.parquet"
        path.parent.mkdir(parents=True)
        fields.write_fields(geopandas.GeoDataFrame(columns, geometry=shapes, crs="OGC:CRS84"), path)
        path.with_name("area.geojson").write_text(json.dumps(lattice.to_feature(cell)))
        paths.append(path)
    return paths


def task(folder: Path, name: str, out: Path) -> None:
    """Do one thing in this process, and write how long it took and how much memory."""
    from selion import country

    began = time.perf_counter()
    facts: dict[str, object] = {}
    if name == "merge":
        maps = country.merge_maps(
            sorted(folder.glob("jobs/*/fields.parquet")), folder / "maps", force=True
        )
        facts = {
            **maps.facts,
            "bytes": sum(part.bytes for part in maps.parts),
            "partitions": len(maps.parts),
        }
    elif name == "tiles":
        facts = {
            "bytes": country.write_tiles(folder / "maps", folder / "fields.pmtiles", force=True)
            .stat()
            .st_size
        }
    elif name == "query":
        facts = query(folder / "maps")
    facts |= {
        "seconds": time.perf_counter() - began,
        "cpu": time.process_time(),
        "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    out.write_text(json.dumps(facts))


def query(folder: Path) -> dict[str, object]:
    """Cut out districts of 50 by 50 km, here and there."""
    from selion import country

    times, reading, rows = [], [], []
    box = country.open_maps(folder).box
    for k in range(5):
        share = 0.1 + 0.15 * k
        x, y = box[0] + share * (box[2] - box[0]), box[1] + (1 - share) * (box[3] - box[1]) * 0.8
        began = time.perf_counter()
        found = country.query(folder, (x, y, x + 0.69, y + 0.45))
        times.append(time.perf_counter() - began)
        reading.append(found.reading.bytes / found.reading.of_bytes)
        rows.append(len(found.frame))
    began = time.perf_counter()
    country.count_fields(folder)
    return {"times": times, "shares": reading, "rows": rows, "stats": time.perf_counter() - began}


def apart(folder: Path, name: str) -> dict:
    out = folder / f"{name}.json"
    subprocess.run(
        [sys.executable, __file__, "--task", name, "--folder", str(folder), "--out", str(out)],
        check=True,
    )
    return json.loads(out.read_text())


def of_size(count: int, *, tiles: bool) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="selion-country-") as name:
        folder = Path(name)
        paths = write_partitions(folder, count)
        merged = apart(folder, "merge")
        millions = f"{merged['fields'] / 1e6:.2f} M fields"
        note = (
            f"{len(paths)} parts, {merged['rows_read']:,} rows read, {merged['joined']:,} joined "
            f"over seams, {merged['partitions']} partitions"
        )
        rows = [
            Row(
                NAME,
                f"Merge, {millions}",
                merged["seconds"],
                "s",
                note=f"{note}; {merged['cpu']:.0f} s of processor",
            ),
            Row(
                NAME,
                f"Merge, {millions}: peak memory of the process",
                merged["mb"],
                "MB",
                note="libraries included",
            ),
        ]
        asked = apart(folder, "query")
        district = (
            f"{statistics.median(asked['rows']):,.0f} fields; "
            f"{statistics.median(asked['shares']):.1%} of the map's bytes read"
        )
        rows += [
            seconds(NAME, f"District of 50 x 50 km out of {millions}", asked["times"], district),
            Row(NAME, f"Statistics of {millions}", asked["stats"], "s"),
        ]
        if tiles:
            drawn = apart(folder, "tiles")
            said = (
                f"{drawn['cpu']:.0f} s of processor; {drawn['bytes'] / 1e6:.0f} MB, peak "
                f"{drawn['mb']:,.0f} MB"
            )
            rows.append(Row(NAME, f"PMTiles, {millions}", drawn["seconds"], "s", note=said))
        return rows


def cluster() -> list[Row]:
    """Simulate 1 to 256 workers over the jobs of a country of 2 million km2, each of 20 minutes on
    the mean.
    """
    from selion.country import Work, read_prices, sweep

    rng = np.random.default_rng(0)
    jobs = 800
    work = Work(
        rng.gamma(4, 75, jobs),
        rng.gamma(4, 225, jobs),
        5.0,
        np.array([0.8, 0.9, 1.0, 1.1, 1.2]),
        125,
    )
    faults = read_prices().faults
    rows = []
    for name, kind in (
        ("faults of the packaged price sheet", faults),
        ("ten times the faults", replace(faults, failures_per_job=0.1, losses_per_worker_hour=0.2)),
    ):
        for one in sweep(work, kind):
            if one.workers in (1, 16, 64, 256):
                note = (
                    f"{one.seconds / 3600:.2f} h; {one.retried} tried again, {one.lost} workers "
                    f"lost, {one.set_aside} given up"
                )
                rows.append(
                    Row(
                        NAME,
                        (
                            f"Simulated cluster of {one.workers}, {jobs} jobs of 20 min, {name}: "
                            "efficiency"
                        ),
                        100 * one.efficiency,
                        "%",
                        note=note,
                    )
                )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--fields", default="500000,1000000,2000000")
    parser.add_argument(
        "--tiles", type=int, default=1_000_000, help="largest size that is drawn as PMTiles"
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--task")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    if given.task:
        task(given.folder, given.task, given.out)
        return
    rows: list[Row] = []
    for count in (int(text) for text in given.fields.split(",")):
        rows += of_size(count, tiles=count <= given.tiles)
        for row in rows[-5:]:
            print(
                f"{row.what}: {row.value:.2f} {row.unit} ({row.note})", file=sys.stderr, flush=True
            )
    peaks = [row.value for row in rows if row.what.endswith("memory of the process")]
    if len(peaks) > 1:
        rows.append(
            Row(
                NAME,
                "Peak memory of the largest merge over that of the smallest",
                peaks[-1] / peaks[0],
                "x",
                note=f"{given.fields} fields",
            )
        )
    rows += cluster()
    if given.json:
        save(rows, given.json)
    for row in rows:
        print(f"{row.what}: {row.value:.3f} {row.unit}  {row.note}")


if __name__ == "__main__":
    main()
