"""A folder on a web server: parts of files, ETags, faults on demand, and what was asked."""

from __future__ import annotations

import contextlib
import hashlib
import re
import threading
import time
from collections import deque
from email.utils import formatdate
from http.server import ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

from faulty_store import Quiet


class RangeServer:
    """``with RangeServer(folder) as server``: files are at ``server.address``.

    A fault is (part of the path, kind, times): "503", "cut" (half of the body), "slow" (0.3 s),
    "403", "404".  ``tags`` is what ETags begin with; change it and every file is another version.
    """

    def __init__(self, folder, *, ranges=True, tagged=True):
        self.folder, self.ranges, self.tagged = folder, ranges, tagged
        self.faults, self.lock = deque(), threading.Lock()
        self.tags = "v1"
        self.forget()

    def forget(self):
        """Count from nothing again."""
        self.sent, self.paths, self.headers = 0, [], []

    def fault(self, path, kind, times=1):
        self.faults.append([path, kind, times])

    def __enter__(self):
        server = self

        class Handler(Quiet):
            def do_GET(self):
                path = unquote(urlsplit(self.path).path).lstrip("/")
                with server.lock:
                    server.paths.append(self.path)
                    server.headers.append(dict(self.headers))
                    kind = next((f for f in server.faults if f[0] in path and f[2] > 0), None)
                    if kind:
                        kind[2] -= 1
                kind = kind and kind[1]
                file = server.folder / path
                if kind == "slow":
                    time.sleep(0.3)
                if kind in ("503", "403", "404"):
                    return self._answer(int(kind), {}, b"")
                if not file.is_file():
                    return self._answer(404, {}, b"")
                content = file.read_bytes()
                about = {"Last-Modified": formatdate(file.stat().st_mtime, usegmt=True)}
                if server.tagged:
                    about["ETag"] = f'"{server.tags}-{hashlib.md5(content).hexdigest()}"'
                asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
                if not (asked and server.ranges):
                    return self._answer(200, about, content, kind)
                first = int(asked[1])
                last = min(int(asked[2] or len(content) - 1), len(content) - 1)
                if first >= len(content):
                    return self._answer(416, {"Content-Range": f"bytes */{len(content)}"}, b"")
                about["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
                return self._answer(206, about, content[first : last + 1], kind)

            def _answer(self, status, headers, body, kind=None):
                self.send_response(status)
                for name, value in ({"Content-Length": str(len(body))} | headers).items():
                    self.send_header(name, value)
                self.end_headers()
                body = body[: len(body) // 2] if kind == "cut" else body
                with server.lock:
                    server.sent += len(body)
                with contextlib.suppress(OSError):
                    self.wfile.write(body)
                if kind == "cut":
                    self.close_connection = True

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        self.address = f"http://{self.host}"
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
