"""Files that lie, and files that are broken: one sentence for each, and the server goes on."""

from __future__ import annotations

import contextlib
import json
import random
import struct
import threading
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from selion import fields
from selion.errors import BadInput, SelionError, UnreadableFile
from selion.store import pmtiles
from selion.web.view import chunks, page, parquet_footers, place, rasters
from selion.web.view.discovery import find
from selion.web.view.page import ViewSession
from view_scenes import frame_of, serving, tile_at, write_map, write_raster

pytestmark = [
    # rasterio's log stumbles over text that is no UTF-8, and goes on
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    # GDAL says what is odd about a GeoPackage
    pytest.mark.filterwarnings("ignore::RuntimeWarning:pyogrio"),
]
KINDS = ("small.tif", "fields.parquet", "fields.pmtiles", "fields.gpkg")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SELION_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound")
    frame = frame_of(12)
    for name in KINDS[1:]:
        fields.write_fields(frame, folder / name)
    values = np.random.default_rng(0).integers(1, 3000, (3, 128, 128)).astype(np.uint16)
    write_raster(folder / "small.tif", values, ("red", "green", "blue"), nodata=0)
    return {name: (folder / name).read_bytes() for name in KINDS}


def broken(data: bytes, chance: random.Random) -> bytes:
    """Cut a file short, or change some bytes: anywhere, in its head, in its foot."""
    how = chance.choice(("cut", "anywhere", "head", "foot"))
    if how == "cut":
        return data[: chance.randrange(len(data))]
    low, high = {
        "anywhere": (0, len(data)),
        "head": (0, min(600, len(data))),
        "foot": (max(0, len(data) - 3000), len(data)),
    }[how]
    out = bytearray(data)
    for _ in range(chance.choice((1, 3, 20))):
        out[chance.randrange(low, high)] = chance.randrange(256)
    return bytes(out)


def check_sentence(error: SelionError, name: str = "") -> None:
    """Say that an error is one line, not too long, and names the file."""
    said = str(error)
    assert len(said) < 700
    assert "\n" not in said
    assert name in said or "coordinate system" in said


def ask_everything(session: ViewSession) -> None:
    """Ask for what a page would; only errors of ours may come."""
    page.layers(session, {})
    wanted = []
    for key, raster in session.found.rasters.items():
        for zoom in (3, 12, 15):
            tile = tile_at(raster.box, zoom)
            wanted += [
                (page.raster_tile, {"layer": key, "rendering": rendering.name, **named(tile)})
                for rendering in raster.renderings[:2]
            ]
    for key in (*session.found.fields, *session.found.archives):
        tiles = (place.WebTile(0, 0, 0), tile_at((1368900, 6225500) * 2, 13))
        wanted += [(page.fields_tile, {"layer": key, **named(tile)}) for tile in tiles]
    for key in session.found.fields:
        wanted += [
            (page.record, {"layer": key, "row": "7"}),
            (page.find_record, {"layer": key, "id": "field-9"}),
        ]
    for answer, given in wanted:
        try:
            answer(session, given)
        except SelionError as error:
            check_sentence(error)


def named(tile):
    return {"z": str(tile.z), "x": str(tile.x), "y": str(tile.y)}


@pytest.mark.parametrize("name", KINDS)
def test_broken_files(name, sound, tmp_path):
    chance, opened = random.Random(f"{name} 1"), 0
    for k in range(20):
        path = tmp_path / f"{k}-{name}"
        path.write_bytes(broken(sound[name], chance))
        try:
            found = find([path])
        except SelionError as error:
            check_sentence(error, path.name)
            continue
        opened += 1
        ask_everything(ViewSession(found))
        found.close()
    assert opened, "some are broken so little that they open"


def tiff(width: int, height: int, block: int, bands: int = 1) -> bytes:
    """Return the head of a TIFF that says that it has so many pixels, and has none."""
    entries = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1),
        (277, 3, 1, bands), (322, 4, 1, block), (323, 4, 1, block), (324, 4, 1, 8), (325, 4, 1, 8),
    ]  # fmt: skip
    body = (
        struct.pack("<H", len(entries))
        + b"".join(struct.pack("<HHII", *entry) for entry in entries)
        + struct.pack("<I", 0)
    )
    return b"II*\x00" + struct.pack("<I", 8) + body


@pytest.mark.parametrize(
    ("width", "height", "block"),
    [
        (2**31 - 16, 2**31 - 16, 512),
        (10**6, 10**6, 65536),
        (1, 2**31 - 16, 2**30),
        (0, 0, 256),
        (300000, 300000, 1024),
    ],
)
def test_huge_tiffs_cost_nothing(width, height, block, tmp_path):
    path = tmp_path / "huge.tif"
    path.write_bytes(tiff(width, height, block))
    try:
        found = find([path])
    except BadInput as error:
        check_sentence(error, "huge.tif")
        return
    ask_everything(ViewSession(found))


def test_what_ends_like_a_tiff_may_not_point_at_other_files(sound, tmp_path):
    (tmp_path / "secret.tif").write_bytes(sound["small.tif"])
    band = (
        '<VRTRasterBand dataType="UInt16" '
        f'band="1"><SimpleSource><SourceFilename>{tmp_path}/secret.tif</SourceFilename>'
        "</SimpleSource></VRTRasterBand>"
    )
    vrt = f'<VRTDataset rasterXSize="128" rasterYSize="128">{band}</VRTDataset>'
    (tmp_path / "innocent.tif").write_text(vrt)
    with pytest.raises(UnreadableFile, match="does not begin like a TIFF"):
        rasters.open_geotiff(tmp_path / "innocent.tif")


def test_footers_that_lie(tmp_path):
    """GeoParquet whose words about itself are of every wrong kind."""
    table = pa.table(
        {
            "id": ["a"],
            "geometry": pa.array([shapely.to_wkb(shapely.box(0, 0, 1, 1))], pa.binary()),
            "bbox": [{"xmin": "west"}],
        }
    )
    about = {"encoding": "WKB", "geometry_types": []}
    deep = "[" * 5000 + "]" * 5000
    heads = [
        "null", "[]", "{}", deep, '{"columns": []}', '{"columns": {"geometry": 3}}',
        '{"columns": {}, "primary_column": 7}',
        json.dumps({"columns": {"geometry": {**about, "crs": "EPSG:999999999"}}}),
        json.dumps({"columns": {"geometry": {**about, "crs": {"a": deep}}}}),
        json.dumps({"columns": {"geometry": {**about, "encoding": "point"}}}),
        json.dumps({"columns": {"geometry": {**about, "covering": {"bbox": {"xmin": [["x"]]}}}}}),
        json.dumps({"columns": {"id": about}, "primary_column": "id"}),
        json.dumps({"columns": {"nothing": about}, "primary_column": "nothing"}),
    ]  # fmt: skip
    for k, head in enumerate(heads):
        path = tmp_path / f"{k}.parquet"
        pq.write_table(table.replace_schema_metadata({"geo": head}), path)
        try:
            found = find([path])
        except BadInput as error:
            check_sentence(error, f"{k}.parquet")
            continue
        ask_everything(ViewSession(found))


def test_a_gzip_bomb_is_not_unpacked(tmp_path, sound):
    data = bytearray(sound["fields.pmtiles"])
    packing = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = packing.compress(bytes(pmtiles.LARGEST_UNPACKED + 1000)) + packing.flush()
    struct.pack_into("<QQ", data, 24, len(data), len(bomb))
    (tmp_path / "bomb.pmtiles").write_bytes(bytes(data) + bomb)
    with pytest.raises(UnreadableFile, match="more than"):
        pmtiles.open_archive(tmp_path / "bomb.pmtiles")


def test_a_tile_whose_gzip_ends_early_is_not_taken_for_whole(tmp_path):
    """zlib gives what there is, and says nothing of what is missing."""
    whole = zlib.compress(b"tile" * 1000, wbits=31)
    for packed in (whole[:-1], whole[:-8], whole[: len(whole) // 2]):
        with pytest.raises(UnreadableFile, match="ends too early"):
            pmtiles.unpack(packed, pmtiles.Compression.GZIP, tmp_path / "sound.pmtiles")
    assert pmtiles.unpack(whole, pmtiles.Compression.GZIP, tmp_path) == b"tile" * 1000


def test_a_directory_that_leads_round_in_circles_ends(tmp_path, sound):
    """A root whose only entry is itself."""
    entry = zlib.compressobj(9, zlib.DEFLATED, 31)
    packed = entry.compress(bytes([1, 0, 0, 40, 1])) + entry.flush()
    data = bytearray(sound["fields.pmtiles"])
    struct.pack_into("<QQ", data, 8, len(data), len(packed))
    struct.pack_into("<QQ", data, 40, len(data), len(packed))
    (tmp_path / "circle.pmtiles").write_bytes(bytes(data) + packed + bytes(64))
    opened = pmtiles.open_archive(tmp_path / "circle.pmtiles")
    with contextlib.suppress(UnreadableFile):
        assert opened.tile(opened.zooms[0], 0, 0) == b""


def test_rows_in_one_group_are_bounded(tmp_path, monkeypatch):
    fields.write_fields(frame_of(5), tmp_path / "f.parquet")
    monkeypatch.setattr(parquet_footers, "LARGEST", 100)
    with pytest.raises(UnreadableFile, match="row group"):
        chunks.open_parquet([tmp_path / "f.parquet"])


def test_a_file_that_breaks_while_it_is_shown_stops_nothing(tmp_path):
    """The server answers one sentence for the broken layer, and goes on with the others."""
    folder = write_map(tmp_path / "map")
    with serving(folder) as served:
        layers = served.table("api/layers")
        fields_path, raster_path = folder / "fields.parquet", folder / "image.tif"
        fields_path.write_bytes(fields_path.read_bytes()[:5000])
        raster_path.write_bytes(b"II*\x00" + bytes(3000))
        tile = tile_at((1368900, 6225500) * 2, 13)
        answers = [
            served.ask(layer["tiles"].format(**named(tile)))
            for layer in (layers["fields"][0], layers["rasters"][0])
        ]
        assert [answer.status for answer in answers] == [400, 400]
        assert all(b"corrupt" in answer.body for answer in answers)
        assert served.ask(layers["rasters"][-1]["tiles"].format(**named(tile))).status == 200
        raster_path.unlink()
        assert served.ask(layers["rasters"][1]["tiles"].format(**named(tile))).status == 400


def test_many_people_at_once(tmp_path):
    """Eight threads ask for the same and for other tiles; all get the same bytes."""
    with serving(write_map(tmp_path / "map")) as served:
        layers = served.table("api/layers")
        paths = [
            layer["tiles"].format(**named(tile_at((1368900, 6225500) * 2, z)))
            for layer in (layers["fields"][0], layers["rasters"][0])
            for z in (12, 13)
        ]
        got: list[list[bytes]] = []

        def person() -> None:
            got.append([served.ask(path).body for path in paths])

        people = [threading.Thread(target=person) for _ in range(8)]
        for each in people:
            each.start()
        for each in people:
            each.join()
        assert len(got) == 8
        assert all(each == got[0] for each in got)
