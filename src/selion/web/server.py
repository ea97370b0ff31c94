"""One server on loopback for all pages.

A page module brings routes, this brings the socket, the token and the guard.

A page is a :class:`PageModule`; :func:`make_app` puts several behind one guard, each under its own
name.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from selion import store
from selion.errors import BadInput, OutputFailed, SelionError
from selion.extras import require
from selion.web.answers import status
from selion.web.guard import Application, Guard

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

STATIC = Path(__file__).with_name("static")
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
HOST = "127.0.0.1"


@dataclass(frozen=True)
class PageModule:
    """A page and what it asks for, all under ``/TOKEN/NAME/``."""

    name: str
    routes: Sequence[BaseRoute]
    static: Sequence[str]
    """Files of ``web/static`` that the page may ask for; the first is the page itself."""
    policy: str = ""
    """What the page may load, where that is more than :data:`selion.web.guard.POLICY` allows."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens; the token is what makes the address secret."""

    port: int
    token: str

    def url(self, page: str = "") -> str:
        """Return the address of a page."""
        return f"http://{HOST}:{self.port}/{self.token}/" + (f"{page}/" if page else "")


def make_app(pages: Sequence[PageModule], address: Address) -> Application:
    """Put pages behind one guard; the bare address leads to the first of them.

    Raises
    ------
    MissingExtra
        If Starlette is not installed.
    """
    require("starlette", "web")
    from starlette.applications import Starlette
    from starlette.responses import RedirectResponse
    from starlette.routing import Mount, Route

    async def home(request: Request) -> Response:  # noqa: ARG001  # Starlette's signature
        return RedirectResponse(address.url(pages[0].name))

    mounts = [
        Mount(f"/{page.name}", routes=[*page.routes, *_static_routes(page.static, page.policy)])
        for page in pages
    ]
    return Guard(
        Starlette(routes=[Route("/", home), *mounts], exception_handlers=_handlers()),
        address.port,
        address.token,
    )


def _handlers() -> Mapping[Any, Callable[..., Any]]:
    from starlette.responses import JSONResponse

    async def explain(request: Request, error: Exception) -> Response:  # noqa: ARG001
        return JSONResponse({"error": str(error)}, status(error))

    return {SelionError: explain}


def _static_routes(names: Sequence[str], policy: str) -> list[BaseRoute]:
    """Serve a fixed list of files: no name that is asked for ever becomes a path."""
    from starlette.responses import Response
    from starlette.routing import Route

    headers = {
        "cache-control": "no-cache",
        **({"content-security-policy": policy} if policy else {}),
    }

    def route(path: str, name: str) -> BaseRoute:
        async def answer(request: Request) -> Response:  # noqa: ARG001
            return Response(
                (STATIC / name).read_bytes(), media_type=TYPES[Path(name).suffix], headers=headers
            )

        return Route(path, answer)

    return [route("/", names[0]), *(route(f"/{name}", name) for name in names[1:])]


@dataclass(frozen=True, slots=True)
class Remembered:
    """Where a folder was served last on this machine by this person, and by which process."""

    address: Address
    process: int


def remembered(folder: Path) -> Remembered | None:
    """Return what :func:`remember` kept.

    The same port and token again mean that a page that is still open goes on after the server was
    stopped.
    """
    try:
        table = json.loads(_memory(folder).read_text("utf-8"))
        port, token, process = int(table["port"]), str(table["token"]), int(table["process"])
        sound = (
            0 < port < 65536
            and token.isalnum()
            and token.isascii()
            and len(token) >= 32
            and process > 0
        )
        return Remembered(Address(port, token), process) if sound else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def remember(folder: Path, address: Address) -> None:
    """Keep an address in the person's own cache folder, readable by nobody else.

    Where that cannot be done, the next start has a new one.
    """
    place = _memory(folder)
    try:
        with store.atomic_write(place, force=True) as temporary:
            file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(file, "w", encoding="utf-8") as out:
                json.dump(
                    {"port": address.port, "token": address.token, "process": os.getpid()}, out
                )
    except (OSError, OutputFailed):
        return


def _memory(folder: Path) -> Path:
    name = hashlib.blake2b(
        os.path.realpath(folder).encode("utf-8", "surrogatepass"), digest_size=12
    ).hexdigest()
    return store.cache_folder() / "served" / f"{name}.json"


def listen(folder: Path, port: int = 0) -> tuple[socket.socket, Address, Address | None]:
    """Open a socket on loopback.

    Parameters
    ----------
    folder : path
        What is served: its last port and token are taken again where that port is free.
    port : int
        The port to take; 0 leaves it to the rule above.

    Returns
    -------
    socket, address, address or None
        The last is that of another server of this person's which serves the folder now.

    Raises
    ------
    BadInput
        If a port that was asked for is taken.
    """
    last = remembered(folder)
    before = last.address if last else None
    same = _bound(before.port) if before and port in (0, before.port) else None
    if same is not None and before is not None:
        remember(folder, before)
        return same, before, None
    opened = _bound(port)
    if opened is None:
        raise BadInput(f"Port {port} is taken: choose another with --port, or omit it.")
    # Whoever holds the old port now is never shown the old token, and this server does not use it:
    # it need not be one of ours.
    address = Address(opened.getsockname()[1], secrets.token_hex(16))
    running = (
        last is not None and same is None and _lives(last.process) and _taken(last.address.port)
    )
    if not running:
        remember(folder, address)
    return opened, address, before if running else None


def _lives(process: int) -> bool:
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except OSError:
        return False
    return True


def _taken(port: int) -> bool:
    opened = _bound(port)
    if opened is not None:
        opened.close()
    return opened is None


def _bound(port: int) -> socket.socket | None:
    opened = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # elsewhere the option lets two servers share a port
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((HOST, port))
        opened.listen(128)
    except OSError as error:
        opened.close()
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            return None
        raise BadInput(
            f"No port on {HOST} can be opened ({error.strerror}): check the network settings of "
            "this machine."
        ) from error
    return opened


def make_server(app: Application) -> Any:
    """Return a uvicorn server with the bounds that a page on loopback needs.

    ``should_exit`` stops it.

    Raises
    ------
    MissingExtra
        If uvicorn is not installed.
    """
    uvicorn = require("uvicorn", "web")
    config = uvicorn.Config(
        app, log_level="error", access_log=False, server_header=False,
        h11_max_incomplete_event_size=16384, timeout_keep_alive=30, timeout_graceful_shutdown=3,
        http="h11", ws="none", lifespan="off", loop="asyncio",
    )  # fmt: skip
    return uvicorn.Server(config)


def serve(app: Application, opened: socket.socket) -> None:
    """Answer until the person stops it.

    Raises
    ------
    MissingExtra
        If uvicorn is not installed.
    """
    make_server(app).run(sockets=[opened])


def serve_until(app: Application, opened: socket.socket, until: Event) -> None:
    """Answer until the person stops it, or an event is set.

    Raises
    ------
    MissingExtra
        If uvicorn is not installed.
    """
    running = make_server(app)

    def stop() -> None:
        until.wait()
        running.should_exit = True

    Thread(target=stop, daemon=True).start()
    running.run(sockets=[opened])
