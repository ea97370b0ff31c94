"""A server of chat completions that sees: where a patch of the image is bright it says field."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from PIL import Image


class Chat(BaseHTTPRequestHandler):
    """Answers like a chat server: field where the patch's picture is bright."""

    def log_message(self, *_):
        pass

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        ours = self.server
        with ours.lock:
            ours.asked.append((self.path, self.headers.get("authorization"), asked))
            number = len(ours.asked)
        status = ours.status(number, asked)
        if not status:
            return None
        if isinstance(status, bytes):
            self.wfile.write(status)
            return None
        if status != 200:
            return self._send(status, {"error": f"no {self.headers.get('authorization')}"})
        url = asked["messages"][0]["content"][2]["image_url"]["url"]
        patch = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))
        cells = np.asarray(patch.convert("L").resize((32, 32), Image.Resampling.BOX)) > 127
        lines = "\n".join("".join(f"{'of'[int(cell)]}1" for cell in row) for row in cells)
        said = "user " + "".join(part.get("text", "") for part in asked["messages"][0]["content"])
        told = f"{said if ours.echo else ''}<seg>{lines}\n</seg>"
        return self._send(200, {"choices": [{"message": {"content": told}}]})

    def _send(self, status, answer):
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def chat_server() -> Iterator[Any]:
    """Serve a model called ``eyes``; ``status(number, asked)`` says how a question is answered."""
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Chat)
    server.echo = False
    server.asked, server.lock, server.status = [], threading.Lock(), lambda *_: 200
    server.host = f"127.0.0.1:{server.server_port}"
    server.name = f"openai:http://{server.host}/v1#eyes"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
