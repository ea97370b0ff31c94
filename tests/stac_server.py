"""A STAC API and a COG server on this machine that can be told to misbehave.

In a test::

    with StacServer(items, folder) as server:  # items: STAC item dicts; relative hrefs are resolved
                                               under ``/cogs``, which is ``folder``
        server.inject("/search", times=2, status=429, retry_after=0.1)
        Client.open(server.url).search(...)
        server.sent["/cogs/a.tif"]  # bytes of body sent so far

By hand, over a folder with ``items/*.json`` (hrefs relative to the items) and COGs::

    python tests/stac_server.py FOLDER [PORT]

Routes: ``/`` ``/conformance`` ``/collections`` ``/collections/ID`` ``/search`` (GET, POST),
``/cogs/...`` (with HTTP ranges), ``/api/sas/v1/sign?href=`` and ``/api/sas/v1/token/...`` as at the
Planetary Computer.
"""

import asyncio
import json
import os
import socket
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs, quote, urlencode, urljoin, urlsplit, urlunsplit

import uvicorn
from shapely import box, from_geojson, union_all
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

CONFORMANCE = [
    f"https://api.stacspec.org/v1.0.0/{part}"
    for part in ("core", "collections", "item-search", "item-search#query")
]
COMPARE = {
    "lt": lambda a, b: a < b,
    "lte": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "gte": lambda a, b: a >= b,
    "eq": lambda a, b: a == b,
    "neq": lambda a, b: a != b,
    "in": lambda a, b: a in b,
}


@dataclass
class Fault:
    """What happens to the next ``times`` requests below ``path``."""

    path: str
    times: float
    status: int | None = None
    retry_after: str | None = None
    delay: float = 0
    body: str | None = None
    """Sent instead of the answer, with status 200 or ``status``."""
    cut: int | None = None
    """Bytes of body after which the connection is closed."""


class StacServer:
    """Context manager: it answers from ``__enter__`` to ``__exit__``.

    Parameters
    ----------
    items : list of dict
        STAC items, broken ones too; ``server.items`` may be changed at any time.
    folder : path, optional
        What ``/cogs`` serves.
    page : int
        Largest page, whatever ``limit`` says.
    overlap : int
        Items of a page that the next page repeats.
    signed : bool
        ``/cogs`` answers 403 without ``?sig=`` or after its time.
    lifetime : float
        Seconds that a signature lasts.
    reported : float, optional
        Seconds that ``msft:expiry`` promises, if it is to lie; the true lifetime otherwise.
    conformance : list of str
        What the API says that it can.
    """

    def __init__(
        self,
        items=(),
        folder=None,
        *,
        page=100,
        overlap=0,
        signed=False,
        lifetime=3600.0,
        reported=None,
        conformance=CONFORMANCE,
        port=0,
    ):
        self.items = list(items)
        self.folder = folder
        self.page, self.overlap = page, overlap
        self.signed, self.lifetime, self.reported = signed, lifetime, reported
        self.conformance = list(conformance)
        self.sent, self.asked = Counter(), Counter()  # by path: bytes of body, requests
        self.searches = []  # what each search asked for
        self.faults = []
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(("127.0.0.1", port))
        self.host = "{}:{}".format(*self.socket.getsockname())
        self.url = f"http://{self.host}"
        self.cogs = f"{self.url}/cogs"
        config = uvicorn.Config(
            self.app(), log_level="critical", lifespan="off", ws="none", timeout_graceful_shutdown=1
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(
            target=self.server.run, kwargs={"sockets": [self.socket]}, daemon=True
        )

    def __enter__(self):
        self.thread.start()
        until = time.monotonic() + 600
        while not self.server.started and time.monotonic() < until:
            time.sleep(0.005)
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        """From now on the connection is refused: a dead server."""
        self.server.should_exit = True
        self.thread.join(10)
        self.socket.close()

    def inject(
        self, path, *, times=1, status=None, retry_after=None, delay=0.0, body=None, cut=None
    ):
        """Let requests whose path starts so fail: a status (429 with Retry-After, 500), a delay in
        seconds, garbage, or an answer that breaks off.

        ``times=None`` is for ever, until :meth:`heal`.
        """
        retry_after = None if retry_after is None else str(retry_after)
        self.faults.append(
            Fault(
                path,
                float("inf") if times is None else times,
                status,
                retry_after,
                delay,
                body,
                cut,
            )
        )

    def heal(self):
        """Forget all faults."""
        self.faults.clear()

    def sign(self, href, lifetime=None):
        """Return ``href`` with a signature that lasts ``lifetime`` seconds."""
        parts = urlsplit(href)
        query = "&".join(filter(None, [parts.query, self.token(lifetime)]))
        return urlunsplit(parts._replace(query=query))

    def token(self, lifetime=None):
        """Return the query of a signature."""
        return urlencode(
            {
                "se": "simulated",
                "sig": f"{time.time() + (self.lifetime if lifetime is None else lifetime):.3f}",
            }
        )

    # routes

    def app(self):
        sas = [Route(f"{at}/sign", self.signing) for at in ("", "/api/sas/v1")]
        sas += [Route(f"{at}/token/{{rest:path}}", self.tokens) for at in ("", "/api/sas/v1")]
        routes = [
            Route("/", self.landing),
            Route("/conformance", lambda _: JSONResponse({"conformsTo": self.conformance})),
            Route("/collections", self.collections),
            Route("/collections/{name}", self.collection),
            Route("/search", self.search, methods=["GET", "POST"]),
            *sas,
        ]
        if self.folder is not None:
            routes.append(Mount("/cogs", StaticFiles(directory=self.folder)))
        return Troubled(Starlette(routes=routes), self)

    def landing(self, _request):
        links = [
            {"rel": "self", "href": self.url},
            {"rel": "root", "href": self.url, "type": "application/json"},
        ]
        links += [{"rel": "data", "href": f"{self.url}/collections", "type": "application/json"}]
        links += [
            {
                "rel": "search",
                "href": f"{self.url}/search",
                "type": "application/geo+json",
                "method": method,
            }
            for method in ("GET", "POST")
        ]
        about = {
            "type": "Catalog",
            "id": "simulated",
            "stac_version": "1.0.0",
            "description": "a simulated archive",
        }
        return JSONResponse({**about, "conformsTo": self.conformance, "links": links})

    def names(self):
        return sorted({item["collection"] for item in self.items if item.get("collection")})

    def about(self, name):
        extent = {
            "spatial": {"bbox": [[-180, -90, 180, 90]]},
            "temporal": {"interval": [[None, None]]},
        }
        links = [
            {"rel": "root", "href": self.url},
            {"rel": "self", "href": f"{self.url}/collections/{name}"},
        ]
        about = {
            "type": "Collection",
            "id": name,
            "stac_version": "1.0.0",
            "description": name,
            "license": "other",
        }
        return {**about, "extent": extent, "links": links}

    def collections(self, _request):
        return JSONResponse(
            {
                "collections": [self.about(name) for name in self.names()],
                "links": [{"rel": "root", "href": self.url}],
            }
        )

    def collection(self, request):
        name = request.path_params["name"]
        return (
            JSONResponse(self.about(name))
            if name in self.names()
            else JSONResponse({"code": "NotFound"}, 404)
        )

    async def search(self, request):
        asked = (
            await request.json()
            if request.method == "POST"
            else from_query(dict(request.query_params))
        )
        self.searches.append(asked)
        found = [item for item in self.items if fits(item, asked)]
        start, limit = int(asked.get("token") or 0), min(int(asked.get("limit") or 10), self.page)
        page = [self.resolved(item) for item in found[start : start + limit]]
        links = [{"rel": "root", "href": self.url}, {"rel": "self", "href": str(request.url)}]
        if start + limit < len(found):
            links.append(
                self.next_link(
                    request.method,
                    {**asked, "token": str(max(start + limit - self.overlap, start + 1))},
                )
            )
        return JSONResponse(
            {
                "type": "FeatureCollection",
                "features": page,
                "links": links,
                "numberMatched": len(found),
                "numberReturned": len(page),
            }
        )

    def next_link(self, method, asked):
        if method == "POST":
            return {"rel": "next", "href": f"{self.url}/search", "method": "POST", "body": asked}
        return {
            "rel": "next",
            "href": f"{self.url}/search?{urlencode(to_query(asked))}",
            "method": "GET",
        }

    def resolved(self, item):
        """Make relative hrefs absolute: they lie under ``/cogs``."""
        assets = item.get("assets") or {}
        assets = {
            name: {**asset, "href": urljoin(f"{self.cogs}/", asset["href"])}
            if "href" in asset
            else asset
            for name, asset in assets.items()
        }
        return {**item, "assets": assets} if "assets" in item else item

    def expiry(self):
        seconds = self.lifetime if self.reported is None else self.reported
        return datetime.fromtimestamp(time.time() + seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def signing(self, request):
        href = request.query_params.get("href")
        return (
            JSONResponse({"href": self.sign(href), "msft:expiry": self.expiry()})
            if href
            else JSONResponse({"detail": "no href"}, 400)
        )

    def tokens(self, _request):
        return JSONResponse({"token": self.token(), "msft:expiry": self.expiry()})

    def refusal(self, scope):
        """Return 403 where the signature is missing or out of date."""
        if not self.signed or not scope["path"].startswith("/cogs/"):
            return None
        given = parse_qs(scope["query_string"].decode()).get("sig", ["0"])
        if len(given) == 1 and float(given[0]) > time.time():
            return None
        return PlainTextResponse("<Error><Code>AuthenticationFailed</Code></Error>", 403)


class Troubled:
    """Counts what is sent, and lets the faults happen, around the whole application."""

    def __init__(self, app, server):
        self.app, self.owner = app, server

    async def __call__(self, scope, receive, send):
        path = scope["path"]
        self.owner.asked[path] += 1
        fault = next(
            (
                fault
                for fault in self.owner.faults
                if path.startswith(fault.path) and fault.times > 0
            ),
            None,
        )
        app = self.owner.refusal(scope) or self.app
        if fault is not None:
            fault.times -= 1
            await asyncio.sleep(fault.delay)
            if fault.status is not None or fault.body is not None:
                headers = {"Retry-After": fault.retry_after} if fault.retry_after else None
                app = PlainTextResponse(fault.body or "injected", fault.status or 200, headers)
        await app(scope, receive, self.counted(path, send, fault.cut if fault else None))

    def counted(self, path, send, cut):
        left = float("inf") if cut is None else cut

        async def wrapped(message):
            nonlocal left
            if message["type"] == "http.response.body":
                body = message.get("body", b"")
                broken = len(body) > left
                message = {
                    **message,
                    "body": body[: int(left)] if broken else body,
                    "more_body": broken or message.get("more_body", False),
                }
                left -= len(message["body"])
                self.owner.sent[path] += len(message["body"])
                await send(message)
                if broken:
                    raise ConnectionAbortedError("the answer breaks off, as was asked for")
                return
            await send(message)

        return wrapped


# what a search means


def from_query(query):
    asked = dict(query)
    for name in ("query", "intersects"):
        if name in asked:
            asked[name] = json.loads(asked[name])
    for name in ("collections", "ids"):
        if name in asked:
            asked[name] = asked[name].split(",")
    if "bbox" in asked:
        asked["bbox"] = [float(value) for value in asked["bbox"].split(",")]
    return asked


def to_query(asked):
    query = dict(asked)
    for name in ("query", "intersects"):
        if query.get(name):
            query[name] = json.dumps(query[name])
    for name in ("collections", "ids", "bbox"):
        if query.get(name):
            query[name] = ",".join(str(value) for value in query[name])
    return {name: value for name, value in query.items() if isinstance(value, str | int | float)}


def fits(item, asked):
    """Broken items fit wherever what is missing would decide: that is how they reach a user."""
    return (
        (not asked.get("collections") or item.get("collection") in asked["collections"])
        and (not asked.get("ids") or item["id"] in asked["ids"])
        and in_time(item, asked.get("datetime"))
        and in_place(item, asked)
        and all(
            passes(item.get("properties", {}).get(name), tests)
            for name, tests in (asked.get("query") or {}).items()
        )
    )


def passes(value, tests):
    return value is None or all(COMPARE[name](value, wanted) for name, wanted in tests.items())


def moment(text):
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def in_time(item, wanted):
    taken = item.get("properties", {}).get("datetime")
    if not wanted or not taken:
        return True
    start, _, end = wanted.partition("/")
    end = end or start
    return (start in ("", "..") or moment(start) <= moment(taken)) and (
        end in ("", "..") or moment(taken) <= moment(end)
    )


def in_place(item, asked):
    if not item.get("geometry"):
        return True
    shape = from_geojson(json.dumps(item["geometry"]))
    if asked.get("intersects"):
        return shape.intersects(from_geojson(json.dumps(asked["intersects"])))
    if asked.get("bbox"):
        west, south, east, north = asked["bbox"]
        boxes = (
            [box(west, south, east, north)]
            if west <= east
            else [box(west, south, 180, north), box(-180, south, east, north)]
        )
        return shape.intersects(union_all(boxes))
    return True


# a folder


def items_of(folder):
    """Read ``folder/items/*.json``; hrefs relative to the item become relative to the folder."""
    items = []
    for path in sorted((Path(folder) / "items").glob("*.json")):
        item = json.loads(path.read_text())
        for asset in item.get("assets", {}).values():
            if not urlsplit(asset["href"]).scheme:
                asset["href"] = quote(
                    os.path.relpath(path.parent / asset["href"], folder).replace(os.sep, "/")
                )
        items.append(item)
    return items


def main(folder, port="8765"):
    with StacServer(items_of(folder), folder, port=int(port)) as server:
        sys.stdout.write(f"{server.url} serves {len(server.items)} items; Ctrl+C ends it\n")
        sys.stdout.flush()
        while server.thread.is_alive():
            server.thread.join(1)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(0)
