"""The viewer on a country.

Time to open, to the first map and per pan, memory, and how long tiles take with several people.

    python bench/view.py [--fields 1000000,5000000,20000000] [--viewers 8] [--tiles 40] \
        [--json rows.json]

The fields are simulated: a lattice of some 140 m whose corners are shaken, in squares of 300 x 300
as one row group each, written as GeoParquet 1.1 with a bbox column, one row group in memory at a
time.  The imagery is a COG of 4096 x 4096 pixels.  The command is run as a person runs it, in a
process of its own; the page is opened in a real Chromium, which draws in software where there is no
graphics card.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import queue
import random
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from command import find_chromium
from table import Row, save

NAME = "Viewer"
SIDE = 300
"""Fields along the edge of a row group."""
STEP = (0.0019, 0.00127)
"""Degrees between corners."""
CORNER = (6.0, 46.0)
COMMAND = (
    "import sys; from selion.cli.main import main; main(['view', *sys.argv[1:], '--no-browser'])"
)
FLAGS = [
    "--no-sandbox",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    "--js-flags=--expose-gc",
]
WKB = np.dtype(
    [("order", "u1"), ("kind", "<u4"), ("rings", "<u4"), ("points", "<u4"), ("xy", "<f8", (5, 2))]
)


def group(row: int, column: int, first: int, random_: np.random.Generator):
    """Return the table of one square of fields."""
    import pyarrow as pa

    edge = SIDE + 1
    noise = random_.uniform(-0.18, 0.18, (edge, edge, 2))
    y, x = np.mgrid[row * SIDE : row * SIDE + edge, column * SIDE : column * SIDE + edge]
    corners = np.stack([x, y], -1) + noise
    corners = corners * STEP + CORNER
    rings = np.stack(
        [corners[:-1, :-1], corners[:-1, 1:], corners[1:, 1:], corners[1:, :-1], corners[:-1, :-1]],
        2,
    ).reshape(-1, 5, 2)
    count = len(rings)
    shapes = np.zeros(count, WKB)
    shapes["order"], shapes["kind"], shapes["rings"], shapes["points"], shapes["xy"] = (
        1,
        3,
        1,
        5,
        rings,
    )
    offsets = pa.py_buffer(np.arange(0, (count + 1) * WKB.itemsize, WKB.itemsize, dtype=np.int32))
    geometry = pa.Array.from_buffers(
        pa.binary(), count, [None, offsets, pa.py_buffer(shapes.tobytes())]
    )
    low, high = rings.min(1), rings.max(1)
    box = pa.StructArray.from_arrays(
        [pa.array(v) for v in (low[:, 0], low[:, 1], high[:, 0], high[:, 1])],
        ["xmin", "ymin", "xmax", "ymax"],
    )
    area = pa.array(random_.lognormal(9.9, 0.5, count).astype(np.float32))
    columns = {
        "id": pa.array([f"f{first + k:09}" for k in range(count)]),
        "metrics:area": area,
        "confidence": pa.array(random_.beta(6, 2, count).astype(np.float32)),
    }
    return pa.table({**columns, "bbox": box, "geometry": geometry})


def write_fields(path: Path, count: int) -> int:
    """Write at least so many fields; return how many."""
    import pyarrow.parquet as pq

    side = max(1, round((count / SIDE**2) ** 0.5))
    rows = max(1, -(-count // (side * SIDE**2)))
    random_ = np.random.default_rng(7)
    covering = {"bbox": {k: ["bbox", k] for k in ("xmin", "ymin", "xmax", "ymax")}}
    geo = {
        "version": "1.1.0",
        "primary_column": "geometry",
        "columns": {
            "geometry": {"encoding": "WKB", "geometry_types": ["Polygon"], "covering": covering}
        },
    }
    writer, written = None, 0
    for row in range(rows):
        for column in range(side) if row % 2 == 0 else reversed(range(side)):
            table = group(row, column, written, random_)
            if writer is None:
                writer = pq.ParquetWriter(
                    path,
                    table.schema.with_metadata({"geo": json.dumps(geo)}),
                    compression="zstd",
                    compression_level=1,
                )
            writer.write_table(table.cast(writer.schema), row_group_size=SIDE**2)
            written += table.num_rows
    writer.close()
    return written


def write_image(path: Path, edge: int = 4096) -> None:
    """Write a COG of red, green and blue beside the fields."""
    from odc.geo.geobox import GeoBox

    from selion import store
    from selion.grid import whole

    grid = GeoBox.from_bbox(
        (CORNER[0], CORNER[1], CORNER[0] + 0.5, CORNER[1] + 0.5), "EPSG:4326", shape=(edge, edge)
    )
    values = (
        np.random.default_rng(1)
        .integers(200, 3000, (3, edge // 8, edge // 8))
        .astype(np.uint16)
        .repeat(8, 1)
        .repeat(8, 2)
    )
    with store.create_cog(
        path, grid, ("red", "green", "blue"), np.dtype("uint16"), nodata=0, force=True
    ) as sink:
        sink.write(whole(grid), values)


class Server:
    """The command in a process of its own."""

    def __init__(self, paths: list[Path], cache: Path) -> None:
        began = time.perf_counter()
        environment = {**os.environ, "SELION_CACHE": str(cache), "PYTHONUNBUFFERED": "1"}
        self.child = subprocess.Popen(
            [sys.executable, "-c", COMMAND, *map(str, paths)],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        found = None
        while found is None:
            line = self.child.stdout.readline()
            if not line:
                raise SystemExit("selion view did not start.")
            found = re.search(r"http://127\.0\.0\.1:(\d+)(/\w+/view/)", line)
        self.port, self.path = int(found[1]), found[2]
        self.opened = time.perf_counter() - began

    def memory(self, mark: str = "VmRSS") -> float:
        """Return MB, now or at its highest (VmHWM)."""
        text = Path(f"/proc/{self.child.pid}/status").read_text()
        return int(re.search(rf"{mark}:\s+(\d+)", text)[1]) / 1024

    def cpu(self) -> float:
        """Return seconds of processor that the server has used: they hold on a busy machine too."""
        used = Path(f"/proc/{self.child.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(used[11]) + int(used[12])) / os.sysconf("SC_CLK_TCK")

    def get(self, path: str, connection: http.client.HTTPConnection | None = None) -> bytes:
        connection = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        connection.request("GET", self.path + path)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise SystemExit(f"{path}: {answer.status} {body[:200]!r}")
        return body

    def settled(self) -> float:
        """Wait for the overview; return the seconds."""
        began = time.perf_counter()
        while not all(each["ready"] for each in json.loads(self.get("api/state")).values()):
            time.sleep(0.2)
        return time.perf_counter() - began

    def stop(self) -> None:
        self.child.terminate()
        self.child.wait()


def tile_at(lon: float, lat: float, z: int) -> str:
    n = 1 << z
    y = (1 - np.arcsinh(np.tan(np.radians(lat))) / np.pi) / 2
    return f"{z}/{int((lon + 180) / 360 * n)}/{int(y * n)}"


def latencies(
    server: Server, kinds: dict[str, str], bounds, viewers: int, tiles: int
) -> dict[str, list[float]]:
    """Let several people ask for tiles at random places, none twice, one after the other each."""
    chance, found, work = random.Random(5), {kind: [] for kind in kinds}, queue.Queue()
    for _ in range(viewers * tiles):
        for kind, path in kinds.items():
            box = bounds if kind != "imagery" else (*CORNER, CORNER[0] + 0.5, CORNER[1] + 0.5)
            place = (chance.uniform(box[0], box[2]), chance.uniform(box[1], box[3]))
            work.put(
                (
                    kind,
                    path
                    + tile_at(
                        *place, chance.choice((11, 12, 13) if kind == "imagery" else (12, 13, 14))
                    ),
                )
            )

    def person() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=300)
        while True:
            try:
                kind, path = work.get_nowait()
            except queue.Empty:
                return
            t = time.perf_counter()
            server.get(path, connection)
            found[kind].append(time.perf_counter() - t)

    people = [threading.Thread(target=person) for _ in range(viewers)]
    for each in people:
        each.start()
    for each in people:
        each.join()
    return found


def in_chromium(server: Server, pans: int) -> tuple[float, list[float], float] | None:
    """Open the page and pan at the zoom where single fields are seen: seconds to the first map, per
    pan, MB of the page's JavaScript; None where there is no Chromium.
    """
    chromium = find_chromium()
    if chromium is None:
        return None
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(f"http://127.0.0.1:{server.port}{server.path}", wait_until="commit")
        page.wait_for_selector('body[data-ready="1"]', timeout=180_000)
        first = page.evaluate("performance.getEntriesByName('first-map')[0].startTime / 1000")
        page.evaluate(
            "async () => { const { state } = await import('./view.js'); globalThis.it = "
            "state.maps[0]; }"
        )
        times = []
        for k in range(pans + 1):
            move = (
                "new Promise(done => { it.once('idle', done); it.jumpTo({ center: "
                f"[{CORNER[0] + 0.3 + 0.03 * k}, {CORNER[1] + 0.3}], zoom: 13 }}); }})"
            )
            t = time.perf_counter()
            page.evaluate(move)
            times.append(time.perf_counter() - t)
        session = page.context.new_cdp_session(page)
        heap = session.send("Runtime.getHeapUsage")["usedSize"] / 2**20
        browser.close()
    return first, times[1:], heap


def measure(folder: Path, count: int, viewers: int, tiles: int, pans: int) -> list[Row]:
    """Return the rows of one size."""
    path = folder / f"fields{count}.parquet"
    began = time.perf_counter()
    written = write_fields(path, count)
    print(
        (
            f"{written:,} fields, {path.stat().st_size / 1e6:,.0f} MB, written in "
            f"{time.perf_counter() - began:.0f} s"
        ),
        file=sys.stderr,
        flush=True,
    )
    said = f"{written / 1e6:g} million fields"
    server = Server([path, folder / "image.tif"], folder / f"cache{count}")
    try:
        rows = [
            Row(
                NAME,
                f"{said}: command to a page that answers",
                server.opened,
                "s",
                3.0,
                at_most=True,
                note=f"{server.memory():.0f} MB and {server.cpu():.1f} s of processor",
            )
        ]
        seen = in_chromium(server, pans)
        if seen:
            first, times, _ = seen
            rows.append(
                Row(
                    NAME,
                    f"{said}: page to the first whole map, in Chromium",
                    first,
                    "s",
                    3.0,
                    at_most=True,
                    note="the overview being gathered meanwhile",
                )
            )
            rows.append(
                Row(
                    NAME,
                    f"{said}: overview gathered",
                    server.settled(),
                    "s",
                    note="after that; once for a file, then kept",
                )
            )
            rows.append(
                Row(
                    NAME,
                    f"{said}: one pan to a whole map, in Chromium, median",
                    statistics.median(times),
                    "s",
                    note=f"{min(times):.2f} to {max(times):.2f}",
                )
            )
        else:
            rows.append(
                Row(NAME, f"{said}: in Chromium", None, "s", note="there is no Chromium here")
            )
        used = server.cpu()
        found = latencies(
            server,
            {"fields": "fields/f0/", "imagery": f"raster/r0/{look(server)}/"},
            bounds_of(server),
            viewers,
            tiles,
        )
        for kind, seconds in found.items():
            seconds.sort()
            p50, p95 = (1000 * seconds[int(len(seconds) * q)] for q in (0.5, 0.95))
            note = f"p95 {p95:.0f} ms, {len(seconds)} tiles, none twice"
            rows.append(
                Row(NAME, f"{said}: tile of {kind}, {viewers} viewers, p50", p50, "ms", note=note)
            )
        each = 1000 * (server.cpu() - used) / sum(map(len, found.values()))
        rows.append(Row(NAME, f"{said}: processor per tile, both kinds", each, "ms"))
        rows.append(
            Row(
                NAME,
                f"{said}: memory of the server, highest",
                server.memory("VmHWM"),
                "MB",
                note=f"page: {seen[2]:.0f} MB of JavaScript" if seen else "",
            )
        )
    finally:
        server.stop()
        path.unlink()
    return rows


def look(server: Server) -> str:
    return json.loads(server.get("api/layers"))["rasters"][0]["tiles"].split("/")[2]


def bounds_of(server: Server) -> list[float]:
    return json.loads(server.get("api/layers"))["fields"][0]["bounds"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--fields", default="1000000,5000000,20000000")
    parser.add_argument("--viewers", type=int, default=8)
    parser.add_argument(
        "--tiles", type=int, default=25, help="Tiles of each kind that each viewer asks for."
    )
    parser.add_argument("--pans", type=int, default=8)
    parser.add_argument("--json", type=Path, default=None)
    given = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(prefix="selion-view-") as name:
        write_image(Path(name) / "image.tif")
        for count in map(int, given.fields.split(",")):
            rows += measure(Path(name), count, given.viewers, given.tiles, given.pans)
    print(f"load {os.getloadavg()[0]:.1f}")
    for row in rows:
        print(f"  {row.what:76} {row.value or 0:9.2f} {row.unit:3} {row.note}")
    if given.json:
        save(rows, given.json)


if __name__ == "__main__":
    main()
