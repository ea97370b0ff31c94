"""Every route of every server, asked in every spelling of a way out: routes are found by walking
the applications, so the next one comes for free.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from starlette.routing import Mount, Route

import review_scenes
import screening_scenes
import view_scenes
from selion import review
from selion.web import server
from selion.web.correcting import correcting_page
from selion.web.review import open_session, review_page
from selion.web.screening import screening_page
from selion.web.standing import watch_page
from selion.web.view.page import view_page

MARK = b"nobody may read this"
TOKEN = "t" * 32
ADDRESS = server.Address(8000, TOKEN)
UP = ("..", "%2e%2e", ".%2e", "%252e%252e", "....", "..;", "..%00", "%c0%ae%c0%ae", "\uff0e\uff0e")
BETWEEN = ("/", "%2f", "%5c", "\\", "%252f", "//", "/./", "%c0%af", "\u2215")
TO = ("secret.txt", "etc/passwd")


def spellings() -> list[str]:
    """Return more than 500 ways to write a path that leads out, as they stand in an address."""
    climbing = [
        between.join([up] * deep + target.split("/"))
        for up, between, deep, target in itertools.product(UP, BETWEEN, (1, 3, 7), TO)
    ]
    roots = ("/", "%2f", "%5c", "//", "file:///", "file:%2f%2f", "C:\\", "\\\\host\\", "~/", "%00/")
    return climbing + [f"{root}{target}" for root in roots for target in TO]


def _plan(folder: Path) -> Path:
    """Write a plan of one job."""
    (folder / "jobs" / "one").mkdir(parents=True)
    (folder / "jobs.json").write_text('[{"name": "one"}]')
    return folder


class Servers:
    """The pages of all servers in one application, asked without a socket."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "secret.txt").write_bytes(MARK)
        made = review_scenes.write_map(folder / "a" / "map")
        photos, pseudo = screening_scenes.write_scene(folder / "b", 3)
        view_scenes.write_map(folder / "c" / "shown", 4)
        self.screen, self.screening = screening_page(photos, pseudo)
        pages = [
            view_page([folder / "c" / "shown"])[0],
            review_page(open_session(review.find_map(made))),
            self.screen,
            correcting_page(self.screening),
            watch_page(_plan(folder / "d")),
        ]
        self.app = server.make_app(pages, ADDRESS)
        self.opened: list[str] = []
        self.watching = False
        sys.addaudithook(self._heard)

    def _heard(self, event: str, args: tuple[Any, ...]) -> None:
        if self.watching and event in ("open", "os.listdir", "os.scandir"):
            self.opened.append(str(args[0]))

    def close(self) -> None:
        """Stop the threads of the screening."""
        self.screening.hashes.__self__.close()

    def routes(self) -> Iterator[tuple[str, Route]]:
        """Yield the path of each route, and itself."""
        inside: Any = self.app.inside  # type: ignore[attr-defined]  # a guard
        for mount in inside.routes:
            for route in mount.routes if isinstance(mount, Mount) else [mount]:
                yield (mount.path if isinstance(mount, Mount) else "") + route.path, route

    def requests(self, path: str, route: Route, spelling: str) -> Iterator[tuple[str, str, bytes]]:
        """Yield method, address and body: the spelling in each place of a route, and behind it."""
        holes = re.findall(r"\{[^}]*\}", path)
        for hole in holes:
            filled = path
            for other in holes:
                filled = filled.replace(other, spelling if other == hole else "1")
            yield "GET", filled, b""
        plain = re.sub(r"\{[^}]*\}", "1", path)
        if "POST" in (route.methods or ()):
            text = urllib.parse.unquote(spelling)
            names = ("id", "name", "path", "batch", "person", "kind", "item", "folder", "image")
            body = dict.fromkeys(names, text) | {"items": [{"id": text, "version": text}]}
            yield "POST", plain, json.dumps(body | {"on": {text: 1}}).encode()
            return
        yield "GET", f"{plain.rstrip('/')}/{spelling}", b""
        query = urllib.parse.quote(urllib.parse.unquote(spelling))
        words = ("person", "id", "name", "path", "layer", "key", "q", "show", "kind", "names")
        yield "GET", plain + "?" + "&".join(f"{word}={query}" for word in words), b""

    def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """Return status and body."""
        return asyncio.run(self._ask(method, path, body))

    async def _ask(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        plain, _, query = path.partition("?")
        raw = f"/{TOKEN}{plain}".encode()
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": urllib.parse.unquote(raw),
            "raw_path": raw,
            "query_string": query.encode(),
            "root_path": "",
            "server": ("127.0.0.1", ADDRESS.port),
            "client": ("127.0.0.1", 1),
            "headers": [
                (b"host", f"127.0.0.1:{ADDRESS.port}".encode()),
                (b"content-type", b"application/json"),
                (b"x-selion", b"1"),
                (b"content-length", str(len(body)).encode()),
            ],
        }
        answers: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            answers.append(message)

        self.opened.clear()
        self.watching = True
        try:
            await self.app(scope, receive, send)
        finally:
            self.watching = False
        content = b"".join(one.get("body", b"") for one in answers[1:])
        return answers[0]["status"], content

    def wrong(self, status: int, content: bytes) -> str:
        """Say what is wrong with an answer; empty if nothing is."""
        if status >= 500:
            return f"status {status}"
        if MARK in content or b"root:x:" in content:
            return "shows a file"
        out = [one for one in self.opened if one.endswith(("secret.txt", "passwd"))]
        return f"opens {out[0]}" if out else ""
