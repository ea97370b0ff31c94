"""A server of the world may not send this machine into its own network."""

import http.server
import ipaddress
import threading
from contextlib import contextmanager

import pytest

from counting_host import counting_host
from selion.errors import FetchFailed, SearchFailed
from selion.store import fetch, fingerprint, redirects
from selion.store.redirects import is_private
from selion.store.retry import RetryPolicy

WORLD = "world.example"


@contextmanager
def sender(target):
    """A server that sends every request on to an address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            self.send_response(302)
            self.send_header("Location", target)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_GET  # noqa: N815 - http.server's names

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"localhost:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture
def local_is_the_world(monkeypatch):
    """Let the name ``localhost`` stand for a server of the world; 127.0.0.1 is what it is."""
    true = redirects.addresses
    public = [ipaddress.ip_address("93.184.215.14")]
    monkeypatch.setattr(
        redirects, "addresses", lambda host: public if host == "localhost" else true(host)
    )


@pytest.mark.parametrize(
    ("host", "private"),
    [
        ("127.0.0.1", True), ("10.1.2.3", True), ("192.168.0.9", True), ("172.16.0.1", True),
        ("169.254.169.254", True), ("0.0.0.0", True), ("::1", True), ("[fe80::1]", True),
        ("::ffff:127.0.0.1", True), ("::ffff:8.8.8.8", False), ("fd00::1", True),
        ("8.8.8.8", False), ("2606:4700::1111", False), ("localhost", True), ("", False),
        ("100.64.0.1", True),
    ],
)  # fmt: skip
def test_what_is_private(host, private):
    assert is_private(host) is private


@pytest.mark.parametrize("scheme", ["http:", ""])
def test_a_server_of_the_world_does_not_send_into_the_network(tmp_path, local_is_the_world, scheme):
    (tmp_path / "secret").write_text("keys")
    with counting_host(tmp_path) as inner, sender(f"{scheme}//{inner.host}/secret?key=X") as outer:
        session, refused = RetryPolicy(tries=1).session(), r"sends on to 127\.0\.0\.1.*not followed"
        with session, pytest.raises(FetchFailed, match=refused) as said:
            session.get(f"http://{outer}/scene.tif?sig=SECRET", timeout=60)
        assert "SECRET" not in str(said.value)
        assert inner.asked == []


def test_what_a_user_named_may_send_on(tmp_path):
    """Without the world: both are of this machine, and the first one was named."""
    (tmp_path / "a.txt").write_text("here")
    with (
        counting_host(tmp_path) as inner,
        sender(f"http://{inner.host}/a.txt") as outer,
        RetryPolicy(tries=1).session() as session,
    ):
        assert session.get(f"http://{outer}/x", timeout=60).text == "here"


def test_a_catalogue_does_not_either(tmp_path, local_is_the_world):
    from selion.imagery.catalogue import _SteadyIO

    with counting_host(tmp_path) as inner, sender(f"http://{inner.host}/latest") as outer:
        io = _SteadyIO(RetryPolicy(tries=1))
        with pytest.raises(Exception, match="not followed") as said:
            io.request(f"http://{outer}/search")
        io.session.close()
        assert inner.asked == []
        assert not isinstance(said.value, SearchFailed)  # the search says that, with its provider


def test_a_download_does_not_either(tmp_path, local_is_the_world):
    with counting_host(tmp_path) as inner, sender(f"http://{inner.host}/m.zip") as outer:
        with pytest.raises(FetchFailed, match="not followed"):
            fetch(f"http://{outer}/m.zip", "", tmp_path / "m")
        with pytest.raises(FetchFailed, match="not followed"):
            fingerprint(f"http://{outer}/a.tif")
        assert inner.asked == []
