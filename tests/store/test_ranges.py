"""Remote files by range: the same bytes as on the disk, each fetched once, whatever the server
does.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from published_server import PublishedServer
from selion.errors import BadInput, FetchFailed, UnreadableFile
from selion.store import block_cache, object_store, ranges
from selion.store.address import RemotePath, locate, open_bytes, place_state
from selion.store.block_cache import BLOCK, BlockCache, cache_limit

SIZE = 3 * 2**20 + 17


@pytest.fixture
def web(tmp_path, monkeypatch):
    """A server of one file of random bytes, and an empty cache."""
    monkeypatch.setenv("SELION_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(ranges, "RETRY", replace(ranges.RETRY, backoff=0.01, tries=3))
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "a.bin").write_bytes(np.random.default_rng(0).bytes(SIZE))
    with PublishedServer(folder) as server:
        server.waits = 0.2
        yield server


def new_run():
    """Forget what this process holds, as another one would."""
    block_cache._memory = block_cache.LruCache(block_cache.MEMORY, len)
    ranges._opened = ranges.LruCache(1024)


@pytest.fixture(autouse=True)
def _fresh():
    new_run()


def test_reads_anywhere_like_a_file(web):
    """Against the same file on the disk, 200 random seeks and reads."""
    rng = np.random.default_rng(1)
    with (
        open_bytes(RemotePath(f"{web.url}/a.bin")) as remote,
        (web.folder / "a.bin").open("rb") as local,
    ):
        for start, size in zip(
            rng.integers(0, SIZE + 100, 200).tolist(),
            rng.integers(0, 400_000, 200).tolist(),
            strict=True,
        ):
            assert remote.seek(start) == local.seek(start)
            assert remote.read(size) == local.read(size)
            assert remote.tell() == start + len((web.folder / "a.bin").read_bytes()[start:][:size])
    # 25 blocks, each once, and the one byte that asks for the version
    assert web.total == SIZE + 1


def test_front_to_back_is_read_ahead(web):
    with open_bytes(locate(f"{web.url}/a.bin")) as remote:
        pieces = []
        while piece := remote.read(20_000):
            pieces.append(piece)
    assert b"".join(pieces) == (web.folder / "a.bin").read_bytes()
    assert web.total == SIZE + 1
    assert web.requests < 12, "25 blocks, but far fewer requests"


def test_nothing_is_fetched_twice_in_another_run(web):
    address = RemotePath(f"{web.url}/a.bin")
    with open_bytes(address) as remote:
        remote.seek(1_000_000)
        part = remote.read(300_000)
    web.forget()
    new_run()
    with open_bytes(address) as remote:
        remote.seek(1_000_000)
        assert remote.read(300_000) == part
    assert web.total == 1, "only the version was asked for"


def test_a_signature_that_changes_does_not_fetch_again(web):
    for signature in ("sig=one", "sig=two"):
        new_run()
        with open_bytes(RemotePath(f"{web.url}/a.bin?{signature}")) as remote:
            remote.read(100)
    assert web.total == BLOCK + 2


def test_another_version_is_never_mixed_in(web):
    address = RemotePath(f"{web.url}/a.bin?sig=secret")
    with open_bytes(address) as remote:
        remote.read(10)
        os.utime(web.folder / "a.bin", (1, 1))
        with pytest.raises(FetchFailed, match="was replaced on its server") as said:
            remote.read(SIZE)
    assert "secret" not in str(said.value)
    (web.folder / "a.bin").write_bytes(b"other")
    with open_bytes(address) as remote:
        assert remote.read() == b"other"


def test_no_etag_and_no_date_is_kept_in_memory_only(web, tmp_path, monkeypatch):
    monkeypatch.setattr(ranges, "_version", lambda _answer, size: ranges.RemoteVersion(size))
    with open_bytes(RemotePath(f"{web.url}/a.bin")) as remote:
        remote.read(10)
    assert not (tmp_path / "cache" / "ranges").exists()


@pytest.mark.parametrize("kind", ["503", "cut", "slow"])
def test_a_flaky_server_is_outlived(web, kind):
    web.fault("a.bin", kind, 2)
    with open_bytes(RemotePath(f"{web.url}/a.bin")) as remote:
        web.fault("a.bin", kind, 2)
        assert remote.read() == (web.folder / "a.bin").read_bytes()
    assert web.faults[0][2] == 0


@pytest.mark.parametrize(
    ("kind", "error", "words"),
    [
        ("503", FetchFailed, "the server says 503"),
        ("cut", FetchFailed, "cut off the answer"),
        ("403", UnreadableFile, "may not be read"),
        ("404", UnreadableFile, "There is nothing at"),
    ],
)
def test_a_dead_server_is_one_sentence_without_secrets(web, kind, error, words):
    url = f"http://me:hidden@{web.url[7:]}/a.bin?sig=secret"
    if kind == "cut":
        with open_bytes(RemotePath(url)) as remote:
            web.fault("a.bin", kind, 100)
            with pytest.raises(error, match=words) as said:
                remote.read(10)
    else:
        if kind != "404":
            web.fault("a.bin", kind, 100)
        with pytest.raises(error, match=words) as said:
            open_bytes(RemotePath(url if kind != "404" else url.replace("a.bin", "b/a.bin")))
    assert f"{web.url}/" in str(said.value)
    assert "secret" not in str(said.value)
    assert "hidden" not in str(said.value)


def test_nobody_answers(monkeypatch, tmp_path):
    monkeypatch.setenv("SELION_CACHE", str(tmp_path))
    monkeypatch.setattr(ranges, "RETRY", replace(ranges.RETRY, backoff=0.01, tries=2))
    with pytest.raises(FetchFailed, match="does not answer") as said:
        open_bytes(RemotePath("http://127.0.0.1:9/a.parquet?sig=secret"))
    assert "secret" not in str(said.value)
    assert "refused" in str(said.value)
    with pytest.raises(UnreadableFile, match="unknown scheme ftp"):
        open_bytes(RemotePath("ftp://somewhere/a.parquet"))


def test_a_server_without_ranges_sends_small_files_whole(web, monkeypatch):
    web.fault("a.bin", "whole", 100)
    with open_bytes(RemotePath(f"{web.url}/a.bin")) as remote:
        remote.seek(2_000_000)
        assert remote.read(9) == (web.folder / "a.bin").read_bytes()[2_000_000:2_000_009]
    assert web.total == SIZE, "once"
    monkeypatch.setattr(ranges, "WHOLE", 2**20)
    new_run()
    monkeypatch.setenv("SELION_CACHE_LIMIT", "0")
    with pytest.raises(UnreadableFile, match="no range requests"):
        open_bytes(RemotePath(f"{web.url}/a.bin"))


def test_an_empty_file(web):
    (web.folder / "empty.bin").write_bytes(b"")
    with open_bytes(RemotePath(f"{web.url}/empty.bin")) as remote:
        assert remote.read() == b""
    assert place_state(RemotePath(f"{web.url}/empty.bin"))[0] == 0


def test_threads_fetch_each_block_once(web):
    remote = ranges.open_remote(f"{web.url}/a.bin")
    whole = (web.folder / "a.bin").read_bytes()
    wrong = [0, 0]

    def work(seed):
        for start in np.random.default_rng(seed).integers(0, SIZE - 9000, 40).tolist():
            wrong[remote.read(start, start + 9000) == whole[start : start + 9000]] += 1

    threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == [0, 6 * 40]
    assert web.total <= SIZE + 1


def test_the_disk_keeps_to_its_limit(tmp_path):
    """Eight blocks of 1000 bytes where six may stay: those not used for longest are gone."""
    cache = BlockCache(tmp_path, 6_600)
    now = time.time()
    for number in range(8):
        cache.put("v", number, bytes([number]) * 1000)
        path = tmp_path / "v" / str(number)
        if path.exists():
            os.utime(path, (now - 100 + number, now - 100 + number))
    cache.trim()
    held = sorted(int(path.name) for path in (tmp_path / "v").iterdir())
    assert held == [2, 3, 4, 5, 6, 7]
    assert sum(path.stat().st_size for path in (tmp_path / "v").iterdir()) <= 6_600
    assert cache.find("v", 7) == b"\7" * 1000
    (tmp_path / "v" / "7").write_bytes(b"\0" * 500)
    assert cache.find("v", 7) is None, "damaged"


def test_the_limit_is_a_size(monkeypatch):
    for text, size in (("500MB", 500e6), ("2 gb", 2e9), ("0", 0), ("", 2e9), ("1.5GB", 1.5e9)):
        monkeypatch.setenv("SELION_CACHE_LIMIT", text)
        assert cache_limit() == size
    monkeypatch.setenv("SELION_CACHE_LIMIT", "much")
    with pytest.raises(BadInput, match="500MB"):
        cache_limit()


def test_addresses_have_the_words_of_paths():
    one = locate("https://u:p@example.org/a%20b/f.scores.tif?sig=x#part")
    assert (str(one), one.name, one.stem, one.suffix) == (
        "https://example.org/a%20b/f.scores.tif",
        "f.scores.tif",
        "f.scores",
        ".tif",
    )
    assert repr(one) == "RemotePath('https://example.org/a%20b/f.scores.tif')"
    assert one.with_name("f é.parquet").url == (
        "https://u:p@example.org/a%20b/f%20%C3%A9.parquet?sig=x"
    )
    assert locate("http://h/a/b/").parent.url == "http://h/a/"
    assert locate("http://h/a/").name == "a"
    assert locate("s3://b/a b?c.parquet").name == "a b?c.parquet"
    assert locate("C:/a.parquet").name == "a.parquet"
    assert not isinstance(locate("C:/a.parquet"), RemotePath)


@pytest.fixture(params=["s3", "gs", "az"])
def cloud(request, tmp_path, monkeypatch):
    """An object of random bytes on a store of each kind; (its address, how to replace it)."""
    monkeypatch.setenv("SELION_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(object_store, "RETRY", replace(object_store.RETRY, backoff=0.01, answer=2))
    if request.param == "s3":
        pytest.importorskip("moto.server", reason="moto[server] stands in for an object store")
        from faulty_store import FaultyStore as Store
    else:
        from cloud_stores import BlobStore, GoogleStore

        Store = {"gs": GoogleStore, "az": BlobStore}[request.param]
    with Store() as store:
        for name, value in store.environment.items():
            monkeypatch.setenv(name, value)
        place = object_store.ObjectFolder(f"{request.param}://bucket/deep")
        place.put("a.bin", CONTENT, replace=True)
        yield store, RemotePath(f"{request.param}://bucket/deep/a.bin"), place


CONTENT = np.random.default_rng(2).bytes(500_000)


def test_object_stores_are_read_by_range(cloud):
    _, address, place = cloud
    with open_bytes(address) as remote:
        remote.seek(300_000)
        assert remote.read(50_000) == CONTENT[300_000:350_000]
        remote.seek(-9, 2)
        assert remote.read() == CONTENT[-9:]
        block_cache._memory = block_cache.LruCache(block_cache.MEMORY, len)
        place.put("a.bin", CONTENT[::-1], replace=True)
        remote.seek(0)
        with pytest.raises(FetchFailed, match="was replaced"):
            remote.read(10)
    with open_bytes(address) as remote:
        assert remote.read() == CONTENT[::-1]
    assert [path.url for path in address.parent.files()] == [address.url]
    with pytest.raises(UnreadableFile, match="There is nothing at"):
        open_bytes(address.with_name("b.bin"))
    assert not address.with_name("b.bin").exists()


@pytest.mark.parametrize("cloud", ["s3"], indirect=True)
@pytest.mark.parametrize("kind", ["503", "cut", "slow"])
def test_a_flaky_store_is_outlived(cloud, kind):
    store, address, _ = cloud
    store.fault("GET", "a.bin", kind, 2)
    with open_bytes(address) as remote:
        assert remote.read() == CONTENT
    assert store.asked[kind] >= 1
