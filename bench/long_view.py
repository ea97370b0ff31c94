"""``selion view`` for a long time: memory and open files while a script pans.

    python bench/long_view.py [--table fields.parquet] [--fields 3000000] [--tiles 10000] \
        [--minutes 60]

The command runs in a process of its own, as in ``view.py``.  Tiles of fields and of an image are
asked for along walks over the map, as a page asks for them; at each tenth of them resident memory
and open files are written down.  The first tenth fills the caches.  With ``--minutes`` the tiles
are spread over so long a time, as a person's are.
"""

from __future__ import annotations

import argparse
import http.client
import random
import tempfile
import time
from pathlib import Path

from view import CORNER, Server, look, tile_at, write_fields, write_image

MARKS = 10
ZOOMS = (9, 11, 12, 13, 14)


def walk(
    server: Server, layers: list[str], count: int, minutes: float
) -> list[tuple[int, float, int]]:
    """Ask for tiles; return how many, MB and open files at each mark."""
    chance, found, began = random.Random(3), [], time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=300)
    x, y = CORNER
    for number in range(1, count + 1):
        if number % 40 == 1:  # somewhere else
            x, y = CORNER[0] + chance.uniform(0, 0.9), CORNER[1] + chance.uniform(0, 0.5)
        x, y = x + 0.01, y + chance.uniform(-0.004, 0.004)
        layer = chance.choice(layers)
        time.sleep(max(0.0, began + 60 * minutes * number / count - time.monotonic()))
        server.get(layer + tile_at(x, y, chance.choice(ZOOMS)), connection)
        if number % max(count // MARKS, 1) == 0:
            files = len(list(Path(f"/proc/{server.child.pid}/fd").iterdir()))
            found.append((number, server.memory(), files))
            after = (time.monotonic() - began) / 60
            told = f"{found[-1][1]:.0f} MB, {files} open files"
            print(f"{number:,} tiles, {after:.0f} minutes: {told}", flush=True)
    return found


def main() -> None:
    """Walk, and say whether memory and files stayed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--table", type=Path, help="fields that view.py wrote")
    parser.add_argument("--fields", type=int, default=3_000_000)
    parser.add_argument("--tiles", type=int, default=10_000)
    parser.add_argument("--minutes", type=float, default=0.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="selion-long-view-") as name:
        folder = Path(name)
        table = given.table or folder / "fields.parquet"
        if given.table is None:
            write_fields(table, given.fields)
        write_image(folder / "image.tif")
        server = Server([table, folder / "image.tif"], folder / "cache")
        try:
            server.settled()
            layers = ["fields/f0/", f"raster/r0/{look(server)}/"]
            found = walk(server, layers, given.tiles, given.minutes)
        finally:
            server.stop()
    low, high = found[0], found[-1]
    print(f"memory {high[1] / low[1]:.2f} x, files {high[2] - low[2]:+d} from {low[0]:,} tiles on")


if __name__ == "__main__":
    main()
