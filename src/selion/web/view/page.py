"""The page of ``selion view``: its routes and their answers.

All under ``/TOKEN/view/``. Writing, only where a folder was named for it: ``api/area``,
``api/area/stop``. Reading: ``api/layers``, ``api/state``, ``api/state/LAYER``,
``api/record/LAYER/ROW``, ``api/find/LAYER``, ``api/values/LAYER``, ``api/spread/LAYER``,
``api/count/LAYER``, ``api/place``, ``save/LAYER``, ``chip/LAYER/ROW/RASTER/RENDERING``,
``api/photos/ALBUM``, ``api/pairs/ALBUM/ALBUM``, ``raster/LAYER/RENDERING/Z/X/Y``,
``fields/LAYER/Z/X/Y``, ``photo/ALBUM/INDEX/KIND`` and MapLibre from the installed package. No
request names a file: layers are named by what :mod:`selion.web.view.discovery` gave them.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selion.cores import usable_cores
from selion.errors import BadInput, MissingExtra, SelionError, UnknownName
from selion.extras import require
from selion.store.cache import LruCache
from selion.web.answers import JSON, reading, status, writing
from selion.web.server import PageModule
from selion.web.view.area import AreaMapper
from selion.web.view.background import Background, read_background
from selion.web.view.cells import Overview
from selion.web.view.chip import chip
from selion.web.view.chunks import plain
from selion.web.view.cut import cut_tile
from selion.web.view.describe import SIZES, describe
from selion.web.view.discovery import Discovery, FieldsLayer, find, most_gathered
from selion.web.view.find import find_row
from selion.web.view.photos import COMPARED, EDGE, KINDS, TILE, Album, drawn, paired
from selion.web.view.place import read_tile, to_degrees
from selion.web.view.places import NamedPoint, find_places, read_places
from selion.web.view.sift import Bounds, count, package, read_bounds, spread

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from selion.store import Place

STATIC = (
    "view.html",
    "view.css",
    "view.js",
    "map.js",
    "list.js",
    "panels.js",
    "photos.js",
    "swipe.js",
    "filter.js",
    "share.js",
    "area.js",
)
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; worker-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors "
    "'none'"
)
"""As the other pages', and besides: MapLibre cuts tiles in workers that it makes from its own
text."""
LIBRARY = {
    "maplibre-gl.js": "text/javascript; charset=utf-8",
    "maplibre-gl.css": "text/css; charset=utf-8",
}
Answer = tuple[bytes, str]
MEMORY = 96 << 20
"""Bytes of tiles that are kept."""
SIFTED = 4
"""Filters of fields whose view from afar is kept."""


@dataclass(frozen=True, eq=False)
class ViewSession:
    """What the routes work on."""

    found: Discovery
    names: Sequence[NamedPoint] = ()
    background: Background | None = None
    mapper: AreaMapper | None = None
    cache: LruCache[Hashable, Answer] = field(
        default_factory=lambda: LruCache(MEMORY, lambda made: len(made[0]))
    )
    run: str = field(default_factory=lambda: secrets.token_hex(4))
    sifted: OrderedDict[Hashable, Overview] = field(default_factory=OrderedDict)
    """What was gathered of the fields between bounds, by layer and bounds; the latest last."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    gate: asyncio.Semaphore = field(
        default_factory=lambda: asyncio.Semaphore(max(2, usable_cores()))
    )
    """As many tiles are cut at once; the others wait, and those that nobody waits for any more are
    not cut."""

    def stop(self) -> None:
        """Stop gathering what lies between bounds."""
        with self.lock:
            for overview in self.sifted.values():
                overview.stop()


def view_page(
    paths: Sequence[Place],
    *,
    names: Path | None = None,
    basemap: str | None = None,
    into: Path | None = None,
    model: str | None = None,
    labels: Path | None = None,
) -> tuple[PageModule, Discovery]:
    """Set up the page for files and folders.

    ``names`` is a person's own file of places; ``basemap`` the address of tiles that lie under all,
    the only thing that is ever loaded from elsewhere.  ``into`` is a folder for maps of areas that
    are drawn on the page, with a ``model``; without it nothing can be mapped from there.
    ``labels`` is a folder of the truth of photographs that were measured.

    Raises
    ------
    MissingExtra
        If Starlette, rio-tiler or MapLibre is not installed.
    BadInput, UnreadableFile
        If there is nothing to see in them.
    """
    require("starlette", "web")
    library_folder()
    background = read_background(basemap) if basemap else None
    known = read_places(names) if names else ()
    found = find(paths)
    found.places = len(known)
    if labels is not None:
        found.compare(labels)
    if found.rasters:
        threading.Thread(
            target=import_module, args=("rio_tiler.reader",), name="warming", daemon=True
        ).start()
    policy = policy_with(background.origin) if background else POLICY
    mapper = None
    if into is not None:
        mapper = AreaMapper(found, into, model)
        found.ending.append(mapper.stop)
    elif model is not None:
        raise BadInput("--model is the model of --map-into: name a folder for the maps too.")
    session = ViewSession(found, known, background, mapper)
    found.ending.append(session.stop)
    return PageModule("view", view_routes(session), STATIC, policy), found


def policy_with(origin: str) -> str:
    """Return what the page may load when there is a background: its tiles too."""
    return POLICY.replace("connect-src 'self'", f"connect-src 'self' {origin}").replace(
        "img-src 'self'", f"img-src 'self' {origin}"
    )


def view_routes(session: ViewSession) -> list[Any]:
    """Return the routes, for this page and for others that show its map."""
    from starlette.routing import Route

    areas = [
        Route("/api/area", reading(session.mapper, area)),
        Route("/api/area", writing(session.mapper, map_area), methods=["POST"]),
        Route("/api/area/stop", writing(session.mapper, stop_area), methods=["POST"]),
    ] if session.mapper else []  # fmt: skip
    return [
        *areas,
        Route("/api/layers", reading(session, layers)),
        Route("/api/state", reading(session, state)),
        Route("/api/state/{layer}", reading(session, state_between)),
        Route("/api/record/{layer}/{row}", reading(session, record)),
        Route("/api/find/{layer}", reading(session, find_record)),
        Route("/api/place", reading(session, place)),
        Route("/chip/{layer}/{row}/{raster}/{rendering}", _bytes(session, field_chip)),
        Route("/api/values/{layer}", reading(session, values)),
        Route("/api/spread/{layer}", reading(session, told_spread)),
        Route("/api/count/{layer}", reading(session, told_count)),
        Route("/save/{layer}", _bytes(session, saved)),
        Route("/api/photos/{album}", reading(session, photos)),
        Route("/api/pairs/{album}/{other}", reading(session, pairs)),
        Route("/api/photo/{album}/{index}", reading(session, traits)),
        Route("/raster/{layer}/{rendering}/{z}/{x}/{y}", _bytes(session, raster_tile)),
        Route("/fields/{layer}/{z}/{x}/{y}", _bytes(session, fields_tile)),
        Route("/photo/{album}/{index}/{kind}", _bytes(session, photo)),
        *(Route(f"/{name}", _library(name, kind)) for name, kind in LIBRARY.items()),
    ]


def library_folder() -> Path:
    """Return where MapLibre lies; it is served from there and not imported.

    Raises
    ------
    MissingExtra
        If it is not installed.
    """
    spec = find_spec("maplibre")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtra("MapLibre is not installed: pip install 'selion[web]'.")
    return Path(next(iter(spec.submodule_search_locations))) / "srcjs"


def _library(name: str, kind: str) -> Callable[[Request], Response]:
    from starlette.responses import Response

    body = (library_folder() / name).read_bytes()

    def endpoint(request: Request) -> Response:  # noqa: ARG001  # Starlette's signature
        return Response(body, media_type=kind, headers={"cache-control": "private, max-age=86400"})

    return endpoint


def _bytes(
    session: ViewSession,
    answer: Callable[[ViewSession, Mapping[str, str]], tuple[bytes, str, bool]],
) -> Callable[[Request], Awaitable[Response]]:
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import PlainTextResponse, Response

    async def endpoint(request: Request) -> Response:
        async with session.gate:
            if await request.is_disconnected():
                return Response(status_code=499)
            try:
                asked = {**request.query_params, **request.path_params}
                body, kind, keep = await run_in_threadpool(answer, session, asked)
            except SelionError as error:
                return PlainTextResponse(str(error), status(error), {"cache-control": "no-store"})
        return Response(
            body,
            media_type=kind,
            headers={"cache-control": "private, max-age=600" if keep else "no-store"},
        )

    return endpoint


def layers(session: ViewSession, _parameters: Mapping[str, str]) -> Any:
    """Answer what there is to see."""
    back = session.background
    under = {"tiles": back.url, "host": back.host} if back else None
    return {
        **describe(session.found), "run": session.run, "background": under,
        "names": len(session.names), "mapping": session.mapper is not None,
    }  # fmt: skip


def state(session: ViewSession, _parameters: Mapping[str, str]) -> Any:
    """Answer how far the overviews are."""
    found = {
        key: layer.overview
        for key, layer in session.found.fields.items()
        if layer.overview is not None
    }
    return {key: told_state(overview) for key, overview in found.items()}


def told_state(overview: Overview) -> dict[str, Any]:
    """Return how far an overview is."""
    of = len(overview.fields.places)
    return {"done": overview.done, "of": of, "ready": overview.ready, "failed": overview.failed}


def state_between(session: ViewSession, parameters: Mapping[str, str]) -> Any:
    """Answer how far the overview of the fields between bounds is, and how many they are."""
    layer = fields_of(session, parameters["layer"])
    bounds = read_bounds(layer.fields, {"where": parameters.get("where", "")})
    overview = overview_between(session, parameters["layer"], bounds)
    if overview is None:
        return {"done": 0, "of": 0, "ready": True, "failed": "", "count": None, "area": None}
    count, area = overview.total(SIZES) if overview.ready else (None, None)
    return told_state(overview) | {"count": count, "area": area}


def overview_between(session: ViewSession, name: str, bounds: Bounds) -> Overview | None:
    """Return how the fields between bounds are seen from afar; begin to gather them.

    None where they are few enough to be drawn at every scale.
    """
    layer = fields_of(session, name)
    if layer.overview is None or not bounds.ranges:
        return layer.overview
    with session.lock:
        made = session.sifted.pop((name, bounds.key), None)
        if made is None:
            made = Overview(layer.fields, layer.zoom, name, bounds.hold)
            made.start(most_gathered(layer.path))
        session.sifted[name, bounds.key] = made
        while len(session.sifted) > SIFTED:
            session.sifted.popitem(last=False)[1].stop()
    return made


def area(mapper: AreaMapper, _parameters: Mapping[str, str]) -> Any:
    """Answer how far the map of an area is."""
    return mapper.told()


def map_area(mapper: AreaMapper, parameters: JSON) -> Any:
    """Begin to map an area."""
    box, raster = parameters.get("box"), parameters.get("raster")
    return mapper.start(str(raster), box if isinstance(box, list) else [])


def stop_area(mapper: AreaMapper, _parameters: JSON) -> Any:
    """Stop it."""
    return mapper.stop()


def fields_of(session: ViewSession, name: str) -> FieldsLayer:
    """Return a layer of fields.

    Raises
    ------
    UnknownName
        If there is none of that name.
    """
    if name not in session.found.fields:
        raise UnknownName.among("layer of fields", name[:40], session.found.fields)
    return session.found.fields[name]


def whole(text: str, most: int = 1 << 53) -> int:
    """Return a whole number.

    Raises
    ------
    BadInput
        If it is none, or too large.
    """
    if not (text.isascii() and text.isdigit() and len(text) < 17 and int(text) < most):
        raise BadInput(f"A whole number is wanted, not {text[:20]!r}.")
    return int(text)


def record(session: ViewSession, parameters: Mapping[str, str]) -> Any:
    """Answer all columns of one field, and where it lies."""
    layer = fields_of(session, parameters["layer"])
    table = layer.fields.record(whole(parameters["row"]))
    box = table.pop("box")
    return {
        "row": whole(parameters["row"]),
        "bounds": to_degrees(box) if box else None,
        "columns": table,
    }


def find_record(session: ViewSession, parameters: Mapping[str, str]) -> Any:
    """Answer the field with an id."""
    row = find_row(fields_of(session, parameters["layer"]).fields, parameters.get("id", ""))
    return (
        {"row": None}
        if row is None
        else record(session, {"layer": parameters["layer"], "row": str(row)})
    )


def place(session: ViewSession, parameters: Mapping[str, str]) -> Any:
    """Answer where somebody wants to go."""
    found = find_places(parameters.get("wanted", "").strip(), session.names)
    return {"places": [{"name": each.name, "lat": each.lat, "lon": each.lon} for each in found]}


def field_chip(session: ViewSession, parameters: Mapping[str, str]) -> tuple[bytes, str, bool]:
    """Draw a field in a rendering of a raster."""
    layer, name = parameters["layer"], parameters["raster"]
    if name not in session.found.rasters:
        raise UnknownName.among("raster", name[:40], session.found.rasters)
    fields, raster = fields_of(session, layer).fields, session.found.rasters[name]
    rendering, row = raster.rendering(parameters["rendering"]), whole(parameters["row"])
    return *session.cache.get(
        ("chip", layer, row, name, rendering.name), lambda: chip(fields, row, raster, rendering)
    ), True


def values(session: ViewSession, parameters: Mapping[str, str]) -> Any:
    """Answer the words that occur in a column, as far as a few chunks tell."""
    layer, name = fields_of(session, parameters["layer"]), parameters.get("column", "")
    if layer.fields.columns.get(name) != "text":
        raise UnknownName.among(
            "column of words",
            name[:40],
            [c for c, kind in layer.fields.columns.items() if kind == "text"],
        )
    count = len(layer.fields.places)
    chosen = sorted({0, count // 2, count - 1}) if count else []
    words = {
        str(word)
        for index in chosen
        for word in layer.fields.chunk(index).table[name]
        if word is not None
    }
    return {"values": sorted(words)[:64]}


def told_spread(session: ViewSession, parameters: Mapping[str, str]) -> Any:
    """Answer how the values of a column lie."""
    return spread(fields_of(session, parameters["layer"]).fields, parameters.get("column", ""))


def told_count(session: ViewSession, parameters: Mapping[str, str]) -> Any:
    """Answer how many fields lie between bounds."""
    fields = fields_of(session, parameters["layer"]).fields
    return count(fields, read_bounds(fields, parameters))


def saved(session: ViewSession, parameters: Mapping[str, str]) -> tuple[bytes, str, bool]:
    """Write the fields between bounds as a GeoPackage."""
    fields = fields_of(session, parameters["layer"]).fields
    return package(fields, read_bounds(fields, parameters)), "application/geopackage+sqlite3", False


def album_of(session: ViewSession, name: str) -> Album:
    """Return an album.

    Raises
    ------
    UnknownName
        If there is none of that name.
    """
    if name not in session.found.albums:
        raise UnknownName.among("album", name[:40], session.found.albums)
    return session.found.albums[name]


def photos(session: ViewSession, parameters: Mapping[str, str]) -> Any:
    """Answer a part of the list of photographs, in an order."""
    album = album_of(session, parameters["album"])
    after, order = whole(parameters.get("after", "0")), parameters.get("order", "name")
    truths = album.truths
    compared = {"compared": [len(truths.scores), len(truths.reads)]} if truths else {}
    return {"photos": album.listed(after, order=order), "count": len(album.photos)} | compared


def pairs(session: ViewSession, parameters: Mapping[str, str]) -> Any:
    """Answer a part of what two runs have in common, side by side."""
    one, other = (album_of(session, parameters[name]) for name in ("album", "other"))
    order = parameters.get("order", "difference")
    return paired(one, other, whole(parameters.get("after", "0")), order=order)


def traits(session: ViewSession, parameters: Mapping[str, str]) -> Any:
    """Answer what is known of a photograph."""
    found = album_of(session, parameters["album"]).photo(whole(parameters["index"]))
    about = {"size": found.size, "mask": found.mask is not None, "bare": found.bare}
    told = album_of(session, parameters["album"]).told(whole(parameters["index"]))
    about |= {key: told[key] for key in ("truth", "score") if key in told}
    return {
        "name": found.name,
        "bounds": to_degrees(found.box),
        "columns": {k: plain(v) for k, v in found.traits.items()},
    } | about


def raster_tile(session: ViewSession, parameters: Mapping[str, str]) -> tuple[bytes, str, bool]:
    """Draw a tile of a raster."""
    name = parameters["layer"]
    if name not in session.found.rasters:
        raise UnknownName.among("raster", name[:40], session.found.rasters)
    raster, tile = (
        session.found.rasters[name],
        read_tile(parameters["z"], parameters["x"], parameters["y"]),
    )
    rendering = raster.rendering(parameters["rendering"])
    return *session.cache.get(
        (name, rendering.name, tile), lambda: raster.tile(rendering, tile)
    ), True


def fields_tile(session: ViewSession, parameters: Mapping[str, str]) -> tuple[bytes, str, bool]:
    """Cut a tile of fields."""
    name, tile = parameters["layer"], read_tile(parameters["z"], parameters["x"], parameters["y"])
    kind = "application/vnd.mapbox-vector-tile"
    if name in session.found.archives:
        return session.found.archives[name].tile(tile.z, tile.x, tile.y), kind, True
    layer = fields_of(session, name)
    bounds = read_bounds(layer.fields, {"where": parameters.get("where", "")})
    overview = overview_between(session, name, bounds)
    keep = bounds.hold if bounds.ranges else None
    ready = overview is None or overview.ready

    def cut() -> Answer:
        return cut_tile(layer.fields, overview, layer.zoom, tile, keep=keep), kind

    return (*session.cache.get((name, bounds.key, tile), cut), True) if ready else (*cut(), False)


def photo(session: ViewSession, parameters: Mapping[str, str]) -> tuple[bytes, str, bool]:
    """Draw a photograph, or a layer of it."""
    album, kind = session.found.albums.get(parameters["album"]), parameters["kind"]
    if album is None or kind not in (*KINDS, *COMPARED):
        raise UnknownName.among("kind of picture", kind[:40], (*KINDS, *COMPARED))
    index = whole(parameters["index"])
    found, truths = album.photo(index), album.truths

    def draw() -> Answer:
        if kind not in COMPARED:
            return drawn(found, kind)
        if truths is None:
            raise BadInput("These photographs have no truth: give selion view --truth.")
        return truths.drawn(index, kind, TILE if kind == "compared" else EDGE)

    return *session.cache.get((parameters["album"], kind, parameters["index"]), draw), True
