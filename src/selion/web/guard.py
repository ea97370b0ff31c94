"""Who may ask a page of ours anything.

Only a browser tab on this machine that was opened with the secret address.

A server on loopback can be reached by every program on the machine and, through the person's own
browser, by every web page that they visit.  So:

* the socket is bound to 127.0.0.1;
* ``Host`` must name this server, which a page that points its own name at 127.0.0.1 (DNS rebinding)
  cannot do;
* ``Origin`` and ``Sec-Fetch-Site``, where the browser sends them, must be ours;
* the first part of every path is a token that only the printed address holds, also for reading,
  because photographs are nobody else's business;
* what writes is JSON with a header of ours, which no form can send and no foreign script without a
  preflight that is never answered;
* bodies are bounded, and answers may not be framed, sniffed or sent on as a referrer.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

LARGEST_BODY = 256 * 1024
"""Bytes; a page of 240 decisions has a tenth of it."""
OWN_HEADER = b"x-selion"
METHODS = ("GET", "HEAD", "POST")
POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src "
    b"'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""What a page of ours may load: nothing from elsewhere, no script or style within the page, no code
made from text."""
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"content-security-policy", POLICY),
)
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request is not let through."""

    status: int
    why: str


@dataclass(frozen=True)
class Guard:
    """ASGI application that lets through what may pass, and answers the rest itself.

    What passes has the token cut from its path.
    """

    inside: Application
    port: int
    token: str
    largest_body: int = LARGEST_BODY

    @property
    def hosts(self) -> tuple[str, ...]:
        """Names under which this server may be asked for."""
        return (f"127.0.0.1:{self.port}", f"localhost:{self.port}")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self.inside(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # a WebSocket is closed unanswered: there is none here
        refusal = self.judge(scope)
        if refusal is not None:
            await refuse(refusal, send)
            return
        if scope["method"] == "POST":
            try:
                body = await self._whole_body(receive)
            except asyncio.CancelledError:  # the server stops while somebody still sends
                await refuse(Refusal(503, "The server stops."), send)
                return
            if body is None:
                await refuse(
                    Refusal(413, f"The request has more than {self.largest_body:,} bytes."), send
                )
                return
            receive = _replay(body, receive)

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = list(message.get("headers", []))
                held = {name.lower() for name, _ in own}  # a page may say itself what it loads
                message = {
                    **message,
                    "headers": [*own, *(each for each in HEADERS if each[0] not in held)],
                }
            await send(message)

        await self.inside({**scope, "root_path": f"/{self.token}"}, receive, answer)

    async def _whole_body(self, receive: Receive) -> bytes | None:
        """Read a body, also one that comes without its length; None as soon as it is too large."""
        pieces, size, more = [], 0, True
        while more:
            message = await receive()
            pieces.append(message.get("body", b""))
            size += len(pieces[-1])
            more = message["type"] == "http.request" and message.get("more_body", False)
            if size > self.largest_body:
                return None
        return b"".join(pieces)

    def judge(self, scope: Scope) -> Refusal | None:
        """Say why a request may not pass, or None."""
        headers: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.lower(), []).append(value)
        if any(len(headers.get(name, ())) > 1 for name in (b"host", b"origin", b"content-length")):
            return Refusal(400, "A header was given twice.")
        one = {name: values[0].decode("latin-1") for name, values in headers.items()}
        return self._judge_sender(scope, one) or self._judge_request(scope, one)

    def _judge_sender(self, scope: Scope, headers: dict[bytes, str]) -> Refusal | None:
        if headers.get(b"host", "").lower() not in self.hosts:
            return Refusal(421, "This server answers to 127.0.0.1 only.")
        origin = headers.get(b"origin")
        if origin is not None and origin.lower() not in [f"http://{host}" for host in self.hosts]:
            return Refusal(403, "Another site may not ask this server.")
        site = headers.get(b"sec-fetch-site", "none")
        followed = (
            scope["method"] == "GET"
            and headers.get(b"sec-fetch-mode") == "navigate"
            and headers.get(b"sec-fetch-dest") == "document"
        )
        # a link in a mail or a terminal in the browser may be followed
        if site not in ("same-origin", "none") and not followed:
            return Refusal(403, "Another site may not ask this server.")
        given = scope["path"].split("/", 2)[1] if scope["path"].startswith("/") else ""
        if not hmac.compare_digest(given.encode(), self.token.encode()):
            return Refusal(
                403,
                (
                    "The address lacks its token, or has an old one: open the address that the "
                    "command printed."
                ),
            )
        return None

    def _judge_request(self, scope: Scope, headers: dict[bytes, str]) -> Refusal | None:
        if scope["method"] not in METHODS:
            return Refusal(405, "Only GET, HEAD and POST are answered.")
        if len(scope["path"]) > 1024 or len(scope.get("query_string", b"")) > 1024:
            return Refusal(414, "The address is too long.")
        return self._judge_writing(headers) if scope["method"] == "POST" else None

    def _judge_writing(self, headers: dict[bytes, str]) -> Refusal | None:
        if OWN_HEADER not in headers or not headers.get(b"content-type", "").startswith(
            "application/json"
        ):
            return Refusal(403, "What writes is JSON from a page of this server.")
        length = headers.get(b"content-length", "0")
        if not length.isascii() or not length.isdigit() or len(length) > 12:
            return Refusal(400, "The length of the request is not a whole number.")
        if int(length) > self.largest_body:
            return Refusal(413, f"The request has more than {self.largest_body:,} bytes.")
        return None


def _replay(body: bytes, receive: Receive) -> Receive:
    """Hand a body that was read on to the application."""
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def first_then_rest() -> Message:
        return waiting.pop() if waiting else await receive()

    return first_then_rest


async def refuse(refusal: Refusal, send: Send) -> None:
    """Answer with one sentence."""
    body = refusal.why.encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        *HEADERS,
    ]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
