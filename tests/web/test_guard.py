"""Nobody but a tab that was opened with the secret address may read a photograph or write a
decision.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import selion
from screening_scenes import serving, write_scene
from selion.errors import BadInput
from selion.labelling.decisions import LOG, read_decisions
from selion.web import server
from selion.web.guard import LARGEST_BODY, Guard


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("guard")
    patch = pytest.MonkeyPatch()
    patch.setenv("SELION_CACHE", str(folder / "cache"))
    photos, pseudo = write_scene(folder, 30)
    (folder / "secret.txt").write_text("secret")
    with serving(photos, pseudo, repeats=0) as running:
        running.pseudo = pseudo
        yield running
    patch.undo()


@pytest.fixture
def page(served):
    """A page of decisions that would be taken if it came from the right place."""
    items = served.sheet()["items"]
    words = [{"id": item["id"], "version": item["version"], "decision": "keep"} for item in items]
    yield {
        "batch": "batch-of-an-attacker",
        "person": "Eve",
        "pass": "coarse",
        "seconds": 1,
        "items": words,
    }
    assert not read_decisions(served.pseudo), "a decision was written"


FORGED = {
    "another site": {"Origin": "http://evil.example"},
    "another port of this machine": {"Origin": "http://127.0.0.1:1"},
    "a page from a file, or a sandbox": {"Origin": "null"},
    "our name, another scheme": {"Origin": "https://127.0.0.1"},
    "DNS rebinding": {"Host": "evil.example:{port}"},
    "DNS rebinding without a port": {"Host": "evil.example"},
    "DNS rebinding, both": {"Host": "evil.example:{port}", "Origin": "http://evil.example:{port}"},
    "no host": {"Host": None},
    "the right host on the wrong port": {"Host": "127.0.0.1:1"},
    "a host that only begins like ours": {"Host": "127.0.0.1:{port}.evil.example"},
    "cross-site by the browser's own word": {"Sec-Fetch-Site": "cross-site"},
    "same-site, which another port is": {"Sec-Fetch-Site": "same-site"},
    "a cross-site navigation that posts": {
        "Sec-Fetch-Site": "cross-site",
        "Sec-Fetch-Mode": "navigate",
        "Sec-Fetch-Dest": "document",
    },
    "a form": {"content-type": "application/x-www-form-urlencoded"},
    "plain text, which needs no preflight": {"content-type": "text/plain"},
    "without our header": {"x-selion": None},
}


@pytest.mark.parametrize("headers", FORGED.values(), ids=FORGED.keys())
def test_no_foreign_request_writes(served, page, headers):
    forged = {
        name: value.format(port=served.address.port) if value else None
        for name, value in headers.items()
    }
    answer = served.ask("api/commit", page, forged)
    assert answer.status in (400, 403, 421)
    assert b"written" not in answer.body


@pytest.mark.parametrize("token", ["", "x" * 32, "TOKEN/..", "%00", "screen", "undefined"])
def test_no_token_no_answer(served, page, token):
    for path in (
        "api/commit",
        "api/undo",
        "api/state",
        "api/sheet",
        "image/x/photo",
        "main.js",
        "",
    ):
        whole = f"/{token}/screen/{path}" if token else f"/screen/{path}"
        assert served.ask(path, page if "api/c" in path else None, whole=whole).status == 403
    assert served.ask("", whole="/").status == 403
    assert (
        served.ask(
            "api/commit", page, whole=f"/screen/api/commit?token={served.address.token}"
        ).status
        == 403
    )


@pytest.mark.parametrize(
    "headers",
    [FORGED[name] for name in FORGED if not ({"content-type", "x-selion"} & set(FORGED[name]))],
)
def test_no_foreign_request_reads(served, headers):
    forged = {
        name: value.format(port=served.address.port) if value else None
        for name, value in headers.items()
    }
    # a link to the page itself may be followed: it holds the token, and answers cannot be read from
    # outside
    followed = "Sec-Fetch-Dest" in headers
    assert served.ask("api/state", headers=forged).status == (
        200
        if followed
        else 403
        if "Host" not in headers
        else 400
        if headers["Host"] is None
        else 421
    )


def test_our_own_tab_may(served):
    for host in ("127.0.0.1", "localhost"):
        name = f"{host}:{served.address.port}"
        headers = {"Host": name, "Origin": f"http://{name}", "Sec-Fetch-Site": "same-origin"}
        assert (
            served.ask(
                "api/undo", {"id": "undo-1234", "person": "Ada", "pass": "coarse"}, headers
            ).status
            == 200
        )
        assert (
            served.ask(
                "", headers={"Host": name, "Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"}
            ).status
            == 200
        )


def test_answers_cannot_be_framed_sniffed_or_passed_on(served):
    for path in ("", "api/state", "main.js", "nothing"):
        headers = served.ask(path).headers
        assert headers["x-frame-options"] == "DENY"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert "access-control-allow-origin" not in headers
        assert "server" not in headers


WEBSOCKET = (
    "GET /{token}/screen/api/state HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\n"
    "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: {origin}\r\n\r\n"
)
"""RFC 6455, 1.2: no browser holds a foreign page back from asking so, only the server can."""


@pytest.mark.parametrize(
    ("origin", "wanted"),
    [("http://evil.example", 403), ("null", 403), ("http://127.0.0.1:{port}", 200)],
)
def test_no_websocket_is_opened(served, origin, wanted):
    """A foreign page is refused before anything is read; our own gets a plain answer."""
    host = f"127.0.0.1:{served.address.port}"
    asked = WEBSOCKET.format(
        token=served.address.token, host=host, origin=origin.format(port=served.address.port)
    )
    with socket.create_connection(("127.0.0.1", served.address.port), 10) as line:
        line.sendall(asked.encode())
        answer = line.recv(4000)
        assert answer.startswith(f"HTTP/1.1 {wanted} ".encode())
        assert b"sec-websocket-accept" not in answer.lower()
    told = []

    async def send(message):
        told.append(message)

    scope = {"type": "websocket", "path": f"/{served.address.token}/screen/", "headers": []}
    asyncio.run(Guard(None, served.address.port, served.address.token)(scope, None, send))
    assert told == [], "also where a server would take one"


def test_no_method_but_three(served, page):
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
        assert served.ask("api/commit", page, method=method).status == 405
    assert served.ask("api/commit").status == 405
    assert served.ask("api/sheet", page).status == 405


@pytest.mark.parametrize(
    "path",
    [
        "image/../../../secret.txt/photo",
        "image/%2e%2e%2f%2e%2e%2fsecret.txt/photo",
        "image/..%5c..%5csecret.txt/photo",
        "../../secret.txt",
        "%2e%2e/%2e%2e/secret.txt",
        "main.js/../../../pyproject.toml",
        "....//....//secret.txt",
        "static/../server.py",
        "image/%00/photo",
        "server.py",
        "decisions.jsonl",
        "/etc/passwd",
        "image//etc/passwd/photo",
    ],
)
def test_no_path_leads_out(served, path):
    answer = served.ask(path)
    assert b"secret" not in answer.body
    assert b"root:" not in answer.body
    # a picture that says that there is no such image
    assert answer.status in (307, 400, 404) or answer.headers["content-type"] == "image/jpeg"


def test_bodies_are_bounded(served, page):
    assert served.ask("api/commit", b"[" + b"1," * LARGEST_BODY + b"1]").status == 413
    assert served.ask("api/commit", page, {"content-length": "999999999"}).status == 413
    assert served.ask("api/commit", page, {"content-length": "99999999999999999999"}).status == 400
    # no length is given at all
    pieces = b"".join(b"10000\r\n" + b" " * 0x10000 + b"\r\n" for _ in range(6)) + b"0\r\n\r\n"
    assert served.ask("api/commit", pieces, {"transfer-encoding": "chunked"}).status == 413
    assert served.ask("api/sheet?person=" + "a" * 2000).status == 414
    with socket.create_connection(("127.0.0.1", served.address.port), 10) as line:
        line.sendall(b"GET /" + b"a" * 100_000)
        assert line.recv(100).startswith((b"HTTP/1.1 4", b""))
    assert served.ask("api/state").status == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"[" * 20000,
        b'{"items": 3}',
        b'{"items": [3]}',
        b"\xff",
        b'{"batch": "aaaaaaaa", "items": []}',
    ],
)
def test_bodies_that_are_no_page(served, body):
    for path in ("api/commit", "api/undo"):
        answer = served.ask(path, body)
        assert answer.status == 400
        assert set(json.loads(answer.body)) == {"error"}


NONSENSE = {
    "person": ["", "a\nb", "a" * 65, 3, None],
    "batch": ["../../x", "a", "a" * 65, 1],
    "seconds": [-1, "1", True, None],
    "pass": ["cause", 7],
    "items": ["abc", [], [{}], [{"id": [], "decision": "keep", "version": ""}]],
}


@pytest.mark.parametrize(
    "change", [{name: value} for name, values in NONSENSE.items() for value in values], ids=str
)
def test_pages_that_make_no_sense(served, page, change):
    answer = served.ask("api/commit", page | change)
    assert answer.status == 400
    assert answer.table["error"]


def test_seconds_that_are_no_number(served, page):
    for text in ("NaN", "Infinity", "1e999"):
        body = (
            json.dumps(
                page
                | {"seconds": "HERE", "items": [{"id": "gone", "version": "", "decision": "keep"}]}
            )
            .replace('"HERE"', text)
            .encode()
        )
        answer = served.ask("api/commit", body)
        assert answer.status == 400 or answer.table["written"] == 0


@given(
    st.dictionaries(
        st.sampled_from(
            ["host", "origin", "sec-fetch-site", "content-length", "x-selion", "content-type"]
        ),
        st.text(st.characters(codec="latin-1"), max_size=30),
    ),
    st.text(max_size=40),
)
def test_whatever_comes_the_guard_answers(headers, path):
    guard = Guard(None, 8000, "t" * 32)
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    refusal = guard.judge({"method": "POST", "path": path, "query_string": b"", "headers": raw})
    assert refusal is not None
    assert 400 <= refusal.status < 500


def test_a_header_that_comes_twice():
    guard = Guard(None, 8000, "t" * 32)
    sound = [(b"host", b"127.0.0.1:8000")]
    assert guard.judge({"method": "GET", "path": f"/{'t' * 32}/", "headers": sound}) is None
    assert (
        guard.judge({"method": "GET", "path": f"/{'t' * 32}/", "headers": sound * 2}).status == 400
    )


# The address


def test_only_loopback_and_a_token_that_cannot_be_guessed(tmp_path, monkeypatch):
    monkeypatch.setenv("SELION_CACHE", str(tmp_path))
    opened, address, running = server.listen(tmp_path)
    with opened:
        assert opened.getsockname() == ("127.0.0.1", address.port)
        assert running is None
        assert len(address.token) == 32
        kept = next((tmp_path / "served").iterdir())
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        with pytest.raises(BadInput, match=f"Port {address.port} is taken"):
            server.listen(tmp_path / "other", address.port)
        second, other, before = server.listen(tmp_path)  # while the first runs
        second.close()
        assert before == address
        assert other.port != address.port
        assert other.token != address.token
    opened, again, running = server.listen(tmp_path)
    opened.close()
    assert again == address  # the port is free again: an open page goes on
    assert running is None
    kept.write_text("{}")
    opened, fresh, _ = server.listen(tmp_path)
    opened.close()
    assert fresh.token != address.token


def test_a_foreign_server_on_the_old_port_is_not_told_the_token(tmp_path, monkeypatch):
    monkeypatch.setenv("SELION_CACHE", str(tmp_path))
    opened, address, _ = server.listen(tmp_path)
    opened.close()
    table = tmp_path / "served" / next((tmp_path / "served").iterdir()).name
    # that process is gone
    table.write_text(
        json.dumps({"port": address.port, "token": address.token, "process": 2**22 + 1})
    )
    with socket.create_server(("127.0.0.1", address.port)) as foreign:
        foreign.settimeout(0.2)
        opened, other, running = server.listen(tmp_path)
        opened.close()
        with pytest.raises(TimeoutError):
            foreign.accept()  # nobody asked it anything
    assert running is None
    assert other.token != address.token


def test_where_the_address_cannot_be_kept(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SELION_CACHE", str(tmp_path / "file"))
    opened, address, _ = server.listen(tmp_path)
    opened.close()
    assert address.url("screen") == f"http://127.0.0.1:{address.port}/{address.token}/screen/"


def test_the_log_is_where_it_belongs(served):
    assert not (served.pseudo / LOG).exists() or read_decisions(served.pseudo) == {}


def test_a_server_that_stops_answers_who_still_sends():
    """A slow sender left a traceback on the terminal of whoever stopped the server."""
    told = []

    async def receive():
        raise asyncio.CancelledError

    async def send(message):
        told.append(message)

    headers = {
        "host": "127.0.0.1:9", "content-type": "application/json", "x-selion": "1",
        "content-length": "9",
    }  # fmt: skip
    scope = {
        "type": "http", "method": "POST", "path": "/secret/x", "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }  # fmt: skip
    asyncio.run(Guard(None, 9, "secret")(scope, receive, send))
    assert [message.get("status") for message in told] == [503, None]


def test_pictures_are_shown_whole():
    # a plant at the edge of a photograph must not be cut off where people judge it
    shipped = Path(selion.__file__).parent
    styles = [*shipped.rglob("*.css"), shipped / "reports" / "page.py"]
    assert len(styles) > 3
    for style in styles:
        assert not re.search(r"object-fit:\s*cover", style.read_text("utf-8")), style.name
