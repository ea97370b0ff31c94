"""A folder over HTTP with range requests, as a bucket behind a proxy serves it; it counts what it
is asked for, and can be told to misbehave.

In a test::

    copy = simulate_published(tmp_path / "world", "seam", years=(2024, 2025), tile=512)
    with PublishedServer(copy.folder) as server:
        server.fault("utm32.parquet", "503", times=2)
        ... f"ftw-2e@{server.url}/ftw-2e" ...
        server.sent, server.asked  # bytes of body and requests by path
        server.total, server.requests  # of all paths

    with published_s3(copy.folder) as store:  # moto; store.environment, store.fault(...)
        ... "ftw-2e@s3://bucket/ftw-2e" ...

By hand::

    python tests/published_server.py FOLDER [PORT]
"""

from __future__ import annotations

import contextlib
import re
import sys
import threading
import time
from collections import Counter
from http.server import ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import Request, urlopen

from faulty_store import FaultyStore, Quiet

KINDS = ("503", "429", "403", "cut", "slow", "whole")


class PublishedServer:
    """Context manager: it answers from ``__enter__`` to ``__exit__``, GET and HEAD only.

    A folder has no listing (404), as on a bucket behind a proxy.
    """

    def __init__(self, folder, port=0):
        self.folder = Path(folder).resolve()
        self.sent, self.asked = Counter(), Counter()  # by path: bytes of body, requests
        self.log = []  # (method, path, range)
        self.faults = []
        self.waits = 1.0  # seconds that "slow" takes
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    @property
    def total(self):
        """Bytes of body sent so far."""
        return sum(self.sent.values())

    @property
    def requests(self):
        """Requests so far."""
        return sum(self.asked.values())

    def forget(self):
        """Begin to count anew."""
        with self._lock:
            self.sent.clear()
            self.asked.clear()
            self.log.clear()

    def fault(self, part, kind, times=1):
        """Let the next requests whose path holds ``part`` fail.

        "503", "429" and "403" are statuses; "cut" sends half of the body and hangs up; "slow"
        waits first; "whole" ignores the range that was asked for.
        """
        assert kind in KINDS, kind
        self.faults.append([part, kind, times])

    def heal(self):
        """Forget all faults."""
        self.faults.clear()

    def _next_fault(self, path):
        with self._lock:
            for fault in self.faults:
                if fault[0] in path and fault[2] > 0:
                    fault[2] -= 1
                    return fault[1]
        return None

    def _handler(self):
        server = self

        class Handler(Quiet):
            def _serve(self):
                path = unquote(urlsplit(self.path).path)
                span = self.headers.get("Range", "")
                with server._lock:
                    server.asked[path] += 1
                    server.log.append((self.command, path, span))
                kind = server._next_fault(path)
                if kind == "slow":
                    time.sleep(server.waits)
                if kind in ("503", "429", "403"):
                    self._answer(int(kind), {}, b"")
                    return
                file = (server.folder / path.lstrip("/")).resolve()
                if not file.is_relative_to(server.folder) or not file.is_file():
                    self._answer(404, {}, b"")
                    return
                self._send_file(path, file, "" if kind == "whole" else span, kind)

            def _send_file(self, path, file, span, kind):
                size = file.stat().st_size
                headers = {
                    "Accept-Ranges": "bytes",
                    "ETag": f'"{size:x}-{file.stat().st_mtime_ns:x}"',
                    "Content-Type": "application/octet-stream",
                }
                first, last, status = 0, size - 1, 200
                asked = re.fullmatch(r"bytes=(\d*)-(\d*)", span)
                if asked and (asked[1] or asked[2]):
                    if asked[1]:
                        first, last = int(asked[1]), min(int(asked[2] or size - 1), size - 1)
                    else:
                        first = max(size - int(asked[2]), 0)
                    if first > last:
                        self._answer(416, {"Content-Range": f"bytes */{size}"}, b"")
                        return
                    status = 206
                    headers["Content-Range"] = f"bytes {first}-{last}/{size}"
                if self.command == "HEAD":
                    self._answer(status, headers, b"", length=last + 1 - first)
                    return
                with file.open("rb") as opened:
                    opened.seek(first)
                    content = opened.read(last + 1 - first)
                sent = content[: len(content) // 2] if kind == "cut" else content
                with server._lock:
                    server.sent[path] += len(sent)
                self._answer(status, headers, sent, length=len(content))
                if kind == "cut":
                    self.close_connection = True

            def _answer(self, status, headers, content, length=None):
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content) if length is None else length))
                self.end_headers()
                with contextlib.suppress(OSError):  # a client that lost patience is gone
                    self.wfile.write(content)

            do_GET = do_HEAD = _serve  # noqa: N815 - http.server's names

        return Handler


@contextlib.contextmanager
def published_s3(folder, prefix=""):
    """Yield a :class:`faulty_store.FaultyStore` that holds a folder below ``prefix``."""
    with FaultyStore() as store:
        upload(folder, store, prefix)
        yield store


def upload(folder, store, prefix=""):
    """Put every file of a folder into the bucket."""
    folder = Path(folder)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            key = f"{prefix}{path.relative_to(folder).as_posix()}"
            address = f"http://{store._behind}/{store.bucket}/{key}"
            # moto lets nobody unknown put again what is not public, and it remembers other servers
            kind = {"Content-Type": "application/octet-stream", "x-amz-acl": "public-read"}
            with urlopen(Request(address, path.read_bytes(), kind, method="PUT")):
                pass


if __name__ == "__main__":
    port = int(sys.argv[2]) if len(sys.argv) > 2 else 8000
    with PublishedServer(sys.argv[1], port) as server:
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()
