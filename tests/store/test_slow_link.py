"""A slow line is no dead one: what is large arrives, what is dead is given up in bounded time."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from http.server import ThreadingHTTPServer

import pytest

from faulty_store import Quiet
from selion.errors import FetchFailed
from selion.store import ObjectFolder, object_store

RATE, ANSWER = 4 * 2**20, 0.5
"""Bytes a second of the line; seconds after which a small request counts as lost."""


class SlowLine(Quiet):
    """Objects in memory, behind a line of so many bytes a second, or one that is dead."""

    held: dict[str, bytes] = {}  # noqa: RUF012 - one of the test
    dead = False
    asked = 0

    def _slowly(self, size):
        step = RATE // 20
        for start in range(0, size, step):
            yield start, min(step, size - start)
            time.sleep(1 / 20)

    def do_PUT(self):  # noqa: N802 - http.server's names
        size = int(self.headers["Content-Length"])
        body = b"".join(self.rfile.read(step) for _, step in self._slowly(size))
        self.held[self.path] = body
        self._head(200, 0, ETag='"1"')

    def do_GET(self):  # noqa: N802 - http.server's names
        type(self).asked += 1
        if self.dead:
            time.sleep(20 * ANSWER)
            self.close_connection = True
            return
        body, total = self.held[self.path], len(self.held[self.path])
        first, _, last = self.headers.get("Range", f"bytes=0-{total - 1}")[6:].partition("-")
        part = body[int(first) : int(last or total - 1) + 1]
        about = {"ETag": '"1"', "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}
        if "Range" in self.headers:
            about["Content-Range"] = f"bytes {first}-{int(first) + len(part) - 1}/{total}"
        self._head(206 if "Range" in self.headers else 200, len(part), **about)
        try:
            for start, step in self._slowly(len(part)):
                self.wfile.write(part[start : start + step])
        except OSError:  # the client has lost patience
            self.close_connection = True

    def do_HEAD(self):  # noqa: N802 - http.server's names
        self._head(404, 0)

    def _head(self, status, length, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()


@pytest.fixture
def line(monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), SlowLine)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    for name, value in {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "AWS_S3_ENDPOINT": f"127.0.0.1:{server.server_address[1]}",
        "AWS_HTTPS": "NO",
        "AWS_VIRTUAL_HOSTING": "FALSE",
    }.items():
        monkeypatch.setenv(name, value)
    quick = replace(object_store.RETRY, backoff=0.01, answer=ANSWER)
    monkeypatch.setattr(object_store, "RETRY", quick)
    monkeypatch.setattr(SlowLine, "held", {})
    monkeypatch.setattr(SlowLine, "asked", 0)
    yield server
    server.shutdown()
    server.server_close()


def test_a_large_object_passes_a_slow_line_both_ways(line, tmp_path, monkeypatch):
    """Each took longer than an answer may, and was given up after ever new tries."""
    monkeypatch.setattr(object_store, "SLOWEST", RATE // 2)
    content = bytes(range(256)) * (RATE // 256)  # a second
    place = ObjectFolder("s3://bucket/here")
    assert place.put("a", content)
    (tmp_path / "b").write_bytes(content)
    place.upload(tmp_path / "b", "b")
    assert {len(body) for body in line.RequestHandlerClass.held.values()} == {len(content)}
    assert place.get("a") == content


def test_a_store_that_never_answers_is_given_up(line, monkeypatch):
    monkeypatch.setattr(SlowLine, "dead", True)
    monkeypatch.setattr(
        object_store, "RETRY", replace(object_store.RETRY, tries=50, patience=3 * ANSWER)
    )
    with pytest.raises(FetchFailed, match="a cannot be read"):
        ObjectFolder("s3://bucket/here").get("a")
    assert SlowLine.asked <= 10
