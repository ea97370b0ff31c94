"""A tiny map to review: squares that share their edges, with image and probabilities; and a server
for its page that can be asked or killed.
"""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from screening_scenes import Asked, Process, Served
from selion import fields, review, store
from selion.classes import FTW3
from selion.grid import whole
from selion.labels import Instances, class_labels
from selion.review.log import ReviewLog
from selion.review.state import ReviewedMap
from selion.store.append_log import now
from selion.web import server
from selion.web.review import open_session, review_page

CELL = 12
BANDS = tuple(f"window_{w}:{b}" for w in "ab" for b in ("red", "green", "blue", "nir"))


def grid_of(rows: int, columns: int, crs: str | None = "EPSG:32633") -> GeoBox:
    place = Affine(10.0, 0, 300_000.0, 0, -10.0, 5_400_000.0) if crs else Affine.identity()
    return GeoBox((rows * CELL + 8, columns * CELL + 8), place, crs)


def write_map(
    folder: Path, rows: int = 4, columns: int = 5, seed: int = 0, crs: str | None = "EPSG:32633"
) -> Path:
    """Write fields.parquet, image.tif and fields.scores.tif; return the folder."""
    random = np.random.default_rng(seed)
    grid = grid_of(rows, columns, crs)
    ids = np.zeros(grid.shape, np.int32)
    for k in range(rows * columns):
        row, column = divmod(k, columns)
        ids[4 + row * CELL : 4 + (row + 1) * CELL, 4 + column * CELL : 4 + (column + 1) * CELL] = (
            k + 1
        )
    import pandas as pd

    confidence = np.round(random.uniform(0.5, 0.99, rows * columns), 3)
    table = pd.DataFrame(
        {"id": np.arange(1, rows * columns + 1), "class": "field", "score": confidence}
    )
    objects = Instances(ids, grid, table)
    folder.mkdir(parents=True, exist_ok=True)
    bright = random.uniform(800, 3000, (len(BANDS), rows * columns + 1))
    image = (
        (
            bright[:, ids] * (ids > 0)
            + 300 * (ids == 0)
            + random.normal(0, 30, (len(BANDS), *ids.shape))
        )
        .clip(0)
        .astype(np.uint16)
    )
    with store.create_cog(folder / "image.tif", grid, BANDS, image.dtype) as sink:
        sink.write(whole(grid), image)
    likely = np.stack([class_labels(objects).ids == k for k in range(3)]).astype(np.uint8) * 230
    with store.create_cog(
        folder / "fields.scores.tif",
        grid,
        FTW3.names,
        np.uint8,
        nodata=255,
        tags={"classes": json.dumps(FTW3.to_dict())},
    ) as sink:
        sink.write(whole(grid), likely)
    found = fields.to_fields(objects, fields.FieldOptions(simplify=0))
    fields.write_fields(
        found, folder / "fields.parquet", fields.Origin("toy", None, "toy, watershed")
    )
    return folder


def open_log(folder: Path) -> ReviewLog:
    files = review.find_map(folder)
    return ReviewLog(files.log, ReviewedMap.of(files.read()), files.table.name)


class Hand:
    """A person who acts on a log without a page."""

    def __init__(self, log: ReviewLog, person: str = "Ada") -> None:
        self.log, self.person, self.count = log, person, 0

    def act(self, kind: str, name: str = "", points=(), on=None, **given):
        """Act on a field as it is now, with its neighbours on the screen."""
        self.count += 1
        state = self.log.sync()
        one = state.get(name) if name else None
        seen = on if on is not None else {}
        if on is None and one is not None:
            near = (
                {other.id: other.version for other in state.near(one.shape, 1e-7)}
                if kind in ("move", "insert", "drop")
                else {}
            )
            seen = {one.id: one.version} | near
        points = tuple((float(x), float(y)) for x, y in points)
        return self.log.act(
            review.Action(
                f"{self.person}-{self.count:04}", kind, seen, self.person, now(), points, **given
            )
        )


def middle(shape) -> np.ndarray:
    return np.array(shape.centroid.coords[0])


def across(shape, tilt: float = 0.0) -> list[tuple[float, float]]:
    """A line from left to right through the middle of a shape, from outside to outside."""
    x0, y0, x1, y1 = shape.bounds
    y, wide, high = (y0 + y1) / 2, x1 - x0, y1 - y0
    return [(x0 - 0.2 * wide, y - tilt * high), (x1 + 0.2 * wide, y + tilt * high)]


class ReviewServed(Served):
    """A page of a review that can be asked."""

    def ask(self, path: str, body: object = None, headers=None, method=None, whole=None) -> Asked:
        return super().ask(
            path, body, headers, method, whole or f"/{self.address.token}/review/{path}"
        )

    def items(self, person: str = "Ada", size: int = 6, **query) -> list[dict]:
        return self.ask(
            "api/queue?"
            + "&".join(f"{k}={v}" for k, v in {"person": person, "size": size, **query}.items())
        ).table["items"]

    def act(
        self,
        kind: str,
        item: dict | None = None,
        name: str = "action-1",
        person: str = "Ada",
        **given,
    ) -> Asked:
        on = {} if item is None else {item["id"]: item["version"]}
        return self.ask(
            "api/act",
            {
                "id": name,
                "kind": kind,
                "person": person,
                "on": on,
                "points": [],
                "seconds": 1.5,
                **given,
            },
        )


@contextmanager
def serving(folder: Path, **options):
    """Serve from a thread of this process."""
    session = open_session(review.find_map(folder), **options)
    opened, address, _ = server.listen(session.log.path)
    running = server.make_server(server.make_app([review_page(session)], address))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [opened]}, daemon=True)
    thread.start()
    try:
        yield ReviewServed(address, session)
    finally:
        running.should_exit = True
        thread.join(10)
        opened.close()


class ReviewProcess(Process):
    """``selion review`` in a process of its own."""

    def __init__(self, folder: Path, *options: str) -> None:
        import sys

        code = "import sys; from selion.cli.main import main; main(sys.argv[1:])"
        self.command = [sys.executable, "-c", code, "review", str(folder), "--no-browser", *options]
        self.start()
