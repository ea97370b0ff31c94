"""Small things to look at, and a server that shows them: rasters, fields, photographs, and files
that are not what they say.
"""

from __future__ import annotations

import http.client
import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import geopandas
import numpy as np
import shapely
from odc.geo.geobox import GeoBox
from PIL import Image

from selion import fields, store
from selion.grid import whole
from selion.web import server
from selion.web.view.discovery import Discovery
from selion.web.view.page import view_page
from selion.web.view.place import EARTH, WebTile

UTM = "EPSG:32633"
CORNER = (300000.0, 5400000.0)
CLASSES = {
    "names": ["background", "field", "boundary"],
    "things": ["field"],
    "boundary": "boundary",
    "colours": ["#000000", "#5ac85a", "#ffd500"],
}


def grid_of(edge: int, gsd: float = 10.0, crs: str | None = UTM) -> GeoBox:
    west, north = CORNER if crs else (0.0, 0.0)
    if crs is None:
        from selion.grid import photo_grid

        return photo_grid((edge, edge))
    return GeoBox.from_bbox(
        (west, north - edge * gsd, west + edge * gsd, north), crs, shape=(edge, edge)
    )


def write_raster(
    path: Path, values: np.ndarray, bands, nodata=None, tags=None, crs: str | None = UTM
) -> Path:
    """Write (band, y, x) values as a COG."""
    grid = grid_of(values.shape[-1], crs=crs)
    with store.create_cog(
        path, grid, bands, values.dtype, nodata=nodata, tags=tags or {}, block=128, force=True
    ) as sink:
        sink.write(whole(grid), values)
    return path


def frame_of(side: int, seed: int = 0) -> geopandas.GeoDataFrame:
    """Return side x side fields of about 2 ha that fill the grid of 320 pixels of 10 m."""
    chance = np.random.default_rng(seed)
    step = 3200 / side
    x, y = (each.ravel() * step for each in np.meshgrid(np.arange(side), np.arange(side)))
    shapes = shapely.box(
        CORNER[0] + x + 8, CORNER[1] - y - step + 8, CORNER[0] + x + step - 8, CORNER[1] - y - 8
    )
    frame = geopandas.GeoDataFrame(
        {"id": [f"field-{k}" for k in range(side**2)]}, geometry=shapes, crs=UTM
    )
    frame["class"] = np.array(["field", "pond"])[(chance.random(side**2) < 0.2).astype(int)]
    frame["metrics:area"], frame["metrics:perimeter"] = (
        frame.area.astype("float32"),
        frame.length.astype("float32"),
    )
    frame["confidence"] = chance.beta(6, 2, side**2).astype("float32")
    return frame


def write_map(folder: Path, side: int = 20) -> Path:
    """Write what ``selion map`` leaves: an image of two seasons, scores, objects, fields."""
    folder.mkdir(parents=True, exist_ok=True)
    edge = 320
    frame = frame_of(side)
    ids = store.burn(frame.geometry.to_numpy(), range(1, len(frame) + 1), grid_of(edge)).astype(
        np.int32
    )
    shade = np.random.default_rng(3).integers(300, 2500, side**2 + 1)[ids]
    bands = [
        f"{season}:{colour}"
        for season in ("window_a", "window_b")
        for colour in ("red", "green", "blue", "nir")
    ]
    image = np.stack([shade * (0.5 + 0.1 * k) for k in range(8)]).astype(np.uint16)
    image[:, :40, :40] = 0
    scores = np.stack(
        [np.where(ids > 0, 20, 220), np.where(ids > 0, 230, 10), np.full(ids.shape, 4)]
    ).astype(np.uint8)
    write_raster(folder / "image.tif", image, bands, nodata=0)
    write_raster(
        folder / "scores.tif",
        scores,
        CLASSES["names"],
        nodata=255,
        tags={"classes": json.dumps(CLASSES), "scores": "{}"},
    )
    write_raster(folder / "instances.tif", ids[None], ("instance",), nodata=0)
    fields.write_fields(frame, folder / "fields.parquet", force=True)
    return folder


def write_crops(folder: Path, photos: Path, count: int = 3) -> tuple[Path, Path]:
    """Write what ``selion crops`` leaves, and the photographs that it was made from."""
    rows = ["file,width,height,trust,cover,mask,overlay"]
    for name in ("masks", "overlays"):
        (folder / name).mkdir(parents=True)
    photos.mkdir(parents=True)
    chance = np.random.default_rng(1)
    for k in range(count):
        ids = (chance.random((12, 16)) < 0.4).astype(np.uint8).repeat(10, 0).repeat(10, 1)
        colours = np.where(ids[..., None] == 1, (60, 140, 50), (130, 100, 70)).astype(np.uint8)
        Image.fromarray(colours).save(photos / f"leaf{k}.jpg")
        Image.fromarray(colours // 2).save(folder / "overlays" / f"leaf{k}.jpg")
        mask = Image.fromarray(ids, "L").convert("P")
        mask.putdata(ids.ravel().tolist())
        mask.putpalette([138, 102, 66, 60, 180, 75] + [128] * 762)
        mask.save(folder / "masks" / f"leaf{k}.png")
        rows.append(
            f"leaf{k}.jpg,160,120,yes,{ids.mean():.3f},masks/leaf{k}.png,overlays/leaf{k}.jpg"
        )
    (folder / "crops.csv").write_text("\n".join(rows) + "\n")
    return folder, photos


def tile_at(box, zoom: int) -> WebTile:
    """Return the tile in the middle of a box of web mercator."""
    n = (1 << zoom) / (2 * EARTH)
    return WebTile(
        zoom, int(((box[0] + box[2]) / 2 + EARTH) * n), int((EARTH - (box[1] + box[3]) / 2) * n)
    )


def tile_over(box) -> WebTile:
    """Return the smallest tile that holds all of a box of web mercator."""
    for zoom in range(24, -1, -1):
        tile = tile_at(box, zoom)
        west, south, east, north = tile.box
        if west <= box[0] and south <= box[1] and box[2] <= east and box[3] <= north:
            return tile
    raise ValueError(box)


@dataclass
class Served:
    """A page that can be asked."""

    address: server.Address
    found: Discovery

    def ask(
        self, path: str, headers: dict[str, str] | None = None, whole: str | None = None
    ) -> SimpleNamespace:
        connection = http.client.HTTPConnection("127.0.0.1", self.address.port, timeout=120)
        try:
            connection.putrequest(
                "GET", whole or f"/{self.address.token}/view/{path}", skip_host=True
            )
            for name, value in (
                {"Host": f"127.0.0.1:{self.address.port}"} | (headers or {})
            ).items():
                connection.putheader(name, value)
            connection.endheaders()
            answer = connection.getresponse()
            return SimpleNamespace(
                status=answer.status,
                body=answer.read(),
                headers={k.lower(): v for k, v in answer.getheaders()},
            )
        finally:
            connection.close()

    def table(self, path: str):
        return json.loads(self.ask(path).body)

    @property
    def url(self) -> str:
        return self.address.url("view")


@contextmanager
def serving(*paths: Path, **options):
    """Serve from a thread of this process."""
    page, found = view_page(paths, **options)
    opened, address, _ = server.listen(paths[0])
    running = server.make_server(server.make_app([page], address))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [opened]}, daemon=True)
    thread.start()
    try:
        yield Served(address, found)
    finally:
        running.should_exit = True
        thread.join(10)
        found.close()
        opened.close()


def read_tile(data: bytes) -> dict[str, list[dict]]:
    """Decode a vector tile: layer -> features with id, properties and rings; an own reading of the
    specification.
    """
    layers = {}
    for number, _, layer in messages(data):
        assert number == 3
        keys, values, features, name = [], [], [], ""
        for tag, _, body in messages(layer):
            if tag == 1:
                name = body.decode()
            elif tag == 3:
                keys.append(body.decode())
            elif tag == 4:
                values.append(value_of(body))
            elif tag == 2:
                features.append(body)
        layers[name] = [feature_of(body, keys, values) for body in features]
    return layers


def messages(data: bytes):
    at = 0
    while at < len(data):
        tag, at = varint(data, at)
        if tag & 7 == 2:
            size, at = varint(data, at)
            yield tag >> 3, 2, data[at : at + size]
            at += size
        elif tag & 7 == 1:
            yield tag >> 3, 1, data[at : at + 8]
            at += 8
        elif tag & 7 == 5:
            yield tag >> 3, 5, data[at : at + 4]
            at += 4
        else:
            number, at = varint(data, at)
            yield tag >> 3, 0, number


def varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        number |= (data[at] & 127) << shift
        shift += 7
        at += 1
        if not data[at - 1] & 128:
            return number, at


def value_of(body: bytes):
    number, _, value = next(messages(body))
    if number == 1:
        return value.decode()
    return float(np.frombuffer(value, {2: "<f4", 3: "<f8"}[number])[0]) if number < 4 else value


def feature_of(body: bytes, keys, values) -> dict:
    found = {"id": None, "properties": {}, "rings": []}
    for number, _, value in messages(body):
        if number == 1:
            found["id"] = value
        elif number == 2:
            pairs = all_varints(value)
            found["properties"] = {
                keys[k]: values[v] for k, v in zip(pairs[::2], pairs[1::2], strict=True)
            }
        elif number == 4:
            found["rings"] = rings_of(all_varints(value))
    return found


def all_varints(data: bytes) -> list[int]:
    out, at = [], 0
    while at < len(data):
        number, at = varint(data, at)
        out.append(number)
    return out


def rings_of(numbers: list[int]) -> list[list[tuple[int, int]]]:
    rings, x, y, at = [], 0, 0, 0
    while at < len(numbers):
        command, count = numbers[at] & 7, numbers[at] >> 3
        at += 1
        if command == 7:
            continue
        if command == 1:
            rings.append([])
        for _ in range(count):
            x += (numbers[at] >> 1) ^ -(numbers[at] & 1)
            y += (numbers[at + 1] >> 1) ^ -(numbers[at + 1] & 1)
            rings[-1].append((x, y))
            at += 2
    return rings
