"""A host that serves a folder with ranges, and counts what it is asked."""

import http.server
import re
import threading
from contextlib import contextmanager
from types import SimpleNamespace


@contextmanager
def counting_host(folder):
    """Serve a folder with ranges, and remember every request."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_GET(self):
            asked.append((self.path, self.headers.get("Authorization")))
            path = folder / self.path.partition("?")[0].lstrip("/")
            body = path.read_bytes() if path.is_file() else b""
            found = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
            self.send_response(404 if not path.is_file() else 206 if found else 200)
            if found:
                start, stop = int(found[1]), min(int(found[2] or len(body)), len(body) - 1)
                self.send_header("Content-Range", f"bytes {start}-{stop}/{len(body)}")
                body = body[start : stop + 1]
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815 - http.server's names

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        host = f"127.0.0.1:{server.server_address[1]}"
        yield SimpleNamespace(host=host, url=f"http://{host}", asked=asked)
        server.shutdown()
