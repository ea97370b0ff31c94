"""An object store that sometimes fails: moto behind a server that answers 503, is slow, cuts
answers off, or loses what it did.
"""

from __future__ import annotations

import contextlib
import http.client
import threading
import time
from collections import Counter, deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.request import Request, urlopen

HOP = {"connection", "transfer-encoding", "keep-alive", "content-length", "server", "date"}


class Quiet(BaseHTTPRequestHandler):
    """A handler that keeps connections open and says nothing on the terminal."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def body(self):
        return self.rfile.read(int(self.headers.get("content-length") or 0))


class FaultyStore:
    """``with FaultyStore() as store``: environment variables for clients are in
    ``store.environment``, faults go into ``store.faults``.

    A fault is (method, part of the path, kind, times): kind "503" is answered without asking,
    "lost" after the store has done it, "cut" sends half of the answer, "slow" waits 1.5 seconds
    first.
    """

    def __init__(self, bucket="bucket", host="127.0.0.1"):
        self.bucket, self._host = bucket, host
        self.faults = deque()
        self.asked = Counter()
        self._lock = threading.Lock()

    def __enter__(self):
        from moto.server import ThreadedMotoServer

        self._moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        self._moto.start()
        _, port = self._moto.get_host_and_port()
        self._behind = f"127.0.0.1:{port}"
        self._server = ThreadingHTTPServer((self._host, 0), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.host = f"{self._host}:{self._server.server_address[1]}"
        with urlopen(Request(f"http://{self._behind}/{self.bucket}", method="PUT")):
            pass
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._moto.stop()

    @property
    def environment(self):
        return {
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
            "AWS_S3_ENDPOINT": self.host,
            "AWS_HTTPS": "NO",
            "AWS_VIRTUAL_HOSTING": "FALSE",
        }

    def fault(self, method, path, kind, times=1):
        self.faults.append([method, path, kind, times])

    def _next_fault(self, method, path):
        with self._lock:
            self.asked[method] += 1
            for fault in self.faults:
                if fault[0] == method and fault[1] in path and fault[3] > 0:
                    fault[3] -= 1
                    self.asked[fault[2]] += 1
                    return fault[2]
        return None

    def _handler(self):
        store = self

        class Handler(Quiet):
            def _serve(self):
                body = self.body()
                kind = store._next_fault(self.command, self.path)
                if kind == "slow":
                    time.sleep(1.5)
                if kind == "503":
                    self._answer(503, [], b"")
                    return
                status, headers, answer = self._forward(body)
                if kind == "lost":
                    self._answer(503, [], b"")
                elif kind == "cut":
                    self._answer(status, headers, answer, sent=len(answer) // 2)
                else:
                    self._answer(status, headers, answer)

            def _forward(self, body):
                link = http.client.HTTPConnection(store._behind, timeout=30)
                link.request(
                    self.command,
                    self.path,
                    body,
                    {
                        name: value
                        for name, value in self.headers.items()
                        if name.lower() != "connection"
                    },
                )
                answer = link.getresponse()
                try:
                    return answer.status, answer.getheaders(), answer.read()
                finally:
                    link.close()

            def _answer(self, status, headers, body, sent=None):
                self.send_response(status)
                for name, value in headers:
                    if name.lower() not in HOP:
                        self.send_header(name, value)
                length = next(
                    (value for name, value in headers if name.lower() == "content-length"),
                    len(body),
                )
                self.send_header("Content-Length", length if self.command == "HEAD" else len(body))
                self.end_headers()
                if self.command != "HEAD":
                    with contextlib.suppress(OSError):  # a client that lost patience is gone
                        self.wfile.write(body[:sent])
                if sent is not None:
                    self.close_connection = True

            do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _serve  # noqa: N815 - http.server's names

        return Handler
