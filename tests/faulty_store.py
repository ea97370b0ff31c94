"""An object store that sometimes fails: moto behind a server that answers 503 or 429, is slow, cuts
answers off, says a wrong length, lists what was, loses what it did, or lets nobody in any more.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import sys
import threading
import time
from collections import Counter, deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.request import Request, urlopen

HOP = {"connection", "transfer-encoding", "keep-alive", "content-length", "server", "date"}


CONDITIONS = ("If-None-Match", "If-Match")
ERROR = "<Error><Code>{}</Code><Message>{}</Message></Error>"
REFUSALS = {
    "503": (503, [], b""),
    "429": (429, [("Retry-After", "1")], b""),
    "expired": (403, [], ERROR.format("ExpiredToken", "The token has expired.").encode()),
    "vanished": (404, [], ERROR.format("NoSuchBucket", "There is no such bucket.").encode()),
    "gone": None,
}
"""What is answered without asking the store; None: the connection is closed."""
FOUND = b'{"type": "FeatureCollection", "features": [], "links": []}'
"""What a search answers that finds nothing."""
CONTENTS = re.compile(rb"<Contents>.*</Contents>", re.DOTALL)


def _without(answer):
    """Return a listing, or what a search found, with nothing in it."""
    return FOUND if b'"features"' in answer[:4000] else CONTENTS.sub(b"", answer)


class Quiet(BaseHTTPRequestHandler):
    """A handler that keeps connections open and says nothing on the terminal."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def body(self):
        return self.rfile.read(int(self.headers.get("content-length") or 0))


class Patient(ThreadingHTTPServer):
    """A server that says nothing of clients that are gone: they were killed, or lost patience."""

    daemon_threads = True

    def handle_error(self, request, client_address):
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class FaultyStore:
    """``with FaultyStore() as store``: environment variables for clients are in
    ``store.environment``, faults go into ``store.faults``.

    A fault is (method, part of the path, kind, times, after so many): kind "503" is answered
    without asking, so are "429" (come again in a second), "expired" (a token) and "vanished" (a
    bucket), and of a server that is "gone" connections are closed; "lost" after the store has done
    it, "cut" sends half of the answer, "short" the same as if it were whole, "slow" waits 1.5
    seconds first, "killed" has done it when the client whose process is in ``store.client`` is
    killed, "stale" lists nothing yet, nor does a search find anything; a "simple" store
    knows no conditions on what is put there.

    It begins empty: all moto servers of one process hold the same buckets, so the first that stands
    wipes what tests before it have left.
    """

    standing = 0
    """How many have a moto server of their own in this process."""

    def __init__(self, bucket="bucket", host="127.0.0.1", behind=""):
        self.bucket, self._host = bucket, host
        self._moto, self._behind = None, behind  # HOST:PORT of another server, in place of moto
        self.client = None  # a file with the number of a process
        self.faults = deque()
        self.asked, self.sent = Counter(), Counter()  # requests, and bytes of their answers
        self._lock = threading.Lock()

    def __enter__(self):
        if not self._behind:
            from moto.server import ThreadedMotoServer

            self._moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
            self._moto.start()
            _, port = self._moto.get_host_and_port()
            self._behind = f"127.0.0.1:{port}"
        self._server = Patient((self._host, 0), self._handler())
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self.host = f"{self._host}:{self._server.server_address[1]}"
        if self._moto is not None:
            if FaultyStore.standing == 0:
                self._ask("POST", "moto-api/reset")
            FaultyStore.standing += 1
            self._ask("PUT", self.bucket)
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        if self._moto is not None:
            FaultyStore.standing -= 1
            self._moto.stop()

    def _ask(self, method, path):
        """Ask moto itself, past all faults."""
        with urlopen(Request(f"http://{self._behind}/{path}", method=method)):
            pass

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

    def fault(self, method, path, kind, times=1, after=0):
        self.faults.append([method, path, kind, times, after])

    def mend(self):
        self.faults.clear()

    def kill_who(self, client):
        self.client = client

    def counted(self):
        """Return the requests since the last look, by method."""
        with self._lock:
            counted = dict(self.asked)
            self.asked.clear()
        return counted

    def _next_fault(self, method, path):
        with self._lock:
            self.asked[method] += 1
            for fault in self.faults:
                if method in fault[0].split() and fault[1] in path and fault[3] > 0:
                    if fault[4] > 0:
                        fault[4] -= 1
                        continue
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
                if kind == "gone":
                    self.close_connection = True
                    return
                if kind == "simple" and any(name in self.headers for name in CONDITIONS):
                    said = "A header you provided implies functionality that is not implemented."
                    self._answer(501, [], ERROR.format("NotImplemented", said).encode())
                    return
                if kind in REFUSALS:
                    self._answer(*REFUSALS[kind])
                    return
                status, headers, answer = self._forward(body)
                if kind == "killed":
                    os.kill(int(store.client.read_text()), signal.SIGKILL)
                    self.close_connection = True
                elif kind == "lost":
                    self._answer(503, [], b"")
                elif kind == "cut":
                    self._answer(status, headers, answer, sent=len(answer) // 2)
                elif kind == "short":
                    self._answer(status, headers, answer[: len(answer) // 2])
                elif kind == "stale":
                    self._answer(status, headers, _without(answer))
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
                    }
                    | {"Authorization": self.headers.get("Authorization") or "AWS any:body"},
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
                    store.sent[self.command] += len(body[:sent])
                    with contextlib.suppress(OSError):  # a client that lost patience is gone
                        self.wfile.write(body[:sent])
                if sent is not None:
                    self.close_connection = True

            do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _serve  # noqa: N815 - http.server's names

        return Handler
