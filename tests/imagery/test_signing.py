"""Signatures: fetched once, kept while they last, renewed before their end and after a refusal,
never put on twice.
"""

import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from selion.errors import BadInput, FetchFailed
from selion.imagery import signing
from selion.imagery.providers import find_provider
from selion.imagery.signing import Anonymous, SasSigner, Signer, is_signed, make_signer, with_token
from selion.store.retry import RetryPolicy
from stac_server import StacServer

QUICK = RetryPolicy(connect=2, answer=2, tries=3, backoff=0.01, longest=0.2)
BLOB = "https://sentinel2l2a01.blob.core.windows.net/sentinel2-l2/33/U/UP/B04.tif"


@pytest.fixture
def server(tmp_path):
    (tmp_path / "a.tif").write_bytes(b"pixels")
    (tmp_path / "b.tif").write_bytes(b"others")
    with StacServer([], tmp_path, signed=True, lifetime=600) as server:
        yield server


def signer_of(server, **more):
    return SasSigner(f"{server.url}/api/sas/v1/token", (server.host,), replace(QUICK, **more))


def read(href):
    return requests.get(href, timeout=60)


def asked(server):
    return sum(count for path, count in server.asked.items() if "/token/" in path)


def test_reading_needs_a_signature_and_gets_it(server):
    signer: Signer = signer_of(server)
    href = f"{server.cogs}/a.tif"
    assert read(href).status_code == 403
    signed = signer(href)
    assert read(signed).content == b"pixels"
    assert is_signed(signed)
    assert not is_signed(href)
    assert server.asked[f"/api/sas/v1/token/{server.host.partition('.')[0]}/cogs"] == 1


def test_one_token_serves_a_container(server):
    signer = signer_of(server)
    for name in ("a.tif", "b.tif", "a.tif"):
        assert read(signer(f"{server.cogs}/{name}")).status_code == 200
    assert asked(server) == 1
    signer(f"{server.url}/other/a.tif")
    assert asked(server) == 2


def test_never_signed_twice(server):
    signer = signer_of(server)
    signed = signer(f"{server.cogs}/a.tif")
    assert signer(signed) == signed
    theirs = server.sign(f"{server.cogs}/a.tif")
    assert signer(theirs) == theirs
    renewed = signer.renew(theirs)
    assert len(parse_qs(urlsplit(renewed).query)["sig"]) == 1
    assert read(renewed).status_code == 200


def test_signature_that_tells_its_end_and_is_past_is_replaced(server):
    signer = signer_of(server)
    old = f"{server.cogs}/a.tif?v=7&se=2020-01-01T00%3A00%3A00Z&sig=123"
    fresh = signer(old)
    assert read(fresh).status_code == 200
    assert parse_qs(urlsplit(fresh).query)["v"] == ["7"]


def test_tokens_are_renewed_ahead_of_their_end(server, monkeypatch):
    server.lifetime = server.reported = 7200.0
    signer = signer_of(server)
    href = f"{server.cogs}/a.tif"
    first, later = signer(href), 7200 - signing.AHEAD - 600
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + later)
    monkeypatch.setattr(signing, "time", clock)
    assert signer(href) == first
    later = 7200 - signing.AHEAD + 1
    second = signer(href)
    assert second != first
    assert read(second).status_code == 200
    assert read(first).status_code == 200  # it had not run out yet
    assert asked(server) == 2


def test_signature_that_ran_out_early_is_renewed_after_the_refusal(server):
    server.lifetime, server.reported = 0.3, 3600  # the server promises an hour
    signer = signer_of(server)
    href = f"{server.cogs}/a.tif"
    signed = signer(href)
    time.sleep(0.4)
    assert read(signer(href)).status_code == 403
    server.lifetime = 3600
    again = signer.renew(signed)
    assert read(again).content == b"pixels"
    assert signer(href) == again
    assert asked(server) == 2


def test_many_refused_readers_fetch_one_token(server):
    server.lifetime, server.reported = 0.2, 3600
    signer = signer_of(server)
    hrefs = [f"{server.cogs}/{name}.tif" for name in "ab" * 20]
    signed = [signer(href) for href in hrefs]
    time.sleep(0.3)
    server.lifetime = 3600
    with ThreadPoolExecutor(16) as pool:
        fresh = list(pool.map(signer.renew, signed))
    assert asked(server) == 2
    assert all(read(href).status_code == 200 for href in fresh[:4])
    signer.renew(fresh[0])  # but who was refused with the newest one gets another
    assert asked(server) == 3


def test_threads_ask_once(server):
    signer = signer_of(server)
    server.inject("/api/sas", delay=0.2)
    gate = threading.Barrier(12)

    def sign(k):
        gate.wait()
        return signer(f"{server.cogs}/{'ab'[k % 2]}.tif")

    with ThreadPoolExecutor(12) as pool:
        signed = list(pool.map(sign, range(12)))
    assert asked(server) == 1
    assert len({urlsplit(href).query for href in signed}) == 1


def test_other_addresses_stay_as_they_are(server):
    signer = SasSigner(f"{server.url}/api/sas/v1/token", (".blob.core.windows.net",), QUICK)
    for href in (
        f"{server.cogs}/a.tif",
        "s3://bucket/a.tif",
        "relative/a.tif",
        "/a/b.tif",
        "https://blob.core.windows.net.example.org/a/b.tif",
    ):
        assert signer(href) == href
        assert signer.renew(href) == href
    assert asked(server) == 0
    assert is_signed(signer(BLOB))
    assert server.asked["/api/sas/v1/token/sentinel2l2a01/sentinel2-l2"] == 1


def test_clock_that_is_wrong_does_not_matter(server, monkeypatch):
    from datetime import UTC, datetime

    import selion.imagery.signing as room

    class Late(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime(2031, 1, 1, tzinfo=UTC)

    monkeypatch.setattr(room, "datetime", Late)
    signer = signer_of(server)
    href = f"{server.cogs}/a.tif"
    assert signer(href) == signer(href)
    assert asked(server) == 1


def test_endpoint_with_faults(server):
    signer = signer_of(server)
    server.inject("/api/sas", times=1, status=429, retry_after=1)
    server.inject("/api/sas", times=1, status=503)
    assert read(signer(f"{server.cogs}/a.tif")).status_code == 200
    for fault in (
        {"status": 500},
        {"status": 403},
        {"body": "<html>"},
        {"body": "{}"},
        {"body": "[]"},
        {"body": '{"token": "a", "msft:expiry": "soon"}'},
    ):
        server.heal()
        server.inject("/api/sas", times=None, **fault)
        with pytest.raises(
            FetchFailed, match=r"/api/sas/v1/token/.* gave no token .*another provider"
        ):
            signer.renew(f"{server.cogs}/a.tif")
    server.heal()
    server.stop()
    with pytest.raises(FetchFailed, match="gave no token"):
        signer_of(server)(f"{server.cogs}/a.tif")


def test_subscription_key_is_sent(server, monkeypatch):
    seen = []
    real = requests.Session.send
    monkeypatch.setattr(
        requests.Session,
        "send",
        lambda self, request, **more: (seen.append(request.headers), real(self, request, **more))[
            1
        ],
    )
    signer_of(server)(f"{server.cogs}/a.tif")
    assert "Ocp-Apim-Subscription-Key" not in seen[-1]
    monkeypatch.setenv("PC_SDK_SUBSCRIPTION_KEY", "mine")
    signer_of(server)(f"{server.cogs}/a.tif")
    assert seen[-1]["Ocp-Apim-Subscription-Key"] == "mine"


def test_signers_travel_to_other_processes(server):
    signer = signer_of(server)
    signer(f"{server.cogs}/a.tif")
    twin = pickle.loads(pickle.dumps(signer))
    assert twin == signer
    assert read(twin(f"{server.cogs}/a.tif")).status_code == 200
    assert pickle.loads(pickle.dumps(Anonymous()))("x") == "x"


names = st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=6)


@given(
    st.dictionaries(
        names.map(lambda name: f"x{name}"), st.text(min_size=1, max_size=5), max_size=3
    ),
    names,
    names,
)
def test_a_token_replaces_a_token_and_keeps_the_rest(others, one, two):
    first = requests.Request("GET", BLOB, params=others).prepare().url
    signed = with_token(with_token(first, f"se=1&sig={one}"), f"se=2&sig={two}")
    query = parse_qs(urlsplit(signed).query, keep_blank_values=True)
    assert query == {
        **parse_qs(urlsplit(first).query, keep_blank_values=True),
        "se": ["2"],
        "sig": [two],
    }
    assert urlsplit(signed)._replace(query="") == urlsplit(BLOB)


# by provider


def test_each_provider_has_its_signer(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_S3_ENDPOINT", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    assert make_signer(find_provider("earth-search")) == Anonymous()
    assert make_signer(find_provider("https://stac.example.org")) == Anonymous()
    planetary = make_signer(find_provider("planetary-computer"))
    assert isinstance(planetary, SasSigner)
    assert planetary.endpoint == "https://planetarycomputer.microsoft.com/api/sas/v1/token"
    assert planetary("https://other.example.org/a.tif") == "https://other.example.org/a.tif"
    cdse = find_provider("cdse")
    with pytest.raises(
        BadInput,
        match=r"AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_S3_ENDPOINT are not set"
        r".*earth-search",
    ):
        make_signer(cdse)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with pytest.raises(
        BadInput,
        match=r"but AWS_S3_ENDPOINT is not set.*AWS_S3_ENDPOINT=eodata\.dataspace\.copernicus\.eu",
    ):
        make_signer(cdse)
    monkeypatch.setenv("AWS_S3_ENDPOINT", "eodata.dataspace.copernicus.eu")
    assert make_signer(cdse)("s3://eodata/a.jp2") == "s3://eodata/a.jp2"
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text("[default]\n")
    assert make_signer(cdse) == Anonymous()
