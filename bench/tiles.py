"""Vector tiles and the rows under them: selion, GDAL's drivers and DuckDB on the same fields.

    python bench/tiles.py [--fields 1000000] [--peer 20000] [--json rows.json] [--quick]

Five jobs: building a PMTiles file, the first tile of a GeoParquet file, a pan of 30 tiles over it,
a district of 50 x 50 km, and a tile out of a PMTiles file.  Each contender does each job in a
process of its own, so that the memory mark is its own; seconds are those of the processor, because
they hold on a busy machine too.  GDAL's driver is timed at ``--peer`` fields, and selion beside
it at the same size: at a million it would take the better part of an hour.  DuckDB cannot encode
tiles without its extension ``spatial``, which has to be downloaded: it finds the rows, and the
tile is drawn by selion.

The fields are simulated: wavy rings of 24 points, 20 to the square kilometre, in squares of 90 x 90
as one row group each, GeoParquet 1.1 with a bbox column.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from table import Row, save

NAME = "Vector tiles"
SIDE = 90
"""Fields along the edge of a row group."""
POINTS = 24
STEP = (0.00313, 0.00201)
"""Degrees between fields: 0.2236 km at 50 degrees north."""
CORNER = (8.0, 49.0)
WKB = np.dtype(
    [
        ("order", "u1"),
        ("kind", "<u4"),
        ("rings", "<u4"),
        ("points", "<u4"),
        ("xy", "<f8", (POINTS + 1, 2)),
    ]
)
ZOOM, PAN = 12, (6, 5)
"""Zoom of the tiles that are looked at, and columns and rows of the pan."""
COVERING = {"bbox": {k: ["bbox", k] for k in ("xmin", "ymin", "xmax", "ymax")}}


def square(row: int, column: int):
    """Return the table of one square of fields."""
    import pyarrow as pa

    from selion.fields.table import geohash

    y, x = np.mgrid[row * SIDE : (row + 1) * SIDE, column * SIDE : (column + 1) * SIDE]
    y, x = y.ravel(), x.ravel()
    seed = (x * 7919 + y * 104_729) % 1000 / 1000
    angle = np.linspace(0, 2 * np.pi, POINTS + 1)
    radius = 0.44 * (0.8 + 0.15 * np.sin(angle * 3 + 6 * seed[:, None]))
    middle = np.stack([x, y], -1) * STEP + CORNER
    ring = np.stack([radius * np.cos(angle), radius * np.sin(angle)], -1) * STEP + middle[:, None]
    ring[:, -1] = ring[:, 0]
    shapes = np.zeros(len(x), WKB)
    shapes["order"], shapes["kind"], shapes["rings"], shapes["points"] = 1, 3, 1, POINTS + 1
    shapes["xy"] = ring
    offsets = np.arange(0, (len(x) + 1) * WKB.itemsize, WKB.itemsize, dtype=np.int32)
    low, high = ring.min(1), ring.max(1)
    box = pa.StructArray.from_arrays(
        [pa.array(v) for v in (low[:, 0], low[:, 1], high[:, 0], high[:, 1])],
        ["xmin", "ymin", "xmax", "ymax"],
    )
    geometry = pa.Array.from_buffers(
        pa.binary(), len(x), [None, pa.py_buffer(offsets), pa.py_buffer(shapes.tobytes())]
    )
    return pa.table(
        {
            "id": geohash(*middle.T),
            "class": pa.array(["field"] * len(x)),
            "metrics:area": pa.array((20_000 + 20_000 * seed).astype(np.float32)),
            "confidence": pa.array(seed.astype(np.float32)),
            "bbox": box,
            "geometry": geometry,
        }
    )


def write_fields(path: Path, count: int) -> int:
    """Write at least so many fields; return how many."""
    import pyarrow.parquet as pq

    side = math.ceil(math.sqrt(count) / SIDE)
    west, south = np.array(CORNER) - 0.5 * np.array(STEP)
    box = [west, south, west + side * SIDE * STEP[0], south + side * SIDE * STEP[1]]
    column = {"encoding": "WKB", "geometry_types": ["Polygon"], "covering": COVERING, "bbox": box}
    geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
    schema = square(0, 0).schema.with_metadata({"geo": json.dumps(geo)})
    with pq.ParquetWriter(path, schema, compression="zstd", compression_level=1) as writer:
        for row in range(side):
            for column in range(side) if row % 2 == 0 else reversed(range(side)):
                writer.write_table(square(row, column).cast(schema), row_group_size=SIDE**2)
    return (side * SIDE) ** 2


def read_frame(path: Path):
    """Return all fields with what a tile says of them."""
    import geopandas

    frame = geopandas.read_parquet(path, columns=["id", "metrics:area", "confidence", "geometry"])
    frame["hectares"] = (frame.pop("metrics:area") / 1e4).round(2)
    return frame


def build_selion(folder: Path) -> float:
    from selion.country import write_tiles

    path = write_tiles(folder / "fields.parquet", folder / "selion.pmtiles", force=True)
    return path.stat().st_size / 1e6


def build_gdal(folder: Path) -> float:
    import pyogrio

    path = folder / "gdal.pmtiles"
    frame = read_frame(folder / "fields.parquet")
    pyogrio.write_dataframe(
        frame, path, driver="PMTiles", layer="fields", MINZOOM=9, MAXZOOM=12, NAME="fields"
    )
    return path.stat().st_size / 1e6


def convert_gdal(folder: Path) -> float:
    """Write the file with a spatial index that GDAL reads rows of a box from."""
    import pyogrio

    path = folder / "fields.fgb"
    frame = read_frame(folder / "fields.parquet")
    pyogrio.write_dataframe(frame, path, driver="FlatGeobuf", SPATIAL_INDEX="YES")
    return path.stat().st_size / 1e6


def tiles_of(path: Path) -> Iterator:
    """Return the tiles of a pan in the middle of the map."""
    import pyarrow.parquet as pq

    from selion.web.view.place import EARTH, WebTile, from_degrees

    side = math.isqrt(pq.read_metadata(path).num_rows)
    middle = np.array([CORNER]) + 0.4 * side * np.array(STEP)
    x, y = from_degrees(middle)[0]
    unit = 2 * EARTH / 2**ZOOM
    column, row = int((x + EARTH) / unit), int((EARTH - y) / unit)
    for k in range(PAN[0] * PAN[1]):
        yield WebTile(ZOOM, column + k % PAN[0], row - k // PAN[0])


def drawn(rows, tile) -> bytes:
    """Draw rows that another reader has found."""
    from selion.fields.mvt import encode_layer
    from selion.web.view import chunks, cut
    from selion.web.view.place import from_degrees, project_boxes

    shapes = rows["geometry"].combine_chunks()
    boxes = project_boxes(chunks.boxed(rows["geometry"]), from_degrees)
    table = {
        "metrics:area": chunks.plain_column(rows["area"], "number"),
        "confidence": chunks.plain_column(rows["confidence"], "number"),
    }

    class Found:
        project = staticmethod(from_degrees)
        columns = dict.fromkeys(table, "number")

    chunk = chunks.Chunk(boxes, shapes, table)
    picked = cut.Picked(chunk, 0, np.arange(rows.num_rows))
    return encode_layer("fields", cut.draw(Found(), [picked], tile), keep_flat=True)


def degrees_of(tile) -> tuple[float, float, float, float]:
    from selion.web.view.cut import widened
    from selion.web.view.place import to_degrees

    return to_degrees(widened(tile))


def look_selion(folder: Path, count: int) -> float:
    from selion.web.view.chunks import open_parquet
    from selion.web.view.cut import cut_tile

    fields = open_parquet([folder / "fields.parquet"])
    tiles = list(tiles_of(folder / "fields.parquet"))[:count]
    return sum(len(cut_tile(fields, None, 0, tile, most=10**9)) for tile in tiles) / 1e6


DISTRICT = """SELECT geometry, "metrics:area" AS area, confidence FROM read_parquet('{path}')
WHERE bbox.xmin <= {2} AND bbox.xmax >= {0} AND bbox.ymin <= {3} AND bbox.ymax >= {1}"""


def look_duckdb(folder: Path, count: int) -> float:
    import duckdb

    base = duckdb.connect(config={"threads": 1, "autoload_known_extensions": "false"})
    base.execute("SET enable_geoparquet_conversion = false")
    path, size = folder / "fields.parquet", 0
    for tile in list(tiles_of(path))[:count]:
        rows = base.sql(DISTRICT.format(*degrees_of(tile), path=path)).to_arrow_table()
        size += len(drawn(rows, tile))
    return size / 1e6


def look_gdal(folder: Path, count: int) -> float:
    import pyogrio.raw

    size = 0
    for tile in list(tiles_of(folder / "fields.parquet"))[:count]:
        _, rows = pyogrio.raw.read_arrow(folder / "fields.fgb", bbox=degrees_of(tile))
        names = {"wkb_geometry": "geometry", "hectares": "area"}
        rows = rows.rename_columns([names.get(name, name) for name in rows.column_names])
        size += len(drawn(rows, tile))
    return size / 1e6


def district(folder: Path) -> tuple[float, float, float, float]:
    import pyarrow.parquet as pq

    side = math.isqrt(pq.read_metadata(folder / "fields.parquet").num_rows)
    west, south = np.array(CORNER) + 0.2 * side * np.array(STEP)
    return west, south, west + 0.69, south + 0.45


def district_selion(folder: Path) -> float:
    from selion.country import query

    return len(query(folder / "fields.parquet", district(folder)).frame)


def exact(frame, box) -> int:
    """Return how many fields share more than an edge with a box."""
    import shapely

    area = shapely.box(*box)
    shapely.prepare(area)
    shapes = frame.geometry.to_numpy()
    return int((shapely.intersects(area, shapes) & ~shapely.touches(area, shapes)).sum())


def district_duckdb(folder: Path) -> float:
    import duckdb
    import geopandas
    import shapely

    box, path = district(folder), folder / "fields.parquet"
    base = duckdb.connect(config={"threads": 1, "autoload_known_extensions": "false"})
    base.execute("SET enable_geoparquet_conversion = false")
    rows = base.sql(DISTRICT.format(*box, path=path).replace("geometry,", "*,")).to_arrow_table()
    shapes = shapely.from_wkb(rows["geometry"].to_numpy())
    frame = geopandas.GeoDataFrame(
        rows.drop_columns(["geometry", "bbox"]).to_pandas(), geometry=shapes, crs="OGC:CRS84"
    )
    return exact(frame, box)


def district_gdal(folder: Path) -> float:
    import pyogrio

    box = district(folder)
    return exact(pyogrio.read_dataframe(folder / "fields.fgb", bbox=box), box)


def district_geopandas(folder: Path) -> float:
    import geopandas

    box = district(folder)
    return exact(geopandas.read_parquet(folder / "fields.parquet", bbox=box), box)


def archive_selion(folder: Path) -> float:
    from selion.store.pmtiles import open_archive

    archive = open_archive(folder / "selion.pmtiles")
    tiles = tiles_of(folder / "fields.parquet")
    return sum(len(archive.tile(tile.z, tile.x, tile.y)) for tile in tiles) / 1e6


def archive_package(folder: Path) -> float:
    import gzip

    from pmtiles.reader import MmapSource, Reader

    size = 0
    with (folder / "selion.pmtiles").open("rb") as file:
        reader = Reader(MmapSource(file))
        for tile in tiles_of(folder / "fields.parquet"):
            data = reader.get(tile.z, tile.x, tile.y)
            size += len(gzip.decompress(data)) if data else 0
    return size / 1e6


TASKS: dict[str, Callable[[Path], float]] = {
    "build selion": build_selion,
    "build GDAL": build_gdal,
    "convert GDAL": convert_gdal,
    "first selion": lambda folder: look_selion(folder, 1),
    "first DuckDB": lambda folder: look_duckdb(folder, 1),
    "first GDAL": lambda folder: look_gdal(folder, 1),
    "pan selion": lambda folder: look_selion(folder, PAN[0] * PAN[1]),
    "pan DuckDB": lambda folder: look_duckdb(folder, PAN[0] * PAN[1]),
    "pan GDAL": lambda folder: look_gdal(folder, PAN[0] * PAN[1]),
    "district selion": district_selion,
    "district DuckDB": district_duckdb,
    "district GDAL": district_gdal,
    "district geopandas": district_geopandas,
    "archive selion": archive_selion,
    "archive pmtiles": archive_package,
}
"""Job and contender; each returns how much it found, so that equal work is seen to be equal."""


def task(folder: Path, name: str, warm: Path | None) -> dict[str, float]:
    """Do one thing in this process, once before on a small map: imports and kernels are there."""
    if warm:
        TASKS[name](warm)
    wall, began = time.perf_counter(), time.process_time()
    found = TASKS[name](folder)
    return {
        "cpu": time.process_time() - began,
        "seconds": time.perf_counter() - wall,
        "found": found,
        "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def apart(folder: Path, name: str) -> dict[str, float]:
    """Do one thing in a process of its own."""
    command = [sys.executable, __file__, "--task", name, "--folder", str(folder)]
    if not name.startswith(("build", "convert")):
        command += ["--warm", str(folder.with_name("small"))]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    said = ", ".join(f"{key} {value:.3g}" for key, value in found.items())
    print(f"{name}: {said}", file=sys.stderr, flush=True)
    return found


def best(folder: Path, name: str, rounds: int) -> dict[str, float]:
    """Return the quickest of some rounds: a busy machine makes one slow, never fast."""
    return min((apart(folder, name) for _ in range(rounds)), key=lambda found: found["cpu"])


def beside(folder: Path, job: str, what: str, others: tuple[str, ...], rounds: int) -> list[Row]:
    """Return the seconds of selion for one job, and those of the others over them."""
    ours = best(folder, f"{job} selion", rounds)
    rows = [
        Row(
            NAME,
            what,
            ours["cpu"],
            "s",
            note=f"processor; peak {ours['mb']:,.0f} MB of the process",
        )
    ]
    for name in others:
        found = best(folder, f"{job} {name}", rounds)
        note = (
            f"{found['cpu']:.2f} s, peak {found['mb']:,.0f} MB; "
            f"found {found['found']:.5g} against {ours['found']:.5g}"
        )
        rows.append(
            Row(NAME, f"{what}: {name} over selion", found["cpu"] / ours["cpu"], "x", note=note)
        )
    return rows


def measure(count: int, peer: int, rounds: int) -> list[Row]:
    """Return all rows."""
    with tempfile.TemporaryDirectory(prefix="selion-tiles-") as name:
        small, large = Path(name) / "small", Path(name) / "large"
        small.mkdir()
        large.mkdir()
        few, many = (
            write_fields(folder / "fields.parquet", size)
            for folder, size in ((small, peer), (large, count))
        )
        apart(small, "build selion")  # compiles, once for an installation
        rows = beside(small, "build", f"PMTiles of {few:,} fields", ("GDAL",), 1)
        said = f"{many / 1e6:.3g} M fields"
        rows += beside(large, "build", f"PMTiles of {said}", (), 1)
        for folder in (small, large):
            apart(folder, "convert GDAL")
        rows += beside(large, "first", f"First tile of {said}", ("DuckDB", "GDAL"), rounds)
        rows += beside(large, "pan", f"Pan of 30 tiles over {said}", ("DuckDB", "GDAL"), rounds)
        rows += beside(
            large,
            "district",
            f"District of 50 x 50 km out of {said}",
            ("DuckDB", "GDAL", "geopandas"),
            rounds,
        )
        rows += beside(large, "archive", f"30 tiles out of PMTiles of {said}", ("pmtiles",), rounds)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--fields", type=int, default=1_000_000)
    parser.add_argument("--peer", type=int, default=20_000, help="Fields of GDAL's own driver.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="20,000 fields, 2,000 with GDAL.")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--task", choices=TASKS)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--warm", type=Path)
    given = parser.parse_args()
    if given.task:
        print(json.dumps(task(given.folder, given.task, given.warm)))
        return
    rows = (
        measure(20_000, 2_000, 1)
        if given.quick
        else measure(given.fields, given.peer, given.rounds)
    )
    if given.json:
        save(rows, given.json)
    for row in rows:
        print(f"{row.what}: {row.value:.3f} {row.unit}  {row.note}")


if __name__ == "__main__":
    main()
