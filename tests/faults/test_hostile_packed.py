"""Few bytes that announce little, or nothing, and unpack to many: refused before they are held."""

import base64
import bz2
import gzip
import http.server
import json
import lzma
import struct
import threading
import warnings
import zlib
from contextlib import contextmanager
from pathlib import Path

import numcodecs
import numpy as np
import pytest

from resident import growth_below
from selion import store
from selion.errors import BadInput, FetchFailed, SearchFailed, UnreadableFile
from selion.grid import whole
from selion.imagery.catalogue import read_item
from selion.imagery.plans import _depth
from selion.models.language.gguf import GgufFile
from selion.store import ranges, redirects
from selion.store.address import RemotePath, open_bytes
from selion.store.retry import RetryPolicy

MB = 10**6
PACKERS = {
    "zstd": numcodecs.Zstd(1).encode,
    "gzip": gzip.compress,
    "blosc": numcodecs.Blosc("zstd", 1).encode,
    "numcodecs.zstd": numcodecs.Zstd(1).encode,
    "numcodecs.gzip": gzip.compress,
    "numcodecs.blosc": numcodecs.Blosc("lz4", 1).encode,
    "numcodecs.lz4": numcodecs.LZ4().encode,
    "numcodecs.zlib": zlib.compress,
    "numcodecs.bz2": bz2.compress,
    "numcodecs.lzma": lambda body: lzma.compress(body, preset=0),
}
"""Of a Zarr, and who packs so."""


def streamed(body):
    """Pack by zstd without saying how much it is, as whoever writes to a pipe does."""
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as packing:
        packing.write(body)
    return sink.getvalue().to_pybytes()


def twice(body):
    """Two members of gzip, blanks between them: the first one is what was asked for."""
    return gzip.compress(body[:4096]) + bytes(7) + gzip.compress(body)


def cube(path, packer, packed, shards=False):
    """Write a Zarr of one chunk of 64 x 64 bytes that is packed already."""
    small = {"level": 1} if packer in ("zstd", "gzip", "numcodecs.gzip") else {}
    small |= {"checksum": False} if packer == "zstd" else {}
    small |= (
        {"cname": "zstd", "clevel": 1, "shuffle": "noshuffle", "typesize": 1, "blocksize": 0}
        if packer == "blosc" else {}
    )  # fmt: skip
    codecs = [{"name": "bytes"}, {"name": packer, "configuration": small}]
    if shards:
        index = struct.pack("<QQ", 0, len(packed))
        packed += index
        codecs = [{"name": "sharding_indexed", "configuration": {
            "chunk_shape": [1, 64, 64], "codecs": codecs, "index_codecs": [{"name": "bytes"}],
            "index_location": "end"}}]  # fmt: skip
    grid = {"name": "regular", "configuration": {"chunk_shape": [1, 64, 64]}}
    about = {
        "zarr_format": 3, "node_type": "array", "shape": [1, 64, 64], "data_type": "uint8",
        "chunk_grid": grid, "fill_value": 0, "codecs": codecs,
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "attributes": {"spatial:transform": [10, 0, 5e5, 0, -10, 5.5e6]},
    }  # fmt: skip
    (path / "c/0/0").mkdir(parents=True)
    (path / "zarr.json").write_text(json.dumps(about))
    (path / "c/0/0/0").write_bytes(packed)
    return path


def read(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that some packers are none of the specification
        source = store.open_raster(path)
        return source.read(whole(source.grid)).values


@pytest.mark.parametrize("shards", [False, True])
@pytest.mark.parametrize(
    ("packer", "pack"),
    [*PACKERS.items(), ("zstd", streamed), ("gzip", twice)],
    ids=[*PACKERS, "zstd of a stream", "gzip of two members"],
)
def test_a_chunk_of_a_cube_that_unpacks_to_far_more(packer, pack, shards, tmp_path):
    """A zstd of 18 kB took 600 MB before it was found not to fit."""
    honest = np.random.default_rng(0).integers(0, 9, 4096, np.uint8).tobytes()
    if pack is not twice:
        path = cube(tmp_path / "a.zarr", packer, bytes(pack(honest)), shards)
        assert read(path).tobytes() == honest
    bomb = bytes(pack(bytes(40 * MB)))
    path = cube(tmp_path / "b.zarr", packer, bomb, shards)
    with (
        growth_below(20_000),
        pytest.raises(UnreadableFile, match="unpacks to more than 73,728 bytes"),
    ):
        read(path)


@pytest.mark.parametrize("packer", ["gzip", "numcodecs.zlib", "numcodecs.bz2", "numcodecs.lzma"])
def test_a_damaged_chunk_of_any_packer_is_a_sentence(packer, tmp_path):
    """Errors of these are none of Python's usual ones."""
    packed = bytearray(PACKERS[packer](np.random.default_rng(0).bytes(4096)))
    for number, body in enumerate((packed[:-900], packed[:400] + b"\xff" * 99 + packed[499:])):
        with pytest.raises(UnreadableFile, match="cannot be read at rows 0:64"):
            read(cube(tmp_path / f"{number}.zarr", packer, bytes(body)))


@contextmanager
def answering(body, *, redirect="", **headers):
    """A server that answers all with the same bytes."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            first = redirect and not self.path.endswith("/there")
            part = "Range" in self.headers and "Content-Encoding" not in headers
            self.send_response(302 if first else 206 if part else 200)
            if first:
                self.send_header("Location", redirect)
            if part:
                start, stop = self.headers["Range"].removeprefix("bytes=").split("-")
                self.send_header("Content-Range", f"bytes {start}-{stop}/{MB}")
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            try:
                self.wfile.write(body)
                self.sent = len(body)
            except OSError:
                pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_a_catalogue_that_answers_with_far_more_than_it_sends(monkeypatch):
    """All of it was unpacked before anybody looked at it."""
    monkeypatch.setattr(redirects, "LARGEST", MB)
    retry = RetryPolicy(tries=1)
    bomb = gzip.compress(b"[" * 60 * MB)
    with answering(bomb, Content_Encoding="gzip") as url, growth_below(20_000):
        with pytest.raises(SearchFailed, match="answers with more than 0 MB"):
            read_item(f"{url}/item.json?sig=SECRET", retry)
        with retry.session() as session, pytest.raises(FetchFailed, match="answers with more"):
            session.get(f"{url}/token", timeout=60)
    sound = gzip.compress(b"x" * 900_000)
    with answering(sound, Content_Encoding="gzip") as url, retry.session() as session:
        assert session.get(url, timeout=60).text == "x" * 900_000


def test_the_body_of_a_redirect_is_bounded(monkeypatch):
    """It is read to its end before the redirect is followed, also where parts are asked for."""
    monkeypatch.setattr(redirects, "LARGEST", MB)
    bomb = gzip.compress(bytes(20 * MB))
    with (
        answering(bomb, redirect="/there", Content_Encoding="gzip") as url,
        RetryPolicy(tries=1).session() as session,
        pytest.raises(FetchFailed, match="answers with more"),
    ):
        session.get(url, timeout=60, stream=True)


def test_a_part_of_a_file_that_does_not_end(monkeypatch):
    """Whatever came was kept, and compared with what was asked for when it had ended."""
    monkeypatch.setattr(ranges, "RETRY", RetryPolicy(tries=1))
    held = []
    real = ranges._at_most

    def counted(answer, size):
        for piece in real(answer, size):
            held.append(len(piece))
            yield piece

    monkeypatch.setattr(ranges, "_at_most", counted)
    with (
        answering(bytes(60 * MB)) as url,
        pytest.raises((FetchFailed, UnreadableFile)),
        open_bytes(RemotePath(f"{url}/a.parquet")) as file,
    ):
        file.read(1000)
    assert sum(held) < 4 * MB


def test_the_depth_of_a_plan_that_unpacks_to_more_than_it_announces(monkeypatch):
    packed = base64.b64encode(zlib.compress(bytes(60 * MB))).decode()
    with growth_below(20_000), pytest.raises(ValueError, match="reshape"):
        _depth({"shape": [3, 4], "zlib": packed})
    monkeypatch.setattr("selion.cores.usable_memory", lambda: MB)
    with pytest.raises(BadInput, match="plan again"):
        _depth({"shape": [10**6, 10**6], "zlib": packed})


def gguf(*parts):
    return b"GGUF" + struct.pack("<I", 3) + b"".join(parts)


def named(text):
    return struct.pack("<Q", len(text)) + text.encode()


MANY = struct.pack("<Q", 2**63)
ONE, NONE = struct.pack("<Q", 1), struct.pack("<Q", 0)


@pytest.mark.parametrize(
    "body",
    [
        gguf(MANY, NONE),
        gguf(NONE, MANY),
        gguf(NONE, ONE, MANY),
        gguf(NONE, ONE, named("a"), struct.pack("<I", 8), MANY),
        gguf(NONE, ONE, named("a"), struct.pack("<II", 9, 0), MANY),
        gguf(NONE, ONE, named("a"), struct.pack("<IIQ", 9, 9, 1) * 9, MANY),
        gguf(ONE, NONE, named("a"), struct.pack("<I", 2**31), MANY),
    ],
    ids=["tensors", "facts", "letters of a name", "letters", "numbers", "lists", "dimensions"],
)
def test_a_gguf_that_counts_to_two_to_the_63(body, tmp_path):
    (tmp_path / "x.gguf").write_bytes(body)
    with pytest.raises(UnreadableFile, match="cannot be read as GGUF"):
        GgufFile(tmp_path / "x.gguf")


@pytest.mark.parametrize("shape", [(2**63, 2**63), (2**63, 0), (2**63 - 1, 1, 1), (2**33, 2**31)])
def test_a_tensor_of_two_to_the_63_numbers(shape, tmp_path):
    listed = struct.pack("<I", len(shape)) + b"".join(struct.pack("<Q", one) for one in shape)
    body = gguf(ONE, NONE, named("a"), listed, struct.pack("<IQ", 0, 0))
    (tmp_path / "x.gguf").write_bytes(body + bytes(64))
    with pytest.raises(UnreadableFile, match="fetch it again"):
        GgufFile(tmp_path / "x.gguf").tensor("a").unpacked()


def test_a_gguf_in_splits_opens_no_other_file(tmp_path, monkeypatch):
    """Its parts are named by their number and by nothing in it; they are not looked for."""
    facts = [
        named("split.count") + struct.pack("<IH", 2, 2),
        named("split.no") + struct.pack("<IH", 2, 0),
        named("split.file") + struct.pack("<I", 8) + named("/etc/passwd"),
    ]  # fmt: skip
    body = gguf(NONE, struct.pack("<Q", len(facts)), *facts)
    path = tmp_path / "x-00001-of-00002.gguf"
    path.write_bytes(body)
    (tmp_path / "x-00002-of-00002.gguf").write_bytes(b"no GGUF")
    opened, real = [], np.memmap

    def watched(where, *rest):
        opened.append(Path(where).name)
        return real(where, *rest)

    monkeypatch.setattr(np, "memmap", watched)
    file = GgufFile(path)
    assert file.names == ()
    with pytest.raises(KeyError):
        file.tensor("a")
    assert opened == [path.name]
