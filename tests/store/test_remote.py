"""URLs: rasters by ranges over http and s3, downloads, fingerprints; all on this machine."""

import hashlib
import os
import socket
import threading
import time

import numpy as np
import pytest
import rasterio
import uvicorn
from affine import Affine
from odc.geo.geobox import GeoBox
from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from selion.errors import BadInput, ChecksumMismatch, FetchFailed, UnreadableFile
from selion.grid import whole
from selion.store import cache_folder, create_cog, create_cube, fetch, fingerprint, open_raster

# affine 3 through odc-geo
pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
GRID = GeoBox((600, 500), Affine(10, 0, 500000, 0, -10, 5000000), "EPSG:32633")
VALUES = np.random.default_rng(0).integers(1, 255, (2, 600, 500)).astype("uint8")
CONTENT = np.random.default_rng(1).bytes(300_000)
SHA = hashlib.sha256(CONTENT).hexdigest()


class Server:
    """A server that counts what it sends and can be told to misbehave."""

    def __init__(self, folder):
        self.seen = []
        self.cut = 0
        self.busy = 0
        routes = [
            Route("/file.bin", self.file),
            Route("/whole.bin", self.no_ranges),
            Route("/{rest:path}gone", self.gone),
        ]
        app = Starlette(routes=[*routes, Mount("/static", StaticFiles(directory=folder))])
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.server = uvicorn.Server(
            uvicorn.Config(
                app,
                host="127.0.0.1",
                port=self.port,
                log_level="critical",
                lifespan="off",
                ws="none",
            )
        )
        self.thread = threading.Thread(target=self.server.run, daemon=True)

    def __enter__(self):
        self.thread.start()
        until = time.monotonic() + 600
        while not self.server.started and time.monotonic() < until:
            time.sleep(0.01)
        return self

    def __exit__(self, *_):
        self.server.should_exit = True
        self.thread.join(10)

    def file(self, request: Request):
        start = int(request.headers.get("range", "bytes=0-").split("=")[1].partition("-")[0])
        self.seen.append(start)
        if self.busy:
            self.busy -= 1
            return PlainTextResponse("busy", 503)
        rest = CONTENT[start:]
        sent, self.cut = (rest[: self.cut] if self.cut else rest), 0

        def body():
            yield sent

        head = {
            "Content-Length": str(len(rest)),
            "Content-Range": f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}",
        }
        return StreamingResponse(body(), 206 if start else 200, head)

    def no_ranges(self, _request: Request):
        return Response(CONTENT)

    def gone(self, _request: Request):
        return PlainTextResponse("gone", 404)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    with create_cog(folder / "a.tif", GRID, ("red", "nir"), "uint8", nodata=0, block=128) as sink:
        sink.write(whole(GRID), VALUES)
    (folder / "a.vrt").write_text("".join(vrt()))
    Image.fromarray(VALUES[0]).save(folder / "p.png")
    with Server(folder) as server:
        yield server


def vrt():
    yield (
        '<VRTDataset rasterXSize="500" '
        'rasterYSize="600"><SRS>EPSG:32633</SRS><GeoTransform>500000,10,0,5000000,0,'
        "-10</GeoTransform>"
    )
    yield (
        '<VRTRasterBand dataType="Byte" band="1"><SimpleSource><SourceFilename '
        'relativeToVRT="1">a.tif</SourceFilename>'
    )
    yield "<SourceBand>2</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SELION_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "0")
    monkeypatch.setattr(time, "sleep", lambda _seconds, real=time.sleep: real(0.01))
    return tmp_path / "cache"


def test_cog_over_http_is_read_by_ranges(served):
    source = open_raster(f"{served.url}/static/a.tif")
    assert (source.grid, source.bands) == (GRID, ("red", "nir"))
    roi = slice(300, 420), slice(111, 399)
    assert np.array_equal(source.read(roi).values, VALUES[:, *roi])


def test_vrt_over_http(served):
    source = open_raster(f"{served.url}/static/a.vrt")
    assert np.array_equal(source.read((slice(5, 25), slice(7, 77))).values, VALUES[1:, 5:25, 7:77])


def test_missing_url_and_silent_server(served):
    with pytest.raises(UnreadableFile, match="check the address"):
        open_raster(f"{served.url}/static/none.tif")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(UnreadableFile, match="check the address, the network"):
        open_raster(f"http://127.0.0.1:{port}/a.tif")


def test_photo_over_http_is_to_be_downloaded(served):
    with pytest.raises(UnreadableFile, match="download it first"):
        open_raster(f"{served.url}/static/p.png")


def test_server_that_goes_away_in_the_middle(tmp_path):
    values = np.random.default_rng(3).integers(0, 65535, (1, 3000, 3000)).astype("uint16")
    with rasterio.open(
        tmp_path / "b.tif",
        "w",
        driver="GTiff",
        count=1,
        height=3000,
        width=3000,
        dtype="uint16",
        tiled=True,
        crs=GRID.crs.to_wkt(),
        transform=GRID.transform,
    ) as dataset:
        dataset.write(values)
    with Server(tmp_path) as server:
        source = open_raster(f"{server.url}/static/b.tif")
        assert source.read((slice(0, 100), slice(0, 100))).values.shape == (1, 100, 100)
    with pytest.raises(UnreadableFile, match=r"b\.tif cannot be read at rows 2900:3000"):
        source.read((slice(2900, 3000), slice(0, 100)))


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    server_of = pytest.importorskip("moto.server", reason="needs moto[server]")
    import obstore

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    server = server_of.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"{host}:{port}"
    for name, value in {
        "AWS_S3_ENDPOINT": endpoint,
        "AWS_HTTPS": "NO",
        "AWS_VIRTUAL_HOSTING": "FALSE",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    import urllib.request

    with urllib.request.urlopen(
        urllib.request.Request(f"http://{endpoint}/fields", method="PUT"), timeout=120
    ):
        pass
    store = obstore.store.S3Store(
        "fields", endpoint=f"http://{endpoint}", client_options={"allow_http": True}
    )
    yield store
    server.stop()


def test_s3(bucket, tmp_path):
    import obstore

    with create_cog(tmp_path / "a.tif", GRID, ("red", "nir"), "uint8", block=128) as sink:
        sink.write(whole(GRID), VALUES)
    obstore.put(bucket, "deep/a.tif", (tmp_path / "a.tif").read_bytes())
    source = open_raster("s3://fields/deep/a.tif")
    roi = slice(100, 222), slice(50, 60)
    assert np.array_equal(source.read(roi).values, VALUES[:, *roi])
    assert source.path == "s3://fields/deep/a.tif"
    with pytest.raises(UnreadableFile, match="s3://fields/deep/none"):
        open_raster("s3://fields/deep/none.tif")
    before = fingerprint("s3://fields/deep/a.tif")
    assert fingerprint("s3://fields/deep/a.tif") == before
    obstore.put(bucket, "deep/a.tif", b"other")
    assert fingerprint("s3://fields/deep/a.tif") != before
    with pytest.raises(UnreadableFile, match="does not answer"):
        fingerprint("s3://fields/deep/none.tif")


# downloads


def left_in(folder):
    return sorted(entry.name for entry in folder.iterdir())


def test_fetch_once(served, cache):
    served.seen.clear()
    steps = []
    path = fetch(
        f"{served.url}/file.bin?signature=1",
        SHA,
        progress=lambda here, total: steps.append((here, total)),
    )
    assert path.read_bytes() == CONTENT
    assert path.parent == cache == cache_folder()
    assert path.name == f"{SHA[:12]}-file.bin"
    assert steps[-1] == (len(CONTENT), len(CONTENT))
    assert fetch(f"{served.url}/file.bin", f"sha256:{SHA.upper()}") == path
    assert served.seen == [0]
    assert left_in(cache) == [path.name]


def test_fetch_into_a_folder(served, tmp_path):
    assert fetch(f"{served.url}/file.bin", SHA, tmp_path / "here") == tmp_path / "here" / "file.bin"


def test_fetch_goes_on_in_the_same_call(served, tmp_path):
    served.seen.clear()
    served.cut = 120_000
    assert fetch(f"{served.url}/file.bin", SHA, tmp_path).read_bytes() == CONTENT
    assert served.seen == [0, 120_000]


def test_fetch_goes_on_in_the_next_process(served, tmp_path):
    (tmp_path / ".file.bin.part").write_bytes(CONTENT[:200_000])
    served.seen.clear()
    assert fetch(f"{served.url}/file.bin", SHA, tmp_path).read_bytes() == CONTENT
    assert served.seen == [200_000]
    assert left_in(tmp_path) == ["file.bin"]


@pytest.mark.parametrize("part", [b"x" * 5000, CONTENT + b"too long"])
def test_fetch_recovers_from_a_wrong_part(served, tmp_path, part):
    (tmp_path / ".file.bin.part").write_bytes(part)
    assert fetch(f"{served.url}/file.bin", SHA, tmp_path).read_bytes() == CONTENT


def test_fetch_from_a_server_without_ranges(served, tmp_path):
    (tmp_path / ".whole.bin.part").write_bytes(CONTENT[:1000])
    assert fetch(f"{served.url}/whole.bin", SHA, tmp_path).read_bytes() == CONTENT


def test_fetch_waits_for_a_busy_server(served, tmp_path):
    served.busy = 2
    assert fetch(f"{served.url}/file.bin", SHA, tmp_path).read_bytes() == CONTENT
    served.busy = 99
    with pytest.raises(FetchFailed, match="503"):
        fetch(f"{served.url}/file.bin", SHA, tmp_path / "b")
    served.busy = 0


def test_wrong_checksum_keeps_nothing(served, tmp_path):
    with pytest.raises(ChecksumMismatch, match="ask its publisher"):
        fetch(f"{served.url}/file.bin", "0" * 64, tmp_path)
    assert left_in(tmp_path) == []


def test_damaged_file_in_the_cache_is_fetched_again(served, tmp_path):
    (tmp_path / "file.bin").write_bytes(b"damaged")
    assert fetch(f"{served.url}/file.bin", SHA, tmp_path).read_bytes() == CONTENT


def test_fetch_failures_are_sentences(served, tmp_path):
    with pytest.raises(FetchFailed, match="404"):
        fetch(f"{served.url}/x.gone", SHA, tmp_path)
    with pytest.raises(FetchFailed, match="check the network"):
        fetch("http://127.0.0.1:9/a.bin", SHA, tmp_path)
    for url, sha in (
        ("ftp://x/a", SHA),
        ("file:///etc/hosts", SHA),
        (f"{served.url}/", SHA),
        (f"{served.url}/file.bin", "abc"),
    ):
        with pytest.raises(BadInput):
            fetch(url, sha, tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(FetchFailed, match="SELION_CACHE"):
        fetch(f"{served.url}/file.bin", SHA, tmp_path / "file" / "cache")


# fingerprints


def test_fingerprint_of_a_file(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(5_000_000))
    os.utime(path, (1, 1))
    before = fingerprint(path)
    assert len(before) == 32
    assert fingerprint(str(path)) == before
    os.utime(path, (2, 2))
    assert fingerprint(path) != before
    path.write_bytes(bytes(4_999_999) + b"x")
    os.utime(path, (1, 1))
    assert fingerprint(path) != before
    with pytest.raises(UnreadableFile):
        fingerprint(tmp_path / "none")


def test_fingerprint_of_a_vrt_sees_its_sources(tmp_path):
    with create_cog(tmp_path / "a.tif", GRID, ("red", "nir"), "uint8") as sink:
        sink.write(whole(GRID), VALUES)
    (tmp_path / "a.vrt").write_text("".join(vrt()))
    before = fingerprint(tmp_path / "a.vrt")
    assert fingerprint(tmp_path / "a.vrt") == before
    os.utime(tmp_path / "a.tif", (5, 5))
    assert fingerprint(tmp_path / "a.vrt") != before


def test_fingerprint_of_a_folder(tmp_path):
    with create_cube(tmp_path / "a.zarr", GRID, ("a", "b"), "uint8", chunk=64, shard=128) as sink:
        sink.write(whole(GRID), VALUES)
    before = fingerprint(tmp_path / "a.zarr")
    assert fingerprint(tmp_path / "a.zarr") == before
    next(entry for entry in (tmp_path / "a.zarr").rglob("*") if entry.is_file()).write_bytes(b"x")
    assert fingerprint(tmp_path / "a.zarr") != before


def test_fingerprint_of_a_url(served, tmp_path):
    one = fingerprint(f"{served.url}/static/a.tif")
    assert one == fingerprint(f"{served.url}/static/a.tif?signature=2")
    assert one != fingerprint(f"{served.url}/static/p.png")
    for wrong in (f"{served.url}/static/none", "http://127.0.0.1:9/x"):
        with pytest.raises(UnreadableFile, match="does not answer"):
            fingerprint(wrong)


def test_importing_the_door_is_cheap():
    import subprocess
    import sys

    code = (
        "import sys, selion.store; print(sorted({'rasterio', 'zarr', 'pooch', 'obstore', 'PIL', "
        "'numpy'} & set(sys.modules)))"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )
